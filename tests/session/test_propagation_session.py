"""3D/video: a session that stays open, to go on, to correct, to remove."""

import threading

import numpy as np
import pytest
from napari.components import ViewerModel

from napari_sam3_assistant.core.prompts import Task, Tool
from napari_sam3_assistant.core.tracks import Direction
from napari_sam3_assistant.errors import PromptError
from napari_sam3_assistant.jobs import JobState
from napari_sam3_assistant.session.settings import MemorySettings
from napari_sam3_assistant.viewer.binding import binding_for
from napari_sam3_assistant.workflows.track import Tracking

PREVIEW = "SAM3 propagated preview labels"
LENGTH, HEIGHT, WIDTH = 12, 60, 70


@pytest.fixture
def bench(open_bench):
    """A viewer with the stack of two balls."""
    return open_bench()


def test_range_and_direction(bench):
    bench.click(6, 20, 20)
    bench.model.direction = Direction.FORWARD
    bench.model.last_frame = 8
    bench.start()
    assert bench.values(bench.labels.data) == [[]] * 6 + [[1]] * 3 + [[]] * 3


def test_a_new_session_leaves_no_frame_of_the_old_one(bench):
    bench.click(6, 20, 20)
    bench.start()
    bench.binding.prompts.arm()
    bench.viewer.layers["SAM3 points"].data = [[6, 40, 50]]
    bench.model.first_frame = 5

    bench.start()

    assert bench.values(bench.labels.data)[:5] == [[]] * 5
    assert not bench.labels.data[:, 20, 20].any()
    assert len(bench.model.results) == 7
    assert [layer.name for layer in bench.viewer.layers].count(PREVIEW) == 1


def test_what_was_stopped_goes_on_to_the_same_result(open_bench):
    whole = open_bench()
    whole.click(6, 20, 20)
    whole.start()
    bench = open_bench()
    bench.click(6, 20, 20)

    job = bench.stop_after(3)

    assert job.state is JobState.CANCELLED
    assert bench.values(bench.labels.data) == [[]] * 6 + [[1]] * 3 + [[]] * 3
    assert "3 frames done" in bench.message
    assert not bench.session.model.why_not.go_on
    bench.go_on()
    assert np.array_equal(bench.labels.data, whole.labels.data)
    assert len(bench.model.results) == len(whole.model.results)


def test_a_run_that_takes_its_place_has_the_last_word(bench):
    bench.click(6, 20, 20)
    bench.viewer.dims.set_current_step(0, 6)
    propagation = bench.session.run()
    arrived = []
    propagation.yielded.connect(arrived.append)
    bench.desk.until(lambda: len(arrived) == 3)
    bench.model.task = Task.SEGMENT

    bench.finish(bench.session.run())

    assert propagation.state is JobState.CANCELLED
    assert bench.message.startswith("Preview ready")


def test_a_correction_spreads_from_its_slice_and_leaves_the_others(bench):
    bench.click(6, 20, 20)
    bench.start()
    before = bench.labels.data.copy()
    # The user takes a corner away on slice 7.
    bench.viewer.dims.set_current_step(0, 7)
    bench.model.object_id = 1
    layer = bench.arm(Tool.MASK)
    layer.data[0, 14:27, 14:20] = 1
    layer.events.paint(value=[])
    seen = []
    bench.model.events.progress.connect(lambda progress: progress and seen.append(progress.step))

    bench.go_on()

    after = bench.labels.data
    assert np.array_equal(after[:7], before[:7])
    assert not np.array_equal(after[7], before[7])
    assert np.array_equal(after[7] == 1, layer.data[0] == 1)
    assert max(step.total for step in seen) == 5
    assert bench.model.tracked == (1,)


def test_a_click_adds_an_object_to_a_session(bench):
    bench.click(6, 20, 20, on=1)
    bench.start()
    first = bench.labels.data == 1

    bench.click(6, 40, 50, on=2)
    bench.go_on()

    assert bench.values(bench.labels.data) == [[]] + [[1, 2]] * 11
    assert np.array_equal(bench.labels.data == 1, first)
    assert bench.model.tracked == (1, 2)


def test_without_corrections_it_goes_on_from_the_frame_on_show(bench):
    bench.click(6, 20, 20)
    bench.start()
    bench.viewer.dims.set_current_step(0, 9)
    bench.model.direction = Direction.FORWARD
    seen = []
    bench.model.events.progress.connect(lambda progress: progress and seen.append(progress.step))
    bench.go_on()
    assert max(step.total for step in seen) == 3


def test_several_objects_are_removed_at_once(bench):
    for id_, pixel in enumerate([(20, 20), (40, 50)], 1):
        bench.click(6, *pixel, on=id_)
    bench.start()
    bench.propagation.hide(frozenset({2}))
    bench.finish(bench.propagation.remove(1, 2))
    assert not np.any(bench.labels.data)
    assert not bench.propagation.tracks.hidden
    assert bench.labels.editable
    assert bench.model.results == ()
    assert bench.model.message.text == "2 objects are removed from all frames."


def test_clear_results_and_other_runs_leave_the_session_alone(bench):
    bench.click(6, 20, 20, on=1)
    bench.click(6, 40, 50, on=2)
    bench.start()
    bench.session.results.clear()
    bench.finish(bench.propagation.remove(2))
    assert bench.values(bench.labels.data) == [[]] + [[1]] * 11
    bench.viewer.dims.set_current_step(0, 6)
    bench.model.task = Task.TEXT
    bench.model.text = "bright"
    bench.finish(bench.session.run())
    assert len({row.preview for row in bench.model.results}) == 1
    bench.model.task, bench.model.tool = Task.VIDEO, Tool.POINTS
    assert not bench.session.model.why_not.go_on
    bench.go_on()
    assert bench.values(bench.labels.data) == [[]] + [[1]] * 11


def test_a_new_object_spreads_both_ways_also_where_it_was_stopped(bench):
    bench.click(6, 20, 20, on=1)
    bench.stop_after(2)
    bench.click(9, 40, 50, on=2)

    bench.go_on()

    assert bench.values(bench.labels.data) == [[]] + [[1, 2]] * 11


def test_a_users_points_layer_is_only_read(bench):
    mine = bench.viewer.add_points(
        [[6, 20, 20], [6, 40, 50]], features={"object_id": [7, 8]}, name="mine"
    )
    other = bench.viewer.add_points([[6, 40, 50]], name="plain")
    bench.model.points_layer = str(mine.unique_id)
    bench.model.object_id = 5
    bench.start()
    assert bench.model.tracked == (7, 8)
    assert mine.features["object_id"].tolist() == [7, 8]
    assert mine.feature_defaults["object_id"].iloc[0] == 8
    bench.model.points_layer = str(other.unique_id)
    bench.model.object_id = 6
    assert "object_id" not in other.features


def test_a_phrase_is_no_correction(bench):
    bench.click(6, 20, 20)
    bench.start()
    bench.model.tool, bench.model.text = Tool.TEXT, "bright"
    with pytest.raises(PromptError, match="Start 3D Propagation"):
        bench.propagation.go_on()


def test_an_object_is_taken_out_of_frames_rows_and_session(bench):
    bench.click(6, 20, 20, on=1)
    bench.click(6, 40, 50, on=2)
    bench.start()

    bench.finish(bench.propagation.remove(2))

    assert bench.values(bench.labels.data) == [[]] + [[1]] * 11
    assert {row.record.id for row in bench.model.results} == {1}
    assert bench.model.tracked == (1,)
    bench.go_on()
    assert np.unique(bench.labels.data).tolist() == [0, 1]
    with pytest.raises(PromptError, match="no object 2"):
        bench.propagation.remove(2)


def test_objects_are_closed_on_the_worker(bench, monkeypatch):
    closed, cleared = [], threading.Event()
    close = Tracking.close

    def watched(tracking):
        closed.append(threading.current_thread().name)
        close(tracking)
        if len(closed) == 2:
            cleared.set()

    monkeypatch.setattr(Tracking, "close", watched)
    bench.click(6, 20, 20)
    bench.start()
    assert closed == []
    bench.start()
    assert closed == ["sam3-jobs"]

    bench.session.clear_preview()

    assert cleared.wait(240)
    assert closed[1] == "sam3-jobs"
    assert PREVIEW not in bench.viewer.layers
    assert not bench.model.can_continue
    assert bench.model.results == ()


def test_another_engine_or_unload_ends_the_session(bench):
    bench.click(6, 20, 20)
    bench.start()
    bench.finish(bench.session.loading.unload())
    assert not bench.model.can_continue
    bench.start()
    assert bench.model.can_continue
    bench.model.device = "cpu"
    assert not bench.model.can_continue
    assert bench.labels.data.any()
    assert "Start a propagation first" in bench.session.model.why_not.go_on


def test_nothing_found_leaves_nothing(bench):
    bench.model.tool, bench.model.text = Tool.TEXT, "bright"
    bench.image.data = np.full((LENGTH, HEIGHT, WIDTH), 30, np.uint8)

    job = bench.start()

    assert job.state is JobState.FAILED
    assert "Nothing was found" in bench.message
    assert PREVIEW not in bench.viewer.layers
    assert not bench.model.can_continue


def test_a_direction_ends_when_all_objects_are_lost(open_bench, balls):
    bench = open_bench(np.concatenate([balls, np.full((20, HEIGHT, WIDTH), 30, np.uint8)]))
    bench.click(6, 20, 20)
    bench.model.stop_after_lost = 2

    bench.start()

    assert bench.values(bench.labels.data[:13]) == [[]] + [[1]] * 11 + [[]]
    assert "on 14 frames" in bench.message
    bench.go_on()
    assert "Propagated: 1 object" in bench.message


def test_saving_waits_for_the_end(bench, tmp_path):
    bench.click(6, 20, 20)
    job = bench.session.run()
    bench.desk.until(lambda: PREVIEW in bench.viewer.layers)
    with pytest.raises(PromptError, match="not done yet"):
        bench.session.saving.keep_all()
    with pytest.raises(PromptError, match="not done yet"):
        bench.session.saving.export(tmp_path / "found.tif")
    assert bench.model.running
    bench.finish(job)
    assert job.state is JobState.DONE


def test_choices_are_remembered_and_a_range_belongs_to_its_image_and_axis(bench, balls):
    store = MemorySettings()
    first = binding_for(ViewerModel(), bench.desk, store)
    first.model.task, first.model.tool = Task.VIDEO, Tool.EXAMPLE
    first.model.direction, first.model.stop_after_lost = Direction.BACKWARD, 4
    first.close()
    model = binding_for(ViewerModel(), bench.desk, store).model
    assert (model.task, model.tool) == (Task.VIDEO, Tool.EXAMPLE)
    assert (model.direction, model.stop_after_lost) == (Direction.BACKWARD, 4)

    bench.model.first_frame = 3
    bench.viewer.add_image(np.stack([balls] * 2), name="other")
    assert bench.model.first_frame is None

    bench.model.frame_axis, bench.model.last_frame = 1, 9
    bench.model.frame_axis = 0
    assert bench.model.last_frame is None

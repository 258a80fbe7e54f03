"""From an object on a slice through its stack: found or accepted, by its mask, without a window."""

import numpy as np
import pytest

from napari_sam3_assistant import api
from napari_sam3_assistant.core.prompts import Task, Tool
from napari_sam3_assistant.jobs import JobState

PREVIEW, PROPAGATED = "SAM3 preview labels", "SAM3 propagated preview labels"


def find(bench, *pixel):
    """Find the object under a pixel on its slice, as in the task 2D."""
    bench.viewer.dims.set_current_step(0, pixel[0])
    bench.model.task, bench.model.tool = Task.SEGMENT, Tool.POINTS
    bench.arm()
    bench.viewer.layers["SAM3 points"].add(pixel)
    bench.finish(bench.session.run())
    assert len(bench.model.preview.segmentation.objects) == 1


def follow(bench):
    bench.binding.actions.call("follow")
    bench.desk.until(lambda: not bench.model.running)


@pytest.mark.parametrize("kept", [False, True])
def test_the_object_of_a_slice_is_followed_by_its_mask(open_bench, kept):
    bench = open_bench()
    find(bench, 6, 20, 20)
    mask = bench.model.preview.segmentation.labels == 1
    if kept:
        bench.session.accept()
    follow(bench)

    assert bench.values(bench.labels.data) == [[]] + [[1]] * 11
    assert np.array_equal(bench.labels.data[6] == 1, mask)
    assert bench.model.task is Task.VIDEO
    assert "Propagated: 1 object" in bench.message
    assert PREVIEW not in [layer.name for layer in bench.viewer.layers]
    assert not len(bench.viewer.layers["SAM3 points"].data), "its clicks are no corrections"
    (mask_prompt,) = bench.propagation.provenance.prompts[6].masks
    assert np.array_equal(mask_prompt.to_plane(mask.shape), mask)
    bench.go_on()
    bench.session.undo()
    assert (PREVIEW in [layer.name for layer in bench.viewer.layers]) is not kept


def test_of_several_the_picked_one_or_the_next_that_is_clicked(open_bench):
    bench = open_bench()
    find(bench, 6, 20, 20)
    bench.session.accept()
    bench.model.task, bench.model.text = Task.TEXT, "bright"
    bench.finish(bench.session.run())
    rows = bench.model.results
    bench.model.picked = rows[-1]
    where = rows[-1].record.region
    follow(bench)
    centre = (6, (where.y0 + where.y1) // 2, (where.x0 + where.x1) // 2)
    assert bench.labels.data[centre] == 1
    assert np.unique(bench.labels.data).tolist() == [0, 1]

    bench.session.undo()
    bench.model.picked = None
    bench.binding.actions.call("follow")
    assert bench.message == "Click on the object to follow through the stack."
    assert not bench.model.running


class Watched(np.ndarray):
    """Labels that note how many pixels are asked for at once."""

    def __getitem__(self, key):
        part = super().__getitem__(key)
        getattr(self, "asked", []).append(np.size(part))
        return part


@pytest.mark.parametrize("cut", [(0, 1, 2), (1, 0, 2), (2, 0, 1)])
def test_of_accepted_objects_no_more_is_read_than_the_box_of_the_one(open_bench, cut):
    bench = open_bench()
    find(bench, 6, 20, 20)
    area = bench.model.preview.segmentation.objects[0].region.area
    bench.session.accept()
    kept = bench.viewer.layers["SAM3 live accepted labels"]
    bench.viewer.dims.order = cut
    bench.viewer.dims.set_point((0, 1, 2), (6, 20, 20))
    kept.data = kept.data.view(Watched)
    kept.data.asked = asked = []
    bench.binding.actions.call("follow")
    assert 0 < sum(asked) <= area, bench.message

    bench.desk.until(lambda: not bench.model.running)
    at = (6, 20, 20)[cut[0]]
    (mask,) = bench.propagation.provenance.prompts[at].masks
    plane = np.moveaxis(np.asarray(kept.data), cut[0], 0)[at] == 1
    np.testing.assert_array_equal(mask.to_plane(plane.shape), plane)


def test_it_is_cancelled_as_any_propagation(open_bench):
    bench = open_bench()
    find(bench, 6, 20, 20)
    jobs = []
    bench.model.events.propagated.connect(lambda stack: stack and jobs.append(stack))
    bench.binding.actions.call("follow")
    bench.desk.until(lambda: jobs)
    bench.session.cancel()
    bench.desk.until(lambda: not bench.model.running)
    assert "Propagate Existing Session does the" in bench.message
    assert bench.go_on().state is JobState.DONE
    assert bench.values(bench.labels.data) == [[]] + [[1]] * 11


def test_where_there_is_no_stack_or_no_object_a_sentence_says_so(open_bench):
    bench = open_bench()
    bench.binding.actions.call("follow")
    assert bench.message == "Find or accept an object on a slice first."
    find(bench, 6, 20, 20)
    bench.session.accept()
    bench.viewer.dims.set_current_step(0, 0)
    bench.binding.actions.call("follow")
    assert bench.message.startswith("No object lies on this slice.")
    flat = open_bench(np.zeros((40, 50), np.uint8))
    flat.binding.actions.call("follow")
    assert flat.message.startswith("This image has no z or time axis.")


def test_all_that_was_followed_is_accepted_and_saved_by_one_press_each(open_bench, tmp_path):
    bench = open_bench()
    bench.click(6, 20, 20, on=1)
    bench.click(6, 40, 50, on=2)
    bench.start()
    whole = np.array(bench.labels.data)

    bench.binding.actions.call("accept")
    bench.desk.until(lambda: not bench.model.running)

    kept = bench.viewer.layers["SAM3 live accepted labels"]
    assert np.array_equal(kept.data, whole)
    assert list(kept.features["area"]) == [(whole == 1).sum(), (whole == 2).sum()]
    assert bench.message.startswith("Accepted: objects 1, 2.")
    assert not len(bench.viewer.layers["SAM3 points"].data)
    # What was accepted and what is on show, each object once.
    bench.finish(bench.session.saving.export(tmp_path / "all.npy"))
    assert np.array_equal(np.load(tmp_path / "all.npy"), whole)
    bench.binding.actions.call("accept")
    bench.desk.until(lambda: not bench.model.running)
    assert "accepted already" in bench.message
    assert bench.model.kept == 2

    # The next one, of which one slice lies under the first.
    bench.propagation.hide(frozenset({1}))
    bench.session.undo()
    bench.desk.until(lambda: not bench.model.running)
    assert not kept.data.any()
    bench.binding.actions.call("accept")
    bench.desk.until(lambda: not bench.model.running)
    assert np.array_equal(kept.data, np.where(whole == 2, 1, 0)), "what is hidden is not accepted"
    bench.propagation.hide(frozenset())
    bench.finish(bench.session.saving.export(tmp_path / "both.npy"))
    both = np.where(whole == 2, 1, np.where(whole == 1, 2, 0))
    assert np.array_equal(np.load(tmp_path / "both.npy"), both)
    bench.binding.actions.call("accept")
    bench.desk.until(lambda: not bench.model.running)
    assert np.array_equal(kept.data, both)


@pytest.mark.parametrize("chosen", [0, 2])
def test_the_mask_that_was_chosen_of_a_click_is_what_a_sam_follows(open_bench, sam_folder, chosen):
    folder = str(sam_folder("sam2_video"))
    movie = np.random.default_rng(0).integers(0, 256, (4, 60, 80), np.uint8)
    movie[:, 20:40, 20:45] //= 4
    bench = open_bench(movie, contrast_limits=(0, 255))
    bench.model.engine, bench.model.model_folder = "sam-transformers", folder
    find(bench, 1, 30, 30)
    masks = bench.model.preview.segmentation.candidates
    assert len(masks) == 3
    # From the smallest on.
    for step in [-1] * 2 + [1] * chosen:
        bench.session.choose_candidate(step)
    (record,) = bench.model.preview.segmentation.objects
    assert record.area == masks[chosen].area
    mask = bench.model.preview.segmentation.labels == 1

    follow(bench)

    # The whole, a part or a part of that: none of the others comes back on another slice.
    expected = {
        found.frame: found.labels
        for found in api.track(
            movie, frame=1, mask=mask, engine="sam-transformers", model_folder=folder
        )
    }
    for frame, plane in enumerate(bench.labels.data):
        np.testing.assert_array_equal(plane, expected[frame])
    (told,) = bench.propagation.provenance.prompts[1].masks
    np.testing.assert_array_equal(told.to_plane(mask.shape), mask)

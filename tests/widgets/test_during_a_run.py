"""What the user may do while a run is going. A gate holds the engine in the middle of its work."""

import gc
import threading
import weakref

import numpy as np
import pytest

from napari_sam3_assistant import api

CLICK = (30, 110)
PREVIEW = "SAM3 preview labels"


@pytest.fixture
def running(user, discs, gate):
    """A user whose run has reached the engine, which waits for the gate to open."""
    user.earlier = set(threading.enumerate())
    user.viewer.add_image(discs, name="image")
    user.choose("2d_segmentation", "points")
    user.viewer.layers["SAM3 points"].add(CLICK)
    user.click("run_preview")
    user.wait(lambda: gate.reached.acquire(blocking=False))
    assert user.is_running
    return user


def workers_of(user):
    """The workers that began after the user did: other tests may have left theirs."""
    threads = set(threading.enumerate()) - user.earlier
    return [thread for thread in threads if thread.name == "sam3-jobs"]


def go_on(user, gate):
    gate.opened.set()
    user.wait_for_end()


def begin_again(running, gate):
    """Run once more, up to the gate."""
    gate.opened.clear()
    while gate.reached.acquire(blocking=False):
        pass
    running.click("run_preview")
    running.wait(lambda: gate.reached.acquire(blocking=False))


def test_what_is_chosen_renamed_and_added_changes_nothing(running, gate, discs):
    bar = running.progress_bar
    assert not bar.isHidden()
    running.wait(lambda: bar.text().startswith("2 of 3, "))
    assert " s" in bar.text()
    assert bar.value() / bar.maximum() == pytest.approx(2 / 3, abs=0.001)
    running.viewer.layers["image"].name = "other name"
    assert running.combo("image").currentText() == "other name"
    running.click("tool_box")
    running.choose("text_segmentation")
    running.viewer.add_image(np.zeros((50, 60)), name="second")

    go_on(running, gate)

    assert bar.isHidden()
    np.testing.assert_array_equal(running.preview, api.segment(discs, points=[CLICK]).labels)
    source = running.viewer.layers[PREVIEW].metadata["source_image_layer"]
    assert source == "image", "what it was called when the run began"
    assert running.chosen("task") == ["Text"]
    assert running.status.endswith("from 1 point.")


def test_the_image_may_get_another_shape_and_be_removed(running, gate, discs):
    for shape in ((40, 50), (3, 120, 150)):
        running.viewer.layers["image"].data = np.zeros(shape, np.uint8)

        go_on(running, gate)

        assert not running.has(PREVIEW)
        assert running.status == (
            "⚠ “image” has another shape now; earlier results do not fit it. Run again."
        )
        assert running.results == "No preview result yet."
        assert not running.button("accept").isEnabled()
        running.viewer.layers["image"].data = discs
        begin_again(running, gate)

    running.viewer.layers.remove("image")
    go_on(running, gate)
    assert not running.has(PREVIEW)
    assert running.status == "⚠ The image is no longer open. Choose another image."
    assert running.results == "No preview result yet."
    assert not running.button("save").isEnabled()
    assert not running.button("run_preview").isEnabled()


def test_the_layers_of_prompts_and_of_the_preview_may_be_deleted(running, gate, discs):
    running.viewer.layers.remove("SAM3 points")

    go_on(running, gate)

    np.testing.assert_array_equal(running.preview, api.segment(discs, points=[CLICK]).labels)
    assert not running.button("run_preview").isEnabled()
    running.click("create_prompt_layer")
    running.viewer.layers["SAM3 points"].add((85, 40))
    begin_again(running, gate)
    running.viewer.layers.remove(PREVIEW)
    go_on(running, gate)
    assert running.preview[85, 40] == 1


def test_a_second_run_counts_and_cancel_drops_the_result_at_once(running, gate, discs):
    running.viewer.layers["SAM3 points"].add((85, 40))
    running.click("run_preview")

    go_on(running, gate)

    expected = api.segment(discs, points=[CLICK, (85, 40)]).labels
    np.testing.assert_array_equal(running.preview, expected)
    assert running.status.endswith("from 2 points.")

    running.click("clear_preview")
    begin_again(running, gate)
    runs = gate.runs
    running.click("cancel")
    assert running.status == "Cancelled."
    assert not running.is_running
    gate.opened.set()
    running.run()  # on the same thread, so the cancelled run has ended too
    assert gate.runs == runs + 1
    np.testing.assert_array_equal(running.preview, expected)
    assert running.status.startswith("✓ Preview ready")


def test_closing_the_viewer(running, gate):
    running.viewer.close()
    gate.opened.set()

    running.wait(lambda: not workers_of(running))
    assert gate.runs == 1


def test_closing_the_dock_and_opening_it_again(running, gate, discs):
    gone = weakref.ref(running.widget)
    running.close_dock()
    gate.opened.set()
    running.wait(lambda: not workers_of(running))
    running.wait(lambda: gc.collect() >= 0 and gone() is None)

    running.open()
    assert not running.is_running
    running.viewer.layers["SAM3 points"].add((85, 40))
    running.run()

    expected = api.segment(discs, points=[CLICK, (85, 40)]).labels
    np.testing.assert_array_equal(running.preview, expected)

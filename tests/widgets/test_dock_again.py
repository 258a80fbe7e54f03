"""Who closes the dock and opens it again goes on with what is on show."""

import gc
import weakref

import numpy as np
from qtpy.QtCore import QEvent
from qtpy.QtWidgets import QApplication

from napari_sam3_assistant import api

CLICK, OTHER = (30, 40), (85, 110)
PREVIEW, BOXES, KEPT = "SAM3 preview labels", "SAM3 preview boxes", "SAM3 saved labels"


def found_and_opened_again(user, discs):
    user.viewer.add_image(discs, name="image")
    user.choose("2d_segmentation", "points")
    user.viewer.layers["SAM3 points"].add(CLICK)
    user.run()
    user.close_dock()
    user.open()


def test_the_preview_on_show_is_known_again_and_a_closed_dock_lets_go_of_it(user, discs):
    found_and_opened_again(user, discs)
    assert user.results.startswith("Latest labels: 1 object")

    user.click("save")
    expected = api.segment(discs, points=[CLICK]).labels
    np.testing.assert_array_equal(user.viewer.layers[KEPT].data, expected)
    user.click("undo")
    assert not user.has(PREVIEW)
    user.click("redo")
    np.testing.assert_array_equal(user.preview, expected)
    user.click("clear_preview")
    assert not user.has(PREVIEW)
    assert len(user.viewer.layers[BOXES].data) == 0
    assert user.results == "No preview result yet."
    user.click("undo")
    user.click("accept")
    np.testing.assert_array_equal(
        user.viewer.layers["SAM3 live accepted labels"].data, expected != 0
    )

    session = weakref.ref(user.widget.binding.session)
    user.close_dock()
    user.wait(lambda: gc.collect() >= 0 and session() is None)  # workers let go when they end


def test_what_was_painted_while_the_dock_was_closed_counts_if_its_image_is_there(user, discs):
    user.viewer.add_image(discs, name="image")
    user.choose("2d_segmentation", "points")
    user.viewer.layers["SAM3 points"].add(CLICK)
    user.run()
    user.close_dock()
    user.viewer.layers[PREVIEW].data[100:110, 60:80] = 7
    user.open()

    assert user.results.startswith("Latest labels: 2 objects")
    user.viewer.layers["SAM3 points"].add(OTHER)
    user.run()
    assert user.preview[105, 70] == 7, "a run has taken what was painted"
    user.click("undo")
    user.click("undo")
    assert user.preview[105, 70] == 7

    user.close_dock()
    user.viewer.layers.remove("image")
    user.open()
    assert user.results == "No preview result yet."
    assert not user.button("undo").isEnabled()


def test_propagated_labels_are_known_again(user, discs):
    user.viewer.add_image(np.stack([discs] * 3), name="image")
    user.choose("3d_video_propagation", "points")
    user.viewer.layers["SAM3 points"].add((1, *CLICK))
    user.viewer.dims.set_current_step(0, 1)
    user.run()
    shown = np.asarray(user.viewer.layers["SAM3 propagated preview labels"].data)
    assert shown.any(axis=(1, 2)).all()
    user.close_dock()
    user.open()

    user.click("save")
    user.wait_for_end()
    kept = next(one for one in user.viewer.layers if "saved propagated" in one.name)
    np.testing.assert_array_equal(kept.data, shown)
    user.click("clear_preview")
    assert not user.has("SAM3 propagated preview labels")


def test_python_may_forget_a_closed_dock_before_qt_destroys_it(user):
    user.dock.destroyOnClose()
    user.dock = user.widget = user.window = None

    gc.collect()
    QApplication.sendPostedEvents(None, QEvent.Type.DeferredDelete.value)

    user.settle()
    assert not [
        callback
        for callback in user.viewer.events.theme.callbacks
        if "napari_sam3_assistant" in getattr(callback, "__module__", "")
    ]
    user.open()
    assert user.button("run_preview") is not None

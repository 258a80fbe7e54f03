"""Accepted labels that do not fit into memory: written by a job, beside the file of the image."""

import numpy as np
import pytest
import tifffile
import zarr
from qtpy.QtCore import Qt

from napari_sam3_assistant.viewer.binding import binding_for
from napari_sam3_assistant.viewer.label_pixels import is_locked

ACCEPTED = "SAM3 live accepted labels"
FIRST, SECOND = (30, 40), (85, 110)
CTRL = Qt.KeyboardModifier.ControlModifier


@pytest.fixture
def opened(open_window, discs, tmp_path, napari_reads):
    """The discs, opened from a file, in Live Points; 1000 bytes of labels fit into memory."""
    tifffile.imwrite(tmp_path / "discs.tif", discs)
    user = open_window()
    user.viewer.open(tmp_path / "discs.tif", plugin="napari")
    binding_for(user.viewer, None, None).adapter.accepted.in_memory = 1000
    user.look_at_all()
    user.choose("refinement")
    yield user
    vars(user).clear()  # napari's fixture fails where its window is still held


def find(user, pixel):
    """Click on an object, and wait for its mask; returns its size."""
    user.click_at(user.viewer.layers["discs"], pixel)
    user.wait(lambda: user.preview is not None and user.preview[pixel] > 0)
    user.wait_for_end()
    return int((user.preview > 0).sum())


def sizes(folder):
    labels = zarr.open_group(str(folder), mode="r")["0"][...]
    return [int((labels == id_).sum()) for id_ in range(1, labels.max() + 1)]


def test_accept_undo_and_the_next_object(opened, tmp_path):
    folder = tmp_path / "discs_accepted.ome.zarr"
    first = find(opened, FIRST)
    opened.press(Qt.Key.Key_Return, CTRL)
    # The next click comes while the first object may still be written.
    second = find(opened, SECOND)
    assert sizes(folder) == [first]
    opened.press(Qt.Key.Key_Return, CTRL)
    opened.wait(lambda: opened.status.startswith("✓ Accepted: object 2."))
    assert opened.status.endswith(f"They are in {folder}, which stays.")
    assert sizes(folder) == [first, second]
    assert not opened.has("SAM3 preview labels")
    opened.wait_for_end()

    opened.click("undo")
    opened.wait(lambda: opened.status == "The last step is taken back.")
    opened.wait_for_end()
    assert sizes(folder) == [first]
    assert (opened.preview > 0).sum() == second
    opened.click("redo")
    opened.wait(lambda: sizes(folder) == [first, second])
    opened.wait_for_end()
    assert opened.viewer.layers[ACCEPTED].features["index"].tolist() == [1, 2]


def test_the_dock_is_closed_while_it_is_written(opened, tmp_path):
    first = find(opened, FIRST)
    opened.click("accept")
    opened.close_dock()
    layer = opened.viewer.layers[ACCEPTED]
    opened.wait(lambda: len(layer.features) == 1 and not is_locked(layer))
    assert sizes(tmp_path / "discs_accepted.ome.zarr") == [first]
    np.testing.assert_array_equal(np.unique(layer.data), [0, 1])
    opened.open()
    opened.look_at_all()
    opened.choose("refinement")
    find(opened, SECOND)
    opened.click("accept")
    opened.wait(lambda: opened.status.startswith("✓ Accepted: object 2."))

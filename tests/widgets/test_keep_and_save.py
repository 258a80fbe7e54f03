"""What was accepted is saved: by one press, at each Accept, with what is on show, and cleaned."""

import numpy as np
import pytest
import tifffile
from qtpy.QtCore import Qt

from napari_sam3_assistant import api

ACCEPTED, POINTS = "SAM3 live accepted labels", "SAM3 points"
CTRL = Qt.KeyboardModifier.ControlModifier
FIRST, SECOND, THIRD = (30, 40), (85, 110), (30, 110)


@pytest.fixture
def opened(open_window, discs, tmp_path, napari_reads):
    """The discs, opened from a file, in Live Points."""
    tifffile.imwrite(tmp_path / "discs.tif", discs)
    user = open_window()
    user.viewer.open(tmp_path / "discs.tif", plugin="napari")
    user.look_at_all()
    user.choose("refinement")
    yield user
    vars(user).clear()  # napari's fixture fails where its window is still held


def find(user, pixel):
    """Click on an object, and wait for its mask."""
    image = user.viewer.layers["discs"]
    user.click_at(image, pixel)
    expected = api.segment(np.asarray(image.data), points=[pixel]).labels > 0
    user.wait(lambda: user.preview is not None and np.array_equal(user.preview > 0, expected))
    user.wait_for_end()
    return expected


def accept(user):
    user.press(Qt.Key.Key_Return, CTRL)


def test_accepted_objects_and_those_on_show_are_saved_together_by_one_press(opened, tmp_path):
    first = find(opened, FIRST)
    scores = list(opened.viewer.layers["SAM3 preview labels"].features["score"])
    accept(opened)
    assert opened.button("save_now").isEnabled()
    assert opened.button("save_file").isEnabled()
    second = find(opened, SECOND)
    scores += list(opened.viewer.layers["SAM3 preview labels"].features["score"])

    opened.click("save_now")
    opened.wait(lambda: "Saved 2 objects in" in opened.status)

    saved = tifffile.imread(tmp_path / "discs_labels.tif")
    np.testing.assert_array_equal(saved, first + 2 * second)
    # Nothing has changed but the disk, and the next press replaces nothing.
    assert opened.viewer.layers[ACCEPTED].data.max() == 1
    accept(opened)
    before = (tmp_path / "discs_labels.tif").read_bytes()
    opened.click("save_now")
    opened.wait(lambda: opened.status.startswith("✓ Saved 2 objects in"))
    assert (tmp_path / "discs_labels.tif").read_bytes() == before
    np.testing.assert_array_equal(tifffile.imread(tmp_path / "discs_labels_02.tif"), saved)

    accepted_labels_say_what_is_known_of_each_object(opened, [first.sum(), second.sum()], scores)
    what_is_found_again_is_saved_and_accepted_once(opened, tmp_path)
    save_and_clean_keeps_what_was_accepted(opened, tmp_path)


def accepted_labels_say_what_is_known_of_each_object(opened, areas, scores):
    known = opened.viewer.layers[ACCEPTED].features
    assert list(known["index"]) == [1, 2]
    assert list(known["area"]) == areas
    np.testing.assert_array_equal(known["score"], scores)
    assert list(known["prompt"]) == ["1 point", "1 point"]
    assert set(known["engine"]) == {"Built-in (no SAM 3 weights)"}

    opened.undo()
    assert list(opened.viewer.layers[ACCEPTED].features["index"]) == [1]
    opened.redo()
    assert list(opened.viewer.layers[ACCEPTED].features["area"]) == areas


def what_is_found_again_is_saved_and_accepted_once(opened, tmp_path):
    opened.choose("text_segmentation")
    opened.type_phrase("bright objects")
    opened.wait_for_end()
    count = len(np.unique(opened.preview)) - 1
    assert count > 2

    opened.click("save_now")
    opened.wait(lambda: f"Saved {count} objects in" in opened.status)
    saved = tifffile.imread(tmp_path / "discs_labels_03.tif")
    accept(opened)

    assert "2 objects left out: accepted before." in opened.status
    np.testing.assert_array_equal(opened.viewer.layers[ACCEPTED].data, saved)
    assert np.bincount(saved.ravel())[1:].min() > 100


def save_and_clean_keeps_what_was_accepted(opened, tmp_path):
    labels = np.array(opened.viewer.layers[ACCEPTED].data)
    opened.click("mode_advanced")
    model = opened.widget.binding.model
    model.output_folder = str(tmp_path / "out")

    opened.click("save_clean")
    opened.wait(lambda: "Saved discs_kept_mask_01.tif" in opened.status)

    saved = tifffile.imread(tmp_path / "out" / "discs_kept_mask_01.tif")
    np.testing.assert_array_equal(saved, labels)
    assert opened.has(ACCEPTED)


def test_each_accept_writes_the_same_file_and_nobody_elses(opened, tmp_path):
    theirs = tmp_path / "discs_labels.tif"
    theirs.write_bytes(b"theirs")
    ours = tmp_path / "discs_labels_02.tif"
    labels = find(opened, FIRST).astype(int)
    opened.click("save_at_accept")  # it is there when there is something to accept
    accept(opened)
    opened.wait(lambda: "Saved in" in opened.status)
    np.testing.assert_array_equal(tifffile.imread(ours), labels)

    labels += 2 * find(opened, SECOND)
    accept(opened)
    opened.wait(lambda: tifffile.imread(ours).max() == 2)
    np.testing.assert_array_equal(tifffile.imread(ours), labels)
    opened.undo()
    opened.wait(lambda: tifffile.imread(ours).max() == 1)

    # Somebody has written into it since: it is theirs now.
    ours.write_bytes(b"edited")
    opened.redo()
    opened.wait((tmp_path / "discs_labels_03.tif").exists)
    assert (ours.read_bytes(), theirs.read_bytes()) == (b"edited", b"theirs")


def test_accepted_objects_of_a_stack_are_a_stack_in_the_file(
    open_window, discs, tmp_path, napari_reads
):
    stack = np.stack([discs, discs[::-1], discs])
    tifffile.imwrite(tmp_path / "stack.ome.tif", stack, metadata={"axes": "ZYX"})
    user = open_window()
    user.viewer.open(tmp_path / "stack.ome.tif", plugin="napari")
    user.look_at_all()
    user.viewer.dims.set_point(0, 1)
    user.choose("refinement")
    (image,) = (one for one in user.viewer.layers if one.name.startswith("stack"))
    user.click_at(image, (1, *FIRST))
    user.wait(lambda: user.has("SAM3 preview labels"))
    user.wait_for_end()
    accept(user)

    user.click("save_now")
    user.wait(lambda: "Saved 1 object in" in user.status)

    (file,) = tmp_path.glob("*_labels.tif")
    saved = tifffile.imread(file)
    assert saved.shape == stack.shape
    assert not saved[[0, 2]].any()
    np.testing.assert_array_equal(saved[1], api.segment(stack[1], points=[FIRST]).labels)
    with tifffile.TiffFile(file) as written:
        assert written.series[0].axes == "ZYX"

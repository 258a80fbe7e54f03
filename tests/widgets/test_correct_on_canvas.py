"""Correct found, accepted and propagated objects with the mouse and keys on the canvas."""

import numpy as np
import pytest
from qtpy.QtCore import Qt
from qtpy.QtTest import QTest

PREVIEW, ACCEPTED, POINTS = "SAM3 preview labels", "SAM3 live accepted labels", "SAM3 points"
Key, Mod = Qt.Key, Qt.KeyboardModifier
CONTROL, ALT, SHIFT = Mod.ControlModifier, Mod.AltModifier, Mod.ShiftModifier
FIRST, SECOND, THIRD = (30, 40), (30, 110), (85, 40)


@pytest.fixture(params=[PREVIEW, ACCEPTED])
def found(request, open_window, discs):
    """Somebody who has found four discs by a phrase, and accepted them or not."""
    user = open_window(discs)
    user.choose("text_segmentation")
    user.type_phrase("bright objects")
    user.wait(lambda: user.has(PREVIEW) and not user.is_running)
    if request.param == ACCEPTED:
        user.press(Key.Key_K)
        assert not user.has(PREVIEW)
    user.press(Key.Key_P)
    user.look_at_all()
    user.labels = user.viewer.layers[request.param]
    yield user
    vars(user).clear()  # napari's fixture fails where its window is still held


def click(user, pixel, held):
    spot = user.spot(user.viewer.layers["image"], pixel)
    QTest.mouseClick(user.canvas, Qt.MouseButton.LeftButton, held, spot)
    user.settle()


def ids(user):
    return set(np.unique(user.labels.data).tolist()) - {0}


def rows(user):
    """The numbers of the rows of the table, of features and of pixels are the same."""
    listed = sorted(row.record.id for row in user.widget.binding.model.results)
    assert listed == sorted(user.labels.features["index"]) == sorted(ids(user))
    areas = dict(zip(user.labels.features["index"], user.labels.features["area"], strict=True))
    for row in user.widget.binding.model.results:
        pixels = user.labels.data == row.record.id
        assert row.record.area == areas[row.record.id] == pixels.sum()
        places = np.argwhere(pixels)
        low, high = places.min(0), places.max(0) + 1
        assert row.record.region.box == (*low, *high)
    return listed


def at(user, pixel):
    return int(user.labels.data[pixel])


def test_objects_are_deleted_merged_and_split_and_all_is_taken_back(found):
    ctrl_click_deletes_and_undo_brings_it_back(found)
    the_marked_object_goes_by_del(found)
    found.press(Key.Key_P)
    for way in ("clicks", "drag", "other keys"):
        alt_click_merges_two_objects(found, way)
    a_line_that_cuts_nothing_can_be_drawn_again_or_left(found)
    a_line_across_an_object_splits_it(found)


def ctrl_click_deletes_and_undo_brings_it_back(found):
    before, gone = found.labels.data.copy(), at(found, SECOND)
    click(found, SECOND, CONTROL)
    assert rows(found) == sorted(set(np.unique(before).tolist()) - {0, gone})
    assert len(found.viewer.layers[POINTS].data) == 0, "the click was a prompt, too"
    assert found.viewer.layers[POINTS].mode == "add"
    found.undo()
    np.testing.assert_array_equal(found.labels.data, before)
    assert len(rows(found)) == 4
    found.redo()
    assert at(found, SECOND) == 0
    assert len(rows(found)) == 3
    click(found, (60, 75), CONTROL)  # the background
    assert len(rows(found)) == 3
    assert "no object under" in found.status
    assert len(found.viewer.layers[POINTS].data) == 0
    found.undo()
    assert len(rows(found)) == 4


def the_marked_object_goes_by_del(found):
    wanted = at(found, THIRD)
    found.press(Key.Key_N)
    while found.widget.binding.model.picked.record.id != wanted:
        found.press(Key.Key_N)
    found.press(Key.Key_Delete)
    assert wanted not in rows(found)
    found.press(Key.Key_Delete)
    assert "No object is marked" in found.status
    found.undo()
    assert wanted in rows(found)


def alt_click_merges_two_objects(found, way):
    before = found.labels.data.copy()
    first, second = at(found, FIRST), at(found, SECOND)
    if way == "drag":
        image = found.viewer.layers["image"]
        a, b = found.spot(image, FIRST), found.spot(image, SECOND)
        QTest.mousePress(found.canvas, Qt.MouseButton.LeftButton, ALT, a)
        QTest.mouseRelease(found.canvas, Qt.MouseButton.LeftButton, ALT, b)
        found.settle()
    else:
        held = ALT if way == "clicks" else CONTROL | SHIFT
        click(found, FIRST, held)
        assert found.widget.binding.model.picked.record.id == first
        click(found, SECOND, held)
    np.testing.assert_array_equal(
        found.labels.data == first, (before == first) | (before == second)
    )
    assert len(rows(found)) == 3
    found.undo()
    np.testing.assert_array_equal(found.labels.data, before)
    assert len(rows(found)) == 4
    found.redo()
    assert at(found, SECOND) == first
    found.undo()


def a_line_that_cuts_nothing_can_be_drawn_again_or_left(found):
    before, image = found.labels.data.copy(), found.viewer.layers["image"]
    found.press(Key.Key_S, SHIFT)
    found.drag(image, (28, 38), (30, 40), (32, 42))
    assert "cuts no object in two" in found.status
    found.drag(image, (30, 20), (30, 40), (30, 60))
    assert len(rows(found)) == 5
    found.undo()
    found.press(Key.Key_S, SHIFT)
    found.press(Key.Key_Escape)
    np.testing.assert_array_equal(found.labels.data, before)
    found.click_at(image, (60, 75))
    assert len(found.viewer.layers[POINTS].data) == 1
    found.undo()
    assert len(found.viewer.layers[POINTS].data) == 0
    found.wait_for_end()
    np.testing.assert_array_equal(found.labels.data, before)


def a_line_across_an_object_splits_it(found):
    before, whole = found.labels.data.copy(), at(found, FIRST)
    image = found.viewer.layers["image"]
    found.press(Key.Key_S, SHIFT)
    camera = getattr(found.viewer, "scene", found.viewer).camera  # moved in napari 0.9
    centre = np.array(camera.center)
    found.drag(image, (10, 48), (20, 46), (30, 47), (40, 45), (50, 46))
    np.testing.assert_array_equal(camera.center, centre)
    assert at(found, FIRST) == whole
    new = at(found, (30, 51))
    assert new > before.max()
    assert (found.labels.data == whole).sum() > (found.labels.data == new).sum()
    np.testing.assert_array_equal(found.labels.data > 0, before > 0)
    assert len(rows(found)) == 5
    found.undo()
    np.testing.assert_array_equal(found.labels.data, before)
    assert len(rows(found)) == 4
    found.redo()
    assert at(found, (30, 51)) == new
    lines = [layer for layer in found.viewer.layers if "split line" in layer.name]
    assert [line.nshapes for line in lines] == [0]
    # One line is one press of the key.
    found.click_at(image, (60, 75))
    assert len(found.viewer.layers[POINTS].data) == 1


def test_alt_click_merges_objects_of_two_preview_layers(open_window, discs):
    image = np.where(discs > 100, discs, 110).astype(np.uint8)
    image[20:40, 100:120] = 20
    user = open_window(image)
    user.choose("text_segmentation")
    user.widget.binding.model.batch_text = "bright discs\ndark objects"
    user.run()
    bright, dark = (one for one in user.viewer.layers if one.name.startswith(PREVIEW))
    first, second = int(bright.data[THIRD]), int(dark.data[SECOND])
    name = dark.name
    assert first
    assert second
    click(user, THIRD, ALT)
    click(user, SECOND, ALT)
    assert bright.data[THIRD] == bright.data[SECOND] == first
    assert dark not in user.viewer.layers
    user.undo()
    dark = user.viewer.layers[name]
    assert (bright.data[SECOND], dark.data[SECOND]) == (0, second)
    vars(user).clear()  # napari's fixture fails where its window is still held


def test_the_click_after_a_split_needs_no_button_and_leaves_its_parts(open_window, discs):
    user = open_window(discs)
    user.press(Key.Key_P)
    image = user.viewer.layers["image"]
    user.click_at(image, FIRST)
    user.wait(lambda: user.has(PREVIEW) and not user.is_running)
    user.press(Key.Key_S, SHIFT)
    user.drag(image, (10, 48), (30, 47), (50, 46))
    user.labels = user.viewer.layers[PREVIEW]
    parts = user.labels.data.copy()
    assert len(ids(user)) == 2
    assert len(user.viewer.layers[POINTS].data) == 0
    user.click_at(image, SECOND)
    user.wait(lambda: at(user, SECOND) and not user.is_running)
    np.testing.assert_array_equal(user.labels.data[parts > 0], parts[parts > 0])
    assert len(ids(user)) == 3
    vars(user).clear()  # napari's fixture fails where its window is still held

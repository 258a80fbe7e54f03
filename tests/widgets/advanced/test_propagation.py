"""3D/video in a docked widget, by mouse and buttons."""

import threading

import numpy as np
import pytest
import tifffile
from napari.layers import Layer
from qtpy.QtCore import Qt
from qtpy.QtTest import QTest
from qtpy.QtWidgets import QFileDialog, QSpinBox

from napari_sam3_assistant.engines.builtin.propagation import BuiltinTrack

PREVIEW = "SAM3 propagated preview labels"
SAVED = "SAM3 saved propagated labels"
LEFT_BALL, RIGHT_BALL = (50, 40), (70, 105)
SHAPE = (15, 120, 150)
MICROSCOPE = {
    "scale": (0.5, 0.2, 0.2),
    "units": ("micrometer",) * 3,
    "axis_labels": ("z", "y", "x"),
}


@pytest.fixture(scope="module")
def balls():
    """Two bright balls of radius 20 on slices 3 to 11 of 15: (15, 120, 150) uint8."""
    z, y, x = np.ogrid[: SHAPE[0], : SHAPE[1], : SHAPE[2]]
    stack = np.full(SHAPE, 30, np.uint8)
    for cy, cx in (LEFT_BALL, RIGHT_BALL):
        stack[((z - 7) * 4) ** 2 + (y - cy) ** 2 + (x - cx) ** 2 < 400] = 200
    return stack


@pytest.fixture
def held(monkeypatch):
    """Stop each pass through the stack before its fourth frame until the test lets it go on."""
    go_on, propagate = threading.Event(), BuiltinTrack.propagate

    def propagate_held(*arguments):
        for number, found in enumerate(propagate(*arguments)):
            assert number < 3 or go_on.wait(240)
            yield found

    monkeypatch.setattr(BuiltinTrack, "propagate", propagate_held)
    yield go_on
    go_on.set()


def values_by_frame(labels):
    return [np.unique(plane[plane > 0]).tolist() for plane in labels]


FOUND = [[]] * 3 + [[1, 2]] * 9 + [[]] * 3


def spin(user, name):
    return user.widget.findChild(QSpinBox, name)


def begin(user, frame):
    """Choose the task, go to a slice and make the points layer."""
    user.choose_in("task", "3D/video propagation")
    user.viewer.dims.set_current_step(0, frame)
    user.settle()
    user.choose_in("tool", "Points (positive/negative)")
    user.click("create_prompt_layer")


def click_both(user, frame):
    """Click on both balls, as two objects."""
    image = user.viewer.layers["image"]
    user.click_at(image, (frame, *LEFT_BALL))
    user.click("new_object")
    user.click_at(image, (frame, *RIGHT_BALL))


def test_a_scaled_stack_from_the_first_click_to_the_file_and_on(
    open_advanced, balls, tmp_path, monkeypatch
):
    advanced = open_advanced(balls, **MICROSCOPE)
    user = advanced.user
    assert user.button("propagate_existing").isVisible() is False
    begin(user, 7)
    assert user.button("run_preview").text() == "Start 3D Propagation"
    assert not user.button("run_preview").isEnabled()
    assert user.button("run_preview").toolTip() == "Click on the object in the image first."
    assert not user.button("propagate_existing").isEnabled()
    assert not user.button("batch_images").isEnabled()
    assert not user.button("large_image").isEnabled()
    click_both(user, 7)
    points = user.viewer.layers["SAM3 points"]
    assert points.features["object_id"].tolist() == [1, 2]
    assert points.text.visible

    user.run()

    labels = user.viewer.layers[PREVIEW]
    assert values_by_frame(labels.data) == FOUND
    assert labels.get_value(user.viewer.layers["image"].data_to_world((5, *LEFT_BALL)), world=True)
    assert labels.units == user.viewer.layers["image"].units
    assert user.status.startswith("✓ Propagated: 2 objects on 15 frames")
    assert user.results == "Propagated labels: 2 objects. Video session ready."
    assert len(advanced.cells()) == 18
    assert ("image", "-", "7", "1") in [row[:4] for row in advanced.cells()]
    assert user.button("propagate_existing").isEnabled()
    user.click("save")
    user.wait(lambda: user.has(SAVED))
    assert np.array_equal(user.viewer.layers[SAVED].data, labels.data)
    chosen = str(tmp_path / "found")
    monkeypatch.setattr(QFileDialog, "getSaveFileName", lambda *_: (chosen, "TIFF (*.tif *.tiff)"))
    user.click("save_file")
    user.wait_for_end()
    with tifffile.TiffFile(f"{chosen}.tif") as tiff:
        assert np.array_equal(tiff.asarray(), labels.data)
        assert 'PhysicalSizeZ="0.5"' in tiff.ome_metadata

    a_row_leads_to_its_slice_and_a_click_to_its_row(advanced)
    a_correcting_click_is_on_the_object_under_it(user)
    in_three_dimensions(user)
    an_object_is_removed(advanced)
    a_copy_of_the_labels_is_the_users(user)


def a_row_leads_to_its_slice_and_a_click_to_its_row(advanced):
    user = advanced.user
    place = [row[2:4] for row in advanced.cells()].index(("4", "2"))
    table = advanced.table
    table.scrollTo(table.model().index(place, 0))
    QTest.mouseClick(
        table.viewport(),
        Qt.MouseButton.LeftButton,
        pos=table.visualRect(table.model().index(place, 0)).center(),
    )
    assert user.viewer.dims.current_step[0] == 4
    labels = user.viewer.layers[PREVIEW]
    assert labels.selected_label == 2
    user.viewer.layers.selection.active = labels
    user.look_at_all()
    user.click_at(labels, (4, *LEFT_BALL))
    assert advanced.cells()[advanced.chosen_row][2:4] == ("4", "1")


def a_correcting_click_is_on_the_object_under_it(user):
    assert spin(user, "object_id").value() == 2
    image, points = user.viewer.layers["image"], user.viewer.layers["SAM3 points"]
    user.viewer.dims.set_current_step(0, 5)
    user.viewer.layers.selection.active = points
    points.mode = "add"
    user.settle()

    user.click_at(image, (5, *LEFT_BALL))
    assert points.features["object_id"].tolist() == [1, 2, 1]
    assert spin(user, "object_id").value() == 1
    assert user.status.startswith("This click corrects object 1.")
    user.click("new_object")
    user.click_at(image, (5, 110, 20))
    assert points.features["object_id"].tolist() == [1, 2, 1, 3]
    assert user.status.startswith("This click starts object 3.")
    for number in (1, 2):
        user.undo()
        assert points.features["object_id"].tolist() == [1, 2, 1][: 4 - number]


def in_three_dimensions(user):
    user.viewer.dims.ndisplay = 3
    user.settle()
    user.run()
    assert values_by_frame(user.viewer.layers[PREVIEW].data) == FOUND
    user.viewer.dims.ndisplay = 2


def an_object_is_removed(advanced):
    user = advanced.user
    user.choose_in("tracked_objects", "Followed: 1")
    user.click("remove_object")
    user.wait(lambda: user.status.startswith("✓ Object 1 is removed"))
    assert values_by_frame(user.viewer.layers[PREVIEW].data) == [[]] * 3 + [[2]] * 9 + [[]] * 3
    assert {row[3] for row in advanced.cells()} == {"2"}


def a_copy_of_the_labels_is_the_users(user):
    data, state, kind = user.viewer.layers[PREVIEW].as_layer_data_tuple()
    mine = user.viewer.add_layer(Layer.create(data.copy(), {**state, "name": "mine"}, kind))
    user.click("clear_preview")
    assert not user.has(PREVIEW)
    assert mine in user.viewer.layers
    assert np.array_equal(mine.data, data)
    assert mine.data.any()


def test_correct_on_slice_7_and_propagate_again(open_advanced, balls):
    user = open_advanced(balls, **MICROSCOPE).user
    begin(user, 5)
    click_both(user, 5)
    user.run()
    before = user.viewer.layers[PREVIEW].data.copy()
    user.viewer.dims.set_current_step(0, 7)
    user.choose_in("tool", "Labels mask")
    user.click("create_prompt_layer")
    mask = user.viewer.layers.selection.active
    mask.selected_label, mask.brush_size = 2, 8
    user.drag(mask, (0, 66, 98), (0, 70, 104), (0, 74, 110))
    painted = mask.data[0] == 2
    assert painted.any()

    user.click("propagate_existing")
    user.wait_for_end()

    after = user.viewer.layers[PREVIEW].data
    assert np.array_equal(after[:7], before[:7])
    assert np.array_equal(after[7] == 2, painted)
    assert np.array_equal(after[7:] == 1, before[7:] == 1)
    assert user.status.startswith("✓ Propagated: 2 objects")


def test_rows_are_added_while_it_goes_on_and_after_cancel_then_continue(open_advanced, balls, held):
    advanced = open_advanced(balls)
    user = advanced.user
    begin(user, 7)
    click_both(user, 7)
    user.click("run_preview")
    user.wait(lambda: len(advanced.cells()) > 0)
    resets, added = [], []
    rows = advanced.table.model()
    rows.modelReset.connect(lambda: resets.append(rows.rowCount()))
    rows.rowsInserted.connect(lambda _, first, last: added.append(last - first + 1))
    user.click("cancel")
    assert not user.is_running
    assert user.status.startswith("Stopped; ")
    there = values_by_frame(user.viewer.layers[PREVIEW].data)
    assert there != FOUND
    held.set()

    user.click("propagate_existing")
    user.wait_for_end()

    assert values_by_frame(user.viewer.layers[PREVIEW].data) == FOUND
    assert len(advanced.cells()) == 18
    assert resets == []
    assert sum(added) > 0


@pytest.mark.thorough
def test_a_volume_at_one_time_along_the_axis_that_is_chosen(open_advanced, balls):
    movie = np.stack([np.full_like(balls, 30), balls])
    user = open_advanced(movie, axis_labels=("t", "z", "y", "x")).user
    user.choose_in("task", "3D/video propagation")
    assert user.combo("frame_axis").isVisible()
    assert user.combo("frame_axis").currentText() == "z (15 frames)"
    user.viewer.dims.set_current_step(0, 1)
    user.viewer.dims.set_current_step(1, 7)
    user.settle()
    user.click("create_prompt_layer")
    user.click_at(user.viewer.layers["image"], (1, 7, *RIGHT_BALL))
    user.choose_in("direction", "forward")
    spin(user, "last_frame").setValue(9)

    user.run()

    labels = user.viewer.layers[PREVIEW].data
    assert labels.shape == movie.shape
    assert not labels[0].any()
    assert values_by_frame(labels[1]) == [[]] * 7 + [[1]] * 3 + [[]] * 5


@pytest.mark.thorough
@pytest.mark.parametrize("what", ["removed", "renamed"])
def test_the_labels_are_removed_or_renamed_meanwhile(open_advanced, balls, held, what):
    user = open_advanced(balls).user
    begin(user, 7)
    click_both(user, 7)
    user.click("run_preview")
    user.wait(lambda: user.has(PREVIEW))
    labels = user.viewer.layers[PREVIEW]
    if what == "renamed":
        labels.name = "mine"
        held.set()
        user.wait_for_end()
        assert values_by_frame(labels.data) == FOUND
        return
    user.viewer.layers.selection.active = labels
    user.viewer.layers.remove_selected()
    assert not user.is_running
    assert user.status == f"⚠ “{PREVIEW}” was removed; the propagation was stopped."
    user.settle()
    assert not user.has(PREVIEW)
    assert not user.button("propagate_existing").isEnabled()


def test_the_image_or_the_labels_get_another_shape_meanwhile(open_advanced, balls, held):
    user = open_advanced(balls).user
    begin(user, 7)
    click_both(user, 7)
    said = {
        PREVIEW: "The propagated labels are gone. Press Start 3D Propagation again.",
        "image": "“image” was given other pixels: its propagation, which is of the earlier ones, "
        "can't go on. Press Start 3D Propagation for those that it has now.",
    }
    for layer, status in said.items():
        held.clear()
        before = user.viewer.layers[PREVIEW] if user.has(PREVIEW) else None
        user.click("run_preview")
        user.wait(
            lambda before=before: user.has(PREVIEW) and user.viewer.layers[PREVIEW] is not before
        )
        user.viewer.layers[layer].data = np.zeros((5, 9, 9), np.uint8)
        held.set()
        user.wait_for_end()
        assert user.status == f"⚠ {status}"
        assert not user.button("propagate_existing").isEnabled()


@pytest.mark.thorough
def test_png_is_refused_with_the_alternative(open_advanced, balls, tmp_path, monkeypatch):
    user = open_advanced(balls).user
    user.choose_in("output_format", "PNG")  # of a plane, before
    begin(user, 7)
    click_both(user, 7)
    user.run()
    monkeypatch.setattr(QFileDialog, "getExistingDirectory", lambda *_: str(tmp_path))
    user.click("choose_output_folder")
    assert not user.button("save_clean").isEnabled()
    assert "choose TIFF, NumPy or OME-Zarr" in user.button("save_clean").toolTip()
    user.choose_in("output_format", "OME-Zarr (.ome.zarr)")
    formats = user.combo("output_format")
    offered = [formats.itemText(at) for at in range(formats.count())]
    assert offered == ["TIFF", "NumPy (.npy)", "OME-Zarr (.ome.zarr)"]
    user.click("save_clean")
    user.wait_for_end()
    assert (tmp_path / "image_propagated_mask_01.ome.zarr").is_dir()
    assert formats.findText("PNG") == 2
    assert not user.has(PREVIEW)
    assert user.has(SAVED)

"""After a scan: its objects in the results table, measured, found on the canvas and back."""

import numpy as np
import pytest
from qtpy.QtCore import Qt
from qtpy.QtTest import QTest
from qtpy.QtWidgets import QDoubleSpinBox, QLabel, QLineEdit, QSpinBox
from skimage.draw import disk
from superqt import QDoubleRangeSlider

from napari_sam3_assistant.core.masks.operations import Operation
from napari_sam3_assistant.mask_operations.binding import mask_binding_for
from napari_sam3_assistant.qt.dock import QtDispatcher
from napari_sam3_assistant.viewer.roles import Role, key_of, with_role

SHAPE = (330, 450)
TEXT = "bright spots"


@pytest.fixture(scope="module")
def spots():
    """Discs of radius 10, some of them on seams of tiles, in (330, 450) uint8."""
    image = np.random.default_rng(0).normal(50, 4, SHAPE)
    for y in range(26, 320, 38):
        for x in range(26, 440, 38):
            image[disk((y, x), 10, shape=SHAPE)] += 140
    return image.clip(0, 255).astype(np.uint8)


def scan(advanced, folder):
    user = advanced.user
    user.choose_in("task", "Text segmentation")
    user.widget.findChild(QSpinBox, "scan_tile").setValue(256)
    user.widget.findChild(QSpinBox, "scan_overlap").setValue(25)
    user.widget.findChild(QLineEdit, "scan_folder").setText(str(folder))
    user.type_phrase(TEXT, enter=False)
    user.click("scan")
    user.wait_for_end()
    (layer,) = with_role(user.viewer.layers, Role.SCAN)
    return layer


def ids(advanced):
    return [int(row[3]) for row in advanced.cells()]


def test_the_table_holds_the_objects_of_a_scan(advanced, spots, tmp_path):
    user = advanced.user
    image = spots.copy()
    image[disk((159, 235), 22, shape=SHAPE)] = 190
    user.viewer.add_image(image, name="slide", scale=(0.5, 0.25), units=("um", "um"))
    layer = scan(advanced, tmp_path)
    count = len(ids(advanced))
    assert count > 80
    they_are_measured(advanced, image, layer)
    they_stand_beside_a_preview(advanced)
    the_sliders_hide_and_show_them(advanced)

    user.viewer.layers.remove(next(with_role(user.viewer.layers, Role.SCAN)))
    user.wait(lambda: user.widget.findChild(QLabel, "shown_count").text() == "")
    assert ids(advanced) == []
    layer = scan(advanced, tmp_path / "again")
    assert len(ids(advanced)) == count
    what_mask_operations_change_is_in_the_table(advanced, layer)
    user.viewer.layers.remove("slide")
    assert ids(advanced) == []


def they_are_measured(advanced, image, layer):
    user = advanced.user
    labels = np.asarray(layer.data[0])
    assert ids(advanced) == np.unique(labels[labels > 0]).tolist()
    for row in advanced.cells():
        assert row[:3] == ("slide", TEXT, "-")
        assert int(row[5]) == (labels == int(row[3])).sum()

    user.click("measure")
    user.wait_for_end()
    assert user.status == f"✓ Measured {len(ids(advanced))} objects."
    for row in advanced.cells()[::9]:
        mask = labels == int(row[3])
        assert float(row[6]) == pytest.approx(mask.sum() * 0.125, rel=5e-4)
        assert float(row[8]) == pytest.approx(np.nonzero(mask)[0].mean() * 0.5, rel=5e-4)
        assert float(row[10]) == pytest.approx(image[mask].mean(), rel=5e-4)
    areas = dict(zip(layer.features["index"], layer.features["measured_area"], strict=True))
    assert areas[int(advanced.cells()[0][3])] == pytest.approx(
        float(advanced.cells()[0][6]), rel=5e-4
    )


def they_stand_beside_a_preview(advanced):
    user, count = advanced.user, len(ids(advanced))
    user.type_phrase(TEXT)
    user.wait_for_end()
    assert len(ids(advanced)) - count > 80
    assert user.status.startswith("✓ Preview ready")
    user.click("clear_preview")
    assert len(ids(advanced)) == count


def the_sliders_hide_and_show_them(advanced):
    user = advanced.user
    (layer,) = with_role(user.viewer.layers, Role.SCAN)
    whole = np.array(layer.data[0])
    areas = dict(zip(*np.unique(whole[whole > 0], return_counts=True), strict=True))
    least = sorted(areas.values())[-1] - 0.5
    slider = user.widget.findChild(QDoubleRangeSlider, "filter_area")
    count = user.widget.findChild(QLabel, "shown_count")
    user.wait(lambda: count.text() == f"{len(areas)} of {len(areas)} shown")

    slider.setValue((least, slider.value()[1]))
    user.wait(lambda: count.text() == f"1 of {len(areas)} shown")

    (largest,) = [id_ for id_, area in areas.items() if area > least]
    assert ids(advanced) == [largest]
    (layer,) = with_role(user.viewer.layers, Role.SCAN)
    for level in layer.data:
        assert set(np.unique(level)) == {0, largest}
    assert layer.get_value(layer.data_to_world((159, 235)), world=True)[1] == largest
    assert not layer.editable
    user.click("show_all")
    user.wait(lambda: count.text() == f"{len(areas)} of {len(areas)} shown")
    (layer,) = with_role(user.viewer.layers, Role.SCAN)
    assert np.array_equal(layer.data[0], whole)
    assert len(ids(advanced)) == len(areas)

    # The threshold of step 2 does the same with the scores.
    scores = [float(row[4]) for row in advanced.cells()]
    box = user.widget.findChild(QDoubleSpinBox, "threshold")
    asked = box.value()
    box.setValue(0.99)
    user.settle()
    left = sum(score >= 0.99 for score in scores)
    user.wait(lambda: count.text() == f"{left} of {len(areas)} shown")
    assert not user.is_running
    box.setValue(0.1)
    user.settle()
    user.wait(lambda: count.text() == f"{len(areas)} of {len(areas)} shown")
    box.setValue(asked)


def what_mask_operations_change_is_in_the_table(advanced, layer):
    user = advanced.user
    before = ids(advanced)
    masks = mask_binding_for(user.viewer, QtDispatcher())
    masks.acquire()
    masks.model.target = key_of(layer)
    cleanup = masks.session.cleanup

    def settle():
        user.wait(lambda: not masks.model.running)

    cleanup.analyze()
    settle()
    masks.model.selected = (masks.model.components.values.tolist().index(before[4]),)
    cleanup.delete_selected()
    settle()
    assert ids(advanced) == [*before[:4], *before[5:]]
    cleanup.undo()
    settle()
    assert ids(advanced) == before
    cleanup.apply(Operation.EXPAND)
    settle()
    labels = np.asarray(layer.data[0])
    assert {int(row[3]): int(row[5]) for row in advanced.cells()} == {
        id_: (labels == id_).sum() for id_ in before
    }
    masks.release()


def test_a_row_leads_to_its_object_and_a_click_to_its_row(open_advanced, spots, tmp_path):
    advanced = open_advanced(spots)
    user = advanced.user
    layer = scan(advanced, tmp_path)
    table, place = advanced.table, 20
    table.scrollTo(table.model().index(place, 0))
    QTest.mouseClick(
        table.viewport(),
        Qt.MouseButton.LeftButton,
        pos=table.visualRect(table.model().index(place, 0)).center(),
    )
    wanted = int(advanced.cells()[place][3])
    assert layer.selected_label == wanted
    middle = np.argwhere(np.asarray(layer.data[0]) == wanted).mean(0)
    camera = getattr(user.viewer, "scene", user.viewer).camera
    np.testing.assert_allclose(camera.center[-2:], middle, atol=1.0)

    other = np.argwhere(np.asarray(layer.data[0]) == ids(advanced)[3]).mean(0).round()
    user.viewer.layers.selection.active = layer
    user.look_at_all()
    user.click_at(user.viewer.layers["image"], tuple(other))
    assert layer.selected_label == ids(advanced)[3]
    assert advanced.chosen_row == 3
    user.click("clear_results")
    assert ids(advanced) == []

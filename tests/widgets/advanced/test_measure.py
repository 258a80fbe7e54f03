"""Measuring: into the table, the CSV file and the layer's features, in the image's units."""

import csv
import math

import numpy as np
import pytest
from qtpy.QtCore import Qt
from qtpy.QtTest import QTest
from qtpy.QtWidgets import QFileDialog, QPushButton
from skimage.measure import regionprops

from napari_sam3_assistant.core.classes import ClassList, ObjectClass

PREVIEW = "SAM3 preview labels"
COLUMNS = ("Layer", "Prompt", "Frame", "Object ID", "Score", "Area")
MEASURED = ("Measured area", "Diameter", "Centroid Y", "Centroid X")


def titles(advanced):
    model = advanced.table.model()
    return tuple(
        model.headerData(column, Qt.Orientation.Horizontal) for column in range(model.columnCount())
    )


def find(user, phrase="bright discs"):
    user.choose_in("task", "Text segmentation")
    user.type_phrase(phrase)
    user.wait_for_end()


def measure(user):
    user.click("measure")
    user.wait_for_end()


@pytest.fixture
def found(advanced, discs):
    """Four discs that were found, in an image of 0.5 x 0.25 micrometres a pixel."""
    advanced.user.viewer.add_image(discs, name="cells", scale=(0.5, 0.25), units=("um", "um"))
    find(advanced.user)
    wait_for_measurements(advanced)
    return advanced


def wait_for_measurements(advanced):
    """Small images are measured without a press, beside the run."""
    advanced.user.wait(lambda: advanced.cells() and "-" not in advanced.cells()[-1][6:])
    advanced.user.wait(lambda: len(titles(advanced)) > len(COLUMNS))


def test_what_is_found_is_measured(found, discs, tmp_path, monkeypatch):
    what_is_measured_stands_in_the_table(found, discs)
    the_new_columns_sort(found)
    the_order_is_by_the_same_values_whatever_columns_come_and_go(found)
    the_csv_file_holds_them(found, tmp_path, monkeypatch)
    the_features_of_the_layer_keep_what_they_had(found)
    an_image_that_can_not_be_read_changes_nothing(found, monkeypatch)
    what_a_new_run_finds_is_measured_at_once(found)
    chosen_rows_stay_chosen_wherever_they_go(found)


def what_is_measured_stands_in_the_table(found, discs):
    user = found.user
    before = found.cells()
    user.viewer.layers[PREVIEW].selected_label = 2
    chosen = found.chosen_row
    assert chosen is not None

    measure(user)

    assert found.chosen_row == chosen
    assert user.status == "✓ Measured 4 objects."
    assert titles(found) == (*COLUMNS, *MEASURED, "Mean intensity", "Unit")
    labels = np.asarray(user.viewer.layers[PREVIEW].data)
    for row, old in zip(found.cells(), before, strict=True):
        assert row == old
        mask = labels == int(row[3])
        area = mask.sum() * 0.5 * 0.25
        rows, columns = np.nonzero(mask)
        numbers = [float(cell) for cell in row[6:11]]
        assert numbers == pytest.approx(
            [
                area,
                math.sqrt(4 * area / math.pi),
                rows.mean() * 0.5,
                columns.mean() * 0.25,
                discs[mask].mean(),
            ],
            rel=5e-4,
        )
        assert all(len(cell.replace(".", "").lstrip("0")) <= 4 for cell in row[6:11])
        assert row[11] == "micrometer"


def the_new_columns_sort(found):
    column = titles(found).index("Centroid X")

    found.table.sortByColumn(column, Qt.SortOrder.DescendingOrder)

    shown = [float(row[column]) for row in found.cells()]
    assert shown == sorted(shown, reverse=True)
    found.table.sortByColumn(titles(found).index("Unit"), Qt.SortOrder.AscendingOrder)
    assert len(found.cells()) == 4


def the_order_is_by_the_same_values_whatever_columns_come_and_go(found):
    table, model = found.table, found.main.binding.model
    header, every = table.horizontalHeader(), model.columns
    for title in ("Centroid X", "Mean intensity", "Area"):
        table.sortByColumn(titles(found).index(title), Qt.SortOrder.DescendingOrder)
        ids = [row[3] for row in found.cells()]
        model.columns = every.replace("Diameter, ", "")
        assert "Diameter" not in titles(found)
        assert [row[3] for row in found.cells()] == ids
        assert header.sortIndicatorSection() == titles(found).index(title)
        model.columns = every
    table.sortByColumn(titles(found).index("Diameter"), Qt.SortOrder.DescendingOrder)
    model.columns = every.replace("Diameter, ", "")
    assert [row[3] for row in found.cells()] == ["1", "2", "3", "4"]
    assert header.sortIndicatorSection() == -1
    model.columns = every


def the_csv_file_holds_them(found, tmp_path, monkeypatch):
    file = tmp_path / "results.csv"
    monkeypatch.setattr(QFileDialog, "getSaveFileName", lambda *_: (str(file), ""))

    found.user.click("export_results")
    found.user.wait_for_end()

    with file.open(encoding="utf-8", newline="") as opened:
        header, *rows = csv.reader(opened)
    assert tuple(header) == titles(found)
    for row, cells in zip(rows, found.cells(), strict=True):
        assert tuple(row[:6]) == cells[:6]
        assert row[11] == cells[11]
        # A file has more digits than the table.
        assert [float(cell) for cell in row[6:11]] == pytest.approx(
            [float(cell) for cell in cells[6:11]], rel=5e-4
        )
    layer = found.user.viewer.layers[PREVIEW]
    assert [float(row[6]) for row in rows] == pytest.approx(layer.features["measured_area"])


def the_features_of_the_layer_keep_what_they_had(found):
    user = found.user
    layer = user.viewer.layers[PREVIEW]
    before = layer.features.copy()
    layer.features = before.assign(mine=["a", "b", "c", "d"])

    measure(user)

    features = layer.features
    assert list(features.columns) == [*before.columns, "mine"]
    assert {"measured_area", "diameter", "centroid_y", "centroid_x", "mean_intensity", "unit"} <= (
        set(features.columns)
    )
    assert list(features["mine"]) == ["a", "b", "c", "d"]
    shown = {int(row[3]): float(row[6]) for row in found.cells()}
    assert dict(zip(features["index"], features["measured_area"], strict=True)) == pytest.approx(
        shown, rel=5e-4
    )


def an_image_that_can_not_be_read_changes_nothing(found, monkeypatch):
    user = found.user

    class Gone(np.ndarray):
        def __getitem__(self, key):
            raise FileNotFoundError("cells.tif")

    before = found.cells()
    image = user.viewer.layers["cells"]
    with monkeypatch.context() as patch:
        patch.setattr(type(image), "data", property(lambda self: np.zeros((120, 150)).view(Gone)))
        measure(user)

    assert user.status.startswith("✕ The image could not be read: cells.tif.")
    assert found.cells() == before
    assert user.has(PREVIEW)


def what_a_new_run_finds_is_measured_at_once(found):
    before = found.user.viewer.layers[PREVIEW].features["index"].tolist()
    find(found.user, "bright cells")
    wait_for_measurements(found)
    features = found.user.viewer.layers[PREVIEW].features
    assert features["measured_area"].notna().all()
    assert features["index"].tolist() == before


def chosen_rows_stay_chosen_wherever_they_go(found):
    """Measured, sorted and classed, they are the same objects: what follows is about them, too."""
    table, session = found.table, found.main.binding.session
    session.classes.file.take(ClassList((ObjectClass(1, "round"), ObjectClass(2, "flat"))))
    for place, modifier in (
        (0, Qt.KeyboardModifier.NoModifier),
        (2, Qt.KeyboardModifier.ControlModifier),
    ):
        spot = table.visualRect(table.model().index(place, 3)).center()
        QTest.mouseClick(table.viewport(), Qt.MouseButton.LeftButton, modifier, spot)

    def chosen():
        cells = found.cells()
        return {cells[index.row()][3] for index in table.selectionModel().selectedRows()}

    assert chosen() == {"1", "3"}
    measure(found.user)
    assert chosen() == {"1", "3"}
    table.sortByColumn(3, Qt.SortOrder.DescendingOrder)
    assert [row[3] for row in found.cells()] == ["4", "3", "2", "1"]
    assert chosen() == {"1", "3"}
    QTest.keyClick(table, Qt.Key.Key_1)
    table.sortByColumn(titles(found).index("Class"), Qt.SortOrder.AscendingOrder)
    for key, name in ((Qt.Key.Key_2, "flat"), (Qt.Key.Key_1, "round")):
        QTest.keyClick(table, key)
        place = titles(found).index("Class")
        classes = {row[3]: row[place] for row in found.cells()}
        assert classes == {"1": name, "3": name, "2": "-", "4": "-"}
        assert chosen() == {"1", "3"}


def test_every_channel_of_a_colour_image_on_its_slice(advanced, discs):
    user = advanced.user
    stack = np.zeros((3, *discs.shape, 3), np.uint8)
    stack[1] = discs[..., None] // np.array([1, 2, 4], np.uint8)
    user.viewer.add_image(stack, name="rgb", rgb=True)
    user.viewer.dims.set_point(0, 1)
    find(user)
    assert len(advanced.cells()) == 4, user.status

    measure(user)

    means = [f"Mean intensity {number}" for number in (1, 2, 3)]
    assert titles(advanced) == (*COLUMNS, *MEASURED, *means, "Unit")
    labels = np.asarray(user.viewer.layers[PREVIEW].data)[0]
    for row in advanced.cells():
        mask = labels == int(row[3])
        expected = [stack[1][mask][:, channel].mean() for channel in range(3)]
        assert [float(cell) for cell in row[10:13]] == pytest.approx(expected, rel=5e-4)
        assert row[13] == "pixel"


def test_every_visible_channel_that_napari_made_a_layer_of(advanced, discs):
    user = advanced.user
    channels = np.stack([discs, 255 - discs, discs // 2])
    user.viewer.add_image(channels, name=["a", "b", "c"], channel_axis=0)
    user.viewer.add_image(discs, name="elsewhere", translate=(40, 0))
    user.viewer.layers["c"].visible = False
    user.viewer.layers.selection.active = user.viewer.layers["a"]
    find(user)
    wait_for_measurements(advanced)

    assert titles(advanced) == (*COLUMNS, *MEASURED, "Mean intensity 1", "Mean intensity 2", "Unit")
    labels = np.asarray(user.viewer.layers[PREVIEW].data)
    for row in advanced.cells():
        mask = labels == int(row[3])
        expected = [discs[mask].mean(), (255 - discs)[mask].mean()]
        assert [float(cell) for cell in row[10:12]] == pytest.approx(expected, rel=5e-4)


def test_when_it_can_not_measure_it_says_why(advanced, discs, gate):
    user = advanced.user
    button = user.widget.findChild(QPushButton, "measure")
    assert (button.isEnabled(), button.toolTip()) == (False, "There are no results yet")

    gate.opened.set()
    user.viewer.add_image(discs, name="cells")
    find(user)
    assert button.isEnabled()
    gate.opened.clear()
    user.click("run_preview")
    assert (button.isEnabled(), button.toolTip()) == (False, "Wait for the run to end")
    gate.opened.set()
    user.wait_for_end()

    user.viewer.layers.remove("cells")
    assert not button.isEnabled() or button.toolTip()


def test_columns_are_chosen_and_measured_in_the_units_of_the_image(found):
    menu = found.user.widget.findChild(QPushButton, "columns").menu()
    actions = {one.text(): one for one in menu.actions()}
    for title in ("Major axis", "Solidity", "Highest intensity", "Centroid Y", "Centroid X"):
        actions[title].trigger()

    found.user.wait(lambda: "Major axis" in titles(found))

    shown = titles(found)
    assert shown == (
        *COLUMNS, "Measured area", "Diameter", "Mean intensity", "Major axis", "Solidity",
        "Highest intensity", "Unit",
    )  # fmt: skip
    labels = np.asarray(found.user.viewer.layers[PREVIEW].data)
    pixels = found.user.viewer.layers["cells"].data
    expected = regionprops(labels.astype(int), pixels, spacing=(0.5, 0.25))
    for row, one in zip(found.cells(), expected, strict=True):
        assert float(row[9]) == pytest.approx(one.axis_major_length, rel=5e-4)
        assert float(row[10]) == pytest.approx(one.solidity, rel=5e-4)
        assert float(row[11]) == one.intensity_max

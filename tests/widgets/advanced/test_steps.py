"""The steps of Advanced mode, one control after the other."""

import numpy as np
from qtpy.QtCore import Qt
from qtpy.QtTest import QTest
from qtpy.QtWidgets import QFileDialog, QLineEdit, QPlainTextEdit, QSpinBox

PREVIEW = "SAM3 preview labels"


def test_the_prompt_types_follow_the_task(advanced):
    user = advanced.user
    combo = user.combo("tool")

    def offered():
        return [combo.itemText(at) for at in range(combo.count())]

    assert offered() == ["Points (positive/negative)", "Box", "Labels mask", "Text only"]
    assert user.button("next_positive_True").isEnabled()
    user.choose_in("task", "Text segmentation")
    assert (offered(), combo.isEnabled()) == (["Text only"], False)
    assert not user.button("next_positive_True").isEnabled()
    assert not user.button("create_prompt_layer").isEnabled()
    assert user.button("create_prompt_layer").toolTip() == "A phrase needs no prompt layer"
    assert user.status == "Text: enter a phrase and click Run Preview. No prompt layer is required."
    user.choose_in("task", "Exemplar segmentation")
    assert offered() == ["Box"]


def test_choosing_a_task_or_a_prompt_type_makes_its_tool_ready(open_advanced, discs):
    opened = open_advanced(discs)
    user, layers = opened.user, opened.user.viewer.layers

    def choose_by_keys(name, *keys):
        combo = user.combo(name)
        combo.setFocus()
        for key in keys:
            QTest.keyClick(combo, key)
        user.settle()

    choose_by_keys("tool", Qt.Key.Key_Down)
    assert layers.selection.active.name == "SAM3 boxes"
    assert user.status == "Drag a box around an object (layer “SAM3 boxes”)."
    user.drag(layers["image"], (12, 22), (48, 58))
    user.wait(lambda: user.preview is not None)
    assert user.preview[30, 40] == 1

    user.choose_in("task", "Live Points (positive/negative)")
    assert layers.selection.active.name == "SAM3 points"
    assert user.status.startswith("Live Points: ")
    theirs = user.viewer.add_points([(85, 110)], name="my clicks")
    user.choose_in("points_layer", "my clicks")
    user.choose_in("task", "2D segmentation")
    assert layers.selection.active is theirs, "a layer that was chosen stays chosen"

    choose_by_keys("tool", Qt.Key.Key_End)
    assert user.window.focusWidget().objectName() == "text"
    vars(opened).clear()


def test_the_mode_of_selected_points_and_points_from_any_layer(advanced, discs):
    user = advanced.user
    user.viewer.add_image(discs, name="image")
    user.click("create_prompt_layer")
    layer = user.viewer.layers["SAM3 points"]
    layer.add([(30, 40), (30, 75), (85, 40)])
    layer.selected_data = set()

    user.click("apply_polarity")
    assert user.status.startswith("✕ Select one or more points before applying")
    layer.selected_data = {0, 2}
    user.click("next_positive_False")
    user.click("apply_polarity")

    assert user.status == "Updated 2 selected points to negative."
    assert list(layer.features["polarity"]) == ["negative", "positive", "negative"]

    # Prompts come from any layer of the type.
    layer.data = []
    theirs = user.viewer.add_points([(85, 110)], name="my clicks")
    assert user.combo("points_layer").currentText() == "(the image's own)"

    user.choose_in("points_layer", "my clicks")
    user.run()
    assert user.preview[85, 110] == 1
    theirs.name = "renamed"
    assert user.combo("points_layer").currentText() == "renamed"
    user.click("accept")
    assert len(theirs.data) == 1

    # Live Points follow it, too.
    user.choose_in("task", "Live Points (positive/negative)")
    theirs.data = []
    theirs.add((30, 40))
    user.wait(lambda: user.preview is not None and not user.is_running)
    assert user.preview[30, 40] == 1
    user.choose_in("task", "2D segmentation")

    user.viewer.layers.remove(theirs)
    assert user.combo("points_layer").currentText() == "(the image's own)"
    assert not user.button("run_preview").isEnabled()


def test_channel_axis(advanced):
    user = advanced.user
    spin = user.widget.findChild(QSpinBox, "channel_axis")
    assert (spin.minimum(), spin.maximum(), spin.value()) == (-1, 8, -1)
    for shape, axis, summary in (
        ((3, 120, 150), -1, "120 x 150, axis 0 = 1"),
        ((3, 120, 150), 0, "120 x 150, channel 1 (channel axis 0, as set)"),
        ((2, 3, 120, 150), 1, "120 x 150, axis 0 = 0, channel 1 (channel axis 1, as set)"),
    ):
        user.viewer.layers.clear()
        user.viewer.add_image(np.zeros(shape, np.uint8), name="image")
        user.viewer.dims.set_point(range(len(shape) - 2), (0,) * (len(shape) - 3) + (1,))
        spin.setValue(axis)
        assert user.text_of("image_summary") == summary
    spin.setValue(5)
    assert "There is no channel axis 5" in user.text_of("image_summary")


def test_load_unload_and_load_when_running(advanced, discs, tiny_checkpoint, monkeypatch):
    user = advanced.user
    assert user.button("load_model").toolTip().endswith("has no model to load")
    monkeypatch.setattr(QFileDialog, "getExistingDirectory", lambda *_: str(tiny_checkpoint))
    user.click("choose_model_folder")
    user.wait_for_end()
    user.viewer.add_image(discs, name="image")
    user.click("create_prompt_layer")
    user.viewer.layers["SAM3 points"].add((30, 40))
    assert user.button("run_preview").isEnabled()

    user.button("load_when_running").click()
    assert not user.button("run_preview").isEnabled()
    assert "press Load 2D Model" in user.button("run_preview").toolTip()
    user.click("load_model")
    user.wait_for_end()
    assert " is loaded. Next: choose a task" in user.status
    user.run()
    assert user.status.startswith(("✓ Preview ready", "⚠ No objects found"))

    user.click("unload_model")
    user.wait_for_end()
    assert user.status == "✓ The model is unloaded."
    assert not user.button("run_preview").isEnabled()
    assert user.button("unload_model").toolTip() == "No model is loaded"
    user.button("load_when_running").click()
    assert user.button("run_preview").isEnabled()


def find_all(user, discs):
    user.choose_in("task", "Text segmentation")
    user.type_phrase("bright objects")
    user.wait_for_end()
    return user.viewer.layers[PREVIEW]


def test_the_results_table_and_the_log(advanced, discs):
    user = advanced.user
    user.viewer.add_image(discs, name="cells")
    labels = find_all(user, discs)

    rows = advanced.cells()
    assert len(rows) == labels.data.max() >= 4
    for name, prompt, frame, number, score, area, *_measured in rows:
        assert (name, prompt, frame) == ("cells", "bright objects", "-")
        assert 0.35 <= float(score) <= 1
        assert int(area) == np.count_nonzero(labels.data == int(number))

    areas = [int(row[5]) for row in rows]
    advanced.table.sortByColumn(5, Qt.SortOrder.DescendingOrder)
    assert [int(row[5]) for row in advanced.cells()] == sorted(areas, reverse=True)
    line = user.widget.findChild(QLineEdit, "results_filter")
    QTest.keyClicks(line, "no such")
    assert advanced.cells() == []
    line.clear()
    assert len(advanced.cells()) == len(rows)

    lines = user.widget.findChild(QPlainTextEdit, "log").toPlainText().splitlines()
    assert any(line[8:].startswith("  ✓ Preview ready: ") for line in lines)
    assert all(line[2] == line[5] == ":" for line in lines)

    user.click("clear_results")
    assert advanced.cells() == []
    assert user.has(PREVIEW)


def test_a_row_shows_its_object_on_its_slice_and_a_clicked_object_selects_its_row(
    open_advanced, discs
):
    stack = np.zeros((5, *discs.shape), np.uint8)
    stack[3] = discs
    advanced = open_advanced(stack)
    user = advanced.user
    user.viewer.dims.set_point(0, 3)
    labels = find_all(user, discs)
    user.viewer.dims.set_point(0, 0)
    place = next(at for at, row in enumerate(advanced.cells()) if row[3] == "2")
    table = advanced.table
    table.scrollTo(table.model().index(place, 0))
    spot = table.visualRect(table.model().index(place, 0)).center()

    QTest.mouseClick(table.viewport(), Qt.MouseButton.LeftButton, pos=spot)
    user.settle()

    assert advanced.chosen_row == place
    assert advanced.cells()[place][2] == "3"
    assert user.viewer.dims.point[0] == 3
    assert labels.selected_label == 2
    _, y, x = (where.mean() for where in np.nonzero(labels.data == 2))
    camera = getattr(user.viewer, "scene", user.viewer).camera
    np.testing.assert_allclose(camera.center[-2:], (y, x), atol=2)

    # Also in another order, and by the keyboard.
    table.sortByColumn(3, Qt.SortOrder.DescendingOrder)
    user.viewer.dims.set_point(0, 0)
    at = advanced.chosen_row
    QTest.keyClick(table, Qt.Key.Key_Down)
    QTest.keyClick(table, Qt.Key.Key_Return)
    user.settle()
    assert advanced.chosen_row == at + 1
    assert advanced.cells()[at + 1][3] == "1"
    assert user.viewer.dims.point[0] == 3
    assert labels.selected_label == 1

    user.viewer.layers.selection.active = labels
    labels.mode = "pan_zoom"

    user.look_at_all()
    user.click_at(labels, (0, 85, 110))

    chosen = str(labels.data[0, 85, 110])
    assert advanced.cells()[advanced.chosen_row][3] == chosen
    # It stays chosen when the table is sorted or filtered.
    for order in (Qt.SortOrder.DescendingOrder, Qt.SortOrder.AscendingOrder):
        advanced.table.sortByColumn(3, order)
        assert advanced.cells()[advanced.chosen_row][3] == chosen
    line = user.widget.findChild(QLineEdit, "results_filter")
    QTest.keyClicks(line, "bright")
    assert advanced.cells()[advanced.chosen_row][3] == chosen
    QTest.keyClicks(line, " no such")
    assert advanced.chosen_row is None
    line.clear()
    assert advanced.cells()[advanced.chosen_row][3] == chosen

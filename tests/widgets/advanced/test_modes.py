"""Simple and Advanced show the same session."""

from dataclasses import fields

from qtpy.QtCore import Qt
from qtpy.QtWidgets import QAbstractButton, QComboBox, QPlainTextEdit, QTableView, QWidget

from napari_sam3_assistant.qt.layout import Fold


def state(model):
    # The time of a message and the pixels of a result are the same objects, if nothing changed.
    return {field.name: getattr(model, field.name) for field in fields(model)}


def test_switching_changes_nothing_but_the_view(user, discs):
    user.viewer.add_image(discs, name="image")
    user.choose("2d_segmentation", "points")
    user.viewer.layers["SAM3 points"].add((30, 40))
    user.run()
    model = user.widget.binding.model
    before, layers = state(model), list(user.viewer.layers)

    user.click("mode_advanced")
    user.click("mode_simple")
    user.click("mode_advanced")

    assert state(model) == before
    assert list(user.viewer.layers) == layers


def test_a_panel_is_made_when_it_is_looked_at_and_misses_nothing(user, discs):
    user.viewer.add_image(discs, name="image")
    user.choose("2d_segmentation", "points")
    user.viewer.layers["SAM3 points"].add((30, 40))
    user.run()
    layer = user.viewer.layers["SAM3 preview labels"]
    user.wait(lambda: "measured_area" in layer.features)  # by itself, in either mode
    assert user.widget.findChild(QWidget, "advanced_panel") is None
    assert not user.widget.findChild(QPlainTextEdit, "log").isVisibleTo(user.widget)

    user.click("mode_advanced")

    panel = user.widget.findChild(QWidget, "advanced_panel")
    log = panel.findChild(QPlainTextEdit, "log")
    assert log.isVisibleTo(user.widget)
    assert "Preview ready: 1 object " in log.toPlainText()
    assert panel.findChild(QTableView, "results_table").model().rowCount() == 1


def test_switching_during_a_run(user, discs, gate):
    user.viewer.add_image(discs, name="image")
    user.choose("2d_segmentation", "points")
    user.viewer.layers["SAM3 points"].add((30, 40))
    user.click("run_preview")
    user.wait(lambda: gate.reached.acquire(blocking=False))

    user.click("mode_advanced")
    assert user.button("cancel").isEnabled()
    gate.opened.set()
    user.wait_for_end()

    assert user.status.startswith("✓ Preview ready: 1 object ")
    assert user.preview[30, 40] == 1


def test_what_is_chosen_in_one_mode_is_chosen_in_the_other(user, discs):
    user.viewer.add_image(discs, name="image")
    user.click("mode_advanced")
    user.click("mode_simple")
    user.choose("exemplar_segmentation")
    panel = user.widget.findChild(QWidget, "advanced_panel")

    assert panel.findChild(QComboBox, "task").currentText() == "Exemplar segmentation"
    combo = panel.findChild(QComboBox, "task")
    combo.setCurrentIndex(combo.findText("Text segmentation"))
    combo.activated.emit(combo.currentIndex())

    assert user.chosen("task") == ["Text"]


def test_the_mode_and_the_open_steps_are_remembered(open_window, discs):
    user = open_window(discs)
    user.click("mode_advanced")
    panel = user.widget.findChild(QWidget, "advanced_panel")
    heading = panel.findChild(Fold).findChild(QAbstractButton, "fold")
    assert heading.text() == "▾ Step 1. Model"
    heading.click()

    user.close_dock()
    user.open()
    user.settle()

    panel = user.widget.findChild(QWidget, "advanced_panel")
    assert user.button("mode_advanced").isChecked()
    assert panel.isVisibleTo(user.widget)
    assert panel.findChild(Fold).findChild(QAbstractButton, "fold").text() == "▸ Step 1. Model"
    assert not panel.findChild(QAbstractButton, "load_model").isVisibleTo(panel)


def test_one_column_when_narrow_and_two_when_wide(open_window, discs):
    user = open_window(discs)
    user.click("mode_advanced")
    panel = user.widget.findChild(QWidget, "advanced_panel")
    first, last = panel.findChild(QWidget, "load_model"), panel.findChild(QWidget, "results_table")

    def left_edges(width):
        user.window.resizeDocks([user.dock], [width], Qt.Orientation.Horizontal)
        user.settle()
        return [one.mapTo(user.widget, one.rect().topLeft()).x() for one in (first, last)]

    narrow = left_edges(320)
    assert narrow[1] < 100
    assert left_edges(800)[1] > 350
    assert left_edges(320) == narrow
    assert panel.widget().minimumSizeHint().width() <= panel.viewport().width()

"""Texts of the user in the status line."""

import pytest
from qtpy.QtCore import Qt
from qtpy.QtWidgets import QLabel, QPlainTextEdit

from napari_sam3_assistant.qt.layout import WrappedLabel
from napari_sam3_assistant.session.model import SessionModel
from napari_sam3_assistant.session.values import Message
from napari_sam3_assistant.widgets.fields.run import LogField

NAME = "cells_of_the_second_week_after_the_treatment_with_everything.tif"


def test_long_words_are_broken_where_the_line_ends(qtbot):
    label = WrappedLabel()
    qtbot.addWidget(label)

    label.setText(f"✓ Saved {NAME * 5}.")

    assert label.text() == f"✓ Saved {NAME * 5}."
    assert label.minimumSizeHint().width() < 200
    assert label.heightForWidth(200) > 5 * label.fontMetrics().height()


@pytest.mark.parametrize("before", ["/", "\\", "_", "-"])
def test_a_path_is_broken_between_its_parts_and_in_no_name(qtbot, before):
    """Copied by eye, a name that is broken anywhere is read as two."""
    label = WrappedLabel()
    qtbot.addWidget(label)
    parts = ["home", "Zoë", "experiments", "2026", "plate7", "nuclei.tif"]
    label.setText(f"Saved in {before.join(parts)}.")
    width, metrics = label.minimumSizeHint().width(), label.fontMetrics()
    assert width >= metrics.horizontalAdvance("experiments"), "a name can be broken"
    assert width < metrics.horizontalAdvance(before.join(parts[1:4])), "the path is in one piece"


def test_a_long_name_leaves_the_panel_as_wide_as_it_is(open_window, discs):
    user = open_window(discs)
    user.choose("text_segmentation")
    user.type_phrase("bright " + 300 * "x")
    user.wait(lambda: user.status.startswith("✓ Preview ready"))
    user.settle()

    panel = user.widget.rect()
    for name in ("run_preview", "clear_preview", "save_file"):
        button = user.button(name)
        corner = button.mapTo(user.widget, button.rect().bottomRight())
        assert panel.contains(corner), f"{name} is cut"


def test_no_line_of_the_status_is_cut_for_a_moment(open_window, discs):
    """Not one turn of the event loop passes between a longer text and the room for it."""
    user = open_window(discs)
    user.window.resizeDocks([user.dock], [320], Qt.Orientation.Horizontal)
    user.settle()
    model = user.widget.binding.model
    lines = [user.widget.findChild(QLabel, name) for name in ("status", "results")]
    for message in ("✓ Ready.", "✓ " + "Preview ready: 24 objects in 2.1 s. " * 6, "✓ Ready."):
        model.message = Message(message)
        for line in lines:
            assert line.height() >= line.heightForWidth(line.width())


def test_what_looks_like_html_is_shown_as_it_is(qtbot):
    label = WrappedLabel()
    qtbot.addWidget(label)
    label.setText("“<h1>cell</h1>”")
    as_typed = label.sizeHint().height()
    label.setText("“cell”")

    assert as_typed == label.sizeHint().height()


def test_a_long_text_does_not_make_the_panel_higher_and_its_end_stays(qtbot):
    label = WrappedLabel()
    qtbot.addWidget(label)
    text = f"✕ <b>{'no prompt lies on “far away”; ' * 400}. Add a prompt."

    label.setText(text)

    assert label.text() == text
    assert label.heightForWidth(280) < 12 * label.fontMetrics().height()
    shown = QLabel.text(label)
    assert shown.startswith("✕ <b>no prompt")
    begin, _, end = shown.partition(" … ")
    assert f"{begin} " in text, "no word is cut"
    assert f" {end}" in text
    assert shown.endswith("Add a prompt.")
    assert label.toolTip().startswith("<p>✕ &lt;b&gt;no prompt")
    label.setText("✓ Ready")
    assert label.toolTip() == ""


def test_the_log_keeps_all_of_a_long_message(qtbot):
    model = SessionModel()
    log = LogField(model)
    qtbot.addWidget(log)
    model.message = Message("x " * 5000 + "end")
    assert log.findChild(QPlainTextEdit, "log").toPlainText().endswith("x " * 5000 + "end")


def test_a_large_number_stays_on_its_line(qtbot):
    label = WrappedLabel()
    qtbot.addWidget(label)
    label.setText("Accepted 12 025 123 objects of 3 images")
    assert label.text() == "Accepted 12 025 123 objects of 3 images"
    assert QLabel.text(label) == "Accepted 12\u00a0025\u00a0123 objects of 3 images"

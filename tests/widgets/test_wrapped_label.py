"""Texts of the user in the status line."""

from napari_sam3_assistant.widgets.wrapped_label import WrappedLabel

NAME = "cells_of_the_second_week_after_the_treatment_with_everything.tif"


def test_long_words_are_broken_where_the_line_ends(qtbot):
    label = WrappedLabel()
    qtbot.addWidget(label)

    label.setText(f"✓ Saved {NAME * 5}.")

    assert label.text() == f"✓ Saved {NAME * 5}."
    assert label.minimumSizeHint().width() < 200
    assert label.heightForWidth(200) > 5 * label.fontMetrics().height()


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


def test_what_looks_like_html_is_shown_as_it_is(qtbot):
    label = WrappedLabel()
    qtbot.addWidget(label)
    label.setText("“<h1>cell</h1>”")
    as_typed = label.sizeHint().height()
    label.setText("“cell”")

    assert as_typed == label.sizeHint().height()

"""The button that runs, and the line that says why it is grey."""

import pytest
from napari.utils.theme import get_theme
from qtpy.QtCore import Qt
from qtpy.QtWidgets import QLabel, QScrollArea

FIRST = "Click on the object in the image first."


def colour(button):
    """The button's colour, beside its text."""
    return button.grab().toImage().pixelColor(5, 5).name()


@pytest.mark.parametrize("mode", ["simple", "advanced"])
def test_why_it_is_grey_is_read_under_it(open_window, discs, mode):
    user = open_window(discs)
    user.choose("2d_segmentation", "points")
    user.click(f"mode_{mode}")
    panels = {area.objectName(): area for area in user.widget.findChildren(QScrollArea)}
    user.widget = panels["advanced_panel" if mode == "advanced" else ""]
    user.window.resizeDocks([user.dock], [320], Qt.Orientation.Horizontal)
    user.settle()
    button, line = user.button("run_preview"), user.widget.findChild(QLabel, "run_reason")
    below = user.button("live")
    place = below.mapTo(user.widget, below.rect().topLeft())

    assert not button.isEnabled()
    assert line.isVisible()
    assert line.text() == button.accessibleDescription() == FIRST
    user.viewer.layers["SAM3 points"].add((30, 40))
    user.settle()

    assert button.isEnabled()
    assert line.text() == "Ready to run."
    assert button.accessibleDescription() == "Segment the plane on show with your prompts (R)"
    assert below.mapTo(user.widget, below.rect().topLeft()) == place

    # Text of two lines has its room before Qt lays anything out, and moves nothing.
    user.wait(lambda: line.text().startswith("Not what you meant?"))
    assert line.heightForWidth(line.width()) <= line.height()
    user.settle()
    assert below.mapTo(user.widget, below.rect().topLeft()) == place


def test_names_of_others_are_shown_as_they_are(open_window, discs):
    user = open_window(discs)
    user.click("mode_advanced")
    told = ("run_reason", "results", "status", "engine_badge", "findings", "download_progress")
    for name in told:
        for label in user.widget.findChildren(QLabel, name):
            # A buddy would make the key of a button of the & in a name.
            assert label.textFormat() == Qt.TextFormat.PlainText
            assert label.buddy() is None


def test_it_stands_out_in_both_themes(open_window, discs):
    user = open_window(discs)
    user.choose("2d_segmentation", "points")
    user.viewer.layers["SAM3 points"].add((30, 40))
    for theme in ("dark", "light"):
        user.viewer.theme = theme
        user.settle()
        accent = get_theme(theme).current.as_hex()
        assert colour(user.button("run_preview")) == accent
        assert colour(user.button("mask_ops")) != accent


def test_mask_ops_is_the_left_half_at_any_width_and_stays_there(open_window, discs):
    user = open_window(discs)
    run, mask_ops = user.button("run_preview"), user.button("mask_ops")
    for width in (900, 500, 320):
        user.window.resizeDocks([user.dock], [width], Qt.Orientation.Horizontal)
        user.settle()
        assert mask_ops.x() == 0
        # "One object a click" takes a little more than half of a narrow one.
        assert abs(2 * mask_ops.width() - run.width()) <= run.width() // 10, f"no half at {width}"
    user.look_at_all()
    user.click_at(user.viewer.layers["image"], (30, 40))
    user.wait(lambda: user.preview is not None and not user.is_running)
    user.settle()
    assert mask_ops.x() == 0
    assert user.button("clear_preview").x() > mask_ops.width()

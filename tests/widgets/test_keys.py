"""The keys: by the keyboard over the canvas, in napari's command palette, and in what is read."""

import inspect
import re
from pathlib import Path

import numpy as np
import pytest
from napari.utils.key_bindings import coerce_keybinding
from npe2 import PluginManifest
from npe2.manifest.utils import import_python_name
from qtpy.QtCore import QPoint, QPointF, Qt
from qtpy.QtGui import QWheelEvent
from qtpy.QtTest import QTest
from qtpy.QtWidgets import QApplication, QDialog, QLabel, QLineEdit

from amounts import thorough
from napari_sam3_assistant.core.classes import ClassList, ObjectClass
from napari_sam3_assistant.core.prompts import Tool
from napari_sam3_assistant.qt.controls import KeyedButton
from napari_sam3_assistant.viewer.actions import Actions
from napari_sam3_assistant.viewer.binding import find_binding
from napari_sam3_assistant.viewer.keys import SHORTCUTS
from napari_sam3_assistant.widgets import commands

Key, SHIFT = Qt.Key, Qt.KeyboardModifier.ShiftModifier
PREVIEW, ACCEPTED, POINTS = "SAM3 preview labels", "SAM3 live accepted labels", "SAM3 points"
ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("mode", [thorough("simple"), "advanced"])
def test_the_tools_and_an_object_after_the_other_by_single_keys(open_window, discs, mode):
    user = open_window(discs)
    user.click(f"mode_{mode}")
    image, model = user.viewer.layers["image"], user.widget.binding.model
    layers = {Key.Key_B: "SAM3 boxes", Key.Key_L: "SAM3 mask prompt", Key.Key_P: POINTS}
    for key, layer in layers.items():
        user.press(key)
        assert user.viewer.layers.selection.active.name == layer
    user.press(Key.Key_E)
    assert str(model.task) == "exemplar_segmentation"

    user.press(Key.Key_X)
    line = next(one for one in user.widget.findChildren(QLineEdit, "text") if one.isVisible())
    assert user.window.focusWidget() is line
    QTest.keyClicks(line, "bright objects")
    QTest.keyClick(line, Key.Key_Return)
    user.wait(lambda: user.has(PREVIEW) and not user.is_running)
    assert len(np.unique(user.preview)) == 5

    user.press(Key.Key_N)
    user.press(Key.Key_N)
    assert model.picked.record.id == 2
    user.press(Key.Key_N, SHIFT)
    assert model.picked.record.id == 1
    user.press(Key.Key_Escape)
    assert not user.has(PREVIEW)

    user.look_at_all()
    user.press(Key.Key_P)
    for number, pixel in enumerate([(30, 40), (85, 110)], 1):
        user.click_at(image, pixel)
        user.wait(lambda: user.has(PREVIEW) and not user.is_running)
        user.press(Key.Key_K)
        assert user.viewer.layers[ACCEPTED].data.max() == number
    assert len(user.viewer.layers[POINTS].data) == 0


def test_other_masks_of_a_click_by_a_key_and_by_the_wheel(open_window):
    y, x = np.ogrid[:120, :150]
    image = np.random.default_rng(0).normal(30, 2, (120, 150))
    away = (y - 60) ** 2 + (x - 75) ** 2
    image[away < 36**2] += 70
    image[away < 14**2] += 80
    user = open_window(image.clip(0, 255).astype(np.uint8))
    user.click_at(user.viewer.layers["image"], (60, 75))
    user.wait(lambda: user.has(PREVIEW) and not user.is_running)
    first = np.count_nonzero(user.preview)
    assert user.text_of("run_reason").startswith("Not what you meant? “,” takes a smaller mask")

    key, other, way = Key.Key_Comma, Key.Key_Period, "smaller"
    user.press(key)
    if "there is no" in user.status:
        key, other, way = other, key, "larger"
        user.press(key)
    assert re.match(rf"[1-4] of [2-4], {way}", user.status)
    chosen = np.count_nonzero(user.preview)
    assert (chosen > first) == (way == "larger")
    user.press(other)
    assert np.count_nonzero(user.preview) == first
    user.press(key, SHIFT)  # as on keyboards that have it only with Shift
    assert np.count_nonzero(user.preview) == chosen
    user.press(other, SHIFT)
    assert np.count_nonzero(user.preview) == first

    camera = getattr(user.viewer, "scene", user.viewer).camera  # moved in napari 0.9
    zoom = camera.zoom
    turn(user, 120 if way == "larger" else -120, SHIFT)
    assert np.count_nonzero(user.preview) == chosen
    user.undo()
    assert np.count_nonzero(user.preview) == first
    assert camera.zoom == zoom
    turn(user, 120)
    assert camera.zoom > zoom
    assert np.count_nonzero(user.preview) == first, "without Shift the wheel is napari's"


def turn(user, angle, modifier=Qt.KeyboardModifier.NoModifier):
    """Turn the wheel of the mouse over the middle of the canvas."""
    middle = QPointF(user.canvas.rect().center())
    buttons, phase = Qt.MouseButton.NoButton, Qt.ScrollPhase.NoScrollPhase
    place = QPointF(user.canvas.mapToGlobal(middle.toPoint()))
    turned = QPoint(0, angle)
    event = QWheelEvent(middle, place, turned, turned, buttons, modifier, phase, False)
    QApplication.sendEvent(user.canvas, event)
    user.settle()


def test_escape_discards_and_undo_brings_it_back_and_a_second_one_cancels_the_run(
    open_window, discs, gate
):
    user = open_window(discs)
    gate.opened.set()
    user.click_at(user.viewer.layers["image"], (30, 40))
    user.wait(lambda: user.has(PREVIEW) and not user.is_running)
    found = user.preview.copy()

    user.press(Key.Key_Escape)
    assert not user.has(PREVIEW)
    assert len(user.viewer.layers[POINTS].data) == 0
    user.undo()
    np.testing.assert_array_equal(user.preview, found)
    user.press(Key.Key_Escape)

    gate.opened.clear()
    user.choose("text_segmentation")
    user.type_phrase("bright objects")
    assert user.is_running
    user.press(Key.Key_Escape)
    assert not user.is_running
    gate.opened.set()


def test_colours_outlines_hiding_and_going_from_one_object_to_the_next(open_window, discs):
    user = open_window(discs)
    user.click_at(user.viewer.layers["image"], (30, 40))
    user.wait(lambda: user.has(PREVIEW) and not user.is_running)
    current = np.asarray(user.viewer.layers[PREVIEW].get_color(1))
    user.press(Key.Key_K)
    kept = user.viewer.layers[ACCEPTED]
    colours = [np.asarray(kept.get_color(label)) for label in range(1, 200)]
    assert min(np.linalg.norm(one[:3] - current[:3]) for one in colours) > 0.3

    user.click_at(user.viewer.layers["image"], (85, 110))
    user.wait(lambda: user.has(PREVIEW) and not user.is_running)
    layers = [user.viewer.layers[name] for name in (PREVIEW, ACCEPTED)]

    user.press(Key.Key_O)
    assert all(layer.contour > 0 for layer in layers)
    camera = getattr(user.viewer, "scene", user.viewer).camera  # moved in napari 0.9
    zoom = camera.zoom
    camera.zoom /= 8
    assert all(layer.contour >= 3 for layer in layers)
    camera.zoom = zoom
    user.press(Key.Key_O)
    assert all(layer.contour == 0 for layer in layers)

    user.press(Key.Key_H, SHIFT)
    assert not any(layer.visible for layer in layers)
    user.press(Key.Key_H, SHIFT)
    assert all(layer.visible for layer in layers)

    user.canvas.setFocus()
    QTest.keyPress(user.canvas, Key.Key_H)
    shown = [layer.name for layer in user.viewer.layers if layer.visible]
    assert shown == ["image"]
    QTest.keyRelease(user.canvas, Key.Key_H)
    assert all(layer.visible for layer in layers)

    user.choose("text_segmentation")
    user.type_phrase("bright objects")
    user.wait(lambda: user.has(PREVIEW) and not user.is_running)
    several = {tuple(user.viewer.layers[PREVIEW].get_color(label)) for label in range(1, 5)}
    assert len(several) == 4

    # After going to an object a key takes the tool, and paints nothing.
    layer = user.viewer.layers[PREVIEW]
    for key, name in ((Key.Key_P, POINTS), (Key.Key_B, "SAM3 boxes"), (Key.Key_L, "mask prompt")):
        user.press(Key.Key_N)
        assert user.viewer.layers.selection.active is layer
        user.press(key)
        assert name in user.viewer.layers.selection.active.name
        assert layer.mode == "pan_zoom"
    user.press(Key.Key_N)
    layer.mode = "paint"  # by napari's button
    user.press(Key.Key_E)
    assert (user.viewer.layers.selection.active, layer.mode) == (layer, "erase")


def test_keys_and_commands_are_what_the_manifest_the_guide_and_help_say_while_it_is_open(
    open_window, discs
):
    manifest = PluginManifest.from_file(ROOT / "src/napari_sam3_assistant/napari.yaml")
    ids = {one.id.partition(".")[2]: one for one in manifest.contributions.commands}
    guide = (ROOT / "docs/user-guide.md").read_text(encoding="utf-8")
    user = open_window(discs)
    user.click("help")
    (box,) = user.widget.findChildren(QDialog, "keys")
    shown = box.findChild(QLabel, "keys_text")
    assert box.height() < 700
    text_colour = user.button("help").palette().windowText().color().name()
    assert f'<a style="color: {text_colour}" href=' in shown.text()
    for shortcut in SHORTCUTS:
        assert hasattr(Actions, shortcut.name) or shortcut.name == "hold_bare_image"
        keys = " or ".join(f"`{key}`" for key in shortcut.shown.split(" or "))
        assert re.search(rf"^\| {re.escape(keys)} \| {re.escape(shortcut.title)} \|", guide, re.M)
        assert f"<b>{shortcut.shown}</b>" in shown.text()
        if shortcut in commands.COMMANDS:
            assert ids[shortcut.name].title == shortcut.title
    box.close()

    # A command of the palette does what its key does.
    commands.choose_box()
    assert user.viewer.layers.selection.active.name == "SAM3 boxes"
    with pytest.raises(AttributeError):
        commands.no_such_command  # noqa: B018

    # Another phrase takes the place of the first.
    for mode in ("simple", "advanced"):
        user.click(f"mode_{mode}")
        for phrase in ("dark objects", "bright objects"):
            user.press(Key.Key_X)
            QTest.keyClicks(user.window.focusWidget(), phrase)
            assert user.widget.binding.model.text == phrase
            assert user.window.focusWidget().text() == phrase

    # napari has its own keys again when the dock is closed.
    points = user.viewer.layers[POINTS]
    user.close_dock()
    assert not user.viewer.keymap
    assert not points.keymap
    assert not user.viewer.layers["image"].keymap


# napari's, where the answer to the click is on show already when the display becomes 3-D.
@pytest.mark.filterwarnings("ignore:Contours are not displayed during 3D rendering")
def test_what_the_keys_of_images_do_is_napari_s_own_where_it_has_to_be(open_window, discs):
    """In 3-D display a plane is turned; without a class list there are modes; the user's stay."""
    user = open_window(np.stack([discs, discs]))
    points_are_as_large_on_the_screen_at_any_zoom(user)
    image, model = user.viewer.layers["image"], user.widget.binding.model
    mine = []
    user.viewer.layers.selection.active = image
    user.press(Key.Key_2)
    assert image.mode == "transform"
    user.press(Key.Key_1)
    assert image.mode == "pan_zoom"
    outlines = user.widget.binding.adapter.outlines
    user.press(Key.Key_O)
    assert user.widget.binding.adapter.outlines is not outlines
    user.viewer.dims.ndisplay = 3
    user.press(Key.Key_O)
    assert user.widget.binding.adapter.outlines is not outlines
    user.viewer.dims.ndisplay = 2
    # Keys of other plugins are not lost, and those that the user has bound on a layer are not ours.
    user.viewer.bind_key("5", lambda _: mine.append("viewer"), overwrite=True)
    user.press(Key.Key_5)
    other = type(image)(discs, name="other")
    other.bind_key("2", lambda _: mine.append("image"))
    user.viewer.add_layer(other)
    user.viewer.layers.selection.active = other
    model.class_list = ClassList((ObjectClass(1, "a"), ObjectClass(2, "b")))
    user.press(Key.Key_2)
    assert mine == ["viewer", "image"]
    user.close_dock()
    assert list(other.keymap) == [coerce_keybinding("2")]
    assert not image.keymap


def points_are_as_large_on_the_screen_at_any_zoom(user):
    points = user.viewer.layers[POINTS]
    assert not bright_pixels(user, (0, 0)), "napari's own invisible point is seen"

    user.viewer.dims.set_current_step(0, 0)
    user.click_at(user.viewer.layers["image"], (0, 60, 75))

    low, high = points.canvas_size_limits
    assert 8 <= low <= high <= 16
    user.viewer.dims.set_current_step(0, 1)
    assert not bright_pixels(user, (0, 0)), "napari's own invisible point is seen"
    assert points.canvas_size_limits[0] == 0


def bright_pixels(user, pixel):
    """Return how many white pixels are seen round a pixel of the image."""
    user.settle()
    spot = user.spot(user.viewer.layers["image"], pixel)
    shown = user.viewer.screenshot(canvas_only=True, flash=False)
    ratio = shown.shape[0] / user.canvas.height()
    y, x = round(spot.y() * ratio), round(spot.x() * ratio)
    near = shown[max(0, y - 8) : y + 9, max(0, x - 8) : x + 9, :3]
    return np.count_nonzero((near > 230).all(-1))


def test_a_command_of_the_palette_opens_the_dock_where_it_is_not_open(
    plugin_manager, settings_file, make_napari_viewer, discs, qtbot
):
    viewer = make_napari_viewer(show=True)
    viewer.add_image(discs, name="image")
    commands.choose_text()
    made = find_binding(viewer)
    assert made is not None
    assert made.model.tool is Tool.TEXT
    commands.choose_points()
    assert viewer.layers.selection.active.name == POINTS
    # napari gives the one that is open, or opens one.
    _, widget = viewer.window.add_plugin_dock_widget("napari-sam3-assistant", "SAM3 Assistant")
    assert widget.binding is made
    qtbot.waitUntil(widget.isVisible, timeout=240_000)


def test_the_palette_lets_nobody_call_what_needs_a_file():
    """It calls commands without arguments; that of a reader came first, and raised TypeError."""
    manifest = PluginManifest.from_file(ROOT / "src/napari_sam3_assistant/napari.yaml")
    for command in manifest.contributions.commands:
        parameters = inspect.signature(import_python_name(command.python_name)).parameters
        asks = [name for name, one in parameters.items() if one.default is one.empty]
        assert (command.enablement == "False") == bool(asks), (command.id, asks)


def test_buttons_show_their_keys_where_there_is_room(user, qtbot):
    keyed = [one for one in user.widget.findChildren(KeyedButton) if one.key]
    shown = {one.objectName(): one.key for one in keyed}
    assert shown["tool_points"] == "P"
    assert shown["accept"] == "K"
    assert shown["undo"] == "Ctrl+Z"
    assert set(shown.values()) <= {one.shown.partition(" or ")[0] for one in SHORTCUTS}

    button = KeyedButton("Accept Object")
    qtbot.addWidget(button)
    for width, differs in ((300, True), (button.fontMetrics().horizontalAdvance("Accept"), False)):
        button.resize(width, 28)
        button.key = ""
        without = button.grab().toImage()
        button.key = "K"
        assert (button.grab().toImage() != without) is differs

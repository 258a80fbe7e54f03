"""What the manifest names: commands of the keys and of sessions, and File > Open of a session."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from qtpy.QtCore import QTimer

from napari_sam3_assistant.qt.bind import show_errors
from napari_sam3_assistant.qt.dock import chosen_viewer
from napari_sam3_assistant.session.opening import is_stored
from napari_sam3_assistant.viewer.binding import find_binding
from napari_sam3_assistant.viewer.keys import HELD, SHORTCUTS
from napari_sam3_assistant.widgets.fields.session import menu_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from napari_sam3_assistant.widgets.fields.session import SessionMenu
    from napari_sam3_assistant.widgets.main_widget import MainWidget


COMMANDS = tuple(shortcut for shortcut in SHORTCUTS if shortcut.name != HELD)
"""Those that make sense without a key that is held."""
_PLUGIN, _TITLE = "napari-sam3-assistant", "SAM3 Assistant"
_NAMES = {"encode_folder", *(command.name for command in COMMANDS)}


def __getattr__(name: str) -> Callable[[], None]:
    """Return the function of a command; the manifest names them."""
    if name not in _NAMES:
        raise AttributeError(name)

    def command() -> None:
        binding = find_binding(chosen_viewer()) or _open_dock().binding
        binding.actions.call(name)

    return command


def save_session() -> None:
    """Save the session."""
    _call("save")


def save_session_as() -> None:
    """Save the session under another name."""
    _call("save_as")


def open_session() -> None:
    """Open a session."""
    _call("open_chosen")


def portable_copy() -> None:
    """Save everything into one folder."""
    _call("save_copy")


def _call(name: str) -> None:
    menu = _menu()
    show_errors(menu.model, getattr(menu, name))()


def _open_dock() -> MainWidget:
    """Return the dock widget, which is opened if it is not."""
    widget: MainWidget
    _, widget = chosen_viewer().window.add_plugin_dock_widget(_PLUGIN, _TITLE)
    return widget


def _menu() -> SessionMenu:
    return menu_of(_open_dock())


def get_reader(path: str | list[str]) -> Callable[[str], list[tuple[Any, ...]]] | None:
    """Return what opens a session; None for what is none.

    ``path``: a folder ``*.sam3session``, or a workspace of version 4.5, ``*.sam3.json``.
    """
    return _open if isinstance(path, str) and is_stored(Path(path)) else None


def _open(path: str) -> list[tuple[Any, ...]]:
    """Open a session once napari is done with opening; there are no layers to add before."""

    def later() -> None:
        menu = _menu()
        show_errors(menu.model, lambda: menu.open(Path(path)))()

    QTimer.singleShot(0, later)
    return [(None,)]  # as napari's readers say that there is nothing to add

"""The keys' commands for napari's command palette: one function each, by the table of keys."""

from __future__ import annotations

from typing import TYPE_CHECKING

from napari.utils.notifications import show_info

from napari_sam3_assistant.qt.dock import chosen_viewer
from napari_sam3_assistant.viewer.binding import find_binding
from napari_sam3_assistant.viewer.keys import HELD, SHORTCUTS

if TYPE_CHECKING:
    from collections.abc import Callable


COMMANDS = tuple(one for one in SHORTCUTS if one.name != HELD)
"""Those that make sense without a key that is held."""


def __getattr__(name: str) -> Callable[[], None]:
    """Return the function of a command; the manifest names them."""
    if name not in {one.name for one in COMMANDS}:
        raise AttributeError(name)

    def command() -> None:
        viewer = chosen_viewer()
        binding = find_binding(viewer)
        if binding is None:
            show_info("Open Plugins > SAM3 Assistant first.")
        else:
            binding.call(name)

    return command

"""The keys: one table for the canvas, tooltips, Help, documentation and napari's commands."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Shortcut:
    """A key and what it does.

    Parameters
    ----------
    name : str
        Of the command, and of the method of :class:`.binding.Binding` that does it.
    keys : tuple of str
        The keys, as napari writes them; any of them does.
    title : str
        What it does, for the user.
    """

    name: str
    keys: tuple[str, ...]
    title: str

    @property
    def shown(self) -> str:
        """The keys as the user reads them."""
        return " or ".join(key.replace("Control", "Ctrl").replace("-", "+") for key in self.keys)


SHORTCUTS = (
    Shortcut("choose_points", ("P",), "Prompt with points"),
    Shortcut("choose_box", ("B",), "Prompt with boxes"),
    Shortcut("choose_labels", ("L",), "Prompt with a painted mask"),
    Shortcut("choose_text", ("X",), "Type a phrase"),
    Shortcut("choose_example", ("E",), "Prompt with an example"),
    Shortcut("toggle_next", ("T",), "Make the next click positive or negative"),
    Shortcut("flip", ("Shift-T",), "Flip the selected points, or the latest one"),
    Shortcut("run", ("R",), "Run Preview, or start the 3D propagation"),
    Shortcut("accept", ("K", "Control-Enter"), "Accept the object and begin the next one"),
    Shortcut("discard", ("Escape",), "Discard the object; with none, cancel the run"),
    Shortcut("undo", ("Control-Z",), "Undo"),
    Shortcut("redo", ("Control-Shift-Z",), "Redo"),
    Shortcut("next_object", ("N",), "Go to the next object"),
    Shortcut("previous_object", ("Shift-N",), "Go to the previous object"),
    Shortcut("hold_bare_image", ("H",), "Show the bare image while the key is held"),
    Shortcut("toggle_results", ("Shift-H",), "Show or hide what was found and accepted"),
    Shortcut("toggle_outlines", ("O",), "Show outlines or filled objects"),
)
"""On our prompt layers they go before napari's own keys; on other layers napari's go first."""

HELD = "hold_bare_image"
"""The one that ends when its key is let go."""

_SHOWN = {one.name: one.shown for one in SHORTCUTS}


def with_key(text: str, name: str) -> str:
    """Return a text with the key of a command behind it."""
    return f"{text} ({_SHOWN[name]})"

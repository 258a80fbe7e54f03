"""Keys that work while the canvas has the focus."""

from __future__ import annotations

from typing import TYPE_CHECKING

from napari_sam3_assistant.core.tasks import Tool

if TYPE_CHECKING:
    from collections.abc import Callable

    from napari_sam3_assistant.viewer.binding import Binding


def bind_shortcuts(
    binding: Binding, call: Callable[[Callable[[], object]], None]
) -> Callable[[], None]:
    """Bind the keys on the binding's viewer; returns what unbinds them.

    Parameters
    ----------
    binding : Binding
        The viewer and its session.
    call : callable
        Calls a verb and shows its error.
    """
    session, model = binding.session, binding.model

    def with_points(verb: Callable[[], object]) -> None:
        if model.tool is Tool.POINTS:
            call(verb)

    keys: dict[str, Callable[[], None]] = {
        "T": lambda: with_points(binding.toggle_next),
        "Shift-T": lambda: with_points(binding.flip),
        "Control-Z": lambda: call(session.undo),
        "Control-Shift-Z": lambda: call(session.redo),
        "Control-Enter": lambda: call(session.accept),
    }
    for key, action in keys.items():
        binding.viewer.bind_key(key, _handler(action), overwrite=True)

    def unbind() -> None:
        for key in keys:
            binding.viewer.bind_key(key, None, overwrite=True)

    return unbind


def _handler(action: Callable[[], None]) -> Callable[[object], None]:
    def handle(_: object) -> None:
        action()

    return handle

"""Keys that work while the canvas has the focus."""

from __future__ import annotations

from typing import TYPE_CHECKING

from napari_sam3_assistant.core.tasks import Tool

if TYPE_CHECKING:
    from collections.abc import Callable

    from napari.components import ViewerModel

    from napari_sam3_assistant.viewer.binding import Binding


_KEYS = ("T", "Shift-T", "Control-Z", "Control-Shift-Z", "Control-Enter")


def bind_shortcuts(binding: Binding, call: Callable[[Callable[[], object]], None]) -> None:
    """Bind the keys on the binding's viewer, until the binding closes.

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

    actions: tuple[Callable[[], None], ...] = (
        lambda: with_points(binding.toggle_next),
        lambda: with_points(binding.flip),
        lambda: call(session.undo),
        lambda: call(session.redo),
        lambda: call(session.accept),
    )
    for key, action in zip(_KEYS, actions, strict=True):
        binding.viewer.bind_key(key, _handler(action), overwrite=True)


def unbind_shortcuts(viewer: ViewerModel) -> None:
    """Let the keys do again what they did before."""
    for key in _KEYS:
        viewer.bind_key(key, None, overwrite=True)


def _handler(action: Callable[[], None]) -> Callable[[object], None]:
    def handle(_: object) -> None:
        action()

    return handle

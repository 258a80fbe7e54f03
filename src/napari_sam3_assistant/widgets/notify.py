"""Lines for the user: how a message is written, and how a verb's error becomes one."""

from __future__ import annotations

from typing import TYPE_CHECKING

from napari_sam3_assistant.errors import Sam3AssistantError
from napari_sam3_assistant.session.model import Level, Message

if TYPE_CHECKING:
    from collections.abc import Callable

    from napari_sam3_assistant.session.masks.model import MaskModel
    from napari_sam3_assistant.session.model import SessionModel

_SIGNS = {Level.INFO: "", Level.SUCCESS: "✓ ", Level.WARNING: "⚠ ", Level.ERROR: "✕ "}


def line_of(message: Message) -> str:
    """Return a message with the sign of its level."""
    return f"{_SIGNS[message.level]}{message.text}"


def guarded(model: SessionModel | MaskModel, verb: Callable[[], object]) -> Callable[..., None]:
    """Return a slot that calls a verb and shows its error in the status line.

    Parameters
    ----------
    model : SessionModel or MaskModel
        Where the status line is.
    verb : callable
        What the user asked for.
    """

    def slot(*_: object) -> None:
        try:
            verb()
        except Sam3AssistantError as error:
            model.message = Message(str(error), Level.ERROR)

    return slot

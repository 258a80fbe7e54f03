"""Keep widgets and a model in step, grey out what can't act, and tell errors."""

from __future__ import annotations

from dataclasses import replace
from operator import attrgetter
from typing import TYPE_CHECKING, Any

from napari_sam3_assistant.errors import Sam3AssistantError
from napari_sam3_assistant.session.model import Level, Message

if TYPE_CHECKING:
    from collections.abc import Callable

    from qtpy.QtWidgets import QWidget

    from napari_sam3_assistant.mask_operations.model import MaskModel
    from napari_sam3_assistant.session.model import DiskModel, SessionModel


def watch(
    model: SessionModel | DiskModel | MaskModel,
    fields: str,
    widget: QWidget,
    show: Callable[[], None],
) -> None:
    """Call ``show`` now and whenever one of the fields changes, as long as the widget lives.

    Parameters
    ----------
    model : SessionModel, DiskModel or MaskModel
        The state.
    fields : str
        Names of fields, with spaces between them; ``fill_holes.hole_size`` for a part of one.
    widget : QWidget
        The widget that ``show`` redraws.
    show : callable
        Redraws the widget from the model; must not change the model.
    """
    for field in fields.split():
        emitter = getattr(model.events, field.partition(".")[0])

        def redraw() -> None:
            show()

        # psygnal holds a plain function strongly: let go of it with the widget.
        emitter.connect(redraw)
        widget.destroyed.connect(_disconnector(emitter, redraw))
    show()


def _disconnector(emitter: Any, slot: Callable[[], None]) -> Callable[..., None]:  # noqa: ANN401
    def disconnect(*_: object) -> None:
        emitter.disconnect(slot, missing_ok=True)

    return disconnect


def bind_value(
    model: SessionModel | DiskModel | MaskModel,
    field: str,
    widget: QWidget,
    changed: Any,  # noqa: ANN401 (a bound Qt signal)
    get: Callable[[], Any],
    set_: Callable[[Any], None],
) -> None:
    """Keep one field of the model and one widget's value equal, both ways.

    Parameters
    ----------
    model : SessionModel, DiskModel or MaskModel
        The state.
    field : str
        Name of the field; ``fill_holes.hole_size`` for a part of one, which is a frozen dataclass.
    widget : QWidget
        The widget.
    changed : Qt signal
        Tells that the user changed the widget.
    get, set_ : callable
        Read and write the widget's value.
    """
    read = attrgetter(field)
    whole, _, part = field.partition(".")

    def show() -> None:
        value = read(model)
        if get() != value:
            set_(value)

    def take(*_: object) -> None:
        value = get()
        setattr(model, whole, replace(getattr(model, whole), **{part: value}) if part else value)

    watch(model, field, widget, show)
    changed.connect(take)


_TIP = "sam3_tip"


def set_enabled(widget: QWidget, why_not: str) -> None:
    """Let a control be used, or grey it out and say why.

    Parameters
    ----------
    widget : QWidget
        The control, with the tooltip that says what it does.
    why_not : str
        Why it can't be used now; empty if it can, which brings its own tooltip back.
    """
    if widget.property(_TIP) is None:
        widget.setProperty(_TIP, widget.toolTip())
    widget.setEnabled(not why_not)
    widget.setToolTip(why_not or widget.property(_TIP))


_SIGNS = {Level.INFO: "", Level.SUCCESS: "✓ ", Level.WARNING: "⚠ ", Level.ERROR: "✕ "}


def format_message(message: Message) -> str:
    """Return a message with the sign of its level."""
    return f"{_SIGNS[message.level]}{message.text}"


def show_errors(model: SessionModel | MaskModel, verb: Callable[[], object]) -> Callable[..., None]:
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

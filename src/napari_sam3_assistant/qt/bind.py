"""Keep widgets and a model in step, grey out what can't act, and show errors."""

from __future__ import annotations

import weakref
from dataclasses import replace
from operator import attrgetter
from typing import TYPE_CHECKING, Any, TypeVar

from qtpy.QtCore import QTimer

from napari_sam3_assistant.errors import Sam3AssistantError
from napari_sam3_assistant.session.model import ONLY_TOLD
from napari_sam3_assistant.session.values import Level, Message

if TYPE_CHECKING:
    from collections.abc import Callable

    from psygnal import EmissionInfo
    from qtpy.QtWidgets import QWidget

    from napari_sam3_assistant.core.images import Untyped
    from napari_sam3_assistant.mask_operations.model import MaskModel
    from napari_sam3_assistant.session.model import AnnotationModel, ScanModel, SessionModel

    State = SessionModel | ScanModel | AnnotationModel | MaskModel

T = TypeVar("T")


def watch(model: State, field: str, widget: QWidget, show: Callable[[], None]) -> None:
    """Call ``show`` now and whenever a field changes, as long as the widget lives.

    ``field``: name of the field; ``fill_holes.hole_size`` for a part of one.
    ``widget``: the widget that ``show`` redraws.
    ``show``: redraws the widget from the model; must not change the model.
    """

    def redraw() -> None:
        show()

    emitter = attrgetter(f"events.{field.partition('.')[0]}")
    _connect(emitter, model, widget, redraw)
    show()


def watch_later(model: State, field: str, widget: QWidget, show: Callable[[], None]) -> None:
    """As :func:`watch`, but once for all changes of a turn of Qt's loop, in the next turn."""
    timer = QTimer(widget)
    timer.setSingleShot(True)
    timer.timeout.connect(show)
    watch(model, field, widget, timer.start)


def follow(
    widget: QWidget, read: Callable[[], T], show: Callable[[T], object], *models: State
) -> None:
    """Show a value now and whenever it changes, as long as the widget lives.

    It is read after every change of a model: nobody lists the fields that it follows from. It must
    not follow from what is only told, the message and the progress.

    ``widget``: the widget that ``show`` redraws.
    ``read``: returns the value, quickly.
    ``show``: takes the value and redraws the widget; must not change the models.
    ``*models``: the state that the value follows from.
    """
    shown = read()

    def look(change: EmissionInfo) -> None:
        nonlocal shown
        if change.signal.name in ONLY_TOLD:
            return
        before, shown = shown, read()
        if shown is not before and shown != before:
            show(shown)

    for model in models:
        _connect(attrgetter("events"), model, widget, look)
    show(shown)


def _connect(
    emitter: Callable[[Untyped], Untyped],
    holder: object,
    widget: QWidget,
    slot: Callable[..., None],
) -> None:
    # psygnal holds a plain function strongly: let go of it with the widget.
    emitter(holder).connect(slot)
    disconnect_with(widget, holder, slot, lambda known: emitter(known).disconnect)


def disconnect_with(
    widget: QWidget,
    holder: object,
    slot: Callable[..., None],
    disconnect: Callable[[Untyped], Callable[[Callable[..., None]], object]],
) -> None:
    """Disconnect a function when Qt destroys a widget.

    ``holder``: who has the signal; neither it nor the function is kept alive.
    ``disconnect``: returns, of the holder, what disconnects a function.
    """
    call_when_destroyed(widget, release_of(holder, slot, disconnect))


def release_of(
    holder: object,
    slot: Callable[..., None],
    disconnect: Callable[[Untyped], Callable[[Callable[..., None]], object]],
) -> Callable[[], None]:
    """Return what disconnects a function; it keeps neither the holder nor the function alive."""
    known, held = weakref.ref(holder), weakref.ref(slot)

    def release() -> None:
        source, function = known(), held()
        if source is not None and function is not None:
            disconnect(source)(function)

    return release


_waiting: set[Callable[..., None]] = set()


def call_when_destroyed(widget: QWidget, release: Callable[[], object]) -> None:
    """Call a function when Qt destroys a widget; it must not keep the widget alive.

    Qt alone would hold it: once nobody holds the widget, Python's garbage collector may take the
    function apart before Qt calls it, and the process ends with a segmentation fault.
    """

    def call(*_: object) -> None:
        _waiting.discard(call)
        release()

    _waiting.add(call)
    widget.destroyed.connect(call)


def bind_value(
    model: State,
    field: str,
    widget: QWidget,
    changed: Untyped,
    get: Callable[[], Any],
    set_: Callable[[Any], None],
) -> None:
    """Keep one field of the model and one widget's value equal, both ways.

    ``field``: name of the field; ``fill_holes.hole_size`` for a part of one, which is a frozen
    dataclass.
    ``changed``: the signal of a change by the user.
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


def set_enabled(widget: QWidget, why_not: str, tip: str = "") -> None:
    """Enable a control, or grey it out and show why.

    ``widget``: the control, with the tooltip that says what it does.
    ``why_not``: why it can't be used now; empty if it can, which brings its own tooltip back.
    ``tip``: what it does, where that has changed; empty for what it did before.
    """
    if tip or widget.property(_TIP) is None:
        widget.setProperty(_TIP, tip or widget.toolTip())
    widget.setEnabled(not why_not)
    widget.setToolTip(why_not or widget.property(_TIP))


def bind_enabled(model: SessionModel, verb: str, *widgets: QWidget) -> None:
    """Enable controls while what they do can be done, else grey them out and show why.

    ``verb``: what they do: a field of :class:`.WhyNot`.
    ``*widgets``: the controls, each with the tooltip that says what it does.
    """
    shown: str | None = None

    def show() -> None:
        nonlocal shown
        before, shown = shown, getattr(model.why_not, verb)
        if shown != before:
            for widget in widgets:
                set_enabled(widget, shown)

    watch(model, "why_not", widgets[0], show)


_SIGNS = {Level.INFO: "", Level.SUCCESS: "✓ ", Level.WARNING: "⚠ ", Level.ERROR: "✕ "}


def format_message(message: Message) -> str:
    """Return a message with the sign of its level."""
    return f"{_SIGNS[message.level]}{message.text}"


def show_errors(model: SessionModel | MaskModel, verb: Callable[[], object]) -> Callable[..., None]:
    """Return a slot that calls a verb and shows its error in the status line.

    ``model``: where the status line is.
    """

    def slot(*_: object) -> None:
        try:
            verb()
        except Sam3AssistantError as error:
            model.message = Message(str(error), Level.ERROR)

    return slot

"""The one way in which widgets and the model are kept in step."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

    from qtpy.QtWidgets import QWidget

    from napari_sam3_assistant.session.disk.model import DiskModel
    from napari_sam3_assistant.session.masks.model import MaskModel
    from napari_sam3_assistant.session.model import SessionModel


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
        Names of fields, with spaces between them.
    widget : QWidget
        The widget that ``show`` redraws.
    show : callable
        Redraws the widget from the model; must not change the model.
    """
    for field in fields.split():
        emitter = getattr(model.events, field)

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
        Name of the field.
    widget : QWidget
        The widget.
    changed : Qt signal
        Tells that the user changed the widget.
    get, set_ : callable
        Read and write the widget's value.
    """

    def show() -> None:
        value = getattr(model, field)
        if get() != value:
            set_(value)

    watch(model, field, widget, show)
    changed.connect(lambda *_: setattr(model, field, get()))

"""A control that can't act now is greyed out, and its tooltip says why."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from qtpy.QtWidgets import QWidget

_TIP = "sam3_tip"


def allow(widget: QWidget, why_not: str) -> None:
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

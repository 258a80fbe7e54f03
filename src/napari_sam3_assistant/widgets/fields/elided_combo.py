"""A list that says where its text is cut."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qtpy.QtCore import QEvent, Qt
from qtpy.QtGui import QHelpEvent
from qtpy.QtWidgets import (
    QComboBox,
    QStyle,
    QStyleOptionComboBox,
    QStylePainter,
    QToolTip,
)

if TYPE_CHECKING:
    from qtpy.QtGui import QPaintEvent

_EDGE = 4
"""Pixels that the style leaves free beside the text."""


class ElidedCombo(QComboBox):
    """A list that may be narrower than its entries: a cut text ends in "…".

    The tooltip begins with the whole text then.
    """

    def __init__(self) -> None:
        super().__init__()
        self.setSizeAdjustPolicy(QComboBox.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon)
        self.setMinimumContentsLength(8)

    @property
    def elided_text(self) -> str:
        """The chosen entry as it is shown."""
        option = QStyleOptionComboBox()
        self.initStyleOption(option)
        return self._elided(option)

    def _elided(self, option: QStyleOptionComboBox) -> str:
        style = self.style()
        if style is None:
            return self.currentText()
        room = style.subControlRect(
            QStyle.ComplexControl.CC_ComboBox,
            option,
            QStyle.SubControl.SC_ComboBoxEditField,
            self,
        )
        right = Qt.TextElideMode.ElideRight
        text = option.currentText or ""
        return option.fontMetrics.elidedText(text, right, room.width() - _EDGE)

    def paintEvent(self, _event: QPaintEvent | None) -> None:
        """Draw the list with its text cut to the room that it has."""
        painter = QStylePainter(self)
        option = QStyleOptionComboBox()
        self.initStyleOption(option)
        option.currentText = self._elided(option)
        painter.drawComplexControl(QStyle.ComplexControl.CC_ComboBox, option)
        painter.drawControl(QStyle.ControlElement.CE_ComboBoxLabel, option)

    def event(self, event: QEvent | None) -> bool:
        """Show the whole text in the tooltip where it is cut."""
        if isinstance(event, QHelpEvent) and event.type() == QEvent.Type.ToolTip:
            whole = self.currentText()
            if self.elided_text != whole:
                text = "\n".join(line for line in (whole, self.toolTip()) if line)
                QToolTip.showText(event.globalPos(), text, self)
                return True
        return super().event(event)

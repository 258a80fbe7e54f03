"""A list of values, of which one is chosen."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

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
    from collections.abc import Sequence

    from qtpy.QtGui import QPaintEvent

_EDGE = 4
"""Pixels that the style leaves free beside the text."""


class ElidedCombo(QComboBox):
    """A list of values with a text for each, of which one is chosen.

    It may be narrower than its entries: a cut text has a "…", and the tooltip begins with the
    whole text then.

    The values are kept here and not as Qt's item data: PySide6 hands an enumeration that is also a
    string back as a bare string, and a choice of such a value would no longer be one of its kind.

    Parameters
    ----------
    cut : Qt.TextElideMode
        Where a text that is too long is cut.
    """

    def __init__(self, cut: Qt.TextElideMode = Qt.TextElideMode.ElideRight) -> None:
        super().__init__()
        self._cut = cut
        self._values: list[Any] = []
        self.setSizeAdjustPolicy(QComboBox.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon)
        self.setMinimumContentsLength(8)

    def offer(self, choices: Sequence[tuple[Any, str]]) -> None:
        """Show these values with their texts and no others; the chosen one stays chosen."""
        texts = [text for _, text in choices]
        shown = [self.itemText(at) for at in range(self.count())]
        values = [value for value, _ in choices]
        if (values, texts) != (self._values, shown):
            chosen = self.value
            self.clear()
            self.addItems(texts)
            self._values = values
            self.choose(chosen)

    @property
    def value(self) -> Any:  # noqa: ANN401 (whatever was offered)
        """The chosen value; None where none is."""
        at = self.currentIndex()
        return self._values[at] if at >= 0 else None

    def choose(self, value: object) -> None:
        """Choose a value; none if it is not offered."""
        self.setCurrentIndex(self._values.index(value) if value in self._values else -1)

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
        text = option.currentText or ""
        return option.fontMetrics.elidedText(text, self._cut, room.width() - _EDGE)

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

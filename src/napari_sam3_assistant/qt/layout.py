"""How panels use their room: texts that wrap, parts that fold, tables whose columns fit."""

from __future__ import annotations

import html
import re
from typing import TYPE_CHECKING

from qtpy.QtCore import QEvent, QObject, QSize, Qt, Signal
from qtpy.QtGui import QPalette
from qtpy.QtWidgets import (
    QAbstractSlider,
    QAbstractSpinBox,
    QComboBox,
    QFrame,
    QHeaderView,
    QLabel,
    QPushButton,
    QScrollArea,
    QScrollBar,
    QTableView,
    QVBoxLayout,
    QWidget,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from qtpy.QtCore import QAbstractItemModel
    from qtpy.QtGui import QResizeEvent, QShowEvent

_LONG_WORD = re.compile(r"\S{25,}")
_LONG_PART = re.compile(r"[^\W_]{25,}")
_BEHIND_SIGN = re.compile(r"(?<=[/\\_-])(?=\w)")
_INSIDE = re.compile(r"(?<=\w)(?=\w)")
_BREAK = "\u200b"  # the zero width space
_THOUSANDS = re.compile(r"(?<=\d) (?=\d{3}(?!\d))")
_FIRST, _LAST = 220, 80
"""Letters that are shown of a longer text, of its beginning and its end, which has the remedy."""
_LESS = 10
"""Letters by which the beginning is shortened while there are too many lines."""
_IN_TOOLTIP = 2000
"""Letters of a text in its tooltip."""


class WrappedLabel(QLabel):
    """A text that may hold names and phrases of the user.

    What looks like HTML is shown as it was typed. Long words, such as the names of files, are
    broken where the line ends, behind a sign if there is one; Qt would make the whole panel as wide
    as the word. The middle of a text that would make the panel much higher is left out; the tooltip
    has it.

    ``most_lines``: so many lines are shown at most; 0 for as many as a long text takes.
    """

    def __init__(self, most_lines: int = 0) -> None:
        super().__init__()
        self._text = ""
        self._most_lines = most_lines
        self.setTextFormat(Qt.TextFormat.PlainText)
        self.setWordWrap(True)

    def setText(self, text: str | None) -> None:
        """Show a text."""
        self._text = text or ""
        self._fit()

    def resizeEvent(self, event: QResizeEvent | None) -> None:
        """Show as much of the text as the lines of another width hold."""
        super().resizeEvent(event)
        before = None if event is None else event.oldSize().width()
        if self._most_lines and before != self.width():
            self._fit()

    def _fit(self) -> None:
        first = _FIRST
        self._show(first)
        highest = self._most_lines * self.fontMetrics().lineSpacing()
        while highest and first > _LAST and self.heightForWidth(self.width()) > highest:
            first -= _LESS
            self._show(first)

    def _show(self, first: int) -> None:
        """Show a text with so many letters of its beginning, or all of it."""
        shown = shorten(self._text, first, _LAST)
        whole = html.escape(shorten(self._text, _IN_TOOLTIP, _LAST))
        # As rich text Qt wraps it.
        self.setToolTip("" if shown == self._text else f"<p>{whole}</p>")
        shown = _THOUSANDS.sub("\u00a0", shown)  # 2 025 stays on its line
        super().setText(_LONG_WORD.sub(_make_breakable, shown))

    def text(self) -> str:
        """Return the text that was given."""
        return self._text


def with_readable_links(text: str, beside: QWidget) -> str:
    """Return HTML whose links have the colour of a widget's text: Qt's blue is lost on dark."""
    colour = beside.palette().color(QPalette.ColorRole.WindowText).name()
    return text.replace("<a ", f'<a style="color: {colour}" ')


def lay_out(widget: QWidget) -> None:
    """Give a widget, and all that it stands in, the room that it asks for now.

    Qt does so in later turns of the event loop, one for each layout around the widget: beside the
    work after a run, a text that got longer would be cut until then.
    """
    holder = widget.parentWidget()
    while holder is not None and not holder.isWindow():
        if (layout := holder.layout()) is not None:
            layout.activate()
        holder = holder.parentWidget()


def shorten(text: str, first: int, last: int) -> str:
    """Return a text, of a long one its beginning and its end, which cut no short word."""
    if len(text) <= first + last:
        return text
    begin = re.sub(r"\s+\S{0,20}$", "", text[:first])
    end = re.sub(r"^\S{0,20}\s+", "", text[-last:])
    return f"{begin} … {end}"


def _make_breakable(word: re.Match[str]) -> str:
    """Let a path or the name of a file be broken behind its signs, and its long parts anywhere."""
    parts = _LONG_PART.sub(lambda part: _INSIDE.sub(_BREAK, part.group()), word.group())
    return _BEHIND_SIGN.sub(_BREAK, parts)


class _WheelPasses(QObject):
    """Passes the wheel on to what is around a control."""

    def eventFilter(self, watched: QObject | None, event: QEvent | None) -> bool:
        """Take no turn of the wheel, but of a number or a slider that has the keyboard."""
        if event is None or event.type() != QEvent.Type.Wheel:
            return super().eventFilter(watched, event)
        if isinstance(watched, QAbstractSpinBox | QAbstractSlider) and watched.hasFocus():
            return False
        event.ignore()
        return True


def let_wheel_scroll(content: QWidget) -> None:
    """Let the wheel scroll what is scrolled, also where the pointer passes over a control.

    Qt would turn a list or a number that happens to come under the pointer: another engine, another
    threshold, and nobody has chosen it.
    """
    passes = _WheelPasses(content)
    for control in content.findChildren(QWidget):
        if isinstance(control, QScrollBar):
            continue
        if isinstance(control, QComboBox | QAbstractSpinBox | QAbstractSlider):
            # By Tab and a click, and not by the wheel itself.
            control.setFocusPolicy(Qt.FocusPolicy.StrongFocus)
            control.installEventFilter(passes)


class ScrolledPanel(QScrollArea):
    """Scrolls up and down only, so it is never narrower than what it holds."""

    def __init__(self) -> None:
        super().__init__()
        self.setWidgetResizable(True)
        self.setFrameShape(QFrame.Shape.NoFrame)
        self.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)

    def setWidget(self, widget: QWidget | None) -> None:
        """Hold a widget, which is complete."""
        super().setWidget(widget)
        if widget is not None:
            let_wheel_scroll(widget)

    def minimumSizeHint(self) -> QSize:
        """Return room for the content and the scroll bar beside it."""
        least = super().minimumSizeHint()
        content, bar = self.widget(), self.verticalScrollBar()
        if content is None or bar is None:
            return least
        frame = 2 * self.frameWidth()  # which a theme's style sheet may bring back
        width = content.minimumSizeHint().width() + bar.sizeHint().width() + frame
        return QSize(max(least.width(), width), least.height())

    def eventFilter(self, watched: QObject | None, event: QEvent | None) -> bool:
        """Ask for more room when the content does."""
        if event is not None and event.type() == QEvent.Type.LayoutRequest:
            self.updateGeometry()
        return super().eventFilter(watched, event)


class Fold(QWidget):
    """A button that shows and hides what is under it.

    The content keeps the height that it asks for, also where its text wraps.

    ``is_open``: whether it is shown at first.
    """

    turned = Signal(bool)

    def __init__(self, title: str, content: QWidget, *, is_open: bool = False) -> None:
        super().__init__()
        self._title = title
        self._content = content
        self._button = QPushButton()
        self._button.setObjectName("fold")
        self._button.setStyleSheet("text-align: left;")
        self._button.clicked.connect(self._toggle)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(self._button)
        layout.addWidget(content)
        self._show(is_open=is_open)

    def _toggle(self) -> None:
        is_open = self._content.isHidden()
        self._show(is_open=is_open)
        self.turned.emit(is_open)

    def _show(self, *, is_open: bool) -> None:
        self._content.setVisible(is_open)
        # The arrow is text, since an icon would not follow the theme.
        self._button.setText(f"{'▾' if is_open else '▸'} {self._title}")


_MOST = 160
"""No column asks for more pixels than this."""

_PADDING = 16
_HORIZONTAL = Qt.Orientation.Horizontal


class FittedTable(QTableView):
    """Its columns are as wide as what they hold; the first one takes the room that is left.

    Where there is too little, columns become narrower and cut their texts, but no title, and what
    does not fit then is reached by scrolling. Once the user drags a column, all stay as they are.

    ``least``: the columns that may become narrower, in this order, and their least width in pixels.
    ``is_empty``: is given a column, and returns whether no row has anything in it: then it is
    hidden.
    """

    def __init__(
        self,
        model: QAbstractItemModel,
        least: Sequence[tuple[int, int]],
        is_empty: Callable[[int], bool] = lambda _: False,
    ) -> None:
        super().__init__()
        self._least, self._is_empty = least, is_empty
        self._fitting = False
        self._dragged = False
        header = QHeaderView(_HORIZONTAL)
        header.setSectionsClickable(True)
        header.setTextElideMode(Qt.TextElideMode.ElideRight)
        # Only what is on show is measured, whatever the number of rows.
        header.setResizeContentsPrecision(0)
        header.sectionResized.connect(self._note)
        self.setHorizontalHeader(header)
        self.setTextElideMode(Qt.TextElideMode.ElideRight)
        self.setHorizontalScrollMode(QTableView.ScrollMode.ScrollPerPixel)
        self.setModel(model)
        model.modelReset.connect(self.fit)
        model.rowsInserted.connect(self.fit)

    def fit(self) -> None:
        """Share the room anew, once the table is on show: Qt measures every row of a hidden one."""
        header, view, rows = self.horizontalHeader(), self.viewport(), self.model()
        if not self.isVisible() or header is None or view is None or rows is None:
            return
        self._fitting = True
        for column in range(rows.columnCount()):
            self.setColumnHidden(column, self._is_empty(column))
        self._fitting = False
        if self._dragged:
            return
        # The header's own hint keeps room for the arrow of sorting in every column.
        titles = {
            column: _PADDING
            + self.fontMetrics().horizontalAdvance(str(rows.headerData(column, _HORIZONTAL)))
            for column in range(rows.columnCount())
            if not self.isColumnHidden(column)
        }
        widths = {
            column: min(_MOST, max(title, self.sizeHintForColumn(column)))
            for column, title in titles.items()
        }
        spare = view.width() - sum(widths.values())
        if 0 in widths:
            widths[0] += max(0, spare)
        for column, least in self._least:
            if column in widths:
                extra = min(max(0, -spare), max(0, widths[column] - max(least, titles[column])))
                widths[column] -= extra
                spare += extra
        self._fitting = True
        for column, width in widths.items():
            self.setColumnWidth(column, width)
        self._fitting = False

    def showEvent(self, event: QShowEvent | None) -> None:
        """Share the room of what came in while the table was hidden."""
        super().showEvent(event)
        self.fit()

    def resizeEvent(self, event: QResizeEvent | None) -> None:
        """Share the new room."""
        super().resizeEvent(event)
        self.fit()

    def _note(self, _column: int, before: int, _now: int) -> None:
        # A new column has no width before.
        self._dragged = self._dragged or (not self._fitting and before > 0)

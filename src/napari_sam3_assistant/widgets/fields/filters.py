"""Fields: what is on show of what was found, by sliders and histograms."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
from qtpy.QtCore import QEvent, Qt, QTimer
from qtpy.QtGui import QPalette
from qtpy.QtWidgets import (
    QCheckBox,
    QGridLayout,
    QHBoxLayout,
    QLabel,
    QSizePolicy,
    QVBoxLayout,
    QWidget,
)
from superqt import QDoubleRangeSlider
from superqt.utils import signals_blocked

from napari_sam3_assistant.core.plurals import format_number, part_of
from napari_sam3_assistant.errors import ImageError
from napari_sam3_assistant.qt.bind import set_enabled, show_errors, watch, watch_later
from napari_sam3_assistant.qt.controls import ElidedCombo, push_button
from napari_sam3_assistant.session.messages import (
    AREA,
    FRAME,
    SAID,
    SCORE,
    STABILITY,
    UNIT,
    column_titles,
    value_of,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence

    import numpy.typing as npt
    from qtpy.QtGui import QShowEvent

    from napari_sam3_assistant.core.images import Untyped
    from napari_sam3_assistant.session.model import SessionModel
    from napari_sam3_assistant.session.session import Session
    from napari_sam3_assistant.session.values import PlaneTarget, ResultRow
    from napari_sam3_assistant.viewer.binding import Binding


class FilterField(QWidget):
    """Sliders that show and hide what was found, by score and by area, and how many are shown."""

    def __init__(self, session: Session) -> None:
        super().__init__()
        self._session = session
        self._count = QLabel()
        self._count.setObjectName("shown_count")
        tip = "Bring back the objects that the sliders have hidden"
        restore = _Later(session.model, self, session.filtering.show_all_in_parts, 0)
        self._all = push_button(session.model, "Show All", "show_all", restore.ask, tip)
        self._all.setSizePolicy(QSizePolicy.Policy.Minimum, QSizePolicy.Policy.Fixed)
        layout = QGridLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setColumnStretch(1, 1)
        self._rows = [RangeSlider(session, title) for title in (SCORE, STABILITY, AREA)]
        for place, slider in enumerate(self._rows):
            layout.addWidget(slider.title, place, 0)
            layout.addWidget(slider, place, 1)
            layout.addWidget(slider.ends, place, 2)
        layout.addWidget(self._count, len(self._rows), 0, 1, 2)
        layout.addWidget(self._all, len(self._rows), 2)
        watch_later(session.model, "results", self, self._show)

    def _show(self) -> None:
        filtering = self._session.filtering
        shown, found = filtering.count()
        self._count.setText(f"{part_of(shown, found)} shown" if found else "")
        self.setVisible(found > 0)
        set_enabled(self._all, "" if shown < found else "Nothing is hidden")
        for slider in self._rows:
            slider.show_values()


_PAUSE_MS = 50


class _Later(QTimer):
    """Does work in parts, each in a turn of its own, some milliseconds after it is asked to.

    A mouse moves quicker than labels are painted.
    """

    def __init__(
        self,
        model: SessionModel,
        widget: QWidget,
        work: Callable[[], Iterator[None]],
        pause: int = _PAUSE_MS,
    ) -> None:
        super().__init__(widget)
        self.setSingleShot(True)
        self._work, self._pause = work, pause
        self._parts: Iterator[None] | None = None
        self._asked = False
        self.timeout.connect(show_errors(model, self._go_on))

    @property
    def is_due(self) -> bool:
        """Whether something is still to be done."""
        return self._asked or self._parts is not None

    def ask(self) -> None:
        """Ask for the work; asked for again meanwhile, it is done once more."""
        self._asked = True
        if not self.isActive():
            self.start(self._pause)

    def finish(self) -> None:
        """Do at once what was asked for; let go, the mouse has nothing more to say."""
        self.stop()
        while self.is_due:
            self._go_on()

    def _go_on(self) -> None:
        """Do the next part."""
        parts, self._parts = self._parts, None
        if parts is None:
            parts, self._asked = self._work(), False
        if next(parts, "done") != "done":
            self._parts = parts
        if self.is_due:
            self.start(0 if self._parts is not None else self._pause)


class RangeSlider(QDoubleRangeSlider):  # type: ignore[misc, unused-ignore]
    """The range of one column that is on show; reaches over all values that were found.

    ``title`` and ``ends``: the name of the column, and the range in numbers.
    """

    def __init__(self, session: Session, column: str) -> None:
        super().__init__(Qt.Orientation.Horizontal)  # type: ignore[no-untyped-call]
        self._session, self._column = session, column
        self._limits = (0.0, 0.0)
        name = column.lower()
        self.setObjectName(f"filter_{name}")
        self.setToolTip(f"Show only objects whose {name} lies between the handles. Nothing is run.")
        self.setAccessibleName(f"{column} range")
        self.title, self.ends = QLabel(column), QLabel()
        self._later = _Later(session.model, self, self._apply)
        self.valueChanged.connect(self._take)

    def show_values(self) -> None:
        """Show the range that holds, unless the user is changing it."""
        if self._later.is_due or self.isSliderDown():
            return
        values = self._session.filtering.values(self._column)
        known = [value for value in values if value is not None]
        low, high = (min(known), max(known)) if known else (0.0, 0.0)
        self._limits = (low, high)
        least, most = range_on_show(self._session, self._column)
        ends = (max(low, least), min(high, most))
        with signals_blocked(self):
            self.setRange(low, max(high, low + 1e-9))
            self.setValue(ends)
        self.setEnabled(high > low)
        for widget in (self.title, self, self.ends):
            widget.setVisible(bool(known))
        self._tell(ends)

    def _take(self, ends: tuple[float, float]) -> None:
        self._tell(ends)
        self._later.ask()

    def _tell(self, ends: tuple[float, float]) -> None:
        self.ends.setText(" – ".join(format_number(end, 3 if end < 1 else 4) for end in ends))

    def _apply(self) -> Iterator[None]:
        return show_between(self._session, self._column, self.value(), self._limits)


def show_between(
    session: Session, column: str, ends: Iterable[float], limits: tuple[float, float]
) -> Iterator[None]:
    """Show the objects with values between two handles, in parts.

    A handle at its end lets all through, also what a later edit makes larger.
    """
    low, high = map(float, ends)
    return session.filtering.show_range_in_parts(
        column, -math.inf if low <= limits[0] else low, math.inf if high >= limits[1] else high
    )


def range_on_show(session: Session, column: str) -> tuple[float, float]:
    """Return the ends of what is on show of a column; infinite where nothing is hidden by it."""
    found = next((range_ for range_ in session.filtering.ranges if range_.column == column), None)
    return (-math.inf, math.inf) if found is None else (found.low, found.high)


_MOST_BINS = 60
_MOST_LINES = 200
_PLOT_HEIGHT = 150
_NEAR = 0.1  # of the plot's sides
_SNAP = 2.5  # pixels
_COUNT = "Objects"
_BARS, _HANDLES, _BETWEEN = "#4c9fd6", "#e0a100", "#f2c74420"


def _make_axis(side: str) -> Untyped:
    """Return an axis that marks no halves where it counts objects or frames."""
    import pyqtgraph

    class Axis(pyqtgraph.AxisItem):  # type: ignore[misc, unused-ignore]
        def tickSpacing(self, *reach: float) -> list[tuple[float, float]]:
            levels = super().tickSpacing(*reach)
            counts = self.labelText in (_COUNT, FRAME)
            return [level for level in levels if level[0] >= 1] or [(1, 0)] if counts else levels

    return Axis(side)


class HistogramField(QWidget):
    """How the values of a column are spread, with handles that filter; or their course over frames.

    Where frames are drawn, a line marks the one on show: dragged, or by a click elsewhere, it goes
    to another.
    """

    def __init__(self, binding: Binding) -> None:
        super().__init__()
        self._binding = binding
        self._session = session = binding.session
        self._here: Untyped = None
        self._framed: list[tuple[int, ResultRow]] = []
        self._axes: dict[Hashable, int] = {}
        self._plot: Untyped = None
        self._region: Untyped = None
        self._limits = (0.0, 0.0)
        self._column = ElidedCombo()
        self._column.setObjectName("histogram_column")
        self._column.setAccessibleName("Column of the histogram")
        self._column.setToolTip("The column of the table that is drawn")
        self._column.activated.connect(self._draw)
        self._over = QCheckBox("Over frames")
        self._over.setObjectName("histogram_over_frames")
        self._over.setToolTip("Draw the value of each object from frame to frame")
        self._over.toggled.connect(self._draw)
        self._later = _Later(session.model, self, self._apply)
        above = QHBoxLayout()
        above.addWidget(self._column, 1)
        above.addWidget(self._over)
        self._layout = QVBoxLayout(self)
        self._layout.setContentsMargins(0, 0, 0, 0)
        self._layout.addLayout(above)
        for field in ("results", "picked"):
            watch_later(session.model, field, self, self._follow)
        # It says which plane is on show.
        watch(session.model, "images", self, self._mark_frame)

    def showEvent(self, event: QShowEvent | None) -> None:
        """Draw what has come in while nobody saw it."""
        super().showEvent(event)
        self._follow()

    def changeEvent(self, event: QEvent | None) -> None:
        """Draw in the colours of another theme."""
        super().changeEvent(event)
        if event is not None and event.type() == QEvent.Type.StyleChange:
            self._follow()

    def _follow(self) -> None:
        # Drawn anew, the handles would slip out of the user's hand.
        if self.isVisible() and not self._later.is_due and not self._is_held():
            self._draw()

    def _is_held(self) -> bool:
        region = self._region
        return region is not None and any(item.moving for item in (region, *region.lines))

    def _rows(self) -> tuple[ResultRow, ...]:
        # What the handles have hidden is drawn, too: it can come back.
        return self._session.results.everything or self._session.model.results

    def _draw(self, *_: object) -> None:
        rows = self._rows()
        parts = [part for row in rows for part in row.parts]
        self._axes = frame_axes(parts)
        self._framed = framed = with_frames(parts, self._axes)
        self._over.setVisible(len({row.preview.target.plane for _, row in framed}) > 1)
        over = self._over.isChecked() and not self._over.isHidden()
        chosen = self._session.model.columns.split(", ")
        self._offer(numeric_titles(parts if over else rows, chosen))
        column = self._column.currentText()
        if self._plot is None:
            self._make_plot()
        self._plot.clear()
        self._here = None
        if over:
            self._draw_lines(column, framed)
            self._draw_frame()
        elif column == FRAME:
            self._draw_bars(column, [frame for frame, _ in framed])
            self._draw_frame()
        else:
            # Of what can be hidden, all; accepted objects where there is nothing else.
            found = self._session.filtering.values(column)
            self._draw_bars(column, found or [value_of(row, column) for row in rows])

    def _offer(self, titles: tuple[str, ...]) -> None:
        before = self._column.value if self._column.count() else AREA
        self._column.offer([(title, title) for title in titles])
        self._column.choose(before if before in titles else AREA)

    def _make_plot(self) -> None:
        import pyqtgraph  # a third of a second, for those who look at it

        axes = {side: _make_axis(side) for side in ("bottom", "left")}
        self._plot = plot = pyqtgraph.PlotWidget(background=None, axisItems=axes)
        plot.setObjectName("histogram")
        plot.setFixedHeight(_PLOT_HEIGHT)
        plot.setMenuEnabled(False)
        plot.hideButtons()
        plot.setMouseEnabled(x=False, y=False)
        plot.scene().sigMouseClicked.connect(
            lambda click: show_errors(self._session.model, lambda: self._go_there(click))()
        )
        self._layout.addWidget(plot)

    def _draw_bars(self, column: str, values: Sequence[float | None]) -> None:
        import pyqtgraph

        known = np.array([value for value in values if value is not None], float)
        known = known[np.isfinite(known)]
        self._region = None
        if not known.size:
            return
        self._limits = (float(known.min()), float(known.max()))
        counts, edges = count_values(known)
        self._style(column, _COUNT)
        bars = pyqtgraph.BarGraphItem(
            x0=edges[:-1], x1=edges[1:], height=counts, brush=_BARS, pen=None
        )
        self._plot.addItem(bars)
        self._plot.setRange(xRange=(edges[0], edges[-1]), yRange=(0, counts.max()), padding=0.02)
        can_filter = self._session.filtering.count()[1] > 0 and column != FRAME
        if not can_filter or self._limits[0] == self._limits[1]:
            return
        low, high = range_on_show(self._session, column)
        ends = (max(low, edges[0]), min(high, edges[-1]))
        self._region = region = pyqtgraph.LinearRegionItem(
            ends,
            bounds=(edges[0], edges[-1]),
            brush=_BETWEEN,
            hoverBrush=_BETWEEN,
            pen=pyqtgraph.mkPen(_HANDLES, width=2),
        )
        self._plot.addItem(region)
        region.sigRegionChanged.connect(self._later.ask)
        region.sigRegionChangeFinished.connect(self._later.finish)

    def _draw_lines(self, column: str, framed: Sequence[tuple[int, ResultRow]]) -> None:
        import pyqtgraph

        self._region = None
        self._style(FRAME, column)
        picked = self._session.model.picked
        chosen = None if picked is None else _identify(picked)
        for identity, course in list(courses(framed, column).items())[:_MOST_LINES]:
            mine = identity == chosen
            pen = pyqtgraph.mkPen(_HANDLES if mine else _BARS, width=3 if mine else 1)
            self._plot.plot(*course, pen=pen, symbol="o" if len(course[0]) == 1 else None)
        self._plot.autoRange()

    def _draw_frame(self) -> None:
        """Mark the frame on show by a line that can be dragged."""
        import pyqtgraph

        pen = pyqtgraph.mkPen(_HANDLES, width=2)
        self._here = pyqtgraph.InfiniteLine(angle=90, movable=True, pen=pen)
        self._here.sigDragged.connect(lambda line: self._go_to(line.value()))
        self._plot.addItem(self._here, ignoreBounds=True)
        self._mark_frame()

    def _mark_frame(self) -> None:
        if self._here is None or self._here.moving:
            return
        target = self._on_show()
        if target is not None:
            self._here.setValue(target.plane.leading[self._axes[_stack_of(target)]])

    def _on_show(self) -> PlaneTarget | None:
        """Return the plane on show, if it is of a stack with results."""
        try:
            shown = self._binding.adapter.displayed(self._session.model.image).target
        except ImageError:
            return None
        return shown if _stack_of(shown) in self._axes else None

    def _go_to(self, frame: float) -> None:
        """Show a frame of the stack on show, or else of the first one with results."""
        target = self._on_show() or self._framed[0][1].preview.target
        leading, at = list(target.plane.leading), self._axes[_stack_of(target)]
        leading[at] = min(max(0, round(frame)), target.shape[target.axes.leading[at]] - 1)
        plane = replace(target.plane, leading=tuple(leading))
        self._binding.adapter.go_to(replace(target, plane=plane))

    def _go_there(self, click: Untyped) -> None:
        """Show the frame that was clicked on; of courses, the object whose value is nearest."""
        if self._here is None:
            return
        box = self._plot.getPlotItem().getViewBox()
        spot = box.mapSceneToView(click.scenePos())
        column = self._column.currentText()
        over = self._over.isChecked() and not self._over.isHidden()
        values = ((value_of(row, column), frame, row) for frame, row in self._framed if over)
        wide, high = box.viewRange()
        reach = (wide[1] - wide[0], high[1] - high[0])

        def distance(frame: int, value: float) -> float:
            return math.hypot((frame - spot.x()) / reach[0], (value - spot.y()) / reach[1])

        near = [(distance(frame, value), row) for value, frame, row in values if value is not None]
        away, row = min(near, key=lambda pair: pair[0], default=(math.inf, None))
        if row is not None and away < _NEAR:
            self._binding.actions.reveal(row)
        else:
            self._go_to(spot.x())

    def _style(self, x: str, y: str) -> None:
        colour = self.palette().color(QPalette.ColorRole.WindowText)
        for name, title in (("bottom", x), ("left", y)):
            axis = self._plot.getAxis(name)
            axis.setPen(colour)
            axis.setTextPen(colour)
            axis.enableAutoSIPrefix(False)
            axis.setLabel(title)

    def _apply(self) -> Iterator[None]:
        if self._region is None:
            return
        low, high = self._region.getRegion()
        least, most = self._limits
        # No hand is exact to the pixel, and an end that is missed by one would hide an object.
        near = _SNAP * self._plot.getPlotItem().getViewBox().viewPixelSize()[0]
        ends = (least if low < least + near else low, most if high > most - near else high)
        yield from show_between(self._session, self._column.currentText(), ends, self._limits)


def numeric_titles(rows: Sequence[ResultRow], chosen: Sequence[str]) -> tuple[str, ...]:
    """Return the columns that hold numbers worth counting, in the order of the table."""
    titles = [FRAME] if any(row.preview.target.plane.leading for row in rows) else []
    titles += [SCORE] if any(row.record.score is not None for row in rows) else []
    titles += [STABILITY] if any(value_of(row, STABILITY) is not None for row in rows) else []
    measured = (title for title in column_titles(rows, chosen) if title not in (UNIT, *SAID))
    return (*titles, AREA, *measured)


def count_values(
    values: npt.NDArray[np.float64],
) -> tuple[npt.NDArray[np.integer[Any]], npt.NDArray[np.floating[Any]]]:
    """Return how many of some finite values lie between edges; whole numbers have a bar each."""
    low, high = float(values.min()), float(values.max())
    if high - low <= _MOST_BINS and (values == np.round(values)).all():
        edges = np.arange(low - 0.5, high + 1)
    else:
        bins = int(np.clip(np.sqrt(values.size), 5, _MOST_BINS))
        edges = np.linspace(low, high, bins + 1)
    counts, edges = np.histogram(values, edges)
    return counts, edges


def _stack_of(target: PlaneTarget) -> Hashable:
    """Return what is one for the planes of an image, as long as its axes stay."""
    return target.image, target.axes.leading


def frame_axes(rows: Iterable[ResultRow]) -> dict[Hashable, int]:
    """Return of each stack which of its leading axes the objects lie along.

    That is the one with the most indices. Stacks differ: one has slices, another also times.
    """
    planes: dict[Hashable, set[tuple[int, ...]]] = {}
    for row in rows:
        target = row.preview.target
        if target.plane.leading:
            planes.setdefault(_stack_of(target), set()).add(target.plane.leading)
    axes = {}
    for stack, leading in planes.items():
        indices = [len(set(along)) for along in zip(*leading, strict=True)]
        axes[stack] = indices.index(max(indices))
    return axes


def with_frames(
    rows: Iterable[ResultRow], axes: Mapping[Hashable, int]
) -> list[tuple[int, ResultRow]]:
    """Return the objects that lie in stacks, each with its frame along the axis of its stack."""
    targets = ((row.preview.target, row) for row in rows)
    return [
        (target.plane.leading[axes[_stack_of(target)]], row)
        for target, row in targets
        if target.plane.leading
    ]


def _identify(row: ResultRow) -> Hashable:
    """Return what is one for an object on all its frames; an accepted one may have the number."""
    return (type(row.preview), row.preview.slot, row.record.id)


def courses(
    framed: Iterable[tuple[int, ResultRow]], column: str
) -> dict[Hashable, tuple[list[int], list[float]]]:
    """Return for each object its frames, and its values on them in a column."""
    found: dict[Hashable, list[tuple[int, float]]] = {}
    for frame, row in framed:
        value = value_of(row, column)
        if value is not None:
            found.setdefault(_identify(row), []).append((frame, value))
    return {
        identity: ([frame for frame, _ in sorted(values)], [value for _, value in sorted(values)])
        for identity, values in found.items()
    }

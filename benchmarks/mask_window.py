"""How long the mask operations keep napari's window from answering, operation by operation."""

from __future__ import annotations

from time import perf_counter, thread_time

import napari
from qtpy.QtCore import Qt, QTimer
from qtpy.QtTest import QTest
from qtpy.QtWidgets import QAbstractButton, QLineEdit, QListWidget, QTableView, QTabWidget

from napari_sam3_assistant.widgets.fields.save import open_mask_operations

BEAT_MS = 2
QUIET_MS = 700
PATIENCE_S = 120


class Heartbeat:
    """A timer that ticks as often as Qt's event loop lets it, and notes the longest pause.

    Of a pause it notes too how much this thread computed: the rest it waited, for the drawing
    (by other threads, where no graphics card does it) or for other programs on a busy machine.
    """

    def __init__(self):
        self._timer = QTimer()
        self._timer.setTimerType(Qt.TimerType.PreciseTimer)
        self._timer.setInterval(BEAT_MS)
        self._timer.timeout.connect(self._beat)
        self._timer.start()
        self.restart()

    def restart(self):
        self._last, self._worked = perf_counter(), thread_time()
        self.gaps, self.turns = [], []

    def _beat(self):
        now, worked = perf_counter(), thread_time()
        self.gaps.append(now - self._last)
        self.turns.append(worked - self._worked)
        self._last, self._worked = now, worked

    @property
    def longest(self):
        return max(self.gaps, default=0.0)

    @property
    def busiest(self):
        return max(self.turns, default=0.0)


class Window:
    """A real window of napari with the mask operations beside it."""

    def __init__(self, labels):
        self.viewer = napari.Viewer()
        self.layer = self.viewer.add_labels(labels, name="masks")
        self.widget = open_mask_operations(self.viewer)
        self.heart = Heartbeat()
        QTest.qWait(2 * QUIET_MS)

    def button(self, name):
        return self.widget.findChild(QAbstractButton, name)

    def press(self, name):
        self.button(name).click()

    def number(self, name, value):
        self.widget.findChild(object, name).setValue(value)

    def tab(self, index):
        self.widget.findChild(QTabWidget, "mask_tabs").setCurrentIndex(index)
        QTest.qWait(QUIET_MS)

    def tick_two(self, name):
        layers = self.widget.findChild(QListWidget, name)
        for row in range(2):
            layers.item(row).setCheckState(Qt.CheckState.Checked)
            self.wait()

    def wait(self):
        """Wait for the end of the work, and of all that is drawn after it."""
        cancel, began = self.button("mask_cancel"), perf_counter()
        QTest.qWait(50)
        while not cancel.isHidden() and perf_counter() - began < PATIENCE_S:
            QTest.qWait(20)
        took = perf_counter() - began
        QTest.qWait(QUIET_MS)
        return took

    def measure(self, name, act):
        """Print the longest pause from just before something is done to well after it."""
        QTest.qWait(QUIET_MS)
        self.heart.restart()
        QTimer.singleShot(0, act)
        took = self.wait()
        longest, busiest = 1e3 * self.heart.longest, 1e3 * self.heart.busiest
        print(f"{name:44s} {longest:6.0f} ms     {busiest:6.0f} ms   {took:6.2f} s", flush=True)
        return busiest


def alone(shown, labels, measure):
    """What napari does without us."""
    spare = labels.copy()
    measure("napari alone: drawing", lambda: shown.layer.events.opacity())
    measure("napari alone: one full refresh", lambda: shown.layer.refresh(extent=False))
    measure("napari alone: a new layer", lambda: shown.viewer.add_labels(spare, name="spare"))
    measure("napari alone: the layer removed", lambda: shown.viewer.layers.remove("spare"))
    shown.viewer.layers.selection.active = shown.layer


def table(shown, measure):
    """Analyse, choose and sort rows, delete one."""
    measure("analyse", lambda: shown.press("analyze"))
    rows = shown.widget.findChild(QTableView, "component_table")
    measure("choose all rows", rows.selectAll)
    measure("sort by area", lambda: rows.sortByColumn(2, Qt.SortOrder.DescendingOrder))
    measure("choose one row", lambda: rows.selectRow(500))
    measure("delete one component", lambda: shown.press("delete_components"))
    measure("undo", lambda: shown.press("mask_undo"))


def operations(shown, measure):
    """Each operation, taken back and done again, and previews."""
    for name, field, value in (
        ("remove_small", "minimum", 400),
        ("fill_holes", "hole_size", 256),
        ("smooth", "radius", 2),
        ("keep_largest", None, None),
        ("expand", "distance", 2),
        ("merge_values", "new_value", 3),
    ):
        if field:
            shown.number(field, value)
        measure(name, lambda name=name: shown.press(f"apply_{name}"))
        measure(f"{name}: undo", lambda: shown.press("mask_undo"))
        measure(f"{name}: redo", lambda: shown.press("mask_redo"))
        shown.press("mask_undo")
        shown.wait()
    measure("preview of remove small", lambda: shown.press("preview_remove_small"))
    measure("preview: another number", lambda: shown.number("minimum", 600))
    measure("preview: apply", lambda: shown.press("apply_remove_small"))
    shown.press("mask_undo")
    shown.wait()
    measure("preview of smooth", lambda: shown.press("preview_smooth"))
    measure("preview: hide it", lambda: shown.press("preview_smooth"))


def collecting(shown, measure):
    """Objects that are saved, and merges."""
    shown.tab(0)
    measure("save accepted object", lambda: shown.press("save_accepted"))
    measure("save accepted object: undo", lambda: shown.press("undo_accepted"))
    measure("save accepted object: redo", lambda: shown.press("redo_accepted"))
    shown.number("label", 5000)
    measure("save one label", lambda: shown.press("save_accepted"))
    shown.tab(1)
    shown.tick_two("merge_layers")
    measure("class merge", lambda: shown.press("merge_accepted"))
    measure("class merge again", lambda: shown.press("merge_accepted"))
    shown.tab(3)
    shown.tick_two("final_layers")
    measure("final merge", lambda: shown.press("merge_final"))
    measure("overlap map", lambda: shown.press("show_overlap"))


def window(labels):
    """Measure in a window."""
    shown, over = Window(labels), {}
    heads = "longest pause   of it computed   work"
    print(f"\nin a window, {'x'.join(map(str, labels.shape))}, {labels.dtype}".ljust(46), heads)

    def measure(name, act):
        busiest = shown.measure(name, act)
        if busiest > 50:
            over[name] = round(busiest)

    alone(shown, labels, measure)
    table(shown, measure)
    shown.widget.findChild(QLineEdit, "values_text").setText("1, 2, 5, 7, 9, 4000, 9000")
    operations(shown, measure)
    collecting(shown, measure)
    shown.viewer.close()
    print(f"    computed for more than 50 ms: {over or 'nothing'}")

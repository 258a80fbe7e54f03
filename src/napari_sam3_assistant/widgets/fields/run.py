"""Fields: the run button and its reason, what runs beside it, status and log."""

from __future__ import annotations

import time
from datetime import datetime
from typing import TYPE_CHECKING

from napari.utils.theme import get_theme
from qtpy.QtCore import Qt, QTimer
from qtpy.QtWidgets import (
    QCheckBox,
    QDialog,
    QGridLayout,
    QLabel,
    QPlainTextEdit,
    QProgressBar,
    QPushButton,
    QSizePolicy,
    QVBoxLayout,
    QWidget,
)

from napari_sam3_assistant.core.plurals import part_of
from napari_sam3_assistant.core.prompts import Task, Tool
from napari_sam3_assistant.qt.bind import (
    bind_enabled,
    disconnect_with,
    follow,
    format_message,
    watch,
)
from napari_sam3_assistant.qt.controls import ask_where, check_box, push_button, show_progress
from napari_sam3_assistant.qt.layout import (
    ScrolledPanel,
    WrappedLabel,
    lay_out,
    with_readable_links,
)
from napari_sam3_assistant.session.messages import format_propagation, format_results
from napari_sam3_assistant.session.values import Level
from napari_sam3_assistant.viewer.keys import GESTURES, SHORTCUTS, first_key, with_key
from napari_sam3_assistant.widgets.fields.save import open_mask_operations
from napari_sam3_assistant.widgets.fields.stack import FollowedField, go_on_button

if TYPE_CHECKING:
    from napari.components import ViewerModel
    from qtpy.QtGui import QResizeEvent

    from napari_sam3_assistant.session.model import SessionModel
    from napari_sam3_assistant.session.session import Session
    from napari_sam3_assistant.session.values import Preview
    from napari_sam3_assistant.viewer.binding import Binding


_FILTERS = {
    "TIFF (*.tif *.tiff)": ".tif",
    "NumPy, values only (*.npy)": ".npy",
    "PNG, values only (*.png)": ".png",
    "OME-Zarr (*.ome.zarr *.zarr)": ".ome.zarr",
}
_ACCEPTS = with_key("Add the object to “SAM3 live accepted labels” and begin the next", "accept")
_ACCEPTS_ALL = with_key(
    "Add all objects on show, with all their frames, to “SAM3 live accepted labels”", "accept"
)
_REFINES = "Click on one object of the preview, then correct it by clicks"
_FOLLOWS = with_key(
    "Follow one object through the slices or frames, by its mask on this one: an object of the "
    "preview or an accepted one",
    "follow",
)
_STOPS = "Stop the run. Your prompts stay."
_CLEARS = "Remove the preview layers. Prompts and saved labels stay."
_UNDOES = with_key("Take back the last prompt, run or acceptance", "undo")
_REDOES = with_key("Do again what was taken back", "redo")
_OPENS = "Clean, merge and export masks in a window of its own"
_IN_NAPARI = (
    "Copy the preview into a layer “SAM3 saved labels”, which later runs leave alone. "
    "It is gone with napari: nothing is written to disk."
)
_ON_DISK = (
    "Write what you accepted, and the preview, to disk as TIFF, NumPy, PNG or OME-Zarr; you choose "
    "where. The layers stay as they are."
)
_AT_ONCE = (
    "Write what you accepted, and the preview, to a new TIFF file beside the image, or in the "
    "folder that you saved to last. Nothing is replaced. In Annotate Folder: to the labels of the "
    "folder, as Next does, and stay."
)
_AT_ACCEPT = (
    "Write the accepted labels to a file beside the image after each Accept Object: always the "
    "same new file, which grows. Files of others are left alone. In Annotate Folder, where each "
    "step saves, it does nothing."
)

_LIVE = (
    "Run by itself when you let go of the mouse, as long as the engine answers within a second or "
    "so. Phrases, batches and 3D/video wait for Run Preview."
)
_EACH = (
    "Each positive click is an object of its own; negative clicks count for all of them, in "
    "3D/video for the latest. Without, all clicks together are one object, in 3D/video the one in "
    "Object."
)
_GUIDE = "https://github.com/wulinteousa2-hash/napari-sam3-assistant/blob/main/docs/user-guide.md"
_SEGMENTS = "Segment the plane on show with your prompts"
_STARTS = (
    "Begin a new session: follow what your prompts name through the stack, from the slices with "
    "prompts on. The labels of an earlier session are removed."
)


class RunControls(QWidget):
    """Run, accept, refine, undo, redo, clear, save; at first only what can be used."""

    _begun = False

    def __init__(self, binding: Binding) -> None:
        super().__init__()
        self._session = session = binding.session
        model = session.model
        self._run = push_button(model, "Run Preview", "run_preview", session.run, "")
        line = RunButton(self._run, binding.viewer)
        self._live = check_box(model, "live", "Live", _LIVE)
        self._each_click = check_box(model, "each_click", "One object a click", _EACH)
        accept = push_button(model, "Accept Object", "accept", session.accept, _ACCEPTS)
        refine = push_button(model, "Refine Object", "refine", binding.actions.refine, _REFINES)
        self._follow = push_button(
            model, "Through the Stack", "follow", binding.actions.follow, _FOLLOWS
        )
        self._accept_all = push_button(
            model, "Accept All", "accept_all", session.accept, _ACCEPTS_ALL
        )
        self._followed = FollowedField(session)
        self._of_planes = (accept, refine)
        clear = push_button(model, "Clear Preview", "clear_preview", session.clear_preview, _CLEARS)
        undo = push_button(model, "Undo", "undo", binding.actions.undo, _UNDOES)
        redo = push_button(model, "Redo", "redo", binding.actions.redo, _REDOES)
        save_now = push_button(model, "Save", "save_now", session.save, _AT_ONCE)
        at_accept = check_box(model, "save_at_accept", "Save at Accept", _AT_ACCEPT)
        save = push_button(model, "Save as Layer", "save", session.saving.keep_all, _IN_NAPARI)
        to_file = push_button(model, "Save to File …", "save_file", self._save_file, _ON_DISK)
        mask_ops = push_button(
            model, "Mask Ops", "mask_ops", lambda: open_mask_operations(binding.viewer), _OPENS
        )
        self._run.key, self._accept_all.key = first_key("run"), first_key("accept")
        for button in (accept, self._follow, undo, redo):
            button.key = first_key(button.objectName())
        self._grid = layout = QGridLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(4)
        layout.addWidget(line, 0, 0, 1, 2)
        for column in (0, 1):
            layout.setColumnStretch(column, 1)
        # What 3D/video needs most stands first: it fits a screen of 1366 x 768. What comes with
        # the first result stands below what is there from the start, which stays where it is.
        pairs: tuple[tuple[QWidget, ...], ...] = (
            (self._live, self._each_click),
            (go_on_button(session),),
            (accept, refine),
            (self._follow,),
            (save_now, at_accept),
            (self._accept_all,),
            (self._followed,),
            (undo, redo),
            (save, to_file),
            (mask_ops, clear),
        )
        for row, pair in enumerate(pairs, 1):
            for column, widget in enumerate(pair):
                self._place(widget, row, column, 2 // len(pair))
        row = layout.getItemPosition(layout.indexOf(self._accept_all))[0]
        self._place(self._accept_all, row, 0)  # half: a box stands beside it
        # They take what was found or done; nine grey buttons are no start.
        self._later = (undo, redo, save, to_file, clear)
        self._saves = (save_now, at_accept)
        for button in (undo, redo, accept, self._accept_all, refine, self._follow, save):
            bind_enabled(model, button.objectName(), button)
        bind_enabled(model, "clear", clear)
        bind_enabled(model, "save_file", save_now, to_file)
        follow(self, lambda: (model.task, model.is_batch, model.tool), self._show_task, model)
        follow(
            self,
            lambda: (self._has_begun(), model.task, bool(model.frame_axes)),
            self._show_later,
            model,
        )
        follow(self, self._read_line, lambda read: line.set_enabled(*read), model)

    def _place(self, widget: QWidget, row: int, column: int, span: int = 1) -> None:
        """Put a button or a box into the grid; a box is as wide as its words.

        So a click beside them does nothing, and the columns are of one width.
        """
        side = Qt.AlignmentFlag.AlignLeft if isinstance(widget, QCheckBox) else Qt.AlignmentFlag(0)
        self._grid.addWidget(widget, row, column, 1, span, side)

    def _save_file(self) -> None:
        session, saving = self._session, self._session.saving
        filters = {text: ending for text, ending in _FILTERS.items() if ending in saving.endings}
        start = saving.propose_path("labels", ".tif")
        title = "Save the labels"
        chosen, kind = ask_where(self, session.model, title, start, list(filters))
        if chosen is not None:
            ending = filters.get(kind, ".tif")
            # The dialog may keep the ending that was proposed when another kind is chosen.
            kept = chosen == start and ending != start.suffix
            path = chosen.with_suffix("") if kept else chosen
            session.save_accepted(lambda: saving.export(path, ending))

    def _show_task(self, chosen: tuple[Task, bool, Tool]) -> None:
        task, is_batch, tool = chosen
        video = task is Task.VIDEO
        plain = "Run Preview (batch)" if is_batch else "Run Preview"
        self._run.setText("Start 3D Propagation" if video else plain)
        self._live.setVisible(not video and tool.has_layer)
        # Nothing is live in 3D/video: it stands beside the button that accepts what it made.
        beside = self._accept_all if video else self._live
        row = self._grid.getItemPosition(self._grid.indexOf(beside))[0]
        self._place(self._each_click, row, 1)
        self._each_click.setVisible(tool is Tool.POINTS)

    def _has_begun(self) -> bool:
        """Return whether something was found or done, now or before."""
        model = self._session.model
        there = model.previews or model.kept or model.can_undo or model.can_redo
        self._begun = self._begun or bool(there) or model.propagated is not None
        return self._begun

    def _show_later(self, state: tuple[bool, Task, bool]) -> None:
        begun, task, stack = state
        for widget in self._later:
            widget.setVisible(begun)
        # One of the four main actions of 3D/video, in its place from the start.
        for save in self._saves:
            save.setVisible(begun or task is Task.VIDEO)
        # They are about the plane on show; a propagation has Remove Object and its prompts.
        for button in self._of_planes:
            button.setVisible(begun and task is not Task.VIDEO)
        for of_stack in (self._accept_all, self._followed):
            of_stack.setVisible(begun and task is Task.VIDEO)
        self._follow.setVisible(begun and stack and task is not Task.VIDEO)

    def _read_line(self) -> tuple[str, str, str]:
        """Return why it can't run, what a run does, and what to know before."""
        model = self._session.model
        video, image = model.task is Task.VIDEO, model.chosen_image
        note = image.note if image is not None and not video else ""
        note = note or model.why_not_live or _explain_candidates(model.preview)
        tip = with_key(_STARTS if video else _SEGMENTS, "run")
        return model.why_not.run, tip, note


def _explain_candidates(preview: Preview | None) -> str:
    """Return by which keys other masks of a click are chosen; empty where there are none."""
    if preview is None or not preview.segmentation.candidates:
        return ""
    smaller, larger = first_key("smaller_candidate"), first_key("larger_candidate")
    return f"Not what you meant? “{smaller}” takes a smaller mask, “{larger}” a larger one."


_REASON_LINES = 2
_BESIDE_LINE = (5, 2, 5, 0)
_READY = "Ready to run."


class RunButton(QWidget):
    """A button that stands out, over a line that says why it can't be pressed.

    The line has room for two lines of text, so what is below stays where it is.
    """

    def __init__(self, button: QPushButton, viewer: ViewerModel) -> None:
        super().__init__()
        self._button = button
        self._line = line = WrappedLabel()
        line.setObjectName("run_reason")
        line.setAlignment(Qt.AlignmentFlag.AlignTop | Qt.AlignmentFlag.AlignLeft)
        # napari's margins would come on top of the lines.
        line.setStyleSheet("margin: 0px; padding: 0px;")
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(2)
        layout.addWidget(button)
        below = QVBoxLayout()
        below.setContentsMargins(*_BESIDE_LINE)
        below.addWidget(line)
        layout.addLayout(below)

        def colour(_: object = None) -> None:
            # Of what is chosen elsewhere in napari: a theme has no colour of its own for this.
            accent = get_theme(viewer.theme).current.as_hex()
            button.setStyleSheet(
                "QPushButton { font-weight: bold; padding: 7px; }"
                f"QPushButton:enabled:!hover {{ background-color: {accent}; }}"
            )

        colour()
        viewer.events.theme.connect(colour)
        disconnect_with(self, viewer, colour, lambda known: known.events.theme.disconnect)

    def set_enabled(self, reason: str, tip: str, note: str = "") -> None:
        """Enable the button, or show why it is disabled.

        ``reason``: why it can't be pressed; empty where it can.
        ``tip``: what it will do.
        ``note``: what to know before; empty for nothing.
        """
        tooltip = reason or tip
        self._button.setEnabled(not reason)
        self._button.setToolTip(tooltip)
        # A screen reader reads it with the button, also while that can't be pressed.
        self._button.setAccessibleDescription(tooltip)
        self._line.setText(reason or note or _READY)

    def resizeEvent(self, event: QResizeEvent | None) -> None:
        """Keep the room for two lines, in the font that the theme has brought."""
        lines = self._line.fontMetrics().size(0, "\n".join("x" * _REASON_LINES))
        self._line.setMinimumHeight(lines.height())
        super().resizeEvent(event)


_TICK_MS = 200


_STATUS_LINES = 5
"""With more, the main actions of a small screen are out of sight."""


class StatusField(QWidget):
    """The status line, Cancel, the results line, the chime, and a bar with count and time."""

    def __init__(self, session: Session) -> None:
        super().__init__()
        self._model = model = session.model
        self._began = 0.0
        self._bar = QProgressBar()
        self._bar.setObjectName("progress")
        self._message = WrappedLabel(_STATUS_LINES)
        self._message.setObjectName("status")
        self._results = WrappedLabel()
        self._results.setObjectName("results")
        self._clock = QTimer(self)
        self._clock.setInterval(_TICK_MS)
        self._clock.timeout.connect(self._show_progress)
        self._cancel = cancel = push_button(model, "Cancel", "cancel", session.cancel, _STOPS)
        cancel.setSizePolicy(QSizePolicy.Policy.Fixed, QSizePolicy.Policy.Fixed)
        bind_enabled(model, "cancel", cancel)
        layout = QGridLayout(self)
        layout.setContentsMargins(9, 4, 9, 4)
        layout.setColumnStretch(0, 1)
        layout.addWidget(self._message, 0, 0, 1, 2)
        layout.addWidget(self._results, 1, 0)
        layout.addWidget(sound_box(model), 1, 1, Qt.AlignmentFlag.AlignTop)
        layout.addWidget(self._bar, 2, 0)
        layout.addWidget(cancel, 2, 1)
        watch(model, "message", self, self._show_message)
        follow(self, self._read_results, self._show_results, model)
        watch(model, "running", self, self._show_running)
        watch(model, "progress", self, self._show_progress)

    def _show_message(self) -> None:
        message = self._model.message
        self._message.setText(format_message(message))
        self._message.setProperty("level", str(message.level))
        self._show_results(self._read_results())
        lay_out(self._message)

    def _read_results(self) -> str:
        model = self._model
        followed = model.task is Task.VIDEO and model.propagated is not None
        return format_propagation(model) if followed else format_results(model.preview)

    def _show_results(self, message: str) -> None:
        """Show what is there, where the status line does not say so itself."""
        model = self._model
        followed = model.task is Task.VIDEO and model.propagated is not None
        is_shown = model.preview is None or model.preview is model.message.outcome
        self._results.setText(message)
        self._results.setVisible(followed or not is_shown)
        lay_out(self._results)

    def _show_running(self) -> None:
        running = self._model.running
        for widget in (self._bar, self._cancel):
            widget.setVisible(running)
        lay_out(self._bar)
        if running:
            self._began = time.monotonic()
            self._clock.start()
        else:
            self._clock.stop()
        self._show_progress()

    def _show_progress(self) -> None:
        progress = self._model.progress
        elapsed = time.monotonic() - self._began
        if progress is None or progress.step.total <= 0:
            show_progress(self._bar, None, f"working for {elapsed:.0f} s")
            return
        step = progress.step
        left = progress.remaining
        ahead = "" if left is None else f", about {left:.0f} s left"
        text = f"{part_of(step.done, step.total)}, {elapsed:.0f} s{ahead}"
        show_progress(self._bar, step.done / step.total, text)


_LOG_LINES = 2000
_HEIGHT = 150


class LogField(QWidget):
    """The messages of the session, the newest last, to be read and copied."""

    def __init__(self, model: SessionModel) -> None:
        super().__init__()
        self._model = model
        self._text = QPlainTextEdit()
        self._text.setObjectName("log")
        self._text.setAccessibleName("Log")
        self._text.setReadOnly(True)
        self._text.setMaximumBlockCount(_LOG_LINES)
        self._text.setMinimumHeight(_HEIGHT)
        clear = QPushButton("Clear log")
        clear.setObjectName("clear_log")
        clear.clicked.connect(self._text.clear)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(self._text)
        layout.addWidget(clear)
        watch(model, "message", self, self._add)

    def _add(self) -> None:
        message, progress = self._model.message, self._model.progress
        if progress is not None and progress.step.total > 0 and message.level is Level.INFO:
            # Counted steps are in the progress bar: a thousand frames would hide all else.
            return
        now = datetime.now().astimezone()
        self._text.appendPlainText(f"{now:%H:%M:%S}  {format_message(message)}")


def sound_box(model: SessionModel) -> QCheckBox:
    """Return the box for the chime."""
    return check_box(
        model,
        "sound",
        "Sound",
        "Play a short, soft chime when a run is ready that took more than a minute. "
        "A run that you cancel makes no sound.",
    )


_HELP_SIZE = (640, 600)  # fits a screen of 1366 x 768; what is below is scrolled to


def help_button() -> QPushButton:
    """Return the button that shows the keys."""
    button = QPushButton("Help")
    button.setObjectName("help")
    button.setToolTip("The keys, and where to read more")
    keys = (*((shortcut.shown, shortcut.title) for shortcut in SHORTCUTS), *GESTURES)
    rows = "".join(
        f"<tr><td><b>{key}</b>&nbsp;&nbsp;</td><td>{does}</td></tr>" for key, does in keys
    )
    text = (
        f"<p>With the pointer on the image:</p><table>{rows}</table>"
        f'<p>More: <a href="{_GUIDE}">the user guide</a>.</p>'
    )

    def show() -> None:
        box = QDialog(button)
        box.setObjectName("keys")
        box.setWindowTitle("SAM3 Assistant: keys")
        box.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
        label = QLabel(with_readable_links(text, button))
        label.setObjectName("keys_text")
        label.setWordWrap(True)
        label.setOpenExternalLinks(True)
        scroll = ScrolledPanel()
        scroll.setWidget(label)
        QVBoxLayout(box).addWidget(scroll)
        box.resize(*_HELP_SIZE)
        box.show()

    button.clicked.connect(show)
    return button

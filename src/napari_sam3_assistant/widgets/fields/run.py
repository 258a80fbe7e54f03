"""Fields: the run button and its reason, what runs beside it, status and log."""

from __future__ import annotations

import time
from datetime import datetime
from typing import TYPE_CHECKING

from napari.utils.theme import get_theme
from qtpy.QtCore import Qt, QTimer
from qtpy.QtWidgets import (
    QCheckBox,
    QGridLayout,
    QLabel,
    QPlainTextEdit,
    QProgressBar,
    QPushButton,
    QSizePolicy,
    QVBoxLayout,
    QWidget,
)

from napari_sam3_assistant.core.prompts import Task
from napari_sam3_assistant.qt.bind import (
    format_message,
    set_enabled,
    show_errors,
    watch,
)
from napari_sam3_assistant.qt.controls import WrappedLabel, check_box
from napari_sam3_assistant.qt.save_dialog import ask_where
from napari_sam3_assistant.session.messages import format_propagation, format_results
from napari_sam3_assistant.session.model import Level
from napari_sam3_assistant.widgets.mask_window import open_mask_operations

if TYPE_CHECKING:
    from collections.abc import Callable

    from napari.components import ViewerModel
    from qtpy.QtGui import QResizeEvent

    from napari_sam3_assistant.session.model import SessionModel
    from napari_sam3_assistant.viewer.binding import Binding


_FILTERS = {
    "TIFF (*.tif *.tiff)": ".tif",
    "NumPy, values only (*.npy)": ".npy",
    "PNG, values only (*.png)": ".png",
    "OME-Zarr (*.ome.zarr *.zarr)": ".ome.zarr",
}
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
    "folder that you saved to last. Nothing is replaced."
)
_AT_ACCEPT = (
    "Write the accepted labels to a file beside the image after each Accept Object: always the "
    "same new file, which grows. Files of others are left alone."
)
_IS_LAYER = (
    "What you accepted is a layer already, “SAM3 live accepted labels”; Save writes it to disk"
)

_WAIT = "Wait for the run to end"
_SEGMENTS = "Segment the plane on show with your prompts"
_STARTS = (
    "Begin a new session: follow what your prompts name through the stack, from the slices with "
    "prompts on. The labels of an earlier session are removed."
)


class RunControls(QWidget):
    """Run, cancel, clear, undo, redo, accept, refine, save."""

    def __init__(self, binding: Binding) -> None:
        super().__init__()
        self._session = session = binding.session
        self.run = self._button("Run Preview", "run_preview", session.run)
        self.run_line = RunButton(self.run, binding.viewer)
        self.cancel = self._button("Cancel", "cancel", session.cancel)
        self.clear = self._button("Clear Preview", "clear_preview", session.clear_preview)
        self.undo = self._button("Undo", "undo", session.undo)
        self.redo = self._button("Redo", "redo", session.redo)
        self.accept = self._button("Accept Object", "accept", session.accept)
        self.refine = self._button("Refine Object", "refine", binding.refine)
        self.save_now = self._button("Save", "save_now", session.saving.save)
        self.save_at_accept = check_box(
            session.model, "save_at_accept", "Save at each Accept", _AT_ACCEPT
        )
        self.save = self._button("Save as Layer", "save", session.saving.keep_all)
        self.mask_ops = self._button(
            "Mask Ops", "mask_ops", lambda: open_mask_operations(binding.viewer)
        )
        self.save_file = self._button("Save to File …", "save_file", self._save_file)
        self.cancel.setToolTip("Stop the run. Your prompts stay.")
        self.clear.setToolTip("Remove the preview layers. Prompts and saved labels stay.")
        self.undo.setToolTip("Take back the last prompt, run or acceptance (Ctrl+Z)")
        self.redo.setToolTip("Do again what was taken back (Ctrl+Shift+Z)")
        self.save.setToolTip(_IN_NAPARI)
        self.save_now.setToolTip(_AT_ONCE)
        self.save_file.setToolTip(_ON_DISK)
        self.mask_ops.setToolTip("Clean, merge and export masks in a window of its own")
        layout = QGridLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(4)
        layout.addWidget(self.run_line, 0, 0, 1, 2)
        layout.addWidget(self.accept, 1, 0)
        layout.addWidget(self.refine, 1, 1)
        layout.addWidget(self.cancel, 2, 0)
        layout.addWidget(self.clear, 2, 1)
        layout.addWidget(self.undo, 3, 0)
        layout.addWidget(self.redo, 3, 1)
        layout.addWidget(self.save_now, 4, 0)
        layout.addWidget(self.save_at_accept, 4, 1)
        layout.addWidget(self.save, 5, 0)
        layout.addWidget(self.save_file, 5, 1)
        layout.addWidget(self.mask_ops, 6, 0, 1, 2)
        watch(
            session.model,
            "running previews propagated kept frame_axes prompts text images image engine "
            "model_folder task tool can_undo can_redo load_when_running device_in_use batch_images "
            "batch_text",
            self,
            self._show,
        )

    def _button(self, text: str, name: str, verb: Callable[[], object]) -> QPushButton:
        button = QPushButton(text)
        button.setObjectName(name)
        button.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)
        button.clicked.connect(show_errors(self._session.model, verb))
        return button

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
            show_errors(session.model, lambda: saving.export(path, ending))()

    def _show(self) -> None:
        model, can = self._session.model, self._session.availability
        video = model.task is Task.VIDEO
        plain = "Run Preview (batch)" if model.is_batch else "Run Preview"
        self.run.setText("Start 3D Propagation" if video else plain)
        image = model.chosen_image
        note = image.note if image is not None and not video else ""
        self.run_line.set_enabled(can.reason, _STARTS if video else _SEGMENTS, note)
        set_enabled(self.cancel, "" if model.running else "Nothing is running")
        found = model.preview is not None and bool(model.preview.segmentation.objects)
        there = model.propagated is not None
        shown = model.preview is not None or there
        set_enabled(self.clear, "" if shown else "There is no preview to clear yet")
        # Copying a stack is a job of its own.
        waits = _WAIT if there and model.running else ""
        nothing = "" if found or there else "There is no preview to save yet"
        set_enabled(self.save, waits or (nothing and (_IS_LAYER if model.kept else nothing)))
        for button in (self.save_now, self.save_file):
            set_enabled(button, waits or (nothing if not model.kept else ""))
        # They are about the plane on show; a propagation has Remove Object and its prompts.
        self.accept.setVisible(not video)
        self.refine.setVisible(not video)
        self.accept.setEnabled(found)
        self.accept.setToolTip(
            "Add the object to “SAM3 live accepted labels” and begin the next (Ctrl+Enter)"
            if found
            else "There is no preview to accept yet"
        )
        self.refine.setEnabled(found)
        self.refine.setToolTip(
            "Click on one object of the preview, then correct it by clicks"
            if found
            else "There is no preview to refine yet"
        )
        set_enabled(self.undo, "" if model.can_undo else "There is nothing to take back")
        set_enabled(self.redo, "" if model.can_redo else "Nothing was taken back")


_REASON_LINES = 2
_READY = "Ready to run."


class RunButton(QWidget):
    """A button that stands out, over a line that says why it can't be pressed.

    The line has room for two lines of text, so what is below stays where it is.
    """

    def __init__(self, button: QPushButton, viewer: ViewerModel) -> None:
        super().__init__()
        self._button = button
        self._line = line = QLabel()
        line.setObjectName("run_reason")
        line.setWordWrap(True)
        line.setAlignment(Qt.AlignmentFlag.AlignTop | Qt.AlignmentFlag.AlignLeft)
        line.setBuddy(button)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(2)
        layout.addWidget(button)
        layout.addWidget(line)

        def colour(_: object = None) -> None:
            # Of what is chosen elsewhere in napari: a theme has no colour of its own for this.
            accent = get_theme(viewer.theme).current.as_hex()
            button.setStyleSheet(
                "QPushButton { font-weight: bold; padding: 7px; }"
                f"QPushButton:enabled:!hover {{ background-color: {accent}; }}"
            )

        def leave(*_: object) -> None:
            viewer.events.theme.disconnect(colour)

        colour()
        viewer.events.theme.connect(colour)
        self.destroyed.connect(leave)

    def set_enabled(self, reason: str, tip: str, note: str = "") -> None:
        """Let the button be pressed, or say why not.

        Parameters
        ----------
        reason : str
            Why it can't be pressed; empty where it can.
        tip : str
            What it will do.
        note : str
            What to know before; empty for nothing.
        """
        said = reason or tip
        self._button.setEnabled(not reason)
        self._button.setToolTip(said)
        # A screen reader reads it with the button, also while that can't be pressed.
        self._button.setAccessibleDescription(said)
        self._line.setText(reason or note or _READY)

    def resizeEvent(self, event: QResizeEvent | None) -> None:
        """Keep the room for two lines, in the font that the theme has brought."""
        self._line.setMinimumHeight(_REASON_LINES * self._line.fontMetrics().lineSpacing())
        super().resizeEvent(event)


_TICK_MS = 200


class StatusField(QWidget):
    """A progress bar with count and time, the status line, and the results line."""

    def __init__(self, model: SessionModel) -> None:
        super().__init__()
        self._model = model
        self._began = 0.0
        self._bar = QProgressBar()
        self._bar.setObjectName("progress")
        self._message = WrappedLabel()
        self._message.setObjectName("status")
        self._results = QLabel()
        self._results.setObjectName("results")
        self._results.setWordWrap(True)
        self._clock = QTimer(self)
        self._clock.setInterval(_TICK_MS)
        self._clock.timeout.connect(self._show_progress)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(self._bar)
        layout.addWidget(self._message)
        layout.addWidget(self._results)
        watch(model, "message", self, self._show_message)
        watch(
            model, "previews propagated propagated_ids can_continue task", self, self._show_results
        )
        watch(model, "running", self, self._show_running)
        watch(model, "progress", self, self._show_progress)

    def _show_message(self) -> None:
        message = self._model.message
        self._message.setText(format_message(message))
        self._message.setProperty("level", str(message.level))

    def _show_results(self) -> None:
        model = self._model
        followed = model.task is Task.VIDEO and model.propagated is not None
        self._results.setText(
            format_propagation(model) if followed else format_results(model.preview)
        )

    def _show_running(self) -> None:
        running = self._model.running
        self._bar.setVisible(running)
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
            self._bar.setRange(0, 0)
            self._bar.setFormat(f"{elapsed:.0f} s")
            return
        step = progress.step
        self._bar.setRange(0, step.total)
        self._bar.setValue(step.done)
        left = progress.remaining
        ahead = "" if left is None else f", about {left:.0f} s left"
        self._bar.setFormat(f"{step.done} of {step.total}, {elapsed:.0f} s{ahead}")


_LOG_LINES = 2000
_HEIGHT = 150


class LogField(QWidget):
    """The messages of the session, the newest last, to be read and copied."""

    def __init__(self, model: SessionModel) -> None:
        super().__init__()
        self._model = model
        self._text = QPlainTextEdit()
        self._text.setObjectName("log")
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

"""The buttons that run, stop, take back, accept and save."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qtpy.QtWidgets import (
    QGridLayout,
    QPushButton,
    QSizePolicy,
    QWidget,
)

from napari_sam3_assistant.core.tasks import Task
from napari_sam3_assistant.widgets.allow import allow
from napari_sam3_assistant.widgets.bind import watch
from napari_sam3_assistant.widgets.fields.run_button import RunButton
from napari_sam3_assistant.widgets.mask_window import open_mask_operations
from napari_sam3_assistant.widgets.notify import guarded
from napari_sam3_assistant.widgets.save_dialog import ask_where

if TYPE_CHECKING:
    from collections.abc import Callable

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
    "Write the preview to disk as TIFF, NumPy, PNG or OME-Zarr; you choose where. "
    "The layers stay as they are."
)

_WAIT = "Wait for the run to end"
_SEGMENTS = "Segment the plane on show with your prompts"
_STARTS = (
    "Begin a new session: follow what your prompts name through the stack, from the slices with "
    "prompts on. The labels of an earlier session are removed."
)


class RunControls(QWidget):
    """Run, cancel, clear, undo, redo, accept, refine, save.

    Parameters
    ----------
    binding : Binding
        The session and the viewer.
    """

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
        self.save = self._button("Save as Layer", "save", session.saving.keep_all)
        self.mask_ops = self._button(
            "Mask Ops", "mask_ops", lambda: open_mask_operations(binding.viewer)
        )
        self.save_file = self._button("Save to File …", "save_file", self._save_file)
        self.cancel.setToolTip("Stop the run. Your prompts stay.")
        self.clear.setToolTip("Remove the preview layers. Prompts and saved labels stay.")
        self.undo.setToolTip("Take back the last prompt, run or acceptance (Ctrl+Z)")
        self.redo.setToolTip("Do again what was taken back (Ctrl+Shift+Z)")
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
        layout.addWidget(self.save, 4, 0)
        layout.addWidget(self.save_file, 4, 1)
        layout.addWidget(self.mask_ops, 5, 0, 1, 2)
        watch(
            session.model,
            "running preview propagated frame_axes prompts text images image engine model_folder "
            "task tool can_undo can_redo load_when_running device_in_use batch_images "
            "batch_text",
            self,
            self._show,
        )

    def _button(self, text: str, name: str, verb: Callable[[], object]) -> QPushButton:
        button = QPushButton(text)
        button.setObjectName(name)
        button.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)
        button.clicked.connect(guarded(self._session.model, verb))
        return button

    def _save_file(self) -> None:
        session, saving = self._session, self._session.saving
        filters = {text: ending for text, ending in _FILTERS.items() if ending in saving.endings}
        start = saving.proposed("labels", ".tif")
        title = "Save the preview labels"
        chosen, kind = ask_where(self, session.model, title, start, list(filters))
        if chosen is not None:
            ending = filters.get(kind, ".tif")
            # The dialog may keep the ending that was proposed when another kind is chosen.
            kept = chosen == start and ending != start.suffix
            path = chosen.with_suffix("") if kept else chosen
            guarded(session.model, lambda: saving.export(path, ending))()

    def _show(self) -> None:
        model, can = self._session.model, self._session.availability
        video = model.task is Task.VIDEO
        plain = "Run Preview (batch)" if model.is_batch else "Run Preview"
        self.run.setText("Start 3D Propagation" if video else plain)
        image = model.chosen_image
        note = image.note if image is not None and not video else ""
        self.run_line.tell(can.reason, _STARTS if video else _SEGMENTS, note)
        allow(self.cancel, "" if model.running else "Nothing is running")
        found = model.preview is not None and bool(model.preview.segmentation.objects)
        there = model.propagated is not None
        shown = model.preview is not None or there
        allow(self.clear, "" if shown else "There is no preview to clear yet")
        nothing = "There is no preview to save yet"
        # Copying a stack is a job of its own.
        waits = there and model.running
        why_not = _WAIT if waits else "" if found or there else nothing
        self.save.setEnabled(not why_not)
        self.save.setToolTip(why_not or _IN_NAPARI)
        self.save_file.setEnabled(not why_not)
        self.save_file.setToolTip(why_not or _ON_DISK)
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
        allow(self.undo, "" if model.can_undo else "There is nothing to take back")
        allow(self.redo, "" if model.can_redo else "Nothing was taken back")

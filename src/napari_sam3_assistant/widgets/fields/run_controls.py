"""The buttons that run, stop, take back, accept and save."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from qtpy.QtWidgets import (
    QFileDialog,
    QGridLayout,
    QPushButton,
    QSizePolicy,
    QWidget,
)

from napari_sam3_assistant.widgets.bind import watch
from napari_sam3_assistant.widgets.mask_window import open_mask_operations
from napari_sam3_assistant.widgets.notify import guarded

if TYPE_CHECKING:
    from collections.abc import Callable

    from napari_sam3_assistant.viewer.binding import Binding

_FILTER = "TIFF (*.tif *.tiff);;NumPy (*.npy);;PNG (*.png)"


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
        self.cancel = self._button("Cancel", "cancel", session.cancel)
        self.clear = self._button("Clear Preview", "clear_preview", session.clear_preview)
        self.undo = self._button("Undo", "undo", session.undo)
        self.redo = self._button("Redo", "redo", session.redo)
        self.accept = self._button("Accept Object", "accept", session.accept)
        self.refine = self._button("Refine Object", "refine", binding.refine)
        self.save = self._button("Save", "save", session.saving.keep)
        self.mask_ops = self._button(
            "Mask Ops", "mask_ops", lambda: open_mask_operations(binding.viewer)
        )
        self.save_file = self._button("Save to file …", "save_file", self._save_file)
        self.cancel.setToolTip("Stop the run. Your prompts stay.")
        self.clear.setToolTip("Remove the preview layers. Prompts and saved labels stay.")
        self.mask_ops.setToolTip("Clean, merge and export masks in a window of its own")
        self.undo.setToolTip("Take back the last prompt, run or acceptance (Ctrl+Z)")
        self.redo.setToolTip("Do again what was taken back (Ctrl+Shift+Z)")
        layout = QGridLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(4)
        layout.addWidget(self.run, 0, 0, 1, 2)
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
            "running preview prompts text image engine model_folder task tool can_undo can_redo "
            "load_when_running device_in_use batch_images batch_text",
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
        path, _ = QFileDialog.getSaveFileName(self, "Save the preview labels", "", _FILTER)
        if path:
            self._session.saving.export(Path(path) if Path(path).suffix else Path(f"{path}.tif"))

    def _show(self) -> None:
        model, can = self._session.model, self._session.availability
        self.run.setText("Run Preview (batch)" if model.is_batch else "Run Preview")
        self.run.setEnabled(can.can_run)
        self.run.setToolTip(can.reason or "Segment the plane on show with your prompts")
        self.cancel.setEnabled(model.running)
        found = model.preview is not None and bool(model.preview.segmentation.objects)
        self.clear.setEnabled(model.preview is not None)
        nothing = "There is no preview to save yet"
        self.save.setEnabled(found)
        self.save.setToolTip("Keep the preview as “SAM3 saved labels”" if found else nothing)
        self.save_file.setEnabled(found)
        self.save_file.setToolTip("Write the preview as TIFF, NumPy or PNG" if found else nothing)
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
        self.undo.setEnabled(model.can_undo)
        self.redo.setEnabled(model.can_redo)

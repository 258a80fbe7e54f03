"""Fields: save and clean, merge regions, the way to Mask Operations."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from qtpy.QtCore import QUrl
from qtpy.QtGui import QDesktopServices
from qtpy.QtWidgets import QFormLayout, QLineEdit, QPushButton, QWidget

from napari_sam3_assistant.qt.bind import bind_value, set_enabled, show_errors, watch
from napari_sam3_assistant.qt.controls import ChoiceCombo, FolderField, WrappedLabel
from napari_sam3_assistant.widgets.mask_window import TITLE, open_mask_operations

if TYPE_CHECKING:
    from napari_sam3_assistant.session.session import Session
    from napari_sam3_assistant.viewer.binding import Binding


_FORMATS = (
    (".tif", "TIFF"),
    (".npy", "NumPy (.npy)"),
    (".png", "PNG"),
    (".ome.zarr", "OME-Zarr (.ome.zarr)"),
)


class SaveCleanField(QWidget):
    """Folder, format, file name, Save & Clean, and what was saved."""

    def __init__(self, session: Session) -> None:
        super().__init__()
        self._model = model = session.model
        self._saving = session.saving
        folder = FolderField(
            model, "output_folder", "Choose the folder for saved masks", "Where masks are saved"
        )
        name = QLineEdit()
        name.setObjectName("output_name")
        name.setPlaceholderText("made of the image's name")
        name.setToolTip(
            "The ending comes from the format. What you type stays; a name that exists gets a "
            "number, nothing is overwritten."
        )
        bind_value(model, "output_name", name, name.textChanged, name.text, name.setText)
        self._save = QPushButton("Save && Clean")
        self._save.setObjectName("save_clean")
        self._save.clicked.connect(show_errors(model, session.cleaning.save))
        self._saved = WrappedLabel()
        self._saved.setObjectName("saved")
        self._open = QPushButton("Open Folder")
        self._open.setObjectName("open_folder")
        self._open.clicked.connect(self._open_folder)
        form = QFormLayout(self)
        form.setContentsMargins(0, 0, 0, 0)
        form.setRowWrapPolicy(QFormLayout.RowWrapPolicy.WrapLongRows)
        form.addRow("Output", folder)
        self._format = ChoiceCombo(model, "output_format", _FORMATS)
        form.addRow("Format", self._format)
        self._note = WrappedLabel()
        self._note.setObjectName("format_note")
        form.addRow(self._note)
        form.addRow("Filename", name)
        form.addRow(self._save)
        form.addRow(self._saved)
        form.addRow(self._open)
        watch(
            model, "previews propagated kept running output_folder output_format", self, self._show
        )
        watch(model, "saved", self, self._show_saved)

    def _open_folder(self) -> None:
        folder = Path(self._model.saved[-1]).parent
        QDesktopServices.openUrl(QUrl.fromLocalFile(str(folder)))

    def _show(self) -> None:
        model = self._model
        # Of what was propagated, PNG holds nothing; where it is chosen already, the button says so.
        offered = {*self._saving.endings, model.output_format}
        self._format.offer([one for one in _FORMATS if one[0] in offered])
        note = self._saving.explain_lost(model.output_format)
        self._note.setText(note)
        self._note.setVisible(bool(note))
        found = any(one.segmentation.objects for one in model.previews)
        if not found and not model.kept and model.propagated is None:
            why_not = "There is no preview to save yet"
        elif not model.output_folder.strip():
            why_not = "Choose an output folder first"
        elif model.propagated is not None and model.output_format == ".png":
            why_not = "PNG holds one plane; choose TIFF, NumPy or OME-Zarr for propagated labels"
        else:
            why_not = "Wait for the run to end" if model.running else ""
        self._save.setEnabled(not why_not)
        self._save.setToolTip(
            why_not
            or "Save every preview as a layer and a file, and what you accepted as a file, remove "
            "the previews and unload the model, which the next run loads again"
        )

    def _show_saved(self) -> None:
        saved = self._model.saved
        self._saved.setVisible(bool(saved))
        self._open.setVisible(bool(saved))
        self._saved.setText("Saved: " + ", ".join(Path(one).name for one in saved))
        self._open.setToolTip(str(Path(saved[-1]).parent) if saved else "")


def mask_operations_button(binding: Binding) -> QPushButton:
    """Return the button that opens the window, on its clean-up tab."""
    made = QPushButton(f"Open {TITLE}")
    made.setObjectName("open_mask_operations")
    made.setToolTip("Accept, merge, clean and export masks in a window of its own")
    made.clicked.connect(show_errors(binding.model, lambda: open_mask_operations(binding.viewer)))
    return made


def merge_regions_button(session: Session) -> QPushButton:
    """Return the button Merge ROIs."""
    made = QPushButton("Merge ROIs")
    made.setObjectName("merge_rois")
    made.setToolTip(
        "Write the previews of all regions into one layer over a zarr file, in the folder "
        "of the scans. The previews stay."
    )
    made.clicked.connect(show_errors(session.model, session.merging.run))
    watch(
        session.model,
        "previews running",
        made,
        lambda: set_enabled(made, session.merging.why_not),
    )
    return made

"""Fields: save and clean, merge regions, the way to Mask Operations."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from qtpy.QtCore import QUrl
from qtpy.QtGui import QDesktopServices
from qtpy.QtWidgets import QFormLayout, QLineEdit, QPushButton, QWidget

from napari_sam3_assistant.qt.bind import bind_enabled, bind_value, follow, show_errors, watch
from napari_sam3_assistant.qt.controls import ChoiceCombo, FolderField, WrappedLabel

if TYPE_CHECKING:
    from napari import Viewer

    from napari_sam3_assistant.session.session import Session
    from napari_sam3_assistant.viewer.binding import Binding
    from napari_sam3_assistant.widgets.mask_operations_widget import MaskOperationsWidget


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
        saving = session.saving
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
        self._save.setToolTip(
            "Save every preview as a layer and a file, and what you accepted as a file, remove the "
            "previews and unload the model, which the next run loads again"
        )
        self._save.clicked.connect(show_errors(model, session.cleaning.save))
        bind_enabled(model, "save_and_clean", self._save)
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
        # Of what was propagated, PNG holds nothing; where it is chosen already, the button says so.
        follow(
            self,
            lambda: [one for one in _FORMATS if one[0] in {*saving.endings, model.output_format}],
            self._format.offer,
            model,
        )
        follow(self, lambda: saving.explain_lost(model.output_format), self._show_note, model)
        watch(model, "saved", self, self._show_saved)

    def _open_folder(self) -> None:
        folder = Path(self._model.saved[-1]).parent
        QDesktopServices.openUrl(QUrl.fromLocalFile(str(folder)))

    def _show_note(self, note: str) -> None:
        self._note.setText(note)
        self._note.setVisible(bool(note))

    def _show_saved(self) -> None:
        saved = self._model.saved
        self._saved.setVisible(bool(saved))
        self._open.setVisible(bool(saved))
        self._saved.setText("Saved: " + ", ".join(Path(one).name for one in saved))
        self._open.setToolTip(str(Path(saved[-1]).parent) if saved else "")


TITLE = "SAM3 Mask Operations"
_PLUGIN = "napari-sam3-assistant"
_SIZE = (780, 720)
_PLACED = "sam3_placed"


def open_mask_operations(viewer: Viewer) -> MaskOperationsWidget:
    """Open the window of the mask operations, floating, with Mask Cleanup in front.

    A window that is there already is shown again, where the user has put it.

    Parameters
    ----------
    viewer : napari.Viewer
        The viewer; it has a window.

    Returns
    -------
    MaskOperationsWidget
        The widget in the window.
    """
    # Through the manifest, as the plugin menu does: napari then knows it as the same window.
    widget: MaskOperationsWidget
    dock, widget = viewer.window.add_plugin_dock_widget(_PLUGIN, TITLE)
    if not dock.property(_PLACED):
        dock.setProperty(_PLACED, True)
        dock.setFloating(True)
        dock.resize(*_SIZE)
    dock.show()
    dock.raise_()
    widget.show_cleanup()
    return widget


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
    bind_enabled(session.model, "merge_rois", made)
    return made

"""Fields: save and clean, merge regions, the way to Mask Operations."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from qtpy.QtCore import QUrl
from qtpy.QtGui import QDesktopServices
from qtpy.QtWidgets import QFormLayout, QPushButton, QWidget

from napari_sam3_assistant.qt.bind import bind_enabled, follow, watch
from napari_sam3_assistant.qt.controls import ChoiceCombo, FolderField, line_edit, push_button
from napari_sam3_assistant.qt.layout import WrappedLabel

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
        name = line_edit(
            model,
            "output_name",
            "made of the image's name",
            "The ending comes from the format. What you type stays; a name that exists gets a "
            "number, nothing is overwritten.",
        )
        save = push_button(
            model,
            "Save && Clean",
            "save_clean",
            lambda: session.save_accepted(session.cleaning.save),
            "Save every preview as a layer and a file, and what you accepted as a file, remove the "
            "previews and unload the model, which the next run loads again",
        )
        bind_enabled(model, "save_and_clean", save)
        self._saved = WrappedLabel()
        self._saved.setObjectName("saved")
        self._open = push_button(model, "Open Folder", "open_folder", self._open_folder, "")
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
        form.addRow(save)
        form.addRow(self._saved)
        form.addRow(self._open)

        def read_formats() -> list[tuple[str, str]]:
            # Of stacks, PNG holds nothing; where it is chosen already, the button says so.
            offered = {*saving.endings, model.output_format}
            return [choice for choice in _FORMATS if choice[0] in offered]

        follow(self, read_formats, self._format.offer, model)
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
        self._saved.setText("Saved: " + ", ".join(Path(path).name for path in saved))
        self._open.setToolTip(str(Path(saved[-1]).parent) if saved else "")


TITLE = "SAM3 Mask Operations"
_PLUGIN = "napari-sam3-assistant"
_SIZE = (780, 720)
_PLACED = "sam3_placed"


def open_mask_operations(viewer: Viewer) -> MaskOperationsWidget:
    """Open the window of the mask operations, floating, with Mask Cleanup in front.

    A window that is there already is shown again, where the user has put it.

    ``viewer``: the viewer; it has a window.
    Returns the widget in the window.
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
    return push_button(
        binding.model,
        f"Open {TITLE}",
        "open_mask_operations",
        lambda: open_mask_operations(binding.viewer),
        "Accept, merge, clean and export masks in a window of its own",
    )


def merge_regions_button(session: Session) -> QPushButton:
    """Return the button Merge ROIs."""
    button = push_button(
        session.model,
        "Merge ROIs",
        "merge_rois",
        session.merging.run,
        "Write the previews of all regions into one layer over a zarr file, in the folder "
        "of the scans. The previews stay.",
    )
    bind_enabled(session.model, "merge_rois", button)
    return button

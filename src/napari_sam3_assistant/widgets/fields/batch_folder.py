"""Batch folder: the same prompts on every image of a folder."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qtpy.QtCore import QUrl
from qtpy.QtGui import QDesktopServices
from qtpy.QtWidgets import QCheckBox, QFormLayout, QLineEdit, QPushButton, QWidget

from napari_sam3_assistant.widgets.bind import bind_value, watch
from napari_sam3_assistant.widgets.fields.combo import ChoiceCombo
from napari_sam3_assistant.widgets.fields.folder import FolderField
from napari_sam3_assistant.widgets.notify import guarded

if TYPE_CHECKING:
    from qtpy.QtGui import QShowEvent

    from napari_sam3_assistant.session.session import Session

_FORMATS = ((".tif", "TIFF"), (".png", "PNG"), (".npy", "NumPy (.npy)"), (".zarr", "OME-Zarr"))
_CHOICES = (
    "running task tool text batch_text prompts image engine model_folder load_when_running "
    "device_in_use"
)


class BatchFolderField(QWidget):
    """Two folders, a pattern, a format, and Batch folder.

    Parameters
    ----------
    session : Session
        The session.
    """

    def __init__(self, session: Session) -> None:
        super().__init__()
        self._session = session
        self._disk = disk = session.disk
        source = FolderField(
            disk,
            "folder_source",
            "Choose the folder of the images",
            "TIFF, PNG, JPEG and OME-Zarr images. Of stacks every plane is run.",
        )
        output = FolderField(
            disk,
            "folder_output",
            "Choose the folder for the labels",
            "Where the labels go, with a note beside each and sam3_summary.csv. Files are never "
            "overwritten.",
        )
        pattern = QLineEdit()
        pattern.setObjectName("folder_pattern")
        pattern.setToolTip("Which files, as *.tif; **/* takes the folders below as well")
        bind_value(
            disk, "folder_pattern", pattern, pattern.textChanged, pattern.text, pattern.setText
        )
        self._series = ChoiceCombo(disk, "folder_series")
        self._series.setAccessibleName("Series")
        skips = QCheckBox("Skip finished")
        skips.setObjectName("folder_skips")
        skips.setToolTip(
            "Leave out images that were finished with the same prompts, threshold and engine. "
            "Else they are run again and get another name."
        )
        bind_value(disk, "folder_skips", skips, skips.toggled, skips.isChecked, skips.setChecked)
        self._run = QPushButton("Batch folder")
        self._run.setObjectName("batch_folder")
        self._run.clicked.connect(guarded(session.model, session.folder_batch.run))
        self._open = QPushButton("Open Folder")
        self._open.setObjectName("open_batch_folder")
        self._open.clicked.connect(self._open_folder)
        form = QFormLayout(self)
        form.setContentsMargins(0, 0, 0, 0)
        form.setRowWrapPolicy(QFormLayout.RowWrapPolicy.WrapLongRows)
        form.addRow("Images", source)
        form.addRow("Labels", output)
        form.addRow("Pattern", pattern)
        form.addRow("Series", self._series)
        form.addRow("Format", ChoiceCombo(disk, "folder_format", _FORMATS))
        form.addRow(skips)
        form.addRow(self._run)
        form.addRow(self._open)
        watch(session.model, _CHOICES, self, self._show)
        watch(disk, "folder_source folder_output", self, self._show)
        watch(disk, "folder_source folder_series folder_series_found", self, self._show_series)
        watch(disk, "folder_done", self, self._show_done)

    def showEvent(self, event: QShowEvent | None) -> None:
        """Look at the folder when its choices come on show: files may have come and gone."""
        super().showEvent(event)
        self._session.series_choice.look()

    def _open_folder(self) -> None:
        QDesktopServices.openUrl(QUrl.fromLocalFile(self._disk.folder_done))

    def _show(self) -> None:
        why_not = self._session.folder_batch.why_not
        self._run.setEnabled(not why_not)
        self._run.setToolTip(
            why_not
            or "Run the phrases, or the prompts on the image on show at the same pixels, on every "
            "image of the folder"
        )

    def _show_series(self) -> None:
        choice = self._session.series_choice
        self._series.offer(choice.choices)
        self._series.setEnabled(self._series.count() > 1)
        self._series.setToolTip(choice.reason)
        self._series.setAccessibleDescription(choice.reason)

    def _show_done(self) -> None:
        self._open.setVisible(bool(self._disk.folder_done))
        self._open.setToolTip(self._disk.folder_done)

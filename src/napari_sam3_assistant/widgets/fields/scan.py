"""Scan whole image: how it is cut, where the labels go, and the button."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qtpy.QtWidgets import QFormLayout, QPushButton, QSpinBox, QVBoxLayout, QWidget

from napari_sam3_assistant.core.options import MOST_OVERLAP, TILE_SIZES
from napari_sam3_assistant.widgets.bind import bind_value, watch
from napari_sam3_assistant.widgets.fields.folder import FolderField
from napari_sam3_assistant.widgets.notify import guarded

if TYPE_CHECKING:
    from napari_sam3_assistant.session.session import Session

_STEP = 256
_CHOICES = (
    "running task tool text batch_text prompts image images engine model_folder device threshold "
    "load_when_running device_in_use output_folder"
)


class ScanField(QWidget):
    """Tile size, overlap, folder, and Scan whole image.

    Parameters
    ----------
    session : Session
        The session.
    """

    def __init__(self, session: Session) -> None:
        super().__init__()
        self._session = session
        disk = session.disk
        tile = _number("scan_tile", *TILE_SIZES, " px")
        tile.setSingleStep(_STEP)
        tile.setToolTip("Side of a tile. 1024 suits SAM 3; objects should be smaller than a tile.")
        bind_value(disk, "scan_tile", tile, tile.valueChanged, tile.value, tile.setValue)
        overlap = _number("scan_overlap", 0, round(MOST_OVERLAP * 100), " %")
        overlap.setToolTip(
            "What two tiles both see. Objects that are smaller than this band are found whole."
        )
        bind_value(
            disk, "scan_overlap", overlap, overlap.valueChanged, overlap.value, overlap.setValue
        )
        self._folder = FolderField(
            disk,
            "scan_folder",
            "Choose the folder for scans",
            "Where the labels of scans and of merged ROIs are written, as OME-Zarr",
        )
        self._button = QPushButton()
        self._button.setObjectName("scan")
        self._button.clicked.connect(guarded(session.model, session.scanning.run))
        form = QFormLayout()
        form.setContentsMargins(0, 0, 0, 0)
        form.setRowWrapPolicy(QFormLayout.RowWrapPolicy.WrapLongRows)
        form.addRow("Tile size", tile)
        form.addRow("Overlap", overlap)
        form.addRow("Scans go to", self._folder)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addLayout(form)
        layout.addWidget(self._button)
        watch(session.model, _CHOICES, self, self._show)
        watch(disk, "scan_tile scan_overlap scan_folder stopped_scan", self, self._show)

    def _show(self) -> None:
        scanning = self._session.scanning
        why_not, stopped = scanning.why_not, self._session.disk.stopped_scan
        goes_on = scanning.goes_on
        self._folder.line.setPlaceholderText(str(scanning.folder))
        self._button.setText("Continue scan" if goes_on else "Scan whole image")
        self._button.setEnabled(not why_not)
        if why_not:
            self._button.setToolTip(why_not)
        elif goes_on and stopped is not None:
            self._button.setToolTip(
                f"Go on where the scan was stopped: {stopped.done} of {stopped.total} tiles are "
                "finished"
            )
        else:
            self._button.setToolTip(
                "Find everything that the phrase or the example names, tile by tile. The labels "
                "are written to a file and shown as they come; a scan that was stopped goes on."
            )


def _number(name: str, least: int, most: int, unit: str) -> QSpinBox:
    box = QSpinBox()
    box.setObjectName(name)
    box.setRange(least, most)
    box.setSuffix(unit)
    # A number that is typed counts when it is complete.
    box.setKeyboardTracking(False)
    return box


class SimpleScan(QWidget):
    """The same where a scan is worth it: for a phrase or an example, on more than one tile.

    Parameters
    ----------
    session : Session
        The session.
    """

    def __init__(self, session: Session) -> None:
        super().__init__()
        self._session = session
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        self._field = ScanField(session)
        layout.addWidget(self._field)
        watch(session.model, "task tool image images", self, self._show)
        watch(session.disk, "scan_tile", self, self._show)

    def _show(self) -> None:
        self._field.setVisible(self._session.scanning.is_worth_it)

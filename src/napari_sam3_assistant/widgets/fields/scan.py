"""Fields: scan the whole image, batch folder, batch of images and phrases."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qtpy.QtCore import Qt, QUrl
from qtpy.QtGui import QDesktopServices
from qtpy.QtWidgets import (
    QCheckBox,
    QFormLayout,
    QSizePolicy,
    QTextEdit,
    QVBoxLayout,
    QWidget,
)

from napari_sam3_assistant.core.options import MOST_OVERLAP, TILE_SIZES
from napari_sam3_assistant.core.plurals import part_of
from napari_sam3_assistant.core.prompts import Task
from napari_sam3_assistant.qt.bind import (
    bind_enabled,
    bind_value,
    follow,
    set_enabled,
    watch,
)
from napari_sam3_assistant.qt.controls import (
    ChoiceCombo,
    FolderField,
    check_box,
    line_edit,
    push_button,
    spin_box,
)
from napari_sam3_assistant.session.availability import is_worth_a_scan
from napari_sam3_assistant.widgets.fields.annotate import AnnotateFolderButton

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from qtpy.QtGui import QKeyEvent, QShowEvent

    from napari_sam3_assistant.session.model import SessionModel
    from napari_sam3_assistant.session.session import Session
    from napari_sam3_assistant.session.values import StoppedScan


_STEP = 256
_SCANS = (
    "Find everything that the phrase or the example names, tile by tile. The labels are written to "
    "a file and shown as they come; a scan that was stopped goes on."
)


class ScanField(QWidget):
    """Tile size, overlap, folder, and Scan whole image."""

    def __init__(self, session: Session) -> None:
        super().__init__()
        self._session = session
        scan_model = session.scan_model
        tip = "Side of a tile. 1024 suits SAM 3; objects should be smaller than a tile."
        tile = spin_box(scan_model, "scan_tile", tip, *TILE_SIZES, " px")
        tile.setSingleStep(_STEP)
        tip = "What two tiles both see. Objects that are smaller than this band are found whole."
        overlap = spin_box(scan_model, "scan_overlap", tip, 0, round(MOST_OVERLAP * 100), " %")
        for box in (tile, overlap):
            # A number that is typed counts when it is complete.
            box.setKeyboardTracking(False)
        self._folder = FolderField(
            scan_model,
            "scan_folder",
            "Choose the folder for scans",
            "Where the labels of scans and of merged ROIs are written, as OME-Zarr",
        )
        self._button = push_button(session.model, "", "scan", session.scanning.run, "")
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
        follow(
            self,
            lambda: str(session.scanning.folder),
            self._folder.line.setPlaceholderText,
            session.model,
            scan_model,
        )
        follow(self, self._read_button, self._show_button, session.model, scan_model)

    def _read_button(self) -> tuple[str, StoppedScan | None]:
        session = self._session
        return session.model.why_not.scan, session.scanning.find_stopped()

    def _show_button(self, read: tuple[str, StoppedScan | None]) -> None:
        why_not, stopped = read
        tip = _SCANS
        if stopped is not None:
            done = f"{part_of(stopped.done, stopped.total)} tiles are finished"
            tip = f"Go on where the scan was stopped: {done}"
        self._button.setText("Scan whole image" if stopped is None else "Continue scan")
        set_enabled(self._button, why_not, tip)


class SimpleScan(QWidget):
    """The same where a scan is worth it: for a phrase or an example, on more than one tile."""

    def __init__(self, session: Session) -> None:
        super().__init__()
        model, scan_model = session.model, session.scan_model
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        field = ScanField(session)
        layout.addWidget(field)
        follow(
            self, lambda: is_worth_a_scan(model, scan_model), field.setVisible, model, scan_model
        )


_FORMATS = ((".tif", "TIFF"), (".png", "PNG"), (".npy", "NumPy (.npy)"), (".zarr", "OME-Zarr"))


class BatchFolderField(QWidget):
    """Two folders, a pattern, a format, and Batch folder."""

    def __init__(self, session: Session) -> None:
        super().__init__()
        self._session = session
        self._scan_model = scan_model = session.scan_model
        source = FolderField(
            scan_model,
            "folder_source",
            "Choose the folder of the images",
            "Images of all formats, or an OME-Zarr plate. Of stacks every plane is run; in the "
            "task 3D/video their objects are followed.",
        )
        output = FolderField(
            scan_model,
            "folder_output",
            "Choose the folder for the labels",
            "Where the labels go, with a note beside each and sam3_summary.csv. Files are never "
            "overwritten.",
        )
        tip = "Which files, as *.tif; **/* takes the folders below as well"
        pattern = line_edit(scan_model, "folder_pattern", "", tip)
        self._series = ChoiceCombo(scan_model, "folder_series")
        self._series.setAccessibleName("Series")
        tiles = check_box(
            scan_model,
            "folder_tiles",
            "Tile by tile",
            "Scan every plane of every image as Scan whole image does, with its tile size and "
            "overlap: for slides and stacks that the memory does not hold. The labels are "
            "OME-Zarr.",
        )
        skips = check_box(
            scan_model,
            "folder_skips",
            "Skip finished",
            "Leave out images that were finished with the same prompts, threshold, engine and "
            "weights. Else they are run again and get another name.",
        )
        run = push_button(
            session.model,
            "Batch folder",
            "batch_folder",
            session.folder_batch.run,
            "Run the phrases, or the prompts on the image on show at the same pixels, on every "
            "image of the folder; in the task 3D/video, follow them through every stack",
        )
        encode = push_button(
            session.model,
            "Encode folder",
            "encode_folder",
            session.folder_encoding.run,
            "Encode every plane of the images into the folder Encodings of Step 1, where Compute "
            "on says, so that clicks on them need no encoder. What is there is skipped.",
        )
        self._open = push_button(
            session.model, "Open Folder", "open_batch_folder", self._open_folder, ""
        )
        form = QFormLayout(self)
        form.setContentsMargins(0, 0, 0, 0)
        form.setRowWrapPolicy(QFormLayout.RowWrapPolicy.WrapLongRows)
        form.addRow("Images", source)
        form.addRow("Labels", output)
        form.addRow("Pattern", pattern)
        form.addRow("Series", self._series)
        tip = "What the labels are written as"
        self._format = ChoiceCombo(scan_model, "folder_format", _FORMATS, tip)
        form.addRow("Format", self._format)
        form.addRow(tiles)
        form.addRow(skips)
        form.addRow(run)
        form.addRow(AnnotateFolderButton(session, asks=False))
        form.addRow(encode)
        form.addRow(self._open)
        bind_enabled(session.model, "batch_folder", run)
        bind_enabled(session.model, "encode_folder", encode)
        follow(
            self,
            lambda: session.folder_batch.is_left,
            lambda left: run.setText("Continue batch" if left else "Batch folder"),
            session.model,
            scan_model,
        )
        follow(self, self._why_one_format, self._show_format, session.model, scan_model)
        follow(
            self,
            lambda: "3D/video goes through whole slices." if self._follows() else "",
            lambda why_not: set_enabled(tiles, why_not),
            session.model,
        )
        choice = session.series_choice
        follow(self, lambda: (choice.choices, choice.reason), self._show_series, scan_model)
        watch(scan_model, "folder_done", self, self._show_done)

    def showEvent(self, event: QShowEvent | None) -> None:
        """Look at the folder when its choices come on show: files may have come and gone."""
        super().showEvent(event)
        self._session.series_choice.look()

    def _follows(self) -> bool:
        return self._session.model.task is Task.VIDEO

    def _why_one_format(self) -> str:
        scanned = self._scan_model.folder_tiles and not self._follows()
        return "What is scanned tile by tile is written as OME-Zarr." if scanned else ""

    def _show_format(self, why_one: str) -> None:
        set_enabled(self._format, why_one)
        self._format.choose(".zarr" if why_one else self._scan_model.folder_format)

    def _open_folder(self) -> None:
        QDesktopServices.openUrl(QUrl.fromLocalFile(self._scan_model.folder_done))

    def _show_series(self, read: tuple[Sequence[tuple[int, str]], str]) -> None:
        choices, reason = read
        self._series.offer(choices)
        self._series.setEnabled(len(choices) > 1)
        self._series.setToolTip(reason)
        self._series.setAccessibleDescription(reason)

    def _show_done(self) -> None:
        self._open.setVisible(bool(self._scan_model.folder_done))
        self._open.setToolTip(self._scan_model.folder_done)


_HEIGHT = 78
_COLOURS = """
QTextEdit { background-color: rgba(128, 128, 128, 32); }
QTextEdit:disabled { placeholder-text-color: rgb(135, 135, 135); }
"""


def batch_images_box(model: SessionModel) -> QCheckBox:
    """Return the box that says whether a run takes every image."""
    box = check_box(
        model,
        "batch_images",
        "Batch all image layers",
        "Run the same prompts, where they lie in the world, on every image. Each image "
        "gets layers of its own.",
    )
    box.setSizePolicy(QSizePolicy.Policy.Maximum, QSizePolicy.Policy.Fixed)
    bind_enabled(model, "batch_images", box)
    return box


class BatchTextField(QTextEdit):
    """Several phrases, one a line; Ctrl+Enter runs.

    ``run``: called when the user presses Ctrl+Enter.
    """

    def __init__(self, model: SessionModel, run: Callable[[], None]) -> None:
        super().__init__()
        self._run = run
        self.setObjectName("batch_text")
        self.setAcceptRichText(False)
        # napari's own is almost black in the dark theme, and the hint on it unreadable.
        self.setStyleSheet(_COLOURS)
        self.setMaximumHeight(_HEIGHT)
        self.setTabChangesFocus(True)
        self.setPlaceholderText("One phrase a line, # for a comment")
        self.setToolTip("Each phrase runs by itself and gets layers of its own. Ctrl+Enter runs.")
        bind_value(model, "batch_text", self, self.textChanged, self.toPlainText, self.setPlainText)
        bind_enabled(model, "batch_text", self)

    def keyPressEvent(self, event: QKeyEvent | None) -> None:
        """Run on Ctrl+Enter."""
        control = Qt.KeyboardModifier.ControlModifier
        enter = (Qt.Key.Key_Return, Qt.Key.Key_Enter)
        if event is not None and event.key() in enter and event.modifiers() & control:
            self._run()
        else:
            super().keyPressEvent(event)

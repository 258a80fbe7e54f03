"""The tab that merges cleaned masks and writes them to files."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qtpy.QtWidgets import (
    QFileDialog,
    QFormLayout,
    QGridLayout,
    QHBoxLayout,
    QPushButton,
    QVBoxLayout,
    QWidget,
)

from napari_sam3_assistant.core.masks.formats import ExportFormat
from napari_sam3_assistant.core.masks.merge import MergeMode, OverlapRule
from napari_sam3_assistant.widgets.bind import watch
from napari_sam3_assistant.widgets.mask_operations.controls import (
    button,
    neighbours,
    note,
    options,
    text_line,
)
from napari_sam3_assistant.widgets.mask_operations.priority_list import Priorities
from napari_sam3_assistant.widgets.mask_operations.undo_row import UndoRow
from napari_sam3_assistant.widgets.wrapped_label import WrappedLabel

if TYPE_CHECKING:
    from napari_sam3_assistant.session.masks.session import MaskSession

_MODES = (
    (MergeMode.SEMANTIC, "Semantic: class values"),
    (MergeMode.INSTANCE, "Instance: objects 1 to N"),
    (MergeMode.BINARY, "Binary: 0 and 1"),
)
_RULES = (
    (OverlapRule.PRIORITY, "Class priority order wins"),
    (OverlapRule.EARLIER, "Earlier selected layer wins"),
    (OverlapRule.LARGER, "Larger component wins"),
    (OverlapRule.SMALLER, "Smaller component wins"),
    (OverlapRule.BACKGROUND, "Set overlap to background"),
)
_FORMATS = (
    (ExportFormat.TIFF, "TIFF"),
    (ExportFormat.PNG, "PNG (one plane)"),
    (ExportFormat.NPY, "NumPy (.npy)"),
    (ExportFormat.OME_ZARR, "OME-Zarr"),
    (ExportFormat.COCO_RLE, "COCO JSON, run lengths"),
    (ExportFormat.COCO_POLYGONS, "COCO JSON, polygons"),
    (ExportFormat.YOLO, "YOLO segmentation"),
    (ExportFormat.GEOJSON, "GeoJSON for QuPath"),
)


class FinalTab(QWidget):
    """Final Merge / Export.

    Parameters
    ----------
    session : MaskSession
        The session.
    """

    def __init__(self, session: MaskSession) -> None:
        super().__init__()
        model, collection = session.model, session.collection
        self._model, self._collection = model, collection
        form = QFormLayout()
        form.setRowWrapPolicy(QFormLayout.RowWrapPolicy.WrapLongRows)
        form.addRow("Merge mode", options(model, "merge_mode", _MODES, "What the values mean"))
        form.addRow("Overlap rule", options(model, "rule", _RULES, "Who gets a shared pixel"))
        form.addRow("Neighbours", neighbours(model))
        form.addRow(
            "Output layer",
            text_line(
                model,
                "output",
                "final_training_mask",
                "Merged into and exported from; also the name of any layer to export",
            ),
        )
        self._format = options(model, "export_format", _FORMATS, "The file's format")
        form.addRow("Export format", self._format)
        self._note = WrappedLabel()
        self._note.setObjectName("format_note")
        form.addRow(self._note)
        browse = QPushButton("Browse")
        browse.setObjectName("browse")
        browse.clicked.connect(self._browse)
        row = QHBoxLayout()
        row.addWidget(text_line(model, "path", "choose a file", "Its ending follows the format"))
        row.addWidget(browse)
        form.addRow("Export path", row)
        grid = QGridLayout()
        grid.setSpacing(4)
        for place, (text, name, verb, tooltip) in enumerate(
            (
                (
                    "Merge Saved Objects",
                    "merge_final",
                    collection.merge_final,
                    "Make the output layer from the ticked ones",
                ),
                (
                    "Show Overlap Map",
                    "show_overlap",
                    collection.show_overlap,
                    "A layer that counts the ticked layers where there are several",
                ),
                (
                    "Merge and Export",
                    "merge_and_export",
                    collection.merge_and_export,
                    "Merge, then write the file",
                ),
                ("Export Output", "export", collection.export, "Write the output layer as it is"),
            )
        ):
            grid.addWidget(button(model, text, name, verb, tooltip), place // 2, place % 2)
        layout = QVBoxLayout(self)
        layout.addWidget(
            note("Cleaned class masks: tick those to merge, drag them into the order of priority.")
        )
        layout.addWidget(Priorities(model), 1)
        layout.addLayout(form)
        layout.addLayout(grid)
        layout.addWidget(UndoRow(session, "final"))
        watch(model, "layers output final_chosen export_format", self, self._show)

    def _show(self) -> None:
        chosen, collection = self._model.export_format, self._collection
        self._format.offer(
            [(one, text) for one, text in _FORMATS if one is chosen or collection.can_hold(one)]
        )
        self._format.choose(chosen)
        self._note.setText(collection.not_held(chosen))
        self._note.setVisible(bool(self._note.text()))

    def _browse(self) -> None:
        format_ = self._model.export_format
        text = next(text for one, text in _FORMATS if one is format_)
        start = self._collection.proposed()
        path, _ = QFileDialog.getSaveFileName(
            self, "Export mask", str(start), f"{text} (*{format_.suffix})"
        )
        if path:
            self._model.path = path

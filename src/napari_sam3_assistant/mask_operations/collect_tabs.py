"""The tabs that accept objects, merge classes and make the final mask."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from qtpy.QtCore import Qt
from qtpy.QtWidgets import (
    QAbstractItemView,
    QCompleter,
    QFileDialog,
    QFormLayout,
    QGridLayout,
    QHBoxLayout,
    QPushButton,
    QToolButton,
    QVBoxLayout,
    QWidget,
)

from napari_sam3_assistant.core.masks.merge import MergeMode, OverlapRule
from napari_sam3_assistant.core.masks.objects import ExportFormat
from napari_sam3_assistant.core.plurals import pluralize
from napari_sam3_assistant.mask_operations.collect import DEFAULT_CLASS
from napari_sam3_assistant.mask_operations.model import SaveMode
from napari_sam3_assistant.qt.bind import follow, set_enabled, show_errors, watch
from napari_sam3_assistant.qt.controls import (
    ChoiceCombo,
    TickList,
    connectivity_box,
    hint_label,
    label_line,
    layer_box,
    line_edit,
    push_button,
)
from napari_sam3_assistant.qt.layout import WrappedLabel

if TYPE_CHECKING:
    from qtpy.QtGui import QKeyEvent

    from napari_sam3_assistant.mask_operations.model import MaskModel
    from napari_sam3_assistant.mask_operations.session import MaskSession
    from napari_sam3_assistant.qt.controls import ListedLayers


_ANNOTATIONS = (
    "Annotations: COCO, GeoJSON of QuPath, regions of ImageJ (*.json *.geojson *.roi *.zip)"
)
_SAVE_MODES = (
    (SaveMode.NEW, "Save as new layer"),
    (SaveMode.APPEND, "Append to existing accepted layer"),
    (SaveMode.REPLACE, "Replace existing accepted layer"),
)


class AcceptedTab(QWidget):
    """Accepted Objects."""

    def __init__(self, session: MaskSession) -> None:
        super().__init__()
        model, collection = session.model, session.collection
        tip = "Save one label only; without a number all of them"
        label = label_line(model, "label", "all labels", tip)
        label.setAccessibleName("Label to save")
        target = layer_box(
            model, "accepted_target", "The accepted layer to change", lambda layer: layer.accepted
        )
        form = QFormLayout()
        form.setRowWrapPolicy(QFormLayout.RowWrapPolicy.WrapLongRows)
        form.addRow(
            "Source layer", layer_box(model, "source", "The labels to save, such as a preview")
        )
        picked = push_button(
            model,
            "Picked",
            "take_picked",
            session.take_picked,
            "The label that you chose in the source layer: click on it in napari's pick mode",
        )
        row = QHBoxLayout()
        row.addWidget(label, 1)
        row.addWidget(picked)
        form.addRow("Label", row)
        form.addRow(
            "Object name",
            line_edit(model, "object_name", "as the source layer", "What the object is called"),
        )
        name = line_edit(model, "class_name", DEFAULT_CLASS, "What the object is, such as myelin")
        form.addRow("Class name", name)
        tip = "The class's value in merged masks"
        value = label_line(model, "class_value", "1", tip)
        form.addRow("Class value", value)
        form.addRow(
            "Save mode", ChoiceCombo(model, "save_mode", _SAVE_MODES, "Where the object goes")
        )
        form.addRow("Target layer", target)
        layout = QVBoxLayout(self)
        layout.addLayout(form)
        layout.addWidget(
            push_button(
                model,
                "Save Accepted Object",
                "save_accepted",
                collection.save_accepted,
                "Keep the source, or one label of it, as an object with a class",
            )
        )
        layout.addWidget(
            push_button(
                model,
                "Import Annotations",
                "import_annotations",
                self._import,
                "Make accepted objects of annotations of COCO, QuPath (GeoJSON) or ImageJ (regions)"
                ", for the image on show",
            )
        )
        layout.addWidget(UndoRow(session, "accepted"))
        layout.addStretch(1)
        self._collection = collection

        def show_classes() -> None:
            names = list(model.class_list.names.values())
            completer = QCompleter(names, name)
            completer.setCaseSensitivity(Qt.CaseSensitivity.CaseInsensitive)
            name.setCompleter(completer if names else None)
            name.setPlaceholderText("one of the class list" if names else DEFAULT_CLASS)
            set_enabled(value, "The class list gives each class its value" if names else "")

        watch(model, "class_list", self, show_classes)
        watch(
            model,
            "save_mode",
            self,
            lambda: set_enabled(
                target,
                "Choose to append or to replace first" if model.save_mode is SaveMode.NEW else "",
            ),
        )

    def _import(self) -> None:
        file, _ = QFileDialog.getOpenFileName(self, "Annotations", "", _ANNOTATIONS)
        if file:
            self._collection.import_annotations(Path(file))


_TICK = "Tick the accepted objects. Where they overlap, the upper one wins."
_NONE_YET = "Nothing to merge yet. Objects that you save in Accepted Objects are listed here."
_NO_CLASS = "No accepted object is of this class. Empty the filter to see all."


class MergeTab(QWidget):
    """Class Merge."""

    def __init__(self, session: MaskSession) -> None:
        super().__init__()
        self._model = session.model
        self._list = TickList("merge_layers", "The accepted layers to merge")
        self._list.setAccessibleName("Layers to merge")
        self._overlap = WrappedLabel()
        self._overlap.setObjectName("merge_overlap")
        form = QFormLayout()
        form.setRowWrapPolicy(QFormLayout.RowWrapPolicy.WrapLongRows)
        form.addRow(
            "Class filter",
            line_edit(self._model, "class_filter", "all classes", "List one class only"),
        )
        layout = QVBoxLayout(self)
        layout.addLayout(form)
        self._hint = hint_label("")
        self._hint.setObjectName("merge_hint")
        layout.addWidget(self._hint)
        layout.addWidget(self._list, 1)
        layout.addWidget(self._overlap)
        output = QFormLayout()
        output.setRowWrapPolicy(QFormLayout.RowWrapPolicy.WrapLongRows)
        output.addRow(
            "Output layer",
            line_edit(
                self._model,
                "merge_output",
                "class_working_mask",
                "A layer of this name that was merged before is filled anew",
            ),
        )
        layout.addLayout(output)
        layout.addWidget(
            push_button(
                self._model,
                "Merge Accepted Objects",
                "merge_accepted",
                session.collection.merge_accepted,
                "Make one mask in which each object holds its class value",
            )
        )
        layout.addWidget(UndoRow(session, "merge"))
        self._list.itemChanged.connect(self._on_ticked)
        follow(self, self._read_rows, self._show, self._model)
        watch(self._model, "merge_overlap", self, self._show_overlap)
        count = show_errors(self._model, session.collection.count_overlap)
        self._list.itemChanged.connect(count)

    def _read_rows(self) -> ListedLayers:
        rows = [
            (row.key, f"{row.name} ({row.class_name} = {row.class_value})")
            for row in self._model.accepted_of_class
        ]
        return rows, self._model.merge_chosen

    def _show(self, read: ListedLayers) -> None:
        # Filling the list must not look like ticking.
        was = self._list.blockSignals(True)
        self._list.show_layers(*read)
        self._list.blockSignals(was)
        rows, _ = read
        filtered = any(layer.accepted for layer in self._model.layers)
        self._hint.setText(_TICK if rows else _NO_CLASS if filtered else _NONE_YET)

    def _on_ticked(self) -> None:
        listed = set(self._list.keys())
        hidden = [key for key in self._model.merge_chosen if key not in listed]
        ticked = self._list.order_ticked(self._model.merge_chosen)
        self._model.merge_chosen = (*hidden, *ticked)

    def _show_overlap(self) -> None:
        pixels = self._model.merge_overlap
        self._overlap.setVisible(pixels >= 0)
        self._overlap.setText(
            f"Overlap: the ticked objects share {pluralize(pixels, 'pixel')}."
            if pixels
            else "Overlap: the ticked objects share no pixel."
        )


_MERGE_MODES = (
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
_FORMATS = tuple((export_format, export_format.label) for export_format in ExportFormat)


class FinalTab(QWidget):
    """Final Merge / Export."""

    def __init__(self, session: MaskSession) -> None:
        super().__init__()
        model, collection = session.model, session.collection
        self._model, self._collection = model, collection
        form = QFormLayout()
        form.setRowWrapPolicy(QFormLayout.RowWrapPolicy.WrapLongRows)
        form.addRow(
            "Merge mode", ChoiceCombo(model, "merge_mode", _MERGE_MODES, "What the values mean")
        )
        form.addRow("Overlap rule", ChoiceCombo(model, "rule", _RULES, "Who gets a shared pixel"))
        form.addRow("Neighbours", connectivity_box(model))
        form.addRow(
            "Output layer",
            line_edit(
                model,
                "output",
                "final_training_mask",
                "Merged into and exported from; also the name of any layer to export",
            ),
        )
        self._format = ChoiceCombo(model, "export_format", _FORMATS, "The file's format")
        form.addRow("Export format", self._format)
        self._note = WrappedLabel()
        self._note.setObjectName("format_note")
        form.addRow(self._note)
        browse = QPushButton("Browse")
        browse.setObjectName("browse")
        browse.clicked.connect(self._browse)
        row = QHBoxLayout()
        path = line_edit(
            model,
            "path",
            "choose a file",
            "Its ending follows the format; a name that is taken gets a number",
        )
        path.setAccessibleName("Export path")
        row.addWidget(path)
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
            grid.addWidget(push_button(model, text, name, verb, tooltip), place // 2, place % 2)
        layout = QVBoxLayout(self)
        layout.addWidget(
            hint_label(
                "Cleaned class masks: tick those to merge, drag them into the order of priority."
            )
        )
        layout.addWidget(Priorities(model), 1)
        layout.addLayout(form)
        layout.addLayout(grid)
        layout.addWidget(UndoRow(session, "final"))
        follow(self, self._read_formats, self._format.offer, model)
        follow(self, lambda: collection.explain_lost(model.export_format), self._show_note, model)

    def _read_formats(self) -> list[tuple[ExportFormat, str]]:
        chosen, can_hold = self._model.export_format, self._collection.can_hold
        return [
            (export_format, text)
            for export_format, text in _FORMATS
            if export_format is chosen or can_hold(export_format)
        ]

    def _show_note(self, note: str) -> None:
        self._note.setText(note)
        self._note.setVisible(bool(note))

    def _browse(self) -> None:
        format_ = self._model.export_format
        text = next(text for export_format, text in _FORMATS if export_format is format_)
        start = self._collection.propose_path()
        path, _ = QFileDialog.getSaveFileName(
            self, "Export mask", str(start), f"{text} (*{format_.suffix})"
        )
        if path:
            self._collection.choose_path(path)


_KEYS: dict[int, int] = {Qt.Key.Key_Up: -1, Qt.Key.Key_Down: 1}


class PriorityList(TickList):
    """Layers that the mouse, or Alt+Up and Alt+Down, bring into the order of their priority."""

    def __init__(self, model: MaskModel) -> None:
        super().__init__("final_layers", "The first one has the highest priority")
        self.setAccessibleName("Layers by priority")
        self._model = model
        self._filling = False
        self.setDragDropMode(QAbstractItemView.DragDropMode.InternalMove)
        self.itemChanged.connect(self._on_ticked)
        rows: Any = self.model()
        rows.rowsMoved.connect(self._on_moved)
        follow(self, self._read_rows, self._show, model)

    def move_current(self, by: int) -> None:
        """Move the current layer up (-1) or down (1)."""
        key, order = self.current_key, list(self.keys())
        if not key:
            return
        before = order.index(key)
        after = min(max(before + by, 0), len(order) - 1)
        order.insert(after, order.pop(before))
        self._model.final_order = tuple(order)
        self.setCurrentRow(after)

    @property
    def current_key(self) -> str:
        """The layer of the current row; empty if there is none."""
        return self.key(self.currentRow()) if self.currentRow() >= 0 else ""

    def keyPressEvent(self, event: QKeyEvent | None) -> None:
        """Move the current layer by Alt and an arrow key."""
        alt = event is not None and event.modifiers() & Qt.KeyboardModifier.AltModifier
        by = _KEYS.get(event.key()) if event is not None and alt else None
        if by is None:
            super().keyPressEvent(event)
        else:
            self.move_current(by)

    def _read_rows(self) -> ListedLayers:
        texts = {layer.key: _text(layer.name, layer.class_name, layer.class_value)
                 for layer in self._model.layers}  # fmt: skip
        rows = [(key, texts[key]) for key in self._model.final_order if key in texts]
        return rows, self._model.final_chosen

    def _show(self, read: ListedLayers) -> None:
        self._filling = True
        self.show_layers(*read)
        self._filling = False

    def _on_ticked(self) -> None:
        if not self._filling:
            self._model.final_chosen = self.order_ticked(self._model.final_chosen)

    def _on_moved(self) -> None:
        self._model.final_order = self.keys()


class Priorities(QWidget):
    """The list, and buttons that move its current layer."""

    def __init__(self, model: MaskModel) -> None:
        super().__init__()
        layers = PriorityList(model)
        buttons = QVBoxLayout()
        for name, arrow, by, text in (
            ("priority_up", Qt.ArrowType.UpArrow, -1, "Higher priority (Alt+Up)"),
            ("priority_down", Qt.ArrowType.DownArrow, 1, "Lower priority (Alt+Down)"),
        ):
            button = QToolButton()
            button.setObjectName(name)
            button.setArrowType(arrow)
            button.setToolTip(text)
            button.setAccessibleName(text)
            button.clicked.connect(lambda *_, by=by: layers.move_current(by))
            buttons.addWidget(button)
        buttons.addStretch(1)
        row = QHBoxLayout(self)
        row.setContentsMargins(0, 0, 0, 0)
        row.addWidget(layers, 1)
        row.addLayout(buttons)


def _text(name: str, class_name: str, value: int | None) -> str:
    return name if value is None else f"{name} ({class_name} = {value})"


class UndoRow(QWidget):
    """Two buttons that say what they would do.

    ``tab``: where the buttons are; part of their names.
    """

    def __init__(self, session: MaskSession, tab: str) -> None:
        super().__init__()
        model, collection = session.model, session.collection
        undo = push_button(model, "Undo", f"undo_{tab}", collection.undo, "")
        redo = push_button(model, "Redo", f"redo_{tab}", collection.redo, "")
        row = QHBoxLayout(self)
        row.setContentsMargins(0, 0, 0, 0)
        row.setSpacing(4)
        row.addWidget(undo)
        row.addWidget(redo)

        def show_undo() -> None:
            why_not = "Takes back what was saved or merged here; nothing was yet"
            step = model.undo_collected
            set_enabled(undo, "" if step else why_not, f"Take back: {step}")

        def show_redo() -> None:
            step = model.redo_collected
            why_not = "Does again what was taken back"
            set_enabled(redo, "" if step else why_not, f"Do again: {step}")

        watch(model, "undo_collected", self, show_undo)
        watch(model, "redo_collected", self, show_redo)

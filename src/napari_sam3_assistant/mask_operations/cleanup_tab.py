"""The tab Mask Cleanup."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from qtpy.QtCore import QPoint, Qt, QTimer
from qtpy.QtWidgets import (
    QCheckBox,
    QFormLayout,
    QGridLayout,
    QGroupBox,
    QHBoxLayout,
    QLabel,
    QMenu,
    QPushButton,
    QTabWidget,
    QVBoxLayout,
    QWidget,
)

from napari_sam3_assistant.core.masks.operations import Operation
from napari_sam3_assistant.core.masks.pieces import Apart
from napari_sam3_assistant.errors import MaskError
from napari_sam3_assistant.mask_operations.cleanup import OF_ROWS
from napari_sam3_assistant.mask_operations.model import RightClick, Scope
from napari_sam3_assistant.mask_operations.tables import ComponentTable, ValueTable
from napari_sam3_assistant.qt.axes_from_file import AxesFromFileField
from napari_sam3_assistant.qt.bind import follow, set_enabled, show_errors, watch
from napari_sam3_assistant.qt.controls import (
    ChoiceCombo,
    ElidedCombo,
    check_box,
    connectivity_box,
    hint_label,
    label_line,
    layer_box,
    length_box,
    line_edit,
    push_button,
    spin_box,
)
from napari_sam3_assistant.qt.layout import WrappedLabel

if TYPE_CHECKING:
    from collections.abc import Callable

    from napari_sam3_assistant.mask_operations.model import MaskModel
    from napari_sam3_assistant.mask_operations.session import MaskSession


_SCOPES = tuple((scope, scope.value.capitalize()) for scope in Scope)
_APART = tuple((apart, apart.value.capitalize()) for apart in Apart)


class CleanupTab(QWidget):
    """Mask Cleanup."""

    def __init__(self, session: MaskSession) -> None:
        super().__init__()
        self._session = session
        self._components = ComponentTable(session.model)
        self._values = ValueTable(session.model)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(6, 6, 6, 6)
        layout.addLayout(self._make_choices())
        layout.addWidget(self._make_unfinished())
        layout.addLayout(self._make_buttons())
        layout.addWidget(self._make_tables(), 1)
        layout.addWidget(OperationsGroup(session))

    def _make_choices(self) -> QFormLayout:
        model = self._session.model
        form = QFormLayout()
        form.setRowWrapPolicy(QFormLayout.RowWrapPolicy.WrapLongRows)
        summary = hint_label("")
        summary.setObjectName("target_summary")
        form.addRow("Target layer", layer_box(model, "target", "The labels layer to clean"))
        form.addRow("", summary)
        form.addRow(AxesFromFileField(model, self._session.axes_from_file))
        form.addRow(
            "Work on",
            ChoiceCombo(
                model,
                "scope",
                _SCOPES,
                "The whole layer, what the canvas shows, or the box around a shape that you drew. "
                "In a part, objects that reach its edge are neither removed nor split.",
            ),
        )
        form.addRow(
            "Neighbours",
            connectivity_box(model),
        )
        form.addRow(
            "Count apart",
            ChoiceCombo(
                model,
                "apart",
                _APART,
                "What counts for itself: components, holes and distances end with it. A frame is "
                "all that one time and channel have, a slice is one plane of rows and columns.",
            ),
        )
        apart = WrappedLabel()
        apart.setObjectName("apart_summary")
        form.addRow("", apart)
        form.addRow(
            check_box(
                model, "physical", "Physical units", "Lengths in the layer's scale, not in pixels"
            )
        )

        def read() -> str:
            choice = model.choice(model.target)
            return choice.summary if choice else "Open or make a labels layer to begin."

        def read_apart() -> str:
            choice = model.choice(model.target)
            return choice.explain_apart(model.apart) if choice else ""

        def show_apart(text: str) -> None:
            apart.setText(text)
            apart.setVisible(bool(text))

        follow(self, read, summary.setText, model)
        follow(self, read_apart, show_apart, model)
        return form

    def _make_unfinished(self) -> QWidget:
        """Return what is there only while the target has an edit that was stopped half-way."""
        model, cleanup = self._session.model, self._session.cleanup
        shown = QWidget()
        shown.setObjectName("unfinished")
        explanation = WrappedLabel()
        finish = push_button(
            model, "Finish", "finish_edit", cleanup.finish, "Write the change to its end"
        )
        take_back = push_button(
            model,
            "Take Back",
            "take_back_edit",
            cleanup.take_back,
            "Make the labels what they were before the change",
        )
        grid = QGridLayout(shown)
        grid.setContentsMargins(0, 0, 0, 0)
        grid.setSpacing(4)
        grid.addWidget(explanation, 0, 0, 1, 2)
        grid.addWidget(finish, 1, 0)
        grid.addWidget(take_back, 1, 1)

        def show() -> None:
            explanation.setText(model.unfinished)
            shown.setVisible(bool(model.unfinished))

        watch(model, "unfinished", shown, show)
        return shown

    def _make_buttons(self) -> QGridLayout:
        session, model, cleanup = self._session, self._session.model, self._session.cleanup
        analyze = push_button(
            model, "Analyze Layer", "analyze", cleanup.analyze, "List the connected components"
        )
        delete = push_button(
            model,
            "Delete Selected Components",
            "delete_components",
            cleanup.delete_selected,
            "Delete the components of the chosen rows",
        )
        change = push_button(
            model,
            "Change Selected To",
            "change_selected",
            self._change_selected,
            "Give the chosen rows, of components or of values, the “New value” at the bottom",
        )
        watch(
            model,
            "new_value",
            change,
            lambda: change.setText(f"Change Selected To {model.new_value}"),
        )
        undo = push_button(
            model,
            "Undo Last Edit",
            "mask_undo",
            cleanup.undo,
            "Restore the selected Labels layer to its previous state, painting included (Ctrl+Z)",
        )
        redo = push_button(
            model, "Redo", "mask_redo", cleanup.redo, "Do again what was taken back (Ctrl+Shift+Z)"
        )
        grid = QGridLayout()
        grid.setSpacing(4)
        grid.addWidget(analyze, 0, 0, 1, 2)
        grid.addWidget(undo, 1, 0)
        grid.addWidget(redo, 1, 1)
        of_rows = ((delete, Operation.DELETE_SELECTED), (change, Operation.CHANGE_SELECTED))
        for place, (verb, operation) in enumerate(of_rows, 2):
            row = QHBoxLayout()
            row.addWidget(verb, 1)
            row.addWidget(PreviewButton(session, operation, self._choose_previewed))
            grid.addLayout(row, place, 0, 1, 2)
        grid.addLayout(self._make_right_click(), 4, 0, 1, 2)

        _enable_with(model, "target", analyze, _NO_TARGET)
        _enable_with(model, "selected", delete, "Select rows of the component table first")
        _enable_with(model, "can_undo", undo, "There is nothing to undo on this layer")
        _enable_with(model, "can_redo", redo, "Nothing was taken back on this layer")
        return grid

    def _make_right_click(self) -> QHBoxLayout:
        model = self._session.model
        box = QCheckBox("Right-click Delete")
        box.setObjectName("right_click")
        box.setToolTip("Right-click a label object in the target layer to remove it")
        operation = ElidedCombo()
        operation.setObjectName("right_click_what")
        operation.setAccessibleName("What a right-click removes")
        operation.offer([(RightClick.LABEL, "label"), (RightClick.COMPONENT, "component")])
        operation.setToolTip("Remove all pixels of the label value, or only the component")

        def choose(*_: object) -> None:
            model.right_click = operation.value if box.isChecked() else RightClick.OFF
            if box.isChecked():
                show_errors(model, self._show_armed)()

        def show() -> None:
            box.setChecked(model.right_click is not RightClick.OFF)
            if model.right_click is not RightClick.OFF:
                operation.choose(model.right_click)

        box.clicked.connect(choose)
        operation.activated.connect(choose)
        watch(model, "right_click", box, show)
        row = QHBoxLayout()
        row.addWidget(box)
        row.addWidget(operation)
        row.addStretch(1)
        return row

    def _show_armed(self) -> None:
        model = self._session.model
        if not model.target:
            raise MaskError("Choose a target labels layer.")
        self._session.jobs.say(f"Right-click delete armed for “{model.name_of(model.target)}”.")

    def _make_tables(self) -> QWidget:
        session, model, table = self._session, self._session.model, self._components
        table.doubleClicked.connect(
            lambda index: show_errors(
                model, lambda: session.cleanup.go_to(table.table.number(index.row()))
            )()
        )
        table.setContextMenuPolicy(Qt.ContextMenuPolicy.CustomContextMenu)
        table.customContextMenuRequested.connect(self._show_menu)
        stale = hint_label(
            "The layer was changed. Press Analyze Layer to bring the table up to date."
        )
        stale.setObjectName("stale")
        watch(model, "components_stale", stale, lambda: stale.setVisible(model.components_stale))
        self._tabs = QTabWidget()
        self._tabs.setObjectName("cleanup_tables")
        self._tabs.addTab(table, "Components")
        self._tabs.addTab(self._values, "Values")
        both = QWidget()
        layout = QVBoxLayout(both)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(self._tabs)
        layout.addWidget(stale)
        return both

    def _show_menu(self, position: QPoint) -> None:
        menu = QMenu(self)
        action: Any = menu.addAction("Delete Selected Components")
        action.triggered.connect(
            show_errors(self._session.model, self._session.cleanup.delete_selected)
        )
        menu.popup(self._components.mapToGlobal(position))

    def _change_selected(self) -> None:
        if self._tabs.currentWidget() is self._components:
            self._session.cleanup.change_selected()
            return
        self._take_values()
        self._session.cleanup.apply(Operation.MERGE_VALUES)

    def _choose_previewed(self, operation: Operation) -> Operation:
        """Return the operation whose effect is shown: rows of values are relabelled."""
        on_values = self._tabs.currentWidget() is not self._components
        if operation is Operation.CHANGE_SELECTED and on_values:
            self._take_values()
            return Operation.MERGE_VALUES
        return operation

    def _take_values(self) -> None:
        values = self._values.chosen_values()
        if not values:
            raise MaskError("Select value rows to change.", "Press Analyze Layer first.")
        self._session.model.values_text = ", ".join(map(str, values))


_DELAY_MS = 200


class OperationsGroup(QGroupBox):
    """One row an operation."""

    def __init__(self, session: MaskSession) -> None:
        super().__init__("Operations")
        self._session = session
        model = session.model
        self._grid = QGridLayout(self)
        self._grid.setSpacing(4)
        self._grid.setContentsMargins(4, 4, 4, 4)
        self._grid.setColumnStretch(0, 1)
        self._delay = QTimer(self)
        self._delay.setSingleShot(True)
        self._delay.setInterval(_DELAY_MS)
        self._delay.timeout.connect(show_errors(model, self._preview_again))
        self._add(
            Operation.REMOVE_SMALL,
            "Remove Small Objects",
            spin_box(
                model, "remove_small.minimum", "Components with fewer pixels go", 1, suffix=" px"
            ),
        )
        holes = spin_box(
            model,
            "fill_holes.hole_size",
            "Larger holes stay; other labels in a hole stay too",
            suffix=" px",
        )
        holes.setSpecialValueText("any size")
        self._add(Operation.FILL_HOLES, "Fill Holes", holes)
        self._add(
            Operation.SMOOTH,
            "Smooth Mask",
            length_box(model, "smooth.radius", "Radius: narrower spikes and gaps go"),
        )
        self._add(
            Operation.KEEP_LARGEST,
            "Keep Largest Object",
            check_box(
                model, "keep_largest.per_label", "of each label", "Instead of one object in all"
            ),
        )
        self._add(
            Operation.SPLIT,
            "Split Touching Objects",
            length_box(model, "split.centres", "Least distance between the centres of two objects"),
        )
        self._add(
            Operation.EXPAND,
            "Expand Labels",
            length_box(
                model, "expand.distance", "By how much; labels take nothing from each other"
            ),
        )
        self._add(
            Operation.SHRINK,
            "Shrink Labels",
            length_box(model, "expand.distance", "By how much; touching labels get a gap"),
        )
        self._add(
            Operation.RENUMBER,
            "Renumber",
            check_box(
                model,
                "renumber.by_component",
                "each component",
                "Instead of each label value; of each frame, where frames count apart",
            ),
        )
        values = line_edit(model, "values_text", "such as 3,4,5,6", "The labels to replace")
        new_value = label_line(model, "new_value", "0", "The value that replaced labels get")
        for title, control in (("Values to replace", values), ("New value", new_value)):
            row = self._grid.rowCount()
            self._grid.addWidget(QLabel(title), row, 0, Qt.AlignmentFlag.AlignRight)
            self._grid.addWidget(control, row, 1)
        self._add(Operation.MERGE_VALUES, "Merge Label Values")
        follow(self, lambda: model.operation_choices, self._on_choice, model)
        watch(model, "selected", self, self._on_rows)

    def _add(self, operation: Operation, text: str, field: QWidget | None = None) -> None:
        session, model = self._session, self._session.model
        apply = QPushButton(text)
        apply.setObjectName(f"apply_{operation.name.lower()}")
        apply.clicked.connect(show_errors(model, lambda: session.cleanup.apply(operation)))
        row = self._grid.rowCount()
        self._grid.addWidget(apply, row, 0)
        if field is not None:
            self._grid.addWidget(field, row, 1)
        self._grid.addWidget(PreviewButton(session, operation), row, 2)

        _enable_with(model, "target", apply, _NO_TARGET)

    def _on_choice(self, _: object) -> None:
        if self._session.model.previewing is not None:
            self._delay.start()

    def _on_rows(self) -> None:
        if self._session.model.previewing in OF_ROWS:
            self._delay.start()

    def _preview_again(self) -> None:
        operation = self._session.model.previewing
        if operation is not None:
            self._session.cleanup.show_preview(operation)


class PreviewButton(QPushButton):
    """Shows the effect of an operation while it is down.

    ``instead``: returns the operation whose effect is shown.
    """

    def __init__(
        self,
        session: MaskSession,
        operation: Operation,
        instead: Callable[[Operation], Operation] | None = None,
    ) -> None:
        super().__init__("Preview")
        self._session = session
        self._operation = operation
        self._instead = instead
        self.setObjectName(f"preview_{operation.name.lower()}")
        self.setCheckable(True)
        self.setToolTip("Show what would change, and how many pixels, while you choose")
        self.clicked.connect(show_errors(session.model, self._toggle))
        watch(session.model, "previewing", self, self._show)
        _enable_with(session.model, "target", self, _NO_TARGET)

    def _toggle(self) -> None:
        cleanup = self._session.cleanup
        if not self.isChecked():
            cleanup.hide_preview()
            return
        try:
            cleanup.show_preview(
                self._instead(self._operation) if self._instead else self._operation
            )
        finally:
            self._show()

    def _show(self) -> None:
        self.setChecked(self._session.model.previewing is self._operation)


_NO_TARGET = "Choose a target layer first"


def _enable_with(model: MaskModel, field: str, widget: QWidget, why_not: str) -> None:
    """Enable a control while a field holds something."""
    watch(
        model, field, widget, lambda: set_enabled(widget, "" if getattr(model, field) else why_not)
    )

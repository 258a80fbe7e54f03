"""The tab that cleans one labels layer."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from qtpy.QtCore import QPoint, Qt
from qtpy.QtWidgets import (
    QCheckBox,
    QFormLayout,
    QGridLayout,
    QHBoxLayout,
    QMenu,
    QTabWidget,
    QVBoxLayout,
    QWidget,
)

from napari_sam3_assistant.core.masks.operations import Operation
from napari_sam3_assistant.errors import MaskError
from napari_sam3_assistant.session.masks.model import RightClick
from napari_sam3_assistant.session.masks.scene import Scope
from napari_sam3_assistant.widgets.allow import allow
from napari_sam3_assistant.widgets.bind import watch
from napari_sam3_assistant.widgets.fields.elided_combo import ElidedCombo
from napari_sam3_assistant.widgets.mask_operations.controls import (
    button,
    layer_list,
    neighbours,
    note,
    options,
    tick,
)
from napari_sam3_assistant.widgets.mask_operations.operations_group import OperationsGroup
from napari_sam3_assistant.widgets.mask_operations.preview_button import PreviewButton
from napari_sam3_assistant.widgets.mask_operations.tables import ComponentTable, ValueTable
from napari_sam3_assistant.widgets.notify import guarded
from napari_sam3_assistant.widgets.wrapped_label import WrappedLabel

if TYPE_CHECKING:
    from napari_sam3_assistant.session.masks.session import MaskSession

_SCOPES = tuple((scope, scope.value.capitalize()) for scope in Scope)


class CleanupTab(QWidget):
    """Mask Cleanup.

    Parameters
    ----------
    session : MaskSession
        The session.
    """

    def __init__(self, session: MaskSession) -> None:
        super().__init__()
        self._session = session
        self._components = ComponentTable(session.model)
        self._values = ValueTable(session.model)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(6, 6, 6, 6)
        layout.addLayout(self._choices())
        layout.addWidget(self._unfinished())
        layout.addLayout(self._buttons())
        layout.addWidget(self._tables(), 1)
        layout.addWidget(OperationsGroup(session))

    def _choices(self) -> QFormLayout:
        model = self._session.model
        form = QFormLayout()
        form.setRowWrapPolicy(QFormLayout.RowWrapPolicy.WrapLongRows)
        summary = note("")
        summary.setObjectName("target_summary")
        form.addRow("Target layer", layer_list(model, "target", "The labels layer to clean"))
        form.addRow("", summary)
        form.addRow(
            "Work on",
            options(
                model,
                "scope",
                _SCOPES,
                "The whole layer, what the canvas shows, or the box around a shape that you drew. "
                "In a part, objects that reach its edge are neither removed nor split.",
            ),
        )
        form.addRow(
            "Neighbours",
            neighbours(model),
        )
        ticks = QHBoxLayout()
        ticks.addWidget(
            tick(model, "per_slice", "Slice by slice", "Work on each plane of a stack by itself")
        )
        ticks.addWidget(
            tick(model, "physical", "Physical units", "Lengths in the layer's scale, not in pixels")
        )
        ticks.addStretch(1)
        form.addRow(ticks)

        def show() -> None:
            choice = model.choice(model.target)
            summary.setText(choice.summary if choice else "Open or make a labels layer to begin.")

        watch(model, "target layers", self, show)
        return form

    def _unfinished(self) -> QWidget:
        """Return what is there only while the target has an edit that was stopped half-way."""
        model, cleanup = self._session.model, self._session.cleanup
        shown = QWidget()
        shown.setObjectName("unfinished")
        what = WrappedLabel()
        finish = button(
            model, "Finish", "finish_edit", cleanup.finish, "Write the change to its end"
        )
        take_back = button(
            model,
            "Take Back",
            "take_back_edit",
            cleanup.take_back,
            "Make the labels what they were before the change",
        )
        grid = QGridLayout(shown)
        grid.setContentsMargins(0, 0, 0, 0)
        grid.setSpacing(4)
        grid.addWidget(what, 0, 0, 1, 2)
        grid.addWidget(finish, 1, 0)
        grid.addWidget(take_back, 1, 1)

        def show() -> None:
            what.setText(model.unfinished)
            shown.setVisible(bool(model.unfinished))

        watch(model, "unfinished", shown, show)
        return shown

    def _buttons(self) -> QGridLayout:
        session, model, cleanup = self._session, self._session.model, self._session.cleanup
        analyze = button(
            model, "Analyze Layer", "analyze", cleanup.analyze, "List the connected components"
        )
        delete = button(
            model,
            "Delete Selected Components",
            "delete_components",
            cleanup.delete_selected,
            "Delete the components of the chosen rows",
        )
        change = button(
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
        undo = button(
            model,
            "Undo Last Edit",
            "mask_undo",
            cleanup.undo,
            "Restore the selected Labels layer to its previous state, painting included (Ctrl+Z)",
        )
        redo = button(
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
            row.addWidget(PreviewButton(session, operation, self._shown_instead))
            grid.addLayout(row, place, 0, 1, 2)
        grid.addLayout(self._right_click(), 4, 0, 1, 2)

        def show() -> None:
            allow(analyze, "" if model.target else "Choose a target layer first")
            allow(delete, "" if model.selected else "Select rows of the component table first")
            allow(undo, "" if model.can_undo else "There is nothing to undo on this layer")
            allow(redo, "" if model.can_redo else "Nothing was taken back on this layer")

        watch(session.model, "target selected can_undo can_redo", self, show)
        return grid

    def _right_click(self) -> QHBoxLayout:
        model = self._session.model
        box = QCheckBox("Right-click Delete")
        box.setObjectName("right_click")
        box.setToolTip("Right-click a label object in the target layer to remove it")
        what = ElidedCombo()
        what.setObjectName("right_click_what")
        what.offer([(RightClick.LABEL, "label"), (RightClick.COMPONENT, "component")])
        what.setToolTip("Remove all pixels of the label value, or only the component")

        def choose(*_: object) -> None:
            model.right_click = what.value if box.isChecked() else RightClick.OFF
            if box.isChecked():
                guarded(model, self._say_armed)()

        def show() -> None:
            box.setChecked(model.right_click is not RightClick.OFF)
            if model.right_click is not RightClick.OFF:
                what.choose(model.right_click)

        box.clicked.connect(choose)
        what.activated.connect(choose)
        watch(model, "right_click", box, show)
        row = QHBoxLayout()
        row.addWidget(box)
        row.addWidget(what)
        row.addStretch(1)
        return row

    def _say_armed(self) -> None:
        model = self._session.model
        if not model.target:
            raise MaskError("Choose a target labels layer.")
        self._session.jobs.say(f"Right-click delete armed for “{model.name_of(model.target)}”.")

    def _tables(self) -> QWidget:
        session, model, table = self._session, self._session.model, self._components
        table.doubleClicked.connect(
            lambda index: guarded(
                model, lambda: session.cleanup.go_to(table.table.number(index.row()))
            )()
        )
        table.setContextMenuPolicy(Qt.ContextMenuPolicy.CustomContextMenu)
        table.customContextMenuRequested.connect(self._menu)
        stale = note("The layer was changed. Press Analyze Layer to bring the table up to date.")
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

    def _menu(self, position: QPoint) -> None:
        menu = QMenu(self)
        action: Any = menu.addAction("Delete Selected Components")
        action.triggered.connect(
            guarded(self._session.model, self._session.cleanup.delete_selected)
        )
        menu.popup(self._components.mapToGlobal(position))

    def _change_selected(self) -> None:
        if self._tabs.currentWidget() is self._components:
            self._session.cleanup.change_selected()
            return
        self._take_values()
        self._session.cleanup.apply(Operation.MERGE_VALUES)

    def _shown_instead(self, operation: Operation) -> Operation:
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

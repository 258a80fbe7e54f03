"""The class list of a project in the window: choose a file, make one, and edit it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from qtpy.QtCore import Qt
from qtpy.QtGui import QColor
from qtpy.QtWidgets import (
    QAbstractItemView,
    QColorDialog,
    QDialog,
    QDialogButtonBox,
    QFileDialog,
    QHBoxLayout,
    QLabel,
    QPushButton,
    QTableWidget,
    QTableWidgetItem,
    QVBoxLayout,
    QWidget,
)

from napari_sam3_assistant.core.classes import ClassList, ObjectClass, default_colour
from napari_sam3_assistant.core.plurals import pluralize
from napari_sam3_assistant.errors import MaskError, Sam3AssistantError
from napari_sam3_assistant.qt.bind import set_enabled, show_errors, watch
from napari_sam3_assistant.qt.controls import WrappedLabel, push_button

if TYPE_CHECKING:
    from napari_sam3_assistant.mask_operations.session import MaskSession

_KINDS = "Lists of classes (*.csv *.txt *.json *.yaml *.yml)"
_ID, _NAME, _COLOUR = range(3)


class ClassListRow(QWidget):
    """Which class list is fixed, and what can be done about it."""

    def __init__(self, session: MaskSession) -> None:
        super().__init__()
        self._model, self._collection = session.model, session.collection
        self._said = QLabel()
        self._said.setObjectName("class_list")
        row = QHBoxLayout(self)
        row.setContentsMargins(6, 0, 6, 0)
        row.setSpacing(4)
        row.addWidget(self._said, 1)
        choose = push_button(
            self._model,
            "Choose",
            "choose_classes",
            self._choose,
            "Choose the project's classes: CSV (id, name, color), names, data.yaml or COCO",
        )
        edit = push_button(
            self._model, "Edit", "edit_classes", self._edit, "Make a class list, or change it"
        )
        self._forget = push_button(
            self._model,
            "Clear",
            "forget_classes",
            self._collection.forget_classes,
            "Fix no classes: each has the name and the value that are typed",
        )
        for button in (choose, edit, self._forget):
            row.addWidget(button)
        watch(self._model, "class_list", self, self._show)

    def _show(self) -> None:
        listed, file = self._model.class_list, self._model.class_file
        many = pluralize(len(listed), "class", "classes")
        self._said.setText(f"Class list: {many if listed else 'none'}")
        names = "\n".join(f"{value}  {name}" for value, name in list(listed.names.items())[:30])
        self._said.setToolTip(f"{file}\n{names}" if listed else "Classes are named as you type")
        set_enabled(self._forget, "" if listed else "No class list is chosen")

    def _choose(self) -> None:
        file, _ = QFileDialog.getOpenFileName(self, "Class list", self._model.class_file, _KINDS)
        if file:
            self._collection.choose_classes(Path(file))

    def _edit(self) -> None:
        dialog = ClassListDialog(self._model.class_list, self)
        dialog.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
        dialog.accepted.connect(show_errors(self._model, lambda: self._save(dialog.classes)))
        dialog.open()

    def _save(self, classes: ClassList) -> None:
        file = self._model.class_file
        if not file.endswith(".csv"):
            # data.yaml and COCO hold more than classes: that is somebody's data set.
            beside = str(Path(file).with_name("classes.csv")) if file else "classes.csv"
            file, _ = QFileDialog.getSaveFileName(self, "Save the class list", beside, "(*.csv)")
        if file:
            path = Path(file if file.endswith(".csv") else f"{file}.csv")
            self._collection.write_classes(classes, path)


class ClassListDialog(QDialog):
    """A table of classes.

    Parameters
    ----------
    classes : ClassList
        What it begins with.
    parent : QWidget
        The window that it belongs to.
    """

    def __init__(self, classes: ClassList, parent: QWidget) -> None:
        super().__init__(parent)
        self.setObjectName("class_list_dialog")
        self.setWindowTitle("Class list")
        self.classes = classes
        self._table = QTableWidget(0, 3)
        self._table.setObjectName("class_table")
        self._table.setAccessibleName("Classes")
        self._table.setHorizontalHeaderLabels(["Number", "Name", "Colour"])
        self._table.setSelectionBehavior(QAbstractItemView.SelectionBehavior.SelectRows)
        head = self._table.verticalHeader()
        if head is not None:
            head.hide()
        top = self._table.horizontalHeader()
        if top is not None:
            top.setStretchLastSection(True)
        self._table.cellDoubleClicked.connect(self._pick_colour)
        for value, one in zip(classes.names, classes, strict=True):
            self._add_row(one.id, one.name, QColor(*classes.colour(value)))
        self._why = WrappedLabel()
        self._why.setObjectName("class_why")
        buttons = QDialogButtonBox(
            QDialogButtonBox.StandardButton.Save | QDialogButtonBox.StandardButton.Cancel
        )
        buttons.accepted.connect(self.accept)
        buttons.rejected.connect(self.reject)
        edits = QHBoxLayout()
        for text, name, verb in (
            ("Add", "add_class", self.add),
            ("Remove", "remove_class", self._remove),
        ):
            button = QPushButton(text)
            button.setObjectName(name)
            button.setAutoDefault(False)
            button.clicked.connect(verb)
            edits.addWidget(button)
        edits.addStretch(1)
        layout = QVBoxLayout(self)
        layout.addWidget(QLabel("Double-click to change a name, a number or a colour."))
        layout.addWidget(self._table, 1)
        layout.addLayout(edits)
        layout.addWidget(self._why)
        layout.addWidget(buttons)
        self.resize(420, 360)

    def add(self) -> None:
        """Add a class with the next number, and begin to type its name."""
        known = [self._table.item(row, _ID) for row in range(self._table.rowCount())]
        numbers = [int(one.text()) for one in known if one is not None and one.text().isdecimal()]
        number = max(numbers, default=0) + 1
        self._add_row(number, "", QColor(*default_colour(number)))
        last = self._table.rowCount() - 1
        self._table.setCurrentCell(last, _NAME)
        self._table.editItem(self._table.item(last, _NAME))

    def accept(self) -> None:
        """Take the table, or say what is wrong with it."""
        try:
            self.classes = self._read()
        except Sam3AssistantError as error:
            self._why.setText(f"✕ {error}")
            return
        super().accept()

    def _read(self) -> ClassList:
        made = []
        for row in range(self._table.rowCount()):
            cells = [self._table.item(row, column) for column in range(3)]
            number, name, colour = cells
            if number is None or name is None or colour is None:
                continue
            if not number.text().strip().isdecimal():
                raise MaskError(f"“{number.text()}” is no number of a class.", "Count from 1.")
            red, green, blue, _ = colour.background().color().getRgb()
            rgb = (int(red or 0), int(green or 0), int(blue or 0))
            made.append(ObjectClass(int(number.text()), name.text().strip(), rgb))
        return ClassList(tuple(made))

    def _add_row(self, number: int, name: str, colour: QColor) -> None:
        row = self._table.rowCount()
        self._table.insertRow(row)
        shown = QTableWidgetItem()
        shown.setFlags(Qt.ItemFlag.ItemIsEnabled | Qt.ItemFlag.ItemIsSelectable)
        shown.setBackground(colour)
        shown.setToolTip(colour.name())
        for column, item in ((_ID, QTableWidgetItem(str(number))), (_NAME, QTableWidgetItem(name))):
            self._table.setItem(row, column, item)
        self._table.setItem(row, _COLOUR, shown)

    def _remove(self) -> None:
        chosen = {index.row() for index in self._table.selectedIndexes()}
        for row in sorted(chosen, reverse=True):
            self._table.removeRow(row)

    def _pick_colour(self, row: int, column: int) -> None:
        cell = self._table.item(row, _COLOUR)
        if column != _COLOUR or cell is None:
            return
        colour = QColorDialog.getColor(cell.background().color(), self, "Colour of the class")
        if colour.isValid():
            cell.setBackground(colour)
            cell.setToolTip(colour.name())

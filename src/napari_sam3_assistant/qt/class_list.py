"""The class list of a project in both windows: choose a file, make one, and edit it."""

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
    QHeaderView,
    QPushButton,
    QTableWidget,
    QTableWidgetItem,
    QVBoxLayout,
    QWidget,
)

from napari_sam3_assistant.core.classes import ClassList, ObjectClass, default_colour
from napari_sam3_assistant.errors import MaskError, Sam3AssistantError
from napari_sam3_assistant.qt.bind import show_errors, watch
from napari_sam3_assistant.qt.controls import hint_label
from napari_sam3_assistant.qt.layout import WrappedLabel

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from napari_sam3_assistant.mask_operations.model import MaskModel
    from napari_sam3_assistant.session.class_list import ClassFile
    from napari_sam3_assistant.session.model import SessionModel
    from napari_sam3_assistant.session.settings import SettingsStore

_STORED = "class_list"
_KINDS = "Lists of classes (*.csv *.txt *.json *.yaml *.yml)"
_ID, _NAME, _COLOUR, _PARENT = range(4)
_BEFORE = Qt.ItemDataRole.UserRole


def choose_file(parent: QWidget, model: SessionModel | MaskModel, file: ClassFile) -> None:
    """Let the user choose the file of a class list."""
    name, _ = QFileDialog.getOpenFileName(parent, "Class list", model.class_file, _KINDS)
    if name:
        file.choose(Path(name))


def edit_classes(
    parent: QWidget,
    model: SessionModel | MaskModel,
    file: ClassFile,
) -> None:
    """Let the user edit the class list; it is written to its file, or to one that is chosen."""

    def save(classes: ClassList, renamed: Mapping[str, str]) -> None:
        file.change(classes, _ask_file(parent, model.class_file), renamed)

    dialog = ClassListDialog(model.class_list, save, parent)
    dialog.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
    dialog.open()


def _ask_file(parent: QWidget, known: str) -> Path | None:
    """Return where a class list goes: its CSV file, or one that the user chooses."""
    file = known
    if not file.endswith(".csv"):
        # data.yaml and COCO hold more than classes: that is somebody's data set.
        beside = str(Path(file).with_name("classes.csv")) if file else "classes.csv"
        file, _ = QFileDialog.getSaveFileName(parent, "Save the class list", beside, "(*.csv)")
    return Path(file) if file else None


def keep_class_file(
    owner: QWidget, model: SessionModel | MaskModel, file: ClassFile, store: SettingsStore
) -> None:
    """Take the class list that was chosen last, and keep which one is."""
    kept = store.get(_STORED)
    if kept and not model.class_list:
        show_errors(model, lambda: file.choose(Path(kept)))()
        model.class_file = kept  # also where a share is only away
    watch(model, "class_file", owner, lambda: store.set(_STORED, model.class_file))


class ClassListDialog(QDialog):
    """A table of classes, in the order of their keys.

    ``classes``: what it begins with.
    ``save``: takes the list, and the new names of classes by those that they had. After an error
    the dialog stays open, with all that was typed.
    """

    def __init__(
        self,
        classes: ClassList,
        save: Callable[[ClassList, Mapping[str, str]], object],
        parent: QWidget,
    ) -> None:
        super().__init__(parent)
        self.setObjectName("class_list_dialog")
        self.setWindowTitle("Class list")
        self._save = save
        self._table = QTableWidget(0, 4)
        self._table.setObjectName("class_table")
        self._table.setAccessibleName("Classes")
        self._table.setHorizontalHeaderLabels(["Number", "Name", "Colour", "Kind of"])
        self._table.setSelectionBehavior(QAbstractItemView.SelectionBehavior.SelectRows)
        top = self._table.horizontalHeader()
        if top is not None:
            top.setSectionResizeMode(QHeaderView.ResizeMode.Stretch)
        self._table.cellDoubleClicked.connect(self._on_double_click)
        for value, entry in zip(classes.names, classes, strict=True):
            self._add_row(entry.id, entry.name, QColor(*classes.colour(value)), entry.parent)
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
            ("Up", "class_up", lambda: self._move(-1)),
            ("Down", "class_down", lambda: self._move(1)),
            ("Colour …", "class_colour", lambda: self._pick_colour(self._table.currentRow())),
        ):
            button = QPushButton(text)
            button.setObjectName(name)
            button.setAutoDefault(False)
            button.clicked.connect(verb)
            edits.addWidget(button)
        edits.addStretch(1)
        layout = QVBoxLayout(self)
        layout.addWidget(
            hint_label(
                "Double-click to change a cell. The first nine classes have the keys 1 to 9. “Kind "
                "of” is the class or the heading that a class belongs to; “tumour: positive” is a "
                "kind of “tumour” by its name."
            )
        )
        layout.addWidget(self._table, 1)
        layout.addLayout(edits)
        layout.addWidget(self._why)
        layout.addWidget(buttons)
        self.resize(420, 360)

    def add(self) -> None:
        """Add a class with the next number, and begin to type its name."""
        known = [self._table.item(row, _ID) for row in range(self._table.rowCount())]
        numbers = [
            int(entry.text()) for entry in known if entry is not None and entry.text().isdecimal()
        ]
        number = max(numbers, default=0) + 1
        self._add_row(number, "", QColor(*default_colour(number)), "")
        last = self._table.rowCount() - 1
        self._table.setCurrentCell(last, _NAME)
        self._table.editItem(self._table.item(last, _NAME))

    def accept(self) -> None:
        """Save the table, or say what is wrong with it."""
        try:
            self._save(*self._read())
        except Sam3AssistantError as error:
            self._why.setText(f"✕ {error}")
            return
        super().accept()

    def _read(self) -> tuple[ClassList, dict[str, str]]:
        """Return the list, and the new names of classes by those that they had."""
        entries: list[ObjectClass] = []
        renamed: dict[str, str] = {}
        for row in range(self._table.rowCount()):
            cells = [self._table.item(row, column) for column in range(4)]
            number, name, colour, parent = cells
            if number is None or name is None or colour is None or parent is None:
                continue
            if not number.text().strip().isdecimal():
                raise MaskError(f"“{number.text()}” is not a class number.", "Count from 1.")
            red, green, blue, _ = colour.background().color().getRgb()
            rgb = (int(red or 0), int(green or 0), int(blue or 0))
            before, now = name.data(_BEFORE), name.text().strip()
            if before and before != now:
                renamed[before] = now
            above = parent.text().strip()
            entries.append(ObjectClass(int(number.text()), now, rgb, above))
        return ClassList.after_renaming(entries, renamed)

    def _add_row(self, number: int, name: str, colour: QColor, parent: str) -> None:
        row = self._table.rowCount()
        self._table.insertRow(row)
        shown = QTableWidgetItem()
        shown.setFlags(Qt.ItemFlag.ItemIsEnabled)  # so its colour is seen in the chosen row, too
        shown.setBackground(colour)
        shown.setToolTip(colour.name())
        named = QTableWidgetItem(name)
        named.setData(_BEFORE, name)
        cells = ((_ID, QTableWidgetItem(str(number))), (_NAME, named))
        for column, item in (*cells, (_PARENT, QTableWidgetItem(parent))):
            self._table.setItem(row, column, item)
        self._table.setItem(row, _COLOUR, shown)

    def _remove(self) -> None:
        chosen = {index.row() for index in self._table.selectedIndexes()}
        for row in sorted(chosen, reverse=True):
            self._table.removeRow(row)

    def _move(self, step: int) -> None:
        """Move the chosen class up or down, which changes its key."""
        row, table = self._table.currentRow(), self._table
        other = row + step
        if row < 0 or not 0 <= other < table.rowCount():
            return
        for column in range(table.columnCount()):
            mine, theirs = table.takeItem(row, column), table.takeItem(other, column)
            table.setItem(row, column, theirs)
            table.setItem(other, column, mine)
        table.setCurrentCell(other, max(0, table.currentColumn()))

    def _on_double_click(self, row: int, column: int) -> None:
        if column == _COLOUR:
            self._pick_colour(row)

    def _pick_colour(self, row: int) -> None:
        cell = self._table.item(row, _COLOUR)
        if cell is None:
            return
        colour = QColorDialog.getColor(cell.background().color(), self, "Colour of the class")
        if colour.isValid():
            cell.setBackground(colour)
            cell.setToolTip(colour.name())

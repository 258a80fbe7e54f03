"""Fields: a folder that is annotated image by image, and the list of its images."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from qtpy.QtCore import QAbstractTableModel, QModelIndex, QSortFilterProxyModel, Qt
from qtpy.QtWidgets import (
    QAbstractItemView,
    QDialog,
    QFileDialog,
    QFrame,
    QGridLayout,
    QHBoxLayout,
    QHeaderView,
    QLabel,
    QLineEdit,
    QSizePolicy,
    QTableView,
    QVBoxLayout,
    QWidget,
)
from superqt import QElidingLabel

from napari_sam3_assistant.core.plurals import part_of
from napari_sam3_assistant.qt.bind import follow, show_errors, watch
from napari_sam3_assistant.qt.controls import ChoiceCombo, ElidedCombo, check_box, push_button
from napari_sam3_assistant.session.annotating import STATES
from napari_sam3_assistant.session.proposing import PROPOSALS
from napari_sam3_assistant.viewer.keys import first_key, with_key

if TYPE_CHECKING:
    from collections.abc import Sequence

    from napari_sam3_assistant.qt.controls import KeyedButton
    from napari_sam3_assistant.session.model import AnnotationModel
    from napari_sam3_assistant.session.session import Session


_ANNOTATES = (
    "Go through the images of a folder one by one: Next saves the labels and opens the next image, "
    "and who comes back finds all as it was"
)


class AnnotateFolderButton(QWidget):
    """Annotate Folder: with the folders that are chosen beside it, or with one that it asks for."""

    def __init__(self, session: Session, *, asks: bool) -> None:
        super().__init__()
        self._session = session
        verb = self._ask if asks else session.annotation.start
        text = "Annotate Folder …" if asks else "Annotate folder"
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(push_button(session.model, text, "annotate_folder", verb, _ANNOTATES))

    def _ask(self) -> None:
        scan_model = self._session.scan_model
        folder = QFileDialog.getExistingDirectory(
            self, "Choose the folder of the images", scan_model.folder_source
        )
        if folder:
            scan_model.folder_source = folder
            self._session.annotation.start(folder)


class AnnotationBar(QFrame):
    """The image on show, its state, the ways on and back, and Finish; while a folder is open."""

    def __init__(self, session: Session) -> None:
        super().__init__()
        self.setObjectName("annotation_bar")
        self.setFrameShape(QFrame.Shape.StyledPanel)
        self._session, self._annotation = session, session.annotation.model
        self._list: ImageList | None = None
        self._name = QElidingLabel()
        self._name.setObjectName("annotation_name")
        # What tells images apart stands at the end of their names mostly.
        self._name.setElideMode(Qt.TextElideMode.ElideMiddle)
        self._name.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Fixed)
        self._place = QLabel()
        self._place.setObjectName("annotation_place")
        self._state = ElidedCombo()
        self._state.setObjectName("annotation_state")
        self._state.setAccessibleName("State of the image")
        self._state.setToolTip(
            "How far this image is. Next marks it as done, unless it is flagged."
        )
        self._state.offer(STATES)
        self._state.activated.connect(show_errors(session.model, self._choose_state))
        back = self._button("Previous", "previous_image", -1)
        next_ = self._button("Next", "next_image", 1)
        shows = "All images of the folder with their states; a click goes there"
        list_ = push_button(session.model, "List", "annotation_list", self._show_list, shows)
        finishes = (
            "Save this image, write a table of all objects and a COCO file of all images, and "
            "close the folder"
        )
        finish = push_button(
            session.model, "Finish", "annotation_finish", session.annotation.finish, finishes
        )
        skip = check_box(
            self._annotation, "skip_done", "Skip done", "Pass over images that are done"
        )
        layout = QGridLayout(self)
        layout.setContentsMargins(8, 4, 8, 4)
        layout.setSpacing(4)
        head = QHBoxLayout()
        head.addWidget(self._name, 1)
        head.addWidget(self._place)
        layout.addLayout(head, 0, 0, 1, 4)
        for column, button in enumerate((back, next_, list_, finish)):
            layout.addWidget(button, 1, column)
        layout.addWidget(self._state, 2, 0, 1, 2)
        layout.addWidget(skip, 2, 2, 1, 2)
        propose, add = self._proposals()
        layout.addWidget(propose, 3, 0, 1, 2)
        layout.addWidget(add, 3, 2, 1, 2)
        follow(self, self._read, self._show, self._annotation)

    def _proposals(self) -> tuple[ChoiceCombo, KeyedButton]:
        """Return what is proposed on the next image, and the way to add an example."""
        session = self._session
        proposes = (
            "What is shown on the next image that has no objects yet, to be kept, corrected or "
            "dropped: what the phrase names, the labels of another tool beside it "
            "(NAME_cp_masks.tif), or what the examples of this folder show (experimental)"
        )
        propose = ChoiceCombo(self._annotation, "propose", PROPOSALS, proposes)
        propose.setAccessibleName("Proposals on the next image")
        adds = (
            "Keep the example boxes that are drawn, or else the marked object, as examples for the "
            "other images of the folder (experimental)"
        )
        add = push_button(
            session.model,
            "Add Example",
            "add_example",
            session.annotation.proposals.add_example,
            adds,
        )
        return propose, add

    def _button(self, text: str, name: str, step: int) -> KeyedButton:
        session = self._session
        tip = with_key(
            "Save what is accepted and on show, and go to the "
            f"{'next' if step > 0 else 'previous'} image",
            name,
        )
        button = push_button(session.model, text, name, lambda: session.annotation.go(step), tip)
        button.key = first_key(name)
        return button

    def _read(self) -> tuple[str, int, int, object]:
        model = self._annotation
        shown = model.shown
        return model.name, model.place, len(model.images), None if shown is None else shown.state

    def _show(self, read: tuple[str, int, int, object]) -> None:
        name, place, count, state = read
        self.setVisible(bool(count))
        self._name.setText(name)
        self._name.setToolTip(f"{self._annotation.source}\n{name}")
        self._place.setText(part_of(place + 1, count))
        self._state.choose(state)
        if not count and self._list is not None:
            self._list.close()

    def _choose_state(self) -> None:
        chosen = self._state.value
        self._state.choose(self._read()[3])  # what holds until it is written
        self._session.annotation.set_state(chosen)

    def _show_list(self) -> None:
        if self._list is None:
            self._list = ImageList(self._session, self)
        self._list.show()
        self._list.raise_()
        self._list.activateWindow()


class ImageList(QDialog):
    """The images of the folder with their states; a click goes to one."""

    def __init__(self, session: Session, parent: QWidget) -> None:
        super().__init__(parent)
        self.setObjectName("annotation_images")
        self.setWindowTitle("Images of the folder")
        self._annotation = session.annotation.model
        self._rows = _ImageRows(self)
        self._chosen = _ChosenRows(self)
        self._chosen.setSourceModel(self._rows)
        self._states = ElidedCombo()
        self._states.setObjectName("annotation_filter")
        self._states.setAccessibleName("States on show")
        self._states.offer([(None, "All states"), *STATES, (_UNREADABLE, _UNREADABLE.capitalize())])
        self._states.activated.connect(lambda: self._chosen.choose_state(self._states.value))
        text = QLineEdit()
        text.setObjectName("annotation_search")
        text.setAccessibleName("Part of the name")
        text.setPlaceholderText("Part of the name")
        text.setClearButtonEnabled(True)
        text.textChanged.connect(self._chosen.setFilterFixedString)
        self._chosen.setFilterCaseSensitivity(Qt.CaseSensitivity.CaseInsensitive)
        self._table = _make_table(self._chosen)
        go = show_errors(session.model, lambda: self._go(session))
        self._table.clicked.connect(go)
        self._table.activated.connect(go)
        filters = QHBoxLayout()
        filters.addWidget(text, 1)
        filters.addWidget(self._states)
        layout = QVBoxLayout(self)
        layout.addLayout(filters)
        layout.addWidget(self._table)
        self.resize(420, 520)
        watch(self._annotation, "images", self, self._show)
        watch(self._annotation, "name", self, self._mark)

    def _go(self, session: Session) -> None:
        index = self._table.currentIndex()
        if index.isValid():
            session.annotation.go_to(str(index.siblingAtColumn(0).data()))

    def _show(self) -> None:
        self._rows.show(self._annotation)
        self._mark()

    def _mark(self) -> None:
        place = self._annotation.place
        if place >= 0:
            at = self._chosen.mapFromSource(self._rows.index(place, 0))
            self._table.setCurrentIndex(at)
            self._table.scrollTo(at)


_TITLES = ("Image", "State", "Objects")
_UNREADABLE = "can't be read"


def _make_table(rows: QSortFilterProxyModel) -> QTableView:
    table = QTableView()
    table.setObjectName("annotation_table")
    table.setAccessibleName("Images")
    table.setModel(rows)
    table.setSelectionBehavior(QAbstractItemView.SelectionBehavior.SelectRows)
    table.setSelectionMode(QAbstractItemView.SelectionMode.SingleSelection)
    table.setTabKeyNavigation(False)
    table.setTextElideMode(Qt.TextElideMode.ElideMiddle)
    numbers, titles = table.verticalHeader(), table.horizontalHeader()
    if numbers is not None and titles is not None:
        numbers.setVisible(False)
        numbers.setDefaultSectionSize(numbers.minimumSectionSize())
        titles.setSectionResizeMode(0, QHeaderView.ResizeMode.Stretch)
        for column in range(1, len(_TITLES)):
            titles.setSectionResizeMode(column, QHeaderView.ResizeMode.ResizeToContents)
    return table


class _ImageRows(QAbstractTableModel):
    """The images as Qt's views take them."""

    def __init__(self, parent: QWidget) -> None:
        super().__init__(parent)
        self._rows: Sequence[tuple[str, str, int]] = ()
        self._problems: Sequence[str] = ()

    def show(self, annotation: AnnotationModel) -> None:
        """Show the images as they are now: rows that changed, or all where others came."""
        images = annotation.images
        self._problems = [image.problem for image in images]
        rows = [
            (image.name, _UNREADABLE if image.problem else image.state.value, image.objects)
            for image in images
        ]
        before, names = self._rows, [name for name, *_ in rows]
        if names == [name for name, *_ in before]:
            self._rows = rows
            for at, (old, new) in enumerate(zip(before, rows, strict=True)):
                if old != new:
                    self.dataChanged.emit(self.index(at, 0), self.index(at, len(_TITLES) - 1))
            return
        self.beginResetModel()
        self._rows = rows
        self.endResetModel()

    def rowCount(self, parent: QModelIndex | None = None) -> int:
        """Return the number of images."""
        return 0 if parent is not None and parent.isValid() else len(self._rows)

    def columnCount(self, parent: QModelIndex | None = None) -> int:
        """Return the number of columns."""
        return 0 if parent is not None and parent.isValid() else len(_TITLES)

    def data(self, index: QModelIndex, role: int = Qt.ItemDataRole.DisplayRole) -> Any:  # noqa: ANN401
        """Return what stands in a cell."""
        if role == Qt.ItemDataRole.TextAlignmentRole and index.column() == len(_TITLES) - 1:
            return Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter
        if role == Qt.ItemDataRole.ToolTipRole and self._problems[index.row()]:
            return self._problems[index.row()]
        shown = role in (Qt.ItemDataRole.DisplayRole, Qt.ItemDataRole.ToolTipRole)
        return self._rows[index.row()][index.column()] if shown else None

    def headerData(
        self,
        section: int,
        orientation: Qt.Orientation,
        role: int = Qt.ItemDataRole.DisplayRole,
    ) -> Any:  # noqa: ANN401
        """Return the title of a column."""
        titled = orientation == Qt.Orientation.Horizontal and role == Qt.ItemDataRole.DisplayRole
        return _TITLES[section] if titled else None

    def state_of(self, row: int) -> str:
        """Return the state of an image as it is shown."""
        return self._rows[row][1]


class _ChosenRows(QSortFilterProxyModel):
    """Those of a state, and of a part of the name."""

    def __init__(self, parent: QWidget) -> None:
        super().__init__(parent)
        self._state: str | None = None

    def choose_state(self, state: str | None) -> None:
        """Show the images of a state; None for all."""
        self._state = None if state is None else str(state)
        self.invalidate()  # of PySide6 6.12 invalidateFilter is old

    def filterAcceptsRow(self, row: int, parent: QModelIndex) -> bool:
        """Return whether a row is shown."""
        rows = self.sourceModel()
        assert isinstance(rows, _ImageRows)
        fits = self._state is None or rows.state_of(row) == self._state
        return fits and super().filterAcceptsRow(row, parent)

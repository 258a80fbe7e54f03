"""Fields: the class of the next objects, and the tree of classes with the objects of each."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING

from qtpy.QtCore import (
    QAbstractItemModel,
    QItemSelectionModel,
    QMimeData,
    QModelIndex,
    QSize,
    Qt,
)
from qtpy.QtGui import QAction, QColor, QFont, QIcon, QPixmap
from qtpy.QtWidgets import QHBoxLayout, QLabel, QMenu, QPushButton, QTreeView, QVBoxLayout, QWidget
from superqt import QElidingLabel

from napari_sam3_assistant.core.plurals import pluralize
from napari_sam3_assistant.qt.bind import follow, show_errors, watch, watch_later
from napari_sam3_assistant.qt.class_list import choose_file, edit_classes
from napari_sam3_assistant.session.results import describe_row
from napari_sam3_assistant.session.values import FramePlace
from napari_sam3_assistant.viewer.keys import CLASS_KEYS, with_key
from napari_sam3_assistant.widgets.fields.gallery import on_keys

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from qtpy.QtGui import QShowEvent

    from napari_sam3_assistant.core.classes import ClassList, Colour
    from napari_sam3_assistant.session.values import ResultRow
    from napari_sam3_assistant.viewer.binding import Binding

_SWATCH = 12
_MOST_ROWS = 7
_TIP = (
    "A click on a class chooses it for the next objects, and for the one that you work on; the "
    "keys 1 to 9 do, too. Below each class are its objects: a click goes there, and a key, or "
    "dragging them onto a class, gives them that one. In brackets: how many objects there are, "
    "with those of its kinds; of those that filters hide, as 12 of 15."
)
_NO_LIST = "Press Edit to make a list of classes, or to choose one"
_MIME = "application/x-napari-sam3-objects"
_ROLE, _FLAG = Qt.ItemDataRole, Qt.ItemFlag
_NOWHERE = QModelIndex()


def _make_swatch(colour: Colour) -> QIcon:
    pixmap = QPixmap(_SWATCH, _SWATCH)
    pixmap.fill(QColor(*colour))
    return QIcon(pixmap)


@dataclass(slots=True)
class _Branch:
    """A class, a heading, or the objects of a class that are of none of its kinds.

    ``above`` is the branch that it is below (-1 for none), ``name`` the class that objects get here
    (None where they get none), and ``count`` has the objects of the branches below, too, of which
    filters hide ``hidden``.
    """

    above: int
    name: str | None
    title: str
    colour: Colour | None = None
    rows: list[ResultRow] = field(default_factory=list)
    count: int = 0
    hidden: int = 0
    below: list[int] = field(default_factory=list)


class ClassTree(QAbstractItemModel):
    """The classes as a tree, and below each one its objects.

    Of an index, ``internalId`` is the branch that it is below, counted from 1; 0 for the top.
    ``classify`` gives objects the class of a name.
    """

    def __init__(self, classify: Callable[[Sequence[ResultRow], str], object]) -> None:
        super().__init__()
        self._classify = classify
        self._branches: list[_Branch] = []
        self._top: list[int] = []
        self._dragged: list[ResultRow] = []
        self._chosen = ""

    def show(
        self,
        listed: ClassList,
        counts: Mapping[str, int],
        hidden: Mapping[str, int],
        results: Iterable[ResultRow],
    ) -> None:
        """Show other classes, how many objects each has (some hidden), and those that are listed.

        Of a propagated object it is the row of the first frame.
        """
        rows: dict[str, list[ResultRow]] = {}
        tracked: set[int] = set()
        for row in results:
            if isinstance(row.preview, FramePlace):
                if row.record.id in tracked:
                    continue
                tracked.add(row.record.id)
            rows.setdefault(row.record.class_name, []).append(row)
        self.beginResetModel()
        self._branches, self._top = [], []
        self._fill(listed, counts, hidden, rows)
        self.endResetModel()

    def _fill(
        self,
        listed: ClassList,
        counts: Mapping[str, int],
        hidden: Mapping[str, int],
        rows: Mapping[str, list[ResultRow]],
    ) -> None:
        def give(branch: _Branch, name: str) -> _Branch:
            branch.rows, branch.count = rows.get(name, []), counts.get(name, 0)
            branch.hidden = hidden.get(name, 0)
            return branch

        keys = dict(zip((entry.name for entry in listed), CLASS_KEYS, strict=False))
        self._add(give(_Branch(-1, "", "none"), ""))
        path: list[int] = []
        for depth, name, entry in listed.in_tree():
            title = listed.path_names(name)[-1]
            branch = _Branch(path[depth - 1] if depth else -1, None, title)
            if entry is not None:
                branch.name, branch.colour = name, listed.colour(entry.id + listed.first)
                branch.title = f"{keys[name]}  {title}" if name in keys else title
                give(branch, name)
            path[depth:] = [self._add(branch)]
        for name in sorted(counts.keys() - {"", *(entry.name for entry in listed)}):
            self._add(give(_Branch(-1, None, f"{name}, not in the list"), name))
        for number, branch in enumerate(tuple(self._branches)):
            if branch.below and branch.count:
                other = _Branch(number, branch.name, "other")
                other.rows, other.count, other.hidden = branch.rows, branch.count, branch.hidden
                self._add(other)
                branch.rows, branch.count, branch.hidden = [], 0, 0
        # What is below a branch always comes after it.
        for branch in reversed(self._branches):
            if branch.above >= 0:
                self._branches[branch.above].count += branch.count
                self._branches[branch.above].hidden += branch.hidden

    def _add(self, branch: _Branch) -> int:
        number = len(self._branches)
        self._branches.append(branch)
        (self._branches[branch.above].below if branch.above >= 0 else self._top).append(number)
        return number

    def choose(self, name: str) -> None:
        """Show which class is chosen."""
        self._chosen = name
        for number, branch in enumerate(self._branches):
            if branch.name is not None:
                at = self.index_of(number)
                self.dataChanged.emit(at, at, [_ROLE.FontRole])

    def branches(self) -> Iterator[tuple[QModelIndex, tuple[str | None, str], int]]:
        """Yield each branch: its index, by what it is known again, and how many are below it."""
        for number, branch in enumerate(self._branches):
            yield self.index_of(number), (branch.name, branch.title), len(branch.below)

    def index_of(self, number: int) -> QModelIndex:
        """Return the index of a branch."""
        above = self._branches[number].above
        kin = self._branches[above].below if above >= 0 else self._top
        return self.createIndex(kin.index(number), 0, above + 1)

    def branch_at(self, index: QModelIndex) -> _Branch | None:
        """Return the branch of an index; None for an object."""
        number = self._number(index)
        return None if number is None else self._branches[number]

    def row_at(self, index: QModelIndex) -> ResultRow | None:
        """Return the object of an index; None for a class."""
        if not index.isValid() or self._number(index) is not None:
            return None
        branch = self._branches[int(index.internalId()) - 1]
        return branch.rows[index.row() - len(branch.below)]

    def find(self, keys: set[object]) -> Iterator[QModelIndex]:
        """Yield the indices of objects that were known by :func:`_key`."""
        for number, branch in enumerate(self._branches):
            for place, row in enumerate(branch.rows, len(branch.below)):
                if _key(row) in keys:
                    yield self.createIndex(place, 0, number + 1)

    def _number(self, index: QModelIndex) -> int | None:
        """Return the number of the branch of an index; None for an object and for nothing."""
        if not index.isValid():
            return None
        above = int(index.internalId()) - 1
        kin = self._branches[above].below if above >= 0 else self._top
        return kin[index.row()] if index.row() < len(kin) else None

    # -- what Qt asks for -------------------------------------------------------------------

    def index(self, row: int, column: int, parent: QModelIndex = _NOWHERE) -> QModelIndex:
        """Return the index of a row below another one."""
        if not self.hasIndex(row, column, parent):
            return QModelIndex()
        number = self._number(parent)
        return self.createIndex(row, column, 0 if number is None else number + 1)

    def parent(self, index: QModelIndex) -> QModelIndex:  # type: ignore[override]
        """Return what an index is below."""
        above = int(index.internalId()) - 1 if index.isValid() else -1
        return QModelIndex() if above < 0 else self.index_of(above)

    def rowCount(self, parent: QModelIndex = _NOWHERE) -> int:
        """Return how many rows are below one."""
        if not parent.isValid():
            return len(self._top)
        branch = self.branch_at(parent)
        return 0 if branch is None else len(branch.below) + len(branch.rows)

    def columnCount(self, parent: QModelIndex = _NOWHERE) -> int:
        """Return how many columns there are."""
        return 1

    def data(self, index: QModelIndex, role: int = _ROLE.DisplayRole) -> object:
        """Return what a row shows."""
        branch, row = self.branch_at(index), self.row_at(index)
        if row is not None:
            layer, prompt, plane, number, _ = describe_row(row)
            if role == _ROLE.DisplayRole:
                on_plane = "" if plane == "-" else f" on {plane}"
                return f"{number}{on_plane}, {pluralize(row.area, 'pixel')}"
            return f"{layer}, {prompt}" if role == _ROLE.ToolTipRole else None
        if branch is None:
            return None
        if role == _ROLE.DisplayRole:
            if not branch.count:
                return branch.title
            shown = f"{branch.count - branch.hidden} of " if branch.hidden else ""
            return f"{branch.title} ({shown}{branch.count})"
        if role == _ROLE.DecorationRole and branch.colour is not None:
            return _make_swatch(branch.colour)
        if role == _ROLE.FontRole and branch.name == self._chosen:
            font = QFont()
            font.setBold(True)
            return font
        return None

    def flags(self, index: QModelIndex) -> Qt.ItemFlag:
        """Return what can be done with a row: objects are dragged, and dropped on classes."""
        branch = self.branch_at(index)
        if branch is None:
            dragged = _FLAG.ItemIsDragEnabled if index.isValid() else _FLAG.NoItemFlags
            return _FLAG.ItemIsEnabled | _FLAG.ItemIsSelectable | dragged
        if branch.name is None:
            return _FLAG.ItemIsEnabled
        return _FLAG.ItemIsEnabled | _FLAG.ItemIsSelectable | _FLAG.ItemIsDropEnabled

    def mimeTypes(self) -> list[str]:
        """Return what is dragged."""
        return [_MIME]

    def mimeData(self, indexes: Iterable[QModelIndex]) -> QMimeData:
        """Take up the objects that are dragged."""
        self._dragged = [row for row in map(self.row_at, indexes) if row is not None]
        data = QMimeData()
        data.setData(_MIME, b"")
        return data

    def supportedDropActions(self) -> Qt.DropAction:
        """Return that objects are moved."""
        return Qt.DropAction.MoveAction

    def dropMimeData(
        self,
        data: QMimeData | None,
        action: Qt.DropAction,
        row: int,
        column: int,
        parent: QModelIndex,
    ) -> bool:
        """Give the dragged objects the class that they are dropped on."""
        branch, dragged, self._dragged = self.branch_at(parent), self._dragged, []
        if branch is None or branch.name is None or not dragged:
            return False
        self._classify(dragged, branch.name)
        return True


def _key(row: ResultRow) -> object:
    """Return by what an object is known again."""
    return type(row.preview), row.preview.slot, row.record.id


class ClassField(QWidget):
    """The chosen class, and Edit."""

    def __init__(self, binding: Binding) -> None:
        super().__init__()
        self._model = binding.model
        self._classes = binding.session.classes
        self._chosen = QElidingLabel()
        self._chosen.setObjectName("object_class")
        layout = QHBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(4)
        layout.addWidget(QLabel("Class"))
        layout.addWidget(self._chosen, 1)
        layout.addWidget(self._make_button())
        for name in ("class_list", "object_class"):
            watch(self._model, name, self, self._show)

    def _make_button(self) -> QPushButton:
        model, file = self._model, self._classes.file
        button = QPushButton("Edit")
        button.setObjectName("edit_object_classes")
        button.setToolTip("Add, rename, recolour, order and remove classes, or choose a list")
        menu = QMenu(button)
        for text, name, verb in (
            ("Edit classes …", "menu_edit_classes", lambda: edit_classes(self, model, file)),
            ("Choose a list …", "menu_choose_classes", lambda: choose_file(self, model, file)),
            ("Clear the list", "menu_forget_classes", file.forget),
            ("Take back the last change", "menu_take_back_classes", file.take_back),
        ):
            action = QAction(text, menu)
            action.setObjectName(name)
            action.triggered.connect(show_errors(model, verb))
            menu.addAction(action)
        # The last of them.
        menu.aboutToShow.connect(lambda: action.setEnabled(file.can_take_back))
        colours = QAction(with_key("Colour objects by class", "toggle_class_colours"), menu)
        colours.setObjectName("colour_by_class")
        colours.setCheckable(True)
        colours.toggled.connect(lambda on: setattr(model, "colour_by_class", on))
        watch(model, "colour_by_class", self, lambda: colours.setChecked(model.colour_by_class))
        menu.addAction(colours)
        button.setMenu(menu)
        return button

    def _show(self) -> None:
        self._chosen.setText(self._model.object_class or "none")
        self._chosen.setToolTip("" if self._model.class_list else _NO_LIST)


class ClassTreeField(QWidget):
    """The tree of classes with their objects; hidden without a list."""

    def __init__(self, binding: Binding) -> None:
        super().__init__()
        self._binding, self._model = binding, binding.model
        self._classes = binding.session.classes
        self._tree = ClassTree(
            lambda rows, name: show_errors(
                self._model, lambda: self._classes.set_class(rows, name)
            )()
        )
        self._view = self._make_view()
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(self._view)
        follow(self, lambda: bool(self._model.class_list), self.setVisible, self._model)
        for name in ("class_list", "results", "propagated_ids"):
            watch_later(self._model, name, self, self._show)
        for name in ("class_list", "object_class"):
            watch(self._model, name, self, self._choose)

    def _make_view(self) -> QTreeView:
        view = QTreeView()
        view.setObjectName("class_tree")
        view.setAccessibleName("Classes and their objects")
        view.setToolTip(_TIP)
        view.setModel(self._tree)
        view.setHeaderHidden(True)
        view.setUniformRowHeights(True)
        view.setIndentation(14)
        view.setIconSize(QSize(_SWATCH, _SWATCH))
        view.setSelectionMode(QTreeView.SelectionMode.ExtendedSelection)
        view.setDragDropMode(QTreeView.DragDropMode.DragDrop)
        view.setEditTriggers(QTreeView.EditTrigger.NoEditTriggers)
        view.clicked.connect(show_errors(self._model, self._take))
        view.activated.connect(show_errors(self._model, self._take))  # by Enter
        view.expanded.connect(self._fit)
        view.collapsed.connect(self._fit)
        for number, key in enumerate(CLASS_KEYS, 1):
            verb = show_errors(self._model, partial(self._press, number))
            on_keys(view, (getattr(Qt.Key, f"Key_{key}"),), verb)
        return view

    def _take(self, *_: object) -> None:
        """Choose the class of the current row, or go to its object."""
        index = self._view.currentIndex()
        branch, row = self._tree.branch_at(index), self._tree.row_at(index)
        if row is not None:
            self._binding.actions.reveal(row)
        elif branch is not None and branch.name is not None:
            self._classes.choose(branch.name)

    def _press(self, number: int) -> None:
        self._classes.press(number, self._selected())

    def _selected(self) -> list[ResultRow]:
        rows = map(self._tree.row_at, self._view.selectedIndexes())
        return [row for row in rows if row is not None]

    def showEvent(self, event: QShowEvent | None) -> None:
        """Catch up with what has changed while nobody looked."""
        super().showEvent(event)
        self._show()

    def _show(self) -> None:
        """Show classes and objects anew; what was open and selected stays so."""
        listed, view = self._model.class_list, self._view
        if not listed or not self.isVisible():
            return
        selected = {_key(row) for row in self._selected()}
        known = {name: view.isExpanded(at) for at, name, _ in self._tree.branches()}
        top = view.verticalScrollBar()
        at_line = 0 if top is None else top.value()
        classes = self._classes
        self._tree.show(listed, classes.count(), classes.count_hidden(), self._model.results)
        for at, name, kinds in self._tree.branches():
            view.setExpanded(at, known.get(name, kinds > 0))
        selection = view.selectionModel()
        if selected and selection is not None:
            for at in self._tree.find(selected):
                if view.isExpanded(at.parent()):
                    selection.select(at, QItemSelectionModel.SelectionFlag.Select)
        self._fit()
        if top is not None:
            top.setValue(at_line)

    def _choose(self) -> None:
        self._tree.choose(self._model.object_class)

    def _fit(self, *_: object) -> None:
        """Let the tree be as high as what it shows, up to some rows."""
        view, many, at = self._view, 0, self._tree.index(0, 0)
        while at.isValid() and many < _MOST_ROWS:
            many, at = many + 1, view.indexBelow(at)
        view.setFixedHeight(view.sizeHintForRow(0) * many + 2 * view.frameWidth())

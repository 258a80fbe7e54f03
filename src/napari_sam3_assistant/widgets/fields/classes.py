"""Fields: the class of the next objects, and the list of classes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qtpy.QtGui import QAction, QColor, QIcon, QPixmap
from qtpy.QtWidgets import QHBoxLayout, QLabel, QMenu, QPushButton, QWidget

from napari_sam3_assistant.qt.bind import set_enabled, show_errors, watch
from napari_sam3_assistant.qt.class_list import choose_file, edit_classes
from napari_sam3_assistant.qt.controls import ElidedCombo
from napari_sam3_assistant.viewer.keys import with_key

if TYPE_CHECKING:
    from napari_sam3_assistant.core.classes import Colour
    from napari_sam3_assistant.viewer.binding import Binding

_KEYS = 9
_SWATCH = 12
_TIP = (
    "The class of the next objects, and of the one that you work on; the keys 1 to 9 choose it. "
    "With an object marked, in the results or by N, they change that object's class. In brackets: "
    "how many objects each class has."
)
_NO_LIST = "Press Edit to make a list of classes, or to choose one"


def _make_swatch(colour: Colour) -> QIcon:
    pixmap = QPixmap(_SWATCH, _SWATCH)
    pixmap.fill(QColor(*colour))
    return QIcon(pixmap)


class ClassField(QWidget):
    """One line: the chosen class with its colour, key and number of objects, and Edit."""

    def __init__(self, binding: Binding) -> None:
        super().__init__()
        self._binding, self._model = binding, binding.model
        self._classes = binding.session.classes
        self._combo = ElidedCombo()
        self._combo.setObjectName("object_class")
        self._combo.setAccessibleName("Class")
        self._combo.setToolTip(_TIP)
        self._combo.activated.connect(show_errors(self._model, self._choose))
        row = QHBoxLayout(self)
        row.setContentsMargins(0, 0, 0, 0)
        row.setSpacing(4)
        title = QLabel("Class")
        title.setBuddy(self._combo)
        row.addWidget(title)
        row.addWidget(self._combo, 1)
        row.addWidget(self._make_button())
        for field in ("class_list", "results", "propagated_ids"):
            watch(self._model, field, self, self._show)
        watch(self._model, "object_class", self, self._show_chosen)

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

    def _choose(self) -> None:
        try:
            self._classes.choose(self._combo.value or "")
        finally:
            self._show_chosen()

    def _show(self) -> None:
        listed = self._model.class_list
        keys = {one.name: place for place, one in enumerate(listed, 1)}
        counts = self._classes.count() if listed else {}
        offered, icons = [("", "none")], [QIcon()]
        for depth, name, one in listed.in_tree():
            if one is None:
                continue  # a heading is no class; what is below it is indented
            key = f"{keys[name]}  " if keys[name] <= _KEYS else ""
            many = f" ({counts[name]})" if counts.get(name) else ""
            offered.append((name, f"{'    ' * depth}{key}{name}{many}"))
            icons.append(_make_swatch(listed.colour(one.id + listed.first)))
        self._combo.offer(offered)
        for place, icon in enumerate(icons):
            self._combo.setItemIcon(place, icon)
        set_enabled(self._combo, "" if listed else _NO_LIST)
        self._show_chosen()

    def _show_chosen(self) -> None:
        self._combo.choose(self._model.object_class)

"""The dock widget ``SAM3 Mask Operations``: its session, its tabs and its status line."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qtpy.QtWidgets import (
    QFrame,
    QHBoxLayout,
    QProgressBar,
    QPushButton,
    QScrollArea,
    QSizePolicy,
    QTabWidget,
    QVBoxLayout,
    QWidget,
)

from napari_sam3_assistant.core.plurals import pluralize
from napari_sam3_assistant.mask_operations.binding import mask_binding_for
from napari_sam3_assistant.mask_operations.cleanup_tab import CleanupTab
from napari_sam3_assistant.mask_operations.collect_tabs import AcceptedTab, FinalTab, MergeTab
from napari_sam3_assistant.qt.bind import format_message, set_enabled, watch
from napari_sam3_assistant.qt.class_list import choose_file, edit_classes, keep_class_file
from napari_sam3_assistant.qt.controls import push_button, show_progress
from napari_sam3_assistant.qt.dock import Dock, QtDispatcher, QtSettingsStore, chosen_viewer
from napari_sam3_assistant.qt.layout import WrappedLabel, let_wheel_scroll
from napari_sam3_assistant.widgets.activity import activity_of

if TYPE_CHECKING:
    from napari.components import ViewerModel
    from qtpy.QtGui import QResizeEvent

    from napari_sam3_assistant.mask_operations.session import MaskSession


_NARROWEST = 420
_CLEANUP = 2


class MaskOperationsWidget(Dock):
    """SAM3 Mask Operations."""

    def __init__(
        self, napari_viewer: ViewerModel | None = None, viewer: ViewerModel | None = None
    ) -> None:
        chosen = chosen_viewer(napari_viewer, viewer)
        super().__init__(chosen, "sam3_mask_operations", _NARROWEST)
        self.binding = binding = mask_binding_for(chosen, QtDispatcher())
        self.panel = MaskPanel(binding.session)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 4, 0, 0)
        layout.addWidget(self.panel)
        # Without this napari puts an empty stretch below.
        self.setSizePolicy(QSizePolicy.Policy.Preferred, QSizePolicy.Policy.Expanding)
        binding.acquire()
        session = binding.session
        activity = activity_of(chosen, "SAM3 Mask Operations", session.model, session.cancel)
        activity.acquire()
        keep_class_file(self, session.model, session.collection.class_file, QtSettingsStore())
        self.end_with(activity.release, binding.release)

    def show_cleanup(self) -> None:
        """Bring Mask Cleanup to the front."""
        self.panel.tabs.setCurrentIndex(_CLEANUP)


_TAKES_BACK = "Take back the latest change of the list, in its file and in its objects, too"


class ClassListRow(QWidget):
    """Which class list is fixed, and what can be done about it."""

    def __init__(self, session: MaskSession) -> None:
        super().__init__()
        self._model = session.model
        self._said = WrappedLabel()
        self._said.setObjectName("class_list")
        row = QHBoxLayout(self)
        row.setContentsMargins(6, 0, 6, 0)
        row.setSpacing(4)
        row.addWidget(self._said, 1)
        choose = push_button(
            self._model,
            "Choose",
            "choose_classes",
            lambda: choose_file(self, self._model, session.collection.class_file),
            "Choose the project's classes: CSV (id, name, color), names, data.yaml or COCO",
        )
        edit = push_button(
            self._model,
            "Edit",
            "edit_classes",
            lambda: edit_classes(self, self._model, session.collection.class_file),
            "Make a class list, or change it",
        )
        self._forget = push_button(
            self._model,
            "Clear",
            "forget_classes",
            session.collection.class_file.forget,
            "Fix no classes: each has the name and the value that are typed",
        )
        self._file = session.collection.class_file
        self._take_back = push_button(
            self._model, "Undo", "take_back_classes", self._file.take_back, _TAKES_BACK
        )
        self._take_back.setAccessibleName("Take back the last change of the class list")
        for button in (choose, edit, self._forget, self._take_back):
            row.addWidget(button)
        watch(self._model, "class_list", self, self._show)

    def _show(self) -> None:
        listed, file = self._model.class_list, self._model.class_file
        many = pluralize(len(listed), "class", "classes")
        self._said.setText(f"Class list: {many if listed else 'none'}")
        names = "\n".join(f"{value}  {name}" for value, name in list(listed.names.items())[:30])
        self._said.setToolTip(f"{file}\n{names}" if listed else "Classes are named as you type")
        set_enabled(self._forget, "" if listed else "No class list is chosen")
        why_not = "" if self._file.can_take_back else "The list was not changed"
        set_enabled(self._take_back, why_not, _TAKES_BACK)


_TITLES = ("Accepted\nObjects", "Class\nMerge", "Mask\nCleanup", "Final Merge\n/ Export")


class MaskPanel(QWidget):
    """The class list, four tabs, and what is going on."""

    def __init__(self, session: MaskSession) -> None:
        super().__init__()
        self.tabs = QTabWidget()
        self.tabs.setObjectName("mask_tabs")
        self.tabs.setUsesScrollButtons(True)
        tabs = (AcceptedTab(session), MergeTab(session), CleanupTab(session), FinalTab(session))
        for tab, title in zip(tabs, _TITLES, strict=True):
            self.tabs.addTab(_make_scrollable(tab), title.replace("\n", " "))
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(ClassListRow(session))
        layout.addWidget(self.tabs, 1)
        layout.addWidget(MaskStatus(session))

    def resizeEvent(self, event: QResizeEvent | None) -> None:
        """Write the titles of the tabs in two lines where they don't fit into one."""
        super().resizeEvent(event)
        bar = self.tabs.tabBar()
        if bar is None:
            return
        for between in (" ", "\n"):
            for at, title in enumerate(_TITLES):
                bar.setTabText(at, title.replace("\n", between))
            if bar.sizeHint().width() <= self.tabs.width():
                break


def _make_scrollable(tab: QWidget) -> QScrollArea:
    scroll = QScrollArea()
    scroll.setWidgetResizable(True)
    scroll.setFrameShape(QFrame.Shape.NoFrame)
    scroll.setWidget(tab)
    let_wheel_scroll(tab)
    return scroll


class MaskStatus(QWidget):
    """The status line, and while work is going on a progress bar and Cancel."""

    def __init__(self, session: MaskSession) -> None:
        super().__init__()
        self._model = session.model
        self._message = WrappedLabel()
        self._message.setObjectName("mask_status")
        self._bar = QProgressBar()
        self._bar.setObjectName("mask_progress")
        self._cancel = QPushButton("Cancel")
        self._cancel.setObjectName("mask_cancel")
        self._cancel.setToolTip("Stop the work. Nothing is changed by half.")
        self._cancel.clicked.connect(session.cancel)
        row = QHBoxLayout()
        row.addWidget(self._bar, 1)
        row.addWidget(self._cancel)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(6, 0, 6, 4)
        layout.addLayout(row)
        layout.addWidget(self._message)
        watch(self._model, "message", self, self._show_message)
        watch(self._model, "running", self, self._show_progress)
        watch(self._model, "progress", self, self._show_progress)

    def _show_message(self) -> None:
        message = self._model.message
        self._message.setText(format_message(message))
        self._message.setProperty("level", str(message.level))

    def _show_progress(self) -> None:
        running, progress = self._model.running, self._model.progress
        self._bar.setVisible(running)
        self._cancel.setVisible(running)
        if progress is None or progress.step.total <= 0:
            show_progress(self._bar, None, "working")
            return
        share = progress.step.done / progress.step.total
        show_progress(self._bar, share, f"{share:.0%}")

"""The buttons of a propagation that is open: go on with it, and take objects out of it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qtpy.QtWidgets import QGridLayout, QPushButton, QSizePolicy, QWidget

from napari_sam3_assistant.core.tasks import Task
from napari_sam3_assistant.widgets.allow import allow
from napari_sam3_assistant.widgets.bind import watch
from napari_sam3_assistant.widgets.fields.elided_combo import ElidedCombo
from napari_sam3_assistant.widgets.notify import guarded

if TYPE_CHECKING:
    from napari_sam3_assistant.session.session import Session


class PropagationControls(QWidget):
    """Propagate Existing Session, Remove Object; shown for the task 3D/video only.

    Parameters
    ----------
    session : Session
        The session.
    """

    def __init__(self, session: Session) -> None:
        super().__init__()
        self._session = session
        model = session.model
        self._go_on = QPushButton("Propagate Existing Session")
        self._go_on.setObjectName("propagate_existing")
        self._go_on.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)
        self._go_on.clicked.connect(guarded(model, session.propagation.go_on))
        self._objects = ElidedCombo()
        self._objects.setObjectName("tracked_objects")
        self._objects.setToolTip("The objects that are followed, by their value in the labels")
        self._remove = QPushButton("Remove Object")
        self._remove.setObjectName("remove_object")
        self._remove.setToolTip("Take the object out of all frames, and follow it no more")
        self._remove.clicked.connect(guarded(model, self._remove_chosen))
        layout = QGridLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(4)
        layout.addWidget(self._go_on, 0, 0, 1, 2)
        layout.addWidget(self._objects, 1, 0)
        layout.addWidget(self._remove, 1, 1)
        watch(model, "tracked", self, self._list)
        watch(model, "task running can_continue tracked", self, self._show)

    def _remove_chosen(self) -> None:
        self._session.propagation.remove(self._objects.value)

    def _list(self) -> None:
        self._objects.offer([(id_, f"Object {id_}") for id_ in self._session.model.tracked])
        if self._objects.currentIndex() < 0 and self._objects.count():
            self._objects.setCurrentIndex(0)

    def _show(self) -> None:
        model = self._session.model
        why_not = self._session.availability.why_not_go_on
        self.setVisible(model.task is Task.VIDEO)
        self._go_on.setEnabled(not why_not)
        self._go_on.setToolTip(
            why_not
            or "Go on with the objects that are known. Prompts that you added or changed on any "
            "slice correct them from there, away from where you began; without any it goes on "
            "where it was stopped, or from the frame on show."
        )
        if not model.tracked:
            why_not = why_not or "No object is followed"
        for control in (self._objects, self._remove):
            allow(control, why_not)

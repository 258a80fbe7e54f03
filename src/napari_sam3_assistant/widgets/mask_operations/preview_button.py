"""The button that shows what an operation would change."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qtpy.QtWidgets import QPushButton

from napari_sam3_assistant.widgets.allow import allow
from napari_sam3_assistant.widgets.bind import watch
from napari_sam3_assistant.widgets.notify import guarded

if TYPE_CHECKING:
    from collections.abc import Callable

    from napari_sam3_assistant.core.masks.operations import Operation
    from napari_sam3_assistant.session.masks.session import MaskSession


class PreviewButton(QPushButton):
    """Shows the effect of an operation while it is down.

    Parameters
    ----------
    session : MaskSession
        The session.
    operation : Operation
        The operation.
    instead : callable, optional
        Returns the operation whose effect is shown.
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
        self.clicked.connect(guarded(session.model, self._toggle))
        watch(session.model, "previewing target", self, self._show)

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
        model = self._session.model
        self.setChecked(model.previewing is self._operation)
        allow(self, "" if model.target else "Choose a target layer first")

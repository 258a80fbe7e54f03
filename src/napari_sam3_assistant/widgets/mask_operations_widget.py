"""The dock widget ``SAM3 Mask Operations``: where its session and its views are put together."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from qtpy.QtWidgets import QSizePolicy, QVBoxLayout

from napari_sam3_assistant.mask_operations.binding import mask_binding_for
from napari_sam3_assistant.mask_operations.panel import CLEANUP, MaskPanel
from napari_sam3_assistant.qt.bind import show_errors, watch
from napari_sam3_assistant.qt.dock import Dock, QtDispatcher, QtSettingsStore, chosen_viewer
from napari_sam3_assistant.widgets.activity import activity_of

if TYPE_CHECKING:
    from napari.components import ViewerModel


_NARROWEST = 420


class MaskOperationsWidget(Dock):
    """SAM3 Mask Operations.

    Parameters
    ----------
    napari_viewer, viewer : ViewerModel, optional
        The viewer; by default the current one.
    """

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
        self._keep_class_list()
        self.end_with(activity.release, binding.release)

    def _keep_class_list(self) -> None:
        """Take the class list that was chosen last, and keep which one is."""
        session, store = self.binding.session, QtSettingsStore()
        kept = store.get("class_list")
        if kept and not session.model.class_list:
            show_errors(session.model, lambda: session.collection.choose_classes(Path(kept)))()
            session.model.class_file = kept  # also where a share is only away
        watch(
            session.model,
            "class_file",
            self,
            lambda: store.set("class_list", session.model.class_file),
        )

    def show_cleanup(self) -> None:
        """Bring Mask Cleanup to the front."""
        self.panel.tabs.setCurrentIndex(CLEANUP)

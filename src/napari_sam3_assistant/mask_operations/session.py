"""The session of the mask operations: its state, and its verbs in two groups."""

from __future__ import annotations

from typing import TYPE_CHECKING

from napari_sam3_assistant.mask_operations.cleanup import MaskCleanup
from napari_sam3_assistant.mask_operations.collect import MaskCollection
from napari_sam3_assistant.mask_operations.edits import MaskEdits, MaskJobs
from napari_sam3_assistant.session.axes_from_file import FileAxes

if TYPE_CHECKING:
    from napari_sam3_assistant.core.progress import Deliver
    from napari_sam3_assistant.mask_operations.layers import LabelsAdapter
    from napari_sam3_assistant.mask_operations.model import MaskModel


class MaskSession:
    """What a user can do with labels layers. All methods are called on the GUI thread.

    It has a thread of its own, so masks can be curated while an engine works.
    """

    def __init__(self, model: MaskModel, adapter: LabelsAdapter, deliver: Deliver) -> None:
        self.model = model
        self._adapter = adapter
        self.jobs = MaskJobs(model, deliver)
        self.edits = MaskEdits(model, adapter, self.jobs, deliver)
        self.cleanup = MaskCleanup(model, adapter, self.jobs, self.edits)
        self.collection = MaskCollection(model, adapter, self.jobs, self.edits)
        self.axes_from_file = FileAxes(
            model,
            adapter.layer_axes,
            lambda: model.target,
            lambda: model.running or self.edits.history.knows(model.target),
            deliver,
        )
        for event in (model.events.target, model.events.layers):
            event.connect(self.axes_from_file.look, max_args=0)

    def take_picked(self) -> None:
        """Let only the label be saved that the user picked in the source layer.

        Raises MaskError if there is no source layer.
        """
        self.model.label = self._adapter.picked_label(self.model.source)

    def cancel(self) -> None:
        """Stop what is running; nothing is changed by half."""
        self.jobs.cancel()

    def close(self) -> None:
        """Stop the work."""
        self.cleanup.hide_preview()
        self.cleanup.forget_preview()
        self.axes_from_file.close()
        self.jobs.close()

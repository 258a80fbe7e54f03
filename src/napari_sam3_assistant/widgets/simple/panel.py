"""The arrangement of Simple mode."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qtpy.QtWidgets import QFormLayout, QGroupBox, QVBoxLayout, QWidget

from napari_sam3_assistant.core.tasks import Task, Tool
from napari_sam3_assistant.widgets.fields.buttons import ChoiceButtons
from napari_sam3_assistant.widgets.fields.device import DeviceField
from napari_sam3_assistant.widgets.fields.encode_ahead import EncodeAheadField
from napari_sam3_assistant.widgets.fields.engine import EngineBadge, EngineField
from napari_sam3_assistant.widgets.fields.image import ImageField
from napari_sam3_assistant.widgets.fields.large_image import LargeImageField, LargeImageHint
from napari_sam3_assistant.widgets.fields.model_folder import ModelFolderField
from napari_sam3_assistant.widgets.fields.prompt import PromptField
from napari_sam3_assistant.widgets.fields.propagation import PropagationControls
from napari_sam3_assistant.widgets.fields.run_controls import RunControls
from napari_sam3_assistant.widgets.fields.scan import SimpleScan
from napari_sam3_assistant.widgets.fields.stack_options import StackOptions
from napari_sam3_assistant.widgets.fields.status import StatusField
from napari_sam3_assistant.widgets.fields.threshold import ThresholdField
from napari_sam3_assistant.widgets.fields.tracks import TracksField
from napari_sam3_assistant.widgets.fold import Fold
from napari_sam3_assistant.widgets.notify import guarded

if TYPE_CHECKING:
    from napari_sam3_assistant.viewer.binding import Binding

_TASKS = (
    (Task.SEGMENT, "2D", "Segment what you point at in the plane on show"),
    (Task.TEXT, "Text", "Find everything that a phrase names"),
    (Task.LIVE_POINTS, "Live Points", "Click, and see the mask after each click"),
    (Task.EXEMPLAR, "Exemplar", "Box an example, and find everything like it"),
    (Task.VIDEO, "3D/Video", "Follow what you point at through slices or frames"),
)


class SimplePanel(QWidget):
    """Image, task, prompt, run, results, and a fold with the rest.

    Parameters
    ----------
    binding : Binding
        The session and the viewer.
    """

    def __init__(self, binding: Binding) -> None:
        super().__init__()
        session, model = binding.session, binding.model

        def begin(_: Task) -> None:
            if model.tool is not Tool.TEXT and model.image:
                guarded(model, binding.arm)()

        layout = QVBoxLayout(self)
        layout.addWidget(EngineBadge(session))
        layout.addWidget(_group("Image", ImageField(binding), LargeImageHint(model)))
        tasks = ChoiceButtons(model, "task", _TASKS, columns=3, chosen=begin)
        layout.addWidget(_group("Task", tasks))
        layout.addWidget(_group("Prompt", PromptField(binding)))
        run = (
            StackOptions(model, all_rows=False),
            RunControls(binding),
            PropagationControls(session),
            SimpleScan(session),
            StatusField(model),
            TracksField(session),
        )
        layout.addWidget(_group("Run", *run))
        options = QWidget()
        form = QFormLayout(options)
        form.setRowWrapPolicy(QFormLayout.RowWrapPolicy.WrapLongRows)
        form.addRow("Detection threshold", ThresholdField(model))
        form.addRow("Engine", EngineField(session))
        form.addRow("Device", DeviceField(session))
        form.addRow("Model folder", ModelFolderField(session))
        form.addRow(LargeImageField(model))
        form.addRow(EncodeAheadField(session))
        layout.addWidget(Fold("More options", options))
        layout.addStretch(1)


def _group(title: str, *fields: QWidget) -> QGroupBox:
    box = QGroupBox(title)
    layout = QVBoxLayout(box)
    for field in fields:
        layout.addWidget(field)
    return box

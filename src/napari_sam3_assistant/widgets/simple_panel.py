"""Simple mode: a few fields, arranged for a first try."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qtpy.QtWidgets import QFormLayout, QGroupBox, QVBoxLayout, QWidget

from napari_sam3_assistant.core.prompts import Task
from napari_sam3_assistant.qt.bind import follow, show_errors
from napari_sam3_assistant.qt.controls import ChoiceButtons
from napari_sam3_assistant.qt.layout import Fold
from napari_sam3_assistant.viewer.keys import with_key
from napari_sam3_assistant.widgets.fields.annotate import AnnotateFolderButton
from napari_sam3_assistant.widgets.fields.classes import ClassField, ClassTreeField
from napari_sam3_assistant.widgets.fields.filters import FilterField
from napari_sam3_assistant.widgets.fields.gallery import lone_gallery
from napari_sam3_assistant.widgets.fields.image import (
    EncodeAheadField,
    ImageField,
    LargeImageField,
    LargeImageHint,
    threshold_box,
)
from napari_sam3_assistant.widgets.fields.model import (
    DeviceField,
    EngineBadge,
    EngineField,
    ModelFolderField,
)
from napari_sam3_assistant.widgets.fields.other_labels import use_labels_button
from napari_sam3_assistant.widgets.fields.prompt import PromptField
from napari_sam3_assistant.widgets.fields.run import RunControls
from napari_sam3_assistant.widgets.fields.scan import SimpleScan
from napari_sam3_assistant.widgets.fields.stack import StackOptions, TracksField

if TYPE_CHECKING:
    from napari_sam3_assistant.viewer.binding import Binding


_TASKS = (
    (Task.SEGMENT, "2D", "Segment what you point at in the plane on show"),
    (Task.TEXT, "Text", "Find everything that a phrase names"),
    (Task.LIVE_POINTS, "Live Points", "Click, and see the mask after each click"),
    (Task.EXEMPLAR, "Exemplar", "Box an example, and find everything like it"),
    (
        Task.EVERYTHING,
        "Everything",
        with_key("Find all objects, without a prompt", "choose_everything"),
    ),
    (Task.VIDEO, "3D/Video", "Follow what you point at through slices or frames"),
)


_INSIDE, _BETWEEN = (8, 3, 8, 5), 4


class SimplePanel(QWidget):
    """Image, task, prompt, run, results, and a fold with the rest."""

    def __init__(self, binding: Binding) -> None:
        super().__init__()
        session, model = binding.session, binding.model

        def begin(_: Task) -> None:
            if not model.tool.has_layer or model.image:
                show_errors(model, binding.prompts.arm)()

        layout = QVBoxLayout(self)
        layout.setContentsMargins(*_INSIDE)
        layout.setSpacing(_BETWEEN)
        layout.addWidget(EngineBadge(session))
        annotate = AnnotateFolderButton(session, asks=True)
        # What is done in 3D/video has no line to spare.
        follow(annotate, lambda: model.task is not Task.VIDEO, annotate.setVisible, model)
        layout.addWidget(_group("Image", ImageField(binding), LargeImageHint(model), annotate))
        tasks = ChoiceButtons(model, "task", _TASKS, columns=3, chosen=begin)
        layout.addWidget(_group("Task", tasks))
        classes, classes_in_video = ClassField(binding), ClassField(binding)
        follow(classes, lambda: model.task is not Task.VIDEO, classes.setVisible, model)
        follow(
            classes_in_video, lambda: model.task is Task.VIDEO, classes_in_video.setVisible, model
        )
        layout.addWidget(_group("Prompt", PromptField(binding), classes))
        run = (
            RunControls(binding),
            StackOptions(model, all_rows=False),
            SimpleScan(session),
            TracksField(session),
        )
        layout.addWidget(_group("Run", *run))
        # Below what is done with each object, however many classes there are.
        layout.addWidget(classes_in_video)
        layout.addWidget(ClassTreeField(binding))
        layout.addWidget(Fold("Results", _look_at(binding)))
        options = QWidget()
        form = QFormLayout(options)
        form.setRowWrapPolicy(QFormLayout.RowWrapPolicy.WrapLongRows)
        form.addRow("Detection threshold", threshold_box(model))
        form.addRow("Engine", EngineField(session))
        form.addRow("Device", DeviceField(session))
        form.addRow("Model folder", ModelFolderField(session))
        form.addRow(LargeImageField(model))
        form.addRow(EncodeAheadField(session))
        layout.addWidget(Fold("More options", options))
        layout.addStretch(1)


def _look_at(binding: Binding) -> QWidget:
    """Return the objects as pictures, and sliders that hide some."""
    content = QWidget()
    layout = QVBoxLayout(content)
    layout.setContentsMargins(0, 0, 0, 0)
    layout.addWidget(FilterField(binding.session))
    layout.addWidget(lone_gallery(binding))
    layout.addWidget(use_labels_button(binding.session))
    return content


def _group(title: str, *fields: QWidget) -> QGroupBox:
    box = QGroupBox(title)
    layout = QVBoxLayout(box)
    # What is done in 3D/video fits a screen of 1366 x 768 so.
    layout.setContentsMargins(*_INSIDE)
    layout.setSpacing(_BETWEEN)
    for field in fields:
        layout.addWidget(field)
    return box

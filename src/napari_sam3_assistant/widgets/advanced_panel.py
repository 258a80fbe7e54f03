"""Advanced mode: every step of the workflow, in one column or two."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qtpy.QtWidgets import QBoxLayout, QFormLayout, QFrame, QVBoxLayout, QWidget

from napari_sam3_assistant.qt.bind import show_errors
from napari_sam3_assistant.qt.layout import Fold, ScrolledPanel
from napari_sam3_assistant.widgets.fields.classes import ClassField, ClassTreeField
from napari_sam3_assistant.widgets.fields.filters import FilterField, HistogramField
from napari_sam3_assistant.widgets.fields.image import (
    EncodeAheadField,
    ImageField,
    LargeImageField,
    LargeImageHint,
    channel_axis_box,
    threshold_box,
)
from napari_sam3_assistant.widgets.fields.model import (
    DeviceField,
    EngineBadge,
    EngineField,
    ModelActions,
    ModelFolderField,
    PrecisionField,
    encodings_field,
)
from napari_sam3_assistant.widgets.fields.other_labels import use_labels_button
from napari_sam3_assistant.widgets.fields.prompt import (
    CreatePromptLayer,
    DiameterField,
    EverythingField,
    PolarityField,
    PromptLayersField,
    PromptTypeField,
    TaskField,
    TextField,
    as_painted_box,
)
from napari_sam3_assistant.widgets.fields.results import (
    ResultsTable,
    measure_field,
    soft_masks_box,
)
from napari_sam3_assistant.widgets.fields.run import RunControls
from napari_sam3_assistant.widgets.fields.save import (
    SaveCleanField,
    mask_operations_button,
    merge_regions_button,
)
from napari_sam3_assistant.widgets.fields.scan import (
    BatchFolderField,
    BatchTextField,
    ScanField,
    batch_images_box,
)
from napari_sam3_assistant.widgets.fields.server import ComputeField
from napari_sam3_assistant.widgets.fields.stack import (
    ObjectField,
    StackOptions,
    TracksField,
)

if TYPE_CHECKING:
    from qtpy.QtGui import QResizeEvent

    from napari_sam3_assistant.session.settings import SettingsStore
    from napari_sam3_assistant.viewer.binding import Binding
    from napari_sam3_assistant.widgets.fields.run import LogField


_WIDE = 640
"""From this width on, in pixels, the steps stand in two columns."""


class AdvancedPanel(ScrolledPanel):
    """Steps 1 to 6 and the log, each behind a heading that folds it.

    ``log``: the messages since the widget was opened, also before this panel was.
    """

    def __init__(self, binding: Binding, store: SettingsStore, log: LogField) -> None:
        super().__init__()
        self.setObjectName("advanced_panel")
        self._store = store
        content = QWidget()
        self._columns = QBoxLayout(QBoxLayout.Direction.TopToBottom, content)
        self._columns.addLayout(self._column(_first_steps(binding)), 1)
        self._columns.addLayout(self._column(_last_steps(binding, log)), 1)
        self.setWidget(content)
        log.show()

    def resizeEvent(self, event: QResizeEvent | None) -> None:
        """Stand in two columns where there is room for them."""
        directions = QBoxLayout.Direction
        wide = event is not None and event.size().width() >= _WIDE
        self._columns.setDirection(directions.LeftToRight if wide else directions.TopToBottom)
        super().resizeEvent(event)

    def _column(self, steps: dict[str, QWidget]) -> QVBoxLayout:
        column = QVBoxLayout()
        for title, content in steps.items():
            column.addWidget(self._fold(title, content))
        column.addStretch(1)
        return column

    def _fold(self, title: str, content: QWidget) -> Fold:
        name = f"open_{title.split('.')[0].replace(' ', '_').lower()}"
        kept = self._store.get(name)
        fold = Fold(title, content, is_open=kept != "False")
        fold.turned.connect(lambda is_open: self._store.set(name, str(is_open)))
        return fold


def _first_steps(binding: Binding) -> dict[str, QWidget]:
    session, model = binding.session, binding.model
    run = show_errors(model, session.run)
    return {
        "Step 1. Model": _step(
            EngineBadge(session),
            _form(
                {
                    "Compute on": ComputeField(session),
                    "Engine": EngineField(session),
                    "Device": DeviceField(session),
                    "Precision": PrecisionField(session),
                    "Encodings": encodings_field(model),
                }
            ),
            ModelFolderField(session),
            ModelActions(session),
        ),
        "Step 2. Task Setup": _step(
            _form({"Task": TaskField(binding), "Target image": ImageField(binding)}),
            _form(
                {
                    "Channel axis": channel_axis_box(model),
                    "Detection threshold": threshold_box(model),
                }
            ),
            StackOptions(model, all_rows=True),
            batch_images_box(model),
            LargeImageHint(model),
            LargeImageField(model),
            EncodeAheadField(session),
        ),
        "Step 3. Prompt Tools": _step(
            _form({"Prompt type": PromptTypeField(binding)}),
            CreatePromptLayer(binding),
            PolarityField(binding),
            as_painted_box(model),
            ObjectField(binding),
            _form({"Text prompt": TextField(binding)}),
            DiameterField(binding),
            EverythingField(binding),
            ClassField(binding),
            ClassTreeField(binding),
            use_labels_button(session),
            _form({"Batch text prompts": BatchTextField(model, run)}, above=True),
            Fold("Prompt Layers", PromptLayersField(model)),
        ),
    }


def _last_steps(binding: Binding, log: LogField) -> dict[str, QWidget]:
    session = binding.session
    return {
        "Step 4. Run and Save": _step(
            RunControls(binding),
            TracksField(session),
            merge_regions_button(session),
            SaveCleanField(session),
            Fold("Scan Whole Image", ScanField(session)),
            Fold("Batch Folder", BatchFolderField(session)),
        ),
        "Step 5. Results": _step(
            FilterField(session),
            ResultsTable(binding),
            Fold("Histogram", HistogramField(binding)),
            measure_field(session),
            soft_masks_box(session),
        ),
        "Step 6. Mask Operations": _step(mask_operations_button(binding)),
        "Log. Activity": _step(log),
    }


def _step(*fields: QWidget) -> QWidget:
    content = QFrame()
    content.setFrameShape(QFrame.Shape.StyledPanel)
    layout = QVBoxLayout(content)
    for field in fields:
        layout.addWidget(field)
    return content


def _form(rows: dict[str, QWidget], *, above: bool = False) -> QWidget:
    policies = QFormLayout.RowWrapPolicy
    content = QWidget()
    form = QFormLayout(content)
    form.setContentsMargins(0, 0, 0, 0)
    form.setRowWrapPolicy(policies.WrapAllRows if above else policies.WrapLongRows)
    form.setFieldGrowthPolicy(QFormLayout.FieldGrowthPolicy.AllNonFixedFieldsGrow)
    for title, field in rows.items():
        form.addRow(title, field)
    return content

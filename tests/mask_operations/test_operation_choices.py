"""What can be chosen for an operation stands in its dataclass, and the window shows all of it."""

from dataclasses import fields

import pytest
from napari.components import ViewerModel
from qtpy.QtWidgets import QCheckBox, QDoubleSpinBox, QSpinBox, QWidget

from napari_sam3_assistant.core.masks.operations import Expand, MaskOperation, Shrink
from napari_sam3_assistant.mask_operations.cleanup_tab import OperationsGroup
from napari_sam3_assistant.mask_operations.layers import LabelsAdapter
from napari_sam3_assistant.mask_operations.model import MaskModel
from napari_sam3_assistant.mask_operations.session import MaskSession

CHOICES = [
    (name, one.name, getattr(value, one.name))
    for name, value in vars(MaskModel()).items()
    if isinstance(value, MaskOperation)
    for one in fields(value)
]


@pytest.fixture
def model():
    return MaskModel()


@pytest.fixture
def group(model, qtbot):
    session = MaskSession(model, LabelsAdapter(ViewerModel()), lambda call: call())
    shown = OperationsGroup(session)
    qtbot.addWidget(shown)
    yield shown
    session.close()


@pytest.mark.parametrize(("operation", "choice", "value"), CHOICES)
def test_each_choice_has_a_control_that_follows_and_is_followed(
    group, model, operation, choice, value
):
    controls = group.findChildren(QWidget, choice)
    assert controls

    for control in controls:
        if isinstance(control, QCheckBox):
            wanted = not control.isChecked()
            control.setChecked(wanted)
        else:
            assert isinstance(control, QSpinBox | QDoubleSpinBox)
            wanted = control.value() + 3
            control.setValue(wanted)
        assert getattr(getattr(model, operation), choice) == wanted

    setattr(model, operation, type(getattr(model, operation))(value))
    for control in controls:
        shown = control.isChecked() if isinstance(control, QCheckBox) else control.value()
        assert shown == value
    assert getattr(model, operation) in model.operation_choices


def test_labels_grow_and_shrink_by_the_same_distance(group, model):
    first, second = group.findChildren(QDoubleSpinBox, "distance")

    second.setValue(2.5)

    assert first.value() == 2.5
    assert (model.expand, model.shrink) == (Expand(2.5), Shrink(2.5))

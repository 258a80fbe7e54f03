"""Labels of one plane of a stack have an axis of length 1: they are edited as the plane is."""

import numpy as np
import pytest
from skimage.draw import disk

from napari_sam3_assistant.core.masks.operations import Expand, LabelsPart, Operation, Smooth
from napari_sam3_assistant.core.progress import NullReporter
from napari_sam3_assistant.mask_operations.model import MaskModel
from napari_sam3_assistant.workflows.edit_masks import compute_edit


def plane():
    """Two discs of one label that touch, a ring with another label inside, and a speck."""
    labels = np.zeros((60, 90), np.uint16)
    labels[disk((20, 20), 12)] = labels[disk((20, 41), 12)] = 1
    labels[disk((40, 70), 14)] = 2
    labels[disk((40, 70), 8)] = 0
    labels[disk((40, 70), 2)] = 3
    labels[55, 5] = 4
    return labels


def edited(labels, operation):
    model = MaskModel(smooth=Smooth(2.0), expand=Expand(2.0), values_text="1, 2", new_value=9)
    part = LabelsPart(labels, (1.0,) * labels.ndim)
    (edit,) = compute_edit(model.chosen(operation), part, NullReporter())
    after = labels.copy()
    edit.write(after)
    assert edit.pixels
    return after


@pytest.mark.parametrize("axis", [0, 1])
@pytest.mark.parametrize(
    "operation", [one for one in Operation if not one.name.endswith("SELECTED")], ids=str
)
def test_an_axis_of_length_1_changes_nothing(operation, axis):
    labels = plane() * 2 if operation is Operation.RENUMBER else plane()
    expected = edited(labels, operation)

    found = edited(np.expand_dims(labels, axis), operation)

    np.testing.assert_array_equal(found.squeeze(axis), expected)

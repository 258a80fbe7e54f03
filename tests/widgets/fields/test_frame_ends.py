"""The first and the last frame of 3D/Video, as stacks of other lengths are on show."""

import pytest

from napari_sam3_assistant.session.model import SessionModel
from napari_sam3_assistant.session.values import FrameAxis
from napari_sam3_assistant.widgets.fields.stack import FrameEndField

LONG, SHORT = (FrameAxis(0, "t", 20_000),), (FrameAxis(0, "t", 5),)


@pytest.mark.parametrize("field", ["first_frame", "last_frame"])
def test_a_shorter_stack_changes_no_frame_that_is_chosen(qtbot, field):
    model = SessionModel(frame_axis=0, frame_axes=LONG)
    setattr(model, field, 15_000)
    box = FrameEndField(model, field)
    qtbot.addWidget(box)
    assert box.value() == 15_000

    model.frame_axes = SHORT
    assert getattr(model, field) == 15_000
    model.frame_axes = LONG
    assert box.value() == 15_000

    box.setValue(12_000)
    assert getattr(model, field) == 12_000

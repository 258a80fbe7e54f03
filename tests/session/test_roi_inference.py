"""Which part of a large image a run works on, without a window."""

import numpy as np
import pytest

from napari_sam3_assistant.core.axes import guess_axes
from napari_sam3_assistant.core.display import view_of_array
from napari_sam3_assistant.core.images import PlaneRef
from napari_sam3_assistant.core.prompts import PointPrompt, PromptSet
from napari_sam3_assistant.core.regions import Region
from napari_sam3_assistant.session.model import SessionModel
from napari_sam3_assistant.session.runs import RoiInference
from napari_sam3_assistant.session.snapshots import ImageSnapshot
from napari_sam3_assistant.session.values import PlaneTarget

SHAPE = (3000, 4000)


@pytest.fixture
def model():
    return SessionModel(roi_size=512)


def snapshot(*points, leading=()):
    target = PlaneTarget("key", "image", guess_axes(SHAPE), PlaneRef(leading), SHAPE)
    prompts = PromptSet(points=tuple(PointPrompt(y, x) for y, x in points), text="cell")
    return ImageSnapshot(target, view_of_array(np.broadcast_to(np.uint8(0), SHAPE)), prompts)


def said(model):
    lines = []
    model.events.message.connect(lambda message: lines.append(message.text))
    return lines


def test_off_means_the_whole_plane_and_says_nothing(model):
    lines = said(model)

    assert RoiInference(model).choose_region(snapshot((2000, 2500))) is None
    assert lines == []


def test_the_seeds_three_messages(model):
    lines = said(model)
    local = RoiInference(model)
    model.large_image = True
    region = local.choose_region(snapshot((10, 20), (2000, 2500)))
    model.large_image = False

    assert region == Region(1744, 2244, 2256, 2756)
    assert lines == [
        "Large-image mode ON: local ROI inference (512 x 512).",
        "Active ROI bounds: y=1744:2256, x=2244:2756.",
        "1 prompt outside the region took no part.",
        "Large-image mode OFF: full-image inference.",
    ]
    assert model.active_rois == ()


def test_each_plane_has_a_region_of_its_own(model):
    local = RoiInference(model)
    model.large_image = True
    first = local.choose_region(snapshot((2000, 2500)))

    assert local.choose_region(snapshot((2010, 2510))) == first
    assert local.choose_region(snapshot((2010, 2510), leading=(1,))) != first
    assert local.choose_region(snapshot((2000, 2500))) == first
    model.roi_size = 1024
    assert local.choose_region(snapshot((2000, 2500))).shape == (1024, 1024)


def test_without_a_place_it_is_the_whole_plane(model):
    local = RoiInference(model)
    model.large_image = True

    assert local.choose_region(snapshot()) is None
    assert "no point or box ROI anchor was found" in model.message.text

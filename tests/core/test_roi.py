"""Version 4's rules of the local region."""

import numpy as np
import pytest

from napari_sam3_assistant.core.prompts import (
    BoxPrompt,
    ExemplarPrompt,
    MaskPrompt,
    PointPrompt,
    PromptSet,
)
from napari_sam3_assistant.core.regions import Region
from napari_sam3_assistant.core.tiling import LocalRoi, count_outside, local_roi, roi_messages

PLANE = (4000, 6000)


def points(*places):
    return PromptSet(points=tuple(PointPrompt(y, x) for y, x in places))


def boxes(*places):
    return PromptSet(boxes=tuple(BoxPrompt(Region(*place)) for place in places))


def test_the_last_point_is_the_middle():
    roi = local_roi(points((10, 10), (2000, 3000)), PLANE, 512)

    assert roi == LocalRoi(Region(1744, 2744, 2256, 3256), 512)


def test_a_point_goes_before_a_box():
    both = PromptSet(points=(PointPrompt(2000, 3000),), boxes=(BoxPrompt(Region(0, 0, 900, 900)),))

    assert local_roi(both, PLANE, 512).region == Region(1744, 2744, 2256, 3256)


def test_the_middle_of_the_last_box_without_points():
    roi = local_roi(boxes((0, 0, 9, 9), (1000, 1000, 1100, 1200)), PLANE, 512)

    assert roi.region == Region(794, 844, 1306, 1356)


@pytest.mark.parametrize(
    "prompts",
    [
        PromptSet(exemplars=(ExemplarPrompt(Region(1000, 1000, 1100, 1200)),)),
        PromptSet(masks=(MaskPrompt(np.ones((100, 200), bool), Region(1000, 1000, 1100, 1200)),)),
    ],
)
def test_examples_and_painted_masks_are_anchors_too(prompts):
    assert local_roi(prompts, PLANE, 512).region == Region(794, 844, 1306, 1356)


def test_text_alone_names_no_place():
    assert local_roi(PromptSet(text="cell"), PLANE, 512) is None


def test_a_box_outside_the_image_names_no_place():
    assert local_roi(boxes((5000, 0, 5010, 10)), PLANE, 512) is None


@pytest.mark.parametrize(
    ("point", "expected"),
    [
        ((0, 0), Region(0, 0, 512, 512)),
        ((3999, 5999), Region(3488, 5488, 4000, 6000)),
        ((10, 3000), Region(0, 2744, 512, 3256)),
    ],
)
def test_it_is_moved_into_the_image(point, expected):
    assert local_roi(points(point), PLANE, 512).region == expected


def test_it_is_never_larger_than_the_image():
    assert local_roi(points((5, 5)), (100, 700), 512).region == Region(0, 0, 100, 512)


def test_it_grows_with_a_box_that_is_larger():
    roi = local_roi(boxes((1000, 1000, 2000, 1100)), PLANE, 512)

    assert roi.region == Region(1000, 794, 2000, 1306)


def test_a_point_inside_keeps_it_and_a_point_outside_makes_another():
    first = local_roi(points((2000, 3000)), PLANE, 512)

    assert local_roi(points((2000, 3000), (1744, 2744)), PLANE, 512, first) is first
    assert local_roi(points((2000, 3000), (1743, 2744)), PLANE, 512, first).region == Region(
        1487, 2488, 1999, 3000
    )


def test_a_box_that_sticks_out_makes_another():
    first = local_roi(points((2000, 3000)), PLANE, 512)

    assert local_roi(boxes((1800, 2800, 1900, 2900)), PLANE, 512, first) is first
    assert local_roi(boxes((1700, 2800, 1900, 2900)), PLANE, 512, first).region == Region(
        1544, 2594, 2056, 3106
    )


def test_another_size_or_a_smaller_image_makes_another():
    first = local_roi(points((2000, 3000)), PLANE, 512)

    assert local_roi(points((2000, 3000)), PLANE, 1024, first).region.shape == (1024, 1024)
    assert local_roi(points((1900, 3000)), (2100, 6000), 512, first).region == Region(
        1588, 2744, 2100, 3256
    )


def test_how_many_prompts_do_not_take_part():
    region = Region(0, 0, 100, 100)

    assert count_outside(points((5, 5), (500, 5), (5, 500)), region) == 2
    assert count_outside(boxes((0, 0, 9, 9), (50, 50, 200, 200), (300, 300, 310, 310)), region) == 1


def test_the_messages_of_the_seed():
    roi = LocalRoi(Region(10, 20, 522, 1044), 512)

    assert roi_messages(enabled=False, roi=roi) == ("Large-image mode OFF: full-image inference.",)
    assert roi_messages(enabled=True, roi=roi) == (
        "Large-image mode ON: local ROI inference (1024 x 512).",
        "Active ROI bounds: y=10:522, x=20:1044.",
    )
    assert "Using full-image inference" in roi_messages(enabled=True, roi=None)[0]

"""Prompts: what is refused, and what a region makes of them."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from napari_sam3_assistant.core.prompts import (
    MOST_ID,
    BoxPrompt,
    Everything,
    ExemplarPrompt,
    MaskPrompt,
    PointPrompt,
    PromptKind,
    PromptSet,
    free_id,
)
from napari_sam3_assistant.core.regions import Region
from napari_sam3_assistant.errors import PromptError
from napari_sam3_assistant.workflows.track_prompts import ObjectIds

H, W = 20, 30
spans_y = st.lists(st.integers(0, H), min_size=2, max_size=2, unique=True).map(sorted)
spans_x = st.lists(st.integers(0, W), min_size=2, max_size=2, unique=True).map(sorted)
regions = st.builds(lambda y, x: Region(y[0], x[0], y[1], x[1]), spans_y, spans_x)
points = st.builds(
    PointPrompt, st.integers(0, H - 1), st.integers(0, W - 1), positive=st.booleans()
)


@st.composite
def masks(draw):
    region = draw(regions)
    seed = draw(st.integers(0, 2**32 - 1))
    return MaskPrompt(np.random.default_rng(seed).random(region.shape) < 0.5, region)


prompt_sets = st.builds(
    PromptSet,
    st.lists(points, max_size=4).map(tuple),
    st.lists(regions.map(BoxPrompt), max_size=3).map(tuple),
    st.lists(masks(), max_size=2).map(tuple),
    st.lists(st.builds(ExemplarPrompt, regions, st.booleans()), max_size=3).map(tuple),
    st.sampled_from(["", "  ", "nucleus"]),
)


def painted(prompt):
    """Return a mask prompt painted on a whole plane."""
    plane = np.zeros((H, W), bool)
    plane[prompt.region.slices] = prompt.mask
    return plane


def test_kinds_name_what_was_given():
    box = Region(0, 0, 2, 2)
    prompts = PromptSet(
        points=(PointPrompt(1, 1),), exemplars=(ExemplarPrompt(box),), text=" nucleus "
    )

    assert prompts.kinds == {PromptKind.POINTS, PromptKind.EXEMPLARS, PromptKind.TEXT}
    assert PromptSet(boxes=(BoxPrompt(box),)).kinds == {PromptKind.BOXES}
    assert PromptSet(masks=(MaskPrompt(np.ones((2, 2), bool), box),)).kinds == {PromptKind.MASK}


def test_a_blank_phrase_is_no_prompt():
    with pytest.raises(PromptError, match="No prompts found"):
        PromptSet(text="  \n").check((H, W))


@pytest.mark.parametrize(
    ("prompts", "said"),
    [
        (PromptSet(points=(PointPrompt(math.nan, 1),)), "not a finite position"),
        (PromptSet(points=(PointPrompt(1, math.inf),)), "not a finite position"),
        (PromptSet(points=(PointPrompt(1, 1), PointPrompt(20, 1))), "20, 1.* outside .*20 x 30"),
        (PromptSet(points=(PointPrompt(-0.6, 1),)), "outside"),
        (PromptSet(boxes=(BoxPrompt(Region(20, 0, 25, 5)),)), "outside"),
        (PromptSet(boxes=(BoxPrompt(Region(-5, 0, 0, 5)),)), "outside"),
        (PromptSet(exemplars=(ExemplarPrompt(Region(0, 30, 5, 40)),)), "outside"),
        (
            PromptSet(masks=(MaskPrompt(np.ones((2, 2), bool), Region(30, 0, 32, 2)),)),
            "outside",
        ),
    ],
)
def test_check_refuses_with_a_remedy(prompts, said):
    with pytest.raises(PromptError, match=said) as caught:
        prompts.check((H, W))
    assert caught.value.hint


def test_a_box_that_sticks_out_of_the_image_is_fine():
    prompts = PromptSet(boxes=(BoxPrompt(Region(-5, -5, 3, 3)),))

    prompts.check((H, W))  # raises where it is not

    kept = prompts.localise(Region.whole((H, W))).boxes
    assert [box.region for box in kept] == [Region(0, 0, 3, 3)]


def test_mask_of_a_plane_is_cropped_to_what_is_painted():
    plane = np.zeros((4, 5), np.uint8)
    plane[1, 2] = plane[2, 4] = 7

    prompt = MaskPrompt.from_plane(plane)

    assert prompt.region == Region(1, 2, 3, 5)
    np.testing.assert_array_equal(prompt.mask, [[1, 0, 0], [0, 0, 1]])
    assert prompt.mask.base is None  # a crop that keeps the plane alive would hold its memory


def test_a_mask_in_a_plane_is_cut_at_its_sides():
    plane = MaskPrompt(np.array([[1, 0, 1], [1, 1, 0]], bool), Region(-1, 2, 1, 5)).to_plane((2, 4))

    np.testing.assert_array_equal(plane, [[0, 0, 1, 1], [0, 0, 0, 0]])
    beside = MaskPrompt(np.ones((2, 2), bool), Region(7, 7, 9, 9))
    assert not beside.to_plane((2, 4)).any()


def test_an_empty_mask_is_refused():
    with pytest.raises(PromptError, match="mask is empty"):
        MaskPrompt.from_plane(np.zeros((4, 5)))


def test_localise_cuts_boxes_and_drops_what_lies_outside():
    prompts = PromptSet(
        points=(PointPrompt(5, 6, False), PointPrompt(1, 1)),
        boxes=(BoxPrompt(Region(0, 0, 6, 6)), BoxPrompt(Region(0, 0, 2, 2))),
        exemplars=(ExemplarPrompt(Region(5, 5, 20, 30), positive=False),),
        text="cell",
    )

    local = prompts.localise(Region(4, 5, 10, 12))

    assert local.points == (PointPrompt(1, 1, False),)
    assert local.boxes == (BoxPrompt(Region(0, 0, 2, 1)),)
    assert local.exemplars == (ExemplarPrompt(Region(1, 0, 6, 7), positive=False),)
    assert local.masks == ()
    assert local.text == "cell"


@given(prompt_sets)
def test_prompts_inside_the_image_pass_the_check(prompts):
    if prompts.kinds:
        prompts.check((H, W))
    else:
        with pytest.raises(PromptError):
            prompts.check((H, W))


@given(prompt_sets)
def test_localising_to_the_whole_plane_changes_nothing(prompts):
    local = prompts.localise(Region.whole((H, W)))

    assert local.points == prompts.points
    assert local.boxes == prompts.boxes
    assert local.exemplars == prompts.exemplars
    for mine, theirs in zip(local.masks, prompts.masks, strict=True):
        np.testing.assert_array_equal(painted(mine), painted(theirs))


@given(prompt_sets, regions)
def test_localised_prompts_point_at_the_same_pixels(prompts, region):
    local = prompts.localise(region)
    if local.kinds:
        local.check(region.shape)

    kept = [point for point in prompts.points if region.holds(point.y, point.x)]
    assert [(p.y + region.y0, p.x + region.x0, p.positive) for p in local.points] == [
        (p.y, p.x, p.positive) for p in kept
    ]
    shared = [prompt.region.intersect(region) for prompt in prompts.boxes]
    assert [prompt.region.globalise(region) for prompt in local.boxes] == [
        cut for cut in shared if not cut.is_empty
    ]
    touched = [p for p in prompts.masks if not p.region.intersect(region).is_empty]
    for mine, theirs in zip(local.masks, touched, strict=True):
        crop = np.zeros(region.shape, bool)
        crop[mine.region.slices] = mine.mask
        np.testing.assert_array_equal(crop, painted(theirs)[region.slices])


coordinates = st.floats(-5, 40)
boxes = st.tuples(coordinates, coordinates, coordinates, coordinates).filter(
    lambda box: box[0] != box[2] and box[1] != box[3]
)


@given(box=boxes, part=regions, dy=st.integers(-9, 9), dx=st.integers(-9, 9))
def test_a_box_keeps_its_fractions_wherever_it_goes(box, part, dy, dx):
    example = ExemplarPrompt.from_box(box, positive=False)
    y0, x0, y1, x1 = example.corners
    assert {y0, y1} == {box[0], box[2]}
    assert {x0, x1} == {box[1], box[3]}

    moved = example.shift(dy, dx)
    assert moved.corners == (y0 + dy, x0 + dx, y1 + dy, x1 + dx)
    assert moved.region == example.region.shift(dy, dx)
    assert not moved.positive
    cut = PromptSet(exemplars=(example,)).localise(part).exemplars
    assert bool(cut) == (not example.region.intersect(part).is_empty)
    for kept in cut:
        ends = np.clip([y0, y1], part.y0, part.y1) - part.y0
        sides = np.clip([x0, x1], part.x0, part.x1) - part.x0
        assert kept.corners == (ends[0], sides[0], ends[1], sides[1])
        assert kept.region == example.region.intersect(part).localise(part)


@given(st.lists(st.integers(1, 5) | st.integers(MOST_ID - 2, MOST_ID) | st.just((1 << 32) - 1)))
def test_an_object_gets_a_number_that_can_be_used_and_that_no_other_has(taken):
    ids = ObjectIds()
    for number in taken:
        ids.take(number)
    for _ in range(3):
        new = ids.take(None)
        assert new == free_id(taken)
        assert 1 <= new <= MOST_ID
        assert new not in taken
        taken = [*taken, new]


@given(st.integers(1, 90), st.integers(1, 90), st.integers(1, 64))
def test_the_points_of_everything_lie_on_the_image(height, width, count):
    points = Everything(points_per_side=count).points_on((height, width))
    assert len(points) == count**2
    PromptSet(everything=Everything(points=points)).check((height, width))
    if min(height, width) > count:
        # As SAM's authors place them.
        shares = (np.arange(count) + 0.5) / count
        assert points == tuple((y, x) for y in shares * height for x in shares * width)

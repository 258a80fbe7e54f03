"""Whatever the image and the prompts: an answer that keeps its promises, or a clear sentence."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from scipy import ndimage as ndi

from amounts import FEW
from napari_sam3_assistant.core.options import PredictOptions
from napari_sam3_assistant.core.progress import NullReporter
from napari_sam3_assistant.core.prompts import (
    BoxPrompt,
    ExemplarPrompt,
    MaskPrompt,
    PointPrompt,
    PromptSet,
)
from napari_sam3_assistant.core.regions import Region
from napari_sam3_assistant.engines import registry
from napari_sam3_assistant.errors import PromptError

REPORTER = NullReporter()


def image_of(shape, kind, seed):
    rng = np.random.default_rng(seed)
    grey = np.full(shape, 90, np.uint8)
    if kind == "noise":
        grey = rng.integers(0, 256, shape, np.uint8)
    elif kind == "hot pixel":
        grey[shape[0] // 2, shape[1] // 3] = 255
    elif kind == "blocks":
        small = rng.integers(0, 256, (1 + shape[0] // 8, 1 + shape[1] // 8), np.uint8)
        grey = np.kron(small, np.ones((8, 8), np.uint8))[: shape[0], : shape[1]]
    elif kind == "ramp":
        grey = np.linspace(0, 255, grey.size).reshape(shape).astype(np.uint8)
    return np.repeat(grey[..., None], 3, 2)


@st.composite
def requests(draw):
    shape = (draw(st.integers(1, 48)), draw(st.integers(1, 48)))
    kind = draw(st.sampled_from(["constant", "noise", "hot pixel", "blocks", "ramp"]))
    image = image_of(shape, kind, draw(st.integers(0, 99)))
    point = st.builds(
        PointPrompt,
        st.integers(0, shape[0] - 1),
        st.integers(0, shape[1] - 1),
        st.booleans(),
    )

    @st.composite
    def region(draw):
        y0, x0 = draw(st.integers(0, shape[0] - 1)), draw(st.integers(0, shape[1] - 1))
        return Region(
            y0, x0, draw(st.integers(y0 + 1, shape[0])), draw(st.integers(x0 + 1, shape[1]))
        )

    def mask(region):
        return MaskPrompt(np.random.default_rng(region.area).random(region.shape) < 0.8, region)

    few = {"max_size": 3}
    if draw(st.booleans()):
        given_prompts = PromptSet(
            points=tuple(draw(st.lists(point, **few))),
            boxes=tuple(map(BoxPrompt, draw(st.lists(region(), max_size=2)))),
            masks=tuple(map(mask, draw(st.lists(region(), max_size=1)))),
        )
    else:
        given_prompts = PromptSet(
            exemplars=tuple(
                ExemplarPrompt(draw(region()), draw(st.booleans()))
                for _ in range(draw(st.integers(0, 2)))
            ),
            text=draw(st.sampled_from(["", "bright", "dark spots", "cells"])),
        )
    return image, given_prompts, draw(st.sampled_from([0.0, 0.35, 1.0]))


@given(requests())
def test_an_answer_that_keeps_its_promises_or_a_sentence(request):
    image, prompts, threshold = request
    engine = registry.create("builtin")
    try:
        answer = engine.predict(
            engine.embed(image, REPORTER), prompts, PredictOptions(threshold), REPORTER
        )
    except PromptError:
        return
    plane = Region.whole(image.shape[:2])
    for index, record in enumerate(answer.objects, start=1):
        assert record.id == index
        assert record.region.intersect(plane) == record.region
        assert record.mask.shape == record.region.shape
        assert record.mask.any()
    if prompts.points and not (prompts.boxes or prompts.masks):
        assert len(answer.objects) == 1
    if prompts.points and answer.objects and any(point.positive for point in prompts.points):
        (first, *_) = answer.objects
        labels = np.zeros(image.shape[:2], bool)
        labels[first.region.slices] = first.mask
        for point in prompts.points:
            assert labels[int(point.y), int(point.x)] == point.positive
    if prompts.boxes and not prompts.points:
        for record, box in zip(answer.objects, prompts.boxes, strict=False):
            assert record.region.intersect(box.region) == record.region


@st.composite
def corrected_cells(draw):
    """A picture of blurred, grainy cells that may touch, and clicks, the first a positive one."""
    rng = np.random.default_rng(draw(st.integers(0, 10_000)))
    grey = np.full((72, 72), 100.0)
    rows, columns = np.indices(grey.shape)
    for _ in range(draw(st.integers(1, 6))):
        (y, x), (tall, wide) = rng.uniform(5, 67, 2), rng.uniform(4, 18, 2)
        inside = ((rows - y) / tall) ** 2 + ((columns - x) / wide) ** 2 <= 1
        grey[inside] += draw(st.sampled_from([-60, 30, 60]))
    grey = ndi.gaussian_filter(grey, draw(st.sampled_from([0.5, 1.5])))
    grey += rng.normal(0, draw(st.sampled_from([0, 4, 15])), grey.shape)
    pixel = st.tuples(st.integers(0, 71), st.integers(0, 71))
    pixels = draw(st.lists(pixel, min_size=2, max_size=5, unique=True))
    signs = [True, *draw(st.lists(st.booleans(), min_size=4, max_size=4))]
    clicks = [PointPrompt(*point, sign) for point, sign in zip(pixels, signs, strict=False)]
    return np.repeat(grey.clip(0, 255).astype(np.uint8)[..., None], 3, 2), clicks


@FEW
@given(corrected_cells())
def test_a_click_that_adds_takes_nothing_away_and_one_that_takes_away_adds_nothing(drawn):
    """And what lies half as far from it as the outline obeys it."""
    image, clicks = drawn
    rows, columns = np.indices(image.shape[:2])
    engine = registry.create("builtin")
    embedding = engine.embed(image, REPORTER)
    before = None
    for count in range(1, len(clicks) + 1):
        prompts = PromptSet(points=tuple(clicks[:count]))
        (record,) = engine.predict(embedding, prompts, PredictOptions(), REPORTER).objects
        after = np.zeros(image.shape[:2], bool)
        after[record.region.slices] = record.mask
        if before is not None:
            last = clicks[count - 1]
            lost, won = (before, after) if last.positive else (after, before)
            # An earlier click against it takes its own pixel, and a click for it has 3 x 3.
            assert np.count_nonzero(lost & ~won) <= 9 * (count - 1)
            y, x = int(last.y), int(last.x)
            if before[y, x] != last.positive:
                wrong = ~before if last.positive else np.pad(before, 1)
                depth = ndi.distance_transform_edt(wrong)
                reach = depth[y, x] if last.positive else depth[y + 1, x + 1]
                reach = min(reach, np.sqrt(np.count_nonzero(before) / np.pi))  # it may be far away
                near = np.hypot(rows - y, columns - x) <= reach / 2 - 0.5
                assert np.count_nonzero(near & (after != last.positive)) <= 9 * (count - 1)
        before = after

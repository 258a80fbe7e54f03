"""The engine's answers equal those of the package's documented use on the same pixels."""

from __future__ import annotations

import numpy as np
import pytest

from contracts.documented_use import DEVICE
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
from napari_sam3_assistant.engines.sam3_meta import compat
from napari_sam3_assistant.engines.sam3_meta.image import mask_logits

THRESHOLD = 0.2
QUIET = NullReporter()


class _Pair:
    """One picture, encoded by the engine and by the package."""

    def __init__(self, engine, documented, pixels):
        from PIL import Image

        self.shape = pixels.shape[:2]
        self.engine = engine
        self.documented = documented
        self.encoding = engine.embed(pixels, QUIET)
        with compat.redirect_cuda(DEVICE):
            self._base = documented.processor.set_image(Image.fromarray(pixels))

    def answer(self, **prompts):
        return self.engine.predict(
            self.encoding, PromptSet(**prompts), PredictOptions(THRESHOLD), QUIET
        )

    def grounding(self, text="", boxes=()):
        """``set_text_prompt`` and ``add_geometric_prompt``, one after the other."""
        state = {**self._base, "backbone_out": dict(self._base["backbone_out"])}
        height, width = self.shape
        with compat.redirect_cuda(DEVICE):
            if text:
                state = self.documented.processor.set_text_prompt(text, state)
            for (y0, x0, y1, x1), positive in boxes:
                box = [
                    (x0 + x1) / 2 / width,
                    (y0 + y1) / 2 / height,
                    (x1 - x0) / width,
                    (y1 - y0) / height,
                ]
                state = self.documented.processor.add_geometric_prompt(box, positive, state)
        return (
            state["masks"][:, 0].cpu().numpy(),
            state["scores"].cpu().numpy(),
            state["masks_logits"][:, 0].cpu().numpy(),
        )

    def clicks(self, *, multimask=False, every=False, **prompts):
        masks, scores, _ = self.documented.model.predict_inst(
            self._base, multimask_output=multimask, **prompts
        )
        if every:
            order = np.argsort(masks.sum((1, 2)), kind="stable")
            masks, scores = masks[order], scores[order]
        elif multimask:
            best = scores.argmax()
            masks, scores = masks[best], scores[best]
        return masks.reshape(-1, *self.shape) > 0, scores.reshape(-1)


@pytest.fixture(
    scope="module",
    params=["landscape", "portrait", "tiny", "large", "region"],
)
def pair(request, loaded_engine, documented, make_picture):
    pixels = {
        "landscape": lambda: make_picture(100, 150),
        "portrait": lambda: make_picture(170, 90, seed=1),
        "tiny": lambda: make_picture(9, 13, seed=2),
        "large": lambda: make_picture(1500, 1100, seed=3),
        "region": lambda: make_picture(400, 300, seed=4)[30:170, 50:260],
    }[request.param]()
    return _Pair(loaded_engine, documented, pixels)


def _assert_equal(objects, masks, scores, probabilities=None):
    """Fail unless the objects are those.

    The package cuts the sigmoid at 0.5, the engine the logit at 0. A float32 sigmoid of a logit
    under 1e-7 is 0.5 exactly, so only there one pixel in millions may differ.
    """
    undecided = np.zeros(masks.shape, bool)
    if probabilities is not None:
        undecided = abs(probabilities - 0.5) < 1e-7
    assert undecided.mean() < 1e-5
    masks = masks | undecided
    expected = [
        (mask, score, open_)
        for mask, score, open_ in zip(masks, scores, undecided, strict=True)
        if mask.any()
    ]
    assert len(objects) == len(expected) > 0
    for number, (record, (mask, score, open_)) in enumerate(zip(objects, expected, strict=True), 1):
        whole = np.zeros(mask.shape, bool)
        whole[record.region.slices] = record.mask
        whole |= open_
        assert record.id == number
        np.testing.assert_array_equal(whole, mask)
        np.testing.assert_allclose(record.score, score, rtol=0, atol=1e-6)


def _box(shape, top, left, bottom, right):
    """A box by parts of the picture's height and width, at least two pixels wide."""
    height, width = shape
    y0, x0 = int(top * height), int(left * width)
    return (y0, x0, max(y0 + 2, int(bottom * height)), max(x0 + 2, int(right * width)))


def test_text(pair):
    _assert_equal(pair.answer(text="cell").objects, *pair.grounding("cell"))


def test_two_phrases_differ(pair):
    scores = [[o.score for o in pair.answer(text=text).objects] for text in ("cell", "wood")]

    assert scores[0] != scores[1]


def test_exemplars_positive_and_negative(pair):
    boxes = (
        (_box(pair.shape, 0.1, 0.2, 0.4, 0.5), True),
        (_box(pair.shape, 0.5, 0.1, 0.8, 0.3), True),
        (_box(pair.shape, 0.3, 0.6, 0.6, 0.9), False),
    )
    exemplars = tuple(ExemplarPrompt(Region(*box), positive) for box, positive in boxes)

    _assert_equal(pair.answer(exemplars=exemplars).objects, *pair.grounding(boxes=boxes))


def test_text_with_an_exemplar(pair):
    box = _box(pair.shape, 0.2, 0.2, 0.5, 0.7)
    answer = pair.answer(text="cell", exemplars=(ExemplarPrompt(Region(*box)),))

    _assert_equal(answer.objects, *pair.grounding("cell", [(box, True)]))


def test_points(pair):
    height, width = pair.shape
    spots = [(0.3, 0.4, True), (0.5, 0.6, True), (0.8, 0.1, False)]
    points = [(int(y * height), int(x * width), positive) for y, x, positive in spots]
    answer = pair.answer(points=tuple(PointPrompt(*point) for point in points))

    expected = pair.clicks(
        point_coords=np.array([[x, y] for y, x, _ in points], float),
        point_labels=np.array([positive for *_, positive in points], int),
    )
    _assert_equal(answer.objects, *expected)


def test_a_single_click_takes_the_best_of_three_masks(pair):
    height, width = pair.shape
    answer = pair.answer(points=(PointPrompt(0.3 * height, 0.6 * width),))

    point = np.array([[0.6 * width, 0.3 * height]])
    asked = {"multimask": True, "point_coords": point, "point_labels": np.array([1])}
    _assert_equal(answer.objects, *pair.clicks(**asked))
    _assert_equal(answer.candidates, *pair.clicks(every=True, **asked))


def test_boxes_are_clipped_and_one_object_each(pair):
    boxes = [
        _box(pair.shape, 0.1, 0.1, 0.6, 0.7),
        _box(pair.shape, 0.4, 0.3, 1.0, 1.0),
        _box(pair.shape, 0.0, 0.5, 0.5, 0.9),
    ]
    answer = pair.answer(boxes=tuple(BoxPrompt(Region(*box)) for box in boxes))

    masks, scores = pair.clicks(box=np.array([[x0, y0, x1, y1] for y0, x0, y1, x1 in boxes], float))
    for mask, (y0, x0, y1, x1) in zip(masks, boxes, strict=True):
        inside = np.zeros_like(mask)
        inside[y0:y1, x0:x1] = True
        mask &= inside
    _assert_equal(answer.objects, masks, scores)


def test_boxes_and_examples_keep_their_fractions(pair):
    height, width = pair.shape
    y0, x0, y1, x1 = np.array((0.113, 0.207, 0.613, 0.731)) * (height, width, height, width)
    box = BoxPrompt.from_box((y0, x0, y1, x1))
    masks, scores = pair.clicks(box=np.array([[x0, y0, x1, y1]]))
    outside = np.ones(pair.shape, bool)
    outside[box.region.slices] = False
    masks[0][outside] = False

    _assert_equal(pair.answer(boxes=(box,)).objects, masks, scores)
    example = ExemplarPrompt.from_box((y0, x0, y1, x1))
    _assert_equal(
        pair.answer(exemplars=(example,)).objects, *pair.grounding(boxes=[((y0, x0, y1, x1), True)])
    )


def test_a_mask_is_given_as_logits(pair):
    mask = _painted(pair.shape)
    answer = pair.answer(masks=(mask,))

    _assert_equal(answer.objects, *pair.clicks(mask_input=mask_logits(mask, pair.shape, 32)))


def test_a_click_refines_a_mask(pair):
    height, width = pair.shape
    mask = _painted(pair.shape)
    answer = pair.answer(points=(PointPrompt(height // 2, width // 3),), masks=(mask,))

    expected = pair.clicks(
        point_coords=np.array([[width // 3, height // 2]], float),
        point_labels=np.array([1]),
        mask_input=mask_logits(mask, pair.shape, 32),
    )
    _assert_equal(answer.objects, *expected)
    assert not np.array_equal(
        pair.answer(points=(PointPrompt(height // 2, width // 3),)).objects[0].score,
        answer.objects[0].score,
    )


def test_a_click_corrects_a_box_beyond_it(pair):
    height, width = pair.shape
    y0, x0, y1, x1 = _box(pair.shape, 0.2, 0.2, 0.5, 0.5)
    point = PointPrompt(height // 3, width // 3)
    answer = pair.answer(points=(point,), boxes=(BoxPrompt(Region(y0, x0, y1, x1)),))

    expected = pair.clicks(
        point_coords=np.array([[point.x, point.y]], float),
        point_labels=np.array([1]),
        box=np.array([x0, y0, x1, y1], float),
    )
    _assert_equal(answer.objects, *expected)


def _painted(shape):
    plane = np.zeros(shape, bool)
    y0, x0, y1, x1 = _box(shape, 0.2, 0.3, 0.7, 0.6)
    plane[y0:y1, x0:x1] = True
    return MaskPrompt.from_plane(plane)


def test_mask_logits_by_hand():
    pytest.importorskip("torch", reason="PyTorch is not installed")
    plane = np.zeros((4, 8), bool)
    plane[:2, 4:] = True

    # Each logit is of one pixel high and two wide.
    logits = mask_logits(MaskPrompt.from_plane(plane), (4, 8), 4)

    assert logits.shape == (1, 4, 4)
    assert logits[0, 0, 0] == -10
    assert logits[0, 0, 3] == 10
    assert logits[0, 3, 3] == -10

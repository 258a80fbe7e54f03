"""What every image engine must do: subclass ``ImageEngineContract`` and give it an engine."""

from __future__ import annotations

import numpy as np
import pytest

from amounts import thorough
from napari_sam3_assistant.core.options import PredictOptions
from napari_sam3_assistant.core.progress import CancelToken, NullReporter, Progress
from napari_sam3_assistant.core.prompts import (
    BoxPrompt,
    Everything,
    ExemplarPrompt,
    MaskPrompt,
    PointPrompt,
    PromptKind,
    PromptSet,
)
from napari_sam3_assistant.core.regions import Region
from napari_sam3_assistant.core.results import max_probability
from napari_sam3_assistant.errors import JobCancelled, PromptError

REPORTER = NullReporter()
SIZES = [(1, 1), thorough((1, 7)), (7, 1), thorough((2, 2)), thorough((3, 40)), (64, 80)]


FEW_POINTS = Everything(points_per_side=2, pred_iou_thresh=0.0, stability_score_thresh=0.0)


class Stopped:
    """A reporter of work that the user has stopped."""

    def __init__(self):
        self._token = CancelToken()
        self._token.cancel()

    def report(self, progress: Progress) -> None:
        self._token.check()

    def check(self) -> None:
        self._token.check()


def blobs(shape=(64, 80)):
    """Return an RGB image with two bright discs on a dark ground."""
    rows, columns = np.ogrid[: shape[0], : shape[1]]
    grey = np.full(shape, 40, np.uint8)
    for y, x, radius in ((20, 22, 10), (40, 58, 13)):
        grey[(rows - y) ** 2 + (columns - x) ** 2 <= radius**2] = 190
    return np.repeat(grey[..., None], 3, 2)


def prompts_of(kind: PromptKind, shape, text="bright cells") -> PromptSet:
    """Return a set with one prompt of a kind, in the middle of a plane."""
    height, width = shape
    middle = Region(height // 4, width // 4, height // 4 + 1, width // 4 + 1)
    region = middle.grow(max(0, min(shape) // 4)).intersect(Region.whole(shape))
    return {
        PromptKind.POINTS: PromptSet(points=(PointPrompt(height // 2, width // 2),)),
        PromptKind.BOXES: PromptSet(boxes=(BoxPrompt(region),)),
        PromptKind.MASK: PromptSet(masks=(MaskPrompt(np.ones(region.shape, bool), region),)),
        PromptKind.EXEMPLARS: PromptSet(exemplars=(ExemplarPrompt(region),)),
        PromptKind.TEXT: PromptSet(text=text),
        PromptKind.EVERYTHING: PromptSet(everything=FEW_POINTS),
    }[kind]


class ImageEngineContract:
    """Subclass it in a ``Test...`` class; override ``engine``, and ``text`` where it matters.

    ``fills_holes`` is for engines whose package fills holes after it has cut the soft masks.
    """

    text = "bright cells"
    options = PredictOptions(threshold=0.0)
    fills_holes = False

    @pytest.fixture
    def engine(self):
        raise AssertionError("the subclass gives an engine")

    @pytest.fixture
    def loaded(self, engine):
        engine.load(REPORTER)
        yield engine
        engine.close()

    def run(self, engine, image, prompts, reporter=REPORTER):
        return engine.predict(engine.embed(image, reporter), prompts, self.options, reporter)

    def given(self, kind, shape=(64, 80)):
        return prompts_of(kind, shape, self.text)

    @pytest.mark.parametrize("kind", list(PromptKind))
    def test_takes_the_kinds_of_prompt_that_its_card_names_and_no_others(self, loaded, kind):
        if kind in loaded.spec.accepts:
            assert self.run(loaded, blobs(), self.given(kind)).objects is not None
        else:
            with pytest.raises(PromptError):
                self.run(loaded, blobs(), self.given(kind))

    @pytest.mark.parametrize("shape", SIZES)
    @pytest.mark.parametrize("kind", list(PromptKind))
    def test_objects_are_numbered_and_lie_in_the_image(self, loaded, kind, shape):
        if kind not in loaded.spec.accepts:
            return
        answer = self.run(loaded, blobs(shape), self.given(kind, shape))
        assert [item.id for item in answer.objects] == list(range(1, len(answer.objects) + 1))
        for item in answer.objects:
            assert item.mask.dtype == bool
            assert item.mask.shape == item.region.shape
            assert item.region.intersect(Region.whole(shape)) == item.region
            assert item.mask.any(1)[[0, -1]].all()
            assert item.mask.any(0)[[0, -1]].all()
            # The masks at points are told with the model's guess as it is, see the workflow.
            guessed = kind is PromptKind.EVERYTHING
            assert item.score is None or guessed or 0 <= item.score <= 1

    @pytest.mark.parametrize("kind", list(PromptKind))
    def test_gives_the_same_answer_again(self, loaded, kind):
        if kind not in loaded.spec.accepts:
            return
        prompts = self.given(kind)
        embedding = loaded.embed(blobs(), REPORTER)
        first = loaded.predict(embedding, prompts, self.options, REPORTER)
        again = loaded.predict(embedding, prompts, self.options, REPORTER)
        fresh = self.run(loaded, blobs(), prompts)
        for other in (again, fresh):
            assert [item.region for item in other.objects] == [o.region for o in first.objects]
            assert [item.score for item in other.objects] == [o.score for o in first.objects]
            for one, two in zip(first.objects, other.objects, strict=True):
                np.testing.assert_array_equal(one.mask, two.mask)

    @pytest.mark.parametrize("kind", list(PromptKind))
    def test_soft_masks_are_there_as_its_card_says_and_agree_with_the_masks(self, loaded, kind):
        if kind not in loaded.spec.accepts:
            return
        for item in self.run(loaded, blobs(), self.given(kind)).objects:
            assert (item.soft is not None) == loaded.spec.soft_masks
            if item.soft is not None:
                plane = Region.whole((64, 80))
                likely = max_probability([item], plane)
                hard = np.zeros(plane.shape, bool)
                hard[item.region.slices] = item.mask
                # Half a percent for the rounding to float16.
                assert (likely[~hard] <= 0.505).all()
                assert self.fills_holes or (likely[hard] >= 0.495).all()
                assert (likely[hard] >= 0.495).any()

    def test_does_not_change_the_image(self, loaded):
        image = blobs()
        image.setflags(write=False)
        for kind in sorted(loaded.spec.accepts):
            self.run(loaded, image, self.given(kind))
        np.testing.assert_array_equal(image, blobs())

    def test_a_box_holds_its_object(self, loaded):
        if PromptKind.BOXES not in loaded.spec.accepts:
            return
        regions = (Region(8, 10, 30, 34), Region(25, 40, 50, 60))
        answer = self.run(loaded, blobs(), PromptSet(boxes=tuple(map(BoxPrompt, regions))))
        assert len(answer.objects) <= len(regions)
        for item in answer.objects:
            # A hand draws a box too small as often as too large.
            assert any(item.region.intersect(region.grow(1)) == item.region for region in regions)

    @pytest.mark.parametrize("kind", list(PromptKind))
    def test_stops_when_the_user_has_stopped_it(self, loaded, kind):
        if kind not in loaded.spec.accepts:
            return
        embedding = loaded.embed(blobs(), REPORTER)
        with pytest.raises(JobCancelled):
            loaded.predict(embedding, self.given(kind), self.options, Stopped())
        with pytest.raises(JobCancelled):
            loaded.embed(blobs(), Stopped())

    def test_works_again_after_it_was_closed(self, engine):
        kind = min(engine.spec.accepts)
        engine.load(REPORTER)
        engine.load(REPORTER)
        before = self.run(engine, blobs(), self.given(kind))
        engine.close()
        engine.close()
        engine.load(REPORTER)
        after = self.run(engine, blobs(), self.given(kind))
        engine.close()
        assert [item.region for item in after.objects] == [o.region for o in before.objects]

    def test_says_what_and_where_it_is(self, loaded):
        assert loaded.version
        assert loaded.device
        assert isinstance(loaded.weights, str)
        assert bool(loaded.weights) == loaded.spec.needs_weights

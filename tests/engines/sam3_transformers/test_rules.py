"""The engine's own rules around the model: thresholds, notes, what a click belongs to."""

from __future__ import annotations

import numpy as np
import pytest

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
from napari_sam3_assistant.errors import PromptError


@pytest.fixture
def embedding(engine, make_image):
    return engine.embed(make_image(60, 80), NullReporter())


def predict(engine, embedding, threshold=0.0, **prompts):
    return engine.predict(
        embedding, PromptSet(**prompts), PredictOptions(threshold), NullReporter()
    )


@pytest.fixture
def silent(engine, monkeypatch):
    """Make the model sure that the concept is not there."""
    head = engine.model.detector.detr_decoder.presence_head.layer3
    monkeypatch.setattr(head.bias, "data", head.bias.data - 100.0)


def test_examples_alone_keep_their_threshold(engine, embedding):
    prediction = predict(engine, embedding, 0.9, exemplars=(ExemplarPrompt(Region(5, 5, 30, 30)),))
    assert (prediction.objects, prediction.threshold) == ((), 0.9)
    assert "Nothing scored above 0.9; the best score was 0.2" in prediction.notes[0]


@pytest.mark.usefixtures("silent")
def test_nothing_found_says_so(engine, embedding):
    prediction = predict(engine, embedding, 0.5, text="unicorn")
    assert prediction.objects == ()
    assert prediction.threshold == 0.1
    assert prediction.notes[0].startswith(
        "Nothing scored above 0.1; the best score was 0.00. Try another phrase"
    )


def test_many_objects_warn_that_some_may_be_missing(engine, embedding):
    crowded = predict(engine, embedding, 0.0, text="cell")
    assert "SAM 3 finds 20 at most in one image" in crowded.notes[0]
    assert predict(engine, embedding, 0.25, text="cell").notes == ()


def test_a_long_phrase_is_refused(engine, embedding):
    with pytest.raises(PromptError, match="The phrase has 42 tokens, SAM 3 takes up to 32"):
        predict(engine, embedding, text="x" * 40)


def test_prompts_of_several_kinds_follow_each_other(engine, embedding):
    alone = predict(engine, embedding, text="cell").objects
    click = predict(engine, embedding, points=(PointPrompt(20, 30),)).objects
    both = predict(engine, embedding, text="cell", points=(PointPrompt(20, 30),)).objects
    assert [record.id for record in both] == list(range(1, len(alone) + 2))
    np.testing.assert_array_equal(both[-1].mask, click[0].mask)


def test_a_box_over_the_edge_is_cut_to_the_image(engine, embedding):
    over = predict(engine, embedding, boxes=(BoxPrompt(Region(-20, -10, 40, 50)),)).objects
    within = predict(engine, embedding, boxes=(BoxPrompt(Region(0, 0, 40, 50)),)).objects
    np.testing.assert_array_equal(over[0].mask, within[0].mask)
    assert over[0].region == within[0].region


def test_points_outside_are_refused(engine, embedding):
    with pytest.raises(PromptError, match="lies outside the image"):
        predict(engine, embedding, points=(PointPrompt(60, 10),))


def mask_prompt(shape=(60, 80)):
    mask = np.zeros(shape, bool)
    mask[5:9, 5:9] = True
    return MaskPrompt.from_plane(mask)


def test_clicks_take_the_first_box_and_the_first_mask():
    from napari_sam3_assistant.engines.sam3.mask_decoder import decoder_prompts

    first, second = BoxPrompt(Region(0, 0, 5, 5)), BoxPrompt(Region(9, 9, 20, 20))
    one, two = mask_prompt(), mask_prompt()
    points = (PointPrompt(1, 1),)
    prompts = PromptSet(points=points, boxes=(first, second), masks=(one, two))
    calls = list(decoder_prompts(prompts, (60, 80)))
    assert [(call.points, call.boxes, call.mask) for call in calls] == [
        (points, (first,), one),
        ((), (second,), None),
        ((), (), two),
    ]


def test_many_boxes_are_split_over_calls():
    from napari_sam3_assistant.engines.sam3.mask_decoder import decoder_prompts

    boxes = tuple(BoxPrompt(Region(0, 0, 5, 5)) for _ in range(100))
    calls = list(decoder_prompts(PromptSet(boxes=boxes), (60, 80)))
    assert [len(call.boxes) for call in calls] == [64, 36]


@pytest.mark.parametrize("precision", ["bfloat16", "int8"])
def test_another_precision_gives_the_same_kinds_of_answer(tiny_checkpoint, make_image, precision):
    from napari_sam3_assistant.engines.sam3_transformers import ENTRY

    engine = ENTRY.create(tiny_checkpoint, "cpu", precision)
    engine.load(NullReporter())
    assert engine.precision == precision
    embedding = engine.embed(make_image(60, 80), NullReporter())
    prompts = {
        "text": "cell",
        "exemplars": (ExemplarPrompt(Region(5, 5, 30, 30)),),
        "points": (PointPrompt(20, 30),),
        "masks": (mask_prompt(),),
        "boxes": (BoxPrompt(Region(5, 5, 30, 30)),),
    }
    prediction = engine.predict(
        embedding, PromptSet(**prompts), PredictOptions(0.0), NullReporter()
    )
    assert len(prediction.objects) == 21
    for record in prediction.objects:
        assert isinstance(record.score, float)
        assert record.mask.dtype == np.bool_

"""What runs, and what does not run again."""

from __future__ import annotations

import pytest

from napari_sam3_assistant.core.options import PredictOptions
from napari_sam3_assistant.core.progress import NullReporter
from napari_sam3_assistant.core.prompts import BoxPrompt, ExemplarPrompt, PointPrompt, PromptSet
from napari_sam3_assistant.core.regions import Region


@pytest.fixture
def embedding(engine, make_image):
    return engine.embed(make_image(60, 80), NullReporter())


def predict(engine, embedding, threshold=0.0, **prompts):
    return engine.predict(
        embedding, PromptSet(**prompts), PredictOptions(threshold), NullReporter()
    )


def test_phrases_on_one_image_encode_it_once(engine, make_image, counting):
    phrases = ["ring", "blood vessel", "cell wall"]
    with counting(engine) as calls:
        embedding = engine.embed(make_image(60, 80), NullReporter())
        for phrase in phrases:
            predict(engine, embedding, text=phrase)
    assert calls == {"encode": 1, "text": 3, "find": 3}


def test_a_phrase_is_encoded_once_for_several_images(engine, make_image, counting):
    with counting(engine) as calls:
        for seed in range(3):
            embedding = engine.embed(make_image(60, 80, seed), NullReporter())
            predict(engine, embedding, text="mitochondrion")
            predict(engine, embedding, text="Find all the mitochondrion.")
    assert calls == {"encode": 3, "text": 1, "find": 3}


def test_a_changed_threshold_runs_nothing(engine, embedding, counting):
    example = (ExemplarPrompt(Region(5, 5, 30, 30)),)
    everything = predict(engine, embedding, 0.0, text="cell", exemplars=example)
    with counting(engine) as calls:
        some = predict(engine, embedding, 0.245, text="cell", exemplars=example)
    assert calls == {}
    assert 0 < len(some.objects) < len(everything.objects)
    assert [o.score for o in some.objects] == [
        o.score for o in everything.objects if o.score > 0.245
    ]


def test_another_example_runs_the_detector_again(engine, embedding, counting):
    predict(engine, embedding, exemplars=(ExemplarPrompt(Region(5, 5, 30, 30)),))
    with counting(engine) as calls:
        predict(engine, embedding, exemplars=(ExemplarPrompt(Region(5, 5, 30, 30), False),))
    assert calls["find"] == 1


def test_clicks_encode_nothing_after_the_first(engine, embedding, counting):
    points = [PointPrompt(20, 30), PointPrompt(40, 50), PointPrompt(5, 5, positive=False)]
    with counting(engine) as calls:
        for number in range(1, 4):
            predict(engine, embedding, points=tuple(points[:number]))
    assert calls == {"click neck": 1, "click": 3}


def test_boxes_take_one_decoder_call(engine, embedding, counting):
    boxes = tuple(BoxPrompt(Region(y, x, y + 9, x + 9)) for y in (0, 20, 40) for x in (0, 30, 60))
    with counting(engine) as calls:
        prediction = predict(engine, embedding, boxes=boxes)
    assert calls["click"] == 1
    assert len(prediction.objects) > 1


def test_a_lower_threshold_is_tried_without_the_model(engine, embedding, counting):
    with counting(engine) as calls:
        prediction = predict(engine, embedding, 0.9, text="nothing like it")
    assert calls == {"text": 1, "find": 1}
    assert prediction.threshold == 0.2
    assert prediction.notes[0] == "Nothing scored above 0.9; shown is what scored above 0.2."


def test_memory_of_an_embedding_counts_what_it_keeps(engine, embedding):
    before = embedding.nbytes
    predict(engine, embedding, points=(PointPrompt(20, 30),))
    after_click = embedding.nbytes
    assert after_click > before
    predict(engine, embedding, text="cell")
    queries, low = 20, 64
    assert embedding.nbytes - after_click == queries * low * low * 4


def test_old_answers_are_let_go(engine, embedding):
    for number in range(7):
        predict(engine, embedding, text=f"cell {number}")
    assert len(embedding.found) == 4

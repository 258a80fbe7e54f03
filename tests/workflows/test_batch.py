"""Phrases by images."""

import numpy as np
import pytest

from napari_sam3_assistant.core.display import view_of_array
from napari_sam3_assistant.core.progress import CancelToken, NullReporter
from napari_sam3_assistant.core.prompts import ExemplarPrompt, PromptSet
from napari_sam3_assistant.core.regions import Region
from napari_sam3_assistant.errors import JobCancelled, PromptError
from napari_sam3_assistant.workflows.batch import BatchItem, BatchRequest, batch
from napari_sam3_assistant.workflows.segment import SegmentRequest


def image(count, shape=(40, 50), dtype=np.uint8):
    pixels = np.zeros(shape, dtype)
    for number in range(count):
        pixels[5:9, 10 * number + 2 : 10 * number + 6] = 200
    return pixels


def item(name, pixels, prompts=None):
    request = SegmentRequest(view_of_array(pixels), prompts or PromptSet())
    return BatchItem(f"key of {name}", name, request)


ITEMS = (
    item("A", image(1)),
    item("B", image(3, (60, 44))),
    item("C", image(2, dtype=np.float32)),
    item("D", np.repeat(image(4)[..., None], 3, 2)),
)


def test_every_phrase_on_every_image_which_is_encoded_once(engine, bright):
    results = list(batch(engine, BatchRequest(ITEMS, ("cat", "dog", "fish")), NullReporter()))

    assert [result.scope for result in results] == [
        f"{name} - {phrase}" for name in "ABCD" for phrase in ("cat", "dog", "fish")
    ]
    counts = [len(result.segmentation.objects) for result in results]
    assert counts == [1, 1, 1, 3, 3, 3, 2, 2, 2, 4, 4, 4]
    assert len(bright.encoded) == 4
    # Object ids are those of the image and the phrase.
    assert all(result.segmentation.objects[0].id == 1 for result in results)
    assert results[4].segmentation.objects[0].text == "dog"
    assert results[3].key == "key of B"


def test_one_that_fails_is_reported_and_the_rest_goes_on(engine):
    far = PromptSet(exemplars=(ExemplarPrompt(Region(900, 900, 910, 910)),))
    items = (ITEMS[0], item("broken", image(1), far), ITEMS[1])

    results = list(
        batch(engine, BatchRequest(items, ("cat", "what it does not know")), NullReporter())
    )

    assert [result.error is None for result in results] == [True, False, False, False, True, False]
    assert "does not know" in results[1].error.message
    assert "outside the image" in results[2].error.message
    assert results[4].segmentation.labels.max() == 3


def test_without_phrases_the_prompts_run_as_they_are(engine, bright):
    example = PromptSet(exemplars=(ExemplarPrompt(Region(5, 2, 9, 6)),))

    results = list(batch(engine, BatchRequest((item("A", image(2), example),)), NullReporter()))

    assert [result.scope for result in results] == ["A"]
    assert bright.asked[0].exemplars == example.exemplars


def test_it_stops_between_two_runs(engine):
    token = CancelToken()

    class Reporter(NullReporter):
        def check(self):
            token.check()

    results = batch(engine, BatchRequest(ITEMS, ("cat",)), Reporter())
    next(results)
    token.cancel()

    with pytest.raises(JobCancelled):
        next(results)


def test_no_image(engine):
    with pytest.raises(PromptError, match="no image"):
        list(batch(engine, BatchRequest(()), NullReporter()))

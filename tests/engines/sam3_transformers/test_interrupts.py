"""Work that is stopped, fails, or meets other work."""

from __future__ import annotations

import numpy as np
import pytest

from contracts.video import no_numbers
from meeting import Meeting, in_thread
from napari_sam3_assistant.core.display import FrameSource, view_of_array
from napari_sam3_assistant.core.options import PredictOptions
from napari_sam3_assistant.core.progress import CancelToken, NullReporter
from napari_sam3_assistant.core.prompts import ExemplarPrompt, MaskPrompt, PointPrompt, PromptSet
from napari_sam3_assistant.core.regions import Region
from napari_sam3_assistant.core.tracks import TrackSeed
from napari_sam3_assistant.engines.caching_engine import CachingEngine
from napari_sam3_assistant.engines.encoding_cache import EmbeddingFolder
from napari_sam3_assistant.errors import EngineError, JobCancelled, OutOfDeviceMemory

POINT = PromptSet(points=(PointPrompt(20, 30),))
TEXT = PromptSet(text="cell")


class CancelAt:
    """A reporter whose user stops the work at the n-th report."""

    def __init__(self, number):
        self.seen = []
        self._number = number
        self._token = CancelToken()

    def report(self, progress):
        self.seen.append((progress.done, progress.total, progress.message))
        if len(self.seen) == self._number:
            self._token.cancel()
        self.check()

    def check(self):
        self._token.check()


@pytest.fixture
def loaded(new_engine):
    new_engine.load(NullReporter())
    return new_engine


def predict(engine, embedding, prompts, reporter=None):
    return engine.predict(embedding, prompts, PredictOptions(0.0), reporter or NullReporter())


def hooks(engine):
    return sum(len(module._forward_pre_hooks) for module in engine.model.video.modules())  # noqa: SLF001 - torch has no public count of hooks


def test_cancel_during_encoding_is_felt_before_the_next_layer(engine, make_image):
    ran = []
    layers = engine.model.detector.vision_encoder.backbone.layers
    handles = [layer.register_forward_hook(lambda *_: ran.append(1)) for layer in layers]
    before = hooks(engine)
    reporter = CancelAt(2)
    with pytest.raises(JobCancelled):
        engine.embed(make_image(60, 80), reporter)
    for handle in handles:
        handle.remove()
    assert len(ran) == 1
    assert reporter.seen == [(0, 2, "Encoding the image"), (1, 2, "Encoding the image")]
    assert hooks(engine) == before


def test_nothing_is_left_of_a_cancelled_encoding(engine, make_image):
    image = make_image(60, 80)
    expected = engine.embed(image, NullReporter())
    with pytest.raises(JobCancelled):
        engine.embed(image, CancelAt(1))
    again = engine.embed(image, NullReporter())
    np.testing.assert_array_equal(
        again.vision.last_hidden_state.numpy(), expected.vision.last_hidden_state.numpy()
    )


@pytest.mark.parametrize("number", [1, 2, 3])
def test_cancel_while_searching(engine, make_image, number):
    embedding = engine.embed(make_image(60, 80), NullReporter())
    with pytest.raises(JobCancelled):
        predict(engine, embedding, TEXT, CancelAt(number))
    assert not embedding.found
    assert predict(engine, embedding, TEXT).objects


def test_cancel_before_a_click(engine, make_image):
    embedding = engine.embed(make_image(60, 80), NullReporter())
    with pytest.raises(JobCancelled):
        predict(engine, embedding, POINT, CancelAt(1))


@pytest.mark.parametrize("prompts", [TEXT, POINT], ids=["text", "point"])
def test_out_of_memory_inside_the_model(engine, make_image, monkeypatch, prompts):
    import torch

    embedding = engine.embed(make_image(60, 80), NullReporter())

    def full(*_, **__):
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 1.5 GiB")

    detector, clicks = engine.model.detector, engine.model.clicks
    with monkeypatch.context() as patch:
        patch.setattr(detector.mask_decoder, "forward", full)
        patch.setattr(clicks.mask_decoder, "forward", full)
        with pytest.raises(OutOfDeviceMemory, match=r"1\.5 GiB") as caught:
            predict(CachingEngine(engine), embedding, prompts)
    assert "smaller region" in caught.value.hint
    assert predict(engine, embedding, prompts).objects


def test_an_encoding_without_numbers_is_told_and_not_kept(engine, make_image, tmp_path):
    kept = EmbeddingFolder(tmp_path / "kept")
    caching, view = CachingEngine(engine, folder=kept), view_of_array(make_image(60, 80))
    layer = engine.model.detector.vision_encoder.backbone.layers[1]
    with no_numbers(layer), pytest.raises(EngineError, match=r"no numbers.*'float32'"):
        caching.embedding(view, Region.whole(view.shape), NullReporter())
    assert not kept.path.exists()
    caching.embedding(view, Region.whole(view.shape), NullReporter())


@pytest.mark.parametrize("prompts", [TEXT, POINT], ids=["text", "point"])
def test_an_answer_without_numbers_is_no_empty_answer(engine, make_image, prompts):
    embedding = engine.embed(make_image(60, 80), NullReporter())
    detector, clicks = engine.model.detector, engine.model.clicks
    with (
        no_numbers(detector.detr_decoder),
        no_numbers(clicks.mask_decoder),
        pytest.raises(EngineError, match="no numbers"),
    ):
        predict(engine, embedding, prompts)
    assert predict(engine, embedding, prompts).objects


def test_a_frame_without_numbers_does_not_lose_its_objects_silently(engine, make_image):
    stack = np.stack([make_image(60, 80)[..., 0]] * 2)
    track = CachingEngine(engine).track(
        FrameSource(view_of_array(stack, plane=0), 0), PredictOptions(), int
    )
    track.add(TrackSeed(0, 1, mask=MaskPrompt(np.ones((20, 20), bool), Region(10, 10, 30, 30))))
    frames = track.propagate(range(2), NullReporter())
    assert next(frames).objects
    layer = engine.model.detector.vision_encoder.backbone.layers[1]
    with no_numbers(layer), pytest.raises(EngineError, match="no numbers"):
        next(frames)


def test_failed_work_lets_its_tensors_go(engine, make_image, monkeypatch):
    """The traceback's frames hold the tensors; a GPU would stay full until it is shown."""
    import gc
    import weakref

    import torch

    held = []

    def full(hidden, *_, **__):
        large = torch.zeros(1000)
        held.append(weakref.ref(large))
        raise torch.OutOfMemoryError("CUDA out of memory")

    layer = engine.model.detector.vision_encoder.backbone.layers[1]
    monkeypatch.setattr(layer, "forward", full)
    with pytest.raises(OutOfDeviceMemory) as caught:
        CachingEngine(engine).encode(make_image(60, 80), NullReporter())
    gc.collect()
    assert caught.value.__cause__ is not None
    assert held[0]() is None


def test_unknown_faults_are_not_hidden(engine, make_image, monkeypatch):
    def broken(*_, **__):
        raise RuntimeError("a fault of ours")

    embedding = engine.embed(make_image(60, 80), NullReporter())
    # Until a part of the model has worked once, the model's files may be at fault.
    predict(engine, embedding, PromptSet(exemplars=(ExemplarPrompt(Region(0, 0, 8, 8)),)))
    monkeypatch.setattr(engine.model.detector.detr_encoder, "forward", broken)
    prompts = PromptSet(exemplars=(ExemplarPrompt(Region(0, 0, 9, 9)),))
    with pytest.raises(RuntimeError, match="a fault of ours"):
        predict(CachingEngine(engine), embedding, prompts)


def test_not_loaded(new_engine, make_image):
    with pytest.raises(EngineError, match="not loaded"):
        new_engine.embed(make_image(6, 8), NullReporter())


def test_closed_and_loaded_again(loaded, make_image):
    image = make_image(60, 80)
    first = predict(loaded, loaded.embed(image, NullReporter()), POINT)
    loaded.close()
    assert loaded.weights == ""
    with pytest.raises(EngineError, match="not loaded"):
        loaded.embed(image, NullReporter())
    loaded.load(NullReporter())
    again = predict(loaded, loaded.embed(image, NullReporter()), POINT)
    np.testing.assert_array_equal(again.objects[0].mask, first.objects[0].mask)


def test_two_viewers_take_turns(engine, make_image):
    image = make_image(60, 80)
    meeting, shared = Meeting(), CachingEngine(engine)
    first, encoded = in_thread(lambda: shared.encode(image, meeting))
    assert meeting.inside.wait(240)
    second, also_encoded = in_thread(lambda: shared.encode(image, NullReporter()))
    meeting.go_on.set()
    first.join(240)
    second.join(240)
    np.testing.assert_array_equal(
        encoded[0].vision.last_hidden_state.numpy(),
        also_encoded[0].vision.last_hidden_state.numpy(),
    )


def test_waiting_for_another_viewer_can_be_cancelled(engine, make_image):
    image = make_image(60, 80)
    meeting, shared = Meeting(), CachingEngine(engine)
    first, _ = in_thread(lambda: shared.encode(image, meeting))
    assert meeting.inside.wait(240)
    cancelled = CancelToken()
    cancelled.cancel()

    class Stopped(NullReporter):
        check = staticmethod(cancelled.check)

    with pytest.raises(JobCancelled):
        shared.encode(image, Stopped())
    meeting.go_on.set()
    first.join(240)

"""Loading, encoding once, thresholds, cancelling and closing."""

from __future__ import annotations

import gc
import threading
import types
import weakref

import numpy as np
import pytest

from napari_sam3_assistant.core.options import PredictOptions
from napari_sam3_assistant.core.progress import CancelToken, NullReporter
from napari_sam3_assistant.core.prompts import BoxPrompt, ExemplarPrompt, PointPrompt, PromptSet
from napari_sam3_assistant.core.regions import Region
from napari_sam3_assistant.engines import sam3_meta
from napari_sam3_assistant.engines.caching_engine import CachingEngine
from napari_sam3_assistant.engines.sam3_meta import compat
from napari_sam3_assistant.engines.sam3_meta.image import MetaEncoding
from napari_sam3_assistant.errors import (
    DeviceUnavailable,
    EngineError,
    JobCancelled,
    OutOfDeviceMemory,
    PromptError,
)

QUIET = NullReporter()


class _Recorder:
    """Remembers the messages, and cancels at the one of a number."""

    def __init__(self, cancel_at=None):
        self.messages = []
        self._token = CancelToken()
        self._cancel_at = cancel_at

    def report(self, progress):
        self.messages.append(progress.message)
        if len(self.messages) - 1 == self._cancel_at:
            self._token.cancel()
        self.check()

    def check(self):
        self._token.check()


class _Calls:
    """Counts how often parts of a model run."""

    def __init__(self, **modules):
        self.counts = dict.fromkeys(modules, 0)
        self._handles = [m.register_forward_hook(self._count(n)) for n, m in modules.items()]

    def _count(self, name):
        def hook(*_):
            self.counts[name] += 1

        return hook

    def stop(self):
        for handle in self._handles:
            handle.remove()


def _model(engine):
    return engine.model.model


@pytest.fixture
def calls(loaded_engine):
    model = _model(loaded_engine)
    counter = _Calls(
        image=model.backbone.vision_backbone.trunk,
        text=model.backbone.language_backbone,
        search=model.transformer.encoder,
        clicks=compat.click_model(model).sam_mask_decoder,
    )
    yield counter.counts
    counter.stop()


@pytest.fixture
def encoding(loaded_engine, make_picture):
    return loaded_engine.embed(make_picture(60, 80), QUIET)


def _text(engine, encoding, text, threshold=0.2, reporter=QUIET):
    return engine.predict(encoding, PromptSet(text=text), PredictOptions(threshold), reporter)


def test_says_what_it_is(loaded_engine):
    assert loaded_engine.spec.name == "sam3-meta"
    assert loaded_engine.version.startswith("0.1")
    assert loaded_engine.device == "cpu"
    assert loaded_engine.weights == "sam3.pt"


def test_phrases_and_clicks_share_one_encoding(loaded_engine, make_picture, calls):
    encoding = loaded_engine.embed(make_picture(60, 80), QUIET)
    for text in ("cell one", "cell two"):
        _text(loaded_engine, encoding, text)
    for x in (5, 50):
        loaded_engine.predict(
            encoding, PromptSet(points=(PointPrompt(20, x),)), PredictOptions(), QUIET
        )

    assert calls == {"image": 1, "text": 2, "search": 2, "clicks": 2}


def test_another_threshold_runs_nothing(loaded_engine, encoding, calls):
    few = _text(loaded_engine, encoding, "threshold", 0.2)
    before = dict(calls)
    many = _text(loaded_engine, encoding, "threshold", 0.1)

    assert calls == before
    assert len(many.objects) >= len(few.objects) > 0
    assert all(record.score > 0.2 for record in few.objects)


def test_a_phrase_is_encoded_once_for_all_images(loaded_engine, make_picture, calls):
    for seed in (5, 6, 7):
        _text(loaded_engine, loaded_engine.embed(make_picture(40, 40, seed), QUIET), "once")

    assert calls["image"] == 3
    assert calls["text"] == 1


def test_boxes_are_decoded_in_one_call(loaded_engine, encoding, calls):
    boxes = tuple(BoxPrompt(Region(y, 10, y + 20, 60)) for y in (0, 10, 20, 30))
    answer = loaded_engine.predict(encoding, PromptSet(boxes=boxes), PredictOptions(), QUIET)

    assert calls["clicks"] == 1
    assert calls["image"] == 0
    assert len(answer.objects) == 4
    for record, box in zip(answer.objects, boxes, strict=True):
        assert record.region.intersect(box.region) == record.region


def test_a_prompt_leaves_the_encoding_as_it_was(loaded_engine, encoding):
    before = dict(encoding.features)
    copies = [tensor.clone() for tensor in encoding.features["backbone_fpn"]]

    _text(loaded_engine, encoding, "leave")
    box = ExemplarPrompt(Region(5, 5, 30, 30))
    loaded_engine.predict(encoding, PromptSet(exemplars=(box,)), PredictOptions(0.2), QUIET)
    loaded_engine.predict(
        encoding, PromptSet(points=(PointPrompt(20, 20),)), PredictOptions(), QUIET
    )

    assert encoding.features.keys() == before.keys()
    for tensor, copy in zip(encoding.features["backbone_fpn"], copies, strict=True):
        np.testing.assert_array_equal(tensor.numpy(), copy.numpy())


def test_encodings_share_what_depends_on_the_size_only(loaded_engine, make_picture):
    first = loaded_engine.embed(make_picture(30, 40), QUIET)
    second = loaded_engine.embed(make_picture(50, 20), QUIET)

    assert first.features["vision_pos_enc"] is second.features["vision_pos_enc"]
    assert first.nbytes == second.nbytes > 1_000_000


def test_a_phrase_without_a_find_is_tried_at_falling_thresholds(loaded_engine, encoding):
    answer = _text(loaded_engine, encoding, "Segment all the retries.", threshold=0.9)

    assert answer.phrase == "retries"
    assert answer.threshold == 0.2
    assert answer.objects
    assert all(0.2 < record.score <= 0.9 for record in answer.objects)
    assert all(record.text == "retries" for record in answer.objects)
    assert "Nothing scored above 0.9" in answer.notes[0]


def test_examples_are_not_tried_at_other_thresholds(loaded_engine, encoding):
    box = ExemplarPrompt(Region(5, 5, 30, 30))
    answer = loaded_engine.predict(
        encoding, PromptSet(exemplars=(box,)), PredictOptions(0.95), QUIET
    )

    assert answer.objects == ()
    assert answer.threshold == 0.95


def test_found_and_clicked_objects_are_numbered_on(loaded_engine, encoding):
    prompts = PromptSet(text="number", points=(PointPrompt(30, 40),))
    answer = loaded_engine.predict(encoding, prompts, PredictOptions(0.2), QUIET)

    assert [record.id for record in answer.objects] == list(range(1, len(answer.objects) + 1))
    assert answer.objects[0].text == "number"
    assert answer.objects[-1].text == ""


def test_a_phrase_that_would_be_cut_is_refused(loaded_engine, encoding):
    with pytest.raises(PromptError, match=r"takes up to 32\. Use a short noun phrase"):
        _text(loaded_engine, encoding, "very " * 40)


def test_a_point_outside_is_refused(loaded_engine, encoding):
    with pytest.raises(PromptError, match="outside the image"):
        loaded_engine.predict(
            encoding, PromptSet(points=(PointPrompt(70, 70),)), PredictOptions(), QUIET
        )


def test_needs_to_be_loaded(make_engine):
    with pytest.raises(EngineError, match="not loaded"):
        make_engine().embed(np.zeros((8, 8, 3), np.uint8), QUIET)


def test_a_second_load_does_nothing(make_engine):
    engine = make_engine()
    engine.load(QUIET)
    recorder = _Recorder()
    engine.load(recorder)

    assert recorder.messages == []


def test_cancel_during_load_is_felt_at_each_step_and_can_be_repeated(make_engine):
    engine = make_engine()
    whole = _Recorder()
    engine.load(whole)
    engine.close()
    assert len(whole.messages) == 5
    for step in range(len(whole.messages) - 1):
        recorder = _Recorder(cancel_at=step)
        with pytest.raises(JobCancelled):
            engine.load(recorder)
        assert len(recorder.messages) == step + 1
        assert engine.weights == ""
    engine.load(QUIET)
    assert engine.weights == "sam3.pt"


def test_closing_frees_the_model_and_loading_makes_it_ready_again(make_engine, make_picture):
    engine = make_engine()
    engine.load(QUIET)
    model = weakref.ref(_model(engine))
    engine.close()
    gc.collect()
    assert model() is None
    engine.close()
    engine.load(QUIET)

    assert engine.embed(make_picture(20, 20), QUIET).shape == (20, 20)


@pytest.mark.parametrize("block", [0, 1])
def test_cancel_during_encoding_is_felt_before_the_next_block(loaded_engine, make_picture, block):
    blocks = compat.vision_blocks(_model(loaded_engine))
    counter = _Calls(**{str(number): module for number, module in enumerate(blocks)})
    with pytest.raises(JobCancelled):
        loaded_engine.embed(make_picture(30, 30), _Recorder(cancel_at=block))
    counter.stop()

    assert sum(counter.counts.values()) == block
    assert not any(module._forward_pre_hooks for module in blocks)  # noqa: SLF001


def test_cancel_during_a_search_is_felt_before_the_next_stage(loaded_engine, make_picture):
    encoding = loaded_engine.embed(make_picture(30, 30), QUIET)
    stages = compat.prompt_stages(_model(loaded_engine))
    counter = _Calls(encoder=stages[1], decoder=stages[2])
    # Reading the phrase, then the examples' encoder, the encoder, the decoder.
    with pytest.raises(JobCancelled):
        _text(loaded_engine, encoding, "cancel", reporter=_Recorder(cancel_at=3))
    counter.stop()

    assert counter.counts == {"encoder": 1, "decoder": 0}
    assert not any(module._forward_pre_hooks for module in stages)  # noqa: SLF001
    assert _text(loaded_engine, encoding, "cancel").objects


def test_closing_stops_a_run_at_its_next_stage(make_engine, make_picture):
    engine = make_engine()
    shared = CachingEngine(engine)
    shared.load(QUIET)
    began, may_go_on = threading.Event(), threading.Event()
    outcome = []

    class Slow(NullReporter):
        def report(self, progress):
            began.set()
            assert may_go_on.wait(240)

    def work():
        try:
            shared.encode(make_picture(30, 30), Slow())
        except EngineError as error:
            outcome.append(error.message)

    worker = threading.Thread(target=work)
    worker.start()
    assert began.wait(240)
    closer = threading.Thread(target=shared.close)
    closer.start()
    while not shared._lock._closing.is_set():  # noqa: SLF001 - the moment has no other sign
        closer.join(0.01)
    may_go_on.set()
    worker.join(240)
    closer.join(240)

    assert outcome == ["SAM 3 (Meta sam3 package) was closed while it worked."]
    assert engine.weights == ""


def test_memory_that_runs_out_inside_the_model_is_told(loaded_engine, make_picture):
    import torch

    def full(*_):
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 MiB.")

    block = compat.vision_blocks(_model(loaded_engine))[1]
    handle = block.register_forward_pre_hook(full)
    with pytest.raises(OutOfDeviceMemory, match="smaller region"):
        CachingEngine(loaded_engine).encode(make_picture(30, 30), QUIET)
    handle.remove()

    assert loaded_engine.embed(make_picture(30, 30), QUIET).shape == (30, 30)


def test_the_image_is_not_modified_and_may_be_read_only(loaded_engine, make_picture):
    pixels = make_picture(30, 40)
    pixels.setflags(write=False)

    assert loaded_engine.embed(pixels, QUIET).shape == (30, 40)


def test_a_crowded_image_is_noted(loaded_engine, encoding):
    answer = _text(loaded_engine, encoding, "crowd", threshold=0.0)

    assert len(answer.objects) == 20
    assert "some may be missing" in answer.notes[-1]


def test_works_in_another_thread_than_it_was_loaded_in(loaded_engine, encoding):
    here = _text(loaded_engine, encoding, "threads")
    # The same encoding, which remembers no answers.
    fresh = MetaEncoding(encoding.shape, encoding.features)
    there = []
    worker = threading.Thread(target=lambda: there.append(_text(loaded_engine, fresh, "threads")))
    worker.start()
    worker.join(240)

    assert [o.score for o in there[0].objects] == [o.score for o in here.objects]


def test_the_apple_gpu_is_left_to_transformers(make_engine, monkeypatch):
    from napari_sam3_assistant.engines import device

    monkeypatch.setattr(device, "read_devices", lambda _requested: device.Devices(mps=True))
    by_itself = make_engine()
    by_itself.load(QUIET)
    assert by_itself.device == "cpu"
    with pytest.raises(DeviceUnavailable, match="sam3-transformers"):
        make_engine(device="mps").load(QUIET)


class TestStatus:
    def test_available(self, builder):
        assert sam3_meta.status().available

    def test_not_installed(self, monkeypatch):
        monkeypatch.setattr(sam3_meta, "find_spec", lambda name: None)
        status = sam3_meta.status()

        assert not status.available
        assert "pip install" in status.reason
        assert "sam3-transformers" in status.reason

    def test_a_folder_named_sam3_is_not_the_package(self, monkeypatch):
        folder = types.SimpleNamespace(origin=None)
        monkeypatch.setattr(sam3_meta, "find_spec", lambda name: folder)

        assert "not installed" in sam3_meta.status().reason

    def test_names_what_is_missing(self, monkeypatch):
        there = types.SimpleNamespace(origin="/somewhere/sam3/__init__.py")
        monkeypatch.setattr(
            sam3_meta, "find_spec", lambda name: None if name in ("timm", "iopath") else there
        )

        assert "pip install iopath timm" in sam3_meta.status().reason


@pytest.mark.parametrize("precision", ["bfloat16", "int8"])
def test_the_image_encoder_works_in_another_precision(
    make_engine, loaded_engine, make_picture, precision
):
    engine, picture = make_engine(precision=precision), make_picture(60, 80)
    engine.load(NullReporter())
    assert engine.precision == precision
    encoding = engine.embed(picture, NullReporter())
    exact = loaded_engine.embed(picture, NullReporter())
    for name, other in exact.tensors().items():
        own = encoding.tensors()[name]
        assert own.dtype == other.dtype
        # Near, and not the same: another format was at work.
        assert 0 < float((own - other).norm() / other.norm()) < 0.1
    prompts = PromptSet(points=(PointPrompt(20, 30),), text="cell")
    assert engine.predict(encoding, prompts, PredictOptions(0.0), NullReporter()).objects

"""An image is encoded once and prompted often: counted in the real model, through our layers."""

from __future__ import annotations

import shutil
import time

import numpy as np
import pytest

from meeting import Meeting, in_thread
from napari_sam3_assistant import api
from napari_sam3_assistant.core.display import FrameSource, ImageView, view_of_array
from napari_sam3_assistant.core.options import PredictOptions
from napari_sam3_assistant.core.progress import CancelToken, NullReporter
from napari_sam3_assistant.core.prompts import BoxPrompt, MaskPrompt, PointPrompt, PromptSet
from napari_sam3_assistant.core.regions import Region
from napari_sam3_assistant.core.tracks import TrackSeed
from napari_sam3_assistant.engines import registry
from napari_sam3_assistant.engines.caching_engine import CachingEngine
from napari_sam3_assistant.engines.encoding_cache import EmbeddingFolder, EmbeddingStore
from napari_sam3_assistant.engines.sam3_transformers import ENTRY
from napari_sam3_assistant.errors import EngineError, JobCancelled, OutOfDeviceMemory
from napari_sam3_assistant.workflows.segment import SegmentRequest, segment

safetensors = pytest.importorskip("safetensors.torch")
QUIET = NullReporter()
POINT = PromptSet(points=(PointPrompt(20, 30),))
PHRASES = ("ring", "blood vessel", "cell wall")


@pytest.fixture(autouse=True)
def _one_thread():
    torch = pytest.importorskip("torch")
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def picture(seed=0, shape=(60, 80, 3)):
    return np.random.default_rng(seed).integers(0, 256, shape, np.uint8)


@pytest.fixture
def make_engine(tiny_checkpoint):
    made = []

    def make(store=None, folder=None):
        engine = CachingEngine(ENTRY.create(tiny_checkpoint, "cpu"), store, folder)
        made.append(engine)
        engine.load(QUIET)
        return engine

    yield make
    for one in made:
        one.close()


@pytest.fixture
def engine(make_engine):
    return make_engine()


def run(engine, view, prompts, threshold=0.0, region=None):
    request = SegmentRequest(view, prompts, PredictOptions(threshold), region)
    return next(segment(engine, request, QUIET))


def layers(engine):
    """The layers of the image encoder, to put something in their way."""
    return engine._engine.model.detector.vision_encoder.backbone.layers  # noqa: SLF001 - no other way into the model


# -- what runs ----------------------------------------------------------------------------


def test_phrases_on_images(engine, model_calls):
    views = [view_of_array(picture(seed)) for seed in range(3)]
    for _ in range(2):
        for view in views:
            for phrase in PHRASES:
                run(engine, view, PromptSet(text=phrase))
    assert model_calls == {"encode": 3, "text": 3, "find": 9}


def test_phrases_on_images_through_the_api(tiny_checkpoint, model_calls):
    images = [picture(seed) for seed in range(3)]
    with api.open_engine("sam3-transformers", model_folder=tiny_checkpoint, device="cpu") as engine:
        for image in images:
            for phrase in PHRASES:
                api.segment(image, text=phrase, engine=engine)
            # Another object with the same pixels is the same image.
            api.segment(image.copy(), text=PHRASES[0], engine=engine, threshold=0.01)
    assert model_calls == {"encode": 3, "text": 3, "find": 9}


def test_all_prompts_take_one_encoding(engine, model_calls):
    view = view_of_array(picture())
    boxes = tuple(BoxPrompt(Region(y, 5, y + 12, 40)) for y in (0, 15, 30))
    run(engine, view, PromptSet(text="cell"))
    run(engine, view, POINT)
    run(engine, view, PromptSet(points=(*POINT.points, PointPrompt(5, 5, positive=False))))
    assert model_calls == {"encode": 1, "text": 1, "find": 1, "click": 2}
    run(engine, view, PromptSet(boxes=boxes))
    assert model_calls["click"] == 3


def test_another_threshold_runs_nothing(engine, model_calls):
    view = view_of_array(picture())
    everything = run(engine, view, PromptSet(text="cell"))
    before = model_calls.copy()
    some = run(engine, view, PromptSet(text="cell"), threshold=0.245)
    assert model_calls == before
    assert 0 < len(some.objects) < len(everything.objects)


def test_pixels_are_read_once(engine, monkeypatch):
    view = view_of_array(picture())
    reads = []
    real = ImageView.rgb
    monkeypatch.setattr(ImageView, "rgb", lambda *given: reads.append(1) or real(*given))
    for _ in range(3):
        run(engine, view, POINT)
    assert reads == [1]


def test_a_region_is_encoded_by_itself(engine, model_calls):
    view = view_of_array(picture())
    whole = run(engine, view, POINT)
    part = run(engine, view, POINT, region=Region(10, 10, 50, 70))
    assert model_calls["encode"] == 2
    assert (whole.labels.shape, part.labels.shape) == ((60, 80), (40, 60))


# -- what is kept -------------------------------------------------------------------------


def test_planes_come_back_from_ram(make_engine, model_calls):
    engine = make_engine(EmbeddingStore(on_device=1, ram_bytes=2**30))
    views = [view_of_array(picture(seed)) for seed in range(4)]
    first = [run(engine, view, POINT).labels for view in views]
    again = [run(engine, view, POINT).labels for view in views]
    assert model_calls["encode"] == 4
    np.testing.assert_array_equal(first, again)


def test_closing_forgets_all(engine, model_calls):
    view = view_of_array(picture())
    run(engine, view, POINT)
    engine.close()
    assert not engine.is_loaded
    with pytest.raises(EngineError, match="not loaded"):
        engine.embedding(view, Region.whole(view.shape), QUIET)
    run(engine, view, POINT)
    assert model_calls["encode"] == 2


def test_another_process_finds_the_encoding_on_disk(make_engine, tmp_path, model_calls):
    prompts = PromptSet(points=POINT.points, text="cell")
    made = run(make_engine(folder=EmbeddingFolder(tmp_path)), view_of_array(picture()), prompts)
    found = run(make_engine(folder=EmbeddingFolder(tmp_path)), view_of_array(picture()), prompts)
    assert model_calls["encode"] == 1
    np.testing.assert_array_equal(made.labels, found.labels)
    assert [one.score for one in made.objects] == [one.score for one in found.objects]


def test_a_folder_through_the_api(tiny_checkpoint, tmp_path, model_calls):
    for _ in range(2):
        with api.open_engine(
            "sam3-transformers", model_folder=tiny_checkpoint, encodings_folder=tmp_path
        ) as engine:
            api.segment(picture(), points=[(20, 30)], engine=engine)
    assert model_calls["encode"] == 1


def test_another_number_format_is_another_encoding(make_engine, tmp_path, monkeypatch, model_calls):
    run(make_engine(folder=EmbeddingFolder(tmp_path)), view_of_array(picture()), POINT)
    # What is asked for is `auto`.
    monkeypatch.setenv("NAPARI_SAM3_PRECISION", "bfloat16")
    for _ in range(2):
        run(make_engine(folder=EmbeddingFolder(tmp_path)), view_of_array(picture()), POINT)
    assert model_calls["encode"] == 2


@pytest.mark.parametrize("changed", ["weights", "settings", "gone"])
def test_a_model_that_is_changed_while_it_is_loaded(sam_folder, tmp_path, changed):
    """As by a training that goes on; or the drive with the model is taken away."""
    weights = shutil.copytree(sam_folder("sam2"), tmp_path / "model") / "model.safetensors"
    kept = tmp_path / "encodings"

    def encode():
        view = view_of_array(picture())
        return engine.embedding(view, Region.whole(view.shape), QUIET).maps[-1]

    with CachingEngine(
        registry.create("sam-transformers", tmp_path / "model", "cpu"), folder=EmbeddingFolder(kept)
    ) as engine:
        engine.load(QUIET)
        if changed == "gone":
            weights.unlink()
        elif changed == "settings":
            settings = weights.with_name("processor_config.json")
            settings.write_text(settings.read_text().replace("0.485", "0.2"))
        else:
            trained = safetensors.load_file(weights)
            name = next(name for name in trained if name.startswith("vision_encoder"))
            trained[name] += 1
            safetensors.save_file(trained, weights, {"format": "pt"})
        before = encode()
        with pytest.raises(EngineError, match="not those any more that were loaded"):
            engine.encode_for_folder(picture(), QUIET)
    assert not kept.exists()
    if changed != "gone":
        with engine:
            engine.load(QUIET)
            assert not before.equal(encode())
            assert list(kept.iterdir())


def test_a_truncated_file_is_made_anew(make_engine, tmp_path, model_calls):
    run(make_engine(folder=EmbeddingFolder(tmp_path)), view_of_array(picture()), POINT)
    (file,) = tmp_path.iterdir()
    file.write_bytes(file.read_bytes()[:1000])
    run(make_engine(folder=EmbeddingFolder(tmp_path)), view_of_array(picture()), POINT)
    assert model_calls["encode"] == 2
    assert file.stat().st_size > 1000


# -- faults -------------------------------------------------------------------------------


class CancelAtLayer:
    """A reporter whose user stops at the second layer of the encoder."""

    def __init__(self):
        self._token = CancelToken()

    def report(self, progress):
        if (progress.done, progress.message) == (1, "Encoding the image"):
            self._token.cancel()
        self.check()

    def check(self):
        self._token.check()


def test_a_cancelled_encoding_is_not_kept(make_engine, tmp_path, model_calls):
    store = EmbeddingStore()
    engine = make_engine(store, EmbeddingFolder(tmp_path / "encodings"))
    view = view_of_array(picture())
    with pytest.raises(JobCancelled):
        engine.embedding(view, Region.whole(view.shape), CancelAtLayer())
    assert len(store) == 0
    assert not (tmp_path / "encodings").exists()
    assert run(engine, view, POINT).objects
    assert model_calls["encode"] == 1


def run_out(engine, monkeypatch, times):
    """Let the encoder's second layer run out of memory so many times."""
    import torch

    layer = layers(engine)[1]
    real, failed = layer.forward, []

    def forward(*given, **named):
        if len(failed) < times:
            failed.append(1)
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 1.5 GiB")
        return real(*given, **named)

    monkeypatch.setattr(layer, "forward", forward)


def test_without_memory_the_other_encodings_make_room(make_engine, monkeypatch):
    store = EmbeddingStore()
    engine = make_engine(store)
    run(engine, view_of_array(picture(0)), POINT)
    run_out(engine, monkeypatch, times=1)
    assert run(engine, view_of_array(picture(1)), POINT).objects
    assert len(store) == 1


def test_without_memory_the_remedy_is_named(make_engine, monkeypatch):
    store = EmbeddingStore()
    engine = make_engine(store)
    run_out(engine, monkeypatch, times=1)
    freed = []
    monkeypatch.setattr(
        "napari_sam3_assistant.engines.errors.free_cache", lambda: freed.append("the cache")
    )
    with pytest.raises(OutOfDeviceMemory, match=r"1\.5 GiB") as caught:
        run(engine, view_of_array(picture()), POINT)
    assert "Use a smaller region" in caught.value.hint
    assert "choose the device 'cpu'" in caught.value.hint
    assert freed == ["the cache"]
    assert len(store) == 0
    # The next try finds the engine as it was.
    assert run(engine, view_of_array(picture()), POINT).objects


def test_closed_during_a_run(make_engine):
    store = EmbeddingStore()
    engine = make_engine(store)
    view, meeting = view_of_array(picture()), Meeting()
    running, outcome = in_thread(lambda: engine.embedding(view, Region.whole(view.shape), meeting))
    assert meeting.inside.wait(240)
    closing, _ = in_thread(engine.close)
    assert engine._lock._closing.wait(240)  # noqa: SLF001 - a real event is better than a sleep
    meeting.go_on.set()
    running.join(240)
    closing.join(240)
    assert (
        str(outcome[0]) == "SAM 3 (transformers) was closed while it worked. Load it and run again."
    )
    assert len(store) == 0


def test_encoding_ahead_gives_way_to_who_waits(engine, model_calls):
    early, wanted = view_of_array(picture(0)), view_of_array(picture(1))
    meeting = Meeting()
    ahead, outcome = in_thread(lambda: engine.prefetch(early, Region.whole(early.shape), meeting))
    assert meeting.inside.wait(240)
    running, result = in_thread(lambda: run(engine, wanted, POINT))
    until = time.monotonic() + 240
    while not engine._lock.has_waiters:  # noqa: SLF001 - nobody else is told who waits
        assert time.monotonic() < until
    meeting.go_on.set()
    ahead.join(240)
    running.join(240)
    assert isinstance(outcome[0], JobCancelled)
    assert result[0].objects
    # Only the run's encoding was completed.
    assert model_calls["encode"] == 1


def test_a_run_uses_what_was_encoded_ahead(engine, model_calls):
    view = view_of_array(picture())
    engine.prefetch(view, Region.whole(view.shape), QUIET)
    assert run(engine, view, POINT).objects
    assert model_calls == {"encode": 1, "click": 1}


class SlowStack:
    """A stack of which the second frame is read when the test lets it be."""

    ndim, dtype = 3, np.dtype(np.uint8)

    def __init__(self, stack):
        self._stack = stack
        self.shape = stack.shape
        self.meeting = Meeting()

    def __getitem__(self, key):
        if key[0] == 1:
            self.meeting.report(None)
        return self._stack[key]


def test_a_track_leaves_the_engine_to_others_between_frames():
    engine = CachingEngine(registry.create("builtin"))
    engine.load(QUIET)
    stack = np.full((3, 40, 50), 20, np.uint8)
    stack[:, 10:30, 10:30] = 200
    slow = SlowStack(stack)
    frames = FrameSource(view_of_array(slow, plane=0), 0)
    track = engine.track(frames, PredictOptions(), lambda: 9)
    track.add(TrackSeed(0, 1, mask=MaskPrompt(np.ones((20, 20), bool), Region(10, 10, 30, 30))))
    running, outcome = in_thread(lambda: list(track.propagate(range(3), QUIET)))
    assert slow.meeting.inside.wait(240)

    other, encoded = in_thread(lambda: engine.encode(picture(), QUIET))
    until = time.monotonic() + 240
    while not engine._lock.has_waiters:  # noqa: SLF001 - nobody else is told who waits
        assert time.monotonic() < until
    assert encoded == []
    slow.meeting.go_on.set()
    other.join(240)
    running.join(240)

    assert encoded[0] is not None
    assert [found.frame for found in outcome[0]] == [0, 1, 2]


def test_a_track_without_memory_lets_the_encodings_go_and_goes_on(make_engine, monkeypatch):
    store = EmbeddingStore()
    engine = make_engine(store)
    stack = np.stack([picture(seed)[..., 0] for seed in range(3)])
    seed = TrackSeed(0, 1, mask=MaskPrompt(np.ones((20, 20), bool), Region(10, 10, 30, 30)))
    found = []
    for failures in (0, 1):
        run(engine, view_of_array(picture(7)), POINT)
        track = engine.track(FrameSource(view_of_array(stack, plane=0), 0), PredictOptions(), int)
        track.add(seed)
        frames = [next(track.propagate(range(3), QUIET))]
        run_out(engine, monkeypatch, times=failures)
        if failures:
            with pytest.raises(OutOfDeviceMemory):
                next(track.propagate(range(1, 3), QUIET))
            assert len(store) == 0
        frames += track.propagate(range(1, 3), QUIET)
        track.close()
        found.append([[one.mask.tolist() for one in frame.objects] for frame in frames])

    assert any(found[0])
    assert found[0] == found[1]

"""What is kept in memory, what goes first, and what a full device does."""

from __future__ import annotations

import gc
import itertools
import threading
import tracemalloc
from dataclasses import dataclass, replace

import numpy as np
import pytest

from napari_sam3_assistant.core.axes import ImageAxes
from napari_sam3_assistant.core.images import ImageSource
from napari_sam3_assistant.core.progress import NullReporter
from napari_sam3_assistant.core.prompts import PointPrompt, PromptSet
from napari_sam3_assistant.engines.base import Packable
from napari_sam3_assistant.engines.builtin.clicks import candidates_at
from napari_sam3_assistant.engines.builtin.detection import detect
from napari_sam3_assistant.engines.builtin.features import PlaneFeatures
from napari_sam3_assistant.engines.encoding_cache import EmbeddingStore, LRUCache

GPU = "cuda:0"


@dataclass(frozen=True)
class Encoded:
    """An encoding of 100 bytes, that says where it lies."""

    name: str
    device: str = GPU
    shape: tuple[int, int] = (1, 1)
    nbytes: int = 100

    def to(self, device):
        return self if device == self.device else replace(self, device=device)

    def tensors(self):
        return {}


def fill(store, names, device=GPU):
    return [
        store.get_or_make(name, lambda name=name: Encoded(name, device), device) for name in names
    ]


def refuse():
    raise AssertionError("it was made again")


def test_the_stand_in_is_packable():
    assert isinstance(Encoded("a"), Packable)


def test_the_least_recently_used_goes_to_ram_and_comes_back():
    store = EmbeddingStore(on_device=2, ram_bytes=1000)
    fill(store, "abc")
    assert (len(store), store.ram_bytes) == (3, 100)

    back = store.get_or_make("a", refuse, GPU)

    assert (back.name, back.device) == ("a", GPU)
    # Now b is the one in RAM.
    assert store.ram_bytes == 100
    assert store.get_or_make("c", refuse, GPU).device == GPU


def test_ram_is_limited_by_bytes():
    store = EmbeddingStore(on_device=1, ram_bytes=250)
    fill(store, "abcde")
    assert [name for name in "abcde" if name in store] == ["c", "d", "e"]
    assert store.ram_bytes == 200


def test_what_is_used_stays():
    store = EmbeddingStore(on_device=1, ram_bytes=200)
    fill(store, "abcab" + "d")
    assert [name for name in "abcd" if name in store] == ["a", "b", "d"]


def test_what_can_not_be_made_leaves_nothing():
    store = EmbeddingStore()

    def fail():
        raise RuntimeError("half-way")

    with pytest.raises(RuntimeError):
        store.get_or_make("a", fail, "cpu")
    assert len(store) == 0
    assert store.get_or_make("a", lambda: 7, "cpu") == 7


def test_what_can_not_be_moved_back_stays_in_ram():
    class Stuck(Encoded):
        def to(self, device):
            if device == GPU and self.device == "cpu":
                raise MemoryError
            return Stuck(self.name, device)

    store = EmbeddingStore(on_device=1)
    store.get_or_make("a", lambda: Stuck("a"), GPU)
    fill(store, "b")
    with pytest.raises(MemoryError):
        store.get_or_make("a", refuse, GPU)
    assert "a" in store


def test_an_encoding_without_a_size_is_not_kept_beyond_the_number():
    store = EmbeddingStore(on_device=2)
    for key in "abc":
        store.get_or_make(key, object, "cpu")
    assert [key for key in "abc" if key in store] == ["b", "c"]


def test_the_built_in_encoding_tells_its_size():
    features = PlaneFeatures.from_rgb(np.zeros((8, 6, 3), np.uint8))
    assert features.nbytes == 8 * 6 * 4
    features.octave(1)
    assert features.nbytes == 8 * 6 * 4 + 4 * 3 * 4


def test_the_built_in_encoding_tells_the_size_of_what_was_found_in_it():
    picture = np.zeros((96, 96, 3), np.uint8)
    for row, column in itertools.product(range(4, 96, 12), repeat=2):
        picture[row : row + 6, column : column + 6] = 200

    def encode():
        features = PlaneFeatures.from_rgb(picture)
        detect(features, 1, NullReporter())
        candidates_at(features, (48, 48), NullReporter())
        gc.collect()
        return features

    encode()  # what the first call loads is no part of an encoding
    tracemalloc.start()
    try:
        features = encode()
        taken, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert len(features.detections[1, None]) > 20
    assert 0.5 * taken < features.nbytes < 1.5 * taken


def test_a_full_gpu_moves_all_but_the_one_in_use_to_ram():
    store = EmbeddingStore(on_device=3)
    _, in_use, _ = fill(store, "abc")
    assert store.free(GPU, keep=in_use)
    assert (len(store), store.ram_bytes) == (3, 200)
    assert not store.free(GPU, keep=in_use)


def test_a_full_computer_forgets_all_but_the_one_in_use():
    store = EmbeddingStore(on_device=2)
    in_use = fill(store, "abc", "cpu")[-1]
    assert store.free("cpu", keep=in_use)
    assert [name for name in "abc" if name in store] == ["c"]
    assert not store.free("cpu", keep=in_use)


def test_recent_keeps_the_last_used_and_its_order():
    recent: LRUCache[str] = LRUCache(2)
    for key in "abac":
        recent.get_or_make(key, lambda key=key: key.upper())
    assert list(recent) == ["A", "C"]
    assert list(recent.map(str.lower)) == ["a", "c"]


def test_a_moved_encoding_takes_its_answers_along(tiny_checkpoint):
    """The device "meta" is there without a GPU."""
    from napari_sam3_assistant.core.options import PredictOptions
    from napari_sam3_assistant.core.progress import NullReporter
    from napari_sam3_assistant.engines.sam3_transformers import ENTRY

    engine = ENTRY.create(tiny_checkpoint, "cpu")
    engine.load(NullReporter())
    embedding = engine.embed(np.zeros((30, 40, 3), np.uint8), NullReporter())
    prompts = PromptSet(points=(PointPrompt(3, 3),), text="cell")
    engine.predict(embedding, prompts, PredictOptions(), NullReporter())

    moved = embedding.to("meta")

    assert embedding.to("cpu") is embedding
    assert moved.nbytes == embedding.nbytes
    assert {tensor.device.type for tensor in moved.tensors().values()} == {"meta"}
    assert {tensor.device.type for tensor in moved.clicks} == {"meta"}
    assert [one.masks.device.type for one in moved.found] == ["meta"]
    # Shared by all images, so not moved.
    assert moved.vision.fpn_position_encoding is embedding.vision.fpn_position_encoding
    engine.close()


def test_the_encodings_of_an_image_that_nobody_asks_for_any_more_go():
    store = EmbeddingStore(on_device=2, ram_bytes=1000)
    for name, images in {"a": [1], "b": [1, 2], "c": [2], "d": []}.items():
        store.get_or_make(name, lambda name=name: Encoded(name), GPU, images)
    assert (len(store), store.ram_bytes) == (4, 200)

    store.forget(1)

    assert [name for name in "abcd" if name in store] == ["c", "d"]
    assert store.ram_bytes == 0
    assert store.find("c", GPU).name == "c"


def test_an_image_may_go_while_it_is_encoded():
    store = EmbeddingStore()
    source = ImageSource(np.zeros((4, 4)), ImageAxes(2, None, False, ""))
    source.add_cache(store)

    def make():
        source.drop_caches()
        return Encoded("a")

    assert store.get_or_make("a", make, GPU, [source.token]).name == "a"
    assert "a" not in store
    store.get_or_make("a", make, GPU, [source.token])
    source.add_cache(store)
    assert "a" not in store


def test_images_that_go_in_other_threads_disturb_nobody():
    store = EmbeddingStore(on_device=1, ram_bytes=500)
    done = threading.Event()

    def go():
        while not done.is_set():
            for image in range(50):
                store.forget(image)

    thread = threading.Thread(target=go)
    thread.start()
    for number in range(2000):
        store.get_or_make(number, lambda: Encoded("x"), GPU, [number % 50])
    done.set()
    thread.join()
    for image in range(50):
        store.forget(image)
    assert len(store) == 0

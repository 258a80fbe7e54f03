"""Encodings that are moved, written to disk, and read by another engine."""

from __future__ import annotations

import numpy as np
import pytest

from napari_sam3_assistant.core.options import PredictOptions
from napari_sam3_assistant.core.progress import NullReporter
from napari_sam3_assistant.core.prompts import ExemplarPrompt, PointPrompt, PromptSet
from napari_sam3_assistant.core.regions import Region
from napari_sam3_assistant.engines.base import Packable, Unpacker
from napari_sam3_assistant.engines.encoding_cache import EmbeddingFolder

QUIET = NullReporter()
PROMPTS = PromptSet(
    points=(PointPrompt(20, 30),),
    text="cell",
    exemplars=(ExemplarPrompt(Region(5, 5, 30, 30)),),
)


def predict(engine, encoding):
    return engine.predict(encoding, PROMPTS, PredictOptions(0.0), QUIET)


def test_what_another_engine_reads_gives_the_same(
    loaded_engine, make_engine, make_picture, tmp_path
):
    assert isinstance(loaded_engine, Unpacker)
    encoding = loaded_engine.embed(make_picture(60, 80), QUIET)
    assert isinstance(encoding, Packable)
    folder = EmbeddingFolder(tmp_path)
    folder.save("a" * 64, encoding.shape, encoding.tensors())

    # It has encoded nothing, so it makes the position encodings by itself.
    other = make_engine()
    other.load(QUIET)
    read = other.unpack(*folder.load("a" * 64))

    assert other.encoding_id == loaded_engine.encoding_id
    for mine, theirs in zip(
        encoding.features["vision_pos_enc"], read.features["vision_pos_enc"], strict=True
    ):
        np.testing.assert_array_equal(mine.numpy(), theirs.numpy())
    expected, found = predict(loaded_engine, encoding), predict(other, read)
    assert [one.score for one in found.objects] == [one.score for one in expected.objects]
    for one, two in zip(found.objects, expected.objects, strict=True):
        np.testing.assert_array_equal(one.mask, two.mask)


def test_all_images_share_the_position_encodings(loaded_engine, make_picture):
    first, second = (loaded_engine.embed(make_picture(60, 80, seed), QUIET) for seed in (0, 1))
    assert first.features["vision_pos_enc"] is second.features["vision_pos_enc"]
    read = loaded_engine.unpack(first.shape, first.tensors())
    assert read.features["vision_pos_enc"] is first.features["vision_pos_enc"]


def test_moved_with_its_answers(loaded_engine, make_picture):
    encoding = loaded_engine.embed(make_picture(60, 80), QUIET)
    predict(loaded_engine, encoding)
    moved = encoding.to("meta")
    assert encoding.to("cpu") is encoding
    assert moved.nbytes == encoding.nbytes
    assert {tensor.device.type for tensor in moved.tensors().values()} == {"meta"}
    assert [one.masks.device.type for one in moved.found] == ["meta"]
    assert moved.features["vision_features"] is moved.features["backbone_fpn"][-1]


def test_nothing_loaded_has_no_identity(make_engine):
    engine = make_engine()
    assert engine.encoding_id == ""
    engine.load(QUIET)
    assert "sam3.pt" in engine.encoding_id
    assert "float32" in engine.encoding_id
    engine.close()
    assert engine.encoding_id == ""


@pytest.fixture(autouse=True)
def _one_thread():
    torch = pytest.importorskip("torch")
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)

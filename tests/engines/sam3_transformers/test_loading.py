"""Loading a model folder, and the folders that can't be loaded."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest

from napari_sam3_assistant.core.options import PredictOptions
from napari_sam3_assistant.core.progress import CancelToken, NullReporter
from napari_sam3_assistant.core.prompts import PointPrompt, PromptSet
from napari_sam3_assistant.engines.caching_engine import CachingEngine
from napari_sam3_assistant.engines.sam3_transformers import ENTRY
from napari_sam3_assistant.errors import (
    CheckpointInvalid,
    CheckpointNotFound,
    DeviceUnavailable,
    EngineNotInstalled,
    JobCancelled,
    OutOfDeviceMemory,
)

CLICK = PointPrompt(30, 40)


class Stages:
    """A reporter that writes down the messages and stops at one of them."""

    def __init__(self, stop_at=""):
        self.messages = []
        self.token = CancelToken()
        self._stop_at = stop_at

    def report(self, progress):
        self.messages.append(progress.message)
        if self._stop_at and progress.message.startswith(self._stop_at):
            self.token.cancel()
        self.check()

    def check(self):
        self.token.check()


@pytest.fixture
def folder(tiny_checkpoint, tmp_path):
    """A copy of the checkpoint to damage."""
    return shutil.copytree(tiny_checkpoint, tmp_path / "model")


def load(folder, reporter=None):
    engine = ENTRY.create(folder, "cpu")
    engine.load(reporter or NullReporter())
    return engine


def edit_weights(folder, change):
    from safetensors.torch import load_file, save_file

    file = folder / "model.safetensors"
    weights = load_file(file)
    change(weights)
    save_file(weights, file, metadata={"format": "pt"})


def test_loaded_once_with_one_copy_of_the_weights(new_engine):
    stages = Stages()
    new_engine.load(stages)
    assert stages.messages == [
        "Checking the model folder",
        "Starting PyTorch and transformers",
        "Reading the weights",
        "Moving the model to cpu",
        "SAM 3 is ready",
    ]
    assert (new_engine.device, new_engine.weights) == ("cpu", "model.safetensors")
    model = new_engine.model
    owned = {id(parameter) for parameter in model.video.parameters()}
    assert {id(parameter) for parameter in model.clicks.parameters()} <= owned
    tensors = [*model.clicks.parameters(), *model.clicks.buffers()]
    assert tensors
    assert not any(tensor.is_meta for tensor in tensors)
    new_engine.load(stages)
    assert new_engine.model is model
    assert len(stages.messages) == 5


def as_published(settings):
    """Return settings as transformers 5.0 wrote them."""
    if not isinstance(settings, dict):
        return settings
    made = {name: as_published(value) for name, value in settings.items()}
    rope = made.pop("rope_parameters", None)
    if rope is not None:
        name = "rope_theta" if "window_size" in made else "memory_attention_rope_theta"
        made[name] = rope["rope_theta"]
    return made


def test_the_folder_as_it_was_published(folder, engine, make_image):
    """``facebook/sam3`` was written by transformers 5.0: what newer ones write looks different."""

    def rename(weights):
        # 5.24 writes this prefix twice.
        for name in list(weights):
            weights[name.replace("tracker_model." * 2, "tracker_model.")] = weights.pop(name)

    edit_weights(folder, rename)
    for name, change in {
        "config.json": as_published,
        "processor_config.json": lambda told: (
            told
            | {
                "image_processor": told["image_processor"]
                | {
                    "image_processor_type": "Sam3ImageProcessorFast",
                    "processor_class": "Sam3VideoProcessor",
                    "data_format": "channels_first",
                    **dict.fromkeys(
                        ("crop_size", "device", "disable_grouping", "do_pad", "pad_size")
                    ),
                }
            }
        ),
    }.items():
        written = json.loads((folder / name).read_text("utf-8"))
        (folder / name).write_text(json.dumps(change(written)), "utf-8")
    published = load(folder)

    image, asked = make_image(60, 80), (PromptSet(text="cell"), PromptSet(points=(CLICK,)))
    for prompts in asked:
        found, expected = (
            one.predict(
                one.embed(image, NullReporter()), prompts, PredictOptions(0.0), NullReporter()
            )
            for one in (published, engine)
        )
        assert len(found.objects) == len(expected.objects) > 0
        for mine, theirs in zip(found.objects, expected.objects, strict=True):
            assert (mine.region, mine.score) == (theirs.region, pytest.approx(theirs.score))
            assert np.array_equal(mine.mask, theirs.mask)
    tracker, other = published.model.tracker.state_dict(), engine.model.tracker.state_dict()
    assert all(tracker[name].equal(weight) for name, weight in other.items())
    published.close()


def test_only_the_weights_of_the_image_encoder_are_in_bfloat16(tiny_checkpoint):
    """transformers 5.23 would round the positions of a model that it reads in bfloat16."""
    import torch

    engine = ENTRY.create(tiny_checkpoint, "cpu", "bfloat16")
    engine.load(NullReporter())

    network = engine.model.video
    backbone = network.detector_model.vision_encoder.backbone
    assert {one.dtype for one in backbone.parameters()} == {torch.bfloat16}
    own = {id(one) for one in backbone.parameters()}
    others = {one.dtype for one in network.parameters() if id(one) not in own}
    assert others == {torch.float32}
    layers = backbone.layers
    for layer in layers:
        expected = layer.precompute_positions(layer.config, layer.window_size)
        torch.testing.assert_close(layer.position_ids, expected, rtol=0, atol=0)


def test_works_from_a_read_only_folder(folder):
    for file in folder.iterdir():
        file.chmod(0o444)
    folder.chmod(0o555)
    before = sorted(file.name for file in folder.iterdir())
    assert load(folder).weights == "model.safetensors"
    assert sorted(file.name for file in folder.iterdir()) == before
    folder.chmod(0o755)


def test_no_folder():
    with pytest.raises(CheckpointNotFound, match="SAM 3 needs a model folder") as caught:
        load(None)
    assert "model.safetensors" in caught.value.hint


def test_folder_that_is_not_there(tmp_path):
    with pytest.raises(CheckpointNotFound, match="Path does not exist"):
        load(tmp_path / "gone")


def test_truncated_weights(folder):
    file = folder / "model.safetensors"
    content = file.read_bytes()
    file.write_bytes(content[: len(content) // 2])
    with pytest.raises(CheckpointInvalid, match="incomplete or damaged: it has only"):
        load(folder)


def test_missing_weights_are_counted_and_named(folder):
    def drop(weights):
        for name in [name for name in weights if ".mask_decoder.iou_prediction_head" in name]:
            del weights[name]

    edit_weights(folder, drop)
    message = r"Weights that are missing in .*: 6, such as tracker_model\.mask_decoder\.iou_pred"
    with pytest.raises(CheckpointInvalid, match=message):
        load(folder)


def test_weights_of_another_size(folder):
    import torch

    def widen(weights):
        weights["tracker_model.no_memory_embedding"] = torch.zeros(1, 1, 999)

    edit_weights(folder, widen)
    with pytest.raises(
        CheckpointInvalid, match=r"Weights that are of a wrong size .*: 1, such as tracker_model"
    ):
        load(folder)


def test_folder_of_another_model(folder):
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"model_type": "clip"}))
    with pytest.raises(CheckpointInvalid, match="model of type 'clip'"):
        load(folder)


def test_missing_tokenizer(folder):
    for name in ("tokenizer.json", "vocab.json"):
        (folder / name).unlink()
    with pytest.raises(CheckpointNotFound, match="There is no tokenizer"):
        load(folder)


def test_damaged_tokenizer(folder):
    (folder / "tokenizer.json").write_text("{")
    with pytest.raises(CheckpointInvalid, match="tokenizer"):
        load(folder)


def test_damaged_processor(folder):
    (folder / "processor_config.json").write_text("[]")
    with pytest.raises(CheckpointInvalid, match=r"processor_config\.json holds no JSON object"):
        load(folder)


def test_unknown_device(tiny_checkpoint):
    engine = ENTRY.create(tiny_checkpoint, "tpu")
    with pytest.raises(DeviceUnavailable, match="There is no device 'tpu'"):
        engine.load(NullReporter())


def test_out_of_memory_while_moving(new_engine, monkeypatch):
    import torch
    from transformers import Sam3VideoModel

    def full(*_):
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 3.2 GiB")

    with monkeypatch.context() as patch:
        patch.setattr(Sam3VideoModel, "to", full)
        with pytest.raises(OutOfDeviceMemory, match=r"3\.2 GiB"):
            CachingEngine(new_engine).load(NullReporter())
    new_engine.load(NullReporter())


def test_packages_that_do_not_go_together(new_engine, monkeypatch):
    import builtins

    real = builtins.__import__

    def broken(name, *arguments, **options):
        if name == "transformers":
            raise RuntimeError("operator torchvision::nms does not exist")
        return real(name, *arguments, **options)

    monkeypatch.setattr(builtins, "__import__", broken)
    with pytest.raises(EngineNotInstalled, match="torchvision::nms does not exist"):
        new_engine.load(NullReporter())


@pytest.mark.parametrize("stage", ["Starting", "Reading", "Moving"])
def test_cancelled_before_a_stage(new_engine, stage):
    stages = Stages(stop_at=stage)
    with pytest.raises(JobCancelled):
        new_engine.load(stages)
    assert stages.messages[-1].startswith(stage)
    new_engine.load(NullReporter())
    assert new_engine.weights == "model.safetensors"

"""Which model a folder holds, what is said of it, and that strangers' files do no harm."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest

from napari_sam3_assistant import api
from napari_sam3_assistant.core.progress import NullReporter
from napari_sam3_assistant.core.prompts import PromptKind
from napari_sam3_assistant.engines import registry
from napari_sam3_assistant.engines.checkpoints import inspect_folder, peek_sam
from napari_sam3_assistant.engines.checkpoints.report import sam_model
from napari_sam3_assistant.engines.encoding_cache import EmbeddingFolder
from napari_sam3_assistant.engines.sam_transformers import ENTRY, loading
from napari_sam3_assistant.errors import (
    CheckpointInvalid,
    CheckpointNotFound,
    EngineNotInstalled,
    PromptError,
)

REPORTER = NullReporter()
TITLES = {
    "sam2_video": "SAM 2.1 (transformers)",
    "sam2": "SAM 2 (transformers)",
    "edgetam_video": "EdgeTAM (transformers)",
    "edgetam": "EdgeTAM (transformers)",
    "sam": "SAM 1 (transformers)",
}


def encoder_of(kind, **backbone):
    model_type = "edgetam_vision_model" if kind.startswith("edgetam") else "sam2_vision_model"
    return {"model_type": model_type, "backbone_config": backbone}


def test_each_folder_says_what_it_is_and_which_engine_reads_it(sam_folder, kind):
    folder = sam_folder(kind)
    report = inspect_folder(folder)
    assert report.engines == ("sam-transformers",)
    assert all(finding.ok for finding in report.findings)
    spec = registry.spec_for("sam-transformers", folder)
    assert spec.title == TITLES[kind]
    assert (spec.video is not None) == kind.endswith("_video")
    assert api.engine_for(folder) == "sam-transformers"


@pytest.mark.parametrize("blocks", [[1, 2, 7, 2], [1, 2, 11, 2], [2, 3, 16, 3], [2, 6, 36, 4]])
@pytest.mark.parametrize("newer", [True, False])
def test_published_sizes_are_named(blocks, newer):
    config = pytest.importorskip("transformers").Sam2VideoConfig(
        vision_config=encoder_of(
            "sam2", model_type="sam2_hiera_det_model", blocks_per_stage=blocks
        ),
        enable_temporal_pos_encoding_for_object_pointers=newer,
    )
    sizes = {7: "tiny", 11: "small", 16: "base plus", 36: "large"}
    version = "SAM 2.1" if newer else "SAM 2"
    assert sam_model(config.to_dict()).name == f"{version} {sizes[blocks[2]]}"


def test_sizes_that_are_left_out_are_those_of_the_library():
    """Settings that are not written down are the library's defaults: SAM 2.1 tiny, and ViT-B."""
    assert sam_model({"model_type": "sam2_video"}).name == "SAM 2.1 tiny"
    assert sam_model({"model_type": "sam"}).name == "SAM 1 ViT-B"
    assert sam_model({"model_type": "sam", "vision_config": {"hidden_size": 1280}}).name == (
        "SAM 1 ViT-H"
    )


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"model_type": ["sam2"]},
        {"model_type": "sam3_video"},
        {"model_type": "sam2_video", "vision_config": 3},
        {"model_type": "sam2_video", "vision_config": {"backbone_config": {"blocks_per_stage": 9}}},
        {"model_type": "sam2", "vision_config": {"backbone_config": {"blocks_per_stage": [[1]]}}},
        {"model_type": "sam", "vision_config": {"hidden_size": {}}},
    ],
)
def test_odd_settings_have_a_name_or_none(settings):
    model = sam_model(settings)
    assert model is None or model.name


@pytest.fixture
def copied(sam_folder, tmp_path):
    """Return a function that copies a folder and changes its config.json."""

    def copy(kind, **changes):
        folder = tmp_path / kind
        shutil.copytree(sam_folder(kind), folder)
        settings = json.loads((folder / "config.json").read_text())
        (folder / "config.json").write_text(json.dumps(settings | changes))
        return folder

    return copy


def load(folder):
    engine = ENTRY.create(folder, "cpu")
    try:
        engine.load(REPORTER)
    finally:
        engine.close()


@pytest.mark.parametrize(
    "backbone",
    [
        {"model_type": "timm_wrapper", "architecture": "hf-hub:someone/repvit_m1"},
        {"model_type": "timm_wrapper", "architecture": "local-dir:/repvit_m1"},
        {
            "model_type": "timm_wrapper",
            "architecture": "repvit_m1.dist_in1k",
            "model_args": {"checkpoint_path": "/somewhere"},
        },
        {"model_type": "timm_wrapper", "architecture": "repvit_m1", "model_args": [1]},
        {"model_type": "timm_backbone", "backbone": "repvit_m1"},
        {"model_type": "llama"},
    ],
)
def test_an_image_encoder_of_a_stranger_is_refused_before_anything_is_made(copied, backbone):
    folder = copied("edgetam_video", vision_config=encoder_of("edgetam_video", **backbone))
    assert inspect_folder(folder).engines == ()
    with pytest.raises(CheckpointInvalid, match="asks for an image encoder that EdgeTAM has not"):
        load(folder)


def test_a_missing_package_is_named(sam_folder, monkeypatch):
    # That it is not there is pretended; nothing is loaded before it is asked for.
    monkeypatch.setattr(loading, "find_spec", lambda _name: None)
    with pytest.raises(EngineNotInstalled, match="EdgeTAM needs the package timm"):
        load(sam_folder("edgetam_video"))


def test_nothing_is_asked_of_a_hub(copied, hub):
    """The library would look a backbone up that is named and not described."""
    vision = {"model_type": "sam2_vision_model", "backbone": "someone/else"}
    with pytest.raises(CheckpointInvalid, match="backbone is 'someone/else'"):
        load(copied("sam2_video", vision_config=vision))
    assert hub.asked == []


def test_weights_of_another_model_are_refused(copied, sam_folder):
    folder = copied("sam2_video")
    shutil.copy(sam_folder("sam") / "model.safetensors", folder)
    with pytest.raises(CheckpointInvalid, match=r"Weights that are missing|of a model of"):
        load(folder)


def test_weights_of_sam_3_are_refused(copied, tiny_checkpoint):
    folder = copied("sam2_video")
    shutil.copy(tiny_checkpoint / "model.safetensors", folder)
    with pytest.raises(CheckpointInvalid, match=r"is not of SAM 2\.1 as config\.json says"):
        load(folder)


def test_a_folder_of_another_engine_is_said(sam_folder, tiny_checkpoint):
    with pytest.raises(CheckpointNotFound, match=r"no model\.safetensors of SAM 3"):
        inspect_folder(sam_folder("sam2_video")).require("sam3-transformers")
    with pytest.raises(CheckpointNotFound, match="of SAM 1, SAM 2 or EdgeTAM"):
        inspect_folder(tiny_checkpoint).require("sam-transformers")
    assert peek_sam(tiny_checkpoint) is None


def test_a_processor_of_another_size_is_refused(copied):
    folder = copied("sam2_video")
    file = folder / "processor_config.json"
    settings = json.loads(file.read_text())
    file.write_text(json.dumps(settings | {"target_size": 1024}))
    with pytest.raises(CheckpointInvalid, match="The processor is for images of"):
        load(folder)


def test_the_processor_files_as_the_hub_has_them(copied, loaded_sam):
    """There the settings of images and videos are in files of their own."""
    folder = copied("sam2_video")
    settings = json.loads((folder / "processor_config.json").read_text())
    images, videos = settings.pop("image_processor"), settings.pop("video_processor")
    (folder / "preprocessor_config.json").write_text(
        json.dumps(images | {"processor_class": "Sam2VideoProcessor"})
    )
    (folder / "video_preprocessor_config.json").write_text(json.dumps(videos))
    (folder / "processor_config.json").write_text(json.dumps(settings))
    engine = ENTRY.create(folder, "cpu")
    engine.load(REPORTER)
    picture = np.random.default_rng(0).integers(0, 255, (40, 60, 3), np.uint8)
    ours = engine.embed(picture, REPORTER).maps[-1]
    engine.close()
    other = loaded_sam("sam2_video").embed(picture, REPORTER).maps[-1]
    np.testing.assert_array_equal(ours.numpy(), other.numpy())


def test_no_processor_is_said(copied):
    folder = copied("sam")
    (folder / "processor_config.json").unlink()
    with pytest.raises(CheckpointNotFound, match=r"none of processor_config\.json and"):
        load(folder)


def test_phrases_are_refused_before_anything_is_loaded(sam_folder):
    with pytest.raises(PromptError, match=r"SAM 2\.1 \(transformers\) does not take text") as said:
        api.segment(
            np.zeros((20, 30), np.uint8), text="cell", model_folder=sam_folder("sam2_video")
        )
    assert "SAM 3 and the built-in engine take phrases" in said.value.hint
    assert PromptKind.TEXT not in ENTRY.spec.accepts


@pytest.mark.parametrize("kind", ["sam2_video", "sam"])
def test_results_carry_the_models_own_name(sam_folder, kind):
    found = api.segment(
        np.tile(np.arange(60, dtype=np.uint8), (40, 1)),
        points=[(20, 30)],
        model_folder=sam_folder(kind),
        device="cpu",
    )
    assert found.engine.engine == "sam-transformers"
    assert found.engine.title == TITLES[kind]
    assert found.engine.weights == "model.safetensors"


def test_encodings_are_kept_on_the_disk_and_moved(loaded_sam, kind, tmp_path):
    engine, folder = loaded_sam(kind), EmbeddingFolder(tmp_path)
    picture = np.random.default_rng(0).integers(0, 255, (40, 60, 3), np.uint8)
    made = engine.embed(picture, REPORTER)
    folder.save("one", made.shape, made.tensors())
    again = engine.unpack(*folder.load("one"))
    assert again.shape == (40, 60)
    assert again.nbytes == made.nbytes
    for one, other in zip(made.maps, again.maps, strict=True):
        np.testing.assert_array_equal(one.numpy(), other.numpy())
    assert made.to("cpu") is made
    assert str(made.to("meta").maps[0].device) == "meta"


def test_weights_are_in_memory_once(loaded_sam):
    """The heads for planes and stacks share every module."""
    model = loaded_sam("sam2_video").model
    assert model.clicks.mask_decoder is model.tracker.mask_decoder
    owned = {id(one) for one in model.tracker.parameters()}
    assert all(id(one) in owned for one in model.clicks.parameters())
    assert not any(one.is_meta for one in (*model.clicks.parameters(), *model.clicks.buffers()))

"""SAM 3 through the API: the folder, the device, and what is said when they do not work."""

import numpy as np
import pytest

from napari_sam3_assistant import api
from napari_sam3_assistant.errors import (
    CheckpointNotFound,
    DeviceUnavailable,
    EngineError,
    Sam3AssistantError,
)
from napari_sam3_assistant.io.provenance import read_provenance, sha256_of


@pytest.fixture
def disc():
    """A bright disc of radius 10 around (20, 30) on a dark plane of 48 x 64 pixels."""
    y, x = np.ogrid[:48, :64]
    return np.where((y - 20) ** 2 + (x - 30) ** 2 <= 100, 200, 30).astype(np.uint8)


def test_an_open_engine_says_where_it_ran(disc, tiny_checkpoint, tmp_path):
    with api.open_engine("sam3-transformers", model_folder=tiny_checkpoint, device="cpu") as engine:
        first = api.segment(disc, points=[(20, 30)], engine=engine, output=tmp_path / "a.tif")
        again = api.segment(
            disc, points=[(20, 30)], engine=engine, model_folder=tiny_checkpoint / "."
        )
    once = api.segment(
        disc,
        points=[(20, 30)],
        engine="sam3-transformers",
        model_folder=str(tiny_checkpoint),
        device="cpu",
    )

    assert (first.engine.engine, first.engine.device) == ("sam3-transformers", "cpu")
    assert first.engine.weights == "model.safetensors"
    assert once.engine == first.engine
    np.testing.assert_array_equal(once.labels, first.labels)
    np.testing.assert_array_equal(again.labels, first.labels)
    note = read_provenance(tmp_path / "a.tif.json")
    assert note.model_folder == str(tiny_checkpoint)
    assert note.sha256 == sha256_of(tiny_checkpoint / "model.safetensors")


@pytest.mark.parametrize(
    "other", [{"model_folder": "/another"}, {"device": "cpu"}, {"precision": "float32"}]
)
def test_an_open_engine_is_not_taken_for_another(disc, other):
    with api.open_engine("builtin") as engine, pytest.raises(EngineError, match="open engine"):
        api.segment(disc, points=[(20, 30)], engine=engine, **other)


@pytest.mark.parametrize(
    ("choices", "error", "said"),
    [
        ({"device": "cuda:99"}, DeviceUnavailable, "cuda:99"),
        ({"device": "toaster"}, DeviceUnavailable, "There is no device 'toaster'."),
        ({"model_folder": None}, CheckpointNotFound, "SAM 3 needs a model folder."),
        ({"model_folder": "/nowhere"}, CheckpointNotFound, "Path does not exist: /nowhere."),
        ({"engine": "sam4"}, EngineError, "There is no engine 'sam4'."),
    ],
)
def test_what_does_not_work_is_said_in_a_sentence(disc, tiny_checkpoint, choices, error, said):
    asked = {"engine": "sam3-transformers", "model_folder": tiny_checkpoint, **choices}
    with pytest.raises(error) as caught:
        api.segment(disc, points=[(20, 30)], **asked)
    assert isinstance(caught.value, Sam3AssistantError)
    # Which sentence tells a GPU that is not there depends on the machine.
    if not str(asked.get("device")).startswith("cuda"):
        assert said in caught.value.message
    assert caught.value.hint


def test_the_home_folder_may_be_written_short(monkeypatch, disc, tiny_checkpoint):
    monkeypatch.setenv("HOME", str(tiny_checkpoint.parent))
    monkeypatch.setenv("USERPROFILE", str(tiny_checkpoint.parent))
    short = f"~/{tiny_checkpoint.name}"
    result = api.segment(
        disc, points=[(20, 30)], engine="sam3-transformers", model_folder=short, device="cpu"
    )
    assert result.engine.weights == "model.safetensors"


def test_the_engine_follows_from_the_folder(disc, tiny_checkpoint):
    result = api.segment(disc, points=[(20, 30)], model_folder=tiny_checkpoint, device="cpu")

    assert result.engine.engine == "sam3-transformers"


@pytest.mark.parametrize(
    "ask",
    [
        lambda disc, folder: api.segment(disc, points=[(20, 30)], model_folder=folder),
        lambda disc, folder: api.track(disc[None], frame=0, points=[(20, 30)], model_folder=folder),
    ],
)
def test_a_folder_that_is_missing_never_ends_in_masks_of_the_built_in_engine(disc, tmp_path, ask):
    with pytest.raises(CheckpointNotFound, match="Path does not exist"):
        ask(disc, tmp_path / "nowhere")


def test_the_built_in_engine_refuses_a_model_folder(disc, tmp_path):
    with pytest.raises(EngineError, match="reads no weights"):
        api.segment(disc, points=[(20, 30)], engine="builtin", model_folder=tmp_path)

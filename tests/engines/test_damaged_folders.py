"""Damaged and hostile model folders get a sentence, whatever is wrong with them."""

import io
import json
import random
import shutil
import socket
import sys
from contextlib import suppress
from pathlib import Path

import imageio.v3 as iio
import numpy as np
import pytest

from amounts import thorough
from napari_sam3_assistant import api, cli
from napari_sam3_assistant.core.progress import NullReporter
from napari_sam3_assistant.engines import registry
from napari_sam3_assistant.errors import Sam3AssistantError
from napari_sam3_assistant.workflows.model_setup import validate_folder

sys.path.insert(0, str(Path(__file__).parent))
from damaged_folders import DAMAGES, code_to_run, something_of_a_hub

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="the cases have pipes and links")


@pytest.fixture(autouse=True)
def _somebody_who_says_yes(monkeypatch):
    """What is asked on the command line is answered with yes."""
    monkeypatch.setattr(sys, "stdin", io.StringIO("y\n" * 20))


@pytest.fixture
def folder(tiny_checkpoint, tmp_path):
    return shutil.copytree(tiny_checkpoint, tmp_path / "model")


@pytest.fixture
def segment(folder, tmp_path):
    """Return a function that segments an image on the command line, and gives the exit code."""
    image = np.zeros((90, 160), np.uint8)
    image[20:60, 30:90] = 200
    iio.imwrite(tmp_path / "image.png", image)
    asked = ["segment", tmp_path / "image.png", "-o", tmp_path / "labels.tif"]
    asked += ["--model-folder", folder, "--device", "cpu"]
    return lambda *more: cli.main([*map(str, asked), *more])


def test_a_whole_folder_works(segment, tmp_path):
    assert segment("--point", "40,50,+") == 0
    assert (tmp_path / "labels.tif").is_file()


@pytest.mark.parametrize("damage", DAMAGES, ids=lambda damage: damage.__name__)
def test_a_damaged_folder_is_said(damage, folder):
    damage(folder, random.Random(damage.__name__))
    (check,) = validate_folder(str(folder), NullReporter())
    assert check.verdict
    for name in ("sam3-transformers", "sam3-meta"):
        registry.spec_for(name, folder)  # as the window does at each letter of the path
        engine = api.open_engine(name, model_folder=folder, device="cpu")
        with suppress(Sam3AssistantError), engine:  # and nothing else
            engine.load(NullReporter())
    assert not (folder / "RAN").exists()


@pytest.mark.parametrize(
    "damage",
    [thorough(one) if n % 4 else one for n, one in enumerate(DAMAGES)],
    ids=lambda damage: damage.__name__,
)
def test_a_damaged_folder_of_sam_2_is_said(damage, folder, sam_folder):
    # Into that of SAM 3, for the damages are to its files.
    shutil.copytree(sam_folder("sam2_video"), folder, dirs_exist_ok=True)
    damage(folder, random.Random(damage.__name__))
    (check,) = validate_folder(str(folder), NullReporter())
    assert check.verdict
    registry.spec_for("sam-transformers", folder)
    engine = api.open_engine("sam-transformers", model_folder=folder, device="cpu")
    with suppress(Sam3AssistantError), engine:  # and nothing else
        engine.load(NullReporter())
    assert not (folder / "RAN").exists()


def test_settings_that_can_be_built_and_not_run_are_said(folder, segment, capsys):
    """A model that loads, and fails in its first call."""
    file = folder / "config.json"
    config = json.loads(file.read_text())
    config["detector_config"]["vision_config"]["backbone_config"]["num_attention_heads"] = 3
    file.write_text(json.dumps(config))
    assert segment("--point", "40,50,+") == 2
    said = capsys.readouterr().err
    assert "Download" in said
    assert "Traceback" not in said


def test_code_in_a_folder_is_not_run_and_not_offered(folder, segment, capsys):
    code_to_run(folder, random.Random(0))
    assert segment("--point", "40,50,+") in (0, 2)
    said = capsys.readouterr()
    assert "custom code?" not in said.out + said.err
    assert not (folder / "RAN").exists()
    assert sys.stdin.tell() == 0  # nobody was asked


@pytest.mark.parametrize("which", range(2))
def test_a_folder_asks_no_hub(which, folder, monkeypatch):
    asked = []

    def connect(_, address):
        asked.append(address)
        raise OSError("there is no network in a test")

    monkeypatch.setattr(socket.socket, "connect", connect)
    monkeypatch.setattr(socket, "getaddrinfo", lambda *where, **_: asked.append(where[:2]) or [])
    something_of_a_hub(folder, random.Random(), which)
    engine = api.open_engine("sam3-transformers", model_folder=folder, device="cpu")
    with suppress(Sam3AssistantError), engine:
        engine.load(NullReporter())
    assert asked == []

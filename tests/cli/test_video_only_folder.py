"""A folder with SAM 3.1 alone: `track` chooses its engine, the other commands say what to use."""

from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
import tifffile

from napari_sam3_assistant import api
from napari_sam3_assistant.cli import main
from napari_sam3_assistant.engines import sam3_meta
from napari_sam3_assistant.errors import CheckpointInvalid, PromptError

NO_PLANES = (
    "SAM 3.1 is for 3D and video only; it has no model for 2D tasks here. For 2D tasks choose a "
    "folder with sam3.pt or model.safetensors of facebook/sam3."
)


@pytest.fixture
def folder(tmp_path):
    """A file with names like those of SAM 3.1, and nothing else."""
    if not sam3_meta.status().available:
        pytest.skip(sam3_meta.status().reason)
    torch = pytest.importorskip("torch")
    folder = tmp_path / "sam31"
    folder.mkdir()
    names = ("detector.backbone.weight", "tracker.model.mask_decoder.weight")
    torch.save({name: torch.zeros(2) for name in names}, folder / "sam3.1_multiplex.pt")
    return folder


@pytest.fixture
def stack(tmp_path):
    path = tmp_path / "stack.tif"
    tifffile.imwrite(path, np.zeros((3, 30, 40), np.uint8), photometric="minisblack")
    return path


def test_track_chooses_the_engine_and_says_what_to_install(folder, stack, tmp_path, capsys):
    package = Path(find_spec("sam3").origin).parent
    if (package / "model" / "sam3_multiplex_tracking.py").is_file():
        pytest.skip("Meta's repository is installed, which has SAM 3.1.")
    output = tmp_path / "labels.tif"

    said = ["track", str(stack), "--point", "5,5", "-o", str(output)]
    assert main([*said, "--model-folder", str(folder)]) == 2

    error = capsys.readouterr().err
    assert "The installed sam3 package has no SAM 3.1." in error
    assert "pip install git+https://github.com/facebookresearch/sam3" in error
    assert not output.exists()


def test_track_says_at_once_what_it_does_not_take(folder, stack, tmp_path, capsys):
    output = tmp_path / "labels.tif"
    said = ["track", str(stack), "--exemplar", "2,2,9,9", "-o", str(output)]

    assert main([*said, "--model-folder", str(folder)]) == 2

    error = capsys.readouterr().err
    assert "SAM 3.1 (Meta sam3 package) does not take example boxes for 3D/video." in error


@pytest.mark.parametrize("command", ["segment", "scan", "batch"])
def test_a_2d_command_says_what_to_use(folder, stack, tmp_path, capsys, command):
    out = tmp_path / {"segment": "l.tif", "scan": "l.zarr", "batch": "labels"}[command]
    where = [str(tmp_path), str(out)] if command == "batch" else [str(stack), "-o", str(out)]
    said = [command, *where, "--text", "cell"]

    assert main([*said, "--model-folder", str(folder)]) == 2

    assert NO_PLANES in capsys.readouterr().err.replace("\n", " ")
    assert not out.exists()


def test_the_api_says_the_same(folder):
    plane = np.zeros((30, 40), np.uint8)
    with pytest.raises(CheckpointInvalid, match="no model for 2D tasks"):
        api.engine_for(folder)
    assert api.engine_for(folder, video=True) == "sam3-meta"
    with pytest.raises(PromptError, match="does not take points") as refused:
        api.segment(plane, points=[(5, 5)], engine="sam3-meta", model_folder=folder)
    assert "is for 3D/video only" in refused.value.hint
    with pytest.raises(CheckpointInvalid, match="no model for 2D tasks"):
        api.compare_devices(folder)

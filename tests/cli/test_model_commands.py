"""The commands about model folders: download, and doctor --compare-devices."""

import numpy as np
import pytest

from napari_sam3_assistant.cli import main, setup


def test_only_a_cpu(tiny_checkpoint, capsys, monkeypatch):
    torch = pytest.importorskip("torch")
    # The command takes what the machine has; this test is about one without a GPU.
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)

    assert main(["doctor", "--compare-devices", str(tiny_checkpoint)]) == 0

    said = capsys.readouterr().out
    assert said == "Only the device cpu works here, so there is nothing to compare.\n"


def test_compare_with_a_broken_folder(tmp_path, capsys):
    assert main(["doctor", "--compare-devices", str(tmp_path)]) == 2
    assert "No weight file found" in capsys.readouterr().err


@pytest.fixture
def filled(hub, tiny_checkpoint):
    """The stand-in for the hub, with a real checkpoint."""
    hub.files = {path.name: path.read_bytes() for path in tiny_checkpoint.iterdir()}
    return hub


def test_download(filled, tiny_checkpoint, tmp_path, capsys):
    folder = tmp_path / "sam3"

    assert main(["download", str(folder)]) == 0

    said = capsys.readouterr()
    assert said.out.splitlines() == [
        "model.safetensors holds SAM 3 for transformers, read by sam3-transformers.",
        str(folder),
    ]
    assert said.err == ""
    name = "model.safetensors"
    assert (folder / name).read_bytes() == (tiny_checkpoint / name).read_bytes()


def test_download_of_an_open_model_by_its_name(sam2_hub, tmp_path, capsys):
    assert main(["download", "sam2.1-tiny"]) == 0

    folder = tmp_path / "models" / "sam2.1-tiny"
    assert capsys.readouterr().out.splitlines() == [
        "model.safetensors holds SAM 2.1 for transformers, read by sam-transformers.",
        str(folder),
    ]
    assert (folder / "model.safetensors").read_bytes() == sam2_hub.files["model.safetensors"]

    assert main(["download", "sam2.1-tiny", str(tmp_path / "mine")]) == 0
    assert (tmp_path / "mine" / "config.json").is_file()


def test_the_models_are_listed_and_nothing_is_fetched(hub, capsys):
    assert main(["download", "--list"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == (
        "sam2.1-tiny        SAM 2.1 tiny (156 MB, open), Apache 2.0: facebook/sam2.1-hiera-tiny"
    )
    assert "SAM 3 (3.4 GB, gated), SAM License of Meta: facebook/sam3" in lines[-1]
    assert len({line.split()[0] for line in lines}) == len(lines)
    assert hub.asked == []


@pytest.mark.parametrize("typed", [[], ["sam2.1-tinny"], ["nonsense", "folder"]])
def test_a_model_that_is_not_known_is_not_taken_for_a_folder(hub, typed, capsys):
    assert main(["download", *typed]) == 2
    assert "Known models: sam2.1-tiny, sam2.1-small" in capsys.readouterr().err
    assert hub.asked == []


def test_download_with_a_token_that_is_typed_in(filled, tmp_path, monkeypatch):
    # Nobody sits at the terminal of a test.
    monkeypatch.setattr(setup, "getpass", lambda _: "hf_typed")
    assert main(["download", str(tmp_path / "sam3"), "--ask-token"]) == 0
    assert filled.tokens == {"hf_typed"}


def test_download_that_is_refused(filled, tmp_path, capsys):
    filled.refusal = (403, {"X-Error-Code": "GatedRepo"})
    assert main(["download", str(tmp_path / "sam3")]) == 2
    told = capsys.readouterr().err
    assert told.startswith("napari-sam3: Your account may not read facebook/sam3 yet (error 403).")
    assert len(told.splitlines()) == 1


def test_download_of_another_repository(filled, tmp_path, capsys):
    assert main(["download", "--repo", "me/mine", str(tmp_path / "sam3")]) == 2
    assert "There is no repository me/mine" in capsys.readouterr().err


def test_what_was_fetched_but_can_not_be_used_is_told(filled, tmp_path, capsys):
    del filled.files["config.json"]
    assert main(["download", str(tmp_path / "sam3")]) == 2
    assert "Missing required config files: config.json." in capsys.readouterr().err


def test_a_model_folder_chooses_its_engine(tiny_checkpoint, tmp_path, capsys):
    image = tmp_path / "image.npy"
    np.save(image, np.full((64, 64), 40, np.uint8))
    output = tmp_path / "labels.npy"
    arguments = ["--model-folder", str(tiny_checkpoint), "--point", "20,30", "-o", str(output)]

    assert main(["segment", str(image), *arguments]) == 0
    assert "(SAM 3 (transformers))" in capsys.readouterr().out

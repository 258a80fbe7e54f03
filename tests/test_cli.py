"""The command line."""

import subprocess
import sys

import imageio.v3 as iio
import numpy as np
import pytest
import tifffile

from napari_sam3_assistant import api
from napari_sam3_assistant.cli import main


@pytest.fixture
def image(tmp_path):
    """A file with a bright disc of radius 10 around (20, 30)."""
    y, x = np.ogrid[:48, :64]
    pixels = np.where((y - 20) ** 2 + (x - 30) ** 2 <= 100, 200, 30).astype(np.uint8)
    path = tmp_path / "disc.tif"
    tifffile.imwrite(path, pixels)
    return path


@pytest.mark.parametrize(
    ("arguments", "request_"),
    [
        (["--point", "20,30,+", "--point", "2,2,-"], {"points": [(20, 30, True), (2, 2, False)]}),
        (["--point", "20,30"], {"points": [(20, 30)]}),
        (["--box", "8,18,33,43"], {"boxes": [(8, 18, 33, 43)]}),
        (["--exemplar", "8,18,33,43,+"], {"exemplars": [(8, 18, 33, 43)]}),
        (["--text", "bright objects"], {"text": "bright objects"}),
        (
            ["--text", "bright objects", "--contrast", "0,100", "--threshold", "0.5"],
            {"text": "bright objects", "contrast": (0, 100), "threshold": 0.5},
        ),
    ],
)
def test_the_command_line_gives_the_same_labels_as_the_api(
    image, tmp_path, capsys, arguments, request_
):
    output = tmp_path / "labels.tif"
    assert main(["segment", str(image), *arguments, "-o", str(output)]) == 0

    expected = api.segment(tifffile.imread(image), **request_)
    np.testing.assert_array_equal(tifffile.imread(output), expected.labels)
    said = capsys.readouterr().out
    assert said.startswith("1 object in ")
    assert str(output) in said


def test_a_mask_from_a_file(image, tmp_path):
    mask = np.zeros((48, 64), np.uint8)
    mask[15:25, 25:35] = 255
    iio.imwrite(tmp_path / "mask.png", mask)
    output = tmp_path / "labels.npy"

    assert (
        main(["segment", str(image), "--mask", str(tmp_path / "mask.png"), "-o", str(output)]) == 0
    )
    expected = api.segment(tifffile.imread(image), mask=mask)
    np.testing.assert_array_equal(np.load(output), expected.labels)


def test_a_plane_of_a_stack(tmp_path, image):
    disc = tifffile.imread(image)
    tifffile.imwrite(tmp_path / "stack.tif", np.stack([disc * 0, disc, disc * 0, disc, disc]))
    output = tmp_path / "labels.tif"
    arguments = ["--plane", "1", "--point", "20,30", "-o", str(output)]

    assert main(["segment", str(tmp_path / "stack.tif"), *arguments]) == 0
    assert tifffile.imread(output)[20, 30] == 1


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "No prompts found"),
        (["--point", "100,3"], "outside the image"),
        (["--point", "nan,3"], "not a finite position"),
        (["--point", "a,b"], "these are not numbers"),
        (["--box", "1,2,3"], "3 numbers, but 4 are needed"),
        (["--box", "1,2,1,5"], "has no area"),
        (["--point", "1,1", "--engine", "magic"], "no engine 'magic'"),
        (["--mask", "IMAGE_OF_ANOTHER_SHAPE"], "The mask has the shape"),
        (["--mask", "nowhere.png"], "nowhere.png"),
        (["--text", "mitochondria"], "weights"),
    ],
)
def test_bad_input_ends_with_2_and_one_sentence(image, tmp_path, capsys, arguments, said):
    iio.imwrite(tmp_path / "IMAGE_OF_ANOTHER_SHAPE.png", np.ones((5, 5), np.uint8))
    arguments = [str(tmp_path / f"{text}.png") if text.isupper() else text for text in arguments]
    output = tmp_path / "labels.tif"

    assert main(["segment", str(image), *arguments, "-o", str(output)]) == 2
    told = capsys.readouterr().err
    assert said in told
    assert "Traceback" not in told
    assert len(told.strip().splitlines()) == 1
    assert not output.exists()


def test_a_missing_output_folder(image, tmp_path, capsys):
    output = tmp_path / "nowhere" / "labels.tif"
    assert main(["segment", str(image), "--point", "20,30", "-o", str(output)]) == 2
    assert "does not exist" in capsys.readouterr().err


def test_an_unreadable_file(tmp_path, capsys):
    broken = tmp_path / "broken.tif"
    broken.write_bytes(b"not a tiff")
    output = str(tmp_path / "labels.tif")
    assert main(["segment", str(broken), "--point", "1,1", "-o", output]) == 2
    assert "broken.tif" in capsys.readouterr().err


def test_demo_writes_labels_and_an_overlay(tmp_path, capsys):
    assert main(["demo", "-o", str(tmp_path / "demo")]) == 0

    labels = tifffile.imread(tmp_path / "demo" / "coins_labels.tif")
    overlay = iio.imread(tmp_path / "demo" / "coins_overlay.png")
    assert labels.shape == overlay.shape[:2] == (303, 384)
    assert labels.max() >= 23
    said = capsys.readouterr().out
    assert said.startswith(f"{labels.max()} objects in ")
    assert "coins_overlay.png" in said


def test_doctor_runs_as_a_program():
    command = [sys.executable, "-m", "napari_sam3_assistant", "doctor"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert "Built-in (no SAM 3 weights): ready" in done.stdout


@pytest.mark.parametrize("line", [["--version"], ["segment", "--version"]])
def test_the_version_needs_nothing_that_takes_time_to_import(line):
    code = (
        "import sys; from napari_sam3_assistant import cli\n"
        f"try: cli.main({line})\n"
        "finally: print(sorted({'numpy', 'dask', 'torch', 'napari'} & set(sys.modules)))"
    )

    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    first, loaded = done.stdout.splitlines()
    assert first.startswith("napari-sam3 ")
    assert loaded == "[]"

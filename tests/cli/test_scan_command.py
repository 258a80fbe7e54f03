"""``napari-sam3 scan``."""

import csv

import numpy as np
import pytest
import tifffile
import zarr

from napari_sam3_assistant import api
from napari_sam3_assistant.cli import main


@pytest.fixture
def image(tmp_path):
    """A file with nine bright discs, one of them on the seam of two tiles."""
    rows, columns = np.ogrid[:300, :400]
    pixels = np.full((300, 400), 30, np.uint8)
    for y, x in ((40, 40), (40, 130), (60, 230), (150, 200), (150, 60), (150, 330), (250, 100)):
        pixels[(rows - y) ** 2 + (columns - x) ** 2 <= 144] = 200
    path = tmp_path / "discs.tif"
    tifffile.imwrite(path, pixels)
    return path


def test_labels_and_the_table_of_objects(image, tmp_path, capsys):
    output, table = tmp_path / "labels.zarr", tmp_path / "objects.csv"
    command = ["scan", str(image), "-o", str(output), "--text", "bright objects", "--tile", "256"]

    assert main([*command, "--table", str(table), "--overlap", "0.2"]) == 0

    said = capsys.readouterr().out
    assert said.startswith("7 objects in 4 tiles, ")
    labels = zarr.open_group(str(output), mode="r")["0"][...]
    with table.open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 7
    for row in rows:
        box = labels[int(row["y0"]) : int(row["y1"]), int(row["x0"]) : int(row["x1"])]
        assert np.count_nonzero(box == int(row["id"])) == int(row["area"])
        assert (row["text"], float(row["score"]) > 0.35) == ("bright objects", True)


def test_the_same_as_the_api_and_never_over_what_is_there(image, tmp_path, capsys):
    output = tmp_path / "labels.zarr"
    command = ["scan", str(image), "-o", str(output), "--exemplar", "26,26,54,54", "--tile", "256"]

    assert main(command) == 0
    assert "Experimental" in capsys.readouterr().out
    result = api.scan(image, exemplars=[(26, 26, 54, 54)], output=tmp_path / "b.zarr", tile=256)

    first, second = (
        zarr.open_group(str(path), mode="r")["0"][...] for path in (output, result.path)
    )
    np.testing.assert_array_equal(first, second)
    assert main(command) == 2
    assert "exists already" in capsys.readouterr().err
    assert main([*command, "--overwrite"]) == 0


def test_every_plane_of_a_stack(image, tmp_path, capsys):
    stack, table = tmp_path / "stack.tif", tmp_path / "objects.csv"
    plane = tifffile.imread(image)
    planes = np.stack([plane, np.full_like(plane, 30), plane[::-1, ::-1]])
    tifffile.imwrite(stack, planes, imagej=True, metadata={"axes": "ZYX"})
    command = ["scan", str(stack), "--text", "bright objects", "--tile", "256"]
    assert main([*command, "-o", str(tmp_path / "a.zarr")]) == 2
    assert "--plane" in capsys.readouterr().err

    command += ["--plane", "all", "-o", str(tmp_path / "labels.zarr"), "--table", str(table)]
    assert main(command) == 0

    assert capsys.readouterr().out.startswith("14 objects in 12 tiles, ")
    labels = zarr.open_group(str(tmp_path / "labels.zarr"), mode="r")["0"][...]
    with table.open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [int(row["z"]) for row in rows] == [0] * 7 + [2] * 7
    for row in rows:
        assert np.count_nonzero(labels[int(row["z"])] == int(row["id"])) == int(row["area"])
    assert main(["segment", str(stack), "--text", "bright", "--plane", "all", "-o", "a.tif"]) == 2
    assert "--plane all" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--text", "bright", "--tile", "10"], "tile size of 10"),
        (["--text", "bright", "--overlap", "0.9"], "tile overlap of 0.9"),
        ([], "No prompts found"),
        (["--exemplar", "1,2,x"], "not numbers"),
    ],
)
def test_bad_input_ends_with_a_sentence(image, tmp_path, capsys, arguments, said):
    command = ["scan", str(image), "-o", str(tmp_path / "labels.zarr"), *arguments]

    assert main(command) == 2

    assert said in capsys.readouterr().err
    assert sorted(path.name for path in tmp_path.iterdir()) == ["discs.tif"]

"""``napari-sam3 info`` says what is in a file, and what would be segmented."""

import json

import numpy as np
import pytest
import tifffile

from napari_sam3_assistant.cli import main


@pytest.fixture
def stack(tmp_path):
    path = tmp_path / "cells.dat"
    data = np.zeros((5, 2, 32, 48), np.uint16)
    sizes = {"PhysicalSizeX": 0.25, "PhysicalSizeY": 0.5, "PhysicalSizeZ": 2.0}
    with tifffile.TiffWriter(path, ome=True) as writer:
        writer.write(data[0, 0, :8, :8], metadata={"axes": "YX", "Name": "small"})
        options = {"metadata": {"axes": "ZCYX", "Name": "cells", **sizes}, "tile": (16, 16)}
        writer.write(data, subifds=1, **options)
        writer.write(data[..., ::2, ::2], subfiletype=1, tile=(16, 16))
    return path


def test_for_people(stack, capsys):
    assert main(["info", str(stack)]) == 0

    told = capsys.readouterr().out.splitlines()
    assert told == [
        f"{stack}: TIFF, read by tifffile, piece by piece",
        "series 0: 'small' (8 x 8)",
        "series 1: 'cells' (5 x 2 x 32 x 48) (taken)",
        "type: uint16",
        "axis z: 5, 2 micrometer a pixel",
        "axis c: 2",
        "axis y: 32, 0.5 micrometer a pixel",
        "axis x: 48, 0.25 micrometer a pixel",
        "levels: 5 x 2 x 32 x 48, 5 x 2 x 16 x 24",
        "by default: a plane of 32 x 48 pixels; channel axis 1, by its label; its 2 channels "
        "together; segment and scan need --plane for z (0 to 4)",
        "note: The file holds 2 images; series 1 was taken, the largest. To take another one, "
        "or in a batch all, choose its series: 0: 'small' (8 x 8); 1: 'cells' (5 x 2 x 32 x 48).",
    ]


def test_for_programs(stack, capsys):
    assert main(["info", str(stack), "--json", "--series", "0"]) == 0

    told = json.loads(capsys.readouterr().out)
    assert told["series"] == [
        {"name": "small", "shape": [8, 8]}, {"name": "cells", "shape": [5, 2, 32, 48]}
    ]  # fmt: skip
    assert (told["format"], told["library"], told["lazy"]) == ("TIFF", "tifffile", True)
    assert (told["taken"], told["dtype"], told["levels"]) == (0, "uint16", [[8, 8]])
    assert told["axes"][1] == {
        "name": "x", "length": 8, "scale": 1.0, "unit": "", "origin": 0.0
    }  # fmt: skip


def test_what_cannot_be_segmented_and_what_is_no_image(tmp_path, capsys):
    np.save(tmp_path / "waves.npy", np.zeros((4, 5), complex))
    (tmp_path / "notes.tif").write_text("hello")

    assert main(["info", str(tmp_path / "waves.npy")]) == 0
    assert "An image of type complex128 can't be segmented" in capsys.readouterr().out
    assert main(["info", str(tmp_path / "notes.tif")]) == 2
    assert "can't be read" in capsys.readouterr().err

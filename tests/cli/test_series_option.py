"""Several images in one file, and several files of one image, on the command line."""

import csv

import numpy as np
import pytest
import tifffile

from napari_sam3_assistant import api
from napari_sam3_assistant.cli import main
from napari_sam3_assistant.io.images import read_image


def squares(count, shape=(64, 80)):
    pixels = np.zeros(shape, np.uint8)
    for number in range(count):
        pixels[5:13, 12 * number + 4 : 12 * number + 12] = 200
    return pixels


@pytest.fixture
def image(tmp_path):
    """Return a file with a thumbnail and two positions of one and of three squares."""
    (tmp_path / "in").mkdir()
    path = tmp_path / "in" / "cells.ome.tif"
    with tifffile.TiffWriter(path, ome=True) as writer:
        writer.write(squares(2, (32, 40)), metadata={"Name": "thumbnail", "axes": "YX"})
        writer.write(squares(1), metadata={"Name": "A", "axes": "YX", "PhysicalSizeX": 0.5})
        writer.write(squares(3), metadata={"Name": "B", "axes": "YX", "PhysicalSizeX": 0.25})
    return path


def values(path):
    return sorted(set(np.unique(np.asarray(read_image(path).data[...])).tolist()) - {0})


@pytest.mark.parametrize(("given", "objects"), [([], [1]), (["--series", "2"], [1, 2, 3])])
def test_segment(image, tmp_path, capsys, given, objects):
    output = tmp_path / "labels.tif"

    code = main(["segment", str(image), "-o", str(output), "--text", "bright", *given])

    assert (code, values(output)) == (0, objects)
    said = capsys.readouterr().out
    assert ("holds 3 images; series 1 was taken, the first of 2 of its size" in said) == (not given)
    assert ("2: 'B' (64 x 80)" in said) == (not given)


@pytest.mark.parametrize(("given", "objects"), [([], [1]), (["--series", "2"], [1, 2, 3])])
def test_scan_and_its_rerun(image, tmp_path, capsys, given, objects):
    output = tmp_path / "labels.zarr"

    assert main(["scan", str(image), "-o", str(output), "--text", "bright", *given]) == 0
    assert values(output) == objects
    assert ("series 1 was taken" in capsys.readouterr().out) == (not given)
    assert read_image(output).axes[-1].scale == (0.25 if given else 0.5)
    again = tmp_path / "again.zarr"
    assert main(["rerun", f"{output}.json", "-o", str(again)]) == 0
    assert values(again) == objects


@pytest.mark.parametrize(
    ("given", "name", "objects"),
    [
        ([], "cells", [1]),
        (["--series", "2"], "cells_B", [1, 2, 3]),
        (["--series", "b"], "cells_B", [1, 2, 3]),
    ],
)
def test_batch_and_its_rerun(image, tmp_path, capsys, given, name, objects):
    (tmp_path / "in" / "notes.txt").write_text("hello")
    folder = tmp_path / "out"

    assert main(["batch", str(image.parent), str(folder), "--text", "bright", *given]) == 0

    labels = folder / f"{name}_bright_mask.tif"
    assert values(labels) == objects
    with (folder / "sam3_summary.csv").open(newline="", encoding="utf-8") as file:
        done, left_out = csv.DictReader(file)
    assert ("series 1 was taken" in done["message"]) == (not given)
    assert (left_out["image"], left_out["status"]) == ("notes.txt", "left out")
    said = capsys.readouterr().out
    assert "notes.txt: left out. It is not one of TIFF, PNG" in said
    assert "1 done, 0 skipped, 0 failed, 1 left out" in said
    again = tmp_path / "again.tif"
    assert main(["rerun", f"{labels}.json", "-o", str(again)]) == 0
    assert values(again) == objects


def test_a_batch_of_all_positions_is_resumed(image, tmp_path, capsys):
    tifffile.imwrite(image.with_name("one.tif"), squares(2))
    folder = tmp_path / "out"
    batch = ["batch", str(image.parent), str(folder), "--text", "bright", "--series"]

    assert main([*batch, "1-"]) == 0
    said = capsys.readouterr().out
    assert "one.tif: left out. None of its images is meant by the series 1-." in said
    assert main([*batch, "all"]) == 0

    said = capsys.readouterr().out
    assert "cells.ome.tif [0: thumbnail] - bright: 2 objects, done" in said
    assert "cells.ome.tif [1: A] - bright: 1 object, skipped: cells_A_bright_mask.tif" in said
    assert "2 done, 2 skipped, 0 failed" in said
    found = {path.name: len(values(path)) for path in folder.glob("*.tif")}
    assert found == {
        "cells_thumbnail_bright_mask.tif": 2,
        "cells_A_bright_mask.tif": 1,
        "cells_B_bright_mask.tif": 3,
        "one_bright_mask.tif": 2,
    }
    assert read_image(folder / "cells_A_bright_mask.tif").axes[-1].scale == 0.5
    with (folder / "sam3_summary.csv").open(newline="", encoding="utf-8") as file:
        rows = [(row["image"], row["status"]) for row in csv.DictReader(file)]
    assert len(rows) == len(set(rows)) == 4


def test_a_name_that_no_image_or_several_have(image, tmp_path, capsys):
    for given, said in (("Pos", "no series 'Pos'"), ("?", "2 of the 3 images")):
        assert main(["info", str(image), "--series", given]) == 2
        assert said in capsys.readouterr().err
    assert main(["info", str(image), "--series", "A"]) == 0
    assert "'A' (64 x 80) (taken)" in capsys.readouterr().out
    arguments = ["batch", str(image.parent), str(tmp_path / "out"), "--text", "bright"]
    assert main([*arguments, "--series", "Pos"]) == 1
    said = capsys.readouterr().out
    assert "cells.ome.tif [Pos] - bright: failed. There is no series 'Pos'" in said
    assert main([*arguments, "--series", "Pos*"]) == 2
    assert "is meant by the series Pos*" in capsys.readouterr().err


def test_track(tmp_path, capsys):
    (tmp_path / "in").mkdir()
    path = tmp_path / "movie.ome.tif"
    with tifffile.TiffWriter(path, ome=True) as writer:
        for count in (1, 3):
            writer.write(
                np.stack([squares(count)] * 3),
                photometric="minisblack",
                metadata={"axes": "TYX", "TimeIncrement": float(count)},
            )
    output = tmp_path / "labels.tif"
    arguments = ["track", str(path), "-o", str(output), "--text", "bright"]

    assert main([*arguments, "--series", "1"]) == 0
    assert values(output) == [1, 2, 3]
    assert read_image(output).axes[0].scale == 3.0
    assert main(["rerun", f"{output}.json", "-o", str(tmp_path / "again.tif")]) == 0
    assert values(tmp_path / "again.tif") == [1, 2, 3]
    capsys.readouterr()
    assert main([*arguments, "--overwrite"]) == 0
    assert "series 0 was taken" in capsys.readouterr().out
    assert values(output) == [1]
    path.rename(tmp_path / "in" / "movie.ome.tif")
    made = [tmp_path / "out" / f"movie_Image{at}_tracks.tif" for at in (0, 1)]
    for stacks, which in (("movie.ome.tif", "0-1"), ("*.tif", "all")):
        folder = ["track", str(tmp_path / "in" / stacks), "-o", str(tmp_path / "out")]
        assert main([*folder, "--text", "bright", "--series", which]) == 0
        assert [values(one) for one in made] == [[1], [1, 2, 3]]
    assert "2 skipped" in capsys.readouterr().out


@pytest.mark.parametrize("command", ["segment", "scan", "track"])
def test_a_series_that_is_not_there(image, tmp_path, capsys, command):
    ending = ".zarr" if command == "scan" else ".tif"
    arguments = [command, str(image), "-o", str(tmp_path / f"a{ending}"), "--text", "bright"]

    assert main([*arguments, "--series", "3"]) == 2

    assert "no series 3" in capsys.readouterr().err


def test_the_files_of_a_set_are_one_image_of_a_batch(tmp_path):
    (tmp_path / "in").mkdir()
    names = [f"s{number}.ome.tif" for number in range(4)]
    write_set(tmp_path / "in", names)
    tifffile.imwrite(tmp_path / "in" / "other.tif", squares(2))

    rows = api.segment_folder(tmp_path / "in", tmp_path / "out", texts=["bright"])

    assert [(row.image, row.status, row.objects) for row in rows] == [
        ("other.tif", "done", 2),
        ("s0.ome.tif", "done", 4),
        *((name, "left out", None) for name in names[1:]),
    ]
    assert "part of s0.ome.tif, an image of 4 files" in rows[-1].message
    (tmp_path / "in" / names[2]).unlink()
    rows = api.segment_folder(tmp_path / "in", tmp_path / "out", texts=["bright"])
    assert [(row.image, row.status) for row in rows[:2]] == [
        ("other.tif", "skipped"),
        ("s0.ome.tif", "failed"),
    ]
    assert "s2.ome.tif" in rows[1].message


def write_set(folder, names):
    """Write a z-stack as one OME-TIFF for each plane."""
    data = "".join(
        f'<TiffData IFD="0" PlaneCount="1" FirstZ="{z}" FirstC="0" FirstT="0">'
        f'<UUID FileName="{name}">urn:uuid:{z}</UUID></TiffData>'
        for z, name in enumerate(names)
    )
    for z, name in enumerate(names):
        xml = (
            '<?xml version="1.0" encoding="UTF-8"?>'
            '<OME xmlns="http://www.openmicroscopy.org/Schemas/OME/2016-06" '
            f'UUID="urn:uuid:{z}"><Image ID="Image:0"><Pixels ID="Pixels:0" '
            f'DimensionOrder="XYZCT" Type="uint8" SizeX="80" SizeY="64" SizeZ="{len(names)}" '
            'SizeC="1" SizeT="1"><Channel ID="Channel:0:0" SamplesPerPixel="1"/>'
            f"{data}</Pixels></Image></OME>"
        )
        tifffile.imwrite(folder / name, squares(1), description=xml, metadata=None)

"""A usual diameter that is told: in whatever unit and wherever, the labels are the same."""

import json

import numpy as np
import pytest
import tifffile

from napari_sam3_assistant import api
from napari_sam3_assistant.cli import main
from napari_sam3_assistant.errors import PromptError

SIDE = 0.25  # micrometre


@pytest.fixture(scope="module")
def by_pixels(specked_cells):
    """What is found where the diameter is told in pixels, by what is asked."""
    found = {}
    for name, asked in (("text", {"text": "bright cells"}), ("all", {"everything": True})):
        found[name] = api.segment(specked_cells, diameter=30, **asked).labels
        # The size matters, else all would be the same without it.
        assert (found[name] != api.segment(specked_cells, **asked).labels).any()
    return found


def saved(path, pixels, height=SIDE, width=SIDE, unit="µm"):
    """Return a file that tells the size of its pixels."""
    about = {
        "PhysicalSizeY": height,
        "PhysicalSizeYUnit": unit,
        "PhysicalSizeX": width,
        "PhysicalSizeXUnit": unit,
    }
    axes = "ZYX"[-pixels.ndim :]
    tifffile.imwrite(path, pixels, ome=True, metadata={"axes": axes, **about})
    return path


@pytest.mark.parametrize(
    ("told", "size"),
    [
        ("7.5 um", {}),
        ("7,5 µm", {}),
        ("7500nm", {}),
        ("7.5 microns", {"height": SIDE * 2, "width": SIDE / 2}),
        ("0.0075 mm", {"height": SIDE * 1000, "width": SIDE * 1000, "unit": "nm"}),
        ("30", {}),
        (30.0, {}),
    ],
)
def test_a_file_makes_pixels_of_any_unit(tmp_path, specked_cells, by_pixels, told, size):
    path = saved(tmp_path / "cells.ome.tif", specked_cells, **size)
    found = [("text", api.segment(path, text="bright cells", diameter=told))]
    if told == "7.5 um":
        found += [
            ("text", api.segment(path, text=f"bright cells {told}")),
            ("all", api.segment(path, everything=True, diameter=told)),
        ]
    for name, result in found:
        np.testing.assert_array_equal(result.labels, by_pixels[name])
        in_unit = any(note.endswith("is 30 pixels here.") for note in result.notes)
        assert in_unit == (told not in ("30", 30))


def test_what_a_phrase_tells_comes_before_the_option(specked_cells, by_pixels):
    found = api.segment(specked_cells, text="bright cells 30 px", diameter=7)
    np.testing.assert_array_equal(found.labels, by_pixels["text"])


@pytest.mark.parametrize(
    "asked",
    [
        {"text": "bright cells", "diameter": "12 um"},
        {"everything": True, "diameter": "12 um"},
        {"text": "bright cells 12 um"},
    ],
)
def test_an_array_alone_has_no_micrometres(specked_cells, asked):
    with pytest.raises(PromptError, match="size of a pixel"):
        api.segment(specked_cells, **asked)


def test_where_nothing_makes_use_of_it_that_is_told(specked_cells, tmp_path):
    with pytest.raises(PromptError, match="a phrase or everything"):
        api.segment(specked_cells, boxes=[(10, 10, 40, 40)], diameter=30)
    with pytest.raises(PromptError, match="a phrase or everything"):
        list(api.track(np.stack([specked_cells] * 3), frame=1, points=[(30, 30)], diameter=30))
    with pytest.raises(PromptError, match="not a diameter"):
        api.scan(specked_cells, output=tmp_path / "a.zarr", everything=True, diameter="large")


def test_the_command_line_and_the_note_tell_the_same(tmp_path, specked_cells, by_pixels, capsys):
    path = saved(tmp_path / "cells.ome.tif", specked_cells)
    for name, asked in (("text", ["--text", "bright cells"]), ("all", ["--everything"])):
        output = tmp_path / f"{name}.tif"
        assert main(["segment", str(path), "-o", str(output), *asked, "--diameter", "7.5um"]) == 0
        assert "is 30 pixels here" in capsys.readouterr().out
        np.testing.assert_array_equal(tifffile.imread(output), by_pixels[name])
        note = json.loads((tmp_path / f"{name}.tif.json").read_text())
        assert note["diameter"] == "7.5 µm"
        again = api.rerun(tmp_path / f"{name}.tif.json", output=tmp_path / f"{name}_again.tif")
        np.testing.assert_array_equal(tifffile.imread(again.path), by_pixels[name])


def test_tiles_folders_and_stacks_take_the_size_of_their_file(tmp_path, specked_cells, by_pixels):
    source = tmp_path / "images"
    source.mkdir()
    path = saved(source / "cells.ome.tif", specked_cells)
    scanned = api.scan(path, output=tmp_path / "a.zarr", everything=True, diameter="7.5 um")
    in_pixels = api.scan(path, output=tmp_path / "b.zarr", everything=True, diameter=30)
    assert [record.area for record in scanned.objects] == [
        record.area for record in in_pixels.objects
    ]
    assert len(scanned.objects) == by_pixels["all"].max()

    # Pixels of the second are half as large, so it holds as many pixels of other cells.
    saved(source / "finer.ome.tif", specked_cells, SIDE / 2, SIDE / 2)
    output = tmp_path / "labels"
    asked = {"texts": ("bright cells 7.5 um", "bright cells")}
    rows = api.segment_folder(source, output, **asked, diameter="3.75 um")
    assert {row.status for row in rows} == {"done"}
    told = {(row.image, row.phrase): row for row in rows}
    for image, phrase in (
        ("cells.ome.tif", "bright cells 7.5 um"),
        ("finer.ome.tif", "bright cells"),
    ):
        labels = tifffile.imread(output / told[image, phrase].labels)
        np.testing.assert_array_equal(labels, by_pixels["text"])
    # What is done is known again by its diameter.
    few = {"texts": "bright cells", "pattern": "finer*"}
    (again,) = api.segment_folder(source, output, **few, diameter="3.75 um")
    assert again.status == "skipped"
    (other,) = api.segment_folder(source, output, **few, diameter="3 um")
    assert other.status == "done"

    stacks = tmp_path / "stacks"
    stacks.mkdir()
    stack = saved(stacks / "stack.ome.tif", np.stack([specked_cells] * 2))
    followed = [
        [frame.labels for frame in api.track(stack, everything=True, diameter=told)]
        for told in ("7.5 um", 30)
    ]
    np.testing.assert_array_equal(*followed)
    (row,) = api.track_folder(stacks, tmp_path / "tracks", everything=True, diameter="7.5 um")
    assert row.status == "done"
    labels = tifffile.imread(tmp_path / "tracks" / row.labels)
    np.testing.assert_array_equal(labels, followed[0])


def test_what_knows_its_pixels_in_memory_tells_them(specked_cells, by_pixels):
    layers = pytest.importorskip("napari.layers")
    layer = layers.Image(specked_cells, scale=(SIDE, SIDE), units=("um", "um"))
    found = api.segment(layer, text="bright cells", diameter="7.5 um")
    np.testing.assert_array_equal(found.labels, by_pixels["text"])

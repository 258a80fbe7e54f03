"""What a file says of its axes is what the labels' file says of them, whatever their order."""

import numpy as np
import pytest
import tifffile
import zarr
from ome_zarr.io import parse_url
from ome_zarr.reader import Reader

from napari_sam3_assistant import api
from napari_sam3_assistant.cli import main


@pytest.fixture
def batch(tmp_path):
    """Return what segments a folder of images into files of an ending."""

    def run(ending):
        (row,) = api.segment_folder(
            tmp_path / "in", tmp_path / "out", boxes=[(2, 2, 6, 6)], ending=ending
        )
        assert row.status == "done", row.message
        return tmp_path / "out" / row.labels

    (tmp_path / "in").mkdir()
    return run


def told_by_tifffile(path):
    """Return length, size, unit and place of each axis of an OME-TIFF."""
    with tifffile.TiffFile(path) as file:
        series = file.series[0]
        pixels = tifffile.xml2dict(file.ome_metadata)["OME"]["Image"]["Pixels"]
    planes = pixels.get("Plane", {})
    plane = planes[0] if isinstance(planes, list) else planes
    found = {}
    for name, length in zip(series.axes, series.shape, strict=True):
        size, place = ("TimeIncrement", "DeltaT") if name == "T" else (
            f"PhysicalSize{name}", f"Position{name}"
        )  # fmt: skip
        found[name.lower()] = (
            length, pixels[size], pixels[f"{size}Unit"], plane.get(place, 0.0)
        )  # fmt: skip
    return found


def test_each_axis_of_a_tiff_keeps_its_own_values(batch, tmp_path):
    tifffile.imwrite(
        tmp_path / "in" / "a.ome.tif",
        np.zeros((4, 3, 2, 40, 50), np.uint8),
        metadata={
            "axes": "ZTCYX",
            "PhysicalSizeX": 0.25, "PhysicalSizeXUnit": "µm",
            "PhysicalSizeY": 0.5, "PhysicalSizeYUnit": "µm",
            "PhysicalSizeZ": 1.5, "PhysicalSizeZUnit": "µm",
            "TimeIncrement": 30.0, "TimeIncrementUnit": "s",
            "Plane": {
                "PositionX": [100.0] * 24, "PositionXUnit": ["nm"] * 24,
                "PositionZ": [7.5] * 24, "PositionZUnit": ["µm"] * 24,
            },
        },
    )  # fmt: skip

    assert told_by_tifffile(batch(".tif")) == {
        "t": (3, 30.0, "s", 0.0),
        "z": (4, 1.5, "µm", 7.5),
        "y": (40, 0.5, "µm", 0.0),
        "x": (50, 0.25, "µm", pytest.approx(0.1)),
    }


def write_x_first(path):
    """Write an image stored x, y, z, with a bright square at the low end of x and y."""
    group = zarr.open_group(str(path), mode="w", zarr_format=2)
    data = np.zeros((50, 40, 4), np.uint8)
    data[3:23, 5:13] = 200
    group.create_array("0", data=data)
    group.attrs["multiscales"] = [
        {
            "version": "0.4",
            "axes": [{"name": n, "type": "space", "unit": "micrometer"} for n in "xyz"],
            "datasets": [
                {
                    "path": "0",
                    "coordinateTransformations": [
                        {"type": "scale", "scale": [0.25, 0.5, 2.0]},
                        {"type": "translation", "translation": [7.0, 8.0, 9.0]},
                    ],
                }
            ],
        }
    ]


def test_images_that_are_stored_x_first_are_not_turned(batch, tmp_path):
    write_x_first(tmp_path / "in" / "a.zarr")

    assert told_by_tifffile(batch(".tif")) == {
        "z": (4, 2.0, "µm", 9.0),
        "y": (40, 0.5, "µm", 8.0),
        "x": (50, 0.25, "µm", 7.0),
    }


@pytest.mark.parametrize("command", ["scan", "track", "segment"])
def test_the_other_commands_say_the_same(tmp_path, command):
    write_x_first(tmp_path / "a.zarr")
    output = tmp_path / ("labels.tif" if command == "segment" else "labels.zarr")
    plane = ["--axis", "z"] if command == "track" else ["--plane", "1"]

    arguments = [command, str(tmp_path / "a.zarr"), "-o", str(output), *plane]
    assert main([*arguments, "--text", "bright"]) == 0

    if command == "segment":
        told = told_by_tifffile(output)
        assert told == {"y": (40, 0.5, "µm", 8.0), "x": (50, 0.25, "µm", 7.0)}
        order, values = "yx", tifffile.imread(output)
    else:
        (node,) = Reader(parse_url(output, mode="r"))()
        order = "".join(axis["name"] for axis in node.metadata["axes"])
        scale, moved = node.metadata["coordinateTransformations"][0]
        values = np.asarray(node.data[0])
        found = {
            name: (values.shape[number], scale["scale"][number], moved["translation"][number])
            for number, name in enumerate(order)
        }
        assert found["y"] == (40, 0.5, 8.0)
        assert found["x"] == (50, 0.25, 7.0)
        assert found.get("z", (4, 2.0, 9.0)) == (4, 2.0, 9.0)
    places = dict(zip(order, np.nonzero(values), strict=True))
    assert (places["y"].min(), places["y"].max()) == (5, 12)
    assert (places["x"].min(), places["x"].max()) == (3, 22)


@pytest.mark.parametrize("version", ["0.4", "0.5"])
def test_the_place_of_an_ome_zarr_goes_along(batch, tmp_path, version):
    group = zarr.open_group(
        str(tmp_path / "in" / "a.zarr"), mode="w", zarr_format=2 if version == "0.4" else 3
    )
    group.create_array("0", data=np.zeros((2, 40, 50), np.uint8))
    image = {
        "axes": [
            {"name": "c", "type": "channel"},
            {"name": "y", "type": "space", "unit": "inch"},
            {"name": "x", "type": "space", "unit": "inch"},
        ],
        "datasets": [
            {
                "path": "0",
                "coordinateTransformations": [
                    {"type": "scale", "scale": [1, 2, 4]},
                    {"type": "translation", "translation": [0, 10, 20]},
                ],
            }
        ],
        "coordinateTransformations": [
            {"type": "scale", "scale": [1, 0.5, 0.25]},
            {"type": "translation", "translation": [0, 100, 200]},
        ],
    }
    if version == "0.4":
        group.attrs["multiscales"] = [{**image, "version": "0.4"}]
    else:
        group.attrs["ome"] = {"version": "0.5", "multiscales": [image]}

    path = batch(".zarr")

    (node,) = Reader(parse_url(path, mode="r"))()
    assert [(axis["name"], axis["unit"]) for axis in node.metadata["axes"]] == [
        ("y", "inch"),
        ("x", "inch"),
    ]
    assert node.metadata["coordinateTransformations"][0] == [
        {"type": "scale", "scale": [1.0, 1.0]},
        {"type": "translation", "translation": [105.0, 205.0]},
    ]


def test_a_size_that_the_caller_gives_keeps_the_names_of_the_axes(tmp_path):
    image = np.zeros((50, 40), np.uint8)

    result = api.scan(
        image, output=tmp_path / "labels.zarr", text="bright", axis_labels=("x", "y"),
        scale=(0.25, 0.5), unit="µm",
    )  # fmt: skip

    (node,) = Reader(parse_url(result.path, mode="r"))()
    assert [(axis["name"], axis["unit"]) for axis in node.metadata["axes"]] == [
        ("x", "micrometer"),
        ("y", "micrometer"),
    ]
    assert node.metadata["coordinateTransformations"][0] == [
        {"type": "scale", "scale": [0.25, 0.5]}
    ]

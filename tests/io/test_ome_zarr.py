"""zarr arrays and OME-Zarr images of both zarr formats."""

import json

import numpy as np
import pytest
import zarr

from napari_sam3_assistant.errors import ImageError
from napari_sam3_assistant.io.images import list_series, read_image

STACK = np.arange(2 * 12 * 16, dtype=np.uint16).reshape(2, 12, 16)
ZARR_3 = not zarr.__version__.startswith("2.")
FORMATS = [2, 3] if ZARR_3 else [2]


def made_group(path, zarr_format=FORMATS[-1]):
    return zarr.open_group(str(path), mode="w", **({"zarr_format": zarr_format} if ZARR_3 else {}))


def add(group, name, data, **options):
    make = group.create_array if ZARR_3 else group.create_dataset
    array = make(name, shape=data.shape, chunks=data.shape, dtype=data.dtype, **options)
    array[...] = data
    return array


def multiscales(axes, path="0", scale=None):
    level = {"path": path}
    if scale is not None:
        level["coordinateTransformations"] = [{"type": "scale", "scale": scale}]
    image = {"datasets": [level, {"path": "half"}], "version": "0.4"}
    return [image if axes is None else {**image, "axes": axes}]


CYX = [{"name": name, "type": "space"} for name in "cyx"]


@pytest.mark.parametrize("zarr_format", FORMATS)
def test_a_plain_array(tmp_path, zarr_format):
    add(made_group(tmp_path / "a.zarr", zarr_format), "raw", STACK)

    loaded = read_image(tmp_path / "a.zarr" / "raw")

    np.testing.assert_array_equal(loaded.data[...], STACK)
    assert loaded.axis_labels is None
    assert isinstance(loaded.data, zarr.Array)


@pytest.mark.parametrize("zarr_format", FORMATS)
def test_an_ome_zarr_image(tmp_path, zarr_format):
    group = made_group(tmp_path / "cells.ome.zarr", zarr_format)
    add(group, "0", STACK)
    add(group, "half", STACK[:, ::2, ::2])
    described = multiscales(CYX, scale=[1, 0.5, 0.25])
    # The metadata have their own key since OME-Zarr 0.5, which came with zarr format 3.
    if zarr_format == 3:
        group.attrs["ome"] = {"version": "0.5", "multiscales": described}
    else:
        group.attrs["multiscales"] = described

    loaded = read_image(tmp_path / "cells.ome.zarr")

    np.testing.assert_array_equal(loaded.data[...], STACK)
    assert loaded.axis_labels == ("c", "y", "x")
    assert tuple(axis.scale for axis in loaded.axes) == (1.0, 0.5, 0.25)
    assert loaded.name == "cells"


@pytest.mark.parametrize(
    ("axes", "data", "labels"),
    [
        (["c", "y", "x"], STACK, ("c", "y", "x")),  # OME-Zarr 0.3
        (None, STACK[None, :, None], ("t", "c", "z", "y", "x")),  # 0.1 and 0.2
    ],
)
def test_axes_of_older_versions(tmp_path, axes, data, labels):
    group = made_group(tmp_path / "a.zarr", 2)
    add(group, "0", data)
    group.attrs["multiscales"] = multiscales(axes)

    assert read_image(tmp_path / "a.zarr").axis_labels == labels


def test_the_largest_level_is_the_image_wherever_it_stands(tmp_path):
    group = made_group(tmp_path / "a.zarr")
    add(group, "half", STACK[:, ::2, ::2])
    add(group, "whole", STACK)
    levels = [
        {"path": path, "coordinateTransformations": [{"type": "scale", "scale": [1, size, size]}]}
        for path, size in [("half", 0.5), ("whole", 0.25)]
    ]
    group.attrs["multiscales"] = [{"datasets": levels, "axes": CYX, "version": "0.4"}]

    loaded = read_image(tmp_path / "a.zarr")

    assert [level.shape for level in loaded.levels] == [(2, 12, 16), (2, 6, 8)]
    assert [axis.scale for axis in loaded.axes] == [1, 0.25, 0.25]


def test_the_first_image_of_bioformats2raw(tmp_path):
    group = made_group(tmp_path / "a.zarr", 2)
    group.attrs["bioformats2raw.layout"] = 3
    image = group.create_group("0")
    add(image, "0", STACK)
    image.attrs["multiscales"] = multiscales(CYX)

    np.testing.assert_array_equal(read_image(tmp_path / "a.zarr").data[...], STACK)


def test_the_only_array_of_a_group(tmp_path):
    add(made_group(tmp_path / "a.zarr"), "raw", STACK)

    np.testing.assert_array_equal(read_image(tmp_path / "a.zarr").data[...], STACK)


def test_axes_that_xarray_named(tmp_path):
    array = add(made_group(tmp_path / "a.zarr", 2), "raw", STACK)
    array.attrs["_ARRAY_DIMENSIONS"] = ["c", "y", "x"]

    assert read_image(tmp_path / "a.zarr" / "raw").axis_labels == ("c", "y", "x")


@pytest.mark.skipif(not ZARR_3, reason="axes are named since zarr format 3")
def test_axes_that_zarr_names(tmp_path):
    add(made_group(tmp_path / "a.zarr"), "raw", STACK, dimension_names=("c", None, "x"))

    assert read_image(tmp_path / "a.zarr" / "raw").axis_labels == ("c", "", "x")


def test_all_images_of_a_group_can_be_chosen(tmp_path):
    several = made_group(tmp_path / "several.zarr")
    add(several, "one", STACK[0, ::2])
    add(several, "two", STACK)
    inner = several.create_group("more").create_group("cells")
    add(inner, "0", STACK[0])
    inner.attrs["multiscales"] = multiscales(["y", "x"])

    loaded = read_image(tmp_path / "several.zarr")

    assert [(one.name, one.shape) for one in loaded.choices] == [
        ("cells", (12, 16)), ("one", (6, 16)), ("two", (2, 12, 16))
    ]  # fmt: skip
    np.testing.assert_array_equal(loaded.data[...], STACK)
    assert "holds 3 images; series 2 was taken" in loaded.notes[0]
    np.testing.assert_array_equal(read_image(tmp_path / "several.zarr", 0).data[...], STACK[0])


def test_groups_without_an_image(tmp_path):
    made_group(tmp_path / "void.zarr")
    made_group(tmp_path / "plate.zarr").attrs["plate"] = {"wells": []}

    for name in ("void", "plate"):
        with pytest.raises(ImageError, match="holds no array"):
            read_image(tmp_path / f"{name}.zarr")


def test_damaged_metadata_are_one_sentence(tmp_path):
    missing_level = made_group(tmp_path / "level.zarr", 2)
    missing_level.attrs["multiscales"] = multiscales(CYX)
    wrong_axes = made_group(tmp_path / "axes.zarr", 2)
    add(wrong_axes, "0", STACK)
    wrong_axes.attrs["multiscales"] = multiscales(["y", "x"])
    broken = made_group(tmp_path / "broken.zarr", 2)
    add(broken, "0", STACK)
    (tmp_path / "broken.zarr" / ".zgroup").write_text("{")

    for name, said in [
        ("level", "can't be read"),
        ("axes", "names 2 axes, its array has 3"),
        ("broken", "no zarr image"),
    ]:
        with pytest.raises(ImageError, match=said) as caught:
            read_image(tmp_path / f"{name}.zarr")
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize(("version", "shards"), [("0.4", False), ("0.5", False), ("0.5", True)])
def test_a_plate_is_its_fields(tmp_path, write_plate, version, shards):
    write_plate(tmp_path / "plate.zarr", version, shards=shards)

    loaded = read_image(tmp_path / "plate.zarr")

    assert [one.name for one in loaded.choices] == ["A/1/0", "A/1/1", "B/12/0", "B/12/1"]
    assert (np.asarray(loaded.data[...]) == 0).all()
    assert "series 0 was taken" in loaded.notes[0]
    last = read_image(tmp_path / "plate.zarr", 3)
    assert (np.asarray(last.data[...]) == 11).all()
    assert [axis.scale for axis in last.axes] == [0.5, 0.25]
    assert (np.asarray(read_image(tmp_path / "plate.zarr/B/12", 1).data[...]) == 11).all()
    assert (np.asarray(read_image(tmp_path / "plate.zarr/B/12/0").data[...]) == 10).all()
    assert list_series(tmp_path / "plate.zarr") == loaded.choices


@pytest.mark.parametrize("path", ["../outside", "/etc", "A/../../outside", "C:/x", "A\\1", ""])
def test_a_plate_leads_nowhere_else(tmp_path, path):
    add(made_group(tmp_path / "outside"), "0", STACK)
    plate = made_group(tmp_path / "plate.zarr")
    plate.attrs["ome"] = {"plate": {"wells": [{"path": path}]}}

    with pytest.raises(ImageError, match=r"leads out of it"):
        read_image(tmp_path / "plate.zarr")


@pytest.mark.parametrize("level", ["", "0", "1"])
def test_pixels_that_could_run_a_program_are_not_read(tmp_path, level):
    group = zarr.open_group(tmp_path / "a.zarr", mode="w", zarr_format=2)
    for name, size in (("0", 8), ("1", 4)):
        group.create_array(name, shape=(size, size), chunks=(4, 4), dtype="u1")
    datasets = [{"path": "0"}, {"path": "1"}]
    group.attrs["multiscales"] = [{"version": "0.4", "axes": ["y", "x"], "datasets": datasets}]
    about = tmp_path / "a.zarr" / (level or "0") / ".zarray"
    # zarr itself refuses pickle where it is the only codec of objects.
    packed = {"filters": [{"id": "vlen-utf8"}], "compressor": {"id": "pickle", "protocol": 5}}
    told = json.loads(about.read_text()) | packed | {"dtype": "|O", "fill_value": ""}
    about.write_text(json.dumps(told))

    with pytest.raises(ImageError, match="packed with pickle"):
        read_image(tmp_path / "a.zarr" if level else about.parent)

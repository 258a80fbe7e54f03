"""What stands for another time or channel in a file is cleaned up by itself."""

import json

import numpy as np
import pytest
import tifffile
import zarr

from napari_sam3_assistant import api
from napari_sam3_assistant.errors import MaskError

STEPS = [api.RemoveSmall(20), api.FillHoles(), api.KeepLargest(per_label=True), api.Shrink(1)]
LENGTHS = {"t": 3, "z": 5, "c": 2, "y": 24, "x": 30}


def labels_of(axes):
    """Objects of few pixels, with holes, that lie at the same place in what comes next."""
    shape = tuple(LENGTHS[axis] for axis in axes)
    rng = np.random.default_rng(len(axes))
    labels = np.zeros(shape, np.uint16)
    for index in np.ndindex(shape[:-2]):
        for label, (y, x) in enumerate(rng.integers(0, (12, 18), (3, 2)), 1):
            side = rng.integers(2, 12)
            labels[index][y : y + side + 1, x : x + side] = label
            labels[index][y + side // 2, x + side // 2] = 0
    return labels


def write_imagej(path, labels, axes):
    tifffile.imwrite(path, labels, imagej=True, metadata={"axes": axes.upper()})


def write_ome_tiff(path, labels, axes):
    tifffile.imwrite(path, labels, ome=True, metadata={"axes": axes.upper()})


def write_ome_zarr(path, labels, axes):
    kinds = {"t": "time", "c": "channel"}
    described = [{"name": axis, "type": kinds.get(axis, "space")} for axis in axes]
    scale = {"type": "scale", "scale": [1.0] * len(axes)}
    level = {"path": "0", "coordinateTransformations": [scale]}
    group = zarr.open_group(path, mode="w", zarr_format=2)
    group.create_array("0", data=labels, chunks=(1,) * (labels.ndim - 2) + labels.shape[-2:])
    multiscales = [{"version": "0.4", "axes": described, "datasets": [level]}]
    (path / ".zattrs").write_text(json.dumps({"multiscales": multiscales}))


WRITERS = {"tif": write_imagej, "ome.tif": write_ome_tiff, "zarr": write_ome_zarr}


AXES = ["tyx", "cyx", "zyx", "tzyx", "zcyx", "tcyx", "tzcyx", "tczyx"]
# ImageJ has one order of axes: T, Z, C, Y, X.
CASES = [
    (axes, ending) for axes in AXES for ending in WRITERS if (axes, ending) != ("tczyx", "tif")
]


@pytest.mark.parametrize(("axes", "ending"), CASES)
def test_each_frame_of_a_file_is_cleaned_as_if_it_were_alone(tmp_path, axes, ending):
    labels, path = labels_of(axes), tmp_path / f"labels.{ending}"
    WRITERS[ending](path, labels, axes)
    right = {apart: labels.copy() for apart in api.Apart}
    single = [axis for axis, name in enumerate(axes) if name in "tc"]
    for apart, split in (("frames", single), ("slices", range(len(axes) - 2)), ("nothing", ())):
        for index in np.ndindex(*(labels.shape[axis] for axis in split)):
            at = dict(zip(split, index, strict=True))
            place = tuple(at.get(axis, slice(None)) for axis in range(len(axes)))
            right[apart][place] = api.clean(labels[place], STEPS, apart="nothing")

    cleaned = {apart: api.clean(path, STEPS, apart=apart) for apart in api.Apart}

    for apart in api.Apart:
        np.testing.assert_array_equal(cleaned[apart], right[apart])
    np.testing.assert_array_equal(api.clean(path, STEPS), right["frames"])
    assert (right["nothing"] != right["frames"]).any() == bool(single)
    assert (right["slices"] != right["frames"]).any() == ("z" in axes)


def test_what_can_count_apart_is_named():
    with pytest.raises(MaskError, match=r"no way to count apart 'planes'.*frames, slices, nothing"):
        api.clean(labels_of("tyx"), STEPS, apart="planes")


def test_planes_without_a_name_are_slices_and_what_lies_before_them_times():
    movie = labels_of("tzyx")

    cleaned = api.clean(movie, STEPS)

    for frame, before in zip(cleaned, movie, strict=True):
        np.testing.assert_array_equal(frame, api.clean(before, STEPS, apart="nothing"))
    np.testing.assert_array_equal(cleaned[0], api.clean(movie[0], STEPS))

"""Version 4's table of channel axes row by row in files: the image's axes without the channel."""

import numpy as np
import pytest
import tifffile
import zarr

from napari_sam3_assistant import api
from napari_sam3_assistant.cli import main
from napari_sam3_assistant.core.prompts import Task, Tool

PLACES = {"t": (30, 60), "z": (2, -4), "c": (1, 0), "y": (0.5, 10), "x": (0.25, 20)}
"""Size and place of pixels in the image; of colours there is none."""
TABLE = {"yx": -1, "yx3": -1, "yx4": -1, "zyx": -1, "cyx": 0, "zcyx": 1, "tcyx": 1, "zyxc": 3,
         "tcyx by name": -1}  # fmt: skip
ROWS = pytest.mark.parametrize("row", TABLE)
SIZES = {"t": 3, "z": 3, "c": 2, "3": 3, "4": 4}


@pytest.fixture
def pixels(disc):
    """Return a function that makes the disc with the axes of a row."""

    def make(names):
        where = {"y": 0, "x": 1}
        axes = [disc.shape[where[one]] if one in where else 1 for one in names]
        shape = [disc.shape[where[one]] if one in where else SIZES[one] for one in names]
        return np.broadcast_to(disc.reshape(axes), shape).copy()

    return make


@pytest.fixture
def show(viewer, binding, pixels):
    """Return a function that shows the image of a row."""

    def go(row):
        names, number = row.split()[0], TABLE[row]
        colours = names[-1] in "34"
        told = names[:-1] if colours else names
        scale, translate = np.transpose([PLACES[one] for one in told])
        image = viewer.add_image(
            pixels(names),
            name="cells",
            rgb=colours,
            scale=scale,
            translate=translate,
            units=["s" if one == "t" else "pixel" if one == "c" else "um" for one in told],
            axis_labels=list(told) if "by name" in row else None,
        )
        if names.endswith("xc"):
            viewer.dims.order = (0, 3, 1, 2)
        binding.model.channel_axis = number
        return image, told.replace("c", "")

    return go


def wait(job):
    assert job.wait(240)
    assert job.error is None, job.error


def of_tiff(path):
    with tifffile.TiffFile(path) as file:
        pixels = tifffile.xml2dict(file.ome_metadata)["OME"]["Image"]["Pixels"]
        axes = file.series[0].axes.lower()
        sizes = [pixels["TimeIncrement" if one == "t" else f"PhysicalSize{one.upper()}"]
                 for one in axes]  # fmt: skip
        return axes, sizes, file.asarray()


def of_zarr(path):
    group = zarr.open_group(path, mode="r")
    (image,) = group.attrs["multiscales"]
    told = image["datasets"][0]["coordinateTransformations"]
    begin = next(one["translation"] for one in told if one["type"] == "translation")
    names = "".join(one["name"] for one in image["axes"])
    assert begin == [PLACES[one][1] for one in names]
    return names, told[0]["scale"], group["0"][...]


def assert_saved(folder, names, labels):
    """All files of a folder hold the labels with axes of these names, and nothing else."""
    files = [*folder.glob("*.tif"), *folder.glob("*.zarr")]
    assert len(files) == 3
    for path in files:
        axes, sizes, stored = (of_tiff if path.suffix == ".tif" else of_zarr)(path)
        assert axes == names, path
        assert sizes == [PLACES[one][0] for one in names]
        np.testing.assert_array_equal(stored, labels)


def save(binding, folder):
    wait(binding.session.saving.export(folder / "labels.tif"))
    wait(binding.session.saving.export(folder / "labels.ome.zarr"))
    binding.model.output_folder, binding.model.output_name = str(folder), "clean"
    wait(binding.session.cleaning.save())


@ROWS
def test_a_plane_is_saved_as_rows_and_columns(binding, show, run, disc, tmp_path, row):
    show(row)
    binding.model.task, binding.model.text = Task.TEXT, "bright disc"
    preview = run()
    labels = np.array(binding.adapter.pixels(preview).labels)
    assert labels.shape == disc.shape
    assert labels[20, 30] == 1

    save(binding, tmp_path)

    assert_saved(tmp_path, "yx", labels)


@ROWS
def test_a_stack_is_saved_with_its_frames(viewer, binding, show, disc, tmp_path, row):
    image, names = show(row)
    if len(names) == 2:
        assert not binding.model.frame_axes
        return
    binding.model.task, binding.model.tool = Task.VIDEO, Tool.POINTS
    binding.prompts.arm()
    layer = viewer.layers.selection.active
    at = dict(zip(row, viewer.dims.point, strict=False))
    at |= {one: PLACES[one][1] + PLACES[one][0] * pixel for one, pixel in (("y", 20), ("x", 30))}
    layer.add(layer.world_to_data([at[one] for one in row[: image.ndim]]))
    wait(binding.session.run())
    stack = binding.adapter.stacks.pixels(binding.model.propagated)
    assert stack.shape == (3, *disc.shape)
    labels = np.stack([stack.read(frame) for frame in range(3)])
    assert (labels[:, 20, 30] == 1).all()

    save(binding, tmp_path)

    assert_saved(tmp_path, names, labels)


@ROWS
def test_the_api_and_the_command_line_say_the_same(pixels, disc, tmp_path, row):
    names, number = row.split()[0], TABLE[row]
    data = pixels(names)
    frames = sum(one in "tz" for one in names)
    labels = api.segment(
        data,
        text="bright disc",
        plane=(1,) * frames or None,
        channel_axis=number if number >= 0 else None,
        axis_labels=list(names) if "by name" in row else None,
    ).labels
    assert labels.shape == disc.shape
    assert labels[20, 30] == 1

    np.save(tmp_path / "image.npy", data)
    arguments = ["segment", str(tmp_path / "image.npy"), "--text", "bright disc"]
    arguments += ["--plane", ",".join("1" * frames)] if frames else []
    arguments += ["--channel-axis", str(max(number, names.find("c")))] if "c" in names else []
    for ending in (".tif", ".zarr"):
        assert main([*arguments, "-o", str(tmp_path / f"labels{ending}")]) == 0
    np.testing.assert_array_equal(tifffile.imread(tmp_path / "labels.tif"), labels)
    stored = zarr.open_group(tmp_path / "labels.zarr", mode="r")["0"]
    np.testing.assert_array_equal(stored[...], labels)

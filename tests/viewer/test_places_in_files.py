"""What files say of a layer's place: others read the pixel where napari draws it, or are told."""

import numpy as np
import pint
import pytest
import tifffile
import zarr
from hypothesis import given
from hypothesis import strategies as st
from napari.layers import Image, Labels
from napari.utils.transforms import Affine

from amounts import FEW
from napari_sam3_assistant.core.axes import explain_place
from napari_sam3_assistant.core.masks.objects import ExportFormat
from napari_sam3_assistant.core.masks.operations import Expand, Operation
from napari_sam3_assistant.core.prompts import Task
from napari_sam3_assistant.errors import MaskError
from napari_sam3_assistant.io.labels import save_labels
from napari_sam3_assistant.viewer.file_backed_layers import LazyPlane
from napari_sam3_assistant.viewer.geometry import file_axes, pixel_size
from saved_sessions import wait_idle

# napari's own remark where a plane leans into the stack.
pytestmark = pytest.mark.filterwarnings("ignore:Non-orthogonal slicing")

_UNITS = pint.get_application_registry()
_SHAPES = {"yx": (7, 9), "zyx": (3, 7, 9), "tzyx": (2, 3, 7, 9)}
_LENGTHS = (
    "pixel", "nanometer", "micrometer", "millimeter", "centimeter", "meter", "angstrom", "inch"
)  # fmt: skip
_TIMES = ("second", "millisecond", "minute", "hour")
_OME = {"x": "X", "y": "Y", "z": "Z"}

sizes = st.floats(1e-3, 1e3).flatmap(lambda size: st.sampled_from([size, -size, size]))
places = st.floats(-1e4, 1e4)


@st.composite
def affines(draw, ndim):
    """Sizes along the axes, or a matrix that exchanges, turns or shears them."""
    matrix = np.diag(draw(st.lists(sizes, min_size=ndim, max_size=ndim)))
    kind = draw(st.sampled_from(["sizes", "exchange", "any"]))
    if kind == "exchange":
        matrix = matrix[list(draw(st.permutations(range(ndim))))]
    if kind == "any":
        other = draw(st.lists(st.floats(-2, 2), min_size=ndim**2, max_size=ndim**2))
        matrix = matrix @ (np.eye(ndim) + np.reshape(other, (ndim, ndim)))
    # Layers that are flat, or nearly so, can't be drawn.
    good = np.abs(np.linalg.det(matrix)) > 1e-2 * np.prod(np.linalg.norm(matrix, axis=0))
    matrix = matrix if good else np.eye(ndim)
    return Affine(
        linear_matrix=matrix,
        translate=draw(st.lists(places, min_size=ndim, max_size=ndim)),
    )


@st.composite
def layouts(draw):
    """Names of the axes, and the arguments that place a layer."""
    names = draw(st.sampled_from(list(_SHAPES)))
    ndim = len(names)
    chosen = {
        "scale": draw(st.lists(sizes, min_size=ndim, max_size=ndim)),
        "translate": draw(st.lists(places, min_size=ndim, max_size=ndim)),
        "affine": draw(affines(ndim)),
        "shear": draw(st.lists(st.floats(-1, 1), min_size=1, max_size=1)) if ndim == 2 else None,
        "rotate": draw(st.sampled_from([0.0, 30.0, 90.0, 180.0])) if ndim == 2 else None,
    }
    used = draw(st.sets(st.sampled_from(list(chosen)), max_size=3))
    units = [draw(st.sampled_from(_TIMES if name == "t" else _LENGTHS)) for name in names]
    told = {name: chosen[name] for name in used if chosen[name] is not None}
    return names, {**told, "units": units, "axis_labels": list(names)}


def of_tiff(path, names):
    """Return size, unit and first pixel of each axis of an OME-TIFF, and what it says."""
    with tifffile.TiffFile(path) as file:
        image = tifffile.xml2dict(file.ome_metadata)["OME"]["Image"]
        axes = file.series[0].axes.lower()  # tifffile leaves out axes of one plane
    assert axes == "".join(name for name in names if name in axes)
    pixels = image["Pixels"]
    plane = pixels.get("Plane", {})
    plane = plane[0] if isinstance(plane, list) else plane
    keys = [("TimeIncrement", "DeltaT") if name == "t" else
            (f"PhysicalSize{_OME[name]}", f"Position{_OME[name]}") for name in names]  # fmt: skip
    # A time that is not known is left out: OME has none without a unit.
    units = [pixels.get(f"{size}Unit", "s") for size, _ in keys]
    first = [float(plane.get(place, 0)) for _, place in keys] if plane else None
    for (_, place), unit in zip(keys, units, strict=True):
        assert plane.get(f"{place}Unit", unit) == unit
    sizes_ = [float(pixels.get(size, 1)) for size, _ in keys]
    return sizes_, units, first, image.get("Description", "")


def of_zarr(path, names):
    """Return the same of an OME-Zarr, by what the specification says of its attributes."""
    (told,) = zarr.open_group(path, mode="r").attrs["multiscales"]
    assert "".join(axis["name"] for axis in told["axes"]) == names
    scale, *rest = told["datasets"][0]["coordinateTransformations"]
    units = [axis.get("unit", "pixel") for axis in told["axes"]]
    first = rest[0]["translation"] if rest else None
    return scale["scale"], units, first, told.get("metadata", {}).get("description", "")


@given(layouts(), st.sampled_from([".tif", ".zarr"]), st.randoms(use_true_random=False))
def test_a_pixel_is_where_napari_draws_it_or_the_file_says_that_it_can_not_say(
    tmp_path_factory, layout, ending, random
):
    names, placed = layout
    layer = Labels(np.ones(_SHAPES[names], np.uint8), **placed)
    path = tmp_path_factory.mktemp("files") / f"a{ending}"
    axes = file_axes(layer, range(layer.ndim), names)

    save_labels(layer.data, path, axes)

    size, units, first, note = (of_tiff if ending == ".tif" else of_zarr)(path, names)
    assert note == explain_place(axes, backwards=ending == ".zarr")
    pixel = np.array([random.randrange(length) for length in layer.data.shape])
    drawn = np.asarray(layer.data_to_world(pixel)) - (
        np.asarray(layer.data_to_world(np.zeros(layer.ndim))) if note else 0
    )
    read = np.array(size) * pixel + (0 if first is None else first)
    for axis, unit in enumerate(units):
        if note and unit in ("pixel", "s") and size[axis] == 1:
            continue  # the file counts pixels
        told = (read[axis] * _UNITS(unit)).to(layer.units[axis]).magnitude
        # A flipped axis has a size; which way it goes, a TIFF does not know, and says so.
        there, told = (abs(drawn[axis]), abs(told)) if note else (drawn[axis], told)
        apart = abs(size[axis]) * 0.02 + 1e-9 * abs(there)
        unit_size = float((1 * _UNITS(unit)).to(layer.units[axis]).magnitude)
        assert abs(told - there) <= apart * unit_size
    if note:
        assert first is None


@given(layouts())
def test_every_layer_that_has_a_size_along_each_axis_is_told_with_it(layout):
    names, placed = layout
    layer = Labels(np.ones(_SHAPES[names], np.uint8), **placed)
    corners = np.stack(np.meshgrid(*[(0, size - 1) for size in layer.data.shape]), -1)
    drawn = np.array([layer.data_to_world(one) for one in corners.reshape(-1, layer.ndim)])
    steps = [
        np.asarray(layer.data_to_world(step)) - layer.data_to_world(np.zeros(layer.ndim))
        for step in np.eye(layer.ndim)
    ]
    sizes_ = np.array([step[axis] for axis, step in enumerate(steps)])
    told = corners.reshape(-1, layer.ndim) * sizes_ + layer.data_to_world(np.zeros(layer.ndim))
    fits = np.abs(told - drawn).max(axis=0) < 1e-3 * np.abs(sizes_)

    axes = file_axes(layer, range(layer.ndim), names)

    assert [axis.aligned for axis in axes] == [True] * layer.ndim or not fits.all()
    assert [axis.scale < 0 for axis in axes if axis.aligned] == [
        size < 0 for axis, size in zip(axes, sizes_, strict=True) if axis.aligned
    ]


@given(layouts())
def test_the_area_of_a_pixel_is_that_of_what_is_drawn(layout):
    names, placed = layout
    if "z" not in names:
        placed["units"] = [placed["units"][0]] * 2
    layer = Image(np.ones(_SHAPES[names], np.uint8), **placed)
    origin = np.zeros(layer.ndim)
    rows, columns = layer.ndim - 2, layer.ndim - 1
    down, right = (
        np.asarray(layer.data_to_world(np.eye(layer.ndim)[axis])) - layer.data_to_world(origin)
        for axis in (rows, columns)
    )
    # Seen from the front: a plane that leans into other axes is measured as it lies.
    leans = np.abs([*down[:-2], *right[:-2]]).max(initial=0) > 0
    units = {str(layer.units[axis]) for axis in (rows, columns)}

    found = pixel_size(layer, rows, columns)

    if "pixel" in units and len(units) == 2 and not leans:
        if found.unit == "pixel":
            assert found.area == 1
    elif not leans and len(units) == 1:
        drawn = abs(down[-2] * right[-1] - down[-1] * right[-2])
        np.testing.assert_allclose(found.area, drawn, rtol=1e-6)


@pytest.mark.parametrize(
    ("placed", "area"),
    [
        ({"affine": np.diag([0.5, 0.5, 1])}, 0.25),
        ({"scale": (2, 3), "affine": np.diag([0.5, 0.5, 1])}, 1.5),
        ({"rotate": 30, "scale": (0.5, 0.5)}, 0.25),
        ({"affine": [[0, 0.5, 0], [0.25, 0, 0], [0, 0, 1]]}, 0.125),
        ({"affine": [[1, 0.5, 0], [0, 1, 0], [0, 0, 1]]}, 1.0),
        ({"scale": (-2, 0.5)}, 1.0),
    ],
)
def test_areas_are_true_wherever_the_size_is_told(placed, area):
    image = Image(np.ones((8, 8)), units=("um", "um"), **placed)

    found = pixel_size(image, 0, 1)

    assert found.area == pytest.approx(area)
    assert found.unit == "micrometer"


def test_lengths_of_two_units_are_told_in_one():
    image = Image(np.ones((8, 8)), scale=(500, 0.25), units=("nm", "um"))

    found = pixel_size(image, 0, 1)

    assert (found.height, found.width, found.unit) == (pytest.approx(0.5), 0.25, "micrometer")


def test_units_that_do_not_fit_are_pixels():
    image = Image(np.ones((8, 8)), scale=(500, 0.25), units=("s", "um"))

    found = pixel_size(image, 0, 1)

    assert (found.area, found.unit) == (1, "pixel")


def test_a_plane_that_leans_into_the_stack_is_measured_as_it_lies():
    affine = np.eye(4)
    affine[0, 1] = 1  # each row lies one deeper
    image = Image(np.ones((3, 8, 8)), affine=affine, units=("um",) * 3)

    assert pixel_size(image, 1, 2).area == pytest.approx(np.sqrt(2))


@pytest.fixture
def found(viewer, binding, run, disc):
    """Find the disc in an image that is placed somehow; returns the preview."""

    def go(**placed):
        viewer.add_image(disc, name="cells", units=("um", "um"), **placed)
        binding.model.task = Task.TEXT
        binding.model.text = "bright disc"
        return run()

    return go


def exported(binding, path):
    job = binding.session.saving.export(path)
    assert job.wait(240)
    assert job.error is None
    return path


def test_a_size_in_the_affine_counts_in_measurements_and_files(binding, found, tmp_path):
    preview = found(affine=[[0.5, 0, 7], [0, 0.25, 9], [0, 0, 1]])

    assert binding.session.measuring.measure().wait(240)
    path = exported(binding, tmp_path / "a.tif")

    (row,) = binding.model.results
    assert row.measured.area == pytest.approx(preview.segmentation.objects[0].area * 0.125)
    assert row.measured.unit == "micrometer"
    assert of_tiff(path, "yx") == ([0.5, 0.25], ["µm", "µm"], [7.0, 9.0], "")


def test_a_turned_image_is_measured_and_saved_with_a_sentence(binding, found, tmp_path):
    preview = found(scale=(0.5, 0.5), rotate=30, translate=(3, 4))

    assert binding.session.measuring.measure().wait(240)
    path = exported(binding, tmp_path / "a.tif")

    (row,) = binding.model.results
    assert row.measured.area == pytest.approx(preview.segmentation.objects[0].area * 0.25)
    size, units, first, note = of_tiff(path, "yx")
    assert (size, units, first) == ([1.0, 1.0], ["pixel", "pixel"], None)
    assert "rotated" in note
    assert binding.model.message.text == f"Saved {path}. {note}"


def test_save_and_clean_says_what_files_can_not_hold(binding, found, tmp_path):
    found(scale=(-0.5, 0.5))
    binding.model.output_folder, binding.model.output_name = str(tmp_path), "a"

    assert binding.session.cleaning.save().wait(240)
    wait_idle(binding)  # it is told when the model is unloaded
    assert "flipped" in binding.model.message.text
    size, units, first, note = of_tiff(tmp_path / "a.tif", "yx")
    assert (size, units, first) == ([0.5, 0.5], ["µm", "µm"], None)
    assert "flipped" in note


# -- exports of Mask Operations -----------------------------------------------------------


@FEW
@given(
    names=st.sampled_from(["yx", "zyx", "tyx"]),
    data=st.data(),
    format_=st.sampled_from([ExportFormat.TIFF, ExportFormat.OME_ZARR]),
    ours=st.sampled_from(["micrometer", "nanometer", "pixel"]),
)
def test_an_exported_part_is_in_the_file_where_its_image_lies(
    bench, tmp_path_factory, names, data, format_, ours
):
    """Labels of a part of an image, which count in the units of the viewer or of the image.

    Those in pixels, napari's default, say none: then napari draws all layers by their numbers
    alone, as it always did before 0.7.
    """
    ndim = len(names)
    many = st.lists(st.sampled_from([0.25, 1.0, 3.0]), min_size=ndim, max_size=ndim)
    scale, translate = np.array(data.draw(many)), np.array(data.draw(many)) * 1000
    units = ["second" if name == "t" else "micrometer" for name in names]
    bench.viewer.layers.clear()
    whole = (4, 40, 50)[-ndim:]
    placed = {"units": units, "axis_labels": list(names)}
    image = bench.viewer.add_image(
        np.zeros(whole), name="cells", scale=scale, translate=translate, **placed
    )
    first = np.array([data.draw(st.integers(0, size - 3)) for size in whole])
    converted = ours == "nanometer" and hasattr(bench.viewer.dims, "units")
    factor = np.array([1000 if converted and name != "t" else 1 for name in names])
    times = "pixel" if ours == "pixel" else "second"
    layer = bench.add(
        np.ones((1, 3, 3)[-ndim:], np.uint8),
        name="part",
        scale=scale * factor,
        translate=(translate + scale * first) * factor,
        **{**placed, "units": [times if name == "t" else ours for name in names]},
        metadata={"source_image_layer": "cells"},
    )
    ending = format_.suffix
    path = tmp_path_factory.mktemp("files") / f"a{ending}"

    bench.export(layer, path, format_)

    size, told, begin, note = (of_tiff if ending == ".tif" else of_zarr)(path, names)
    assert note == ""
    assert [str((1 * _UNITS(unit)).units) for unit in told] == units
    np.testing.assert_allclose(size, scale)
    np.testing.assert_allclose(begin, image.data_to_world(first))


def test_labels_over_all_channels_have_no_channel_in_files(bench, tmp_path):
    names = ["z", "c", "y", "x"]
    image = bench.viewer.add_image(
        np.zeros((5, 3, 40, 50)), name="cells", axis_labels=names, scale=(2, 1, 0.5, 0.25),
        units=("um", "pixel", "um", "um"),
    )  # fmt: skip
    plane = zarr.create_array({}, shape=(6, 7), chunks=(4, 4), dtype="u4")
    plane[1:3, 1:3] = 9
    for number, labels in enumerate((np.asarray(plane)[None, None], LazyPlane(plane, 4, 2, 3))):
        layer = bench.viewer.add_labels(
            labels,
            name=f"part {number}",
            scale=(2, 6, 0.5, 0.25),
            translate=(4, 1, 10, 5),
            axis_labels=names,
            units=image.units,
            metadata={"source_image_layer": image.name},
        )

        bench.export(layer, tmp_path / f"{number}.tif", ExportFormat.TIFF)
        bench.export(layer, tmp_path / f"{number}.zarr", ExportFormat.OME_ZARR)

        expected = ([2, 0.5, 0.25], [4, 10, 5], "")
        size, units, begin, note = of_tiff(tmp_path / f"{number}.tif", "zyx")
        assert (size, begin, note) == expected
        assert units == ["µm"] * 3
        size, units, begin, note = of_zarr(tmp_path / f"{number}.zarr", "zyx")
        assert (size, begin, note) == expected
        stored = zarr.open_group(tmp_path / f"{number}.zarr", mode="r")["0"]
        np.testing.assert_array_equal(stored[0], np.asarray(plane))
        np.testing.assert_array_equal(tifffile.imread(tmp_path / f"{number}.tif"), plane)


def test_axes_that_are_stored_in_another_order_keep_their_names(bench, tmp_path):
    labels = np.arange(2 * 3 * 4, dtype=np.uint8).reshape(2, 3, 4)
    layer = bench.add(
        labels, name="xyz", axis_labels=["x", "y", "z"], scale=(0.25, 0.5, 2), units=("um",) * 3
    )

    bench.export(layer, tmp_path / "a.tif", ExportFormat.TIFF)

    size, units, _, _ = of_tiff(tmp_path / "a.tif", "zyx")
    assert (size, units) == ([2, 0.5, 0.25], ["µm"] * 3)
    np.testing.assert_array_equal(tifffile.imread(tmp_path / "a.tif"), labels.T)


def test_what_planes_without_a_name_are_taken_for_is_told(bench, tmp_path):
    image = bench.viewer.add_image(np.zeros((3, 6, 6), np.uint8), name="movie")
    labels = np.zeros((3, 6, 6), np.uint8)
    labels[:, 2:4, 2:4] = 1
    layer = bench.add(labels, name="cells")
    bench.model.output = "cells"

    guess = "taken for slices of a volume (z): where that is wrong, choose Times in 3D/Video"
    assert guess in bench.collection.explain_lost(ExportFormat.GEFF)
    assert guess in bench.export(layer, tmp_path / "a.geff", ExportFormat.GEFF)
    assert guess not in bench.collection.explain_lost(ExportFormat.NPY)
    bench.viewer.layers.remove(image)
    assert "axis_labels in napari's console" in bench.collection.explain_lost(ExportFormat.TIFF)

    layer.axis_labels = ("t", "y", "x")
    assert bench.collection.explain_lost(ExportFormat.GEFF) == ""


def test_what_a_format_can_not_hold_is_told_before(bench, tmp_path):
    labels = np.zeros((2, 6, 6), np.uint8)
    layer = bench.add(labels, name="turned", affine=[[1, 0, 0, 0], [0, 0, 1, 0], [0, 1, 0, 0],
                                                     [0, 0, 0, 1]],
                      axis_labels=("z", "y", "x"))  # fmt: skip
    bench.model.output = "turned"
    told = {one: bench.collection.explain_lost(one) for one in ExportFormat}

    assert "has its axes exchanged in napari (along y, x)" in told[ExportFormat.TIFF]
    assert told[ExportFormat.TIFF] == told[ExportFormat.OME_ZARR]
    assert told[ExportFormat.NPY].startswith("NumPy files hold the values alone")
    assert "is a stack" in told[ExportFormat.PNG]
    assert not bench.collection.can_hold(ExportFormat.YOLO)
    assert bench.collection.can_hold(ExportFormat.COCO_RLE)
    said = bench.export(layer, tmp_path / "a.tif", ExportFormat.TIFF)
    assert said.endswith(told[ExportFormat.TIFF])
    assert of_tiff(tmp_path / "a.tif", "zyx")[3] == told[ExportFormat.TIFF]


def edited(bench, **placed):
    """Expand a point by 1 unit; return how many pixels it takes along each axis."""
    labels = np.zeros((9, 9, 9), np.uint8)
    labels[4, 4, 4] = 1
    layer = bench.add(labels, name="point", **placed)
    bench.model.physical, bench.model.expand = True, Expand(1.0)
    bench.cleanup.apply(Operation.EXPAND)
    bench.settle()
    return tuple(np.ptp(np.argwhere(layer.data), axis=0) + 1)


def test_distances_count_the_whole_transform(bench):
    affine = np.diag([1, 0.5, 0.25, 1])

    assert edited(bench, scale=(2, 1, 1), affine=affine) == (1, 5, 9)


def test_distances_count_in_one_unit(bench):
    units = ("nm", "um", "um")

    assert edited(bench, scale=(500, 1, 0.25), units=units) == (5, 3, 9)


@pytest.mark.parametrize(
    ("placed", "why"),
    [
        ({"units": ("s", "um", "um")}, "there are no distances between them"),
        ({"affine": [[1, 0, 0, 0], [0, 1, 0.5, 0], [0, 0, 1, 0], [0, 0, 0, 1]]}, "is sheared"),
    ],
)
def test_distances_that_are_none_are_refused(bench, placed, why):
    with pytest.raises(MaskError, match=why) as caught:
        edited(bench, **placed)
    assert "Untick Physical units" in caught.value.hint


def test_the_area_of_long_and_narrow_pixels_is_exact():
    affine = [[1, 1e5, 0], [0, 1e-3, 0], [0, 0, 1]]
    image = Image(np.ones((8, 8)), affine=affine, units=("um", "um"))

    assert pixel_size(image, 0, 1).area == pytest.approx(1e-3, rel=1e-6)

"""Images of any layout, by other writers: their labels say the same of each axis.

Files are written by tifffile and zarr, and the labels are read by tifffile and ome-zarr.
"""

import math
import tempfile
from pathlib import Path

import numpy as np
import pytest
import tifffile
import zarr
from hypothesis import given
from hypothesis import strategies as st
from ome_zarr.io import parse_url
from ome_zarr.reader import Reader

from amounts import FEW
from napari_sam3_assistant.core.options import PredictOptions
from napari_sam3_assistant.core.progress import NullReporter
from napari_sam3_assistant.core.prompts import PromptSet
from napari_sam3_assistant.workflows.batch import FolderRequest, segment_folder

# How many meters or seconds, by the name in OME-Zarr, and the symbol in OME-XML.
LENGTHS = {
    "micrometer": (1e-6, "µm"), "nanometer": (1e-9, "nm"), "millimeter": (1e-3, "mm"),
    "inch": (0.0254, "in"), "angstrom": (1e-10, "Å"), "kilometer": (1e3, "km"),
}  # fmt: skip
TIMES = {"second": (1.0, "s"), "millisecond": (1e-3, "ms"), "minute": (60.0, "min")}
SYMBOLS = {symbol: factor for factor, symbol in (LENGTHS | TIMES).values()} | {
    "pixel": None, "thou": 2.54e-5, "li": 0.0254 / 12, "pt": 0.0254 / 72, "dam": 10.0,
}  # fmt: skip
sizes = st.floats(1e-3, 1e3, allow_nan=False)
places = st.one_of(st.just(0.0), st.floats(-1e4, 1e4).map(lambda place: round(place, 3)))


def in_si(value, unit):
    """Return a value in meters or seconds; as it is where no unit is known."""
    factor = {**{name: one[0] for name, one in (LENGTHS | TIMES).items()}, **SYMBOLS}.get(unit)
    return value if factor is None else value * factor


def pixels_of(shape, names):
    """Return a bright square on each plane."""
    lengths = dict(zip(names, shape, strict=True))
    y, x = np.ogrid[: lengths["y"], : lengths["x"]]
    plane = ((y > 2) & (y < 8) & (x > 4) & (x < 11)).astype(np.uint8) * 200
    others = [name for name in names if name not in "yx"]
    stack = np.broadcast_to(plane, (*(lengths[name] for name in others), *plane.shape))
    return np.ascontiguousarray(
        stack.transpose([[*others, "y", "x"].index(name) for name in names])
    )


@st.composite
def axes(draw, orders, *, times=TIMES, lengths=LENGTHS):
    """Draw names, shape, and size, unit and place of each axis."""
    names = draw(orders)
    shape, told = [], {}
    space = draw(st.sampled_from([*lengths, ""]))
    for name in names:
        length = {"y": 14, "x": 19}.get(name) or draw(st.integers(1, 3))
        shape.append(length)
        unit = draw(st.sampled_from([*times, ""])) if name == "t" else space
        told[name] = (draw(sizes), unit, draw(places))
    return names, tuple(shape), told


def orders(leading, space=("yx",)):
    """Return orders of some of the leading axes before an order of those of space."""
    some = st.lists(st.sampled_from(leading), unique=True, max_size=len(leading))
    return st.builds(lambda first, last: "".join(first) + last, some, st.sampled_from(space))


def zarr_orders():
    spaces = ("yx", "xy", "zyx", "xyz", "yxz", "zxy")
    return st.builds("".join, st.tuples(*map(st.sampled_from, (("", "t"), ("", "c"), spaces))))


def write_ome_tiff(path, layout):
    names, shape, told = layout
    metadata = {"axes": names.upper()}
    count = math.prod(shape[:-2])
    planes = {}
    for name, (size, unit, place) in told.items():
        if name == "c" or not unit:
            continue
        key, where = ("TimeIncrement", "DeltaT") if name == "t" else (
            f"PhysicalSize{name.upper()}", f"Position{name.upper()}"
        )  # fmt: skip
        symbol = (TIMES if name == "t" else LENGTHS)[unit][1]
        metadata |= {key: size, f"{key}Unit": symbol}
        planes |= {where: [place] * count, f"{where}Unit": [symbol] * count}
    if planes:
        metadata["Plane"] = planes
    tifffile.imwrite(
        path, pixels_of(shape, names), ome=True, photometric="minisblack", metadata=metadata
    )
    said = {name: told[name] if told[name][1] else (1.0, "", 0.0) for name in names}
    return {name: one for name, one in said.items() if shape[names.index(name)] > 1}


def write_imagej(path, layout):
    names, shape, told = layout
    unit = told["x"][1]
    metadata = {"axes": names.upper(), "unit": unit or None}
    said = dict.fromkeys(names, (1.0, "", 0.0))
    options = {}
    if unit:
        options["resolution"] = tuple(1 / told[name][0] for name in "xy")
        said |= {name: told[name] for name in "yx"}
        for name in "xyz":
            if name in told:
                size, _, place = told[name]
                metadata[f"{name}origin"] = -place / size
        if "z" in told:
            metadata["spacing"] = told["z"][0]
            said["z"] = told["z"]
    if "t" in told:
        metadata["finterval"] = told["t"][0]
        said["t"] = (told["t"][0], "second", 0.0)
    tifffile.imwrite(path, pixels_of(shape, names), imagej=True, metadata=metadata, **options)
    return {name: one for name, one in said.items() if shape[names.index(name)] > 1}


def transformations(layout, draw):
    """Return what the level says, and what all levels say: together they make the sizes."""
    names, _, told = layout
    scale, origin = (np.array([told[name][number] for name in names]) for number in (0, 2))
    if not draw(st.booleans()):
        return [scale.tolist(), origin.tolist()], None
    # place = outer * (inner * pixel + first) + second
    outer = np.array([draw(st.sampled_from((0.5, 1.0, 4.0))) for _ in names])
    second = np.array([draw(st.sampled_from((0.0, 25.0))) for _ in names])
    return [(scale / outer).tolist(), ((origin - second) / outer).tolist()], [
        {"type": "scale", "scale": outer.tolist()},
        {"type": "translation", "translation": second.tolist()},
    ]


def write_ome_zarr(path, layout, version, moves):
    names, shape, told = layout
    (scale, origin), for_all = moves
    kinds = {"t": "time", "c": "channel"}
    described = []
    for name in names:
        axis = {"name": name, "type": kinds.get(name, "space")}
        unit = told[name][1]
        described.append({**axis, "unit": unit} if unit and name != "c" else axis)
    level = [{"type": "scale", "scale": scale}, {"type": "translation", "translation": origin}]
    group = zarr.open_group(str(path), mode="w", zarr_format=2 if version == "0.4" else 3)
    group.create_array("s0", data=pixels_of(shape, names))
    image = {"axes": described, "datasets": [{"path": "s0", "coordinateTransformations": level}]}
    if for_all is not None:
        image["coordinateTransformations"] = for_all
    attributes = {"multiscales": [{**image, "version": version}]}
    group.attrs.update(attributes if version == "0.4" else {"ome": attributes})
    return {name: told[name] for name in names}


@st.composite
def files(draw):
    """Draw a writer and a layout for it."""
    kind = draw(st.sampled_from(("ome.tif", "tif", "zarr 0.4", "zarr 0.5")))
    if kind == "ome.tif":
        layout = draw(axes(orders("tzc")))
        return "a.ome.tif", layout[0], lambda path: write_ome_tiff(path, layout)
    if kind == "tif":
        some = st.sampled_from(("yx", "zyx", "tyx", "cyx", "tzyx", "tcyx", "zcyx", "tzcyx"))
        layout = draw(axes(some))
        return "a.tif", layout[0], lambda path: write_imagej(path, layout)
    layout = draw(axes(zarr_orders()))
    version, moves = kind.removeprefix("zarr "), transformations(layout, draw)
    return "a.zarr", layout[0], lambda path: write_ome_zarr(path, layout, version, moves)


def told_by_tifffile(path):
    """Return length, size and place of each axis of labels, in meters and seconds."""
    with tifffile.TiffFile(path) as file:
        pixels = tifffile.xml2dict(file.ome_metadata)["OME"]["Image"]["Pixels"]
        lengths = dict(zip(file.series[0].axes.lower(), file.series[0].shape, strict=True))
        values = file.series[0].asarray()
    planes = pixels.get("Plane", {})
    plane = planes[0] if isinstance(planes, list) else planes
    found = {}
    for name in "tzyx":
        key, where = ("TimeIncrement", "DeltaT") if name == "t" else (
            f"PhysicalSize{name.upper()}", f"Position{name.upper()}"
        )  # fmt: skip
        unit = pixels.get(f"{key}Unit", "pixel")
        found[name] = (
            lengths.get(name, 1),
            in_si(pixels.get(key, 1.0), unit),
            in_si(plane.get(where, 0.0), plane.get(f"{where}Unit", unit)),
        )
    return found, "".join(lengths), values


def told_by_ome_zarr(path):
    (node,) = Reader(parse_url(path, mode="r"))()
    scale, *more = node.metadata["coordinateTransformations"][0]
    names = [axis["name"] for axis in node.metadata["axes"]]
    origin = more[0]["translation"] if more else [0.0] * len(names)
    values = np.asarray(node.data[0])
    found = {}
    for number, axis in enumerate(node.metadata["axes"]):
        unit = axis.get("unit")
        found[axis["name"]] = (
            values.shape[number],
            in_si(scale["scale"][number], unit),
            in_si(origin[number], unit),
        )
    return found, "".join(names), values


def is_as_it_should(engine, name, names, write, ending):
    with tempfile.TemporaryDirectory() as folder:
        source, output = Path(folder) / "in", Path(folder) / "out"
        source.mkdir()
        expected = write(source / name)
        request = FolderRequest(
            source, output, PromptSet(), PredictOptions(), ("cat",), ending=ending
        )
        (row,) = segment_folder(engine, request, NullReporter())
        assert row.status == "done", row.message
        tell = told_by_tifffile if ending == ".tif" else told_by_ome_zarr
        found, order, values = tell(output / row.labels)
    expected.pop("c", None)
    lengths = {"y": 14, "x": 19}
    for axis, (size, unit, place) in expected.items():
        length, found_size, found_place = found[axis]
        assert length == lengths.get(axis, length)
        assert found_size == pytest.approx(in_si(size, unit), rel=1e-5)
        allowed = 1e-5 * abs(in_si(size, unit)) * 20
        assert found_place == pytest.approx(in_si(place, unit), rel=1e-6, abs=allowed)
    # The square is where it was: rows along y, columns along x.
    plane = np.moveaxis(values, [order.index("y"), order.index("x")], [-2, -1])
    rows, columns = np.nonzero(plane.reshape(-1, *plane.shape[-2:])[0])
    assert (rows.min(), rows.max(), columns.min(), columns.max()) == (3, 7, 5, 10)
    if ending == ".zarr":
        assert order == "".join(sorted(order, key="tczyx".index))
    else:
        assert order == "".join(axis for axis in names if axis in order and axis not in "yx") + "yx"


@FEW
@given(files(), st.sampled_from((".tif", ".zarr")))
def test_labels_say_of_each_axis_what_the_image_says(engine, file, ending):
    name, names, write = file
    is_as_it_should(engine, name, names, write, ending)

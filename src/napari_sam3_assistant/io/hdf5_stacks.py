"""Images of HDF5 that are kept as a dataset for each time and channel: Imaris, BigDataViewer."""

from __future__ import annotations

import math
import re
import uuid
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING
from xml.etree import ElementTree

import numpy as np

from napari_sam3_assistant.core.axes import make_axes
from napari_sam3_assistant.core.plurals import part_of
from napari_sam3_assistant.io.loaded import LoadedImage, Series
from napari_sam3_assistant.io.untrusted import open_regular

if TYPE_CHECKING:
    from pathlib import Path

    import h5py
    import numpy.typing as npt

    from napari_sam3_assistant.core.images import AnyArray

_IMARIS = re.compile(r"DataSet/ResolutionLevel ([0-9]+)/TimePoint ([0-9]+)/Channel ([0-9]+)/Data")
_BIGDATAVIEWER = re.compile(r"t([0-9]+)/s([0-9]+)/([0-9]+)/cells")
_PIECE = 1024
"""Rows and columns that are read at once; what the file keeps together may be far smaller."""

_Level = dict[tuple[int, int], "h5py.Dataset"]
"""The stacks of one size, by time and channel."""


@dataclass(frozen=True, slots=True)
class StackedImage:
    """An image of which each time and channel is a dataset of slices, at several sizes.

    Parameters
    ----------
    name : str
        What the file calls it.
    levels : list of dict
        Its stacks at each size, largest first.
    sizes : list of tuple of int
        Slices, rows and columns at each size; what the file keeps may be padded.
    dtype : dtype
        Type of a pixel, which has as many bytes as what is kept.
    pixel : dict
        Length of a pixel and its unit by axis, where the file tells it.
    """

    name: str
    levels: list[_Level]
    sizes: list[tuple[int, ...]]
    dtype: np.dtype[np.generic]
    pixel: dict[str, tuple[float, str]]

    @property
    def _counts(self) -> tuple[int, int]:
        times, channels = zip(*self.levels[0], strict=True)
        return max(times) + 1, max(channels) + 1

    @property
    def _kept(self) -> list[int]:
        """Numbers of those of the axes t, c, z, y, x that the image has."""
        full = (*self._counts, *self.sizes[0])
        return [axis for axis, length in enumerate(full) if length > 1 or axis > 2]

    @property
    def shape(self) -> tuple[int, ...]:
        """Length of each axis."""
        full = (*self._counts, *self.sizes[0])
        return tuple(full[axis] for axis in self._kept)

    def open(self, number: int, choices: tuple[Series, ...], notes: tuple[str, ...]) -> LoadedImage:
        """Return the image, which is the one of this number among the choices; reads no pixels."""
        count = math.prod(self._counts)
        absent = count - len(self.levels[0])
        if absent:
            notes = (
                *notes,
                f"{part_of(absent, count)} stacks are not in the file; they are black.",
            )
        names = ["tczyx"[axis] for axis in self._kept]
        pixel = [self.pixel.get(name, (1.0, "")) for name in names]
        axes = make_axes(
            self.shape,
            names=names,
            scale=[size for size, _ in pixel],
            units=[unit for _, unit in pixel],
        )
        first, *smaller = map(self._join, self.levels, self.sizes)
        return LoadedImage(first, axes, False, "", notes, number, choices, tuple(smaller))

    def _join(self, stacks: _Level, size: tuple[int, ...]) -> AnyArray:
        """Return the stacks of one size as one array, which reads them where it is indexed."""
        import dask.array as da

        depth, *sides = next(iter(stacks.values())).chunks or (1, 1, 1)
        piece = (depth, *(max(side, _PIECE // side * side) for side in sides))
        counts = (*self._counts, *size)
        chunks = [
            tuple(min(step, end - start) for start in range(0, end, step))
            for step, end in zip((1, 1, *piece), counts, strict=True)
        ]

        def read(block_id: tuple[int, ...]) -> npt.NDArray[np.generic]:
            lengths = [chunks[axis][number] for axis, number in enumerate(block_id)]
            time, channel, *numbers = block_id
            if (time, channel) not in stacks:
                return np.zeros(lengths, self.dtype)
            starts = [number * step for number, step in zip(numbers, piece, strict=True)]
            place = zip(starts, lengths[2:], strict=True)
            part = stacks[time, channel][tuple(slice(at, at + length) for at, length in place)]
            return np.asarray(part).view(self.dtype).reshape(lengths)

        token = f"stacks-{uuid.uuid4().hex}"
        meta = np.empty(0, self.dtype)
        data = da.map_blocks(read, chunks=chunks, dtype=self.dtype, meta=meta, name=token)
        return data[tuple(slice(None) if axis in self._kept else 0 for axis in range(5))]


def find_stacks(
    path: Path, found: dict[str, h5py.Dataset], groups: dict[str, h5py.Group]
) -> list[StackedImage]:
    """Return the images of a file that keeps them so; none of other files.

    Parameters
    ----------
    path : Path
        The file; BigDataViewer has sizes of pixels in one with the ending ``.xml`` beside it.
    found, groups : dict
        Its datasets and groups by their names, without those in other files.
    """
    images: dict[int, list[tuple[int, int, int, h5py.Dataset]]] = {}
    for name, node in found.items():
        image = channel = "0"
        if told := _IMARIS.fullmatch(name):
            level, time, channel = told.groups()
        elif told := _BIGDATAVIEWER.fullmatch(name):
            time, image, level = told.groups()
        else:
            continue
        images.setdefault(int(image), []).append((int(level), int(time), int(channel), node))
    # Some begin to count later. A gap is one only if no image of the file has a stack there.
    times = sorted({time for stacks in images.values() for _, time, _, _ in stacks})
    levels = {image: _sort(stacks, times) for image, stacks in sorted(images.items())}
    if "DataSet" in groups:
        return [_image_of_imaris(stacks, groups) for stacks in levels.values()]
    pixels = _pixels_of_setups(path.with_suffix(".xml")) if levels else {}
    return [
        _image_of_setup(f"setup {image}", stacks, pixels.get(image, {}))
        for image, stacks in levels.items()
    ]


def _sort(stacks: list[tuple[int, int, int, h5py.Dataset]], times: list[int]) -> list[_Level]:
    """Return stacks, which come with level, time and channel, by these, counted from 0."""
    channels = sorted({channel for _, _, channel, _ in stacks})
    levels: dict[int, _Level] = {level: {} for level in sorted({stack[0] for stack in stacks})}
    for level, time, channel, node in stacks:
        first = next(iter(levels[level].values()), node)
        if node.ndim == 3 and (node.shape, node.dtype) == (first.shape, first.dtype):
            levels[level][times.index(time), channels.index(channel)] = node
    return [level for level in levels.values() if level]


def _image_of_imaris(levels: list[_Level], groups: dict[str, h5py.Group]) -> StackedImage:
    sizes = []
    for stacks in levels:
        stack = next(iter(stacks.values()))
        told = groups[stack.name.strip("/").removesuffix("/Data")]
        known = [_number(told, f"ImageSize{axis}") for axis in "ZYX"]
        sizes.append(
            tuple(
                int(size) if 1 <= size <= kept else kept
                for size, kept in zip(known, stack.shape, strict=True)
            )
        )
    pixel = {}
    extent, dates = groups.get("DataSetInfo/Image"), groups.get("DataSetInfo/TimeInfo")
    if extent is not None:
        for number, (axis, count) in enumerate(zip("xyz", reversed(sizes[0]), strict=True)):
            size = _number(extent, f"ExtMax{number}") - _number(extent, f"ExtMin{number}")
            if 0 < size < math.inf:
                pixel[axis] = (size / count, _text(extent, "Unit") or "um")
    last = max(time for time, _ in levels[0])
    if dates is not None and last:
        with suppress(ValueError):  # no dates
            ends = [datetime.fromisoformat(_text(dates, f"TimePoint{at}")) for at in (1, last + 1)]
            seconds = (ends[1] - ends[0]).total_seconds()
            if seconds > 0:
                pixel["t"] = (seconds / last, "second")
    return StackedImage("", levels, sizes, next(iter(levels[0].values())).dtype, pixel)


def _text(group: h5py.Group, name: str) -> str:
    """Return a text of Imaris, which writes them as arrays of letters; empty if there is none."""
    return b"".join(np.ravel(np.asarray(group.attrs.get(name, b""), "S"))).decode("latin-1")


def _number(group: h5py.Group, name: str) -> float:
    """Return a number of Imaris, NaN if there is none."""
    try:
        return float(_text(group, name))
    except ValueError:
        return math.nan


def _image_of_setup(
    name: str, levels: list[_Level], pixel: dict[str, tuple[float, str]]
) -> StackedImage:
    stacks = [next(iter(level.values())) for level in levels]
    dtype = stacks[0].dtype
    if dtype.kind == "i":  # up to 65535, as the same bytes with a sign
        dtype = np.dtype(f"{dtype.byteorder}u{dtype.itemsize}")
    return StackedImage(name, levels, [stack.shape for stack in stacks], dtype, pixel)


def _pixels_of_setups(path: Path) -> dict[int, dict[str, tuple[float, str]]]:
    """Return lengths of pixels and units by setup and axis, as far as they are there."""
    pixels = {}
    with suppress(OSError, ValueError, ElementTree.ParseError), open_regular(path) as file:
        for setup in ElementTree.parse(file).iterfind(".//ViewSetup"):
            unit = setup.findtext("voxelSize/unit", "")
            sizes = [float(size) for size in setup.findtext("voxelSize/size", "").split()]
            if len(sizes) == 3 and all(0 < size < math.inf for size in sizes):
                pixels[int(setup.findtext("id", ""))] = {
                    axis: (size, unit) for axis, size in zip("xyz", sizes, strict=True)
                }
    return pixels

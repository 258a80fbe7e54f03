"""What a file says of the axes of an array that another program's reader made of it."""

from __future__ import annotations

import os
from contextlib import suppress
from dataclasses import replace
from itertools import combinations, permutations
from typing import TYPE_CHECKING

from napari_sam3_assistant.core.axes import Axis, axis_kind
from napari_sam3_assistant.errors import ImageError
from napari_sam3_assistant.io.images import format_of, list_series, read_image
from napari_sam3_assistant.io.ome_zarr_labels import is_zarr

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from napari_sam3_assistant.core.axes import Axes


_TELLING = ("TIFF", "HDF5", "OME-Zarr in a zip", "NIfTI", "MRC", "CZI", "ND2", "LIF", "OIB")
"""Formats of files that say what their axes are, apart from the pixels."""
_MOST_SERIES = 16
"""Of a file with more images of one size it would take long to ask them all."""
_UNNAMED = ("i", "q")
"""What tifffile calls the axes of which a file says nothing."""


def find_axes(path: Path, shape: Sequence[int], *, as_stored: bool = False) -> Axes:
    """Return what a file says of each axis of an array that was read from it.

    Only what stands before the pixels is read. The array may lack axes of the file: those of one
    pixel, and one more, such as the channels that napari makes layers of. It may be one frame
    longer than the file, where it is a series of files: then `path` is the first of them, or
    their folder.

    Parameters
    ----------
    path : Path
        A file, a zarr folder, or a folder of files that were opened as one stack.
    shape : sequence of int
        Length of each axis of the array.
    as_stored : bool
        Whether what read it takes the first image of a file and keeps the order of its axes, as
        napari's own reader does.

    Returns
    -------
    tuple of Axis
        One for each axis of the array. Those that the file says nothing of have no name and no
        unit. Empty where the file is gone, can't be read, holds no such image, or says nothing.

    Raises
    ------
    ImageError
        If the array may have come from the file in several ways.
    """
    shape = tuple(map(int, shape))
    with suppress(OSError):
        if path.is_dir() and not is_zarr(path):
            return _of_folder(path, shape, as_stored=as_stored)
        found = _of_file(path, shape, as_stored=as_stored)
        if not found and len(shape) > 2 and _may_begin(path, shape[0]):
            found = _of_frames(_of_file(path, shape[1:], as_stored=as_stored), shape)
        return found
    return ()


def _may_begin(path: Path, count: int) -> bool:
    """Return whether beside a file are as many as a stack has frames."""
    if path.is_dir():
        return False
    with os.scandir(path.parent) as others:
        return sum(entry.name.endswith(path.suffix) for entry in others) >= count


def _of_folder(folder: Path, shape: tuple[int, ...], *, as_stored: bool) -> Axes:
    """Return the axes of a stack of all files of a folder, which count as its ends do."""
    with os.scandir(folder) as entries:
        names = [entry.name for entry in entries if entry.is_file() and "." in entry.name[1:]]
    names = sorted(name for name in names if not name.startswith("."))
    if len(names) < 2 or len(names) != shape[0]:
        return ()
    first, last = (
        _of_file(folder / name, shape[1:], as_stored=as_stored) for name in (names[0], names[-1])
    )
    return _of_frames(first, shape) if first == last else ()


def _of_frames(axes: Axes, shape: tuple[int, ...]) -> Axes:
    return (Axis("", shape[0]), *axes) if axes else ()


def _of_file(path: Path, shape: tuple[int, ...], *, as_stored: bool) -> Axes:
    """Return the axes of an array of one file; nothing where it says none."""
    try:
        images = list(_images(path, shape, as_stored=as_stored))
    except ImageError:
        return ()
    ways: list[Axes] = []
    for axes in images:
        for way in _ways(axes, shape, as_stored=as_stored):
            if way not in ways:
                ways.append(way)
    if len({_names(way) for way in ways}) > 1:
        named = [[name or "?" for name in _names(way)] for way in ways[:2]]
        listed = " or ".join(", ".join(names) for names in named)
        raise ImageError(
            f"From {path.name} it may be read with the axes {listed}.",
            f"Name its axes in napari's console, such as layer.axis_labels = {tuple(named[0])}.",
        )
    if len(ways) > 1:
        raise ImageError(
            f"{path.name} holds several images of this size, with pixels of other sizes.",
            "Set the scale of the layer in napari.",
        )
    return ways[0] if any(map(_says, ways[0] if ways else ())) else ()


def _says(axis: Axis) -> bool:
    """Return whether a file says more of an axis than napari takes for granted."""
    return axis_kind(axis.name) not in ("", "y", "x") or bool(axis.unit) or axis.scale != 1


def _names(axes: Axes) -> tuple[str, ...]:
    return tuple(axis.name for axis in axes)


def _images(path: Path, shape: tuple[int, ...], *, as_stored: bool) -> Iterator[Axes]:
    """Yield the axes of each image of a file that an array of a shape may be."""
    if not path.is_dir():
        form = format_of(path)
        # What is packed as a whole can't be asked without its pixels.
        if form is None or form.name not in _TELLING or path.name.lower().endswith(".gz"):
            return
    longest = without_ones(shape)
    alike = [
        number
        for number, series in enumerate(list_series(path))
        if series.shape and len(without_ones(series.shape)) - len(longest) in (0, 1)
        and set(longest) <= set(series.shape)
    ]  # fmt: skip
    if as_stored and not path.is_dir():
        alike = [number for number in alike if number == 0]
    if len(alike) > _MOST_SERIES:
        return
    for number in alike:
        axes = read_image(path, number, lazy_bytes=0).axes
        # Where it lies in the world is not asked: the layer may have been moved on purpose.
        yield tuple(
            replace(axis, name="" if axis.name.lower() in _UNNAMED else axis.name, origin=0.0)
            for axis in axes
        )


def without_ones(shape: Sequence[int]) -> tuple[int, ...]:
    """Return the lengths of axes without those of one pixel, which readers add and drop."""
    return tuple(length for length in shape if length > 1)


def _ways(axes: Axes, shape: tuple[int, ...], *, as_stored: bool) -> list[Axes]:
    """Return in which ways the axes of a file may be those of an array."""
    if as_stored and tuple(axis.length for axis in axes) == shape:
        return [axes]
    long = tuple(axis for axis in axes if axis.length > 1)
    in_order = _fits(long, shape)
    if as_stored and in_order:
        return in_order
    planes = tuple(axis for axis in long if axis_kind(axis.name) in ("y", "x"))
    others = tuple(axis for axis in long if axis not in planes)
    moved: list[Axes] = []
    for order in permutations(others):
        for at in range(len(order) + 1):
            # Rows and columns come last, or before colours and channels.
            if all(axis_kind(axis.name) in ("c", "s") for axis in order[at:]):
                moved += _fits((*order[:at], *planes, *order[at:]), shape)
    return [*in_order, *moved]


def _fits(axes: Axes, shape: tuple[int, ...]) -> list[Axes]:
    """Return how axes, of which one that is none of the plane may be left out, fit a shape."""
    lengths = without_ones(shape)
    found = []
    for kept in combinations(axes, len(lengths)):
        gone = [axis for axis in axes if axis not in kept]
        whole = all(axis_kind(axis.name) not in ("y", "x") for axis in gone)
        if len(gone) <= 1 and whole and tuple(axis.length for axis in kept) == lengths:
            remaining = iter(kept)
            found.append(tuple(next(remaining) if n > 1 else Axis("", 1) for n in shape))
    return found

"""How OME files name and order the axes of labels."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from napari_sam3_assistant.core.axes import kind_of
from napari_sam3_assistant.errors import ExportError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from napari_sam3_assistant.core.axes import Axes

MOST_AXES = 5
"""OME files have no more."""


def check_axes(axes: Axes, shape: Sequence[int]) -> None:
    """Raise unless axes are those of labels of a shape.

    Raises
    ------
    ExportError
        If a length differs.
    """
    lengths = tuple(axis.length for axis in axes)
    if lengths != tuple(shape):
        raise ExportError(
            f"Labels of the shape {tuple(shape)} can't have axes of the lengths {lengths}.",
            "Give the axes of these labels.",
        )


def ome_tiff_axes(axes: Axes) -> tuple[Axes, tuple[int, ...]]:
    """Return the axes of labels as OME-TIFF has them: its pages are planes of y and x.

    Parameters
    ----------
    axes : tuple of Axis
        Two to five axes, rows and columns last.

    Returns
    -------
    tuple of Axis
        In the order of the file, named by ``t``, ``c``, ``z``, ``y``, ``x``. Each keeps its own
        name where it is one of these and no other axis has it.
    tuple of int
        Numbers of ``axes`` in that order.

    Raises
    ------
    ExportError
        If there are fewer or more axes.
    """
    return _ordered(_named(axes, ("y", "x")), "yx".find)


def ome_zarr_axes(axes: Axes) -> tuple[Axes, tuple[int, ...]]:
    """Return the axes of labels as OME-Zarr has them: t, c, z, y, x, of which two are of space.

    Parameters, results and errors are those of :func:`ome_tiff_axes`.
    """
    return _ordered(ome_zarr_names(axes), "tczyx".index)


def ome_zarr_names(axes: Axes) -> Axes:
    """Return axes by names that OME-Zarr knows, in the order that they are in.

    A plane that is written piece by piece keeps its order: rows may be x, columns y.

    Raises
    ------
    ExportError
        If there are less than two or more than five.
    """
    return _named(axes, ("z", "y", "x"))


def _ordered(axes: Axes, rank: Callable[[str], int]) -> tuple[Axes, tuple[int, ...]]:
    order = tuple(sorted(range(len(axes)), key=lambda number: rank(axes[number].name)))
    return tuple(axes[number] for number in order), order


def _named(axes: Axes, of_planes: tuple[str, ...]) -> Axes:
    """Return axes that have names which OME knows, two of which are ``of_planes``."""
    if not 2 <= len(axes) <= MOST_AXES:
        raise ExportError(
            f"OME files have two, and up to five axes; these labels have {len(axes)}.",
            "Save a part of them, or save them as NumPy.",
        )
    kinds = [kind_of(axis.name).replace("s", "") for axis in axes]
    names = [kind if kinds.count(kind) == 1 else "" for kind in kinds]
    if sum(name in of_planes for name in names) < 2:
        names[-2:] = [name if name in of_planes else "" for name in names[-2:]]
    for place in reversed(range(len(axes))):
        if not names[place]:
            from_last = len(axes) - 1 - place
            wanted = {0: "xyztc", 1: "yxztc"}.get(from_last, "ztcyx")
            names[place] = next(name for name in wanted if name not in names)
    return tuple(replace(axis, name=name) for axis, name in zip(axes, names, strict=True))

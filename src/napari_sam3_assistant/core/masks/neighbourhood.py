"""Balls of pixels, and what labels do within them."""

from __future__ import annotations

import itertools
import math
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_sam3_assistant.core.masks.blocks import read, tiles
from napari_sam3_assistant.core.masks.edits import LabelEdit, changes_between
from napari_sam3_assistant.core.masks.labels import Box, shape_of, whole
from napari_sam3_assistant.core.progress import NullReporter, Progress
from napari_sam3_assistant.errors import MaskError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    import numpy.typing as npt

    from napari_sam3_assistant.core.masks.labels import LabelArray
    from napari_sam3_assistant.core.progress import Reporter

Offsets = tuple[tuple[int, ...], ...]
_TILE_SIDES = {2: 512, 3: 96}


def ball(radius: float, spacing: Sequence[float]) -> Offsets:
    """Return the steps to the pixels within a radius, the pixel itself first.

    Parameters
    ----------
    radius : float
        In the unit of the spacing, edge included.
    spacing : sequence of float
        Size of a pixel along each axis; ``inf`` for an axis that is left alone.

    Raises
    ------
    MaskError
        If the radius is not positive, or reaches no other pixel.
    """
    if not radius > 0:
        raise MaskError(f"The radius is {radius:g}.", "Choose one above 0.")
    reach = [math.floor(radius / size + 1e-9) for size in spacing]
    steps = [
        step
        for step in itertools.product(*(range(-most, most + 1) for most in reach))
        if sum((part * size) ** 2 for part, size in zip(step, spacing, strict=True) if part)
        <= radius * radius * (1 + 1e-9)
    ]
    if len(steps) == 1:
        raise MaskError(
            f"A radius of {radius:g} reaches no neighbouring pixel: pixels are "
            f"{min(spacing):g} apart.",
            "Choose a larger radius.",
        )
    return tuple(sorted(steps, key=lambda step: (sum(map(abs, step)), step)))


def reach_of(offsets: Offsets) -> tuple[int, ...]:
    """Return how far a ball goes along each axis, in pixels."""
    return tuple(max(axis) for axis in zip(*offsets, strict=True))


def shifted(array: npt.NDArray[Any], offsets: Offsets) -> Iterator[npt.NDArray[Any]]:
    """Yield views of an array, moved by each step of a ball, as far as the ball fits inside."""
    reach = reach_of(offsets)
    for step in offsets:
        yield array[
            tuple(
                slice(most + part, size - most + part)
                for most, part, size in zip(reach, step, array.shape, strict=True)
            )
        ]


def anywhere(mask: npt.NDArray[np.bool_], offsets: Offsets) -> npt.NDArray[np.bool_]:
    """Return where the ball around a pixel holds a pixel of a mask."""
    views = shifted(mask, offsets)
    found = next(views).copy()
    for view in views:
        found |= view
    return found


def everywhere(mask: npt.NDArray[np.bool_], offsets: Offsets) -> npt.NDArray[np.bool_]:
    """Return where the ball around a pixel holds pixels of a mask only."""
    views = shifted(mask, offsets)
    found = next(views).copy()
    for view in views:
        found &= view
    return found


def extremes(array: npt.NDArray[Any], offsets: Offsets) -> tuple[npt.NDArray[Any], ...]:
    """Return the least and the greatest value in the ball around each pixel."""
    views = shifted(array, offsets)
    low = next(views).copy()
    high = low.copy()
    for view in views:
        np.minimum(low, view, out=low)
        np.maximum(high, view, out=high)
    return low, high


def eroded(labels: LabelArray, offsets: Offsets) -> LabelArray:
    """Return the labels of pixels in whose ball there is nothing else, others 0."""
    views = shifted(labels, offsets)
    centre = next(views)
    same = centre != 0
    for view in views:
        same &= view == centre
    return np.where(same, centre, labels.dtype.type(0))


def edit_by_tiles(
    labels: Any,  # noqa: ANN401 - arrays of numpy, zarr and others
    action: str,
    margin: Sequence[int],
    change: Callable[[LabelArray], LabelArray],
    box: Box | None = None,
    reporter: Reporter | None = None,
) -> LabelEdit:
    """Return the edit that a local operation would do, found tile by tile.

    Parameters
    ----------
    labels : array-like of int, shape (..., H, W)
        In memory or lazy.
    action : str
        What is done, for the user.
    margin : sequence of int, pixels
        How far the operation looks.
    change : callable
        Takes a tile with that margin on all sides and returns the tile without it. At the edge
        of the labels the outermost pixels are repeated, so an object goes on beyond it.
    box : tuple of slice, optional
        The part to work on.
    reporter : Reporter, optional
        Is told of the progress.
    """
    reporter = reporter or NullReporter()
    shape = tuple(int(size) for size in labels.shape)
    box = whole(shape) if box is None else box
    side = _TILE_SIDES.get(sum(size > 1 for size in shape), _TILE_SIDES[3])
    pieces = tiles(box, [side if size > 1 else 1 for size in shape]) if 0 not in shape else []

    def parts() -> Iterator[tuple[Box, LabelArray, LabelArray]]:
        for done, piece in enumerate(pieces):
            reporter.report(Progress(done, len(pieces), action.capitalize()))
            tile = _with_margin(labels, piece, margin, shape)
            if tile.any():
                inner = tuple(
                    slice(more, more + size)
                    for more, size in zip(margin, shape_of(piece), strict=True)
                )
                yield piece, tile[inner], change(tile)

    return LabelEdit.of(action, shape, changes_between(parts(), shape), labels.dtype)


def _with_margin(
    labels: Any,  # noqa: ANN401
    box: Box,
    margin: Sequence[int],
    shape: Sequence[int],
) -> LabelArray:
    wanted = [(side.start - more, side.stop + more) for side, more in zip(box, margin, strict=True)]
    there = tuple(
        slice(max(low, 0), min(high, size)) for (low, high), size in zip(wanted, shape, strict=True)
    )
    missing = [
        (side.start - low, high - side.stop)
        for (low, high), side in zip(wanted, there, strict=True)
    ]
    # A copy, whatever the margin: the user may paint on the labels meanwhile.
    return np.pad(read(labels, there), missing, mode="edge")

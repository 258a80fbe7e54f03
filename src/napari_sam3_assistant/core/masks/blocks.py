"""Large arrays piece by piece."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_sam3_assistant.core.masks.labels import Box, check_labels, check_not_negative, shape_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from napari_sam3_assistant.core.masks.labels import LabelArray

BLOCK_PIXELS = 1 << 22


def blocks(labels: Any, box: Box, pixels: int = BLOCK_PIXELS) -> list[Box]:  # noqa: ANN401
    """Return boxes that cover a box, each of whole chunks of the array where it has chunks.

    Parameters
    ----------
    labels : array-like
        In memory, or lazy with ``chunks`` (zarr, dask).
    box : tuple of slice
        What to cover.
    pixels : int
        How many pixels a block may have; a single chunk may have more.
    """
    sides = _chunk_sides(labels)
    size = [side if sides else 1 for side in sides or shape_of(box)]
    whole_ = shape_of(box)
    # Grow along the last axis first: that is how the pixels lie.
    for axis in reversed(range(len(size))):
        others = int(np.prod([s for k, s in enumerate(size) if k != axis], dtype=np.int64))
        room = max(1, pixels // max(1, others * size[axis]))
        size[axis] = max(1, min(size[axis] * room, whole_[axis]))
    return list(_grid(box, size))


def tiles(box: Box, size: Sequence[int]) -> list[Box]:
    """Return boxes of a size that cover a box; those at the end are smaller."""
    return list(_grid(box, size))


def read(labels: Any, box: Box) -> LabelArray:  # noqa: ANN401 - arrays of numpy, zarr and others
    """Return the labels of a box as an array in memory.

    Raises
    ------
    MaskError
        If they are no whole numbers from 0 on.
    """
    check_labels(labels)
    part: LabelArray = np.asarray(labels[box])
    check_not_negative(part)
    return part


def _chunk_sides(labels: Any) -> list[int] | None:  # noqa: ANN401
    chunks = getattr(labels, "chunks", None)
    if chunks is None or isinstance(labels, np.ndarray):
        return None
    return [int(side[0] if isinstance(side, tuple) else side) for side in chunks]


def _grid(box: Box, size: Sequence[int]) -> Iterator[Box]:
    # Blocks begin at multiples of their size, as chunks do.
    for corner in itertools.product(
        *(
            range(side.start // step * step, side.stop, step)
            for side, step in zip(box, size, strict=True)
        )
    ):
        yield tuple(
            slice(max(start, side.start), min(start + step, side.stop))
            for start, step, side in zip(corner, size, box, strict=True)
        )

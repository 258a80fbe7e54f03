"""Labels piece by piece: frames of a movie, channels or slices, each of which counts for itself."""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

import numpy as np

from napari_sam3_assistant.core.masks.labels import (
    Box,
    box_shape,
    chunk_sides,
    localise_box,
    read,
    split_tiles,
    whole_box,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from napari_sam3_assistant.core.images import AnyArray
    from napari_sam3_assistant.core.masks.labels import LabelArray


_WORDS = {"t": "time", "c": "channel", "z": "slice"}


class Apart(StrEnum):
    """What counts for itself: components, holes and distances end with it."""

    FRAMES = "frames"
    SLICES = "slices"
    NOTHING = "nothing"

    def axes(self, names: Sequence[str]) -> tuple[int, ...]:
        """Return the axes along which each place counts for itself.

        Parameters
        ----------
        names : sequence of str
            What the axes before rows and columns are, see :func:`plane_names`. A frame is all
            that one time and one channel have: along z pixels belong together.
        """
        if self is Apart.NOTHING:
            return ()
        return tuple(axis for axis, name in enumerate(names) if self is Apart.SLICES or name != "z")

    def explain(self, names: Sequence[str]) -> str:
        """Return what counts for itself in labels with these axes, for the user."""
        words = [_WORDS.get(name, "plane") for name in names]
        apart = self.axes(names)
        single = " of each ".join(words[axis] for axis in reversed(apart))
        whole = " and ".join(f"{word}s" for axis, word in enumerate(words) if axis not in apart)
        if not apart:
            return f"All {whole} together." if whole else ""
        return f"Each {single} by itself{f', its {whole} together' if whole else ''}."


@dataclass(frozen=True, slots=True, eq=False)
class Piece:
    """What counts for itself in labels.

    Parameters
    ----------
    labels : array-like of int
        Its labels, without the axes along which it counts for itself; in memory or lazy.
    axes : tuple of int
        The axes that it has.
    index : tuple of int
        Where it lies along the others.
    where : tuple of slice
        The box of it in the whole labels.
    box : tuple of slice or None
        The part of it to work on; None for all of it.
    """

    labels: AnyArray
    axes: tuple[int, ...]
    index: tuple[int, ...]
    where: Box
    box: Box | None


def split_pieces(
    labels: AnyArray, box: Box | None = None, apart: Sequence[int] = ()
) -> Iterator[Piece]:
    """Yield the pieces of labels that count for themselves, in the order of the array.

    Axes of length 1, along which nothing lies side by side, are left out where two others stay.

    Parameters
    ----------
    labels : array-like of int, shape (..., H, W)
        In memory or lazy. What lies in one chunk is read at once where all is worked on, unless
        that is too much for the memory.
    box : tuple of slice, optional
        The part to work on.
    apart : sequence of int
        The axes along which each place counts for itself; neither rows nor columns.
    """
    shape = tuple(int(size) for size in labels.shape)
    ones = [axis for axis, size in enumerate(shape) if size == 1 and axis not in apart]
    axes = sorted([*apart, *ones[: len(shape) - len(apart) - 2]])
    kept = tuple(axis for axis in range(len(shape)) if axis not in axes)
    outer = box or whole_box(shape)
    inner = None if box is None else tuple(box[axis] for axis in kept)
    sides = chunk_sides(labels) or [1] * len(shape)
    last = max((axis for axis in axes if shape[axis] > 1), default=-1)
    steps = [sides[axis] if axis == last else 1 for axis in axes]
    for chunk in split_tiles(tuple(outer[axis] for axis in axes), steps):
        held = _place(shape, dict(zip(axes, chunk, strict=True)))
        is_held = math.prod(box_shape(chunk)) > 1 and box is None
        is_held &= math.prod(box_shape(held)) <= _MOST_HELD
        source = read(labels, held) if is_held else labels
        for index in itertools.product(*(range(side.start, side.stop) for side in chunk)):
            where = _place(
                shape, {axis: slice(at, at + 1) for axis, at in zip(axes, index, strict=True)}
            )
            part = localise_box(where, held) if is_held else where
            view = _PieceView(source, part, kept)
            array = view[()] if isinstance(source, np.ndarray) else view
            yield Piece(array, kept, index, where, inner)


_MOST_HELD = 1 << 26  # labels of 4 bytes are 256 MiB then


def _place(shape: Sequence[int], sides: Mapping[int, slice]) -> Box:
    """Return the box of labels that has these sides, and is whole along the other axes."""
    return tuple(sides.get(axis, slice(0, size)) for axis, size in enumerate(shape))


class _PieceView:
    """A piece of labels, as an array that is read as it is indexed."""

    def __init__(self, labels: AnyArray, where: Box, kept: Sequence[int]) -> None:
        self._labels, self._where, self._kept = labels, where, kept
        self.shape = tuple(box_shape(where)[axis] for axis in kept)
        self.dtype, self.ndim = labels.dtype, len(kept)
        sides = chunk_sides(labels)
        self.chunks = None if sides is None else tuple(sides[axis] for axis in kept)

    def __getitem__(self, box: Box) -> LabelArray:
        """Return the labels of a box of the piece; of an empty one all of it."""
        sides = list(self._where)
        for axis, side in zip(self._kept, box, strict=False):
            sides[axis] = side
        part = np.asarray(self._labels[tuple(sides)])
        return part.reshape([part.shape[axis] for axis in self._kept])

"""A plane cut into overlapping tiles, the region round prompts, and an example beside a tile."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from napari_sam3_assistant.core.regions import Region
from napari_sam3_assistant.core.results import ObjectRecord

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    import numpy.typing as npt

    from napari_sam3_assistant.core.options import TileOptions
    from napari_sam3_assistant.core.prompts import ExemplarPrompt, PromptSet


LARGE_PLANE = 4096
"""Of planes with a longer side, in pixels, it is proposed to work on a part."""

Span = tuple[int, int]


@dataclass(frozen=True, slots=True)
class TileGrid:
    """Overlapping tiles, numbered row by row from 0.

    Parameters
    ----------
    rows, columns : tuple of (int, int)
        First and one past the last pixel of each row and each column of tiles.
    """

    rows: tuple[Span, ...]
    columns: tuple[Span, ...]

    @classmethod
    def cover(cls, shape: tuple[int, int], options: TileOptions) -> TileGrid:
        """Return the tiles that cover a plane; the last ones end with it.

        Parameters
        ----------
        shape : tuple of int
            Height and width of the plane.
        options : TileOptions
            Size and overlap.
        """
        return cls(_spans(shape[0], options), _spans(shape[1], options))

    def __len__(self) -> int:
        return len(self.rows) * len(self.columns)

    def __getitem__(self, number: int) -> Region:
        row, column = divmod(number, len(self.columns))
        (y0, y1), (x0, x1) = self.rows[row], self.columns[column]
        return Region(y0, x0, y1, x1)

    def find_touching(self, region: Region) -> Iterator[int]:
        """Yield the numbers of the tiles that hold a part of a region, in order."""
        columns = [
            number
            for number, (x0, x1) in enumerate(self.columns)
            if x0 < region.x1 and region.x0 < x1
        ]
        for row, (y0, y1) in enumerate(self.rows):
            if y0 < region.y1 and region.y0 < y1:
                for column in columns:
                    yield row * len(self.columns) + column


def _spans(length: int, options: TileOptions) -> tuple[Span, ...]:
    size = options.size
    if length <= size:
        return ((0, length),)
    step = size - options.band
    starts = [*range(0, length - size, step), length - size]
    return tuple((start, start + size) for start in starts)


ROI_SIZES = (512, 1024, 2048, 4096, 8192)
"""Sides of the region that can be chosen, in pixels."""


@dataclass(frozen=True, slots=True)
class LocalRoi:
    """The region that is worked on, and the size it was made for.

    Parameters
    ----------
    region : Region
        Its pixels; larger than ``size`` where a box needs it, smaller in a small image.
    size : int
        The side that was asked for, in pixels.
    """

    region: Region
    size: int


def anchor_region(prompts: PromptSet) -> Region | None:
    """Return what the region must hold, or None if the prompts name no place.

    Parameters
    ----------
    prompts : PromptSet
        Prompts in pixels of the plane.

    Returns
    -------
    Region or None
        The pixel of the last point; without points the last box or example; without these the
        painted mask.
    """
    if prompts.points:
        point = prompts.points[-1]
        y, x = math.floor(point.y + 0.5), math.floor(point.x + 0.5)
        return Region(y, x, y + 1, x + 1)
    for boxes in (prompts.boxes, prompts.exemplars, prompts.masks):
        if boxes:
            return boxes[-1].region
    return None


def local_roi(
    prompts: PromptSet, shape: tuple[int, int], size: int, current: LocalRoi | None = None
) -> LocalRoi | None:
    """Return the region to work on.

    The current region stays while what the prompts name lies in it. Otherwise it is made
    anew: a square round the middle of the last point, box or mask, grown to hold that box or
    mask, and moved into the image.

    Parameters
    ----------
    prompts : PromptSet
        Prompts in pixels of the plane.
    shape : tuple of int
        Height and width of the plane.
    size : int
        Side of the square in pixels.
    current : LocalRoi or None
        The region of the last run on the same plane.

    Returns
    -------
    LocalRoi or None
        None where the prompts name no place: the whole plane is to be used.
    """
    named = anchor_region(prompts)
    if named is None:
        return None
    named = named.intersect(Region.whole(shape))
    if named.is_empty:
        return None
    if current is not None and current.size == size:
        kept = named.intersect(current.region) == named
        if kept and current.region.intersect(Region.whole(shape)) == current.region:
            return current
    y0, y1 = _span(named.y0, named.y1, size, shape[0])
    x0, x1 = _span(named.x0, named.x1, size, shape[1])
    return LocalRoi(Region(y0, x0, y1, x1), size)


def _span(first: int, last: int, size: int, length: int) -> tuple[int, int]:
    """Return ``size`` pixels round a stretch, or all of it if it is longer, in the image."""
    span = min(max(size, last - first), length)
    start = (first + last) // 2 - span // 2
    start = min(max(start, 0), length - span)
    return (start, start + span)


def count_outside(prompts: PromptSet, region: Region) -> int:
    """Return how many prompts lie outside a region and so do not take part."""
    inside = prompts.localise(region)
    return sum(
        len(before) - len(after)
        for before, after in (
            (prompts.points, inside.points),
            (prompts.boxes, inside.boxes),
            (prompts.exemplars, inside.exemplars),
            (prompts.masks, inside.masks),
        )
    )


def roi_messages(*, enabled: bool, roi: LocalRoi | None) -> tuple[str, ...]:
    """Return the messages about large-image mode, worded as in version 4."""
    if not enabled:
        return ("Large-image mode OFF: full-image inference.",)
    if roi is None:
        return (
            "Large-image mode ON, but no point or box ROI anchor was found. "
            "Using full-image inference for this task.",
        )
    region = roi.region
    return (
        f"Large-image mode ON: local ROI inference ({region.width} x {region.height}).",
        f"Active ROI bounds: y={region.y0}:{region.y1}, x={region.x0}:{region.x1}.",
    )


GAP = 8
"""Pixels between the pasted pieces and the tile."""
AROUND = 4
"""Side of a piece, as a multiple of the example's."""
PIECE_SIDES = (128, 512)


@dataclass(frozen=True, slots=True, eq=False)
class Composite:
    """A tile with examples beside it.

    Parameters
    ----------
    picture : ndarray, shape (H, W, 3), dtype uint8
        The pieces at the left, the tile at the right.
    exemplars : tuple of ExemplarPrompt
        The examples in pixels of the picture.
    tile : Region
        Where the tile lies in the picture.
    """

    picture: npt.NDArray[np.uint8]
    exemplars: tuple[ExemplarPrompt, ...]
    tile: Region

    def crop_to_tile(self, records: Sequence[ObjectRecord]) -> tuple[ObjectRecord, ...]:
        """Return the objects of the tile, in its pixels and numbered from 1.

        Objects that lie in the pasted pieces for the most part are left out.
        """
        kept: list[ObjectRecord] = []
        for record in records:
            shared = record.region.intersect(self.tile)
            if shared.is_empty:
                continue
            mask = record.mask[shared.localise(record.region).slices]
            if 2 * int(np.count_nonzero(mask)) < record.area:
                continue
            cut = ObjectRecord.from_mask(
                len(kept) + 1,
                mask,
                offset=(shared.y0 - self.tile.y0, shared.x0 - self.tile.x0),
                score=record.score,
                text=record.text,
            )
            if cut is not None:
                kept.append(cut)
        return tuple(kept)


def crop_around(example: Region, shape: tuple[int, int]) -> Region:
    """Return the piece of the image that shows an example with its surroundings.

    Parameters
    ----------
    example : Region
        The example's box.
    shape : tuple of int
        Height and width of the image.
    """
    longest = max(example.shape)
    least, most = PIECE_SIDES
    side = max(min(max(AROUND * longest, least), most), longest + 2 * GAP)
    y0 = (example.y0 + example.y1 - side) // 2
    x0 = (example.x0 + example.x1 - side) // 2
    return Region(y0, x0, y0 + side, x0 + side).intersect(Region.whole(shape))


def compose_tile(
    tile: npt.NDArray[np.uint8],
    pieces: Sequence[npt.NDArray[np.uint8]],
    examples: Sequence[ExemplarPrompt],
    inside: Sequence[ExemplarPrompt] = (),
) -> Composite:
    """Paste pieces of an image to the left of a tile.

    What is left free has the tile's median colour, which no engine takes for an object.

    Parameters
    ----------
    tile : ndarray, shape (h, w, 3), dtype uint8
        The tile.
    pieces : sequence of ndarray, shape (h, w, 3), dtype uint8
        What shows the examples, one for each.
    examples : sequence of ExemplarPrompt
        The examples, each in pixels of its piece.
    inside : sequence of ExemplarPrompt
        Examples that lie in the tile itself, in its pixels.
    """
    width = max(piece.shape[1] for piece in pieces)
    height = sum(piece.shape[0] for piece in pieces) + GAP * (len(pieces) - 1)
    place = Region.whole(tile.shape[:2]).shift(0, width + GAP)
    median = np.median(tile[::4, ::4].reshape(-1, 3), axis=0).astype(np.uint8)
    picture = np.empty((max(height, tile.shape[0]), place.x1, 3), np.uint8)
    picture[...] = median
    picture[place.slices] = tile
    shown = []
    top = 0
    for piece, example in zip(pieces, examples, strict=True):
        picture[top : top + piece.shape[0], : piece.shape[1]] = piece
        shown.append(example.shift(top, 0))
        top += piece.shape[0] + GAP
    shown += [example.shift(0, place.x0) for example in inside]
    return Composite(picture, tuple(shown), place)

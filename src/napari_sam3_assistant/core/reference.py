"""An example shown to a tile that does not hold it: a piece of the image pasted beside the tile."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from napari_sam3_assistant.core.prompts import ExemplarPrompt
from napari_sam3_assistant.core.regions import Region
from napari_sam3_assistant.core.results import ObjectRecord

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy.typing as npt

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

    def cut_back(self, records: Sequence[ObjectRecord]) -> tuple[ObjectRecord, ...]:
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


def piece_around(example: Region, shape: tuple[int, int]) -> Region:
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


def compose(
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
        shown.append(ExemplarPrompt(example.region.shift(top, 0), example.positive))
        top += piece.shape[0] + GAP
    shown += [
        ExemplarPrompt(example.region.shift(0, place.x0), example.positive) for example in inside
    ]
    return Composite(picture, tuple(shown), place)

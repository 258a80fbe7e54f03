"""A plane cut into overlapping tiles."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from napari_sam3_assistant.core.regions import Region

if TYPE_CHECKING:
    from collections.abc import Iterator

    from napari_sam3_assistant.core.options import TileOptions

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

    def touching(self, region: Region) -> Iterator[int]:
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

"""Half-open rectangles of image pixels."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_sam3_assistant.errors import PromptError

if TYPE_CHECKING:
    from collections.abc import Iterable

    import numpy.typing as npt


@dataclass(frozen=True, slots=True)
class Region:
    """A rectangle of pixels, rows ``y0`` to ``y1 - 1`` and columns ``x0`` to ``x1 - 1``.

    Pixel centres lie at integers, so the rectangle's outline runs from ``y0 - 0.5`` to
    ``y1 - 0.5``.

    Parameters
    ----------
    y0, x0 : int
        First row and column.
    y1, x1 : int
        One past the last row and column (exclusive).
    """

    y0: int
    x0: int
    y1: int
    x1: int

    @classmethod
    def whole(cls, shape: tuple[int, int]) -> Region:
        """Return the region of a whole plane of ``shape`` (height, width)."""
        return cls(0, 0, shape[0], shape[1])

    @classmethod
    def around(cls, mask: npt.NDArray[Any]) -> Region:
        """Return the smallest region that holds all pixels that are not 0; may be empty."""
        rows, columns = bounds_of(mask)
        return cls(rows.start, columns.start, rows.stop, columns.stop)

    @classmethod
    def from_box(cls, box: Iterable[float]) -> Region:
        """Return the smallest region that holds a box of half-open pixel coordinates.

        Parameters
        ----------
        box : iterable of float
            ``(y0, x0, y1, x1)`` in pixels, ends exclusive; in any corner order.

        Raises
        ------
        PromptError
            If the box has not four finite numbers, or no area.
        """
        values = [float(value) for value in box]
        if len(values) != 4:
            raise PromptError(
                f"A box has four numbers (y0, x0, y1, x1), this one has {len(values)}.",
                "Give the first and the last corner.",
            )
        if not all(map(math.isfinite, values)):
            raise PromptError(
                f"The box {tuple(values)} has a coordinate that is not a finite number.",
                "Give pixel coordinates.",
            )
        y0, y1 = sorted((values[0], values[2]))
        x0, x1 = sorted((values[1], values[3]))
        if y0 == y1 or x0 == x1:
            raise PromptError(
                f"The box {tuple(values)} has no area.",
                "Draw it at least one pixel high and one pixel wide.",
            )
        return cls(math.floor(y0), math.floor(x0), math.ceil(y1), math.ceil(x1))

    @classmethod
    def enclosed_by(cls, box: Iterable[float]) -> Region:
        """Return the pixels whose centres lie in a box; empty if none does.

        Parameters
        ----------
        box : iterable of float
            ``(y0, x0, y1, x1)`` in pixels, ends exclusive, the lower corner first: the first pixel
            begins at 0, and its centre is 0.5.
        """
        y0, x0, y1, x1 = box
        low = (math.ceil(y0 - 0.5), math.ceil(x0 - 0.5))
        return cls(*low, max(math.floor(y1 + 0.5), low[0]), max(math.floor(x1 + 0.5), low[1]))

    @property
    def height(self) -> int:
        """Number of rows."""
        return self.y1 - self.y0

    @property
    def width(self) -> int:
        """Number of columns."""
        return self.x1 - self.x0

    @property
    def shape(self) -> tuple[int, int]:
        """``(height, width)`` in pixels."""
        return (self.height, self.width)

    @property
    def area(self) -> int:
        """Number of pixels."""
        return self.height * self.width

    @property
    def is_empty(self) -> bool:
        """Whether the region holds no pixel."""
        return self.height <= 0 or self.width <= 0

    @property
    def slices(self) -> tuple[slice, slice]:
        """Row and column slices that cut the region out of a whole plane."""
        return (slice(self.y0, self.y1), slice(self.x0, self.x1))

    @property
    def box(self) -> tuple[int, int, int, int]:
        """``(y0, x0, y1, x1)``, ends exclusive."""
        return (self.y0, self.x0, self.y1, self.x1)

    def holds(self, y: float, x: float) -> bool:
        """Return whether the point lies on one of the region's pixels."""
        return self.y0 - 0.5 <= y < self.y1 - 0.5 and self.x0 - 0.5 <= x < self.x1 - 0.5

    def covers(self, other: Region) -> bool:
        """Return whether all pixels of another region are in it."""
        return self.intersect(other) == other

    def intersect(self, other: Region) -> Region:
        """Return what both regions share; empty where they share nothing."""
        y0, x0 = max(self.y0, other.y0), max(self.x0, other.x0)
        return Region(y0, x0, max(y0, min(self.y1, other.y1)), max(x0, min(self.x1, other.x1)))

    def union(self, other: Region) -> Region:
        """Return the smallest region that holds both."""
        return Region(
            min(self.y0, other.y0),
            min(self.x0, other.x0),
            max(self.y1, other.y1),
            max(self.x1, other.x1),
        )

    def shift(self, dy: int, dx: int) -> Region:
        """Return the region moved by whole pixels."""
        return Region(self.y0 + dy, self.x0 + dx, self.y1 + dy, self.x1 + dx)

    def grow(self, margin: int) -> Region:
        """Return the region with ``margin`` more pixels on each side."""
        return Region(self.y0 - margin, self.x0 - margin, self.y1 + margin, self.x1 + margin)

    def localise(self, origin: Region) -> Region:
        """Return this region as counted from the first pixel of ``origin``."""
        return self.shift(-origin.y0, -origin.x0)

    def globalise(self, origin: Region) -> Region:
        """Return this region, counted from the first pixel of ``origin``, as of the plane."""
        return self.shift(origin.y0, origin.x0)


def bounds_of(pixels: npt.NDArray[Any]) -> tuple[slice, ...]:
    """Return the smallest box that holds all pixels that are not 0, a slice for each axis."""
    bounds: list[slice] = []
    for axis in range(pixels.ndim):
        others = tuple(other for other in range(pixels.ndim) if other != axis)
        at = np.flatnonzero(pixels.any(others))
        bounds.append(slice(int(at[0]), int(at[-1]) + 1) if at.size else slice(0, 0))
        # Mostly little is left for the other axes.
        pixels = pixels[(*(slice(None),) * axis, bounds[-1])]
    return tuple(bounds)

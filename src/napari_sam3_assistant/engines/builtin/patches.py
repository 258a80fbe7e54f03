"""Masks of single objects somewhere in a plane."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from napari_sam3_assistant.core.regions import Region

if TYPE_CHECKING:
    import numpy.typing as npt


@dataclass(frozen=True, slots=True, eq=False)
class Patch:
    """A mask of one object in the plane.

    Parameters
    ----------
    mask : ndarray, shape (h, w), dtype bool
        Its pixels, cropped to ``region``.
    region : Region
        Where the crop lies in the plane.
    polarity : int
        +1 if it is brighter than its surroundings, -1 if darker.
    """

    mask: npt.NDArray[np.bool_]
    region: Region
    polarity: int = 1

    @property
    def area(self) -> int:
        """Number of pixels."""
        return int(np.count_nonzero(self.mask))

    def within(self, region: Region) -> npt.NDArray[np.bool_]:
        """Return the mask as seen through a region of the plane."""
        seen = np.zeros(region.shape, bool)
        shared = self.region.intersect(region)
        if not shared.is_empty:
            seen[shared.localise(region).slices] = self.mask[shared.localise(self.region).slices]
        return seen

    def holds(self, y: int, x: int) -> bool:
        """Return whether a pixel of the plane belongs to the object."""
        return self.region.holds(y, x) and bool(self.mask[y - self.region.y0, x - self.region.x0])

    def clipped(self, region: Region) -> Patch:
        """Return what of the object lies in a region that it touches."""
        kept = self.region.intersect(region)
        return Patch(self.mask[kept.localise(self.region).slices], kept, self.polarity)

    def cropped(self) -> Patch:
        """Return the same object without empty rows and columns at its sides; it has a pixel."""
        kept = Region.around(self.mask)
        return Patch(self.mask[kept.slices], kept.globalise(self.region), self.polarity)

    def coarser(self, octave: int) -> Patch:
        """Return it in pixels of an octave; each is like one of the pixels that it stands for."""
        size = 2**octave
        y0, x0 = -(-self.region.y0 // size), -(-self.region.x0 // size)
        mask = self.mask[y0 * size - self.region.y0 :: size, x0 * size - self.region.x0 :: size]
        return Patch(mask, Region(y0, x0, y0 + mask.shape[0], x0 + mask.shape[1]), self.polarity)

    def union(self, other: Patch) -> Patch:
        """Return both objects as one."""
        region = self.region.union(other.region)
        return Patch(self.within(region) | other.within(region), region, self.polarity)

    def overlap(self, other: Patch) -> float:
        """Return the intersection over the union of the two masks, 0 to 1."""
        shared = self.region.intersect(other.region)
        if shared.is_empty:
            return 0.0
        both = int(np.count_nonzero(self.within(shared) & other.within(shared)))
        return both / max(1, self.area + other.area - both)


def disc(point: tuple[int, int], radius: int, plane: Region) -> Patch:
    """Return a disc round a point, cut to the plane.

    Parameters
    ----------
    point : tuple of int
        Row and column of its centre.
    radius : int
        In pixels; 0 gives one pixel.
    plane : Region
        Where it must stay.
    """
    region = Region(*point, point[0] + 1, point[1] + 1).grow(radius).intersect(plane)
    rows = np.arange(region.y0, region.y1)[:, None] - point[0]
    columns = np.arange(region.x0, region.x1)[None, :] - point[1]
    return Patch(rows**2 + columns**2 <= (radius + 0.5) ** 2, region)

"""Probabilities of objects, kept as small as the model gave them, made large when asked for."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_sam3_assistant.core.regions import Region

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import numpy.typing as npt

    from napari_sam3_assistant.core.results import ObjectRecord

FLOOR = 1 / 512
"""Probabilities below it are kept as 0."""
_LOWEST_LOGIT = float(np.log(FLOOR / (1 - FLOOR)))
_BAND_PIXELS = 1 << 22


@dataclass(frozen=True, slots=True, eq=False)
class SoftMask:
    """How likely each pixel belongs to one object, in the model's low resolution.

    A mask of 288 x 288 values takes at most 166 kB; made large for a plane of 2048 x 2048 pixels
    it takes 50 times as much. So it is kept small, and cut to where it is not 0.

    Parameters
    ----------
    values : ndarray, shape (h, w), dtype float16
        Logits or probabilities: a part of the model's grid.
    first : tuple of int
        Row and column of the part's first value in the grid.
    grid : tuple of int
        Rows and columns of the whole grid.
    area : Region
        The pixels of the plane that the whole grid covers.
    clip : Region
        The pixels that the object may cover.
    logits : bool
        Whether the values are logits. They are enlarged as they are, as the model does, and made
        probabilities then.
    """

    values: npt.NDArray[np.float16]
    first: tuple[int, int]
    grid: tuple[int, int]
    area: Region
    clip: Region
    logits: bool

    @classmethod
    def cut(
        cls,
        values: npt.NDArray[np.floating[Any]],
        area: Region,
        *,
        logits: bool,
        clip: Region | None = None,
    ) -> SoftMask | None:
        """Return a mask cut to where it is not 0, or None where it is 0 everywhere.

        Parameters
        ----------
        values : ndarray, shape (h, w), dtype float
            Logits or probabilities.
        area : Region
            The pixels of the plane that they cover.
        logits : bool
            Whether they are logits.
        clip : Region, optional
            The pixels that the object may cover.
        """
        seen = Region.around(values > (_LOWEST_LOGIT if logits else FLOOR))
        if seen.is_empty:
            return None
        # One more on each side: the values between two that are kept are their mean.
        part = seen.grow(1).intersect(Region.whole((values.shape[0], values.shape[1])))
        return cls(
            values[part.slices].astype(np.float16),
            (part.y0, part.x0),
            (values.shape[0], values.shape[1]),
            area,
            area if clip is None else clip,
            logits,
        )

    def shift(self, dy: int, dx: int) -> SoftMask:
        """Return the mask moved by whole pixels."""
        return replace(self, area=self.area.shift(dy, dx), clip=self.clip.shift(dy, dx))

    @property
    def reach(self) -> Region:
        """The pixels of the plane outside which the mask is 0."""
        ends = []
        for axis, (start, size) in enumerate(
            ((self.area.y0, self.area.height), (self.area.x0, self.area.width))
        ):
            length = self.grid[axis]
            first, last = self.first[axis], self.first[axis] + self.values.shape[axis]
            ends.append((start + first * size // length, start - (-last * size // length)))
        (y0, y1), (x0, x1) = ends
        return Region(y0, x0, y1, x1).intersect(self.clip)

    def enlarged(self, region: Region) -> npt.NDArray[np.float32]:
        """Return the probabilities of pixels within :attr:`reach`.

        As ``interpolate(..., mode="bilinear", align_corners=False)`` of PyTorch, without PyTorch.

        Parameters
        ----------
        region : Region
            The pixels, in the plane.

        Returns
        -------
        ndarray, shape of the region, dtype float32
            0 to 1.
        """
        upper, lower, down = self._neighbours(0, region.y0, region.y1)
        left, right, across = self._neighbours(1, region.x0, region.x1)
        low = self.values.astype(np.float32)
        wide = low[:, left] * (1 - across) + low[:, right] * across
        large = wide[upper] * (1 - down[:, None])
        large += wide[lower] * down[:, None]
        if self.logits:
            # Beyond these float32 has no exponential, and no difference is left.
            np.clip(large, -80, 80, out=large)
            np.negative(large, out=large)
            np.exp(large, out=large)
            large += 1
            np.reciprocal(large, out=large)
        return large

    def _neighbours(
        self, axis: int, start: int, stop: int
    ) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.intp], npt.NDArray[np.float32]]:
        """Return the two values beside each pixel along an axis, and the weight of the second."""
        begin = (self.area.y0, self.area.x0)[axis]
        pixels = np.arange(start - begin, stop - begin)
        source = (pixels + 0.5) * (self.grid[axis] / self.area.shape[axis]) - 0.5
        last = self.values.shape[axis] - 1
        source = (source - self.first[axis]).clip(0, last)
        before = source.astype(np.intp)
        return before, np.minimum(before + 1, last), (source - before).astype(np.float32)


def gives_soft_masks(objects: Sequence[ObjectRecord]) -> bool:
    """Return whether the engine gave a soft mask of an object."""
    return any(record.soft is not None for record in objects)


def max_probability(
    objects: Sequence[ObjectRecord], region: Region, check: Callable[[], None] = lambda: None
) -> npt.NDArray[np.float32]:
    """Return the highest probability of the objects at each pixel of a region.

    Parameters
    ----------
    objects : sequence of ObjectRecord
        Objects in plane coordinates; those without a soft mask count as 0.
    region : Region
        The part of the plane.
    check : callable
        Called between pieces of the work; what it raises stops it.

    Returns
    -------
    ndarray, shape of the region, dtype float32
        0 to 1.
    """
    highest = np.zeros(region.shape, np.float32)
    for record in objects:
        if record.soft is None:
            continue
        part = record.soft.reach.intersect(region)
        # In bands, so that one large object takes no ten planes of memory.
        rows = max(1, _BAND_PIXELS // max(1, part.width))
        for top in range(part.y0, part.y1, rows):
            check()
            band = Region(top, part.x0, min(top + rows, part.y1), part.x1)
            view = highest[band.localise(region).slices]
            np.maximum(view, record.soft.enlarged(band), out=view)
    return highest

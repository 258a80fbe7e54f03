"""The range of pixel values that is worth showing, from a bounded sample of pixels."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from napari_sam3_assistant.core.regions import Region

if TYPE_CHECKING:
    import numpy.typing as npt

PER_MILLE = 1
"""Share of the values that is left out at each end: the percentiles 0.1 and 99.9."""
BLOCK = 256
MAX_BLOCKS = 64
"""At most this many blocks of BLOCK x BLOCK pixels are sampled of an image."""


def sample_windows(shape: tuple[int, int], planes: int) -> list[Region]:
    """Return the parts of each plane to sample, so that all planes keep to the limit.

    Parameters
    ----------
    shape : tuple of int
        Height and width of a plane in pixels.
    planes : int
        Number of planes that are sampled.

    Returns
    -------
    list of Region
        The whole plane where it is small; else an even grid of blocks.
    """
    side = max(1, math.isqrt(MAX_BLOCKS // planes))
    rows, columns = (_spread(size, side) for size in shape)
    return [Region(y0, x0, y1, x1) for y0, y1 in rows for x0, x1 in columns]


def _spread(size: int, count: int) -> list[tuple[int, int]]:
    """Return ``count`` blocks at even distances along an axis, or the axis if they fill it."""
    if size <= count * BLOCK:
        return [(0, size)]
    # Centred in equal parts: blocks at the borders would see mostly background.
    starts = [(2 * index + 1) * size // (2 * count) - BLOCK // 2 for index in range(count)]
    return [(start, start + BLOCK) for start in starts]


def finite_range(
    lows: npt.NDArray[np.generic], highs: npt.NDArray[np.generic]
) -> tuple[float, float]:
    """Return the percentile range of the finite values.

    Parameters
    ----------
    lows, highs : ndarray, shape (N,)
        Darkest and brightest value of each pixel; the same for grey images.

    Returns
    -------
    tuple of float
        ``(low, high)``, finite, ``low < high``. Without finite values (0, 1).
    """
    lows, highs = (_finite(values) for values in (lows, highs))
    if lows.size == 0 or highs.size == 0:
        return (0.0, 1.0)
    # Between two ranks the inner one is taken, so that a single outlier never counts, however
    # small the image is; interpolation would let it in below 1000 pixels.
    left_out = -(-(lows.size - 1) * PER_MILLE // 1000)
    low = float(np.partition(lows, left_out)[left_out])
    left_out = -(-(highs.size - 1) * PER_MILLE // 1000)
    high = float(np.partition(highs, -1 - left_out)[-1 - left_out])
    if low < high:
        return (low, high)
    low, high = float(lows.min()), float(highs.max())
    if low < high:
        return (low, high)
    return (low, max(low + 1.0, math.nextafter(low, math.inf)))


def _finite(values: npt.NDArray[np.generic]) -> npt.NDArray[np.generic]:
    return values[np.isfinite(values)] if values.dtype.kind == "f" else values

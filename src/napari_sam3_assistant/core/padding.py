"""What is no image: the value round mosaics, turned and shifted images, where nothing was taken."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from scipy import ndimage as ndi

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy.typing as npt

_LEAST, _MOST = 0.01, 0.6  # share of the pixels
_TAILS = 100  # one in so many, at either end: where padding was blended with the image
_OUTSIDE = 0.95  # share of the padding that reaches the rim, and of the image that is in one piece


def find_padding(parts: Sequence[npt.NDArray[Any]]) -> float | None:
    """Return the value of the pixels that only fill up parts of an image.

    It is the lowest or the highest value, farther from all others than these are from each other,
    reaches in from the rim and leaves the image in one piece: dark or saturated objects lie
    within, and masked cells are many pieces.

    Parameters
    ----------
    parts : sequence of ndarray, shape (h, w)
        Samples of a grey image.

    Returns
    -------
    float or None
        The value; None where there is none.
    """
    pixels = np.concatenate([np.zeros(0), *(part[np.isfinite(part)] for part in parts)])
    if not pixels.size:
        return None
    for value in (pixels.min(), pixels.max()):
        others = pixels[pixels != value]
        if not _LEAST <= 1 - others.size / pixels.size <= _MOST:
            continue
        tail = others.size // _TAILS
        ordered = np.partition(others, (tail, others.size - 1 - tail))
        low, high = float(ordered[tail]), float(ordered[others.size - 1 - tail])
        gap = max(low - float(value), float(value) - high)
        if low < high and gap > high - low and _is_outside(parts, value):
            return float(value)
    return None


def _is_outside(parts: Sequence[npt.NDArray[Any]], value: float) -> bool:
    """Return whether the pixels of a value lie round an image that is in one piece."""
    filled = reaching = seen = largest = 0
    for part in parts:
        padding = part == value
        if padding.all() or not padding.any():
            continue  # a blank frame is none, and nothing tells of one that has no rim
        pieces, _ = ndi.label(padding)
        rim = np.unique(np.concatenate([pieces[[0, -1]].ravel(), pieces[:, [0, -1]].ravel()]))
        filled += int(padding.sum())
        reaching += int(np.isin(pieces, rim[rim > 0]).sum())
        image = ~padding & np.isfinite(part)
        pieces, _ = ndi.label(image)
        seen += int(image.sum())
        largest += int(np.bincount(pieces.ravel())[1:].max(initial=0))
    return filled > 0 and reaching >= _OUTSIDE * filled and largest >= _OUTSIDE * seen

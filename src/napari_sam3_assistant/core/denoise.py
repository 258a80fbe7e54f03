"""Less noise on a slice of a stack: averaged with those beside it where these show the same."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from scipy import ndimage as ndi

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy.typing as npt

    Floats = npt.NDArray[np.float32]

_SMOOTH = 1.5
"""Standard deviation in pixels of the blur under which slices are compared."""
_ALIKE = 2.0
"""A pixel counts half that differs by so many standard deviations of the noise."""
_FAR = 4.0
"""A slice counts half whose objects differ by so many: it lies too far away, or they have moved."""
_LAPLACIAN = np.array([[1, -2, 1], [-2, 4, -2], [1, -2, 1]], np.float32)


def average_alike(
    picture: npt.NDArray[np.uint8], beside: Sequence[npt.NDArray[np.uint8]]
) -> npt.NDArray[np.uint8]:
    """Return a slice averaged with its neighbours, each pixel by how alike they are there.

    What differs by more than noise, such as an object that ends, is hardly mixed in, and a slice
    whose objects are not those of this one hardly anywhere: thick slices, or times of a movie.
    Without noise the slice stays as it is.

    Parameters
    ----------
    picture : ndarray, shape (H, W, 3), dtype uint8
        The slice.
    beside : sequence of ndarray, each of the same shape and dtype
        Slices near it.

    Returns
    -------
    ndarray, shape (H, W, 3), dtype uint8
        A new array.
    """
    grey = _grey(picture)
    spread = _noise(grey)
    standing = _standing_out(grey)
    total = picture.astype(np.float32)
    weights = np.ones(grey.shape, np.float32)
    for other in beside:
        level = _grey(other)
        # The noise of a difference, after the blur.
        noise = np.hypot(spread, _noise(level)) / (2 * np.sqrt(np.pi) * _SMOOTH)
        if noise == 0:
            continue
        apart = ndi.gaussian_filter(level - grey, _SMOOTH, mode="nearest")
        squares = (apart / np.float32(noise)) ** 2
        # Of the ground, most slices show the same: what stands out from it says how far they are.
        counts = standing + _standing_out(level)
        far = float((squares * counts).sum() / max(float(counts.sum()), 1e-6)) / _FAR**2
        weight = 1 / (1 + squares / np.float32(_ALIKE**2)) / np.float32(1 + far**2)
        total += weight[..., None] * other
        weights += weight
    mean: npt.NDArray[np.uint8] = np.rint(total / weights[..., None]).astype(np.uint8)
    return mean


def _grey(picture: npt.NDArray[np.uint8]) -> Floats:
    grey: Floats = picture.mean(-1, dtype=np.float32)
    return grey


def _standing_out(grey: Floats) -> Floats:
    """Return by how many grey levels each pixel differs from the ground, after the blur."""
    smooth: Floats = ndi.gaussian_filter(grey, _SMOOTH, mode="nearest")
    return np.abs(smooth - np.median(smooth))


def _noise(grey: Floats) -> float:
    """Return the standard deviation of the noise (Immerkaer, CVIU 64:300, 1996)."""
    return float(np.sqrt(np.mean(ndi.convolve(grey, _LAPLACIAN, mode="nearest") ** 2) / 36))

"""Shapes of masks: how convex they are, and where objects that touch come apart."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from scipy import ndimage as ndi
from scipy.spatial import ConvexHull

if TYPE_CHECKING:
    import numpy.typing as npt


# Two cores are two objects if the neck between them is narrower than this share of the
# smaller one.
NECK = 0.86
CONVEX = 0.95  # from here on there is no neck
LARGE = 512  # masks with a longer side are divided at a lower resolution
_SQUARE = np.ones((3, 3), bool)


def solidity(mask: npt.NDArray[np.bool_]) -> float:
    """Return the share of its convex hull that a mask fills, 0 to 1.

    Parameters
    ----------
    mask : ndarray, shape (h, w), dtype bool
        At least one pixel.
    """
    first = mask.argmax(1)
    last = mask.shape[1] - mask[:, ::-1].argmax(1)
    rows = np.flatnonzero(mask.any(1))
    corners = np.concatenate(
        [np.stack([row, column[rows]], 1) for row in (rows, rows + 1) for column in (first, last)]
    )
    # The corners of pixels: a hull of one pixel has area 1.
    hull = ConvexHull(corners).volume
    return min(1.0, float(np.count_nonzero(mask) / hull))


def split(mask: npt.NDArray[np.bool_], convex: float = 0.0) -> npt.NDArray[np.int32]:
    """Return the parts of a mask that necks divide, by watershed on its distance transform.

    The watershed and its distance function follow Meyer & Beucher (J. Vis. Commun. Image
    Represent. 1:21, 1990) as in :func:`skimage.segmentation.watershed`.

    Parameters
    ----------
    mask : ndarray, shape (h, w), dtype bool
        One connected object, without holes.
    convex : float
        What its solidity is at least, if that is known.

    Returns
    -------
    ndarray, shape (h, w), dtype int32
        Parts from 1; 0 is outside.
    """
    from skimage.morphology import local_maxima, reconstruction
    from skimage.segmentation import watershed

    # The hull of a small disc's pixels is larger than the disc.
    enough = CONVEX - 0.6 / np.sqrt(np.count_nonzero(mask))
    if convex > enough or solidity(mask) > enough:
        return mask.astype(np.int32)
    if max(mask.shape) > LARGE:
        return _split_coarsely(mask)
    padded = np.pad(mask, 1)
    depth = ndi.gaussian_filter(ndi.distance_transform_edt(padded), 0.7)
    depth[~padded] = 0
    # On a log scale a fixed drop is a fixed ratio of widths.
    height = np.log(np.maximum(depth, 0.3))
    plain = reconstruction(height + np.log(NECK), height)
    peaks = local_maxima(plain, connectivity=2) & (depth > 1)
    markers, count = ndi.label(peaks, _SQUARE)
    if count < 2:
        return mask.astype(np.int32)
    parts: npt.NDArray[np.int32] = watershed(-depth, markers, mask=padded)[1:-1, 1:-1]
    return parts.astype(np.int32)


def _split_coarsely(mask: npt.NDArray[np.bool_]) -> npt.NDArray[np.int32]:
    """Return the parts of a large mask; what divides does not depend on the resolution."""
    size = -(-max(mask.shape) // LARGE)
    height, width = mask.shape
    blocks: npt.NDArray[np.bool_] = np.pad(mask, ((0, -height % size), (0, -width % size)))
    blocks = blocks.reshape(blocks.shape[0] // size, size, -1, size)
    some: npt.NDArray[np.bool_] = np.logical_or.reduce(blocks, (1, 3))
    coarse = split(some)
    parts: npt.NDArray[np.int32] = np.repeat(np.repeat(coarse, size, 0), size, 1)
    return parts[:height, :width] * mask

"""Filters over whole planes, strip by strip, so that work on a large plane can be stopped."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from scipy import ndimage as ndi

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    import numpy.typing as npt

    from napari_sam3_assistant.core.progress import Reporter


if TYPE_CHECKING:
    Floats = npt.NDArray[np.float32]

PIXELS = 1 << 19  # of a strip; a filter takes some 20 ms for them
TRUNCATE = 4.0  # standard deviations at which the filters of scipy.ndimage end


def strips(shape: tuple[int, ...], reporter: Reporter) -> Iterator[slice]:
    """Yield the rows of a plane in strips, each after a look whether to go on.

    Parameters
    ----------
    shape : tuple of int
        Height and width.
    reporter : Reporter
        Stops the work.
    """
    rows = max(1, PIXELS // max(1, shape[1]))
    for first in range(0, shape[0], rows):
        reporter.check()
        yield slice(first, min(shape[0], first + rows))


def blurred(image: Floats, sigma: float, reporter: Reporter) -> Floats:
    """Return an image blurred by a Gaussian, as :func:`scipy.ndimage.gaussian_filter` does.

    Parameters
    ----------
    image : ndarray, shape (H, W), dtype float32
        Grey values.
    sigma : float
        Standard deviation in pixels.
    reporter : Reporter
        Stops the work.
    """
    return _filtered(
        image, lambda rows: ndi.gaussian_filter(rows, sigma, mode="nearest"), sigma, reporter
    )


def steepness(image: Floats, sigma: float, reporter: Reporter) -> Floats:
    """Return the magnitude of the gradient of the image blurred by a Gaussian.

    Parameters
    ----------
    image : ndarray, shape (H, W), dtype float32
        Grey values.
    sigma : float
        Standard deviation in pixels.
    reporter : Reporter
        Stops the work.
    """
    return _filtered(
        image,
        lambda rows: ndi.gaussian_gradient_magnitude(rows, sigma, mode="nearest"),
        sigma,
        reporter,
    )


def _filtered(
    image: Floats, work: Callable[[Floats], Floats], sigma: float, reporter: Reporter
) -> Floats:
    """Return what a filter gives, each strip with as many rows more as the filter sees."""
    reach = int(TRUNCATE * sigma + 0.5)
    result = np.empty_like(image)
    for rows in strips(image.shape, reporter):
        first = max(0, rows.start - reach)
        seen = work(image[first : rows.stop + reach])
        result[rows] = seen[rows.start - first : rows.stop - first]
    return result

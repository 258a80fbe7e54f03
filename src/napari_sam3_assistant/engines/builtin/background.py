"""The uneven light of a plane: a smooth surface through what is not an object."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from scipy import ndimage as ndi

from napari_sam3_assistant.engines.builtin.strips import strips

if TYPE_CHECKING:
    import numpy.typing as npt

    from napari_sam3_assistant.core.progress import Reporter
    from napari_sam3_assistant.engines.builtin.embedding import PlaneFeatures


if TYPE_CHECKING:
    Floats = npt.NDArray[np.float32]

COARSE = 160  # largest side of the image that the surface is fitted to
ROUNDS = 6
REACH = 0.18  # of the longer side: how far the surface follows local light


def flattened(features: PlaneFeatures, polarity: int, reporter: Reporter) -> Floats:
    """Return how much brighter (polarity +1) or darker (-1) each pixel is than the background.

    Parameters
    ----------
    features : PlaneFeatures
        The plane.
    polarity : int
        +1 or -1.
    reporter : Reporter
        Stops the work.

    Returns
    -------
    ndarray, shape (H, W), dtype float32
        Grey values; about 0 in the background, positive in objects.
    """
    octave = 0
    while max(features.octave(octave).shape) > COARSE:
        octave += 1
    surface = _surface(features.octave(octave) * np.float32(polarity))
    height, width = features.shape
    size = 2**octave
    # The centre of pixel i lies at (i + 0.5) / size - 0.5 of the coarse grid.
    rows = ((np.arange(height, dtype=np.float32) + 0.5) / size - 0.5).clip(0, surface.shape[0] - 1)
    columns = ((np.arange(width, dtype=np.float32) + 0.5) / size - 0.5).clip(
        0, surface.shape[1] - 1
    )
    flat = features.luminance * np.float32(polarity)
    for part in strips(flat.shape, reporter):
        flat[part] -= bilinear(surface, rows[part], columns)
    return flat


def noise(flat: Floats) -> float:
    """Return the spread of the background: of the values below its mode, at least 0.3.

    Parameters
    ----------
    flat : ndarray, shape (H, W), dtype float32
        Grey values above the background.
    """
    sample = flat.ravel()[:: max(1, flat.size // 200_000)]
    below = sample[sample <= 0]
    if below.size < 8:
        return 0.3
    # For a normal distribution the median distance from the mode is 0.6745 sigma.
    return max(0.3, float(np.median(-below)) / 0.6745)


def _surface(image: Floats) -> Floats:
    """Return the background of a small image whose objects are bright.

    First a robust quadratic surface, then what is left of local light by normalised
    convolution (Knutsson & Westin, CVPR 1993) over the pixels that are not objects.
    """
    height, width = image.shape
    y = np.linspace(-1, 1, height, dtype=np.float32)[:, None] + np.zeros((1, width), np.float32)
    x = np.linspace(-1, 1, width, dtype=np.float32)[None, :] + np.zeros((height, 1), np.float32)
    terms = np.stack([np.ones_like(x), y, x, y * y, x * y, x * x], -1).reshape(-1, 6)
    values = image.ravel()
    plain = np.ones(values.size, bool)
    model = np.full(values.size, np.median(values), np.float32)
    for count in (3, 3, 6, 6, 6):
        if np.count_nonzero(plain) > 4 * count:
            chosen = terms[plain, :count]
            weights = np.linalg.lstsq(chosen, values[plain], rcond=None)[0]
            model = terms[:, :count] @ weights
        plain = _plain(values - model)
    rest = (values - model).reshape(image.shape)
    sigma = max(2.0, REACH * max(image.shape))
    local = np.zeros_like(image)
    for _ in range(ROUNDS):
        weight = _plain((rest - local).ravel()).reshape(image.shape).astype(np.float32)
        covered = ndi.gaussian_filter(weight, sigma, mode="nearest")
        smooth = ndi.gaussian_filter(weight * rest, sigma, mode="nearest")
        local = smooth / np.maximum(covered, 1e-3)
    surface: Floats = (model.reshape(image.shape) + local).astype(np.float32)
    return surface


def _plain(rest: npt.NDArray[np.float32]) -> npt.NDArray[np.bool_]:
    """Return which residuals are background: near the mode, judged by the darker side."""
    mode = _mode(rest)
    below = rest[rest <= mode]
    spread = max(0.2, float(np.median(mode - below)) / 0.6745) if below.size else 0.2
    return (rest < mode + 2.0 * spread) & (rest > mode - 3.5 * spread)


def _mode(values: npt.NDArray[np.float32]) -> float:
    """Return the middle of the shortest interval that holds a third of the values."""
    ordered = np.sort(values)
    share = max(1, ordered.size // 3)
    if ordered.size <= share:
        return float(ordered[ordered.size // 2])
    widths = ordered[share:] - ordered[:-share]
    first = int(widths.argmin())
    return float(ordered[first + share // 2])


def bilinear(surface: Floats, rows: Floats, columns: Floats) -> Floats:
    """Return a grid interpolated at every pair of a row and a column.

    Parameters
    ----------
    surface : ndarray, shape (h, w), dtype float32
        The grid.
    rows, columns : ndarray, shape (H,) and (W,), dtype float32
        Places in the grid, inside it.

    Returns
    -------
    ndarray, shape (H, W), dtype float32
    """
    top = np.minimum(rows.astype(np.intp), max(0, surface.shape[0] - 2))
    left = np.minimum(columns.astype(np.intp), max(0, surface.shape[1] - 2))
    bottom = np.minimum(top + 1, surface.shape[0] - 1)
    right = np.minimum(left + 1, surface.shape[1] - 1)
    down = (rows - top).astype(np.float32)[:, None]
    across = (columns - left).astype(np.float32)[None, :]
    lines = surface[top] * (1 - down) + surface[bottom] * down
    result: Floats = lines[:, left] * (1 - across) + lines[:, right] * across
    return result

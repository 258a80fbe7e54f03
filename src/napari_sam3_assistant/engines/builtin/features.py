"""What the built-in engine keeps of a plane, and the filters that work on whole planes.

Luminance at several resolutions, the uneven light of a plane, filters strip by strip so that work
on a large plane can be stopped, and work on several pieces at once in threads: numpy and scipy let
go of Python's lock.
"""

from __future__ import annotations

import math
import os
from concurrent.futures import ThreadPoolExecutor, wait
from typing import TYPE_CHECKING, TypeVar

import numpy as np
from scipy import ndimage as ndi

from napari_sam3_assistant.core.progress import CancelToken, NullReporter
from napari_sam3_assistant.core.regions import Region

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    import numpy.typing as npt

    from napari_sam3_assistant.core.progress import Progress, Reporter
    from napari_sam3_assistant.engines.builtin.object_mask import Detection, Meaning, Proposal

    Floats = npt.NDArray[np.float32]

PIXELS = 1 << 19  # of a strip; a filter takes some 20 ms for them
TRUNCATE = 4.0  # standard deviations at which the filters of scipy.ndimage end

WORKERS = min(4, os.cpu_count() or 1)
POLL = 0.03  # seconds between two looks whether to go on

Piece = TypeVar("Piece")
Answer = TypeVar("Answer")

COARSE = 160  # largest side of the image that the surface is fitted to
ROUNDS = 6
REACH = 0.18  # of the longer side: how far the surface follows local light

# ITU-R BT.601 luma.
LUMA = np.array([0.299, 0.587, 0.114], np.float32)


# -- filters, strip by strip ----------------------------------------------------------------------


def strips(shape: tuple[int, ...], reporter: Reporter) -> Iterator[slice]:
    """Yield the rows of a plane in strips, each after a look whether to go on.

    ``shape``: height and width.
    """
    rows = max(1, PIXELS // max(1, shape[1]))
    for first in range(0, shape[0], rows):
        reporter.check()
        yield slice(first, min(shape[0], first + rows))


def gaussian_blur(image: Floats, sigma: float, reporter: Reporter) -> Floats:
    """Return an image blurred by a Gaussian, as :func:`scipy.ndimage.gaussian_filter` does.

    ``image`` (shape (H, W)): grey values.
    ``sigma``: standard deviation in pixels.
    """
    return _filter_by_strips(
        image, lambda rows: ndi.gaussian_filter(rows, sigma, mode="nearest"), sigma, reporter
    )


def gradient_magnitude(image: Floats, sigma: float, reporter: Reporter) -> Floats:
    """Return the magnitude of the gradient of the image blurred by a Gaussian.

    ``image`` (shape (H, W)): grey values.
    ``sigma``: standard deviation in pixels.
    """
    return _filter_by_strips(
        image,
        lambda rows: ndi.gaussian_gradient_magnitude(rows, sigma, mode="nearest"),
        sigma,
        reporter,
    )


def _filter_by_strips(
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


# -- work on several pieces at once ---------------------------------------------------------------


class _Stop:
    """What a piece of work asks whether to go on: the reporter itself belongs to its thread."""

    def __init__(self) -> None:
        self._token = CancelToken()

    def cancel(self) -> None:
        """Stop all pieces."""
        self._token.cancel()

    def report(self, progress: Progress) -> None:
        """Say nothing of the progress of a piece."""
        self._token.check()

    def check(self) -> None:
        """Raise JobCancelled if the work shall stop."""
        self._token.check()


def each(
    work: Callable[[Piece, Reporter], Answer], pieces: Sequence[Piece], reporter: Reporter
) -> list[Answer]:
    """Return the answers of work on each piece, in the order of the pieces.

    ``work``: is given a piece and what to ask whether to go on.
    ``reporter``: stops the work; is asked in the calling thread only.
    """
    stop = _Stop()
    with ThreadPoolExecutor(WORKERS, thread_name_prefix="builtin-engine") as pool:
        futures = [pool.submit(work, piece, stop) for piece in pieces]
        try:
            while wait(futures, timeout=POLL).not_done:
                reporter.check()
        finally:
            stop.cancel()  # what is left, if an exception leads here
            for future in futures:
                future.cancel()
    return [future.result() for future in futures]


# -- uneven light ---------------------------------------------------------------------------------


def subtract_background(features: PlaneFeatures, polarity: int, reporter: Reporter) -> Floats:
    """Return how much brighter (polarity +1) or darker (-1) each pixel is than the background.

    ``polarity``: +1 or -1.

    Returns
    -------
    ndarray, shape (H, W), dtype float32
        Grey values; about 0 in the background, positive in objects.
    """
    octave = 0
    while max(features.octave(octave).shape) > COARSE:
        octave += 1
    surface = _surface(features.octave(octave) * np.float32(polarity))
    flat = features.luminance * np.float32(polarity)
    for part in strips(flat.shape, reporter):
        flat[part] -= upsample(surface, flat.shape, 2**octave, part)
    return flat


def noise(flat: Floats) -> float:
    """Return the spread of the background: of the values below its mode, at least 0.3.

    ``flat`` (shape (H, W)): grey values above the background.
    """
    sample = flat.ravel()[:: max(1, flat.size // 200_000)]
    below = sample[sample <= 0]
    if below.size < 8:
        return 0.3
    # For a normal distribution the median distance from the mode is 0.6745 sigma.
    return max(0.3, float(np.median(-below)) / 0.6745)


def grain(image: Floats, sigma: float) -> float:
    """Return the standard deviation of the noise of single pixels, once blurred by a Gaussian.

    Unlike :func:`noise`, what varies slowly does not count.

    ``image`` (shape (H, W)): grey values, not blurred.
    ``sigma``: of the Gaussian, in pixels.
    """
    step = max(1, image.shape[0] // 1024)
    apart = np.abs(np.diff(image[::step], axis=1))
    if not apart.size:
        return 0.0
    # Neighbours are apart by the square root of 2 times the noise, the median by 0.6745 of that.
    return float(np.median(apart)) / (0.6745 * math.sqrt(2)) / (2 * math.sqrt(math.pi) * sigma)


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


def upsample(
    coarse: Floats, shape: tuple[int, ...], size: int, rows: slice = slice(None)
) -> Floats:
    """Return a coarse image interpolated at the pixels of a finer one.

    ``coarse`` (shape (h, w)): each pixel stands for ``size`` squared ones.
    ``shape``: height and width of the finer image.
    ``size``: of a coarse pixel.
    ``rows``: which rows of the finer image are returned; all by default.
    """
    # The centre of pixel i lies at (i + 0.5) / size - 0.5 of the coarse grid.
    down, across = (
        ((np.arange(count, dtype=np.float32) + 0.5) / size - 0.5).clip(0, most - 1)
        for count, most in zip(shape, coarse.shape, strict=True)
    )
    return bilinear(coarse, down[rows], across)


def bilinear(surface: Floats, rows: Floats, columns: Floats) -> Floats:
    """Return a grid interpolated at every pair of a row and a column.

    ``surface`` (shape (h, w)): the grid.
    ``rows`` and ``columns`` (shape (H,)): places in the grid, inside it.

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


# -- the plane ------------------------------------------------------------------------------------


class PlaneFeatures:
    """The luminance of a plane and what is computed from it, each part when first asked for.

    ``luminance`` (shape (H, W)): grey values, 0 to 255.
    ``detections``: objects found in the whole plane, by polarity (+1 bright, -1 dark) and the usual
    diameter that was told, if one was; filled by
    :func:`napari_sam3_assistant.engines.builtin.detection.detect`.
    ``proposals``: what may be the object under a pixel, by row and column; filled by
    :func:`napari_sam3_assistant.engines.builtin.clicks.find_proposals`.
    ``meanings``: what a click on a pixel may mean, by row and column; filled by
    :func:`napari_sam3_assistant.engines.builtin.clicks.find_meanings`.
    """

    def __init__(self, luminance: npt.NDArray[np.float32]) -> None:
        self._levels = [luminance]
        self.detections: dict[tuple[int, float | None], tuple[Detection, ...]] = {}
        self.proposals: dict[tuple[int, int], tuple[Proposal, ...]] = {}
        self.meanings: dict[tuple[int, int], list[Meaning]] = {}

    @classmethod
    def from_rgb(
        cls, image: npt.NDArray[np.uint8], reporter: Reporter | None = None
    ) -> PlaneFeatures:
        """Return the features of an RGB image.

        ``image`` (shape (H, W, 3)): not modified.
        """
        luminance = np.empty(image.shape[:2], np.float32)
        for rows in strips(luminance.shape, reporter or NullReporter()):
            red, green, blue = (image[rows, :, channel] for channel in range(3))
            luminance[rows] = red * LUMA[0] + green * LUMA[1] + blue * LUMA[2]
        return cls(luminance)

    @property
    def luminance(self) -> npt.NDArray[np.float32]:
        """Grey values at full resolution, shape (H, W), dtype float32, 0 to 255."""
        return self._levels[0]

    @property
    def shape(self) -> tuple[int, int]:
        """Height and width of the plane in pixels."""
        height, width = self.luminance.shape
        return (height, width)

    @property
    def nbytes(self) -> int:
        """Memory that the luminance and what was found in it take, in bytes."""
        masks = [one.patch.mask for found in self.detections.values() for one in found]
        masks += [one.mask for found in self.proposals.values() for one in found]
        masks += [one.item.mask for found in self.meanings.values() for one in found]
        masks = list({id(mask): mask for mask in masks}.values())  # proposals have meanings, too
        kept = sum(map(_memory_of, masks)) + _AROUND_MASK * len(masks)
        return sum(level.nbytes for level in self._levels) + kept

    @property
    def region(self) -> Region:
        """The whole plane."""
        return Region.whole(self.shape)

    def octave(self, index: int) -> npt.NDArray[np.float32]:
        """Return the luminance averaged over blocks of ``2 ** index`` pixels squared.

        Each octave is computed once. Rows and columns that do not fill a block are averaged
        with copies of themselves, so pixel ``i`` always covers plane pixels from
        ``i * 2 ** index``.

        ``index``: 0 for full resolution.

        Returns
        -------
        ndarray, shape (ceil(H / 2 ** index), ceil(W / 2 ** index)), dtype float32
        """
        while len(self._levels) <= index:
            self._levels.append(_halve(self._levels[-1]))
        return self._levels[index]


_AROUND_MASK = 1000
"""Bytes that an object takes beside the pixels of its mask; measured."""


def _memory_of(mask: npt.NDArray[np.bool_]) -> int:
    """Return how many bytes an array keeps: of a part of one, those of all of it."""
    return int(mask.nbytes if mask.base is None else mask.base.nbytes)


def _halve(image: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Return the means of blocks of 2 x 2 pixels."""
    height, width = image.shape
    if height % 2 or width % 2:
        image = np.pad(image, ((0, height % 2), (0, width % 2)), mode="edge")
    rows = image[::2] + image[1::2]
    halved: npt.NDArray[np.float32] = (rows[:, ::2] + rows[:, 1::2]) * np.float32(0.25)
    return halved

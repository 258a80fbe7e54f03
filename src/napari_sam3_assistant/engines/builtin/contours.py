"""Closed contours round blobs, found in polar coordinates by dynamic programming.

A contour is one radius per direction, seen from a centre. The best one holds what looks like
the object and leaves out what looks like its surroundings (the region term of Chan and Vese,
IEEE Trans. Image Process. 10:266, 2001) and bends little. In polar coordinates that optimum is
a shortest closed path, found for many objects at once.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np
from scipy import ndimage as ndi

if TYPE_CHECKING:
    import numpy.typing as npt

    Floats = npt.NDArray[np.float32]

DIRECTIONS = 64
STEPS = 64
INNER = 0.7  # the strip inside a contour that stands for the object, as a share of its radius
BLUR = 1.0  # half the width of a blurred edge, in pixels
FORBIDDEN = -1e6  # gain of a radius out of range
MAX_TURN = 3  # radius steps between neighbouring directions

# Round ellipses: largest radius and what an edge and a bend count, in half axes; and pixels between
# which an edge is a step, and a line.
BEYOND = 1.35
EDGE = 3.0
STEEP = 2.0  # times the steepest places of the image: the clearest of edges
STIFF = 24.0
STEP, LINE = 1.0, 2.5
CERTAIN = -6.0  # log-odds of what lies outside the image


@lru_cache(maxsize=4)
def unit_directions(count: int) -> tuple[Floats, Floats]:
    """Return the sines and cosines of directions evenly spread, shape (count,), dtype float32."""
    angles = np.arange(count) * (2 * np.pi / count)
    return np.sin(angles).astype(np.float32), np.cos(angles).astype(np.float32)


@dataclass(frozen=True, slots=True, eq=False)
class Contours:
    """Closed contours of N objects.

    ``centres`` (shape (N, 2)): y and x in pixels.
    ``radii`` (shape (N, D)): distance from the centre to the contour in pixels, in directions
    evenly spread.
    """

    centres: Floats
    radii: Floats

    def recenter(self) -> Contours:
        """Return the same contours as seen from their centroids."""
        sines, cosines = unit_directions(self.radii.shape[1])
        y = self.centres[:, :1] + self.radii * sines
        x = self.centres[:, 1:] + self.radii * cosines
        y_next, x_next = np.roll(y, -1, 1), np.roll(x, -1, 1)
        cross = x * y_next - x_next * y
        area = np.maximum(cross.sum(1), 1e-6) * 3
        centroid = np.stack(
            [((y + y_next) * cross).sum(1) / area, ((x + x_next) * cross).sum(1) / area], 1
        ).astype(np.float32)
        # Distances by interpolating over the angle at which the new centre sees the contour.
        dy, dx = y - centroid[:, :1], x - centroid[:, 1:]
        seen, distance = np.arctan2(dy, dx) % (2 * np.pi), np.hypot(dy, dx)
        angles = np.arange(self.radii.shape[1]) * (2 * np.pi / self.radii.shape[1])
        radii = np.empty_like(self.radii)
        for row in range(len(radii)):
            radii[row] = np.interp(angles, seen[row], distance[row], period=2 * np.pi)
        return Contours(centroid, radii)

    def mask(self, index: int, shape: tuple[int, int]) -> tuple[npt.NDArray[np.bool_], int, int]:
        """Return one object's pixels: its crop, and the row and column where the crop begins.

        ``shape``: height and width of the plane.
        """
        cy, cx = (float(value) for value in self.centres[index])
        radii = self.radii[index]
        reach = float(radii.max()) + 1
        y0, x0 = max(0, int(cy - reach)), max(0, int(cx - reach))
        y1, x1 = min(shape[0], int(cy + reach) + 2), min(shape[1], int(cx + reach) + 2)
        dy = np.arange(y0, y1, dtype=np.float32)[:, None] - np.float32(cy)
        dx = np.arange(x0, x1, dtype=np.float32)[None, :] - np.float32(cx)
        turn = np.arctan2(dy, dx) * (radii.size / (2 * np.pi)) % radii.size
        low = turn.astype(np.intp) % radii.size
        share = turn - np.floor(turn)
        limit = radii[low] * (1 - share) + radii[(low + 1) % radii.size] * share
        return dy * dy + dx * dx <= limit * limit, y0, x0


def from_mask(
    mask: npt.NDArray[np.bool_], y0: int, x0: int, directions: int = DIRECTIONS
) -> tuple[Floats, Floats]:
    """Return a mask's centre, shape (2,), and its radii, shape (directions,).

    The radius in a direction is the length of the mask along it, so dents count less and
    islands beyond a gap still count.
    """
    sines, cosines = unit_directions(directions)
    rows, columns = np.nonzero(mask)
    centre = np.array([rows.mean(), columns.mean()], np.float32)
    reach = float(np.hypot(rows - centre[0], columns - centre[1]).max()) + 1.5
    steps = max(16, int(reach * 2))
    radius = (np.arange(steps, dtype=np.float32) + 0.5) * (reach / steps)
    y = centre[0] + sines[:, None] * radius
    x = centre[1] + cosines[:, None] * radius
    inside = ndi.map_coordinates(mask.astype(np.float32), [y, x], order=1, mode="constant")
    radii = inside.sum(1) * (reach / steps)
    return centre + np.array([y0, x0], np.float32), np.maximum(radii, 0.6).astype(np.float32)


def fit(
    image: Floats,
    start: Contours,
    polarity: npt.NDArray[np.float32],
    *,
    owner: npt.NDArray[np.int32] | None = None,
    names: npt.NDArray[np.int32] | None = None,
    range_: tuple[float, float] = (0.6, 1.4),
    steps: int = STEPS,
) -> Contours:
    """Return the best closed contours near those to start from.

    ``image`` (shape (H, W)): grey values.
    ``start``: where to look; the centres stay.
    ``polarity`` (shape (N,)): +1 for objects brighter than their surroundings, -1 for darker ones.
    ``owner`` (shape (H, W)): to which object a pixel is known to belong; 0 for none.
    ``names`` (shape (N,)): the objects' values in ``owner``; pixels of others are kept out.
    ``range_``: smallest and largest radius, as shares of the one to start from.
    ``steps``: how many radii are looked at in each direction.

    Returns
    -------
    Contours
        With the centres of ``start``, one contour each.
    """
    grid = _Grid.round(start, range_, steps, image.shape)
    values = ndi.map_coordinates(image, [grid.y, grid.x], order=1, mode="nearest")
    values *= polarity[:, None, None]
    foreign = np.zeros(values.shape, bool)
    if owner is not None and names is not None:
        rows = np.clip(np.rint(grid.y), 0, image.shape[0] - 1).astype(np.intp)
        columns = np.clip(np.rint(grid.x), 0, image.shape[1] - 1).astype(np.intp)
        found = owner[rows, columns]
        foreign = (found != 0) & (found != names[:, None, None])
    values, middle, contrast = _subtract_tilt(values, foreign, grid, start.radii)
    gain = np.clip((values - middle) / contrast, -1.0, 1.0)
    gain[foreign | grid.beyond] = -1.0
    # Samples further out stand for more pixels; radii count as shares of the typical one.
    step, typical = grid.step, grid.typical
    gain *= grid.ring * step[:, :, None] / np.maximum(typical[:, :, None], 1)
    total = np.cumsum(gain, 2)
    edge = grid.ring + step[:, :, None] / 2  # the contour lies behind the last sample inside
    total[(edge < grid.low[:, :, None]) | (edge > grid.high[:, :, None])] = FORBIDDEN
    # A bend is one of the contour, whatever the number of directions that it is seen in.
    fineness = start.radii.shape[1] / DIRECTIONS
    path = _closed_path(total, (step / typical * fineness) ** 2 * 12)
    radii = (path + 1.0) * step + _subsample(total, path) * step
    return Contours(start.centres, radii.astype(np.float32))


def likeliest(
    image: Floats,
    odds: npt.NDArray[np.float64],
    centre: tuple[float, float],
    axes: npt.NDArray[np.float64],
) -> npt.NDArray[np.bool_]:
    """Return the likeliest objects that are star-shaped round a centre.

    What a contour holds is likely by its pixels, and it runs along an edge: a step up or down, or a
    bright or a dark line, the same all round.

    ``image`` (shape (H, W)): grey values, smooth.
    ``odds`` (shape (N, H, W)): log-odds of the pixels to belong to each object.
    ``axes`` (shape (N, 2)): half axes of the ellipses near which the contours run, in pixels.

    Returns
    -------
    ndarray, shape (N, H, W), dtype bool
        At least one pixel each.
    """
    step = BEYOND / STEPS
    ring = (np.arange(STEPS) + 0.5) * step
    edge = ring + step / 2  # the contour lies behind the last sample inside
    sines, cosines = unit_directions(DIRECTIONS)
    down, across = axes[:, :1, None] * sines[:, None], axes[:, 1:, None] * cosines[:, None]
    y, x = centre[0] + down * ring, centre[1] + across * ring
    height, width = image.shape
    beyond = (y < -0.5) | (y > height - 0.5) | (x < -0.5) | (x > width - 0.5)
    inside = np.stack(
        [
            ndi.map_coordinates(plane, place, order=1, mode="nearest")
            for plane, *place in zip(odds, y, x, strict=True)
        ]
    )
    held = np.cumsum(np.where(beyond, CERTAIN, inside) * ring, 2) * step
    length = np.hypot(down, across)

    def beside(pixels: float) -> npt.NDArray[np.float64]:
        out = edge + pixels / length
        place = [centre[0] + down * out, centre[1] + across * out]
        values: npt.NDArray[np.float64] = ndi.map_coordinates(
            image, place, np.float64, order=1, mode="nearest"
        )
        return values

    rise = beside(-STEP) - beside(STEP)
    middle, near, far = beside(0), beside(-LINE), beside(LINE)
    crest, trough = middle - np.maximum(near, far), np.minimum(near, far) - middle
    gradient = ndi.gaussian_gradient_magnitude(image, 0.5, mode="nearest")
    steep = STEEP * float(np.percentile(gradient, 98)) + 1e-3
    kinds = np.clip(np.stack([rise, -rise, 2 * crest, 2 * trough]) / steep, -1, 1)
    total = (held + EDGE * edge * kinds).reshape(-1, DIRECTIONS, STEPS)
    paths = _closed_path(total.astype(np.float32), np.full((len(total), 1), STIFF * step**2))
    gains = np.take_along_axis(total, paths[:, :, None], 2).sum((1, 2)).reshape(len(kinds), -1)
    best = paths.reshape(len(kinds), -1, DIRECTIONS)[gains.argmax(0), np.arange(len(axes))]
    masks = np.empty(odds.shape, bool)
    for mask, path, (tall, wide) in zip(masks, best, axes, strict=True):
        rows = (np.arange(height)[:, None] - centre[0]) / tall
        columns = (np.arange(width) - centre[1]) / wide
        turn = np.arctan2(rows, columns) * (DIRECTIONS / (2 * np.pi))
        limit = np.interp(turn, np.arange(DIRECTIONS), (path + 1) * step, period=DIRECTIONS)
        mask[:] = np.hypot(rows, columns) <= limit
        mask[int(np.clip(centre[0], 0, height - 1)), int(np.clip(centre[1], 0, width - 1))] = True
    return masks


@dataclass(frozen=True, slots=True, eq=False)
class _Grid:
    """Where the image is looked at: N objects x D directions x S steps."""

    y: Floats  # in pixels of the image
    x: Floats
    ring: Floats  # (N, 1, S), radius in pixels of the plane
    step: Floats  # (N, 1), between radii
    low: Floats  # (N, D), smallest radius
    high: Floats
    typical: Floats  # (N, 1)
    beyond: npt.NDArray[np.bool_]  # outside the image

    @classmethod
    def round(
        cls,
        start: Contours,
        range_: tuple[float, float],
        steps: int,
        shape: tuple[int, ...],
    ) -> _Grid:
        """Return the grid round contours; see :func:`fit`."""
        typical = np.median(start.radii, 1, keepdims=True)
        # Directions in which the start is far from round may move to the typical radius.
        low = np.maximum(0.5, np.minimum(start.radii, typical) * np.float32(range_[0]))
        high = np.maximum(start.radii, typical) * np.float32(range_[1]) + np.float32(1)
        far = high.max(1, keepdims=True) * 1.35 + 1.5
        step = far / np.float32(steps)
        ring = ((np.arange(steps, dtype=np.float32) + 0.5) * step)[:, None, :]
        sines, cosines = unit_directions(start.radii.shape[1])
        y = start.centres[:, :1, None] + sines[:, None] * ring
        x = start.centres[:, 1:, None] + cosines[:, None] * ring
        beyond = (y < -0.5) | (y > shape[0] - 0.5) | (x < -0.5) | (x > shape[1] - 0.5)
        return cls(y, x, ring, step, low, high, typical, beyond)


def _subtract_tilt(
    values: Floats, foreign: npt.NDArray[np.bool_], grid: _Grid, radii: Floats
) -> tuple[Floats, Floats, Floats]:
    """Return the samples without uneven light, the grey level of the edge, and its height.

    Grey levels are read in two strips, inside and outside the contours, that keep off the
    blurred edge itself.
    """
    relative = grid.ring / radii[:, :, None]
    gap = 1.0 / np.maximum(radii[:, :, None], 1)
    inside = (relative > np.minimum(INNER, 1 - 4.5 * gap)) & (relative < 1 - BLUR * gap)
    inside &= ~foreign
    outside = (relative > 1 + BLUR * gap) & (relative < np.maximum(1.5, 1 + 4.5 * gap))
    outside &= ~foreign & ~grid.beyond
    inner = _masked_mean(values, inside, grid.ring)
    outer = _masked_median(values, outside)
    contrast: Floats = np.maximum(inner - outer, np.float32(1e-3))[:, None, None]
    middle: Floats = ((inner + outer) * np.float32(0.5))[:, None, None]
    rest = values - np.where(relative < 1, inner[:, None, None], outer[:, None, None])
    known = (inside | outside) & (np.abs(rest) < 0.6 * contrast)
    return values - _slope(rest, known, grid.ring), middle, contrast


def _slope(rest: Floats, known: npt.NDArray[np.bool_], ring: Floats) -> Floats:
    """Return the uneven light of each object: a plane through its centre, least squares."""
    sines, cosines = unit_directions(rest.shape[1])
    y, x = sines[:, None] * ring, cosines[:, None] * ring
    ky, kx = known * y, known * x
    yy, xx, xy = (ky * y).sum((1, 2)), (kx * x).sum((1, 2)), (ky * x).sum((1, 2))
    ry, rx = (ky * rest).sum((1, 2)), (kx * rest).sum((1, 2))
    scale = np.maximum(yy * xx - xy * xy, 1e-3)
    down, across = (xx * ry - xy * rx) / scale, (yy * rx - xy * ry) / scale
    plane: Floats = down[:, None, None] * y + across[:, None, None] * x
    return plane


def _masked_mean(values: Floats, chosen: npt.NDArray[np.bool_], weights: Floats) -> Floats:
    """Return each object's weighted mean over chosen samples."""
    kept = chosen * weights
    mean: Floats = (values * kept).sum((1, 2)) / np.maximum(kept.sum((1, 2)), 1e-6)
    return mean


def _masked_median(values: Floats, chosen: npt.NDArray[np.bool_]) -> Floats:
    """Return each object's median over chosen samples; its lowest sample if there is none."""
    count = np.count_nonzero(chosen, (1, 2))
    ordered = np.sort(np.where(chosen, values, np.inf).reshape(len(values), -1), 1)
    rows = np.arange(len(values))
    last = np.maximum(count, 1)
    medians = (ordered[rows, (last - 1) // 2] + ordered[rows, last // 2]) * np.float32(0.5)
    lowest = values.min((1, 2))
    result: Floats = np.where(count > 0, medians, lowest).astype(np.float32)
    return result


def _closed_path(total: Floats, bend: Floats) -> npt.NDArray[np.intp]:
    """Return the closed path of the largest sum, shape (N, D).

    Two turns are searched and the second half of the first with the first half of the second
    are kept, which closes the path without trying each start.

    ``total`` (shape (N, D, S)): gain of a contour at a radius in a direction.
    ``bend`` (shape (N, 1)): cost of one radius step between neighbouring directions, squared.
    """
    count, directions, steps = total.shape
    turns = np.arange(-MAX_TURN, MAX_TURN + 1)
    cost = bend * turns.astype(np.float32) ** 2  # (N, turns)
    best = total[:, 0].copy()
    came = np.zeros((2 * directions, count, steps), np.int8)
    options = np.empty((len(turns), count, steps), np.float32)
    for position in range(1, 2 * directions):
        options.fill(-1e9)
        for row, turn in enumerate(turns):
            source = slice(max(0, -turn), steps - max(0, turn))
            target = slice(max(0, turn), steps - max(0, -turn))
            options[row, :, target] = best[:, source] - cost[:, row : row + 1]
        choice = options.argmax(0)
        came[position] = choice
        best = np.take_along_axis(options, choice[None], 0)[0] + total[:, position % directions]
    path = np.empty((2 * directions, count), np.intp)
    path[-1] = best.argmax(1)
    rows = np.arange(count)
    for position in range(2 * directions - 1, 0, -1):
        path[position - 1] = path[position] - turns[came[position][rows, path[position]]]
    half = directions // 2
    return np.concatenate([path[directions : directions + half], path[half:directions]]).T


def _subsample(total: Floats, path: npt.NDArray[np.intp]) -> Floats:
    """Return where between the radius steps the gain is largest, -0.5 to 0.5."""
    last = total.shape[2] - 1
    centre = np.take_along_axis(total, path[:, :, None], 2)[..., 0]
    before = np.take_along_axis(total, np.maximum(path - 1, 0)[:, :, None], 2)[..., 0]
    after = np.take_along_axis(total, np.minimum(path + 1, last)[:, :, None], 2)[..., 0]
    curvature = before - 2 * centre + after
    usable = (curvature < -1e-9) & (before > FORBIDDEN / 2) & (after > FORBIDDEN / 2)
    shift = np.where(usable, (before - after) / np.where(usable, 2 * curvature, 1), 0)
    return np.clip(shift, -0.5, 0.5).astype(np.float32)

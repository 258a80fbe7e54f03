"""What may be under a click: connected parts of the image above or below a grey level.

The grey levels are walked at several resolutions; the part that holds the click is rated at
each by how strong its edge is, how long, and how convex. It is a walk along one branch of the
component tree (Salembier et al., IEEE Trans. Image Process. 7:555, 1998), so a click costs the
same in a large plane as in a small one.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy import ndimage as ndi

from napari_sam3_assistant.core.regions import Region
from napari_sam3_assistant.engines.builtin.shapes import solidity

if TYPE_CHECKING:
    from collections.abc import Iterator

    import numpy.typing as npt

    from napari_sam3_assistant.engines.builtin.embedding import PlaneFeatures

WINDOW = 48  # half the side of the window, in pixels of the octave
LEVELS = 14
SMOOTHINGS = (0.6, 1.4)  # in pixels of the octave
SMALLEST = 12  # pixels of the octave, above the first
LARGEST = 2800
# Least share of the outline that must lie inside the plane; a quarter of a disc in a corner has
# half of it there.
HALF = 0.45
STEEP = 0.4  # share of the grey range in a window from which its uneven light is taken away
LAG = 16  # pixels of the octave between which the uneven light is measured
RATING_LENGTH = 0.4
RATING_SPREAD = 0.3
RATING_SOLIDITY = 3.0
_CROSS = ndi.generate_binary_structure(2, 1)


@dataclass(frozen=True, slots=True, eq=False)
class Candidate:
    """A part of the image that may be an object.

    Parameters
    ----------
    mask : ndarray, shape (h, w), dtype bool
        Its pixels at the octave, without holes.
    region : Region
        Where the crop lies, in pixels of the octave.
    octave : int
        A pixel of the mask stands for ``2 ** octave`` squared pixels of the plane.
    polarity : int
        +1 if it is brighter than its surroundings, -1 if darker.
    rating : float
        How much it looks like an object; larger is better.
    convex : float
        What its solidity is at least; 0 if it was not measured.
    """

    mask: npt.NDArray[np.bool_]
    region: Region
    octave: int
    polarity: int
    rating: float
    convex: float = 0.0

    @property
    def covers(self) -> Region:
        """The part of the plane that its bounding box stands for."""
        return Region(*(value * 2**self.octave for value in self.region.box))

    def holds(self, point: tuple[int, int]) -> bool:
        """Return whether a pixel of the plane belongs to it."""
        y, x = (value // 2**self.octave for value in point)
        inside = self.region.y0 <= y < self.region.y1 and self.region.x0 <= x < self.region.x1
        return inside and bool(self.mask[y - self.region.y0, x - self.region.x0])


def candidates(
    features: PlaneFeatures, point: tuple[int, int], polarities: tuple[int, ...] = (1, -1)
) -> Iterator[Candidate]:
    """Yield what may be the object under a point.

    Parameters
    ----------
    features : PlaneFeatures
        The plane.
    point : tuple of int
        Row and column in the plane.
    polarities : tuple of int
        Which to look for.
    """
    octave = 0
    while True:
        view = _View.round(features, point, octave)
        patch = features.octave(octave)[view.window.slices]
        for sigma in SMOOTHINGS:
            smooth = ndi.gaussian_filter(patch, sigma, mode="nearest")
            lights = [smooth]
            ramp = _ramp(smooth)
            if np.ptp(ramp) > STEEP * np.subtract(*np.percentile(smooth, (99, 1))):
                lights.append(smooth - ramp)
            for light in lights:
                for polarity in polarities:
                    yield from _walk(light * polarity, view, polarity)
        if not any(view.cut):
            return
        octave += 1


def _ramp(image: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Return the uneven light of a window: a plane as steep as most of the window."""
    height, width = image.shape
    down = across = 0.0
    if height > LAG:
        down = float(np.median(image[LAG:] - image[:-LAG])) / LAG
    if width > LAG:
        across = float(np.median(image[:, LAG:] - image[:, :-LAG])) / LAG
    rows = np.arange(height, dtype=np.float32)[:, None]
    return rows * np.float32(down) + np.arange(width, dtype=np.float32) * np.float32(across)


@dataclass(frozen=True, slots=True)
class _View:
    """A window of one octave round a click."""

    octave: int
    window: Region
    seed: tuple[int, int]  # the click, in the window
    cut: tuple[bool, bool, bool, bool]  # behind which edges of the window the plane goes on
    plane_area: int  # in pixels of the octave

    @classmethod
    def round(cls, features: PlaneFeatures, point: tuple[int, int], octave: int) -> _View:
        """Return the window round a point of the plane."""
        height, width = features.octave(octave).shape
        y, x = point[0] >> octave, point[1] >> octave
        window = Region(y, x, y + 1, x + 1).grow(WINDOW).intersect(Region.whole((height, width)))
        cut = (window.y0 > 0, window.x0 > 0, window.y1 < height, window.x1 < width)
        return cls(octave, window, (y - window.y0, x - window.x0), cut, height * width)


def _walk(image: npt.NDArray[np.float32], view: _View, polarity: int) -> Iterator[Candidate]:
    """Yield the bright parts round the seed, from the brightest grey level down."""
    bottom, top = float(np.percentile(image, 1)), float(np.percentile(image, 99))
    y, x = view.seed
    # The click may lie in a dark core, whose rim encloses it at levels above its own.
    top = max(top, float(np.median(image[max(0, y - 2) : y + 3, max(0, x - 2) : x + 3])))
    if top - bottom < 1e-3:
        return
    previous = 0
    for level in np.linspace(top, bottom, LEVELS + 2)[1:-1]:
        found = _part(image >= level, view.seed)
        if found is None:
            continue
        mask, region = found
        area = int(np.count_nonzero(mask))
        if area == previous or area < (SMALLEST if view.octave else 1):
            continue
        previous = area
        if area > LARGEST or _is_cut(region, image.shape, view.cut):
            return
        free = _free_share(mask, region, image.shape)
        if free < HALF:
            continue
        # What fills most of the plane is rather its background.
        rare = (1 - area / view.plane_area) ** 2
        rating = _rate(image, mask, region, view.octave) * free * rare
        yield Candidate(mask, region.globalise(view.window), view.octave, polarity, rating)


def _part(
    above: npt.NDArray[np.bool_], seed: tuple[int, int]
) -> tuple[npt.NDArray[np.bool_], Region] | None:
    """Return the connected part that holds the seed, itself or in a hole, without holes."""
    labels, _ = ndi.label(above)
    name = labels[seed]
    if name == 0:
        below, _ = ndi.label(~above)
        hole = below == below[seed]
        edge = hole[0].any() or hole[-1].any() or hole[:, 0].any() or hole[:, -1].any()
        if edge:
            return None
        touching = labels[ndi.binary_dilation(hole, _CROSS) & ~hole]
        name = np.bincount(touching).argmax()
    where = ndi.find_objects((labels == name).astype(np.int8))[0]
    region = Region(where[0].start, where[1].start, where[0].stop, where[1].stop)
    mask = ndi.binary_fill_holes(labels[where] == name)
    return mask, region


def _is_cut(region: Region, shape: tuple[int, ...], cut: tuple[bool, bool, bool, bool]) -> bool:
    """Return whether the part reaches an edge of the window behind which the plane goes on."""
    touches = (region.y0 == 0, region.x0 == 0, region.y1 == shape[0], region.x1 == shape[1])
    return any(here and there for here, there in zip(touches, cut, strict=True))


def _free_share(mask: npt.NDArray[np.bool_], region: Region, shape: tuple[int, ...]) -> float:
    """Return the share of a part's outline that does not lie on the edge of the window."""
    bound = 0
    if region.y0 == 0:
        bound += int(np.count_nonzero(mask[0]))
    if region.x0 == 0:
        bound += int(np.count_nonzero(mask[:, 0]))
    if region.y1 == shape[0]:
        bound += int(np.count_nonzero(mask[-1]))
    if region.x1 == shape[1]:
        bound += int(np.count_nonzero(mask[:, -1]))
    return max(0.0, 1 - bound / (2 * (region.height + region.width)))


def _rate(
    image: npt.NDArray[np.float32], mask: npt.NDArray[np.bool_], region: Region, octave: int
) -> float:
    """Return how much a bright part looks like an object.

    A t-value of the step across its outline, times how convex it is.
    """
    frame = region.grow(4)
    plane = Region.whole((image.shape[0], image.shape[1]))
    kept = frame.intersect(plane)
    values = image[kept.slices]
    inside = np.zeros(kept.shape, bool)
    inside[region.localise(kept).slices] = mask
    depth = 1 if mask.size < 60 else 2
    inner = inside & ~ndi.binary_erosion(inside, _CROSS, iterations=depth + 1, border_value=1)
    near = ndi.binary_dilation(inside, _CROSS)
    outer = ndi.binary_dilation(near, iterations=depth) & ~near
    if not outer.any():
        return 0.0
    high, low = values[inner], values[outer]
    step = float(high.mean() - low.mean())
    if step <= 0:
        return 0.0
    spread = float(np.sqrt(high.var() + low.var() + 2.0)) ** RATING_SPREAD
    length = np.sqrt(np.count_nonzero(mask)) * 2**octave
    longer = float(length) ** RATING_LENGTH
    return float(step / spread * longer * solidity(mask) ** RATING_SOLIDITY)

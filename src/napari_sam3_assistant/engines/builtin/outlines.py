"""Rough outlines, drawn or found, moved to the edges they are near."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from scipy import ndimage as ndi

from napari_sam3_assistant.core.regions import Region
from napari_sam3_assistant.engines.builtin import contours
from napari_sam3_assistant.engines.builtin.patches import Patch
from napari_sam3_assistant.engines.builtin.shapes import solidity

if TYPE_CHECKING:
    import numpy.typing as npt

    from napari_sam3_assistant.engines.builtin.embedding import PlaneFeatures

# Below this solidity an outline is not taken for a blob and keeps its own shape.
BLOB = 0.86
# An outline may be painted outside its edge by this share of the object's half width; the edge
# may lie outside it by the whole half width.
BAND = 0.35
ROUNDS = 3
COARSE = 160  # largest side, in pixels, at which an object and its surroundings are compared


def fitted(
    features: PlaneFeatures,
    start: contours.Contours,
    polarity: int,
    *,
    octave: int = 0,
    foreign: Patch | None = None,
    range_: tuple[float, float] = (0.75, 1.25),
) -> Patch:
    """Return the blob whose contour fits best near one to start from.

    Parameters
    ----------
    features : PlaneFeatures
        The plane.
    start : Contours
        One contour, in plane coordinates.
    polarity : int
        +1 if the object is brighter than its surroundings, -1 if darker.
    octave : int
        The octave to work at.
    foreign : Patch, optional
        Pixels of neighbours.
    range_ : tuple of float
        Smallest and largest radius, as shares of the one to start from.
    """
    scale = 2**octave
    reach = float(start.radii.max()) * 2.2 + 8
    y, x = (float(value) for value in start.centres[0])
    window = Region(int(y - reach), int(x - reach), int(y + reach) + 2, int(x + reach) + 2)
    window = window.intersect(features.region)
    coarse = Region(
        window.y0 // scale, window.x0 // scale, -(-window.y1 // scale), -(-window.x1 // scale)
    )
    image = features.octave(octave)[coarse.slices]
    owner = names = None
    if foreign is not None:
        full = Region(*(value * scale for value in coarse.box))
        middle = scale // 2
        owner = foreign.within(full)[middle::scale, middle::scale].astype(np.int32)
        names = np.array([2], np.int32)
    shift = np.array([coarse.y0 * scale, coarse.x0 * scale], np.float32)
    current = contours.Contours(start.centres - shift, start.radii)
    signs = np.array([polarity], np.float32)
    for _ in range(ROUNDS):
        current = contours.fit(
            image, current, signs, owner=owner, names=names, range_=range_, scale=scale
        ).recentred()
        range_ = (max(range_[0], 0.85), min(range_[1], 1.15))
    mask, y0, x0 = contours.Contours(current.centres + shift, current.radii).mask(0, features.shape)
    return Patch(mask, Region(y0, x0, y0 + mask.shape[0], x0 + mask.shape[1]), polarity)


def polarity_of(features: PlaneFeatures, patch: Patch) -> int:
    """Return +1 if a patch is brighter than the ring round it, -1 if it is darker."""
    octave = 0
    while max(patch.region.shape) >> octave > COARSE:
        octave += 1
    seen = _coarser(patch, octave)
    image = features.octave(octave)
    margin = max(3, int(np.sqrt(seen.area) * 0.3))
    frame = seen.region.grow(margin).intersect(Region.whole((image.shape[0], image.shape[1])))
    inside = seen.within(frame)
    near = ndi.binary_dilation(inside, iterations=max(1, margin // 3))
    outer = ~near & ndi.binary_dilation(near, iterations=margin)
    if not (outer.any() and inside.any()):
        return 1
    values = image[frame.slices]
    return 1 if np.median(values[inside]) >= np.median(values[outer]) else -1


def _coarser(patch: Patch, octave: int) -> Patch:
    """Return a patch in pixels of an octave; each is like one of the pixels that it stands for."""
    size = 2**octave
    y0, x0 = -(-patch.region.y0 // size), -(-patch.region.x0 // size)
    mask = patch.mask[y0 * size - patch.region.y0 :: size, x0 * size - patch.region.x0 :: size]
    return Patch(mask, Region(y0, x0, y0 + mask.shape[0], x0 + mask.shape[1]), patch.polarity)


def snapped(features: PlaneFeatures, painted: Patch) -> Patch:
    """Return a painted object with its outline on the edges near it.

    Parameters
    ----------
    features : PlaneFeatures
        The plane.
    painted : Patch
        At least one pixel.
    """
    polarity = polarity_of(features, painted)
    filled = ndi.binary_fill_holes(painted.mask)
    _, count = ndi.label(filled)
    if count == 1 and painted.area >= 12 and solidity(filled) >= BLOB:
        centre, radii = contours.from_mask(filled, painted.region.y0, painted.region.x0)
        octave = max(0, int(np.log2(max(1.0, float(np.median(radii)) / 24))))
        start = contours.Contours(centre[None], radii[None])
        patch = fitted(features, start, polarity, octave=octave, range_=(0.65, 1.4))
        if patch.area and patch.overlap(painted) > 0.3:
            return patch
    return _flooded(features, Patch(painted.mask, painted.region, polarity))


def _flooded(features: PlaneFeatures, painted: Patch) -> Patch:
    """Return a painted object of any shape, its outline moved by watershed inside a band.

    The gradient is flooded from the middle of the object and from beyond the band (Meyer &
    Beucher, J. Vis. Commun. Image Represent. 1:21, 1990).
    """
    from skimage.segmentation import watershed

    depth = ndi.distance_transform_edt(np.pad(painted.mask, 1))[1:-1, 1:-1]
    width = float(np.percentile(depth[painted.mask], 90))
    band, beyond = max(1.5, BAND * width), max(4.0, width)
    frame = painted.region.grow(int(beyond) + 3).intersect(features.region)
    inside = painted.within(frame)
    distance_in = ndi.distance_transform_edt(np.pad(inside, 1, mode="edge"))[1:-1, 1:-1]
    distance_out = ndi.distance_transform_edt(~inside)
    core = inside & (distance_in > np.minimum(band, _ridge(distance_in) * 0.7))
    markers = core.astype(np.int8)
    markers[distance_out > beyond] = 2
    if not (markers == 2).any():
        return painted
    sigma = 1.0 if band < 4 else 1.5
    gradient = ndi.gaussian_gradient_magnitude(features.luminance[frame.slices], sigma)
    flooded: npt.NDArray[np.int8] = watershed(gradient, markers)
    return Patch(flooded == 1, frame, painted.polarity)


def _ridge(depth: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Return the half width of the object near each pixel, so that thin parts keep a core."""
    width: npt.NDArray[np.float64] = ndi.maximum_filter(depth, size=5)
    return width

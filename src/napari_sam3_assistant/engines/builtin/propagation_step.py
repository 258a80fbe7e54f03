"""From one slice to the next: where each outline has moved to, and whether it is still there.

An outline is first shifted to where the old slice's picture of it fits best, then fitted to the
edges (:func:`~napari_sam3_assistant.engines.builtin.contours.fit`). A fit may change the outline
as a whole, by growth and shift; single directions that go further than the rest are held back,
so that a touching neighbour without an edge between is not taken in bit by bit.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
from scipy import ndimage as ndi

from napari_sam3_assistant.core.regions import Region
from napari_sam3_assistant.engines.builtin import contours
from napari_sam3_assistant.engines.builtin.outlines import BLOB, polarity_of, snapped
from napari_sam3_assistant.engines.builtin.patches import Patch
from napari_sam3_assistant.engines.builtin.shapes import solidity

if TYPE_CHECKING:
    import numpy.typing as npt

    from napari_sam3_assistant.engines.builtin.embedding import PlaneFeatures

    Floats = npt.NDArray[np.float32]

PATIENCE = 2  # slices on which an object may be missing before it is given up
FADED = 0.35  # an object is gone when its contrast falls to this share of what it was
FAINT = 3.0  # ... or below so many grey levels
MEMORY = 0.6  # how much of the contrast that is expected comes from before the last slice
SLACK = 0.05  # how much further than the rest a direction may go, as a share of the radius
SLACK_PIXELS = 0.6
LEAST_AREA = 6  # pixels
MOST_BEYOND = 2.0  # pixels by which a prompted outline may differ from the fitted edge
ROUNDS = 2
TYPICAL = 24  # pixels of radius at which outlines are fitted


@dataclass(frozen=True, slots=True, eq=False)
class Outline:
    """One object on one slice.

    Parameters
    ----------
    patch : Patch
        Its pixels, or the last ones that were seen.
    contrast : float
        How much it stands out, in grey levels, by its own polarity; over the last slices.
    missed : int
        On how many slices it has not been seen since.
    beyond : float
        How far outside the fitted edge the prompted outline ran, in pixels: where in a blurred
        edge the border lies is what the prompt shows.
    """

    patch: Patch
    contrast: float
    missed: int = 0
    beyond: float = 0.0


def outlined(features: PlaneFeatures, patch: Patch) -> Outline:
    """Return the outline of a mask on the slice that it was made on."""
    patch = replace(patch, polarity=polarity_of(features, patch))
    contrast = contrast_of(features, patch, ())
    if not _is_blob(patch):
        return Outline(patch, contrast)
    centre, radii = contours.from_mask(patch.mask, patch.region.y0, patch.region.x0)
    start = contours.Contours(centre[None], radii[None])
    octave = _octave(float(np.median(radii)))
    sign = np.array([patch.polarity], np.float32)
    free = contours.fit(features.octave(octave), start, sign, range_=(0.6, 1.3), scale=2**octave)
    # The median: where a neighbour touches there is no edge to compare with.
    beyond = float(np.median(radii - free.radii[0]))
    return Outline(patch, contrast, beyond=float(np.clip(beyond, -MOST_BEYOND, MOST_BEYOND)))


def advance(
    before: PlaneFeatures, now: PlaneFeatures, outlines: dict[int, Outline]
) -> dict[int, Outline]:
    """Return the outlines on the next slice.

    Parameters
    ----------
    before, now : PlaneFeatures
        The slice that the outlines are of, and the one next to it.
    outlines : dict
        The objects by id; those that are missing too long are kept as they are.
    """
    sought = {id_: item for id_, item in outlines.items() if item.missed <= PATIENCE}
    moved = {
        id_: _shifted(item.patch, _motion(before, now, item.patch), now.region)
        for id_, item in sought.items()
    }
    moved = {id_: patch for id_, patch in moved.items() if patch.area >= LEAST_AREA}
    fitted = _fitted(now, moved, {id_: item.beyond for id_, item in sought.items()})
    found = dict(outlines)
    for id_, old in sought.items():
        found[id_] = _judged(now, old, id_, fitted)
    return found


def _judged(now: PlaneFeatures, old: Outline, id_: int, fitted: dict[int, Patch]) -> Outline:
    """Return an object's new outline, or the old one with one more slice missed."""
    patch = fitted.get(id_)
    if patch is None or patch.area < LEAST_AREA:
        return replace(old, missed=old.missed + 1)
    others = [other for name, other in fitted.items() if name != id_]
    contrast = contrast_of(now, patch, others)
    if contrast < max(FAINT, FADED * old.contrast):
        return replace(old, missed=old.missed + 1)
    return replace(
        old, patch=patch, contrast=MEMORY * old.contrast + (1 - MEMORY) * contrast, missed=0
    )


def contrast_of(features: PlaneFeatures, patch: Patch, others: list[Patch] | tuple[()]) -> float:
    """Return how much the strip inside an outline stands out from the strip outside.

    Parameters
    ----------
    features : PlaneFeatures
        The slice.
    patch : Patch
        At least one pixel.
    others : sequence of Patch
        Neighbours, which are no background.

    Returns
    -------
    float
        Grey levels; positive for what the object's polarity says.
    """
    width = max(3.0, 0.3 * np.sqrt(patch.area / np.pi))
    frame = patch.region.grow(int(width) + 4).intersect(features.region)
    inside = patch.within(frame)
    depth = ndi.distance_transform_edt(np.pad(inside, 1))[1:-1, 1:-1]
    away = ndi.distance_transform_edt(~inside)
    strip = inside & (depth <= width) & ((depth > 1) | (depth.max() <= 2))
    ring = (away > 1.5) & (away <= 1.5 + width)
    for other in others:
        if not other.region.intersect(frame).is_empty:
            ring &= ~other.within(frame)
    if not ring.any() or not strip.any():
        return np.inf if not ring.any() else 0.0
    values = features.luminance[frame.slices]
    return patch.polarity * float(values[strip].mean() - np.median(values[ring]))


def _motion(before: PlaneFeatures, now: PlaneFeatures, patch: Patch) -> tuple[int, int]:
    """Return by how many pixels the picture of an object has moved, by normalised correlation."""
    from skimage.feature import match_template

    octave = _octave(np.sqrt(patch.area / np.pi))
    size = 2**octave
    reach = max(2, int(0.4 * min(patch.region.shape) / size))
    old, new = before.octave(octave), now.octave(octave)
    box = [value // size for value in patch.region.grow(2 * size).intersect(now.region).box]
    template = old[box[0] : box[2] + 1, box[1] : box[3] + 1]
    if min(template.shape) < 4 or template.std() < 1:
        return (0, 0)
    # Beyond the image its last pixels go on.
    padded = np.pad(new, reach, mode="edge")
    search = padded[
        box[0] : box[0] + template.shape[0] + 2 * reach,
        box[1] : box[1] + template.shape[1] + 2 * reach,
    ]
    fit = match_template(search, template)
    y, x = np.unravel_index(int(np.argmax(fit)), fit.shape)
    if fit[y, x] < 0.5 or fit[y, x] < fit[reach, reach] + 0.01:
        return (0, 0)
    return ((int(y) - reach) * size, (int(x) - reach) * size)


def _shifted(patch: Patch, by: tuple[int, int], plane: Region) -> Patch:
    """Return a patch moved by whole pixels and cut to the plane."""
    return replace(patch, region=patch.region.shift(*by)).clipped(plane)


def _octave(radius: float) -> int:
    return max(0, int(np.log2(max(1.0, float(radius) / TYPICAL))))


def _is_blob(patch: Patch) -> bool:
    return patch.area < 2 * LEAST_AREA or solidity(patch.mask) >= BLOB


def _fitted(
    now: PlaneFeatures, moved: dict[int, Patch], beyond: dict[int, float]
) -> dict[int, Patch]:
    """Return the outlines with their edges on those of the slice, none over another."""
    blobs: dict[int, dict[int, contours.Contours]] = {}
    fitted: dict[int, Patch] = {}
    owner = np.zeros(now.shape, np.int32)
    for id_, patch in moved.items():
        owner[patch.region.slices][patch.mask] = id_
        if _is_blob(patch):
            centre, radii = contours.from_mask(patch.mask, patch.region.y0, patch.region.x0)
            octave = _octave(float(np.median(radii)))
            start = contours.Contours(centre[None], radii[None])
            blobs.setdefault(octave, {})[id_] = start
        else:
            fitted[id_] = replace(snapped(now, patch), polarity=patch.polarity)
    for octave, starts in blobs.items():
        signs = np.array([moved[id_].polarity for id_ in starts], np.float32)
        wider = np.array([[beyond.get(id_, 0.0)] for id_ in starts], np.float32)
        fitted |= _fitted_blobs(now, octave, starts, signs, wider, owner)
    return _apart(fitted, now.region)


def _fitted_blobs(
    now: PlaneFeatures,
    octave: int,
    starts: dict[int, contours.Contours],
    signs: Floats,
    wider: Floats,
    owner: npt.NDArray[np.int32],
) -> dict[int, Patch]:
    """Return the blobs that are fitted at one octave."""
    names = np.array(list(starts), np.int32)
    current = contours.Contours(
        np.concatenate([start.centres for start in starts.values()]),
        np.concatenate([start.radii for start in starts.values()]),
    )
    size = 2**octave
    image = now.octave(octave)
    coarse = owner if octave == 0 else _at(owner, size, image.shape)
    for _ in range(ROUNDS):
        free = contours.fit(
            image, current, signs, owner=coarse, names=names, range_=(0.6, 1.3), scale=size
        )
        current = _held(current, free).recentred()
    current = contours.Contours(current.centres, np.maximum(current.radii + wider, 0.5))
    fitted = {}
    for row, id_ in enumerate(starts):
        mask, y0, x0 = current.mask(row, now.shape)
        region = Region(y0, x0, y0 + mask.shape[0], x0 + mask.shape[1])
        if not region.is_empty:
            fitted[id_] = Patch(mask, region, int(signs[row]))
    return fitted


def _at(owner: npt.NDArray[np.int32], size: int, shape: tuple[int, ...]) -> npt.NDArray[np.int32]:
    """Return a map's values in the middle of blocks of ``size`` pixels."""
    middle = size // 2
    rows = np.minimum(np.arange(shape[0]) * size + middle, owner.shape[0] - 1)
    columns = np.minimum(np.arange(shape[1]) * size + middle, owner.shape[1] - 1)
    picked: npt.NDArray[np.int32] = owner[np.ix_(rows, columns)]
    return picked


def _held(start: contours.Contours, free: contours.Contours) -> contours.Contours:
    """Return fitted contours without directions that go far beyond growth and shift.

    The change of the radii is taken apart into growth, shift and the rest, by least squares that
    gives outliers less weight (Holland & Welsch, Commun. Stat. A6:813, 1977).
    """
    directions = start.radii.shape[1]
    shapes = np.stack([np.ones(directions, np.float32), *contours.bearings(directions)])
    radii = np.empty_like(free.radii)
    for row, change in enumerate(free.radii - start.radii):
        limit = SLACK_PIXELS + SLACK * float(np.median(start.radii[row]))
        weights = np.ones_like(change)
        whole = change
        for _ in range(5):
            scaled = shapes * weights
            whole = np.linalg.solve(scaled @ shapes.T, scaled @ change) @ shapes
            weights = (1 / (1 + ((change - whole) / limit) ** 2)).astype(np.float32)
        radii[row] = start.radii[row] + whole + np.clip(change - whole, -2 * limit, limit)
    return contours.Contours(start.centres, np.maximum(radii, 0.5).astype(np.float32))


def _apart(patches: dict[int, Patch], plane: Region) -> dict[int, Patch]:
    """Return patches without the pixels that lie deeper in another one."""
    result = dict(patches)
    ids = list(patches)
    for number, one in enumerate(ids):
        for other in ids[number + 1 :]:
            shared = result[one].region.intersect(result[other].region)
            if shared.is_empty:
                continue
            frame = shared.grow(1).intersect(plane)
            both = result[one].within(frame) & result[other].within(frame)
            if not both.any():
                continue
            first = _depth(result[one], frame) >= _depth(result[other], frame)
            result[one] = _without(result[one], both & ~first, frame)
            result[other] = _without(result[other], both & first, frame)
    return result


def _depth(patch: Patch, frame: Region) -> npt.NDArray[np.float64]:
    """Return how deep in a patch the pixels of a frame lie, as a share of its deepest."""
    inside = patch.within(patch.region.union(frame))
    depth = ndi.distance_transform_edt(np.pad(inside, 1))[1:-1, 1:-1]
    share: npt.NDArray[np.float64] = depth[frame.localise(patch.region.union(frame)).slices]
    return share / max(1.0, float(depth.max()))


def _without(patch: Patch, taken: npt.NDArray[np.bool_], frame: Region) -> Patch:
    mask = patch.mask & ~Patch(taken, frame).within(patch.region)
    return replace(patch, mask=mask)

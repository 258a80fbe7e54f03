"""Outlines near those of the slice before, on the edges of this one, none over another.

A fit (:func:`~napari_sam3_assistant.engines.builtin.contours.fit`) may change an outline as a
whole, by growth and shift; single directions that go further than the rest are held back, so that
a touching neighbour without an edge between is not taken in bit by bit.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
from scipy import ndimage as ndi

from napari_sam3_assistant.core.progress import NullReporter
from napari_sam3_assistant.core.regions import Region
from napari_sam3_assistant.engines.builtin import contours
from napari_sam3_assistant.engines.builtin.outlines import BLOB, snapped
from napari_sam3_assistant.engines.builtin.patches import Patch
from napari_sam3_assistant.engines.builtin.shapes import solidity

if TYPE_CHECKING:
    import numpy.typing as npt

    from napari_sam3_assistant.engines.builtin.embedding import PlaneFeatures


if TYPE_CHECKING:
    Floats = npt.NDArray[np.float32]

SLACK = 0.05  # how much further than the rest a direction may go, as a share of the radius
SLACK_PIXELS = 0.6
LEAST_AREA = 6  # pixels
ROUNDS = 2
TYPICAL = 24  # pixels of radius at which outlines are fitted


def octave_of(radius: float) -> int:
    """Return the octave at which an object of some radius in pixels is looked at."""
    return max(0, int(np.log2(max(1.0, float(radius) / TYPICAL))))


def is_blob(patch: Patch) -> bool:
    """Return whether an object's outline is seen whole from its middle."""
    return patch.area < 2 * LEAST_AREA or solidity(patch.mask) >= BLOB


def fitted_outlines(
    now: PlaneFeatures, moved: dict[int, Patch], beyond: dict[int, float]
) -> dict[int, Patch]:
    """Return the outlines with their edges on those of the slice, none over another."""
    blobs: dict[int, dict[int, contours.Contours]] = {}
    fitted: dict[int, Patch] = {}
    owner = np.zeros(now.shape, np.int32)
    for id_, patch in moved.items():
        owner[patch.region.slices][patch.mask] = id_
        if is_blob(patch):
            centre, radii = contours.from_mask(patch.mask, patch.region.y0, patch.region.x0)
            octave = octave_of(float(np.median(radii)))
            start = contours.Contours(centre[None], radii[None])
            blobs.setdefault(octave, {})[id_] = start
        else:
            fitted[id_] = replace(snapped(now, patch, NullReporter()), polarity=patch.polarity)
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

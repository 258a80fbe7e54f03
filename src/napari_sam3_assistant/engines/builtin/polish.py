"""Rough objects of a whole plane, their outlines moved to the edges, many at a time."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy import ndimage as ndi

from napari_sam3_assistant.core.regions import Region
from napari_sam3_assistant.engines.builtin import contours
from napari_sam3_assistant.engines.builtin.measures import measured
from napari_sam3_assistant.engines.builtin.outlines import BLOB
from napari_sam3_assistant.engines.builtin.parallel import each
from napari_sam3_assistant.engines.builtin.patches import Patch
from napari_sam3_assistant.engines.builtin.tree import SMALLEST

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy.typing as npt

    from napari_sam3_assistant.core.progress import Reporter


if TYPE_CHECKING:
    Floats = npt.NDArray[np.float32]

RANGES = ((0.75, 1.25), (0.85, 1.15))  # radii looked at in each round, as shares of the last
# Radius up to which a sampling does, its directions and its radius steps.
SAMPLINGS = ((10.0, 48, 40), (np.inf, contours.DIRECTIONS, contours.STEPS))
SAMPLES = 1 << 18  # of a batch
SAME = 0.65  # a fitted contour must still be the object that it started from


@dataclass(frozen=True, slots=True, eq=False)
class _Blob:
    """An object and its contour."""

    name: int
    rough: Patch
    centre: Floats
    radii: Floats


def polished(
    flat: Floats, owner: npt.NDArray[np.int32], polarity: int, reporter: Reporter
) -> list[Patch]:
    """Return the objects of a divided plane with their outlines on the edges near them.

    Parameters
    ----------
    flat : ndarray, shape (H, W), dtype float32
        Grey values above the background; objects are bright.
    owner : ndarray, shape (H, W), dtype int32
        To which object each pixel belongs; 0 for none.
    polarity : int
        +1 if the objects are bright in the plane, -1 if they are dark.
    reporter : Reporter
        Stops the work.
    """
    rough = _rough(owner, polarity)
    solidity = measured(flat, list(rough.values()), reporter).solidity
    found: list[Patch] = []
    batches: list[list[_Blob]] = [[] for _ in SAMPLINGS]
    for (name, patch), convex in zip(rough.items(), solidity.tolist(), strict=True):
        if patch.area < SMALLEST or convex < BLOB:
            found.append(patch)
            continue
        radius = np.sqrt(patch.area / np.pi)
        kind = next(kind for kind, (largest, _, _) in enumerate(SAMPLINGS) if radius <= largest)
        directions = SAMPLINGS[kind][1]
        centre, radii = contours.from_mask(patch.mask, patch.region.y0, patch.region.x0, directions)
        batches[kind].append(_Blob(name, patch, centre, radii))
    pieces: list[tuple[list[_Blob], int]] = []
    for (_, directions, steps), blobs in zip(SAMPLINGS, batches, strict=True):
        size = max(1, SAMPLES // (directions * steps))
        for first in range(0, len(blobs), size):
            pieces.append((blobs[first : first + size], steps))
    for patches in each(lambda piece, stop: _fitted(flat, owner, *piece, stop), pieces, reporter):
        found += patches
    return found


def _rough(owner: npt.NDArray[np.int32], polarity: int) -> dict[int, Patch]:
    """Return the objects of a divided plane by name."""
    rough = {}
    for name, place in enumerate(ndi.find_objects(owner), start=1):
        if place is not None:
            rows, columns = place
            region = Region(rows.start, columns.start, rows.stop, columns.stop)
            rough[name] = Patch(owner[place] == name, region, polarity)
    return rough


def _fitted(
    flat: Floats,
    owner: npt.NDArray[np.int32],
    blobs: Sequence[_Blob],
    steps: int,
    reporter: Reporter,
) -> list[Patch]:
    """Return blobs with their contours fitted; those that run away stay as they were."""
    current = contours.Contours(
        np.stack([blob.centre for blob in blobs]), np.stack([blob.radii for blob in blobs])
    )
    names = np.array([blob.name for blob in blobs], np.int32)
    signs = np.ones(len(blobs), np.float32)
    for range_ in RANGES:
        reporter.check()
        current = contours.fit(
            flat, current, signs, owner=owner, names=names, range_=range_, steps=steps
        ).recentred()
    found = []
    for index, blob in enumerate(blobs):
        mask, y0, x0 = current.mask(index, (flat.shape[0], flat.shape[1]))
        region = Region(y0, x0, y0 + mask.shape[0], x0 + mask.shape[1])
        patch = Patch(mask, region, blob.rough.polarity)
        found.append(patch if patch.overlap(blob.rough) >= SAME else blob.rough)
    return found

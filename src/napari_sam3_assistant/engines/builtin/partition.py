"""The plane divided among the objects that were found in it at several resolutions."""

from __future__ import annotations

import heapq
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from napari_sam3_assistant.engines.builtin.clicks import enlarged
from napari_sam3_assistant.engines.builtin.shapes import split
from napari_sam3_assistant.engines.builtin.sharpen import sharpened

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy.typing as npt

    from napari_sam3_assistant.core.progress import Reporter
    from napari_sam3_assistant.engines.builtin.embedding import PlaneFeatures
    from napari_sam3_assistant.engines.builtin.proposals import Proposal


TAKEN = 0.3  # share of a part that better ones may have taken already


def divided(
    features: PlaneFeatures, found: Sequence[Proposal], reporter: Reporter
) -> npt.NDArray[np.int32]:
    """Return the plane divided among objects: the best first, what touches apart.

    Parameters
    ----------
    features : PlaneFeatures
        The plane.
    found : sequence of Candidate
        Parts of it, at any octave.
    reporter : Reporter
        Stops the work.

    Returns
    -------
    ndarray, shape (H, W), dtype int32
        Objects from 1; 0 is none.
    """
    # A coarse part is looked at closely only when its turn comes: that can but lower its rating.
    waiting = [
        (-candidate.rating, index, candidate.octave > 0, candidate)
        for index, candidate in enumerate(found)
    ]
    heapq.heapify(waiting)
    owner = np.zeros(features.shape, np.int32)
    count = 0
    while waiting:
        reporter.check()
        _, index, coarse, candidate = heapq.heappop(waiting)
        if _taken(owner, candidate) > TAKEN:
            continue
        if coarse:
            sharp, coverage = sharpened(features, candidate)
            rating = candidate.rating * coverage**2
            heapq.heappush(waiting, (-rating, index, False, sharp))
            continue
        parts = split(candidate.mask, candidate.convex)
        for name in range(1, int(parts.max()) + 1):
            part = enlarged(features, replace(candidate, mask=parts == name))
            count += 1
            target = owner[part.region.slices]
            target[part.mask & (target == 0)] = count
    return owner


def _taken(owner: npt.NDArray[np.int32], candidate: Proposal) -> float:
    """Return the share of a candidate that belongs to others, looked at once a pixel of it."""
    size = 2**candidate.octave
    covers = candidate.covers
    # At the lower and right edges the middle of a coarse pixel may lie outside the plane.
    rows = np.minimum(np.arange(covers.y0 + size // 2, covers.y1, size), owner.shape[0] - 1)
    columns = np.minimum(np.arange(covers.x0 + size // 2, covers.x1, size), owner.shape[1] - 1)
    seen = owner[rows[:, None], columns] > 0
    return float(np.count_nonzero(seen & candidate.mask) / np.count_nonzero(candidate.mask))

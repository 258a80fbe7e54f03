"""Masks as polygons along the edges of their pixels, so that nothing is lost."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from scipy import ndimage as ndi

if TYPE_CHECKING:
    import numpy.typing as npt

    Ring = npt.NDArray[np.int64]
    Bits = npt.NDArray[np.bool_]


def polygons(mask: Bits) -> list[list[Ring]]:
    """Return the outlines of a mask.

    Parameters
    ----------
    mask : ndarray, shape (H, W), dtype bool
        The pixels; pixel (0, 0) covers the square from 0 to 1.

    Returns
    -------
    list of list of ndarray, shape (n, 2), dtype int64
        For each part (connected by faces) its outer ring and then its holes: corners as (y, x),
        the first one not repeated. Rings may touch at corners, but never cross.
    """
    numbers, _ = ndi.label(mask)
    found = []
    for index, box in enumerate(ndi.find_objects(numbers), 1):
        first = np.array([side.start for side in box])
        found.append([ring + first for ring in _rings(numbers[box] == index)])
    return found


def _rings(part: Bits) -> list[Ring]:
    """Return the rings of a mask in one part, the outer one first."""
    points, across, along, outer = _corners(part)
    beside = _partners(np.lexsort((across, points[:, 1], points[:, 0])))
    below = _partners(np.lexsort((along, points[:, 0], points[:, 1])))
    unseen = np.ones(len(points), bool)
    rings: list[Ring] = []
    # In this order, the first corner of each ring is its top left one.
    for start in np.lexsort((points[:, 1], points[:, 0])):
        if not unseen[start] or along[start] < 0 or across[start] < 0:
            continue
        ring, at = [], int(start)
        while unseen[at]:
            unseen[at] = False
            ring.append(at)
            at = int(beside[at])
            unseen[at] = False
            ring.append(at)
            at = int(below[at])
        corners = points[ring]
        if outer[start]:
            rings.insert(0, corners)
        else:
            rings.append(corners)
    return rings


def _corners(part: Bits) -> tuple[Ring, Ring, Ring, Bits]:
    """Return corners, their edges' directions (1 right or down), and whether mask lies below right.

    Where two pixels meet at a corner only, two corners lie at one place, paired so that the
    mask goes on through it.
    """
    padded = np.pad(part, 1)
    a, b, c, d = padded[:-1, :-1], padded[:-1, 1:], padded[1:, :-1], padded[1:, 1:]
    total = a.astype(int) + b + c + d
    falling = (total == 2) & a & d
    rising = (total == 2) & b & c
    columns = []
    for where, across, along in (
        (total % 2 == 1, np.where(b != d, 1, -1), np.where(c != d, 1, -1)),
        (falling, -1, 1),
        (falling, 1, -1),
        (rising, -1, -1),
        (rising, 1, 1),
    ):
        points = np.argwhere(where)
        columns.append(
            (
                points,
                np.broadcast_to(across, total.shape)[where],
                np.broadcast_to(along, total.shape)[where],
                d[where],
            )
        )
    points, across_, along_, outer = (np.concatenate(parts) for parts in zip(*columns, strict=True))
    return points, across_, along_, outer


def _partners(order: Ring) -> Ring:
    """Return for each corner the one at the other end of its edge."""
    partner = np.empty_like(order)
    partner[order[::2]] = order[1::2]
    partner[order[1::2]] = order[::2]
    return partner

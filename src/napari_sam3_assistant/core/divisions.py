"""Divisions that nobody has told of: found in the labels of a movie, to be accepted or dropped."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
from scipy import ndimage as ndi
from skimage.measure import regionprops
from skimage.segmentation import relabel_sequential

from napari_sam3_assistant.core.linking import DAUGHTERS, LinkedFrame, link_times

if TYPE_CHECKING:
    from collections.abc import Container, Iterable, Iterator

    import numpy.typing as npt

    Labels = npt.NDArray[np.uint32]

LASTING = 3
"""A mask in two pieces is a division if it stays so for as many frames."""
_REST = 0.2
"""What lies beside two pieces has no more of the object."""
_OVERLAP = 0.25
"""Objects of neighbouring frames overlap by so much of the smaller one, or lie near each other."""


@dataclass(frozen=True, slots=True)
class Division:
    """A division that is proposed.

    Parameters
    ----------
    frame : int
        The first frame of the daughters.
    mother : int
        The track that divides.
    daughters : tuple of int
        The two tracks. One that is the mother's is what goes on of it; where both are, its mask
        is in two pieces from that frame on.
    """

    frame: int
    mother: int
    daughters: tuple[int, int]


def find_divisions(
    frames: Iterable[tuple[int, Labels]], known: Container[int] = (), lasting: int = LASTING
) -> Iterator[Division]:
    """Yield the divisions in the labels of a movie, which are gone through once.

    Proposed is: a track that ends where two begin beside it; one that becomes half as large where
    another begins beside it; and one whose mask falls apart into two pieces of similar size.

    Parameters
    ----------
    frames : iterable of (int, ndarray of uint32, shape (H, W))
        The frames in their order, each with its number; after a gap a new movie begins.
    known : container of int
        Tracks that have a parent already.
    lasting : int
        How many frames two pieces must stay apart.
    """
    seen: set[int] = set()
    before: _Parts | None = None
    apart: dict[int, Division] = {}
    for number, labels in frames:
        here = _Parts.of(number, labels)
        if before is not None and before.number + 1 == number:
            for division in _between(before, here):
                if any(
                    one != division.mother and (one in seen or one in known)
                    for one in division.daughters
                ):
                    continue
                if division.daughters == (division.mother,) * 2:
                    apart[division.mother] = division
                else:
                    yield division
        else:
            apart.clear()
        for mother, division in list(apart.items()):
            if not here.is_apart(mother):
                del apart[mother]
            elif number - division.frame + 1 == lasting:
                yield apart.pop(mother)
        seen |= here.tracks
        before = here


@dataclass(frozen=True, slots=True, eq=False)
class _Parts:
    """The objects of a frame, in two parts where they are in two pieces of similar size."""

    number: int
    frame: LinkedFrame
    owner: dict[int, int] = field(default_factory=dict)  # of each part, by its number

    @classmethod
    def of(cls, number: int, labels: Labels) -> _Parts:
        numbered = np.zeros(labels.shape, np.uint32)
        owner: dict[int, int] = {}
        areas, centres = [], []
        small, _, ids = relabel_sequential(labels)
        for one in regionprops(small):
            for mask in split_parts(one.image):
                part = len(owner) + 1
                owner[part] = int(ids[one.label])
                numbered[one.slice][mask] = part
                areas.append(float(mask.sum()))
                centres.append(np.argwhere(mask).mean(0) + one.bbox[:2])
        parts = np.arange(1, len(owner) + 1, dtype=np.uint32)
        middles = np.array(centres, np.float64).reshape(-1, 2)
        return cls(number, LinkedFrame(numbered, parts, np.array(areas), middles), owner)

    @property
    def tracks(self) -> set[int]:
        return set(self.owner.values())

    def is_apart(self, track: int) -> bool:
        return list(self.owner.values()).count(track) > 1


def _between(before: _Parts, here: _Parts) -> Iterator[Division]:
    """Yield what divides between two frames by its place, whatever number the daughters have."""
    _, divisions = link_times(before.frame, here.frame, _OVERLAP)
    for part, (one, other) in divisions.items():
        mother, daughters = before.owner[part], (here.owner[one], here.owner[other])
        goes_on, whole = mother in daughters, not before.is_apart(mother)
        elsewhere = mother in here.tracks and not goes_on
        same = daughters[0] == daughters[1] and not goes_on
        if whole and not elsewhere and not same:
            yield Division(here.number, mother, daughters)


def split_parts(mask: npt.NDArray[np.bool_]) -> list[npt.NDArray[np.bool_]]:
    """Return a mask as its two pieces where these are of similar size, else as it is.

    What lies beside them is of the nearer one.
    """
    pieces, count = ndi.label(mask, np.ones((3, 3), bool))
    if count < 2:
        return [mask]
    sizes = np.bincount(pieces.ravel())[1:]
    first, second = np.argsort(-sizes, kind="stable")[:2] + 1
    large, small = sizes[first - 1], sizes[second - 1]
    if small < DAUGHTERS * large or large + small < (1 - _REST) * sizes.sum():
        return [mask]
    away = [ndi.distance_transform_edt(pieces != one) for one in (first, second)]
    nearer = away[0] <= away[1]
    return [mask & nearer, mask & ~nearer]

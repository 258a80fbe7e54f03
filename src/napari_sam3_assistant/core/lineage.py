"""Lineages: which track divides into which, divisions found in labels, and corrections by hand."""

from __future__ import annotations

import sys
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Self

import numpy as np
from scipy import ndimage as ndi
from skimage.measure import regionprops

from napari_sam3_assistant.core.linking import DAUGHTERS, LinkedFrame, link_times
from napari_sam3_assistant.core.masks.labels import number_objects
from napari_sam3_assistant.errors import PromptError

if TYPE_CHECKING:
    from collections.abc import (
        Callable,
        Collection,
        Container,
        Iterable,
        Iterator,
        Mapping,
        Sequence,
    )

    import numpy.typing as npt

    Labels = npt.NDArray[np.uint32]


@dataclass(frozen=True, slots=True)
class Relabel:
    """From a frame on a track has another number, which had no pixels there.

    Parameters
    ----------
    old, new : int
        The numbers before and after.
    first : int
        The first of these frames, from 0.
    """

    old: int
    new: int
    first: int


@dataclass(frozen=True, slots=True)
class Lineage:
    """Which tracks are daughters of which, and what was corrected by hand in the tracks.

    Parameters
    ----------
    parents : mapping of int to int
        The parent of each track that has one.
    relabelled : tuple of Relabel
        The corrections that gave pixels another number, in their order.
    """

    parents: Mapping[int, int] = field(default_factory=dict)
    relabelled: tuple[Relabel, ...] = ()

    def daughters(self, parent: int) -> tuple[int, ...]:
        """Return the tracks that a track divides into."""
        return tuple(child for child, mother in sorted(self.parents.items()) if mother == parent)

    def link(self, links: Mapping[int, int]) -> Self:
        """Return it with more daughters, each with its parent.

        Raises
        ------
        PromptError
            If a track would descend from itself.
        """
        parents = {**self.parents, **links}
        for child in links:
            above, seen = parents.get(child), {child}
            while above is not None:
                if above in seen:
                    raise PromptError(
                        f"Track {child} can't be a daughter of track {links[child]}: it would "
                        "descend from itself.",
                        "Unlink them first.",
                    )
                seen.add(above)
                above = parents.get(above)
        return replace(self, parents=parents)

    def unlink(self, *pairs: tuple[int, int]) -> Self:
        """Return it without some links, each of a daughter and its parent."""
        kept = {
            daughter: parent
            for daughter, parent in self.parents.items()
            if (daughter, parent) not in pairs
        }
        return replace(self, parents=kept)

    def links_of(self, track: int) -> tuple[tuple[int, int], ...]:
        """Return the links that a track is in, each of a daughter and its parent."""
        return tuple(pair for pair in sorted(self.parents.items()) if track in pair)

    def relabel(self, change: Relabel, first_frame: Callable[[int], int]) -> Self:
        """Return it with a correction that gives the rest of a track another number.

        The daughters that leave that rest follow it. Where all of the track goes, it is a part of
        the other one, and its own parent is forgotten.

        Parameters
        ----------
        change : Relabel
            What gets another number.
        first_frame : callable
            Returns the first frame of a track, as it was before.
        """
        whole = change.first <= first_frame(change.old)
        parents = {
            child: change.new
            if parent == change.old and (whole or first_frame(child) > change.first)
            else parent
            for child, parent in self.parents.items()
            if not (whole and child == change.old)
        }
        return replace(self, parents=parents, relabelled=(*self.relabelled, change))

    def add(self, links: Mapping[int, int]) -> Self:
        """Return it with what an engine has seen divide; links that are there stay."""
        return replace(self, parents={**links, **self.parents})

    def changes_to(self, other: Lineage) -> Iterator[Relabel]:
        """Yield what gives each track the number that it has in another lineage, in order.

        That is another one of the same history: corrections that are not in it are taken back.
        """
        same = 0
        for step, of_other in zip(self.relabelled, other.relabelled, strict=False):
            if step != of_other:
                break
            same += 1
        for step in reversed(self.relabelled[same:]):
            yield Relabel(step.new, step.old, step.first)
        yield from other.relabelled[same:]

    def shown_as(self, track: int, frame: int) -> int:
        """Return the number by which a track of an engine is on show on a frame."""
        for step in self.relabelled:
            if track == step.old and frame >= step.first:
                track = step.new
        return track

    def found_as(self, track: int, frame: int) -> int:
        """Return the number by which an engine knows what is on show as a track on a frame."""
        for step in reversed(self.relabelled):
            if track == step.new and frame >= step.first:
                track = step.old
        return track

    def plane_as_found(self, labels: npt.NDArray[np.uint32], frame: int) -> npt.NDArray[np.uint32]:
        """Return a copy of the labels of a frame, with the numbers that the engine knows."""
        found = labels.copy()
        for step in self.relabelled:
            if frame >= step.first:
                found[labels == step.new] = self.found_as(step.new, frame)
        return found

    def followed_as(self, track: int) -> frozenset[int]:
        """Return the numbers by which an engine follows what goes on as a track."""
        names = {track}
        for step in reversed(self.relabelled):
            if step.new in names:
                names.add(step.old)
        return frozenset(name for name in names if self.shown_as(name, sys.maxsize) == track)


def valid_links(
    parents: Mapping[int, int], first_frame: Callable[[int], int | None]
) -> dict[int, int]:
    """Return the links between tracks that are there, where the parent is there before the child.

    Parameters
    ----------
    parents : mapping of int to int
        The parent of each track that has one.
    first_frame : callable
        Returns the first frame of a track; None for one that is not there.
    """

    def holds(child: int, parent: int) -> bool:
        begins, before = first_frame(child), first_frame(parent)
        return begins is not None and before is not None and before < begins

    return {child: parent for child, parent in parents.items() if holds(child, parent)}


def cut_runs(
    frames: Mapping[int, Iterable[int]], parents: Mapping[int, int]
) -> Iterator[tuple[int, tuple[int, ...], int]]:
    """Yield the stretches of tracks between gaps and divisions, and what each one comes from.

    Parameters
    ----------
    frames : mapping of int to iterable of int
        The frames of each track, in order.
    parents : mapping of int to int
        The parent of each track that has one; links that can't be are left out.

    Yields
    ------
    track, frames, before : int, tuple of int, int
        The track, consecutive frames of it, and the place, in the order of what is yielded, of the
        stretch that it comes from; -1 for none. A track that goes on after a daughter has begun
        is cut there.
    """
    own = {track: tuple(numbers) for track, numbers in frames.items()}
    links = valid_links(parents, lambda track: own[track][0] if own.get(track) else None)
    cuts: dict[int, set[int]] = {}
    for child, parent in links.items():
        cuts.setdefault(parent, set()).add(own[child][0])
    runs = [
        (track, run)
        for track, numbers in sorted(own.items())
        for run in _stretches(numbers, cuts.get(track, ()))
    ]
    places: dict[int, list[int]] = {}
    for place, (track, _) in enumerate(runs):
        places.setdefault(track, []).append(place)
    for place, (track, run) in enumerate(runs):
        before = -1 if place == places[track][0] else place - 1
        if before < 0 and track in links:
            before = max(at for at in places[links[track]] if runs[at][1][-1] < run[0])
        yield track, run, before


def _stretches(frames: Sequence[int], cuts: Collection[int]) -> Iterator[tuple[int, ...]]:
    """Yield consecutive frames, also cut before some of them."""
    numbers = np.array(frames, np.intp)
    ends = (np.diff(numbers) > 1) | np.isin(numbers[1:], list(cuts))
    for run in np.split(numbers, np.flatnonzero(ends) + 1) if numbers.size else ():
        yield tuple(run.tolist())


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
                    daughter != division.mother and (daughter in seen or daughter in known)
                    for daughter in division.daughters
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
        numbers, of_number = number_objects(labels)
        for region in regionprops(numbers):
            for mask in split_parts(region.image):
                part = len(owner) + 1
                owner[part] = int(of_number[region.label])
                numbered[region.slice][mask] = part
                areas.append(float(mask.sum()))
                centres.append(np.argwhere(mask).mean(0) + region.bbox[:2])
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
    for part, (first, second) in divisions.items():
        mother, daughters = before.owner[part], (here.owner[first], here.owner[second])
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
    away = [ndi.distance_transform_edt(pieces != piece) for piece in (first, second)]
    nearer = away[0] <= away[1]
    return [mask & nearer, mask & ~nearer]

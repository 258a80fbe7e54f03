"""Objects cut into parts: at their waists, or along a line. No pixel is lost or won."""

from __future__ import annotations

import itertools
from collections import Counter, defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy import ndimage as ndi
from skimage.draw import line as draw_line
from skimage.feature import peak_local_max
from skimage.segmentation import watershed

from napari_sam3_assistant.core.masks.cleanup import touches_box_edge
from napari_sam3_assistant.core.masks.components import find_components
from napari_sam3_assistant.core.masks.edits import LabelEdit, changes_between
from napari_sam3_assistant.core.masks.labels import check_fits, localise_box, read
from napari_sam3_assistant.core.progress import Progress

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    import numpy.typing as npt

    from napari_sam3_assistant.core.images import AnyArray
    from napari_sam3_assistant.core.masks.labels import Box, Connectivity, LabelArray
    from napari_sam3_assistant.core.progress import Reporter


_EVERY = 32


@dataclass(frozen=True, slots=True, eq=False)
class Cut:
    """An object that was cut into parts.

    Parameters
    ----------
    label : int
        The label that it had.
    box : tuple of slice
        Its bounding box.
    parts : ndarray of int
        The labels that its pixels have now, 0 for other pixels of the box.
    """

    label: int
    box: Box
    parts: LabelArray


class NeighbouringCuts:
    """What was cut in the frames, or slices, that come right before one, along each axis."""

    def __init__(self) -> None:
        self._known: dict[tuple[int, ...], list[Cut]] = {}

    def beside(self, index: tuple[int, ...]) -> dict[int, list[Cut]]:
        """Return what was cut beside one, by the label that it had."""
        found = defaultdict(list)
        for before in self._before(index):
            for cut in self._known.get(before, ()):
                found[cut.label].append(cut)
        return found

    def add(self, index: tuple[int, ...], cuts: list[Cut]) -> None:
        """Remember what was cut in the next one, in the order of the array."""
        self._known[index] = cuts
        for first in self._before(index)[:1]:
            self._known.pop(first, None)  # nothing that is still to come lies beside it

    @staticmethod
    def _before(index: tuple[int, ...]) -> list[tuple[int, ...]]:
        return [(*index[:axis], at - 1, *index[axis + 1 :]) for axis, at in enumerate(index)]


def cut_touching(
    labels: AnyArray,
    distance: float,
    connectivity: Connectivity,
    spacing: Sequence[float],
    box: Box | None,
    reporter: Reporter,
    *,
    highest: int,
    beside: Mapping[int, Sequence[Cut]],
) -> list[Cut]:
    """Return the components that have waists, cut there.

    Watershed on the distance to the outline, from its peaks. A part keeps the label of what was
    cut of the same object beside it and overlaps it most; of the others the largest one keeps the
    object's label, if it is free, and the rest get new ones.

    Parameters
    ----------
    labels : array-like of int, shape (..., H, W)
        In memory or lazy.
    distance : float
        Least distance between the centres of two parts, in the unit of the spacing.
    connectivity : Connectivity
        Which neighbours belong together.
    spacing : sequence of float
        Size of a pixel along each axis.
    box : tuple of slice or None
        The part to work on; components that reach its edge stay whole.
    reporter : Reporter
        Receives the progress.
    highest : int
        The highest label in use.
    beside : mapping of int to sequence of Cut
        What was cut in neighbouring labels of the same shape, by label.

    Raises
    ------
    MaskError
        If the new labels don't fit the labels' type.
    """
    found = find_components(labels, connectivity, box, reporter)
    thick = _is_thick(found.highs - found.lows, distance, spacing) & ~touches_box_edge(found, box)
    chosen = np.flatnonzero(thick)
    # Flooded by the same neighbours that make a component, so that every pixel is reached.
    structure = ndi.generate_binary_structure(labels.ndim, connectivity.rank(labels.ndim))
    masks = _ComponentMasks(labels, found, structure)
    cuts: list[Cut] = []
    taken: set[int] = set()
    for done, index in enumerate(chosen):
        if done % _EVERY == 0:
            reporter.report(Progress(done, chosen.size, "Splitting objects"))
        here, mask = masks.crop(int(index))
        # Objects go on beyond the edge of the labels: it is no outline.
        edges = [
            (int(side.start > 0), int(side.stop < size))
            for side, size in zip(here, labels.shape, strict=True)
        ]
        pieces = _split_component(mask, structure, distance, spacing, edges)
        if int(pieces.max()) < 2:
            continue
        label = int(found.values[index])
        names = {
            part: name
            for part, name in _find_partners(here, pieces, beside.get(label, ())).items()
            if name not in taken
        }
        numbers = _number_pieces(pieces, label, highest, names)
        highest = max(highest, *numbers)
        check_fits(highest, labels.dtype)
        taken.update(number for number in numbers if number != label)
        cuts.append(Cut(label, here, np.array(numbers, labels.dtype)[pieces]))
    return cuts


def edit_of_cuts(cuts: Sequence[Cut], labels: AnyArray) -> LabelEdit:
    """Return the edit that writes the parts of objects into their labels."""
    shape = tuple(int(size) for size in labels.shape)

    def parts() -> Iterator[tuple[Box, LabelArray, LabelArray]]:
        for cut in cuts:
            before = np.zeros_like(cut.parts)
            # Exactly: NumPy 1's ``where`` makes floats of uint64.
            before[cut.parts != 0] = cut.label
            yield cut.box, before, cut.parts

    return LabelEdit.pack("split objects", shape, changes_between(parts(), shape), labels.dtype)


def _find_partners(
    box: Box, pieces: npt.NDArray[np.int32], beside: Sequence[Cut]
) -> dict[int, int]:
    """Return for pieces 1, 2, ... the label of the part beside each; the largest overlap first."""
    pairs: Counter[tuple[int, int]] = Counter()
    for cut in beside:
        both = tuple(
            slice(max(one.start, two.start), min(one.stop, two.stop))
            for one, two in zip(box, cut.box, strict=True)
        )
        if any(side.start >= side.stop for side in both):
            continue
        mine, other = pieces[localise_box(both, box)], cut.parts[localise_box(both, cut.box)]
        shared = (mine != 0) & (other != 0)
        pairs.update(zip(mine[shared].tolist(), other[shared].tolist(), strict=True))
    found: dict[int, int] = {}
    for (piece, name), _ in pairs.most_common():
        if piece not in found and name not in found.values():
            found[piece] = name
    return found


def _number_pieces(
    pieces: npt.NDArray[np.int32], label: int, highest: int, known: Mapping[int, int]
) -> list[int]:
    """Return the labels of pieces 0, 1, ...: of some that is known.

    Of the others the largest keeps the label of all, where that is free, the rest get new ones.
    """
    sizes = np.bincount(pieces.reshape(-1))[1:]
    order = [int(at) + 1 for at in np.argsort(-sizes, kind="stable")]
    unknown = [piece for piece in order if piece not in known]
    free = itertools.chain([] if label in known.values() else [label], itertools.count(highest + 1))
    names = {0: 0, **known, **dict(zip(unknown, free, strict=False))}
    return [names[piece] for piece in range(sizes.size + 1)]


_REACH = 0.1
"""A hand that stops just before the edge means the edge: so much of a line is added at its ends."""
_LEAST_REACH = 2.0
_SLIVER = 0.01
"""A smaller share of an object is where the hand shook, and no part of its own."""


def split_along(
    mask: npt.NDArray[np.bool_], line: npt.NDArray[np.floating[Any]], label: int, highest: int
) -> npt.NDArray[np.int64] | None:
    """Return the labels of the parts that a line cuts an object into.

    No pixel becomes background. A line that stops just before the edge is taken to mean it.

    Parameters
    ----------
    mask : ndarray of bool, shape (h, w)
        The object.
    line : ndarray, shape (n, 2), dtype float
        Rows and columns in the mask, from one end of the line to the other.
    label : int
        The object's label, which the largest part keeps.
    highest : int
        The highest label in use; the other parts get the next ones, from the largest on.

    Returns
    -------
    ndarray of int64, shape (h, w), or None
        None where the line cuts nothing off.
    """
    cut = np.zeros(mask.shape, bool)
    ends = np.round(_reach_further(line)).astype(int)
    for (y0, x0), (y1, x1) in itertools.pairwise(ends):
        y, x = draw_line(y0, x0, y1, x1)
        inside = (y >= 0) & (y < mask.shape[0]) & (x >= 0) & (x < mask.shape[1])
        cut[y[inside], x[inside]] = True
    # By faces: a line of pixels that touch at their corners is a wall then.
    whole, before = ndi.label(mask)
    left, count = ndi.label(mask & ~cut)
    component = np.zeros(count + 1, np.intp)
    component[left] = whole
    component[0] = 0
    cut_apart = np.bincount(component[1:], minlength=before + 1) > 1
    sizes = np.bincount(left.reshape(-1), minlength=count + 1)
    pieces = np.flatnonzero(cut_apart[component])
    by_size = pieces[np.argsort(-sizes[pieces], kind="stable")]
    if by_size.size == 0:
        return None
    large = np.count_nonzero(sizes[by_size] >= _SLIVER * np.count_nonzero(mask))
    kept = by_size[: max(2, large)]
    numbers = np.zeros(count + 1, np.int32)
    numbers[kept] = np.arange(1, kept.size + 1)
    seeds = numbers[left]
    # The line itself, and what it has not cut, go with the part that is next to them.
    nearest = ndi.distance_transform_edt(seeds == 0, return_distances=False, return_indices=True)
    parts = np.where(mask, seeds[tuple(nearest)], 0)
    labels: npt.NDArray[np.int64] = np.array(_number_pieces(parts, label, highest, {}))[parts]
    return labels


def _reach_further(line: npt.NDArray[np.floating[Any]]) -> npt.NDArray[np.float64]:
    """Return a line that goes on a little at both ends, the way that it has from end to end."""
    first, last = np.asarray(line[0], float), np.asarray(line[-1], float)
    length = float(np.hypot(*(last - first)))
    if length == 0:
        return np.asarray(line, float)
    more = (last - first) / length * max(_LEAST_REACH, _REACH * length)
    return np.concatenate([[first - more], line, [last + more]])


class _ComponentMasks:
    """Cuts single components out of labels."""

    def __init__(
        self, labels: AnyArray, components: AnyArray, structure: npt.NDArray[np.bool_]
    ) -> None:
        self._labels = labels
        self._found = components
        self._structure = structure
        self._begin = np.zeros(len(components), np.intp)
        self._begin[components.of_run[::-1]] = np.arange(components.of_run.size)[::-1]

    def crop(self, index: int) -> tuple[Box, npt.NDArray[np.bool_]]:
        """Return the box of a component and its pixels in it."""
        found = self._found
        box = found.box(index)
        same = read(self._labels, box) == found.values[index]
        if np.count_nonzero(same) == found.areas[index]:
            return box, same
        # Another component of the same label reaches into the box.
        seed = np.unravel_index(found.runs.starts[self._begin[index]], found.runs.shape)
        numbers = ndi.label(same, self._structure)[0]
        at = tuple(int(axis) - side.start for axis, side in zip(seed, box, strict=True))
        return box, numbers == numbers[at]


def _is_thick(
    sizes: npt.NDArray[Any], distance: float, spacing: Sequence[float]
) -> npt.NDArray[np.bool_]:
    """Return which components are long enough to hold two centres."""
    enough: npt.NDArray[np.bool_] = np.linalg.norm(sizes * np.asarray(spacing), axis=1) > distance
    return enough


def _split_component(
    mask: npt.NDArray[np.bool_],
    structure: npt.NDArray[np.bool_],
    distance: float,
    spacing: Sequence[float],
    edges: Sequence[tuple[int, int]],
) -> npt.NDArray[np.int32]:
    """Return the parts of one component, numbered from 1.

    ``edges``: 1 for the sides, along each axis, on which there is something outside of its box.
    """
    padded = np.pad(mask, edges)
    if padded.all():
        return mask.astype(np.int32)
    inner = tuple(slice(low, size + low) for (low, _), size in zip(edges, mask.shape, strict=True))
    depth = ndi.distance_transform_edt(padded, spacing)[inner]
    reach = [max(1, round(distance / size)) for size in spacing]
    # A plateau would give several peaks at one place.
    peaks = peak_local_max(
        ndi.gaussian_filter(depth, 1),
        footprint=np.ones([2 * most + 1 for most in reach], bool),
        exclude_border=False,
        labels=mask.astype(np.uint8),
    )
    peaks = _keep_apart(peaks, reach)
    if len(peaks) < 2:
        return mask.astype(np.int32)
    markers = np.zeros(mask.shape, np.int32)
    markers[tuple(peaks.T)] = np.arange(1, len(peaks) + 1)
    pieces: npt.NDArray[np.int32] = watershed(-depth, markers, structure, mask=mask)
    return _join_without_waist(pieces, depth)


_WAIST = 0.9
"""Between two parts an object is thinner than so much of the thinner one."""


def _join_without_waist(
    pieces: npt.NDArray[np.int32], depth: npt.NDArray[np.float64]
) -> npt.NDArray[np.int32]:
    """Return pieces 1, 2, ...; those are one that hang together almost as thick as they are.

    So a rod, or what is the same on all slices of a stack, is not cut along its length.
    """
    count = int(pieces.max())
    bridges: dict[tuple[int, int], float] = {}
    every = itertools.product((-1, 0, 1), repeat=pieces.ndim)
    for step in itertools.islice(every, 3**pieces.ndim // 2):  # of two opposite ones one
        here, there = (
            tuple(slice(max(sign * by, 0), min(sign * by, 0) or None) for by in step)
            for sign in (1, -1)
        )
        one, other = pieces[here], pieces[there]
        met = (one != other) & (one != 0) & (other != 0)
        pairs = np.sort(np.stack([one[met], other[met]]).astype(np.int64), axis=0)
        keys, which = np.unique(pairs[0] * (count + 1) + pairs[1], return_inverse=True)
        thick = np.zeros(keys.size)
        np.maximum.at(thick, which, np.minimum(depth[here][met], depth[there][met]))
        for key, value in zip(keys.tolist(), thick.tolist(), strict=True):
            pair = divmod(key, count + 1)
            bridges[pair] = max(bridges.get(pair, 0.0), value)
    top = np.asarray(ndi.maximum(depth, pieces, range(count + 1)))
    joined = list(range(count + 1))

    def root(piece: int) -> int:
        while joined[piece] != piece:
            piece = joined[piece]
        return piece

    for pair, thickness in sorted(bridges.items(), key=lambda bridge: -bridge[1]):
        thinner, thicker = sorted(map(root, pair), key=top.__getitem__)
        if thickness >= _WAIST * top[thinner]:
            joined[thinner] = thicker
    roots = [root(piece) for piece in range(count + 1)]
    numbers: npt.NDArray[np.int32] = np.unique(roots, return_inverse=True)[1].astype(np.int32)
    return numbers[pieces]


def _keep_apart(peaks: npt.NDArray[np.intp], reach: Sequence[int]) -> npt.NDArray[np.intp]:
    """Return peaks without those that lie within the reach of one before them, along each axis.

    ``peak_local_max`` does so with one distance for all axes.
    """
    kept: list[npt.NDArray[np.intp]] = []
    waiting = peaks
    while len(waiting):
        kept.append(waiting[0])
        waiting = waiting[(np.abs(waiting - waiting[0]) >= reach).any(axis=1)]
    return np.array(kept, np.intp).reshape(-1, peaks.shape[1])

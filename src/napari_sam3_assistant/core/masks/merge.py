"""Several labels made one."""

from __future__ import annotations

import itertools
from collections import defaultdict
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import TYPE_CHECKING, Any

import numpy as np
from skimage.util import map_array

from napari_sam3_assistant.core.masks.components import find_components
from napari_sam3_assistant.core.masks.labels import Connectivity, check_fits, read, whole_box
from napari_sam3_assistant.core.masks.objects import ANY_CLASS, Classes
from napari_sam3_assistant.core.progress import NullReporter, Progress
from napari_sam3_assistant.errors import MaskError

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy.typing as npt

    from napari_sam3_assistant.core.progress import Reporter


class MergeMode(StrEnum):
    """What the values of merged labels mean."""

    SEMANTIC = "semantic"
    INSTANCE = "instance"
    BINARY = "binary"


class OverlapRule(StrEnum):
    """Who gets a pixel that several labels claim."""

    PRIORITY = "priority"
    EARLIER = "earlier"
    LARGER = "larger"
    SMALLER = "smaller"
    BACKGROUND = "background"


@dataclass(frozen=True, slots=True, eq=False)
class MergeSource:
    """Labels to merge.

    Parameters
    ----------
    name : str
        For the user.
    labels : array-like of int
        In memory or lazy; all sources have the same shape.
    classes : Classes
        What its values stand for. Where nothing is known, they are classes in a semantic mask,
        and count objects in one of instances.
    """

    name: str
    labels: Any
    classes: Classes = field(default_factory=Classes)


@dataclass(frozen=True, slots=True, eq=False)
class MergeResult:
    """What a merge makes.

    Parameters
    ----------
    labels : ndarray, dtype uint32, or uint8 where binary
        The merged labels.
    classes : dict of int to str
        Names of the classes, by value.
    class_of : dict of int to int
        The class of each object, where the labels are objects.
    overlap : int
        How many pixels several sources claimed.
    """

    labels: npt.NDArray[Any]
    classes: dict[int, str]
    class_of: dict[int, int] = field(default_factory=dict)
    overlap: int = 0


def check_same_shape(sources: Sequence[MergeSource], least: int = 1) -> None:
    """Raise unless there are sources and they have the same shape.

    Raises
    ------
    MaskError
        With the two shapes.
    """
    if len(sources) < least:
        few = "one layer" if least == 1 else f"{least} layers"
        raise MaskError(f"Choose at least {few}.", "Tick the boxes in the list.")
    first = sources[0]
    for source in sources[1:]:
        if source.labels.shape != first.labels.shape:
            raise MaskError(
                f"Layer shape mismatch: “{source.name}” has {tuple(source.labels.shape)}, "
                f"“{first.name}” has {tuple(first.labels.shape)}.",
                "Choose layers of the same size.",
            )


def shared_value(sources: Sequence[MergeSource]) -> tuple[int, list[str]] | None:
    """Return a class value that several classes have, and their names; None if there is none."""
    names: dict[int, dict[str, None]] = defaultdict(dict)
    for source in sources:
        for value, name in source.classes.names.items():
            names[value][name] = None
    return next(((value, list(known)) for value, known in names.items() if len(known) > 1), None)


def count_coverage(sources: Sequence[MergeSource]) -> npt.NDArray[np.uint16]:
    """Return by how many sources each pixel is covered.

    Raises
    ------
    MaskError
        If their shapes differ.
    """
    check_same_shape(sources)
    count = np.zeros(sources[0].labels.shape, np.uint16)
    for source in sources:
        count += _pixels(source) != 0
    return count


def overlap_map(sources: Sequence[MergeSource]) -> npt.NDArray[np.uint16]:
    """Return by how many sources each pixel is covered, where more than one, else 0.

    Raises
    ------
    MaskError
        If there are fewer than two sources, their shapes differ, or nothing overlaps.
    """
    check_same_shape(sources, 2)
    count = count_coverage(sources)
    count[count == 1] = 0
    if not count.any():
        raise MaskError("No overlap found in the selected label layers.")
    return count


def merge_by_class(sources: Sequence[MergeSource], reporter: Reporter | None = None) -> MergeResult:
    """Return labels in which each source's pixels hold its class value; later ones are on top.

    A source without a class counts as class 1.

    Raises
    ------
    MaskError
        If the shapes differ.
    """
    reporter = reporter or NullReporter()
    check_same_shape(sources)
    result = np.zeros(sources[0].labels.shape, np.uint32)
    overlap = np.zeros(result.shape, bool)
    classes = {}
    for done, source in enumerate(sources):
        reporter.report(Progress(done, len(sources), f"Merging {source.name}"))
        value = source.classes.every or 1
        check_fits(value, result.dtype)
        mask = _pixels(source) != 0
        overlap |= mask & (result != 0)
        result[mask] = value
        classes[value] = source.classes.names.get(value, source.name)
    return MergeResult(result, classes, overlap=int(np.count_nonzero(overlap)))


def merge(
    sources: Sequence[MergeSource],
    mode: MergeMode,
    rule: OverlapRule,
    connectivity: Connectivity = Connectivity.FACES,
    reporter: Reporter | None = None,
) -> MergeResult:
    """Return the final labels.

    Parameters
    ----------
    sources : sequence of MergeSource
        In the order of their priority.
    mode : MergeMode
        Semantic: class values (a source's own values where it has no class value). Instance:
        each component of each label of each source is an object of its own, numbered from 1,
        also where objects touch; those of which no class is known are of one. Binary: 1.
    rule : OverlapRule
        Who gets a pixel that several sources claim. With LARGER and SMALLER the component with
        more, or fewer, pixels; the earlier source where they are equal.
    connectivity : Connectivity
        Which neighbours belong to the same component.
    reporter : Reporter, optional
        Is told of the progress.

    Raises
    ------
    MaskError
        If the shapes differ.
    """
    reporter = reporter or NullReporter()
    check_same_shape(sources)
    if mode is MergeMode.INSTANCE:
        sources = _give_class(sources)
    shape = tuple(int(size) for size in sources[0].labels.shape)
    by_area = rule in (OverlapRule.LARGER, OverlapRule.SMALLER)
    result = np.zeros(shape, np.uint32)
    claimed = np.zeros(shape, np.uint16)
    best = np.zeros(shape if by_area else (0,), np.int64)
    class_of: dict[int, int] = {}
    classes: dict[int, str] = {}
    for done, source in enumerate(sources):
        reporter.report(Progress(done, len(sources), f"Merging {source.name}"))
        numbers, areas = _number_pixels(source, mode, connectivity, len(class_of), by_area=by_area)
        if mode is MergeMode.INSTANCE:
            class_of |= numbers.class_of
        classes |= numbers.classes
        mine = numbers.labels != 0
        if by_area:
            better = areas > best if rule is OverlapRule.LARGER else areas < best
            wins = mine & ((claimed == 0) | better)
            best[wins] = areas[wins]
        else:
            wins = mine & (claimed == 0)
        result[wins] = numbers.labels[wins]
        claimed += mine
    if rule is OverlapRule.BACKGROUND:
        result[claimed > 1] = 0
    overlap = int(np.count_nonzero(claimed > 1))
    if mode is MergeMode.INSTANCE:
        return _renumber(result, classes, class_of, overlap)
    if mode is MergeMode.BINARY:
        return MergeResult((result != 0).astype(np.uint8), {1: "foreground"}, overlap=overlap)
    return MergeResult(result, classes, overlap=overlap)


def _give_class(sources: Sequence[MergeSource]) -> list[MergeSource]:
    """Return the sources, those without a class with one that no other has."""
    taken = {value for source in sources for value in source.classes.names}
    free = next(value for value in itertools.count(1) if value not in taken)
    unknown = Classes({free: ANY_CLASS}, every=free)
    return [
        source if source.classes.names else replace(source, classes=unknown) for source in sources
    ]


def _number_pixels(
    source: MergeSource,
    mode: MergeMode,
    connectivity: Connectivity,
    before: int,
    *,
    by_area: bool,
) -> tuple[MergeResult, npt.NDArray[np.int64]]:
    """Return what a source's pixels shall hold, and the areas of their components if needed."""
    labels = _pixels(source)
    values = np.unique(labels[labels != 0])
    wanted = np.array([_class_of(source, value) for value in values.tolist()], np.int64)
    for value in wanted.tolist():
        check_fits(value, np.uint32)
    names = {v: source.classes.names.get(v, f"class {v}") for v in np.unique(wanted).tolist()}
    areas = np.zeros(0, np.int64)
    if mode is MergeMode.INSTANCE or by_area:
        found, everything = find_components(labels, connectivity), whole_box(labels.shape)
        if by_area:
            areas = found.image(found.areas, everything)
    if mode is not MergeMode.INSTANCE:
        return MergeResult(map_array(labels, values, wanted.astype(np.uint32)), names), areas
    ids = np.arange(before + 1, before + 1 + len(found), dtype=np.uint32)
    known = dict(zip(values.tolist(), wanted.tolist(), strict=True))
    class_of = {
        int(one): known[label] for one, label in zip(ids, found.values.tolist(), strict=True)
    }
    return MergeResult(found.image(ids, everything), names, class_of), areas


def _class_of(source: MergeSource, label: int) -> int:
    """Return the class of a label: itself where nothing is known."""
    return source.classes.value(label) if source.classes.names else label


def _renumber(
    labels: npt.NDArray[np.uint32],
    classes: dict[int, str],
    class_of: dict[int, int],
    overlap: int,
) -> MergeResult:
    """Give the objects that are left the numbers 1, 2, ... without gaps."""
    kept = np.flatnonzero(np.bincount(labels.reshape(-1), minlength=len(class_of) + 1)[1:]) + 1
    table = np.zeros(len(class_of) + 1, np.uint32)
    table[kept] = np.arange(1, kept.size + 1)
    renamed = {new: class_of[int(old)] for new, old in enumerate(kept, 1)}
    return MergeResult(table[labels], classes, renamed, overlap)


def _pixels(source: MergeSource) -> npt.NDArray[Any]:
    return read(source.labels, whole_box(source.labels.shape))

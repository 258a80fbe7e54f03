"""The operations on labels: their names, what can be chosen for each, and what each one does."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from napari_sam3_assistant.core.masks.cleanup import (
    keep_largest,
    merge_values,
    remove_small,
    renumber,
    split_touching,
)
from napari_sam3_assistant.core.masks.labels import Connectivity, read, split_blocks, whole_box
from napari_sam3_assistant.core.masks.morphology import expand, fill_holes, shrink, smooth
from napari_sam3_assistant.core.progress import Progress

if TYPE_CHECKING:
    from napari_sam3_assistant.core.masks.edits import LabelEdit
    from napari_sam3_assistant.core.masks.labels import Box
    from napari_sam3_assistant.core.progress import Reporter


class Operation(StrEnum):
    """What can be done to a labels layer."""

    REMOVE_SMALL = "remove small objects"
    FILL_HOLES = "fill holes"
    SMOOTH = "smooth mask"
    KEEP_LARGEST = "keep largest object"
    SPLIT = "split touching objects"
    EXPAND = "expand labels"
    SHRINK = "shrink labels"
    RENUMBER = "renumber labels"
    MERGE_VALUES = "relabel values"
    DELETE_SELECTED = "delete selected components"
    CHANGE_SELECTED = "change selected components"


@dataclass(frozen=True, slots=True, eq=False)
class LabelsPart:
    """Labels, the part of them to work on, and what belongs together in it.

    Parameters
    ----------
    labels : array-like of int, shape (..., H, W)
        The layer's array, in memory or lazy; it is not written to.
    spacing : tuple of float
        Size of a pixel along each axis, in the unit of the radii and distances.
    box : tuple of slice or None
        The part to work on; None for all of it.
    connectivity : Connectivity
        Which neighbours belong to the same component.
    per_slice : bool
        Whether each plane of a stack counts for itself.
    """

    labels: Any
    spacing: tuple[float, ...]
    box: Box | None = None
    connectivity: Connectivity = Connectivity.FACES
    per_slice: bool = False

    @property
    def spacing_in_planes(self) -> tuple[float, ...]:
        """The spacing, without the axes of length 1, and the leading ones if planes count."""
        leading = len(self.spacing) - 2 if self.per_slice else 0
        left_out = [size == 1 or at < leading for at, size in enumerate(self.labels.shape)]
        if all(left_out):
            return self.spacing
        pairs = zip(self.spacing, left_out, strict=True)
        return tuple(math.inf if is_out else size for size, is_out in pairs)


class MaskOperation(ABC):
    """An operation with what was chosen for it."""

    __slots__ = ()

    @abstractmethod
    def edit(self, part: LabelsPart, reporter: Reporter) -> LabelEdit:
        """Return the edit that would do it; raises MaskError if it can't be done."""


@dataclass(frozen=True, slots=True)
class RemoveSmall(MaskOperation):
    """Components of fewer than ``minimum`` pixels go."""

    minimum: int = 64

    def edit(self, part: LabelsPart, reporter: Reporter) -> LabelEdit:
        """Return the edit that removes them."""
        return remove_small(
            part.labels,
            self.minimum,
            part.connectivity,
            part.box,
            reporter,
            per_slice=part.per_slice,
        )


@dataclass(frozen=True, slots=True)
class FillHoles(MaskOperation):
    """Holes of at most ``hole_size`` pixels are filled; 0 for any size."""

    hole_size: int = 256

    def edit(self, part: LabelsPart, reporter: Reporter) -> LabelEdit:
        """Return the edit that fills them."""
        return fill_holes(part.labels, self.hole_size, part.box, reporter, per_slice=part.per_slice)


@dataclass(frozen=True, slots=True)
class Smooth(MaskOperation):
    """Spikes and gaps narrower than a ball of ``radius`` go."""

    radius: float = 1.0

    def edit(self, part: LabelsPart, reporter: Reporter) -> LabelEdit:
        """Return the edit that smooths the labels."""
        return smooth(part.labels, self.radius, part.spacing_in_planes, part.box, reporter)


@dataclass(frozen=True, slots=True)
class KeepLargest(MaskOperation):
    """The largest component stays, of all or ``per_label``."""

    per_label: bool = False

    def edit(self, part: LabelsPart, reporter: Reporter) -> LabelEdit:
        """Return the edit that removes the others."""
        return keep_largest(
            part.labels,
            part.connectivity,
            part.box,
            reporter,
            per_label=self.per_label,
            per_slice=part.per_slice,
        )


@dataclass(frozen=True, slots=True)
class Split(MaskOperation):
    """Components are cut into parts whose centres lie at least ``centres`` apart."""

    centres: float = 10.0

    def edit(self, part: LabelsPart, reporter: Reporter) -> LabelEdit:
        """Return the edit that cuts them apart."""
        # New labels must be new in the whole layer, also when only a part is split.
        highest, pieces = 0, split_blocks(part.labels, whole_box(part.labels.shape))
        for done, box in enumerate(pieces):
            reporter.report(Progress(done, len(pieces), "Looking for free labels"))
            highest = max(highest, int(read(part.labels, box).max(initial=0)))
        return split_touching(
            part.labels,
            self.centres,
            part.connectivity,
            part.spacing_in_planes,
            part.box,
            reporter,
            highest=highest,
        )


@dataclass(frozen=True, slots=True)
class Expand(MaskOperation):
    """Labels grow by ``distance``."""

    distance: float = 1.0

    def edit(self, part: LabelsPart, reporter: Reporter) -> LabelEdit:
        """Return the edit that makes labels larger."""
        return expand(part.labels, self.distance, part.spacing_in_planes, part.box, reporter)


@dataclass(frozen=True, slots=True)
class Shrink(MaskOperation):
    """Labels lose what lies within ``distance`` of their edge."""

    distance: float = 1.0

    def edit(self, part: LabelsPart, reporter: Reporter) -> LabelEdit:
        """Return the edit that makes labels smaller."""
        return shrink(part.labels, self.distance, part.spacing_in_planes, part.box, reporter)


@dataclass(frozen=True, slots=True)
class Renumber(MaskOperation):
    """Labels become 1, 2, ... without gaps; ``by_component`` gives each one its own."""

    by_component: bool = False

    def edit(self, part: LabelsPart, reporter: Reporter) -> LabelEdit:
        """Return the edit that numbers the labels anew."""
        return renumber(
            part.labels,
            part.connectivity,
            reporter,
            by_component=self.by_component,
            per_slice=part.per_slice,
        )


@dataclass(frozen=True, slots=True)
class MergeValues(MaskOperation):
    """All pixels of the labels ``values`` get the label ``new_value``."""

    values: tuple[int, ...]
    new_value: int

    def edit(self, part: LabelsPart, reporter: Reporter) -> LabelEdit:
        """Return the edit that replaces the labels."""
        return merge_values(part.labels, self.values, self.new_value, part.box, reporter)

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
)
from napari_sam3_assistant.core.masks.edits import LabelEdit
from napari_sam3_assistant.core.masks.labels import (
    Connectivity,
    box_shape,
    read,
    split_blocks,
    whole_box,
)
from napari_sam3_assistant.core.masks.morphology import expand, fill_holes, shrink, smooth
from napari_sam3_assistant.core.masks.pieces import split_pieces
from napari_sam3_assistant.core.masks.splitting import NeighbouringCuts, cut_touching, edit_of_cuts
from napari_sam3_assistant.core.plurals import part_of
from napari_sam3_assistant.core.progress import PartReporter, Progress

if TYPE_CHECKING:
    from collections.abc import Iterator

    from napari_sam3_assistant.core.masks.labels import Box
    from napari_sam3_assistant.core.masks.pieces import Piece
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
    apart : tuple of int
        The axes along which each place counts for itself, such as time.
    """

    labels: Any
    spacing: tuple[float, ...]
    box: Box | None = None
    connectivity: Connectivity = Connectivity.FACES
    apart: tuple[int, ...] = ()

    def pieces(self, reporter: Reporter) -> Iterator[tuple[Piece, LabelsPart, Reporter]]:
        """Yield what counts for itself, as a part in which nothing is apart, and its reporter."""
        box = self.box or whole_box(self.labels.shape)
        total = math.prod(box_shape(box)[axis] for axis in self.apart)
        whole = PartReporter(reporter)
        for done, piece in enumerate(split_pieces(self.labels, self.box, self.apart)):
            if total > 1:
                whole.begin(Progress(done, total, part_of(done + 1, total)))
            spacing = tuple(self.spacing[axis] for axis in piece.axes)
            alone = LabelsPart(piece.labels, spacing, piece.box, self.connectivity)
            yield piece, alone, whole if total > 1 else reporter


class MaskOperation(ABC):
    """An operation with what was chosen for it."""

    __slots__ = ()

    @abstractmethod
    def edit(self, part: LabelsPart, reporter: Reporter) -> LabelEdit:
        """Return the edit that would do it; raises MaskError if it can't be done."""


class _EachByItself(MaskOperation):
    """An operation that does the same to each frame, or slice, as if there were no other."""

    __slots__ = ()

    def edit(self, part: LabelsPart, reporter: Reporter) -> LabelEdit:
        """Return the edits of all of them as one."""
        edits = (
            (piece.where, self.edit_piece(alone, its_reporter))
            for piece, alone, its_reporter in part.pieces(reporter)
        )
        return LabelEdit.join(edits, part.labels)

    @abstractmethod
    def edit_piece(self, part: LabelsPart, reporter: Reporter) -> LabelEdit:
        """Return the edit of one of them."""


@dataclass(frozen=True, slots=True)
class RemoveSmall(_EachByItself):
    """Components of fewer than ``minimum`` pixels go."""

    minimum: int = 64

    def edit_piece(self, part: LabelsPart, reporter: Reporter) -> LabelEdit:
        """Return the edit that removes them."""
        return remove_small(part.labels, self.minimum, part.connectivity, part.box, reporter)


@dataclass(frozen=True, slots=True)
class FillHoles(_EachByItself):
    """Holes of at most ``hole_size`` pixels are filled; 0 for any size."""

    hole_size: int = 256

    def edit_piece(self, part: LabelsPart, reporter: Reporter) -> LabelEdit:
        """Return the edit that fills them."""
        return fill_holes(part.labels, self.hole_size, part.box, reporter)


@dataclass(frozen=True, slots=True)
class Smooth(_EachByItself):
    """Spikes and gaps narrower than a ball of ``radius`` go."""

    radius: float = 1.0

    def edit_piece(self, part: LabelsPart, reporter: Reporter) -> LabelEdit:
        """Return the edit that smooths the labels."""
        return smooth(part.labels, self.radius, part.spacing, part.box, reporter)


@dataclass(frozen=True, slots=True)
class KeepLargest(_EachByItself):
    """The largest component stays, of all or ``per_label``."""

    per_label: bool = False

    def edit_piece(self, part: LabelsPart, reporter: Reporter) -> LabelEdit:
        """Return the edit that removes the others."""
        return keep_largest(
            part.labels, part.connectivity, part.box, reporter, per_label=self.per_label
        )


@dataclass(frozen=True, slots=True)
class Split(MaskOperation):
    """Components are cut into parts whose centres lie at least ``centres`` apart.

    Parts of an object that is cut in neighbouring frames, or slices, have the same labels there.
    """

    centres: float = 10.0

    def edit(self, part: LabelsPart, reporter: Reporter) -> LabelEdit:
        """Return the edit that cuts them apart."""
        # New labels must be new in the whole layer, also when only a part is split.
        highest, blocks = 0, split_blocks(part.labels, whole_box(part.labels.shape))
        for done, box in enumerate(blocks):
            reporter.report(Progress(done, len(blocks), "Looking for free labels"))
            highest = max(highest, int(read(part.labels, box).max(initial=0)))
        edits, cuts = [], NeighbouringCuts()
        for piece, alone, its_reporter in part.pieces(reporter):
            found = cut_touching(
                alone.labels,
                self.centres,
                alone.connectivity,
                alone.spacing,
                alone.box,
                its_reporter,
                highest=highest,
                beside=cuts.beside(piece.index),
            )
            cuts.add(piece.index, found)
            highest = max([highest, *(int(cut.parts.max()) for cut in found)])
            edits.append((piece.where, edit_of_cuts(found, alone.labels)))
        return LabelEdit.join(edits, part.labels)


@dataclass(frozen=True, slots=True)
class Expand(_EachByItself):
    """Labels grow by ``distance``."""

    distance: float = 1.0

    def edit_piece(self, part: LabelsPart, reporter: Reporter) -> LabelEdit:
        """Return the edit that makes labels larger."""
        return expand(part.labels, self.distance, part.spacing, part.box, reporter)


@dataclass(frozen=True, slots=True)
class Shrink(_EachByItself):
    """Labels lose what lies within ``distance`` of their edge."""

    distance: float = 1.0

    def edit_piece(self, part: LabelsPart, reporter: Reporter) -> LabelEdit:
        """Return the edit that makes labels smaller."""
        return shrink(part.labels, self.distance, part.spacing, part.box, reporter)


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
            apart=part.apart,
        )


@dataclass(frozen=True, slots=True)
class MergeValues(MaskOperation):
    """All pixels of the labels ``values`` get the label ``new_value``."""

    values: tuple[int, ...]
    new_value: int

    def edit(self, part: LabelsPart, reporter: Reporter) -> LabelEdit:
        """Return the edit that replaces the labels."""
        return merge_values(part.labels, self.values, self.new_value, part.box, reporter)

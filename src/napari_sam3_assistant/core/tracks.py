"""Objects through the frames of a stack, and the table of them."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import TYPE_CHECKING

import numpy as np
from skimage.measure import regionprops_table
from skimage.util import map_array

from napari_sam3_assistant.core.axes import pixel_lengths
from napari_sam3_assistant.core.lineage import valid_links
from napari_sam3_assistant.core.masks.labels import number_objects, split_blocks
from napari_sam3_assistant.core.plurals import pluralize
from napari_sam3_assistant.core.regions import Region
from napari_sam3_assistant.errors import PromptError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    import numpy.typing as npt

    from napari_sam3_assistant.core.axes import Axes
    from napari_sam3_assistant.core.lineage import Lineage
    from napari_sam3_assistant.core.masks.labels import PlaneOfLabels
    from napari_sam3_assistant.core.progress import Reporter
    from napari_sam3_assistant.core.prompts import BoxPrompt, MaskPrompt, PointPrompt
    from napari_sam3_assistant.core.results import ObjectRecord, Provenance


class Direction(StrEnum):
    """Which way the prompts spread through the frames."""

    BOTH = "both"
    FORWARD = "forward"
    BACKWARD = "backward"

    @property
    def reverses(self) -> tuple[bool, ...]:
        """The passes that it takes: False for forward, True for backward."""
        return {"both": (False, True), "forward": (False,), "backward": (True,)}[self]


@dataclass(frozen=True, slots=True)
class Span:
    """Which frames to go through.

    Parameters
    ----------
    direction : Direction
        From the prompts on, which way.
    first, last : int or None
        The first and the last frame, both included; None for the ends of the stack.
    start : int or None
        The frame to begin at, to go on from earlier results; None for the prompted frames.
    stop_after_lost : int or None
        A pass ends when all objects are gone for so many frames; None to go to the end.

    Raises
    ------
    PromptError
        If they contradict each other.
    """

    direction: Direction = Direction.BOTH
    first: int | None = None
    last: int | None = None
    start: int | None = None
    stop_after_lost: int | None = None

    def __post_init__(self) -> None:
        if self.stop_after_lost is not None and self.stop_after_lost < 1:
            raise PromptError(
                f"Propagation can't stop after {self.stop_after_lost} frames without objects.",
                "Give 1 or more, or leave it out to go to the end.",
            )

    def within(self, length: int) -> range:
        """Return the frames of the span in a stack of some length.

        Raises
        ------
        PromptError
            If the stack has no such frames, or ``start`` is none of them.
        """
        first = 0 if self.first is None else self.first
        last = length - 1 if self.last is None else self.last
        if not 0 <= first <= last < length:
            raise PromptError(
                f"There are no frames {first} to {last} in a stack of {length}.",
                f"Choose a range within 0 to {length - 1}.",
            )
        if self.start is not None and not first <= self.start <= last:
            raise PromptError(
                f"Frame {self.start} lies outside the frames {first} to {last}.",
                "Begin at one of them, or widen the range.",
            )
        return range(first, last + 1)


@dataclass(frozen=True, slots=True, eq=False)
class TrackSeed:
    """What names one object on one frame.

    Parameters
    ----------
    frame : int
        The frame, from 0.
    object_id : int
        The object, from 1.
    points : tuple of PointPrompt
        Clicks on it, and off it.
    box : BoxPrompt or None
        A box round it.
    mask : MaskPrompt or None
        Its pixels on this frame. One that was followed to here comes after those of its prompted
        frames.
    score : float or None
        Confidence of what found it.
    text : str
        The phrase that found it.
    """

    frame: int
    object_id: int
    points: tuple[PointPrompt, ...] = ()
    box: BoxPrompt | None = None
    mask: MaskPrompt | None = None
    score: float | None = None
    text: str = ""

    @property
    def is_followed(self) -> bool:
        """Whether it says where to go on from, and not what the object looks like."""
        return self.mask is not None and self.mask.is_followed


@dataclass(frozen=True, slots=True, eq=False)
class TrackedFrame:
    """What an engine answers for one frame.

    Parameters
    ----------
    frame : int
        The frame, from 0.
    objects : tuple of ObjectRecord
        The objects that are there, with their ids through the stack.
    tracked : frozenset of int
        The ids of all objects that were looked for on this frame.
    parents : mapping of int to int
        Of objects that came of a division, which was seen on this frame, the object that divided.
    """

    frame: int
    objects: tuple[ObjectRecord, ...]
    tracked: frozenset[int]
    parents: Mapping[int, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, eq=False)
class FrameResult:
    """The result of one frame.

    Parameters
    ----------
    frame : int
        The frame, from 0.
    labels : ndarray, shape (Y, X), dtype uint32
        Object ids; 0 is background.
    objects : tuple of ObjectRecord
        The objects that are there; an id is the same object on all frames.
    tracked : frozenset of int
        The ids of all objects that were looked for. Who holds an earlier result of this frame
        keeps the other objects of it.
    engine : Provenance
        What made the result.
    notes : tuple of str
        What the user should know, with the first frame of a run.
    parents : mapping of int to int
        Of objects that came of a division, which was seen on this frame, the object that divided.
    """

    frame: int
    labels: npt.NDArray[np.uint32]
    objects: tuple[ObjectRecord, ...]
    tracked: frozenset[int]
    engine: Provenance
    notes: tuple[str, ...] = ()
    parents: Mapping[int, int] = field(default_factory=dict)

    def __repr__(self) -> str:
        """Return one line: a notebook shows what a cell ends with."""
        found = pluralize(len(self.objects), "object")
        return f"<FrameResult {self.frame}: {found}, by {self.engine.title}>"

    def renamed(self, lineage: Lineage) -> FrameResult:
        """Return the result with the numbers of its objects as they are on show."""
        if not lineage.relabelled:
            return self
        ids = {record.id for record in self.objects}
        names = {
            id_: lineage.shown_as(id_, self.frame)
            for id_ in {*ids, *self.tracked, *self.parents, *self.parents.values()}
        }
        old, new = (np.array([*some], np.uint32) for some in (names, names.values()))
        return replace(
            self,
            labels=map_array(np.array(self.labels), old, new),
            objects=tuple(replace(record, id=names[record.id]) for record in self.objects),
            tracked=frozenset(names[id_] for id_ in self.tracked),
            parents={names[child]: names[parent] for child, parent in self.parents.items()},
        )

    def over(self, before: npt.NDArray[np.uint32]) -> npt.NDArray[np.uint32]:
        """Return an earlier result of this frame, with what is new.

        Parameters
        ----------
        before : ndarray, shape (Y, X), dtype uint32
            Object ids; objects in it that were not looked for are kept.
        """
        # As fast as a table of all numbers, which would be gigabytes for labels of other tools.
        tracked = np.array([*self.tracked], np.uint32)
        goes = map_array(np.array(before, np.uint32), tracked, np.ones(tracked.size, bool))
        return np.where((self.labels != 0) | goes, self.labels, before)


COLUMNS = (
    "frame",
    "object",
    "area_px",
    "y_px",
    "x_px",
    "position",
    "y",
    "x",
    "area",
    "position_unit",
    "unit",
    "score",
    "text",
    "parent",
)


@dataclass(frozen=True, slots=True)
class TrackRow:
    """One object on one frame.

    Parameters
    ----------
    frame : int
        The frame, from 0.
    object_id : int
        The object, the same on all frames.
    area : int
        Number of pixels.
    region : Region
        Its bounding box in the frame.
    y, x : float
        Centroid in pixels; the centre of the first pixel is 0.
    score : float or None
        Confidence, 0 to 1, where the engine gives one.
    text : str
        The phrase that found it; empty for other prompts.
    class_name : str
        The class that it is of; empty for none.
    parent : int
        The object that divided into it and others; 0 for none.
    stability : float or None
        How firm its outline is, 0 to 1, where the engine says so.
    """

    frame: int
    object_id: int
    area: int
    region: Region
    y: float
    x: float
    score: float | None = None
    text: str = ""
    class_name: str = ""
    parent: int = 0
    stability: float | None = None

    @classmethod
    def of(cls, frame: int, record: ObjectRecord) -> TrackRow:
        """Return the row of an object, measured on its cropped mask only."""
        y, x = record.centroid
        return cls(
            frame,
            record.id,
            record.area,
            record.region,
            y,
            x,
            record.score,
            record.text,
            record.class_name,
            stability=record.stability,
        )


def measure_frame(frame: int, labels: npt.NDArray[np.uint32]) -> tuple[TrackRow, ...]:
    """Return the objects that the labels of a frame show, shape (Y, X), by their ids.

    What found them is not in labels: they have neither score nor phrase.
    """
    numbers, of_number = number_objects(labels)
    table = regionprops_table(numbers, properties=("label", "area", "bbox", "centroid"))
    columns = [
        table[name].tolist()
        for name in (
            "label", "area", "bbox-0", "bbox-1", "bbox-2", "bbox-3", "centroid-0", "centroid-1",
        )
    ]  # fmt: skip
    return tuple(
        TrackRow(frame, int(of_number[number]), int(area), Region(*box), y, x)
        for number, area, *box, y, x in zip(*columns, strict=True)
    )


@dataclass(frozen=True, slots=True)
class TrackScale:
    """The size of a pixel for a table of tracks.

    Parameters
    ----------
    frame, y, x : float
        Length of a pixel along the axis of the frames, of rows and of columns.
    frame_unit, unit : str
        What they count in, such as ``second`` and ``micrometer``; empty where not known.
    sine : float
        Sine of the angle between rows and columns: 1 unless the image is sheared.
    """

    frame: float = 1.0
    y: float = 1.0
    x: float = 1.0
    frame_unit: str = ""
    unit: str = ""
    sine: float = 1.0

    @classmethod
    def of(cls, axes: Axes) -> TrackScale:
        """Return the size of a pixel along three axes: frames, rows and columns."""
        frame, y, x = axes
        lengths = pixel_lengths((y, x))
        if lengths is None:
            return cls(abs(frame.scale), frame_unit=frame.unit)
        height, width = lengths
        return cls(abs(frame.scale), height, width, frame.unit, x.unit)


class TrackTable:
    """The objects of a propagation, taken in frame by frame.

    A frame that comes again replaces the rows of the objects that were looked for, and keeps
    the others: so the table always says what the labels show.

    Attributes
    ----------
    hidden : frozenset of int
        Objects that are known, and whose rows are left out.
    parents : dict of int to int
        The parent of each object that came of a division, as it was said; see :meth:`links`.
    classes : dict of int to str
        The class of each object that has one, the same on all frames.
    """

    def __init__(self) -> None:
        self._rows: dict[int, dict[int, TrackRow]] = {}
        self.hidden: frozenset[int] = frozenset()
        self.parents: dict[int, int] = {}
        self.classes: dict[int, str] = {}

    def __len__(self) -> int:
        return sum(map(len, self._rows.values()))

    def add(self, result: FrameResult) -> bool:
        """Take the objects of a frame; returns whether others that it had are kept."""
        frame = self._rows.setdefault(result.frame, {})
        for id_ in result.tracked:
            frame.pop(id_, None)
        kept = bool(frame)
        for record in result.objects:
            frame[record.id] = self._classed(TrackRow.of(result.frame, record))
        self.parents |= result.parents
        return kept

    def set_class(self, object_id: int, class_name: str) -> None:
        """Give an object another class, on all frames; an empty name takes it away."""
        self.classes[object_id] = class_name
        for objects in self._rows.values():
            if object_id in objects:
                objects[object_id] = replace(objects[object_id], class_name=class_name)

    def _classed(self, row: TrackRow) -> TrackRow:
        class_name = self.classes.get(row.object_id, "")
        return replace(row, class_name=class_name) if class_name else row

    def put(self, frame: int, measured: Iterable[TrackRow]) -> None:
        """Take what the labels of a frame show, see :func:`measure_frame`, for all that it had.

        Objects that were on it keep their score, and all that are known from any frame their
        phrase and class.
        """
        before = self._rows.get(frame, {})

        def named(row: TrackRow) -> TrackRow:
            known = before.get(row.object_id)
            if known is not None:
                return replace(row, score=known.score, text=known.text, stability=known.stability)
            others = (objects.get(row.object_id) for objects in self._rows.values())
            other = next(filter(None, others), None)
            return row if other is None else replace(row, text=other.text)

        self._rows[frame] = {row.object_id: self._classed(named(row)) for row in measured}

    def remove(self, object_id: int, frames: Sequence[int] | None = None) -> None:
        """Forget an object on all frames, or on some."""
        for frame in self._rows if frames is None else frames:
            self._rows.get(frame, {}).pop(object_id, None)

    def relabel(self, old: int, new: int, first: int) -> None:
        """Give an object another number from a frame on."""
        for frame, objects in self._rows.items():
            if frame >= first and old in objects:
                objects[new] = replace(objects.pop(old), object_id=new)
        if old in self.classes:
            self.classes.setdefault(new, self.classes[old])

    def frames_of(self, object_id: int) -> tuple[int, ...]:
        """Return the frames that an object is on, in order."""
        return tuple(sorted(frame for frame, own in self._rows.items() if object_id in own))

    def links(self) -> dict[int, int]:
        """Return the parent of each object on show that came of a division of another one."""
        first: dict[int, int] = {}
        for frame in sorted(self._rows, reverse=True):
            first |= dict.fromkeys(self._rows[frame], frame)
        for hidden in self.hidden:
            first.pop(hidden, None)
        return valid_links(self.parents, first.get)

    def by_frame(self) -> dict[int, tuple[TrackRow, ...]]:
        """Return all rows, hidden ones too, by frame in the order in which these came first."""
        return {frame: tuple(objects.values()) for frame, objects in self._rows.items()}

    def restore(
        self,
        frames: Mapping[int, Iterable[TrackRow]],
        parents: Mapping[int, int],
        classes: Mapping[int, str],
    ) -> None:
        """Take rows as :meth:`by_frame` has told them, and what is known of their objects."""
        self._rows = {frame: {row.object_id: row for row in rows} for frame, rows in frames.items()}
        self.parents, self.classes = dict(parents), dict(classes)

    @property
    def ids(self) -> set[int]:
        """The objects that are on any frame."""
        return {id_ for objects in self._rows.values() for id_ in objects}

    @property
    def frames(self) -> tuple[int, ...]:
        """The frames that were taken in, in the order in which they came first."""
        return tuple(self._rows)

    def on(self, frame: int) -> tuple[TrackRow, ...]:
        """Return the rows of a frame by object."""
        return tuple(row for row in self.all_on(frame) if row.object_id not in self.hidden)

    def all_on(self, frame: int) -> tuple[TrackRow, ...]:
        """Return the rows of a frame by object, also of hidden ones."""
        return tuple(
            replace(row, parent=self.parents[id_]) if id_ in self.parents else row
            for id_, row in sorted(self._rows.get(frame, {}).items())
        )

    def totals(self) -> dict[int, tuple[int, float | None]]:
        """Return of each object, also a hidden one, all its pixels and its mean score."""
        found: dict[int, list[TrackRow]] = {}
        for objects in self._rows.values():
            for id_, row in objects.items():
                found.setdefault(id_, []).append(row)
        totals: dict[int, tuple[int, float | None]] = {}
        for id_, rows in found.items():
            scores = [row.score for row in rows if row.score is not None]
            mean = sum(scores) / len(scores) if scores else None
            totals[id_] = (sum(row.area for row in rows), mean)
        return totals

    def boxes_of(self, object_id: int) -> dict[int, Region]:
        """Return an object's bounding box on each frame that has it."""
        return {
            frame: objects[object_id].region
            for frame, objects in self._rows.items()
            if object_id in objects
        }

    def copy(self) -> TrackTable:
        """Return a table that later frames do not change."""
        other = TrackTable()
        other._rows = {frame: dict(objects) for frame, objects in self._rows.items()}
        other.hidden, other.classes = self.hidden, dict(self.classes)
        other.parents = dict(self.parents)
        return other

    def clear(self) -> None:
        """Forget all frames."""
        self._rows.clear()
        self.classes.clear()
        self.hidden = frozenset()
        self.parents = {}

    def rows(self) -> Iterator[TrackRow]:
        """Yield the rows by frame, and on a frame by object."""
        for frame in sorted(self._rows):
            yield from self.on(frame)

    def cells(self, scale: TrackScale | None = None) -> Iterator[tuple[object, ...]]:
        """Yield the rows as the cells of ``COLUMNS``.

        Parameters
        ----------
        scale : TrackScale, optional
            The size of a pixel, for ``position`` (that of the frame), ``y``, ``x`` and ``area``;
            by default 1.

        Yields
        ------
        tuple
            Pixels with four decimals, lengths with seven digits.
        """
        size = scale or TrackScale()
        parents = self.links()
        for row in self.rows():
            yield (
                row.frame,
                row.object_id,
                row.area,
                round(row.y, 4),
                round(row.x, 4),
                f"{row.frame * size.frame:.7g}",
                f"{row.y * size.y:.7g}",
                f"{row.x * size.x:.7g}",
                f"{row.area * size.y * size.x * size.sine:.7g}",
                size.frame_unit,
                size.unit,
                None if row.score is None else round(row.score, 4),
                row.text,
                parents.get(row.object_id),
            )

    def tracks(
        self, leading: Sequence[int] = (0,), axis: int = 0, *, least: int = 1
    ) -> npt.NDArray[np.float64]:
        """Return the centroids as napari's Tracks layer takes them, one track an object.

        Parameters
        ----------
        leading : sequence of int
            Index on each axis before y and x; that of the frames' own axis does not matter.
        axis : int
            Which of them is that of the frames.
        least : int
            Objects that are on fewer frames are left out.

        Returns
        -------
        ndarray, shape (N, 1 + D), dtype float64
            Object id, the position on each leading axis, y, x in pixels; by object, then frame.
        """
        by_object: dict[int, list[TrackRow]] = {}
        for row in self.rows():
            by_object.setdefault(row.object_id, []).append(row)
        found = [row for _, own in sorted(by_object.items()) if len(own) >= least for row in own]
        table = np.empty((len(found), 3 + len(leading)))
        for column, index in enumerate(leading, 1):
            table[:, column] = index
        table[:, 0] = [row.object_id for row in found]
        table[:, 1 + axis] = [row.frame for row in found]
        table[:, -2] = [row.y for row in found]
        table[:, -1] = [row.x for row in found]
        return table


def measure_centroids(
    plane: PlaneOfLabels, regions: Mapping[int, Region], reporter: Reporter
) -> dict[int, tuple[int, float, float]]:
    """Return how many pixels objects have on a plane of labels, and their centroids.

    Parameters
    ----------
    plane : PlaneOfLabels
        The plane; read block by block, and only the blocks that objects lie in.
    regions : mapping of int to Region
        A box that holds each object, by the objects' ids.
    reporter : Reporter
        Asked between the blocks whether to go on.

    Returns
    -------
    dict
        Area, and y and x of the centroid in pixels, of each object that has pixels there.

    Raises
    ------
    ImageError
        If the labels can't be read.
    """
    ids = np.array(sorted(regions))
    boxes = np.array([regions[id_].box for id_ in ids.tolist()])
    (top, left), (bottom, right) = boxes[:, :2].min(0).tolist(), boxes[:, 2:].max(0).tolist()
    sums = np.zeros((3, len(ids)))
    for block in split_blocks(plane.labels, plane.box((slice(top, bottom), slice(left, right)))):
        rows, columns = block[plane.rows], block[plane.columns]
        in_rows = (boxes[:, 0] < rows.stop) & (boxes[:, 2] > rows.start)
        if not (in_rows & (boxes[:, 1] < columns.stop) & (boxes[:, 3] > columns.start)).any():
            continue
        reporter.check()
        pixels = plane[rows, columns]
        y, x = np.nonzero(pixels)
        values = pixels[y, x]
        places = np.searchsorted(ids, values).clip(max=len(ids) - 1)
        known = ids[places] == values
        at = (y[known] + rows.start, x[known] + columns.start)
        for total, weights in zip(sums, (None, *at), strict=True):
            total += np.bincount(places[known], weights, len(ids))
    area, y_sum, x_sum = sums
    return {
        int(ids[at]): (int(area[at]), float(y_sum[at] / area[at]), float(x_sum[at] / area[at]))
        for at in np.flatnonzero(area)
    }


def join_slices(
    ids: npt.ArrayLike, areas: npt.ArrayLike, positions: npt.ArrayLike, axis: int
) -> npt.NDArray[np.float64]:
    """Return tracks through the centroids of objects that may lie on several slices of a frame.

    Parameters
    ----------
    ids, areas : array-like, shape (N,)
        Of the part of an object on one slice, the object and the number of pixels.
    positions : array-like of float, shape (N, D)
        Its place on each leading axis, and its centroid's y and x.
    axis : int
        Which column of the positions is that of the frames.

    Returns
    -------
    ndarray, shape (M, 1 + D), dtype float64
        Object id and position, as :meth:`TrackTable.tracks` gives them; objects on a single frame
        are left out.
    """
    places, weights = np.asarray(positions, float), np.asarray(areas, float)
    frames, part = np.unique(
        np.stack([np.asarray(ids, float), places[:, axis]], 1), axis=0, return_inverse=True
    )
    part = part.reshape(-1)  # numpy 2.0 keeps the axis
    mass = np.bincount(part, weights)
    joined = [np.bincount(part, weights * column) / mass for column in places.T]
    tracks = np.column_stack([frames[:, 0], *joined])
    tracks[:, 1 + axis] = frames[:, 1]
    _, which, count = np.unique(frames[:, 0], return_inverse=True, return_counts=True)
    kept: npt.NDArray[np.float64] = tracks[count[which] > 1]
    return kept

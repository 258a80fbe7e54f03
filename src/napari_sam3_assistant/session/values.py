"""Values of a session: images, planes, results and labels on show."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from napari_sam3_assistant.core.plurals import format_number
from napari_sam3_assistant.core.prompts import (
    ONE_BY_ONE,
    PromptKind,
    Tool,
)

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    import numpy as np
    import numpy.typing as npt

    from napari_sam3_assistant.core.axes import ImageAxes
    from napari_sam3_assistant.core.images import LazyArray, PlaneRef
    from napari_sam3_assistant.core.measurements import Measurement
    from napari_sam3_assistant.core.regions import Region
    from napari_sam3_assistant.core.results import ObjectRecord, Segmentation
    from napari_sam3_assistant.core.stitching import StitchedObject
    from napari_sam3_assistant.workflows.provenance import RunProvenance


@dataclass(frozen=True, slots=True)
class PromptCounts:
    """How many prompts the chosen task and tool would take now.

    ``positive`` and ``negative``: clicks, or examples, on the plane on show.
    ``boxes``: boxes on the plane on show.
    ``painted``: whether a mask is painted on the plane on show.
    ``elsewhere``: prompts of this kind on other slices, or other channels.
    ``outside``: points beside the image, and boxes that enclose no pixel of it.
    ``most_points``: most clicks on one object and slice of a stack.
    """

    positive: int = 0
    negative: int = 0
    boxes: int = 0
    painted: bool = False
    elsewhere: int = 0
    outside: int = 0
    most_points: int = 0


class Level(StrEnum):
    """How much a message matters."""

    INFO = "info"
    SUCCESS = "success"
    WARNING = "warning"
    ERROR = "error"


@dataclass(frozen=True, slots=True)
class Message:
    """One line for the user.

    ``text``: what is to say.
    ``level``: how much it matters.
    ``outcome``: the result that it describes completely.
    """

    text: str
    level: Level = Level.INFO
    outcome: Preview | None = field(default=None, compare=False, repr=False)


@dataclass(frozen=True, slots=True)
class PlaneTarget:
    """Where a result belongs.

    ``image``: key of the image.
    ``name``: the image's name when the run began.
    ``axes`` and ``shape``: the image's axes as they were shown, and how long they were.
    ``plane``: the plane that was segmented.
    """

    image: str
    name: str = field(compare=False)  # a renamed image is the same place
    axes: ImageAxes
    plane: PlaneRef
    shape: tuple[int, ...]

    def is_same_plane(self, other: PlaneTarget) -> bool:
        """Return whether another one is the same plane; results are on show on all channels."""
        return (self.image, self.axes.y, self.axes.x, self.plane.leading) == (
            other.image,
            other.axes.y,
            other.axes.x,
            other.plane.leading,
        )


@dataclass(frozen=True, slots=True)
class ColumnRange:
    """Which values of a column are on show.

    ``column``: title of the column.
    ``low`` and ``high``: the least and the largest value; infinite for none.
    """

    column: str
    low: float
    high: float

    def holds(self, value: float | None) -> bool:
        """Return whether a value is on show; what has none is."""
        return value is None or self.low <= value <= self.high

    @property
    def is_endless(self) -> bool:
        """Whether all values are on show."""
        return self.low == -math.inf and self.high == math.inf

    def __str__(self) -> str:
        """Return what is on show, in words."""
        low, high = (format_number(end, 4) for end in (self.low, self.high))
        if self.high == math.inf:
            return f"{self.column} {low} or more"
        if self.low == -math.inf:
            return f"{self.column} {high} or less"
        return f"{self.column} {low} to {high}"


@dataclass(frozen=True, slots=True, eq=False)
class Preview:
    """A result and where it belongs.

    ``target``: the image and the plane.
    ``segmentation``: what was found.
    ``seconds``: how long the run took.
    ``label``: what distinguishes it from other previews of the image: a phrase, a region; may be
    empty.
    ``provenance``: what made it, for the note beside a saved file.
    ``edited``: the kinds of prompts whose next run undoes what the user has changed or deleted
    since.
    ``by_hand``: the objects that are as the user has changed them: no prompts make them anew.
    ``ranges``: which of the objects that were found are on show: those in ``segmentation``.
    ``hidden``: the others.
    ``replaces``: the accepted object, by its value, that its object of that number takes the place
    of once it is accepted; 0 for none.
    ``added``: the objects that prompts of a kind have added since, or corrected.
    """

    target: PlaneTarget
    segmentation: Segmentation
    seconds: float
    label: str = ""
    provenance: RunProvenance | None = None
    edited: frozenset[PromptKind] = frozenset()
    by_hand: frozenset[int] = frozenset()
    ranges: tuple[ColumnRange, ...] = ()
    hidden: tuple[ObjectRecord, ...] = ()
    replaces: int = 0
    added: Mapping[PromptKind, frozenset[int]] = field(default_factory=dict)

    @property
    def slot(self) -> tuple[str, str]:
        """The place that a later preview of the same image and label takes."""
        return (self.target.image, self.label)

    @property
    def ids(self) -> frozenset[int]:
        """All its objects, also those that are not on show."""
        return frozenset(record.id for record in (*self.segmentation.objects, *self.hidden))

    @property
    def kinds(self) -> frozenset[PromptKind]:
        """The kinds of the prompts that made its objects, as far as that is known."""
        asked = frozenset() if self.provenance is None else self.provenance.prompts.kinds
        # Clicks on an object take its mask with them.
        painted = {PromptKind.MASK} if PromptKind.POINTS in asked else frozenset()
        return (asked - painted) | {kind for kind, ids in self.added.items() if ids}

    def made_by(self, kind: PromptKind) -> frozenset[int]:
        """Return the objects that prompts of a kind made, which their next run makes anew."""
        mine = self.added.get(kind, frozenset())
        if self.provenance is not None and kind in self.provenance.prompts.kinds:
            mine = mine | self.ids.difference(*self.added.values())
        return (mine & self.ids) - self.by_hand

    def holds_others(self, kind: PromptKind) -> bool:
        """Return whether there are objects that prompts of a kind did not make."""
        return self.made_by(kind) != self.ids

    def changed_in(self, after: Segmentation) -> frozenset[int]:
        """Return the objects that are others, or none any more, in a result by the user."""
        before = {id(record) for record in self.segmentation.objects}
        there = {record.id for record in after.objects if id(record) in before}
        every = {record.id for record in (*self.segmentation.objects, *after.objects)}
        return frozenset(every - there)

    def change(self, after: Segmentation) -> Preview:
        """Return it as the user has changed its objects.

        What drawn prompts have made stays theirs: see :meth:`.undo.Undo.part_from_prompts`.
        """
        changed = self.changed_in(after)
        undone = {kind for kind in self.kinds if self.made_by(kind) & changed}
        drawn = frozenset[int]().union(*map(self.made_by, ONE_BY_ONE))
        now = replace(self, segmentation=after, edited=self.edited | undone)
        return replace(now, by_hand=(self.by_hand | changed - drawn) & now.ids)


@dataclass(frozen=True, slots=True)
class ActiveRoi:
    """The part of a large image that the last run worked on.

    ``target``: the image and the plane.
    ``region``: the part of the plane.
    """

    target: PlaneTarget
    region: Region


@dataclass(frozen=True, slots=True)
class ResultRow:
    """One object of a result.

    ``preview``: the result, the frame of a propagation, a plane of accepted labels, or the labels
    of a scan.
    ``record``: the object.
    ``measured``: its size and brightness; None until they are asked for.
    ``slices``: an accepted object that lies on several planes of a stack, plane by plane:
    ``preview`` and ``record`` are those of the largest one. Empty for all others.
    """

    preview: Preview | FramePlace | KeptPlace | FileBackedLabels
    record: ObjectRecord | StitchedObject
    measured: Measurement | None = None
    slices: tuple[ResultRow, ...] = ()

    @property
    def parts(self) -> tuple[ResultRow, ...]:
        """The object plane by plane."""
        return self.slices or (self,)

    @property
    def area(self) -> int:
        """Its number of pixels on all planes."""
        return sum(part.record.area for part in self.slices) if self.slices else self.record.area

    def on(self, plane: PlaneRef) -> ResultRow:
        """Return the part of the object on a plane, or else the largest one."""
        here = (part for part in self.slices if part.preview.target.plane == plane)
        largest = next((part for part in self.slices if part.record is self.record), self)
        return next(here, largest)


@dataclass(frozen=True, slots=True)
class DeviceInUse:
    """Where the loaded engine runs.

    ``name``: ``cpu``, ``cuda:0``, ``mps``.
    ``reason``: why there, for the user.
    ``precision``: the number format of its image encoder; empty where it has no choice.
    """

    name: str
    reason: str
    precision: str = ""


class EncodeAhead(StrEnum):
    """Whether the plane on show is encoded while the user draws."""

    AUTO = "auto"
    ON = "on"
    OFF = "off"


@dataclass(frozen=True, slots=True)
class WhyNot:
    """Why each thing that the user can ask for can't be done now; empty for what can.

    The session resolves it anew after each change of the state.
    """

    run: str = ""
    cancel: str = ""
    clear: str = ""
    undo: str = ""
    redo: str = ""
    accept: str = ""
    accept_all: str = ""
    refine: str = ""
    follow: str = ""
    save: str = ""
    save_file: str = ""
    save_and_clean: str = ""
    figure: str = ""
    go_on: str = ""
    remove_object: str = ""
    export_tracks: str = ""
    correct_tracks: str = ""
    scan: str = ""
    batch_folder: str = ""
    encode_folder: str = ""
    merge_rois: str = ""
    batch_images: str = ""
    batch_text: str = ""
    large_image: str = ""
    text: str = ""
    polarity: str = ""
    prompt_layer: str = ""
    load: str = ""
    load_video: str = ""
    unload: str = ""
    test_server: str = ""
    validate: str = ""
    encode_ahead: str = ""
    results: str = ""
    export_results: str = ""
    measure: str = ""
    soft_masks: str = ""


@dataclass(frozen=True, slots=True, eq=False)
class SoftImage:
    """The soft masks of a result, as one picture.

    ``preview``: the result.
    ``pixels`` (shape (h, w)): the highest probability of its objects at each pixel of its region, 0
    to 1.
    """

    preview: Preview
    pixels: npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class ImageChoice:
    """An image that can be chosen.

    ``key``: its identity; survives renaming.
    ``name``: its name for the user.
    ``summary``: its size and how its axes are read, for the user.
    ``shape``: height and width of the plane on show; 0 where there is none.
    ``note``: which plane is segmented, where the view shows more than one; empty where it is plain.
    ``why_not``: why no plane of it can be segmented now, and what to do; empty if one can.
    """

    key: str
    name: str
    summary: str
    shape: tuple[int, int] = (0, 0)
    note: str = ""
    why_not: str = ""


@dataclass(frozen=True, slots=True)
class LayerSource:
    """Where a layer was read from, by napari or another plugin, and what of it.

    ``path``: the file, the zarr folder, or the folder of a series of files.
    ``shape``: length of each axis of the layer's array.
    ``as_stored``: whether napari's own reader read it.
    """

    path: Path
    shape: tuple[int, ...]
    as_stored: bool


class AxesUse(StrEnum):
    """What of the axes that a file tells an image lacks, or has from it."""

    NOTHING = ""
    NAMES = "names"
    SIZES = "sizes"
    ALL = "names and sizes"


@dataclass(frozen=True, slots=True)
class AxesFromFile:
    """What the file of the chosen image says of its axes, while the image lacks it or has it so.

    ``text``: what it says, for the user.
    ``offered``: what the image can still take.
    ``taken``: whether it has something from there, which can be taken back.
    """

    text: str
    offered: AxesUse = AxesUse.NOTHING
    taken: bool = False


@dataclass(frozen=True, slots=True)
class LayerChoice:
    """A layer that prompts can be taken from.

    ``key``: its identity; survives renaming.
    ``name``: its name for the user.
    ``tool``: what its type is for: points, boxes or a mask.
    """

    key: str
    name: str
    tool: Tool


@dataclass(frozen=True, slots=True)
class FrameAxis:
    """An axis of an image that objects can be followed along.

    ``number``: number of the array's axis.
    ``name``: its label, or its number, for the user.
    ``length``: how many frames there are.
    """

    number: int
    name: str
    length: int


@dataclass(frozen=True, slots=True)
class StackTarget:
    """Where the results of a propagation belong.

    ``target``: the image, and the plane on show when it began: the other leading axes stay there.
    ``axis``: number of the array's axis that the frames lie along.
    """

    target: PlaneTarget
    axis: int

    def at(self, frame: int) -> PlaneTarget:
        """Return the place of one frame."""
        plane = self.target.plane
        leading = list(plane.leading)
        leading[self.target.axes.leading.index(self.axis)] = frame
        return replace(self.target, plane=replace(plane, leading=tuple(leading)))


@dataclass(frozen=True, slots=True, eq=False)
class StackSeed:
    """An object on one plane that is to be followed through its stack.

    ``target``: the image and the plane.
    ``record``: the object.
    ``preview``: the result that it is of; None for an accepted one.
    """

    target: PlaneTarget
    record: ObjectRecord
    preview: Preview | None = None


@dataclass(frozen=True, slots=True)
class FramePlace:
    """One frame of a propagation.

    ``target``: the image and the plane.
    """

    target: PlaneTarget

    @property
    def slot(self) -> tuple[str, str]:
        """The image, and no label: there is one propagation an image."""
        return (self.target.image, "")


@dataclass(frozen=True, slots=True)
class KeptPlace:
    """One plane of the accepted labels of an image.

    ``target``: the image and the plane.
    """

    target: PlaneTarget

    @property
    def slot(self) -> tuple[str, str]:
        """The image, and no label."""
        return (self.target.image, "")


@dataclass(frozen=True, slots=True)
class StoppedScan:
    """A scan that was stopped and can go on.

    ``choices``: what was scanned and how, see :attr:`.scanning.Scanning.choices`.
    ``done`` and ``total``: tiles.
    """

    choices: tuple[object, ...]
    done: int
    total: int


class FileBackedKind(StrEnum):
    """What wrote labels to a file."""

    SCAN = "scan"
    MERGED = "merged"


@dataclass(frozen=True, slots=True, eq=False)
class FileBackedLabels:
    """Labels of one plane in a file.

    ``kind``: what wrote them.
    ``target``: the image and the plane.
    ``path``: the zarr folder; while a scan goes on, the name that it will have.
    ``levels``: the labels in all their sizes, the largest first; read when they are indexed.
    ``features``: one row an object, for the layer's table.
    ``complete``: whether nothing writes to the file any more, so that the user may.
    """

    kind: FileBackedKind
    target: PlaneTarget
    path: Path
    levels: tuple[LazyArray, ...]
    features: Mapping[str, Sequence[Any]] = field(default_factory=dict)
    complete: bool = True

    @property
    def label(self) -> str:
        """What distinguishes them from other labels of the image."""
        return self.path.name.removesuffix(".zarr")

    @property
    def slot(self) -> tuple[str, str]:
        """The place of their layer, see :attr:`.model.Preview.slot`."""
        return (self.target.image, self.label)

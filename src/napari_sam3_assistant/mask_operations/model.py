"""The one state of the mask operations, and the values that they pass."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, Any, ClassVar

from psygnal import SignalGroupDescriptor

from napari_sam3_assistant.core.classes import ClassList
from napari_sam3_assistant.core.masks.labels import Connectivity, parse_values
from napari_sam3_assistant.core.masks.merge import MergeMode, OverlapRule
from napari_sam3_assistant.core.masks.objects import ExportFormat
from napari_sam3_assistant.core.masks.operations import (
    Expand,
    FillHoles,
    KeepLargest,
    MaskOperation,
    MergeValues,
    Operation,
    RemoveSmall,
    Renumber,
    Shrink,
    Smooth,
    Split,
)
from napari_sam3_assistant.core.masks.pieces import Apart
from napari_sam3_assistant.session.values import AxesFromFile, Message

if TYPE_CHECKING:
    from collections.abc import Mapping

    import numpy as np
    import numpy.typing as npt

    from napari_sam3_assistant.core.masks.components import Components
    from napari_sam3_assistant.core.masks.edits import LabelEdit
    from napari_sam3_assistant.core.masks.objects import Classes
    from napari_sam3_assistant.jobs import JobProgress


CLASS_COLOURS = "class_colours"
"""In the metadata of labels: red, green and blue of values, 0 to 255, where a list fixes them."""


class Scope(StrEnum):
    """Which part of a layer an operation works on."""

    WHOLE = "whole layer"
    VISIBLE = "visible region"
    DRAWN = "drawn region"


@dataclass(frozen=True, slots=True)
class LabelsChoice:
    """A labels layer that can be chosen.

    ``key``: its identity; survives renaming.
    ``summary``: its size and type, for the user.
    ``preview``: whether it is a preview of a run.
    ``accepted``: whether it holds accepted objects.
    ``class_name``: name of its class; empty if it has none.
    ``class_value``: value of its class; None if it has none, or several.
    ``shape``: shape of its labels.
    ``names``: what its axes before rows and columns are.
    ``guess``: what of that is guessed, for the user; empty for nothing.
    """

    key: str
    name: str
    summary: str = ""
    preview: bool = False
    accepted: bool = False
    class_name: str = ""
    class_value: int | None = None
    shape: tuple[int, ...] = ()
    names: tuple[str, ...] = ()
    guess: str = ""

    def explain_apart(self, apart: Apart) -> str:
        """Return what counts for itself in the layer, for the user; empty for a single plane."""
        several = [name for name, length in zip(self.names, self.shape, strict=False) if length > 1]
        guess = self.guess if apart is Apart.FRAMES else ""
        if guess and several == ["z"]:
            guess += " Or choose Slices, for the frames of a movie."
        return f"{apart.explain(several)} {guess}".strip()


@dataclass(frozen=True, slots=True, eq=False)
class LabelsSnapshot:
    """A labels layer as a job sees it.

    ``array``: the layer's own array: read by jobs, written through edits only.
    ``name``: the layer's name.
    ``image_name``: name of the image that the labels belong to; empty if there is none.
    ``classes``: what the labels stand for.
    ``smaller``: the smaller levels of a pyramid.
    """

    array: Any
    name: str
    image_name: str
    classes: Classes
    smaller: tuple[Any, ...] = ()


@dataclass(frozen=True, slots=True, eq=False)
class NewLabels:
    """A labels layer to make, or to fill anew.

    ``role``: what it is to us.
    ``labels``: its pixels.
    ``like``: key of the layer whose place in the world it takes.
    ``metadata``: what else is known of it.
    ``first``: the pixel of ``like`` that its first pixel lies on; empty for the first one.
    """

    name: str
    role: str
    labels: npt.NDArray[np.integer[Any]]
    like: str
    metadata: dict[str, Any] = field(default_factory=dict)
    first: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class PlaneChoice:
    """The plane of an image that annotations of a file are for.

    ``key``: identity of the image's layer.
    ``files``: what a file may call the plane, the likeliest first.
    ``index``: which plane it is, by ``z`` and ``t``.
    ``shape``: height and width.
    ``leading``: index of the plane on each axis before rows and columns.
    """

    key: str
    name: str
    files: tuple[str, ...]
    index: Mapping[str, int]
    shape: tuple[int, int]
    leading: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True, eq=False)
class RemovedLayer:
    """A layer that was taken out of the viewer, to be brought back.

    ``layer``: the layer itself.
    ``place``: where it was in the list of layers.
    ``nbytes``: how much memory its labels take.
    """

    name: str
    layer: Any
    place: int
    nbytes: int


class SaveMode(StrEnum):
    """Where an accepted object goes."""

    NEW = "new"
    APPEND = "append"
    REPLACE = "replace"


class RightClick(StrEnum):
    """What a right click on the target layer deletes."""

    OFF = "off"
    LABEL = "label"
    COMPONENT = "component"


@dataclass
class MaskModel:
    """What the user chose, and what is known of the labels.

    ``layers``: the labels layers that are there.
    ``class_list`` and ``class_file``: the classes of the project, and the file that lists them;
    empty where none is chosen.
    ``source``, ``object_name``, ``class_name``, ``class_value``, ``label``, ``save_mode`` and
    ``accepted_target``: Accepted Objects: the layer to save, as what, which label of it (0 for
    all), and where to.
    ``class_filter``, ``merge_chosen``, ``merge_output`` and ``merge_overlap``: Class Merge: the
    class to list, keys of the ticked layers, the output's name, and how many pixels the layers
    share (-1 if that is not known).
    ``target``, ``connectivity``, ``scope``, ``physical`` and ``apart``: Mask Cleanup: key of the
    layer, and how operations work.
    ``axes_from_file``: what the file of that layer says of its axes; None where there is nothing to
    take.
    ``remove_small``, ``fill_holes``, ``smooth``, ``keep_largest``, ``split``, ``expand`` and
    ``renumber``: Mask Cleanup: the operations, each with what was chosen for it.
    ``values_text`` and ``new_value``: Mask Cleanup: the labels to replace as the user has typed
    them, and what they become.
    ``components``, ``components_stale`` and ``selected``: the table of components, whether the
    labels have changed since, and its chosen rows.
    ``right_click``: what a right click deletes.
    ``previewing`` and ``preview``: the operation whose effect is shown, and the effect.
    ``final_chosen``, ``final_order``, ``merge_mode``, ``rule``, ``output``, ``export_format`` and
    ``path``: Final Merge: ticked layers in the order of ticking, all in the order of priority, and
    what to make of them.
    ``running``, ``progress``, ``message``, ``can_undo`` and ``can_redo``: what is going on.
    ``stroke``: whether the user holds the mouse button down on the canvas.
    ``unfinished``: what was being written into the target when napari was killed, for the user;
    empty for nothing.
    ``undo_collected`` and ``redo_collected``: what was made, filled or changed last by the tabs
    that collect, and what was taken back last; empty if there is nothing.
    """

    events: ClassVar[SignalGroupDescriptor] = SignalGroupDescriptor()

    layers: tuple[LabelsChoice, ...] = ()
    class_list: ClassList = field(default_factory=ClassList)
    class_file: str = ""

    source: str = ""
    object_name: str = ""
    class_name: str = ""
    class_value: int = 1
    label: int = 0
    save_mode: SaveMode = SaveMode.NEW
    accepted_target: str = ""

    class_filter: str = ""
    merge_chosen: tuple[str, ...] = ()
    merge_output: str = ""
    merge_overlap: int = -1

    target: str = ""
    connectivity: Connectivity = Connectivity.FACES
    scope: Scope = Scope.WHOLE
    physical: bool = False
    apart: Apart = Apart.FRAMES
    axes_from_file: AxesFromFile | None = None
    remove_small: RemoveSmall = field(default_factory=RemoveSmall)
    fill_holes: FillHoles = field(default_factory=FillHoles)
    smooth: Smooth = field(default_factory=Smooth)
    keep_largest: KeepLargest = field(default_factory=KeepLargest)
    split: Split = field(default_factory=Split)
    expand: Expand = field(default_factory=Expand)
    renumber: Renumber = field(default_factory=Renumber)
    values_text: str = ""
    new_value: int = 1
    components: Components | None = None
    components_stale: bool = False
    selected: tuple[int, ...] = ()
    right_click: RightClick = RightClick.OFF
    previewing: Operation | None = None
    preview: LabelEdit | None = None

    final_chosen: tuple[str, ...] = ()
    final_order: tuple[str, ...] = ()
    merge_mode: MergeMode = MergeMode.SEMANTIC
    rule: OverlapRule = OverlapRule.PRIORITY
    output: str = ""
    export_format: ExportFormat = ExportFormat.TIFF
    path: str = ""

    running: bool = False
    progress: JobProgress | None = None
    message: Message = field(default_factory=lambda: Message("Ready"))
    can_undo: bool = False
    can_redo: bool = False
    stroke: bool = False
    unfinished: str = ""
    undo_collected: str = ""
    redo_collected: str = ""

    @property
    def shrink(self) -> Shrink:
        """Shrinks by the distance by which labels grow: the window has one for both."""
        return Shrink(self.expand.distance)

    @property
    def merge_values(self) -> MergeValues:
        """Replaces the labels in the text; raises MaskError if it names none."""
        return MergeValues(parse_values(self.values_text), self.new_value)

    @property
    def operation_choices(self) -> tuple[object, ...]:
        """All that says what an operation would do."""
        of_one = [value for value in vars(self).values() if isinstance(value, MaskOperation)]
        of_all = (self.connectivity, self.scope, self.physical, self.apart)
        return (*of_one, self.values_text, self.new_value, *of_all)

    def chosen(self, operation: Operation) -> MaskOperation:
        """Return an operation on labels with what is chosen for it; raises MaskError as above."""
        found: MaskOperation = getattr(self, operation.name.lower())
        return found

    @property
    def accepted_of_class(self) -> tuple[LabelsChoice, ...]:
        """The accepted layers of the class that is asked for; of all if none is."""
        class_name = self.class_filter.strip().lower()
        return tuple(
            layer
            for layer in self.layers
            if layer.accepted and class_name in ("", layer.class_name.lower())
        )

    def choice(self, key: str) -> LabelsChoice | None:
        """Return a layer by its key, or None."""
        return next((layer for layer in self.layers if layer.key == key), None)

    def name_of(self, key: str) -> str:
        """Return a layer's name; of one that is gone, a word for it."""
        layer = self.choice(key)
        return layer.name if layer else "the layer"

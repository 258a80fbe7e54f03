"""The one state of a session: what the user chose, what is there, and what came out."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from psygnal import SignalGroupDescriptor

from napari_sam3_assistant.core.axes import FIND_OUT
from napari_sam3_assistant.core.classes import ClassList
from napari_sam3_assistant.core.lineage import Lineage
from napari_sam3_assistant.core.measurements import BASIC, VOLUME
from napari_sam3_assistant.core.options import DEFAULT_THRESHOLD, TileOptions
from napari_sam3_assistant.core.phrases import parse_phrases
from napari_sam3_assistant.core.prompts import Everything, PromptKind, Task, Tool, usable_tool
from napari_sam3_assistant.core.tracks import Direction, Span
from napari_sam3_assistant.engines.base import Traffic
from napari_sam3_assistant.engines.device import Precision
from napari_sam3_assistant.io.outputs import typed_folder
from napari_sam3_assistant.session.values import (
    ActiveRoi,
    AxesFromFile,
    DeviceInUse,
    EncodeAhead,
    FrameAxis,
    ImageChoice,
    LayerChoice,
    Message,
    Preview,
    PromptCounts,
    ResultRow,
    SoftImage,
    StackTarget,
    StoppedScan,
    WhyNot,
)

if TYPE_CHECKING:
    from napari_sam3_assistant.core.lineage import Division
    from napari_sam3_assistant.core.prompts import PromptSet
    from napari_sam3_assistant.engines.base import EngineSpec
    from napari_sam3_assistant.jobs import JobProgress
    from napari_sam3_assistant.workflows.annotate_folder import AnnotatedImage
    from napari_sam3_assistant.workflows.batch import FolderSeries


CHOICE_FIELDS = {
    Tool.POINTS: "points_layer",
    Tool.BOX: "shapes_layer",
    Tool.MASK: "labels_layer",
}
"""The fields that say which layer the prompts of a tool are taken from."""


ONLY_TOLD = frozenset({"message", "progress", "not_written"})
"""The fields that change often while work is going on, and that nothing follows from."""


@dataclass
class SessionModel:
    """What the user chose, what is there, and what came out.

    Changes of a field are emitted by ``events.<field>``. Views set the choices; the binding to
    the viewer sets what is there; the session sets what comes out.

    Parameters
    ----------
    task, tool : Task, Tool
        Chosen task and prompt tool. A tool that the task does not offer gives way to its default,
        in one step: no listener sees one before both are set.
    image : str
        Key of the chosen image; empty for none.
    text : str
        The phrase.
    everything : Everything
        How all objects are looked for.
    next_positive : bool
        Whether the next click is a positive one.
    as_painted : bool
        Whether a painted mask is the object as it is, and not a rough sketch of it.
    threshold : float
        Detection threshold, 0 to 1.
    diameter : str
        The usual diameter of what a phrase or everything looks for, as the user tells it; empty for
        what the engine finds out.
    engine : str
        Name of the engine.
    model_folder : str
        Folder of the weights; empty for none.
    sam_version : str
        Of the weights, such as ``SAM 3.0``; empty where it is not known.
    device : str
        The device that was asked for: ``auto``, ``cpu``, ``cuda``, ``cuda:N`` or ``mps``.
    precision : str
        The number format of SAM's image encoder: ``auto``, ``float32``, ``bfloat16`` or ``int8``.
    encodings_folder : str
        A folder of encodings on this computer, such as precompute fills; empty for none.
    device_options : tuple of (str, str)
        The devices that can be chosen, and their names for the user.
    encode_ahead : EncodeAhead
        Whether the plane on show is encoded while the user draws.
    live : bool
        Whether a run starts by itself when the prompts change, where the engine is quick.
    why_not_live : str
        Why the prompts that have changed last did not run by themselves; empty where they did.
    each_click : bool
        Whether each positive click on a plane is on an object of its own.
    load_when_running : bool
        Whether a run loads the model by itself.
    sound : bool
        Whether a chime marks the end of a long run.
    device_in_use : DeviceInUse or None
        Where the engine runs; None until it has been loaded.
    compute : str
        The server that does the work: a connection file, or an address on this computer; empty
        for this computer.
    servers : str
        The servers that were used, the latest first, one a line.
    server_spec : EngineSpec or None
        The card of the server's engine; None until the server has answered.
    traffic : Traffic
        What went to the server and came back.
    testing : bool
        Whether a connection is being tested.
    server_test : Message
        What the latest test of a connection found.
    findings : tuple of Message
        What a check of the model folder found, line by line.
    download : str
        How far the fetching of weights is; empty while none is going.
    images : tuple of ImageChoice
        The images that are there.
    axes_from_file : AxesFromFile or None
        What the file of the chosen image says of its axes; None where there is nothing to take.
    large_image : bool
        Whether a run works on the part of the image around its prompts.
    roi_size : int
        Side of that part in pixels.
    active_rois : tuple of ActiveRoi
        The parts that the last run worked on: several in a batch.
    batch_images : bool
        Whether a run takes every image.
    batch_text : str
        Several phrases, one a line; for the task Text.
    output_folder : str
        Where masks are saved; empty for nowhere yet.
    output_format : str
        Ending of the files: ``.tif``, ``.npy``, ``.png`` or ``.ome.zarr``.
    output_name : str
        Name of the file; empty for one made of the image's name.
    save_folder : str
        The folder that a file was saved in last; empty for none yet.
    saved : tuple of str
        The files that were saved last.
    kept : int
        How many objects of the chosen image were accepted.
    save_at_accept : bool
        Whether the accepted labels are saved whenever they change.
    channel_axis : int
        Number of the images' channel axis; -1 to find it out.
    prompt_layers : tuple of LayerChoice
        The layers that prompts can be taken from.
    points_layer, shapes_layer, labels_layer : str
        Key of the layer that prompts are taken from; empty for the session's own.
    prompts : PromptCounts
        The prompts that a run would take now.
    selected_instead : str
        Name of the layer that is selected, where that is not the one that the chosen tool draws in.
    running : bool
        Whether a run is going.
    progress : JobProgress or None
        How far the run is.
    message : Message
        The status line.
    not_written : str
        Why what is done is not written down for a crash now; empty where it is.
    previews : tuple of Preview
        The results on show, the latest last.
    soft_masks : bool
        Whether the soft masks of the results are on show.
    soft_images : tuple of SoftImage
        Those that are ready to be shown.
    refining : int
        The object of the preview that clicks refine; 0 for none.
    results : tuple of ResultRow
        The rows of the results table.
    columns : str
        The measurements that are wanted, with ``", "`` between them.
    picked : ResultRow or None
        The object that is pointed at, in the table or in the image.
    can_undo, can_redo : bool
        Whether there is a step to take back, or to take again.
    frame_axes : tuple of FrameAxis
        The axes of the chosen image that objects can be followed along.
    frame_axis : int
        Number of the chosen one; -1 where there is none.
    frames_are_times : bool
        Whether its frames are times, in which cells divide, and no slices of a volume.
    direction : Direction
        Which way prompts spread through the frames.
    first_frame, last_frame : int or None
        The frames to go through, both included; None for the ends of the stack.
    stop_after_lost : int
        A direction ends when all objects are gone for so many frames; 0 to go to the end.
    object_id : int
        The object that the next click on a stack is on.
    class_list, class_file : ClassList and str
        The classes of the project, and the file that they are of; shared with Mask Operations.
    object_class : str
        The name of the class that the next objects are of; empty for none.
    colour_by_class : bool
        Whether objects have the colours of their classes, and not each one of its own.
    lineage : Lineage
        Which of the propagated objects descend from which, and how their numbers were corrected.
    proposed_divisions : tuple of Division
        What looks like divisions in the propagated labels, to be accepted or dropped.
    propagated : StackTarget or None
        What the propagated preview labels belong to; None where there are none.
    can_continue : bool
        Whether its objects are still known, so that propagation can go on.
    tracked : tuple of int
        The ids of its objects.
    propagated_ids : tuple of int
        The ids that are in the propagated labels, as the user has changed them.
    tracks_layer : bool
        Whether their way, and that of accepted objects, is shown as tracks.
    why_not : WhyNot
        What can't be done now, and why; it follows from all the others.
    """

    events: ClassVar[SignalGroupDescriptor] = SignalGroupDescriptor()

    task: Task = Task.SEGMENT
    tool: Tool = Tool.POINTS
    image: str = ""
    text: str = ""
    everything: Everything = field(default_factory=Everything)
    next_positive: bool = True
    as_painted: bool = False
    threshold: float = DEFAULT_THRESHOLD
    diameter: str = ""
    engine: str = "builtin"
    model_folder: str = ""
    sam_version: str = ""
    device: str = "auto"
    precision: Precision = Precision.AUTO
    encodings_folder: str = ""
    device_options: tuple[tuple[str, str], ...] = (("auto", "Automatic"), ("cpu", "CPU"))
    encode_ahead: EncodeAhead = EncodeAhead.AUTO
    live: bool = True
    why_not_live: str = ""
    each_click: bool = False
    load_when_running: bool = True
    sound: bool = False
    device_in_use: DeviceInUse | None = None
    compute: str = ""
    servers: str = ""
    server_spec: EngineSpec | None = None
    traffic: Traffic = field(default_factory=Traffic)
    testing: bool = False
    server_test: Message = field(default_factory=lambda: Message(""))
    findings: tuple[Message, ...] = ()
    download: str = ""
    images: tuple[ImageChoice, ...] = ()
    no_image: str = "Open an image first."
    axes_from_file: AxesFromFile | None = None
    large_image: bool = False
    roi_size: int = 1024
    active_rois: tuple[ActiveRoi, ...] = ()
    batch_images: bool = False
    batch_text: str = ""
    output_folder: str = ""
    output_format: str = ".tif"
    output_name: str = ""
    save_folder: str = ""
    saved: tuple[str, ...] = ()
    kept: int = 0
    save_at_accept: bool = False
    channel_axis: int = FIND_OUT
    prompt_layers: tuple[LayerChoice, ...] = ()
    points_layer: str = ""
    shapes_layer: str = ""
    labels_layer: str = ""
    prompts: PromptCounts = field(default_factory=PromptCounts)
    selected_instead: str = ""
    running: bool = False
    progress: JobProgress | None = None
    message: Message = field(default_factory=lambda: Message("Ready"))
    not_written: str = ""
    previews: tuple[Preview, ...] = ()
    soft_masks: bool = False
    soft_images: tuple[SoftImage, ...] = ()
    refining: int = 0
    results: tuple[ResultRow, ...] = ()
    columns: str = ", ".join((*BASIC, *VOLUME))
    picked: ResultRow | None = None
    can_undo: bool = False
    can_redo: bool = False
    frame_axes: tuple[FrameAxis, ...] = ()
    frame_axis: int = -1
    frames_are_times: bool = False
    direction: Direction = Direction.BOTH
    first_frame: int | None = None
    last_frame: int | None = None
    stop_after_lost: int = 0
    object_id: int = 1
    class_list: ClassList = field(default_factory=ClassList)
    class_file: str = ""
    object_class: str = ""
    colour_by_class: bool = False
    propagated: StackTarget | None = None
    lineage: Lineage = field(default_factory=Lineage)
    proposed_divisions: tuple[Division, ...] = ()
    can_continue: bool = False
    tracked: tuple[int, ...] = ()
    propagated_ids: tuple[int, ...] = ()
    tracks_layer: bool = False
    why_not: WhyNot = field(default_factory=WhyNot)

    if not TYPE_CHECKING:  # else mypy lets any name be set

        def __setattr__(self, name: str, value: object) -> None:
            # Whoever is told of either sees a tool that the task offers: both are set before.
            if name == "tool":
                value = usable_tool(self.task, Tool(value))
            super().__setattr__(name, value)
            if name == "task":
                self.tool = self.tool

    @property
    def chosen_image(self) -> ImageChoice | None:
        """The chosen image, or None."""
        return next((choice for choice in self.images if choice.key == self.image), None)

    @property
    def phrases(self) -> tuple[str, ...]:
        """The phrases that run one by one; none where the one phrase does, or another prompt."""
        return parse_phrases(self.batch_text) if self.task is Task.TEXT else ()

    @property
    def runs_all_images(self) -> bool:
        """Whether a run takes every image: not where it corrects one, or goes through it."""
        return self.batch_images and self.task not in (Task.LIVE_POINTS, Task.VIDEO)

    @property
    def is_batch(self) -> bool:
        """Whether a run gives several results."""
        return self.runs_all_images or bool(self.phrases)

    @property
    def preview(self) -> Preview | None:
        """The latest result on show, or None."""
        return self.previews[-1] if self.previews else None

    def add_typed(self, kind: PromptKind, prompts: PromptSet) -> PromptSet:
        """Return prompts with what of a kind is chosen in the panel, and not drawn."""
        if kind is PromptKind.TEXT:
            return replace(prompts, text=self.text.strip())
        if kind is PromptKind.EVERYTHING:
            return replace(prompts, everything=self.everything)
        if kind is PromptKind.MASK and self.as_painted:
            return prompts.take_as_painted()
        return prompts

    @property
    def span(self) -> Span:
        """Which frames of a stack to go through."""
        lost = self.stop_after_lost or None
        return Span(self.direction, self.first_frame, self.last_frame, stop_after_lost=lost)

    def find_preview(self, slot: tuple[str, str]) -> Preview | None:
        """Return the result on show in a place, or None."""
        return next((preview for preview in self.previews if preview.slot == slot), None)


LARGEST = -1
"""The series that stands for the largest image of each file."""
EVERY = -2
"""The series that stands for all images of each file."""


REMEMBERED_OF_SCANS = (
    "scan_folder",
    "scan_tile",
    "scan_overlap",
    "folder_source",
    "folder_output",
    "folder_pattern",
    "folder_format",
    "folder_tiles",
    "folder_skips",
    "folder_series",
)


@dataclass
class ScanModel:
    """The state of scans, of merged regions and of folder batches.

    Changes of a field are emitted by ``events.<field>``.

    Parameters
    ----------
    scan_folder : str
        Where scans and merged regions are written; empty for the folder that is proposed.
    scan_tile : int
        Side of a tile in pixels.
    scan_overlap : int
        What two tiles have in common, in percent of a tile's side.
    stopped_scan : StoppedScan or None
        The scan that was stopped last.
    scan_begun : str
        Labels of a scan that goes, or that was stopped, also by a crash; empty for none.
    folder_source : str
        Folder of the images of a folder batch; empty for none yet.
    folder_output : str
        Folder of its labels; empty for none yet.
    folder_pattern : str
        Which files, as ``*.tif``.
    folder_format : str
        Ending of the labels: ``.tif``, ``.png``, ``.npy`` or ``.zarr``.
    folder_tiles : bool
        Whether every plane is scanned tile by tile, whose labels are ``.zarr``.
    folder_skips : bool
        Whether images that are finished are left out.
    folder_series : int
        Which image of files that hold several, from 0; ``LARGEST`` for the largest, ``EVERY`` for
        all.
    folder_series_found : FolderSeries or None
        What the first files of the folder hold; None while that is not known.
    folder_begun : str
        Folder of the images of a batch that goes, or that was stopped, also by a crash; empty for
        none.
    folder_done : str
        Folder of the labels of the batch that ran last; empty for none.
    """

    events: ClassVar[SignalGroupDescriptor] = SignalGroupDescriptor()

    scan_folder: str = ""
    scan_tile: int = 1024
    scan_overlap: int = 15
    stopped_scan: StoppedScan | None = None
    scan_begun: str = ""
    folder_source: str = ""
    folder_output: str = ""
    folder_pattern: str = "*"
    folder_format: str = ".tif"
    folder_tiles: bool = False
    folder_skips: bool = True
    folder_series: int = LARGEST
    folder_series_found: FolderSeries | None = None
    folder_begun: str = ""
    folder_done: str = ""

    def tiles(self) -> TileOptions:
        """Return how a scan cuts the plane.

        Raises PromptError if the choices can't be used.
        """
        return TileOptions(self.scan_tile, self.scan_overlap / 100)


REMEMBERED_OF_ANNOTATION = ("skip_done", "propose")


class Propose(StrEnum):
    """What is proposed on an image that is opened and has no objects yet."""

    NOTHING = "nothing"
    PHRASE = "phrase"
    LABELS = "labels"
    EXAMPLES = "examples"


@dataclass
class AnnotationModel:
    """The state of a folder that is annotated.

    Changes of a field are emitted by ``events.<field>``.

    Parameters
    ----------
    source, output : str
        Folder of the images, and of their labels; empty while none is open.
    images : tuple of AnnotatedImage
        Its images by name.
    name : str
        The image on show; empty for none.
    skip_done : bool
        Whether images that are done are passed over.
    propose : Propose
        What is proposed on the next image.
    """

    events: ClassVar[SignalGroupDescriptor] = SignalGroupDescriptor()

    source: str = ""
    output: str = ""
    images: tuple[AnnotatedImage, ...] = ()
    name: str = ""
    skip_done: bool = False
    propose: Propose = Propose.NOTHING

    @property
    def place(self) -> int:
        """Where the image on show is among all, from 0; -1 for none."""
        return next((at for at, image in enumerate(self.images) if image.name == self.name), -1)

    @property
    def shown(self) -> AnnotatedImage | None:
        """The image on show, or None."""
        return self.images[self.place] if self.place >= 0 else None


DEFAULT_FOLDER = "napari-sam3-labels"


def output_folder_for(model: SessionModel, scan_model: ScanModel) -> Path:
    """Return the folder that labels go to: the chosen one, or the one that is proposed."""
    chosen = scan_model.scan_folder.strip() or model.output_folder.strip()
    return typed_folder(chosen) if chosen else Path.home() / DEFAULT_FOLDER

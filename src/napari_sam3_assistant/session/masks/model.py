"""The one state of the mask operations."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, ClassVar

from psygnal import SignalGroupDescriptor

from napari_sam3_assistant.core.masks.formats import ExportFormat
from napari_sam3_assistant.core.masks.labels import Connectivity
from napari_sam3_assistant.core.masks.merge import MergeMode, OverlapRule
from napari_sam3_assistant.session.masks.scene import LabelsChoice, Scope
from napari_sam3_assistant.session.model import Message

if TYPE_CHECKING:
    from napari_sam3_assistant.core.masks.components import Components
    from napari_sam3_assistant.core.masks.edits import LabelEdit
    from napari_sam3_assistant.core.masks.operations import Operation
    from napari_sam3_assistant.jobs.job import JobProgress


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

    Parameters
    ----------
    layers : tuple of LabelsChoice
        The labels layers that are there.
    source, object_name, class_name, class_value, label, save_mode, accepted_target
        Accepted Objects: the layer to save, as what, which label of it (0 for all), and where to.
    class_filter, merge_chosen, merge_output, merge_overlap
        Class Merge: the class to list, keys of the ticked layers, the output's name, and how
        many pixels the layers share (-1 if that is not known).
    target, connectivity, scope, physical, per_slice, per_label, by_component
        Mask Cleanup: key of the layer, and how operations work.
    minimum, hole_size, radius, distance, centres, values_text, new_value
        Mask Cleanup: the numbers of the operations.
    components, components_stale, selected
        The table of components, whether the labels have changed since, and its chosen rows.
    right_click : RightClick
        What a right click deletes.
    previewing, preview
        The operation whose effect is shown, and the effect.
    final_chosen, final_order, merge_mode, rule, output, export_format, path
        Final Merge: ticked layers in the order of ticking, all in the order of priority, and
        what to make of them.
    running, progress, message, can_undo, can_redo
        What is going on.
    stroke : bool
        Whether the user holds the mouse button down on the canvas.
    unfinished : str
        What was being written into the target when napari was killed, for the user; empty for
        nothing.
    undo_collected, redo_collected
        What was made, filled or changed last by the tabs that collect, and what was taken back
        last; empty if there is nothing.
    """

    events: ClassVar[SignalGroupDescriptor] = SignalGroupDescriptor()

    layers: tuple[LabelsChoice, ...] = ()
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
    per_slice: bool = False
    per_label: bool = False
    by_component: bool = False
    minimum: int = 64
    hole_size: int = 256
    radius: float = 1.0
    distance: float = 1.0
    centres: float = 10.0
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
    def accepted_of_class(self) -> tuple[LabelsChoice, ...]:
        """The accepted layers of the class that is asked for; of all if none is."""
        wanted = self.class_filter.strip().lower()
        return tuple(
            layer
            for layer in self.layers
            if layer.accepted and wanted in ("", layer.class_name.lower())
        )

    def choice(self, key: str) -> LabelsChoice | None:
        """Return a layer by its key, or None."""
        return next((layer for layer in self.layers if layer.key == key), None)

    def name_of(self, key: str) -> str:
        """Return a layer's name; of one that is gone, a word for it."""
        layer = self.choice(key)
        return layer.name if layer else "the layer"

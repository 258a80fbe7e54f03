"""What a session is made of, as entries by name: values of the models to JSON and back.

An entry is any JSON under a name such as ``choices``, ``layer/KEY`` or ``record/12``, with a token
that is the same as long as it is: so a journal knows what has changed, and makes no other JSON. A
new field of a dataclass that is kept needs no line here; a new field of a model is one of
``CHOICES``.
"""

from __future__ import annotations

import itertools
import typing
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from napari_sam3_assistant.core.axes import Axis, ImageAxes
from napari_sam3_assistant.core.classes import ClassList
from napari_sam3_assistant.core.display import FrameSource
from napari_sam3_assistant.core.images import PixelSize, PlaneRef
from napari_sam3_assistant.core.lengths import Length
from napari_sam3_assistant.core.lineage import Lineage
from napari_sam3_assistant.core.masks.edits import LabelEdit
from napari_sam3_assistant.core.measurements import Measurement
from napari_sam3_assistant.core.options import PredictOptions, TileOptions
from napari_sam3_assistant.core.prompts import Everything, PromptKind, Task, Tool
from napari_sam3_assistant.core.regions import Region
from napari_sam3_assistant.core.results import (
    ObjectRecord,
    Provenance,
    Segmentation,
    SoftMask,
    paint_labels,
)
from napari_sam3_assistant.core.stitching import StitchedObject
from napari_sam3_assistant.core.tracks import Direction, TrackRow
from napari_sam3_assistant.engines.device import Precision
from napari_sam3_assistant.io.edits import check_edit
from napari_sam3_assistant.io.json_values import prompts_from_json, prompts_to_json
from napari_sam3_assistant.io.typed_json import (
    WRONG,
    field_types,
    from_json,
    to_json,
)
from napari_sam3_assistant.io.untrusted import as_dict, as_list, as_text, as_whole
from napari_sam3_assistant.session.model import REMEMBERED_OF_SCANS, ScanModel, SessionModel
from napari_sam3_assistant.session.settings import REMEMBERED
from napari_sam3_assistant.session.snapshots import TrackingState
from napari_sam3_assistant.session.values import ActiveRoi, ColumnRange, PlaneTarget, Preview
from napari_sam3_assistant.workflows.provenance import RunProvenance, StackProvenance

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from napari_sam3_assistant.core.display import ImageView
    from napari_sam3_assistant.core.images import AnyArray

    Json = Any
    MakeView = Callable[[list[dict[str, Any]]], ImageView]
    ViewToJson = Callable[[ImageView], list[dict[str, Any]]]


# Another's session must not send anybody's pixels to a server, nor let one answer.
_OF_THIS_MACHINE = ("device", "save_folder", "encodings_folder", "compute", "servers")
CHOICES = (
    *(name for name in REMEMBERED if name not in _OF_THIS_MACHINE),
    "image",
    "text",
    "everything",
    "next_positive",
    "large_image",
    "roi_size",
    "active_rois",
    "batch_images",
    "batch_text",
    "output_name",
    "channel_axis",
    "points_layer",
    "shapes_layer",
    "labels_layer",
    "frame_axis",
    "first_frame",
    "last_frame",
    "object_id",
    "class_list",
    "object_class",
)
"""The fields of the model that a session brings back; what a machine has of its own is not."""

CHOICES_OF_SCANS = (*REMEMBERED_OF_SCANS, "scan_begun", "folder_begun")
"""Those of the state of scans and folder batches."""

_KEYS = ("image", "points_layer", "shapes_layer", "labels_layer")
"""Those of them that name a layer."""

_NAMES = {
    kind.__name__: kind
    for kind in (
        ActiveRoi, Axis, ClassList, ColumnRange, Direction, Everything, ImageAxes, LabelEdit,
        Length, Lineage, Measurement, ObjectRecord, Path, PixelSize, PlaneRef, PlaneTarget,
        PredictOptions, Precision,
        PromptKind, Provenance, Region, SoftMask, StitchedObject, Task, TileOptions, Tool, TrackRow,
    )
} | {"np": np, "npt": npt, "Any": Any}  # fmt: skip
for _name in ("Mapping", "Sequence", "Callable", "Iterable"):
    _NAMES[_name] = getattr(typing, _name)


BROKEN = (*WRONG, AttributeError)
"""What entries that are damaged raise where they are brought back."""


def read_value(kind: Any, value: object) -> Any:  # noqa: ANN401 (any type)
    """Return a value of a type that a session holds.

    Raises ValueError, KeyError, TypeError, IndexError, Sam3AssistantError if it is of another one.
    """
    return from_json(kind, value, _NAMES)


def read_label_edit(value: object) -> LabelEdit:
    """Return an edit of labels that is whole, and takes no more room than there is.

    Raises one of :data:`BROKEN` if it isn't.
    """
    edit: LabelEdit = read_value(LabelEdit, value)
    check_edit(edit)
    return edit


def write_value(value: object) -> Json:
    """Return a value as JSON, for :func:`read_value`.

    Raises TypeError if it is, or holds, what no session does.
    """
    return to_json(value)


@dataclass(frozen=True, slots=True, eq=False)
class Entry:
    """One entry: what it follows from, and its JSON when it is asked for.

    Parameters
    ----------
    token : object
        Equal as long as the entry is the same.
    make : callable
        Returns the JSON.
    """

    token: object
    make: Callable[[], Json]

    @classmethod
    def of(cls, value: Json) -> Entry:
        """Return an entry of small JSON, which is its own token."""
        return cls(value, lambda: value)


@dataclass(frozen=True, slots=True, eq=False)
class LayerPixels:
    """The pixels of a layer, not copied.

    Parameters
    ----------
    levels : tuple of array-like
        All sizes, the largest first.
    path, plugin : str
        The file that they were read from and napari's plugin that read it; empty for none.
    held : bool
        Whether they may be others than those of the file, so that the session has to hold them.
    labels : bool
        Whether they are labels.
    revision : int
        Another number after each change of them that is known.
    """

    levels: tuple[AnyArray, ...]
    path: str = ""
    plugin: str = ""
    held: bool = False
    labels: bool = False
    revision: int = 0


@dataclass(slots=True, eq=False)
class Numbers:
    """Numbers for values that are known by their identity, as long as they are in use."""

    _known: dict[int, tuple[object, int]] = field(default_factory=dict)
    _latest: int = 0

    def of(self, value: object) -> int:
        """Return the number of a value, a new one for a new value."""
        known = self._known.get(id(value))
        if known is None:
            self._latest += 1
            known = self._known[id(value)] = (value, self._latest)
        return known[1]

    def keep(self, used: set[int]) -> None:
        """Forget all values but some, given their identities."""
        self._known = {key: number for key, number in self._known.items() if key in used}


# -- choices --------------------------------------------------------------------------------------


def choice_entries(model: SessionModel, scan_model: ScanModel) -> dict[str, Entry]:
    """Return what was chosen."""
    return {
        "choices": Entry.of({name: to_json(getattr(model, name)) for name in CHOICES}),
        "scans": Entry.of({name: to_json(getattr(scan_model, name)) for name in CHOICES_OF_SCANS}),
    }


def read_choices(
    entries: Mapping[str, Json], keys: Mapping[str, str]
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return what was chosen, of the session and of scans, with the keys of today's layers.

    What can't be read is left out.
    """
    hints = field_types(SessionModel, _NAMES)
    chosen = _read_named(entries.get("choices"), CHOICES, hints)
    for name in _KEYS:
        if name in chosen:
            chosen[name] = keys.get(chosen[name], chosen[name] if " " in chosen[name] else "")
    rois = chosen.get("active_rois", ())
    chosen["active_rois"] = tuple(
        replace(roi, target=replace(roi.target, image=keys[roi.target.image]))
        for roi in rois
        if roi.target.image in keys
    )
    hints = field_types(ScanModel, _NAMES)
    return chosen, _read_named(entries.get("scans"), CHOICES_OF_SCANS, hints)


def _read_named(value: object, names: Iterable[str], hints: Mapping[str, Any]) -> dict[str, Any]:
    found, chosen = value if isinstance(value, dict) else {}, {}
    for name in names:
        if name in found:
            try:
                chosen[name] = read_value(hints[name], found[name])
            except BROKEN:
                continue
    return chosen


# -- previews -------------------------------------------------------------------------------------


class PreviewEntries:
    """Results as entries; each object is an entry of its own, so that a change of one is small.

    ``view_as_json``: returns what a model was shown as JSON.
    """

    def __init__(self, view_as_json: ViewToJson) -> None:
        self._view_as_json = view_as_json
        self._numbers = Numbers()
        # What was made of each result, and the values in it that have numbers.
        self._made: dict[int, tuple[Preview, dict[str, Entry], set[int]]] = {}
        # Of each object, by its identity: a filter makes another result of the same ten thousand.
        self._records: dict[int, tuple[int, str, Entry]] = {}

    def of(
        self,
        shown: Sequence[Preview],
        earlier: Iterable[Preview],
        measured: Mapping[int, Measurement],
    ) -> dict[str, Entry]:
        """Return results as entries.

        ``shown``: the results on show, the latest last.
        ``earlier``: those that undo and redo go to.
        ``measured``: measurements, by the identity of the objects' records.
        """
        entries: dict[str, Entry] = {}
        numbered = {}
        for preview in (*shown, *earlier):
            known = self._made.get(id(preview)) or (preview, *self._make(preview))
            numbered[id(preview)] = known
            entries.update(known[1])
        if numbered.keys() != self._made.keys():
            used = set[int]().union(*(numbers for _, _, numbers in numbered.values()))
            self._numbers.keep(used)
            self._records = {key: record for key, record in self._records.items() if key in used}
        self._made = numbered
        numbers = [self.number_of(preview) for preview in shown]
        if numbers:
            entries["shown"] = Entry.of(numbers)
        for record in itertools.chain.from_iterable(map(_records_of, shown)):
            if id(record) in measured:
                measurement = measured[id(record)]
                name = f"measured/{self._numbers.of(record)}"
                entries[name] = Entry(measurement, partial(to_json, measurement))
        return entries

    def number_of(self, preview: Preview) -> int:
        """Return the number by which entries name a result."""
        return self._numbers.of(preview)

    def _make(self, preview: Preview) -> tuple[dict[str, Entry], set[int]]:
        found, numbers = preview.segmentation, self._numbers
        groups = {
            "objects": found.objects,
            "hidden": preview.hidden,
            "candidates": found.candidates,
        }
        more: dict[str, Json] = {
            name: [self._record(record)[0] for record in group] for name, group in groups.items()
        }
        records = _records_of(preview)
        known = map(self._records.__getitem__, map(id, records))
        entries = {name: entry for _, name, entry in known}
        used = {id(preview), *map(id, records)}
        run = preview.provenance
        if run is not None:
            more["run"] = numbers.of(run)
            used.add(id(run))
            entries[f"run/{more['run']}"] = Entry(
                run, partial(run_to_json, run, self._view_as_json)
            )
        name = f"preview/{numbers.of(preview)}"
        entries[name] = Entry(preview, lambda: {**_head(preview), **more})
        return entries, used

    def _record(self, record: ObjectRecord) -> tuple[int, str, Entry]:
        """Return the number of an object, and the name of its entry, and that."""
        known = self._records.get(id(record))
        if known is None:
            number = self._numbers.of(record)
            entry = Entry(record, partial(to_json, record))
            known = self._records[id(record)] = (number, f"record/{number}", entry)
        return known


def _records_of(preview: Preview) -> tuple[ObjectRecord, ...]:
    found = preview.segmentation
    return (*found.objects, *preview.hidden, *found.candidates)


def _head(preview: Preview) -> dict[str, Json]:
    names = ("target", "seconds", "label", "edited", "by_hand", "ranges", "replaces", "added")
    entry = {name: to_json(getattr(preview, name)) for name in names}
    found = preview.segmentation
    more = {name: to_json(getattr(found, name)) for name in ("region", "engine", "notes")}
    return {**entry, **more}


def read_previews(
    entries: Mapping[str, Json], keys: Mapping[str, str], make_view: MakeView
) -> tuple[dict[int, Preview], dict[int, Measurement]]:
    """Return the results of images that are there by number, and what was measured of objects.

    Raises ValueError, KeyError, TypeError, IndexError, Sam3AssistantError if they are damaged.
    """
    found: dict[int, Preview] = {}
    measured: dict[int, Measurement] = {}
    known: dict[int, ObjectRecord] = {}

    def record_of(number: object) -> ObjectRecord:
        at = as_whole(number)
        if at not in known:
            known[at] = _read_record(entries[f"record/{at}"])
            if f"measured/{at}" in entries:
                measured[id(known[at])] = read_value(Measurement, entries[f"measured/{at}"])
        return known[at]

    runs: dict[int, RunProvenance | None] = {}
    for name, value in entries.items():
        if not name.startswith("preview/"):
            continue
        entry = as_dict(value)
        target = read_target(entry["target"], keys)
        if target is None:
            continue
        preview = _read_preview(entry, target, record_of)
        if "run" in entry:
            number = as_whole(entry["run"])
            if number not in runs:
                runs[number] = read_run(entries[f"run/{number}"], keys, make_view)
            preview = replace(preview, provenance=runs[number])
        found[int(name.partition("/")[2])] = preview
    return found, measured


def _read_preview(
    entry: Mapping[str, Json], target: PlaneTarget, record_of: Callable[[object], ObjectRecord]
) -> Preview:
    plane = Region.whole((target.shape[target.axes.y], target.shape[target.axes.x]))
    region = read_value(Region, entry["region"])
    groups = {
        name: tuple(map(record_of, as_list(entry[name])))
        for name in ("objects", "hidden", "candidates")
    }
    if not _lies_in(region, plane) or any(
        not _lies_in(record.region, plane) for group in groups.values() for record in group
    ):
        raise ValueError("a result lies beside its image")
    segmentation = Segmentation(
        paint_labels(groups["objects"], region),
        groups["objects"],
        region,
        read_value(Provenance, entry["engine"]),
        read_value(tuple[str, ...], entry["notes"]),
        groups["candidates"],
    )
    hints = field_types(Preview, _NAMES)
    more = {
        name: read_value(hints[name], entry[name])
        for name in ("seconds", "label", "edited", "by_hand", "ranges", "replaces", "added")
    }
    return Preview(target, segmentation, hidden=groups["hidden"], **more)


def _lies_in(region: Region, plane: Region) -> bool:
    return not region.is_empty and region.intersect(plane) == region


def _read_record(value: Json) -> ObjectRecord:
    record: ObjectRecord = read_value(ObjectRecord, value)
    if record.mask.shape != record.region.shape or record.mask.dtype != bool or record.id < 1:
        raise ValueError("an object's mask has not the size of its box")
    if record.id > np.iinfo(np.uint32).max:
        raise ValueError("an object's number is too high")
    return record


def read_target(value: Json, keys: Mapping[str, str]) -> PlaneTarget | None:
    """Return where a result belongs; None where its image is not there."""
    target: PlaneTarget = read_value(PlaneTarget, value)
    axes, plane = target.axes, target.plane
    if not 2 <= axes.ndim == len(target.shape) <= 32 or len(set(_plane_of(axes))) != 2:
        raise ValueError("a result's axes are not those of its image")
    if not all(0 <= axis < axes.ndim for axis in _plane_of(axes)):
        raise ValueError("a result's plane is not a plane of its image")
    if len(plane.leading) != len(axes.leading) or not all(
        0 <= at < target.shape[axis] for at, axis in zip(plane.leading, axes.leading, strict=True)
    ):
        raise ValueError("a result's plane is not a plane of its image")
    return replace(target, image=keys[target.image]) if target.image in keys else None


def _plane_of(axes: ImageAxes) -> tuple[int, int]:
    return (axes.y, axes.x)


# -- what made results ----------------------------------------------------------------------------

_RUN = (
    "options",
    "engine",
    "model_folder",
    "region",
    "tiles",
    "axes",
    "all_planes",
    "notes",
    "series",
)


def run_to_json(run: RunProvenance, view_as_json: ViewToJson) -> Json:
    """Return what made a result; images are named by their layers."""
    entry = {name: to_json(getattr(run, name)) for name in _RUN}
    return {**entry, "view": view_as_json(run.view), "prompts": prompts_to_json(run.prompts)}


def read_run(value: Json, keys: Mapping[str, str], make_view: MakeView) -> RunProvenance | None:
    """Return what made a result; None where an image of it is not there.

    The paths of the images are left to the caller, who knows them.
    """
    entry = as_dict(value)
    view = _view_from(entry["view"], keys, make_view)
    if view is None:
        return None
    hints = field_types(RunProvenance, {**_NAMES, "Axes": tuple[Axis, ...]})
    values = {name: read_value(hints[name], entry[name]) for name in _RUN}
    return RunProvenance(view, prompts_from_json(as_dict(entry["prompts"])), **values)


# -- propagations ---------------------------------------------------------------------------------


def stack_run_to_json(run: StackProvenance, view_as_json: ViewToJson) -> Json:
    """Return the prompts and passes of a propagation as JSON."""
    return {
        "view": view_as_json(run.frames.view),
        "axis": run.frames.axis,
        "axis_name": run.frames.axis_name,
        "prompts": [[frame, prompts_to_json(own)] for frame, own in run.prompts.items()],
        "options": to_json(run.options),
        "model_folder": to_json(run.model_folder),
        "engine": to_json(run.engine),
        "steps": [dict(step) for step in run.steps],
    }


def read_stack_run(
    value: Json, keys: Mapping[str, str], make_view: MakeView, paths: Mapping[int, Path]
) -> StackProvenance | None:
    """Return the prompts and passes of a propagation; None where an image of it is not there."""
    entry = as_dict(value)
    view = _view_from(entry["view"], keys, make_view)
    if view is None:
        return None
    pairs = [as_list(pair, 2) for pair in as_list(entry["prompts"])]
    return StackProvenance(
        FrameSource(view, as_whole(entry["axis"]), as_text(entry.get("axis_name", ""))),
        {as_whole(frame): prompts_from_json(as_dict(own)) for frame, own in pairs},
        read_value(PredictOptions, entry["options"]),
        read_value(Path | None, entry["model_folder"]),
        paths,
        read_value(Provenance | None, entry["engine"]),
        [as_dict(step) for step in as_list(entry["steps"])],
    )


def _view_from(value: Json, keys: Mapping[str, str], make_view: MakeView) -> ImageView | None:
    channels = [dict(as_dict(channel)) for channel in as_list(value)]
    if not channels or any(channel.get("image") not in keys for channel in channels):
        return None
    for channel in channels:
        channel["image"] = keys[channel["image"]]
    return make_view(channels)


def tracking_to_json(state: TrackingState) -> Json:
    """Return what is needed to go on with a propagation."""
    steps = [
        [[frame, prompts_to_json(prompts)] for frame, prompts in by_frame.items()]
        for by_frame in state.given
    ]
    return {
        "left": to_json(state.left),
        "followed": to_json(state.followed),
        "given": steps,
        "prompted": [[id_, sorted(frames)] for id_, frames in sorted(state.prompted.items())],
    }


def read_tracking(value: Json, frames: int) -> TrackingState:
    """Return what is needed to go on with a propagation of so many frames.

    Raises ValueError, KeyError, TypeError, IndexError, Sam3AssistantError if it is damaged.
    """
    entry = as_dict(value)
    steps = tuple(
        {
            as_whole(frame): prompts_from_json(as_dict(own))
            for frame, own in (as_list(pair, 2) for pair in as_list(by_frame))
        }
        for by_frame in as_list(entry["given"])
    )
    left = read_value(tuple[tuple[int, int, int], ...], entry["left"])
    # Sessions of earlier versions do not say which objects were prompted where.
    prompted = {
        as_whole(id_): frozenset(map(as_whole, as_list(frames)))
        for id_, frames in (as_list(pair, 2) for pair in as_list(entry.get("prompted", [])))
    }
    named = {frame for prompts in steps for frame in prompts}.union(*prompted.values())
    for start, stop, step in left:
        if step not in (1, -1) or not range(start, stop, step):
            raise ValueError("a pass goes nowhere")
        named |= {start, stop - step}
    if not all(0 <= frame < frames for frame in named):
        raise ValueError(f"there are {frames} frames, and it names others")
    return TrackingState(left, read_value(tuple[int, ...], entry["followed"]), steps, prompted)

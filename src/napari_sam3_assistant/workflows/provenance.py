"""From a run or a propagation to the note that says how to make its labels again."""

from __future__ import annotations

import zlib
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_sam3_assistant import __version__
from napari_sam3_assistant.core.prompts import PromptSet
from napari_sam3_assistant.core.results import Provenance
from napari_sam3_assistant.io.json_values import prompts_to_json, view_to_json
from napari_sam3_assistant.io.provenance import ProvenanceRecord, weights_checksum
from napari_sam3_assistant.workflows.examples import EXPERIMENTAL, PROMPT

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from pathlib import Path

    import numpy.typing as npt

    from napari_sam3_assistant.core.axes import Axes
    from napari_sam3_assistant.core.display import FrameSource, ImageView
    from napari_sam3_assistant.core.lineage import Relabel
    from napari_sam3_assistant.core.options import PredictOptions, TileOptions
    from napari_sam3_assistant.core.regions import Region
    from napari_sam3_assistant.core.results import ObjectRecord
    from napari_sam3_assistant.core.stitching import StitchedObject
    from napari_sam3_assistant.core.tracks import TrackTable


@dataclass(frozen=True, slots=True, eq=False)
class RunProvenance:
    """What made labels, as the run knew it.

    Parameters
    ----------
    view : ImageView
        What the model was shown.
    prompts : PromptSet
        Prompts in pixels of the plane.
    options : PredictOptions
        The choices of the run.
    engine : Provenance
        What made the labels.
    model_folder : Path or None
        Folder of the weights.
    paths : mapping of int to Path
        The file of each image, by the token of its source.
    region : Region or None
        The part of the plane; None for all of it.
    tiles : TileOptions or None
        How the plane was cut.
    axes : tuple of Axis or None
        Names of the labels' axes, and the size of a pixel.
    all_planes : bool
        Whether every plane of the image was run.
    notes : tuple of str
        Messages that the user got.
    series : int or None
        Which image of the file; None where that is not known.
    """

    view: ImageView
    prompts: PromptSet
    options: PredictOptions
    engine: Provenance
    model_folder: Path | None = None
    paths: Mapping[int, Path] = field(default_factory=dict)
    region: Region | None = None
    tiles: TileOptions | None = None
    axes: Axes | None = None
    all_planes: bool = False
    notes: tuple[str, ...] = ()
    series: int | None = None


def make_record(
    run: RunProvenance,
    folder: Path,
    objects: Iterable[Mapping[str, Any]] = (),
    extra: Mapping[str, Any] | None = None,
) -> ProvenanceRecord:
    """Return the note for labels in a folder; reads the weights once to know their checksum.

    Where they can't be read any more, the note says so: what was found is not lost with them.
    """
    model, sha256, notes = run.model_folder, "", run.notes
    if model is not None and run.engine.weights:
        sha256 = weights_checksum(model, run.engine.weights)
        if not sha256:
            notes = (*notes, f"The weights were gone from {model} when this was saved.")
            model = None
    return ProvenanceRecord(
        channels=tuple(view_to_json(run.view, run.paths, folder, run.series)),
        prompts=run.prompts,
        threshold=run.options.threshold,
        diameter=run.options.diameter,
        pixel=run.options.pixel,
        engine=run.engine,
        region=run.region,
        tiles=run.tiles,
        axes=run.axes,
        all_planes=run.all_planes,
        model_folder=str(model.absolute()) if model else "",
        sha256=sha256,
        objects=objects,
        notes=notes,
        extra=extra or {},
    )


ACCEPTED = Provenance("accepted", "Accepted objects", __version__, "cpu", 0.0)
"""What a note says made labels that were accepted one by one."""


def make_accepted_record(
    run: RunProvenance | None,
    axes: Axes,
    folder: Path,
    objects: Sequence[Mapping[str, Any]],
    extra: Mapping[str, Any] | None = None,
) -> ProvenanceRecord:
    """Return the note for labels in a folder, also where no image is known that they are of.

    Those that examples of other images have proposed are said to be experimental.
    """
    record = (
        make_record(run, folder, objects, extra)
        if run is not None
        else ProvenanceRecord(
            (), PromptSet(), 0.0, ACCEPTED, axes=axes, objects=objects, extra=extra or {}
        )
    )
    if any(entry.get("text") == PROMPT for entry in objects):
        record = replace(record, notes=(*record.notes, EXPERIMENTAL))
    return record


def object_entry(
    record: ObjectRecord | StitchedObject, plane: tuple[int, ...] = ()
) -> dict[str, Any]:
    """Return what a note says of an object: all but its mask, which is in the labels."""
    entry = {
        "id": record.id,
        "score": record.score,
        "area": record.area,
        "box": list(record.region.box),
        "text": record.text,
    }
    if record.stability is not None:
        entry["stability"] = record.stability
    if record.class_name:
        entry["class"] = record.class_name
    return {**entry, "plane": list(plane)} if plane else entry


def labels_checksum(labels: npt.NDArray[np.generic]) -> int:
    """Return the CRC-32 of a frame's labels: a hand that painted on them changes it."""
    return zlib.crc32(np.ascontiguousarray(labels, np.uint32).tobytes())


@dataclass(slots=True, eq=False)
class StackProvenance:
    """The prompts and passes of a propagation, step by step.

    Parameters
    ----------
    frames : FrameSource
        The stack.
    prompts : mapping of int to PromptSet
        The prompts that it began with, by frame.
    options : PredictOptions
        The choices of the run.
    model_folder : Path or None
        Folder of the weights.
    paths : mapping of int to Path
        The files of the images, by the token of their source.
    """

    frames: FrameSource
    prompts: Mapping[int, PromptSet]
    options: PredictOptions
    model_folder: Path | None
    paths: Mapping[int, Path]
    engine: Provenance | None = None
    steps: list[dict[str, Any]] = field(default_factory=list)

    def note_run(
        self,
        prompts: Mapping[int, PromptSet],
        shown: Mapping[int, npt.NDArray[np.uint32]],
        *,
        stop_after_lost: int | None,
        goes_on: bool,
    ) -> None:
        """Record that a run begins."""
        self.steps.append(
            {
                "prompts": {str(frame): prompts_to_json(own) for frame, own in prompts.items()},
                "shown": {str(frame): labels_checksum(plane) for frame, plane in shown.items()},
                "passes": None,
                "stop_after_lost": stop_after_lost,
                "goes_on": goes_on,
                "frames": 0,
            }
        )

    def note_passes(self, passes: Sequence[range]) -> None:
        """Record that the prompts are taken, and which passes the run will make."""
        self.steps[-1]["passes"] = [[order.start, order.stop, order.step] for order in passes]

    def note_frame(self, engine: Provenance) -> None:
        """Record a frame: it is the next of the passes."""
        self.engine = engine
        self.steps[-1]["frames"] += 1

    def note_relabelled(self, changes: Iterable[Relabel]) -> None:
        """Record that tracks have got other numbers, each from a frame on."""
        self.steps += [{"relabelled": [step.old, step.new, step.first]} for step in changes]

    def note_removed(self, object_id: int) -> None:
        """Record that an object was taken out."""
        self.steps.append({"removed": object_id})

    def to_run(self, axes: Axes) -> RunProvenance | None:
        """Return what the note says; None while nothing has come out."""
        if self.engine is None:
            return None
        first = min(self.prompts)
        return RunProvenance(
            self.frames.view_at(first),
            self.prompts[first],
            self.options,
            replace(self.engine, threshold=self.options.threshold),
            self.model_folder if self.engine.weights else None,
            self.paths,
            axes=axes,
        )

    def extra(self) -> dict[str, Any]:
        """Return what the note says beside: along which axis, and each step."""
        steps = [dict(step) for step in self.steps]
        frames = self.frames
        return {"propagation": {"axis": frames.axis, "axis_name": frames.axis_name, "steps": steps}}


def track_entries(table: TrackTable) -> tuple[dict[str, Any], ...]:
    """Return what the note says of each object: its frames, and the one that it descends from."""
    found: dict[int, dict[str, Any]] = {}
    for row in table.rows():
        entry = found.setdefault(
            row.object_id,
            {"id": row.object_id, "text": row.text, "frames": 0, "first": row.frame},
        )
        entry["frames"] += 1
        entry["last"] = row.frame
        if row.class_name:
            entry["class"] = row.class_name
    for child, parent in table.links().items():
        found[child]["parent"] = parent
    return tuple(entry for _, entry in sorted(found.items()))

"""Make labels again from the note beside them."""

from __future__ import annotations

import zlib
from contextlib import closing
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from napari_sam3_assistant.core.display import FrameSource
from napari_sam3_assistant.core.lineage import Lineage, Relabel
from napari_sam3_assistant.core.options import PredictOptions
from napari_sam3_assistant.errors import ExportError
from napari_sam3_assistant.io.json_values import prompts_from_json, view_from_json
from napari_sam3_assistant.io.provenance import sha256_of
from napari_sam3_assistant.io.untrusted import as_dict, as_flag, as_list, as_text, as_whole
from napari_sam3_assistant.workflows.provenance import labels_checksum
from napari_sam3_assistant.workflows.scan import ScanRequest, ScanResult, scan
from napari_sam3_assistant.workflows.segment import SegmentRequest, segment, segment_planes
from napari_sam3_assistant.workflows.track import Tracking

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    import numpy.typing as npt

    from napari_sam3_assistant.core.display import ImageView
    from napari_sam3_assistant.core.progress import Reporter
    from napari_sam3_assistant.core.prompts import PromptSet
    from napari_sam3_assistant.core.results import Provenance, Segmentation
    from napari_sam3_assistant.engines.caching_engine import CachingEngine
    from napari_sam3_assistant.io.provenance import ProvenanceRecord
    from napari_sam3_assistant.workflows.segment import StackResult


@dataclass(frozen=True, slots=True, eq=False)
class RerunRequest:
    """A note, and what is elsewhere now.

    Parameters
    ----------
    record : ProvenanceRecord
        The note.
    folder : Path
        The folder in which it lies.
    image : Path or None
        The image, where it is not at its old place.
    output : Path or None
        The zarr folder, for labels of a scan.
    """

    record: ProvenanceRecord
    folder: Path
    image: Path | None = None
    output: Path | None = None


def rerun(
    engine: CachingEngine, request: RerunRequest, reporter: Reporter
) -> Iterator[Segmentation | StackResult | ScanResult | PropagatedStack]:
    """Yield the one result: of a plane, of all planes, of a scan, or of a propagation."""
    record = request.record
    try:
        view = view_from_json(record.channels, request.folder, request.image)
    except (KeyError, TypeError, ValueError, IndexError) as exc:
        raise ExportError(
            f"The note does not say completely which image it was ({exc}).", "Save the labels anew."
        ) from exc
    if "propagation" in record.extra:
        yield from rerun_stack(engine, record, view, reporter)
        return
    options = _options_of(record)
    if record.tiles is not None:
        if request.output is None:
            raise ExportError(
                "Labels of a scan are written to a zarr folder.", "Give the output as labels.zarr."
            )
        scan_request = ScanRequest(
            view,
            record.prompts,
            request.output,
            options,
            record.tiles,
            record.axes,
            all_planes=record.all_planes,
        )
        yield from (
            step for step in scan(engine, scan_request, reporter) if isinstance(step, ScanResult)
        )
        return
    segment_request = SegmentRequest(view, record.prompts, options, record.region)
    if record.all_planes:
        yield from segment_planes(engine, segment_request, reporter)
    else:
        yield from segment(engine, segment_request, reporter)


def _options_of(record: ProvenanceRecord) -> PredictOptions:
    return PredictOptions(record.threshold, record.diameter, record.pixel)


def differences(
    record: ProvenanceRecord, now: Provenance, model_folder: Path | None
) -> tuple[str, ...]:
    """Return what is not as it was, in sentences; the labels may differ then."""
    sentences = []
    if now.version != record.engine.version:
        sentences.append(
            f"{now.title} has the version {now.version} now, and had {record.engine.version}; the "
            "labels may differ."
        )
    weights = model_folder / now.weights if model_folder is not None and now.weights else None
    if record.sha256 and weights is not None and sha256_of(weights) != record.sha256:
        sentences.append("The weights are others than those that made the labels; they may differ.")
    if now.device.partition(":")[0] != record.engine.device.partition(":")[0]:
        sentences.append(
            f"It ran on {now.device}, and on {record.engine.device} before; outlines may differ by "
            "single pixels."
        )
    if record.engine.precision and now.precision != record.engine.precision:
        sentences.append(
            f"Its image encoder worked in {now.precision}, and in {record.engine.precision} "
            "before; outlines may differ by single pixels."
        )
    return tuple(sentences)


_BY_HAND = "Use napari-sam3 track, or the task 3D/video, with the prompts that the note holds."


@dataclass(frozen=True, slots=True, eq=False)
class PropagatedStack:
    """Labels of a stack that were made again.

    Parameters
    ----------
    labels : ndarray, shape (F, Y, X), dtype uint32
        Object ids; 0 is background.
    objects : tuple of int
        The ids that there are.
    engine : Provenance
        What made them.
    """

    labels: npt.NDArray[np.uint32]
    objects: tuple[int, ...]
    engine: Provenance


@dataclass(frozen=True, slots=True, eq=False)
class _PropagationRun:
    """One run of a propagation, as it is noted (``StackProvenance.note_run``)."""

    prompts: Mapping[int, PromptSet]
    shown: Mapping[int, int]
    passes: tuple[range, ...]
    stop_after_lost: int | None
    goes_on: bool
    frames: int

    @classmethod
    def read(cls, entry: Mapping[str, Any]) -> Self:
        lost, prompts = entry["stop_after_lost"], as_dict(entry["prompts"])
        if prompts and entry["passes"] is None:
            raise ExportError(
                "A run of this propagation ended while it took its prompts, and which of them it "
                "took is not known.",
                _BY_HAND,
            )
        return cls(
            {
                _parse_frame(frame): prompts_from_json(as_dict(own))
                for frame, own in prompts.items()
            },
            {
                _parse_frame(frame): as_whole(sum_)
                for frame, sum_ in as_dict(entry["shown"]).items()
            },
            tuple(
                range(*map(as_whole, as_list(order, 3))) for order in as_list(entry["passes"] or [])
            ),
            None if lost is None else as_whole(lost),
            as_flag(entry["goes_on"]),
            as_whole(entry["frames"]),
        )

    def check(self, count: int) -> None:
        """Raise ValueError unless all that it names is on a stack of so many frames."""
        known = set(range(count))
        if not (set(self.shown) <= set(self.prompts) <= known):
            raise ValueError(f"there are {count} frames, and prompts on others")
        ends = (end for order in self.passes if order for end in (order[0], order[-1]))
        if not set(ends) <= known:
            raise ValueError(f"there are {count} frames, and it went through others")


def _parse_frame(text: str) -> int:
    """Return the number of a frame, which is a name in JSON."""
    if not (text.isascii() and text.isdigit() and len(text) < 10):
        raise ValueError(f"there is no frame {text[:20]}")
    return int(text)


def _check_relabel(step: Relabel, count: int) -> None:
    """Raise ValueError unless it names tracks and a frame of a stack of so many frames."""
    most = np.iinfo(np.uint32).max
    if not (0 < step.old <= most and 0 < step.new <= most and 0 <= step.first < count):
        raise ValueError(f"track {step.old} can't be {step.new} from frame {step.first} on")


def _read_step(entry: Mapping[str, Any]) -> int | Relabel | _PropagationRun:
    """Return a step of a propagation: an object that was removed, a correction, or a run."""
    if "removed" in entry:
        return as_whole(entry["removed"])
    if "relabelled" in entry:
        return Relabel(*map(as_whole, as_list(entry["relabelled"], 3)))
    return _PropagationRun.read(entry)


def _read_steps(
    record: ProvenanceRecord, view: ImageView
) -> tuple[FrameSource, list[int | Relabel | _PropagationRun]]:
    """Return the stack, and the steps of its propagation."""
    try:
        entry = as_dict(record.extra["propagation"])
        name = as_text(entry.get("axis_name", ""))
        frames = FrameSource(view, as_whole(entry["axis"]), name)
        steps = [_read_step(step) for step in map(as_dict, as_list(entry["steps"]))]
        for step in steps:
            if isinstance(step, _PropagationRun):
                step.check(len(frames))
            elif isinstance(step, Relabel):
                _check_relabel(step, len(frames))
    except (KeyError, TypeError, ValueError, zlib.error) as exc:
        raise ExportError(
            f"The note does not say completely how the labels were propagated ({exc}).", _BY_HAND
        ) from exc
    return frames, steps


def rerun_stack(
    engine: CachingEngine, record: ProvenanceRecord, view: ImageView, reporter: Reporter
) -> Iterator[PropagatedStack]:
    """Yield the one result of a propagation that is made again, step by step."""
    frames, steps = _read_steps(record, view)
    labels = np.zeros((len(frames), *frames.shape), np.uint32)
    made_by: Provenance | None = None
    lineage = Lineage()
    with Tracking(engine, frames, _options_of(record)) as tracking:
        for step in steps:
            if isinstance(step, int):
                for number in lineage.followed_as(step):
                    tracking.remove(number)
                for plane in labels:
                    plane[plane == step] = 0
            elif isinstance(step, Relabel):
                lineage = replace(lineage, relabelled=(*lineage.relabelled, step))
                tracking.reserve((step.new,))
                for plane in labels[step.first :]:
                    plane[plane == step.old] = step.new
            else:
                made_by = _run(engine, tracking, step, labels, lineage, reporter) or made_by
    if made_by is None:
        raise ExportError("The note names no frame that was propagated.", _BY_HAND)
    found = np.unique(np.concatenate([np.unique(plane) for plane in labels]))
    yield PropagatedStack(labels, tuple(int(id_) for id_ in found if id_), made_by)


def _run(
    engine: CachingEngine,
    tracking: Tracking,
    run: _PropagationRun,
    labels: npt.NDArray[np.uint32],
    lineage: Lineage,
    reporter: Reporter,
) -> Provenance | None:
    """Make one run again, write its frames into the labels, and return what made them."""
    shown = {frame: lineage.plane_as_found(labels[frame], frame) for frame in run.shown}
    _check_shown(engine, run, shown)
    if run.prompts:
        tracking.add(run.prompts, reporter, shown)
    if not run.goes_on:
        tracking.begin_anew()
    made_by: Provenance | None = None
    done, planned = 0, sum(map(len, run.passes))
    if not run.frames:
        return None
    passes = tracking.follow(run.passes, reporter, stop_after_lost=run.stop_after_lost)
    with closing(passes):
        for result in passes:
            labels[result.frame] = result.renamed(lineage).over(labels[result.frame])
            made_by, done = result.engine, done + 1
            if done == run.frames < planned:
                # It was stopped here.
                break
    return made_by


def _check_shown(
    engine: CachingEngine, run: _PropagationRun, shown: Mapping[int, npt.NDArray[np.uint32]]
) -> None:
    """Raise where a correction began from labels that are not made again.

    Only engines that follow masks take what was on show as a first guess for other prompts.
    """
    video = engine.spec.video
    takes = frozenset() if video is None else video.prompts
    for frame, plane in shown.items():
        if run.prompts[frame].kinds <= takes or labels_checksum(plane) == run.shown[frame]:
            continue
        raise ExportError(
            f"The labels of frame {frame} were others when they were corrected: they were painted "
            "on by hand, or the engine makes other ones now.",
            _BY_HAND,
        )

"""Make labels again from the note beside them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from napari_sam3_assistant.core.options import PredictOptions
from napari_sam3_assistant.errors import ExportError
from napari_sam3_assistant.io.checksums import sha256_of
from napari_sam3_assistant.io.view_json import view_from_json
from napari_sam3_assistant.workflows.planes import segment_planes
from napari_sam3_assistant.workflows.rerun_stack import PropagatedStack, rerun_stack
from napari_sam3_assistant.workflows.scan import ScanRequest, ScanResult, scan
from napari_sam3_assistant.workflows.segment import SegmentRequest, segment

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from napari_sam3_assistant.core.progress import Reporter
    from napari_sam3_assistant.core.results import Provenance, Segmentation
    from napari_sam3_assistant.engines.embeddings import EncodingEngine
    from napari_sam3_assistant.io.sidecar import Sidecar
    from napari_sam3_assistant.workflows.planes import StackResult


@dataclass(frozen=True, slots=True, eq=False)
class RerunRequest:
    """A note, and what is elsewhere now.

    Parameters
    ----------
    sidecar : Sidecar
        The note.
    folder : Path
        The folder in which it lies.
    image : Path or None
        The image, where it is not at its old place.
    output : Path or None
        The zarr folder, for labels of a scan.
    """

    sidecar: Sidecar
    folder: Path
    image: Path | None = None
    output: Path | None = None


def rerun(
    engine: EncodingEngine, request: RerunRequest, reporter: Reporter
) -> Iterator[Segmentation | StackResult | ScanResult | PropagatedStack]:
    """Yield the one result: of a plane, of all planes, of a scan, or of a propagation.

    Parameters
    ----------
    engine : EncodingEngine
        The engine that the note names.
    request : RerunRequest
        What to do.
    reporter : Reporter
        Is told of the progress, and stops the work.

    Raises
    ------
    ImageError
        If the image is gone or another one.
    ExportError
        If the note is damaged, or has a step that can't be made again.
    """
    note = request.sidecar
    try:
        view = view_from_json(note.channels, request.folder, request.image)
    except (KeyError, TypeError, ValueError, IndexError) as exc:
        raise ExportError(
            f"The note does not say completely which image it was ({exc}).", "Save the labels anew."
        ) from exc
    if "propagation" in note.extra:
        yield from rerun_stack(engine, note, view, reporter)
        return
    options = PredictOptions(note.threshold)
    if note.tiles is not None:
        if request.output is None:
            raise ExportError(
                "Labels of a scan are written to a zarr folder.", "Give the output as labels.zarr."
            )
        wanted = ScanRequest(view, note.prompts, request.output, options, note.tiles, note.axes)
        yield from (step for step in scan(engine, wanted, reporter) if isinstance(step, ScanResult))
        return
    one = SegmentRequest(view, note.prompts, options, note.region)
    if note.all_planes:
        yield from segment_planes(engine, one, reporter)
    else:
        yield from segment(engine, one, reporter)


def differences(note: Sidecar, now: Provenance, model_folder: Path | None) -> tuple[str, ...]:
    """Return what is not as it was, in sentences; the labels may differ then.

    Parameters
    ----------
    note : Sidecar
        What made the labels.
    now : Provenance
        What made them again.
    model_folder : Path or None
        Folder of the weights now.
    """
    said = []
    if now.version != note.engine.version:
        said.append(
            f"{now.title} has the version {now.version} now, and had {note.engine.version}; the "
            "labels may differ."
        )
    weights = model_folder / now.weights if model_folder is not None and now.weights else None
    if note.sha256 and weights is not None and sha256_of(weights) != note.sha256:
        said.append("The weights are others than those that made the labels; they may differ.")
    if now.device.partition(":")[0] != note.engine.device.partition(":")[0]:
        said.append(
            f"It ran on {now.device}, and on {note.engine.device} before; outlines may differ by "
            "single pixels."
        )
    return tuple(said)

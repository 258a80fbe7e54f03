"""Make labels again from the note beside them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from napari_sam3_assistant.api.inputs import opened
from napari_sam3_assistant.core.progress import NullReporter, Reporter
from napari_sam3_assistant.errors import CheckpointNotFound
from napari_sam3_assistant.io.free_name import free_name, save_under_free_name
from napari_sam3_assistant.io.labels import check_ending, save_labels
from napari_sam3_assistant.io.outputs import check_output
from napari_sam3_assistant.io.sidecar import read_sidecar
from napari_sam3_assistant.io.view_json import is_on_a_share
from napari_sam3_assistant.workflows.rerun import RerunRequest, differences
from napari_sam3_assistant.workflows.rerun import rerun as _rerun
from napari_sam3_assistant.workflows.scan import ScanResult

if TYPE_CHECKING:
    from napari_sam3_assistant.engines.embeddings import EncodingEngine


@dataclass(frozen=True, slots=True)
class Rerun:
    """What a rerun made.

    Parameters
    ----------
    path : Path
        The labels.
    objects : int
        Number of objects.
    notes : tuple of str
        What is not as it was, so that the labels may differ.
    """

    path: Path
    objects: int
    notes: tuple[str, ...] = ()


def rerun(
    sidecar: str | Path,
    *,
    output: str | Path | None = None,
    image: str | Path | None = None,
    engine: EncodingEngine | None = None,
    model_folder: str | Path | None = None,
    device: str = "auto",
    reporter: Reporter | None = None,
) -> Rerun:
    """Make labels again.

    Parameters
    ----------
    sidecar : str or Path
        The ``.json`` file beside labels.
    output : str or Path, optional
        The new labels; by default a free name beside the old ones.
    image : str or Path, optional
        The image, where it is not at its old place.
    engine : EncodingEngine, optional
        What :func:`open_engine` returned; by default the engine that the note names.
    model_folder : str or Path, optional
        Folder of the weights, where it is not at its old place.
    device : str
        ``auto``, ``cpu``, ``cuda``, ``cuda:N`` or ``mps``.
    reporter : Reporter, optional
        Is told of the progress, and may stop the work.

    Raises
    ------
    ExportError
        If the note can't be used, or the labels can't be written.
    ImageError
        If the image is gone or another one.
    EngineError
        If the engine can't do it.
    """
    path = Path(sidecar).expanduser()
    note = read_sidecar(path)
    if model_folder is None and is_on_a_share(note.model_folder, path.parent):
        raise CheckpointNotFound(
            f"The note names the model folder {note.model_folder} on another computer, which is "
            "not opened unasked.",
            "If you trust it, give the model folder by its path.",
        )
    folder = model_folder or (note.model_folder if note.engine.weights else "")
    weights = Path(folder).expanduser() if folder else None
    old = path.with_name(path.name.removesuffix(".json"))
    target = free_name(old) if output is None else Path(output).expanduser()
    request = RerunRequest(
        note, path.parent, None if image is None else Path(image).expanduser(), target
    )
    check_output(target, replaces=False)
    if note.tiles is None:
        check_ending(target)
    with opened(engine or note.engine.engine, weights, device) as ready:
        result = next(_rerun(ready, request, reporter or NullReporter()))
    if isinstance(result, ScanResult):
        target = result.path
    else:
        lengths = tuple(axis.length for axis in note.axes or ())
        axes = note.axes if lengths == result.labels.shape else None

        def save(name: Path) -> None:
            save_labels(result.labels, name, axes, overwrite=False)

        if output is None:
            target = save_under_free_name(old, save)
        else:
            save(target)
    return Rerun(target, len(result.objects), differences(note, result.engine, weights))

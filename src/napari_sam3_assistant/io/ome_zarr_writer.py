"""Writing labels as OME-Zarr 0.5.

Specification: https://ngff.openmicroscopy.org/0.5/
"""

from __future__ import annotations

import shutil
import uuid
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import zarr

from napari_sam3_assistant.core.masks.blocks import blocks, read
from napari_sam3_assistant.core.masks.labels import whole
from napari_sam3_assistant.core.progress import NullReporter, Progress
from napari_sam3_assistant.errors import ExportError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from napari_sam3_assistant.core.progress import Reporter

_CHUNK = 1024
_SMALLEST = 64
_LEVELS = 5


def save_ome_zarr(
    labels: Any,  # noqa: ANN401 - arrays of numpy, zarr and others
    path: str | Path,
    spacing: Sequence[float] | None = None,
    reporter: Reporter | None = None,
) -> Path:
    """Write labels as a multiscale OME-Zarr image, completely or not at all.

    Parameters
    ----------
    labels : array-like of int, shape (..., H, W), at most 5 axes
        Labels; lazy ones are copied block by block.
    path : str or Path
        The folder; replaced if it exists.
    spacing : sequence of float, optional
        Size of a pixel along each axis; by default 1.
    reporter : Reporter, optional
        Is told of the progress.

    Raises
    ------
    ExportError
        If it can't be written, or there are too many axes.
    """
    path = Path(path)
    if labels.ndim > 5:
        raise ExportError(
            f"OME-Zarr has up to five axes, these labels have {labels.ndim}.", "Save them as TIFF."
        )
    if not path.parent.is_dir():
        raise ExportError(
            f"The folder {path.parent} does not exist.", "Make it first, or choose another."
        )
    draft = path.with_name(f".{uuid.uuid4().hex}.zarr")
    try:
        _write(labels, draft, list(spacing or [1.0] * labels.ndim), reporter or NullReporter())
        _put_in_place(draft, path)
    except OSError as exc:
        raise ExportError(
            f"{path} can't be written: {exc.strerror or exc}.",
            "Check the free space and that you may write there, or choose another folder.",
        ) from exc
    finally:
        shutil.rmtree(draft, ignore_errors=True)
    return path


def _put_in_place(draft: Path, path: Path) -> None:
    if not path.exists():
        draft.replace(path)
        return
    if not (path / "zarr.json").exists() and not (path / ".zgroup").exists():
        raise ExportError(
            f"{path} exists and is no zarr folder; it was left as it is.", "Choose another name."
        )
    old = path.with_name(f".{uuid.uuid4().hex}.old")
    path.replace(old)
    draft.replace(path)
    shutil.rmtree(old)


def _write(labels: Any, folder: Path, spacing: list[float], reporter: Reporter) -> None:  # noqa: ANN401
    names = ("t", "c", "z", "y", "x")[-labels.ndim :] if labels.ndim != 4 else ("t", "z", "y", "x")
    group = zarr.open_group(str(folder), mode="w", zarr_format=3)
    source, datasets = labels, []
    for level in range(_LEVELS):
        step = 1 if level == 0 else 2
        source = _level(group, str(level), source, step, names, reporter)
        factor = [1.0] * (labels.ndim - 2) + [2.0**level] * 2
        # A pixel of a level is the first of those that it stands for.
        scale = [size * more for size, more in zip(spacing, factor, strict=True)]
        datasets.append(
            {
                "path": str(level),
                "coordinateTransformations": [{"type": "scale", "scale": scale}],
            }
        )
        if min(source.shape[-2:]) // 2 < _SMALLEST:
            break
    kinds = {"t": "time", "c": "channel"}
    axes = [{"name": name, "type": kinds.get(name, "space")} for name in names]
    attributes: dict[str, Any] = {
        "version": "0.5",
        "multiscales": [{"name": "labels", "axes": axes, "datasets": datasets}],
        "image-label": {"version": "0.5"},
    }
    group.attrs["ome"] = attributes


def _level(
    group: Any,  # noqa: ANN401 - zarr is untyped here
    name: str,
    source: Any,  # noqa: ANN401
    step: int,
    names: Sequence[str],
    reporter: Reporter,
) -> Any:  # noqa: ANN401
    """Copy every pixel, or every second row and column, and return the copy."""
    pick = (Ellipsis, slice(None, None, step), slice(None, None, step))
    shape = (*source.shape[:-2], *(-(-size // step) for size in source.shape[-2:]))
    chunks = (*(1 for _ in shape[:-2]), *(min(size, _CHUNK) for size in shape[-2:]))
    array = group.create_array(
        name, shape=shape, chunks=chunks, dtype=_plain(source.dtype), dimension_names=names
    )
    pieces = blocks(array, whole(shape))
    for done, box in enumerate(pieces):
        reporter.report(Progress(done, len(pieces), f"Writing level {name}"))
        wanted = box[:-2] + tuple(
            slice(side.start * step, min(side.stop * step, size))
            for side, size in zip(box[-2:], source.shape[-2:], strict=True)
        )
        array[box] = read(source, wanted)[pick]
    return array


def _plain(dtype: np.dtype[Any]) -> np.dtype[Any]:
    return np.dtype(np.uint8) if np.dtype(dtype).kind == "b" else np.dtype(dtype)

"""Writing labels."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import imageio.v3 as iio
import numpy as np
import tifffile

from napari_sam3_assistant.core.axes import axes_of
from napari_sam3_assistant.errors import ExportError, NameTaken
from napari_sam3_assistant.io.atomic import atomic_write, explained, is_there
from napari_sam3_assistant.io.label_axes import MOST_AXES, check_axes, ome_tiff_axes
from napari_sam3_assistant.io.ome_zarr_labels import save_ome_zarr
from napari_sam3_assistant.io.sidecar import without_note
from napari_sam3_assistant.io.tiff_axes import ome_metadata

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy.typing as npt

    from napari_sam3_assistant.core.axes import Axes
    from napari_sam3_assistant.core.progress import Reporter

_MAX_16_BIT = 65535
_MAX_32_BIT = (1 << 32) - 1
_CLASSIC_TIFF_BYTES = 1 << 31


def save_labels(
    labels: npt.NDArray[np.generic],
    path: str | Path,
    axes: Axes | None = None,
    *,
    overwrite: bool = True,
    reporter: Reporter | None = None,
) -> Path:
    """Write labels to a file, completely or not at all.

    Parameters
    ----------
    labels : ndarray of integers or bool, shape (..., H, W)
        Object ids from 0 to 4294967295; PNG takes one plane of up to 65535.
    path : str or Path
        File that ends in .tif, .tiff, .npy or .png, or a folder that ends in .zarr (OME-Zarr).
    axes : tuple of Axis, optional
        The axes of the labels: name, size of a pixel, unit and origin of each are in TIFF (as
        OME-TIFF, for up to five axes) and OME-Zarr, which have them in their own order. The
        other formats don't hold them.
    overwrite : bool
        Whether a file of that name is replaced, after the note beside it was removed. A folder
        is never replaced.
    reporter : Reporter, optional
        Is told of the progress with large folders, and stops the work.

    Returns
    -------
    Path
        The file. Its values are uint16 where they fit, else uint32.

    Raises
    ------
    ExportError
        If the folder is missing, the ending unknown, the labels don't fit the format or the
        file can't be written.
    NameTaken
        If it exists and shall not be replaced.
    """
    path = Path(path)
    check_ending(path)
    with explained(path):
        if not overwrite and is_there(path):
            raise NameTaken(f"{path} exists already.", "Choose another name.")
    if path.suffix.lower() == ".zarr":
        plain = _compact(np.asarray(labels))
        save_ome_zarr(plain, path, axes or axes_of(plain.shape), reporter)
        return path
    compact = _compact(np.asarray(labels))
    with atomic_write(path, replace=overwrite, naming=without_note(path)) as draft:
        _WRITERS[path.suffix.lower()](draft, compact, axes)
    return path


def check_ending(path: Path) -> None:
    """Raise ExportError unless labels can be saved in a file of this ending."""
    if path.suffix.lower() not in (*_WRITERS, ".zarr"):
        raise ExportError(
            f"Labels can't be saved as '{path.suffix}': {path}.",
            f"Use {', '.join((*_WRITERS, '.zarr'))}.",
        )


def _compact(labels: npt.NDArray[np.generic]) -> npt.NDArray[np.uint16] | npt.NDArray[np.uint32]:
    """Return labels in the smallest type of 16 or 32 bits without sign that holds them."""
    if labels.dtype.kind not in "bui" or labels.ndim < 2:
        raise ExportError(
            f"An array of type {labels.dtype} and shape {labels.shape} holds no labels.",
            "Give whole numbers with rows and columns.",
        )
    lowest, highest = (int(labels.min()), int(labels.max())) if labels.size else (0, 0)
    if lowest < 0:
        raise ExportError(
            f"The label {lowest} is negative and can't be saved.", "Give 0 to background pixels."
        )
    if highest > _MAX_32_BIT:
        raise ExportError(
            f"The label {highest} is above {_MAX_32_BIT} and can't be saved.",
            "Number the labels anew.",
        )
    if highest <= _MAX_16_BIT:
        return labels.astype(np.uint16, copy=False)
    return labels.astype(np.uint32, copy=False)


def _write_tiff(path: Path, labels: npt.NDArray[np.generic], axes: Axes | None) -> None:
    told: dict[str, Any] = {}
    if axes is not None and len(axes) <= MOST_AXES:
        check_axes(axes, labels.shape)
        stored, order = ome_tiff_axes(axes)
        labels, told = labels.transpose(order), ome_metadata(stored)
    # photometric: an axis of size 3 or 4 must not be taken for colours.
    tifffile.imwrite(
        path,
        labels,
        photometric="minisblack",
        compression="zlib",
        bigtiff=labels.nbytes > _CLASSIC_TIFF_BYTES,
        ome=bool(told),
        metadata=told,
    )


@dataclass(frozen=True, slots=True)
class _Stream:
    """A file that NumPy does not know as one.

    Of a full disk it says how many bytes it could not write to a file of its own, and not why.
    """

    write: Callable[[bytes], int]


def _write_npy(path: Path, labels: npt.NDArray[np.generic], _axes: Axes | None) -> None:
    with path.open("wb") as file:
        np.save(_Stream(file.write), labels, allow_pickle=False)


def _write_png(path: Path, labels: npt.NDArray[np.generic], _axes: Axes | None) -> None:
    if labels.size != math.prod(labels.shape[-2:]):
        raise ExportError(
            f"PNG holds one plane, these labels have the shape {labels.shape}.",
            "Save them as TIFF or NPY.",
        )
    if labels.dtype != np.uint16:
        raise ExportError(
            f"PNG holds labels up to {_MAX_16_BIT}, the highest here is {labels.max()}.",
            "Save them as TIFF or NPY.",
        )
    iio.imwrite(path, labels.reshape(labels.shape[-2:]), plugin="pillow", extension=".png")


_WRITERS: dict[str, Callable[[Path, npt.NDArray[np.generic], Axes | None], None]] = {
    **dict.fromkeys((".tif", ".tiff"), _write_tiff),
    ".npy": _write_npy,
    ".png": _write_png,
}

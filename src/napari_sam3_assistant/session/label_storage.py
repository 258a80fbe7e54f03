"""Room for labels as large as an image: in memory, or in a temporary folder."""

from __future__ import annotations

import shutil
import tempfile
import weakref
from pathlib import Path
from typing import TYPE_CHECKING, Any

import dask.array as da
import numpy as np
import zarr

from napari_sam3_assistant.core.masks.labels import write_smaller
from napari_sam3_assistant.core.tiling import LARGE_PLANE
from napari_sam3_assistant.io.atomic import draft_path, explain_os_errors

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy.typing as npt

    from napari_sam3_assistant.core.images import AnyArray
    from napari_sam3_assistant.core.masks.labels import Box


IN_MEMORY = 1 << 31
"""Up to so many bytes labels are in memory, beyond it in a temporary folder."""
_CHUNK = 1024
# Of each temporary folder the highest label of each chunk, and when that was written.
_HIGHEST: dict[Path, dict[tuple[int, ...], tuple[object, int]]] = {}


def empty_labels(shape: Sequence[int]) -> AnyArray:
    """Return labels of zeros, dtype uint32, that take room only where they are written.

    Parameters
    ----------
    shape : sequence of int
        Length of each axis; of the last two, rows and columns, one chunk takes up to 1024.

    Returns
    -------
    numpy.ndarray or zarr.Array
        NumPy up to ``IN_MEMORY`` bytes: the system maps zeros when they are first written.
        Beyond that zarr in a temporary folder, see :func:`delete_with`.

    Raises
    ------
    ExportError
        If there is no room for a temporary folder.
    """
    if 4 * np.prod(shape, dtype=float) <= IN_MEMORY:
        return np.zeros(tuple(shape), np.uint32)
    return _create_levels([tuple(shape)], (len(shape) - 2, len(shape) - 1))[0]


def empty_levels(shape: Sequence[int], plane: tuple[int, int]) -> list[Any]:
    """Return labels as :func:`empty_labels`, of a large plane on disk in smaller sizes, too.

    Parameters
    ----------
    shape : sequence of int
        Length of each axis.
    plane : tuple of int
        Which axes are rows and columns.

    Returns
    -------
    list of numpy.ndarray or zarr.Array
        One array in memory, or zarr arrays, each of half the rows and columns of the one before.

    Raises
    ------
    ExportError
        If there is no room for a temporary folder.
    """
    if 4 * np.prod(shape, dtype=float) <= IN_MEMORY:
        return [np.zeros(tuple(shape), np.uint32)]
    shapes = [tuple(shape)]
    if max(shape[axis] for axis in plane) > LARGE_PLANE:
        while max(shapes[-1][axis] for axis in plane) > _CHUNK:
            halves = (
                -(-size // 2) if axis in plane else size for axis, size in enumerate(shapes[-1])
            )
            shapes.append(tuple(halves))
    return _create_levels(shapes, plane)


def _create_levels(shapes: list[tuple[int, ...]], plane: tuple[int, int]) -> list[Any]:
    # By its name it is removed later, should this process be killed.
    folder = draft_path(Path(tempfile.gettempdir()) / "labels.zarr")
    levels = []
    with explain_os_errors(folder):
        folder.mkdir(0o700)
        # Any other mode makes the folder anew, and open to all.
        group: Any = zarr.open_group(str(folder), mode="a")
        for number, shape in enumerate(shapes):
            sizes = enumerate(shape)
            chunks = tuple(min(size, _CHUNK) if axis in plane else 1 for axis, size in sizes)
            name, kind = str(number), "uint32"
            made = group.create_array(name, shape=shape, chunks=chunks, dtype=kind, fill_value=0)
            levels.append(made)
    _HIGHEST[folder] = {}
    return levels


def write_box(levels: Sequence[Any], box: Box, pixels: npt.NDArray[np.integer[Any]]) -> None:
    """Write a box of labels on disk, and bring their smaller levels up to date.

    Parameters
    ----------
    levels : sequence of array-like of int
        The labels, the largest size first.
    box : tuple of slice
        Which pixels of the largest.
    pixels : ndarray of int
        What they shall be.

    Raises
    ------
    ExportError
        If the disk does not take them.
    """
    largest, *smaller = levels
    with explain_os_errors(label_folder(largest)):
        largest[box] = pixels
        write_smaller(largest, smaller, box)


def delete_with(owner: object, labels: AnyArray) -> None:
    """Delete the temporary folder of labels, if they have one, when their owner goes."""
    if isinstance(labels, zarr.Array):
        weakref.finalize(owner, _delete, label_folder(labels))


def _delete(folder: Path) -> None:
    _HIGHEST.pop(folder, None)
    shutil.rmtree(folder, ignore_errors=True)


def label_folder(labels: AnyArray) -> Path:
    """Return the folder of labels in a zarr."""
    return Path(labels.store_path.store.root)


def find_highest(labels: AnyArray) -> int:
    """Return the highest label; of labels on disk only what was written since is read.

    Parameters
    ----------
    labels : array-like of int
        The labels.
    """
    if isinstance(labels, np.ndarray):
        return int(labels.max())
    folder = label_folder(labels) if isinstance(labels, zarr.Array) else None
    if folder is None or folder not in _HIGHEST:
        return int(da.from_array(labels).max().compute())
    before = _HIGHEST[folder]
    now: dict[tuple[int, ...], tuple[object, int]] = {}
    chunks = folder / labels.path / "c"
    for file in chunks.rglob("*"):
        if file.is_file():
            chunk, stat = tuple(map(int, file.relative_to(chunks).parts)), file.stat()
            # A chunk is written as a new file.
            stamp = (stat.st_mtime_ns, stat.st_ino, stat.st_size)
            known = before.get(chunk)
            if known is None or known[0] != stamp:
                known = (stamp, int(np.max(labels.blocks[chunk])))
            now[chunk] = known
    _HIGHEST[folder] = now
    return max((highest for _, highest in now.values()), default=0)

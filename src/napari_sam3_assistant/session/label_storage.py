"""Room for labels as large as an image: in memory, or in a folder on the disk."""

from __future__ import annotations

import shutil
import tempfile
import weakref
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import zarr
from zarr.storage import LocalStore

from napari_sam3_assistant.core.images import as_lazy
from napari_sam3_assistant.core.tiling import LARGE_PLANE
from napari_sam3_assistant.io.atomic import (
    draft_folder,
    draft_path,
    explain_os_errors,
    give_name,
)
from napari_sam3_assistant.io.ome_zarr_labels import create_ome_zarr, create_pyramid, open_levels
from napari_sam3_assistant.io.outputs import save_under_free_name
from napari_sam3_assistant.io.pixel_size import MOST_AXES, ome_zarr_axes

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from napari_sam3_assistant.core.axes import Axes
    from napari_sam3_assistant.core.images import AnyArray


IN_MEMORY = 1 << 31
"""Up to so many bytes labels are in memory, beyond it in a temporary folder."""
_CHUNK = 1024
_TEMPORARY: set[Path] = set()
# Of each folder the highest label of each chunk, and when that was written.
_HIGHEST: dict[Path, dict[tuple[int, ...], tuple[object, int]]] = {}


def fits_memory(shape: Sequence[int], in_memory: int = IN_MEMORY) -> bool:
    """Return whether labels of a shape, dtype uint32, are in memory, given up to how many bytes."""
    return bool(4 * np.prod(shape, dtype=float) <= in_memory)


def empty_labels(shape: Sequence[int], in_memory: int = IN_MEMORY) -> AnyArray:
    """Return labels of zeros, dtype uint32, that take room only where they are written.

    ``shape``: length of each axis; of the last two, rows and columns, one chunk takes up to 1024.
    ``in_memory`` (bytes): so many bytes are in memory.
    Returns NumPy up to ``in_memory`` bytes: the system maps zeros when they are first written.
    Beyond that zarr in a temporary folder, see :func:`delete_with`.
    Raises ExportError if there is no room for a temporary folder.
    """
    if fits_memory(shape, in_memory):
        return np.zeros(tuple(shape), np.uint32)
    return _create_levels([tuple(shape)], (len(shape) - 2, len(shape) - 1))[0]


def empty_levels(
    shape: Sequence[int],
    plane: tuple[int, int],
    lasting: tuple[Path, Axes] | None = None,
    *,
    in_memory: int = IN_MEMORY,
) -> list[Any]:
    """Return labels as :func:`empty_labels`, of a large plane on disk in smaller sizes, too.

    ``plane``: which axes are rows and columns.
    ``lasting``: where to make an OME-Zarr that stays, and its axes; another name is taken if that
    one is. By default, and where the format can't hold them, the folder is a temporary one.
    ``in_memory`` (bytes): so many bytes are in memory.
    Returns one array in memory, or zarr arrays, each of half the rows and columns of the one
    before.
    Raises ExportError if there is no room for a folder.
    """
    if fits_memory(shape, in_memory):
        return [np.zeros(tuple(shape), np.uint32)]
    large = max(shape[axis] for axis in plane) > LARGE_PLANE
    if lasting is not None and tuple(plane) == (len(shape) - 2, len(shape) - 1):
        path, axes = lasting
        if len(axes) <= MOST_AXES and ome_zarr_axes(axes)[1] == tuple(range(len(axes))):
            return _create_lasting(path, axes, large=large)
    shapes = [tuple(shape)]
    if large:
        while max(shapes[-1][axis] for axis in plane) > _CHUNK:
            halves = (
                -(-size // 2) if axis in plane else size for axis, size in enumerate(shapes[-1])
            )
            shapes.append(tuple(halves))
    return _create_levels(shapes, plane)


def _create_lasting(path: Path, axes: Axes, *, large: bool) -> list[Any]:
    def make(name: Path) -> None:
        with draft_folder(name) as draft, explain_os_errors(name):
            if large:
                create_pyramid(draft, axes, called=name)
            else:
                create_ome_zarr(draft, axes, called=name)
            give_name(draft, name)

    saved = save_under_free_name(path, make)
    _HIGHEST[saved] = {}
    return list(open_levels(saved, writable=True))


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
            array = group.create_array(name, shape=shape, chunks=chunks, dtype=kind, fill_value=0)
            levels.append(array)
    _HIGHEST[folder] = {}
    _TEMPORARY.add(folder)
    return levels


def delete_with(owner: object, labels: AnyArray) -> None:
    """Delete the folder of labels when their owner goes, if it is temporary or empty."""
    folder = label_folder(labels)
    if folder is not None:
        weakref.finalize(owner, _delete, folder, labels.path)


def _delete(folder: Path, path: str) -> None:
    _HIGHEST.pop(folder, None)
    temporary = folder in _TEMPORARY
    _TEMPORARY.discard(folder)
    if temporary or next(_iter_chunks(folder / path), None) is None:
        shutil.rmtree(folder, ignore_errors=True)


def is_temporary(labels: object) -> bool:
    """Return whether labels on the disk go with their layer."""
    return label_folder(labels) in _TEMPORARY


def _iter_chunks(array: Path) -> Iterator[tuple[tuple[int, ...], Path]]:
    """Yield the place and the file of each chunk of a zarr array that was written."""
    for file in array.rglob("*"):
        parts = file.relative_to(array).parts
        place = parts[1:] if parts[0] == "c" else parts  # of zarr format 3, or 2
        if place and all(part.isdigit() for part in place) and file.is_file():
            yield tuple(map(int, place)), file


def label_folder(labels: object) -> Path | None:
    """Return the folder that labels lie in; None in memory, in a file such as TIFF, on a server."""
    store = labels.store if isinstance(labels, zarr.Array) else None
    return Path(store.root) if isinstance(store, LocalStore) else None


def find_highest(labels: AnyArray) -> int:
    """Return the highest label; of labels on disk only what was written since is read."""
    if isinstance(labels, np.ndarray):
        return int(labels.max())
    folder = label_folder(labels)
    if folder is None or folder not in _HIGHEST:
        return int(as_lazy(labels).max().compute())
    before = _HIGHEST[folder]
    now: dict[tuple[int, ...], tuple[object, int]] = {}
    for chunk, file in _iter_chunks(folder / labels.path):
        stat = file.stat()
        # A chunk is written as a new file.
        stamp = (stat.st_mtime_ns, stat.st_ino, stat.st_size)
        known = before.get(chunk)
        if known is None or known[0] != stamp:
            known = (stamp, int(np.max(labels.blocks[chunk])))
        now[chunk] = known
    _HIGHEST[folder] = now
    return max((highest for _, highest in now.values()), default=0)

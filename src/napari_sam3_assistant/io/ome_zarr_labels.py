"""Write labels as OME-Zarr pyramids, whole or as they grow.

OME-Zarr 0.4 in zarr format 2, which every reader of today knows, or 0.5 in zarr format 3.
Specification: https://ngff.openmicroscopy.org/0.4 and /0.5
"""

from __future__ import annotations

import errno
import math
import os
import threading
import warnings
from collections import OrderedDict
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import AbstractContextManager
from itertools import product
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import numpy as np
import zarr

from napari_sam3_assistant.core.axes import explain_place
from napari_sam3_assistant.core.progress import NullReporter, Progress
from napari_sam3_assistant.core.regions import Region
from napari_sam3_assistant.errors import ExportError, ImageError, NameTaken
from napari_sam3_assistant.io.atomic import draft_folder, explain_os_errors, give_name
from napari_sam3_assistant.io.pixel_size import check_axes, ome_zarr_axes, ome_zarr_names
from napari_sam3_assistant.io.provenance import removing_provenance
from napari_sam3_assistant.io.zarr_images import read_zarr

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path
    from types import TracebackType

    import numpy.typing as npt

    from napari_sam3_assistant.core.axes import Axes
    from napari_sam3_assistant.core.images import AnyArray, Untyped
    from napari_sam3_assistant.core.progress import Reporter


ChunkName: TypeAlias = tuple[int, int, int]

CHUNK = 512
SMALLEST_LEVEL = 64
"""Levels are added while the shorter side of the next one is at least this long."""
_VERSIONS = {2: "0.4", 3: "0.5"}
_KINDS = {"t": "time", "c": "channel"}
_DTYPE = "uint32"


def create_ome_zarr(path: Path, axes: Axes, *, called: Path | None = None) -> Untyped:
    """Make an OME-Zarr image of zeros with one level, and return that level to write to.

    Parameters
    ----------
    path : Path
        Its folder; replaced if it exists.
    axes : tuple of Axis
        Rows and columns last.
    called : Path, optional
        The name that the user knows it by, where it is a draft.

    Returns
    -------
    zarr.Array
        Chunks of one plane, at most 512 x 512 pixels.

    Raises
    ------
    ExportError
        If it can't be written.
    """
    with explain_os_errors(called or path):
        return _create(path, axes, _DTYPE)[1]


def _create(path: Path, axes: Axes, dtype: str, zarr_format: Literal[2, 3] = 2) -> tuple[Any, Any]:
    """Make the folder with one level, and return its group and the level."""
    group = zarr.open_group(str(path), mode="w", zarr_format=zarr_format)
    named = ome_zarr_names(axes)
    array = _add_level(group, 0, _shape_of_axes(named), named, dtype)
    _write_metadata(group, named, 1)
    return group, array


def _shape_of_axes(axes: Axes) -> tuple[int, ...]:
    return tuple(axis.length for axis in axes)


def create_pyramid(path: Path, axes: Axes, *, called: Path | None = None) -> tuple[Any, ...]:
    """Make an OME-Zarr image of zeros with all its levels, and return them, the largest first.

    It is for labels that are written piece by piece: a chunk that is written is not looked
    through for whether it is all zero, which takes zarr a third of the time of writing.

    Parameters
    ----------
    path, axes, called
        As :func:`create_ome_zarr` takes them.

    Returns
    -------
    tuple of zarr.Array
        Each half as high and wide as the one before.

    Raises
    ------
    ExportError
        If it can't be written.
    """
    with explain_os_errors(called or path):
        group = zarr.open_group(str(path), mode="w", zarr_format=2)
        named = ome_zarr_names(axes)
        shape = _shape_of_axes(named)
        levels = []
        for number in range(count_levels(shape)):
            levels.append(_add_level(group, number, shape, named, _DTYPE, empty_chunks=True))
            shape = _halve_shape(shape)
        _write_metadata(group, named, len(levels))
    return tuple(levels)


def open_levels(path: Path, *, writable: bool = False) -> tuple[Any, ...]:
    """Open the levels of an image that this module has written, the largest first.

    Parameters
    ----------
    path : Path
        Folder of the image.
    writable : bool
        Whether they may be written to.

    Returns
    -------
    tuple of zarr.Array
        Their pixels are read when they are indexed.

    Raises
    ------
    ExportError
        If the image is gone.
    """
    try:
        group = zarr.open_group(str(path), mode="r+" if writable else "r", zarr_format=2)
    except OSError as exc:
        raise ExportError(
            f"The labels {path} can't be read.", "Check whether they were moved or removed."
        ) from exc
    listed: Any = group.attrs["multiscales"]
    return tuple(group[level["path"]] for level in listed[0]["datasets"])


def _add_levels(
    group: Untyped,
    level: Untyped,
    axes: Axes,
    reporter: Reporter,
    count: int | None = None,
) -> None:
    """Add the smaller levels to a group whose largest one is written: so many, or as is usual."""
    count = count or count_levels(level.shape)
    for number in range(1, count):
        reporter.report(Progress(number, count, f"Writing size {number + 1} of {count}"))
        shape = _halve_shape(level.shape)
        smaller = _add_level(group, number, shape, axes, str(level.dtype))
        for key in _split_blocks(shape, smaller.chunks):
            reporter.check()
            *planes, rows, columns = key
            wider = (slice(2 * part.start, 2 * part.stop) for part in (rows, columns))
            smaller[key] = level[(*planes, *wider)][..., ::2, ::2]
        level = smaller
    _write_metadata(group, axes, count)


def count_levels(shape: Sequence[int]) -> int:
    """Return how many levels an image of a shape has."""
    return 1 + max(0, math.floor(math.log2(max(1, min(shape[-2:])) / SMALLEST_LEVEL)))


def save_ome_zarr(
    labels: AnyArray,
    path: Path,
    axes: Axes,
    reporter: Reporter | None = None,
    *,
    replace: bool = False,
    zarr_format: Literal[2, 3] = 2,
    dtype: npt.DTypeLike = None,
) -> Path:
    """Write labels as an OME-Zarr image, completely or not at all.

    A path ``IMAGE.zarr/labels/NAME`` puts them into the image of others, in its own version, where
    readers of OME-Zarr find them.

    Parameters
    ----------
    labels : array-like of integers, shape (..., H, W)
        NumPy, dask or zarr array; read block by block.
    path : Path
        The folder.
    axes : tuple of Axis
        The axes of the labels; in the file they are in the order t, c, z, y, x.
    reporter : Reporter, optional
        Receives the progress; may cancel the work.
    replace : bool
        Whether a zarr folder of that name is replaced, and the note beside it removed.
    zarr_format : 2 or 3
        2 for OME-Zarr 0.4, 3 for 0.5.
    dtype : data type, optional
        Of the values in the folder, which must fit it; by default that of the labels.

    Returns
    -------
    Path
        The folder.

    Raises
    ------
    ExportError
        If it can't be written, or the axes don't fit, or not the image that they are put into.
    NameTaken
        If it exists and shall not be replaced.
    """
    reporter = reporter or NullReporter()
    image, levels = find_image(path), None
    if image is not None:
        zarr_format, levels = _prepare_image(image, axes)
    if not path.parent.is_dir():
        raise ExportError(
            f"The folder {path.parent} does not exist.", "Make it first, or choose another."
        )
    if os.path.lexists(path) and not replace:
        raise NameTaken(f"{path} exists already.", "Choose another name.")
    if os.path.lexists(path) and not is_zarr(path):
        raise ExportError(
            f"{path} exists and is not a zarr folder; it was left as it is.", "Choose another name."
        )
    check_axes(axes, labels.shape)
    stored, order = ome_zarr_axes(axes)
    with draft_folder(path) as draft:
        kind = np.dtype(dtype or labels.dtype)
        plain = "uint8" if kind.kind == "b" else str(kind)
        with explain_os_errors(path):
            group, array = _create(draft, stored, plain, zarr_format)
            keys = list(_split_blocks(array.shape, array.chunks))
            for done, key in enumerate(keys):
                reporter.report(Progress(done, len(keys), f"Saving {path.name}"))
                part = np.asarray(labels[tuple(key[place] for place in np.argsort(order))])
                array[key] = part.transpose(order)
            check_there(draft)
            _add_levels(group, array, stored, reporter, levels)
            check_there(draft)
            if image is not None:
                _write_source(group)
            with removing_provenance(path):
                give_name(draft, path, replace=replace)
            if image is not None:
                _list_labels(image, path.name)
    return path


def find_image(path: Path) -> Path | None:
    """Return the zarr folder whose labels a path would be one of; None for a path elsewhere."""
    folder = path.parent
    return folder.parent if folder.name == "labels" and is_zarr(folder.parent) else None


def _prepare_image(image: Path, axes: Axes) -> tuple[Literal[2, 3], int]:
    """Make the group of an image's labels; returns the image's zarr format and count of levels.

    Labels must have as many levels as their image.
    """
    try:
        found = read_zarr(image)
        group = zarr.open_group(str(image), mode="r+")
    except (ImageError, OSError, ValueError, zarr.errors.NodeTypeValidationError) as exc:
        raise ExportError(f"{image} is not an OME-Zarr image.", "Choose another name.") from exc
    sizes = {axis.name: axis.length for axis in found.axes}
    own = [axis.length for axis in axes[-2:]]
    if own != [sizes.get("y"), sizes.get("x")]:
        raise ExportError(
            f"Labels of {own[0]} x {own[1]} pixels don't fit the image {image}.",
            "Export labels of the whole image, or under a name of their own.",
        )
    format_: Literal[2, 3] = group.metadata.zarr_format
    with explain_os_errors(image):
        zarr.open_group(str(image / "labels"), mode="a", zarr_format=format_)
    return format_, len(found.levels)


def _write_source(group: Untyped) -> None:
    """Say of labels within an image that it is theirs."""
    source: dict[str, Any] = {"source": {"image": "../../"}}
    if group.metadata.zarr_format == 2:
        group.attrs["image-label"] = {**group.attrs["image-label"], **source}
    else:
        group.attrs["ome"] = {**group.attrs["ome"], "image-label": source}


def _list_labels(image: Path, name: str) -> None:
    """Name labels among those of an image, also where all metadata are in one place."""
    with explain_os_errors(image):
        group = zarr.open_group(str(image / "labels"), mode="r+", use_consolidated=False)
        attributes: dict[str, Any] = dict(group.attrs)
        if group.metadata.zarr_format == 2:
            group.attrs["labels"] = list(dict.fromkeys([*attributes.get("labels", ()), name]))
        else:
            ome = attributes.get("ome", {})
            listed = list(dict.fromkeys([*ome.get("labels", ()), name]))
            group.attrs["ome"] = {**ome, "version": _VERSIONS[3], "labels": listed}
        outer = zarr.open_group(str(image), mode="r+")
        if outer.metadata.consolidated_metadata is not None:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # that others may not read what was there before
                zarr.consolidate_metadata(str(image))


def check_there(draft: Path) -> None:
    """Raise unless the folder of an image is the one that was made.

    zarr makes folders that are missing, also those of a network path that has gone: what was
    written before is not in them. What describes the group is written again with each of its
    attributes; what describes the largest level only once, when it is made.

    Raises
    ------
    FileNotFoundError
        If it is another one, or none.
    """
    if not is_zarr(draft / "0"):
        raise FileNotFoundError(errno.ENOENT, "its folder vanished meanwhile")


def is_zarr(path: Path) -> bool:
    """Return whether a folder holds a zarr array or group."""
    return any((path / name).exists() for name in ("zarr.json", ".zgroup", ".zarray"))


def _add_level(
    group: Untyped,
    number: int,
    shape: tuple[int, ...],
    axes: Axes,
    dtype: str,
    *,
    empty_chunks: bool = False,
) -> Untyped:
    chunks = (*(1 for _ in shape[:-2]), *(min(CHUNK, max(1, size)) for size in shape[-2:]))
    names = [axis.name for axis in axes]
    options: dict[str, Any] = {"dimension_names": names}
    if group.metadata.zarr_format == 2:
        options = {"attributes": {"_ARRAY_DIMENSIONS": names}}
        options["chunk_key_encoding"] = {"name": "v2", "separator": "/"}
    return group.create_array(
        str(number),
        shape=shape,
        chunks=chunks,
        dtype=dtype,
        fill_value=0,
        **options,
        config={"write_empty_chunks": empty_chunks},
        overwrite=True,
    )


def _halve_shape(shape: tuple[int, ...]) -> tuple[int, ...]:
    *leading, height, width = shape
    return (*leading, math.ceil(height / 2), math.ceil(width / 2))


def _split_blocks(shape: tuple[int, ...], chunks: tuple[int, ...]) -> Iterator[tuple[slice, ...]]:
    """Yield the slices of each chunk of an array."""
    starts = [range(0, size, chunk) for size, chunk in zip(shape, chunks, strict=True)]
    for corner in product(*starts):
        yield tuple(
            slice(start, min(start + chunk, size))
            for start, chunk, size in zip(corner, chunks, shape, strict=True)
        )


def _write_metadata(group: Untyped, axes: Axes, levels: int) -> None:
    named, note = [], explain_place(axes, backwards=True)
    for axis in axes:
        entry = {"name": axis.name, "type": _KINDS.get(axis.name, "space")}
        named.append({**entry, "unit": axis.unit} if axis.unit else entry)
    datasets = []
    for number in range(levels):
        steps = [1] * (len(axes) - 2) + [2**number] * 2
        scale = [axis.scale * step for axis, step in zip(axes, steps, strict=True)]
        moves: list[dict[str, Any]] = [{"type": "scale", "scale": scale}]
        if any(axis.origin for axis in axes) and not note:
            # The same at every size: the first pixel is one of those that are picked.
            moves.append({"type": "translation", "translation": [axis.origin for axis in axes]})
        datasets.append({"path": str(number), "coordinateTransformations": moves})
    multiscale: dict[str, Any] = {"axes": named, "datasets": datasets}
    if note:
        multiscale["metadata"] = {"description": note}
    version = {"version": _VERSIONS[group.metadata.zarr_format]}
    if group.metadata.zarr_format == 2:
        group.attrs.update({"multiscales": [multiscale | version], "image-label": version})
    else:
        group.attrs["ome"] = version | {"multiscales": [multiscale], "image-label": {}}


class GrowingLabels(AbstractContextManager["GrowingLabels"]):
    """An OME-Zarr image of labels, of which every size is true after each write.

    A viewer shows large labels at the size that fits its window. Were the smaller sizes made at
    the end, it would have to read all of the largest one to show how far the work is.

    Chunks are kept in memory while pieces come that touch them, and a thread writes them, a few
    times a second at most: each chunk once, however many pieces have touched it since. Leaving the
    ``with`` block waits for it. What went wrong in a write is raised by a later call, at the latest
    by leaving.

    Parameters
    ----------
    path : Path
        The folder; replaced if it exists.
    axes : tuple of Axis
        Rows and columns last. Where there are others, the first plane is written until
        :meth:`go_to` names another one; in the file they are in the order t, c, z.
    called : Path, optional
        The name that the user knows it by, where it is a draft.
    pause : float
        Seconds between two rounds of writing.
    kept : int
        About how many chunks of up to 1 MB are kept in memory, those that are being written among
        them.

    Raises
    ------
    ExportError
        If it can't be written; raised by any of the methods.
    """

    def __init__(
        self,
        path: Path,
        axes: Axes,
        *,
        called: Path | None = None,
        pause: float = 0.25,
        kept: int = 64,
    ) -> None:
        self._called = called or path
        named = ome_zarr_names(axes)
        self._order = sorted(range(len(named) - 2), key=lambda n: "tczyx".index(named[n].name))
        stored = (*(named[number] for number in self._order), *named[-2:])
        self._levels: tuple[Any, ...] = create_pyramid(path, stored, called=self._called)
        self._pause, self._kept = pause, kept
        self._writer = ThreadPoolExecutor(1, thread_name_prefix="write-labels")
        self._round: Future[None] | None = None
        self._hurry = threading.Event()
        # Held for each of what follows. A chunk is named by its level, and its row and column.
        self._lock = threading.Lock()
        self._chunks: OrderedDict[ChunkName, npt.NDArray[np.uint32]] = OrderedDict()
        self._waiting: set[ChunkName] = set()
        self._writing: set[ChunkName] = set()
        self._begin_plane((0,) * len(self._order))
        self._at_work = False
        self._coming: Region | None = None  # holds what waits
        self._changed: Region | None = None

    def _begin_plane(self, plane: tuple[int, ...]) -> None:
        self._plane = plane  # as it is stored
        self._stored = [
            np.zeros([-(-size // CHUNK) for size in level.shape[-2:]], bool)
            for level in self._levels
        ]

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._hurry.set()
        self._writer.shutdown()
        if error is None:
            self._raise_failed()

    def __getitem__(self, key: tuple[slice, slice]) -> npt.NDArray[np.uint32]:
        """Return the labels of a piece."""
        self._raise_failed()
        rows, columns = key
        piece = np.empty((rows.stop - rows.start, columns.stop - columns.start), np.uint32)
        with self._lock, explain_os_errors(self._called):
            for name, part, inner in _find_chunks(0, rows.start, columns.start, piece.shape):
                piece[part] = self._chunk(name)[inner]
        return piece

    def __setitem__(self, key: tuple[slice, slice], value: npt.NDArray[np.uint32]) -> None:
        """Write the labels of a piece."""
        self._raise_failed()
        if len(self._waiting) > self._kept // 2:
            self._finish_writing()
        rows, columns = key
        region = Region(rows.start, columns.start, rows.stop, columns.stop)
        with self._lock, explain_os_errors(self._called):
            for number in range(len(self._levels)):
                step = 2**number
                fewer = value[-rows.start % step :: step, -columns.start % step :: step]
                y, x = -(-rows.start // step), -(-columns.start // step)
                for name, part, inner in _find_chunks(number, y, x, fewer.shape):
                    self._chunk(name)[inner] = fewer[part]
                    self._waiting.add(name)
            self._coming = region if self._coming is None else self._coming.union(region)
            begins, self._at_work = not self._at_work, True
        if begins:
            self._round = self._writer.submit(self._write)

    def go_to(self, plane: Sequence[int]) -> None:
        """Write another plane from now on; each may be written once.

        Parameters
        ----------
        plane : sequence of int
            Its index on each axis before rows and columns, in the order of ``axes``.
        """
        self._finish_writing()
        self._raise_failed()
        with self._lock:
            self._chunks.clear()
            self._begin_plane(tuple(plane[number] for number in self._order))

    def take_changed(self, patience: float) -> Region | None:
        """Return a box around all that was written since the latest call.

        Parameters
        ----------
        patience : float
            How long to wait for what is being written, in seconds.
        """
        if patience > 0:
            self._finish_writing(patience)
        self._raise_failed()
        with self._lock:
            changed, self._changed = self._changed, None
        return changed

    def _finish_writing(self, patience: float | None = None) -> None:
        """Wait until all is written, or for so many seconds."""
        if self._round is not None:
            self._hurry.set()
            wait([self._round], patience)
            self._hurry.clear()

    def _raise_failed(self) -> None:
        if self._round is not None and self._round.done():
            with explain_os_errors(self._called):
                self._round.result()

    def _chunk(self, name: ChunkName) -> npt.NDArray[np.uint32]:
        """Return a chunk, within the lock."""
        chunk = self._chunks.get(name)
        if chunk is None:
            busy = self._waiting | self._writing
            while len(self._chunks) >= self._kept:
                gone = next((chunk for chunk in self._chunks if chunk not in busy), None)
                if gone is None:
                    break
                del self._chunks[gone]
            (number, *place), sides = name, self._chunk_slices(name)
            if self._stored[number][tuple(place)]:
                chunk = self._levels[number][(*self._plane, *sides)]
            else:
                chunk = np.zeros([side.stop - side.start for side in sides], np.uint32)
            self._chunks[name] = chunk
        self._chunks.move_to_end(name)
        return chunk

    def _chunk_slices(self, name: ChunkName) -> tuple[slice, ...]:
        number, *place = name
        shape = self._levels[number].shape[-2:]
        return tuple(
            slice(CHUNK * at, min(CHUNK * (at + 1), size))
            for at, size in zip(place, shape, strict=True)
        )

    def _write(self) -> None:
        """Write round by round, until there is nothing left."""
        # One for all: a new one for each leaves holes in the heap.
        copy = np.empty((CHUNK, CHUNK), np.uint32)
        while True:
            with self._lock:
                self._writing, self._waiting = self._waiting, set()
                region, self._coming = self._coming, None
            for name in sorted(self._writing):
                with self._lock:
                    chunk = self._chunks[name]
                    height, width = chunk.shape
                    copy[:height, :width] = chunk
                key = (*self._plane, *self._chunk_slices(name))
                self._levels[name[0]][key] = copy[:height, :width]
            with self._lock:
                for number, *place in self._writing:
                    self._stored[number][tuple(place)] = True
                self._writing = set()
                if region is not None:
                    seen = self._changed
                    self._changed = region if seen is None else seen.union(region)
            self._hurry.wait(self._pause)
            with self._lock:
                self._at_work = bool(self._waiting)
                if not self._at_work:
                    return


def _find_chunks(
    level: int, y: int, x: int, shape: tuple[int, ...]
) -> Iterator[tuple[ChunkName, tuple[slice, slice], tuple[slice, slice]]]:
    """Yield each chunk that a piece touches: its name, its part of the piece and of the chunk."""
    sides: list[list[tuple[int, slice, slice]]] = []
    for start, size in zip((y, x), shape, strict=True):
        side = []
        for at in range(start // CHUNK, -(-(start + size) // CHUNK) if size else 0):
            first, last = max(start, CHUNK * at), min(start + size, CHUNK * (at + 1))
            inner = slice(first - CHUNK * at, last - CHUNK * at)
            side.append((at, slice(first - start, last - start), inner))
        sides.append(side)
    for (row, rows, inner_rows), (column, columns, inner_columns) in product(*sides):
        yield (level, row, column), (rows, columns), (inner_rows, inner_columns)

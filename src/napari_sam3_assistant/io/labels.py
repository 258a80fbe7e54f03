"""Write labels: piece by piece as they are read, or plane by plane as they come."""

from __future__ import annotations

import errno
import math
import os
import shutil
import zlib
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import imageio.v3 as iio
import numpy as np
import tifffile
from numpy.lib import format as format_

from napari_sam3_assistant.core.axes import make_axes
from napari_sam3_assistant.core.images import map_read_errors
from napari_sam3_assistant.core.masks.labels import split_blocks, split_in_order, whole_box
from napari_sam3_assistant.core.paths import expand_user
from napari_sam3_assistant.core.progress import NullReporter, Progress
from napari_sam3_assistant.errors import ExportError, NameTaken
from napari_sam3_assistant.io.atomic import (
    atomic_write,
    draft_folder,
    explain_os_errors,
    give_name,
    is_there,
)
from napari_sam3_assistant.io.ome_zarr_labels import check_there, create_ome_zarr, save_ome_zarr
from napari_sam3_assistant.io.pixel_size import (
    MOST_AXES,
    check_axes,
    make_ome_metadata,
    ome_tiff_axes,
    ome_zarr_axes,
    tiff_resolution,
)
from napari_sam3_assistant.io.provenance import removing_provenance

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    import numpy.typing as npt

    from napari_sam3_assistant.core.axes import Axes
    from napari_sam3_assistant.core.images import AnyArray
    from napari_sam3_assistant.core.masks.labels import Box
    from napari_sam3_assistant.core.progress import Reporter


_MAX_16_BIT = 65535
_MAX_32_BIT = (1 << 32) - 1
_CLASSIC_TIFF_BYTES = 1 << 31
_MOST_PNG = 178_956_970
"""Pixels: Pillow, by which most programs of Python read PNG, refuses files of more."""


def save_labels(
    labels: AnyArray,
    path: str | Path,
    axes: Axes | None = None,
    *,
    overwrite: bool = True,
    reporter: Reporter | None = None,
) -> Path:
    """Write labels to a file, completely or not at all.

    They are read and written piece by piece, but for PNG.

    Parameters
    ----------
    labels : array-like of integers or bool, shape (..., H, W)
        Object ids from 0 to 4294967295; PNG takes one plane of up to 65535. In memory, or lazy.
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
        Is told of the progress, and stops the work.

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
    ImageError
        If lazy labels can't be read.
    """
    path = Path(path)
    check_ending(path)
    with explain_os_errors(path):
        if not overwrite and is_there(path):
            raise NameTaken(f"{path} exists already.", "Choose another name.")
    reporter = reporter or NullReporter()
    stored = _Stored.of(labels, reporter)
    if path.suffix.lower() == ".zarr":
        axes = axes or make_axes(stored.shape)
        save_ome_zarr(labels, path, axes, reporter, dtype=stored.dtype)
        return path
    with atomic_write(path, replace=overwrite, naming=removing_provenance(path)) as draft:
        _WRITERS[path.suffix.lower()](draft, stored, axes)
    return path


def check_ending(path: Path) -> None:
    """Raise ExportError unless labels can be saved in a file of this ending."""
    if path.suffix.lower() not in (*_WRITERS, ".zarr"):
        raise ExportError(
            f"Labels can't be saved as '{path.suffix}': {path}.",
            f"Use {', '.join((*_WRITERS, '.zarr'))}.",
        )


@dataclass(frozen=True, slots=True, eq=False)
class _Stored:
    """Labels as a file has them.

    Parameters
    ----------
    labels : array-like of integers or bool
        The labels.
    highest : int
        The highest of them.
    reporter : Reporter
        Is told of the progress, and stops the work.
    """

    labels: AnyArray
    highest: int
    reporter: Reporter

    @classmethod
    def of(cls, labels: AnyArray, reporter: Reporter) -> _Stored:
        """Look through labels; raises ExportError if a file can't hold them."""
        kind = np.dtype(labels.dtype)
        if kind.kind not in "bui" or labels.ndim < 2 or 0 in labels.shape:
            raise ExportError(
                f"An array of type {kind} and shape {tuple(labels.shape)} holds no labels.",
                "Give whole numbers with rows and columns.",
            )
        highest = 0
        for box in split_blocks(labels, whole_box(labels.shape)):
            reporter.check()
            part = _read(labels, box)
            lowest = int(part.min(initial=0))
            if lowest < 0:
                raise ExportError(
                    f"The label {lowest} is negative and can't be saved.",
                    "Give 0 to background pixels.",
                )
            highest = max(highest, int(part.max(initial=0)))
        if highest > _MAX_32_BIT:
            raise ExportError(
                f"The label {highest} is above {_MAX_32_BIT} and can't be saved.",
                "Number the labels anew.",
            )
        return cls(labels, highest, reporter)

    @property
    def shape(self) -> tuple[int, ...]:
        """Length of each axis of the labels."""
        return tuple(int(side) for side in self.labels.shape)

    @property
    def dtype(self) -> np.dtype[Any]:
        """The smallest type of 16 or 32 bits without sign that holds them."""
        return np.dtype(np.uint16 if self.highest <= _MAX_16_BIT else np.uint32)

    def iter_pieces(self, order: Sequence[int]) -> Iterator[npt.NDArray[Any]]:
        """Yield the pixels piece by piece, as a file has them whose axes are in an order."""
        boxes = split_in_order(self.labels, order)
        for done, box in enumerate(boxes):
            self.reporter.report(Progress(done, len(boxes), "Saving the labels"))
            part = _read(self.labels, box)
            if int(part.max(initial=0)) > np.iinfo(self.dtype).max:
                raise ExportError("The labels were changed while they were saved.", "Save again.")
            yield np.ascontiguousarray(part.transpose(order), self.dtype)


def _read(labels: AnyArray, box: Box) -> npt.NDArray[Any]:
    with map_read_errors("The labels could not be read", "Check that their file opens elsewhere."):
        return np.asarray(labels[box])


_STRIP_BYTES = 1 << 18


def _write_tiff(path: Path, stored: _Stored, axes: Axes | None) -> None:
    metadata: dict[str, Any] = {}
    resolution: dict[str, Any] = {}
    order = tuple(range(len(stored.shape)))
    if axes is not None and len(axes) <= MOST_AXES:
        check_axes(axes, stored.shape)
        named, order = ome_tiff_axes(axes)
        metadata, resolution = make_ome_metadata(named), tiff_resolution(named)
    shape = tuple(stored.shape[axis] for axis in order)
    *_, rows, columns = (max(1, side) for side in shape)
    at_once = split_in_order(stored.labels, order)[0][order[-2]]
    # Pieces are whole strips: of one plane's rows as many as there are, or a divisor of a part.
    strip = min(rows, max(1, _STRIP_BYTES // (columns * stored.dtype.itemsize)))
    while at_once.stop < rows and at_once.stop % strip:
        strip -= 1

    def strips() -> Iterator[bytes]:
        for piece in stored.iter_pieces(order):
            for plane in piece.reshape(-1, *piece.shape[-2:]):
                for first in range(0, len(plane), strip):
                    yield zlib.compress(plane[first : first + strip])

    # photometric: an axis of size 3 or 4 must not be taken for colours.
    tifffile.imwrite(
        path,
        strips(),
        shape=shape,
        dtype=stored.dtype,
        rowsperstrip=strip,
        photometric="minisblack",
        compression="zlib",
        bigtiff=math.prod(shape) * stored.dtype.itemsize > _CLASSIC_TIFF_BYTES,
        ome=bool(metadata),
        metadata=metadata,
        **resolution,
    )


def _write_npy(path: Path, stored: _Stored, _axes: Axes | None) -> None:
    about = {"descr": stored.dtype.str, "fortran_order": False, "shape": stored.shape}
    with path.open("wb") as file:
        format_.write_array_header_1_0(file, about)  # type: ignore[no-untyped-call]
        for piece in stored.iter_pieces(range(len(stored.shape))):
            file.write(piece.data)


def _write_png(path: Path, stored: _Stored, _axes: Axes | None) -> None:
    height, width = stored.shape[-2:]
    if math.prod(stored.shape) != height * width:
        raise ExportError(
            f"PNG holds one plane, these labels have the shape {stored.shape}.",
            "Save them as TIFF or NPY.",
        )
    if stored.highest > _MAX_16_BIT:
        raise ExportError(
            f"PNG holds labels up to {_MAX_16_BIT}, the highest here is {stored.highest}.",
            "Save them as TIFF or NPY.",
        )
    if height * width > _MOST_PNG:
        raise ExportError(
            f"Labels of {height} x {width} pixels are too many for a PNG, which others refuse to "
            "open.",
            "Save them as TIFF or OME-Zarr.",
        )
    plane, done = np.empty((height, width), stored.dtype), 0
    for piece in stored.iter_pieces(range(len(stored.shape))):
        rows = piece.reshape(-1, width)
        plane[done : done + len(rows)] = rows
        done += len(rows)
    with path.open("wb") as file:  # closed on a full disk, too: Windows removes no open one
        iio.imwrite(file, plane, plugin="pillow", extension=".png")


_WRITERS: dict[str, Callable[[Path, _Stored, Axes | None], None]] = {
    **dict.fromkeys((".tif", ".tiff"), _write_tiff),
    ".npy": _write_npy,
    ".png": _write_png,
}


_ENDINGS = (".tif", ".tiff", ".npy", ".zarr")
_NOT_KNOWN = (errno.EOPNOTSUPP, errno.EINVAL, errno.ENOSYS)


def check_stack_path(path: str | Path) -> Path:
    """Return the path that a stack of labels can be written to.

    Raises
    ------
    ExportError
        If its folder is missing, its ending unknown, or it is a folder that exists.
    """
    path = expand_user(path)
    if path.suffix.lower() not in _ENDINGS:
        raise ExportError(
            f"A stack of labels can't be saved as '{path.suffix}': {path}.",
            f"Use {', '.join(_ENDINGS)}.",
        )
    if not path.parent.is_dir():
        raise ExportError(
            f"The folder {path.parent} does not exist.", "Make it first, or choose another."
        )
    if os.path.isdir(path):
        raise NameTaken(f"{path} exists already.", "Choose another name.")
    return path


@contextmanager
def open_label_stack(
    path: str | Path,
    shape: tuple[int, int, int],
    axes: Axes | None = None,
    *,
    replace: bool = True,
) -> Iterator[Callable[[int, Any], None]]:
    """Give a function that writes one plane; planes that are not written are 0.

    The file takes its name when the block ends, and none when the block fails. Whoever wants to
    keep what is written by then ends the block.

    Parameters
    ----------
    path : str or Path
        File that ends in .tif or .tiff (multi-page), .npy or .zarr (OME-Zarr).
    shape : tuple of int
        Number of planes, height and width.
    axes : tuple of Axis, optional
        The axes of the stack, for TIFF (as OME-TIFF) and OME-Zarr, which have them in their own
        order; NumPy files don't hold it.
    replace : bool
        Whether a file of that name is replaced, after the note beside it was removed. A folder
        is never replaced.

    Yields
    ------
    callable
        Takes the plane's number and its labels, shape (Y, X), and writes them as uint32.

    Raises
    ------
    ExportError
        If it can't be written there.
    NameTaken
        If it exists and shall not be replaced.
    """
    path = check_stack_path(path)
    axes = axes or make_axes(shape)
    check_axes(axes, shape)
    stored, order = _file_axes(path.suffix.lower(), axes)
    is_folder = path.suffix.lower() == ".zarr"
    with (
        _open_zarr_draft(path, stored) if is_folder else _open_draft(path, stored, replace) as array
    ):

        def write(plane: int, labels: AnyArray) -> None:
            pixels = np.asarray(labels, np.uint32)
            key = tuple(slice(None) if number else plane for number in order)
            with explain_os_errors(path):
                array[key] = pixels if order.index(1) < order.index(2) else pixels.T

        yield write


def _file_axes(ending: str, axes: Axes) -> tuple[Axes, tuple[int, ...]]:
    """Return the axes that a file has, and which of ``axes`` each is."""
    if ending == ".zarr":
        return ome_zarr_axes(axes)
    return (axes, (0, 1, 2)) if ending == ".npy" else ome_tiff_axes(axes)


@contextmanager
def _open_draft(path: Path, axes: Axes, replace: bool) -> Iterator[Any]:
    shape = tuple(axis.length for axis in axes)
    size = 4 * math.prod(shape)
    with atomic_write(path, replace=replace, naming=removing_provenance(path)) as draft:
        if shutil.disk_usage(draft.parent).free < size:
            # A file of a few bytes may say any size of itself.
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        pixels = _MappedPixels(
            format_.open_memmap(draft, mode="w+", dtype=np.uint32, shape=shape)  # type: ignore[no-untyped-call]
            if path.suffix.lower() == ".npy"
            else tifffile.memmap(
                draft,
                shape=shape,
                dtype=np.uint32,
                photometric="minisblack",
                ome=True,
                metadata=make_ome_metadata(axes),
                bigtiff=size > _CLASSIC_TIFF_BYTES,
                **tiff_resolution(axes),
            )
        )
        try:
            _reserve_space(draft)
            yield pixels
        finally:
            pixels.close()


class _MappedPixels:
    """Pixels of a file, to be written; whoever has this does not keep the file mapped.

    Windows neither renames nor removes a file that is mapped, and only who has no array of it any
    more has let it go.
    """

    def __init__(self, array: np.memmap[Any, Any]) -> None:
        self._array: np.memmap[Any, Any] | None = array

    def __setitem__(self, key: tuple[slice | int, ...], values: npt.NDArray[np.uint32]) -> None:
        if self._array is None:
            raise ValueError("the file is closed")
        self._array[key] = values

    def close(self) -> None:
        """Write what is not written yet, and let go of the file."""
        if self._array is not None:
            self._array.flush()
            self._array = None


def _reserve_space(file: Path) -> None:
    """Have the system set all of a file's space aside, or say that there is none.

    A process that writes to a mapped file on a full disk gets no error but SIGBUS.
    """
    with file.open("rb+") as opened:
        size = os.fstat(opened.fileno()).st_size
        try:
            os.posix_fallocate(opened.fileno(), 0, size)
        except (AttributeError, OSError) as error:
            # macOS and Windows have no such call, and some file systems don't know it.
            known = isinstance(error, OSError) and error.errno not in _NOT_KNOWN
            if known or shutil.disk_usage(file.parent).free < size:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)) from error


@contextmanager
def _open_zarr_draft(path: Path, axes: Axes) -> Iterator[Any]:
    with draft_folder(path) as draft:
        yield create_ome_zarr(draft, axes, called=path)
        with explain_os_errors(path):
            check_there(draft)
            with removing_provenance(path):
                give_name(draft, path)

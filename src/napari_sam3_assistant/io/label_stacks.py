"""Writing a stack of labels plane by plane, in any order, into a file that is whole at the end."""

from __future__ import annotations

import errno
import os
import shutil
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import tifffile
from numpy.lib import format as format_

from napari_sam3_assistant.core.axes import axes_of
from napari_sam3_assistant.errors import ExportError, NameTaken
from napari_sam3_assistant.io.atomic import atomic_write, explained, give_name
from napari_sam3_assistant.io.drafts import draft_folder
from napari_sam3_assistant.io.label_axes import check_axes, ome_tiff_axes, ome_zarr_axes
from napari_sam3_assistant.io.ome_zarr_labels import check_there, create_ome_zarr
from napari_sam3_assistant.io.sidecar import without_note
from napari_sam3_assistant.io.tiff_axes import ome_metadata

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from napari_sam3_assistant.core.axes import Axes

_ENDINGS = (".tif", ".tiff", ".npy", ".zarr")
_CLASSIC_TIFF_BYTES = 1 << 31
_NOT_KNOWN = (errno.EOPNOTSUPP, errno.EINVAL, errno.ENOSYS)


def check_stack_path(path: str | Path) -> Path:
    """Return the path that a stack of labels can be written to.

    Raises
    ------
    ExportError
        If its folder is missing, its ending unknown, or it is a folder that exists.
    """
    path = Path(path).expanduser()
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
    axes = axes or axes_of(shape)
    check_axes(axes, shape)
    stored, order = _stored(path.suffix.lower(), axes)
    is_folder = path.suffix.lower() == ".zarr"
    with _zarr(path, stored) if is_folder else _file(path, stored, replace) as array:

        def write(plane: int, labels: Any) -> None:  # noqa: ANN401
            pixels = np.asarray(labels, np.uint32)
            key = tuple(slice(None) if number else plane for number in order)
            with explained(path):
                array[key] = pixels if order.index(1) < order.index(2) else pixels.T

        yield write


def _stored(ending: str, axes: Axes) -> tuple[Axes, tuple[int, ...]]:
    """Return the axes that a file has, and which of ``axes`` each is."""
    if ending == ".zarr":
        return ome_zarr_axes(axes)
    return (axes, (0, 1, 2)) if ending == ".npy" else ome_tiff_axes(axes)


@contextmanager
def _file(path: Path, axes: Axes, replace: bool) -> Iterator[Any]:
    shape = tuple(axis.length for axis in axes)
    with atomic_write(path, replace=replace, naming=without_note(path)) as draft:
        if path.suffix.lower() == ".npy":
            array: Any = format_.open_memmap(draft, mode="w+", dtype=np.uint32, shape=shape)  # type: ignore[no-untyped-call]
        else:
            array = tifffile.memmap(
                draft,
                shape=shape,
                dtype=np.uint32,
                photometric="minisblack",
                ome=True,
                metadata=ome_metadata(axes),
                bigtiff=4 * np.prod(shape, dtype=np.int64) > _CLASSIC_TIFF_BYTES,
            )
        _reserve(draft)
        yield array
        array.flush()
        # Windows does not rename a file that is mapped.
        del array


def _reserve(file: Path) -> None:
    """Have the system set all of a file's space aside, or say that there is none.

    Who writes to a mapped file on a full disk is not told but ended (SIGBUS).
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
def _zarr(path: Path, axes: Axes) -> Iterator[Any]:
    with draft_folder(path) as draft:
        yield create_ome_zarr(draft, axes, called=path)
        with explained(path):
            check_there(draft)
            with without_note(path):
                give_name(draft, path)

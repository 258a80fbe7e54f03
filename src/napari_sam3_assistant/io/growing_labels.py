"""A plane of labels in a file that is written piece by piece and can be seen all the while."""

from __future__ import annotations

from concurrent.futures import Future, ThreadPoolExecutor, wait
from typing import TYPE_CHECKING, Any, Self

from napari_sam3_assistant.core.regions import Region
from napari_sam3_assistant.io.atomic import explained
from napari_sam3_assistant.io.ome_zarr_labels import create_pyramid

if TYPE_CHECKING:
    from pathlib import Path
    from types import TracebackType

    import numpy as np
    import numpy.typing as npt

    from napari_sam3_assistant.core.axes import Axes


class GrowingLabels:
    """An OME-Zarr image of labels, of which every size is true after each write.

    A viewer shows large labels at the size that fits its window. Were the smaller sizes made at
    the end, it would have to read all of the largest one to show how far the work is.

    A thread writes while the caller goes on. Reading waits for what is still to be written, and
    so does leaving the ``with`` block. What went wrong in a write is raised by the next reading,
    writing or leaving.

    Parameters
    ----------
    path : Path
        The folder; replaced if it exists.
    axes : tuple of Axis
        Rows and columns of the plane.
    called : Path, optional
        The name that the user knows it by, where it is a draft.

    Raises
    ------
    ExportError
        If it can't be written; raised by any of the methods.
    """

    def __init__(self, path: Path, axes: Axes, *, called: Path | None = None) -> None:
        self._called = called or path
        self._levels: tuple[Any, ...] = create_pyramid(path, axes, called=self._called)
        self._writer = ThreadPoolExecutor(1, thread_name_prefix="write-labels")
        self._writing: list[Future[Region]] = []
        self._changed: Region | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._writer.shutdown()
        if error is None:
            self._collect()

    def __getitem__(self, key: tuple[slice, slice]) -> npt.NDArray[np.uint32]:
        """Return the labels of a piece."""
        wait(self._writing)
        self._collect()
        with explained(self._called):
            piece: npt.NDArray[np.uint32] = self._levels[0][key]
        return piece

    def __setitem__(self, key: tuple[slice, slice], value: npt.NDArray[np.uint32]) -> None:
        """Write the labels of a piece, which must not be changed afterwards."""
        self._collect()
        self._writing.append(self._writer.submit(self._write, key, value))

    def _write(self, key: tuple[slice, slice], value: npt.NDArray[np.uint32]) -> Region:
        """Write a piece, and every second, fourth, ... of its pixels."""
        rows, columns = key
        for number, level in enumerate(self._levels):
            step = 2**number
            fewer = value[-rows.start % step :: step, -columns.start % step :: step]
            y, x = -(-rows.start // step), -(-columns.start // step)
            if fewer.size:
                level[y : y + fewer.shape[0], x : x + fewer.shape[1]] = fewer
        return Region(rows.start, columns.start, rows.stop, columns.stop)

    def _collect(self) -> None:
        """Note what has been written meanwhile."""
        while self._writing and self._writing[0].done():
            with explained(self._called):
                written = self._writing.pop(0).result()
            self._changed = written if self._changed is None else self._changed.union(written)

    def take_changed(self, patience: float) -> Region | None:
        """Return a box around all that is written and was not told by an earlier call.

        Parameters
        ----------
        patience : float
            How long to wait for what is being written, in seconds.
        """
        wait(self._writing, patience)
        self._collect()
        changed, self._changed = self._changed, None
        return changed

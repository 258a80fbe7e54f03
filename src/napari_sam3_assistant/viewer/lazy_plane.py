"""A plane in a file as an array with the axes of its image."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_sam3_assistant.core.masks.edits import Changes, LabelEdit
from napari_sam3_assistant.core.masks.labels import is_writable
from napari_sam3_assistant.core.masks.runs import spread

if TYPE_CHECKING:
    import numpy.typing as npt

    from napari_sam3_assistant.core.images import LazyArray


class LazyPlane:
    """An array of which two axes are those of a plane, and all others have length 1.

    Only what is indexed is read, and nothing is kept: what changes in the file is seen.

    Parameters
    ----------
    plane : array-like, shape (h, w)
        The plane; NumPy can make arrays of its pieces.
    ndim : int
        Number of axes.
    rows, columns : int
        Which of them are the plane's.

    Attributes
    ----------
    stored : array-like, shape (h, w)
        The plane itself.
    """

    def __init__(self, plane: LazyArray, ndim: int, rows: int, columns: int) -> None:
        self.stored = plane
        self._axes = (rows, columns)
        shape = [1] * ndim
        shape[rows], shape[columns] = plane.shape
        self.shape = tuple(shape)
        self.dtype = plane.dtype
        self.ndim = ndim
        self.size = math.prod(self.shape)
        self.read_only = not is_writable(plane)
        self.store = getattr(plane, "store", None)

    @property
    def chunks(self) -> tuple[int, ...]:
        """Sides of the pieces in which the plane lies in the file, where it does."""
        plane: Any = self.stored
        sides = [1] * self.ndim
        for axis, side in zip(self._axes, plane.chunks, strict=True):
            sides[axis] = side
        return tuple(sides)

    def stored_edit(self, edit: LabelEdit) -> LabelEdit:
        """Return an edit of this array as one of the plane itself."""
        changes = edit.changes()
        pixels = spread(changes.starts, changes.lengths)
        where = np.unravel_index(pixels, self.shape)
        height, width = self.stored.shape
        flat = np.ravel_multi_index([where[axis] for axis in self._axes], (height, width))
        order = np.argsort(flat, kind="stable")
        before, after = (
            np.repeat(one, changes.lengths)[order] for one in (changes.before, changes.after)
        )
        stretches = Changes.of_pixels(flat[order], before, after, width)
        return LabelEdit.of(edit.action, (height, width), stretches, edit.dtype)

    def __getitem__(self, key: Any) -> npt.NDArray[Any]:  # noqa: ANN401 - any NumPy index
        """Return the part under an index of integers and slices, or of one array an axis."""
        full = self._full(key)
        rows, columns = (full[axis] for axis in self._axes)
        if any(isinstance(part, np.ndarray) for part in full):
            return np.asarray(self.stored[rows, columns])
        piece = np.asarray(self.stored[_span(rows), _span(columns)])
        upright = piece if self._axes[0] < self._axes[1] else piece.T
        others = [axis for axis in range(self.ndim) if axis not in self._axes]
        kept: list[Any] = list(full)
        for axis in self._axes:
            # Cut out already: what is left of an integer is one row to drop.
            kept[axis] = slice(None) if isinstance(full[axis], slice) else 0
        part: npt.NDArray[Any] = np.expand_dims(upright, others)[tuple(kept)]
        return part

    def __setitem__(self, key: Any, value: npt.ArrayLike) -> None:  # noqa: ANN401
        """Write the part under an index of slices, or of one array an axis."""
        full = self._full(key)
        rows, columns = (full[axis] for axis in self._axes)
        given = np.asarray(value)
        if isinstance(rows, slice):
            if given.ndim == self.ndim:
                given = given.squeeze(tuple(set(range(self.ndim)) - set(self._axes)))
            given = given.T if self._axes[0] > self._axes[1] else given
        plane: Any = self.stored
        plane[rows, columns] = given

    def __array__(
        self,
        dtype: npt.DTypeLike | None = None,
        copy: bool | None = None,
    ) -> npt.NDArray[Any]:
        """Return all of it."""
        del copy
        return np.asarray(self[()], dtype)

    def _full(self, key: Any) -> tuple[Any, ...]:  # noqa: ANN401
        """Return an index with an entry for each axis."""
        parts = list(key) if isinstance(key, tuple) else [key]
        if Ellipsis in [part for part in parts if not isinstance(part, np.ndarray)]:
            place = next(n for n, part in enumerate(parts) if part is Ellipsis)
            missing = self.ndim - len(parts) + 1
            parts[place : place + 1] = [slice(None)] * missing
        return (*parts, *[slice(None)] * (self.ndim - len(parts)))


def _span(part: Any) -> slice:  # noqa: ANN401
    return part if isinstance(part, slice) else slice(part, part + 1 or None)

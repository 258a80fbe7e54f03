"""What counts as labels, and which values they can hold."""

from __future__ import annotations

import re
from enum import StrEnum
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_sam3_assistant.errors import MaskError

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy.typing as npt

    LabelArray = npt.NDArray[np.integer[Any] | np.bool_]
    Positions = npt.NDArray[np.int64]

Box = tuple[slice, ...]
"""Half-open slices, one an axis, with start and stop given."""


class Connectivity(StrEnum):
    """Which neighbours of a pixel belong to the same component."""

    FACES = "faces"
    ALL = "all"

    def rank(self, ndim: int) -> int:
        """Return along how many axes a neighbour may differ, as scikit-image counts it."""
        return 1 if self is Connectivity.FACES else ndim


def check_labels(labels: Any) -> None:  # noqa: ANN401 - arrays of numpy, zarr and others
    """Raise unless an array can hold labels.

    Parameters
    ----------
    labels : array-like with ``dtype`` and ``ndim``
        The array; no pixel is read.

    Raises
    ------
    MaskError
        If its values are no whole numbers or it has no rows and columns.
    """
    if np.dtype(labels.dtype).kind not in "bui":
        raise MaskError(
            f"Labels are whole numbers, these are of type {labels.dtype}.",
            "Convert the layer to labels first (right-click it in the layer list).",
        )
    if labels.ndim < 2:
        raise MaskError(
            f"Labels have rows and columns, this array has the shape {tuple(labels.shape)}.",
            "Choose another layer.",
        )


def check_not_negative(values: npt.NDArray[Any]) -> None:
    """Raise if a label is below zero.

    Raises
    ------
    MaskError
        With the lowest value.
    """
    if values.dtype.kind == "i" and values.size and int(values.min()) < 0:
        raise MaskError(
            f"Labels begin at 0 (the background), the lowest here is {values.min()}.",
            "Change the negative values first, for example in napari's console.",
        )


def check_fits(value: int, dtype: npt.DTypeLike) -> None:
    """Raise unless a label fits a type.

    Raises
    ------
    MaskError
        If it is negative or too large.
    """
    kind = np.dtype(dtype)
    highest = 1 if kind.kind == "b" else int(np.iinfo(kind).max)
    if not 0 <= value <= highest:
        raise MaskError(
            f"The value {value} does not fit labels of type {kind}, which go from 0 to {highest}.",
            "Choose another value, or convert the layer's data type (right-click it in the "
            "layer list).",
        )


def is_writable(labels: Any) -> bool:  # noqa: ANN401
    """Return whether labels can be written to: NumPy's, zarr's, or what tells it as zarr does."""
    if isinstance(labels, np.ndarray):
        return bool(labels.flags.writeable)
    return not getattr(labels, "read_only", True)


def parse_values(text: str) -> tuple[int, ...]:
    """Return the label values of a text such as ``3, 4; 5 6``.

    Raises
    ------
    MaskError
        If there is none, or one is not a whole number from 0 on.
    """
    values = []
    for part in filter(None, re.split(r"[,;\s]+", text)):
        if not part.isdecimal():
            raise MaskError(
                f"Label values must be whole numbers from 0 on. Invalid value: “{part}”.",
                "Write them like this: 3, 4, 5, 6.",
            )
        values.append(int(part))
    if not values:
        raise MaskError(
            "There is no label value to replace.", "Type some, or select rows of the table."
        )
    return tuple(dict.fromkeys(values))


def whole(shape: Sequence[int]) -> Box:
    """Return the box of a whole array."""
    return tuple(slice(0, size) for size in shape)


def shape_of(box: Box) -> tuple[int, ...]:
    """Return the shape of what a box cuts out."""
    return tuple(side.stop - side.start for side in box)

"""Room for the labels of a whole stack."""

from __future__ import annotations

import shutil
import tempfile
import weakref
from typing import TYPE_CHECKING, Any

import numpy as np
import zarr

if TYPE_CHECKING:
    from collections.abc import Sequence

    from napari.layers import Layer

IN_MEMORY = 1 << 31
"""Up to so many bytes labels are in memory, beyond it in a temporary folder."""
_CHUNK = 1024


def empty_labels(shape: Sequence[int]) -> Any:  # noqa: ANN401 - NumPy or zarr
    """Return labels of zeros, dtype uint32, that take room only where they are written.

    Parameters
    ----------
    shape : sequence of int
        Length of each axis; of the last two, rows and columns, one chunk takes up to 1024.

    Returns
    -------
    numpy.ndarray or zarr.Array
        NumPy up to ``IN_MEMORY`` bytes: the system maps zeros when they are first written.
        Beyond that zarr in a temporary folder, see :func:`let_go_with`.
    """
    if 4 * np.prod(shape, dtype=float) <= IN_MEMORY:
        return np.zeros(tuple(shape), np.uint32)
    folder = tempfile.mkdtemp(prefix="sam3-propagated-", suffix=".zarr")
    leading = (1,) * (len(shape) - 2)
    chunks = (*leading, *(min(size, _CHUNK) for size in shape[-2:]))
    return zarr.open_array(
        folder, mode="w", shape=tuple(shape), chunks=chunks, dtype="uint32", fill_value=0
    )


def let_go_with(layer: Layer, labels: Any) -> None:  # noqa: ANN401 - NumPy or zarr
    """Delete the temporary folder of labels, if they have one, when their layer goes."""
    if isinstance(labels, zarr.Array):
        folder = str(labels.store_path.store.root)  # type: ignore[attr-defined]
        weakref.finalize(layer, shutil.rmtree, folder, ignore_errors=True)

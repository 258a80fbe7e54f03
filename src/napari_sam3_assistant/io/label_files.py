"""Read labels of files, in whichever way the program that wrote them keeps them."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from napari_sam3_assistant.core.axes import axis_kind
from napari_sam3_assistant.core.images import as_lazy
from napari_sam3_assistant.core.masks.labels import as_labels
from napari_sam3_assistant.core.paths import is_address
from napari_sam3_assistant.errors import MaskError
from napari_sam3_assistant.io.images import read_image
from napari_sam3_assistant.io.readers import read_palette_numbers

if TYPE_CHECKING:
    from pathlib import Path

    import numpy.typing as npt

    from napari_sam3_assistant.io.loaded import LoadedImage


_LOSSY = ("JPEG", "AVI", "MP4", "Matroska")


def read_labels(path: str | Path) -> LoadedImage:
    """Read labels: whole numbers, with rows and columns last.

    Parameters
    ----------
    path : str or Path
        A file of any format, a zarr folder, or its address.

    Raises
    ------
    ImageError
        If it can't be read.
    MaskError
        If it holds colours or numbers that are no labels, or a format has changed them.
    """
    return to_labels(_read_numbers(path), str(path))


def to_labels(loaded: LoadedImage, name: str) -> LoadedImage:
    """Return an image as labels, see :func:`read_labels`; ``name`` is what the user calls it."""
    if loaded.rgb:
        raise MaskError(
            f"{name} is a colour picture; labels have one number for each pixel.",
            "Give the labels, or use segment on the picture.",
        )
    data = as_labels(loaded.data)
    _check_kept(loaded, name, "labels")
    if isinstance(data, np.ndarray) and data.dtype.kind == "i" and data.min(initial=0) == -1:
        # Where there is no 0, -1 is the background.
        data = data if (data == 0).any() else np.where(data < 0, 0, data)
    return _rows_and_columns_last(replace(loaded, data=data, smaller=()))


def read_mask(path: str | Path) -> npt.NDArray[np.generic]:
    """Read a mask, which is where it is not 0.

    Errors are those of :func:`read_labels`.
    """
    loaded = _read_numbers(path)
    _check_kept(loaded, str(path), "a mask")
    return loaded.pixels()


def _check_kept(loaded: LoadedImage, name: str, what: str) -> None:
    """Raise where a format has changed the numbers: a mask then is not 0 far round itself."""
    if loaded.format not in _LOSSY:
        return
    plane = np.asarray(loaded.data[(0,) * (len(loaded.axes) - 2)])
    if np.unique(plane).size > 2:
        raise MaskError(
            f"{name} is {loaded.format}, which changes numbers: it holds {what} no more.",
            "Save it anew as PNG or TIFF where it was made. Of a mask take what is bright, in "
            "Python as api.imread(path).data > 127.",
        )


def _read_numbers(path: str | Path) -> LoadedImage:
    """Read an image, of a picture with a palette its numbers in place of the colours.

    Data sets such as VOC and DAVIS keep labels so. Errors are those of :func:`.read_image`.
    """
    loaded = read_image(path)
    numbers = None
    if loaded.rgb and loaded.library == "PIL" and not is_address(path):
        numbers = read_palette_numbers(path)
    if numbers is None:
        return loaded
    return replace(loaded, data=numbers, axes=loaded.axes[:2], rgb=False)


def _rows_and_columns_last(loaded: LoadedImage) -> LoadedImage:
    """Return labels in the order that all else counts on: ilastik writes a channel behind them."""
    axes = loaded.axes
    kinds = [axis_kind(axis.name) for axis in axes]
    if kinds.count("y") != 1 or kinds.count("x") != 1:
        return loaded
    kept = [at for at, kind in enumerate(kinds) if kind not in ("c", "s") or axes[at].length > 1]
    order = sorted(kept, key=lambda at: kinds[at] in ("y", "x"))
    if order == list(range(len(axes))):
        return loaded
    part = as_lazy(loaded.data)[tuple(slice(None) if at in kept else 0 for at in range(len(axes)))]
    moved = part.transpose([kept.index(at) for at in order])
    return replace(loaded, data=moved, axes=loaded.along(order))

"""Read arrays that programs have stored: NumPy's .npy and .npz, and HDF5."""

from __future__ import annotations

import json
import math
import zipfile
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_sam3_assistant.core.axes import axis_kind, make_axes
from napari_sam3_assistant.errors import ImageError
from napari_sam3_assistant.io.loaded import LAZY_BYTES, LoadedImage, check_memory, only_image
from napari_sam3_assistant.io.series import Series, choose_series
from napari_sam3_assistant.io.untrusted import as_dict, as_list, as_number, as_text

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    import h5py

    from napari_sam3_assistant.core.axes import Axes


_REAL = "buif"
_HEADER_2 = np.lib.format.read_array_header_2_0


def read_npy(path: Path, series: int | None = None, lazy_bytes: int = LAZY_BYTES) -> LoadedImage:
    """Map an array of NumPy; reads no pixels."""
    with path.open("rb") as file:
        version = np.lib.format.read_magic(file)  # type: ignore[no-untyped-call]
        header = np.lib.format.read_array_header_1_0 if version == (1, 0) else _HEADER_2
        _, _, dtype = header(file)  # type: ignore[no-untyped-call]
    if dtype.hasobject:
        raise ImageError(
            f"{path} can't be read: it holds pickled Python objects, and these could run any "
            "program.",
            "Of a _seg.npy of Cellpose, save the masks as TIFF or PNG in Cellpose, and open that.",
        )
    data = np.load(path, mmap_mode="r", allow_pickle=False)
    return only_image(data, ("",) * data.ndim, series, rgb=None)


def read_npz(path: Path, series: int | None = None, lazy_bytes: int = LAZY_BYTES) -> LoadedImage:
    """Read one of the arrays of an ``.npz`` file; the others stay where they are.

    Parameters
    ----------
    path : Path
        The file.
    series : int, optional
        Which of its arrays of numbers with rows and columns; by default the largest.
    lazy_bytes : int
        Not used: compressed arrays can only be read whole.

    Raises
    ------
    ImageError
        If there is none, no such one, or more than fits into memory.
    """
    with zipfile.ZipFile(path) as file:
        found = list(_members(file))
        choices = tuple(Series(name.removesuffix(".npy"), shape) for name, shape, _ in found)
        number, notes = choose_series(choices, series)
        name, shape, dtype = found[number]
        check_memory(shape, dtype)
        with file.open(name) as member:
            data = np.lib.format.read_array(member, allow_pickle=False)  # type: ignore[no-untyped-call]
    axes = make_axes(shape, names=("",) * len(shape))
    return LoadedImage(data, axes, notes=notes, series=number, choices=choices)


def list_npz(path: Path) -> tuple[Series, ...]:
    """Return the images of an ``.npz`` file; reads no pixels."""
    with zipfile.ZipFile(path) as file:
        return tuple(Series(name.removesuffix(".npy"), shape) for name, shape, _ in _members(file))


def _members(file: zipfile.ZipFile) -> Iterator[tuple[str, tuple[int, ...], np.dtype[Any]]]:
    """Yield name, shape and type of each array of numbers that has rows and columns."""
    for info in file.infolist():
        if not info.filename.endswith(".npy"):
            continue
        with file.open(info) as member:
            version = np.lib.format.read_magic(member)  # type: ignore[no-untyped-call]
            old = version == (1, 0)  # the two that hold arrays of numbers
            read = np.lib.format.read_array_header_1_0 if old else _HEADER_2
            shape, _, dtype = read(member)  # type: ignore[no-untyped-call]
        # A few bytes may say of themselves that they are any number of pixels.
        fits = math.prod(shape) * dtype.itemsize <= info.file_size
        if len(shape) >= 2 and dtype.kind in _REAL and fits:
            yield info.filename, shape, dtype


def read_hdf5(path: Path, series: int | None = None, lazy_bytes: int = LAZY_BYTES) -> LoadedImage:
    """Open one of the datasets of an HDF5 file; reads no pixels.

    Parameters
    ----------
    path : Path
        The file, which stays open until the image is let go.
    series : int, optional
        Which of its datasets of numbers with rows and columns; by default the largest.
    lazy_bytes : int
        Not used: pixels are read where they are indexed.

    Raises
    ------
    ImageError
        If there is none, or no such one.
    """
    import h5py

    file = h5py.File(path, "r")
    found: list[h5py.Dataset] = []

    def look_at(name: str, node: h5py.Dataset | h5py.Group) -> None:
        # Pixels in another file would be read from wherever this one says.
        if not isinstance(node, h5py.Dataset) or node.external or node.is_virtual:
            return
        if node.ndim >= 2 and node.dtype.kind in _REAL:
            found.append(node)

    file.visititems(look_at)
    choices = tuple(Series(node.name.strip("/"), node.shape) for node in found)
    number, notes = choose_series(choices, series)
    data = found[number]
    return LoadedImage(data, _hdf5_axes(data), notes=notes, series=number, choices=choices)


def _hdf5_axes(data: h5py.Dataset) -> Axes:
    """Return axes by the labels of HDF5, by ilastik's tags, and by Fiji's sizes of pixels."""
    names = [dimension.label for dimension in data.dims]
    scale = [1.0] * data.ndim
    units = [""] * data.ndim
    try:
        if "axistags" in data.attrs:
            tags = as_list(as_dict(json.loads(data.attrs["axistags"]))["axes"], data.ndim)
            names = [as_text(as_dict(tag)["key"]) for tag in tags]
        if "element_size_um" in data.attrs:
            sizes = [as_number(float(size)) for size in data.attrs["element_size_um"]]
            kinds = [axis_kind(name) for name in names]
            if not any(names) and len(sizes) == data.ndim:
                kinds = names = list("zyx"[-data.ndim :])
            for kind, size in zip("zyx"[-len(sizes) :], sizes, strict=True):
                if kind in kinds and size > 0:
                    scale[kinds.index(kind)], units[kinds.index(kind)] = size, "micrometer"
    except (ValueError, TypeError, KeyError):
        pass  # what a stranger wrote there says nothing of axes
    return make_axes(data.shape, names=names, scale=scale, units=units)

"""Read HDF5: the datasets of any program, also of ilastik, Fiji, Imaris and BigDataViewer."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from napari_sam3_assistant.core.axes import axis_kind, ends_in_channels, make_axes
from napari_sam3_assistant.core.images import as_lazy
from napari_sam3_assistant.io.hdf5_stacks import find_stacks
from napari_sam3_assistant.io.loaded import LAZY_BYTES, LoadedImage, Series, choose_series
from napari_sam3_assistant.io.untrusted import as_dict, as_list, as_number, as_text

if TYPE_CHECKING:
    from pathlib import Path

    import h5py

    from napari_sam3_assistant.core.axes import Axes

_REAL = "buif"


def read_hdf5(path: Path, series: int | None = None, lazy_bytes: int = LAZY_BYTES) -> LoadedImage:
    """Open an image of an HDF5 file; reads no pixels.

    Parameters
    ----------
    path : Path
        The file, which stays open until the image is let go.
    series : int, optional
        Which of its images, from 0; by default the largest. A file of Imaris holds one, in one of
        BigDataViewer each setup is one, elsewhere each dataset of numbers with rows and columns.
    lazy_bytes : int
        Not used: pixels are read where they are indexed.

    Raises
    ------
    ImageError
        If there is none, or no such one.
    """
    import h5py

    file = h5py.File(path, "r")
    found: dict[str, h5py.Dataset] = {}
    groups: dict[str, h5py.Group] = {}

    def look_at(name: str, node: h5py.Dataset | h5py.Group) -> None:
        if not isinstance(node, h5py.Dataset):
            groups[name] = node
        # Pixels in another file would be read from wherever this one says.
        elif not (node.external or node.is_virtual) and node.ndim >= 2 and node.dtype.kind in _REAL:
            found[name] = node

    file.visititems(look_at)
    stacked = find_stacks(path, found, groups)
    if stacked:
        choices = tuple(Series(image.name, image.shape) for image in stacked)
        number, notes = choose_series(choices, series)
        return stacked[number].open(number, choices, notes)
    orders = {name: _order_of(node) for name, node in found.items()}
    choices = tuple(
        Series(name, tuple(node.shape[axis] for axis in orders[name]))
        for name, node in found.items()
    )
    number, notes = choose_series(choices, series)
    node, order = found[choices[number].name], orders[choices[number].name]
    data = node if order == sorted(order) else as_lazy(node).transpose(order)
    axes = _axes_of(node)
    axes = tuple(axes[axis] for axis in order)
    return LoadedImage(data, axes, notes=notes, series=number, choices=choices)


def _order_of(node: h5py.Dataset) -> list[int]:
    """Return the order of axes in which a dataset is an image.

    MATLAB writes its axes the other way round: what has rows, columns and slices in it has slices,
    columns and rows in the file. Slices stay first; channels and colours come last, as in MATLAB.
    """
    order = list(range(node.ndim))
    if "MATLAB_class" not in node.attrs:
        return order
    if ends_in_channels(node.shape[::-1]):
        return order[::-1]
    return [*order[:-2], order[-1], order[-2]]


def _axes_of(data: h5py.Dataset) -> Axes:
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
            if not any(names) and len(sizes) == data.ndim <= len("zyx"):
                kinds = names = list("zyx"[-data.ndim :])
            # More than three are those of all axes, of time and channels, too.
            told = list("zyx"[-len(sizes) :]) if len(sizes) <= len("zyx") else kinds
            fits = len(told) == len(sizes)
            for kind, size in zip(told, sizes, strict=True) if fits else ():
                if kind in ("z", "y", "x") and kind in kinds and size > 0:
                    scale[kinds.index(kind)], units[kinds.index(kind)] = size, "micrometer"
    except (ValueError, TypeError, KeyError):
        pass  # what a stranger wrote there says nothing of axes
    return make_axes(data.shape, names=names, scale=scale, units=units)

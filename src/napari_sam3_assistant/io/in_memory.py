"""Images that other libraries hold in memory: xarray, napari, bioio, SimpleITK, Pillow, zarr.

None of these is imported: who gives an object of a library has it.
"""

from __future__ import annotations

import importlib
import math
from typing import TYPE_CHECKING

import numpy as np
import zarr

from napari_sam3_assistant.core.axes import axis_kind, make_axes
from napari_sam3_assistant.core.images import Untyped, level_zero
from napari_sam3_assistant.errors import ImageError
from napari_sam3_assistant.io.loaded import LoadedImage
from napari_sam3_assistant.io.readers import load_bio
from napari_sam3_assistant.io.zarr_images import read_node

if TYPE_CHECKING:
    from collections.abc import Sequence


def load_object(image: Untyped) -> LoadedImage:
    """Return the image that an object holds, with what its library knows of the axes.

    Parameters
    ----------
    image : object
        An array of NumPy, dask, zarr, h5py or torch; nested lists; the levels of a multiscale
        image; xarray.DataArray; a layer of napari; BioImage of bioio, AICSImage of aicsimageio;
        Image of SimpleITK or Pillow; an OME-Zarr group; a quantity of pint; or a LoadedImage.

    Returns
    -------
    LoadedImage
        The image.

    Raises
    ------
    ImageError
        If it is none of these.
    """
    if isinstance(image, LoadedImage):
        return image
    if isinstance(image, zarr.Group):
        return read_node(image, image.name)
    for package, load in _LOADERS.items():
        if _is_of(image, package):
            found = load(image)
            if found is None:
                raise _no_image(image)
            return found
    if _is_of(image, "pint") and hasattr(image, "magnitude"):
        return load_object(image.magnitude)
    data = level_zero(image)
    if isinstance(data, np.ndarray) and data.ndim < 2 and data.dtype.kind in "OUS":
        raise _no_image(image)
    return LoadedImage(data, make_axes(data.shape, names=("",) * len(data.shape)))


def _is_of(image: object, package: str) -> bool:
    return any(kind.__module__.partition(".")[0] == package for kind in type(image).__mro__)


def _no_image(image: object) -> ImageError:
    return ImageError(
        f"{_name_of(image)} is no image that is known here.",
        "Give the path of one file, an array with rows and columns (of a group one of its arrays, "
        "as group['a']), or an image of xarray, napari, bioio, SimpleITK or Pillow.",
    )


def _name_of(image: object) -> str:
    if isinstance(image, list | tuple):
        return f"A list of {', '.join(sorted({type(one).__name__ for one in image})) or 'nothing'}"
    kind = type(image)
    return f"An object of the type {kind.__module__}.{kind.__qualname__}".replace("builtins.", "")


def _load_xarray(image: Untyped) -> LoadedImage | None:
    """Return a DataArray, with sizes of pixels where its coordinates lie evenly."""
    if not hasattr(image, "dims") or not hasattr(image, "data"):
        raise ImageError(
            f"{_name_of(image)} holds several arrays.",
            f"Give one of them, as image[{next(iter(image), 'name')!r}].",
        )
    inner = load_object(image.data)
    scale, units, origin = [], [], []
    for name in image.dims:
        known = image.coords.get(name)
        first, step = (0.0, 1.0) if known is None else _even_steps(known.to_numpy())
        scale.append(step)
        origin.append(first)
        is_time = known is not None and known.dtype.kind == "m"
        unit = "" if known is None else str(known.attrs.get("units", ""))
        units.append("second" if is_time else unit)
    names = [str(name) if axis_kind(name) else "" for name in image.dims]
    axes = make_axes(inner.data.shape, names=names, scale=scale, units=units, origin=origin)
    return LoadedImage(inner.data, axes, name=str(image.name or ""))


def _even_steps(values: Untyped) -> tuple[float, float]:
    """Return the first coordinate and the distance of two; 0 and 1 where they are not even."""
    if values.dtype.kind == "m":
        values = values / np.timedelta64(1, "s")
    if values.ndim != 1 or values.size < 2 or values.dtype.kind not in "iuf":
        return (0.0, 1.0)
    steps = np.diff(values.astype(float))
    step = float(steps.mean())
    even = step > 0 and bool(np.allclose(steps, step, rtol=1e-3))
    return (float(values[0]), step) if even and math.isfinite(float(values[0])) else (0.0, 1.0)


def _load_napari(layer: Untyped) -> LoadedImage | None:
    """Return an image or labels layer, with its scale, units and names of axes."""
    if not (hasattr(layer, "rgb") or hasattr(layer, "selected_label")):
        return None  # points, shapes and the like
    data = level_zero(layer.data)
    rgb = bool(getattr(layer, "rgb", False))
    names = [name if axis_kind(name) else "" for name in getattr(layer, "axis_labels", ())]
    names = names or [""] * layer.ndim
    units = [str(unit) for unit in getattr(layer, "units", ("",) * layer.ndim)]
    scale = [float(size) for size in layer.scale]
    axes = make_axes(
        data.shape,
        names=[*names, *["s"] * rgb],
        scale=[*scale, *[1.0] * rgb],
        units=[*units, *[""] * rgb],
    )
    return LoadedImage(data, axes, rgb if hasattr(layer, "rgb") else None, name=str(layer.name))


def _load_bio(image: Untyped) -> LoadedImage | None:
    return load_bio(image) if hasattr(image, "physical_pixel_sizes") else None


def _load_simple_itk(image: Untyped) -> LoadedImage | None:
    """Return an image; its axes are the other way round there, and colours are vectors."""
    if not hasattr(image, "GetSpacing"):
        return None
    vectors = image.GetNumberOfComponentsPerPixel() > 1
    data = importlib.import_module("SimpleITK").GetArrayFromImage(image)
    dimensions = image.GetDimension()
    names = ["", "t", "z", "y", "x"][-dimensions:]
    axes = make_axes(
        data.shape,
        names=[*names, *["s"] * vectors],
        scale=[*reversed(image.GetSpacing()), *[1.0] * vectors],
    )
    return LoadedImage(data, axes, bool(vectors and data.shape[-1] in (3, 4)))


_PLAIN = {"1", "L", "I", "F", "RGB", "RGBA"}


def _load_pillow(image: Untyped) -> LoadedImage | None:
    """Return a picture as its file would be read: palettes and inks are colours."""
    mode = image.mode
    if mode in ("LA", "La", "PA"):
        image = image.convert("L" if mode != "PA" else "RGB")
    elif mode not in _PLAIN and not mode.startswith("I;16"):
        image = image.convert("RGB")
    data = np.asarray(image)
    names: Sequence[str] = ("y", "x", "s")[: data.ndim]
    return LoadedImage(data, make_axes(data.shape, names=names), data.ndim == 3)


_LOADERS = {
    "xarray": _load_xarray,
    "napari": _load_napari,
    "bioio": _load_bio,
    "aicsimageio": _load_bio,
    "SimpleITK": _load_simple_itk,
    "PIL": _load_pillow,
}

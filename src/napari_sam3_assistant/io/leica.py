"""Read Leica's files: LIF, and the single images LOF."""

from __future__ import annotations

import weakref
from contextlib import ExitStack
from typing import TYPE_CHECKING

import numpy as np

from napari_sam3_assistant.core.axes import make_axes
from napari_sam3_assistant.io.loaded import (
    LAZY_BYTES,
    LoadedImage,
    Series,
    check_length,
    choose_series,
    frames_of,
)

if TYPE_CHECKING:
    from pathlib import Path

    import numpy.typing as npt

    from napari_sam3_assistant.core.images import AnyArray, Untyped

_AXES = {"1": "x", "2": "y", "3": "z", "4": "t"}
"""What the file calls the axes that have a size of a pixel."""
_TILES = "m"


def read_lif(path: Path, series: int | None = None, lazy_bytes: int = LAZY_BYTES) -> LoadedImage:
    """Open an image of a file, with the axes that it was recorded along; reads no pixels of grey.

    Parameters
    ----------
    path : Path
        The file.
    series : int, optional
        Which of its images of pixels, from 0; by default the largest. Lifetimes (FLIM), points
        and lines are none.
    lazy_bytes : int
        Colours of more bytes are read frame by frame, where they are indexed. Grey always is.

    Raises
    ------
    ImageError
        If there is no such image, or the file is too short for it.
    """
    import liffile

    with ExitStack() as opened:
        file = opened.enter_context(liffile.LifFile(path))
        images = [image for image in file.images if not image.is_flim and image.ndim >= 2]
        choices = tuple(
            Series(image.path, image.shape, samples=image.sizes.get("S", 1)) for image in images
        )
        number, notes = choose_series(choices, series)
        image = images[number]
        check_length(path, image.nbytes)
        data: AnyArray
        if "S" in image.sizes:
            data = _read_colours(image, lazy_bytes, opened)
        else:
            data = image.asarray(out="memmap")
        names = [name.lower() if name.isascii() else name for name in image.dims]
        scale, units = _sizes_of_pixels(image)
    if _TILES in names:
        notes = (
            *notes,
            f"Its axis {_TILES} holds the tiles of a scan one by one. To have them as one image, "
            "merge them in LAS X.",
        )
    axes = make_axes(
        data.shape,
        names=names,
        scale=[scale.get(name, 1.0) for name in names],
        units=[units.get(name, "") for name in names],
    )
    rgb = names[-1] == "s" and data.shape[-1] in (3, 4)
    return LoadedImage(data, axes, rgb, notes=notes, series=number, choices=choices)


def _read_colours(image: Untyped, lazy_bytes: int, opened: ExitStack) -> AnyArray:
    """Return colours as RGB, which some files have the other way round."""
    frames = image.frames

    def read(number: int) -> npt.NDArray[np.generic]:
        return np.asarray(frames[number])

    shape, dtype = image.shape, image.dtype
    data = frames_of(read, len(frames), frames.frame_shape, dtype, lazy_bytes)
    weakref.finalize(read, opened.pop_all().close)
    return data.reshape(shape)


def _sizes_of_pixels(image: Untyped) -> tuple[dict[str, float], dict[str, str]]:
    """Return the length of a pixel along the axes that have one, and its unit."""
    scale, units = {}, {}
    for axis in image.xml_element.iterfind("./Data/Image/ImageDescription/Dimensions/*"):
        name, count = _AXES.get(axis.get("DimID", "")), int(axis.get("NumberOfElements", 1))
        size = abs(float(axis.get("Length", 0))) / max(count - 1, 1)  # first to last pixel
        if name and count > 1 and 0 < size < np.inf:
            scale[name], units[name] = size, axis.get("Unit", "")
            if units[name] == "m":
                scale[name], units[name] = size * 1e6, "micrometer"
    return scale, units

"""Read what microscopes' own programs write, CZI, ND2 and LIF, by bioio and its readers."""

from __future__ import annotations

import importlib
import math
from datetime import timedelta
from typing import TYPE_CHECKING

from napari_sam3_assistant.core.axes import make_axes
from napari_sam3_assistant.io.loaded import LAZY_BYTES, LoadedImage, check_length
from napari_sam3_assistant.io.series import Series, choose_series

if TYPE_CHECKING:
    from pathlib import Path

    from napari_sam3_assistant.core.images import Untyped


def read_bio(
    path: Path, reader: str, series: int | None = None, lazy_bytes: int = LAZY_BYTES
) -> LoadedImage:
    """Open a scene of a file; reads no pixels.

    Parameters
    ----------
    path : Path
        The file.
    reader : str
        The package that reads it, such as ``bioio_czi``.
    series : int, optional
        Which of its scenes, from 0; by default the largest.
    lazy_bytes : int
        Not used: pixels are read where they are indexed.

    Raises
    ------
    ImageError
        If there is no such scene.
    """
    import bioio

    if reader == "bioio_czi":
        _check_planes(path)
    image = bioio.BioImage(path, reader=importlib.import_module(reader).Reader)
    choices = []
    for number, name in enumerate(image.scenes):
        image.set_scene(number)
        shape = tuple(image.shape[at] for at in _kept(image))
        choices.append(Series(str(name), shape))
    number, notes = choose_series(choices, series)
    image.set_scene(number)
    kept = _kept(image)
    sizes = image.physical_pixel_sizes
    told = {"z": sizes.Z, "y": sizes.Y, "x": sizes.X, "t": _seconds(image.time_interval)}
    known = {name: abs(size) for name, size in told.items() if size and math.isfinite(size)}
    levels = []
    for level in image.resolution_levels:
        image.set_resolution_level(level)
        data = image.dask_data
        levels.append(data[tuple(slice(None) if at in kept else 0 for at in range(data.ndim))])
    names = [image.dims.order[at].lower() for at in kept]
    return LoadedImage(
        levels[0],
        make_axes(
            levels[0].shape,
            names=names,
            scale=[known.get(name, 1.0) for name in names],
            units=[
                "" if name not in known else "second" if name == "t" else "micrometer"
                for name in names
            ],
        ),
        "s" in names,
        notes=notes,
        series=number,
        choices=tuple(choices),
        smaller=tuple(levels[1:]),
    )


def _check_planes(path: Path) -> None:
    """Raise unless a CZI is long enough for its planes, for each of which bioio makes an object."""
    from aicspylibczi import CziFile

    with path.open("rb") as file:
        scenes = CziFile(file).get_dims_shape()
    for scene in scenes:
        lengths = (last - first for name, (first, last) in scene.items() if name not in "YXA")
        check_length(path, math.prod(lengths))


def _kept(image: Untyped) -> list[int]:
    """Return the axes that the file has: bioio gives all of T, C, Z, Y, X."""
    lengths = enumerate(zip(image.dims.order, image.shape, strict=True))
    return [at for at, (name, length) in lengths if name in "YXS" or length > 1]


def _seconds(interval: Untyped) -> float | None:
    return interval.total_seconds() if isinstance(interval, timedelta) else interval

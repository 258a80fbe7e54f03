"""Read Olympus' files of FluoView: OIB, and OIF with the folder beside it."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from napari_sam3_assistant.core.axes import convert_unit, make_axes
from napari_sam3_assistant.errors import ImageError
from napari_sam3_assistant.io.loaded import (
    LAZY_BYTES,
    LoadedImage,
    check_length,
    frames_of,
    only_image,
)

if TYPE_CHECKING:
    from pathlib import Path

    import numpy.typing as npt

    from napari_sam3_assistant.core.images import Untyped


_NAMES = {"l": "λ"}
"""What the file calls its axes, where we say otherwise."""
_UNITS = {"t": "second", "x": "micrometer", "y": "micrometer", "z": "micrometer"}


def read_oif(path: Path, series: int | None = None, lazy_bytes: int = LAZY_BYTES) -> LoadedImage:
    """Read the image of an OIB or OIF file, with the axes that it was recorded along.

    Parameters
    ----------
    path : Path
        The file. The planes of an OIF lie in the folder ``NAME.oif.files`` beside it.
    series : int, optional
        0, as there is one image.
    lazy_bytes : int
        Images of more bytes than this are read plane by plane.

    Raises
    ------
    ImageError
        If there is no such image, some of its planes are missing, or the file is damaged.
    """
    import oiffile

    if path.suffix.lower() != ".oif":
        _check_chains(path)
    with oiffile.OifFile(path) as file:
        if not file.series:
            raise ImageError(f"There is no image in {path}.", "Choose a file that holds an image.")
        planes, settings = file.series[0], file.mainfile
        first = file.asarray(planes[0])
    if planes.files_missing:
        raise ImageError(
            f"{path} lacks {planes.files_missing} of its {math.prod(planes.shape)} planes.",
            "Copy it again from where it is from, with all that belongs to it.",
        )

    def read(number: int) -> npt.NDArray[np.generic]:
        with oiffile.OifFile(path) as again:
            return np.asarray(again.asarray(planes[number]))

    pixels = frames_of(read, len(planes), first.shape, first.dtype, lazy_bytes)
    data: Untyped = pixels.reshape(*planes.shape, *first.shape)
    # Columns come first where the file tells of its axes.
    order = str(settings["Axis Parameter Common"]["AxisOrder"]).lower()
    names = [*(name.lower() for name in planes.dims), order[1], order[0]]
    kept = [at for at, length in enumerate(data.shape) if length > 1 or at >= data.ndim - 2]
    data = data[tuple(slice(None) if at in kept else 0 for at in range(data.ndim))]
    names = [names[at] for at in kept]
    sizes = _sizes_of_pixels(settings)
    axes = make_axes(
        data.shape,
        names=[_NAMES.get(name, name) for name in names],
        scale=[sizes.get(name, 1.0) for name in names],
        units=[_UNITS[name] if name in sizes else "" for name in names],
    )
    return only_image(data, axes, series, rgb=False)


def _sizes_of_pixels(settings: Untyped) -> dict[str, float]:
    """Return the length of a pixel along the axes that have one."""
    sizes = {}
    for number in range(8):
        axis = settings.get(f"Axis {number} Parameters Common", {})
        name, count = str(axis.get("AxisCode", "")).lower(), int(axis.get("MaxSize", 0))
        if name not in _UNITS or count < 2:
            continue
        length = float(axis["EndPosition"]) - float(axis["StartPosition"])  # first to last pixel
        size = convert_unit(abs(length) / (count - 1), str(axis.get("UnitName", "")), _UNITS[name])
        if size and math.isfinite(size):
            sizes[name] = size
    return sizes


def _check_chains(path: Path) -> None:
    """Raise for a compound file whose sectors follow each other in a circle.

    oiffile would follow it for ever. See [MS-CFB], sections 2.2 to 2.5.
    """
    with path.open("rb") as file:
        head = np.frombuffer(file.read(512), "<u4")
        size = 1 << min(int(head[7]) >> 16, 16)
        fat_length, (mini_start, _, difat_start, difat_length) = int(head[11]), head[15:19].tolist()
        check_length(path, (fat_length + difat_length) * size)

        def read(sector: int) -> npt.NDArray[np.uint32]:
            file.seek((sector + 1) * size)
            return np.frombuffer(file.read(size), "<u4")

        parts = [head[19:128]]
        for _ in range(difat_length):
            parts.append(read(difat_start))
            parts[-1], difat_start = parts[-1][:-1], int(parts[-1][-1])
        sectors = np.concatenate(parts)[:fat_length].tolist()
        fat = np.concatenate([read(sector) for sector in sectors])
        mini = [fat[:0]]
        looped = _has_circle(fat)
        while not looped and mini_start < len(fat):
            mini.append(read(mini_start))
            mini_start = int(fat[mini_start])
    if looped or _has_circle(np.concatenate(mini)):
        raise ImageError(f"{path} is damaged.", "Copy it again from where it is from.")


def _has_circle(following: npt.NDArray[np.uint32]) -> bool:
    """Return whether who goes from each entry to the one that it names never comes to an end."""
    end = len(following)
    steps = np.append(np.minimum(following, end), end).astype(np.intp)
    for _ in range(end.bit_length()):
        steps = steps[steps]  # twice as many
    return bool((steps[:end] < end).any())

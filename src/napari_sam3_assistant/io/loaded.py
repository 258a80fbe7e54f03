"""An image as the readers of files give it, what they have in common, and which of several."""

from __future__ import annotations

import math
import operator
import re
import uuid
from dataclasses import dataclass
from fnmatch import fnmatchcase
from threading import Lock
from typing import TYPE_CHECKING

import numpy as np
import psutil  # type: ignore[import-untyped]

from napari_sam3_assistant.core.axes import Axis, make_axes
from napari_sam3_assistant.core.images import map_read_errors
from napari_sam3_assistant.core.plurals import format_gigabytes, pluralize
from napari_sam3_assistant.errors import ImageError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    import numpy.typing as npt

    from napari_sam3_assistant.core.axes import Axes
    from napari_sam3_assistant.core.images import AnyArray, LazyArray


@dataclass(frozen=True, slots=True, eq=False)
class LoadedImage:
    """An image from a file, and what the file says of its axes.

    Parameters
    ----------
    data : array-like
        The pixels; large images are read when they are indexed.
    axes : tuple of Axis
        Name, length, size of a pixel, unit and origin of each axis, as far as the file says.
    rgb : bool or None
        Whether the last axis holds RGB or RGBA; None where the file does not say.
    name : str
        File name without its ending.
    notes : tuple of str
        What the user should know, such as that the file holds other images, too.
    series : int
        Which image of the file it is, from 0.
    choices : tuple of Series
        All images of the file; empty for an array.
    smaller : tuple of array-like
        The same image at smaller sizes, largest first, where the file holds it so.
    format, library : str
        What kind of file it is, and the package that reads it; empty for an array.
    """

    data: LazyArray
    axes: Axes
    rgb: bool | None = None
    name: str = ""
    notes: tuple[str, ...] = ()
    series: int = 0
    choices: tuple[Series, ...] = ()
    smaller: tuple[LazyArray, ...] = ()
    format: str = ""
    library: str = ""

    def __repr__(self) -> str:
        """Return one line: a notebook shows what a cell ends with."""
        along = [f"{axis.name or '?'} {axis.length}" for axis in self.axes]
        what = f"{self.name}: {', '.join(along)}, {self.data.dtype}".removeprefix(": ")
        return f"<LoadedImage {what}>"

    @property
    def levels(self) -> tuple[LazyArray, ...]:
        """The image at all its sizes, largest first: what napari shows as multiscale."""
        return (self.data, *self.smaller)

    @property
    def axis_labels(self) -> tuple[str, ...] | None:
        """Name of each axis, empty where it has none; None where no axis has one."""
        names = tuple(axis.name for axis in self.axes)
        return names if any(names) else None

    def along(self, numbers: Sequence[int]) -> Axes:
        """Return some axes, in this order: those of labels along them."""
        return tuple(self.axes[number] for number in numbers)

    def pixels(self) -> npt.NDArray[np.generic]:
        """Read all of it.

        Raises
        ------
        ImageError
            If it can't be read.
        """
        with map_read_errors(
            f"{self.name} could not be read", "Check that its file opens elsewhere."
        ):
            return np.asarray(self.data[(...,)])  # type: ignore[index]


LAZY_BYTES = 1 << 28
"""Images of more bytes than this are read only where they are indexed."""


def only_image(
    data: AnyArray,
    axes: Axes | Sequence[str],
    series: int | None,
    *,
    rgb: bool | None,
) -> LoadedImage:
    """Return the one image of a file.

    Parameters
    ----------
    data : array-like
        Its pixels.
    axes : tuple of Axis, or sequence of str
        Its axes, or their names where the file says no more.
    series : int or None
        The user's choice.
    rgb : bool or None
        Whether the last axis holds colours; None where that is not known.

    Raises
    ------
    ImageError
        If another image than the first was chosen.
    """
    choices = (Series("", tuple(data.shape)),)
    choose_series(choices, series)
    known = tuple(axis for axis in axes if isinstance(axis, Axis))
    if not known:
        known = make_axes(data.shape, names=[str(name) for name in axes])
    return LoadedImage(data, known, rgb, choices=choices)


def check_memory(shape: Sequence[int], dtype: npt.DTypeLike) -> None:
    """Raise unless there is memory for pixels that can only be read all at once.

    A file of a few bytes may say of itself that it holds any number of them.

    Raises
    ------
    ImageError
        If there is not.
    """
    size, free = math.prod(shape) * np.dtype(dtype).itemsize, psutil.virtual_memory().available
    if size > free:
        sides = " x ".join(map(str, shape))
        raise ImageError(
            f"The file says that it holds {sides} pixels, which take {format_gigabytes(size)}; "
            f"{format_gigabytes(free)} of memory are free.",
            "Save it as OME-Zarr or as TIFF in tiles, which are read piece by piece.",
        )


def check_length(path: Path, size: int, *, packed: bool = False) -> None:
    """Raise unless a file is long enough for the bytes of pixels that it says it holds.

    Raises
    ------
    ImageError
        If it is not, with whatever packing.
    """
    if size > path.stat().st_size * (_MOST_PACKED if packed else 1):
        raise ImageError(
            f"{path} says that it holds {format_gigabytes(size)}, and is too short for that.",
            "Copy it again from where it is from.",
        )


_MOST_PACKED = 1032
"""So many bytes at most are one, of gzip."""


def frames_of(
    read: Callable[[int], npt.NDArray[np.generic]],
    count: int,
    shape: tuple[int, ...],
    dtype: npt.DTypeLike,
    lazy_bytes: int,
) -> AnyArray:
    """Return frames that are read one by one, as one array of shape (count, *shape).

    Parameters
    ----------
    read : callable
        Returns the frame of a number; is called for one at a time.
    count : int
        Number of frames.
    shape : tuple of int
        Of one frame.
    dtype : dtype
        Type of a pixel.
    lazy_bytes : int
        Up to so many bytes all frames are read now, beyond it when they are indexed.
    """
    one_at_a_time = Lock()

    def block(block_id: tuple[int, ...]) -> npt.NDArray[np.generic]:
        with one_at_a_time:
            frame = read(block_id[0])
        if frame.shape != shape:
            raise ImageError(
                f"Frame {block_id[0]} has the shape {frame.shape}, others {shape}.",
                "Save the frames as files of their own.",
            )
        return frame[np.newaxis].astype(dtype, copy=False)

    if count * math.prod(shape) * np.dtype(dtype).itemsize <= lazy_bytes:
        return np.concatenate([block((number,)) for number in range(count)])
    chunks = ((1,) * count, *((length,) for length in shape))
    token = f"frames-{uuid.uuid4().hex}"
    import dask.array as da  # half a second, which a picture need not wait for

    return da.map_blocks(block, chunks=chunks, dtype=dtype, meta=np.empty(0, dtype), name=token)


def tiles_of(
    read: Callable[[int], npt.NDArray[np.generic]],
    tiles: npt.NDArray[np.intp],
    shape: tuple[int, ...],
    dtype: npt.DTypeLike,
    size: tuple[int, int],
    lazy_bytes: int,
) -> AnyArray:
    """Return tiles that are read one by one, as one image; black where there is none.

    Parameters
    ----------
    read : callable
        Returns the tile of a number; is called for one at a time.
    tiles : ndarray of int, shape (rows, columns)
        Number of each tile; -1 for none.
    shape : tuple of int
        Of one tile: height, width and perhaps colours.
    dtype : dtype
        Type of a pixel.
    size : tuple of int
        Height and width of the image, which the last tiles may reach beyond.
    lazy_bytes : int
        Up to so many bytes all tiles are read now, beyond it when they are indexed.
    """
    one_at_a_time = Lock()

    def block(block_id: tuple[int, ...]) -> npt.NDArray[np.generic]:
        number = int(tiles[block_id[:2]])
        with one_at_a_time:
            tile = read(number) if number >= 0 else np.zeros(shape)
        return tile.astype(dtype, copy=False)

    chunks = tuple((length,) * count for length, count in zip(shape, tiles.shape, strict=False))
    token = f"tiles-{uuid.uuid4().hex}"
    import dask.array as da

    whole = (*chunks, *((length,) for length in shape[2:]))
    data = da.map_blocks(block, chunks=whole, dtype=dtype, meta=np.empty(0, dtype), name=token)
    data = data[: size[0], : size[1]]
    return data.compute(scheduler="synchronous") if data.nbytes <= lazy_bytes else data


ZERO_IS_WHITE = (
    "The file says that 0 is white. Its numbers were read as they are: what other programs show "
    "dark is bright here."
)
NUMBERS_OF_PALETTE = "Its numbers were read, not the colours that its palette gives them."
"""Notes for the user on what a file says of its grey."""
_TURNED = (
    "The file says that it is to be shown turned or mirrored. It was read as it is stored, as "
    "napari shows it, and labels and regions lie on these pixels: a program that turns the image "
    "has to turn them, too. To be rid of that, save the image turned."
)


def explain_orientation(orientation: object) -> tuple[str, ...]:
    """Return a note for the user on the tag Orientation of TIFF and EXIF, which is not followed."""
    return (_TURNED,) if orientation in range(2, 9) else ()


_MOST_LISTED = 8


@dataclass(frozen=True, slots=True)
class Series:
    """One of the images of a file.

    Parameters
    ----------
    name : str
        What the file calls it; empty where it has no name.
    shape : tuple of int
        Length of each axis in the file; empty where finding out takes long, of fields of a plate.
    reduced : bool
        Whether the file says that it is a smaller copy of another one, such as a thumbnail.
    elsewhere : bool
        Whether all of it lies in other files of the same set.
    samples : int
        How many of its values are one pixel, such as 3 for RGB.
    """

    name: str
    shape: tuple[int, ...]
    reduced: bool = False
    elsewhere: bool = False
    samples: int = 1

    @property
    def pixels(self) -> int:
        """Number of pixels; 0 for a smaller copy."""
        return 0 if self.reduced else math.prod(self.shape) // self.samples

    def __str__(self) -> str:
        size = " x ".join(map(str, self.shape))
        if not self.name:
            return size
        return f"'{self.name}' ({size})" if size else f"'{self.name}'"


def own_series(series: Sequence[Series]) -> Sequence[int]:
    """Return the numbers of the images that lie in the file itself; all where none does."""
    here = [number for number, choice in enumerate(series) if not choice.elsewhere]
    return here or range(len(series))


def find_named(series: Sequence[Series], name: str) -> int:
    """Return the number of the image that a name means, or a pattern as ``Pos*``.

    Parameters
    ----------
    series : sequence of Series
        The images of a file.
    name : str
        The name or pattern.

    Raises
    ------
    ImageError
        If it is that of none, or of several.
    """
    found = _named_so(series, name)
    if len(found) == 1:
        return found[0]
    images = pluralize(len(series), "image")
    what = (
        f"The series '{name}' is {len(found)} of the {images} in the file"
        if found
        else f"There is no series '{name}' in the file, which holds {images}"
    )
    raise ImageError(
        f"{what} ({_list_choices(series)}).",
        "Choose one by its number; a batch takes several.",
    )


def _named_so(series: Sequence[Series], name: str) -> list[int]:
    """Return the numbers of the images with a name, or else of those that a pattern fits."""
    exact = [number for number, choice in enumerate(series) if choice.name == name]
    return exact or [
        number
        for number, choice in enumerate(series)
        if fnmatchcase(choice.name.casefold(), name.casefold())
    ]


ALL_SERIES = "all"
_RANGE = re.compile(r"(\d{1,9})-(\d{0,9})", re.ASCII)
_NUMBERS = re.compile(r"\s*\d{1,9}(-\d{0,9})?(\s*,\s*\d{1,9}(-\d{0,9})?)*\s*", re.ASCII)


def parse_series(
    wanted: int | str | Sequence[int | str] | None,
) -> tuple[int | str, ...] | None:
    """Return which images of files that hold several are meant, part by part.

    Parameters
    ----------
    wanted : int, str, sequence of int or str, or None
        Numbers from 0; names, or patterns of names as ``Pos*``; as text also numbers and ranges as
        ``0,3-5,8-``, or ``all``. None for the largest of each file.

    Returns
    -------
    tuple of int or str, or None
        Numbers, and as text ranges, names, patterns and ``all``.

    Raises
    ------
    ImageError
        If none is meant.
    """
    if wanted is None:
        return None
    parts: list[int | str] = []
    for part in (wanted,) if isinstance(wanted, str | int) else wanted:
        if not isinstance(part, str):
            parts.append(operator.index(part))
        elif _NUMBERS.fullmatch(part):
            pieces = map(str.strip, part.split(","))
            parts += [int(piece) if piece.isdecimal() else piece for piece in pieces]
        elif part.strip():
            parts.append(part.strip())
    if not parts:
        raise ImageError("No series is chosen.", "Give numbers from 0, names, or 'all'.")
    return tuple(parts)


def means_several(wanted: tuple[int | str, ...] | None) -> bool:
    """Return whether what :func:`parse_series` returned is no single number or name."""
    parts = wanted or ()
    text = parts[0] if len(parts) == 1 and isinstance(parts[0], str) else ""
    return len(parts) > 1 or text.lower() == ALL_SERIES or _RANGE.fullmatch(text) is not None


def select_series(series: Sequence[Series], wanted: Sequence[int | str]) -> list[int | str]:
    """Return the numbers of those images of a file that are meant.

    A number or name that is not there stays as it is: who opens it is told so. Ranges, patterns and
    ``all`` mean what there is, and no smaller copies. Of a set of files each has its own.

    Parameters
    ----------
    series : sequence of Series
        The images of a file.
    wanted : sequence of int or str
        What :func:`parse_series` returned.
    """
    own = own_series(series)
    whole = [number for number in own if not series[number].reduced] or own
    found: dict[int | str, None] = {}
    for part in wanted:
        limits = _RANGE.fullmatch(part) if isinstance(part, str) else None
        if isinstance(part, int):
            lacks = not 0 <= part < len(series)
            some: Sequence[int | str] = [part] if part in own or lacks else []
        elif limits:
            last = int(limits[2] or len(series))
            some = [number for number in whole if int(limits[1]) <= number <= last]
        elif part.lower() == ALL_SERIES:
            some = whole
        else:
            named, is_pattern = _named_so(series, part), bool(set("*?[") & set(part))
            some = [number for number in named if number in (whole if is_pattern else own)]
            some = some if named or is_pattern else [part]
        found |= dict.fromkeys(some)
    return list(found)


def choose_series(series: Sequence[Series], index: int | None) -> tuple[int, tuple[str, ...]]:
    """Return the number of the image that is taken, and what the user should know.

    Without a choice it is the one with most pixels, so never a thumbnail in place of its image;
    of several the first. Of a set of files each has its own.

    Parameters
    ----------
    series : sequence of Series
        The images of a file.
    index : int or None
        The user's choice, from 0.

    Returns
    -------
    int
        The number.
    tuple of str
        What was taken, and what else there is; empty where the user chose or there is only one.

    Raises
    ------
    ImageError
        If there is no such image, or none at all.
    """
    if not series:
        raise ImageError("The file holds no image.", "Choose a file that holds one.")
    all_of_them = _list_choices(series)
    if index is not None:
        if not 0 <= index < len(series):
            raise ImageError(
                f"There is no series {index} in the file, which holds "
                f"{pluralize(len(series), 'image')} ({all_of_them}).",
                "Choose 0." if len(series) == 1 else f"Choose 0 to {len(series) - 1}.",
            )
        return index, ()
    own = own_series(series)
    taken = max(own, key=lambda number: series[number].pixels)
    if len(own) == 1:
        return taken, ()
    equal = sum(series[number].pixels == series[taken].pixels for number in own)
    which = f"the first of {equal} of its size" if equal > 1 else "the largest"
    note = (
        f"The file holds {len(series)} images; series {taken} was taken, {which}. To take another "
        f"one, or in a batch all, choose its series: {all_of_them}."
    )
    return taken, (note,)


def _list_choices(series: Sequence[Series]) -> str:
    """Return the first images of a file by number, name and size, for the user."""
    listed = [f"{number}: {choice}" for number, choice in enumerate(series[:_MOST_LISTED])]
    return "; ".join([*listed, *(["..."] if len(series) > _MOST_LISTED else [])])

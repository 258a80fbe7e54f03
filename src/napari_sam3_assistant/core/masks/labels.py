"""What counts as labels, which values they hold, large ones piece by piece, and where they lie."""

from __future__ import annotations

import itertools
import math
import re
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy import ndimage
from skimage.segmentation import relabel_sequential

from napari_sam3_assistant.core.images import as_lazy, map_read_errors
from napari_sam3_assistant.core.progress import Progress
from napari_sam3_assistant.errors import MaskError

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence

    import numpy.typing as npt

    from napari_sam3_assistant.core.images import AnyArray
    from napari_sam3_assistant.core.progress import Reporter

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


def check_labels(labels: AnyArray) -> None:
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


def as_labels(array: AnyArray) -> AnyArray:
    """Return whole numbers that are kept as floats as labels; all other arrays as they are.

    ImageJ has no whole numbers of 32 bits: label images of MorphoLibJ and CLIJ are floats. NaN is
    background, as what is masked. Arrays that are read piece by piece stay so.

    Raises
    ------
    MaskError
        If a number is not whole, negative, or does not fit into 32 bits; of arrays that are read
        piece by piece where that piece is read.
    """
    if not isinstance(array.dtype, np.dtype):  # of torch
        with map_read_errors(
            f"Labels of the type {array.dtype} can't be read", "Give a NumPy array."
        ):
            array = np.asarray(array)
    if isinstance(array, np.ma.MaskedArray):
        array = array.filled(0)
    if array.dtype.kind != "f":
        return array
    if isinstance(array, np.ndarray):
        return _to_whole_numbers(array)
    kind = np.dtype(np.uint32)
    return as_lazy(array).map_blocks(_to_whole_numbers, dtype=kind, meta=np.empty(0, kind))


def _to_whole_numbers(part: npt.NDArray[np.floating[Any]]) -> npt.NDArray[np.uint32]:
    known = np.where(np.isnan(part), 0, part)
    wrong = (np.trunc(known) != known) | (known < 0) | (known > np.iinfo(np.uint32).max)
    if wrong.any():
        raise MaskError(
            f"Labels are whole numbers from 0 on, and here is {known[wrong][0]:g}.",
            "Save them as whole numbers, such as of 16 bits.",
        )
    return known.astype(np.uint32)


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
            "Make it 0 where it is background, in Python by np.where(labels < 0, 0, labels); "
            "where 0 is an object there, add 1 to all.",
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


def is_writable(labels: AnyArray) -> bool:
    """Return whether labels can be written to: NumPy's, zarr's, or what tells it as zarr does."""
    if isinstance(labels, np.ndarray):
        return bool(labels.flags.writeable)
    return not getattr(labels, "read_only", True)


class FilteredLabels:
    """Labels without some objects; read as they are indexed, and never written.

    Parameters
    ----------
    stored : array-like of int
        All labels, in memory or lazy.
    hidden : collection of int
        The values that are read as background.
    """

    read_only = True

    def __init__(self, stored: AnyArray, hidden: Collection[int]) -> None:
        self.stored = stored
        self.shape, self.dtype = stored.shape, stored.dtype
        self.ndim = len(self.shape)
        self.size = math.prod(self.shape)
        self.chunks = getattr(stored, "chunks", None)
        self.hide(hidden)

    def hide(self, hidden: Collection[int]) -> None:
        """Leave out these values from now on, and no others."""
        self._hidden = np.array(sorted(hidden), np.int64)

    def __getitem__(self, key: Any) -> LabelArray:  # noqa: ANN401 (as NumPy)
        """Return a part without the hidden values."""
        part = np.asarray(self.stored[key])
        return np.where(np.isin(part, self._hidden), part.dtype.type(0), part)

    def __array__(self, dtype: npt.DTypeLike | None = None, copy: bool | None = None) -> LabelArray:
        """Return all of them."""
        del copy
        return np.asarray(self[()], dtype)


def unfiltered(labels: AnyArray) -> AnyArray:
    """Return labels with the objects that are hidden, which can be written to."""
    return labels.stored if isinstance(labels, FilteredLabels) else labels


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


def whole_box(shape: Sequence[int]) -> Box:
    """Return the box of a whole array."""
    return tuple(slice(0, size) for size in shape)


def box_shape(box: Box) -> tuple[int, ...]:
    """Return the shape of what a box cuts out."""
    return tuple(side.stop - side.start for side in box)


_BLOCK_PIXELS = 1 << 22


def union_box(boxes: Iterable[Box]) -> Box:
    """Return the smallest box that holds others."""
    by_axis = zip(*boxes, strict=True)
    return tuple(
        slice(min(side.start for side in sides), max(side.stop for side in sides))
        for sides in by_axis
    )


def number_objects(
    labels: LabelArray,
) -> tuple[npt.NDArray[np.integer[Any]], npt.NDArray[np.integer[Any]]]:
    """Return labels as numbers that are not higher than there are pixels, and what these are.

    For whatever takes room for each number up to the highest one, or no truth values.

    Parameters
    ----------
    labels : ndarray of int or bool, any shape
        Labels; none of them negative.

    Returns
    -------
    numbers : ndarray of int, of the same shape
        0 where the labels are, and else in their order.
    of_number : ndarray of int, shape (n + 1,)
        The label of each number; not every one need be there.
    """
    dtype = np.uint8 if labels.dtype == bool else labels.dtype
    whole: npt.NDArray[np.integer[Any]] = np.asarray(labels, dtype)
    highest = int(whole.max(initial=0))
    if highest <= whole.size:
        return whole, np.arange(highest + 1)
    numbers, _, ids = relabel_sequential(whole)
    return numbers, ids[np.arange(int(numbers.max()) + 1)]


def find_boxes(labels: AnyArray, reporter: Reporter) -> dict[int, Box]:
    """Return the box of each object of labels, block by block, by their numbers.

    Raises
    ------
    MaskError
        If they are no labels.
    ImageError
        If they can't be read.
    """
    boxes: dict[int, Box] = {}
    blocks = split_blocks(labels, whole_box(labels.shape))
    for done, block in enumerate(blocks):
        reporter.report(Progress(done, len(blocks), "Reading the labels"))
        numbers, of_number = number_objects(read(labels, block))
        for number, found in enumerate(ndimage.find_objects(numbers), 1):
            if found is None:
                continue
            box = tuple(
                slice(side.start + outer.start, side.stop + outer.start)
                for side, outer in zip(found, block, strict=True)
            )
            id_ = int(of_number[number])
            boxes[id_] = union_box((boxes[id_], box)) if id_ in boxes else box
    return boxes


def localise_box(box: Box, outer: Box) -> Box:
    """Return a box as counted from the first pixel of one that holds it."""
    return tuple(
        slice(side.start - whole.start, side.stop - whole.start)
        for side, whole in zip(box, outer, strict=True)
    )


def split_blocks(labels: AnyArray, box: Box) -> list[Box]:
    """Return boxes that cover a box, each of whole chunks of the array where it has chunks.

    Parameters
    ----------
    labels : array-like
        In memory, or lazy with ``chunks`` (zarr, dask).
    box : tuple of slice
        What to cover.

    Returns
    -------
    list of tuple of slice
        Of at most 2^22 pixels each; a single chunk may have more.
    """
    sides = chunk_sides(labels)
    size = [side if sides else 1 for side in sides or box_shape(box)]
    whole_ = box_shape(box)
    # Grow along the last axis first: that is how the pixels lie.
    for axis in reversed(range(len(size))):
        others = int(np.prod([s for k, s in enumerate(size) if k != axis], dtype=np.int64))
        room = max(1, _BLOCK_PIXELS // max(1, others * size[axis]))
        size[axis] = max(1, min(size[axis] * room, whole_[axis]))
    return list(_grid(box, size))


def split_in_order(labels: AnyArray, order: Sequence[int]) -> list[Box]:
    """Return boxes that cover labels, in the order in which a file has their pixels.

    Each is a part of one axis, whole in all that are faster, and of whole chunks where there is
    room for them.

    Parameters
    ----------
    labels : array-like
        In memory, or lazy with ``chunks`` (zarr, dask).
    order : sequence of int
        The axes of the labels as the file has them, the slowest first.

    Returns
    -------
    list of tuple of slice
        In the axes of the labels; of about 2^22 pixels each, or as many rows as a chunk has.
    """
    sides = chunk_sides(labels) or [1] * len(order)
    shape = [int(labels.shape[axis]) for axis in order]
    size = [1] * len(order)
    inner = 1
    for place in reversed(range(len(order))):
        step = sides[order[place]]
        room = max(1, _BLOCK_PIXELS // max(1, inner))
        part = max(step, room // step * step)
        whole = place == len(order) - 1  # no row is cut
        size[place] = max(1, shape[place] if whole else min(part, shape[place]))
        inner *= size[place]
        if size[place] < shape[place]:
            break
    places = np.argsort(order).tolist()
    return [tuple(box[place] for place in places) for box in _grid(whole_box(shape), size)]


def split_tiles(box: Box, size: Sequence[int]) -> list[Box]:
    """Return boxes of a size that cover a box; those at the end are smaller."""
    return list(_grid(box, size))


def read(labels: AnyArray, box: Box) -> LabelArray:
    """Return the labels of a box as an array in memory, in the byte order of this computer.

    Raises
    ------
    MaskError
        If they are no whole numbers from 0 on.
    ImageError
        If a file can't be read.
    """
    check_labels(labels)
    with map_read_errors("The labels could not be read", "Check that their file opens elsewhere."):
        part: LabelArray = np.asarray(labels[box])
    # A zarr array may have the other one, which compiled code of scikit-image refuses.
    part = part.astype(part.dtype.newbyteorder("="), copy=False)
    check_not_negative(part)
    return part


@dataclass(frozen=True, slots=True, eq=False)
class PlaneOfLabels:
    """One plane of labels with any number of axes; a part of it is read when it is asked for.

    Parameters
    ----------
    labels : array-like of int
        In memory or lazy.
    rows, columns : int
        Which axes are the plane's, in either order.
    fixed : mapping of int to int
        Where the plane lies on each of the other axes.
    """

    labels: AnyArray
    rows: int
    columns: int
    fixed: Mapping[int, int]

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of all of the labels."""
        return tuple(int(size) for size in self.labels.shape)

    def box(self, part: tuple[slice, slice]) -> Box:
        """Return rows and columns of the plane as a box of the labels."""
        sides = {axis: slice(at, at + 1) for axis, at in self.fixed.items()}
        sides |= {self.rows: part[0], self.columns: part[1]}
        return tuple(sides[axis] for axis in range(len(sides)))

    def __getitem__(self, part: tuple[slice, slice]) -> LabelArray:
        """Return rows and columns of the plane, shape (h, w)."""
        pixels = np.moveaxis(read(self.labels, self.box(part)), (self.rows, self.columns), (-2, -1))
        return pixels.reshape(pixels.shape[-2:])


def chunk_sides(labels: AnyArray) -> list[int] | None:
    """Return how long a chunk of labels is along each axis; None for labels in memory."""
    chunks = getattr(labels, "chunks", None)
    if chunks is None or isinstance(labels, np.ndarray):
        return None
    return [int(side[0] if isinstance(side, tuple) else side) for side in chunks]


def _grid(box: Box, size: Sequence[int]) -> Iterator[Box]:
    # Blocks begin at multiples of their size, as chunks do.
    for corner in itertools.product(
        *(
            range(side.start // step * step, side.stop, step)
            for side, step in zip(box, size, strict=True)
        )
    ):
        yield tuple(
            slice(max(start, side.start), min(start + step, side.stop))
            for start, step, side in zip(corner, size, box, strict=True)
        )


def write_smaller(largest: AnyArray, smaller: Sequence[Any], box: Box) -> None:
    """Bring the smaller levels up to date, block by block.

    Each pixel of a smaller level is the nearest one of the largest.

    Parameters
    ----------
    largest : array-like of int
        The level that was changed.
    smaller : sequence of array-like of int
        The others. Those that can only be read are left alone.
    box : tuple of slice
        What was changed in the largest.
    """
    for level in smaller:
        if not is_writable(level):
            continue
        places = list(map(_nearest_pixels, largest.shape, level.shape))
        reached = tuple(
            slice(*np.searchsorted(at, (side.start, side.stop)).tolist())
            for at, side in zip(places, box, strict=True)
        )
        if 0 in box_shape(reached):
            continue
        for part in split_blocks(level, reached):
            chosen = [at[side] for at, side in zip(places, part, strict=True)]
            steps = [int(np.gcd.reduce(np.diff(at))) or 1 for at in chosen]
            fine = np.asarray(
                largest[
                    tuple(
                        slice(int(at[0]), int(at[-1]) + 1, step)
                        for at, step in zip(chosen, steps, strict=True)
                    )
                ]
            )
            if fine.shape != box_shape(part):  # no one step leads from each to the next
                here = [(at - at[0]) // step for at, step in zip(chosen, steps, strict=True)]
                fine = fine[np.ix_(*here)]
            level[part] = fine


def _nearest_pixels(size: int, small: int) -> npt.NDArray[np.int64]:
    """Return which of ``size`` pixels each of ``small`` ones stands for along an axis."""
    step = max(1, round(size / small))
    if small in (size // step, -(-size // step)):
        return np.arange(small) * step
    return np.arange(small) * size // small  # others make levels of 1.5 times, too


@dataclass(frozen=True, slots=True)
class ImagePlace:
    """The pixels of an image that labels lie on, one on one.

    Parameters
    ----------
    image : str
        Name of the image.
    shape : tuple of int
        Height and width of the image.
    y, x : int
        Row and column of the labels' first pixel in the image.
    leading : tuple of int
        Index of the labels' first plane on each axis before rows and columns.
    names : tuple of str
        What each of these axes is: ``t``, ``c`` or ``z``; empty for one that the image has not.
    note : str
        Why this is not the place in the image that the user sees; empty if it is.
    file : str
        Name of the file of the image, without its folder; empty if it has none, or none is known.
    """

    image: str
    shape: tuple[int, int]
    y: int = 0
    x: int = 0
    leading: tuple[int, ...] = ()
    names: tuple[str, ...] = ()
    note: str = ""
    file: str = ""

    @classmethod
    def alone(
        cls, name: str, shape: Sequence[int], names: tuple[str, ...] = (), note: str = ""
    ) -> ImagePlace:
        """Return the place of labels that belong to no image: they are one.

        Parameters
        ----------
        name : str
            What they are called.
        shape : sequence of int
            Their shape, rows and columns last.
        names : tuple of str
            What the axes before these are; by default z, and t before it.
        note : str
            Why they have no image.
        """
        *planes, height, width = (int(size) for size in shape)
        return cls(
            name,
            (height, width),
            leading=(0,) * len(planes),
            names=names or plane_names(len(planes)),
            note=note,
        )

    def plane(self, index: tuple[int, ...]) -> dict[str, int]:
        """Return the plane of the image by the names of its axes, from its index in the labels."""
        places = zip(self.names, self.leading, index, strict=True)
        return {name: first + at for name, first, at in places if name}

    @property
    def file_names(self) -> tuple[str, ...]:
        """What a file of annotations may call the first plane, the likeliest first."""
        numbered = self.file_name((0,) * len(self.leading)) if self.leading else ""
        return tuple(dict.fromkeys(name for name in (numbered, self.file, self.image) if name))

    def file_name(self, index: tuple[int, ...]) -> str:
        """Return what a plane of the image is called as a file: in stacks with its numbers."""
        name, dot, ending = self.file.rpartition(".") if self.file else (self.image, "", "")
        numbers = map(str, self.plane(index).values())
        return "_".join([name or ending, *numbers]) + (dot + ending if name else "")


def plane_names(count: int, axis_names: Sequence[str] = ()) -> tuple[str, ...]:
    """Return what the axes before rows and columns are: z, t before it, and c before that.

    Parameters
    ----------
    count : int
        How many axes.
    axis_names : sequence of str
        What is known of each: ``t``, ``c``, ``z``, or anything else, which says nothing; by default
        nothing is.
    """
    known = list(axis_names) or [""] * count
    names = [
        name if name in ("t", "c", "z") and name not in known[:axis] else ""
        for axis, name in enumerate(known)
    ]
    for axis in reversed(range(count)):
        if not names[axis]:
            names[axis] = next((name for name in "ztc" if name not in names), "")
    return tuple(names)

"""The objects of labels as files list them: a class, a box and a mask each."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_sam3_assistant.core.masks.blocks import read
from napari_sam3_assistant.core.masks.components import find_components
from napari_sam3_assistant.core.masks.labels import whole

if TYPE_CHECKING:
    from collections.abc import Iterator

    import numpy.typing as npt

    from napari_sam3_assistant.core.masks.labels import LabelArray

ANY_CLASS = "object"


@dataclass(frozen=True, slots=True, eq=False)
class Classes:
    """What labels stand for.

    Parameters
    ----------
    names : dict of int to str
        Names of the classes, by value. Empty: every label is an object of one class.
    of_object : dict of int to int
        The class of each object, where labels are objects. Empty: labels are classes.
    every : int or None
        The class of every label, where they all have the same one.
    """

    names: dict[int, str] = field(default_factory=dict)
    of_object: dict[int, int] = field(default_factory=dict)
    every: int | None = None

    @property
    def is_semantic(self) -> bool:
        """Whether a label is a class and its components are the objects."""
        return bool(self.names) and not self.of_object and self.every is None

    def value(self, label: int) -> int:
        """Return the class of a label."""
        if self.is_semantic:
            return label
        if self.every is not None:
            return self.every
        return self.of_object.get(label, 1)

    def name(self, value: int) -> str:
        """Return the name of a class."""
        return self.names.get(value, f"class {value}" if self.names else ANY_CLASS)


@dataclass(frozen=True, slots=True, eq=False)
class PlaneObject:
    """One object in one plane.

    Parameters
    ----------
    label : int
        Its label.
    class_value : int
        Its class.
    y, x : int
        First row and column of its bounding box.
    mask : ndarray, shape (h, w), dtype bool
        Its pixels in the box.
    """

    label: int
    class_value: int
    y: int
    x: int
    mask: npt.NDArray[np.bool_]

    @property
    def area(self) -> int:
        """Number of pixels."""
        return int(np.count_nonzero(self.mask))


def planes(labels: Any) -> Iterator[tuple[tuple[int, ...], LabelArray]]:  # noqa: ANN401
    """Yield each plane of rows and columns with its index on the leading axes."""
    for index in np.ndindex(*labels.shape[:-2]):
        box = tuple(slice(at, at + 1) for at in index) + whole(labels.shape[-2:])
        yield index, read(labels, box).reshape(labels.shape[-2:])


def objects(plane: LabelArray, classes: Classes, y: int = 0, x: int = 0) -> Iterator[PlaneObject]:
    """Yield the objects of a plane: labels, or where labels are classes their components.

    Parameters
    ----------
    plane : ndarray of int, shape (H, W)
        Labels.
    classes : Classes
        What they stand for.
    y, x : int
        Row and column of the plane's first pixel.
    """
    found = find_components(plane)
    numbers = np.arange(len(found))
    if not classes.is_semantic and len(found):
        fresh = np.append([True], found.values[1:] != found.values[:-1])
        numbers = np.cumsum(fresh) - 1
    count = int(numbers.max(initial=-1)) + 1
    lows = np.full((count, 2), np.iinfo(np.int64).max)
    highs = np.zeros((count, 2), np.int64)
    np.minimum.at(lows, numbers, found.lows)
    np.maximum.at(highs, numbers, found.highs)
    labels = np.zeros(count, found.values.dtype)
    labels[numbers] = found.values
    image = found.image((numbers + 1).astype(np.int64), whole(plane.shape))
    for index in range(count):
        (y0, x0), (y1, x1) = lows[index].tolist(), highs[index].tolist()
        label = int(labels[index])
        mask = image[y0:y1, x0:x1] == index + 1
        yield PlaneObject(label, classes.value(label), y0 + y, x0 + x, mask)

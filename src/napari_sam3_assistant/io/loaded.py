"""What every reader of images gives back."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from napari_sam3_assistant.io.label_axes import LabelAxes, in_order

if TYPE_CHECKING:
    from collections.abc import Sequence

    from napari_sam3_assistant.core.images import LazyArray


@dataclass(frozen=True, slots=True, eq=False)
class LoadedImage:
    """An image from a file, and what the file says of its axes.

    Parameters
    ----------
    data : array-like
        The pixels; large images are read when they are indexed.
    axis_labels : tuple of str or None
        Name of each axis, where the file says.
    rgb : bool or None
        Whether the last axis holds RGB or RGBA; None where the file does not say.
    scale : tuple of float or None
        Size of a pixel along each axis, in the file's units, where it says.
    name : str
        File name without its ending.
    units : tuple of str or None
        What the scale of each axis counts in, such as ``micrometer``; empty where it does not
        say.
    """

    data: LazyArray
    axis_labels: tuple[str, ...] | None = None
    rgb: bool | None = None
    scale: tuple[float, ...] | None = None
    name: str = ""
    units: tuple[str, ...] | None = None

    def axes_of_stack(self, axes: Sequence[int]) -> LabelAxes:
        """Return names, sizes and units of three axes, for a stack of labels along them.

        What the file does not say, or says in a way that can't be written, is filled in: z, y, x,
        and pixels of length 1.

        Parameters
        ----------
        axes : sequence of int
            Number of the axis of the frames, of rows and of columns.
        """
        names = tuple(self.axis_labels[axis] for axis in axes) if self.axis_labels else ()
        sizes = tuple(self.scale[axis] for axis in axes) if self.scale else (1.0, 1.0, 1.0)
        units = tuple(self.units[axis] for axis in axes) if self.units else ("", "", "")
        good = [math.isfinite(size) and size > 0 for size in sizes]
        return LabelAxes(
            names if in_order(names) else ("z", "y", "x"),
            tuple(size if fits else 1.0 for size, fits in zip(sizes, good, strict=True)),
            tuple(unit if fits else "" for unit, fits in zip(units, good, strict=True)),
        )

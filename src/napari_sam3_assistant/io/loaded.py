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

    def axes_of_labels(self, axes: Sequence[int]) -> LabelAxes:
        """Return names, sizes and units of some axes, for labels along them.

        What the file does not say, or says in a way that can't be written, is filled in: y and x,
        z, t and c before them, and pixels of length 1.

        Parameters
        ----------
        axes : sequence of int
            Numbers of two to five axes, rows and columns last.
        """
        ndim = len(self.data.shape)
        names = tuple(self.axis_labels[axis] for axis in axes) if self.axis_labels else ()
        told = self.scale if self.scale and len(self.scale) == ndim else (1.0,) * ndim
        units = self.units if self.units and len(self.units) == ndim else ("",) * ndim
        good = [math.isfinite(told[axis]) and told[axis] > 0 for axis in axes]
        return LabelAxes(
            names if in_order(names) else LabelAxes.of(len(axes)).names,
            tuple(told[axis] if fits else 1.0 for axis, fits in zip(axes, good, strict=True)),
            tuple(units[axis] if fits else "" for axis, fits in zip(axes, good, strict=True)),
        )

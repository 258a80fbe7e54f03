"""What every reader of images gives back."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from napari_sam3_assistant.core.images import reading

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy.typing as npt

    from napari_sam3_assistant.core.axes import Axes
    from napari_sam3_assistant.core.images import LazyArray
    from napari_sam3_assistant.io.series import Series


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
    """

    data: LazyArray
    axes: Axes
    rgb: bool | None = None
    name: str = ""
    notes: tuple[str, ...] = ()
    series: int = 0
    choices: tuple[Series, ...] = ()

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
        with reading(f"{self.name} could not be read", "Check that its file opens elsewhere."):
            return np.asarray(self.data[(...,)])  # type: ignore[index]

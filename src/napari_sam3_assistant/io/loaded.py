"""What every reader of images gives back."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
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
    """

    data: LazyArray
    axis_labels: tuple[str, ...] | None = None
    rgb: bool | None = None
    scale: tuple[float, ...] | None = None
    name: str = ""

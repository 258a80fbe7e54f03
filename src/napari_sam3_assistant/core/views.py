"""What the model shall see of an image: planes with their display, as one RGB picture."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass, field
from operator import index
from typing import TYPE_CHECKING

import numpy as np

from napari_sam3_assistant.core.images import (
    ImageSource,
    LazyArray,
    PlaneRef,
    guess_axes,
    level_zero,
)
from napari_sam3_assistant.core.rgb import Display, to_rgb
from napari_sam3_assistant.errors import ImageError

if TYPE_CHECKING:
    import numpy.typing as npt

    from napari_sam3_assistant.core.regions import Region

# napari's default colours of channels: two, and three or more (repeated).
_TWO = ((1, 0, 1), (0, 1, 0))
_MANY = ((0, 1, 1), (1, 1, 0), (1, 0, 1), (1, 0, 0), (0, 1, 0), (0, 0, 1))
_STRETCHED_BY_OUTLIERS = 4


@dataclass(frozen=True, slots=True, eq=False)
class ViewChannel:
    """One plane of an image and how it is shown.

    Parameters
    ----------
    source : ImageSource
        The image.
    plane : PlaneRef
        Which plane of it.
    display : Display
        Contrast, gamma and colours.
    """

    source: ImageSource
    plane: PlaneRef
    display: Display = field(default_factory=Display)

    def rgb(self, region: Region | None = None) -> npt.NDArray[np.uint8]:
        """Return the picture, shape (h, w, 3), of the plane or a region of it."""
        pixels = self.source.read(self.plane, region)
        as_is = pixels.dtype.name in ("uint8", "bool") or self.display.contrast is not None
        fallback = (0.0, 1.0) if as_is else self.source.contrast(self.plane.channel)
        return to_rgb(pixels, self.display, fallback)


@dataclass(frozen=True, slots=True, eq=False)
class ImageView:
    """What the model shall see: one plane, or several added up in their colours.

    Parameters
    ----------
    channels : tuple of ViewChannel
        Planes of the same height and width.

    Raises
    ------
    ImageError
        If there is none, one does not exist, or they differ in size.
    """

    channels: tuple[ViewChannel, ...]

    def __post_init__(self) -> None:
        if not self.channels:
            raise ImageError("There is no image to look at.", "Choose or show an image.")
        for channel in self.channels:
            channel.source.check(channel.plane)
        shapes = {channel.source.plane_shape for channel in self.channels}
        if len(shapes) > 1:
            sizes = ", ".join(f"{height} x {width}" for height, width in sorted(shapes))
            raise ImageError(
                f"Images of different sizes can't be seen as one: {sizes} (height x width).",
                "Hide those that don't belong to it, or choose a single image.",
            )

    @property
    def shape(self) -> tuple[int, int]:
        """Height and width in pixels."""
        return self.channels[0].source.plane_shape

    @property
    def key(self) -> Hashable:
        """Identity of the picture, known without reading pixels: equal keys, equal pictures.

        A source whose pixels are changed in place keeps its token; make a new source then.
        """
        return tuple(
            (channel.source.token, channel.plane, channel.display.key) for channel in self.channels
        )

    def rgb(self, region: Region | None = None) -> npt.NDArray[np.uint8]:
        """Return the picture; channels are added up and clipped.

        Parameters
        ----------
        region : Region or None
            Which part, cut to the plane; None for all.

        Returns
        -------
        ndarray, shape (h, w, 3), dtype uint8
            A new array.
        """
        total = self.channels[0].rgb(region)
        for channel in self.channels[1:]:
            added = channel.rgb(region)
            total += added
            # A sum that ran over 255 and wrapped is smaller than what was added.
            total[total < added] = 255
        return total


def view_of_array(
    image: LazyArray | Sequence[LazyArray],
    *,
    plane: int | Sequence[int] | None = None,
    channel_axis: int | None = None,
    channel: int | None = None,
    contrast: tuple[float, float] | None = None,
    axis_labels: Sequence[str] | None = None,
    rgb: bool | None = None,
) -> ImageView:
    """Return the view of a bare array.

    Parameters
    ----------
    image : array-like, or sequence of them
        The image, or its levels, largest first.
    plane : int or sequence of int, or None
        Index on each leading axis; may be left out where these have the size 1.
    channel_axis : int or None
        Number of the channel axis; -1 or None to find out.
    channel : int or None
        One channel; None for all of them in napari's default colours.
    contrast : tuple of float or None
        Values shown as black and as white. None: uint8 as it is, other types stretched.
    axis_labels : sequence of str or None
        Names of the axes.
    rgb : bool or None
        Whether the last axis holds colours, where that is known.

    Raises
    ------
    ImageError
        If the image can't be used or there is no such plane.
    """
    data = level_zero(image)
    axes = guess_axes(data.shape, channel_axis=channel_axis, rgb=rgb, axis_labels=axis_labels)
    indices = _plane_indices(plane)
    if axes.rgb and channel is not None:
        # One colour was asked for: read the colours as channels.
        axes = guess_axes(data.shape, channel_axis=axes.channel, rgb=False, axis_labels=axis_labels)
    elif axes.guessed and indices is not None and len(indices) == axes.ndim - 2:
        # So many indices leave no axis for colours: the guess was wrong.
        axes = guess_axes(data.shape, rgb=False)
    source = ImageSource(data, axes)
    leading = _only_plane(source) if indices is None else indices
    if not source.has_channels or channel is not None:
        picked = ViewChannel(source, PlaneRef(leading, channel), Display(contrast))
        return ImageView((picked,))
    return ImageView(
        tuple(
            ViewChannel(source, PlaneRef(leading, number), Display(contrast, colormap=colormap))
            for number, colormap in enumerate(channel_colormaps(source.channels))
        )
    )


def channel_colormaps(count: int) -> list[npt.NDArray[np.float64] | None]:
    """Return napari's default colormap for each of ``count`` channels; None for grey."""
    if count == 1:
        return [None]
    colours = _TWO if count == 2 else _MANY
    return [np.array([(0, 0, 0), colours[number % len(colours)]], float) for number in range(count)]


def shown_contrast(
    limits: tuple[float, float],
    limits_range: tuple[float, float],
    source: ImageSource,
    channel: int | None,
) -> tuple[float, float]:
    """Return the contrast limits of a layer, unless outliers made them useless.

    napari sets untouched limits to the smallest and the largest value. Where a few outliers
    stretch these to more than four times the percentile range, the percentile range is taken,
    so that one hot pixel does not black out the image.

    Parameters
    ----------
    limits, limits_range : tuple of float
        The layer's ``contrast_limits`` and ``contrast_limits_range``.
    source : ImageSource
        The layer's image.
    channel : int or None
        Its channel.
    """
    low, high = float(limits[0]), float(limits[1])
    untouched = (low, high) == (float(limits_range[0]), float(limits_range[1]))
    # napari shows 8-bit images from 0 to 255, whatever values they have: no outlier did that.
    if not untouched or source.dtype.itemsize == 1:
        return (low, high)
    inner_low, inner_high = source.contrast(channel)
    if (inner_high - inner_low) * _STRETCHED_BY_OUTLIERS < high - low:
        return (inner_low, inner_high)
    return (low, high)


def _plane_indices(plane: int | Sequence[int] | None) -> tuple[int, ...] | None:
    if plane is None:
        return None
    return tuple(index(value) for value in (plane if isinstance(plane, Iterable) else (plane,)))


def _only_plane(source: ImageSource) -> tuple[int, ...]:
    """Return the indices of the plane of an image that has only one."""
    shape = source.leading_shape
    if any(size > 1 for size in shape):
        axes = ", ".join(
            f"axis {axis} of size {size}"
            for axis, size in zip(source.axes.leading, shape, strict=True)
        )
        raise ImageError(
            f"The image of shape {source.shape} has more than one plane ({axes}; "
            f"{source.axes.reason}).",
            f"Say which with plane={(0,) * len(shape)}, or name its channel axis.",
        )
    return (0,) * len(shape)

"""Planes with their display settings, alone or along a stack, as the RGB that a model sees."""

from __future__ import annotations

import math
from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from operator import index
from typing import TYPE_CHECKING

import numpy as np
from scipy import ndimage as ndi

from napari_sam3_assistant.core.axes import axis_kind, guess_axes
from napari_sam3_assistant.core.images import ImageSource, LazyArray, PlaneRef, level_zero
from napari_sam3_assistant.errors import ImageError

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy.typing as npt

    from napari_sam3_assistant.core.regions import Region

    Floats = npt.NDArray[np.float32]

_BLOCK_PIXELS = 1 << 18
_LEVELS = 256
_LUMINANCE = np.array([0.299, 0.587, 0.114])
INVERTED = np.array([(1, 1, 1), (0, 0, 0)], float)
"""The colours of a grey image whose lowest values are white."""


@dataclass(frozen=True, slots=True, eq=False)
class Display:
    """How pixel values are shown.

    Parameters
    ----------
    contrast : tuple of float or None
        Values shown as black and as full brightness. None: uint8 as it is, bool as black and
        white, other types stretched over the range that :func:`to_rgb` is given.
    gamma : float
        Exponent of the brightness; 1 is linear.
    colormap : ndarray, shape (N, 3), dtype float, or None
        Colours from dark to bright, 0 to 1; None for grey. RGB images have their own colours.
    padding : bool
        Whether what only fills the image up looks like its background. Without ``contrast`` it
        does.

    Raises
    ------
    ImageError
        If a value can't be used.
    """

    contrast: tuple[float, float] | None = None
    gamma: float = 1.0
    colormap: npt.NDArray[np.floating] | None = None
    padding: bool = False

    def __post_init__(self) -> None:
        if self.contrast is not None and not (
            len(self.contrast) == 2
            and all(map(math.isfinite, self.contrast))
            and self.contrast[0] <= self.contrast[1]
        ):
            raise ImageError(
                f"The contrast limits {tuple(self.contrast)} are not a low and a high value.",
                "Give two finite numbers, the lower first.",
            )
        if not (math.isfinite(self.gamma) and self.gamma > 0):
            raise ImageError(
                f"A gamma of {self.gamma} can't be used.", "Give a number above 0; 1 is linear."
            )
        if self.colormap is not None and (self.colormap.ndim != 2 or self.colormap.shape[1] != 3):
            raise ImageError(
                f"A colormap has the shape (N, 3), this one has {self.colormap.shape}.",
                "Give red, green and blue for each colour.",
            )

    @property
    def inverted(self) -> bool:
        """Whether the colours go from bright to dark all along, as ink on paper."""
        return self.colormap is not None and is_inverted(self.colormap)

    @property
    def key(self) -> Hashable:
        """Identity of the display: equal keys show equal pictures."""
        colours = None if self.colormap is None else self.colormap.astype(np.float32).tobytes()
        return (self.contrast, self.gamma, colours, self.padding)


def is_inverted(colormap: npt.NDArray[np.floating]) -> bool:
    """Return whether colours, shape (N, 3), go from bright to dark all along."""
    return bool((np.diff(colormap @ _LUMINANCE) < 0).all())


def to_rgb(
    plane: npt.NDArray[np.generic], display: Display, fallback_contrast: tuple[float, float]
) -> npt.NDArray[np.uint8]:
    """Return the picture of a plane.

    The alpha of RGBA is left out and the colours stay as stored, as Pillow's
    ``convert("RGB")`` does and with it SAM 3's own image loading. One contrast range serves all
    three colours, so hues stay.

    Parameters
    ----------
    plane : ndarray, shape (h, w), or (h, w, 3 | 4)
        Pixel values of any real type. NaN is shown as black; infinite values as the ends.
    display : Display
        Contrast, gamma and colours.
    fallback_contrast : tuple of float
        Contrast where ``display`` names none; not used for uint8 and bool.

    Returns
    -------
    ndarray, shape (h, w, 3), dtype uint8
        A new array.
    """
    contrast = display.contrast
    if contrast is None:
        contrast = {"uint8": (0.0, 255.0), "bool": (0.0, 1.0)}.get(
            plane.dtype.name, fallback_contrast
        )
    colours = plane.ndim == 3
    out = np.empty((*plane.shape[:2], 3), np.uint8)
    table = None if colours else _colour_table(display.colormap)
    rows = max(1, _BLOCK_PIXELS // max(1, plane.shape[1]))
    for start in range(0, plane.shape[0], rows):
        block = plane[start : start + rows, :, :3] if colours else plane[start : start + rows]
        levels = _levels(block, contrast, display.gamma)
        if colours:
            out[start : start + rows] = levels
        elif table is None:
            # Plane by plane: five times faster than to repeat pixel by pixel.
            for colour in range(3):
                out[start : start + rows, :, colour] = levels
        else:
            out[start : start + rows] = table[levels]
    return out


def _levels(
    block: npt.NDArray[np.generic], contrast: tuple[float, float], gamma: float
) -> npt.NDArray[np.uint8]:
    """Return the brightness of each value, 0 to 255."""
    low, high = contrast
    if block.dtype == np.uint8 and gamma == 1.0 and contrast == (0.0, 255.0):
        return block.astype(np.uint8, copy=False)
    if block.dtype.kind in "bu" and block.dtype.itemsize == 1:
        # Each of the few values is computed once.
        values = np.arange(_LEVELS, dtype=np.float32)
        table: npt.NDArray[np.uint8] = _scale(values, low, high, gamma)
        return table[block.view(np.uint8)]
    # float32 holds 8- and 16-bit integers exactly; wider types are blocks of float64, as a
    # large offset would swallow their differences.
    return _scale(block.astype(np.result_type(block.dtype, np.float32)), low, high, gamma)


def _scale(
    values: npt.NDArray[np.floating], low: float, high: float, gamma: float
) -> npt.NDArray[np.uint8]:
    """Return values as 0 to 255; overwrites ``values``."""
    span = high - low if high > low else 1.0
    span = max(span, float(np.finfo(values.dtype).tiny))  # float32 would take less for 0
    with np.errstate(over="ignore", invalid="ignore"):
        values -= low
        values /= span
        np.clip(values, 0.0, 1.0, out=values)
        np.nan_to_num(values, copy=False, nan=0.0)
        if gamma != 1.0:
            np.power(values, gamma, out=values)
        values *= _LEVELS - 1
        values += 0.5
        return values.astype(np.uint8)


def _colour_table(colormap: npt.NDArray[np.floating] | None) -> npt.NDArray[np.uint8] | None:
    """Return the colour of each brightness, shape (256, 3); None for grey."""
    if colormap is None:
        return None
    positions = np.linspace(0.0, 1.0, len(colormap))
    samples = np.linspace(0.0, 1.0, _LEVELS)
    columns = [np.interp(samples, positions, np.clip(column, 0, 1)) for column in colormap.T]
    return (np.stack(columns, axis=1) * (_LEVELS - 1) + 0.5).astype(np.uint8)


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
        padding = self.display.padding or not as_is
        pixels = self.source.fill_gaps(pixels, self.plane.channel, padding=padding)
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
    def replaced(self) -> str:
        """What an image of it is called that has other pixels now; empty where none has."""
        return next(filter(None, (channel.source.replaced for channel in self.channels)), "")

    @property
    def key(self) -> Hashable:
        """Identity of the picture, known without reading pixels: equal keys, equal pictures.

        A source whose pixels are changed in place keeps its token; make a new source then.
        """
        return tuple(
            (channel.source.token, channel.plane, channel.display.key) for channel in self.channels
        )

    def rgb(self, region: Region | None = None) -> npt.NDArray[np.uint8]:
        """Return the picture; channels are added up and clipped, as lights.

        Where all of them are inverted the darkest counts, as of inks: their sum would be white.

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
        inks = all(channel.display.inverted for channel in self.channels)
        for channel in self.channels[1:]:
            added = channel.rgb(region)
            if inks:
                np.minimum(total, added, out=total)
                continue
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
        # So many indices leave no axis for colours or channels: the guess was wrong.
        axes = guess_axes(data.shape, rgb=False, plane_axes=(axes.ndim - 2, axes.ndim - 1))
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


def choose_contrast(
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
    if not is_untouched(limits, limits_range, source):
        return (low, high)
    inner_low, inner_high = source.contrast(channel)
    if (inner_high - inner_low) * _STRETCHED_BY_OUTLIERS < high - low:
        return (inner_low, inner_high)
    return (low, high)


def is_untouched(
    limits: tuple[float, float], limits_range: tuple[float, float], source: ImageSource
) -> bool:
    """Return whether contrast limits are those that napari has found in the values.

    ``limits``, ``limits_range``: the layer's, as :func:`choose_contrast` takes them.
    """
    # napari shows 8-bit images from 0 to 255, whatever values they have: no outlier did that.
    return source.dtype.itemsize > 1 and tuple(map(float, limits)) == tuple(
        map(float, limits_range)
    )


def _plane_indices(plane: int | Sequence[int] | None) -> tuple[int, ...] | None:
    if plane is None:
        return None
    return tuple(index(value) for value in (plane if isinstance(plane, Iterable) else (plane,)))


def ask_for_plane(indices: int) -> str:
    """Return how to say which plane of a stack is meant, by so many indices."""
    first = (0,) * indices
    typed = ",".join(map(str, first))
    return f"Say which plane with plane={first}, on the command line --plane {typed}"


def _only_plane(source: ImageSource) -> tuple[int, ...]:
    """Return the indices of the plane of an image that has only one."""
    shape = source.leading_shape
    if any(size > 1 for size in shape):
        axes = ", ".join(
            f"axis {axis} of size {size}"
            for axis, size in zip(source.axes.leading, shape, strict=True)
            if size > 1
        )
        raise ImageError(
            f"The image of shape {source.shape} has more than one plane ({axes}; "
            f"{source.axes.reason}).",
            f"{ask_for_plane(len(shape))}, or name its channel axis.",
        )
    return (0,) * len(shape)


@dataclass(frozen=True, slots=True, eq=False)
class FrameSource:
    """The planes of an image along one of its leading axes.

    The contrast is that of the view, or of a bounded sample of the whole stack (see
    :meth:`~napari_sam3_assistant.core.images.ImageSource.contrast`), so brightness does not
    flicker from frame to frame.

    Parameters
    ----------
    view : ImageView
        How any one of the frames is seen; its index on ``axis`` does not matter.
    axis : int
        Number of the array's axis along which the frames lie.
    axis_name : str
        What the axis is called, such as ``z`` or ``t``; empty where that is not known.

    Raises
    ------
    ImageError
        If the image has no such leading axis, or its images differ in length along it.
    """

    view: ImageView
    axis: int
    axis_name: str = ""

    def __post_init__(self) -> None:
        lengths = set()
        for channel in self.view.channels:
            source = channel.source
            if self.axis not in source.axes.leading:
                choice = ", ".join(map(str, source.axes.leading)) or "none: it is one plane"
                raise ImageError(
                    f"Axis {self.axis} of the image of shape {source.shape} is not an axis of "
                    f"frames ({source.axes.reason}).",
                    f"Choose one of its leading axes: {choice}.",
                )
            lengths.add(source.shape[self.axis])
        if len(lengths) > 1:
            raise ImageError(
                f"The images have different numbers of frames: {sorted(lengths)}.",
                "Hide those that don't belong to it, or choose a single image.",
            )

    def __len__(self) -> int:
        return self.view.channels[0].source.shape[self.axis]

    @property
    def shape(self) -> tuple[int, int]:
        """Height and width of a frame in pixels."""
        return self.view.shape

    @property
    def is_movie(self) -> bool:
        """Whether the frames are known to be times, and no slices of a volume."""
        return axis_kind(self.axis_name) == "t"

    def view_at(self, frame: int) -> ImageView:
        """Return how a frame is seen; reads no pixels."""

        def moved(channel: ViewChannel) -> ViewChannel:
            leading = list(channel.plane.leading)
            leading[channel.source.axes.leading.index(self.axis)] = frame
            return replace(channel, plane=replace(channel.plane, leading=tuple(leading)))

        return ImageView(tuple(moved(channel) for channel in self.view.channels))

    def read(self, frame: int) -> npt.NDArray[np.uint8]:
        """Return a frame's picture, shape (H, W, 3), and read nothing else."""
        return self.view_at(frame).rgb()


@dataclass(frozen=True, slots=True, eq=False)
class Figure:
    """What is on a figure; positions are pixels of it, ``(x, y)``, the first one's corner at 0.

    Parameters
    ----------
    pixels : ndarray, shape (h, w, 3), dtype uint8
        The image as it is shown.
    outlines : tuple of (int, ndarray)
        For each closed line the number of its name, and its corners, shape (N, 2).
    names : tuple of str
        What the legend says.
    bar : (float, str)
        Length of the scale bar in pixels, and what it stands for.
    aspect : float
        Height of a pixel over its width.
    """

    pixels: npt.NDArray[np.uint8]
    outlines: tuple[tuple[int, npt.NDArray[np.float64]], ...]
    names: tuple[str, ...]
    bar: tuple[float, str]
    aspect: float


_SMOOTH = 1.5
"""Standard deviation in pixels of the blur under which slices are compared."""
_ALIKE = 2.0
"""A pixel counts half that differs by so many standard deviations of the noise."""
_FAR = 4.0
"""A slice counts half whose objects differ by so many: it lies too far away, or they have moved."""
_LAPLACIAN = np.array([[1, -2, 1], [-2, 4, -2], [1, -2, 1]], np.float32)


def average_alike(
    picture: npt.NDArray[np.uint8], neighbours: Sequence[npt.NDArray[np.uint8]]
) -> npt.NDArray[np.uint8]:
    """Return a slice averaged with its neighbours, each pixel by how alike they are there.

    What differs by more than noise, such as an object that ends, is hardly mixed in, and a slice
    whose objects are not those of this one hardly anywhere: thick slices, or times of a movie.
    Without noise the slice stays as it is.

    Parameters
    ----------
    picture : ndarray, shape (H, W, 3), dtype uint8
        The slice.
    neighbours : sequence of ndarray, each of the same shape and dtype
        Slices near it.

    Returns
    -------
    ndarray, shape (H, W, 3), dtype uint8
        A new array.
    """
    grey = _grey(picture)
    spread = _noise(grey)
    standing = _standing_out(grey)
    total = picture.astype(np.float32)
    weights = np.ones(grey.shape, np.float32)
    for other in neighbours:
        level = _grey(other)
        # The noise of a difference, after the blur.
        noise = np.hypot(spread, _noise(level)) / (2 * np.sqrt(np.pi) * _SMOOTH)
        if noise == 0:
            continue
        apart = ndi.gaussian_filter(level - grey, _SMOOTH, mode="nearest")
        squares = (apart / np.float32(noise)) ** 2
        # Of the ground, most slices show the same: what stands out from it says how far they are.
        counts = standing + _standing_out(level)
        far = float((squares * counts).sum() / max(float(counts.sum()), 1e-6)) / _FAR**2
        weight = 1 / (1 + squares / np.float32(_ALIKE**2)) / np.float32(1 + far**2)
        total += weight[..., None] * other
        weights += weight
    mean: npt.NDArray[np.uint8] = np.rint(total / weights[..., None]).astype(np.uint8)
    return mean


def _grey(picture: npt.NDArray[np.uint8]) -> Floats:
    grey: Floats = picture.mean(-1, dtype=np.float32)
    return grey


def _standing_out(grey: Floats) -> Floats:
    """Return by how many grey levels each pixel differs from the ground, after the blur."""
    smooth: Floats = ndi.gaussian_filter(grey, _SMOOTH, mode="nearest")
    return np.abs(smooth - np.median(smooth))


def _noise(grey: Floats) -> float:
    """Return the standard deviation of the noise (Immerkaer, CVIU 64:300, 1996)."""
    return float(np.sqrt(np.mean(ndi.convolve(grey, _LAPLACIAN, mode="nearest") ** 2) / 36))

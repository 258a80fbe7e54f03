"""Read single planes out of images of any layout, and the contrast worth showing."""

from __future__ import annotations

import itertools
import math
import weakref
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from traceback import clear_frames
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias, cast

import numpy as np
import psutil  # type: ignore[import-untyped]

from napari_sam3_assistant.core.axes import pixel_lengths
from napari_sam3_assistant.core.padding import find_padding
from napari_sam3_assistant.core.paths import hide_secrets
from napari_sam3_assistant.core.plurals import format_gigabytes
from napari_sam3_assistant.core.regions import Region
from napari_sam3_assistant.errors import ImageError, Sam3AssistantError

if TYPE_CHECKING:
    import numpy.typing as npt

    from napari_sam3_assistant.core.axes import Axes, ImageAxes


MAX_SAMPLED_PLANES = 5
_MORE_PLANES = (17, 65)  # where none of the first ones can be read
_REAL = "buif"
_LONGEST = 200  # letters of a foreign error that are told
_tokens = itertools.count(1)


AnyArray: TypeAlias = Any
"""An array of NumPy, dask, zarr or others, which is indexed and written as NumPy's are."""

Untyped: TypeAlias = Any
"""What packages without types give: transformers, sam3, zarr's groups, pandas, pint."""


class LazyArray(Protocol):
    """What NumPy, dask, zarr, h5py and xarray arrays have in common."""

    @property
    def shape(self) -> tuple[int, ...]:
        """Length of each axis."""

    @property
    def dtype(self) -> np.dtype[np.generic]:
        """Type of a pixel."""

    def __getitem__(self, key: tuple[int | slice, ...]) -> object:
        """Return the part under integers and slices; NumPy can make an array of it."""


def as_lazy(data: Untyped) -> Untyped:
    """Return an array that isn't in memory as dask's, which computes with it piece by piece."""
    if isinstance(data, np.ndarray):
        return data
    import dask.array as da

    return data if isinstance(data, da.Array) else da.from_array(data)


@dataclass(frozen=True, slots=True)
class PlaneRef:
    """Which plane of an image.

    Parameters
    ----------
    leading : tuple of int
        Index on each leading axis, in the order of the axes.
    channel : int or None
        Index on the channel axis; None where there is none or it holds RGB.
    """

    leading: tuple[int, ...] = ()
    channel: int | None = None


class DerivedCache(Protocol):
    """Keeps what was made of images."""

    def forget(self, image: int) -> None:
        """Record that the image of a token is no longer needed; called from any thread."""


class ImageSource:
    """An image of which single planes are read.

    Parameters
    ----------
    data : array-like, or sequence of them
        NumPy, dask, zarr, h5py, xarray or other array that NumPy can read; or the levels of a
        multiscale image, largest first, of which the first is read.
    axes : ImageAxes
        What its axes mean.

    Attributes
    ----------
    replaced : str
        What the image is called that has other pixels now; empty while it has these.
    series : int or None
        Which image of its file it is; None where that is not known.

    Raises
    ------
    ImageError
        If the pixels are no real numbers, or the axes don't fit.
    """

    def __init__(self, data: LazyArray | Sequence[LazyArray], axes: ImageAxes) -> None:
        self._data = level_zero(data)
        self.axes = axes
        self.token = next(_tokens)
        self.is_retired = False
        self.replaced = ""
        self.series: int | None = None
        self._caches: tuple[weakref.ref[DerivedCache], ...] = ()
        self._contrast: dict[int | None, tuple[float, float]] = {}
        self._typical: dict[int | None, npt.NDArray[np.generic]] = {}
        self._padding: dict[int | None, float | None] = {}
        if len(self._data.shape) != axes.ndim:
            raise ImageError(
                f"The image of shape {self.shape} has not {axes.ndim} axes.",
                "Find out its axes again.",
            )
        if self.dtype.kind not in _REAL:
            raise ImageError(
                f"An image of type {self.dtype} can't be segmented.",
                "Give real numbers, such as the absolute value of a complex image, or "
                "image.astype(float) for an array of Python objects.",
            )

    def add_cache(self, cache: DerivedCache) -> None:
        """Register a cache that is cleared when these pixels are no longer needed."""
        if not any(known() is cache for known in self._caches):
            self._caches = (*self._caches, weakref.ref(cache))
        if self.is_retired:
            cache.forget(self.token)

    def drop_caches(self) -> None:
        """Clear the caches of these pixels, which nothing reads now; results may hold them."""
        self.is_retired = True
        for known in self._caches:
            cache = known()
            if cache is not None:
                cache.forget(self.token)

    @property
    def shape(self) -> tuple[int, ...]:
        """Length of each axis of the array."""
        return tuple(int(size) for size in self._data.shape)

    @property
    def dtype(self) -> np.dtype[np.generic]:
        """Type of a pixel; that of the array's NumPy pixels where it has names of its own."""
        try:
            return np.dtype(self._data.dtype)
        except TypeError:  # Torch's and TensorStore's types are not NumPy's
            with map_read_errors(
                f"Pixels of the type {self._data.dtype} can't be read",
                "Give a NumPy array, or one that NumPy can read (of torch: "
                "tensor.detach().float().cpu()).",
            ):
                return np.asarray(self._data[(slice(0, 0),) * len(self._data.shape)]).dtype

    @property
    def data(self) -> Untyped:
        """The array that it was made of; of several sizes the largest."""
        return self._data

    @property
    def plane_shape(self) -> tuple[int, int]:
        """Height and width of a plane in pixels."""
        return (self.shape[self.axes.y], self.shape[self.axes.x])

    @property
    def leading_shape(self) -> tuple[int, ...]:
        """Length of each leading axis."""
        return tuple(self.shape[axis] for axis in self.axes.leading)

    @property
    def channels(self) -> int:
        """Number of channels that are read one by one; 1 where there are none, or RGB."""
        if self.axes.channel is None or self.axes.rgb:
            return 1
        return self.shape[self.axes.channel]

    @property
    def has_channels(self) -> bool:
        """Whether a plane is named with a channel."""
        return self.axes.channel is not None and not self.axes.rgb

    def check(self, plane: PlaneRef) -> None:
        """Raise unless the image has this plane.

        Raises
        ------
        ImageError
            With the indices that don't fit.
        """
        limits = self.leading_shape
        if len(plane.leading) != len(limits):
            raise ImageError(
                f"The plane {plane.leading} has {len(plane.leading)} indices, "
                f"the image of shape {self.shape} ({self.axes.reason}) needs {len(limits)}.",
                f"Give one index for each of the axes {self.axes.leading}.",
            )
        for axis, index, size in zip(self.axes.leading, plane.leading, limits, strict=True):
            if not 0 <= index < size:
                raise ImageError(
                    f"There is no plane {index} on axis {axis} of the image of shape {self.shape}.",
                    f"Choose 0 to {size - 1}.",
                )
        self._check_channel(plane.channel)

    def _check_channel(self, channel: int | None) -> None:
        if not self.has_channels:
            if channel is not None:
                raise ImageError(
                    f"The image of shape {self.shape} has no channel {channel}: "
                    f"{self.axes.reason}.",
                    "Set the channel axis, or leave the channel out.",
                )
        elif channel is None or not 0 <= channel < self.channels:
            raise ImageError(
                f"There is no channel {channel} in the image of shape {self.shape} "
                f"with channel axis {self.axes.channel}.",
                f"Choose 0 to {self.channels - 1}.",
            )

    def read(self, plane: PlaneRef, region: Region | None = None) -> npt.NDArray[np.generic]:
        """Read a plane, or a region of it, and nothing else.

        Parameters
        ----------
        plane : PlaneRef
            Which plane.
        region : Region or None
            Which part of it, cut to the plane; None for all.

        Returns
        -------
        ndarray, shape (h, w), or (h, w, 3 | 4) for RGB and RGBA
            The pixels as they are stored. May share memory with the image: don't write to it.
            What is masked in a masked array has the typical value of the image (the median).

        Raises
        ------
        ImageError
            If there is no such plane or its file can't be read.
        """
        self.check(plane)
        whole = Region.whole(self.plane_shape)
        part = whole if region is None else region.intersect(whole)
        shape = (*part.shape, self.shape[-1]) if self.axes.rgb else part.shape
        if part.is_empty:
            return np.empty(shape, self.dtype)
        size, memory = math.prod(shape) * self.dtype.itemsize, psutil.virtual_memory().total
        if size > memory:
            # A file of a few bytes may say so of itself; who reads it would find out slowly.
            raise ImageError(
                f"{part.shape[0]} x {part.shape[1]} pixels take {format_gigabytes(size)}, and the "
                f"computer has {format_gigabytes(memory)} of memory.",
                "Choose a smaller region, or scan the image tile by tile.",
            )
        pixels = self._part(plane, part)
        if isinstance(pixels, np.ma.MaskedArray):
            # What is masked is no image: it looks like what is most of it, the background.
            seen = np.array(pixels.data)
            seen[self._find_masked(pixels)] = self._typical_value(plane.channel)
            return seen
        return pixels

    def _part(self, plane: PlaneRef, part: Region) -> npt.NDArray[np.generic]:
        """Read a region of a plane; a masked array where the image is one."""
        key: list[int | slice] = [slice(None)] * self.axes.ndim
        for axis, index in zip(self.axes.leading, plane.leading, strict=True):
            key[axis] = int(index)
        if self.axes.channel is not None and plane.channel is not None:
            key[self.axes.channel] = int(plane.channel)
        key[self.axes.y], key[self.axes.x] = part.slices
        subject = f"Plane {plane.leading} of the image" if plane.leading else "The image"
        with map_read_errors(f"{subject} could not be read", "Check that its file is still there."):
            found = self._data[tuple(key)]
            # NumPy's own way out of dask forgets what is masked.
            pixels = np.asanyarray(found.compute() if hasattr(found, "compute") else found)
        if not isinstance(pixels, np.ma.MaskedArray):
            pixels = np.asarray(pixels)
        upright = pixels if self.axes.y < self.axes.x else pixels.swapaxes(0, 1)
        shape = (*part.shape, *((self.shape[-1],) if self.axes.rgb else ()))
        if upright.shape != shape or upright.dtype.kind not in _REAL:
            raise ImageError(
                f"The image gave pixels of the shape {upright.shape} and the type {upright.dtype} "
                f"for a part of the shape {shape} and the type {self.dtype}.",
                "Give an array that is what it says of itself; of dask, check the function that "
                "its blocks are made with.",
            )
        return upright

    def contrast(self, channel: int | None = None) -> tuple[float, float]:
        """Return the percentile range (0.1, 99.9), the same for all planes of the image.

        Taken from a bounded sample: at most five planes spread over the leading axes, and of
        large planes a grid of blocks; the work does not grow with the image.

        Parameters
        ----------
        channel : int or None
            Which channel; None where there are none, or RGB.

        Returns
        -------
        tuple of float
            ``(low, high)``, finite, ``low < high``.

        Raises
        ------
        ImageError
            If there is no such channel.
        """
        self._check_channel(channel)
        if channel not in self._contrast:
            self._contrast[channel] = self._sample_range(channel)
        return self._contrast[channel]

    def _sample_range(self, channel: int | None) -> tuple[float, float]:
        if self.dtype.kind == "b":
            return (0.0, 1.0)
        pixels = self._sample(channel)
        if not self.axes.rgb:
            return finite_range(pixels, pixels)
        # Whole pixels are counted: the darkest and the brightest colour of each.
        return finite_range(pixels[:, :3].min(-1), pixels[:, :3].max(-1))

    def _typical_value(self, channel: int | None) -> npt.NDArray[np.generic]:
        """Return the median, for each colour of RGB; 0 where there is no value."""
        if channel not in self._typical:
            pixels = self._sample(channel)
            if pixels.dtype.kind == "f":
                pixels = pixels[np.isfinite(pixels).all(tuple(range(1, pixels.ndim)))]
            pixels = pixels if len(pixels) else np.zeros((1, *pixels.shape[1:]), pixels.dtype)
            middle = len(pixels) // 2
            self._typical[channel] = np.partition(pixels, middle, axis=0)[middle]
        return self._typical[channel]

    def _sample(self, channel: int | None) -> npt.NDArray[np.generic]:
        """Return sampled pixels, shape (N,), or (N, 3 | 4) of colours; without padding."""
        planes = math.prod(self.leading_shape)
        broken: list[ImageError] = []
        for count in (MAX_SAMPLED_PLANES, *_MORE_PLANES):
            sampled = np.unique(np.linspace(0, planes - 1, count).astype(int))
            parts = list(self._sample_parts(channel, sampled, broken))
            if parts:
                return self._leave_out_padding(channel, parts)
        raise broken[-1]

    def _leave_out_padding(
        self, channel: int | None, parts: list[npt.NDArray[np.generic]]
    ) -> npt.NDArray[np.generic]:
        """Return the pixels of sampled parts in a row, and note what of them is no image."""
        grey = not self.axes.rgb and self.dtype.kind != "b" and self.dtype != np.uint8
        planes = [part for part in parts if part.ndim == 2 and grey]
        padding = self._padding[channel] = find_padding(planes)
        pixels = np.concatenate([_in_a_row(part, colours=self.axes.rgb) for part in parts])
        kept: npt.NDArray[np.generic] = pixels if padding is None else pixels[pixels != padding]
        return kept

    def fill_gaps(
        self, pixels: npt.NDArray[np.generic], channel: int | None, *, padding: bool
    ) -> npt.NDArray[np.generic]:
        """Return pixels of the image where those that are no image look like most of it.

        These are NaN and, if asked for, the value that only fills the image up: a mosaic whose
        corners were never taken, a turned or shifted image (see :func:`find_padding`).

        Parameters
        ----------
        pixels : ndarray, shape (h, w), or (h, w, 3 | 4)
            What :meth:`read` returned.
        channel : int or None
            Their channel.
        padding : bool
            Whether padding is looked for, which samples the image as :meth:`contrast` does.

        Raises
        ------
        ImageError
            If the image can't be read.
        """
        gaps: list[npt.NDArray[np.bool_]] = []
        if pixels.size and pixels.dtype.kind == "f" and np.isnan(np.max(pixels)):
            unknown = np.isnan(pixels)
            gaps.append(unknown.any(-1) if self.axes.rgb else unknown)
        if padding and not self.axes.rgb:
            self.contrast(channel)
            value = self._padding.get(channel)
            if value is not None:
                gaps.append(np.asarray(pixels == value))
        if not any(part.any() for part in gaps):
            return pixels
        filled = np.array(pixels)
        filled[np.logical_or.reduce(gaps)] = self._typical_value(channel)
        return filled

    def _sample_parts(
        self, channel: int | None, planes: npt.NDArray[np.int_], broken: list[ImageError]
    ) -> Iterator[npt.NDArray[np.generic]]:
        """Yield each part that can be read, of a masked array the pixels that are not masked.

        Why others can't goes to ``broken``.
        """
        windows = sample_windows(self.plane_shape, len(planes))
        for flat in planes:
            leading = tuple(int(index) for index in np.unravel_index(flat, self.leading_shape))
            for window in windows:
                try:
                    pixels = self._part(PlaneRef(leading, channel), window)
                except ImageError as error:
                    # A broken plane costs itself: the others have a contrast all the same.
                    broken.append(error)
                    continue
                if isinstance(pixels, np.ma.MaskedArray):
                    yield pixels.data[~self._find_masked(pixels)]
                else:
                    yield pixels

    def _find_masked(self, pixels: np.ma.MaskedArray[Any, Any]) -> npt.NDArray[np.bool_]:
        """Return which pixels are masked, shape (h, w); of RGB those with a masked colour."""
        hidden: npt.NDArray[np.bool_] = np.ma.getmaskarray(pixels)  # type: ignore[no-untyped-call]
        return np.asarray(hidden.any(-1)) if self.axes.rgb else hidden


@contextmanager
def map_read_errors(message: str, hint: str) -> Iterator[None]:
    """Make one sentence of whatever a foreign reader raises.

    Arrays of zarr, dask, h5py, tifffile and others read files, and dask runs any function: what
    they raise on damaged bytes is listed nowhere. So around them, and around nothing else, every
    error is one of reading.

    Parameters
    ----------
    message : str
        How the sentence begins; what the reader says follows.
    hint : str
        What the user can do about it.

    Raises
    ------
    ImageError
        For any error but our own.
    """
    try:
        yield
    except Exception as exc:
        # dask, zarr and newer Pythons keep frames in circles, and these would keep the file open.
        clear_frames(exc.__traceback__)
        exc.__traceback__ = None
        if isinstance(exc, Sam3AssistantError):
            raise
        why = hide_secrets(" ".join(str(exc).split()).rstrip(".")) or type(exc).__name__
        if isinstance(exc, MemoryError):
            why = f"the memory is full ({why})"
        if "imagecodecs" in why:
            hint = "It is compressed in a way that needs: pip install --upgrade imagecodecs"
        short = why if len(why) <= _LONGEST else f"{why[:_LONGEST]}..."
        raise ImageError(f"{hide_secrets(message)}: {short}.", hint) from exc


def level_zero(data: LazyArray | Sequence[LazyArray]) -> LazyArray:
    """Return the array of an image, or the largest level of a multiscale image.

    Parameters
    ----------
    data : array-like, or sequence of them
        An array, nested lists of numbers, or the levels of a multiscale image, largest first.

    Raises
    ------
    ImageError
        If it is a sequence of arrays that are no levels of one image.
    """
    if isinstance(data, Sequence) and len(data) > 0 and hasattr(data[0], "shape"):
        sizes = [math.prod(level.shape) for level in data]
        if any(large <= small for large, small in itertools.pairwise(sizes)):
            raise ImageError(
                f"A list of {len(data)} arrays is taken as one image at decreasing sizes, "
                f"and these have the shapes {[tuple(level.shape) for level in data]}.",
                "Stack planes into one array with np.stack.",
            )
        data = data[0]
    if not (hasattr(data, "shape") and hasattr(data, "dtype")):
        try:
            data = np.asarray(data)
        except (ValueError, TypeError) as exc:
            raise ImageError(
                f"This is not an array of pixels ({exc}).", "Give an array with rows and columns."
            ) from exc
    array = cast("LazyArray", data)
    if not all(math.isfinite(size) for size in array.shape):
        raise ImageError(
            f"An image of the shape {array.shape} does not know how long its axes are.",
            "Compute its sizes first: of dask with image.compute_chunk_sizes().",
        )
    return array


PER_MILLE = 1
"""Share of the values that is left out at each end: the percentiles 0.1 and 99.9."""
BLOCK = 256
MAX_BLOCKS = 64
"""At most this many blocks of BLOCK x BLOCK pixels are sampled of an image."""


def sample_windows(shape: tuple[int, int], planes: int) -> list[Region]:
    """Return the parts of each plane to sample, so that all planes keep to the limit.

    Parameters
    ----------
    shape : tuple of int
        Height and width of a plane in pixels.
    planes : int
        Number of planes that are sampled.

    Returns
    -------
    list of Region
        The whole plane where it is small; else an even grid of blocks.
    """
    side = max(1, math.isqrt(MAX_BLOCKS // planes))
    rows, columns = (_spread_blocks(size, side) for size in shape)
    return [Region(y0, x0, y1, x1) for y0, y1 in rows for x0, x1 in columns]


def _spread_blocks(size: int, count: int) -> list[tuple[int, int]]:
    """Return ``count`` blocks at even distances along an axis, or the axis if they fill it."""
    if size <= count * BLOCK:
        return [(0, size)]
    # Centred in equal parts: blocks at the borders would see mostly background.
    starts = [(2 * index + 1) * size // (2 * count) - BLOCK // 2 for index in range(count)]
    return [(start, start + BLOCK) for start in starts]


def finite_range(
    lows: npt.NDArray[np.generic], highs: npt.NDArray[np.generic]
) -> tuple[float, float]:
    """Return the percentile range of the finite values.

    Parameters
    ----------
    lows, highs : ndarray, shape (N,)
        Darkest and brightest value of each pixel; the same for grey images.

    Returns
    -------
    tuple of float
        ``(low, high)``, finite, ``low < high``. Without finite values (0, 1).
    """
    lows, highs = (_finite(values) for values in (lows, highs))
    if lows.size == 0 or highs.size == 0:
        return (0.0, 1.0)
    # Between two ranks the inner one is taken, so that a single outlier never counts, however
    # small the image is; interpolation would let it in below 1000 pixels.
    left_out = -(-(lows.size - 1) * PER_MILLE // 1000)
    low = float(np.partition(lows, left_out)[left_out])
    left_out = -(-(highs.size - 1) * PER_MILLE // 1000)
    high = float(np.partition(highs, -1 - left_out)[-1 - left_out])
    if low < high:
        return (low, high)
    low, high = float(lows.min()), float(highs.max())
    if low < high:
        return (low, high)
    return (low, max(low + 1.0, math.nextafter(low, math.inf)))


def _in_a_row(part: npt.NDArray[np.generic], *, colours: bool) -> npt.NDArray[np.generic]:
    """Return the pixels of a part, shape (h, w) or (N,), and of colours one axis more."""
    return part.reshape(-1, part.shape[-1]) if colours else part.reshape(-1)


def _finite(values: npt.NDArray[np.generic]) -> npt.NDArray[np.generic]:
    return values[np.isfinite(values)] if values.dtype.kind == "f" else values


@dataclass(frozen=True, slots=True)
class PixelSize:
    """How large a pixel of a plane is.

    Parameters
    ----------
    height, width : float
        Length of the step from a pixel to the one below it, and to the one on its right.
    unit : str
        What they count in, such as ``micrometer``; empty where that is not known.
    sine : float
        Sine of the angle between the two steps: 1 unless the image is sheared.
    """

    height: float = 1.0
    width: float = 1.0
    unit: str = ""
    sine: float = 1.0

    @classmethod
    def of_axes(cls, axes: Axes) -> PixelSize:
        """Return the size of a pixel of rows and columns, as far as there is one unit for both."""
        lengths = pixel_lengths(axes)
        if lengths is None:
            return cls()
        height, width = lengths
        return cls(height, width, axes[-1].unit)

    @property
    def area(self) -> float:
        """Area of a pixel, in squares of the unit."""
        return self.height * self.width * self.sine


UNKNOWN_PIXEL = PixelSize()
"""A pixel of which no size is known."""


@dataclass(frozen=True, slots=True, eq=False)
class RawPlane:
    """A plane of an image with all of its channels, and the size of a pixel.

    Parameters
    ----------
    source : ImageSource
        The image.
    leading : tuple of int
        Index on each leading axis.
    pixel : PixelSize
        How large a pixel is.
    beside : tuple of RawPlane
        Planes of other images, pixel on pixel, whose channels come after those of this one.
    """

    source: ImageSource
    leading: tuple[int, ...] = ()
    pixel: PixelSize = UNKNOWN_PIXEL
    beside: tuple[RawPlane, ...] = ()

    def read(self, region: Region) -> npt.NDArray[np.generic]:
        """Return the raw pixels of a region, shape (h, w, C); without alpha.

        Raises
        ------
        ImageError
            If the image can't be read.
        """
        if self.beside:
            own = replace(self, beside=())
            return np.concatenate([image.read(region) for image in (own, *self.beside)], -1)
        source = self.source
        if source.axes.rgb:
            return source.read(PlaneRef(self.leading), region)[..., :3]
        channels = range(source.channels) if source.has_channels else (None,)
        return np.stack(
            [source.read(PlaneRef(self.leading, channel), region) for channel in channels], -1
        )

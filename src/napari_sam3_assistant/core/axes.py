"""What the axes of an array are: name, length, size of a pixel, unit; channel and image plane."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from napari_sam3_assistant.errors import ImageError

if TYPE_CHECKING:
    from collections.abc import Sequence

FIND_OUT = -1
"""The channel axis that means: find out."""

_LABELS = {
    **dict.fromkeys(("c", "ch", "channel", "channels"), "c"),
    **dict.fromkeys(("s", "sample", "samples", "rgb", "rgba", "color", "colour"), "s"),
    **dict.fromkeys(("t", "time", "times", "timepoint", "timepoints", "frame", "frames"), "t"),
    **dict.fromkeys(("z", "depth", "slice", "slices", "zslice", "zslices", "pln"), "z"),
    **dict.fromkeys(("plane", "planes", "zplane", "zplanes", "section", "sections"), "z"),
    **dict.fromkeys(("y", "row", "rows"), "y"),
    **dict.fromkeys(("x", "col", "cols", "column", "columns"), "x"),
}
"""As programs and people call them, in small letters and in one word."""
_RGB_SIZES = (3, 4)


def explain_place(axes: Axes, *, backwards: bool = False) -> str:
    """Return what sizes and first pixels can't say of where an array lies, for the user.

    Parameters
    ----------
    axes : tuple of Axis
        The axes of the array.
    backwards : bool
        Whether a file knows axes that run backwards.

    Returns
    -------
    str
        Why a file gives no size or no position; empty where it says all that is known.
    """
    turned = ", ".join(axis.name or "?" for axis in axes if not axis.aligned)
    flipped = ", ".join(axis.name or "?" for axis in axes if axis.scale < 0 and not backwards)
    notes = []
    if turned:
        notes.append(
            f"The layer is rotated, sheared, or has its axes exchanged in napari (along {turned}): "
            "the file can't say how large its pixels are there and where it lies, so it counts "
            "pixels and gives no position."
        )
    if flipped:
        notes.append(
            f"The layer is flipped in napari (along {flipped}): the file can't say that, so it "
            "gives no position."
        )
    return " ".join(notes)


def axis_kind(name: str) -> str:
    """Return what an axis is by its name: one of ``t c s z y x``, empty if that is not known."""
    return _LABELS.get(re.sub(r"[\s_-]+", "", str(name)).lower(), "")


@dataclass(frozen=True, slots=True)
class Axis:
    """One axis of an image or of labels, and where its pixels lie in the world.

    A tuple of them goes from the reader of an image to the writer of its labels; who transposes
    or selects axes of an array does the same with the tuple.

    Parameters
    ----------
    name : str
        Such as ``z``; empty where it is not known.
    length : int
        Number of pixels.
    scale : float
        Length of a pixel, in ``unit``; negative where the axis runs backwards. 1 where it is
        not known.
    unit : str
        What ``scale`` and ``origin`` count in, by its name in OME-Zarr, such as ``micrometer``;
        empty where it is not known.
    origin : float
        Where the centre of the first pixel lies, in ``unit``.
    aligned : bool
        Whether its pixels lie one behind the other along one axis of the world. Otherwise the
        image is turned, sheared, or its axes are exchanged, and ``scale``, ``unit`` and
        ``origin`` say nothing.

    Raises
    ------
    ImageError
        If a number can't be used.
    """

    name: str
    length: int
    scale: float = 1.0
    unit: str = ""
    origin: float = 0.0
    aligned: bool = True

    def __post_init__(self) -> None:
        if not (math.isfinite(self.scale) and self.scale != 0):
            raise ImageError(
                f"A pixel can't have the size {self.scale} along the axis '{self.name}'.",
                "Give a number above 0.",
            )
        if not math.isfinite(self.origin):
            raise ImageError(
                f"The image can't begin at {self.origin} on the axis '{self.name}'.",
                "Give a number.",
            )


Axes = tuple[Axis, ...]
"""The axes of an array, in the order of the array."""


def make_axes(
    shape: Sequence[int],
    *,
    names: Sequence[str] | None = None,
    scale: Sequence[float] | None = None,
    units: Sequence[str] | str = "",
    origin: Sequence[float] | None = None,
) -> Axes:
    """Return the axes of an array; what is not given is filled in.

    Parameters
    ----------
    shape : sequence of int
        Length of each axis.
    names : sequence of str, optional
        By default ``y`` and ``x`` for the last two, and none for the others.
    scale : sequence of float, optional
        Length of a pixel along each axis; by default 1.
    units : str or sequence of str
        What the scale counts in, by any of its names; a single one is that of all axes but time
        and channel.
    origin : sequence of float, optional
        Where the centre of the first pixel lies; by default 0.

    Raises
    ------
    ImageError
        If they don't fit the shape, or a number can't be used.
    """
    ndim = len(shape)
    named = ("",) * (ndim - 2) + ("y", "x")[-ndim:] if names is None else tuple(names)
    if isinstance(units, str):
        units = [units if axis_kind(name) not in ("t", "c", "s") else "" for name in named]
    by_field = {
        "names": named,
        "scale": (1.0,) * ndim if scale is None else tuple(map(float, scale)),
        "units": tuple(units),
        "origin": (0.0,) * ndim if origin is None else tuple(map(float, origin)),
    }
    for field, values in by_field.items():
        if len(values) != ndim:
            raise ImageError(
                f"An array of the shape {tuple(shape)} has {ndim} axes, and {field} has "
                f"{len(values)} values.",
                "Give one for each axis.",
            )
    axes = []
    columns = zip(named, shape, *list(by_field.values())[1:], strict=True)
    for name, length, size, unit_text, first in columns:
        factor, unit = parse_unit(unit_text)
        axes.append(Axis(str(name), int(length), size * factor, unit, first * factor))
    return tuple(axes)


def order_as(axes: Axes, others: Axes) -> tuple[int, ...]:
    """Return the numbers of axes in the order that others have those of the same name in.

    A file may keep another order than the image that its labels are of. Axes that only one side
    has, or whose names say nothing, stay where they are; where all fit but those, rows and columns
    among them, they take the places that are left, in their order.
    """
    kinds = [axis_kind(axis.name) for axis in axes]
    other_kinds = [axis_kind(axis.name) for axis in others]
    common = [
        kind for kind in other_kinds if kind and kinds.count(kind) == other_kinds.count(kind) == 1
    ]
    if len(axes) == len(others) and {"y", "x"} <= set(common):
        unmatched = iter(number for number, kind in enumerate(kinds) if kind not in common)
        return tuple(
            kinds.index(kind) if kind in common else next(unmatched) for kind in other_kinds
        )
    order = list(range(len(axes)))
    for place, kind in zip(sorted(map(kinds.index, common)), common, strict=True):
        order[place] = kinds.index(kind)
    return tuple(order)


@dataclass(frozen=True, slots=True)
class ImageAxes:
    """The axes of an image array by their meaning.

    Parameters
    ----------
    ndim : int
        Number of axes.
    channel : int or None
        Number of the channel axis, from 0.
    rgb : bool
        Whether the channel axis is the last one and holds RGB or RGBA.
    reason : str
        How this was found, in plain words for the user.
    plane_axes : tuple of int or None
        Numbers of the row and the column axis; None for the last two that are not the channel.
    guessed : bool
        Whether only the size of the last axis says that it holds RGB or channels.
    """

    ndim: int
    channel: int | None
    rgb: bool
    reason: str
    plane_axes: tuple[int, int] | None = None
    guessed: bool = False

    @property
    def _plane(self) -> tuple[int, int]:
        if self.plane_axes is not None:
            return self.plane_axes
        rest = [axis for axis in range(self.ndim) if axis != self.channel]
        return (rest[-2], rest[-1])

    @property
    def y(self) -> int:
        """Number of the row axis."""
        return self._plane[0]

    @property
    def x(self) -> int:
        """Number of the column axis."""
        return self._plane[1]

    @property
    def leading(self) -> tuple[int, ...]:
        """Numbers of the other axes, in order: neither plane nor channel."""
        taken = {*self._plane, self.channel}
        return tuple(axis for axis in range(self.ndim) if axis not in taken)


def guess_axes(
    shape: Sequence[int],
    *,
    channel_axis: int | None = None,
    rgb: bool | None = None,
    axis_labels: Sequence[str] | None = None,
    plane_axes: tuple[int, int] | None = None,
) -> ImageAxes:
    """Find out what the axes of an image mean.

    What is said explicitly comes first: ``channel_axis``, then ``rgb``, then ``axis_labels``,
    and last the guess that a last axis of size 3 or 4 holds RGB or RGBA, and one of 2 to 8 that
    is far shorter than the two before it channels.

    An explicit last channel axis (by number or label) of size 3 is taken as RGB and one of
    size 4 as four channels, as dropping one of four microscopy channels would lose data;
    ``rgb`` decides otherwise.

    Parameters
    ----------
    shape : sequence of int
        Shape of the array.
    channel_axis : int or None
        Number of the channel axis from 0; -1 or None to find out.
    rgb : bool or None
        What napari's ``layer.rgb`` says. False: the last axis is not colour, though an axis
        labelled ``c`` is still a channel axis. None: not known.
    axis_labels : sequence of str or None
        Names of the axes. Unknown names (such as napari's ``axis -1``) say nothing. With
        ``rgb=True`` the name of the colour axis may be left out, as napari does.
    plane_axes : tuple of int or None
        The row and the column axis that the viewer shows, where that is known.

    Returns
    -------
    ImageAxes
        The axes. The plane of labelled axes keeps the order of the array, rows first.

    Raises
    ------
    ImageError
        If there is no plane, an axis is empty, or the arguments don't fit the shape.
    """
    shape = tuple(int(size) for size in shape)
    if len(shape) < 2:
        raise ImageError(
            f"An image has at least two axes, this one has the shape {shape}.",
            "Give an image with rows and columns.",
        )
    if 0 in shape:
        raise ImageError(
            f"The image of shape {shape} is empty.", "Choose an image that has pixels."
        )
    labels = _known_labels(axis_labels, len(shape), rgb)
    axes = _find_channel(shape, channel_axis, rgb, labels)
    bare = axes.channel is None and not any(labels) and plane_axes is None
    if bare and (ends_in_channels(shape) or _ends_in_one(shape)):
        reason = f"channels, guessed from the last axis of size {shape[-1]}"
        axes = ImageAxes(len(shape), len(shape) - 1, False, reason, guessed=True)
    return replace(axes, plane_axes=_find_plane(axes, labels, plane_axes))


def _known_labels(names: Sequence[str] | None, ndim: int, rgb: bool | None) -> tuple[str, ...]:
    """Return one of ``c s t z y x`` for each axis, empty where the name says nothing."""
    if names is None:
        return ("",) * ndim
    labels = tuple(map(axis_kind, names))
    if rgb and len(labels) == ndim - 1:
        labels += ("s",)
    if len(labels) != ndim:
        raise ImageError(
            f"There are {len(labels)} axis labels for an image of {ndim} axes.",
            "Give one label for each axis, such as ('z', 'y', 'x').",
        )
    return labels


def _find_channel(
    shape: tuple[int, ...], channel_axis: int | None, rgb: bool | None, labels: tuple[str, ...]
) -> ImageAxes:
    """Return the axes with the channel axis found, the plane not yet."""
    ndim = len(shape)
    last = ndim - 1
    if channel_axis is not None and channel_axis != FIND_OUT:
        _check_channel_axis(shape, channel_axis, rgb)
        colour = _is_colour(shape, channel_axis, rgb)
        return ImageAxes(ndim, channel_axis, colour, f"channel axis {channel_axis}, as set")
    if rgb:
        if last < 2 or shape[last] not in _RGB_SIZES:
            raise ImageError(
                f"The image of shape {shape} is not RGB: its last axis has not size 3 or 4.",
                "Read it as a grey image.",
            )
        return ImageAxes(ndim, last, True, "RGB, as the image says")
    labelled = _labelled_channel(shape, labels)
    if labelled is not None:
        # A colour axis by name ("s", "rgb") of size 4 is RGBA; a channel axis is not.
        named_colour = rgb is None and labels[labelled] == "s"
        colour = _is_colour(shape, labelled, named_colour or rgb)
        return ImageAxes(ndim, labelled, colour, f"channel axis {labelled}, by its label")
    if rgb is None and not labels[last] and _looks_rgb(shape):
        reason = f"RGB, guessed from the last axis of size {shape[last]}"
        return ImageAxes(ndim, last, True, reason, guessed=True)
    return ImageAxes(ndim, None, False, "no channel axis")


def _check_channel_axis(shape: tuple[int, ...], axis: int, rgb: bool | None) -> None:
    remedy = "Set the channel axis to -1 to find it out."
    if not 0 <= axis < len(shape):
        raise ImageError(
            f"There is no channel axis {axis} in the image of shape {shape}: "
            f"its axes are 0 to {len(shape) - 1}.",
            remedy,
        )
    if len(shape) < 3:
        raise ImageError(
            f"The image of shape {shape} has no axis left for channels besides rows and columns.",
            remedy,
        )
    if rgb and axis != len(shape) - 1:
        raise ImageError(
            f"The last axis of the image of shape {shape} holds RGB, "
            f"so axis {axis} can't be the channel axis.",
            remedy,
        )


def _is_colour(shape: tuple[int, ...], axis: int, rgb: bool | None) -> bool:
    """Return whether a known channel axis holds RGB or RGBA."""
    if axis != len(shape) - 1 or rgb is False:
        return False
    return shape[axis] == 3 or (bool(rgb) and shape[axis] == 4)


def _labelled_channel(shape: tuple[int, ...], labels: tuple[str, ...]) -> int | None:
    """Return the axis that is labelled as channel; colour samples come before channels."""
    if len(shape) < 3:
        return None
    for name in ("s", "c"):
        if labels.count(name) == 1:
            return labels.index(name)
    return None


def _looks_rgb(shape: tuple[int, ...]) -> bool:
    """Return whether a last axis of size 3 or 4 is more likely colour than columns."""
    if len(shape) < 3 or shape[-1] not in _RGB_SIZES:
        return False
    rows, columns = shape[-3], shape[-2]
    # (100, 3, 3) is rather a stack of 100 tiny planes than an RGB image 3 pixels wide.
    return columns > shape[-1] or rows <= columns


def ends_in_channels(shape: Sequence[int]) -> bool:
    """Return whether the last of three or more axes is far too short to be the columns of planes.

    So it is in arrays that programs write without names: rows, columns, then two to eight channels.
    """
    return len(shape) > 2 and 2 <= shape[-1] <= 8 and min(shape[-3:-1]) >= 4 * shape[-1]


def _ends_in_one(shape: Sequence[int]) -> bool:
    """Return whether planes would be single columns: an axis of one channel, as of StarDist."""
    return len(shape) > 2 and shape[-1] == 1 and min(shape[-3:-1]) > 1


def _find_plane(
    axes: ImageAxes, labels: tuple[str, ...], shown: tuple[int, int] | None
) -> tuple[int, int] | None:
    """Return the row and the column axis where they are shown or labelled, else None."""
    if shown is not None:
        y, x = shown
        if y == x or axes.channel in shown or not (0 <= y < axes.ndim and 0 <= x < axes.ndim):
            raise ImageError(
                f"The axes {shown} are not an image plane of {axes.ndim} axes "
                f"with channel axis {axes.channel}.",
                "Choose two axes that are not the channel axis: napari's buttons below the canvas "
                "roll the axes on show.",
            )
        return (y, x)
    if labels.count("y") == 1 and labels.count("x") == 1:
        first, second = sorted((labels.index("y"), labels.index("x")))
        if axes.channel not in (first, second):
            return (first, second)
    return None


_PREFIXES = {
    "yotta": ("Y", 24), "zetta": ("Z", 21), "exa": ("E", 18), "peta": ("P", 15),
    "tera": ("T", 12), "giga": ("G", 9), "mega": ("M", 6), "kilo": ("k", 3), "hecto": ("h", 2),
    "": ("", 0), "deci": ("d", -1), "centi": ("c", -2), "milli": ("m", -3), "micro": ("µ", -6),
    "nano": ("n", -9), "pico": ("p", -12), "femto": ("f", -15), "atto": ("a", -18),
    "zepto": ("z", -21), "yocto": ("y", -24),
}  # fmt: skip

# Name: the symbol in OME-XML, and how many meters or seconds it is.
_LENGTHS = {
    **{f"{name}meter": (f"{sign}m", 10.0**power) for name, (sign, power) in _PREFIXES.items()},
    "angstrom": ("Å", 1e-10),
    "inch": ("in", 0.0254),
    "foot": ("ft", 0.3048),
    "yard": ("yd", 0.9144),
    "mile": ("mi", 1609.344),
    "parsec": ("pc", 3.0856775814913673e16),
}
_TIMES = {
    **{f"{name}second": (f"{sign}s", 10.0**power) for name, (sign, power) in _PREFIXES.items()},
    "minute": ("min", 60.0),
    "hour": ("h", 3600.0),
    "day": ("d", 86400.0),
}
_SYMBOLS = {symbol: name for name, (symbol, _) in (_LENGTHS | _TIMES).items()}
_OTHERS = {
    **dict.fromkeys(("\u03bcm", "um", "micron", r"\u00B5m"), "micrometer"),  # the Greek mu, too
    **dict.fromkeys(("\u03bcs", "us", "usec"), "microsecond"),
    **dict.fromkeys(("A", "\u212b"), "angstrom"),
    "msec": "millisecond",
    "sec": "second",
    "hr": "hour",
    "feet": "foot",
}
_NONE = ("", "pixel", "px", "reference frame", "none", "null")
# What OME-XML knows, and OME-Zarr does not.
_CONVERTED = {
    "dam": (10.0, "meter"),
    "thou": (25.4, "micrometer"),
    "li": (25.4e3 / 12, "micrometer"),
    "pt": (25.4e3 / 72, "micrometer"),
    "ua": (149597870700.0, "meter"),
    "ly": (9460730472580800.0, "meter"),
}


def parse_unit(unit: str) -> tuple[float, str]:
    """Return how many of which unit another program's unit is.

    Parameters
    ----------
    unit : str
        A symbol or a name, such as ``µm``, ``um``, ``micrometers`` or ``thou``.

    Returns
    -------
    tuple of float and str
        A factor, 1 for all but a few, and the name in OME-Zarr. Nothing (``""``) for pixels;
        what is not known stays as it is.
    """
    text = unit.strip()
    if text in _CONVERTED:
        return _CONVERTED[text]
    for name in (text, text.lower().replace("metre", "meter")):
        for spelled in (name, name.removesuffix("s"), name.removesuffix("es")):
            if spelled in _NONE:
                return (1.0, "")
            if spelled in _LENGTHS or spelled in _TIMES:
                return (1.0, spelled)
            # "s" alone is the second, and "ms" no plural of the metre.
            known = _SYMBOLS.get(spelled) or _OTHERS.get(spelled)
            if known and (spelled == name or len(spelled) > 2):
                return (1.0, known)
    return (1.0, text)


def ome_symbol(unit: str, *, time: bool = False) -> str:
    """Return the symbol in OME-XML of a unit of length, or of time; empty if it has none."""
    return (_TIMES if time else _LENGTHS).get(parse_unit(unit)[1], ("", 0.0))[0]


def convert_unit(value: float, unit: str, target: str) -> float | None:
    """Return a value in another unit; None if they measure different things.

    Parameters
    ----------
    value : float
        Counted in ``unit``.
    unit, target : str
        Names or symbols; ``""`` converts to ``""`` only.
    """
    (factor, unit), (wanted_factor, target) = parse_unit(unit), parse_unit(target)
    if unit == target:
        return value * (factor / wanted_factor)
    for table in (_LENGTHS, _TIMES):
        if unit in table and target in table:
            return value * factor * table[unit][1] / (table[target][1] * wanted_factor)
    return None


def pixel_lengths(axes: Axes) -> tuple[float, ...] | None:
    """Return how long a pixel is along each axis, whichever way that runs.

    Parameters
    ----------
    axes : tuple of Axis
        At least one.

    Returns
    -------
    tuple of float or None
        In the unit of the last axis; None if they measure different things.
    """
    lengths = []
    for axis in axes:
        length = convert_unit(abs(axis.scale), axis.unit, axes[-1].unit)
        if length is None:
            return None
        # A micrometre is 999.9999999999999 nanometres.
        lengths.append(length if axis.unit == axes[-1].unit else float(f"{length:.12g}"))
    return tuple(lengths)

"""What the model was shown, as JSON: images, planes, contrast and colours."""

from __future__ import annotations

import os
from pathlib import Path, PureWindowsPath
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_sam3_assistant.core.axes import ImageAxes
from napari_sam3_assistant.core.images import ImageSource, PlaneRef
from napari_sam3_assistant.core.rgb import Display
from napari_sam3_assistant.core.views import ImageView, ViewChannel
from napari_sam3_assistant.errors import ImageError
from napari_sam3_assistant.io.images import read_image
from napari_sam3_assistant.io.json_values import flag, listed, named, number, text, whole

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import numpy.typing as npt

    from napari_sam3_assistant.core.images import LazyArray


def view_to_json(
    view: ImageView, paths: Mapping[int, Path], folder: Path, series: int | None = None
) -> list[dict[str, Any]]:
    """Return the channels of a view as values that JSON holds.

    Parameters
    ----------
    view : ImageView
        What the model was shown.
    paths : mapping of int to Path
        The file of each image, by the token of its source; images without a file are missing.
    folder : Path
        The folder in which the JSON will lie: paths are also noted as seen from there, so that
        the images and the labels can be moved together.
    series : int or None
        Which image of the file; None where that is not known.
    """
    return [
        {**_channel_to_json(channel, paths.get(channel.source.token), folder), "series": series}
        for channel in view.channels
    ]


def _channel_to_json(channel: ViewChannel, path: Path | None, folder: Path) -> dict[str, Any]:
    axes, display = channel.source.axes, channel.display
    colours = None if display.colormap is None else np.asarray(display.colormap, float).tolist()
    return {
        "path": None if path is None else str(path.absolute()),
        "beside": None if path is None else _relative(path, folder),
        "shape": list(channel.source.shape),
        "axes": {
            "channel": axes.channel,
            "rgb": axes.rgb,
            "plane_axes": None if axes.plane_axes is None else list(axes.plane_axes),
            "reason": axes.reason,
        },
        "plane": {"leading": list(channel.plane.leading), "channel": channel.plane.channel},
        "display": {
            "contrast": None if display.contrast is None else list(display.contrast),
            "gamma": display.gamma,
            "colormap": colours,
        },
    }


def _relative(path: Path, folder: Path) -> str | None:
    try:
        return Path(os.path.relpath(path, folder)).as_posix()
    except ValueError:  # another drive of Windows
        return None


def view_from_json(
    channels: Sequence[Mapping[str, Any]], folder: Path, image: Path | None = None
) -> ImageView:
    """Return the view that :func:`view_to_json` described; reads the images.

    Parameters
    ----------
    channels : sequence of mapping
        The description.
    folder : Path
        The folder in which the JSON lies.
    image : Path or None
        A file to take in place of all that are named.

    Raises
    ------
    ImageError
        If an image is gone, has changed its shape, or is named on another computer's share.
    KeyError, TypeError, ValueError
        If it is no such description.
    """
    sources: dict[Path, ImageSource] = {}
    made = []
    for found in channels:
        path = image or _find(found, folder)
        if path not in sources:
            shape = [whole(size) for size in listed(found["shape"])]
            data = _read(path, _whole_or_none(found.get("series")), tuple(shape))
            if list(data.shape) != shape:
                raise ImageError(
                    f"{path} has the shape {tuple(data.shape)}; the labels were made from an image "
                    f"of shape {tuple(shape)}.",
                    "Give the image that the labels were made from.",
                )
            sources[path] = ImageSource(data, _axes_from_json(named(found["axes"]), shape))
        plane, shown = named(found["plane"]), named(found["display"])
        contrast, colours = shown["contrast"], shown["colormap"]
        made.append(
            ViewChannel(
                sources[path],
                PlaneRef(
                    tuple(map(whole, listed(plane["leading"]))), _whole_or_none(plane["channel"])
                ),
                Display(
                    None if contrast is None else _range(contrast),
                    number(shown["gamma"]),
                    None if colours is None else _colours(colours),
                ),
            )
        )
    return ImageView(tuple(made))


def _read(path: Path, series: int | None, shape: tuple[int, ...]) -> LazyArray:
    """Return an image of a file: the one that was named, or else the one of that shape."""
    loaded = read_image(path, series)
    if series is None and loaded.data.shape != shape:
        # napari's own readers take the first image of a file.
        alike = [number for number, one in enumerate(loaded.choices) if one.shape == shape]
        loaded = read_image(path, alike[0]) if alike else loaded
    return loaded.data


def _axes_from_json(found: Mapping[str, Any], shape: Sequence[int]) -> ImageAxes:
    """Return the axes of an image; ValueError where they don't fit its shape."""
    channel, plane_axes = _whole_or_none(found["channel"]), found["plane_axes"]
    axes = ImageAxes(
        len(shape),
        channel,
        flag(found["rgb"]),
        text(found["reason"]),
        None if plane_axes is None else _pair(plane_axes),
    )
    fits = len(shape) >= 2 + (channel is not None)
    if fits:
        taken = [axes.y, axes.x, *([] if channel is None else [channel])]
        fits = len(set(taken)) == len(taken) and set(taken) <= set(range(len(shape)))
        fits = fits and (not axes.rgb or (channel == len(shape) - 1 and shape[-1] in (3, 4)))
    if not fits:
        raise ValueError("its axes don't fit its shape")
    return axes


def _whole_or_none(value: object) -> int | None:
    return None if value is None else whole(value)


def _pair(value: object) -> tuple[int, int]:
    first, second = map(whole, listed(value, 2))
    return first, second


def _range(value: object) -> tuple[float, float]:
    low, high = map(number, listed(value, 2))
    return low, high


def _colours(value: object) -> npt.NDArray[np.float64]:
    return np.array([[number(part) for part in listed(colour, 3)] for colour in listed(value)])


def _find(found: Mapping[str, Any], folder: Path) -> Path:
    told = [text(found[key]) for key in ("path", "beside") if found[key]]
    if not told:
        raise ImageError(
            "The labels were made from an image that has no file.",
            "Save the image, and give its path.",
        )
    paths = [folder / one for one in told if not is_on_a_share(one, folder)]
    for path in paths:
        if os.path.exists(path):
            return path
    if not paths:
        raise ImageError(
            f"The note names the image {told[0]} on another computer, which is not opened unasked.",
            "If you trust it, give the image by its path.",
        )
    raise ImageError(f"The image {paths[0]} is gone.", "Give the image by its new path.")


def is_on_a_share(path: str, folder: Path) -> bool:
    """Return whether a path that a note names leads to another computer than its own.

    Windows logs on to each computer that a path names with two slashes in front, and shows it who
    asks: a stranger's note must not make it do so.

    Parameters
    ----------
    path : str
        What the note says.
    folder : Path
        The folder in which it lies.
    """
    if len(path) < 2 or path[:2].strip("/\\"):
        return False
    share, own = PureWindowsPath(path).drive, PureWindowsPath(folder.absolute()).drive
    return not share or share.casefold() != own.casefold()

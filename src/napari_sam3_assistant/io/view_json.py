"""What the model was shown, as JSON: images, planes, contrast and colours."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_sam3_assistant.core.axes import ImageAxes
from napari_sam3_assistant.core.images import ImageSource, PlaneRef
from napari_sam3_assistant.core.rgb import Display
from napari_sam3_assistant.core.views import ImageView, ViewChannel
from napari_sam3_assistant.errors import ImageError
from napari_sam3_assistant.io.images import read_image

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


def view_to_json(view: ImageView, paths: Mapping[int, Path], folder: Path) -> list[dict[str, Any]]:
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
    """
    return [
        _channel_to_json(channel, paths.get(channel.source.token), folder)
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
        If an image is gone or has changed its shape.
    KeyError, TypeError, ValueError
        If it is no such description.
    """
    sources: dict[Path, ImageSource] = {}
    made = []
    for found in channels:
        path = image or _find(found, folder)
        if path not in sources:
            data = read_image(path).data
            if list(data.shape) != list(found["shape"]):
                raise ImageError(
                    f"{path} has the shape {tuple(data.shape)}; the labels were made from an image "
                    f"of shape {tuple(found['shape'])}.",
                    "Give the image that the labels were made from.",
                )
            axes = found["axes"]
            plane_axes = axes["plane_axes"]
            sources[path] = ImageSource(
                data,
                ImageAxes(
                    len(data.shape),
                    axes["channel"],
                    bool(axes["rgb"]),
                    str(axes["reason"]),
                    None if plane_axes is None else (int(plane_axes[0]), int(plane_axes[1])),
                ),
            )
        plane, shown = found["plane"], found["display"]
        contrast, colours = shown["contrast"], shown["colormap"]
        made.append(
            ViewChannel(
                sources[path],
                PlaneRef(tuple(int(index) for index in plane["leading"]), plane["channel"]),
                Display(
                    None if contrast is None else (float(contrast[0]), float(contrast[1])),
                    float(shown["gamma"]),
                    None if colours is None else np.array(colours, float),
                ),
            )
        )
    return ImageView(tuple(made))


def _find(found: Mapping[str, Any], folder: Path) -> Path:
    named = [Path(found["path"])] if found["path"] else []
    if found["beside"]:
        named.append(folder / found["beside"])
    for path in named:
        if path.exists():
            return path
    if named:
        raise ImageError(f"The image {named[0]} is gone.", "Give the image by its new path.")
    raise ImageError(
        "The labels were made from an image that has no file.", "Save the image, and give its path."
    )

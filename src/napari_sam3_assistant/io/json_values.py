"""Axes, prompts and views as values that JSON holds, and back."""

from __future__ import annotations

import base64
import os
import zlib
from contextlib import suppress
from dataclasses import asdict, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_sam3_assistant.core.axes import Axis, ImageAxes
from napari_sam3_assistant.core.display import Display, ImageView, ViewChannel
from napari_sam3_assistant.core.images import ImageSource, PlaneRef
from napari_sam3_assistant.core.prompts import (
    BoxPrompt,
    Everything,
    ExemplarPrompt,
    Joining,
    MaskPrompt,
    PointPrompt,
    PromptSet,
    Seeds,
)
from napari_sam3_assistant.core.regions import Region
from napari_sam3_assistant.errors import ImageError
from napari_sam3_assistant.io.images import list_series, read_image
from napari_sam3_assistant.io.untrusted import (
    as_dict,
    as_flag,
    as_list,
    as_number,
    as_text,
    as_whole,
    is_on_a_share,
)

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import numpy.typing as npt

    from napari_sam3_assistant.core.axes import Axes
    from napari_sam3_assistant.core.images import LazyArray


_MOST_PIXELS = 1 << 29
"""So many pixels the painted masks of a note may have together: they take a byte each."""


def axes_to_json(axes: Axes) -> dict[str, list[Any]]:
    """Return axes as values that JSON holds."""
    return {
        "names": [axis.name for axis in axes],
        "lengths": [axis.length for axis in axes],
        "scale": [axis.scale for axis in axes],
        "units": [axis.unit for axis in axes],
        "translate": [axis.origin for axis in axes],
        "aligned": [axis.aligned for axis in axes],
    }


def axes_from_json(entry: Mapping[str, Any]) -> Axes:
    """Return the axes of such values; KeyError, TypeError or ValueError if they are none."""
    columns = (
        map(as_text, as_list(entry["names"])),
        map(as_whole, as_list(entry["lengths"])),
        map(as_number, as_list(entry["scale"])),
        map(as_text, as_list(entry["units"])),
        map(as_number, as_list(entry["translate"])),
        map(as_flag, as_list(entry["aligned"])),
    )
    return tuple(Axis(*values) for values in zip(*columns, strict=True))


def prompts_to_json(prompts: PromptSet) -> dict[str, Any]:
    """Return prompts as values that JSON holds; boxes are ``[y0, x0, y1, x1]``.

    Parameters
    ----------
    prompts : PromptSet
        In pixels of the plane.
    """
    return {
        "points": [
            {
                "y": point.y,
                "x": point.x,
                "positive": point.positive,
                "object_id": point.object_id,
            }
            for point in prompts.points
        ],
        "boxes": [
            {"box": list(prompt.region.box), "object_id": prompt.object_id, **_drawn(prompt)}
            for prompt in prompts.boxes
        ],
        "exemplars": [
            {"box": list(prompt.region.box), "positive": prompt.positive, **_drawn(prompt)}
            for prompt in prompts.exemplars
        ],
        "masks": [
            {
                "box": list(prompt.region.box),
                "bits": _pack_mask(prompt.mask),
                "object_id": prompt.object_id,
                "as_painted": prompt.as_painted,
                "is_followed": prompt.is_followed,
            }
            for prompt in prompts.masks
        ],
        "text": prompts.text,
        **({} if prompts.everything is None else {"everything": asdict(prompts.everything)}),
    }


def prompts_from_json(entry: Mapping[str, Any]) -> PromptSet:
    """Return the prompts that :func:`prompts_to_json` wrote.

    Raises
    ------
    KeyError, TypeError, ValueError, zlib.error
        If it is no such mapping.
    """
    boxes = [as_dict(box) for box in as_list(entry["boxes"])]
    masks = [(as_dict(mask), region_from_json(mask["box"])) for mask in as_list(entry["masks"])]
    if sum(region.area for _, region in masks) > _MOST_PIXELS:
        raise ValueError("its painted masks are too large")
    return PromptSet(
        points=tuple(
            PointPrompt(
                as_number(point["y"]),
                as_number(point["x"]),
                as_flag(point["positive"]),
                _object(point["object_id"]),
            )
            for point in map(as_dict, as_list(entry["points"]))
        ),
        boxes=tuple(
            BoxPrompt(**_rectangle(box), object_id=_object(box["object_id"])) for box in boxes
        ),
        exemplars=tuple(
            ExemplarPrompt(**_rectangle(example), positive=as_flag(example["positive"]))
            for example in map(as_dict, as_list(entry["exemplars"]))
        ),
        masks=tuple(
            # Notes of earlier versions do not name the object, nor say how it is taken.
            MaskPrompt(
                _unpack_mask(mask["bits"], region),
                region,
                _object(mask.get("object_id")),
                as_flag(mask.get("as_painted", False)),
                as_flag(mask.get("is_followed", False)),
            )
            for mask, region in masks
        ),
        text=as_text(entry["text"]),
        everything=_everything(as_dict(entry["everything"])) if "everything" in entry else None,
    )


def _everything(entry: Mapping[str, Any]) -> Everything:
    """Return how everything was looked for."""
    numbers: dict[str, Any] = {
        field.name: (as_whole if isinstance(field.default, int) else as_number)(entry[field.name])
        for field in fields(Everything)
        if field.name not in ("seeds", "joining", "points")
        and (field.name != "polarity" or "polarity" in entry)  # which older notes don't say
    }
    points = entry["points"]
    if points is not None:
        pairs = [as_list(point, 2) for point in as_list(points)]
        points = tuple((as_number(y), as_number(x)) for y, x in pairs)
    return Everything(
        **numbers,
        seeds=Seeds(as_text(entry["seeds"])),
        joining=Joining(as_text(entry["joining"])),
        points=points,
    )


def region_from_json(box: object) -> Region:
    """Return a region of ``[y0, x0, y1, x1]``.

    Raises
    ------
    TypeError, ValueError
        If it is no such box, or an empty one.
    """
    y0, x0, y1, x1 = (as_whole(value) for value in as_list(box, 4))
    if not (y0 < y1 and x0 < x1):
        raise ValueError(f"the box {[y0, x0, y1, x1]} is empty")
    return Region(y0, x0, y1, x1)


def _drawn(prompt: BoxPrompt | ExemplarPrompt) -> dict[str, Any]:
    """Return where a box was drawn, if that is not the outline of its pixels."""
    return {} if prompt.drawn is None else {"drawn": list(prompt.drawn)}


def _rectangle(entry: Mapping[str, Any]) -> dict[str, Any]:
    """Return the pixels of a box and where it was drawn."""
    region = region_from_json(entry["box"])
    if "drawn" not in entry:
        return {"region": region}
    drawn = tuple(as_number(value) for value in as_list(entry["drawn"], 4))
    if any(abs(end - edge) > 1 for end, edge in zip(drawn, region.box, strict=True)):
        raise ValueError(f"the box {list(drawn)} is not that of {list(region.box)}")
    return {"region": region, "drawn": drawn}


def _object(id_: object) -> int | None:
    return None if id_ is None else as_whole(id_)


def _pack_mask(mask: npt.NDArray[np.bool_]) -> str:
    """Return the pixels of a mask, eight in a byte, compressed by zlib, in base 64."""
    return base64.b64encode(zlib.compress(np.packbits(mask).tobytes())).decode("ascii")


def _unpack_mask(bits: object, region: Region) -> npt.NDArray[np.bool_]:
    """Return the pixels of a mask; no more is unpacked than its region has."""
    size = -(-region.area // 8)
    unpacked = zlib.decompressobj().decompress(base64.b64decode(as_text(bits)), size + 1)
    if len(unpacked) != size:
        raise ValueError(f"a painted mask has not the size of its box, {region.shape}")
    pixels = np.unpackbits(np.frombuffer(unpacked, np.uint8), count=region.area)
    return pixels.reshape(region.shape).view(bool)


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
        Which image of the file; None for what the sources know of it.
    """
    return [
        {
            **_channel_to_json(channel, paths.get(channel.source.token), folder),
            "series": channel.source.series if series is None else series,
        }
        for channel in view.channels
    ]


def _channel_to_json(channel: ViewChannel, path: Path | None, folder: Path) -> dict[str, Any]:
    axes, display = channel.source.axes, channel.display
    colours = None if display.colormap is None else np.asarray(display.colormap, float).tolist()
    return {
        "path": None if path is None else str(path.absolute()),
        "beside": None if path is None else _relative_path(path, folder),
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
            "padding": display.padding,
        },
    }


def _relative_path(path: Path, folder: Path) -> str | None:
    try:
        return Path(os.path.relpath(path, folder)).as_posix()
    except ValueError:  # another drive of Windows
        return None


def view_from_json(
    channels: Sequence[Mapping[str, Any]], folder: Path, image: Path | str | None = None
) -> ImageView:
    """Return the view that :func:`view_to_json` described; reads the images.

    Parameters
    ----------
    channels : sequence of mapping
        The description.
    folder : Path
        The folder in which the JSON lies.
    image : Path, str or None
        A file or an address to take in place of all that are named.

    Raises
    ------
    ImageError
        If an image is gone, has changed its shape, or is named on another computer's share.
    KeyError, TypeError, ValueError
        If it is no such description.
    """
    sources: dict[tuple[Path | str, int | None], ImageSource] = {}
    view_channels = []
    for found in channels:
        path, series = image or _find_file(found, folder), _whole_or_none(found.get("series"))
        if (path, series) not in sources:
            shape = [as_whole(size) for size in as_list(found["shape"])]
            data = _read_image(path, series, tuple(shape))
            if list(data.shape) != shape:
                raise ImageError(
                    f"{path} has the shape {tuple(data.shape)}; the labels were made from an image "
                    f"of shape {tuple(shape)}.",
                    "Give the image that the labels were made from.",
                )
            source = ImageSource(data, image_axes_from_json(as_dict(found["axes"]), shape))
            source.series = series
            sources[path, series] = source
        plane, shown = as_dict(found["plane"]), as_dict(found["display"])
        contrast, colours = shown["contrast"], shown["colormap"]
        view_channels.append(
            ViewChannel(
                sources[path, series],
                PlaneRef(
                    tuple(map(as_whole, as_list(plane["leading"]))),
                    _whole_or_none(plane["channel"]),
                ),
                Display(
                    None if contrast is None else _range(contrast),
                    as_number(shown["gamma"]),
                    None if colours is None else _colours(colours),
                    padding=shown.get("padding") is True,
                ),
            )
        )
    return ImageView(tuple(view_channels))


def _read_image(path: Path | str, series: int | None, shape: tuple[int, ...]) -> LazyArray:
    """Return an image of a file: the one that was named, or else the one of that shape."""
    loaded = read_image(path, series)
    if series is None and loaded.data.shape != shape:
        # napari's own readers take the first image of a file.
        alike = [number for number, choice in enumerate(loaded.choices) if choice.shape == shape]
        loaded = read_image(path, alike[0]) if alike else loaded
    return loaded.data


def explain_guess(
    channels: Sequence[Mapping[str, Any]], folder: Path, image: Path | str | None = None
) -> tuple[str, ...]:
    """Return a sentence for the user where :func:`view_from_json` had to guess an image of a file.

    Readers of napari hand on one of the positions in a file, and don't say which. Parameters are
    those of that function, which has read the images.
    """
    for found in channels:
        if found.get("series") is not None:
            continue
        path, shape = image or _find_file(found, folder), tuple(as_list(found["shape"]))
        alike: list[int] = []
        with suppress(ImageError):  # gone meanwhile
            alike = [number for number, one in enumerate(list_series(path)) if one.shape == shape]
        if len(alike) > 1:
            return (
                f"{Path(path).name} holds {len(alike)} images of this size, and the note does not "
                f"say which one the labels were made of; series {alike[0]} was taken. If it is "
                "another one, save it as a file of its own, and give that as the image.",
            )
    return ()


def image_axes_from_json(entry: Mapping[str, Any], shape: Sequence[int]) -> ImageAxes:
    """Return the axes of an image; ValueError where they don't fit its shape."""
    channel, plane_axes = _whole_or_none(entry["channel"]), entry["plane_axes"]
    axes = ImageAxes(
        len(shape),
        channel,
        as_flag(entry["rgb"]),
        as_text(entry["reason"]),
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
    return None if value is None else as_whole(value)


def _pair(value: object) -> tuple[int, int]:
    first, second = map(as_whole, as_list(value, 2))
    return first, second


def _range(value: object) -> tuple[float, float]:
    low, high = map(as_number, as_list(value, 2))
    return low, high


def _colours(value: object) -> npt.NDArray[np.float64]:
    return np.array([[as_number(part) for part in as_list(colour, 3)] for colour in as_list(value)])


def _find_file(entry: Mapping[str, Any], folder: Path) -> Path:
    names = [as_text(entry[key]) for key in ("path", "beside") if entry[key]]
    if not names:
        raise ImageError(
            "The labels were made from an image that has no file.",
            "Save the image, and give its path.",
        )
    paths = [folder / name for name in names if not is_on_a_share(name, folder)]
    for path in paths:
        if os.path.exists(path):
            return path
    if not paths:
        raise ImageError(
            f"The note names the image {names[0]} on another computer, which is not opened "
            "unasked.",
            "If you trust it, give the image by its path.",
        )
    raise ImageError(f"The image {paths[0]} is gone.", "Give the image by its new path.")

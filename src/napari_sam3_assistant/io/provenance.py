"""The note beside labels: what made them, as JSON that can be read back.

JSON beside ``cells_mask.tif`` is ``cells_mask.tif.json``.
"""

from __future__ import annotations

import base64
import hashlib
import json
import os
import platform
import zlib
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field, fields, replace
from datetime import UTC, datetime
from functools import lru_cache
from importlib.metadata import version
from pathlib import Path, PureWindowsPath
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_sam3_assistant.core.axes import Axis, ImageAxes, axis_kind
from napari_sam3_assistant.core.display import Display, ImageView, ViewChannel
from napari_sam3_assistant.core.images import ImageSource, PlaneRef
from napari_sam3_assistant.core.masks.labels import ImagePlace, plane_names
from napari_sam3_assistant.core.options import TileOptions
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
from napari_sam3_assistant.core.results import Provenance
from napari_sam3_assistant.errors import (
    CheckpointNotFound,
    ExportError,
    ImageError,
    NameTaken,
    Sam3AssistantError,
)
from napari_sam3_assistant.io.atomic import atomic_write, draft_path, explain_os_errors, give_name
from napari_sam3_assistant.io.images import read_image
from napari_sam3_assistant.io.untrusted import (
    as_dict,
    as_flag,
    as_list,
    as_number,
    as_text,
    as_whole,
    open_regular,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    import numpy.typing as npt

    from napari_sam3_assistant.core.axes import Axes
    from napari_sam3_assistant.core.images import LazyArray


FORMAT = "napari-sam3-assistant labels"
VERSION = 1
_MOST_BYTES = 1 << 27  # more than a million objects; Python takes ten times that to read it
_HEAD = 4096  # bytes in which the format of a note is named
# What JSON that anybody may have written raises where it is made into values.
_NOT_OURS = (
    *(ValueError, KeyError, TypeError, IndexError, RecursionError, MemoryError, zlib.error),
    Sam3AssistantError,
)
_PACKAGES = ("napari-sam3-assistant", "numpy", "scikit-image")


@dataclass(frozen=True, slots=True, eq=False)
class ProvenanceRecord:
    """What made labels.

    Parameters
    ----------
    channels : tuple of mapping
        What the model was shown, see :func:`napari_sam3_assistant.io.provenance.view_to_json`.
    prompts : PromptSet
        Prompts in pixels of the plane.
    threshold : float
        The detection threshold that was asked for.
    engine : Provenance
        What made them.
    region : Region or None
        The part of the plane; None for all of it.
    tiles : TileOptions or None
        How the plane was cut; None for one piece.
    axes : tuple of Axis or None
        The axes of the labels.
    all_planes : bool
        Whether the labels hold every plane of the image, and not the one that is named.
    model_folder : str
        Folder of the weights; empty where there are none.
    sha256 : str
        SHA-256 of the weights; empty where there are none.
    objects : iterable of mapping
        Id, score, area, box and text of each object; a note that was read has a tuple. Written
        one by one, so those of a large scan need not all be there at once.
    notes : tuple of str
        What the user was told.
    extra : mapping
        What a caller keeps with it, such as the file that a batch read.
    software : mapping
        Versions; filled in when it is made.
    made : str
        When, as ISO 8601; filled in when it is made.
    """

    channels: tuple[Mapping[str, Any], ...]
    prompts: PromptSet
    threshold: float
    engine: Provenance
    region: Region | None = None
    tiles: TileOptions | None = None
    axes: Axes | None = None
    all_planes: bool = False
    model_folder: str = ""
    sha256: str = ""
    objects: Iterable[Mapping[str, Any]] = ()
    notes: tuple[str, ...] = ()
    extra: Mapping[str, Any] = field(default_factory=dict)
    software: Mapping[str, str] = field(default_factory=lambda: _software_versions())
    made: str = field(default_factory=lambda: datetime.now(UTC).isoformat(timespec="seconds"))


def _software_versions() -> dict[str, str]:
    return {"python": platform.python_version(), **{name: version(name) for name in _PACKAGES}}


def provenance_path(labels: Path) -> Path:
    """Return the path of the note beside labels."""
    return labels.with_name(f"{labels.name}.json")


def write_provenance(labels: Path, record: ProvenanceRecord) -> Path:
    """Write the note beside labels, completely or not at all; returns its path.

    Raises
    ------
    ExportError
        If it can't be written, or a file of that name is no note.
    """
    tiles = record.tiles
    content = {
        "format": FORMAT,
        "version": VERSION,
        "labels": labels.name,
        "made": record.made,
        "software": dict(record.software),
        "engine": {
            **asdict(record.engine),
            "model_folder": record.model_folder,
            "sha256": record.sha256,
        },
        "channels": list(record.channels),
        "all_planes": record.all_planes,
        "region": None if record.region is None else list(record.region.box),
        "tiles": None if tiles is None else {"size": tiles.size, "overlap": tiles.overlap},
        "axes": None if record.axes is None else _axes_to_json(record.axes),
        "prompts": prompts_to_json(record.prompts),
        "threshold": record.threshold,
        "notes": list(record.notes),
        "extra": dict(record.extra),
    }
    path = check_provenance_path(labels)
    # Names that are no text to the system come out as \udcff, which JSON reads back.
    with (
        atomic_write(path) as draft,
        draft.open("w", encoding="utf-8", errors="backslashreplace") as file,
    ):
        file.write(_to_json(content, 1).removesuffix("\n}"))
        file.write(',\n "objects": [')
        for number, told in enumerate(record.objects):
            file.write(f"{',' if number else ''}\n  {_to_json(told)}")
        file.write("\n ]\n}\n")
    return path


def _to_json(content: object, indent: int | None = None) -> str:
    return json.dumps(content, indent=indent, ensure_ascii=False)


@contextmanager
def removing_provenance(labels: Path) -> Iterator[None]:
    """Remove the note beside labels before the block replaces them: it is of the earlier ones.

    Whoever is stopped in between leaves labels without a note, never with a wrong one. Where the
    block fails the note comes back. A file of that name that is no note stays.

    Parameters
    ----------
    labels : Path
        The final name of the labels.

    Raises
    ------
    ExportError
        If it can't be removed.
    """
    note = provenance_path(labels)
    if not is_provenance(note):
        yield
        return
    aside = draft_path(note)
    with explain_os_errors(note):
        note.rename(aside)
    try:
        yield
    except BaseException:
        with suppress(OSError, NameTaken):
            give_name(aside, note)
        raise
    finally:
        with suppress(OSError):
            aside.unlink()


def check_provenance_path(labels: Path) -> Path:
    """Return the path of the note beside labels; raise NameTaken if it is somebody else's file."""
    path = provenance_path(labels)
    if os.path.lexists(path) and not is_provenance(path):
        raise NameTaken(f"{path} exists already and is no note of labels.", "Rename it.")
    return path


def is_provenance(path: Path) -> bool:
    """Return whether a file is a note of ours, complete or not; little of it is read."""
    try:
        with open_regular(path) as file:
            head = file.read(_HEAD)
    except OSError:
        return False
    return FORMAT.encode() in head


def read_provenance(path: Path) -> ProvenanceRecord:
    """Read a note.

    Parameters
    ----------
    path : Path
        The JSON file.

    Raises
    ------
    ExportError
        If it is missing, damaged, none of ours or of a later version.
    """
    try:
        with open_regular(path) as file:
            told = file.read() if os.fstat(file.fileno()).st_size <= _MOST_BYTES else None
    except OSError as exc:
        raise ExportError(
            f"{path} can't be read: {exc.strerror or exc}.", "Check the path."
        ) from exc
    try:
        if told is None:
            raise ValueError("it is too large")
        found = json.loads(told.decode())
        known = isinstance(found, dict) and found.get("format") == FORMAT
        if known and as_whole(found["version"]) <= VERSION:
            return _record_from_json(found)
    except _NOT_OURS as exc:
        raise ExportError(
            f"{path} does not say completely what made the labels ({exc}).",
            "Choose the .json file beside labels that this program has saved.",
        ) from exc
    if known:
        raise ExportError(
            f"{path} was written by a later version (format {found['version']}).",
            "Update napari-sam3-assistant.",
        )
    raise ExportError(
        f"{path} does not say what made labels.",
        "Choose the .json file beside labels that this program has saved.",
    )


def write_object_classes(labels: Path, classes: Mapping[int, str]) -> None:
    """Write into the note beside labels which class objects are of now; without a note do nothing.

    Parameters
    ----------
    labels : Path
        The labels.
    classes : mapping of int to str
        The classes by the ids of the objects; empty for none. What it does not name stays.

    Raises
    ------
    ExportError
        If the note can't be read or written; it is as it was then.
    """
    note = provenance_path(labels)
    if not note.exists():
        return
    record = read_provenance(note)
    objects = [dict(one) for one in record.objects]
    for one in objects:
        if one.get("id") in classes:
            one.pop("class", None)
            if name := classes[one["id"]]:
                one["class"] = name
    if objects != [*record.objects]:
        write_provenance(labels, replace(record, objects=tuple(objects)))


def _record_from_json(entry: Mapping[str, Any]) -> ProvenanceRecord:
    engine = dict(as_dict(entry["engine"]))
    model_folder, sha256 = as_text(engine.pop("model_folder")), as_text(engine.pop("sha256"))
    used = as_number(engine.pop("threshold"))
    region, tiles, axes = entry["region"], entry["tiles"], entry["axes"]
    return ProvenanceRecord(
        channels=tuple(map(as_dict, as_list(entry["channels"]))),
        prompts=prompts_from_json(as_dict(entry["prompts"])),
        threshold=as_number(entry["threshold"]),
        engine=Provenance(
            threshold=used, **{name: as_text(value) for name, value in engine.items()}
        ),
        region=None if region is None else region_from_json(region),
        tiles=None
        if tiles is None
        else TileOptions(as_whole(as_dict(tiles)["size"]), as_number(tiles["overlap"])),
        axes=None if axes is None else _axes_from_json(as_dict(axes)),
        all_planes=as_flag(entry["all_planes"]),
        model_folder=model_folder,
        sha256=sha256,
        objects=tuple(map(as_dict, as_list(entry["objects"]))),
        notes=tuple(map(as_text, as_list(entry["notes"]))),
        extra=as_dict(entry["extra"]),
        software=as_dict(entry["software"]),
        made=as_text(entry["made"]),
    )


def parents_of(record: ProvenanceRecord) -> dict[int, int]:
    """Return, of the objects that came of a division, the one that divided.

    Raises
    ------
    ExportError
        If the note does not say it properly.
    """
    try:
        return {
            as_whole(one["id"]): as_whole(one["parent"])
            for one in record.objects
            if one.get("parent") is not None
        }
    except (KeyError, TypeError, ValueError) as exc:
        raise ExportError(
            f"The note beside the labels does not say properly what descends from what ({exc}).",
            "Correct its objects, or move the note away.",
        ) from exc


def _axes_to_json(axes: Axes) -> dict[str, list[Any]]:
    return {
        "names": [axis.name for axis in axes],
        "lengths": [axis.length for axis in axes],
        "scale": [axis.scale for axis in axes],
        "units": [axis.unit for axis in axes],
        "translate": [axis.origin for axis in axes],
        "aligned": [axis.aligned for axis in axes],
    }


def _axes_from_json(entry: Mapping[str, Any]) -> Axes:
    columns = (
        map(as_text, as_list(entry["names"])),
        map(as_whole, as_list(entry["lengths"])),
        map(as_number, as_list(entry["scale"])),
        map(as_text, as_list(entry["units"])),
        map(as_number, as_list(entry["translate"])),
        map(as_flag, as_list(entry["aligned"])),
    )
    return tuple(Axis(*values) for values in zip(*columns, strict=True))


_MOST_PIXELS = 1 << 29
"""So many pixels the painted masks of a note may have together: they take a byte each."""


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
            )
            for mask, region in masks
        ),
        text=as_text(entry["text"]),
        everything=_everything(as_dict(entry["everything"])) if "everything" in entry else None,
    )


def _everything(entry: Mapping[str, Any]) -> Everything:
    """Return how everything was looked for."""
    numbers: dict[str, Any] = {
        one.name: (as_whole if isinstance(one.default, int) else as_number)(entry[one.name])
        for one in fields(Everything)
        if one.name not in ("seeds", "joining", "points")
        and (one.name != "polarity" or "polarity" in entry)  # which older notes don't say
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
    sources: dict[Path | str, ImageSource] = {}
    made = []
    for found in channels:
        path = image or _find_file(found, folder)
        if path not in sources:
            shape = [as_whole(size) for size in as_list(found["shape"])]
            data = _read_image(path, _whole_or_none(found.get("series")), tuple(shape))
            if list(data.shape) != shape:
                raise ImageError(
                    f"{path} has the shape {tuple(data.shape)}; the labels were made from an image "
                    f"of shape {tuple(shape)}.",
                    "Give the image that the labels were made from.",
                )
            sources[path] = ImageSource(data, _image_axes_from_json(as_dict(found["axes"]), shape))
        plane, shown = as_dict(found["plane"]), as_dict(found["display"])
        contrast, colours = shown["contrast"], shown["colormap"]
        made.append(
            ViewChannel(
                sources[path],
                PlaneRef(
                    tuple(map(as_whole, as_list(plane["leading"]))),
                    _whole_or_none(plane["channel"]),
                ),
                Display(
                    None if contrast is None else _range(contrast),
                    as_number(shown["gamma"]),
                    None if colours is None else _colours(colours),
                ),
            )
        )
    return ImageView(tuple(made))


def _read_image(path: Path | str, series: int | None, shape: tuple[int, ...]) -> LazyArray:
    """Return an image of a file: the one that was named, or else the one of that shape."""
    loaded = read_image(path, series)
    if series is None and loaded.data.shape != shape:
        # napari's own readers take the first image of a file.
        alike = [number for number, one in enumerate(loaded.choices) if one.shape == shape]
        loaded = read_image(path, alike[0]) if alike else loaded
    return loaded.data


def _image_axes_from_json(entry: Mapping[str, Any], shape: Sequence[int]) -> ImageAxes:
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


def find_place(record: ProvenanceRecord, shape: Sequence[int]) -> ImagePlace | None:
    """Return where labels lie in the image that they were made from.

    Parameters
    ----------
    record : ProvenanceRecord
        The note beside the labels.
    shape : sequence of int
        Their shape. Those of one plane of a stack have no axis for it in their file; in their
        place they have.

    Returns
    -------
    ImagePlace or None
        None where these labels are not those of the note, or it does not say where they lie.
    """
    try:
        first = record.channels[0]
        whole = tuple(as_whole(size) for size in as_list(first["shape"]))
        axes = _image_axes_from_json(as_dict(first["axes"]), whole)
        leading = tuple(map(as_whole, as_list(as_dict(first["plane"])["leading"])))
        file = PureWindowsPath(as_text(first["path"] or "")).name
    except _NOT_OURS:
        return None
    plane = (whole[axes.y], whole[axes.x])
    region = record.region or Region.whole(plane)
    if tuple(shape[-2:]) != region.shape:
        return None
    names = plane_names(len(leading))
    if len(shape) > 2 or record.all_planes:
        told = [] if record.axes is None else [axis_kind(axis.name) for axis in record.axes[:-2]]
        names = plane_names(len(shape) - 2, told if len(told) == len(shape) - 2 else ())
        leading = (0,) * len(names)
    return ImagePlace(file, plane, region.y0, region.x0, leading, names, file=file)


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
    told = [as_text(entry[key]) for key in ("path", "beside") if entry[key]]
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


def sha256_of(path: Path) -> str:
    """Return the SHA-256 of a file; it is read again only if it has changed.

    Parameters
    ----------
    path : Path
        A file of any size; 3.4 GB take some seconds.

    Raises
    ------
    CheckpointNotFound
        If it can't be read.
    """
    try:
        found = path.stat()
        return _sha256(str(path), found.st_size, found.st_mtime_ns)
    except OSError as exc:
        raise CheckpointNotFound(
            f"The weights {path} can't be read: {exc.strerror or exc}.", "Choose the model folder."
        ) from exc


@lru_cache(maxsize=8)
def _sha256(path: str, size: int, changed: int) -> str:
    del size, changed  # they tell one state of the file from another
    with Path(path).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()

"""The note beside labels: what made them, as JSON that can be read back.

JSON beside ``cells_mask.tif`` is ``cells_mask.tif.json``.
"""

from __future__ import annotations

import hashlib
import json
import os
import platform
import zlib
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from functools import lru_cache
from importlib.metadata import version
from pathlib import Path, PureWindowsPath
from typing import TYPE_CHECKING, Any

from napari_sam3_assistant.core.axes import axis_kind
from napari_sam3_assistant.core.images import UNKNOWN_PIXEL, PixelSize
from napari_sam3_assistant.core.lengths import Length
from napari_sam3_assistant.core.masks.labels import ImagePlace, plane_names
from napari_sam3_assistant.core.options import TileOptions
from napari_sam3_assistant.core.regions import Region
from napari_sam3_assistant.core.results import Provenance
from napari_sam3_assistant.errors import (
    CheckpointNotFound,
    ExportError,
    NameTaken,
    Sam3AssistantError,
)
from napari_sam3_assistant.io.atomic import atomic_write, draft_path, explain_os_errors, give_name
from napari_sam3_assistant.io.json_values import (
    axes_from_json,
    axes_to_json,
    image_axes_from_json,
    prompts_from_json,
    prompts_to_json,
    region_from_json,
)
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

    from napari_sam3_assistant.core.axes import Axes
    from napari_sam3_assistant.core.prompts import PromptSet


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
        What the model was shown, see :func:`napari_sam3_assistant.io.json_values.view_to_json`.
    prompts : PromptSet
        Prompts in pixels of the plane.
    threshold : float
        The detection threshold that was asked for.
    diameter : Length or None
        The usual diameter that was told beside the prompts; None for none.
    pixel : PixelSize
        The size of a pixel of the image, as far as it was known.
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
        Messages that the user got.
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
    diameter: Length | None = None
    pixel: PixelSize = UNKNOWN_PIXEL
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
        "axes": None if record.axes is None else axes_to_json(record.axes),
        "prompts": prompts_to_json(record.prompts),
        "threshold": record.threshold,
        **({} if record.diameter is None else {"diameter": str(record.diameter)}),
        **({} if record.pixel == UNKNOWN_PIXEL else {"pixel": asdict(record.pixel)}),
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
        for number, entry in enumerate(record.objects):
            file.write(f"{',' if number else ''}\n  {_to_json(entry)}")
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
        raise NameTaken(f"{path} exists already and is not a note of labels.", "Rename it.")
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
            content = file.read() if os.fstat(file.fileno()).st_size <= _MOST_BYTES else None
    except OSError as exc:
        raise ExportError(
            f"{path} can't be read: {exc.strerror or exc}.", "Check the path."
        ) from exc
    try:
        if content is None:
            raise ValueError("it is too large")
        found = json.loads(content.decode("utf-8-sig"))
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
    objects = [dict(entry) for entry in record.objects]
    for entry in objects:
        if entry.get("id") in classes:
            entry.pop("class", None)
            if name := classes[entry["id"]]:
                entry["class"] = name
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
        # Notes of 5.0.0 and before know neither.
        diameter=Length.parse(as_text(entry["diameter"])) if "diameter" in entry else None,
        pixel=_pixel_from_json(as_dict(entry.get("pixel", {}))),
        engine=Provenance(
            threshold=used, **{name: as_text(value) for name, value in engine.items()}
        ),
        region=None if region is None else region_from_json(region),
        tiles=None
        if tiles is None
        else TileOptions(as_whole(as_dict(tiles)["size"]), as_number(tiles["overlap"])),
        axes=None if axes is None else axes_from_json(as_dict(axes)),
        all_planes=as_flag(entry["all_planes"]),
        model_folder=model_folder,
        sha256=sha256,
        objects=tuple(map(as_dict, as_list(entry["objects"]))),
        notes=tuple(map(as_text, as_list(entry["notes"]))),
        extra=as_dict(entry["extra"]),
        software=as_dict(entry["software"]),
        made=as_text(entry["made"]),
    )


def _pixel_from_json(entry: Mapping[str, Any]) -> PixelSize:
    if not entry:
        return UNKNOWN_PIXEL
    height, width, sine = (as_number(entry[name]) for name in ("height", "width", "sine"))
    if min(height, width, sine) <= 0:
        raise ValueError("a pixel has a size above 0")
    return PixelSize(height, width, as_text(entry["unit"]), sine)


def parents_of(record: ProvenanceRecord) -> dict[int, int]:
    """Return, of the objects that came of a division, the one that divided.

    Raises
    ------
    ExportError
        If the note does not say it properly.
    """
    try:
        return {
            as_whole(entry["id"]): as_whole(entry["parent"])
            for entry in record.objects
            if entry.get("parent") is not None
        }
    except (KeyError, TypeError, ValueError) as exc:
        raise ExportError(
            f"The note beside the labels does not say properly what descends from what ({exc}).",
            "Correct its objects, or move the note away.",
        ) from exc


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
        axes = image_axes_from_json(as_dict(first["axes"]), whole)
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
        kinds = [] if record.axes is None else [axis_kind(axis.name) for axis in record.axes[:-2]]
        names = plane_names(len(shape) - 2, kinds if len(kinds) == len(shape) - 2 else ())
        leading = (0,) * len(names)
    return ImagePlace(file, plane, region.y0, region.x0, leading, names, file=file)


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


def weights_checksum(model_folder: Path | None, weights: str) -> str:
    """Return the SHA-256 of weights, given the name of their file; empty where they can't be read.

    So it is without a folder, and for an engine without weights.
    """
    if model_folder is None or not weights:
        return ""
    try:
        return sha256_of(model_folder / weights)
    except CheckpointNotFound:
        return ""


@lru_cache(maxsize=8)
def _sha256(path: str, size: int, changed: int) -> str:
    del size, changed  # they tell one state of the file from another
    with Path(path).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()

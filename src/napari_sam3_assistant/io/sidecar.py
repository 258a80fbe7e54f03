"""The note beside labels that says what made them, so that they can be made again.

JSON beside ``cells_mask.tif`` is ``cells_mask.tif.json``.
"""

from __future__ import annotations

import json
import os
import platform
import zlib
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

from napari_sam3_assistant.core.axes import Axis
from napari_sam3_assistant.core.options import TileOptions
from napari_sam3_assistant.core.results import Provenance
from napari_sam3_assistant.errors import ExportError, NameTaken, Sam3AssistantError
from napari_sam3_assistant.io.atomic import atomic_write, explained, give_name
from napari_sam3_assistant.io.drafts import draft_of
from napari_sam3_assistant.io.json_values import flag, listed, named, number, text, whole
from napari_sam3_assistant.io.prompt_json import (
    prompts_from_json,
    prompts_to_json,
    region_from_json,
)
from napari_sam3_assistant.io.regular_files import open_regular

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from pathlib import Path

    from napari_sam3_assistant.core.axes import Axes
    from napari_sam3_assistant.core.prompts import PromptSet
    from napari_sam3_assistant.core.regions import Region

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
class Sidecar:
    """What made labels.

    Parameters
    ----------
    channels : tuple of mapping
        What the model was shown, see :func:`napari_sam3_assistant.io.view_json.view_to_json`.
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
    software: Mapping[str, str] = field(default_factory=lambda: _software())
    made: str = field(default_factory=lambda: datetime.now(UTC).isoformat(timespec="seconds"))


def _software() -> dict[str, str]:
    return {"python": platform.python_version(), **{name: version(name) for name in _PACKAGES}}


def sidecar_of(labels: Path) -> Path:
    """Return the path of the note beside labels."""
    return labels.with_name(f"{labels.name}.json")


def write_sidecar(labels: Path, sidecar: Sidecar) -> Path:
    """Write the note beside labels, completely or not at all; returns its path.

    Raises
    ------
    ExportError
        If it can't be written, or a file of that name is no note.
    """
    tiles = sidecar.tiles
    content = {
        "format": FORMAT,
        "version": VERSION,
        "labels": labels.name,
        "made": sidecar.made,
        "software": dict(sidecar.software),
        "engine": {
            **asdict(sidecar.engine),
            "model_folder": sidecar.model_folder,
            "sha256": sidecar.sha256,
        },
        "channels": list(sidecar.channels),
        "all_planes": sidecar.all_planes,
        "region": None if sidecar.region is None else list(sidecar.region.box),
        "tiles": None if tiles is None else {"size": tiles.size, "overlap": tiles.overlap},
        "axes": None if sidecar.axes is None else _axes_to_json(sidecar.axes),
        "prompts": prompts_to_json(sidecar.prompts),
        "threshold": sidecar.threshold,
        "notes": list(sidecar.notes),
        "extra": dict(sidecar.extra),
    }
    path = check_note(labels)
    # Names that are no text to the system come out as \udcff, which JSON reads back.
    with (
        atomic_write(path) as draft,
        draft.open("w", encoding="utf-8", errors="backslashreplace") as file,
    ):
        file.write(_text(content, 1).removesuffix("\n}"))
        file.write(',\n "objects": [')
        for number, told in enumerate(sidecar.objects):
            file.write(f"{',' if number else ''}\n  {_text(told)}")
        file.write("\n ]\n}\n")
    return path


def _text(content: object, indent: int | None = None) -> str:
    return json.dumps(content, indent=indent, ensure_ascii=False)


@contextmanager
def without_note(labels: Path) -> Iterator[None]:
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
    note = sidecar_of(labels)
    if not is_note(note):
        yield
        return
    aside = draft_of(note)
    with explained(note):
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


def check_note(labels: Path) -> Path:
    """Return the path of the note beside labels; raise NameTaken if it is somebody else's file."""
    path = sidecar_of(labels)
    if os.path.lexists(path) and not is_note(path):
        raise NameTaken(f"{path} exists already and is no note of labels.", "Rename it.")
    return path


def is_note(path: Path) -> bool:
    """Return whether a file is a note of ours, complete or not; little of it is read."""
    try:
        with open_regular(path) as file:
            head = file.read(_HEAD)
    except OSError:
        return False
    return FORMAT.encode() in head


def read_sidecar(path: Path) -> Sidecar:
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
        if known and whole(found["version"]) <= VERSION:
            return _read(found)
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


def _read(found: Mapping[str, Any]) -> Sidecar:
    engine = dict(named(found["engine"]))
    model_folder, sha256 = text(engine.pop("model_folder")), text(engine.pop("sha256"))
    used = number(engine.pop("threshold"))
    region, tiles, axes = found["region"], found["tiles"], found["axes"]
    return Sidecar(
        channels=tuple(map(named, listed(found["channels"]))),
        prompts=prompts_from_json(named(found["prompts"])),
        threshold=number(found["threshold"]),
        engine=Provenance(threshold=used, **{name: text(value) for name, value in engine.items()}),
        region=None if region is None else region_from_json(region),
        tiles=None
        if tiles is None
        else TileOptions(whole(named(tiles)["size"]), number(tiles["overlap"])),
        axes=None if axes is None else _axes_from_json(named(axes)),
        all_planes=flag(found["all_planes"]),
        model_folder=model_folder,
        sha256=sha256,
        objects=tuple(map(named, listed(found["objects"]))),
        notes=tuple(map(text, listed(found["notes"]))),
        extra=named(found["extra"]),
        software=named(found["software"]),
        made=text(found["made"]),
    )


def _axes_to_json(axes: Axes) -> dict[str, list[Any]]:
    return {
        "names": [axis.name for axis in axes],
        "lengths": [axis.length for axis in axes],
        "scale": [axis.scale for axis in axes],
        "units": [axis.unit for axis in axes],
        "translate": [axis.origin for axis in axes],
        "aligned": [axis.aligned for axis in axes],
    }


def _axes_from_json(found: Mapping[str, Any]) -> Axes:
    columns = (
        map(text, listed(found["names"])),
        map(whole, listed(found["lengths"])),
        map(number, listed(found["scale"])),
        map(text, listed(found["units"])),
        map(number, listed(found["translate"])),
        map(flag, listed(found["aligned"])),
    )
    return tuple(Axis(*values) for values in zip(*columns, strict=True))

"""The note beside labels that says what made them, so that they can be made again.

JSON beside ``cells_mask.tif`` is ``cells_mask.tif.json``.
"""

from __future__ import annotations

import json
import platform
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

from napari_sam3_assistant.core.options import TileOptions
from napari_sam3_assistant.core.regions import Region
from napari_sam3_assistant.core.results import Provenance
from napari_sam3_assistant.errors import ExportError
from napari_sam3_assistant.io.atomic import atomic_write, explained
from napari_sam3_assistant.io.label_axes import LabelAxes
from napari_sam3_assistant.io.prompt_json import prompts_from_json, prompts_to_json

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

    from napari_sam3_assistant.core.prompts import PromptSet

FORMAT = "napari-sam3-assistant labels"
VERSION = 1
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
    axes : LabelAxes or None
        Names of the labels' axes, and the size of a pixel.
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
    axes: LabelAxes | None = None
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
        If it can't be written.
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
        "axes": None if sidecar.axes is None else asdict(sidecar.axes),
        "prompts": prompts_to_json(sidecar.prompts),
        "threshold": sidecar.threshold,
        "notes": list(sidecar.notes),
        "extra": dict(sidecar.extra),
    }
    path = sidecar_of(labels)
    with atomic_write(path) as draft, draft.open("w", encoding="utf-8") as file:
        file.write(_text(content, 1).removesuffix("\n}"))
        file.write(',\n "objects": [')
        for number, told in enumerate(sidecar.objects):
            file.write(f"{',' if number else ''}\n  {_text(told)}")
        file.write("\n ]\n}\n")
    return path


def _text(content: object, indent: int | None = None) -> str:
    return json.dumps(content, indent=indent, ensure_ascii=False)


def remove_sidecar(labels: Path) -> None:
    """Remove the note beside labels that were replaced: it says what made the earlier ones.

    A file of that name that is no note stays.

    Raises
    ------
    ExportError
        If it can't be removed.
    """
    path = sidecar_of(labels)
    try:
        read_sidecar(path)
    except ExportError:
        return
    with explained(path):
        path.unlink()


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
        found = json.loads(path.read_text("utf-8"))
        known = isinstance(found, dict) and found.get("format") == FORMAT
        if known and found["version"] <= VERSION:
            return _read(found)
    except OSError as exc:
        raise ExportError(
            f"{path} can't be read: {exc.strerror or exc}.", "Check the path."
        ) from exc
    except (ValueError, KeyError, TypeError, IndexError) as exc:
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
    engine = dict(found["engine"])
    model_folder, sha256 = str(engine.pop("model_folder")), str(engine.pop("sha256"))
    region, tiles, axes = found["region"], found["tiles"], found["axes"]
    return Sidecar(
        channels=tuple(found["channels"]),
        prompts=prompts_from_json(found["prompts"]),
        threshold=float(found["threshold"]),
        engine=Provenance(**engine),
        region=None if region is None else Region(*(int(value) for value in region)),
        tiles=None if tiles is None else TileOptions(int(tiles["size"]), float(tiles["overlap"])),
        axes=None
        if axes is None
        else LabelAxes(
            tuple(axes["names"]),
            tuple(axes["scale"]),
            tuple(axes["units"]),
            tuple(axes.get("translate", ())),
        ),
        all_planes=bool(found["all_planes"]),
        model_folder=model_folder,
        sha256=sha256,
        objects=tuple(found["objects"]),
        notes=tuple(found["notes"]),
        extra=dict(found["extra"]),
        software=dict(found["software"]),
        made=str(found["made"]),
    )

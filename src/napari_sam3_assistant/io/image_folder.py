"""The images of a folder, and what has been made of them."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from napari_sam3_assistant.errors import ExportError, ImageError
from napari_sam3_assistant.io.atomic import explained
from napari_sam3_assistant.io.sidecar import read_sidecar

if TYPE_CHECKING:
    from collections.abc import Iterator

    from napari_sam3_assistant.io.sidecar import Sidecar

_FILES = (".tif", ".tiff", ".png", ".jpg", ".jpeg")


@dataclass(frozen=True, slots=True)
class FolderImage:
    """An image of a folder.

    Parameters
    ----------
    path : Path
        The file, or the folder of an OME-Zarr image.
    relative : str
        As seen from the folder, with ``/``.
    stem : str
        Its name without ending; with the ending where another image has the same.
    state : tuple of int
        Size in bytes and time of the last change in nanoseconds.
    """

    path: Path
    relative: str
    stem: str
    state: tuple[int, int]

    @property
    def folder(self) -> str:
        """The folder that it lies in, as seen from the folder of all."""
        return self.relative.rpartition("/")[0]


def find_images(source: Path, output: Path, pattern: str) -> tuple[FolderImage, ...]:
    """Return the TIFF, PNG, JPEG and OME-Zarr images of a folder, by name.

    Parameters
    ----------
    source : Path
        The folder.
    output : Path
        Where labels will be written; made if it is missing. What lies in it is left out.
    pattern : str
        Which of them, as ``*.tif``; ``**/*`` for all folders below.

    Raises
    ------
    ImageError
        If the folder is missing or holds none.
    ExportError
        If both folders are the same, or the output can't be made.
    """
    if not source.is_dir():
        raise ImageError(f"There is no folder {source}.", "Check the path.")
    inside = Path(os.path.realpath(output))
    if Path(os.path.realpath(source)) == inside:
        raise ExportError(
            "The images and the labels can't be in the same folder.",
            "Choose another output folder, such as one in the folder of the images.",
        )
    with explained(output):
        output.mkdir(parents=True, exist_ok=True)
    try:
        found = sorted(
            path
            for path in source.glob(pattern)
            if _is_image(path) and inside not in Path(os.path.realpath(path)).parents
        )
    except (ValueError, NotImplementedError) as exc:
        raise ImageError(
            f"The pattern '{pattern}' can't be used ({exc}).", "Write it like *.tif or **/*.tif."
        ) from exc
    if not found:
        raise ImageError(
            f"No image in {source} fits the pattern '{pattern}'.",
            f"Files end in {', '.join(_FILES)} or .zarr.",
        )
    return tuple(_named(source, found))


def _is_image(path: Path) -> bool:
    if any(parent.suffix.lower() == ".zarr" for parent in path.parents):
        return False
    if path.name.startswith("."):
        return False
    return path.suffix.lower() == ".zarr" if path.is_dir() else path.suffix.lower() in _FILES


def _named(source: Path, found: list[Path]) -> Iterator[FolderImage]:
    stems = [(path.parent, _stem(path).casefold()) for path in found]
    for path, key in zip(found, stems, strict=True):
        stem = _stem(path)
        if stems.count(key) > 1:
            stem = f"{stem}_{path.name[len(stem) :].strip('.').replace('.', '_')}"
        yield FolderImage(path, path.relative_to(source).as_posix(), stem, _state(path))


def _state(path: Path) -> tuple[int, int]:
    """Return size and time of change; 0 of a link to nowhere, which fails when it is read."""
    try:
        stat = path.stat()
    except OSError:
        return (0, 0)
    return (0 if path.is_dir() else stat.st_size, stat.st_mtime_ns)


def _stem(path: Path) -> str:
    stem = path.name[: -len(path.suffix)]
    return stem[:-4] if stem.lower().endswith(".ome") else stem


def finished_outputs(output: Path) -> dict[str, list[tuple[Path, Sidecar]]]:
    """Return labels that earlier starts have finished, with their notes, by image.

    Parameters
    ----------
    output : Path
        The folder of the labels.
    """
    finished: dict[str, list[tuple[Path, Sidecar]]] = {}
    for path in sorted(output.rglob("*.json")):
        try:
            note = read_sidecar(path)
        except ExportError:
            # Somebody else's file.
            continue
        finished.setdefault(str(note.extra.get("source")), []).append(
            (path.with_name(path.name.removesuffix(".json")), note)
        )
    return finished

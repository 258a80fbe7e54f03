"""Names that are not taken."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from napari_sam3_assistant.errors import ExportError
from napari_sam3_assistant.io.atomic import explained

if TYPE_CHECKING:
    from collections.abc import Container
    from pathlib import Path

_ENDINGS = (".ome.zarr", ".ome.tiff", ".ome.tif", ".zarr", ".tiff", ".tif", ".npy", ".png", ".csv")
_MOST = 10_000


def split_ending(name: str) -> tuple[str, str]:
    """Return a file name without its ending, and the ending.

    Only endings that we write count, so ``exp1.0_A`` has none and ``exp1.0_A.ome.tif`` has
    ``.ome.tif``.
    """
    for ending in _ENDINGS:
        if name.lower().endswith(ending) and len(name) > len(ending):
            return name[: -len(ending)], name[-len(ending) :]
    return name, ""


def safe_name(text: str) -> str:
    """Return a text as a part of a file name: other than A-Z a-z 0-9 _ . - become ``_``."""
    cleaned = re.sub(r"[^\w.\-]", "_", text).strip(". ")
    return cleaned or "_"


def free_name(path: Path, taken: Container[str] = ()) -> Path:
    """Return the path, or the first of ``name_02``, ``name_03``, ... that does not exist.

    Parameters
    ----------
    path : Path
        The name that is wanted.
    taken : container of str
        Names in the same folder, in lower case, that shall not be used either.

    Raises
    ------
    ExportError
        If there is none.
    """
    stem, ending = split_ending(path.name)
    for number in range(1, _MOST):
        name = path.name if number == 1 else f"{stem}_{number:02d}{ending}"
        candidate = path.with_name(name)
        with explained(candidate):
            if name.lower() not in taken and not candidate.exists():
                return candidate
    raise ExportError(
        f"{path} and {_MOST} names like it exist.", "Choose another name or another folder."
    )


def numbered_name(folder: Path, stem: str, ending: str) -> Path:
    """Return the first of ``stem_01``, ``stem_02``, ... that does not exist in a folder.

    Parameters
    ----------
    folder : Path
        Where it shall lie.
    stem : str
        The name without number and ending; dots are part of it.
    ending : str
        The ending, such as ``.tif``.

    Raises
    ------
    ExportError
        If there is none.
    """
    for number in range(1, _MOST):
        candidate = folder / f"{stem}_{number:02d}{ending}"
        with explained(candidate):
            if not candidate.exists():
                return candidate
    raise ExportError(
        f"{folder} holds {_MOST} files named {stem}.", "Choose another name or another folder."
    )

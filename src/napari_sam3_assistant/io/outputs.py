"""What is checked of a file before the work is done that shall be written to it."""

from __future__ import annotations

import os
from pathlib import Path

from napari_sam3_assistant.errors import ExportError
from napari_sam3_assistant.io.atomic import explained
from napari_sam3_assistant.io.free_name import free_name, safe_name


def check_output(path: Path, *read: Path, replaces: bool = True) -> None:
    """Raise unless a file can take results.

    Parameters
    ----------
    path : Path
        The file that will be written.
    *read : Path
        What the work reads, and what else it writes.
    replaces : bool
        Whether a file of that name may be replaced.

    Raises
    ------
    ExportError
        If its folder is missing, it is a folder itself, or it is one of ``read``.
    """
    check_folder(path)
    if os.path.isdir(path) or (os.path.exists(path) and not replaces):
        raise ExportError(f"{path} exists already.", "Choose another name.")
    check_apart(path, *read)


def check_folder(path: Path) -> None:
    """Raise ExportError unless the folder of an output is there."""
    if not path.parent.is_dir():
        raise ExportError(
            f"The output folder {path.parent} does not exist.", "Make it, or choose another one."
        )


def make_folder(path: Path) -> None:
    """Make the folder of an output that the user has chosen in the window.

    Raises
    ------
    ExportError
        If it can't be made.
    """
    with explained(path.parent):
        path.parent.mkdir(parents=True, exist_ok=True)


def typed_folder(text: str) -> Path:
    """Return the folder that the user typed, ``~`` written out; an unknown ``~user`` stays."""
    return Path(os.path.expanduser(text.strip()))


def proposed(name: str, ending: str, image: Path | None, last: str = "") -> Path:
    """Return a free name for a file that the user may save, beside the image it was made of.

    Parameters
    ----------
    name : str
        What it shall be called.
    ending : str
        Its ending.
    image : Path or None
        The file of the image; None where there is none.
    last : str
        The folder that was used last, for where there is none beside the image that can be
        written to; empty for the user's own.
    """
    beside = image
    for folder in () if image is None else image.parents:
        if folder.suffix.lower() == ".zarr":  # an image within a larger one
            beside = folder
    folders = [Path.home()]
    if last:
        folders.insert(0, Path(last))
    if beside is not None:
        folders.insert(0, beside.parent)
    folder = next((one for one in folders if os.access(one, os.W_OK)), folders[-1])
    return free_name(folder / f"{safe_name(name)}{ending}")


def check_apart(path: Path, *read: Path) -> None:
    """Raise if writing a file or a folder would replace what is read.

    Raises
    ------
    ExportError
        If it is one of them, by whatever name, or they lie in it.
    """
    real = Path(os.path.realpath(path))
    for other in read:
        there = Path(os.path.realpath(other))
        if real == there or real in there.parents or _same_file(real, there):
            raise ExportError(
                f"{path} would replace {other}.", "Choose another name for the output."
            )


def _same_file(one: Path, other: Path) -> bool:
    """Return whether both are one file: a link, or a name that differs in case only."""
    return os.path.isfile(one) and os.path.isfile(other) and os.path.samefile(one, other)

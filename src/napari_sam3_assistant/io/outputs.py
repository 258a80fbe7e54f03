"""Names of output files: free, safe for any system, and apart from the input."""

from __future__ import annotations

import itertools
import os
import re
import unicodedata
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

from napari_sam3_assistant.errors import ExportError, NameTaken
from napari_sam3_assistant.io.atomic import explain_os_errors, is_there
from napari_sam3_assistant.io.provenance import is_provenance, provenance_path

if TYPE_CHECKING:
    from collections.abc import Callable, Container, Iterator, Sequence


def check_output(path: Path, *read: Path | str, replaces: bool = True) -> None:
    """Raise unless a file can take results.

    Parameters
    ----------
    path : Path
        The file that will be written.
    *read : Path or str
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
    with explain_os_errors(path.parent):
        path.parent.mkdir(parents=True, exist_ok=True)


def typed_folder(text: str) -> Path:
    """Return the folder that the user typed, ``~`` written out; an unknown ``~user`` stays."""
    return Path(os.path.expanduser(text.strip()))


def propose_path(name: str, ending: str, image: Path | None, last: str = "") -> Path:
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
    folders = [folder_beside(image), Path(last) if last else None]
    there = (folder for folder in folders if folder is not None and os.access(folder, os.W_OK))
    return free_name(next(there, Path.home()) / f"{safe_name(name)}{ending}", ending=ending)


def folder_beside(image: Path | None) -> Path | None:
    """Return the folder that the file of an image lies in; None where there is none."""
    if image is None:
        return None
    outer = [folder for folder in image.parents if folder.suffix.lower() == ".zarr"]
    return (outer[-1] if outer else image).parent  # an image may lie within a larger one


def stamp_of(path: Path) -> str | None:
    """Return what changes when a file is written again; None where there is none.

    A text: nanoseconds since 1970, and numbers of files, are beyond what all readers of JSON take.
    """
    try:
        stat = path.stat()
    except OSError:
        return None
    return f"{stat.st_mtime_ns} {stat.st_size} {stat.st_ino}"


def check_apart(path: Path, *read: Path | str) -> None:
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


def _same_file(first: Path, second: Path) -> bool:
    """Return whether both are one file: a link, or a name that differs in case only."""
    return os.path.isfile(first) and os.path.isfile(second) and os.path.samefile(first, second)


_ENDINGS = (".ome.zarr", ".ome.tiff", ".ome.tif", ".zarr", ".tiff", ".tif", ".npy", ".png", ".csv")
_MOST = 10_000
_LONGEST_NAME = 255 - len("_10000_classes.csv")
"""In bytes, of a name beside which others are made of it."""
_LONGEST_PART = 200
_KEPT_END = 40
_DEVICE = re.compile(r"(con|prn|aux|nul|com\d|lpt\d)(\.|$)", re.IGNORECASE)


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
    """Return a text as the begin of a file name, on every system.

    Other characters than letters, digits, ``_``, ``.`` and ``-`` become ``_``, what is too long is
    shortened, and names of devices of Windows, such as ``aux``, get a ``_``.
    """
    cleaned = _shorten(re.sub(r"[^\w.\-]", "_", text).strip(". "), _LONGEST_PART)
    return f"_{cleaned}" if not cleaned or _DEVICE.match(cleaned) else cleaned


def distinct_paths(paths: Sequence[Path], marks: Sequence[str]) -> list[Path]:
    """Return paths of which no two are the same file, also on disks that know no upper case.

    Parameters
    ----------
    paths : sequence of Path
        What they shall be called.
    marks : sequence of str
        What is added to each whose name others have, too; and a number if that is not enough.
    """
    count = Counter(map(_on_disk, paths))
    taken = {key for key, times in count.items() if times == 1}
    found = []
    for path, mark in zip(paths, marks, strict=True):
        name = path
        if count[_on_disk(path)] > 1:
            marked = (f"{path.name}_{mark}{more}" for more in _numbers())
            name = next(
                candidate
                for candidate in map(path.with_name, marked)
                if _on_disk(candidate) not in taken
            )
            taken.add(_on_disk(name))
        found.append(name)
    return found


def _numbers() -> Iterator[str]:
    yield ""
    yield from (f"_{number:02d}" for number in itertools.count(2))


def _on_disk(path: Path) -> str:
    """Return what is the same for names that some disk takes for one: macOS decomposes letters."""
    return unicodedata.normalize("NFD", str(path).casefold())


def free_name(path: Path, taken: Container[str] = (), ending: str = "") -> Path:
    """Return the path, or the first of ``name_02``, ``name_03``, ... that is free now.

    A name that is longer than a disk takes is shortened. Somebody else may take it before it is
    written: see :func:`save_under_free_name`.

    Parameters
    ----------
    path : Path
        The name that is wanted.
    taken : container of str
        Names in the same folder, in lower case, that shall not be used either.
    ending : str
        What the number stands before; by default an ending of labels or tables.

    Raises
    ------
    ExportError
        If there is none.
    """
    return next(_free_names(path, taken, ending))


def add_ending(path: Path, ending: str) -> Path:
    """Return the free name of a path with an ending; see :func:`free_name`.

    A dialog has asked whether to replace what the user typed, not what that becomes by an ending.

    Parameters
    ----------
    path : Path
        The name as it was typed.
    ending : str
        What it gets.
    """
    return free_name(path.with_name(f"{path.name}{ending}"), ending=ending)


def save_under_free_name(path: Path, save: Callable[[Path], object]) -> Path:
    """Save a file under a path, or the first of ``name_02``, ``name_03``, ... that is free.

    Parameters
    ----------
    path : Path
        The name that is wanted.
    save : callable
        Writes the file of a name; raises NameTaken where somebody else has taken it meanwhile.

    Returns
    -------
    Path
        The name that it got.

    Raises
    ------
    ExportError
        If there is none.
    """
    names = _free_names(path)
    while True:
        name = next(names)
        try:
            save(name)
        except NameTaken:
            continue
        return name


def _free_names(path: Path, taken: Container[str] = (), ending: str = "") -> Iterator[Path]:
    if ending:
        stem = path.name.removesuffix(ending)
    else:
        stem, ending = split_ending(path.name)
    stem = _shorten(stem, _LONGEST_NAME - len(ending))
    for number in range(1, _MOST):
        name = f"{stem}{ending}" if number == 1 else f"{stem}_{number:02d}{ending}"
        candidate = path.with_name(name)
        if name.lower() not in taken and _is_free(candidate):
            yield candidate
    raise ExportError(
        f"{path} and {_MOST} names like it exist.", "Choose another name or another folder."
    )


def _shorten(name: str, room: int) -> str:
    """Return a name of so many bytes at most: of a longer one the begin, and the end, as it tells.

    An image may have the longest name that its disk takes, and its labels' has more to say.
    """
    encoded = os.fsencode(name)
    if len(encoded) <= room:
        return name
    parts = encoded[: room - _KEPT_END - 1], encoded[-_KEPT_END:]
    return "_".join(part.decode("utf-8", "ignore") for part in parts)


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
    stem = _shorten(stem, _LONGEST_NAME - len(ending))
    for number in range(1, _MOST):
        candidate = folder / f"{stem}_{number:02d}{ending}"
        if _is_free(candidate):
            return candidate
    raise ExportError(
        f"{folder} holds {_MOST} files named {stem}.", "Choose another name or another folder."
    )


def _is_free(path: Path) -> bool:
    """Return whether nothing has this name, and nobody's file the one of the note beside it."""
    note = provenance_path(path)
    with explain_os_errors(path):
        return not is_there(path) and (is_provenance(note) or not is_there(note))

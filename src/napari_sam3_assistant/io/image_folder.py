"""The images of a folder, and what has been made of them."""

from __future__ import annotations

import glob
import os
import re
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import chain, takewhile
from pathlib import Path
from typing import TYPE_CHECKING

from napari_sam3_assistant.core.plurals import part_of
from napari_sam3_assistant.core.progress import NullReporter, Progress
from napari_sam3_assistant.errors import ExportError, ImageError
from napari_sam3_assistant.io.atomic import explain_os_errors
from napari_sam3_assistant.io.images import (
    NAMES,
    find_unread,
    format_by_name,
    format_of,
    image_name,
    list_series,
)
from napari_sam3_assistant.io.loaded import own_series, select_series
from napari_sam3_assistant.io.outputs import distinct_paths, safe_name
from napari_sam3_assistant.io.provenance import is_provenance, provenance_path, read_provenance
from napari_sam3_assistant.io.tiff import list_set_files
from napari_sam3_assistant.io.zarr_images import list_fields

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from napari_sam3_assistant.core.progress import Reporter
    from napari_sam3_assistant.io.provenance import ProvenanceRecord


@dataclass(frozen=True)
class FolderImage:
    """An image of a folder.

    Parameters
    ----------
    path : Path
        The file, or the folder of an OME-Zarr image.
    relative : str
        As seen from the folder, with ``/``.
    folder : str
        The folder that it lies in, or its plate, as seen from the folder of all.
    stem : str
        Its name without ending; with the ending where another image has the same. Of a field that
        of its plate, well and field: ``plate_A_1_0``.
    files : tuple of Path
        The path; of an image of several files (OME-TIFF, NDTiff) all of them.
    series : int, str or None
        Which image of a file that holds several: its number, or what the file has not. None for
        its largest.
    label : str
        Number and name of that image; empty for the largest.
    file : FolderImage or None
        What the other images of the file know of it as well.
    """

    path: Path
    relative: str
    folder: str
    stem: str
    files: tuple[Path, ...]
    series: int | str | None = None
    label: str = ""
    file: FolderImage | None = None

    @property
    def title(self) -> str:
        """What it is called in tables: as seen from the folder, and which image of the file."""
        return f"{self.relative} [{self.label}]" if self.label else self.relative

    @cached_property
    def state(self) -> tuple[int, int]:
        """Size in bytes and time of the last change in nanoseconds, when it is first asked for.

        All chunks of a zarr image are looked at for it, which may be millions.
        """
        return _file_state(self.files) if self.file is None else self.file.state


@dataclass(frozen=True, slots=True)
class FolderContent:
    """What a folder holds.

    Parameters
    ----------
    images : tuple of FolderImage
        By name, 2 before 10. An OME-TIFF or NDTiff that is spread over several files is one image.
    left_out : tuple of (str, str)
        What else fits the pattern, as seen from the folder, and why it is no image of its own.
    """

    images: tuple[FolderImage, ...]
    left_out: tuple[tuple[str, str], ...]


def split_source(source: Path, pattern: str) -> tuple[Path, str]:
    """Return the folder of what users name, and which of its files are meant.

    Parameters
    ----------
    source : Path
        A folder, a plate, an image, or a pattern as ``images/*.tif`` that no shell has resolved.
    pattern : str
        Which files of a folder.

    Returns
    -------
    Path
        The folder, or the plate.
    str
        The pattern.
    """
    if os.path.isfile(source) or (_is_zarr(source) and source.is_dir() and not _fields(source)):
        return source.parent, glob.escape(source.name)
    if os.path.exists(source) or not glob.has_magic(str(source)):
        return source, pattern
    parts = source.parts
    first = next(number for number, part in enumerate(parts) if glob.has_magic(part))
    inner = [*parts[first:], *([] if pattern == "*" else [pattern])]
    return Path(*parts[:first]), "/".join(inner)


def find_images(
    source: Path,
    output: Path,
    pattern: str,
    series: Sequence[int | str] | None = None,
    reporter: Reporter | None = None,
) -> FolderContent:
    """Return the images of a folder, or the fields of a plate, and what is left out.

    Parameters
    ----------
    source : Path
        The folder, or a plate. The fields of plates in it are images, too.
    output : Path
        Where labels will be written; made if it is missing. What lies in it is left out.
    pattern : str
        Which of them, as ``*.tif``; ``**/*`` for all folders below. Of a plate, the fields that
        end so, as ``A/*/*``.
    series : sequence of int or str, optional
        Which images of files that hold several, as :func:`.loaded.parse_series` returns it; each
        is an image of its own. By default the largest of each file.
    reporter : Reporter, optional
        Is told of the files that are looked into for that; may cancel.

    Raises
    ------
    ImageError
        If the folder is missing or holds none.
    ExportError
        If both folders are the same, or the output can't be made.
    """
    listed = _list_matching(source, output, pattern)
    with explain_os_errors(output):
        output.mkdir(parents=True, exist_ok=True)
    reasons = {path: why for path, home in listed.items() if (why := _why_not(path, home))}
    known = {(path.parent, image_name(path)) for path in listed}
    for path in [path for path in listed if path not in reasons]:
        name = image_of_labels(image_name(path))
        if (path.parent, name) in known:
            reasons[path] = f"By its name it is the labels of {name}."
        elif is_provenance(provenance_path(path)):
            reasons[path] = "It is labels, as the note beside it says."
    sets = list(_group_files(path for path in listed if path not in reasons))
    for first, *others in sets:
        why = f"It is a part of {first.name}, an image of {len(others) + 1} files."
        reasons |= dict.fromkeys(others, why)
    if not sets:
        raise _nothing_found(source, pattern, reasons)
    images = tuple(_name_images(source, sets, listed))
    left_out = [(path.relative_to(source).as_posix(), why) for path, why in reasons.items()]
    if series is not None:
        files = images
        images = tuple(_split_files(files, series, reporter or NullReporter()))
        meant, asked = {image.relative for image in images}, ", ".join(map(str, series))
        why = f"None of its images is meant by the series {asked}."
        left_out += [(file.relative, why) for file in files if file.relative not in meant]
        if not images:
            raise ImageError(
                f"None of the images in {source} is meant by the series {asked}.",
                "'napari-sam3 info FILE' says which images a file holds.",
            )
    return FolderContent(images, tuple(left_out))


_LABELS = ("_cp_masks", "_masks", "_mask", "_labels", "_label", "_seg")


def image_of_labels(name: str) -> str:
    """Return the name of the image whose labels are called so, by us or other tools, or nothing."""
    ending = next((end for end in _LABELS if name.endswith(end)), "")
    return name.removesuffix(ending) if ending else ""


def list_images(source: Path, output: Path, pattern: str) -> tuple[FolderImage, ...]:
    """Return the images of :func:`find_images` by their names alone, and make no folder.

    No file is opened whose name tells its format, so each file of an image of several is there:
    who opens one asks :func:`napari_sam3_assistant.io.tiff.list_set_files`.

    Parameters
    ----------
    source : Path
        The folder, or a plate.
    output : Path
        Where labels will be written; what lies in it is left out.
    pattern : str
        Which of them.

    Raises
    ------
    ImageError
        If the folder is missing or holds none.
    ExportError
        If both folders are the same.
    """
    listed = _list_matching(source, output, pattern)
    reasons = {path: why for path, home in listed.items() if (why := _why_not(path, home))}
    images = [[path] for path in listed if path not in reasons]
    if not images:
        raise _nothing_found(source, pattern, reasons)
    return tuple(_name_images(source, images, listed))


def first_files(
    source: Path, output: Path | None, pattern: str, go_on: Callable[[], bool]
) -> Iterator[Path]:
    """Yield the first file of each image of :func:`find_images`, by name; makes no folder.

    Parameters
    ----------
    source : Path
        The folder.
    output : Path or None
        Where labels will be written; None where that is not known yet.
    pattern : str
        Which of them.
    go_on : callable
        Asked for each path that fits the pattern. From False on no more are looked for; the
        images among those that were found are yielded, of a large folder perhaps none.

    Raises
    ------
    ImageError
        If the folder is missing or holds none.
    ExportError
        If both folders are the same.
    """
    listed = _list_matching(source, output, pattern, go_on)
    found = False
    usable = (path for path, home in listed.items() if not _why_not(path, home))
    for first, *_ in _group_files(usable):
        found = True
        yield first
    if not found and go_on():
        raise _nothing_found(source, pattern, {})


def _list_matching(
    source: Path, output: Path | None, pattern: str, go_on: Callable[[], bool] = lambda: True
) -> dict[Path, Path]:
    """Return what fits the pattern and is the user's, by name, and of a field its plate."""
    if not os.path.isdir(source):  # unlike the path's own, also where a name is too long
        raise ImageError(f"There is no folder {source}.", "Check the path.")
    if ".." in Path(pattern).parts:
        raise ImageError(
            f"The pattern '{pattern}' leads out of the folder.", "Name the folder itself as IN."
        )
    inside = None if output is None else Path(os.path.realpath(output))
    if Path(os.path.realpath(source)) == inside:
        raise ExportError(
            "The images and the labels can't be in the same folder.",
            "Choose another output folder, such as one in the folder of the images.",
        )
    pattern = _widen(pattern)
    try:
        fields = {path: source for path in _fields(source) if path.match(pattern)}
        if fields:
            return fields
        found = takewhile(lambda _: go_on(), source.glob(pattern))
        meant = (path for path in found if _is_meant(path, source, inside))
        listed = sorted(meant, key=_natural_key)
        if "**" in pattern:  # which has gone into the folders already
            listed = [path for path in listed if not path.is_dir() or _is_zarr(path)]
    except (ValueError, NotImplementedError) as exc:
        raise ImageError(
            f"The pattern '{pattern}' can't be used ({exc}).", "Write it like *.tif or **/*.tif."
        ) from exc
    # A plate stands for its fields.
    return {inner: path for path in listed for inner in (_fields(path) or [path])}


def _widen(pattern: str) -> str:
    r"""Return a pattern of which ``*.tif`` fits ``.TIF``, too; it may be typed with ``\``."""
    folders, slash, name = pattern.replace("\\", "/").rpartition("/")
    stem, dot, ending = name.rpartition(".")
    if dot and ending.isalnum() and set(re.sub(r"\[.\]", "", stem)) & set("*?"):
        letters = (f"[{one.lower()}{one.upper()}]" if one.isalpha() else one for one in ending)
        name = f"{stem}.{''.join(letters)}"
    return f"{folders}{slash}{name}"


def _natural_key(path: Path) -> tuple[list[list[tuple[str, int]]], str]:
    """Return what paths are sorted by, part by part: 2 comes before 10."""
    parts = (re.findall(r"([^0-9]*)([0-9]*)", part) for part in path.parts)
    return [[(text, int(number or -1)) for text, number in part] for part in parts], str(path)


def _fields(path: Path) -> list[Path]:
    """Return the fields of a plate; empty where it is none."""
    return [path / name for name in list_fields(path)] if path.is_dir() else []


def _nothing_found(source: Path, pattern: str, reasons: Mapping[Path, str]) -> ImageError:
    hidden = any(part.startswith(".") for part in Path(pattern).parts)
    why = f"Images are {NAMES} and OME-Zarr."
    if hidden:
        why = "What begins with a dot is hidden and left out: choose such a folder itself."
    elif reasons:
        why = next(f"{path.name}: {reason}" for path, reason in reasons.items())
    return ImageError(f"No image in {source} fits the pattern '{pattern}'.", why)


def _is_meant(path: Path, source: Path, output: Path | None) -> bool:
    """Return whether a path is the user's, and no part of an image, hidden, or an output."""
    below = path.relative_to(source)
    hidden = any(part.startswith(".") for part in below.parts)  # .AppleDouble/a.tif is no image
    in_image = any(_is_zarr(folder) or _is_of_oif(folder) for folder in below.parents)
    real = Path(os.path.realpath(path))
    return not (hidden or in_image or real == output or output in real.parents)


def _why_not(path: Path, home: Path) -> str:
    """Return why a path is no image; empty if it is one, or a field of a plate."""
    if path.is_dir():
        below = "It is a folder: the pattern **/* takes the folders below as well."
        return "" if path != home or _is_zarr(path) else below
    if format_by_name(path) is not None:
        return ""
    try:
        if format_of(path):
            return ""
        unread = find_unread(path, None)
        return f"It is not one of {NAMES} and OME-Zarr." if unread is None else str(unread)
    except OSError as error:
        return f"It can't be opened: {error.strerror}."


def _is_zarr(path: Path) -> bool:
    return path.suffix.lower() == ".zarr"


def _is_of_oif(path: Path) -> bool:
    """Return whether a folder holds the planes of the OIF beside it."""
    return path.name.lower().endswith(".oif.files")


def _group_files(paths: Iterable[Path]) -> Iterator[list[Path]]:
    """Yield the files of each image: the first, and at the end all; most have one."""
    known: dict[Path, list[Path]] = {}
    for path in paths:
        if path in known:
            known[path].append(path)
            continue
        files = [path]
        if path.suffix.lower() in (".tif", ".tiff"):
            known |= dict.fromkeys((path.parent / name for name in list_set_files(path)), files)
        yield files


def _name_images(
    source: Path, sets: list[list[Path]], homes: dict[Path, Path]
) -> Iterator[FolderImage]:
    firsts = [files[0] for files in sets]
    stems = [homes[path].parent / _stem(path, homes) for path in firsts]
    endings = [
        path.name[len(stem.name) :].strip(".").replace(".", "_")
        for path, stem in zip(firsts, stems, strict=True)
    ]
    for files, named in zip(sets, distinct_paths(stems, endings), strict=True):
        path, home, stem = files[0], homes[files[0]], named.name
        folder = "" if home == source else home.parent.relative_to(source).as_posix()
        relative = path.relative_to(source).as_posix()
        yield FolderImage(path, relative, folder, stem, tuple(files))


def _stem(path: Path, homes: dict[Path, Path]) -> str:
    """Return the name of an image without its ending, of a field with that of its plate."""
    home = homes[path]
    return "_".join([image_name(home), *path.relative_to(home).parts])


def _split_files(
    images: Sequence[FolderImage], wanted: Sequence[int | str], reporter: Reporter
) -> Iterator[FolderImage]:
    """Yield those images of each file that are meant; a file of one image as it is."""
    found: list[FolderImage] = []
    for number, image in enumerate(images):
        message = f"Looking into {image.relative} ({part_of(number + 1, len(images))})"
        reporter.report(Progress(number, len(images), message))
        reporter.check()
        found += _images_of_file(image, wanted)
    # What another file of the same name holds, or another file is called, may be called the same.
    stems = distinct_paths(
        [Path(image.folder, image.stem) for image in found],
        [image.path.suffix.strip(".") for image in found],
    )
    for image, stem in zip(found, stems, strict=True):
        yield replace(image, stem=stem.name)


def _images_of_file(image: FolderImage, wanted: Sequence[int | str]) -> list[FolderImage]:
    try:
        choices = list_series(image.path)
    except ImageError:
        return [image]  # who opens it is told why
    own = own_series(choices)
    every = images_of_file(image, [choice.name for choice in choices])
    found = []
    for series in select_series(choices, wanted):
        if len(own) == 1 and series in own:
            found.append(image)  # the only one needs no number
            continue
        if isinstance(series, int) and 0 <= series < len(choices):
            found.append(every[series])
            continue
        label, stem = str(series), f"{image.stem}_{safe_name(str(series))}"
        found.append(replace(image, stem=stem, series=series, label=label, file=image))
    return found


def images_of_file(image: FolderImage, names: Sequence[str]) -> list[FolderImage]:
    """Return all images of a file that holds several, called by their numbers and names.

    Parameters
    ----------
    image : FolderImage
        The file.
    names : sequence of str
        What the file calls them; empty for no name.
    """
    stems = distinct_paths(
        [Path(f"{image.stem}_{safe_name(name or str(at))}") for at, name in enumerate(names)],
        [str(number) for number in range(len(names))],
    )
    return [
        replace(
            image, stem=stem.name, series=at, label=f"{at}: {name}" if name else str(at), file=image
        )
        for at, (name, stem) in enumerate(zip(names, stems, strict=True))
    ]


def _file_state(paths: Iterable[Path]) -> tuple[int, int]:
    """Return size and time of change; 0 of a link to nowhere, which fails when it is read."""
    size, changed = 0, 0
    for path in chain.from_iterable(map(_iter_files, paths)):
        try:
            stat = os.stat(path)
        except OSError:
            continue
        size += stat.st_size
        changed = max(changed, stat.st_mtime_ns)
    return (size, changed)


def _iter_files(path: Path) -> Iterator[str]:
    """Yield a file, or those of a zarr image: of one that is written to the folder keeps its time.

    The labels that OME-Zarr has beside the pixels are not of the image.
    """
    if not path.is_dir():
        yield str(path)
    for folder, below, names in os.walk(path):
        below[:] = [name for name in below if name != "labels"]
        yield from (os.path.join(folder, name) for name in names)


@dataclass(frozen=True, slots=True, eq=False)
class FinishedLabels:
    """Labels that an earlier start has finished.

    Parameters
    ----------
    path : Path
        The labels.
    note : ProvenanceRecord
        The note beside them without its objects: all images of a folder have many.
    objects : int
        How many these are.
    """

    path: Path
    note: ProvenanceRecord
    objects: int


def finished_outputs(output: Path) -> dict[str, list[FinishedLabels]]:
    """Return labels that earlier starts have finished, by image.

    Parameters
    ----------
    output : Path
        The folder of the labels.
    """
    finished: dict[str, list[FinishedLabels]] = {}
    for path in sorted(_find_provenance(output)):
        try:
            record = read_provenance(path)
        except ExportError:
            # Damaged, or written by a later version: what it tells of is done again.
            continue
        labels = path.with_name(path.name.removesuffix(".json"))
        count = len(tuple(record.objects))
        found = FinishedLabels(labels, replace(record, objects=()), count)
        finished.setdefault(str(record.extra.get("source")), []).append(found)
    return finished


def _find_provenance(output: Path) -> Iterator[Path]:
    """Yield the notes in a folder and those below it; zarr folders hold thousands of files."""
    for folder, below, names in os.walk(output):
        below[:] = [name for name in below if not name.lower().endswith((".zarr", ".scan"))]
        paths = (Path(folder, name) for name in names if name.endswith(".json"))
        yield from filter(is_provenance, paths)

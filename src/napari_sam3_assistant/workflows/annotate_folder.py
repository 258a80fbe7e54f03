"""A folder of images that is annotated one by one: states, labels, one table and one COCO of all.

What is known of the images is one file of lines in the folder of the labels, to which lines are
only added: a state each. Of an image the last line holds. Whoever is killed leaves at most half a
line, which nobody reads, and two processes at one folder add up.
"""

from __future__ import annotations

import json
import os
import threading
from collections import Counter
from dataclasses import dataclass, replace
from enum import StrEnum
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_sam3_assistant.core.axes import make_axes, order_as
from napari_sam3_assistant.core.classes import ClassList, ObjectClass
from napari_sam3_assistant.core.masks.labels import ImagePlace
from napari_sam3_assistant.core.masks.objects import ANY_CLASS, Classes
from napari_sam3_assistant.core.progress import CancelOnlyReporter, Progress
from napari_sam3_assistant.errors import ExportError, ImageError, MaskError
from napari_sam3_assistant.io.atomic import atomic_write, explain_os_errors
from napari_sam3_assistant.io.class_list import read_classes, write_classes
from napari_sam3_assistant.io.exports import CocoPart, save_coco_of_all, write_table
from napari_sam3_assistant.io.image_folder import image_of_labels, images_of_file, list_images
from napari_sam3_assistant.io.images import image_name, read_image
from napari_sam3_assistant.io.loaded import ALL_SERIES, select_series
from napari_sam3_assistant.io.outputs import free_name, make_folder, stamp_of
from napari_sam3_assistant.io.provenance import (
    find_place,
    is_provenance,
    provenance_path,
    read_provenance,
    write_provenance,
)
from napari_sam3_assistant.io.tiff import list_set_files
from napari_sam3_assistant.io.untrusted import as_dict, as_list, as_text, as_whole, open_regular
from napari_sam3_assistant.workflows.measure import columns_of, measure_in_image
from napari_sam3_assistant.workflows.provenance import make_accepted_record
from napari_sam3_assistant.workflows.save import LabelsExport, export_labels

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from napari_sam3_assistant.core.axes import Axes
    from napari_sam3_assistant.core.images import AnyArray
    from napari_sam3_assistant.core.masks.labels import LabelArray
    from napari_sam3_assistant.core.progress import Reporter
    from napari_sam3_assistant.io.image_folder import FolderImage
    from napari_sam3_assistant.io.loaded import LoadedImage
    from napari_sam3_assistant.io.provenance import ProvenanceRecord
    from napari_sam3_assistant.workflows.provenance import RunProvenance


STATES_FILE = "sam3_annotation.jsonl"
CLASSES_FILE = "classes.csv"
SUMMARY_FILE = "sam3_objects.csv"
COCO_FILE = "sam3_coco.json"
DEFAULT_OUTPUT = "sam3_labels"
"""What the folder of the labels is called in that of the images, where no other is chosen."""
FORMAT = "napari-sam3-assistant folder annotation"
VERSION = 1
_MOST_BYTES = 1 << 28
_MOST_LABELS = 1 << 31  # bytes
_LINE_ERRORS = (TypeError, ValueError, KeyError, RecursionError)


class ImageState(StrEnum):
    """How far an image is."""

    UNTOUCHED = "untouched"
    BEGUN = "begun"
    DONE = "done"
    FLAGGED = "flagged"


@dataclass(frozen=True, slots=True)
class AnnotatedImage:
    """An image of the folder, and what is known of it.

    ``state``: how far it is.
    ``labels``: its labels, as seen from their folder; empty for none.
    ``objects``: how many there are.
    ``others``: labels that lie beside it, of another tool.
    ``problem``: why it can't be read; empty where it can, or nobody has tried since the folder was
    opened.
    """

    file: FolderImage
    state: ImageState = ImageState.UNTOUCHED
    labels: str = ""
    objects: int = 0
    others: Path | None = None
    problem: str = ""

    @property
    def name(self) -> str:
        """The image as seen from the folder, and which of its file: what it is known by."""
        return self.file.title


@dataclass(frozen=True, slots=True, eq=False)
class OpenedImage:
    """An image with what was annotated on it before.

    ``name``: the image, as seen from the folder.
    ``path``: its file.
    ``image``: its pixels; large ones are read when they are indexed.
    ``labels``: its labels, as they were saved; None for none.
    ``note``: what the note beside them says.
    ``stamp``: what changes when somebody else writes the labels.
    ``problem``: why there are no labels where there should be some; empty where all is well.
    """

    name: str
    path: Path
    image: LoadedImage
    labels: LabelArray | None = None
    note: ProvenanceRecord | None = None
    stamp: str | None = None
    problem: str = ""


@dataclass(frozen=True, slots=True, eq=False)
class LabelsToSave:
    """What is to be saved of an image.

    ``labels``: object ids.
    ``axes``: what a file can say of their place.
    ``objects``: what the note says of each object.
    ``provenance``: what the image looked like to the model; None where that is not known.
    ``stamp``: the stamp of :class:`OpenedImage`: labels that somebody has written since are not
    replaced.
    """

    labels: AnyArray
    axes: Axes
    objects: tuple[Mapping[str, Any], ...] = ()
    provenance: RunProvenance | None = None
    stamp: str | None = None


@dataclass(frozen=True, slots=True)
class SavedImage:
    """What became of an image that was saved.

    ``path``: its labels; None where there are none.
    ``objects``: how many objects they hold.
    ``beside``: the labels that somebody else has written meanwhile, and that stayed.
    ``stamp``: the new stamp of the labels.
    """

    path: Path | None
    objects: int
    beside: Path | None = None
    stamp: str | None = None


class AnnotatedFolder:
    """The images of a folder, and what is known of them. Any thread may call any method.

    ``source`` and ``output``: folder of the images, and folder of the labels, which is made.
    ``pattern``: which images, as ``*.tif``; ``**/*`` for all folders below.
    ``classes``: the classes of all of them; empty where there is no list.
    Raises ImageError if there is no image in the folder.
    Raises ExportError if the output is the folder itself, belongs to the images of another one, or
    can't be written.
    Raises MaskError if the class list there is none.
    """

    def __init__(self, source: Path, output: Path, pattern: str = "*") -> None:
        self.source, self.output = source, output
        self._lock = threading.RLock()
        self._file = output / STATES_FILE
        self._read_to = 0
        found = _take_companions(list_images(source, output, pattern))
        if not found:
            raise ImageError(
                f"{source} holds labels, and no image of them.", "Choose the folder of the images."
            )
        with explain_os_errors(output):
            output.mkdir(parents=True, exist_ok=True)
        self._images = list(found)
        self._prompts: dict[str, list[Any]] = {}  # that were not run, by the image
        self._last = ""  # image whose state was noted last, by whom ever
        self._taken: dict[str, str] = {}  # of files of several images the one that stood for all
        self._places: dict[str, int] = {}
        self._count()
        self._begin()
        self.refresh()
        list_file = output / CLASSES_FILE
        self.classes = read_classes(list_file) if list_file.exists() else ClassList()

    # -- states -----------------------------------------------------------------------------

    @property
    def images(self) -> tuple[AnnotatedImage, ...]:
        """The images by name, 2 before 10."""
        with self._lock:
            return tuple(self._images)

    def place_of(self, name: str) -> int:
        """Return where an image is among all; raises ImageError if it is none of them."""
        with self._lock:
            if name not in self._places:
                raise ImageError(f"{name} is not in {self.source}.", "Open the folder again.")
            return self._places[name]

    def get(self, name: str) -> AnnotatedImage:
        """Return what is known of an image."""
        with self._lock:
            return self._images[self.place_of(name)]

    @property
    def counts(self) -> Counter[ImageState]:
        """How many images are in each state."""
        return Counter(image.state for image in self.images)

    def set_state(self, name: str, state: ImageState) -> None:
        """Record the state of an image, on the disk."""
        self._note(replace(self.get(name), state=state))

    def prompts_of(self, name: str) -> list[Any]:
        """Return the prompts on an image that were not run, any JSON, as they were kept last."""
        with self._lock:
            return self._prompts.get(name, [])

    def keep_prompts(self, name: str, prompts: list[Any]) -> None:
        """Record the prompts on an image that were not run, on the disk."""
        if prompts != self.prompts_of(name):
            self._append({"image": name, "prompts": prompts})

    def find_next(self, name: str, step: int, *, skip_done: bool) -> str:
        """Return the next image, or the one before; empty where there is none."""
        with self._lock:
            place = self.place_of(name) + step
            while 0 <= place < len(self._images):
                image = self._images[place]
                if not (skip_done and image.state is ImageState.DONE):
                    return image.name
                place += step
            return ""

    def first(self) -> str:
        """Return the image to begin with: the next that is left from where the work ended on.

        Flagged ones wait until no other is left; where all are done it is the first.
        """
        with self._lock:
            ended = self._places.get(self._last, 0)
            ordered = (*self._images[ended:], *self._images[:ended])
        for states in ((ImageState.UNTOUCHED, ImageState.BEGUN), (ImageState.FLAGGED,)):
            for image in ordered:
                if image.state in states:
                    return image.name
        return self.images[0].name

    def note_problem(self, name: str, problem: str) -> None:
        """Take note of why an image can't be read, until the folder is closed; empty if it can."""
        with self._lock:
            place = self.place_of(name)
            self._images[place] = replace(self._images[place], problem=problem)

    def refresh(self) -> None:
        """Take in what other processes have noted since."""
        with self._lock:
            try:
                with open_regular(self._file) as file:
                    if os.fstat(file.fileno()).st_size > _MOST_BYTES:
                        raise ExportError(f"{self._file} is too large.", "Choose another folder.")
                    file.seek(self._read_to)
                    content = file.read()
            except OSError as exc:
                raise ExportError(
                    f"{self._file} can't be read: {exc.strerror or exc}.",
                    "Check that the disk or the network folder is connected.",
                ) from exc
            whole = content.rpartition(b"\n")[0]
            self._read_to += len(whole) + bool(content.count(b"\n"))
            for line in whole.splitlines():
                try:
                    self._take(as_dict(json.loads(line)))
                except _LINE_ERRORS:
                    continue  # half a line of who was killed

    def _begin(self) -> None:
        """Make the file of states, or see that it is one for these images."""
        source = str(self.source.absolute())
        head = {"format": FORMAT, "version": VERSION, "source": source}
        if not os.path.lexists(self._file):
            try:
                with atomic_write(self._file, replace=False) as draft:
                    draft.write_text(json.dumps(head) + "\n", encoding="utf-8")
            except ExportError:
                if not os.path.lexists(self._file):
                    raise
        remedy = "Choose another folder for the labels."
        try:
            with open_regular(self._file) as file:
                header = as_dict(json.loads(file.readline(1 << 16)))
            if header["format"] != FORMAT:
                raise ValueError("it is another file")
            version, made_of = as_whole(header["version"]), as_text(header["source"])
        except (OSError, *_LINE_ERRORS) as exc:
            raise ExportError(f"{self._file} is not a list of states: {exc}.", remedy) from exc
        if version > VERSION:
            raise ExportError(
                f"{self._file} was written by a later version (format {version}).",
                "Update napari-sam3-assistant.",
            )
        if made_of != source and os.path.isdir(made_of) and not _same_folder(made_of, source):
            raise ExportError(f"{self.output} holds the labels of the images in {made_of}.", remedy)

    def _take(self, entry: dict[str, Any]) -> None:
        """Take in a line."""
        if "files" in entry:
            self._join(as_text(entry["image"]), [as_text(file) for file in as_list(entry["files"])])
        if "series" in entry:
            numbers = [as_whole(number) for number in as_list(entry["series"])]
            names = [as_text(name) for name in as_list(entry["names"])]
            self._split(as_text(entry["image"]), names, numbers, as_whole(entry["taken"]))
        if "prompts" in entry:
            self._prompts[as_text(entry["image"])] = as_list(entry["prompts"])
        place = self._places.get(as_text(entry.get("image", "")))
        if place is None or "state" not in entry:
            return
        labels = as_text(entry["labels"])
        if labels and (".." in PurePosixPath(labels).parts or Path(labels).is_absolute()):
            raise ValueError("labels elsewhere")
        self._images[place] = replace(
            self._images[place],
            state=ImageState(as_text(entry["state"])),
            labels=labels,
            objects=as_whole(entry["objects"]),
        )
        self._last = self._images[place].name

    def _note(self, image: AnnotatedImage) -> None:
        if image != self.get(image.name):
            entry = {"image": image.name, "state": image.state, "labels": image.labels}
            self._append({**entry, "objects": image.objects})

    def _append(self, entry: Mapping[str, Any]) -> None:
        """Add a line and bring it to the disk, then take it in."""
        with self._lock, explain_os_errors(self._file):
            with self._file.open("ab+", buffering=0) as file:
                line = json.dumps(entry).encode() + b"\n"
                end = file.seek(0, os.SEEK_END)
                file.seek(max(end - 1, 0))
                if file.read(1) not in (b"\n", b""):
                    line = b"\n" + line  # somebody was killed within a line
                if file.write(line) != len(line):
                    raise ExportError(
                        f"{self._file} can't be written: the disk is full.",
                        "Free some space on this disk.",
                    )
                os.fsync(file.fileno())
            self.refresh()

    def _join(self, first: str, files: list[str]) -> None:
        """Have files that are one image be one."""
        gone = {file for file in files if file != first and file in self._places}
        if gone and first in self._places:
            self._images = [image for image in self._images if image.name not in gone]
            self._count()

    def _split(self, name: str, names: list[str], numbers: list[int], taken: int) -> None:
        """Have the images of a file be images of their own; one has been what the file was."""
        place = self._places.get(name)
        if place is None or self._images[place].file.label:
            return
        known = self._images[place]
        every = images_of_file(known.file, names)
        if taken not in numbers or not set(numbers) <= set(range(len(every))):
            raise ValueError("images that are not there")
        self._images[place : place + 1] = [
            replace(known, file=every[number]) if number == taken else AnnotatedImage(every[number])
            for number in numbers
        ]
        self._taken[name] = every[taken].title
        self._count()
        if name in self._prompts:
            self._prompts[every[taken].title] = self._prompts.pop(name)
        self._last = every[taken].title if self._last == name else self._last

    def _count(self) -> None:
        """Take note of where each image is."""
        self._places = {image.name: place for place, image in enumerate(self._images)}
        for file, taken in self._taken.items():
            self._places[file] = self._places[taken]

    # -- images -----------------------------------------------------------------------------

    def open(self, name: str) -> OpenedImage:
        """Read an image, and the labels that were made of it before.

        Of an OME-TIFF that is spread over several files the others are no images of their own from
        then on. Of a file that holds several images each is one from then on, and one of them is
        read: the first, or else the one that was annotated when the file counted as one.
        """
        self.refresh()
        image = self.get(self._find_set(name))
        loaded = read_image(image.file.path, image.file.series)
        numbers = [] if image.file.label else _list_positions(loaded)
        if len(numbers) > 1:
            begun = image.state is not ImageState.UNTOUCHED
            names = [choice.name for choice in loaded.choices]
            entry = {"series": numbers, "names": names, "taken": loaded.series}
            self._append({"image": image.name, **entry})
            at = self.place_of(image.name)  # of the one that was read
            image = self.images[at if begun else at - numbers.index(loaded.series)]
            loaded = read_image(image.file.path, image.file.series)
        opened = OpenedImage(image.name, image.file.path, loaded)
        if not image.labels:
            return opened
        path = self.output / image.labels
        if not path.exists():
            # Who was killed before he wrote them has begun; who had some, has lost them.
            lost = f"{path} is gone; there are no labels to go on with." if image.objects else ""
            return replace(opened, problem=lost)
        try:
            read = _read_labels(path, opened.image.axes)
            return replace(opened, stamp=stamp_of(path), **read)
        except (ImageError, MaskError) as error:
            why = f"{error} They stay as they are: new labels get another name."
            return replace(opened, problem=why)

    def _find_set(self, name: str) -> str:
        """Return the image that a file is of, and note which files are of it."""
        file = self.get(name).file
        path = file.path
        if file.label or path.suffix.lower() not in (".tif", ".tiff"):
            return name
        folder = PurePosixPath(name).parent
        with self._lock:
            members = {str(folder / file) for file in list_set_files(path)} & set(self._places)
            if name not in members or len(members) == 1:
                return name
            ordered = sorted(members, key=self._places.__getitem__)
            self._append({"image": ordered[0], "files": ordered})
            return ordered[0]

    def save(
        self, name: str, state: ImageState, to_save: LabelsToSave | None, reporter: Reporter
    ) -> SavedImage:
        """Write the labels of an image and their note, then its state.

        Before anything is written it is noted where the labels will be, so that whoever is killed
        finds them. Labels that somebody else has written meanwhile stay; these get another name.
        """
        self.refresh()
        image = self.get(name)
        if to_save is None:
            self._note(replace(image, state=state))
            path = self.output / image.labels if image.labels else None
            return SavedImage(path, image.objects)
        in_memory = isinstance(to_save.labels, np.ndarray)
        known = self.output / image.labels if image.labels else None
        now = stamp_of(known) if known else None
        beside = known if now is not None and now != to_save.stamp else None
        ending = ".tif" if in_memory else ".ome.zarr"
        if known is None or beside is not None or not known.name.endswith(ending):
            folder = self.output / image.file.folder
            path = free_name(folder / f"{image.file.stem}_labels{ending}")
        else:
            path = known
        relative = path.relative_to(self.output).as_posix()
        begun = ImageState.BEGUN if image.state is ImageState.UNTOUCHED else image.state
        self._note(replace(image, state=begun, labels=relative))
        make_folder(path)
        record = make_accepted_record(
            to_save.provenance,
            to_save.axes,
            path.parent,
            to_save.objects,
            {"source": image.name, "annotated": str(state)},
        )
        ours = path == known and now is not None
        request = LabelsExport(
            to_save.labels, path, to_save.axes, overwrite=ours, overwrite_folder=ours
        )
        (written,) = export_labels(request, reporter)
        stamp = stamp_of(written)
        write_provenance(written, record)
        count = len(to_save.objects)
        relative = written.relative_to(self.output).as_posix()
        self._note(replace(image, state=state, labels=relative, objects=count))
        return SavedImage(written, count, beside, stamp)

    def save_classes(self, classes: ClassList) -> None:
        """Keep the classes of all images beside their labels."""
        if classes and classes != self.classes:
            write_classes(classes, self.output / CLASSES_FILE)
        self.classes = classes or self.classes

    # -- all of them ------------------------------------------------------------------------

    def export(self, reporter: Reporter, more: tuple[str, ...] = ()) -> FolderExport:
        """Write a table of all objects and a COCO file of all images; both replace earlier ones.

        Images are read one by one. Those that were not begun have no part in either.
        """
        self.refresh()
        classes = _SeenClasses(self.classes)
        rows: list[dict[str, Any]] = []
        failed: list[tuple[str, str]] = []
        begun = [image for image in self.images if image.state is not ImageState.UNTOUCHED]

        def parts() -> Iterator[CocoPart]:
            for done, image in enumerate(begun):
                reporter.report(Progress(done, len(begun), f"{image.name} ({done + 1})"))
                try:
                    part, found = _measure_image(self, image, classes, more, reporter)
                except (ImageError, MaskError, ExportError) as error:
                    failed.append((image.name, str(error)))
                    continue
                rows.extend(found)
                if part is not None:
                    yield part

        coco = save_coco_of_all(parts(), self.output / COCO_FILE)
        titles = ["image", "state", *(name for name in columns_of(rows) if name not in _FIRST)]
        table = self.output / SUMMARY_FILE
        write_table(table, titles, ([row.get(title) for title in titles] for row in rows))
        return FolderExport(table, coco, len(begun), len(rows), tuple(failed))


_FIRST = ("image", "state")


@dataclass(frozen=True, slots=True)
class FolderExport:
    """What was written of a whole folder.

    Parameters
    ----------
    table, coco : Path
        The table of all objects, and the COCO file of all images.
    images, objects : int
        How many there are in them; an object that goes through planes counts in each.
    failed : tuple of (str, str)
        Images that could not be read, and why.
    """

    table: Path
    coco: Path
    images: int
    objects: int
    failed: tuple[tuple[str, str], ...] = ()


@dataclass(slots=True, eq=False)
class _SeenClasses:
    """The classes of all images: those of the list, and then those that only objects name."""

    listed: ClassList

    def meaning(self, of_object: Mapping[int, str]) -> Classes:
        """Return what labels stand for, given the class of each by its name; empty for none."""
        if not self.listed and not any(of_object.values()):
            return Classes()
        named = {id_: name or ANY_CLASS for id_, name in of_object.items()}
        known = set(self.listed.names.values())
        for name in dict.fromkeys(name for name in named.values() if name not in known):
            id_ = max((entry.id for entry in self.listed), default=0) + 1
            self.listed = ClassList((*self.listed, ObjectClass(id_, name)))
        values = {name: value for value, name in self.listed.names.items()}
        of_label = {id_: values[name] for id_, name in named.items()}
        return Classes(self.listed.names, of_label, listed=self.listed)


def _measure_image(
    folder: AnnotatedFolder,
    annotated: AnnotatedImage,
    classes: _SeenClasses,
    more: tuple[str, ...],
    reporter: Reporter,
) -> tuple[CocoPart | None, list[dict[str, Any]]]:
    """Return what one image gives to the files of all."""
    image = read_image(annotated.file.path, annotated.file.series)
    state = {"image": annotated.name, "state": str(annotated.state)}
    path = folder.output / annotated.labels
    if not annotated.labels or not path.exists():
        return None, []
    read = _read_labels(path, image.axes)
    labels, note = read["labels"], read["note"]
    place = None if note is None else find_place(note, labels.shape)
    place = place or ImagePlace.alone(annotated.file.path.name, labels.shape)
    place = replace(place, file=annotated.name, image=annotated.name)
    labels = labels.reshape((1,) * (len(place.names) + 2 - labels.ndim) + labels.shape)
    entries = {} if note is None else _object_entries(note)
    rows = []
    axes = make_axes(labels.shape) if note is None or note.axes is None else note.axes
    quiet = CancelOnlyReporter(reporter)
    measured = measure_in_image(labels, axes, place, image, quiet, more=more)
    for row in measured:
        known = entries.get(row["id"], {})
        named = {"class": "", "score": None, **known}
        rows.append({**state, "id": row.pop("id"), **named, **row})
    of_object = {id_: known["class"] for id_, known in entries.items()}
    return CocoPart(labels, classes.meaning(of_object), place), rows


_OF_OTHER_KINDS = ("HDF5", "NumPy, several")
"""Formats whose files hold what else there is to an image, such as its labels."""


def _list_positions(loaded: LoadedImage) -> list[int]:
    """Return which images of a file are to be annotated one by one; empty for the one alone.

    Of a TIFF they are of one size: slides have pictures of their label and of all the glass.
    """
    if len(loaded.choices) < 2 or loaded.format in _OF_OTHER_KINDS:
        return []
    chosen = select_series(loaded.choices, [ALL_SERIES])
    numbers = [number for number in chosen if isinstance(number, int)]
    if loaded.format == "TIFF":
        size = loaded.choices[loaded.series].shape
        numbers = [number for number in numbers if loaded.choices[number].shape == size]
    return numbers if loaded.series in numbers else []


def _object_entries(note: ProvenanceRecord) -> dict[int, dict[str, Any]]:
    """Return class and score of each object that a note names, by its id."""
    try:
        return {
            as_whole(entry["id"]): {
                "class": as_text(entry.get("class") or ""),
                "score": entry.get("score"),
                **({"stability": entry["stability"]} if entry.get("stability") is not None else {}),
            }
            for entry in note.objects
        }
    except _LINE_ERRORS:
        return {}


def _read_labels(path: Path, image_axes: Axes) -> dict[str, Any]:
    """Return saved labels, in the order of their image, and their note.

    Raises ImageError or MaskError.
    """
    loaded = read_image(path)
    if np.dtype(loaded.data.dtype).kind not in "iu":
        raise MaskError(f"{path} holds no labels.", "Rename it.")
    if np.prod(loaded.data.shape, dtype=float) * 4 > _MOST_LABELS:
        raise MaskError(f"{path} is too large to go on with.", "Open it in Mask Operations.")
    note = provenance_path(path)
    try:
        record = read_provenance(note) if note.exists() else None
    except ExportError:
        record = None  # the labels themselves are there
    labels = loaded.pixels().transpose(order_as(loaded.axes, image_axes))
    return {"labels": labels, "note": record}


def _take_companions(files: tuple[FolderImage, ...]) -> tuple[AnnotatedImage, ...]:
    """Return the images, with the labels of other tools that lie beside them and are none."""
    names = [(image.path.parent, image_name(image.path)) for image in files]
    known = set(names)
    others: dict[tuple[Path, str], Path] = {}
    own = []
    for file, (folder, name) in zip(files, names, strict=True):
        image = (folder, image_of_labels(name))
        if image in known:
            others.setdefault(image, file.path)
        elif not _is_ours(file.path, name):
            own.append((file, (folder, name)))
    return tuple(AnnotatedImage(file, others=others.get(image)) for file, image in own)


def _is_ours(path: Path, name: str) -> bool:
    """Return whether a file is labels that were saved here, as its note says; few are looked at."""
    without_number = name.rstrip("0123456789_-")
    return bool(image_of_labels(without_number)) and is_provenance(provenance_path(path))


def _same_folder(first: str, second: str) -> bool:
    return os.path.realpath(first) == os.path.realpath(second)

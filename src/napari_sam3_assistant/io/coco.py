"""Read COCO annotations as labels.

Format: https://cocodataset.org/#format-data
"""

from __future__ import annotations

import itertools
import json
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from skimage.draw import polygon

from napari_sam3_assistant.core.plurals import pluralize
from napari_sam3_assistant.errors import ImageError, MaskError
from napari_sam3_assistant.io.class_list import classes_in
from napari_sam3_assistant.io.loaded import check_memory
from napari_sam3_assistant.io.untrusted import (
    as_dict,
    as_list,
    as_number,
    as_text,
    as_whole,
    open_regular,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    import numpy.typing as npt

    from napari_sam3_assistant.core.classes import ClassList

_LARGEST = 1 << 30  # bytes of a file
_WRONG = (TypeError, ValueError, KeyError, RecursionError)


@dataclass(frozen=True, slots=True)
class CocoImage:
    """An image of a COCO file.

    Parameters
    ----------
    id : int
        Its number there.
    file_name : str
        Its file, without folders.
    shape : tuple of int
        Height and width.
    """

    id: int
    file_name: str
    shape: tuple[int, int]


@dataclass(frozen=True, slots=True, eq=False)
class ImportedLabels:
    """Annotations of one image as labels.

    Parameters
    ----------
    image : str
        The file of the image.
    labels : ndarray, shape (H, W), dtype uint32
        Objects 1, 2, ... in the order of the file; where they overlap, the later one is on top.
    classes : ClassList
        The classes of the file.
    object_classes : dict of int to int
        The value of the class of each object, as ``classes`` has it.
    notes : tuple of str
        What was left out.
    """

    image: str
    labels: npt.NDArray[np.uint32]
    classes: ClassList
    object_classes: dict[int, int]
    notes: tuple[str, ...] = ()


class CocoFile:
    """A COCO file of whatever origin: what it says is checked, and its pixels are made when asked.

    Parameters
    ----------
    path : Path
        The file.

    Attributes
    ----------
    images : tuple of CocoImage
        The images.
    classes : ClassList
        The categories.

    Raises
    ------
    MaskError
        If it can't be read, or is no COCO file.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            with open_regular(path) as file:
                if os.fstat(file.fileno()).st_size > _LARGEST:
                    raise MaskError(f"{path} is too large.", "Split it into several files.")
                content = file.read()
        except OSError as exc:
            raise MaskError(
                f"{path} can't be read: {exc.strerror or exc}.", "Choose another file."
            ) from exc
        try:
            told = as_dict(json.loads(content))
            self.classes = classes_in({"categories": as_list(told["categories"])})
            self.images = tuple(map(_read_image, as_list(told["images"])))
            self._annotations: dict[int, list[dict[str, Any]]] = {one.id: [] for one in self.images}
            for one in as_list(told["annotations"]):
                self._annotations[as_whole(as_dict(one)["image_id"])].append(one)
        except _WRONG as exc:
            raise MaskError(
                f"{path} is no COCO file: {exc}.", "Choose one with images and annotations."
            ) from exc

    def find(self, name: str) -> CocoImage:
        """Return an image by the name of its file, with or without its ending, or the only one.

        Parameters
        ----------
        name : str
            The name; empty for the only image of the file.

        Raises
        ------
        MaskError
            If there is none, or several.
        """
        same = [one for one in self.images if one.file_name == name]
        same = same or [one for one in self.images if _stem(one.file_name) == _stem(name) and name]
        same = same or (list(self.images) if not name else [])
        if len(same) == 1:
            return same[0]
        listed = ", ".join(one.file_name for one in self.images[:4])
        listed += ", ..." if len(self.images) > 4 else ""
        many = "no image" if not same else "several images"
        raise MaskError(
            f"{self.path.name} has {many}{f' “{name}”' if name else ''}.",
            f"It has {listed}: give the name of one." if self.images else "Choose another file.",
        )

    def find_any(self, names: Sequence[str]) -> CocoImage:
        """Return the image of the first name that it has, or the only one; raises MaskError."""
        if len(self.images) == 1:
            return self.images[0]
        stems = {_stem(one.file_name) for one in self.images}
        return self.find(next((name for name in names if _stem(name) in stems), names[0]))

    def paint(self, image: CocoImage) -> ImportedLabels:
        """Return the annotations of an image as labels.

        Raises
        ------
        MaskError
            If an annotation can't be used.
        ImageError
            If there is no memory for so many pixels.
        """
        check_memory(image.shape, np.uint32)
        labels = np.zeros(image.shape, np.uint32)
        values = {one.id: one.id + self.classes.first for one in self.classes}
        classes: dict[int, int] = {}
        empty = crowds = 0
        for place, one in enumerate(self._annotations[image.id], 1):
            try:
                value = values[as_whole(one["category_id"])]
                if one.get("iscrowd") and "segmentation" in one:
                    crowds += 1
                    continue
                rows, columns = _pixels(one.get("segmentation"), image.shape)
            except _WRONG as exc:
                raise MaskError(
                    f"Annotation {place} of {image.file_name} in {self.path.name} can't be used: "
                    f"{exc}.",
                    "Export it again from the program that wrote it.",
                ) from exc
            if not len(rows):
                empty += 1
                continue
            label = len(classes) + 1
            labels[rows, columns] = label
            classes[label] = value
        seen = np.bincount(labels.reshape(-1), minlength=len(classes) + 1)[1:] > 0
        notes = [
            f"{pluralize(count, 'annotation')} {why}."
            for count, why in (
                (empty, "without pixels left out"),
                (crowds, "of crowds left out"),
                (int(np.count_nonzero(~seen)), "wholly below others"),
            )
            if count
        ]
        return ImportedLabels(image.file_name, labels, self.classes, classes, tuple(notes))


def _read_image(told: object) -> CocoImage:
    found = as_dict(told)
    shape = as_whole(found["height"]), as_whole(found["width"])
    if min(shape) < 1:
        raise ValueError(f"an image of {shape[0]} x {shape[1]} pixels")
    # Folders are those of another computer, and may lead anywhere.
    name = as_text(found["file_name"]).replace("\\", "/").rpartition("/")[2]
    return CocoImage(as_whole(found["id"]), name, shape)


def _stem(name: str) -> str:
    return name.rpartition(".")[0] or name


def _pixels(
    told: object, shape: tuple[int, int]
) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.intp]]:
    """Return rows and columns of the pixels of a segmentation: polygons, or run lengths."""
    if isinstance(told, dict):
        if tuple(map(as_whole, as_list(told["size"], 2))) != shape:
            raise ValueError("its mask has another size than the image")
        counts = told["counts"]
        if isinstance(counts, str):
            runs = list(_unpack_counts(counts))
        else:
            runs = [as_whole(count) for count in as_list(counts)]
        return _pixels_of_runs(runs, shape)
    found = [np.zeros((2, 0), np.intp)]
    for ring in [] if told is None else as_list(told):
        # Those far outside are as far as any.
        corners = np.array([as_number(one) for one in as_list(ring)]).clip(-1e9, 1e9)
        if corners.size % 2:
            raise ValueError("a polygon has an odd number of coordinates")
        x, y = corners.reshape(-1, 2).T
        # Corners are those of pixels, and a pixel is inside by its centre.
        found.append(np.stack(polygon(y - 0.5, x - 0.5, shape)))
    rows, columns = np.concatenate(found, axis=1)
    return rows, columns


def _pixels_of_runs(
    runs: list[int], shape: tuple[int, int]
) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.intp]]:
    """Return the pixels of run lengths: of 0 and of 1 in turns, column by column."""
    if min(runs, default=0) < 0 or sum(runs) != shape[0] * shape[1]:
        raise ValueError("its run lengths are not those of the image")
    edges = np.cumsum(runs)
    starts, lengths = edges[:-1:2], np.array(runs[1::2], np.intp)
    first = np.repeat(starts - np.cumsum(lengths) + lengths, lengths)
    columns, rows = np.divmod(first + np.arange(lengths.sum()), shape[0])
    return rows, columns


def _unpack_counts(text: str) -> Iterator[int]:
    """Yield the run lengths of COCO's compressed text.

    Each number is in groups of five bits, the lowest first, of which the sixth bit says whether
    another follows; from the fourth number on it is the difference to the one two before.
    """
    known: list[int] = []
    letters = iter(text.encode("ascii"))
    for letter in letters:
        groups = [letter - 48]
        while groups[-1] & 0x20:
            if len(groups) > 10:
                raise ValueError("its run lengths are damaged")
            groups.append(next(letters, 48) - 48)
        if not all(0 <= group < 64 for group in groups):
            raise ValueError("its run lengths are damaged")
        bits = itertools.count(0, 5)
        value = sum((group & 0x1F) << bit for group, bit in zip(groups, bits, strict=False))
        if groups[-1] & 0x10:
            value -= 1 << 5 * len(groups)
        if len(known) > 2:
            value += known[-2]
        known.append(value)
        yield value


def check_fits(image: CocoImage, shape: tuple[int, int]) -> None:
    """Raise ImageError unless an image has the size that its annotations are for."""
    if image.shape != shape:
        raise ImageError(
            f"The annotations are for {image.file_name} of {image.shape[0]} x {image.shape[1]} "
            f"pixels; the image has {shape[0]} x {shape[1]}.",
            "Choose the image that they were made for.",
        )

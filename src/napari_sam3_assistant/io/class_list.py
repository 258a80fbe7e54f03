"""Read and write lists of classes: CSV, plain names, YOLO's data.yaml, COCO, QuPath."""

from __future__ import annotations

import csv
import io
import json
import os
from typing import TYPE_CHECKING, Any

import yaml
from PIL import ImageColor

from napari_sam3_assistant.core.classes import ClassList, ObjectClass
from napari_sam3_assistant.errors import ExportError, MaskError
from napari_sam3_assistant.io.atomic import atomic_write
from napari_sam3_assistant.io.untrusted import as_text, as_whole, open_regular

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from napari_sam3_assistant.core.classes import Colour


LARGEST_LIST = 1 << 20  # bytes
_LARGEST_COCO = 1 << 28  # a data set lists its classes beside all annotations
_YAML = (".yaml", ".yml")
_PARENT = ("parent", "supercategory")
_COLUMNS = {"id", "name", "class"}
"""By which a first line is known for a header."""


def read_classes(path: Path) -> ClassList:
    """Read a list of classes.

    It is CSV with the columns ``id``, ``name``, ``color`` and ``parent`` (``name`` will do), which
    commas, semicolons or tabs separate, a text file with a name a line, YOLO's ``data.yaml``
    (``names``), COCO (``categories``) or QuPath's ``classes.json`` (``pathClasses``); in JSON and
    YAML also ``classes``, or a list by itself.
    Names without numbers count from 1, those of YOLO from 0.

    Parameters
    ----------
    path : Path
        The file.

    Raises
    ------
    MaskError
        If it can't be read, is no list of classes, or two have the same name or number.
    """
    ending = path.suffix.lower()
    most = _LARGEST_COCO if ending == ".json" else LARGEST_LIST
    try:
        with open_regular(path) as file:
            content = file.read(most + 1)
    except OSError as exc:
        raise MaskError(
            f"The class list {path} can't be read: {exc.strerror or exc}.", "Choose another file."
        ) from exc
    if len(content) > most:
        raise MaskError(f"{path} is too large for a list of classes.", "Choose another file.")
    try:
        text = content.decode("utf-8-sig")
        if ending == ".json":
            found = tuple(_classes_in(json.loads(text)))
        elif ending in _YAML:
            found = tuple(_classes_in(yaml.safe_load(text)))
        else:
            found = tuple(_classes_of_rows(text, plain=ending != ".csv"))
    except (TypeError, ValueError, KeyError, RecursionError, yaml.YAMLError, csv.Error) as exc:
        raise MaskError(
            f"{path} is not a list of classes: {exc}.",
            "Give a CSV file with the columns id, name and color, or a name a line.",
        ) from exc
    if not found:
        raise MaskError(f"{path} lists no class.", "Write a name a line.")
    return ClassList(found)


def classes_in(entry: Mapping[str, Any]) -> ClassList:
    """Return the classes of a file that holds more; raises TypeError, ValueError or KeyError."""
    return ClassList(tuple(_classes_in(entry)))


def _classes_in(entry: Any) -> Iterator[ObjectClass]:  # noqa: ANN401 - whatever a stranger wrote
    """Yield the classes of what JSON or YAML holds."""
    first = 1
    if isinstance(entry, dict):
        key = next(
            (name for name in ("categories", "pathClasses", "classes", "names") if name in entry),
            None,
        )
        if key is None:
            raise ValueError("it has none of categories, pathClasses, classes, names")
        first, entry = 0 if key == "names" else 1, entry[key]  # YOLO counts from 0
    if isinstance(entry, dict):
        for id_, name in entry.items():
            number = int(id_) if isinstance(id_, str) and id_.isdecimal() else as_whole(id_)
            yield ObjectClass(number, as_text(name).strip())
        return
    if not isinstance(entry, list):
        raise TypeError("it holds no list")
    for place, item in enumerate(entry, first):
        if not isinstance(item, dict):
            yield ObjectClass(place, as_text(item).strip())
            continue
        id_, name = as_whole(item.get("id", place)), as_text(item["name"]).strip()
        colour = next((item[key] for key in ("color", "colour", "colorRGB") if key in item), None)
        parent = next((item[key] for key in _PARENT if key in item), None) or ""
        yield ObjectClass(id_, name, read_colour(colour), _read_parent(as_text(parent), name))


def _classes_of_rows(text: str, *, plain: bool) -> Iterator[ObjectClass]:
    """Yield the classes of lines: with a header, as ``id,name,color``, or a name each."""
    lines = [line for line in text.splitlines() if line.strip()]
    header = _header(text, _delimiter(text))
    if "name" in header:
        for place, row in enumerate(_csv_rows(text)[1:], 1):
            cells = dict(zip(header, row, strict=False))
            number = cells.get("id", "").strip()
            colour = cells.get("color", cells.get("colour", ""))
            name = cells["name"].strip()
            parent = next((cells[key] for key in _PARENT if key in cells), "")
            yield ObjectClass(
                int(number) if number else place,
                name,
                read_colour(colour),
                _read_parent(parent, name),
            )
        return
    rows = [[line] for line in lines] if plain else _csv_rows(text)
    for place, row in enumerate(rows, 1):
        if len(row) > 1 and row[0].strip().isdecimal():
            yield ObjectClass(int(row[0]), row[1].strip(), read_colour(",".join(row[2:3])))
        else:
            yield ObjectClass(place, row[0].strip())


def _csv_rows(text: str) -> list[list[str]]:
    """Return the rows of CSV that are not empty; a name in quotes may have lines of its own."""
    rows = csv.reader(io.StringIO(text, newline=""), delimiter=_delimiter(text))
    return [row for row in rows if any(cell.strip() for cell in row)]


def _delimiter(text: str) -> str:
    """Return what separates the cells: a comma, or what spreadsheets write where it is decimal."""
    for delimiter in ";\t":
        first = _header(text, delimiter)
        if len(first) > 1 and (first[0].isdecimal() or not _COLUMNS.isdisjoint(first)):
            return delimiter
    return ","


def _header(text: str, delimiter: str) -> list[str]:
    """Return the cells of the first line that is not empty, in small letters."""
    first = next((line for line in io.StringIO(text) if line.strip()), "")
    return [cell.strip().lower() for cell in next(csv.reader([first], delimiter=delimiter), [])]


def _read_parent(text: str, name: str) -> str:
    """Return a parent; COCO's files may name the class itself, or ``none``, for nothing."""
    parent = text.strip()
    return "" if parent in (name, "none") else parent


def read_colour(value: object) -> Colour | None:
    """Return a colour: ``#rrggbb``, a name, three numbers, also as text, or QuPath's one number."""
    if value is None or value == "":
        return None
    if isinstance(value, int):
        bits = as_whole(value) & 0xFFFFFF
        return bits >> 16, bits >> 8 & 0xFF, bits & 0xFF
    if isinstance(value, list):
        red, green, blue = (as_whole(part) for part in value[:3])
    else:
        text = as_text(value).strip()
        text = f"rgb({text})" if text[:1].isdigit() else text
        red, green, blue = ImageColor.getrgb(text)[:3]
    if not all(0 <= part <= 255 for part in (red, green, blue)):
        raise ValueError(f"{value} is not a colour")
    return red, green, blue


def read_object_classes(path: Path, listed: ClassList) -> dict[int, int]:
    """Return the values of the classes that :func:`read_object_names` names.

    Raises
    ------
    MaskError
        If it can't be read, or names a class that the list has not.
    """
    named = read_object_names(path)
    values = {name: listed.value(name) for name in dict.fromkeys(named.values())}
    return {label: values[name] for label, name in named.items()}


def read_object_names(path: Path) -> dict[int, str]:
    """Return the class of each label that has one: columns ``id`` and ``class`` of a CSV file.

    Raises
    ------
    MaskError
        If it can't be read.
    """
    try:
        named = ((int(row["id"]), row["class"]) for row in _rows_of_objects(path))
        return {label: name for label, name in named if name}
    except (OSError, TypeError, ValueError, KeyError, csv.Error) as exc:
        raise MaskError(
            f"{path} does not say of which class each label is: {exc}.",
            "Give a CSV file with the columns id and class.",
        ) from exc


def read_object_parents(path: Path) -> dict[int, int]:
    """Return the parent of each label that has one: columns ``id`` and ``parent`` of a CSV file.

    Raises
    ------
    MaskError
        If it can't be read.
    """
    try:
        ids_and_parents = ((int(row["id"]), row.get("parent")) for row in _rows_of_objects(path))
        return {label: int(parent) for label, parent in ids_and_parents if parent}
    except (OSError, TypeError, ValueError, KeyError, csv.Error) as exc:
        raise MaskError(
            f"{path} does not say which label came of which one's division: {exc}.",
            "Give a CSV file with the columns id and parent.",
        ) from exc


def _rows_of_objects(path: Path) -> csv.DictReader[str]:
    with open_regular(path) as file:
        text = file.read(_LARGEST_COCO).decode("utf-8-sig")
    return csv.DictReader(io.StringIO(text, newline=""), delimiter=_delimiter(text))


def write_object_classes(
    classes: Mapping[int, str],
    path: Path,
    parents: Mapping[int, int] | None = None,
    *,
    replace: bool = True,
) -> Path:
    """Write the class of each label as :func:`read_object_classes` reads it, and its parent.

    Parameters
    ----------
    classes : mapping of int to str
        The names, by label; those with neither name nor parent are left out.
    path : Path
        The file.
    parents : mapping of int to int, optional
        Of labels that came of a division, the label that divided, see :func:`read_object_parents`.
    replace : bool
        Whether a file of that name is replaced.

    Raises
    ------
    NameTaken
        If there is one, and it is not to be replaced.
    ExportError
        If it can't be written.
    """
    with (
        atomic_write(path, replace=replace) as draft,
        draft.open("w", encoding="utf-8", newline="") as file,
    ):
        writer = csv.writer(file)
        parents = parents or {}
        named = {label for label, name in classes.items() if name}
        writer.writerow(("id", "class", *(("parent",) if parents else ())))
        writer.writerows(
            (label, classes.get(label, ""), *((parents.get(label, ""),) if parents else ()))
            for label in sorted(named | parents.keys())
        )
    return path


def write_classes(classes: ClassList, path: Path) -> Path:
    """Write a list of classes by the ending of its name: CSV, YOLO's data.yaml, or JSON.

    Parameters
    ----------
    classes : ClassList
        The list.
    path : Path
        The file; replaced if it exists. YAML holds ``names`` with the numbers of YOLO, and no
        colours and parents.

    Raises
    ------
    ExportError
        If it can't be written.
    """
    colours = {entry.id: "#{:02x}{:02x}{:02x}".format(*classes.colour(value))
               for value, entry in zip(classes.names, classes, strict=True)}  # fmt: skip
    with atomic_write(path) as draft:
        ending = path.suffix.lower()
        if ending in _YAML:
            names = classes.names
            numbered = {number: names[value] for value, number in classes.yolo_numbers.items()}
            draft.write_text(yolo_names(numbered), encoding="utf-8")
        elif ending == ".json":
            listed = [
                {"id": entry.id, "name": entry.name, "color": colours[entry.id]}
                | ({"supercategory": entry.parent} if entry.parent else {})
                for entry in classes
            ]
            draft.write_text(json.dumps({"categories": listed}, indent=1), encoding="utf-8")
        else:
            with draft.open("w", encoding="utf-8", newline="") as file:
                writer = csv.writer(file)
                with_parent = any(entry.parent for entry in classes)
                writer.writerow(("id", "name", "color", *(("parent",) * with_parent)))
                writer.writerows(
                    (entry.id, entry.name, colours[entry.id], *((entry.parent,) * with_parent))
                    for entry in classes
                )
    return path


def yolo_names(names: Mapping[int, str]) -> str:
    """Return what YOLO's data file says of names, by their numbers."""
    text: str = yaml.safe_dump({"names": {id_: names[id_] for id_ in sorted(names)}}, width=9999)
    return text


def read_yolo_names(path: Path) -> dict[str, int] | None:
    """Return YOLO's numbers of the classes in a data file, by names; None where there is none.

    Raises
    ------
    ExportError
        If it is no list of classes.
    """
    if not os.path.lexists(path):
        return None
    try:
        listed = read_classes(path)
    except MaskError as error:
        raise ExportError(
            f"{path} exists, and is not a list of classes.",
            "Rename it, or export under another name.",
        ) from error
    return {entry.name: entry.id for entry in listed}

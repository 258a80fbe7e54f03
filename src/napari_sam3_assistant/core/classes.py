"""The classes of a project: name, number, colour and parent, the same in every file."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, replace
from itertools import chain
from typing import TYPE_CHECKING

from napari_sam3_assistant.errors import MaskError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

Colour = tuple[int, int, int]
"""Red, green and blue, 0 to 255."""

PALETTE: tuple[Colour, ...] = (
    (86, 180, 233),
    (230, 159, 0),
    (0, 158, 115),
    (240, 228, 66),
    (204, 121, 167),
    (213, 94, 0),
    (0, 114, 178),
)
"""Okabe & Ito, "Color Universal Design" (2008), without black: told apart by all eyes."""

SEPARATOR = ": "
"""Between the parts of a name that is a path, as QuPath derives classes: ``tumour: positive``."""

LARGEST_ID = 65534
"""A label of 16 bits holds it, also where classes count from 0 and labels from 1."""


def default_colour(value: int) -> Colour:
    """Return the colour of a class that has none of its own."""
    return PALETTE[(value - 1) % len(PALETTE)]


@dataclass(frozen=True, slots=True)
class ObjectClass:
    """A class.

    Parameters
    ----------
    id : int
        Its number in the project's files; from 0.
    name : str
        Its name.
    colour : tuple of int or None
        Red, green and blue, 0 to 255; None for a colour by its number.
    parent : str
        The name of what it is a kind of, which may be a class of the list, or a heading alone (as
        COCO's ``supercategory``); empty for what the name says: ``tumour: positive`` is a kind of
        ``tumour``.
    """

    id: int
    name: str
    colour: Colour | None = None
    parent: str = ""


@dataclass(frozen=True, slots=True)
class ClassList:
    """The classes of a project, in the order of their keys. An empty list fixes nothing.

    In labels 0 is background, so where the classes count from 0 (YOLO) the value of a class in
    labels is its number plus 1.

    Parameters
    ----------
    classes : tuple of ObjectClass
        The classes.

    Raises
    ------
    MaskError
        If two have the same name or number, or one has no name, a number beyond the limit, or
        itself among its parents.
    """

    classes: tuple[ObjectClass, ...] = ()

    def __post_init__(self) -> None:
        for entry in self.classes:
            if not entry.name.strip():
                raise MaskError(f"The class {entry.id} has no name.", "Give it one.")
            if not 0 <= entry.id <= LARGEST_ID:
                raise MaskError(
                    f"The class “{entry.name}” has the number {entry.id}.",
                    f"Numbers are from 0 to {LARGEST_ID}.",
                )
        for kind, values in (
            ("name", [entry.name for entry in self.classes]),
            ("number", [entry.id for entry in self.classes]),
        ):
            twice = next((value for value, many in Counter(values).items() if many > 1), None)
            if twice is not None:
                raise MaskError(
                    f"Two classes of the list have the {kind} “{twice}”.",
                    f"Give each class a {kind} of its own.",
                )
        parents = self._parents
        for entry in self.classes:
            path = _path(parents, entry.name)
            if len(path) > len(set(path)):
                raise MaskError(
                    f"The class “{entry.name}” is a kind of itself.", "Choose another parent."
                )

    @classmethod
    def after_renaming(
        cls, classes: Iterable[ObjectClass], names: Mapping[str, str]
    ) -> tuple[ClassList, dict[str, str]]:
        """Return the list where what is a kind of a class follows that one's new name.

        Parameters
        ----------
        classes : iterable of ObjectClass
            The classes, those that were renamed by their new names.
        names : mapping of str to str
            The new names, by those of before.

        Returns
        -------
        ClassList
            The list.
        dict of str to str
            The new names, by those of before, also of classes whose name is a path.
        """
        classes, fresh = tuple(classes), set(names.values())

        def follow(name: str) -> str:
            above = "" if name in fresh else name
            while above := above.rpartition(SEPARATOR)[0]:
                if above in names:
                    return names[above] + name.removeprefix(above)
            return name

        known = {
            entry.name: follow(entry.name) for entry in classes if follow(entry.name) != entry.name
        }
        known |= names
        renamed = (
            replace(entry, name=follow(entry.name), parent=known.get(entry.parent, entry.parent))
            for entry in classes
        )
        return cls(tuple(renamed)), known

    @classmethod
    def of_names(cls, names: Iterable[str], first: int = 1) -> ClassList:
        """Return the list of names, which get the numbers from ``first`` on."""
        return cls(tuple(ObjectClass(id_, name) for id_, name in enumerate(names, first)))

    def __bool__(self) -> bool:
        return bool(self.classes)

    def __len__(self) -> int:
        return len(self.classes)

    def __iter__(self) -> Iterator[ObjectClass]:
        return iter(self.classes)

    @property
    def first(self) -> int:
        """What is added to a number to get the value in labels: 1 where they count from 0."""
        return int(any(entry.id == 0 for entry in self.classes))

    @property
    def names(self) -> dict[int, str]:
        """The names, by values in labels."""
        return {entry.id + self.first: entry.name for entry in self.classes}

    @property
    def yolo_numbers(self) -> dict[int, int]:
        """YOLO's numbers, by values in labels: those of a list from 0, else places in it."""
        ordered = sorted(self.classes, key=lambda entry: entry.id)
        return {
            entry.id + self.first: entry.id if self.first else place
            for place, entry in enumerate(ordered)
        }

    def find(self, name: str) -> ObjectClass | None:
        """Return the class of a name; None if the list has it not."""
        return next((entry for entry in self.classes if entry.name == name.strip()), None)

    def path(self, name: str) -> tuple[str, ...]:
        """Return the names above a class and its own, the outermost first."""
        return _path(self._parents, name)

    @property
    def _parents(self) -> dict[str, str]:
        return {entry.name: entry.parent for entry in self.classes}

    def parent(self, name: str) -> str:
        """Return what a class is a kind of; empty for nothing."""
        return _parent(self._parents, name)

    def path_names(self, name: str) -> list[str]:
        """Return the names of a path as QuPath has them: of ``tumour: positive`` both parts."""
        path = self.path(name)
        return [_leaf(above, own_name) for above, own_name in zip(("", *path), path, strict=False)]

    def resolve(self, name: str) -> str:
        """Return the list's name of a class that another program may name by its path."""
        if self.find(name) is None:
            for entry in self.classes:
                if SEPARATOR.join(self.path_names(entry.name)) == name:
                    return entry.name
        return name

    def extend(self, classes: Iterable[ObjectClass]) -> ClassList:
        """Return the list with the classes of another one that it has not, at its end.

        Those that are there, also by their path, stay as they are. New ones keep colour and parent,
        but for a parent that is a kind of them here; their numbers they keep in an empty list, and
        get the next free ones in another, so that no value in labels changes.

        Raises
        ------
        MaskError
            If there are no numbers left, or the new ones are no list.
        """
        parents, used = self._parents, {entry.id for entry in self.classes}
        fresh = [entry for entry in classes if self.resolve(entry.name) not in parents]
        last = max(used, default=0)
        free = chain(range(last + 1, LARGEST_ID + 1), range(1, last))
        numbers = (id_ for id_ in free if id_ not in used)
        merged = list(self.classes)
        for entry in fresh:
            parent = "" if entry.name in _path(parents, entry.parent) else entry.parent
            parents[entry.name] = parent
            id_ = next(numbers, LARGEST_ID + 1) if self.classes else entry.id
            merged.append(replace(entry, id=id_, parent=parent))
        return ClassList(tuple(merged))

    def in_tree(self) -> Iterator[tuple[int, str, ObjectClass | None]]:
        """Yield the tree from its top: how deep, the name, and its class; None for a heading."""
        below: dict[str, list[str]] = {}
        for entry in self.classes:
            for parent, name in zip(
                ("", *self.path(entry.name)), self.path(entry.name), strict=False
            ):
                kin = below.setdefault(parent, [])
                if name not in kin:
                    kin.append(name)

        def walk(parent: str, depth: int) -> Iterator[tuple[int, str, ObjectClass | None]]:
            for name in below.get(parent, ()):
                yield depth, name, self.find(name)
                yield from walk(name, depth + 1)

        yield from walk("", 0)

    def value(self, name: str) -> int:
        """Return the value in labels of a class.

        Raises
        ------
        MaskError
            If the list has no class of that name.
        """
        found = next((value for value, known in self.names.items() if known == name.strip()), None)
        if found is None:
            listed = ", ".join(entry.name for entry in self.classes[:5])
            more = ", ..." if len(self.classes) > 5 else ""
            raise MaskError(
                f"The class list has no “{name}”.", f"It has {listed}{more}: choose one, or add it."
            )
        return found

    def check_value(self, value: int) -> None:
        """Raise MaskError if the list has no class of a value in labels."""
        if value not in self.names:
            raise MaskError(
                f"The class list has no class for the value {value}.",
                f"It has {', '.join(map(str, list(self.names)[:9]))}: add it, or merge the label.",
            )

    def colour(self, value: int) -> Colour:
        """Return the colour of a value in labels."""
        found = next((entry for entry in self.classes if entry.id + self.first == value), None)
        return default_colour(value) if found is None or found.colour is None else found.colour


def _path(parents: Mapping[str, str], name: str) -> tuple[str, ...]:
    """Return the names above a name and that one, the outermost first; a circle is cut."""
    path = [name]
    while (parent := _parent(parents, path[0])) and len(path) == len(set(path)):
        path.insert(0, parent)
    return tuple(path)


def _parent(parents: Mapping[str, str], name: str) -> str:
    """Return what a name is a kind of: what is said of it, or what precedes its last part."""
    return parents.get(name) or name.rpartition(SEPARATOR)[0]


def _leaf(parent: str, name: str) -> str:
    return name.removeprefix(parent + SEPARATOR) if parent else name

"""The class list of a project: names, numbers and colours, and the file that it is of."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from napari_sam3_assistant.core.classes import ClassList
from napari_sam3_assistant.core.plurals import pluralize
from napari_sam3_assistant.errors import MaskError
from napari_sam3_assistant.io.class_list import read_classes, write_classes
from napari_sam3_assistant.io.outputs import add_ending
from napari_sam3_assistant.session.values import Level

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from napari_sam3_assistant.core.classes import ObjectClass


class HasClasses(Protocol):
    """A state with the class list of the project; both windows have one, see `share_classes`."""

    class_list: ClassList
    class_file: str


@dataclass(frozen=True, slots=True)
class ListChange:
    """A change of the class list, which can be taken back.

    ``before`` and ``after``: the list.
    ``file``: the file that it was of before; empty for none.
    ``written``: whether the change was written to that file.
    ``renamed``: the new names of classes, by those of before.
    """

    before: ClassList
    after: ClassList
    file: str
    written: bool = False
    renamed: Mapping[str, str] = field(default_factory=dict)


MOST_CHANGES = 100


class ClassFile:
    """The verbs about the class list of a project. All are called on the GUI thread.

    ``tell_renamed``: is given the new names of classes, by those of before, once the list has them.
    ``changes``: what can be taken back, the latest last; the same for all windows on a viewer.
    """

    def __init__(self, model: HasClasses, say: Callable[[str, Level], None]) -> None:
        self._model, self._say = model, say
        self.tell_renamed: Callable[[Mapping[str, str]], object] = lambda _: None
        self.changes: deque[ListChange] = deque(maxlen=MOST_CHANGES)

    @property
    def can_take_back(self) -> bool:
        """Whether the list is as its latest change that is known has left it."""
        return bool(self.changes) and self.changes[-1].after == self._model.class_list

    def choose(self, path: Path) -> None:
        """Take the class list of a file, which fixes names, numbers and colours from now on.

        Raises MaskError if it is none.
        """
        self._change_to(read_classes(path), str(path))
        self._say_fixed(path)

    def change(self, classes: ClassList, path: Path | None, renamed: Mapping[str, str]) -> None:
        """Take a class list that the user has changed, and write it to a file, if there is one.

        ``path``: the file, which gets ``.csv`` if that is not its ending, and then a number, if
        that exists; without one the list lasts as long as the window.
        ``renamed``: the new names of classes, by those of before: their objects follow.
        Raises ExportError if it can't be written; the list is as it was then.
        """
        if path is None:
            self._change_to(classes, "", renamed=renamed)
            self._say("The class list lasts as long as this window: it has no file.", Level.WARNING)
        else:
            if path.suffix.lower() != ".csv":
                path = add_ending(path, ".csv")
            write_classes(classes, path)
            self._note_written(str(path))
            written = self._model.class_file == str(path)
            self._change_to(read_classes(path), str(path), written=written, renamed=renamed)
            self._say_fixed(path)
        if renamed:
            self.tell_renamed(renamed)

    def extend(self, classes: Iterable[ObjectClass]) -> int:
        """Add the classes of somebody's objects that the list has not, and return how many.

        Its file stays as it is until the list is edited.
        """
        before = self._model.class_list
        self._change_to(before.extend(classes), self._model.class_file)
        return len(self._model.class_list) - len(before)

    def take_back(self) -> None:
        """Take the latest change of the list back, in its file and in the objects, too.

        Raises MaskError if there is none, or the list was changed elsewhere since; ExportError if
        its file can't be written; the list is as it was then.
        """
        if not self.can_take_back:
            raise MaskError(
                "There is no change of the class list to take back.", "Edit the list again."
            )
        change = self.changes[-1]
        if change.written:
            write_classes(change.before, Path(change.file))
        self.changes.pop()
        self.take(change.before, change.file)
        self._say("The class list is as it was before its latest change.", Level.SUCCESS)
        if change.renamed:
            self.tell_renamed({new: old for old, new in change.renamed.items()})

    def _note_written(self, file: str) -> None:
        """Note of the latest changes that they are in their file now: it goes back with them."""
        for place, change in reversed([*enumerate(self.changes)]):
            if change.file != file:
                break
            self.changes[place] = replace(change, written=True)

    def _change_to(
        self,
        classes: ClassList,
        file: str,
        *,
        written: bool = False,
        renamed: Mapping[str, str] | None = None,
    ) -> None:
        """Take a list as a step of undo, which is stored before the change is emitted."""
        before, of = self._model.class_list, self._model.class_file
        if before != classes:
            self.changes.append(ListChange(before, classes, of, written, dict(renamed or {})))
        self.take(classes, file)

    def _say_fixed(self, path: Path) -> None:
        many = pluralize(len(self._model.class_list), "class", "classes")
        self._say(f"{many} of {path} have these numbers in every file now.", Level.SUCCESS)

    def take(self, classes: ClassList, file: str = "") -> None:
        """Take a class list, and the file that it is of, if there is one."""
        self._model.class_list, self._model.class_file = classes, file

    def forget(self) -> None:
        """Allow any names and values of classes again."""
        self._change_to(ClassList(), "")
        self._say("No class list is fixed.", Level.INFO)

"""The class list of a project: names, numbers and colours, and the file that it is of."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from napari_sam3_assistant.core.classes import ClassList
from napari_sam3_assistant.core.plurals import pluralize
from napari_sam3_assistant.io.class_list import read_classes, write_classes
from napari_sam3_assistant.session.model import Level

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path


class HasClasses(Protocol):
    """A state with the class list of the project; both windows have one, see `share_classes`."""

    class_list: ClassList
    class_file: str


class ClassFile:
    """The verbs about the class list of a project. All are called on the GUI thread.

    Parameters
    ----------
    model : SessionModel or MaskModel
        The state.
    say : callable
        Shows a message to the user.

    Attributes
    ----------
    tell_renamed : callable
        Is given the new names of classes, by those of before, once the list has them.
    """

    def __init__(self, model: HasClasses, say: Callable[[str, Level], None]) -> None:
        self._model, self._say = model, say
        self.tell_renamed: Callable[[Mapping[str, str]], object] = lambda _: None

    def choose(self, path: Path) -> None:
        """Take the class list of a file, which fixes names, numbers and colours from now on.

        Raises MaskError if it is none.
        """
        self.take(read_classes(path), str(path))
        many = pluralize(len(self._model.class_list), "class", "classes")
        self._say(f"{many} of {path} have these numbers in every file now.", Level.SUCCESS)

    def change(self, classes: ClassList, path: Path | None, renamed: Mapping[str, str]) -> None:
        """Take a class list that the user has changed, and write it to a file, if there is one.

        Parameters
        ----------
        classes : ClassList
            The list.
        path : Path or None
            The file; without one the list lasts as long as the window.
        renamed : mapping of str to str
            The new names of classes, by those of before: their objects follow.

        Raises
        ------
        ExportError
            If it can't be written; the list is as it was then.
        """
        if path is None:
            self.take(classes)
            self._say("The class list lasts as long as this window: it has no file.", Level.WARNING)
        else:
            write_classes(classes, path)
            self.choose(path)
        if renamed:
            self.tell_renamed(renamed)

    def take(self, classes: ClassList, file: str = "") -> None:
        """Take a class list, and the file that it is of, if there is one."""
        self._model.class_list, self._model.class_file = classes, file

    def forget(self) -> None:
        """Let classes have the names and values that are typed."""
        self.take(ClassList())
        self._say("No class list is fixed.", Level.INFO)

"""Fields: the menu that saves the session and opens others, and what goes on after a crash."""

from __future__ import annotations

import json
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from qtpy.QtCore import QTimer
from qtpy.QtGui import QAction
from qtpy.QtWidgets import (
    QApplication,
    QFileDialog,
    QFrame,
    QGridLayout,
    QMenu,
    QMessageBox,
    QPushButton,
)

from napari_sam3_assistant.core.plurals import pluralize
from napari_sam3_assistant.qt.bind import disconnect_with, follow, show_errors
from napari_sam3_assistant.qt.controls import push_button
from napari_sam3_assistant.qt.layout import WrappedLabel
from napari_sam3_assistant.session.journaling import default_root, time_of
from napari_sam3_assistant.session.opening import WORKSPACE_ENDING, is_stored
from napari_sam3_assistant.session.storing import SESSION_ENDING, complete_name

if TYPE_CHECKING:
    from collections.abc import Callable

    from qtpy.QtWidgets import QWidget

    from napari_sam3_assistant.session.model import SessionModel
    from napari_sam3_assistant.session.settings import SettingsStore
    from napari_sam3_assistant.viewer.binding import Binding


_RECENT, _MOST_RECENT = "recent_sessions", 10
_SAVES = (
    "Save images by reference, prompts, results, accepted objects, choices and the view: it all "
    "comes back when the session is opened"
)
_OPENS = (
    "Open a session, or a workspace of version 4.5 (*.sam3.json), in the place of what is in the "
    "viewer"
)
_COPIES = (
    "Save everything into one folder, also the pixels of images in files: to be opened on another "
    "computer"
)
_GOES_ON = "Open what was done until then, in the place of what is in the viewer"
_DISCARDS = "Remove what was kept of it"
_OPENABLE = f"Sessions and workspaces (*{SESSION_ENDING} *{WORKSPACE_ENDING})"
_FILTER = f"Sessions (*{SESSION_ENDING})"


class SessionDialog(QFileDialog):
    """Asks for a session, which is a folder, or for a workspace of version 4.5, which is a file.

    The system's own dialogs choose the one or the other.

    ``chosen``: what the user has chosen.
    """

    def __init__(self, parent: QWidget, start: str) -> None:
        super().__init__(parent, "Open a session", start, _OPENABLE)
        self.chosen: Path | None = None
        self.setOption(QFileDialog.Option.DontUseNativeDialog)
        self.setFileMode(QFileDialog.FileMode.ExistingFile)
        self.directoryEntered.connect(self._take)

    def accept(self) -> None:
        """Take a session, and go into any other folder."""
        if not any(map(self._take, self.selectedFiles())):
            super().accept()

    def _take(self, path: str) -> bool:
        if is_stored(Path(path)):
            self.chosen = Path(path)
            self.done(QFileDialog.DialogCode.Accepted)
        return self.chosen is not None


def _ask_place(before: Path) -> Path | None:
    """Ask where a file is now; in front of any window, as the dock that began may be closed."""
    title = f"{before.name} is not in {before.parent} any more. Where is it now?"
    chosen, _ = QFileDialog.getOpenFileName(QApplication.activeWindow(), title, str(Path.home()))
    return Path(chosen) if chosen else None


class SessionMenu(QPushButton):
    """A button whose menu saves the session, and opens others.

    ``store``: remembers the sessions that were open.

    ``model``: the state of the session.
    """

    def __init__(self, binding: Binding, store: SettingsStore) -> None:
        super().__init__("Session")
        self.setObjectName("session_menu")
        self.setToolTip("Save what is open, with all prompts and results, and open it again")
        self._binding, self._store = binding, store
        self.model = binding.model
        self._storing, self._opening = binding.session.storing, binding.session.opening
        menu = QMenu(self)
        menu.setToolTipsVisible(True)
        self._add(menu, "Save Session", "save_session", self.save, _SAVES)
        self._add(menu, "Save Session As …", "save_session_as", self.save_as, _SAVES)
        self._add(menu, "Open Session …", "open_session", self.open_chosen, _OPENS)
        self._recent = QMenu("Recent", menu)
        menu.addMenu(self._recent)
        self._recent.setObjectName("recent_sessions")
        self._recent.setToolTipsVisible(True)  # sessions of one name lie in several folders
        # Not when Recent itself is opened: while it is empty it can't be.
        menu.aboutToShow.connect(self._list_recent)
        self._add(menu, "Portable Copy …", "portable_copy", self.save_copy, _COPIES)
        self.setMenu(menu)
        self._opening.ask_place = _ask_place
        self._opening.opened.connect(self._remember)
        self._storing.saved.connect(self._remember)

    def _add(
        self, menu: QMenu, text: str, name: str, verb: Callable[[], object], tooltip: str
    ) -> None:
        action = QAction(text, menu)
        menu.addAction(action)
        action.setObjectName(name)
        action.setToolTip(tooltip)
        action.triggered.connect(show_errors(self.model, verb))

    # -- the verbs ------------------------------------------------------------------------

    def save(self) -> None:
        """Save the session where it is open; the first time, ask where."""
        if self._storing.folder is None:
            self.save_as()
        else:
            self._storing.save()

    def save_as(self) -> None:
        """Ask where to save the session, and work on there."""
        if (folder := self._ask_folder("Save the session as")) is not None:
            self._storing.save(folder)

    def save_copy(self) -> None:
        """Ask where to put a copy that needs no other file."""
        if (folder := self._ask_folder("Save a portable copy as")) is not None:
            self._storing.save(folder, portable=True)

    def open_chosen(self) -> None:
        """Ask for a session, and open it."""
        start = str(Path(next(iter(self._recents()), self._start())).parent)
        dialog = SessionDialog(self, start)
        dialog.exec()
        if dialog.chosen is not None:
            self.open(dialog.chosen)

    def open(self, folder: Path) -> None:
        """Open a session, once the user agrees that the layers go."""
        if _may_replace(self, self._binding, f"“{folder.name}”"):
            self._opening.open(folder)

    # -- inside ---------------------------------------------------------------------------

    def _ask_folder(self, title: str) -> Path | None:
        chosen, _ = QFileDialog.getSaveFileName(self, title, self._start(), _FILTER)
        return complete_name(Path(chosen)) if chosen else None

    def _start(self) -> str:
        """Return the name that is proposed: beside the image, and called as it is."""
        model = self.model
        image = self._binding.adapter.file_of(model.image)
        folder = Path(model.save_folder) if model.save_folder else Path.home()
        name = "session"
        if image is not None:
            folder, name = image.parent, image.name.split(".")[0]
        return str(self._storing.folder or folder / f"{name}{SESSION_ENDING}")

    def _recents(self) -> list[str]:
        try:
            kept = json.loads(self._store.get(_RECENT) or "[]")
        except ValueError:
            return []
        return [path for path in kept if isinstance(path, str)] if isinstance(kept, list) else []

    def _remember(self, folder: Path) -> None:
        others = (recent for recent in self._recents() if recent != str(folder))
        self._store.set(_RECENT, json.dumps([str(folder), *others][:_MOST_RECENT]))

    def _list_recent(self) -> None:
        self._recent.clear()
        for kept in self._recents():
            folder = Path(kept)
            if is_stored(folder):
                # One "&" alone says of Qt's menus which letter is the key.
                action = QAction(folder.name.replace("&", "&&"), self._recent)
                self._recent.addAction(action)
                action.setToolTip(kept)
                verb = partial(self.open, folder)
                action.triggered.connect(show_errors(self.model, verb))
        self._recent.setEnabled(not self._recent.isEmpty())


def _may_replace(parent: QWidget, binding: Binding, what: str) -> bool:
    """Ask whether a session may come in the place of the layers that there are, if any."""
    count = len(binding.viewer.layers)
    asked = f"Open {what} in the place of {pluralize(count, 'layer')}?"
    more = "Save the session first, if you want to come back to it."
    yes = QMessageBox.StandardButton.Yes
    return not count or (QMessageBox.question(parent, "Open a session", f"{asked}\n{more}") == yes)


_TICK_MS = 300


class JournalField(QFrame):
    """Offers to go on where an earlier start stopped; out of sight, it has the journal written."""

    def __init__(self, binding: Binding) -> None:
        super().__init__()
        self.setObjectName("left_journal")
        self.setFrameShape(QFrame.Shape.StyledPanel)
        self._binding = binding
        self._journaling = binding.session.journaling
        self._journaling.start(default_root())
        self._text = WrappedLabel()
        self._text.setObjectName("left_journal_text")
        go_on = push_button(
            binding.model, "Go on where it stopped", "journal_go_on", self._go_on, _GOES_ON
        )
        discard = push_button(binding.model, "Discard", "journal_discard", self._discard, _DISCARDS)
        layout = QGridLayout(self)
        layout.setContentsMargins(9, 4, 9, 4)
        layout.addWidget(self._text, 0, 0, 1, 2)
        layout.addWidget(go_on, 1, 0)
        layout.addWidget(discard, 1, 1)
        self._left: list[Path] = []
        self._look()

        def look_again(folder: Path) -> None:
            self._on_not_opened(folder)

        opening = binding.session.opening
        opening.not_opened.connect(look_again)  # which another dock of the viewer may outlive
        disconnect_with(self, opening, look_again, lambda known: known.not_opened.disconnect)
        self._clock = QTimer(self)
        self._clock.setInterval(_TICK_MS)
        self._clock.timeout.connect(self._journaling.tick)
        self._clock.start()

    def _look(self) -> None:
        self._left = self._journaling.left()
        self.setVisible(bool(self._left))
        if self._left:
            ended = datetime.fromtimestamp(time_of(self._left[0])).strftime("%d %B, %H:%M")
            others = len(self._left) - 1
            more = f" ({pluralize(others, 'earlier one')}, too.)" if others else ""
            self._text.setText(f"An earlier session ended unsaved on {ended}.{more}")

    def _go_on(self) -> None:
        if _may_replace(self, self._binding, "the earlier session"):
            self._journaling.go_on(self._left[0])
            self.hide()

    def _on_not_opened(self, folder: Path) -> None:
        if folder in (left.absolute() for left in self._left):
            self._look()

    def _discard(self) -> None:
        asked = f"{self._text.text()}\nDiscard what was kept of it? It can't be brought back."
        yes = QMessageBox.StandardButton.Yes
        if QMessageBox.question(self, "Discard an earlier session", asked) == yes:
            self._journaling.discard(self._left[0])
            self._look()


class NotWrittenField(WrappedLabel):
    """Says, for as long as it is so, that what is done is not written down."""

    def __init__(self, model: SessionModel) -> None:
        super().__init__()
        self.setObjectName("not_written")
        self.setContentsMargins(9, 4, 9, 4)
        follow(self, lambda: model.not_written, self._tell, model)

    def _tell(self, why: str) -> None:
        self.setText(why)
        self.setVisible(bool(why))


def menu_of(widget: QWidget) -> SessionMenu:
    """Return the menu in a dock widget."""
    found: SessionMenu = widget.findChild(SessionMenu)
    return found

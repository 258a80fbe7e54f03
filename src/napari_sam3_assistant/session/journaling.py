"""Write down what changes as one works, so that a crash costs nothing.

A journal is a session folder of its own in the user's state folder, see :mod:`.io.session_folder`.
The GUI thread finds what has changed since the last time, by tokens, and copies the pixels of
changed boxes; a thread of the journal's own makes JSON of it, packs and writes it.
"""

from __future__ import annotations

import logging
import math
import queue
import threading
import time
import uuid
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import platformdirs
import zarr

from napari_sam3_assistant.core.masks.labels import box_shape
from napari_sam3_assistant.errors import ExportError, Sam3AssistantError
from napari_sam3_assistant.io.session_arrays import PixelBox
from napari_sam3_assistant.io.session_folder import (
    ENDING,
    Changed,
    Journal,
    apply_journal,
    discard_draft,
    is_session,
    make_folder,
    remove_rest,
    remove_session,
    retire_session,
    write_index,
)
from napari_sam3_assistant.io.session_lock import is_taken, release_folder, take_folder
from napari_sam3_assistant.session.model import ONLY_TOLD
from napari_sam3_assistant.session.storing import keep_pixels, sessions_of
from napari_sam3_assistant.session.values import Level, Message

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from pathlib import Path

    from psygnal import EmissionInfo

    from napari_sam3_assistant.core.images import AnyArray
    from napari_sam3_assistant.core.masks.labels import Box
    from napari_sam3_assistant.core.progress import Deliver
    from napari_sam3_assistant.io.session_arrays import StoredArray
    from napari_sam3_assistant.session.jobs import Services
    from napari_sam3_assistant.session.opening import Opening
    from napari_sam3_assistant.session.saved import Entry, LayerPixels
    from napari_sam3_assistant.session.storing import Captured, Storing

logger = logging.getLogger(__name__)

_MOST_PIXELS = 1 << 26
"""A journal of more pixels, however well packed, is made the session itself, and begins anew.
Labels that get more at once are written anew."""
_MOST_HELD = 1 << 31
"""Or when so many bytes of pixels were written into its folder, some of which may be gone."""
_LARGEST_IMAGE = 1 << 30
"""Images in memory of more bytes are not copied into the journal."""
_MOST_KEPT = 5
"""So many journals of earlier starts are kept at most, the latest."""
_IDLE_S = 1.0
_PATIENCE_S = 30.0
_REMEDY = (
    "Free some space if its disk is full, or see that you may write there. It is tried again each "
    "minute; save the session elsewhere until then."
)
_WORTH = ("record/", "kept/", "frame/", "scan/")


def default_root() -> Path:
    """Return the folder of the user's journals."""
    return platformdirs.user_state_path("napari-sam3-assistant") / "journals"


def find_left(root: Path) -> list[Path]:
    """Return the journals that earlier processes have left, the latest first.

    More than a few are removed, the oldest first, and what was never a whole one, or is none now.
    """
    try:
        found = [folder for folder in root.iterdir() if folder.name.endswith(ENDING)]
    except OSError:
        return []
    for folder in found:
        remove_rest(folder)
    free = [folder for folder in found if is_session(folder) and not is_taken(folder)]
    # Their names tell the second; a disk may tell the time of several as the same.
    free.sort(reverse=True)
    left = sorted(free, key=time_of, reverse=True)
    for old in left[_MOST_KEPT:]:
        remove_session(old)
    return left[:_MOST_KEPT]


def time_of(folder: Path) -> float:
    """Return when a journal was written last, in seconds since 1970; 0 where it is gone."""
    try:
        return max(path.stat().st_mtime for path in (folder, *folder.glob("*.*")))
    except OSError:
        return 0.0


@dataclass(frozen=True, slots=True, eq=False)
class _Task:
    """What the journal's thread is to write."""

    entries: Mapping[str, Entry] = field(default_factory=dict)
    gone: tuple[str, ...] = ()
    bases: Mapping[str, LayerPixels] = field(default_factory=dict)
    boxes: tuple[tuple[str, tuple[AnyArray, ...], Box, AnyArray | None], ...] = ()
    open_session: Path | None = None
    done: threading.Event | None = None

    @property
    def is_view_alone(self) -> bool:
        """Whether nothing but the view is another one."""
        return self.entries.keys() <= {"view", "session_folder"} and not (
            self.gone or self.bases or self.boxes
        )


class Journaling:
    """Writes the journal of a session. All methods are called on the GUI thread.

    ``folder``: the journal; None where there is nothing yet that is worth one.
    ``storing``: saves the session.
    ``opening``: opens another one.
    ``written``: bytes that were appended so far.
    ``retry_s``: seconds after which it is tried again where it could not be written.
    ``most_bytes``: a journal that grows beyond it is made the session itself, and begins anew.
    """

    def __init__(
        self, services: Services, storing: Storing, opening: Opening, deliver: Deliver
    ) -> None:
        self.folder: Path | None = None
        self.written, self.retry_s = 0, 60.0
        self.most_bytes = 16 << 20
        self._model, self._adapter = services.model, services.adapter
        self._services, self._deliver = services, deliver
        self.storing, self.opening = storing, opening
        self._root: Path | None = None
        self._dirty = False
        self._known: dict[str, object] = {}
        self._bases: dict[str, tuple[AnyArray, ...]] = {}
        self._tasks: queue.SimpleQueue[_Task | None] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None
        self._failed_at: float | None = None
        self._clean = False
        self._works = self._at_saving = 0

    def start(self, root: Path) -> None:
        """Begin to listen; journals go into a folder."""
        if self._root is not None:
            return
        self._root = root
        self._model.events.connect(self._on_model)
        self._services.scan_model.events.connect(self.mark, max_args=0)
        self._adapter.saved.watch(self.mark)
        self.storing.saving.connect(self._on_saving)
        self.storing.saved.connect(self._on_saved)
        self.opening.opened.connect(self._on_opened)

    def mark(self, *_: object) -> None:
        """Record that something may have changed."""
        self._dirty = True

    def tick(self) -> None:
        """Write down what has changed; called some times a second."""
        if not self._dirty or self._root is None:
            return
        if self._failed_at is not None:
            if time.monotonic() - self._failed_at < self.retry_s:
                return
            self._write_anew()
        self._dirty = False
        self._adapter.saved.watch_pixels()
        captured = self.storing.capture_for_journal()
        scan_model = self._services.scan_model
        begun = scan_model.scan_begun or scan_model.folder_begun
        if self.folder is None and not begun and not _is_worth(captured):
            return
        task = self._compare(captured)
        if task is not None:
            if not task.is_view_alone:
                self._clean, self._works = False, self._works + 1
            self._put(task)

    def finish(self) -> None:
        """Wait until all that has changed is written."""
        self.tick()
        if self._thread is not None:
            done = threading.Event()
            self._tasks.put(_Task(done=done))
            done.wait(_PATIENCE_S)

    def close(self) -> None:
        """End: what is saved elsewhere needs no journal, all else stays for the next start."""
        if self._root is None:
            return
        self.tick()
        self._adapter.saved.unwatch(self.mark)
        thread, folder = self._thread, self.folder
        if thread is not None:
            self._tasks.put(None)
            thread.join(_PATIENCE_S)
        if folder is not None:
            if self._clean and self._is_in_use(folder):
                retire_session(folder)  # the layers stay in the viewer
            elif self._clean:
                remove_session(folder)
            else:
                release_folder(folder, self.storing.owner)
        self._root = self.folder = None

    # -- journals of earlier starts -------------------------------------------------------

    def left(self) -> list[Path]:
        """Return the journals that earlier starts have left."""
        return [] if self._root is None else find_left(self._root)

    def go_on(self, folder: Path) -> None:
        """Open what an earlier start has left, and go on with its journal."""
        self.opening.open(folder, journal=True)

    @staticmethod
    def discard(folder: Path) -> None:
        """Remove a journal that was left, unless another viewer goes on with it by now."""
        if not is_taken(folder):
            remove_session(folder)

    # -- inside ---------------------------------------------------------------------------

    def _is_in_use(self, folder: Path) -> bool:
        """Return whether the pixels of a layer lie in a journal."""
        pixels = self._adapter.saved.pixels().values()
        return any(folder in sessions_of(one.levels) for one in pixels)

    def _on_model(self, change: EmissionInfo) -> None:
        if change.signal.name not in ONLY_TOLD:
            self.mark()

    def _on_saving(self) -> None:
        self.mark()  # as layers of an earlier dock, of which nobody told
        self.tick()
        self._at_saving = self._works

    def _on_saved(self, folder: Path) -> None:
        self.tick()
        # What was done while it was saved is not in it.
        self._clean = self.storing.folder == folder and self._works == self._at_saving

    def _on_opened(self, folder: Path) -> None:
        """Write all anew: into the journal itself, if that is what was opened."""
        # One that could not be opened whole stays as it is, for the next start.
        if not self.opening.problems and self._is_ours(folder):
            self._write_anew()
            if self.folder is not None and self.folder != folder:
                remove_session(self.folder)
            self.folder = folder
        elif folder not in (self.folder, self.storing.folder) and not self._is_in_use(folder):
            release_folder(folder, self.storing.owner)
        self.mark()
        self.tick()
        self._clean = self.storing.folder == folder

    def _is_ours(self, folder: Path) -> bool:
        """Return whether a session is a journal that nobody else goes on with."""
        if self._root is None or folder.parent != self._root.absolute():
            return False
        try:
            return take_folder(folder, self.storing.owner)
        except ExportError:
            return False

    def _write_anew(self) -> None:
        """Let the next tick write all there is, and not what has changed alone."""
        self._known.clear()
        self._bases.clear()
        self._failed_at = None
        if self._thread is not None:
            self._tasks.put(None)
            self._thread.join(_PATIENCE_S)
            self._thread = None

    def _compare(self, captured: Captured) -> _Task | None:
        """Return what differs from what was written last; None for nothing."""
        known, tokens = self._known, {name: entry.token for name, entry in captured.entries.items()}
        entries = {
            name: entry
            for name, entry in captured.entries.items()
            if name not in known or known[name] != tokens[name]
        }
        gone = [name for name in known if name not in tokens]
        self._known = tokens
        boxes, bases = [], {}
        written = self._adapter.saved.take_written()
        for key, pixels in captured.pixels.items():
            before = self._bases.get(key)
            same = before is not None and len(before) == len(pixels.levels)
            same = same and all(map(_is_one, before or (), pixels.levels))
            parts = written.get(key, ())
            # Much is not copied here, nor is it one record: the array is written anew, in chunks.
            if not same or parts is None or sum(map(_count_pixels, parts)) > _MOST_PIXELS:
                bases[key] = pixels
                self._bases[key] = pixels.levels
                continue
            for box in parts:
                level = pixels.levels[0]
                copy = np.array(level[box]) if isinstance(level, np.ndarray) else None
                boxes.append((key, pixels.levels, box, copy))
        gone += [f"pixels/{key}" for key in self._bases if key not in captured.pixels]
        self._bases = {key: base for key, base in self._bases.items() if key in captured.pixels}
        if not entries and not gone and not bases and not boxes:
            return None
        return _Task(entries, tuple(gone), bases, tuple(boxes), self.storing.folder)

    def _put(self, task: _Task) -> None:
        if self._thread is None:
            assert self._root is not None
            name = f"{time.strftime('%Y-%m-%d-%H%M%S')}-{uuid.uuid4().hex[:8]}{ENDING}"
            folder = self.folder or self._root.absolute() / name
            self.folder = folder
            self._tasks = queue.SimpleQueue()
            writer = _Writer(
                folder,
                self.storing.owner,
                self._tasks,
                self.most_bytes,
                self._note_bytes,
                self._on_failed,
            )
            self._thread = threading.Thread(target=writer.run, name="sam3-journal", daemon=True)
            self._thread.start()
        self._tasks.put(task)

    def _note_bytes(self, count: int) -> None:
        self.written += count
        if self._model.not_written:
            self._deliver(self._note_written)

    def _note_written(self) -> None:
        self._model.not_written = ""

    def _on_failed(self, error: Sam3AssistantError) -> None:
        def tell() -> None:
            self._failed_at = time.monotonic()
            # Where the journal is, is not for the user to choose, as the error's hint may say.
            message = f"What you do is not written down now: {error.message} {_REMEDY}"
            if message != self._model.not_written:
                self._model.not_written = message
                self._model.message = Message(message, Level.WARNING)

        self._deliver(tell)


def _is_one(first: object, second: object) -> bool:
    return first is second


def _count_pixels(box: Box) -> int:
    return math.prod(box_shape(box))


def _is_worth(captured: Captured) -> bool:
    """Return whether there is something that would be missed."""
    if any(name.startswith(_WORTH) for name in captured.entries):
        return True
    if any(pixels.labels and not pixels.path for pixels in captured.pixels.values()):
        return True
    drawn = (entry for name, entry in captured.entries.items() if name.startswith("data/"))
    return any(shape[0] for drawing in drawn for shape, _ in drawing.token[0])  # type: ignore[index]


class _Writer:
    """Writes tasks, on a thread of its own, until one can't be written."""

    def __init__(
        self,
        folder: Path,
        owner: str,
        tasks: queue.SimpleQueue[_Task | None],
        most_bytes: int,
        note_bytes: Callable[[int], None],
        failed: Callable[[Sam3AssistantError], None],
    ) -> None:
        self._folder, self._owner = folder, owner
        self._tasks, self._most_bytes = tasks, most_bytes
        self._note_bytes, self._failed = note_bytes, failed
        self._journal: Journal | None = None
        self._has_failed = False
        self._pixels = self._held = 0
        self._arrays: dict[str, dict[str, StoredArray]] = {}

    def run(self) -> None:
        """Write until there is nothing more to come."""
        try:
            self._run()
        finally:
            if self._journal is not None:
                self._journal.close()

    def _run(self) -> None:
        synced = True
        while True:
            try:
                task = self._tasks.get(timeout=None if synced else _IDLE_S)
            except queue.Empty:
                self._try(self._sync)
                synced = True
                continue
            if task is None:
                break
            if task.done is not None:
                task.done.set()
                continue
            self._try(partial(self._write, task))
            synced = False
        self._try(self._sync)

    def _try(self, work: Callable[[], None]) -> None:
        if self._has_failed:  # nothing can follow a record that is half there
            return
        try:
            work()
        except Exception as error:
            # Of whatever kind: who would lose work is told, and it is tried again.
            self._has_failed = True
            discard_draft(self._folder)
            if not isinstance(error, Sam3AssistantError):
                logger.exception("The journal can't be written")
                error = Sam3AssistantError(f"{type(error).__name__}: {error}.")
            self._failed(error)

    def _sync(self) -> None:
        if self._journal is not None:
            self._journal.sync()

    def _write(self, task: _Task) -> None:
        entries = {name: entry.make() for name, entry in task.entries.items()}
        if self._journal is None:
            make_folder(self._folder)
            take_folder(self._folder, self._owner)
        arrays: dict[str, StoredArray] = {}
        # What is not named any more is removed when the journal begins anew.
        keys = [*task.bases, *(name.removeprefix("pixels/") for name in task.gone)]
        gone = tuple(name for key in keys for name in self._arrays.pop(key, ()))
        for key, pixels in task.bases.items():
            entry, mine = self._keep(key, pixels, task.open_session)
            entries[f"pixels/{key}"] = entry
            arrays |= mine
            self._arrays[key] = mine
            self._held += sum(array.nbytes for array in mine.values())
        boxes = tuple(box for task_box in task.boxes for box in self._boxes(*task_box))
        if self._journal is None:
            key = write_index(self._folder, entries, arrays)
            self._journal = Journal(self._folder, key)
            entries, arrays = {}, {}
        changed = Changed(entries, (*task.gone, *gone), arrays, boxes)
        self._note_bytes(self._journal.append(changed) if changed else 0)
        if changed:
            self._pixels += sum(box.values.size for box in boxes)
        too_much = self._pixels > _MOST_PIXELS or self._held > _MOST_HELD
        if self._journal.size > self._most_bytes or too_much:
            self._compact()

    def _keep(
        self, key: str, pixels: LayerPixels, open_session: Path | None
    ) -> tuple[dict[str, Any], dict[str, StoredArray]]:
        size = sum(
            int(np.prod(level.shape)) * np.dtype(level.dtype).itemsize for level in pixels.levels
        )
        refers = pixels.path and not pixels.held
        if not pixels.labels and not refers and size > _LARGEST_IMAGE:
            return {"kind": "lost", "why": "It was in memory only and is too large to copy."}, {}
        if not refers and not isinstance(pixels.levels[0], np.ndarray | zarr.Array):
            # Unasked nobody waits for what may take hours to compute, or lies on a server.
            return {"kind": "lost", "why": "Its pixels are computed when they are looked at."}, {}
        # So that the same name is not that of an array with boxes of an earlier one.
        unique = f"{key}/{uuid.uuid4().hex[:8]}"
        return keep_pixels(
            self._folder, unique, pixels, None, sync=False, open_session=open_session
        )

    def _boxes(
        self, key: str, levels: Sequence[AnyArray], box: Box, copy: AnyArray | None
    ) -> Iterator[PixelBox]:
        names = list(self._arrays.get(key, ()))
        for number, name in enumerate(names):
            level = levels[number]
            part = _shrink(box, levels[0].shape, level.shape)
            whole = copy if number == 0 and copy is not None else np.asarray(level[part])
            yield PixelBox(name, tuple(side.start for side in part), np.asarray(whole))

    def _compact(self) -> None:
        assert self._journal is not None
        self._journal.close()
        key = apply_journal(self._folder)
        self._journal, self._pixels, self._held = Journal(self._folder, key), 0, 0


def _shrink(box: Box, largest: Sequence[int], shape: Sequence[int]) -> Box:
    """Return the part of a smaller size that a box of the largest one covers."""
    sides = []
    for side, whole, length in zip(box, largest, shape, strict=True):
        factor = max(1, round(whole / max(1, length)))
        stop = min(length, -(-side.stop // factor))
        sides.append(slice(min(side.start // factor, stop), stop))
    return tuple(sides)

"""Save sessions: what is open as entries and pixels, in a folder."""

from __future__ import annotations

import os
import uuid
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from psygnal import Signal

from napari_sam3_assistant.core.plurals import pluralize
from napari_sam3_assistant.errors import PromptError, SessionError
from napari_sam3_assistant.io import session_folder
from napari_sam3_assistant.io.outputs import add_ending
from napari_sam3_assistant.io.session_arrays import StoredArray
from napari_sam3_assistant.io.session_folder import (
    check_free,
    discard_draft,
    is_session,
    make_folder,
    write_index,
)
from napari_sam3_assistant.io.session_lock import is_taken, release_folder, take_folder
from napari_sam3_assistant.io.session_pixels import (
    array_reference,
    file_reference,
    hold,
    is_found_again,
    zarr_reference,
)
from napari_sam3_assistant.jobs import Job, JobRunner, JobState
from napari_sam3_assistant.session.label_storage import is_temporary
from napari_sam3_assistant.session.saved import (
    Entry,
    LayerPixels,
    PreviewEntries,
    choice_entries,
    stack_run_to_json,
    tracking_to_json,
    write_value,
)
from napari_sam3_assistant.session.saved_undo import UndoEntries
from napari_sam3_assistant.session.values import FileBackedLabels, Level, Message

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from napari_sam3_assistant.core.images import AnyArray
    from napari_sam3_assistant.core.measurements import Measurement
    from napari_sam3_assistant.core.progress import Deliver, Reporter
    from napari_sam3_assistant.core.tracks import TrackRow
    from napari_sam3_assistant.session.annotating import FolderAnnotation
    from napari_sam3_assistant.session.filtering import Filtering
    from napari_sam3_assistant.session.jobs import Services
    from napari_sam3_assistant.session.propagation import Propagation
    from napari_sam3_assistant.session.results import Results
    from napari_sam3_assistant.session.values import PlaneTarget, ResultRow


SESSION_ENDING = session_folder.ENDING
"""How the folders of sessions are named."""


def complete_name(typed: Path) -> Path:
    """Return the folder of a session that a user has typed, a free one where its ending is missing.

    The dialog has asked whether to replace what was typed, and nothing else.
    """
    return (
        typed if typed.name.lower().endswith(SESSION_ENDING) else add_ending(typed, SESSION_ENDING)
    )


@dataclass(frozen=True, slots=True, eq=False)
class Captured:
    """A session at one moment.

    ``entries``: all but the pixels.
    ``pixels``: the pixels of layers, by their keys; not copied.
    """

    entries: Mapping[str, Entry]
    pixels: Mapping[str, LayerPixels]


@dataclass(frozen=True, slots=True, eq=False)
class _Held:
    """What was written of a layer's pixels: they are as they were where the token is the same."""

    token: object
    entry: dict[str, Any]
    arrays: dict[str, StoredArray]


def _token_of(pixels: LayerPixels) -> object:
    """Return what is the same as long as pixels are."""
    return (tuple(map(id, pixels.levels)), pixels.revision, pixels.held)


def keep_pixels(
    folder: Path,
    key: str,
    pixels: LayerPixels,
    reporter: Reporter | None,
    *,
    portable: bool = False,
    sync: bool = True,
    open_session: Path | None = None,
) -> tuple[dict[str, Any], dict[str, StoredArray]]:
    """Return how a session in a folder refers to pixels, and the arrays that it holds for that.

    Files, and arrays of zarr that stay, are referred to; everything else is written.
    ``open_session``: a session whose arrays stay; those of others go with it, or when it is saved.

    Raises ExportError, SessionError, ImageError if they can't be read or written.
    """
    if (own := _find_own(folder, key, pixels)) is not None:
        return own
    if not portable:
        entry = zarr_reference(pixels.levels)
        others = sessions_of(pixels.levels) - {open_session}
        if entry is not None and not others and not is_temporary(pixels.levels[0]):
            return entry, {}
        if pixels.path and not pixels.held and os.path.exists(pixels.path):
            entry = file_reference(pixels.path, pixels.plugin, pixels.levels[0], folder)
            if is_found_again(entry, Path(pixels.path)):
                return entry, {}
    return hold(folder, key, pixels.levels, reporter, sync=sync)


def sessions_of(levels: Sequence[AnyArray]) -> set[Path]:
    """Return the sessions, journals too, that arrays lie in."""
    entry = zarr_reference(levels)
    folders = {Path(path).parent.parent for path in entry["paths"]} if entry is not None else set()
    return {folder for folder in folders if is_session(folder) or is_taken(folder)}


def _find_own(
    folder: Path, key: str, pixels: LayerPixels
) -> tuple[dict[str, Any], dict[str, StoredArray]] | None:
    """Return what is said of arrays that are the session's own already; None for any others."""
    entry, arrays = zarr_reference(pixels.levels), {}
    if entry is None:
        return None
    for number, (path, level) in enumerate(zip(entry["paths"], pixels.levels, strict=True)):
        place = Path(path)
        if place.parent != folder.absolute() / "arrays":
            return None
        shape, kind = tuple(map(int, level.shape)), np.dtype(level.dtype).str
        arrays[f"{key}/{number}"] = StoredArray(f"arrays/{place.name}", shape, kind)
    return array_reference(arrays), arrays


class _Saving:
    """Writes a session as it was captured.

    ``held``: the pixels that are in the folder now.
    """

    def __init__(
        self,
        folder: Path,
        owner: str,
        captured: Captured,
        known: Mapping[str, _Held],
        *,
        portable: bool,
    ) -> None:
        self.folder, self.portable, self._owner = folder, portable, owner
        self.held: dict[str, _Held] = {}
        self._captured, self._known = captured, known
        self._tokens = {key: _token_of(pixels) for key, pixels in captured.pixels.items()}

    def work(self, reporter: Reporter) -> Iterator[int]:
        """Write it; yields how many layers have pixels. If it fails, nothing of it stays."""
        make_folder(self.folder)
        try:
            if take_folder(self.folder, self._owner):
                yield self._write(reporter)
                return
        except BaseException:
            discard_draft(self.folder)
            raise
        raise SessionError(
            f"{self.folder} is open in another napari or viewer.",
            "Save the session under another name.",
        )

    def _write(self, reporter: Reporter) -> int:
        entries = {name: entry.make() for name, entry in self._captured.entries.items()}
        for key, pixels in self._captured.pixels.items():
            held = self._known.get(key)
            if held is None or held.token != self._tokens[key]:
                entry, arrays = keep_pixels(
                    self.folder, key, pixels, reporter, portable=self.portable
                )
                held = _Held(self._tokens[key], entry, arrays)
            self.held[key] = held
            entries[f"pixels/{key}"] = held.entry
        named = {name: array for held in self.held.values() for name, array in held.arrays.items()}
        named |= self._hold_scans(entries, reporter)
        reporter.check()
        write_index(self.folder, entries, named)
        return len(self.held)

    def _hold_scans(self, entries: dict[str, Any], reporter: Reporter) -> dict[str, StoredArray]:
        """Write the labels of scans, too, that are not to be looked for elsewhere; return them."""
        arrays: dict[str, StoredArray] = {}
        for name, entry in self._captured.entries.items():
            if name.startswith("scan/"):
                token: Any = entry.token
                scan: FileBackedLabels = token[0]
                if self.portable or not _is_in_its_folder(scan):
                    described, mine = keep_pixels(
                        self.folder,
                        name,
                        LayerPixels(scan.levels),
                        reporter,
                        portable=self.portable,
                    )
                    entries[name] = {**entries[name], "arrays": described}
                    arrays |= mine
        return arrays


class Storing:
    """Saves the session. All methods are called on the GUI thread.

    ``folder``: the session that is open; None for one that was not saved yet.
    ``owner``: by what the folders that are open here are known from those of other viewers.
    ``saving``: tells that the session as it is now is about to be saved.
    ``saved``: tells the folder of a session.
    """

    saving = Signal()
    saved = Signal(object)

    def __init__(
        self,
        services: Services,
        propagation: Propagation,
        filtering: Filtering,
        results: Results,
        annotation: FolderAnnotation,
        deliver: Deliver,
    ) -> None:
        self.folder: Path | None = None
        self.owner = uuid.uuid4().hex[:8]
        self._services = services
        self._model, self._adapter = services.model, services.adapter
        self._results, self._propagation = results, propagation
        self._filtering, self._annotation = filtering, annotation
        saved = services.adapter.saved
        self._previews = PreviewEntries(saved.view_as_json)
        self._steps = UndoEntries(services.undo, saved.prompts_as_json)
        self._quiet = JobRunner(deliver)
        self._held: dict[str, _Held] = {}
        self._rows: tuple[object, dict[str, Entry], Mapping[int, Measurement]] | None = None

    def close(self) -> None:
        """Let what is being saved come to its end."""
        if self.folder is not None:
            release_folder(self.folder, self.owner)
        self._quiet.finish()

    def forget(self) -> None:
        """Forget what was written of the pixels of layers, which are about to be others."""
        self._held, self._rows = {}, None

    def go_on_in(self, folder: Path | None) -> None:
        """Save where a session was opened from now on; None for nowhere, so that it is asked."""
        if self.folder is not None and self.folder != folder:
            release_folder(self.folder, self.owner)
        self.folder = folder

    # -- to entries -----------------------------------------------------------------------

    def capture(self) -> Captured:
        """Return the session as it is now; pixels are not copied, and no JSON is made."""
        saved = self._adapter.saved
        listed, measured = self._entries_of_rows()
        entries = {
            **choice_entries(self._model, self._services.scan_model),
            **saved.entries(),
            **listed,
            **self._undo_entries(measured),
            **self._filter_entries(),
            **self._propagation_entries(),
        }
        return Captured(entries, saved.pixels())

    def capture_for_journal(self) -> Captured:
        """Return the session as it is now, with where it is saved."""
        captured = self.capture()
        place = Entry.of("" if self.folder is None else str(self.folder))
        return Captured({**captured.entries, "session_folder": place}, captured.pixels)

    def _filter_entries(self) -> dict[str, Entry]:
        """Return what hides objects of scans, and the folder that is annotated."""
        entries = {}
        for number, scan in enumerate(self._results.scans):
            ranges = self._filtering.ranges_of(scan)
            if ranges:
                entries[f"scan_filters/{number}"] = Entry.of(write_value(ranges))
        left = self._annotation.left
        if left is not None:
            entries["annotation"] = Entry.of(write_value(left))
        return entries

    def _undo_entries(self, measured: Mapping[int, Measurement]) -> dict[str, Entry]:
        """Return the entries of the results on show, and of the steps of undo."""
        steps, now = self._steps.steps()
        earlier = (preview for step in steps.values() for preview in step.previews)
        shown = self._previews.of(self._model.previews, earlier, measured)
        return shown | self._steps.of(steps, now, self._previews.number_of)

    def _entries_of_rows(self) -> tuple[dict[str, Entry], Mapping[int, Measurement]]:
        """Return the entries of what the results table lists, which is a new one if any changed."""
        rows = self._model.results
        if self._rows is None or self._rows[0] is not rows:
            measured = self._results.measured
            entries = self._adapter.saved.kept_entries(measured)
            for number, (scan, found) in enumerate(self._results.scans.items()):
                entries[f"scan/{number}"] = Entry(
                    (scan, found), partial(_scan_to_json, scan, found)
                )
            self._rows = (rows, entries | self._frame_entries(measured), measured)
        return self._rows[1], self._rows[2]

    def _frame_entries(self, measured: Mapping[int, Measurement]) -> dict[str, Entry]:
        listed: dict[PlaneTarget, dict[int, Measurement]] = {}
        for row in self._results.of_frames:
            if id(row.record) in measured:
                own = listed.setdefault(row.preview.target, {})
                own[row.record.id] = measured[id(row.record)]
        stack, entries = self._model.propagated, dict[str, Entry]()
        if stack is None:
            return entries
        for frame, rows in self._propagation.tracks.by_frame().items():
            measurements = listed.get(stack.at(frame), {})
            token = (rows, tuple(measurements.items()))
            entries[f"frame/{frame}"] = Entry(
                token, partial(_frame_to_json, frame, rows, measurements)
            )
        return entries

    def _propagation_entries(self) -> dict[str, Entry]:
        stack, run = self._model.propagated, self._propagation.provenance
        if stack is None:
            return {}
        entry = {
            "target": write_value(stack.target),
            "axis": stack.axis,
            "left": self._model.can_continue,
            "parents": [list(pair) for pair in self._propagation.tracks.parents.items()],
            "classes": [list(pair) for pair in self._propagation.tracks.classes.items()],
            "filters": write_value(self._filtering.ranges_of(None)),
        }
        entries = {"propagated": Entry.of(entry)}
        if run is not None:
            done = (run, len(run.steps), str(run.steps[-1]) if run.steps else "", run.engine)
            tell = self._adapter.saved.view_as_json
            entries["propagated_run"] = Entry(done, lambda: stack_run_to_json(run, tell))
        state = self._propagation.state
        if state is not None:
            token = (state.left, state.followed, len(state.given))
            entries["propagated_state"] = Entry(token, lambda: tracking_to_json(state))
        return entries

    # -- save -----------------------------------------------------------------------------

    def save(self, folder: Path | None = None, *, portable: bool = False) -> Job:
        """Save the session: in the folder that is open, or in another one, which is then open.

        ``folder``: the folder; gets its ending if it has none. One that holds a session is
        replaced.
        ``portable``: whether all pixels go into the folder, also those of files; another one stays
        open.
        Raises Sam3AssistantError if it can't begin.
        """
        place = folder or self.folder
        if place is None:
            raise PromptError("The session has no folder yet.", "Press Save Session As.")
        if not place.name.lower().endswith(SESSION_ENDING):
            place = place.with_name(place.name + SESSION_ENDING)
        place = place.absolute()
        check_free(place)
        known = dict(self._held) if place == self.folder else {}
        self.saving.emit()
        saving = _Saving(place, self.owner, self.capture(), known, portable=portable)
        self._adapter.saved.watch_pixels()
        job = Job("Saving the session", saving.work, writes=True)
        job.yielded.connect(partial(self._note_saved, saving))
        job.finished.connect(partial(self._on_end, job, place))
        if not self._model.running:
            return self._services.jobs.start(job)
        self._quiet.start(job)
        return job

    def _note_saved(self, saving: _Saving, count: int) -> None:
        place = saving.folder
        message, level = "", Level.SUCCESS
        if saving.portable:
            release_folder(place, self.owner)
        else:
            message = self._explain_shared(place)
            level = Level.WARNING if message else level
            self.go_on_in(place)
            self._held = saving.held
        saved = f"Session saved in {place} ({pluralize(count, 'image and labels layer')})."
        self._say(f"{saved} {message}".strip(), level)
        self.saved.emit(place)

    def _explain_shared(self, place: Path) -> str:
        """Return which layers on show lie in the session of before, which a new one has copied."""
        before = self.folder
        if before is None or before == place:
            return ""
        pixels = self._adapter.saved.pixels().values()
        there = sum(before in sessions_of(one.levels) for one in pixels)
        if not there:
            return ""
        return (
            f"On show is still what lies in {before} ({pluralize(there, 'layer')}), and strokes go "
            "there: open the new session before you paint on, or remove the other one."
        )

    def _on_end(self, job: Job, place: Path, state: JobState) -> None:
        if state is not JobState.DONE and place != self.folder:
            release_folder(place, self.owner)
        if job.error is not None:
            self._say(str(job.error), Level.ERROR)
        elif state is JobState.CANCELLED:
            self._say("Cancelled; the session was not saved.")

    def _say(self, text: str, level: Level = Level.INFO) -> None:
        self._model.message = Message(text, level)


def _is_in_its_folder(scan: FileBackedLabels) -> bool:
    """Return whether the labels of a scan are in the folder that it has written.

    Those of a portable copy are in the session.
    """
    entry, folder = zarr_reference(scan.levels), scan.path.absolute()
    return entry is not None and all(Path(path).is_relative_to(folder) for path in entry["paths"])


def _scan_to_json(scan: FileBackedLabels, rows: Sequence[ResultRow]) -> dict[str, Any]:
    elsewhere = None if _is_in_its_folder(scan) else zarr_reference(scan.levels)
    return {
        **({} if elsewhere is None else {"arrays": elsewhere}),
        "kind": str(scan.kind),
        "target": write_value(scan.target),
        "path": str(scan.path.absolute()),
        "objects": [write_value(row.record) for row in rows],
        "measured": [write_value(row.measured) for row in rows],
    }


def _frame_to_json(
    frame: int, rows: Sequence[TrackRow], measured: Mapping[int, Measurement]
) -> dict[str, Any]:
    values = [[id_, write_value(measurement)] for id_, measurement in measured.items()]
    return {"frame": frame, "rows": write_value(rows), "measured": values}

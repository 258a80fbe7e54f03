"""Open sessions in the place of what is in the viewer, and go on after a crash."""

from __future__ import annotations

import os
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from psygnal import Signal

from napari_sam3_assistant.core.measurements import Measurement
from napari_sam3_assistant.core.plurals import pluralize
from napari_sam3_assistant.core.stitching import StitchedObject
from napari_sam3_assistant.core.tracks import TrackRow
from napari_sam3_assistant.engines import registry
from napari_sam3_assistant.engines.checkpoints.files import MULTIPLEX_NAME
from napari_sam3_assistant.errors import (
    ExportError,
    PromptError,
    Sam3AssistantError,
    SessionError,
)
from napari_sam3_assistant.io import workspace
from napari_sam3_assistant.io.ome_zarr_labels import open_levels
from napari_sam3_assistant.io.scan_folder import count_kept_tiles
from napari_sam3_assistant.io.session_folder import apply_journal, is_session, read_session
from napari_sam3_assistant.io.session_lock import release_folder, take_folder
from napari_sam3_assistant.io.session_pixels import find_file, open_held, open_zarr, read_file
from napari_sam3_assistant.io.typed_json import unpack_array
from napari_sam3_assistant.io.untrusted import as_list, as_whole, is_on_a_share
from napari_sam3_assistant.io.workspace import is_workspace, read_workspace
from napari_sam3_assistant.jobs import Job, JobState
from napari_sam3_assistant.session.messages import NOTHING, object_features
from napari_sam3_assistant.session.saved import (
    BROKEN,
    read_choices,
    read_previews,
    read_stack_run,
    read_target,
    read_tracking,
    read_value,
)
from napari_sam3_assistant.session.saved_undo import read_steps
from napari_sam3_assistant.session.snapshots import LeftImage
from napari_sam3_assistant.session.undo import UndoStep
from napari_sam3_assistant.session.values import (
    ColumnRange,
    FileBackedKind,
    FileBackedLabels,
    FramePlace,
    Level,
    Message,
    ResultRow,
    StackTarget,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from napari_sam3_assistant.core.images import AnyArray
    from napari_sam3_assistant.core.progress import Reporter
    from napari_sam3_assistant.io.session_folder import StoredSession
    from napari_sam3_assistant.session.annotating import FolderAnnotation
    from napari_sam3_assistant.session.filtering import Filtering
    from napari_sam3_assistant.session.jobs import Services
    from napari_sam3_assistant.session.propagation import Propagation
    from napari_sam3_assistant.session.results import Results
    from napari_sam3_assistant.session.storing import Storing


_MOST_TOLD = 6
WORKSPACE_ENDING = workspace.ENDING
"""How the workspace files of version 4.5 are named."""


@dataclass(slots=True, eq=False)
class Loaded:
    """A session that was read.

    ``levels``: the pixels of its layers.
    ``problems``: what could not be read or brought back, for the user: saved again it would be
    lost.
    ``notes``: what else the user should know.
    ``is_ours``: whether the folder may be written to: no other process has it.
    ``paths``: the files of images, by the keys of their layers.
    ``is_journal``: whether it is the journal of an earlier start, which alone may say where to
    save.
    """

    session: StoredSession
    levels: dict[str, tuple[AnyArray, ...]] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    is_ours: bool = False
    paths: dict[str, Path] = field(default_factory=dict)
    is_journal: bool = False


class Opening:
    """Opens saved sessions. All methods are called on the GUI thread.

    ``problems``: what could not be brought back of the session that was opened last.
    ``ask_place``: asks the user where a file is now, given where it was; returns None for nowhere.
    ``opened``: tells the folder of a session.
    ``not_opened``: tells that of one that could not be opened, or was not to be any more.
    """

    opened = Signal(object)
    not_opened = Signal(object)

    def __init__(
        self,
        services: Services,
        storing: Storing,
        propagation: Propagation,
        filtering: Filtering,
        results: Results,
        annotation: FolderAnnotation,
    ) -> None:
        self.problems: tuple[str, ...] = ()
        self.ask_place: Callable[[Path], Path | None] = lambda _: None
        self._services, self._storing = services, storing
        self._model, self._adapter = services.model, services.adapter
        self._results, self._propagation = results, propagation
        self._filtering, self._annotation = filtering, annotation

    def open(self, folder: Path, *, journal: bool = False) -> Job:
        """Open a session in the place of what is in the viewer.

        ``folder``: the folder; or a workspace file of version 4.5, ``*.sam3.json``.
        ``journal``: whether it is the journal of an earlier start, which goes on: the session is
        saved where that was.
        Raises PromptError while accepted labels are being written.
        """
        if self._model.running:
            raise PromptError("A run is going on.", "Wait for its end, or cancel it first.")
        place = folder.absolute()

        def look(reporter: Reporter) -> Iterator[Loaded]:
            reporter.check()
            if journal:
                self._apply(place)
            session = read_workspace(place) if is_workspace(place) else read_session(place)
            loaded = Loaded(session, is_journal=journal)
            _find_files(loaded)
            yield loaded

        found: list[Loaded] = []

        def go_on(state: JobState) -> None:
            if state is JobState.DONE:
                self._ask(found[0])
                self._load(found[0], bind=not is_workspace(place))
            else:
                self._give_up(place)

        job = Job("Opening the session", look)
        job.yielded.connect(found.append)
        job.finished.connect(go_on)
        return self._services.jobs.start(job)

    def _apply(self, journal: Path) -> None:
        """Take a journal that was left, and bring its session up to date."""
        owner = self._storing.owner
        if not is_session(journal) or not take_folder(journal, owner):
            raise SessionError(
                "The earlier session goes on in another napari or viewer, or was discarded there.",
                "Look there, or begin anew.",
            )
        try:
            apply_journal(journal)
        except BaseException:
            release_folder(journal, owner)
            raise

    def _ask(self, loaded: Loaded) -> None:
        """Ask the user for the files that are not where they were."""
        known: dict[str, Path | None] = {}
        for key, entry in _pixel_entries(loaded.session):
            if entry.get("kind") != "file" or key in loaded.paths:
                continue
            before = str(entry.get("path", ""))
            if before not in known:
                known[before] = self.ask_place(Path(before))
            if (place := known[before]) is not None:
                loaded.paths[key] = place

    def _load(self, loaded: Loaded, *, bind: bool) -> None:
        session = loaded.session

        def work(reporter: Reporter) -> Iterator[Loaded]:
            if bind:
                try:
                    loaded.is_ours = take_folder(session.folder, self._storing.owner)
                    why = f"{session.folder} is open in another napari or viewer"
                except ExportError as error:
                    why = error.message.rstrip(".")
                if not loaded.is_ours:
                    loaded.notes.append(f"{why}, so Save Session asks for another folder.")
            for key, entry in (*_pixel_entries(session), *_scan_entries(session)):
                reporter.check()
                try:
                    loaded.levels[key] = _open_pixels(loaded, key, entry, writable=loaded.is_ours)
                except (*BROKEN, Sam3AssistantError) as error:
                    name = _layer_name(session, key)
                    loaded.problems.append(f"“{name}”: {error}")
            yield loaded

        def show(read: Loaded) -> None:
            # Once nothing runs, since what follows from it waits for that.
            self._services.jobs.when_idle(partial(self._go_on, read))

        def end(state: JobState) -> None:
            if state is not JobState.DONE:
                self._give_up(session.folder)

        job = Job("Opening the session", work)
        job.yielded.connect(show)
        job.finished.connect(end)
        self._services.jobs.start(job)

    def _give_up(self, folder: Path) -> None:
        if folder != self._storing.folder:
            release_folder(folder, self._storing.owner)
        self.not_opened.emit(folder)

    def _go_on(self, read: Loaded) -> None:
        """Show a session that was read, and go on in its folder."""
        session = read.session
        self._restore(read)
        before = session.entries.get("session_folder")
        folder: Path | None = None
        if isinstance(before, str):  # a journal is no place to save in
            with suppress(ExportError):  # it is gone, or can't be written: one is asked
                named = read.is_journal and before
                is_free = named and take_folder(Path(before), self._storing.owner)
                folder = Path(before) if is_free else None
        elif read.is_ours and not read.problems:
            folder = session.folder
        else:
            release_folder(session.folder, self._storing.owner)
        self._storing.go_on_in(folder)
        self.opened.emit(session.folder)

    def _restore(self, loaded: Loaded) -> None:
        """Bring a session back, in the place of what there is."""
        model, entries, saved = self._model, loaded.session.entries, self._adapter.saved
        problems = loaded.problems
        model.previews = ()
        self._annotation.leave()
        self._propagation.clear()
        self._results.clear()
        saved.clear()
        self._storing.forget()
        keys, notes = saved.restore_layers(entries, loaded.levels, loaded.paths)
        problems += notes
        self._choose(loaded, keys, loaded.notes)
        self._restore_previews(entries, keys, problems)
        for subject, restore in (
            ("What was measured of accepted objects", self._restore_measured),
            ("The propagation", self._restore_propagation),
            ("The scans", partial(self._restore_scans, loaded)),
            ("The folder that was annotated", partial(self._restore_annotation, loaded)),
            ("The steps of Mask Operations", saved.restore_mask_steps),
        ):
            try:
                restore(entries, keys, problems)
            except (*BROKEN, Sam3AssistantError) as error:
                problems.append(f"{subject}: {error}")
        saved.restore_view(entries, keys)
        self._choose(loaded, keys, [])
        self._say_opened(loaded)

    def _choose(self, loaded: Loaded, keys: Mapping[str, str], notes: list[str]) -> None:
        model = self._model
        chosen, scans = read_choices(loaded.session.entries, keys)
        engine, folder = chosen.get("engine", model.engine), chosen.get("model_folder", "")
        if engine not in registry.entries():
            notes.append(f"The engine “{engine}” is not installed here; {model.engine} is used.")
            chosen.pop("engine")
        if folder and not _is_folder(folder, loaded):
            notes.append(f"The model folder {folder} is not here; choose the one of this machine.")
            chosen.pop("model_folder")
        for fields, values in ((model, chosen), (self._services.scan_model, scans)):
            for name, value in values.items():
                if isinstance(value, str) and not _may_look(value, loaded):
                    notes.append(f"{value} is on another computer; choose it anew.")
                else:
                    setattr(fields, name, value)

    def _restore_previews(
        self, entries: Mapping[str, Any], keys: Mapping[str, str], problems: list[str]
    ) -> None:
        saved, undo = self._adapter.saved, self._services.undo
        count = sum(name.startswith("preview/") for name in entries)
        try:
            found, measured = read_previews(entries, keys, saved.make_view)
            there = {
                number: preview
                for number, preview in found.items()
                if saved.is_current(preview.target)
            }
            numbers = [as_whole(number) for number in as_list(entries.get("shown", []))]
        except (*BROKEN, Sam3AssistantError) as error:
            problems.append(f"The results on show: {error}")
            there, measured, numbers = {}, {}, []
        else:
            missing = sum(number not in there for number in numbers)
            if missing:
                problems.append(f"{pluralize(missing, 'result')} of images that are not here.")
        paths = self._adapter.paths()
        for number, preview in there.items():
            if preview.provenance is not None:
                run = replace(preview.provenance, paths=paths)
                there[number] = replace(preview, provenance=run)
        previews = tuple(there[number] for number in numbers if number in there)
        try:
            steps, at = read_steps(entries, keys, there, saved.read_prompts)
        except (*BROKEN, Sam3AssistantError) as error:
            if count:
                problems.append(f"The steps of undo: {error}")
            steps, at = [], 0
        steps = steps or [UndoStep(self._adapter.prompt_state(), previews)]
        for accepted in steps[-1].accepted:
            saved.locate(accepted)
        undo.begin_anew(steps, at)
        self._model.previews = previews
        self._results.add_measurements(measured)

    def _restore_measured(
        self, entries: Mapping[str, Any], keys: Mapping[str, str], problems: list[str]
    ) -> None:
        del problems
        measured = self._adapter.saved.measured_of_kept(entries, keys)
        self._results.add_measurements(
            {record: read_value(Measurement, values) for record, values in measured.items()}
        )

    def _restore_propagation(
        self, entries: Mapping[str, Any], keys: Mapping[str, str], problems: list[str]
    ) -> None:
        if "propagated" not in entries:
            return
        propagated = entries["propagated"]
        target = read_target(propagated["target"], keys)
        layer = next(
            (
                keys.get(name.partition("/")[2], "")
                for name, head in entries.items()
                if name.startswith("layer/") and head["role"] == "propagated_labels"
            ),
            "",
        )
        stack = None if target is None else StackTarget(target, read_value(int, propagated["axis"]))
        fits = stack is not None and self._adapter.saved.restore_stack(layer, stack)
        if stack is None or target is None or not fits:
            problems.append("The propagation: its image or its labels are not here.")
            return
        rows: dict[int, tuple[TrackRow, ...]] = {}
        measured: dict[int, dict[int, Measurement]] = {}
        for name, entry in entries.items():
            if name.startswith("frame/"):
                frame = read_value(int, entry["frame"])
                rows[frame] = read_value(tuple[TrackRow, ...], entry["rows"])
                measured[frame] = read_value(dict[int, Measurement], entry["measured"])
        run = None
        if "propagated_run" in entries:
            make_view = self._adapter.saved.make_view
            run = read_stack_run(entries["propagated_run"], keys, make_view, self._adapter.paths())
        parents = read_value(dict[int, int], propagated["parents"])
        classes = read_value(dict[int, str], propagated["classes"])
        state = None
        if "propagated_state" in entries:
            state = read_tracking(entries["propagated_state"], target.shape[stack.axis])
        self._propagation.restore(stack, dict(sorted(rows.items())), parents, classes, run, state)
        for row in self._results.of_frames:
            at = row.preview.target.plane.leading[target.axes.leading.index(stack.axis)]
            values = measured.get(at, {}).get(row.record.id)
            if values is not None and isinstance(row.preview, FramePlace):
                self._results.add_to_frame(row.preview, {id(row.record): values})
        self._results.list_frames()
        self._filtering.hide_beside(
            None, read_value(tuple[ColumnRange, ...], propagated["filters"])
        )

    def _restore_scans(
        self,
        loaded: Loaded,
        entries: Mapping[str, Any],
        keys: Mapping[str, str],
        problems: list[str],
    ) -> None:
        levels = loaded.levels
        for name, entry in entries.items():
            if not name.startswith("scan/"):
                continue
            target = read_target(entry["target"], keys)
            path = read_value(Path, entry["path"])
            if target is None or not (name in levels or _is_folder(str(path), loaded)):
                problems.append(f"The labels of the scan {path} are not here.")
                continue
            pixels = levels[name] if name in levels else open_levels(path, writable=True)
            objects = read_value(tuple[StitchedObject, ...], entry["objects"])
            features = object_features(objects, NOTHING)
            stored = FileBackedLabels(FileBackedKind(entry["kind"]), target, path, pixels, features)
            self._adapter.show_file_backed(stored)
            measured = read_value(tuple[Measurement | None, ...], entry["measured"])
            rows = zip(objects, measured, strict=True)
            self._results.add_stored(stored, tuple(ResultRow(stored, *row) for row in rows))
            filters = entries.get(f"scan_filters/{name.partition('/')[2]}", [])
            self._filtering.hide_beside(stored, read_value(tuple[ColumnRange, ...], filters))

    def _restore_annotation(
        self,
        loaded: Loaded,
        entries: Mapping[str, Any],
        keys: Mapping[str, str],
        problems: list[str],
    ) -> None:
        if "annotation" not in entries:
            return
        left = read_value(LeftImage, entries["annotation"])
        if not (_may_look(left.output, loaded) and _is_folder(left.source, loaded)):
            problems.append(f"The folder {left.source} that was annotated is not here.")
        else:
            self._annotation.go_on(replace(left, key=keys.get(left.key, "")))

    def _say_opened(self, loaded: Loaded) -> None:
        session, problems, notes = loaded.session, loaded.problems, loaded.notes
        if session.entries.get("propagated", {}).get("left") is True:
            run = self._propagation.provenance
            # SAM 3.1 takes no masks.
            takes_labels = run is None or run.engine is None or run.engine.weights != MULTIPLEX_NAME
            notes.append(
                "Propagate Existing Session goes on with the propagation: the engine takes its "
                "objects from the labels of prompted frames and of the last one."
                if self._model.can_continue and takes_labels
                else "What the engine knew of propagated objects is not kept: press Start 3D "
                "Propagation to look for them anew; the labels that are done are here."
            )
        if labels := self._services.scan_model.scan_begun:
            if _has_tiles(labels):
                notes.append(
                    f"The scan into {labels} was not done: Scan whole image goes on with it and "
                    "shows what is there."
                )
            else:
                self._services.scan_model.scan_begun = ""
                problems.append(f"The scan into {labels}: its finished tiles are not here.")
        if begun := self._services.scan_model.folder_begun:
            notes.append(
                f"The batch of the folder {begun} was not done: Continue batch runs what is left."
            )
        unread = session.entries.get("unread")
        problems.extend(map(str, unread if isinstance(unread, list) else ()))
        if session.damaged:
            problems.append(f"{pluralize(session.damaged, 'step')} of the journal can't be read.")
        self.problems = tuple(problems)
        listed = problems[:_MOST_TOLD]
        more = f" And {len(problems) - len(listed)} more." if len(problems) > len(listed) else ""
        missing = f" Not brought back: {' '.join(listed)}{more}" if problems else ""
        level = Level.WARNING if problems else Level.SUCCESS
        message = f"Session opened: {session.folder}."
        if "session_folder" in session.entries:
            message = "The session goes on where it stopped."
        self._model.message = Message(" ".join([f"{message}{missing}", *notes]), level)


def _is_folder(path: str, loaded: Loaded) -> bool:
    return _may_look(path, loaded) and os.path.isdir(path)


def _may_look(path: str, loaded: Loaded) -> bool:
    """Return whether to look at a path of a session, which may be a stranger's; no journal is."""
    return loaded.is_journal or not is_on_a_share(path, loaded.session.folder)


def _has_tiles(labels: str) -> bool:
    """Return whether there are finished tiles of a scan into labels; a share is not asked."""
    try:
        return not is_on_a_share(labels, Path.cwd()) and count_kept_tiles(Path(labels)) > 0
    except OSError:  # no name of a file
        return False


def is_stored(path: Path) -> bool:
    """Return whether a path is a session, or a workspace of version 4.5."""
    return is_session(path) or is_workspace(path)


def _pixel_entries(session: StoredSession) -> list[tuple[str, dict[str, Any]]]:
    return [
        (name.partition("/")[2], entry)
        for name, entry in session.entries.items()
        if name.startswith("pixels/") and isinstance(entry, dict)
    ]


def _scan_entries(session: StoredSession) -> list[tuple[str, dict[str, Any]]]:
    """Return the labels of scans that the session holds itself."""
    scans = [(name, entry) for name, entry in session.entries.items() if name.startswith("scan/")]
    scan_arrays = [(name, scan.get("arrays")) for name, scan in scans if isinstance(scan, dict)]
    return [(name, arrays) for name, arrays in scan_arrays if isinstance(arrays, dict)]


def _find_files(loaded: Loaded) -> None:
    for key, entry in _pixel_entries(loaded.session):
        if entry.get("kind") == "file":
            try:
                place = find_file(entry, loaded.session.folder)
            except BROKEN:
                continue
            if place is not None:
                loaded.paths[key] = place


def _open_pixels(
    loaded: Loaded, key: str, entry: Mapping[str, Any], *, writable: bool
) -> tuple[AnyArray, ...]:
    kind = entry.get("kind")
    if kind == "file":
        if key not in loaded.paths:
            raise SessionError(
                f"{entry['path']} is not here.", "Open the session again to say where."
            )
        levels, note = read_file(entry, loaded.paths[key])
        if note:
            loaded.problems.append(note)
        return levels
    if kind == "zarr":
        return open_zarr(entry)
    if kind == "inline":
        return (unpack_array(entry["array"]),)
    if kind == "lost":
        raise SessionError(str(entry["why"]), "Open the image again.")
    # Labels of a scan stay where they are, as those in its own folder do.
    in_place = writable and key.startswith("scan/")
    return open_held(entry, loaded.session, writable=writable, in_place=in_place)


def _layer_name(session: StoredSession, key: str) -> str:
    head = session.entries.get(f"layer/{key}")
    shown = head.get("shown", {}) if isinstance(head, dict) else {}
    return str(shown.get("name", key)) if isinstance(shown, dict) else key

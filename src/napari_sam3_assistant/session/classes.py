"""The class of each object."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from typing import TYPE_CHECKING

from napari_sam3_assistant.core.plurals import pluralize
from napari_sam3_assistant.core.prompts import PromptKind, prompt_kind
from napari_sam3_assistant.core.results import set_class
from napari_sam3_assistant.errors import PromptError
from napari_sam3_assistant.io.provenance import write_object_classes
from napari_sam3_assistant.jobs import Job, JobRunner, JobState
from napari_sam3_assistant.session.class_list import ClassFile
from napari_sam3_assistant.session.messages import CLASS, NOTHING
from napari_sam3_assistant.session.undo import update_seed
from napari_sam3_assistant.session.values import (
    FileBackedLabels,
    FramePlace,
    KeptPlace,
    Level,
    Message,
    Preview,
)

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
    from pathlib import Path

    from napari_sam3_assistant.core.classes import ClassList
    from napari_sam3_assistant.core.progress import Deliver, Reporter
    from napari_sam3_assistant.session.accepting import Accepting
    from napari_sam3_assistant.session.jobs import Services
    from napari_sam3_assistant.session.propagation import Propagation
    from napari_sam3_assistant.session.results import Results
    from napari_sam3_assistant.session.snapshots import Accepted
    from napari_sam3_assistant.session.undo import ScanClasses, UndoStep
    from napari_sam3_assistant.session.values import ResultRow


class ObjectClasses:
    """The verbs about the class of objects. All are called on the GUI thread.

    ``file``: the verbs about the class list.
    """

    def __init__(
        self,
        services: Services,
        results: Results,
        accepting: Accepting,
        propagation: Propagation,
        deliver: Deliver,
    ) -> None:
        self._model, self._adapter = services.model, services.adapter
        self._undo, self._results = services.undo, results
        self._accepting, self._propagation = accepting, propagation
        self.file = ClassFile(self._model, self._say)
        self.file.tell_renamed = self.rename
        accepting.classed.connect(self._follow_tracks)
        services.undo.moved.connect(self._follow_step)
        self._notes = JobRunner(deliver)  # of scans: they may be large
        self._dropped = ""  # the chosen class, when the list lost it
        self._model.events.class_list.connect(self._follow_list)

    def press(self, number: int, rows: Sequence[ResultRow] = ()) -> bool:
        """Choose the class of a key, from 1, for some objects, or else the next objects.

        ``rows``: the objects; by default the marked one.
        Returns whether there is a class list: without one the key is none of ours.
        Raises PromptError if the list has no such class, or the marked object can't be changed now.
        """
        listed = list(self._model.class_list)
        if not listed:
            return False
        if number > len(listed):
            raise PromptError(
                f"The class list has no class for the key {number}.",
                f"It has {len(listed)}; press Edit beside Class to add one.",
            )
        name = listed[number - 1].name
        picked = self._model.picked
        if rows or picked is not None:
            self.set_class(rows or [row for row in (picked,) if row is not None], name)
        else:
            self.choose(name)
        return True

    def choose(self, name: str) -> None:
        """Choose the class of the next objects, and of the one that is worked on.

        Raises PromptError if the list has no such class.
        """
        self._check(name)
        self._model.object_class = name
        self._undo.note_edits(self._adapter.edits())
        preview, current = self._model.preview, self._current()
        if preview is not None and current:
            self._set({preview.slot: current}, {}, name, (), {})
        of = f"of the class “{name}”" if name else "of no class"
        self._say(f"The next objects are {of}.")

    def set_class(self, rows: Iterable[ResultRow], name: str) -> None:
        """Give objects another class, or none: one step that can be taken back.

        Of an object of accepted labels, or of a propagation, it is the class on all slices.

        Raises PromptError if the list has no such class, or labels are being written.
        """
        self._check(name)
        rows = tuple(rows)
        self._undo.note_edits(self._adapter.edits())
        tracked = {row.record.id for row in rows if isinstance(row.preview, FramePlace)}
        self._set_rows(rows, tracked, name)
        if len(rows) == 1:
            subject = f"Object {rows[0].record.id} is"
        else:
            subject = f"{pluralize(len(rows), 'object')} are"
        self._say(f"{subject} {f'“{name}”' if name else 'of no class'} now.")

    def rename(self, names: Mapping[str, str]) -> None:
        """Rename objects' classes that were renamed in the list, as steps of undo."""
        rows = (*self._results.everything, *self._results.kept)
        classes = dict(self._propagation.tracks.classes)
        self._undo.note_edits(self._adapter.edits())
        for old, new in names.items():
            mine = [row for row in rows if row.record.class_name == old]
            tracked = {id_ for id_, name in classes.items() if name == old}
            if mine or tracked:
                self._set_rows(mine, tracked, new)
        chosen = self._model.object_class
        self._model.object_class = names.get(chosen or self._dropped, chosen)

    def count(self) -> Counter[str]:
        """Return how many objects each class has, of scans and propagations, too; "" for none."""
        found = Counter(row.record.class_name for row in self._results.everything)
        of_kept = {
            (row.preview.slot, row.record.id): row.record.class_name for row in self._results.kept
        }
        tracks = self._propagation.tracks
        tracked = Counter(tracks.classes.get(id_, "") for id_ in self._model.propagated_ids)
        return found + Counter(of_kept.values()) + tracked

    def count_hidden(self) -> Counter[str]:
        """Return how many of them filters hide."""
        found = Counter(row.record.class_name for row in self._results.hidden)
        tracks = self._propagation.tracks
        ids = self._results.hidden_tracks & set(self._model.propagated_ids)
        return found + Counter(tracks.classes.get(id_, "") for id_ in ids)

    def close(self) -> None:
        """Let what is being written be written."""
        self._notes.finish()

    # -- inside ---------------------------------------------------------------------------

    def _current(self) -> frozenset[int]:
        """Return the object that is worked on, by clicks or a painted mask; or nothing.

        With an object a click, or a box, the next one is worked on as soon as one is there.
        """
        model, seed = self._model, self._undo.current.seed
        preview, kind = model.preview, prompt_kind(model.task, model.tool)
        if preview is None:
            return frozenset()
        if seed is not None and seed.slot == preview.slot:
            return frozenset({seed.record.id}) & preview.ids
        one_by_all = kind is PromptKind.MASK or (kind is PromptKind.POINTS and not model.each_click)
        own = preview.made_by(kind) if one_by_all else frozenset()
        return own if len(own) == 1 else frozenset()

    def _set_rows(self, rows: Iterable[ResultRow], tracked: Collection[int], name: str) -> None:
        """Change the class of found, scanned, accepted and propagated objects, as one step."""
        found: dict[tuple[str, str], list[int]] = {}
        kept: dict[KeptPlace, list[int]] = {}
        scanned: dict[tuple[str, str], dict[int, str]] = {}
        for row in rows:
            if isinstance(row.preview, Preview):
                found.setdefault(row.preview.slot, []).append(row.record.id)
            elif isinstance(row.preview, KeptPlace):
                kept.setdefault(row.preview, []).append(row.record.id)
            elif isinstance(row.preview, FileBackedLabels):
                scanned.setdefault(row.preview.slot, {})[row.record.id] = row.record.class_name
        self._set(found, kept, name, tracked, scanned)

    def _set(
        self,
        objects: Mapping[tuple[str, str], Collection[int]],
        kept: Mapping[KeptPlace, Sequence[int]],
        name: str,
        tracked: Collection[int],
        scanned: ScanClasses,
    ) -> None:
        """Change the class of found, accepted, propagated and scanned objects, as one step.

        Of scanned ones the classes are given that they have.
        """
        self._accepting.check_idle()
        after = tuple(
            _with_class(preview, objects[preview.slot], name)
            if preview.slot in objects
            else preview
            for preview in self._model.previews
        )
        changes: list[Accepted] = [
            self._adapter.accepted.begin_class_change(place, ids, name)
            for place, ids in kept.items()
        ]
        changes += self._begin_tracks(tracked, name)
        if scanned:  # what undo goes back to
            self._undo.amend(_with_scans(self._undo.current, scanned))
        if changes:
            self._accepting.change(changes, previews=after)
        elif objects:
            self._undo.record(after, amend=False)
        elif scanned:
            self._undo.push(replace(self._undo.current))
        if scanned:
            classes = {slot: dict.fromkeys(ids, name) for slot, ids in scanned.items()}
            self._undo.amend(_with_scans(self._undo.current, classes))
            self._set_scans(classes)
        seed = self._undo.current.seed
        refined = next((preview for preview in after if seed and preview.slot == seed.slot), None)
        if seed is not None and refined is not None:
            self._undo.amend(replace(self._undo.current, seed=update_seed(seed, refined)))
        self._model.previews = after

    def _begin_tracks(self, ids: Collection[int], name: str) -> list[Accepted]:
        """Return what is to be noted of propagated objects; without labels it is done at once."""
        stack, known = self._model.propagated, self._propagation.tracks.classes
        if stack is None or not ids:
            return []
        before = {id_: known.get(id_, "") for id_ in sorted(ids)}
        change = self._adapter.accepted.begin_track_class_change(stack.target.image, before, name)
        if change is None:
            self._propagation.set_class(ids, name)
        return [] if change is None else [change]

    def _follow_tracks(self, before: Mapping[int, str], after: Mapping[int, str]) -> None:
        """Give propagated objects their classes, unless they are others than those of the step."""
        tracks = self._propagation.tracks
        same = [id_ for id_ in before if tracks.classes.get(id_, "") == before[id_]]
        for name in dict.fromkeys(after[id_] for id_ in same):
            mine = {id_ for id_ in same if after[id_] == name}
            self._propagation.set_class(mine & tracks.ids, name)

    def _follow_step(self, step: UndoStep) -> None:
        self._set_scans(step.scan_classes)

    def _set_scans(self, classes: ScanClasses) -> None:
        """Give objects of scans other classes, in the table and in the layers' features."""
        for slot, of_ids in classes.items():
            scan = self._results.find_scan(slot)
            now = {} if scan is None else self._results.set_scan_classes(slot, of_ids)
            if scan is not None and now:
                column = [name or NOTHING for name in now.values()]
                self._adapter.add_features(scan, list(now), {CLASS: column})
                self._write_note(scan.path, now)

    def _write_note(self, scan: Path, classes: Mapping[int, str]) -> None:
        """Write the classes of a scan's objects into the note beside its labels."""

        def work(reporter: Reporter) -> Iterator[None]:
            reporter.check()
            write_object_classes(scan, classes)
            yield

        def end(state: JobState) -> None:
            if state is JobState.FAILED:
                why = f"The classes are not in the note beside the scan: {job.error}"
                self._say(why, Level.WARNING)

        job = Job("The classes of a scan", work, writes=True)
        job.finished.connect(end)
        self._notes.start(job)

    def _check(self, name: str) -> None:
        if name and self._model.class_list.find(name) is None:
            raise PromptError(
                f"The class list has no “{name}”.", "Press Edit beside Class to add it."
            )

    def _follow_list(self, classes: ClassList) -> None:
        """Choose no class that is not in the list any more."""
        self._dropped = ""
        if classes.find(self._model.object_class) is None:
            self._dropped, self._model.object_class = self._model.object_class, ""

    def _say(self, text: str, level: Level = Level.INFO) -> None:
        self._model.message = Message(text, level)


def _with_class(preview: Preview, ids: Collection[int], name: str) -> Preview:
    """Return a result with objects of another class, also of those that are not on show."""
    hidden = tuple(
        replace(record, class_name=name) if record.id in ids else record
        for record in preview.hidden
    )
    return replace(preview, segmentation=set_class(preview.segmentation, name, ids), hidden=hidden)


def _with_scans(step: UndoStep, classes: ScanClasses) -> UndoStep:
    """Return a step that knows the classes of more objects of scans."""
    known = step.scan_classes
    more = {slot: {**known.get(slot, {}), **of_ids} for slot, of_ids in classes.items()}
    return replace(step, scan_classes={**known, **more})

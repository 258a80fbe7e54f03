"""Follow objects through a stack: the verbs of the task 3D/video."""

from __future__ import annotations

import sys
import time
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING

from psygnal import Signal

from napari_sam3_assistant.core.lineage import Lineage
from napari_sam3_assistant.core.plurals import pluralize
from napari_sam3_assistant.core.prompts import (
    NOT_DRAWN,
    MaskPrompt,
    PromptKind,
    PromptSet,
    Task,
    prompt_kind,
)
from napari_sam3_assistant.core.tracks import FrameResult, Span, TrackTable
from napari_sam3_assistant.errors import ImageError, PromptError
from napari_sam3_assistant.jobs import Backpressure, Job, JobState
from napari_sam3_assistant.session.edited_frames import EditedFrames
from napari_sam3_assistant.session.messages import describe_place
from napari_sam3_assistant.session.open_tracking import (
    OpenTracking,
    assign_clicks,
    join_prompts,
    rename_prompts,
)
from napari_sam3_assistant.session.results import as_object
from napari_sam3_assistant.session.snapshots import StackSnapshot, TrackingState
from napari_sam3_assistant.session.values import FramePlace, Level, Message
from napari_sam3_assistant.workflows.provenance import StackProvenance
from napari_sam3_assistant.workflows.track import Tracking
from napari_sam3_assistant.workflows.track_prompts import check_prompts

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence

    import numpy as np
    import numpy.typing as npt

    from napari_sam3_assistant.core.progress import Deliver, Reporter
    from napari_sam3_assistant.core.stitching import StitchedObject
    from napari_sam3_assistant.core.tracks import TrackRow
    from napari_sam3_assistant.session.jobs import Services
    from napari_sam3_assistant.session.results import Results
    from napari_sam3_assistant.session.snapshots import OtherLabels
    from napari_sam3_assistant.session.values import StackSeed, StackTarget


_ON_THE_WAY = 2
"""How many frames may wait for the viewer: it shows one while the next is made."""


@dataclass(frozen=True, slots=True)
class _Plan:
    """What a run will do: its passes; and on which frames each object has been prompted by now."""

    passes: tuple[range, ...]
    prompted: Mapping[int, frozenset[int]]


class Propagation:
    """The verbs of the task 3D/video. All are called on the GUI thread.

    What an engine knows of the objects lives in a ``Tracking`` between runs. Only the worker
    thread touches it, and closes it.

    Attributes
    ----------
    tracks : TrackTable
        The objects by frame, with their centroids.
    edited : EditedFrames
        Brings ``tracks`` up to date where the user has changed the labels.
    provenance : StackProvenance or None
        What made the latest propagated labels.
    changed : Signal
        Tells that ``tracks`` or what is on show of it has changed, at the end of a run at once.
    """

    changed = Signal()

    def __init__(self, services: Services, results: Results, deliver: Deliver) -> None:
        self.tracks = TrackTable()
        self._class_name = ""  # of the objects that the run finds
        self.edited = EditedFrames(services.model, deliver, self._put)
        self._model, self._adapter = services.model, services.adapter
        self._engine, self._jobs = services.engine, services.jobs
        self._results, self._undo = results, services.undo
        self._lineage = self._model.lineage
        self._open: OpenTracking | None = None
        self.provenance: StackProvenance | None = None
        self._job: Job | None = None
        self._engine.leaving.connect(self._on_leaving)
        self._model.events.lineage.connect(self._on_lineage, max_args=1)
        for name in ("engine", "model_folder", "device", "precision", "compute"):
            getattr(self._model.events, name).connect(self._on_choice, max_args=0)

    # -- the verbs ------------------------------------------------------------------------

    def start(self) -> Job:
        """Follow what the prompts name through the stack; earlier results are removed.

        Raises Sam3AssistantError if it can't start; nothing has changed then.
        """
        if self._model.why_not.run:
            raise PromptError(self._model.why_not.run)
        return self._begin(self._take(self._model.frame_axis))

    def follow(self, seed: StackSeed) -> Job:
        """Follow an object of one slice through the stack on show, by its mask, as :meth:`start`.

        Raises Sam3AssistantError if it can't start; nothing has changed then.
        """
        stack = self._take(self._model.frame_axis)
        if stack.target.at(stack.frame) != seed.target:
            raise PromptError("The object is on another slice than the one on show.", "Go there.")
        mask = MaskPrompt(seed.record.mask, seed.record.region)
        job = self._begin(replace(stack, prompts={stack.frame: PromptSet(masks=(mask,))}))
        self._class_name = seed.record.class_name or self._class_name
        return job

    def follow_labels(self, other_labels: OtherLabels, masks: tuple[MaskPrompt, ...]) -> Job:
        """Follow objects of labels from the slice on show, with their numbers and classes.

        Raises Sam3AssistantError if it can't start; nothing has changed then.
        """
        stack = self._take(self._model.frame_axis)
        job = self._begin(replace(stack, prompts={stack.frame: PromptSet(masks=masks)}))
        named = ((id_, known.class_name) for id_, known in other_labels.known.items())
        self.tracks.classes.update((id_, name) for id_, name in named if name)
        return job

    def _begin(self, stack: StackSnapshot) -> Job:
        model, spec = self._model, self._engine.spec
        span = model.span
        span.within(len(stack.frames))
        check_prompts(spec, stack.prompts, stack.frames)
        engine = self._engine.take()
        self.clear()
        self._results.forget_found()
        kinds = frozenset().union(*(prompts.kinds for prompts in stack.prompts.values()))
        options = self._engine.options(kinds, stack.pixel)
        tracking = Tracking(engine, stack.frames, options)
        opened = OpenTracking(tracking, stack, self._engine.choice, options)
        self._open = opened
        folder = self._engine.model_folder
        self.provenance = StackProvenance(stack.frames, stack.prompts, options, folder, stack.paths)
        return self._run(opened, stack.prompts, {}, [span])

    def go_on(self) -> Job:
        """Go on with the objects that are known: `Propagate Existing Session`.

        Prompts that were added or changed on any slice since are corrections; they spread from
        their slice, away from where the propagation began, and the frames on the other side
        stay. Without any it goes on where it was stopped, or else from the frame on show.

        Raises Sam3AssistantError if it can't; nothing has changed then.
        """
        model, opened, spec = self._model, self._open, self._engine.spec
        why_not = model.why_not.go_on
        if opened is None or why_not:
            raise PromptError(why_not or "Start a propagation first.")
        opened.check_pixels()
        stack = self._take(opened.stack.target.axis)
        if stack.target.at(0) != opened.stack.target.at(0):
            raise PromptError(
                f"The propagation is of “{opened.stack.target.target.name}”, at another position "
                "of the sliders or another image than this.",
                "Go back there, or press Start 3D Propagation for this one.",
            )
        taken = opened.find_new_prompts(stack.prompts)
        plane = self._adapter.stacks.plane
        shown = {frame: plane(opened.stack.target, frame) for frame in taken}
        new = assign_clicks(taken, shown)
        lineage = model.lineage
        span = model.span
        if new:
            check_prompts(spec, new, stack.frames)
            spans = opened.spans(span, new, model.tracked)
        else:
            spans = [] if opened.left else [replace(span, start=stack.frame)]
        for each_span in spans:
            each_span.within(len(stack.frames))
        if opened.tracking is None:
            prompts, known = self._remember(opened, stack.frame)
            check_prompts(spec, prompts, stack.frames)
            engine = self._engine.take()
            opened.tracking = Tracking(engine, opened.stack.frames, opened.options, known)
            opened.choice = self._engine.choice
            frames = sorted({*prompts, *new})
            none = PromptSet()
            new = {at: join_prompts(prompts.get(at, none), new.get(at, none)) for at in frames}
        new = rename_prompts(new, lineage)
        shown = {frame: lineage.plane_as_found(plane, frame) for frame, plane in shown.items()}
        return self._run(opened, new, shown, spans, taken)

    def _remember(
        self, opened: OpenTracking, shown: int
    ) -> tuple[dict[int, PromptSet], dict[int, tuple[MaskPrompt, ...]]]:
        """Return the prompts by which an engine that knows nothing of a propagation continues it.

        Returns
        -------
        prompts : dict of int to PromptSet
            The objects as masks: each as the labels hold it on the frames on which it was prompted
            and, as followed, on those that the next ones follow; and what is looked for from there.
        known : dict of int to tuple of MaskPrompt
            Where each slice is looked at by itself: the objects that those of the next are joined
            to, by the numbers that the engine knows.
        """
        lineage, takes = self._model.lineage, self._engine.spec.video
        given, last = opened.prompted_frames, opened.last_frames(shown)
        first = opened.next_from(shown)
        looked_for = opened.looked_for
        if looked_for.joins_slices:
            there = {at: PromptSet(masks=self._masks_on(opened, at)) for at in given | last}
            named = rename_prompts(there, lineage)
            return {first: looked_for}, {frame: prompts.masks for frame, prompts in named.items()}
        # What came of a division looks as it did then.
        born = {
            id_: {min(self.tracks.frames_of(id_), default=first)} for id_ in self.tracks.links()
        }
        unborn = frozenset(born) if opened.only_goes_back else frozenset()
        prompts = {}
        for frame in sorted((given | last).union(*born.values())):
            masks = []
            for mask in self._masks_on(opened, frame):
                assert mask.object_id is not None
                named_ = lineage.found_as(mask.object_id, frame)
                own = opened.prompted.get(named_) or born.get(mask.object_id, given)
                if frame in own | last and mask.object_id not in unborn:
                    masks.append(replace(mask, is_followed=frame not in own))
            prompts[frame] = PromptSet(masks=tuple(masks))
        if looked_for.text and takes is not None and PromptKind.TEXT in takes.prompts:
            prompts[first] = replace(prompts.get(first, PromptSet()), text=looked_for.text)
        if not any(own.kinds for own in prompts.values()):
            raise PromptError(
                "No object is left on the frames to go on from.", "Press Start 3D Propagation."
            )
        return prompts, {}

    def _masks_on(self, opened: OpenTracking, frame: int) -> tuple[MaskPrompt, ...]:
        """Return the objects of a frame as the labels hold them."""
        labels = self._adapter.stacks.reader(opened.stack.target)(frame)
        masks = [
            MaskPrompt(labels[row.region.slices] == row.object_id, row.region, row.object_id)
            for row in self.tracks.all_on(frame)
        ]
        return tuple(mask for mask in masks if mask.mask.any())

    def set_class(self, ids: Collection[int], class_name: str) -> None:
        """Give propagated objects another class, on all frames."""
        stack = self._model.propagated
        for id_ in ids:
            self.tracks.set_class(id_, class_name)
        if stack is None or not ids:
            return
        frames = {at for id_ in ids for at in self.tracks.frames_of(id_)}
        self._list_frames(stack, sorted(frames))
        self._results.list_frames()

    def remove(self, *ids: int) -> Job:
        """Forget objects, and take them out of the labels and the table.

        Raises PromptError if there is no such object.
        """
        opened = self._open
        wrong = next((id_ for id_ in ids if opened is None or id_ not in self._model.tracked), None)
        if opened is None or wrong is not None:
            raise PromptError(
                f"There is no object {wrong} in this propagation."
                if wrong
                else "No object is chosen.",
                "Choose one of its objects.",
            )
        self.edited.check_done()
        lineage, tracking = self._model.lineage, opened.tracking
        followed = frozenset[int]().union(*map(lineage.followed_as, ids))

        def work(reporter: Reporter) -> Iterator[None]:
            reporter.check()
            if tracking is not None:
                for number in followed:
                    tracking.remove(number)
            yield None

        def erase(_: None) -> None:
            for object_id in ids:
                self._adapter.stacks.erase(
                    opened.stack.target, object_id, self.tracks.boxes_of(object_id)
                )
                self.tracks.remove(object_id)
                if self.provenance is not None:
                    self.provenance.note_removed(object_id)
            self._results.remove(*ids)
            self._model.propagated_ids = tuple(sorted(self.tracks.ids))
            opened.followed -= followed
            self._list_tracked()
            if self.tracks.hidden.isdisjoint(ids):
                self.changed.emit()
            else:  # another one may get the number
                self.hide(self.tracks.hidden.difference(ids))
            gone = (
                f"Object {ids[0]} is" if len(ids) == 1 else f"{pluralize(len(ids), 'object')} are"
            )
            self._say(f"{gone} removed from all frames.", Level.SUCCESS)

        job = Job("Removing the object", work)
        job.yielded.connect(erase)
        return self._jobs.start(job)

    def hide(self, hidden: frozenset[int]) -> None:
        """Show all objects but some, in the labels, the table and the tracks."""
        stack = self._model.propagated
        if stack is None:
            return
        self.tracks.hidden = hidden
        self._adapter.stacks.hide(stack, hidden)
        if not self._results.has_frames:  # the user has cleared the table
            self._list_frames(stack, self.tracks.frames)
        self._results.hide_tracked(hidden)
        self._model.picked = None
        self._results.list_frames()
        self.changed.emit()

    def erase_hidden(self) -> None:
        """Take the hidden objects out of the labels: these are about to be no preview any more."""
        hidden, stack = self.tracks.hidden, self._model.propagated
        if stack is None or not hidden:
            return
        self._adapter.stacks.hide(stack, ())
        for object_id in hidden:
            self._adapter.stacks.erase(stack, object_id, self.tracks.boxes_of(object_id))

    def end(self) -> None:
        """Forget the objects and free what the engine holds for them; the labels stay."""
        if self._open is None:
            return
        self._forget()
        if self._job is not None:
            self._job.cancel()
        if not self._model.running:
            self._jobs.runner.start(Job("Freeing memory", self._free))

    def clear(self) -> None:
        """End, and remove the propagated labels and their rows."""
        self.end()
        if self._model.propagated is not None:
            self._model.propagated = None
            self._results.forget_found()
        self._forget_results()
        self._adapter.stacks.remove()

    def resume(self) -> None:
        """Know again the labels that an earlier session has left on show."""
        stack = self._adapter.stacks.find_earlier()
        self._model.propagated = stack
        if stack is not None:
            known = Lineage(self._adapter.stacks.parents(stack))
            self._undo.change_lineage(lambda _: known)
            self.note_edited(range(stack.target.shape[stack.axis]))

    def restore(
        self,
        stack: StackTarget,
        rows: Mapping[int, Sequence[TrackRow]],
        parents: Mapping[int, int],
        classes: Mapping[int, str],
        provenance: StackProvenance | None,
        state: TrackingState | None,
    ) -> None:
        """Know again labels that a session was saved with, and what is left to do.

        The engine does not know its objects: going on takes them from the labels.
        """
        self.tracks.restore(rows, parents, classes)
        self.provenance = provenance
        self._model.propagated = stack
        known = self._undo.current.lineage
        if dict(known.parents) == dict(parents):
            self._lineage = known  # the rows have its numbers already
            self._model.lineage = known
        else:
            self._undo.change_lineage(lambda _: Lineage(parents))
        if provenance is not None and state is not None:
            self._open_again(stack, provenance, state)
        self._model.propagated_ids = tuple(sorted(self.tracks.ids))
        self._list_frames(stack, self.tracks.frames)
        self._results.list_frames()
        self.changed.emit()

    def _open_again(
        self, stack: StackTarget, provenance: StackProvenance, state: TrackingState
    ) -> None:
        """Reopen a propagation from a saved session, so that it can go on."""
        prompts, frames = provenance.prompts, provenance.frames
        snapshot = StackSnapshot(stack, min(prompts), frames, prompts, provenance.paths)
        opened = OpenTracking(None, snapshot, self._engine.choice, provenance.options)
        for earlier in state.given:
            opened.note_prompts(earlier)
        opened.left = tuple(range(*bounds) for bounds in state.left)
        opened.done = set(self.tracks.frames)
        opened.followed = set(state.followed)
        opened.prompted = dict(state.prompted)
        self._open = opened
        self._list_tracked()
        self._model.can_continue = True

    @property
    def state(self) -> TrackingState | None:
        """What a later start needs to go on; None where nothing is open."""
        opened = self._open
        if opened is None or not opened.done:
            return None
        left = tuple((order.start, order.stop, order.step) for order in opened.left)
        return TrackingState(
            left, tuple(sorted(opened.followed)), tuple(opened.given), dict(opened.prompted)
        )

    def note_edited(self, frames: Iterable[int]) -> None:
        """Record that the user changed pixels of the propagated labels on some frames."""
        stack, changed = self._model.propagated, tuple(frames)
        if stack is not None and changed:
            self._adapter.stacks.note_edited(changed)
            self.edited.add(changed, self._adapter.stacks.reader(stack))

    def objects_on(self, place: FramePlace) -> list[StitchedObject]:
        """Return the objects of a frame; none of one that was not propagated to."""
        stack = self._model.propagated
        if stack is None:
            return []
        frame = place.target.plane.leading[stack.target.axes.leading.index(stack.axis)]
        there = stack.at(frame).plane.leading == place.target.plane.leading
        return [as_object(row) for row in self.tracks.on(frame)] if there else []

    def note_labels_removed(self, name: str) -> None:
        """Record that the user removed the propagated labels; ``name`` was their name."""
        self._stop_for_removed(name)
        self._model.propagated = None
        self._results.forget_found()
        self._forget_results()

    def note_image_removed(self, name: str) -> None:
        """Record that the user removed the image; the labels stay. ``name`` was its name."""
        self._stop_for_removed(name)

    def _stop_for_removed(self, name: str) -> None:
        if self._open is None:
            return
        going = self._job is not None
        self.end()
        message = "the propagation was stopped" if going else "its propagation can't go on"
        self._say(f"“{name}” was removed; {message}.", Level.WARNING)

    # -- inside ---------------------------------------------------------------------------

    def _take(self, axis: int) -> StackSnapshot:
        model = self._model
        kind = prompt_kind(Task.VIDEO, model.tool)
        stack = self._adapter.stacks.take_snapshot(model.image, kind, axis)
        if kind in NOT_DRAWN:
            typed = model.add_typed(kind, PromptSet())
            stack = replace(stack, prompts={stack.frame: typed} if typed.kinds else {})
        return stack

    def _run(
        self,
        opened: OpenTracking,
        prompts: Mapping[int, PromptSet],
        shown: Mapping[int, npt.NDArray[np.uint32]],
        spans: Sequence[Span],
        taken: Mapping[int, PromptSet] | None = None,
    ) -> Job:
        """Run a propagation; without spans, what an earlier one has left to do.

        ``taken`` are the prompts as the user has drawn them, by default the same.
        """
        backpressure, tracking, left = Backpressure(_ON_THE_WAY), opened.tracking, opened.left
        assert tracking is not None
        taken_ids = {step.new for step in self._model.lineage.relabelled} | opened.followed
        lost = self._model.stop_after_lost or None

        def work(reporter: Reporter) -> Iterator[_Plan | FrameResult]:
            tracking.reserve(taken_ids)
            if prompts:
                tracking.add(prompts, reporter, shown)
            passes = [order for span in spans for order in tracking.passes(span)]
            beside = opened.find_remaining(passes) if spans else left
            yield _Plan((*passes, *beside), tracking.prompted)
            for result in tracking.follow([*passes, *beside], reporter, stop_after_lost=lost):
                backpressure.wait(reporter)
                yield result

        began = time.monotonic()
        notes: list[str] = []

        def show(item: _Plan | FrameResult) -> None:
            if isinstance(item, _Plan):
                opened.left = item.passes
                opened.prompted |= item.prompted
                opened.note_prompts(prompts if taken is None else taken)
                if self.provenance is not None:
                    self.provenance.note_passes(item.passes)
                return
            backpressure.free_slot()
            notes.extend(item.notes)
            self._show(opened, item)

        def end(state: JobState) -> None:
            self._job = None
            last_words = self._finish(opened, state, time.monotonic() - began, notes)
            # A run that took the place of this one has the last word.
            if last_words is not None and self._jobs.current is job:
                self._jobs.when_idle(partial(self._say, *last_words))
            self.changed.emit()

        job = self._engine.make_job("The propagation", tracking.engine, work, show)
        job.finished.connect(end)
        self._job = job
        if self.provenance is not None:
            self.provenance.note_run(prompts, shown, stop_after_lost=lost, goes_on=not spans)
        self._class_name = self._model.object_class
        return self._jobs.start(job, views=(opened.stack.frames.view,))

    def _show(self, opened: OpenTracking, frame_result: FrameResult) -> None:
        model, target = self._model, opened.stack.target
        result = frame_result.renamed(model.lineage)
        try:
            opened.check_pixels()
            self._adapter.stacks.show(target, result)
        except ImageError as error:
            self.end()
            self._say(str(error), Level.WARNING)
            return
        if self.provenance is not None:
            self.provenance.note_frame(result.engine)
        opened.advance(result)
        opened.followed |= frame_result.tracked
        if result.parents:
            self._undo.change_lineage(lambda known: known.add(result.parents))
        for record in result.objects:
            self.tracks.classes.setdefault(record.id, self._class_name)
        kept = self.tracks.add(result)
        self._list_frames(target, (result.frame,))
        self._list_tracked()
        ids = {record.id for record in result.objects}
        model.propagated_ids = tuple(sorted({*model.propagated_ids, *ids}))
        model.propagated = target
        model.can_continue = True
        if kept or result.frame in self.edited.waiting or len(ids) < len(result.objects):
            # What is new may lie over what the user has painted there, or two are one by now.
            self.note_edited((result.frame,))

    def _list_frames(self, stack: StackTarget, frames: Iterable[int]) -> None:
        """Put the objects of frames into the table, hidden ones too: it lists them when shown."""
        self._results.hide_tracked(self.tracks.hidden)
        for frame in frames:
            self._results.add_frame(FramePlace(stack.at(frame)), self.tracks.all_on(frame))

    def _list_tracked(self) -> None:
        """List what is followed, by the numbers by which it is on show."""
        opened, lineage = self._open, self._model.lineage
        if opened is not None:
            ids = {lineage.shown_as(id_, sys.maxsize) for id_ in opened.followed}
            self._model.tracked = tuple(sorted(ids))

    def _on_lineage(self, lineage: Lineage) -> None:
        """Bring the table up to date with corrections of tracks, made or taken back."""
        changes = tuple(self._lineage.changes_to(lineage))
        self._lineage = lineage
        self.tracks.parents = dict(lineage.parents)
        for change in changes:
            self.tracks.relabel(change.old, change.new, change.first)
        if self.provenance is not None:
            self.provenance.note_relabelled(changes)
        stack = self._model.propagated
        if stack is None or self._job is not None:
            return  # the end of a run lists all of them
        self._adapter.stacks.note_parents(stack, lineage.parents)
        self._list_frames(stack, self.tracks.frames)
        self._model.propagated_ids = tuple(sorted(self.tracks.ids))
        self._model.picked = None
        self._results.list_frames()
        self._list_tracked()

    def _put(self, frame: int, objects: Sequence[TrackRow]) -> None:
        """Take what the labels of a frame show now."""
        stack = self._model.propagated
        if stack is None:
            return
        self.tracks.put(frame, objects)
        # All of them, should the user have cleared the table since.
        self._list_frames(stack, (frame,) if self._results.has_frames else self.tracks.frames)
        if not self.edited.waiting:
            self._results.list_frames()
            self._model.propagated_ids = tuple(sorted(self.tracks.ids))

    def _finish(
        self, opened: OpenTracking, state: JobState, seconds: float, notes: Sequence[str]
    ) -> tuple[str, Level] | None:
        """List what was found; returns what is to be said when nothing runs any more."""
        stack, lineage = self._model.propagated, self._model.lineage
        if stack is not None and lineage != Lineage():
            # The parent of an object may have come after it.
            self._adapter.stacks.note_parents(stack, lineage.parents)
            self._list_frames(stack, self.tracks.frames)
        self._results.list_frames()
        self._adapter.stacks.finish()
        if opened is not self._open:
            return None
        if not opened.done:
            # Nothing came of it: there is nothing to go on from.
            self.end()
            return None
        if opened.choice != self._engine.choice:
            self.end()
        rest = sum(map(len, opened.left))
        count = pluralize(len(opened.done), "frame")
        if state is JobState.CANCELLED:
            message = f"Stopped; {count} done. Propagate Existing Session does the {rest} left."
            return message, Level.INFO
        if state is JobState.DONE:
            opened.left = ()
            objects = pluralize(len(self._model.tracked), "object")
            assert opened.tracking is not None
            took = f"in {seconds:.1f} s{describe_place(opened.tracking.engine.device)}"
            message = f"Propagated: {objects} on {count}, {took}. {' '.join(notes)}"
            return message.strip(), Level.SUCCESS
        return None

    def _on_leaving(self) -> None:
        # One that a session was saved with is known to no engine yet, and can go on with the next.
        if self._open is not None and self._open.tracking is not None:
            self._forget()

    def _on_choice(self) -> None:
        # A run that is going ends by itself: it has an engine, and says so when it is done.
        if self._job is None:
            self.end()

    def _forget(self) -> None:
        """Leave the objects to be closed by the worker."""
        opened, self._open = self._open, None
        if opened is not None and opened.tracking is not None:
            self._engine.close_later(opened.tracking)
        self._model.can_continue = False
        self._model.tracked = ()

    def _forget_results(self) -> None:
        """Forget what was found, and with what made it the pixels of the stack."""
        self.edited.forget()
        self.tracks.clear()
        self._lineage = Lineage()  # what is taken back now was not corrected
        self._undo.change_lineage(lambda _: Lineage())
        self._model.proposed_divisions = ()
        self._model.propagated_ids = ()
        self.provenance = None

    def _free(self, reporter: Reporter) -> Iterator[None]:
        reporter.check()
        self._engine.close_unused()
        yield None

    def _say(self, text: str, level: Level = Level.INFO) -> None:
        self._model.message = Message(text, level)

"""The verbs of a session. It alone starts jobs."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from psygnal import Signal

from napari_sam3_assistant.core.prompts import PromptKind, Task, Tool, prompt_kind
from napari_sam3_assistant.core.results import list_candidates, replace_object
from napari_sam3_assistant.engines import registry
from napari_sam3_assistant.errors import PromptError
from napari_sam3_assistant.jobs import JobState
from napari_sam3_assistant.session.accepting import NOT_PUT_BACK, Accepting
from napari_sam3_assistant.session.annotating import FolderAnnotation
from napari_sam3_assistant.session.availability import no_preview, resolve
from napari_sam3_assistant.session.awaiting import Awaiting
from napari_sam3_assistant.session.axes_from_file import FileAxes
from napari_sam3_assistant.session.classes import ObjectClasses
from napari_sam3_assistant.session.correcting import Correcting, drop
from napari_sam3_assistant.session.engine import EmbeddingPrefetch, EngineInUse, ModelLoading
from napari_sam3_assistant.session.filtering import Filtering
from napari_sam3_assistant.session.folder_runs import FolderBatch, FolderEncoding, SeriesChoice
from napari_sam3_assistant.session.image_batch import Batch
from napari_sam3_assistant.session.jobs import Running, Services
from napari_sam3_assistant.session.journaling import Journaling
from napari_sam3_assistant.session.measuring import Measuring
from napari_sam3_assistant.session.model import ONLY_TOLD, REMEMBERED_OF_SCANS, ScanModel
from napari_sam3_assistant.session.model_setup import Computing, ModelSetup
from napari_sam3_assistant.session.opening import Opening
from napari_sam3_assistant.session.other_labels import UseLabels
from napari_sam3_assistant.session.propagation import Propagation
from napari_sam3_assistant.session.results import Results, SoftMasks
from napari_sam3_assistant.session.runs import RoiInference, SegmentRun
from napari_sam3_assistant.session.saving import SaveAndClean, SaveAtAccept, Saving
from napari_sam3_assistant.session.scanning import Merging, Scanning
from napari_sam3_assistant.session.settings import restore
from napari_sam3_assistant.session.storing import Storing
from napari_sam3_assistant.session.thumbnails import Thumbnails
from napari_sam3_assistant.session.tracks import AcceptedTracks, TrackCorrections, TrackTables
from napari_sam3_assistant.session.undo import Undo, make_seed
from napari_sam3_assistant.session.values import FramePlace, Level, Message, StackSeed
from napari_sam3_assistant.workflows.figure import LabelsOnShow

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from pathlib import Path

    from psygnal import EmissionInfo

    from napari_sam3_assistant.core.display import Figure
    from napari_sam3_assistant.core.progress import Deliver
    from napari_sam3_assistant.jobs import Job
    from napari_sam3_assistant.session.model import SessionModel
    from napari_sam3_assistant.session.settings import SettingsStore
    from napari_sam3_assistant.session.values import KeptPlace, Preview, ResultRow
    from napari_sam3_assistant.viewer.adapter import ViewerAdapter


_NO_CANDIDATES = (
    "There is no smaller or larger mask to choose: only a single click has some.",
    "Click once on an object.",
)
_UNANSWERED = "What you changed of the prompts since its run is not in it; Undo brings it back."
_STACK_CANDIDATES = (
    "This is what the click means most likely. The same keys choose a smaller or larger mask; "
    "Start 3D Propagation follows the one on show."
)


class Session:
    """What a user can do, also by the verbs that its attributes hold. All on the GUI thread."""

    prompts_edited = Signal()
    _live_again = _edited = False
    _given_up = False  # whether what was drawn was tried since, in vain
    _clicked: object = None  # the prompts whose candidates are on show, in 3D/video

    def __init__(
        self, model: SessionModel, adapter: ViewerAdapter, deliver: Deliver, settings: SettingsStore
    ) -> None:
        self.model, self._adapter = model, adapter
        self._undo = Undo(model, adapter)
        self.scan_model = ScanModel()
        self._restore(settings)
        self.engine = EngineInUse(model)
        self._running = Running(model, deliver)
        services = Services(model, self.scan_model, adapter, self.engine, self._running, self._undo)
        self.setup = ModelSetup(model, self._running.start, deliver)
        self.loading = ModelLoading(model, self.engine, self._running.start)
        self.computing = Computing(model, self.loading, deliver)
        self.roi_inference = RoiInference(model)
        self.results = Results(model, self._running.start)
        self.propagation = Propagation(services, self.results, deliver)
        self.saving = Saving(services, self.propagation)
        self._accepting = Accepting(
            services,
            SaveAtAccept(
                services, self.saving, deliver, lambda image: self.annotation.holds(image)
            ),
        )
        self.correcting = Correcting(services, self._accepting, self.propagation)
        self.corrections = TrackCorrections(services, self._accepting, self.propagation)
        self.classes = ObjectClasses(
            services, self.results, self._accepting, self.propagation, deliver
        )
        self.cleaning = SaveAndClean(services, self.propagation, self._continue_cleaned)
        self.batch = Batch(services, self.roi_inference)
        self.scanning = Scanning(services, self.results)
        self.folder_batch, self.folder_encoding = FolderBatch(services), FolderEncoding(services)
        self.series_choice = SeriesChoice(model, self.scan_model, deliver)
        self.merging = Merging(services)
        self.soft_masks, self.chime = SoftMasks(model, deliver), self._running.chime
        self.measuring = Measuring(services, self.results, deliver)
        self.prefetch = EmbeddingPrefetch(model, adapter, self._running.runner, self.engine)
        run = self._segment_run = SegmentRun(services, self.roi_inference, self.prefetch)
        self._awaiting = Awaiting(services, self._accepting, run)
        self.axes_from_file = FileAxes(
            model, adapter.layer_axes, lambda: model.image, self._is_worked_on, deliver
        )
        self.use_labels = UseLabels(
            services, self._accepting, run, self.propagation, self.classes.file
        )
        self.thumbnails = Thumbnails(adapter, deliver)
        self.filtering = Filtering(services, self.results, self.propagation, self.run)
        self.tracks = TrackTables(services, self.propagation)
        self.accepted_tracks = AcceptedTracks(services, self.results, deliver)
        self.annotation = FolderAnnotation(services, self.accept, self.prefetch, deliver, settings)
        found = (self.propagation, self.filtering, self.results, self.annotation)
        storing = Storing(services, *found, deliver)
        self.journaling = Journaling(services, storing, Opening(services, storing, *found), deliver)
        self._watch()

    @property
    def storing(self) -> Storing:
        """Saves the session."""
        return self.journaling.storing

    @property
    def opening(self) -> Opening:
        """Opens another session."""
        return self.journaling.opening

    def _restore(self, settings: SettingsStore) -> None:
        """Choose again what was chosen the last time, as far as it is there."""
        model = self.model
        restore(model, settings)
        if model.engine not in registry.entries():
            model.engine = next(iter(registry.entries()))
        restore(self.scan_model, settings, REMEMBERED_OF_SCANS)

    def _watch(self) -> None:
        """Follow the changes of the models, and of the prompts."""
        model = self.model
        self._running.idle.connect(self._on_idle)
        self._running.begun.connect(self._on_begun)
        self._running.unanswered.connect(self._on_unanswered)
        self.prompts_edited.connect(self.prefetch.start)
        self.prompts_edited.connect(self._on_edited)
        for event in (model.events.image, model.events.images):
            event.connect(self.axes_from_file.look, max_args=0)
        for event in (model.events.task, model.events.tool, model.events.image, model.events.live):
            event.connect(self._forget_wait, max_args=0)
        model.events.connect(self._on_change)
        self.scan_model.events.connect(self._on_change)
        self._resolve()

    # -- runs -----------------------------------------------------------------------------

    def run(self) -> Job:
        """Segment the plane on show with the prompts of the chosen task and tool.

        In a batch: all images, or one after the other with several phrases. A run that is going
        is cancelled.

        Raises Sam3AssistantError if it can't start; nothing has changed then.
        """
        if self.model.task is Task.VIDEO:
            seed = self._find_chosen()
            return self.propagation.start() if seed is None else self.follow(seed)
        self.note_edits()
        if self.model.why_not.run:
            raise PromptError(self.model.why_not.run)
        return self.batch.run() if self.model.is_batch else self._segment_run.run(live=False)

    def run_live(self) -> None:
        """Run again by itself, if prompts have changed and the engine answers at once.

        While a run is going, it is run once more when that ends, so no click is lost and no
        encoding is thrown away.
        """
        model = self.model
        if not self._edited or model.task is Task.VIDEO:
            return
        self.note_edits()
        kind = prompt_kind(model.task, model.tool)
        if model.running:
            self._live_again = True
        elif not model.why_not.run:
            model.why_not_live = self._segment_run.why_not_live()
            if not model.why_not_live:
                self._segment_run.run(live=True)
            else:
                self._say(model.why_not_live)
        elif not model.prompts.elsewhere and (model.live or model.task is Task.LIVE_POINTS):
            self._segment_run.take_back(kind)
            self._edited = False

    def cancel(self) -> None:
        """Stop the run; what has come out of it stays. What is being accepted is taken back."""
        self._stop(writing=True)

    def _stop(self, *, writing: bool = False) -> bool:
        """Stop the run; returns whether that took the latest step back, an object waited for."""
        self._live_again = False
        given_up = self._awaiting.give_up()
        if self._running.cancel(writing=writing):
            self.prefetch.cancel()
        return self._awaiting.reopen(given_up)

    def clear_preview(self) -> None:
        """Remove the preview; prompts and saved labels stay."""
        self._stop()
        self.note_edits()
        self._undo.push(replace(self._undo.current, previews=(), seed=None))
        self.model.previews = ()
        self.propagation.clear()
        self._say("Preview cleared. Prompts and saved labels were kept.")

    def discard(self) -> None:
        """Drop the object on show, its prompts and its preview; with none, cancel the run.

        A propagation is cancelled at once: what it followed is not brought back by undo.
        """
        model, counts = self.model, self.model.prompts
        drawn = counts.positive or counts.negative or counts.boxes or counts.painted
        nothing = model.task is Task.VIDEO or not (drawn or model.previews)
        self._stop(writing=nothing)
        if nothing:
            return
        self.note_edits()
        for image in dict.fromkeys(
            (model.image, *(preview.target.image for preview in model.previews))
        ):
            self._adapter.clear_prompts(image)
        model.previews = ()
        prompts = self._adapter.prompt_state()
        self._undo.push(replace(self._undo.current, prompts=prompts, previews=(), seed=None))
        self._say("Discarded; Undo brings it back. Ready for the next object.")

    def _continue_cleaned(self, message: str) -> None:
        """Go on after all previews have been saved: without them, and without the model."""
        self._undo.push(replace(self._undo.current, previews=(), seed=None))
        self.model.previews = ()
        self.propagation.clear()
        self.loading.unload(message)

    def refine(self, object_id: int, preview: Preview | None = None) -> None:
        """Refine one object of a preview by clicks that start from its mask.

        ``preview``: the preview; by default the latest.
        Raises PromptError if the preview has no such object, or something is being accepted.
        """
        self._accepting.check_found()
        self.note_edits()
        preview = preview or self.shown_preview()
        # As it is now, should the user have changed it.
        preview = next(
            (candidate for candidate in self.model.previews if candidate.slot == preview.slot),
            preview,
        )
        self._begin_refining(preview, object_id, self.model.previews)

    def refine_accepted(self, place: KeptPlace, object_id: int) -> None:
        """Refine an accepted object by clicks; accepted again, it keeps its number.

        Raises PromptError if it is not there any more.
        """
        self.note_edits()
        preview = self.correcting.reopen(place, object_id)
        others = (other for other in self.model.previews if other.slot != preview.slot)
        self._begin_refining(preview, object_id, (*others, preview))

    def _begin_refining(
        self, preview: Preview, object_id: int, previews: tuple[Preview, ...]
    ) -> None:
        seed, before = make_seed(preview, object_id), self._undo.current
        self._adapter.clear_prompts(preview.target.image)
        prompts = self._adapter.prompt_state()
        self._undo.push(replace(before, prompts=prompts, previews=previews, seed=seed))
        self.model.previews = previews
        self._live_again = self._edited = False
        self._running.cancel_drawn()
        self.model.task = Task.LIVE_POINTS
        self._say(f"Refining object {object_id}: click to add, or T and click to take away.")

    def choose_candidate(self, step: int) -> None:
        """Put another mask that the click may mean in the place of its object.

        It is a step that can be taken back; clicks that follow correct the mask that was chosen. In
        3D/video the masks of the only click are looked for first, and a start follows the one on
        show.

        ``step``: 1 for the next larger one, -1 for the next smaller one.
        Raises PromptError if there is no preview, or its prompts have one meaning only.
        """
        self._accepting.check_found()
        self.note_edits()
        if self.model.task is Task.VIDEO and self._find_chosen() is None:
            self._find_candidates()
            return
        preview, seed = self.shown_preview(), self._undo.current.seed
        refined = seed is not None and seed.slot == preview.slot
        clicked = preview.made_by(PromptKind.POINTS)
        id_ = seed.record.id if refined and seed is not None else max(clicked, default=1)
        ordered, at = list_candidates(preview.segmentation, id_)
        if not ordered:
            raise PromptError(*_NO_CANDIDATES)
        word, chosen = "smaller" if step < 0 else "larger", at + step
        if not 0 <= chosen < len(ordered):
            self._say(f"{at + 1} of {len(ordered)}: there is no {word} one.")
            return
        found = replace_object(preview.segmentation, id_, ordered[chosen])
        after = replace(preview, segmentation=found)
        previews = tuple(after if shown is preview else shown for shown in self.model.previews)
        # With an object a click, the next click is not about this one.
        if refined or not self.model.each_click:
            seed = make_seed(after, id_)
        self._undo.push(replace(self._undo.current, previews=previews, seed=seed))
        self.model.previews = previews
        self._say(f"{chosen + 1} of {len(ordered)}, {word}: the masks that the click may mean.")

    def _find_candidates(self) -> None:
        """Show the masks that the only click on a stack may mean."""
        model = self.model
        if model.why_not.run:
            raise PromptError(model.why_not.run)
        if (model.tool, model.prompts.positive, model.prompts.negative) != (Tool.POINTS, 1, 0):
            raise PromptError(*_NO_CANDIDATES)
        job = self._segment_run.run(live=False)

        def tell(state: JobState) -> None:
            if state is JobState.DONE:
                self._clicked = self._undo.current.prompts
                if self._find_chosen() is not None:
                    self._say(_STACK_CANDIDATES)

        job.finished.connect(tell)

    def _find_chosen(self) -> StackSeed | None:
        """Return the object on show of the masks that the only click on a stack may mean."""
        preview = self.model.preview
        if preview is None or self._undo.current.prompts is not self._clicked:
            return None
        found = preview.segmentation
        if not found.candidates or len(found.objects) != 1:
            return None
        return StackSeed(preview.target, found.objects[0], preview)

    def follow(self, seed: StackSeed) -> Job:
        """Follow an object of one slice through its stack: the task is 3D/video then.

        An object of a preview leaves it, and the prompts are cleared, in one step of undo.

        Raises Sam3AssistantError if it can't start; nothing has changed then.
        """
        model = self.model
        if model.why_not.follow:
            raise PromptError(model.why_not.follow)
        job = self.propagation.follow(seed)
        id_ = seed.record.id
        left = [
            drop(preview, id_) if preview is seed.preview else preview for preview in model.previews
        ]
        previews = tuple(
            preview for preview in left if preview.segmentation.objects or preview.hidden
        )
        self._adapter.clear_prompts(seed.target.image)
        prompts = self._adapter.prompt_state()
        self._undo.push(replace(self._undo.current, prompts=prompts, previews=previews, seed=None))
        model.previews = previews
        model.task = Task.VIDEO
        return job

    def drop(self, *rows: ResultRow) -> None:
        """Take objects out of their results: a step that can be taken back.

        Of a propagation they go from all frames, which is no such step.

        Raises PromptError if one of them is an object of a scan.
        """
        tracked = {row.record.id for row in rows if isinstance(row.preview, FramePlace)}
        others = [row for row in rows if not isinstance(row.preview, FramePlace)]
        if others:
            self.correcting.delete(*others)
        if tracked:
            self.propagation.remove(*sorted(tracked))

    def accept(self) -> None:
        """Add the previewed, or propagated, objects to the accepted labels; clear the prompts.

        What is to be found by itself, or by the run that is going, is accepted when it is found.

        Raises Sam3AssistantError if there is no preview, or it can't be written.
        """
        self.note_edits()
        stack = self.model.propagated
        if self.model.task is Task.VIDEO and stack is not None:
            self.propagation.edited.check_done()
            if self.model.running:
                raise PromptError("The run is not done yet.", "Wait for its end, or cancel it.")
            self._accepting.accept_stack(stack, self.propagation.tracks)
            return
        if self._is_awaited():
            job = None if self._edited else self._running.current
            self._live_again = self._edited = False
            self._awaiting.add(job)
            return
        self._accepting.check_idle()
        self.shown_preview()
        if not any(preview.segmentation.objects for preview in self.model.previews):
            raise PromptError("The preview is empty; nothing was accepted.", "Add a prompt first.")
        unanswered = self._edited or self._running.has_asked
        self._accepting.accept(_UNANSWERED if unanswered else "")

    def save(self) -> None:
        """Save what was accepted and is on show: of an annotated folder where its labels are."""
        in_folder = self.annotation.holds(self.model.image)
        self.save_accepted(self.annotation.save if in_folder else self.saving.save)

    def save_accepted(self, save: Callable[[], object]) -> None:
        """Call what saves; where an accepted object is still to be found, when it is there.

        ``save``: a verb of :attr:`saving` or :attr:`cleaning`; as a run it would stop the search.
        """
        self._awaiting.save_after(save)

    def save_figure(
        self, path: Path, draw: Callable[[Figure, str], bytes], ending: str = ".png"
    ) -> Job:
        """Write a figure of the plane on show, see :meth:`.Saving.save_figure`."""
        self.note_edits()
        scans = {
            stored: LabelsOnShow(
                stored.levels[0],
                {row.record.id: row.record.text for row in rows},
                self.results.left_out(stored.slot),
            )
            for stored, rows in self.results.scans.items()
        }
        return self.saving.save_figure(path, draw, scans, ending)

    def resume(self) -> None:
        """Know again the results that an earlier session has left on show."""
        left = self._adapter.find_earlier()
        if left:
            self._undo.record(left, amend=False)
            self.model.previews = left
            self.note_edits()
        self.propagation.resume()
        self.annotation.resume()

    def close(self) -> None:
        """Stop the work and free the engine."""
        self._stop()
        self.filtering.close()
        self.engine.release()
        self._running.close(self.engine.close_unused)
        self.setup.close()
        self.computing.close()
        self.series_choice.close()
        self.axes_from_file.close()
        self.soft_masks.close()
        self._accepting.close()
        self.classes.close()
        self.propagation.edited.close()
        self.journaling.close()
        self.storing.close()
        self.thumbnails.close()
        self.measuring.close()
        self.accepted_tracks.close()
        self.annotation.close()

    # -- undo -------------------------------------------------------------------------------

    def note_prompts(self) -> None:
        """Record that the user changed the prompts: a step that can be taken back."""
        if self._undo.note_prompts():
            self.prompts_edited.emit()

    def note_image_removed(self, image: str) -> None:
        """Record that the user removed an image: no step goes back to what it showed."""
        self._undo.forget(image)
        self.results.forget_file_backed(image)

    def part_from_image(self, image: str, name: str) -> None:
        """Keep what was found on an image that the user removed as saved layers.

        Without its image it can't be accepted, corrected or saved as a result.
        """
        found = self.model.previews
        mine = [preview for preview in found if preview.target.image == image]
        if mine:
            kept = self.saving.keep_left(mine)
            self.model.previews = tuple(preview for preview in found if preview not in mine)
            if kept:
                stays = f"what was found on it stays as layer {kept}"
                self._say(f"“{name}” was removed: {stays}.", Level.WARNING)

    def undo(self) -> None:
        """Take the last step back: a prompt, a run, or an acceptance.

        Raises PromptError while accepted labels are being written.
        """
        if self._accepting.is_awaited and self._stop():
            return
        self._accepting.check_idle()
        self._stop()
        self.note_edits()
        self._edited = False
        if self.model.can_undo:
            self._say("The last step is taken back.")
            if not self._accepting.write(self._undo.undo(), ()):
                self._say(
                    "The step is taken back. Its accepted labels were deleted or replaced before."
                )

    @property
    def step(self) -> int:
        """The number of the step that undo would take back: each step has its own."""
        return self._undo.step

    def note_edits(self, edits: Iterable[tuple[Preview, Preview]] | None = None) -> None:
        """Record what the user has changed in the pixels of previews.

        ``edits``: previews before and after; by default the adapter is asked.
        """
        self._undo.note_edits(self._adapter.edits() if edits is None else edits)

    def redo(self) -> None:
        """Take the step again that was taken back.

        Raises PromptError while accepted labels are being written.
        """
        self._accepting.check_idle()
        self._stop()
        self.note_edits()
        self._edited = False
        if self.model.can_redo:
            self._say("The step is done again.")
            if not self._accepting.write((), self._undo.redo()):
                self._say(NOT_PUT_BACK, Level.WARNING)

    # -- inside -----------------------------------------------------------------------------

    def _on_change(self, change: EmissionInfo) -> None:
        if change.signal.name not in ONLY_TOLD:
            self._resolve()

    def _resolve(self) -> None:
        self.model.why_not = resolve(self.model, self.scan_model, self.engine.spec)

    def _on_begun(self) -> None:
        self._live_again = self._edited = False
        self._forget_wait()

    def _forget_wait(self) -> None:
        self.model.why_not_live = ""

    def _on_edited(self) -> None:
        self._edited, self._given_up = True, False

    def _on_unanswered(self) -> None:
        # Another job may only have come before it.
        self._edited, self._given_up = True, self._running.current is None

    def _on_idle(self) -> None:
        # What was clicked since is of the next object, and still to be answered.
        waiting = self._edited, self._live_again
        self._awaiting.go_on()
        self._edited, self._live_again = self._edited or waiting[0], waiting[1]
        if self._live_again and not self.model.running:
            self.run_live()

    def _is_worked_on(self) -> bool:
        """Return whether prompts or results lie on the image, or are on their way."""
        model, counts = self.model, self.model.prompts
        drawn = counts.positive or counts.negative or counts.boxes or counts.painted
        targets = [preview.target for preview in model.previews]
        if model.propagated is not None:
            targets.append(model.propagated.target)
        found = any(target.image == model.image for target in targets)
        return bool(drawn or model.running or model.kept or found)

    def _is_awaited(self) -> bool:
        """Return whether what was drawn is about to be answered.

        Raises ImageError if the viewer shows no plane of the image.
        """
        model = self.model
        if not self._edited or model.task is Task.VIDEO:
            return self._running.has_asked
        if self._given_up and model.previews:
            return False  # what there is can be accepted without it
        return not (model.why_not.run or model.is_batch or self._segment_run.why_not_live())

    def shown_preview(self) -> Preview:
        """Return the preview.

        Raises PromptError if there is none.
        """
        if self.model.preview is None:
            raise no_preview(self.model)
        return self.model.preview

    def _say(self, text: str, level: Level = Level.INFO) -> None:
        self.model.message = Message(text, level)

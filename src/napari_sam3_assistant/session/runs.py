"""Runs: on the plane on show or a region of it, and to refine an object."""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from napari_sam3_assistant.core.plurals import pluralize
from napari_sam3_assistant.core.prompts import (
    NOT_DRAWN,
    ONE_BY_ONE,
    PromptKind,
    PromptSet,
    Task,
    prompt_kind,
)
from napari_sam3_assistant.core.regions import Region
from napari_sam3_assistant.core.results import ObjectRecord, put_objects, set_class
from napari_sam3_assistant.core.tiling import (
    LARGE_PLANE,
    ROI_SIZES,
    LocalRoi,
    count_outside,
    local_roi,
    roi_messages,
)
from napari_sam3_assistant.errors import PromptError
from napari_sam3_assistant.session.engine import RunTimes, Stopwatch
from napari_sam3_assistant.session.messages import format_outcome, format_prompts
from napari_sam3_assistant.session.undo import make_seed
from napari_sam3_assistant.session.values import ActiveRoi, Message, Preview
from napari_sam3_assistant.workflows.provenance import RunProvenance
from napari_sam3_assistant.workflows.segment import SegmentRequest, segment

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Sequence
    from pathlib import Path

    from napari_sam3_assistant.core.images import PlaneRef
    from napari_sam3_assistant.core.prompts import MaskPrompt, PointPrompt
    from napari_sam3_assistant.core.results import Segmentation
    from napari_sam3_assistant.jobs import Job
    from napari_sam3_assistant.session.engine import EmbeddingPrefetch
    from napari_sam3_assistant.session.jobs import Services
    from napari_sam3_assistant.session.model import SessionModel
    from napari_sam3_assistant.session.snapshots import ImageSnapshot, OtherLabels
    from napari_sam3_assistant.session.undo import RefineSeed
    from napari_sam3_assistant.session.values import PlaneTarget
    from napari_sam3_assistant.viewer.adapter import ViewerAdapter


_PROMPTS_GONE = "The prompts of the result before are gone with it; Undo brings both back."
_EDITS_GONE = "It takes the place of the preview that you changed by hand; Undo brings that back."
_BOXED = frozenset({PromptKind.BOXES, PromptKind.EXEMPLARS})
"""Kinds whose prompts are drawn in one layer."""
_ALL_OF_IT = (
    "Turn large-image mode on, for a square round the click. Run Preview reads the whole image, "
    "which takes long and much memory."
)
QUICK_S = 1.5
"""An engine that answers a click within so many seconds answers it by itself."""


@dataclass(frozen=True, slots=True, eq=False)
class Frozen:
    """What a run answers: a plane with prompts of one kind, and how many could not be used.

    ``object_class`` is the one that was chosen for what it finds.
    """

    snapshot: ImageSnapshot
    kind: PromptKind
    outside: int
    object_class: str


class SegmentRun:
    """Starts runs on the plane on show. All methods are called on the GUI thread."""

    def __init__(self, services: Services, roi: RoiInference, prefetch: EmbeddingPrefetch) -> None:
        self._model, self._adapter = services.model, services.adapter
        self._engine, self._jobs, self._undo = services.engine, services.jobs, services.undo
        self._roi = roi
        self._prefetch = prefetch
        self._run_times = RunTimes()
        # Of what was accepted before it is found; else the one that is chosen then.
        self._object_class: str | None = None

    def freeze(self) -> Frozen:
        """Return the plane on show with the prompts of the chosen task and tool, for a later run.

        Raises ImageError if the viewer shows no plane of the image.
        """
        model = self._model
        kind = prompt_kind(model.task, model.tool)
        snapshot = self._adapter.take_snapshot(model.image, kind)
        snapshot = replace(snapshot, prompts=model.add_typed(kind, snapshot.prompts))
        return Frozen(snapshot, kind, model.prompts.outside, model.object_class)

    def settle_class(self) -> None:
        """Let what is looked for now be of the class that is chosen now."""
        self._object_class = self._model.object_class

    def run(self, frozen: Frozen | None = None, *, live: bool) -> Job:
        """Segment a plane with its prompts: by default, what is on show.

        ``live``: whether the result is a part of the step that the last click made.
        Raises Sam3AssistantError if it can't start; nothing has changed then.
        """
        model = self._model
        awaits = frozen is None  # else its prompts are not on show any more
        frozen = frozen or self.freeze()
        snapshot, kind, outside = frozen.snapshot, frozen.kind, frozen.outside
        seed = self._find_seed(snapshot) or self._find_clicked(snapshot)
        points = number_points(snapshot.prompts.points, each=model.each_click and seed is None)
        prompts = replace(snapshot.prompts, points=points)
        snapshot = replace(snapshot, prompts=prompts)
        if seed is not None:
            snapshot = replace(snapshot, prompts=seed.add_to(snapshot.prompts))
        snapshot.prompts.check(snapshot.view.shape)
        if seed is None and points and not any(point.positive for point in points):
            raise PromptError("All points are negative.", "Add a positive point on the object.")
        region = (
            self._roi.choose_region(snapshot)
            if seed is None
            else self._roi.refine_region(seed, snapshot)
        )

        def classify(result: Segmentation) -> Segmentation:
            return self._classify(result, snapshot.target, kind)

        used = (prompts, outside)
        self._object_class = None if awaits else frozen.object_class
        return self._start(
            snapshot, kind, region, used, classify, seed=seed, live=live, awaits=awaits
        )

    def refine_labels(
        self, other_labels: OtherLabels, asked: Sequence[MaskPrompt], kept: Sequence[MaskPrompt]
    ) -> Job:
        """Ask for objects of labels by their masks, one by one.

        ``asked``: the objects to ask for.
        ``kept``: the others, which are in the result as they are.
        Raises Sam3AssistantError if it can't start; nothing has changed then.
        """
        snapshot = self._adapter.take_snapshot(self._model.image, PromptKind.MASK)
        prompts = PromptSet(masks=tuple(asked))
        snapshot = replace(snapshot, prompts=prompts)
        prompts.check(snapshot.view.shape)
        known = other_labels.known
        beside = tuple(ObjectRecord(mask.object_id or 0, mask.mask, mask.region) for mask in kept)

        def complete(result: Segmentation) -> Segmentation:
            whole = put_objects(result, (), beside)
            for id_, label in known.items():
                if label.class_name:
                    whole = set_class(whole, label.class_name, [id_])
            return set_class(whole, self._model.object_class)

        # As what is asked for everything at once: no painted mask makes its objects anew.
        return self._start(snapshot, PromptKind.EVERYTHING, None, (prompts, 0), complete)

    def _start(
        self,
        snapshot: ImageSnapshot,
        kind: PromptKind,
        region: Region | None,
        used: tuple[PromptSet, int],
        complete: Callable[[Segmentation], Segmentation],
        *,
        seed: RefineSeed | None = None,
        live: bool = False,
        awaits: bool = True,
    ) -> Job:
        """Start a run, given its prompts for the user, and how many could not be used.

        ``awaits``: whether the prompts on show are those that it answers.
        """
        prompts, outside = used
        engine, folder = self._engine.take(), self._engine.model_folder
        options = self._engine.options(snapshot.prompts.kinds, snapshot.pixel)
        request = SegmentRequest(snapshot.view, snapshot.prompts, options, region, in_steps=True)
        timed = Stopwatch()
        shown: list[Preview] = []
        known = self._undo.current.prompts

        def show(result: Segmentation) -> None:
            seconds = timed.elapsed
            self._run_times.note(self._engine.choice, snapshot.view, kind, timed.ready, seconds)
            result = complete(result)
            provenance = make_provenance(snapshot, request, result, folder)
            ids = frozenset(record.id for record in result.objects)
            added = {kind: ids} if kind not in request.prompts.kinds else {}
            preview = Preview(snapshot.target, result, seconds, "", provenance, added=added)
            message = format_outcome(
                preview, format_prompts(prompts.localise(result.region)), outside
            )
            self._show(message, preview, kind, seed, known, amend=live or bool(shown))
            shown.append(preview)

        job = self._engine.make_job(
            "The run", engine, lambda reporter: segment(engine, request, reporter), show
        )
        job.progressed.connect(timed.note)
        behind = self._prefetch.find_job(engine, snapshot.view)
        is_drawn = awaits and kind not in NOT_DRAWN
        return self._jobs.start(job, behind, views=(snapshot.view,), is_drawn=is_drawn)

    def why_not_live(self) -> str:
        """Return why changed prompts don't run by themselves; empty where they do.

        Raises ImageError if the viewer shows no plane of the image.
        """
        model = self._model
        kind, is_live_task = prompt_kind(model.task, model.tool), model.task is Task.LIVE_POINTS
        if not is_live_task and (not model.live or model.is_batch or kind in NOT_DRAWN):
            return "Press Run Preview."
        if not is_live_task and any(self._is_lost(preview, kind) for preview in model.previews):
            return "Press Run Preview: it takes the place of the preview on show."
        view, engine = self._adapter.take_view(model.image), self._engine
        is_small = model.large_image or math.prod(view.shape) <= ROI_SIZES[-1] ** 2
        if not is_small and not self._run_times.has_run(engine.choice, view):
            return _ALL_OF_IT
        if is_live_task:
            return ""
        known = self._run_times.expect(engine.choice, view, kind)
        if known is None:
            loaded = not engine.spec.needs_weights or engine.loaded is not None
            return "" if loaded else "Press Run Preview: it loads the model."
        return "" if known <= QUICK_S else f"Press Run Preview: it takes about {known:.0f} s."

    def _show(
        self,
        message: Message,
        run: Preview,
        kind: PromptKind,
        seed: RefineSeed | None,
        known: object,
        *,
        amend: bool,
    ) -> None:
        """Show what a run has found: beside what it does not make anew, or in it.

        ``known`` are the prompts that were there when it began.
        """
        model, host = self._model, self._find_host(run, kind, seed)
        prompts = None
        if host is None:
            stay = beside = self._roi.find_beside(run, kind)
            label = self._roi.choose_label(beside, run.segmentation.region)
            preview = replace(run, label=label)
            gone = [preview for preview in model.previews if preview not in beside]
            worked_on = any(preview.edited or preview.by_hand or preview.added for preview in gone)
            note = _EDITS_GONE if worked_on else ""
            if drop_drawn(model, self._adapter, gone, kind, known):
                prompts = self._adapter.prompt_state()
                note = note or _PROMPTS_GONE
        else:
            stay = model.previews
            beside = tuple(preview for preview in stay if preview is not host)
            preview = add_to(host, run, kind, seed)
            note = _explain_added(preview, kind, seed)
        seeds = (seed_ for seed_ in (seed, self._undo.current.seed) if seed_ is not None)
        refined = next((seed for seed in seeds if seed.is_in(stay)), None)
        found = (preview,) if preview.ids else ()
        self._undo.go_on((*beside, *found), refined, amend=amend, prompts=prompts)
        # The message first: where the preview can't be shown, a warning takes its place.
        outcome = None if host is not None or beside else preview
        model.message = replace(message, text=f"{message.text} {note}".strip(), outcome=outcome)
        model.previews = (*beside, preview)

    def _classify(
        self, result: Segmentation, target: PlaneTarget, kind: PromptKind
    ) -> Segmentation:
        """Return a result whose objects are of the chosen class.

        What prompts that name objects one by one have made before keeps its class, by its place.
        """
        before = (
            record.class_name
            for shown in self._model.previews
            if shown.target == target and kind in ONE_BY_ONE
            for record in shown.segmentation.objects
            if record.id in shown.made_by(kind)
        )
        for record, class_name in zip(result.objects, before, strict=False):
            result = set_class(result, class_name, [record.id]) if class_name else result
        settled = self._object_class
        return set_class(result, self._model.object_class if settled is None else settled)

    def take_back(self, kind: PromptKind) -> None:
        """Take out what prompts of a kind made that are gone now; what else is on show stays."""
        model, seed = self._model, self._undo.current.seed
        latest = model.preview
        if latest is None or kind in NOT_DRAWN:
            return
        mine = latest.made_by(kind)
        left: tuple[Preview, ...] = ()
        if seed is not None and seed.is_in([latest]):
            left = (put_in(latest, {seed.record.id}, (seed.record,)),)
        elif mine and latest.holds_others(kind):
            left = (put_in(latest, mine, ()),)
        elif not mine and (latest.ids or not is_of_kind(latest, kind)):
            return
        model.previews = (*model.previews[:-1], *left)
        self._undo.record(model.previews, amend=True)
        model.message = Message("What the prompts had found is gone with them.")

    def _is_lost(self, shown: Preview, kind: PromptKind) -> bool:
        """Return whether a run with prompts of a kind drops something that they did not make."""
        seed = self._undo.current.seed
        if kind is PromptKind.POINTS and seed is not None and seed.is_in([shown]):
            return False
        if kind in ONE_BY_ONE:
            return kind in shown.edited and bool(shown.made_by(kind))
        return bool(shown.edited) or not is_of_kind(shown, kind) or shown.holds_others(kind)

    def _find_seed(self, snapshot: ImageSnapshot) -> RefineSeed | None:
        """Return the seed, if the run refines it."""
        seed = self._undo.current.seed
        usable = seed is not None and seed.is_in(self._model.previews) and seed.fits(snapshot)
        return seed if usable else None

    def _find_clicked(self, snapshot: ImageSnapshot) -> RefineSeed | None:
        """Return a seed for the object that a first click lands on, which it corrects then.

        Something else has found that object; with an object a click, each click makes one.
        """
        points = snapshot.prompts.points
        there = [preview for preview in self._model.previews if preview.target == snapshot.target]
        current = any(preview.made_by(PromptKind.POINTS) for preview in there)
        if not points or current or self._model.each_click:
            return None
        y, x = points[-1].y, points[-1].x
        for preview in reversed(there):
            found, region = preview.segmentation, preview.segmentation.region
            if region.holds(y, x):
                at = (math.floor(y + 0.5) - region.y0, math.floor(x + 0.5) - region.x0)
                if found.labels[at]:
                    return make_seed(preview, int(found.labels[at]))
        return None

    def _find_host(
        self, preview: Preview, kind: PromptKind, seed: RefineSeed | None
    ) -> Preview | None:
        """Return the result that the one of a run joins; None where it stands by itself."""
        if seed is not None:
            return self._model.find_preview(seed.slot)
        there = [
            candidate
            for candidate in self._model.previews
            if kind in ONE_BY_ONE
            and candidate.target == preview.target
            and candidate.holds_others(kind)
            and candidate.segmentation.region.covers(preview.segmentation.region)
        ]
        # The one that these prompts have added to before, or else the latest.
        return max(reversed(there), key=lambda preview: bool(preview.made_by(kind)), default=None)


def drop_drawn(
    model: SessionModel,
    adapter: ViewerAdapter,
    removed: Sequence[Preview],
    kind: PromptKind,
    known: object,
) -> bool:
    """Take away what was drawn for results that give way to some of prompts of another kind.

    Else clicks would be on show that nothing on show is from, and count for the next object.
    Prompts that are newer than the state ``known`` stay. Returns whether there was something.
    """
    # Boxes are examples for a run that takes them so, and clicks say where a phrase looks.
    own = _BOXED if kind in _BOXED else {kind}
    if kind in NOT_DRAWN and model.large_image:
        return False
    dropped = [
        adapter.drop_prompts(preview.target, preview.kinds - own, known) for preview in removed
    ]
    return any(dropped)


def is_of_kind(preview: Preview, kind: PromptKind) -> bool:
    """Return whether prompts of a kind made a result."""
    return preview.provenance is not None and kind in preview.provenance.prompts.kinds


def add_to(host: Preview, run: Preview, kind: PromptKind, seed: RefineSeed | None) -> Preview:
    """Return a result with what a run with prompts of a kind has found, or made of an object.

    It takes the place of what the same prompts have made before. What is new gets the next numbers.
    """
    result = run.segmentation
    if seed is not None:
        # An object of which the clicks leave nothing stays as it was.
        there = tuple(record for record in host.segmentation.objects if record.id == seed.record.id)
        come = seed.rename(result, *there) or there
        after = put_in(host, {seed.record.id}, come)
    else:
        mine = host.made_by(kind)
        first = max(host.ids - mine) + 1
        come = tuple(replace(record, id=id_) for id_, record in enumerate(result.objects, first))
        after = put_in(host, mine, come)
    ids = frozenset(record.id for record in come)
    others = {other: ids_ - ids for other, ids_ in after.added.items() if other != kind}
    alone = after.ids == ids
    found = replace(
        after.segmentation,
        notes=result.notes,
        candidates=result.candidates,
        engine=result.engine if alone else host.segmentation.engine,
    )
    return replace(
        after,
        segmentation=found,
        seconds=run.seconds,
        provenance=run.provenance if alone else host.provenance,
        edited=host.edited - {kind},
        added={**others, kind: after.added.get(kind, frozenset()) | ids},
    )


def put_in(shown: Preview, removed: Collection[int], added: tuple[ObjectRecord, ...]) -> Preview:
    """Return a result with objects in the place of others, given by their numbers."""
    found = shown.segmentation
    lost = [record for record in found.objects if record.id in removed]
    return replace(
        shown,
        segmentation=put_objects(found, lost, added),
        hidden=tuple(record for record in shown.hidden if record.id not in removed),
        by_hand=shown.by_hand.difference(removed),
        added={kind: ids.difference(removed) for kind, ids in shown.added.items()},
    )


def _explain_added(preview: Preview, kind: PromptKind, seed: RefineSeed | None) -> str:
    """Return what a run has added to a result, or changed of it."""
    if seed is not None:
        return f"Object {seed.record.id} is corrected."
    others = len(preview.ids - preview.made_by(kind))
    return f"{pluralize(others, 'object')} found before stay{'s' * (others == 1)}."


def number_points(points: tuple[PointPrompt, ...], *, each: bool) -> tuple[PointPrompt, ...]:
    """Return clicks on a plane as clicks on one object, or each positive one on its own."""
    numbers = itertools.count(1)
    return tuple(
        replace(point, object_id=next(numbers) if each and point.positive else None)
        for point in points
    )


def make_provenance(
    snapshot: ImageSnapshot,
    request: SegmentRequest,
    result: Segmentation,
    model_folder: Path | None,
) -> RunProvenance:
    """Return what made a result.

    ``model_folder``: folder of the weights on this computer.
    """
    return RunProvenance(
        request.view,
        request.prompts,
        request.options,
        result.engine,
        model_folder if result.engine.weights else None,
        snapshot.paths,
        request.region,
        notes=result.notes,
    )


def explain_large_image(model: SessionModel) -> str:
    """Return why large-image mode fits the chosen image; empty if it does not, or is on."""
    image = model.chosen_image
    proposed = model.task is not Task.VIDEO and not model.large_image
    if image is None or not proposed or max(image.shape) <= LARGE_PLANE:
        return ""
    height, width = image.shape
    return (
        f"This image is {height} x {width} pixels: a run on all of it takes long and much memory, "
        "and small objects may be missed. Large-image mode works on a square around your points "
        "or boxes."
    )


class RoiInference:
    """Chooses the region of a run, and which earlier results stay beside it."""

    def __init__(self, model: SessionModel) -> None:
        self._model = model
        self._rois: dict[tuple[str, PlaneRef], LocalRoi] = {}
        model.events.large_image.connect(self._on_switch)

    def choose_region(self, snapshot: ImageSnapshot) -> Region | None:
        """Return the region that a run shall work on; None for the whole plane."""
        model = self._model
        if not model.large_image:
            return None
        target = snapshot.target
        place = (target.image, target.plane)
        named = snapshot.anchors if snapshot.anchors.kinds else snapshot.prompts
        roi = local_roi(named, snapshot.view.shape, model.roi_size, self._rois.get(place))
        for note in roi_messages(enabled=True, roi=roi):
            model.message = Message(note)
        if roi is None:
            model.active_rois = ()
            return None
        self._rois[place] = roi
        self._work_in(snapshot, roi.region)
        return roi.region

    def refine_region(self, seed: RefineSeed, snapshot: ImageSnapshot) -> Region | None:
        """Return the region of a run that refines an object: within what its preview covers."""
        if seed.region == Region.whole(snapshot.view.shape):
            return self.choose_region(snapshot)
        target = snapshot.target
        if self._model.large_image:
            place = (target.image, target.plane)
            self._rois[place] = LocalRoi(seed.region, self._model.roi_size)
        self._work_in(snapshot, seed.region)
        return seed.region

    def _work_in(self, snapshot: ImageSnapshot, region: Region) -> None:
        self._model.active_rois = (ActiveRoi(snapshot.target, region),)
        outside = count_outside(snapshot.prompts, region)
        if outside:
            message = f"{pluralize(outside, 'prompt')} outside the region took no part."
            self._model.message = Message(message)

    def find_beside(self, run: Preview, kind: PromptKind) -> tuple[Preview, ...]:
        """Return the results that stay on show beside a new one of prompts of a kind.

        Of prompts that name objects one by one all that something else has found; in large-image
        mode, those of other regions.
        """
        region, large = run.segmentation.region, self._model.large_image
        return tuple(
            preview
            for preview in self._model.previews
            if preview.ids
            and (
                (kind in ONE_BY_ONE and preview.holds_others(kind))
                or (
                    large and preview.target == run.target and preview.segmentation.region != region
                )
            )
        )

    def choose_label(self, others: tuple[Preview, ...], region: Region) -> str:
        """Return the label that distinguishes the result of a region from those beside it."""
        taken = {preview.label for preview in others}
        name = f"y={region.y0}:{region.y1}, x={region.x0}:{region.x1}"
        numbered = (f"{name} ({number})" for number in itertools.count(2))
        return next(
            candidate
            for candidate in itertools.chain(("", name), numbered)
            if candidate not in taken
        )

    def _on_switch(self, enabled: bool) -> None:
        self._rois.clear()
        self._model.active_rois = ()
        size = self._model.roi_size
        message = (
            f"Large-image mode ON: local ROI inference ({size} x {size})."
            if enabled
            else roi_messages(enabled=False, roi=None)[0]
        )
        self._model.message = Message(message)

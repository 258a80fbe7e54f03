"""Tracks of propagations and of accepted objects: on show, exported, and corrected by hand."""

from __future__ import annotations

import threading
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
from scipy.spatial.distance import cdist

from napari_sam3_assistant.core.lineage import (
    Lineage,
    Relabel,
    find_divisions,
    split_parts,
    valid_links,
)
from napari_sam3_assistant.core.masks.objects import ExportFormat
from napari_sam3_assistant.core.plurals import part_of, pluralize
from napari_sam3_assistant.core.progress import Progress
from napari_sam3_assistant.core.prompts import free_id
from napari_sam3_assistant.core.stitching import StitchedObject
from napari_sam3_assistant.core.tracks import COLUMNS, join_slices, measure_centroids
from napari_sam3_assistant.errors import ImageError, PromptError
from napari_sam3_assistant.io.outputs import add_ending
from napari_sam3_assistant.jobs import Job, JobRunner, JobState
from napari_sam3_assistant.session.values import (
    FramePlace,
    KeptPlace,
    Level,
    Message,
    StackTarget,
)
from napari_sam3_assistant.workflows.save import export_table, export_tracks

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from pathlib import Path

    import numpy.typing as npt

    from napari_sam3_assistant.core.lineage import Division
    from napari_sam3_assistant.core.masks.labels import PlaneOfLabels
    from napari_sam3_assistant.core.progress import Deliver, Reporter
    from napari_sam3_assistant.core.regions import Region
    from napari_sam3_assistant.session.accepting import Accepting
    from napari_sam3_assistant.session.jobs import Services
    from napari_sam3_assistant.session.propagation import Propagation
    from napari_sam3_assistant.session.results import Results

_Measured = tuple["StitchedObject", int, float, float]
"""An object on a slice, which is kept so that its identity is, its area, and y and x."""
_PAUSE_S = 0.3
"""So long nothing changes before napari builds the layer of accepted tracks anew."""


class TrackCorrections:
    """The verbs that correct tracks. Called on the GUI thread; each is a step of undo.

    A track is an object of the propagated labels, by its value there. What an engine goes on with
    later is shown by the corrected numbers.
    """

    def __init__(self, services: Services, accepting: Accepting, propagation: Propagation) -> None:
        self._model, self._adapter = services.model, services.adapter
        self._undo, self._start = services.undo, services.jobs.start
        self._accepting, self._propagation = accepting, propagation
        self._tracks = propagation.tracks

    def join(self, track: int, other: int) -> None:
        """Make two tracks one: the later goes on the earlier, whose number both have then.

        Raises PromptError if they can't be joined, or not now.
        """
        stack = self._check(track, other)
        spans = sorted((self._tracks.frames_of(id_), id_) for id_ in (track, other))
        (before, kept), (after, gone) = spans
        if after[0] <= before[-1]:
            raise PromptError(
                f"Tracks {kept} and {gone} are both on frame {after[0]}, or come by turns.",
                "Split one of them first; Alt+click on the image merges objects of one frame.",
            )
        lineage = self._model.lineage.unlink((gone, kept))
        message = f"Tracks {kept} and {gone} are one, {kept}, now. Undo takes that back."
        self._relabel(stack, Relabel(gone, kept, after[0]), lineage, message)

    def split(self, track: int) -> None:
        """Let the rest of a track, from the frame on show on, be a track of its own.

        Raises PromptError if it does not begin before that frame and go on from there, or not now;
        ImageError if the image is gone, or elsewhere.
        """
        stack = self._check(track)
        frame = self._adapter.stacks.frame_on_show(stack)
        frames = self._tracks.frames_of(track)
        if not frames[0] < frame <= frames[-1]:
            raise PromptError(
                f"Track {track} goes from frame {frames[0]} to {frames[-1]}; the one on show is "
                f"{frame}.",
                "Go to the first frame that shall be of a new track.",
            )
        new = self._free()
        message = f"From frame {frame} on, track {track} is track {new}. Undo takes that back."
        self._relabel(stack, Relabel(track, new, frame), self._model.lineage, message)

    def divide(self, track: int, other: int) -> None:
        """Say that of two tracks the one that begins later is a daughter of the other.

        Where the mother goes on beside her, the rest of it is the other daughter, a new track.

        Raises PromptError if both begin on the same frame, or not now.
        """
        stack = self._check(track, other)
        tracks = sorted((track, other), key=self._begin_of)
        (mother, daughter), begins = tracks, self._begin_of(tracks[1])
        frames = self._tracks.frames_of(mother)
        if frames[0] == begins:
            raise PromptError(
                f"Tracks {track} and {other} both begin on frame {begins}.",
                "Choose a mother, which begins before, and one daughter after the other.",
            )
        links = {daughter: mother}
        message = f"Track {daughter} is a daughter of track {mother}. Undo takes that back."
        if frames[-1] < begins:
            self._step(self._model.lineage.link(links), message)
            return
        new = self._free()
        message = f"Track {mother} divides into {new} and {daughter}. Undo takes that back."
        lineage = self._model.lineage.link(links)
        self._relabel(stack, Relabel(mother, new, begins), lineage, message, {**links, new: mother})

    def unlink(self, track: int, other: int = 0) -> None:
        """Forget what a track descends from and divides into; or the link to another one alone.

        Raises PromptError if there is no such link.
        """
        self._check(track, *([other] if other else []))
        lineage = self._model.lineage
        pairs = [pair for pair in lineage.links_of(track) if not other or other in pair]
        if not pairs:
            raise PromptError(
                f"Track {track} has no link to track {other}."
                if other and other != track
                else f"Track {track} has neither a parent nor daughters.",
                "Choose tracks that descend from each other.",
            )
        ends = ", ".join(f"{child} to {parent}" for child, parent in pairs)
        self._step(lineage.unlink(*pairs), f"Unlinked: {ends}. Undo takes that back.")

    def find_divisions(self) -> Job:
        """Look for divisions in the propagated labels; they are proposed when it is done.

        Raises PromptError if it can't be done now.
        """
        stack = self._check()
        read = self._adapter.stacks.pixels(stack).read
        frames, known = sorted(self._tracks.frames), set(self._model.lineage.parents)

        def work(reporter: Reporter) -> Iterator[tuple[Division, ...]]:
            def labels() -> Iterator[tuple[int, npt.NDArray[np.uint32]]]:
                for done, frame in enumerate(frames):
                    message = f"Looking for divisions: frame {part_of(done + 1, len(frames))}"
                    reporter.report(Progress(done, len(frames), message))
                    yield frame, read(frame)

            yield tuple(find_divisions(labels(), known))

        def propose(divisions: tuple[Division, ...]) -> None:
            self._model.proposed_divisions = divisions
            many = pluralize(len(divisions), "division")
            more = " Look at each, then accept or drop it." if divisions else ""
            self._model.message = Message(f"Proposed: {many}.{more}")

        job = Job("Looking for divisions", work)
        job.yielded.connect(propose)
        return self._start(job)

    def reveal(self, division: Division) -> None:
        """Show the frame of a division that is proposed, and pick one of the daughters."""
        stack = self._model.propagated
        shown = None if stack is None else FramePlace(stack.at(division.frame))
        for row in self._model.results:
            if row.preview == shown and row.record.id in division.daughters:
                self._adapter.reveal(row)
                self._model.picked = row
                return

    def accept_division(self, division: Division) -> None:
        """Make a division that is proposed one; a step of undo.

        Raises PromptError if its tracks are not there any more, or not now.
        """
        mother, daughters = division.mother, division.daughters
        own = daughters.count(mother)
        if own == 1:
            self.divide(mother, next(daughter for daughter in daughters if daughter != mother))
        elif own == 0:
            self._check(mother, *daughters)
            message = f"Track {mother} divides into {daughters[0]} and {daughters[1]}."
            lineage = self._model.lineage.link(dict.fromkeys(daughters, mother))
            self._step(lineage, f"{message} Undo takes that back.")
        else:
            stack, first = self._check(mother), self._free()
            second = self._free(first)
            links = dict.fromkeys((first, second), mother)
            message = f"Track {mother} divides into {first} and {second}. Undo takes that back."
            change = Relabel(mother, first, division.frame)
            pieces = _Pieces(first, second).name
            self._relabel(stack, change, self._model.lineage, message, links, pieces)
        self.drop_division(division)

    def drop_division(self, division: Division) -> None:
        """Propose a division no more."""
        left = tuple(
            proposed for proposed in self._model.proposed_divisions if proposed != division
        )
        self._model.proposed_divisions = left

    # -- inside -----------------------------------------------------------------------------

    def _check(self, *tracks: int) -> StackTarget:
        """Return what was propagated; raises PromptError if its tracks can't be corrected now."""
        why_not, stack = self._model.why_not.correct_tracks, self._model.propagated
        if why_not or stack is None:
            raise PromptError(f"{why_not or 'There is nothing propagated yet'}.")
        self._accepting.check_idle()
        self._propagation.edited.check_done()
        if 0 in tracks:
            raise PromptError(
                "No track is chosen." if len(tracks) == 1 else "This takes two tracks.",
                "Click on the objects, in the labels or in the table: the last two are the tracks.",
            )
        for track in tracks:
            if not self._tracks.frames_of(track):
                raise PromptError(f"There is no track {track}.", "Choose one that is there.")
        if len(set(tracks)) < len(tracks):
            raise PromptError("This is the same track.", "Choose two.")
        return stack

    def _free(self, *taken: int) -> int:
        """Return a number that no track has or had, besides some."""
        corrected = (step.new for step in self._model.lineage.relabelled)
        return free_id((*taken, *self._tracks.ids, *self._model.tracked, *corrected))

    def _relabel(
        self,
        stack: StackTarget,
        change: Relabel,
        lineage: Lineage,
        message: str,
        links: Mapping[int, int] | None = None,
        rename: Callable[[npt.NDArray[np.bool_], Region], npt.NDArray[np.uint32]] | None = None,
    ) -> None:
        """Give the pixels of a track another number, and keep its links; a step of undo."""
        named = rename or (lambda mask, _: mask * np.uint32(change.new))
        boxes = {
            frame: region
            for frame, region in sorted(self._tracks.boxes_of(change.old).items())
            if frame >= change.first
        }
        edit = self._adapter.stacks.relabel(stack, change.old, boxes, named)
        after = lineage.relabel(change, lambda track: self._begin_of(track))
        if links:
            after = replace(after, parents={**after.parents, **links})
        begun = self._adapter.accepted.begin_change(FramePlace(stack.at(change.first)), edit)
        self._accepting.change([begun], message, lineage=after)

    def _begin_of(self, track: int) -> int:
        """Return the first frame of a track; one that is gone has none, and leaves nothing."""
        frames = self._tracks.frames_of(track)
        return frames[0] if frames else -1

    def _step(self, lineage: Lineage, message: str) -> None:
        self._undo.push(replace(self._undo.current, lineage=lineage))
        self._model.lineage = lineage
        self._model.message = Message(message)


class _Pieces:
    """Follows the two pieces of a mask from frame to frame, and gives each its number."""

    def __init__(self, first: int, second: int) -> None:
        self._numbers = (np.uint32(first), np.uint32(second))
        self._centres: npt.NDArray[np.float64] | None = None

    def name(self, mask: npt.NDArray[np.bool_], region: Region) -> npt.NDArray[np.uint32]:
        """Return the numbers of the pixels of the next frame, shape (h, w)."""
        parts = split_parts(mask)
        offset = np.array((region.y0, region.x0))
        centres = np.array([np.argwhere(part).mean(0) + offset for part in parts])
        named = np.zeros(mask.shape, np.uint32)
        away = cdist(centres, centres if self._centres is None else self._centres)
        if len(parts) == 1:
            # One piece alone is that which was nearer to it.
            named[mask] = self._numbers[int(np.argmin(away[0]))]
            return named
        if away[0, 0] + away[1, 1] > away[0, 1] + away[1, 0]:
            parts, centres = parts[::-1], centres[::-1]
        self._centres = centres
        for part, number in zip(parts, self._numbers, strict=True):
            named[part] = number
        return named


class AcceptedTracks:
    """Keeps the Tracks layer of the chosen image's accepted objects up to date.

    They are measured slice by slice, on a worker of its own. Who changes the pixels of an object
    gives it another record, and only then is it measured again.

    ``job``: the latest measurement.
    """

    def __init__(self, services: Services, results: Results, deliver: Deliver) -> None:
        self._model, self._adapter, self._results = services.model, services.adapter, results
        self._runner = JobRunner(deliver)
        self.job: Job | None = None
        self._changed = threading.Event()
        self._measured: dict[int, _Measured] = {}  # by the identity of the record
        self._on_show = False
        events = self._model.events
        for event in (results.kept_changed, events.tracks_layer, events.image, events.frame_axis):
            event.connect(self._update, max_args=0)

    def close(self) -> None:
        """Stop the work."""
        self._changed.set()
        self._runner.close()

    def _update(self) -> None:
        """Begin to measure what has changed; a measurement that is going is cancelled."""
        if self.job is not None:
            self.job.cancel()
        self._changed.set()
        self._changed = threading.Event()
        objects = self._find() if self._model.tracks_layer else []
        self._measured = {
            id(record): self._measured[id(record)]
            for _, record in objects
            if id(record) in self._measured
        }
        if not objects:
            self._remove()
            return
        lacking: dict[KeptPlace, list[StitchedObject]] = {}
        for place, record in objects:
            if id(record) not in self._measured:
                lacking.setdefault(place, []).append(record)
        try:
            planes = [(self._adapter.plane_labels(place), own) for place, own in lacking.items()]
        except ImageError:  # they are gone meanwhile
            self._remove()
            return
        job = self.job = Job("Measuring the tracks", partial(self._measure, planes, self._changed))
        job.yielded.connect(self._take)
        job.finished.connect(partial(self._end, job, objects))
        self._runner.start(job)

    def _find(self) -> list[tuple[KeptPlace, StitchedObject]]:
        """Return the objects of the chosen image that are on two frames or more."""
        found = [
            (row.preview, row.record)
            for row in self._results.kept
            if isinstance(row.preview, KeptPlace)
            and isinstance(row.record, StitchedObject)
            and row.preview.target.image == self._model.image
        ]
        if not found or self._model.frame_axis not in found[0][0].target.axes.leading:
            return []
        frames = self._frames(found)
        return [(place, record) for place, record in found if len(frames[record.id]) > 1]

    def _frames(
        self, objects: Sequence[tuple[KeptPlace, StitchedObject]]
    ) -> Mapping[int, set[int]]:
        at = objects[0][0].target.axes.leading.index(self._model.frame_axis)
        frames: dict[int, set[int]] = {}
        for place, record in objects:
            frames.setdefault(record.id, set()).add(place.target.plane.leading[at])
        return frames

    def _measure(
        self,
        planes: Sequence[tuple[PlaneOfLabels, Sequence[StitchedObject]]],
        changed: threading.Event,
        reporter: Reporter,
    ) -> Iterator[dict[int, _Measured]]:
        changed.wait(_PAUSE_S)
        for plane, objects in planes:
            reporter.check()
            found = measure_centroids(
                plane, {record.id: record.region for record in objects}, reporter
            )
            yield {
                id(record): (record, *found[record.id]) for record in objects if record.id in found
            }

    def _take(self, measured: dict[int, _Measured]) -> None:
        self._measured |= measured

    def _end(
        self, job: Job, objects: Sequence[tuple[KeptPlace, StitchedObject]], state: JobState
    ) -> None:
        if state is JobState.FAILED:
            self._model.message = Message(str(job.error), Level.ERROR)
        there = [(place, record) for place, record in objects if id(record) in self._measured]
        if state is not JobState.DONE or not there:
            return
        target, axis = there[0][0].target, self._model.frame_axis
        own = [self._measured[id(record)] for _, record in there]
        tracks = join_slices(
            [record.id for _, record in there],
            [area for _, area, _, _ in own],
            [
                (*place.target.plane.leading, y, x)
                for (place, _), (_, _, y, x) in zip(there, own, strict=True)
            ],
            target.axes.leading.index(axis),
        )
        first = {id_: min(frames) for id_, frames in self._frames(there).items()}
        parents = valid_links({record.id: record.parent for _, record in there}, first.get)
        try:
            self._adapter.tracks.show_accepted(StackTarget(target, axis), tracks, parents)
            self._on_show = True
        except ImageError:  # the image is gone meanwhile
            self._remove()

    def _remove(self) -> None:
        if self._on_show:
            self._adapter.tracks.remove(accepted=True)
            self._on_show = False


CSV = ".csv"
TRACK_ENDINGS: dict[str, ExportFormat | None] = {
    CSV: None,
    **{
        export_format.suffix: export_format
        for export_format in ExportFormat
        if export_format.has_tracks
    },
}
"""What tracks are written as, by the ending of their file or folder; None for the table."""


class TrackTables:
    """The verbs about tracks. All are called on the GUI thread.

    The tracks are brought up to date at the end of each run and not with each frame: napari builds
    the whole layer anew each time.
    """

    def __init__(self, services: Services, propagation: Propagation) -> None:
        self._model, self._adapter = services.model, services.adapter
        self._start = services.jobs.start
        self._table, self._edited = propagation.tracks, propagation.edited
        self._on_show = False
        self._when_idle = services.jobs.when_idle
        self._edited.done.connect(self._update)
        propagation.changed.connect(self._update)
        for event in (self._model.events.tracks_layer, self._model.events.lineage):
            event.connect(self._update, max_args=0)
        self._model.events.propagated.connect(self._on_propagated)

    def export(self, path: Path, ending: str = CSV) -> Job:
        """Write the tracks of the propagation as they are on show, in the format of an ending.

        ``path``: a CSV file with one row for each frame and object, which is replaced if it exists;
        or a folder of the Cell Tracking Challenge or GEFF, which must not exist.
        ``ending``: of :data:`TRACK_ENDINGS`: what a path without one of these is written as. Where
        that stands behind it, it gets a number, if it exists.
        Folders of the Cell Tracking Challenge, such as ``01_RES``, need none; others get it.
        Raises PromptError if nothing was propagated; ImageError if the image, or its labels, are
        gone.
        """
        stack = self._model.propagated
        if stack is None or len(self._table) == 0:
            raise PromptError("There is nothing propagated yet.", "Press Start 3D Propagation.")
        self._edited.check_done()
        own = path.suffix.lower()
        chosen = own if own in TRACK_ENDINGS else ending
        format_ = TRACK_ENDINGS[chosen]
        named = format_ is ExportFormat.CTC or (format_ is None and own)
        if own != chosen and not named:
            path = add_ending(path, chosen)
        if format_ is None:
            scale, table = self._adapter.tracks.scale(stack), self._table.copy()
            rows = sum(1 for _ in table.rows())
            message = f"Exported {pluralize(rows, 'row')} of tracks to {path}."
            job = Job(
                "The export",
                lambda reporter: export_table(COLUMNS, table.cells(scale), path, reporter),
            )
        else:
            pixels = self._adapter.stacks.pixels(stack)
            count = len(self._table.ids - self._table.hidden)
            message = f"Exported the tracks of {pluralize(count, 'object')} to {path}."
            write = partial(export_tracks, parents=self._table.links())
            job = Job("The export", partial(write, pixels, path, format_, pixels.axes))
        job.yielded.connect(
            lambda _: setattr(self._model, "message", Message(message, Level.SUCCESS))
        )
        return self._start(job)

    def _on_propagated(self, stack: StackTarget | None) -> None:
        if stack is None:
            self._remove()

    def _update(self) -> None:
        stack = self._model.propagated
        if not self._model.tracks_layer or stack is None:
            self._remove()
            return
        if self._model.running:
            self._when_idle(self._update)
            return
        try:
            self._adapter.tracks.show(stack, self._table)
            self._on_show = True
        except ImageError as error:
            self._model.message = Message(str(error), Level.WARNING)

    def _remove(self) -> None:
        if self._on_show:
            self._adapter.tracks.remove()
            self._on_show = False

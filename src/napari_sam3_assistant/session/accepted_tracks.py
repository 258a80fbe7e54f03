"""The tracks of accepted objects, which follow what is accepted."""

from __future__ import annotations

import threading
from functools import partial
from typing import TYPE_CHECKING

from napari_sam3_assistant.core.lineage import valid_links
from napari_sam3_assistant.core.stitching import StitchedObject
from napari_sam3_assistant.core.tracks import join_slices, measure_centroids
from napari_sam3_assistant.errors import ImageError
from napari_sam3_assistant.jobs import Job, JobRunner, JobState
from napari_sam3_assistant.session.model import KeptPlace, Level, Message, StackTarget

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from napari_sam3_assistant.core.masks.labels import PlaneOfLabels
    from napari_sam3_assistant.core.progress import Deliver, Reporter
    from napari_sam3_assistant.session.jobs import Services
    from napari_sam3_assistant.session.results import Results


class AcceptedTracks:
    """Keeps the Tracks layer of the chosen image's accepted objects up to date.

    They are measured slice by slice, on a worker of its own. Who changes the pixels of an object
    gives it another record, and only then is it measured again.

    Parameters
    ----------
    services : Services
        The session's parts.
    results : Results
        Says which accepted objects there are.
    deliver : callable
        Runs what it is given on the GUI thread.
    pause : float
        For how many seconds nothing changes before napari builds the layer anew.

    Attributes
    ----------
    job : Job or None
        The latest measurement.
    """

    def __init__(
        self, services: Services, results: Results, deliver: Deliver, pause: float = 0.3
    ) -> None:
        self._model, self._adapter, self._results = services.model, services.adapter, results
        self._runner, self._pause = JobRunner(deliver), pause
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
            id(one): self._measured[id(one)] for _, one in objects if id(one) in self._measured
        }
        if not objects:
            self._remove()
            return
        lacking: dict[KeptPlace, list[StitchedObject]] = {}
        for place, one in objects:
            if id(one) not in self._measured:
                lacking.setdefault(place, []).append(one)
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
        return [(place, one) for place, one in found if len(frames[one.id]) > 1]

    def _frames(
        self, objects: Sequence[tuple[KeptPlace, StitchedObject]]
    ) -> Mapping[int, set[int]]:
        at = objects[0][0].target.axes.leading.index(self._model.frame_axis)
        frames: dict[int, set[int]] = {}
        for place, one in objects:
            frames.setdefault(one.id, set()).add(place.target.plane.leading[at])
        return frames

    def _measure(
        self,
        planes: Sequence[tuple[PlaneOfLabels, Sequence[StitchedObject]]],
        changed: threading.Event,
        reporter: Reporter,
    ) -> Iterator[dict[int, _Measured]]:
        changed.wait(self._pause)
        for plane, objects in planes:
            reporter.check()
            found = measure_centroids(plane, {one.id: one.region for one in objects}, reporter)
            yield {id(one): (one, *found[one.id]) for one in objects if one.id in found}

    def _take(self, measured: dict[int, _Measured]) -> None:
        self._measured |= measured

    def _end(
        self, job: Job, objects: Sequence[tuple[KeptPlace, StitchedObject]], state: JobState
    ) -> None:
        if state is JobState.FAILED:
            self._model.message = Message(str(job.error), Level.ERROR)
        there = [(place, one) for place, one in objects if id(one) in self._measured]
        if state is not JobState.DONE or not there:
            return
        target, axis = there[0][0].target, self._model.frame_axis
        own = [self._measured[id(one)] for _, one in there]
        tracks = join_slices(
            [one.id for _, one in there],
            [area for _, area, _, _ in own],
            [
                (*place.target.plane.leading, y, x)
                for (place, _), (_, _, y, x) in zip(there, own, strict=True)
            ],
            target.axes.leading.index(axis),
        )
        first = {id_: min(frames) for id_, frames in self._frames(there).items()}
        parents = valid_links({one.id: one.parent for _, one in there}, first.get)
        try:
            self._adapter.tracks.show_accepted(StackTarget(target, axis), tracks, parents)
            self._on_show = True
        except ImageError:  # the image is gone meanwhile
            self._remove()

    def _remove(self) -> None:
        if self._on_show:
            self._adapter.tracks.remove(accepted=True)
            self._on_show = False


_Measured = tuple["StitchedObject", int, float, float]
"""An object on a slice, which is kept so that its identity is, its area, and y and x."""

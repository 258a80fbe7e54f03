"""Find all objects of a plane without words or examples: points, filters, and which masks are one.

As SAM 1's automatic mask generator and micro-sam do it. An engine that finds objects by itself is
asked once.
"""

from __future__ import annotations

import itertools
import math
import time
import zlib
from collections import defaultdict, deque
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy import ndimage as ndi

from napari_sam3_assistant.core.display import average_alike
from napari_sam3_assistant.core.linking import (
    Followed,
    LinkedFrame,
    join_slices,
    link_times,
)
from napari_sam3_assistant.core.plurals import part_of, pluralize
from napari_sam3_assistant.core.progress import (
    CancelOnlyReporter,
    Progress,
    RemainingTime,
    format_duration,
)
from napari_sam3_assistant.core.prompts import Everything, Joining, PromptSet, Seeds
from napari_sam3_assistant.core.regions import Region
from napari_sam3_assistant.core.results import ObjectRecord, paint_labels
from napari_sam3_assistant.core.tracks import TrackedFrame
from napari_sam3_assistant.engines.base import Prediction
from napari_sam3_assistant.engines.caching_engine import CachingEngine
from napari_sam3_assistant.engines.registry import create
from napari_sam3_assistant.errors import ImageError, JobCancelled, PromptError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    import numpy.typing as npt

    from napari_sam3_assistant.core.display import FrameSource
    from napari_sam3_assistant.core.options import PredictOptions
    from napari_sam3_assistant.core.progress import Reporter
    from napari_sam3_assistant.core.prompts import MaskPrompt
    from napari_sam3_assistant.core.tracks import TrackSeed
    from napari_sam3_assistant.engines.base import Encoding


_POINTS = 64
"""Points of one call, as SAM 1's; fewer where the masks of so many would not fit in memory."""
_MOST_PIXELS = 1 << 28
_PARTIAL_S = 1.0
"""Seconds after which what was found so far is given again."""
_EDGE = 20.0
"""Pixels from the edge of a crop within which an object is taken to be cut by it."""
_AHEAD = 6
"""So many slices are looked at before one of a volume is yielded."""
_BESIDE = 2
"""So many slices on either side take part in the average of one."""
_SAMPLE = 5
"""So many slices of a stack say whether its objects are bright or dark."""
_FAINT = 0.2
"""On a slice an object of a volume may score so much of the threshold, if it is sure on another."""


def find_everything(
    engine: CachingEngine,
    read: Callable[[Region], npt.NDArray[np.uint8]],
    embedding: Encoding,
    asked: Everything,
    shape: tuple[int, int],
    options: PredictOptions,
    reporter: Reporter,
) -> Iterator[Prediction]:
    """Yield all objects of a picture, now and then those so far; the last answer is complete.

    They go from the lowest score to the highest, the order in which they are painted. Of work that
    was stopped, JobCancelled has the prediction so far as ``partial``.
    """
    if engine.spec.proposes:
        found = engine.predict(embedding, PromptSet(everything=asked), options, reporter)
        yield replace(found, objects=_in_order(found.objects))
        return
    whole = Region.whole(shape)
    if asked.seeds is Seeds.BUILTIN and asked.points is None:
        asked = replace(asked, points=builtin_seeds(read(whole), options, reporter))
    crops = asked.crops(shape)
    batches = [(crop, layer, _batches(asked, crop, layer)) for crop, layer in crops]
    search = _Search(asked, shape, [len(batch) for _, _, found in batches for batch in found])
    quiet = CancelOnlyReporter(reporter)
    reported = time.monotonic()
    try:
        for crop, layer, of_crop in batches:
            if layer and of_crop:
                embedding = engine.encode(read(crop), reporter)
            for batch in of_crop:
                reporter.report(search.progress())
                prompts = PromptSet(everything=replace(asked, points=batch))
                answer = engine.predict(embedding, prompts, options, quiet)
                search.add(answer.objects, crop, len(batch))
                if search.done < search.total and time.monotonic() - reported > _PARTIAL_S:
                    yield search.prediction(options.threshold)
                    reported = time.monotonic()
            search.end_crop()
    except JobCancelled as stopped:
        stopped.partial = search.prediction(options.threshold)
        raise
    yield search.prediction(options.threshold)


def predict(
    engine: CachingEngine,
    read: Callable[[Region], npt.NDArray[np.uint8]],
    embedding: Encoding,
    prompts: PromptSet,
    shape: tuple[int, int],
    options: PredictOptions,
    reporter: Reporter,
) -> Prediction:
    """Return what an engine answers to any prompts; parameters as of :func:`find_everything`."""
    if prompts.everything is None:
        return engine.predict(embedding, prompts, options, reporter)
    found = find_everything(engine, read, embedding, prompts.everything, shape, options, reporter)
    try:
        return deque(found, maxlen=1).pop()
    except JobCancelled as stopped:
        # A tile or a slice is found whole or not at all.
        stopped.partial = None
        raise


class EverythingTrack:
    """Everything on each slice of a stack, made tracks: a :class:`.engines.base.VideoTrack`.

    An object goes on in one of the next slice (:mod:`.core.linking`), and through one slice on
    which it was missed. In time it may divide into two. In a volume, an engine that finds objects
    by itself sees slices with less noise, and slices are yielded some behind the latest one: an
    object that is faint on a slice counts if it is sure on another, and what shrinks through z
    and grows again elsewhere is two. An axis that nobody named is taken for one of a volume.
    Whether objects are bright or dark is the same on all slices.

    ``engine``: the engine; it is loaded.
    ``asked``: how to look on each slice.
    ``new_id``: returns the next free id.
    ``known``: objects with their ids on slices that are done: what is found beside them goes on in
    them.
    """

    def __init__(
        self,
        engine: CachingEngine,
        frames: FrameSource,
        asked: Everything,
        options: PredictOptions,
        new_id: Callable[[], int],
        *,
        known: Mapping[int, Sequence[MaskPrompt]] | None = None,
    ) -> None:
        self._engine, self._frames = engine, frames
        self._asked, self._options = asked, options
        self._new_id = new_id
        # Objects have numbers of our own until one of their slices is yielded.
        self._numbers = itertools.count(1)
        self._ids: dict[int, int] = {}
        self._removed: set[int] = set()
        self._done: set[int] = set()
        # What the slices beside those that are done will be compared with.
        self._known: dict[int, _Known] = {}
        # Slices that were looked at and not yielded yet, in the order of the pass.
        self._waiting: deque[_Slice] = deque()
        self._followed: defaultdict[int, Followed] = defaultdict(Followed)
        # A model that is asked at points has thresholds of its own, and may take minutes a slice.
        self._in_volume = (
            engine.spec.proposes and asked.joining is not Joining.TIME and not frames.is_movie
        )
        self._knows_polarity = not engine.spec.proposes or asked.polarity != 0
        self._ahead = _AHEAD if self._in_volume else 0
        for frame, masks in (known or {}).items():
            self._recall(frame, masks)

    def _recall(self, frame: int, masks: Sequence[MaskPrompt]) -> None:
        """Know again what is on a slice that is done."""
        numbers = {id_: number for number, id_ in self._ids.items()}
        objects = []
        for mask in masks:
            assert mask.object_id is not None
            number = numbers.get(mask.object_id) or next(self._numbers)
            self._ids[number] = mask.object_id
            offset = (mask.region.y0, mask.region.x0)
            record = ObjectRecord.from_mask(number, mask.mask, offset=offset)
            if record is not None:
                objects.append(record)
                self._followed[number].add(record, sure=True)
        painted = paint_labels(objects, Region.whole(self._frames.shape))
        here = LinkedFrame.of(painted, objects, [record.id for record in objects])
        self._known[frame] = _Known(here)
        self._done.add(frame)

    def add(self, seed: TrackSeed) -> None:
        """Refuse: nothing is followed here."""
        raise PromptError(
            f"Object {seed.object_id} can't be corrected here: each slice was looked at by itself.",
            "Paint on the labels, or start anew with other prompts.",
        )

    def add_phrase(self, text: str, frame: int) -> None:
        """Refuse, as :meth:`add`."""
        raise PromptError(
            f"“{text}” can't be added to frame {frame}: all objects are looked for.",
            "Start anew with the phrase.",
        )

    def remove(self, object_id: int) -> None:
        """Leave an object out from here on."""
        self._removed.add(object_id)

    def propagate(self, order: range, reporter: Reporter) -> Iterator[TrackedFrame]:
        """Yield what is on each frame that was not looked at yet."""
        quiet = CancelOnlyReporter(reporter)
        if not self._knows_polarity:
            self._find_polarity(reporter)
        remaining = [frame for frame in order if frame not in self._done]
        if [waiting.frame for waiting in self._waiting] != remaining[: len(self._waiting)]:
            self._waiting.clear()
        for followed in self._followed.values():
            # What lay behind a pass the other way is not behind this one.
            followed.neck = math.inf
        pictures: dict[int, npt.NDArray[np.uint8]] = {}
        try:
            for frame in remaining[len(self._waiting) :]:
                if 0 < len(self._waiting) < self._ahead:
                    reporter.report(Progress(0, 0, f"Looking at frame {frame}"))
                objects = self._find(frame, pictures, quiet)
                self._waiting.append(self._join(frame, order.step, objects))
                while len(self._waiting) > self._ahead:
                    yield self._settle()
        except ImageError:
            while self._waiting:
                yield self._settle()
            raise
        while self._waiting:
            yield self._settle()

    def _find_polarity(self, reporter: Reporter) -> None:
        """Look at some slices of all of the stack, for a single one may be empty."""
        count, whole = len(self._frames), Region.whole(self._frames.shape)
        prompts, quiet, balance = (
            PromptSet(everything=self._asked),
            CancelOnlyReporter(reporter),
            0.0,
        )
        reporter.report(Progress(0, 0, "Looking at some slices"))
        for frame in {(2 * part + 1) * count // (2 * _SAMPLE) for part in range(_SAMPLE)}:
            # A slice that can't be read is told of when it is its turn.
            with suppress(ImageError):
                embedding = self._engine.embedding(self._frames.view_at(frame), whole, quiet)
                balance += self._engine.predict(embedding, prompts, self._options, quiet).polarity
        self._asked = replace(self._asked, polarity=int(np.sign(balance)))
        self._knows_polarity = True

    def _find(
        self, frame: int, pictures: dict[int, npt.NDArray[np.uint8]], reporter: Reporter
    ) -> tuple[ObjectRecord, ...]:
        """Return the objects of a slice; ``pictures`` keeps the slices near it."""
        view = self._frames.view_at(frame)
        whole = Region.whole(self._frames.shape)
        options = self._options
        if self._in_volume:
            picture = self._denoise(frame, pictures)
            embedding = self._engine.encode(picture, reporter)
            options = replace(options, threshold=_FAINT * options.threshold)
        else:
            embedding = self._engine.embedding(view, whole, reporter)
        prompts = PromptSet(everything=self._asked)
        return predict(
            self._engine, view.rgb, embedding, prompts, whole.shape, options, reporter
        ).objects

    def _denoise(
        self, frame: int, pictures: dict[int, npt.NDArray[np.uint8]]
    ) -> npt.NDArray[np.uint8]:
        near = range(max(0, frame - _BESIDE), min(len(self._frames), frame + _BESIDE + 1))
        for far in set(pictures) - set(near):
            del pictures[far]
        if frame not in pictures:
            pictures[frame] = self._frames.read(frame)
        for other in near:
            if other not in pictures:
                # One that can't be read is told of when it is its turn.
                with suppress(ImageError):
                    pictures[other] = self._frames.read(other)
        beside = [picture for other, picture in pictures.items() if other != frame]
        return average_alike(pictures[frame], beside)

    def _join(self, frame: int, step: int, objects: tuple[ObjectRecord, ...]) -> _Slice:
        """Return a slice's objects by number, and the parents of those that a division made."""
        places = range(1, len(objects) + 1)
        numbered = (replace(record, id=id_) for record, id_ in zip(objects, places, strict=True))
        painted = paint_labels(numbered, Region.whole(self._frames.shape))
        here = LinkedFrame.of(painted, objects, places)
        before = self._known.get(frame - step)
        parents: dict[int, int] = {}
        if before is None:
            numbers = [next(self._numbers) for _ in objects]
        else:
            numbers, parents = self._link(before.frame, here, forward=step > 0)
        named = replace(
            here,
            labels=np.array([0, *numbers], np.uint32)[painted],
            ids=np.array(numbers, np.uint32),
        )
        lost: frozenset[int] = frozenset()
        if before is not None:
            gone = {*numbers, *parents, *parents.values()}
            lost = frozenset(before.frame.ids.tolist()) - gone - before.missed
            named = named.add_missed(before.frame, sorted(lost))
        self._known[frame] = _Known(named, lost)
        return _Slice(frame, dict(zip(numbers, objects, strict=True)), parents)

    def _part_at_necks(self) -> None:
        """Give what had shrunk and grows again a new number from the slice that is due on."""
        for number in tuple(self._waiting[0].objects):
            ahead = [
                waiting.objects[number] for waiting in self._waiting if number in waiting.objects
            ]
            if not self._followed[number].has_ended(ahead):
                continue
            new = next(self._numbers)
            for waiting in self._waiting:
                waiting.rename(number, new)
                self._known[waiting.frame] = self._known[waiting.frame].rename(number, new)

    def _settle(self) -> TrackedFrame:
        """Return the slice that waits longest: what is on it is sure, there or nearby."""
        if self._in_volume:
            self._part_at_necks()
        least = self._options.threshold if self._in_volume else 0.0
        sure = {
            number
            for waiting in self._waiting
            for number, record in waiting.objects.items()
            if record.score is None or record.score >= least
        }
        found = self._waiting.popleft()
        kept: list[ObjectRecord] = []
        for number, record in found.objects.items():
            followed = self._followed[number]
            followed.add(record, sure=number in sure)
            if followed.sure and self._id_of(number) not in self._removed:
                kept.append(replace(record, id=self._id_of(number)))
        self._done.add(found.frame)
        self._known = {
            known: objects
            for known, objects in self._known.items()
            if not {known - 1, known + 1} <= self._done
        }
        parents = {self._id_of(id_): self._id_of(parent) for id_, parent in found.parents.items()}
        return TrackedFrame(
            found.frame, tuple(kept), frozenset(record.id for record in kept), parents
        )

    def _id_of(self, number: int) -> int:
        if number not in self._ids:
            self._ids[number] = self._new_id()
        return self._ids[number]

    def _link(
        self, before: LinkedFrame, here: LinkedFrame, *, forward: bool
    ) -> tuple[list[int], dict[int, int]]:
        """Return the numbers of objects that come after others, and who has divided into whom."""
        least = self._asked.stitch_threshold
        if self._asked.joining is not Joining.TIME:
            partner = join_slices(before, here, least)
            return [partner.get(int(id_)) or next(self._numbers) for id_ in here.ids], {}
        if forward:
            partner, divisions = link_times(before, here, least)
        else:
            backwards, divisions = link_times(here, before, least)
            partner = {here_: later for later, here_ in backwards.items()}
        ids = {int(id_): partner.get(int(id_)) or next(self._numbers) for id_ in here.ids}
        parents: dict[int, int] = {}
        for mother, daughters in divisions.items():
            for daughter in daughters:
                links = (ids[daughter], mother) if forward else (daughter, ids[mother])
                parents[links[0]] = links[1]
        return list(ids.values()), parents

    def close(self) -> None:
        """Forget what was found."""
        self._known = {}
        self._waiting.clear()


@dataclass(frozen=True, slots=True, eq=False)
class _Known:
    """The objects of a slice, and which of them lie on the slice before and not on this one."""

    frame: LinkedFrame
    missed: frozenset[int] = frozenset()

    def rename(self, old: int, new: int) -> _Known:
        missed = frozenset(new if id_ == old else id_ for id_ in self.missed)
        return _Known(self.frame.rename(old, new), missed)


@dataclass(slots=True, eq=False)
class _Slice:
    """What was found on a slice, by number, and which numbers are the parents of which."""

    frame: int
    objects: dict[int, ObjectRecord]
    parents: dict[int, int]

    def rename(self, old: int, new: int) -> None:
        self.objects = {new if id_ == old else id_: record for id_, record in self.objects.items()}


def builtin_seeds(
    picture: npt.NDArray[np.uint8], options: PredictOptions, reporter: Reporter
) -> tuple[tuple[float, float], ...]:
    """Return the middles of what the built-in engine finds in a picture.

    ``picture`` has the shape (H, W, 3).

    Returns
    -------
    tuple of (y, x)
        In pixels, one an object.
    """
    with CachingEngine(create("builtin")) as engine:
        engine.load(reporter)
        embedding = engine.encode(picture, reporter)
        found = engine.predict(embedding, PromptSet(everything=Everything()), options, reporter)
    return tuple(_middle(record.mask, record.region) for record in found.objects)


def label_seeds(labels: npt.NDArray[Any]) -> tuple[tuple[float, float], ...]:
    """Return the middle of each label, the pixel that is deepest in it, as (y, x).

    Parameters
    ----------
    labels : ndarray of int, shape (H, W)
        Another tool's labels; 0 is background.
    """
    values, numbered = np.unique(labels, return_inverse=True)
    numbered = numbered.reshape(labels.shape) + (0 if values[:1] == 0 else 1)
    return tuple(
        _middle(
            numbered[place] == number,
            Region(place[0].start, place[1].start, place[0].stop, place[1].stop),
        )
        for number, place in enumerate(ndi.find_objects(numbered), 1)
        if place is not None
    )


def _middle(mask: npt.NDArray[np.bool_], region: Region) -> tuple[float, float]:
    depth = ndi.distance_transform_edt(np.pad(mask, 1))[1:-1, 1:-1]
    y, x = np.unravel_index(int(depth.argmax()), mask.shape)
    return float(region.y0 + y), float(region.x0 + x)


def _batches(asked: Everything, crop: Region, layer: int) -> list[tuple[tuple[float, float], ...]]:
    """Return the points of a crop, counted from its first pixel, in as many as go into a call."""
    points = asked.localise(crop).points_on(crop.shape, layer)
    size = max(1, min(_POINTS, _MOST_PIXELS // (3 * crop.area)))
    return [points[first : first + size] for first in range(0, len(points), size)]


def _in_order(objects: Sequence[ObjectRecord]) -> tuple[ObjectRecord, ...]:
    """Return objects from the lowest score to the highest, with the ids 1 to N."""
    ranked = sorted(objects, key=lambda record: record.score or 0.0)
    return tuple(replace(record, id=number) for number, record in enumerate(ranked, 1))


@dataclass(frozen=True, slots=True, eq=False)
class _Found:
    """An object with its mask packed: of one large thing there may be a mask a point."""

    record: ObjectRecord
    bits: bytes
    crop: Region

    @classmethod
    def pack(cls, record: ObjectRecord, crop: Region) -> _Found:
        bits = zlib.compress(np.packbits(record.mask).tobytes(), 1)
        return cls(replace(record, mask=np.zeros((0, 0), bool)), bits, crop)

    def unpack(self) -> ObjectRecord:
        region = self.record.region
        bits = np.frombuffer(zlib.decompress(self.bits), np.uint8)
        mask = np.unpackbits(bits, count=region.area).reshape(region.shape).astype(bool)
        return replace(self.record, mask=mask)


class _Search:
    """What was found so far at the points of all crops."""

    def __init__(self, asked: Everything, shape: tuple[int, int], batches: Sequence[int]) -> None:
        self._asked = asked
        self._whole = Region.whole(shape)
        self._found: list[_Found] = []
        self._of_crop: list[_Found] = []
        self._left = RemainingTime(len(batches))
        self._seconds_left: float | None = None
        self.total = sum(batches)
        self.done = 0

    def add(self, records: Sequence[ObjectRecord], crop: Region, points: int) -> None:
        """Take the masks at a batch of points of a crop."""
        for record in records:
            placed = record.shift(crop.y0, crop.x0)
            if not _is_cut(placed.region, crop, self._whole):
                self._of_crop.append(_Found.pack(placed, crop))
        self.done += points
        self._seconds_left = self._left.step()

    def end_crop(self) -> None:
        """Compare the masks of a crop with each other."""
        scores = np.array([candidate.record.score or 0.0 for candidate in self._of_crop])
        kept = _suppress(self._of_crop, scores, self._asked.box_nms_thresh)
        self._found += kept
        self._of_crop = []

    def progress(self) -> Progress:
        """Return how far it is: points, objects so far, and the time left."""
        left = self._seconds_left
        objects = pluralize(len(self._kept()), "object")
        message = f"{part_of(self.done, self.total)} points, {objects} so far"
        ahead = "" if left is None else f", {format_duration(left)} left"
        return Progress(self.done, self.total, message + ahead, left)

    def prediction(self, threshold: float) -> Prediction:
        """Return the objects so far."""
        records = [candidate.unpack() for candidate in self._kept()]
        if self._asked.min_mask_region_area:
            records = _clean_masks(records, self._asked)
        objects = _in_order([_clip_score(record) for record in records])
        notes = []
        if self.done < self.total:
            notes.append(f"Only {part_of(self.done, self.total)} points were looked at.")
        elif not objects:
            notes.append(
                f"At {pluralize(self.total, 'point')} no mask had a predicted IoU above "
                f"{self._asked.pred_iou_thresh:g} and a stability above "
                f"{self._asked.stability_score_thresh:g}: lower these, or take more points."
            )
        return Prediction(objects, threshold, notes=tuple(notes))

    def _kept(self) -> list[_Found]:
        """Return those that are no second mask of a better one, the best first."""
        scores = np.array([candidate.record.score or 0.0 for candidate in self._of_crop])
        found = self._found + _suppress(self._of_crop, scores, self._asked.box_nms_thresh)
        if len({candidate.crop for candidate in found}) < 2:
            return found
        # Smaller crops see more of the same object.
        return _suppress(
            found,
            np.array([1 / candidate.crop.area for candidate in found]),
            self._asked.crop_nms_thresh,
        )


def _clip_score(record: ObjectRecord) -> ObjectRecord:
    """Return an object with a score from 0 to 1: some models guess the overlap without a limit."""
    return replace(record, score=min(max(record.score or 0.0, 0.0), 1.0))


def _is_cut(region: Region, crop: Region, whole: Region) -> bool:
    """Return whether an object reaches the edge of a crop where the image goes on."""
    sides = (region.y0, region.x0, region.y1 - 1, region.x1 - 1)
    return any(
        abs(side - edge) <= _EDGE and abs(side - end) > _EDGE
        for side, edge, end in zip(sides, crop.box, whole.box, strict=True)
    )


def _suppress(
    candidates: Sequence[_Found], scores: npt.NDArray[np.float64], most: float
) -> list[_Found]:
    """Return the objects whose boxes overlap no better one's by more (IoU), the best first."""
    boxes = np.array([candidate.record.region.box for candidate in candidates], np.float64).reshape(
        -1, 4
    )
    return [candidates[index] for index in box_nms(boxes, scores, most)]


def box_nms(
    boxes: npt.NDArray[np.float64], scores: npt.NDArray[np.float64], most: float
) -> list[int]:
    """Return which boxes non-maximum suppression keeps, the best first.

    ``boxes`` (shape (N, 4)): ``(y0, x0, y1, x1)`` in pixels, ends exclusive. As SAM's, they are
    taken from the first to the last pixel's centre.
    ``scores`` (shape (N,)): which is better.
    ``most``: the IoU that a box may have with a better one that is kept.
    """
    corners = boxes - np.array([0, 0, 1, 1])
    areas = (corners[:, 2] - corners[:, 0]) * (corners[:, 3] - corners[:, 1])
    waiting = np.argsort(-scores, kind="stable")
    kept: list[int] = []
    while waiting.size:
        best, waiting = waiting[0], waiting[1:]
        kept.append(int(best))
        low = np.maximum(corners[best, :2], corners[waiting, :2])
        high = np.minimum(corners[best, 2:], corners[waiting, 2:])
        shared = np.maximum(high - low, 0).prod(1)
        waiting = waiting[~(shared > most * (areas[best] + areas[waiting] - shared))]
    return kept


def _clean_masks(records: Sequence[ObjectRecord], asked: Everything) -> list[ObjectRecord]:
    """Return objects without small holes and pieces; of what is the same now the unchanged one."""
    found: list[ObjectRecord] = []
    changed: list[float] = []
    for record in records:
        mask = without_small(record.mask, asked.min_mask_region_area)
        same = bool((mask == record.mask).all())
        offset = (record.region.y0, record.region.x0)
        mended = ObjectRecord.from_mask(
            record.id,
            mask,
            offset=offset,
            score=record.score,
            soft=record.soft,
            stability=record.stability,
        )
        if mended is not None:
            found.append(record if same else mended)
            changed.append(float(same))
    boxes = np.array([record.region.box for record in found], np.float64).reshape(-1, 4)
    most = max(asked.box_nms_thresh, asked.crop_nms_thresh)
    return [found[index] for index in box_nms(boxes, np.array(changed), most)]


def without_small(mask: npt.NDArray[np.bool_], least: int) -> npt.NDArray[np.bool_]:
    """Return a mask without holes and pieces of fewer pixels; its largest piece stays."""
    ground, sizes = _pieces(~np.pad(mask, 1))
    # What is round the object is no hole.
    sizes[ground[0, 0]] = least
    filled = mask | ((ground > 0) & (sizes[ground] < least))[1:-1, 1:-1]
    pieces, sizes = _pieces(filled)
    sizes[sizes.argmax()] = least
    return filled & (sizes[pieces] >= least)


def _pieces(mask: npt.NDArray[np.bool_]) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.intp]]:
    """Return the numbered pieces of a mask, and by number their pixels; 0 counts none."""
    pieces, count = ndi.label(mask, np.ones((3, 3)))
    sizes = np.bincount(pieces.ravel(), minlength=count + 1)
    sizes[0] = 0
    return pieces, sizes

"""Objects through a stack: on which frames each is known, and where it goes on, ends or divides."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from napari_sam3_assistant.core.regions import Region
from napari_sam3_assistant.core.results import ObjectRecord
from napari_sam3_assistant.core.tracks import TrackedFrame
from napari_sam3_assistant.engines.builtin.features import PlaneFeatures
from napari_sam3_assistant.engines.builtin.next_slice import (
    Outline,
    advance,
    link_changed,
    trace_outline,
)
from napari_sam3_assistant.engines.builtin.object_mask import Patch
from napari_sam3_assistant.errors import PromptError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from napari_sam3_assistant.core.display import FrameSource
    from napari_sam3_assistant.core.progress import Reporter
    from napari_sam3_assistant.core.tracks import TrackSeed


SAME = 0.5  # overlap (IoU) from which on a daughter is an object that was prompted there


@dataclass(slots=True)
class _Known:
    """Where one object is known.

    ``text``: the phrase that found it.
    ``seeds``: its prompted masks, by frame.
    ``reached``: the frame and the outline at which the last pass ended, by direction (reverse or
    not); of a pass of an earlier session its pixels.
    ``divided``: the time from which on it is not there any more, and the daughters that are.
    ``is_daughter``: whether it came of a division: it was not there before its first mask.
    """

    text: str = ""
    seeds: dict[int, Patch] = field(default_factory=dict)
    reached: dict[bool, tuple[int, Outline | Patch]] = field(default_factory=dict)
    divided: tuple[int, tuple[int, ...]] | None = None
    is_daughter: bool = False


class BuiltinTrack:
    """Follows masks slice by slice by overlap and image evidence.

    In a movie an object that divides ends, and its daughters are followed.

    ``frames``: the slices.
    ``new_id``: returns the next free id.
    """

    def __init__(self, frames: FrameSource, new_id: Callable[[], int]) -> None:
        self._frames, self._new_id = frames, new_id
        self._known: dict[int, _Known] = {}

    def add(self, seed: TrackSeed) -> None:
        """Take an object's mask on a frame.

        Raises PromptError if it has none, or none inside the frame.
        """
        patch = self._patch_of(seed)
        if patch is None:
            raise PromptError(
                f"Object {seed.object_id} has no mask on frame {seed.frame}.",
                "Paint it, or prompt it with clicks or a box on this frame.",
            )
        known = self._known.setdefault(seed.object_id, _Known())
        known.text = seed.text or known.text
        if known.divided is not None:
            # Its daughters came of a mask that was wrong, or it goes on after all.
            self._forget_daughters(known)
        if seed.is_followed and known.seeds:
            known.reached[seed.frame < min(known.seeds)] = (seed.frame, patch)
            return
        known.seeds[seed.frame] = patch
        # What lies behind a corrected frame was spread from the mask that was wrong.
        for reverse, (frame, _) in tuple(known.reached.items()):
            if frame <= seed.frame if reverse else frame >= seed.frame:
                del known.reached[reverse]

    def _patch_of(self, seed: TrackSeed) -> Patch | None:
        """Return what of a seed's mask lies inside the frame, without empty rows and columns.

        How far an object may move, and how closely it is looked at, follows from its box.
        """
        whole = Region.whole(self._frames.shape)
        if seed.mask is None or seed.mask.region.intersect(whole).is_empty:
            return None
        patch = Patch(seed.mask.mask, seed.mask.region).clip(whole)
        return patch.crop() if patch.area else None

    def _forget_daughters(self, known: _Known) -> None:
        _, daughters = known.divided or (0, ())
        for daughter in daughters:
            if daughter in self._known:
                self._forget_daughters(self._known.pop(daughter))
        known.divided = None

    def remove(self, object_id: int) -> None:
        """Forget an object."""
        self._known.pop(object_id, None)

    def close(self) -> None:
        """Forget everything."""
        self._known.clear()

    def propagate(self, order: range, reporter: Reporter) -> Iterator[TrackedFrame]:
        """Yield what is on each frame; see :class:`.engines.base.VideoTrack`.

        Where an object is not known on the frame before the first one, it is followed to there
        from the nearest frame on which it is, without yielding.
        """
        reverse = order.step < 0
        joins = self._joins(order, reverse)
        begin = min(joins, key=lambda frame: frame * order.step, default=order.start)
        if (order.start - begin) * order.step < 0:
            begin = order.start
        before: PlaneFeatures | None = None
        outlines: dict[int, Outline] = {}
        parents: dict[int, int] = {}
        for frame in range(begin, order.stop, order.step):
            reporter.check()
            now = PlaneFeatures.from_rgb(self._frames.read(frame))
            if before is not None and outlines:
                is_movie = self._frames.is_movie
                earlier = outlines
                outlines = advance(before, now, earlier, reporter, is_movie=is_movie)
                if is_movie and not reverse:
                    divided, again = link_changed(before, now, earlier, outlines, reporter)
                    for id_, patch in again.items():
                        outlines[id_] = outlines[id_].moved_to(patch, outlines[id_].age)
                    parents |= self._divide(divided, frame, now, outlines)
            outlines |= self._outlines_at(joins.get(frame, ()), frame, reverse, now)
            outlines = self._followed(outlines, frame)
            before = now
            if frame not in order:
                continue
            for id_, outline in outlines.items():
                self._known[id_].reached[reverse] = (frame, outline)
            yield TrackedFrame(frame, self._records(outlines), frozenset(outlines), parents)
            parents = {}

    def _divide(
        self,
        divided: dict[int, tuple[Patch, Patch]],
        frame: int,
        now: PlaneFeatures,
        outlines: dict[int, Outline],
    ) -> dict[int, int]:
        """Put daughters in the place of objects that have divided; returns their parents."""
        parents: dict[int, int] = {}
        for mother, patches in divided.items():
            known = self._known.get(mother)
            if known is None or known.divided is not None or frame in known.seeds:
                continue
            # Those of an earlier session have their numbers.
            daughters = [self._find_seed(frame, patch) or self._new_id() for patch in patches]
            known.divided = frame, tuple(daughters)
            for id_, patch in zip(daughters, patches, strict=True):
                daughter = self._known.setdefault(id_, _Known(known.text, {frame: patch}))
                daughter.is_daughter = True
                outlines[id_] = trace_outline(now, daughter.seeds[frame])
            parents |= dict.fromkeys(daughters, mother)
        return parents

    def _find_seed(self, frame: int, patch: Patch) -> int | None:
        """Return the object that was prompted where a patch is."""
        for id_, known in self._known.items():
            if frame in known.seeds and known.seeds[frame].overlap(patch) >= SAME:
                return id_
        return None

    def _followed(self, outlines: dict[int, Outline], frame: int) -> dict[int, Outline]:
        """Return those of objects that were not removed and have not divided."""
        return {
            id_: outline
            for id_, outline in outlines.items()
            if id_ in self._known and not self._has_divided(id_, frame)
        }

    def _has_divided(self, id_: int, frame: int) -> bool:
        """Return whether an object has divided by then."""
        known = self._known.get(id_)
        return known is not None and known.divided is not None and frame >= known.divided[0]

    def _joins(self, order: range, reverse: bool) -> dict[int, list[int]]:
        """Return which objects to set to a known outline, by frame."""
        joins: dict[int, list[int]] = {}
        for id_, known in self._known.items():
            if known.is_daughter if reverse else self._has_divided(id_, order.start):
                continue
            frames = set(known.seeds)
            if reverse in known.reached:
                frames.add(known.reached[reverse][0])
            ahead = {frame for frame in frames if frame in order and frame in known.seeds}
            behind = [frame for frame in frames if (order.start - frame) * order.step > 0]
            if order.start not in ahead and behind:
                ahead.add(min(behind, key=lambda frame: abs(order.start - frame)))
            for frame in ahead:
                joins.setdefault(frame, []).append(id_)
        return joins

    def _outlines_at(
        self, ids: Iterable[int], frame: int, reverse: bool, now: PlaneFeatures
    ) -> dict[int, Outline]:
        """Return the known outlines of objects on a frame."""
        outlines: dict[int, Outline] = {}
        handed: dict[int, dict[int, Patch]] = {}
        for id_ in ids:
            seeds = self._known[id_].seeds
            if frame in seeds:
                outlines[id_] = trace_outline(now, seeds[frame])
                continue
            _, reached = self._known[id_].reached[reverse]
            if isinstance(reached, Outline):
                outlines[id_] = reached
                continue
            behind = [seed for seed in seeds if (seed > frame) == reverse]
            handed.setdefault(min(behind, key=lambda seed: abs(seed - frame)), {})[id_] = reached
        for origin, patches in handed.items():
            prompted = PlaneFeatures.from_rgb(self._frames.read(origin))
            for id_, patch in patches.items():
                outline = trace_outline(prompted, self._known[id_].seeds[origin])
                outlines[id_] = outline.moved_to(patch, abs(frame - origin))
        return outlines

    def _records(self, outlines: dict[int, Outline]) -> tuple[ObjectRecord, ...]:
        records = []
        for id_, outline in sorted(outlines.items()):
            if outline.missed:
                continue
            patch = outline.patch
            record = ObjectRecord.from_mask(
                id_,
                patch.mask,
                offset=(patch.region.y0, patch.region.x0),
                text=self._known[id_].text,
            )
            if record is not None:
                records.append(record)
        return tuple(records)

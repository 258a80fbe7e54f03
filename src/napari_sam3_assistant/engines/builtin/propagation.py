"""Objects through a stack: each slice's outlines start from those of the slice before."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from napari_sam3_assistant.core.regions import Region
from napari_sam3_assistant.core.results import ObjectRecord
from napari_sam3_assistant.core.tracks import TrackedFrame
from napari_sam3_assistant.engines.builtin.embedding import PlaneFeatures
from napari_sam3_assistant.engines.builtin.patches import Patch
from napari_sam3_assistant.engines.builtin.propagation_neighbours import STRIDE, with_neighbours
from napari_sam3_assistant.engines.builtin.propagation_step import Outline, advance, outlined
from napari_sam3_assistant.errors import PromptError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from napari_sam3_assistant.core.display import FrameSource
    from napari_sam3_assistant.core.progress import Reporter
    from napari_sam3_assistant.core.tracks import Seed


@dataclass(slots=True)
class _Known:
    """Where one object is known.

    Parameters
    ----------
    text : str
        The phrase that found it.
    seeds : dict
        Its prompted masks, by frame.
    reached : dict
        The frame and the outline at which the last pass ended, by direction (reverse or not).
    """

    text: str = ""
    seeds: dict[int, Patch] = field(default_factory=dict)
    reached: dict[bool, tuple[int, Outline]] = field(default_factory=dict)


class BuiltinTrack:
    """Follows masks slice by slice by overlap and image evidence.

    Parameters
    ----------
    frames : FrameSource
        The slices.
    """

    def __init__(self, frames: FrameSource) -> None:
        self._frames = frames
        self._known: dict[int, _Known] = {}

    def add(self, seed: Seed) -> None:
        """Take an object's mask on a frame.

        Raises
        ------
        PromptError
            If it has none, or none inside the frame.
        """
        whole = Region.whole(self._frames.shape)
        if seed.mask is None or seed.mask.region.intersect(whole).is_empty:
            raise PromptError(
                f"Object {seed.object_id} has no mask on frame {seed.frame}.",
                "Paint it, or prompt it with clicks or a box on this frame.",
            )
        known = self._known.setdefault(seed.object_id, _Known())
        known.text = seed.text or known.text
        known.seeds[seed.frame] = Patch(seed.mask.mask, seed.mask.region).clipped(whole)
        # What lies behind a corrected frame was spread from the mask that was wrong.
        for reverse, (frame, _) in tuple(known.reached.items()):
            if frame <= seed.frame if reverse else frame >= seed.frame:
                del known.reached[reverse]

    def add_phrase(self, text: str, frame: int) -> None:
        """Refuse: phrases are looked for on one slice, and the masks are followed."""
        raise PromptError(
            f"The built-in engine can't look for '{text}' on each slice from {frame} on.",
            "Let it find the objects on one slice and follow their masks.",
        )

    def remove(self, object_id: int) -> None:
        """Forget an object."""
        self._known.pop(object_id, None)

    def close(self) -> None:
        """Forget everything."""
        self._known.clear()

    def propagate(self, order: range, reporter: Reporter) -> Iterator[TrackedFrame]:
        """Yield what is on each frame; see :class:`.engines.video.VideoTrack`.

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
        for frame in range(begin, order.stop, order.step):
            reporter.check()
            now = PlaneFeatures.from_rgb(self._frames.read(frame))
            if before is not None and outlines:
                outlines = advance(before, now, outlines)
            for id_ in joins.get(frame, ()):
                outlines[id_] = self._outline_at(id_, frame, reverse, now)
            if outlines and (frame in joins or (frame - begin) % STRIDE == 0):
                outlines = with_neighbours(now, outlines, reporter)
            before = now
            if frame not in order:
                continue
            for id_, outline in outlines.items():
                if id_ in self._known:
                    self._known[id_].reached[reverse] = (frame, outline)
            sought = frozenset(id_ for id_ in outlines if id_ in self._known)
            yield TrackedFrame(frame, self._records(outlines), sought)

    def _joins(self, order: range, reverse: bool) -> dict[int, list[int]]:
        """Return which objects to set to a known outline, by frame."""
        joins: dict[int, list[int]] = {}
        for id_, known in self._known.items():
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

    def _outline_at(self, id_: int, frame: int, reverse: bool, now: PlaneFeatures) -> Outline:
        known = self._known[id_]
        if frame in known.seeds:
            return outlined(now, known.seeds[frame])
        return known.reached[reverse][1]

    def _records(self, outlines: dict[int, Outline]) -> tuple[ObjectRecord, ...]:
        records = []
        for id_, outline in sorted(outlines.items()):
            if outline.missed or id_ not in self._known:
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

"""From prompts on slices to what an engine follows, and what it can use of them."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from napari_sam3_assistant.core.prompts import (
    SEARCHES,
    BoxPrompt,
    MaskPrompt,
    PromptKind,
    PromptSet,
    free_id,
)
from napari_sam3_assistant.core.regions import Region
from napari_sam3_assistant.core.tracks import TrackSeed
from napari_sam3_assistant.errors import PromptError
from napari_sam3_assistant.workflows.everything import predict

if TYPE_CHECKING:
    from collections.abc import Mapping

    import numpy.typing as npt

    from napari_sam3_assistant.core.display import FrameSource
    from napari_sam3_assistant.core.options import PredictOptions
    from napari_sam3_assistant.core.progress import Reporter
    from napari_sam3_assistant.core.prompts import PointPrompt
    from napari_sam3_assistant.engines.base import EngineSpec, TrackSpec
    from napari_sam3_assistant.engines.caching_engine import CachingEngine


@dataclass(slots=True)
class _Group:
    """The prompts of one object on one frame."""

    points: tuple[PointPrompt, ...] = ()
    box: BoxPrompt | None = None
    mask: MaskPrompt | None = None

    @property
    def prompts(self) -> PromptSet:
        return PromptSet(
            points=self.points,
            boxes=() if self.box is None else (self.box,),
            masks=() if self.mask is None else (self.mask,),
        )


class ObjectIds:
    """Gives out object ids, each once, beside those that the user chose."""

    def __init__(self) -> None:
        self._taken: set[int] = set()
        self.clicked: int | None = None

    def take(self, number: int | None) -> int:
        """Return an id: the number asked for, or the next that is free."""
        id_ = free_id(self._taken) if number is None else number
        self._taken.add(id_)
        return id_

    def for_clicks(self) -> int:
        """Return the id of the object that clicks without an id are on."""
        if self.clicked is None:
            self.clicked = self.take(None)
        return self.clicked

    def forget(self, object_id: int) -> None:
        """Let the next click without an id be on a new object if it was on this one."""
        if self.clicked == object_id:
            self.clicked = None


@dataclass(frozen=True, slots=True, eq=False)
class ResolvedPrompts:
    """What an engine shall follow.

    ``seeds``: objects by what names them.
    ``phrases``: phrases to look for on every frame, and from which frame on.
    ``notes``: what the user should know about how it came about.
    """

    seeds: tuple[TrackSeed, ...]
    phrases: tuple[tuple[str, int], ...] = ()
    notes: tuple[str, ...] = ()


class PromptResolver:
    """Turns prompts into what the engine's video head takes.

    ``engine``: its image heads find what the video head can't be told; it is loaded.
    ``ids``: gives out the objects' ids.
    """

    def __init__(
        self, engine: CachingEngine, frames: FrameSource, options: PredictOptions, ids: ObjectIds
    ) -> None:
        self._engine = engine
        self._frames = frames
        self._options = options
        self._ids = ids
        video = engine.spec.video  # without it slices are joined, and nothing is followed
        self._takes = frozenset() if video is None else video.prompts

    def resolve(
        self,
        frame: int,
        prompts: PromptSet,
        shown: npt.NDArray[np.generic] | None,
        reporter: Reporter,
    ) -> ResolvedPrompts:
        """Return what the prompts of one frame name.

        ``shown`` (shape (Y, X)): the labels that the user sees there, a first guess for clicks that
        correct them.
        Raises PromptError if a prompt finds nothing.
        """
        seeds: list[TrackSeed] = []
        phrases: tuple[tuple[str, int], ...] = ()
        notes: tuple[str, ...] = ()
        text = prompts.text.strip()
        if text and not prompts.exemplars and PromptKind.TEXT in self._takes:
            phrases = ((text, frame),)
        elif prompts.kinds & SEARCHES:
            looked = PromptSet(
                exemplars=prompts.exemplars, text=text, everything=prompts.everything
            )
            found, notes = self._find_object(frame, looked, reporter)
            seeds += [replace(seed, object_id=self._ids.take(None)) for seed in found]
        for id_, group in self._group_prompts(prompts):
            seeds.append(self._make_seed(frame, id_, group, shown, reporter))
        return ResolvedPrompts(tuple(seeds), phrases, notes)

    def _group_prompts(self, prompts: PromptSet) -> list[tuple[int, _Group]]:
        """Return the objects that clicks, boxes and masks name, with their ids.

        Clicks without an id are on one object, which the first box and mask without an id are
        of, too; other boxes and masks without an id are new objects.
        """
        groups: dict[int, _Group] = {}
        free = any(point.object_id is None for point in prompts.points)
        clicked = self._ids.for_clicks() if free else None
        for point in prompts.points:
            object_id = clicked if point.object_id is None else point.object_id
            groups.setdefault(self._ids.take(object_id), _Group()).points += (point,)
        for box in prompts.boxes:
            id_ = box.object_id
            if id_ is None and clicked is not None and groups[clicked].box is None:
                id_ = clicked
            group = groups.setdefault(self._ids.take(id_), _Group())
            if group.box is not None:
                raise PromptError(
                    f"There are two boxes round object {id_} on one frame.", "Keep one of them."
                )
            group.box = box
        for mask in prompts.masks:
            id_ = mask.object_id
            if id_ is None and clicked is not None and groups[clicked].mask is None:
                id_ = clicked
            groups.setdefault(self._ids.take(id_), _Group()).mask = mask
        return list(groups.items())

    def _make_seed(
        self,
        frame: int,
        id_: int,
        group: _Group,
        shown: npt.NDArray[np.generic] | None,
        reporter: Reporter,
    ) -> TrackSeed:
        """Return an object as the video head takes it; segmented here first where it must be."""
        kinds = group.prompts.kinds
        alone = kinds <= {PromptKind.MASK} or PromptKind.MASK not in kinds
        if kinds <= self._takes and alone:
            return TrackSeed(frame, id_, group.points, group.box, group.mask)
        prompts = group.prompts
        if shown is not None and group.mask is None and np.any(shown == id_):
            prompts = replace(prompts, masks=(MaskPrompt.from_plane(shown == id_, id_),))
        found, _ = self._find_object(frame, prompts, reporter)
        return replace(found[0], object_id=id_)

    def _find_object(
        self, frame: int, prompts: PromptSet, reporter: Reporter
    ) -> tuple[list[TrackSeed], tuple[str, ...]]:
        """Return the objects that the image heads find on a frame, without ids."""
        whole = Region.whole(self._frames.shape)
        view = self._frames.view_at(frame)
        embedding = self._engine.embedding(view, whole, reporter)
        prediction = predict(
            self._engine, view.rgb, embedding, prompts, whole.shape, self._options, reporter
        )
        if not prediction.objects:
            message = " ".join(prediction.notes)
            raise PromptError(
                f"Nothing was found on frame {frame}.",
                message or "Move the prompts, or paint the object.",
            )
        seeds = [
            TrackSeed(
                frame,
                record.id,
                mask=MaskPrompt(record.mask, record.region),
                score=record.score,
                text=record.text,
            )
            for record in prediction.objects
        ]
        return seeds, prediction.notes


_NAMES = {
    PromptKind.POINTS: "points",
    PromptKind.BOXES: "boxes",
    PromptKind.MASK: "painted masks",
    PromptKind.EXEMPLARS: "example boxes",
    PromptKind.TEXT: "a phrase",
    PromptKind.EVERYTHING: "everything",
}


def check_prompts(
    spec: EngineSpec, prompts: Mapping[int, PromptSet], frames: FrameSource
) -> tuple[str, ...]:
    """Return what the user should know about how the prompts will be used.

    Nothing is loaded or read for it.
    """
    by_frame = {frame: found for frame, found in prompts.items() if found.kinds}
    if not by_frame:
        PromptSet().check(frames.shape)
    joined = [found.joins_slices for found in by_frame.values()]
    if any(joined) and not all(joined):
        raise PromptError(
            "All objects are looked for on each slice by itself, without other prompts.",
            "Leave the other prompts out, or have what is found followed by the video head.",
        )
    for frame, found in by_frame.items():
        if not 0 <= frame < len(frames):
            raise PromptError(
                f"There is no frame {frame} in a stack of {len(frames)}.",
                f"Put the prompts on frames 0 to {len(frames) - 1}.",
            )
        found.check(frames.shape)
    if any(joined):
        spec.check_kinds(frozenset({PromptKind.EVERYTHING}))
        return ()
    video = check_limits(spec)
    for found in by_frame.values():
        _check_mix(spec, video, found)
        check_limits(spec, found.kinds, points=found.most_points)
    check_limits(spec, boxes=sum(len(found.boxes) for found in by_frame.values()))
    return _bridge_notes(spec, video, by_frame)


def check_limits(
    spec: EngineSpec,
    kinds: frozenset[PromptKind] = frozenset(),
    *,
    points: int = 0,
    boxes: int = 0,
) -> TrackSpec:
    """Return what an engine's video head takes, if it can use so much."""
    video = spec.video
    if video is None:
        raise PromptError(
            f"{spec.title} can't follow objects through a stack.",
            "Choose the built-in engine or sam3-transformers for 3D/video.",
        )
    bridged = PromptKind.MASK in video.prompts
    usable = video.prompts | (spec.accepts if bridged else frozenset())
    if refused := kinds - usable:
        raise PromptError(
            f"{spec.title} does not take {_join(refused)} for 3D/video.",
            f"Use {_join(usable, 'or')}, or the engine sam3-transformers or the built-in one.",
        )
    if video.max_points is not None and points > video.max_points:
        raise PromptError(
            f"{spec.title} takes up to {video.max_points} points on one object, "
            f"these are {points}.",
            "Remove the points that matter least, or paint the object instead.",
        )
    if video.max_boxes is not None and boxes > video.max_boxes:
        raise PromptError(
            f"{spec.title} takes {video.max_boxes} box for 3D/video, these are {boxes}.",
            "Keep one box, or choose the engine sam3-transformers, which takes many.",
        )
    return video


def _check_mix(spec: EngineSpec, video: TrackSpec, prompts: PromptSet) -> None:
    if not video.mixes and PromptKind.POINTS in prompts.kinds and len(prompts.kinds) > 1:
        raise PromptError(
            f"{spec.title} does not take points together with "
            f"{_join(prompts.kinds - {PromptKind.POINTS})} for 3D/video.",
            "Use one kind of prompt, or the engine sam3-transformers.",
        )


def _bridge_notes(
    spec: EngineSpec, video: TrackSpec, prompts: Mapping[int, PromptSet]
) -> tuple[str, ...]:
    notes = []
    for frame, found in sorted(prompts.items()):
        bridged = found.kinds - video.prompts
        if PromptKind.EXEMPLARS in bridged:
            bridged |= found.kinds & SEARCHES
        if bridged:
            notes.append(
                f"{spec.title} follows masks: the objects of {_join(bridged)} are segmented on "
                f"frame {frame} first."
            )
    return tuple(notes)


def _join(kinds: frozenset[PromptKind], last: str = "and") -> str:
    names = [_NAMES[kind] for kind in PromptKind if kind in kinds]
    return f" {last} ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else names)

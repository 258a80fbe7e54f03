"""What prompts on a stack an engine can use, told before anything is loaded."""

from __future__ import annotations

from typing import TYPE_CHECKING

from napari_sam3_assistant.core.prompts import PromptKind, PromptSet
from napari_sam3_assistant.errors import PromptError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from napari_sam3_assistant.core.frames import FrameSource
    from napari_sam3_assistant.engines.base import EngineSpec, TrackSpec

FOUND = frozenset({PromptKind.TEXT, PromptKind.EXEMPLARS})
"""Kinds that look for objects; the others name one each."""
_NAMES = {
    PromptKind.POINTS: "points",
    PromptKind.BOXES: "boxes",
    PromptKind.MASK: "painted masks",
    PromptKind.EXEMPLARS: "example boxes",
    PromptKind.TEXT: "a phrase",
}


def check_prompts(
    spec: EngineSpec, prompts: Mapping[int, PromptSet], frames: FrameSource
) -> tuple[str, ...]:
    """Return what the user should know about how the prompts will be used.

    Nothing is loaded or read to tell.

    Parameters
    ----------
    spec : EngineSpec
        The engine's card.
    prompts : mapping
        By frame.
    frames : FrameSource
        The stack.

    Raises
    ------
    PromptError
        If there are no prompts, they lie outside the stack, or the engine can't use them.
    """
    video = check_limits(spec)
    given = {frame: found for frame, found in prompts.items() if found.kinds}
    if not given:
        PromptSet().check(frames.shape)
    for frame, found in given.items():
        if not 0 <= frame < len(frames):
            raise PromptError(
                f"There is no frame {frame} in a stack of {len(frames)}.",
                f"Put the prompts on frames 0 to {len(frames) - 1}.",
            )
        found.check(frames.shape)
        _check_mix(spec, video, found)
        check_limits(spec, found.kinds, points=found.most_points)
    check_limits(spec, boxes=sum(len(found.boxes) for found in given.values()))
    return _bridge_notes(spec, video, given)


def check_limits(
    spec: EngineSpec,
    kinds: frozenset[PromptKind] = frozenset(),
    *,
    points: int = 0,
    boxes: int = 0,
) -> TrackSpec:
    """Return what an engine's video head takes, if it can use so much.

    Parameters
    ----------
    spec : EngineSpec
        The engine's card.
    kinds : frozenset of PromptKind
        The kinds of prompt.
    points : int
        Most clicks on one object and frame.
    boxes : int
        Boxes of the whole run.

    Raises
    ------
    PromptError
        If it works on single planes only, or takes no such prompts or not so many.
    """
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
            f"{spec.title} does not take {_listed(refused)} for 3D/video.",
            f"Use {_listed(usable, 'or')}, or the engine sam3-transformers or the built-in one.",
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
            f"{_listed(prompts.kinds - {PromptKind.POINTS})} for 3D/video.",
            "Use one kind of prompt, or the engine sam3-transformers.",
        )


def _bridge_notes(
    spec: EngineSpec, video: TrackSpec, prompts: Mapping[int, PromptSet]
) -> tuple[str, ...]:
    notes = []
    for frame, found in sorted(prompts.items()):
        bridged = found.kinds - video.prompts
        if PromptKind.EXEMPLARS in bridged:
            bridged |= found.kinds & FOUND
        if bridged:
            notes.append(
                f"{spec.title} follows masks: the objects of {_listed(bridged)} are segmented on "
                f"frame {frame} first, and their masks are followed."
            )
    return tuple(notes)


def _listed(kinds: frozenset[PromptKind], last: str = "and") -> str:
    names = [_NAMES[kind] for kind in PromptKind if kind in kinds]
    return f" {last} ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else names)

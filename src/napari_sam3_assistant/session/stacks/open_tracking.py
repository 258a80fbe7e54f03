"""A propagation that is open: what it was told, how far it is, and what is left to do."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING

from napari_sam3_assistant.core.prompts import PromptKind, PromptSet
from napari_sam3_assistant.core.tracks import Direction, Span
from napari_sam3_assistant.errors import PromptError

if TYPE_CHECKING:
    from collections.abc import Container, Hashable, Iterable, Iterator, Mapping

    import numpy as np
    import numpy.typing as npt

    from napari_sam3_assistant.core.prompts import PointPrompt
    from napari_sam3_assistant.core.regions import Region
    from napari_sam3_assistant.core.tracks import FrameResult
    from napari_sam3_assistant.session.stacks.scene import StackShot
    from napari_sam3_assistant.workflows.track import Tracking

_LOOKS_FOR = frozenset({PromptKind.TEXT, PromptKind.EXEMPLARS})


@dataclass(slots=True, eq=False)
class OpenTracking:
    """What the GUI thread knows of a propagation; the objects themselves are the worker's.

    Parameters
    ----------
    tracking : Tracking
        The objects. Only the worker thread calls it.
    stack : StackShot
        The stack and the prompts that it began with.
    choice : tuple of str
        The engine, model folder and device that it runs on.
    left : tuple of range
        The passes that the latest run has not done yet.
    done : set of int
        The frames that have a result.
    """

    tracking: Tracking
    stack: StackShot
    choice: tuple[str, str, str]
    left: tuple[range, ...] = ()
    done: set[int] = field(default_factory=set)
    _where: dict[int, dict[int, Region]] = field(default_factory=dict)
    _origin: tuple[int, ...] = ()
    _given: set[Hashable] = field(default_factory=set)

    def __post_init__(self) -> None:
        self.note(self.stack.prompts)

    def note(self, prompts: Mapping[int, PromptSet]) -> None:
        """Take note that prompts are given now."""
        self._origin = self._origin or tuple(sorted(prompts))
        self._given |= {key for key, _, _ in _parts(prompts)}

    def new_prompts(self, prompts: Mapping[int, PromptSet]) -> dict[int, PromptSet]:
        """Return those prompts that were not given yet: the corrections.

        Raises
        ------
        PromptError
            If they look for objects, which a propagation does when it begins.
        """
        found: dict[int, PromptSet] = {}
        for key, frame, part in _parts(prompts):
            if key in self._given:
                continue
            if part.kinds & _LOOKS_FOR:
                raise PromptError(
                    "Phrases and examples look for objects when a propagation begins.",
                    "Press Start 3D Propagation, or correct with points, boxes or a mask.",
                )
            found[frame] = _joined(found.get(frame, PromptSet()), part)
        return found

    def boxes_of(self, object_id: int) -> dict[int, Region]:
        """Return an object's bounding box on each frame that has it."""
        return {frame: own[object_id] for frame, own in self._where.items() if object_id in own}

    def passed(self, result: FrameResult) -> None:
        """Take note that a frame is done: it is the next of a pass."""
        frame = result.frame
        self.done.add(frame)
        boxes = self._where.setdefault(frame, {})
        for id_ in result.tracked:
            boxes.pop(id_, None)
        boxes |= {record.id: record.region for record in result.objects}
        for place, order in enumerate(self.left):
            if order and order[0] == frame:
                # A pass before that is not done has stopped early.
                rest = (order[1:],) if len(order) > 1 else ()
                self.left = (*rest, *self.left[place + 1 :])
                return

    def spans(
        self, span: Span, new: Mapping[int, PromptSet], tracked: Container[int]
    ) -> list[Span]:
        """Return which ways new prompts spread.

        Parameters
        ----------
        span : Span
            The frames and the direction that the user chose.
        new : mapping of int to PromptSet
            The prompts by frame.
        tracked : container of int
            The objects that are known.

        Returns
        -------
        list of Span
            With the direction ``both`` a new object spreads both ways. Corrections of known ones
            spread away from the slices that the propagation began on: what lies on the other side
            of them stays as it is.
        """
        first, last = min(new), max(new)
        # What a stopped propagation has not reached yet comes first.
        up = [order[0] for order in self.left if order.step > 0]
        down = [order[0] for order in self.left if order.step < 0]
        forward = replace(span, direction=Direction.FORWARD, start=min([first, *up]))
        backward = replace(span, direction=Direction.BACKWARD, start=max([last, *down]))
        if span.direction is not Direction.BOTH:
            return [forward if span.direction is Direction.FORWARD else backward]
        if not any(map(partial(_is_new, tracked=tracked), new.values())):
            if first > self._origin[0]:
                return [forward]
            if last < self._origin[-1]:
                return [backward]
        # Forward has been on the last frame already.
        before = max([last - 1, *down])
        ends = before < (span.first or 0)
        return [forward] if ends else [forward, replace(backward, start=before)]

    def left_beside(self, orders: Iterable[range]) -> tuple[range, ...]:
        """Return what an earlier, stopped propagation left to do in other directions."""
        ways = {order.step for order in orders}
        return tuple(order for order in self.left if order.step not in ways)


def on_objects(
    prompts: Mapping[int, PromptSet], shown: Mapping[int, npt.NDArray[np.uint32]]
) -> dict[int, PromptSet]:
    """Return prompts with each click that has no number on the object that is on show under it.

    Parameters
    ----------
    prompts : mapping of int to PromptSet
        By frame; all clicks lie on the frame.
    shown : mapping of int to ndarray, shape (H, W)
        The labels of these frames.
    """

    def placed(point: PointPrompt, labels: npt.NDArray[np.uint32]) -> PointPrompt:
        under = int(labels[math.floor(point.y + 0.5), math.floor(point.x + 0.5)])
        free = point.object_id is None and under
        return replace(point, object_id=under) if free else point

    return {
        frame: replace(found, points=tuple(placed(one, shown[frame]) for one in found.points))
        for frame, found in prompts.items()
    }


def _is_new(prompts: PromptSet, tracked: Container[int]) -> bool:
    """Return whether prompts name an object that is not known."""
    named = {point.object_id for point in prompts.points}
    named |= {mask.object_id for mask in prompts.masks}
    return bool(prompts.boxes) or any(id_ not in tracked for id_ in named if id_ is not None)


def _parts(prompts: Mapping[int, PromptSet]) -> Iterator[tuple[Hashable, int, PromptSet]]:
    """Yield the prompts object by object, each with a key that tells whether it has changed."""
    for frame, found in prompts.items():
        clicked: dict[int | None, PromptSet] = {}
        for point in found.points:
            known = clicked.get(point.object_id, PromptSet())
            clicked[point.object_id] = replace(known, points=(*known.points, point))
        for part in clicked.values():
            yield (frame, part.points), frame, part
        for box in found.boxes:
            yield (frame, box), frame, PromptSet(boxes=(box,))
        for mask in found.masks:
            pixels = (mask.object_id, mask.region, mask.mask.tobytes())
            yield (frame, pixels), frame, PromptSet(masks=(mask,))
        if found.exemplars:
            yield (frame, found.exemplars), frame, PromptSet(exemplars=found.exemplars)
        if found.text.strip():
            # On whichever slice: a phrase is looked for on all of them.
            yield found.text.strip(), frame, PromptSet(text=found.text)


def _joined(first: PromptSet, second: PromptSet) -> PromptSet:
    return PromptSet(
        points=first.points + second.points,
        boxes=first.boxes + second.boxes,
        masks=first.masks + second.masks,
    )

"""What is known of a propagation that stays open: its prompts, and the frames that are left."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING, TypeVar

from napari_sam3_assistant.core.options import PredictOptions
from napari_sam3_assistant.core.prompts import SEARCHES, MaskPrompt, PromptSet
from napari_sam3_assistant.core.tracks import Direction, FrameResult, Span
from napari_sam3_assistant.errors import ImageError, PromptError

if TYPE_CHECKING:
    from collections.abc import Container, Hashable, Iterable, Iterator, Mapping

    import numpy as np
    import numpy.typing as npt

    from napari_sam3_assistant.core.lineage import Lineage
    from napari_sam3_assistant.core.prompts import BoxPrompt, PointPrompt
    from napari_sam3_assistant.session.snapshots import StackSnapshot
    from napari_sam3_assistant.workflows.track import Tracking

T = TypeVar("T", "PointPrompt", "BoxPrompt", "MaskPrompt")


@dataclass(slots=True, eq=False)
class OpenTracking:
    """What the GUI thread knows of a propagation; the objects themselves are the worker's.

    ``tracking``: the objects. Only the worker thread calls it. None where a session was opened and
    the engine has not received them yet.
    ``stack``: the stack and the prompts that it began with.
    ``choice``: the engine, model folder, device and precision that it runs with.
    ``left``: the passes that the latest run has not done yet.
    ``done``: the frames that have a result.
    ``followed``: the objects that were looked for, by the numbers that the engine knows.
    ``given``: the prompts that it was given, run by run.
    ``prompted``: on which frames each object was prompted, by the numbers that the engine knows.
    """

    tracking: Tracking | None
    stack: StackSnapshot
    choice: tuple[str, ...]
    options: PredictOptions = field(default_factory=PredictOptions)
    left: tuple[range, ...] = ()
    done: set[int] = field(default_factory=set)
    followed: set[int] = field(default_factory=set)
    given: list[Mapping[int, PromptSet]] = field(default_factory=list)
    prompted: dict[int, frozenset[int]] = field(default_factory=dict)
    _origin: tuple[int, ...] = ()
    _known_prompts: set[Hashable] = field(default_factory=set)

    def __post_init__(self) -> None:
        self.note_prompts(self.stack.prompts)

    def note_prompts(self, prompts: Mapping[int, PromptSet]) -> None:
        """Record that prompts are given now."""
        self._origin = self._origin or tuple(sorted(prompts))
        new = {key for key, _, _ in _split_objects(prompts)} - self._known_prompts
        if new:
            self.given.append(prompts)
            self._known_prompts |= new

    def check_pixels(self) -> None:
        """Raise ImageError if the stack has other pixels than those that objects were found on."""
        name = self.stack.frames.view.replaced
        if name:
            raise ImageError(
                f"“{name}” was given other pixels: its propagation, which is of the earlier ones, "
                "can't go on.",
                "Press Start 3D Propagation for those that it has now.",
            )

    def next_from(self, shown: int) -> int:
        """Return the frame that the next one follows; without any left, the frame on show."""
        return next((order[0] - order.step for order in self.left if order), shown)

    @property
    def prompted_frames(self) -> set[int]:
        """The frames that were prompted, of those that are done."""
        return {frame for prompts in self.given for frame in prompts} & self.done

    def last_frames(self, shown: int) -> set[int]:
        """Return the frames before what is left; without any left, the frame on show."""
        return ({order[0] - order.step for order in self.left if order} or {shown}) & self.done

    @property
    def only_goes_back(self) -> bool:
        """Whether all that is left is to be done backward."""
        return {order.step for order in self.left} == {-1}

    @property
    def looked_for(self) -> PromptSet:
        """What is looked for on each frame: a phrase, or everything on each slice by itself."""
        for prompts in (prompts for by_frame in self.given for prompts in by_frame.values()):
            if prompts.joins_slices:
                return PromptSet(everything=prompts.everything)
            if prompts.text.strip() and not prompts.exemplars:
                return PromptSet(text=prompts.text.strip())
        return PromptSet()

    def find_new_prompts(self, prompts: Mapping[int, PromptSet]) -> dict[int, PromptSet]:
        """Return those prompts that were not given yet: the corrections.

        Raises PromptError if they look for objects, which a propagation does when it begins.
        """
        found: dict[int, PromptSet] = {}
        for key, frame, part in _split_objects(prompts):
            if key in self._known_prompts:
                continue
            if part.kinds & SEARCHES:
                raise PromptError(
                    "Phrases and examples look for objects when a propagation begins.",
                    "Press Start 3D Propagation, or correct with points, boxes or a mask.",
                )
            found[frame] = join_prompts(found.get(frame, PromptSet()), part)
        return found

    def advance(self, result: FrameResult) -> None:
        """Record that a frame is done: it is the next of a pass."""
        frame = result.frame
        self.done.add(frame)
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

        ``span``: the frames and the direction that the user chose.
        ``tracked``: the objects that are known.
        Returns with the direction ``both`` a new object spreads both ways. Corrections of known
        ones spread away from the slices that the propagation began on: what lies on the other side
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

    def find_remaining(self, passes: Iterable[range]) -> tuple[range, ...]:
        """Return what an earlier, stopped propagation left to do in other directions."""
        ways = {order.step for order in passes}
        return tuple(order for order in self.left if order.step not in ways)


def assign_clicks(
    prompts: Mapping[int, PromptSet], shown: Mapping[int, npt.NDArray[np.uint32]]
) -> dict[int, PromptSet]:
    """Return prompts with each click that has no number on the object that is on show under it.

    ``prompts``: by frame; all clicks lie on the frame.
    ``shown`` (shape (H, W)): the labels of these frames.
    """

    def placed(point: PointPrompt, labels: npt.NDArray[np.uint32]) -> PointPrompt:
        under = int(labels[math.floor(point.y + 0.5), math.floor(point.x + 0.5)])
        free = point.object_id is None and under
        return replace(point, object_id=under) if free else point

    return {
        frame: replace(found, points=tuple(placed(point, shown[frame]) for point in found.points))
        for frame, found in prompts.items()
    }


def rename_prompts(prompts: Mapping[int, PromptSet], lineage: Lineage) -> dict[int, PromptSet]:
    """Return prompts by frame with the numbers of objects that the engine knows."""

    def rename(prompt: T, frame: int) -> T:
        known = prompt.object_id
        return (
            prompt if known is None else replace(prompt, object_id=lineage.found_as(known, frame))
        )

    return {
        frame: replace(
            found,
            points=tuple(rename(point, frame) for point in found.points),
            boxes=tuple(rename(box, frame) for box in found.boxes),
            masks=tuple(rename(mask, frame) for mask in found.masks),
        )
        for frame, found in prompts.items()
    }


def _is_new(prompts: PromptSet, tracked: Container[int]) -> bool:
    """Return whether prompts name an object that is not known."""
    named = {point.object_id for point in prompts.points}
    named |= {mask.object_id for mask in prompts.masks}
    return bool(prompts.boxes) or any(id_ not in tracked for id_ in named if id_ is not None)


def _split_objects(prompts: Mapping[int, PromptSet]) -> Iterator[tuple[Hashable, int, PromptSet]]:
    """Yield the prompts object by object, each with a key that changes with them."""
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
        if found.everything is not None:
            yield found.everything, frame, PromptSet(everything=found.everything)


def join_prompts(first: PromptSet, second: PromptSet) -> PromptSet:
    """Return the prompts of both, with the text of the first."""
    return PromptSet(
        points=first.points + second.points,
        boxes=first.boxes + second.boxes,
        masks=first.masks + second.masks,
        text=first.text,
        everything=first.everything,
    )

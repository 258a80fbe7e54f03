"""What the tracks of SAM share, whichever package does the work: turns, stops and seeds."""

from __future__ import annotations

import shutil
import tempfile
from abc import ABC, abstractmethod
from collections import defaultdict
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from napari_sam3_assistant.engines.device import free_cache
from napari_sam3_assistant.engines.sam3.mask_decoder import to_records
from napari_sam3_assistant.engines.sam3.together import run_together
from napari_sam3_assistant.errors import PromptError

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
    from contextlib import AbstractContextManager

    import torch

    from napari_sam3_assistant.core.display import FrameSource
    from napari_sam3_assistant.core.progress import Reporter
    from napari_sam3_assistant.core.results import ObjectRecord
    from napari_sam3_assistant.core.tracks import TrackedFrame, TrackSeed
    from napari_sam3_assistant.engines.sam3.together import Network


M = TypeVar("M")


class TrackedPrompts(ABC):
    """A prompted object and what the tracker remembers of it.

    ``pending``: the prompts that were not read yet, by frame.
    ``text``: the phrase that found it.
    """

    def __init__(self) -> None:
        self.pending: dict[int, TrackSeed] = {}
        self.text = ""

    @property
    @abstractmethod
    def read(self) -> Collection[int]:
        """The frames whose prompts were read."""

    @abstractmethod
    def forget(self) -> None:
        """Give back the place in the file; the object is not used any more."""

    def takes_part(self, frame: int, *, reverse: bool) -> bool:
        """Return whether a prompted frame lies on the way to a frame."""
        prompted = {*self.read, *self.pending}
        return any(frame <= own if reverse else frame >= own for own in prompted)

    def is_known_at(self, frame: int) -> bool:
        """Return whether the frame's mask is there, without looking at the frame."""
        return frame in self.read and frame not in self.pending


F = TypeVar("F", bound=TrackedPrompts)

# So much of the disk stays free for others.
_SPARE_BYTES = 2**30


@dataclass(frozen=True, slots=True)
class Slot:
    """A place in a :class:`MemoryFile`, in bytes."""

    start: int
    size: int


class MemoryFile:
    """What a tracker remembers of the frames that it is far from, on the disk.

    A correction may come on any frame, and there the tracker looks at what it remembers of the
    frames before: 0.7 MB of an object and frame at full size, too much of a long stack to keep in
    memory. The file has no name of its own and goes with the process.
    """

    def __init__(self) -> None:
        self._file: Any = None
        self._end = 0
        self._free: defaultdict[int, list[Slot]] = defaultdict(list)

    def write(self, tensors: Mapping[str, torch.Tensor]) -> Slot | None:
        """Keep tensors and return where they are; None where the disk has no room for them."""
        from safetensors.torch import save

        data = save({name: tensor.contiguous() for name, tensor in tensors.items()})
        free = self._free[len(data)]
        slot = free[-1] if free else Slot(self._end, len(data))
        try:
            if self._file is None:
                self._file = tempfile.TemporaryFile(buffering=0)  # noqa: SIM115 - see close
            if shutil.disk_usage(tempfile.gettempdir()).free < _SPARE_BYTES:
                return None
            self._file.seek(slot.start)
            if self._file.write(data) < len(data):
                return None
        except OSError:
            # A full disk costs the memory of a frame, not the work.
            return None
        if free:
            free.pop()
        self._end = max(self._end, slot.start + slot.size)
        return slot

    def read(self, slot: Slot) -> dict[str, torch.Tensor]:
        """Return the tensors of a place, in the memory of the computer."""
        from safetensors.torch import load

        self._file.seek(slot.start)
        tensors: dict[str, torch.Tensor] = load(self._file.read(slot.size))
        return tensors

    def free(self, slot: Slot) -> None:
        """Free a slot for reuse."""
        self._free[slot.size].append(slot)

    def close(self) -> None:
        """Remove the file."""
        if self._file is not None:
            self._file.close()
        self._file, self._end = None, 0
        self._free.clear()


class SavedFrames:
    """The far frames of one object in a :class:`MemoryFile`.

    ``file``: without it nothing is saved.
    """

    def __init__(self, file: MemoryFile | None) -> None:
        self._file = file
        self._slots: dict[int, Slot] = {}

    def __contains__(self, frame: int) -> bool:
        return frame in self._slots

    def __iter__(self) -> Iterator[int]:
        return iter(self._slots)

    def save(self, frame: int, tensors: Mapping[str, torch.Tensor]) -> None:
        """Keep the tensors of a frame that is not saved, if the disk has room for them."""
        slot = self._file.write(tensors) if self._file is not None else None
        if slot is not None:
            self._slots[frame] = slot

    def load(self, frame: int) -> dict[str, torch.Tensor]:
        """Return the tensors of a frame that is saved, in the memory of the computer."""
        if self._file is None:
            raise KeyError(frame)
        return self._file.read(self._slots[frame])

    def forget(self, frame: int) -> None:
        """Let go of a frame: it is out of date."""
        slot = self._slots.pop(frame, None)
        if slot is not None and self._file is not None:
            self._file.free(slot)

    def clear(self) -> None:
        """Let go of all frames."""
        for frame in list(self._slots):
            self.forget(frame)


def check_says_where(seed: TrackSeed, how: str) -> None:
    """Refuse a first prompt that says only what does not belong to its object."""
    if not (seed.mask or seed.box or any(point.positive for point in seed.points)):
        raise PromptError(f"All points of object {seed.object_id} are negative.", how)


@dataclass(frozen=True, slots=True, eq=False)
class TrackContext(Generic[M]):
    """What a track works with; generic in the loaded model.

    ``working``: returns a context in which the model can be called.
    ``new_id``: returns the next free object id.
    ``together``: so many objects go through a network of the model at once.
    """

    frames: FrameSource
    working: Callable[[], AbstractContextManager[M]]
    new_id: Callable[[], int]
    together: int = 1


class Sam3Track(Generic[M]):
    """Follows objects through a stack with one copy of the weights.

    ``context``: the stack and the model.
    """

    def __init__(self, context: TrackContext[M]) -> None:
        self._frames = context.frames
        self._working = context.working
        self._new_id = context.new_id
        self._together = context.together
        # Objects of phrases that were removed, or are prompted ones by now.
        self._hidden: set[int] = set()


H = TypeVar("H")


class HeldFrames(Generic[H]):
    """What was found on frames and is held back; generic in what is kept of a frame.

    A video model of phrases knows only some frames on which of its objects are false
    (``hotstart_delay``). What is held back when the work is stopped is not computed again when it
    goes on.
    """

    def __init__(self) -> None:
        self._frames: dict[int, H] = {}
        self._step = 0

    def __len__(self) -> int:
        return len(self._frames)

    def clear(self) -> None:
        """Let go of all of it: what is found may be others now."""
        self._frames.clear()

    def continue_with(self, order: range) -> bool:
        """Return whether a pass goes on within the frames that are held; else let go of them."""
        if self._step != order.step or order.start not in self._frames:
            self._frames.clear()
            self._step = order.step
            return False
        self._frames = {frame: found for frame, found in self._frames.items() if frame in order}
        return True

    def pass_through(
        self,
        order: range,
        delay: int,
        search: Callable[[int], H],
        finish: Callable[[int, H], TrackedFrame],
        reporter: Reporter,
    ) -> Iterator[TrackedFrame]:
        """Yield what is on each frame of an order, and keep ``delay`` frames back until its end."""
        for frame in order:
            if frame not in self._frames:
                self._frames[frame] = search(frame)
            while self._frames and (len(self._frames) >= delay or frame == order[-1]):
                reporter.check()
                first = next(iter(self._frames))
                found = finish(first, self._frames[first])
                del self._frames[first]
                yield found


class ObjectTrack(Sam3Track[M], ABC, Generic[M, F]):
    """A track that keeps prompted objects apart, each with what is remembered of it.

    So they may be prompted on different frames, corrected and removed without the others.
    """

    def __init__(self, context: TrackContext[M]) -> None:
        super().__init__(context)
        self._objects: dict[int, F] = {}
        self._file = MemoryFile()
        self._held: HeldFrames[Any] = HeldFrames()

    def add(self, seed: TrackSeed) -> None:
        """Take what names an object on a frame; it is read when the frame is."""
        object_ = self._objects.get(seed.object_id)
        if object_ is None:
            check_says_where(seed, "Add a positive point on it, draw a box round it, or paint it.")
            with self._working() as model:
                object_ = self._objects[seed.object_id] = self._new_object(model)
        object_.text = seed.text or object_.text
        object_.pending[seed.frame] = seed
        # From here on the object is the tracker's; the phrase's one is not shown twice.
        self._hidden.add(seed.object_id)
        self._held.clear()

    def remove(self, object_id: int) -> None:
        """Forget an object; one of a phrase is not shown any more."""
        object_ = self._objects.pop(object_id, None)
        if object_ is not None:
            object_.forget()
        self._hidden.add(object_id)
        self._held.clear()

    def close(self) -> None:
        """Let go of all memory, and give it back to the device."""
        self._file.close()
        self._objects.clear()
        self._held.clear()
        free_cache()

    @abstractmethod
    def _new_object(self, model: M) -> F:
        """Return an object of which nothing is known."""

    def _frames_to_read(self) -> list[int]:
        """Return the frames with prompts that were not read yet."""
        return sorted({frame for object_ in self._objects.values() for frame in object_.pending})

    def _objects_to_read(self, frame: int) -> list[F]:
        """Return the objects with a prompt on a frame that was not read yet."""
        return [object_ for object_ in self._objects.values() if frame in object_.pending]

    def _objects_to_find(self, frame: int, *, reverse: bool) -> dict[int, F]:
        """Return the objects to look for on a frame, by id."""
        return {
            id_: object_
            for id_, object_ in sorted(self._objects.items())
            if object_.takes_part(frame, reverse=reverse)
        }

    def _follow_objects(
        self,
        sought: dict[int, F],
        follow: Callable[[F], tuple[torch.Tensor, float]],
        networks: Sequence[Network],
        reporter: Reporter,
    ) -> list[ObjectRecord]:
        """Return the objects that are found on a frame; ``follow`` calls these networks."""
        records: list[ObjectRecord] = []
        objects = list(sought.items())
        for first in range(0, len(objects), self._together):
            reporter.check()
            some = objects[first : first + self._together]
            found = run_together([partial(follow, object_) for _, object_ in some], networks)
            for (id_, object_), (low, score) in zip(some, found, strict=True):
                new = to_records(
                    low[None],
                    [score],
                    self._frames.shape,
                    cutoff=0.0,
                    reporter=reporter,
                    text=object_.text,
                )
                records += [replace(record, id=id_) for record in new]
        return records

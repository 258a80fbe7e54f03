"""Objects through the frames of a stack: what names them, and what is found."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

import numpy as np

from napari_sam3_assistant.errors import PromptError

if TYPE_CHECKING:
    import numpy.typing as npt

    from napari_sam3_assistant.core.prompts import MaskPrompt, PointPrompt
    from napari_sam3_assistant.core.regions import Region
    from napari_sam3_assistant.core.results import ObjectRecord, Provenance


class Direction(StrEnum):
    """Which way the prompts spread through the frames."""

    BOTH = "both"
    FORWARD = "forward"
    BACKWARD = "backward"

    @property
    def reverses(self) -> tuple[bool, ...]:
        """The passes that it takes: False for forward, True for backward."""
        return {"both": (False, True), "forward": (False,), "backward": (True,)}[self]


@dataclass(frozen=True, slots=True)
class Span:
    """Which frames to go through.

    Parameters
    ----------
    direction : Direction
        From the prompts on, which way.
    first, last : int or None
        The first and the last frame, both included; None for the ends of the stack.
    start : int or None
        The frame to begin at, to go on from earlier results; None for the prompted frames.
    stop_after_lost : int or None
        A pass ends when all objects are gone for so many frames; None to go to the end.

    Raises
    ------
    PromptError
        If they contradict each other.
    """

    direction: Direction = Direction.BOTH
    first: int | None = None
    last: int | None = None
    start: int | None = None
    stop_after_lost: int | None = None

    def __post_init__(self) -> None:
        if self.stop_after_lost is not None and self.stop_after_lost < 1:
            raise PromptError(
                f"Propagation can't stop after {self.stop_after_lost} frames without objects.",
                "Give 1 or more, or leave it out to go to the end.",
            )

    def within(self, length: int) -> range:
        """Return the frames of the span in a stack of some length.

        Raises
        ------
        PromptError
            If the stack has no such frames, or ``start`` is none of them.
        """
        first = 0 if self.first is None else self.first
        last = length - 1 if self.last is None else self.last
        if not 0 <= first <= last < length:
            raise PromptError(
                f"There are no frames {first} to {last} in a stack of {length}.",
                f"Choose a range within 0 to {length - 1}.",
            )
        if self.start is not None and not first <= self.start <= last:
            raise PromptError(
                f"Frame {self.start} lies outside the frames {first} to {last}.",
                "Begin at one of them, or widen the range.",
            )
        return range(first, last + 1)


@dataclass(frozen=True, slots=True, eq=False)
class Seed:
    """What names one object on one frame.

    Parameters
    ----------
    frame : int
        The frame, from 0.
    object_id : int
        The object, from 1.
    points : tuple of PointPrompt
        Clicks on it, and off it.
    box : Region or None
        A box round it.
    mask : MaskPrompt or None
        Its pixels on this frame.
    score : float or None
        Confidence of what found it.
    text : str
        The phrase that found it.
    """

    frame: int
    object_id: int
    points: tuple[PointPrompt, ...] = ()
    box: Region | None = None
    mask: MaskPrompt | None = None
    score: float | None = None
    text: str = ""


@dataclass(frozen=True, slots=True, eq=False)
class TrackedFrame:
    """What an engine answers for one frame.

    Parameters
    ----------
    frame : int
        The frame, from 0.
    objects : tuple of ObjectRecord
        The objects that are there, with their ids through the stack.
    tracked : frozenset of int
        The ids of all objects that were looked for on this frame.
    """

    frame: int
    objects: tuple[ObjectRecord, ...]
    tracked: frozenset[int]


@dataclass(frozen=True, slots=True, eq=False)
class FrameResult:
    """The result of one frame.

    Parameters
    ----------
    frame : int
        The frame, from 0.
    labels : ndarray, shape (Y, X), dtype uint32
        Object ids; 0 is background.
    objects : tuple of ObjectRecord
        The objects that are there; an id is the same object on all frames.
    tracked : frozenset of int
        The ids of all objects that were looked for. Who holds an earlier result of this frame
        keeps the other objects of it.
    engine : Provenance
        What made the result.
    notes : tuple of str
        What the user should know, with the first frame of a run.
    """

    frame: int
    labels: npt.NDArray[np.uint32]
    objects: tuple[ObjectRecord, ...]
    tracked: frozenset[int]
    engine: Provenance
    notes: tuple[str, ...] = ()

    def over(self, before: npt.NDArray[np.uint32]) -> npt.NDArray[np.uint32]:
        """Return an earlier result of this frame, with what is new.

        Parameters
        ----------
        before : ndarray, shape (Y, X), dtype uint32
            Object ids; objects in it that were not looked for are kept.
        """
        # Labels are small numbers: looked up in a table, which is faster than np.isin.
        goes = np.zeros(int(before.max()) + 1, bool)
        goes[[id_ for id_ in self.tracked if id_ < goes.size]] = True
        return np.where((self.labels != 0) | goes[before], self.labels, before)

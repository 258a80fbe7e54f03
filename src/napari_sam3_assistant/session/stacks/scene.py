"""What a propagation asks of the place where images, prompts and results live."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    import numpy as np
    import numpy.typing as npt

    from napari_sam3_assistant.core.axes import Axes
    from napari_sam3_assistant.core.frames import FrameSource
    from napari_sam3_assistant.core.prompts import PromptKind, PromptSet
    from napari_sam3_assistant.core.regions import Region
    from napari_sam3_assistant.core.tracks import FrameResult
    from napari_sam3_assistant.session.model import PromptCounts
    from napari_sam3_assistant.session.stacks.values import StackTarget


@dataclass(frozen=True, slots=True, eq=False)
class StackShot:
    """A stack and the prompts on it, frozen.

    Parameters
    ----------
    target : StackTarget
        The image, the plane on show, and the axis of the frames.
    frame : int
        The frame on show.
    frames : FrameSource
        The stack, as the model shall see it.
    prompts : mapping of int to PromptSet
        The prompts of the kind that was asked for, by frame, in pixels of the plane.
    paths : mapping of int to Path
        The files of the images, by the token of their source.
    """

    target: StackTarget
    frame: int
    frames: FrameSource
    prompts: Mapping[int, PromptSet]
    paths: Mapping[int, Path] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, eq=False)
class StackPixels:
    """The labels of a propagation as they are on show.

    Parameters
    ----------
    shape : tuple of int
        Number of frames, height and width.
    read : callable
        Returns a frame's object ids, shape (H, W); any thread may call it.
    labels : ndarray of int, shape (F, H, W), or None
        All of them, sharing memory with the layer; None where they are on disk.
    axes : tuple of Axis
        What a file can say of their place; the axis of the frames is z, or t where it is named so.
    """

    shape: tuple[int, int, int]
    read: Callable[[int], npt.NDArray[np.uint32]]
    labels: npt.NDArray[np.uint32] | None
    axes: Axes


@dataclass(frozen=True, slots=True, eq=False)
class StackCopy:
    """A copy of propagated labels on its way.

    Parameters
    ----------
    frames : tuple of int
        The frames to copy.
    copy : callable
        Copies one frame; any thread may call it.
    add : callable
        Adds the copy as a layer and returns its name. GUI thread only.
    """

    frames: tuple[int, ...]
    copy: Callable[[int], None]
    add: Callable[[], str]


class Stacks(Protocol):
    """Stacks, prompts on all of their slices, and labels that fill up. GUI thread only."""

    def take(self, image: str, kind: PromptKind, axis: int) -> StackShot:
        """Freeze a stack and the prompts of one kind on all of its slices.

        Raises
        ------
        ImageError
            If the image is gone or has no such axis.
        """

    def count(self, image: str, kind: PromptKind, axis: int) -> PromptCounts:
        """Return how many prompts of one kind lie on all slices of a stack."""

    def left_on_show(self) -> StackTarget | None:
        """Return what the labels belong to that an earlier session has left on show, or None."""

    def show(self, stack: StackTarget, result: FrameResult) -> None:
        """Write a frame into the propagated labels, which the first frame makes.

        Raises
        ------
        ImageError
            If the layer can't be made, or is gone.
        """

    def plane(self, stack: StackTarget, frame: int) -> npt.NDArray[np.uint32]:
        """Return a copy of the labels of a frame, shape (H, W)."""

    def erase(self, stack: StackTarget, object_id: int, where: Mapping[int, Region]) -> None:
        """Take an object out of the labels, given its bounding box on each frame."""

    def remove(self) -> None:
        """Remove the propagated labels."""

    def finish(self) -> None:
        """Draw what was put off while frames came in."""

    def pixels(self, stack: StackTarget) -> StackPixels:
        """Return the propagated labels as they are on show.

        Raises
        ------
        ImageError
            If the layer is gone.
        """

    def copy(self, stack: StackTarget) -> StackCopy:
        """Begin to copy the propagated labels into a saved layer.

        Raises
        ------
        ImageError
            If the layer is gone.
        """

    def hand_over(self, stack: StackTarget) -> str:
        """Make the propagated labels themselves a saved layer; returns its name.

        Raises
        ------
        ImageError
            If the layer is gone.
        """

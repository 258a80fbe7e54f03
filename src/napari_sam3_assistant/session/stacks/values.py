"""What a propagation is of, and what it has found: values."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from napari_sam3_assistant.core.regions import Region
    from napari_sam3_assistant.session.model import Target


@dataclass(frozen=True, slots=True)
class StackTarget:
    """Where the results of a propagation belong.

    Parameters
    ----------
    target : Target
        The image, and the plane on show when it began: the other leading axes stay there.
    axis : int
        Number of the array's axis that the frames lie along.
    """

    target: Target
    axis: int

    def at(self, frame: int) -> Target:
        """Return the place of one frame."""
        plane = self.target.plane
        leading = list(plane.leading)
        leading[self.target.axes.leading.index(self.axis)] = frame
        return replace(self.target, plane=replace(plane, leading=tuple(leading)))


@dataclass(frozen=True, slots=True)
class FrameObject:
    """One object on one frame, without its mask: that is in the labels.

    Parameters
    ----------
    id : int
        The object, the same on all frames.
    region : Region
        Its bounding box in the plane.
    area : int
        Number of pixels.
    score : float or None
        Confidence, 0 to 1, where the engine gives one.
    text : str
        The phrase that found it; empty for other prompts.
    """

    id: int
    region: Region
    area: int
    score: float | None = None
    text: str = ""


@dataclass(frozen=True, slots=True)
class FramePlace:
    """One frame of a propagation.

    Parameters
    ----------
    target : Target
        The image and the plane.
    """

    target: Target

    @property
    def slot(self) -> tuple[str, str]:
        """The image, and no label: there is one propagation an image."""
        return (self.target.image, "")

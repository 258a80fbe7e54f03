"""What the user can choose from: images, layers, axes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from napari_sam3_assistant.core.tasks import Tool


@dataclass(frozen=True, slots=True)
class ImageChoice:
    """An image that can be chosen.

    Parameters
    ----------
    key : str
        Its identity; survives renaming.
    name : str
        Its name for the user.
    summary : str
        Its size and how its axes are read, for the user.
    shape : tuple of int
        Height and width of the plane on show; 0 where there is none.
    note : str
        Which plane is segmented, where the view shows more than one; empty where it is plain.
    why_not : str
        Why no plane of it can be segmented now, and what to do; empty if one can.
    """

    key: str
    name: str
    summary: str
    shape: tuple[int, int] = (0, 0)
    note: str = ""
    why_not: str = ""


@dataclass(frozen=True, slots=True)
class LayerChoice:
    """A layer that prompts can be taken from.

    Parameters
    ----------
    key : str
        Its identity; survives renaming.
    name : str
        Its name for the user.
    tool : Tool
        What its type is for: points, boxes or a mask.
    """

    key: str
    name: str
    tool: Tool


@dataclass(frozen=True, slots=True)
class FrameAxis:
    """An axis of an image that objects can be followed along.

    Parameters
    ----------
    number : int
        Number of the array's axis.
    name : str
        Its label, or its number, for the user.
    length : int
        How many frames there are.
    """

    number: int
    name: str
    length: int

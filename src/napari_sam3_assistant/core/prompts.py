"""Prompts (clicks, boxes, painted masks, examples, phrases) and the tasks that take them.

Coordinates are pixels of the image plane, y before x, pixel centres at integers.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from napari_sam3_assistant.core.regions import Region
from napari_sam3_assistant.errors import PromptError

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy.typing as npt


MOST_ID = 10**9
"""The largest id of an object; engines count in 32 bits, and number on from there."""


class PromptKind(StrEnum):
    """The kinds of prompt that an engine may accept."""

    POINTS = "points"
    BOXES = "boxes"
    MASK = "mask"
    EXEMPLARS = "exemplars"
    TEXT = "text"


@dataclass(frozen=True, slots=True)
class PointPrompt:
    """A click.

    Parameters
    ----------
    y, x : float
        Position in pixels.
    positive : bool
        True where the pixel belongs to the object, False where it does not.
    object_id : int or None
        Which object of a stack it is on, from 1; None where there is only one to click on.
    """

    y: float
    x: float
    positive: bool = True
    object_id: int | None = None


Corners = tuple[float, float, float, float]


@dataclass(frozen=True, slots=True)
class _Rectangle:
    """A box as it was drawn, and the pixels that it holds."""

    region: Region
    drawn: Corners | None = field(default=None, kw_only=True)

    @classmethod
    def from_box(cls, box: Sequence[float], **options: Any) -> Self:  # noqa: ANN401
        """Return the prompt of a box ``(y0, x0, y1, x1)`` in pixels, ends exclusive.

        Its region is the pixels whose centres the box encloses, or touches where it encloses none.

        Parameters
        ----------
        box : sequence of float
            In any corner order; fractions are kept.
        **options
            The other parameters of the prompt.

        Raises
        ------
        PromptError
            If the box has not four finite numbers, or no area.
        """
        touched = Region.from_box(box)
        (y0, y1), (x0, x1) = sorted((box[0], box[2])), sorted((box[1], box[3]))
        drawn = (float(y0), float(x0), float(y1), float(x1))
        region = Region.enclosed_by(drawn)
        if region.is_empty:
            region = touched
        return cls(region, drawn=None if drawn == region.box else drawn, **options)

    @property
    def corners(self) -> Corners:
        """``(y0, x0, y1, x1)`` as it was drawn, ends exclusive, for models that take fractions."""
        return self.region.box if self.drawn is None else self.drawn

    def cut(self, region: Region) -> Self:
        """Return the part inside a region; empty where they share nothing."""
        drawn = None
        if self.drawn is not None:
            y0, x0, y1, x1 = self.drawn
            y0, y1 = (min(max(y, region.y0), region.y1) for y in (y0, y1))
            x0, x1 = (min(max(x, region.x0), region.x1) for x in (x0, x1))
            drawn = (y0, x0, y1, x1)
        return replace(self, region=self.region.intersect(region), drawn=drawn)

    def shift(self, dy: int, dx: int) -> Self:
        """Return it moved by whole pixels."""
        drawn = None
        if self.drawn is not None:
            y0, x0, y1, x1 = self.drawn
            drawn = (y0 + dy, x0 + dx, y1 + dy, x1 + dx)
        return replace(self, region=self.region.shift(dy, dx), drawn=drawn)

    def localise(self, origin: Region) -> Self:
        """Return it as counted from the first pixel of ``origin``."""
        return self.shift(-origin.y0, -origin.x0)


@dataclass(frozen=True, slots=True)
class BoxPrompt(_Rectangle):
    """A box around one object.

    Parameters
    ----------
    region : Region
        The pixels inside the box.
    object_id : int or None
        Which object of a stack it is round, from 1; None for a new one.
    drawn : tuple of float or None
        ``(y0, x0, y1, x1)`` of the box in pixels, ends exclusive, where they are no whole numbers;
        None for the outline of ``region``.
    """

    object_id: int | None = None


@dataclass(frozen=True, slots=True)
class ExemplarPrompt(_Rectangle):
    """A box around an example of the things to find everywhere.

    Parameters
    ----------
    region : Region
        The pixels inside the box.
    positive : bool
        False for an example of what must not be found.
    drawn : tuple of float or None
        ``(y0, x0, y1, x1)`` of the box in pixels, ends exclusive, where they are no whole numbers;
        None for the outline of ``region``.
    """

    positive: bool = True


@dataclass(frozen=True, slots=True, eq=False)
class MaskPrompt:
    """A painted mask of one object.

    Parameters
    ----------
    mask : ndarray, shape (h, w), dtype bool
        The painted pixels, cropped to ``region``.
    region : Region
        Where the crop lies in the plane.
    object_id : int or None
        Which object of a stack it is, from 1; None for a new one.
    """

    mask: npt.NDArray[np.bool_]
    region: Region
    object_id: int | None = None

    @classmethod
    def from_plane(cls, mask: npt.NDArray[np.generic], object_id: int | None = None) -> MaskPrompt:
        """Return the non-zero pixels of a whole plane, cropped to their bounding box.

        Parameters
        ----------
        mask : ndarray, shape (H, W)
            Non-zero where painted.
        object_id : int or None
            Which object of a stack it is.

        Raises
        ------
        PromptError
            If nothing is painted.
        """
        painted = np.asarray(mask) != 0
        region = Region.around(painted)
        if region.is_empty:
            raise PromptError("The mask is empty.", "Paint over the object first.")
        return cls(painted[region.slices].copy(), region, object_id)

    def to_plane(self, shape: tuple[int, int]) -> npt.NDArray[np.bool_]:
        """Return the painted pixels in a plane, those beyond its sides left out.

        Parameters
        ----------
        shape : tuple of int
            Height and width of the plane.

        Returns
        -------
        ndarray, shape (H, W), dtype bool
            True where painted.
        """
        plane = np.zeros(shape, bool)
        inside = self.region.intersect(Region.whole(shape))
        plane[inside.slices] = self.mask[inside.localise(self.region).slices]
        return plane


@dataclass(frozen=True, slots=True, eq=False)
class PromptSet:
    """All prompts of one run.

    Parameters
    ----------
    points : tuple of PointPrompt
        Clicks on one object.
    boxes : tuple of BoxPrompt
        One object each.
    masks : tuple of MaskPrompt
        One object each.
    exemplars : tuple of ExemplarPrompt
        Examples of what to find in the whole plane.
    text : str
        A short phrase; empty for none.
    """

    points: tuple[PointPrompt, ...] = ()
    boxes: tuple[BoxPrompt, ...] = ()
    masks: tuple[MaskPrompt, ...] = ()
    exemplars: tuple[ExemplarPrompt, ...] = ()
    text: str = ""

    @property
    def kinds(self) -> frozenset[PromptKind]:
        """The kinds of prompt in this set."""
        given = {
            PromptKind.POINTS: self.points,
            PromptKind.BOXES: self.boxes,
            PromptKind.MASK: self.masks,
            PromptKind.EXEMPLARS: self.exemplars,
            PromptKind.TEXT: self.text.strip(),
        }
        return frozenset(kind for kind, prompts in given.items() if prompts)

    @property
    def most_points(self) -> int:
        """The most clicks that are on one object."""
        counts = Counter(point.object_id for point in self.points)
        return max(counts.values(), default=0)

    def check(self, shape: tuple[int, int]) -> None:
        """Raise unless the prompts can be used on a plane.

        Parameters
        ----------
        shape : tuple of int
            Height and width of the plane in pixels.

        Raises
        ------
        PromptError
            If there is no prompt, a coordinate is not finite, a point lies outside the
            plane, a box, example or mask does not touch it, or an object's id is too large.
        """
        if not self.kinds:
            raise PromptError(
                "No prompts found.", "Add text, points, boxes, a painted mask or an example box."
            )
        plane = Region.whole(shape)
        size = f"{shape[0]} x {shape[1]} (height x width)"
        for point in self.points:
            if not (math.isfinite(point.y) and math.isfinite(point.x)):
                raise PromptError(
                    f"The point ({point.y}, {point.x}) is not a finite position.",
                    "Give y and x in pixels.",
                )
            if not plane.holds(point.y, point.x):
                raise PromptError(
                    f"The point ({point.y:g}, {point.x:g}) lies outside the image of {size}.",
                    "Give y before x, in pixels, inside the image.",
                )
        named = [point.object_id for point in self.points]
        named += [box.object_id for box in self.boxes]
        named += [mask.object_id for mask in self.masks]
        for id_ in named:
            if id_ is not None and not 1 <= id_ <= MOST_ID:
                raise PromptError(
                    f"The object id {id_} can't be used.", f"Number objects from 1 to {MOST_ID}."
                )
        regions = [prompt.region for prompt in self.boxes]
        regions += [prompt.region for prompt in self.exemplars]
        regions += [prompt.region for prompt in self.masks]
        for region in regions:
            if region.intersect(plane).is_empty:
                raise PromptError(
                    f"The box {region.box} lies outside the image of {size}.",
                    "Give (y0, x0, y1, x1) in pixels, inside the image.",
                )

    def localise(self, region: Region) -> PromptSet:
        """Return the prompts that touch ``region``, counted from its first pixel.

        Points outside are left out; boxes, examples and masks are cut to the region.
        """
        masks = []
        for prompt in self.masks:
            kept = prompt.region.intersect(region)
            if not kept.is_empty:
                crop = prompt.mask[kept.localise(prompt.region).slices]
                masks.append(MaskPrompt(crop, kept.localise(region), prompt.object_id))
        return replace(
            self,
            points=tuple(
                replace(point, y=point.y - region.y0, x=point.x - region.x0)
                for point in self.points
                if region.holds(point.y, point.x)
            ),
            boxes=tuple(
                box.localise(region)
                for box in (prompt.cut(region) for prompt in self.boxes)
                if not box.region.is_empty
            ),
            exemplars=tuple(
                example.localise(region)
                for example in (prompt.cut(region) for prompt in self.exemplars)
                if not example.region.is_empty
            ),
            masks=tuple(masks),
        )


class Task(StrEnum):
    """What the user wants done."""

    SEGMENT = "2d_segmentation"
    TEXT = "text_segmentation"
    LIVE_POINTS = "refinement"
    EXEMPLAR = "exemplar_segmentation"
    VIDEO = "3d_video_propagation"


class Tool(StrEnum):
    """What the user prompts with."""

    POINTS = "points"
    BOX = "box"
    MASK = "mask"
    TEXT = "text"
    EXAMPLE = "example"


_TOOLS = {
    Task.SEGMENT: (Tool.POINTS, Tool.BOX, Tool.MASK, Tool.TEXT),
    Task.TEXT: (Tool.TEXT,),
    Task.LIVE_POINTS: (Tool.POINTS,),
    Task.EXEMPLAR: (Tool.BOX,),
    Task.VIDEO: (Tool.POINTS, Tool.BOX, Tool.MASK, Tool.TEXT, Tool.EXAMPLE),
}

_KINDS = {
    Tool.POINTS: PromptKind.POINTS,
    Tool.BOX: PromptKind.BOXES,
    Tool.MASK: PromptKind.MASK,
    Tool.TEXT: PromptKind.TEXT,
    Tool.EXAMPLE: PromptKind.EXEMPLARS,
}


def tools_of(task: Task) -> tuple[Tool, ...]:
    """Return the tools that a task offers, its default first."""
    return _TOOLS[task]


def prompt_kind(task: Task, tool: Tool) -> PromptKind:
    """Return the one kind of prompt that a task takes from a tool.

    A box is one object for the 2D task, and an example of what to find for the exemplar task.
    """
    if task is Task.EXEMPLAR and tool is Tool.BOX:
        return PromptKind.EXEMPLARS
    return _KINDS[tool]


def layer_tool(tool: Tool) -> Tool:
    """Return the tool whose layer a tool draws in: examples are boxes."""
    return Tool.BOX if tool is Tool.EXAMPLE else tool


def parse_phrases(text: str) -> tuple[str, ...]:
    """Return the phrases of a text in their order, each once.

    Parameters
    ----------
    text : str
        One phrase a line. Empty lines are left out, and what follows a ``#``. Phrases that
        differ only in case or spaces are the same; the first one stays.
    """
    phrases: dict[str, str] = {}
    for line in text.splitlines():
        phrase = " ".join(line.partition("#")[0].split())
        if phrase:
            phrases.setdefault(phrase.casefold(), phrase)
    return tuple(phrases.values())


_VERBS = ("segment", "detect", "find")
_QUANTIFIERS = (" all of the", " all the", " the", " all", "")
# Longest first: "segment all the cells" loses "segment all the", not "segment all".
_INSTRUCTIONS = tuple(verb + quantifier for quantifier in _QUANTIFIERS for verb in _VERBS)
_PUNCTUATION = " .,:;-"


def clean_phrase(text: str) -> str:
    """Return the short noun phrase in an instruction.

    White space is collapsed, one leading instruction such as "segment all the" is left out
    where something remains, and punctuation at both ends goes.

    Parameters
    ----------
    text : str
        What the user typed, such as ``"Segment all the myelin rings."``.

    Returns
    -------
    str
        Such as ``"myelin rings"``; the text itself where nothing else would remain.
    """
    collapsed = " ".join(text.split())
    phrase = collapsed
    for instruction in _INSTRUCTIONS:
        match = re.match(rf"{instruction} (?=.*\w)", collapsed, re.IGNORECASE)
        if match:
            phrase = collapsed[match.end() :]
            break
    return phrase.strip(_PUNCTUATION) or collapsed

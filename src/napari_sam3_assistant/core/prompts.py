"""Prompts (clicks, boxes, painted masks, examples, phrases) and the tasks that take them.

Coordinates are pixels of the image plane, y before x, pixel centres at integers.
"""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass, field, replace
from enum import StrEnum
from itertools import count
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from napari_sam3_assistant.core.regions import Region
from napari_sam3_assistant.errors import PromptError

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    import numpy.typing as npt


MOST_ID = 10**9
"""The largest id of an object; engines count in 32 bits, and number on from there."""


def free_id(taken: Collection[int]) -> int:
    """Return an object id above all that are taken; the lowest free one where none is left there.

    Parameters
    ----------
    taken : collection of int
        Labels of other tools may have the highest number of all.
    """
    after = max(taken, default=0) + 1
    if after <= MOST_ID:
        return after
    known = frozenset(taken)
    return next(id_ for id_ in count(1) if id_ not in known)


class PromptKind(StrEnum):
    """The kinds of prompt that an engine may accept."""

    POINTS = "points"
    BOXES = "boxes"
    MASK = "mask"
    EXEMPLARS = "exemplars"
    TEXT = "text"
    EVERYTHING = "everything"


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
    as_painted : bool
        Whether it is the object as it is, and not a rough sketch of it.
    is_followed : bool
        Whether the object was followed to here from another slice of its stack: following goes on
        from here, but what the object looks like is told by the masks of its prompted slices.
    """

    mask: npt.NDArray[np.bool_]
    region: Region
    object_id: int | None = None
    as_painted: bool = False
    is_followed: bool = False

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

    @classmethod
    def from_region(cls, mask: npt.NDArray[np.bool_], region: Region) -> MaskPrompt:
        """Return the pixels of a region, cropped to their bounding box; there has to be one."""
        crop = Region.around(mask)
        return cls(mask[crop.slices].copy(), crop.globalise(region))

    @classmethod
    def of_labels(cls, labels: npt.NDArray[np.integer[Any]]) -> tuple[Self, ...]:
        """Return one mask for each object of a plane of labels, with its number.

        Parameters
        ----------
        labels : ndarray of int, shape (H, W)
            Object ids; 0 is background.

        Raises
        ------
        PromptError
            If there is no object.
        """
        from scipy import ndimage

        from napari_sam3_assistant.core.masks.labels import number_objects

        # Some tools write -1 for background.
        numbers, of_number = number_objects(np.where(labels > 0, labels, 0))
        found = []
        for number, box in enumerate(ndimage.find_objects(numbers), 1):
            if box is not None:
                rows, columns = box
                region = Region(rows.start, columns.start, rows.stop, columns.stop)
                found.append(cls(numbers[box] == number, region, int(of_number[number])))
        if not found:
            raise PromptError("The labels are empty here.", "Go to a slice with objects.")
        return tuple(found)

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


class Seeds(StrEnum):
    """Where the points come from at which everything is looked for."""

    GRID = "grid"
    BUILTIN = "builtin"


class Joining(StrEnum):
    """How what was found on the slices of a stack becomes objects."""

    OVERLAP = "overlap"
    TIME = "time"
    VIDEO = "video"


@dataclass(frozen=True, slots=True)
class Everything:
    """The wish for all objects, without words or examples.

    Models that take clicks are asked at a grid of points, as SAM 1's automatic mask generator
    does; names and defaults are its own. An engine that finds objects by itself is asked once and
    reads only ``polarity``.

    Parameters
    ----------
    points_per_side : int
        Points along each side of the image.
    pred_iou_thresh : float
        Masks are kept whose predicted overlap with the truth is greater; 0 keeps all.
    stability_score_thresh : float
        Masks are kept that change less when the cutoff of their logits is moved: the share of
        pixels that stay. 0 keeps all.
    stability_score_offset : float
        How far the cutoff is moved up and down.
    box_nms_thresh : float
        Of two masks whose boxes overlap by more (IoU) the better one is kept.
    crop_n_layers : int
        Layer i looks at 2**i crops along each side as well, for small objects.
    crop_nms_thresh : float
        The same as ``box_nms_thresh`` between crops; of two the one of the smaller crop is kept.
    crop_overlap_ratio : float
        Share of the shorter side that crops of the first layer have in common.
    crop_n_points_downscale_factor : int
        Points along the side of a crop are fewer by this factor with each layer.
    min_mask_region_area : int
        Holes and pieces of masks with fewer pixels are filled and removed.
    seeds : Seeds
        The grid, or the middles of what the built-in engine finds.
    joining : Joining
        In stacks: everything is found on each slice and joined by overlap; or linked in time, by
        overlap and distance, where an object may divide; or found on one slice and followed by the
        engine's video head.
    stitch_threshold : float
        Objects of neighbouring slices are one if they overlap by as much (IoU); in time the share
        of the smaller one counts, and distance beside it.
    points : tuple of (y, x) or None
        Points in pixels in the place of all others; None for none.
    polarity : int
        1 if most objects are brighter than what is round them, -1 if they are darker; 0 where that
        is to be found out, in stacks once for all slices.

    Raises
    ------
    PromptError
        If a value can't be used.
    """

    points_per_side: int = 32
    pred_iou_thresh: float = 0.88
    stability_score_thresh: float = 0.95
    stability_score_offset: float = 1.0
    box_nms_thresh: float = 0.7
    crop_n_layers: int = 0
    crop_nms_thresh: float = 0.7
    crop_overlap_ratio: float = 512 / 1500
    crop_n_points_downscale_factor: int = 1
    min_mask_region_area: int = 0
    seeds: Seeds = Seeds.GRID
    joining: Joining = Joining.OVERLAP
    stitch_threshold: float = 0.25
    points: tuple[tuple[float, float], ...] | None = None
    polarity: int = 0

    def __post_init__(self) -> None:
        if self.joining not in set(Joining):
            raise PromptError(
                f"Slices can't be joined by '{self.joining}'.", f"Choose {', '.join(Joining)}."
            )
        object.__setattr__(self, "joining", Joining(self.joining))
        for name, (least, most) in EVERYTHING_LIMITS.items():
            value = getattr(self, name)
            if not least <= value <= most:
                raise PromptError(
                    f"{name} {value} can't be used to find everything.",
                    f"Choose {least:g} to {most:g}.",
                )

    def points_on(self, shape: tuple[int, int], layer: int = 0) -> tuple[tuple[float, float], ...]:
        """Return the points of an image or, from layer 1 on, of a crop.

        Parameters
        ----------
        shape : tuple of int
            Height and width in pixels.
        layer : int
            0 for the whole image.

        Returns
        -------
        tuple of (y, x)
            Row by row.
        """
        if self.points is not None:
            return self.points
        count = max(1, self.points_per_side // self.crop_n_points_downscale_factor**layer)
        shares = (np.arange(count) + 0.5) / count
        rows, columns = (
            # Of a side with no more pixels than points the last would lie beyond them.
            np.where(shares * length < length - 0.5, shares * length, length - 1)
            for length in shape
        )
        return tuple((float(y), float(x)) for y in rows for x in columns)

    def crops(self, shape: tuple[int, int]) -> tuple[tuple[Region, int], ...]:
        """Return the crops of an image and their layers, the whole image with layer 0 first."""
        height, width = shape
        found = [(Region.whole(shape), 0)]
        for layer in range(1, self.crop_n_layers + 1):
            sides = 2**layer
            overlap = int(self.crop_overlap_ratio * min(shape) * (2 / sides))
            tall, wide = (
                math.ceil((overlap * (sides - 1) + length) / sides) for length in (height, width)
            )
            for column in range(sides):
                for row in range(sides):
                    y, x = (tall - overlap) * row, (wide - overlap) * column
                    crop = Region(y, x, min(y + tall, height), min(x + wide, width))
                    if not crop.is_empty:
                        found.append((crop, layer))
        return tuple(found)

    def localise(self, region: Region) -> Everything:
        """Return it as counted from the first pixel of ``region``, without points beside that."""
        if self.points is None:
            return self
        kept = tuple((y - region.y0, x - region.x0) for y, x in self.points if region.holds(y, x))
        return replace(self, points=kept)


EVERYTHING_LIMITS = {
    "points_per_side": (1, 256),
    "pred_iou_thresh": (0.0, 1.0),
    "stability_score_thresh": (0.0, 1.0),
    "stability_score_offset": (0.0, 32.0),
    "box_nms_thresh": (0.0, 1.0),
    "crop_n_layers": (0, 4),
    "crop_nms_thresh": (0.0, 1.0),
    "crop_overlap_ratio": (0.0, 0.9),
    "crop_n_points_downscale_factor": (1, 16),
    "min_mask_region_area": (0, 10**6),
    "stitch_threshold": (0.0, 1.0),
    "polarity": (-1, 1),
}
"""The least and the greatest value of each number of :class:`Everything`."""


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
    everything : Everything or None
        How to look for all objects; None where that is not asked for.
    """

    points: tuple[PointPrompt, ...] = ()
    boxes: tuple[BoxPrompt, ...] = ()
    masks: tuple[MaskPrompt, ...] = ()
    exemplars: tuple[ExemplarPrompt, ...] = ()
    text: str = ""
    everything: Everything | None = None

    @property
    def kinds(self) -> frozenset[PromptKind]:
        """The kinds of prompt in this set."""
        by_kind = {
            PromptKind.POINTS: self.points,
            PromptKind.BOXES: self.boxes,
            PromptKind.MASK: self.masks,
            PromptKind.EXEMPLARS: self.exemplars,
            PromptKind.TEXT: self.text.strip(),
            PromptKind.EVERYTHING: self.everything,
        }
        return frozenset(kind for kind, prompts in by_kind.items() if prompts)

    @property
    def are_labels(self) -> bool:
        """Whether they are the objects of labels, each a mask with its number, and nothing else."""
        numbered = all(mask.object_id is not None for mask in self.masks)
        return numbered and self.kinds == {PromptKind.MASK}

    @property
    def are_painted(self) -> bool:
        """Whether they are masks that are taken as they were painted, and nothing else."""
        as_painted = all(mask.as_painted for mask in self.masks)
        return as_painted and self.kinds == {PromptKind.MASK}

    def take_as_painted(self) -> PromptSet:
        """Return the same prompts, of which masks are taken as they were painted."""
        return replace(self, masks=tuple(replace(mask, as_painted=True) for mask in self.masks))

    @property
    def most_points(self) -> int:
        """The most clicks that are on one object."""
        counts = Counter(point.object_id for point in self.points)
        return max(counts.values(), default=0)

    @property
    def joins_slices(self) -> bool:
        """Whether each slice of a stack is looked at by itself, and what was found is joined."""
        return self.everything is not None and self.everything.joining is not Joining.VIDEO

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
        if self.everything is not None and len(self.kinds) > 1:
            raise PromptError(
                "Everything is looked for without other prompts.",
                "Leave either out: everything, or the text, points, boxes and masks.",
            )
        plane = Region.whole(shape)
        size = f"{shape[0]} x {shape[1]} (height x width)"
        seeds = () if self.everything is None else self.everything.points or ()
        for point in (*self.points, *(PointPrompt(y, x) for y, x in seeds)):
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
                masks.append(replace(prompt, mask=crop, region=kept.localise(region)))
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
            everything=self.everything and self.everything.localise(region),
        )


SEARCHES = frozenset({PromptKind.TEXT, PromptKind.EXEMPLARS, PromptKind.EVERYTHING})
"""Kinds that ask for objects anywhere in the picture, and not at a place."""

NOT_DRAWN = frozenset({PromptKind.TEXT, PromptKind.EVERYTHING})
"""Kinds that are chosen in a panel, and not drawn on the image."""

SIGNED = {PromptKind.POINTS: "point", PromptKind.EXEMPLARS: "example"}
"""Kinds that may be negative, on what is not meant, and what one is called."""

ONE_BY_ONE = frozenset({PromptKind.POINTS, PromptKind.BOXES, PromptKind.MASK})
"""Prompts that name objects one by one; the others ask for all that there are of a kind."""


class Task(StrEnum):
    """What the user wants done."""

    SEGMENT = "2d_segmentation"
    TEXT = "text_segmentation"
    LIVE_POINTS = "refinement"
    EXEMPLAR = "exemplar_segmentation"
    EVERYTHING = "everything"
    VIDEO = "3d_video_propagation"


class Tool(StrEnum):
    """What the user prompts with."""

    POINTS = "points"
    BOX = "box"
    MASK = "mask"
    TEXT = "text"
    EXAMPLE = "example"
    EVERYTHING = "everything"

    @property
    def has_layer(self) -> bool:
        """Whether its prompts are drawn in a layer."""
        return self not in (Tool.TEXT, Tool.EVERYTHING)


_TOOLS = {
    Task.SEGMENT: (Tool.POINTS, Tool.BOX, Tool.MASK, Tool.TEXT),
    Task.TEXT: (Tool.TEXT,),
    Task.LIVE_POINTS: (Tool.POINTS,),
    Task.EXEMPLAR: (Tool.BOX,),
    Task.EVERYTHING: (Tool.EVERYTHING,),
    Task.VIDEO: tuple(Tool),
}

_KINDS = {
    Tool.POINTS: PromptKind.POINTS,
    Tool.BOX: PromptKind.BOXES,
    Tool.MASK: PromptKind.MASK,
    Tool.TEXT: PromptKind.TEXT,
    Tool.EXAMPLE: PromptKind.EXEMPLARS,
    Tool.EVERYTHING: PromptKind.EVERYTHING,
}


def tools_of(task: Task) -> tuple[Tool, ...]:
    """Return the tools that a task offers, its default first."""
    return _TOOLS[task]


def usable_tool(task: Task, tool: Tool) -> Tool:
    """Return the tool if the task offers it, else the task's default."""
    offered = tools_of(task)
    return tool if tool in offered else offered[0]


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

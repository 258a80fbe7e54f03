"""Which calls of a mask decoder the named objects need, and how their answers become one list."""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import islice
from typing import TYPE_CHECKING

from napari_sam3_assistant.core.progress import Progress
from napari_sam3_assistant.core.regions import Region

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from napari_sam3_assistant.core.progress import Reporter
    from napari_sam3_assistant.core.prompts import MaskPrompt, PointPrompt, PromptSet
    from napari_sam3_assistant.core.results import ObjectRecord

# Each box holds about 30 MB of features in the decoder at full size.
_BOXES_PER_CALL = 64


@dataclass(frozen=True, slots=True, eq=False)
class Target:
    """What names objects in one call of the mask decoder.

    Parameters
    ----------
    points : tuple of PointPrompt
        Clicks on one object.
    boxes : tuple of Region
        With points one box, of the same object; without, one object each.
    mask : MaskPrompt or None
        A first guess of the object's mask.
    """

    points: tuple[PointPrompt, ...] = ()
    boxes: tuple[Region, ...] = ()
    mask: MaskPrompt | None = None

    @property
    def clips(self) -> tuple[Region, ...] | None:
        """The part of the plane that each object may cover; None for all of it.

        A box alone bounds its object; a click may correct it beyond the box.
        """
        return None if self.points or not self.boxes else self.boxes


def targets(prompts: PromptSet, shape: tuple[int, int]) -> Iterator[Target]:
    """Yield the calls that a set of prompts needs.

    The clicks are of one object; the first box and the first mask, where there are any, are of
    that object too. Without clicks each box and each mask is an object of its own.

    Parameters
    ----------
    prompts : PromptSet
        Its points, boxes and masks are used.
    shape : tuple of int
        Height and width of the image; boxes are cut to it.
    """
    plane = Region.whole(shape)
    boxes = iter([prompt.region.intersect(plane) for prompt in prompts.boxes])
    masks = iter(prompts.masks)
    if prompts.points:
        yield Target(prompts.points, tuple(islice(boxes, 1)), next(masks, None))
    while group := tuple(islice(boxes, _BOXES_PER_CALL)):
        yield Target(boxes=group)
    for mask in masks:
        yield Target(mask=mask)


def segment_targets(
    prompts: PromptSet,
    shape: tuple[int, int],
    segment: Callable[[Target], Iterable[ObjectRecord]],
    reporter: Reporter,
    check: Callable[[], None],
) -> list[ObjectRecord]:
    """Return one object for each thing that is named, numbered from 1.

    Parameters
    ----------
    prompts : PromptSet
        Its points, boxes and masks are used.
    shape : tuple of int
        Height and width of the image.
    segment : callable
        Runs one call of the decoder and returns its objects.
    reporter : Reporter
        Is told of the progress, and stops the work.
    check : callable
        Called between the model's stages; what it raises stops the work.
    """
    records: list[ObjectRecord] = []
    for number, target in enumerate(targets(prompts, shape)):
        check()
        reporter.report(Progress(number, 0, "Segmenting the prompted objects"))
        records += numbered(segment(target), first=len(records) + 1)
    return records


def numbered(records: Iterable[ObjectRecord], first: int) -> list[ObjectRecord]:
    """Return objects with new ids in their order, from ``first`` on."""
    return [replace(record, id=number) for number, record in enumerate(records, first)]

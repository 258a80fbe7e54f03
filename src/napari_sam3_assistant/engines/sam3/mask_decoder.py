"""Which calls of a mask decoder the prompts need, and its masks at the size of the image."""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import islice
from typing import TYPE_CHECKING, TypeAlias

import numpy as np

from napari_sam3_assistant.core.progress import Progress
from napari_sam3_assistant.core.prompts import PromptKind
from napari_sam3_assistant.core.regions import Region
from napari_sam3_assistant.core.results import ObjectRecord, SoftMask
from napari_sam3_assistant.errors import EngineError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    import numpy.typing as npt
    import torch

    from napari_sam3_assistant.core.progress import Reporter
    from napari_sam3_assistant.core.prompts import (
        BoxPrompt,
        Everything,
        ExemplarPrompt,
        MaskPrompt,
        PointPrompt,
        PromptSet,
    )


# PyTorch's own interpolation of the whole image is faster from this share of it on.
_LARGE = 0.25


def to_records(
    low: torch.Tensor,
    scores: Sequence[float],
    shape: tuple[int, int],
    *,
    cutoff: float,
    reporter: Reporter,
    clips: Sequence[Region] | None = None,
    text: str = "",
) -> list[ObjectRecord]:
    """Return objects, numbered from 1, without the empty masks.

    As ``post_process_masks`` and ``post_process_instance_segmentation`` of transformers, which
    make all masks large at once: 200 of them take 3.4 GB for 2048 x 2048 pixels.

    ``low`` (shape (N, h, w), dtype float32): logits or probabilities.
    ``scores``: one for each mask.
    ``shape``: height and width of the image in pixels.
    ``cutoff``: pixels above it belong to the mask: 0 of logits, 0.5 of probabilities.
    ``reporter``: stops the work before each mask.
    ``clips``: for each mask, the part of the plane that it may cover.
    ``text``: the phrase that found the objects.
    """
    require_numbers(scores)
    records: list[ObjectRecord] = []
    small = (low > cutoff).cpu().numpy()
    values = low.cpu().numpy()
    for number, score in enumerate(scores):
        reporter.check()
        region = mask_extent(small[number], shape)
        if clips is not None:
            region = region.intersect(clips[number])
        if region.is_empty:
            continue
        mask = (upscale_part(low[number], shape, region) > cutoff).cpu().numpy()
        record = ObjectRecord.from_mask(
            len(records) + 1,
            mask,
            offset=(region.y0, region.x0),
            score=score,
            text=text,
            soft=SoftMask.crop(
                values[number],
                Region.whole(shape),
                logits=cutoff == 0,
                clip=None if clips is None else clips[number],
            ),
        )
        if record is not None:
            records.append(record)
    return records


def require_numbers(values: npt.ArrayLike) -> None:
    """Raise if some of a model's answers are no numbers: no mask would be found in them.

    They come of a number format that is too short for the weights, of a GPU that computes wrongly,
    and of damaged weights.
    """
    if np.isnan(values).any():
        raise EngineError(
            "The model answered with values that are no numbers (NaN).",
            "Choose the precision 'float32' or the device 'cpu'. If it stays, download the weights "
            "again.",
        )


def mask_extent(small: npt.NDArray[np.bool_], shape: tuple[int, int]) -> Region:
    """Return a part of the image outside which a low-resolution mask has no pixel.

    A pixel between low-resolution pixels is their weighted mean, so it is above the cutoff only
    where one of them is: less than one low-resolution pixel away.

    ``small`` (shape (h, w)): the low-resolution mask.
    ``shape``: height and width of the image in pixels.
    """
    ends: list[tuple[int, int]] = []
    for axis in (0, 1):
        hits = np.flatnonzero(small.any(1 - axis))
        if hits.size == 0:
            return Region(0, 0, 0, 0)
        length, full = small.shape[axis], shape[axis]
        start = (int(hits[0]) - 1) * full // length
        stop = -(-(int(hits[-1]) + 2) * full // length)
        ends.append((max(0, start), min(full, stop)))
    (y0, y1), (x0, x1) = ends
    return Region(y0, x0, y1, x1)


def upscale_part(
    low: torch.Tensor, shape: tuple[int, int], region: Region, large: float = _LARGE
) -> torch.Tensor:
    """Return a part of ``interpolate(low, shape, mode="bilinear", align_corners=False)``.

    ``low`` (shape (h, w), dtype float32): values in low resolution.
    ``shape``: height and width of the image in pixels.
    ``region``: the part of the image.
    ``large``: of a larger share of the image than this the whole is made, and cut.

    Returns
    -------
    torch.Tensor, shape of the region, dtype float32
        PyTorch's values within 1e-5 of logits or probabilities: the sums are the same, but not
        fused into one rounding.
    """
    from torch.nn.functional import interpolate

    if region.area > large * shape[0] * shape[1]:
        whole = interpolate(low[None, None], shape, mode="bilinear", align_corners=False)
        part: torch.Tensor = whole[0, 0][region.slices]
        return part
    upper, lower, upper_weight, lower_weight = _neighbours(
        low, low.shape[0], shape[0], region.y0, region.y1
    )
    left, right, left_weight, right_weight = _neighbours(
        low, low.shape[1], shape[1], region.x0, region.x1
    )
    columns = low[:, left] * left_weight + low[:, right] * right_weight
    return columns[upper] * upper_weight[:, None] + columns[lower] * lower_weight[:, None]


def _neighbours(
    low: torch.Tensor, length: int, full: int, start: int, stop: int
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    """Return the two low-resolution neighbours of each pixel along an axis, and their weights.

    In float32 as ``area_pixel_compute_source_index`` of PyTorch.
    """
    import torch

    pixels = torch.arange(start, stop, dtype=torch.float32, device=low.device)
    scale = torch.tensor(length, dtype=torch.float32) / full
    source = ((pixels + 0.5) * scale.to(low.device) - 0.5).clamp(min=0)
    before = source.long().clamp(max=length - 1)
    after = (before + 1).clamp(max=length - 1)
    weight = source - before
    return before, after, 1 - weight, weight


# Each box holds about 30 MB of features in the decoder at full size.
_BOXES_PER_CALL = 64


@dataclass(frozen=True, slots=True, eq=False)
class DecoderPrompt:
    """What names objects in one call of the mask decoder.

    ``points``: clicks on one object.
    ``boxes``: inside the plane. With points one box, of the same object; without, one object each.
    ``mask``: a first guess of the object's mask.
    """

    points: tuple[PointPrompt, ...] = ()
    boxes: tuple[BoxPrompt, ...] = ()
    mask: MaskPrompt | None = None

    @property
    def clips(self) -> tuple[Region, ...] | None:
        """The part of the plane that each object may cover; None for all of it.

        A box alone bounds its object; a click may correct it beyond the box.
        """
        if self.points or not self.boxes:
            return None
        return tuple(box.region for box in self.boxes)

    @property
    def is_ambiguous(self) -> bool:
        """Whether it may mean a part, an object or a group: a click and nothing else.

        The decoder then shall give three masks, of which the best is taken, as SAM's authors
        advise and the video heads do (``multimask_max_pt_num`` 1).
        """
        return len(self.points) == 1 and not self.boxes and self.mask is None


@dataclass(frozen=True, slots=True, eq=False)
class Decoded:
    """What one call of the mask decoder answers, without empty masks.

    ``objects``: the objects that were named.
    ``candidates``: of an ambiguous prompt all that it may mean, numbered from the smallest to the
    largest.
    """

    objects: Sequence[ObjectRecord]
    candidates: Sequence[ObjectRecord] = ()

    @classmethod
    def best_of(
        cls, scores: Sequence[float], record_of: Callable[[int], Iterable[ObjectRecord]]
    ) -> Decoded:
        """Return the best of some masks as the object, and all of them as candidates."""
        candidates = [list(record_of(number)) for number in range(len(scores))]
        every = sorted(
            (record for records in candidates for record in records), key=lambda record: record.area
        )
        return cls(candidates[int(np.argmax(scores))], renumber(every, first=1))


def xyxy(box: BoxPrompt | ExemplarPrompt) -> list[float]:
    """Return a box as SAM 3 takes it, x first, with its fractions."""
    y0, x0, y1, x1 = box.corners
    return [float(x0), float(y0), float(x1), float(y1)]


def decoder_prompts(prompts: PromptSet, shape: tuple[int, int]) -> Iterator[DecoderPrompt]:
    """Yield the calls that a set of prompts needs.

    The clicks are of one object; the first box and the first mask, where there are any, are of
    that object too. Without clicks each box and each mask is an object of its own.
    """
    plane = Region.whole(shape)
    boxes = iter([prompt.cut(plane) for prompt in prompts.boxes])
    masks = iter(prompts.masks)
    if prompts.points:
        yield DecoderPrompt(prompts.points, tuple(islice(boxes, 1)), next(masks, None))
    while group := tuple(islice(boxes, _BOXES_PER_CALL)):
        yield DecoderPrompt(boxes=group)
    for mask in masks:
        yield DecoderPrompt(mask=mask)


def segment_prompts(
    prompts: PromptSet,
    shape: tuple[int, int],
    segment: Callable[[DecoderPrompt], Decoded],
    reporter: Reporter,
) -> Decoded:
    """Return one object for each thing that is named, numbered from 1.

    Of a click and nothing else, also what it may mean.
    """
    records: list[ObjectRecord] = []
    candidates: Sequence[ObjectRecord] = ()
    for number, target in enumerate(decoder_prompts(prompts, shape)):
        reporter.report(Progress(number, 0, "Segmenting the prompted objects"))
        answer = segment(target)
        records += renumber(answer.objects, first=len(records) + 1)
        if prompts.kinds == {PromptKind.POINTS}:
            # One call, on one object.
            candidates = answer.candidates
    return Decoded(records, candidates)


PointDecoder: TypeAlias = (
    "Callable[[Sequence[tuple[float, float]], float], Iterator[tuple[torch.Tensor, float]]]"
)
"""Takes points (y, x) and the predicted IoU that a mask must exceed. Yields the low-resolution
logits, shape (h, w), and the predicted IoU of three masks a point: part, object and group."""
POINTS_PER_BATCH = 64


def passes(value: float, least: float) -> bool:
    """Return whether a value is greater than a threshold; all are where that is 0."""
    return least <= 0 or value > least


def objects_at_points(
    asked: Everything, shape: tuple[int, int], decode: PointDecoder, reporter: Reporter
) -> list[ObjectRecord]:
    """Return every mask at points that passes the filters, numbered from 1.

    As SAM 1's automatic mask generator, before it compares the masks with each other. Their scores
    are the model's guesses as they are, which may be a little more than 1.
    """
    points = asked.points_on(shape)
    records: list[ObjectRecord] = []
    for first in range(0, len(points), POINTS_PER_BATCH):
        batch = points[first : first + POINTS_PER_BATCH]
        for low, score in decode(batch, asked.pred_iou_thresh):
            reporter.check()
            record = _stable_object(len(records) + 1, low, score, shape, asked)
            if record is not None:
                records.append(record)
    return records


def _stable_object(
    id_: int, low: torch.Tensor, score: float, shape: tuple[int, int], asked: Everything
) -> ObjectRecord | None:
    """Return the object of logits, or None if it is empty or not stable enough."""
    offset = asked.stability_score_offset
    region = mask_extent((low > -offset).cpu().numpy(), shape)
    if region.is_empty:
        return None
    values = upscale_part(low, shape, region)
    most = int((values > -offset).sum())
    stability = int((values > offset).sum()) / most if most else 0.0
    if not passes(stability, asked.stability_score_thresh):
        return None
    return ObjectRecord.from_mask(
        id_,
        (values > 0).cpu().numpy(),
        offset=(region.y0, region.x0),
        score=score,
        soft=SoftMask.crop(low.cpu().numpy(), Region.whole(shape), logits=True),
        stability=stability,
    )


def renumber(records: Iterable[ObjectRecord], first: int) -> list[ObjectRecord]:
    """Return objects with new ids in their order, from ``first`` on."""
    return [replace(record, id=number) for number, record in enumerate(records, first)]

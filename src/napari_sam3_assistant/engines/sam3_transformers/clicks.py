"""Segment the objects that clicks, boxes and painted masks name, one mask each."""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import islice
from typing import TYPE_CHECKING, Any

from napari_sam3_assistant.core.progress import Progress
from napari_sam3_assistant.core.regions import Region
from napari_sam3_assistant.engines.sam3_transformers.embedding import click_features
from napari_sam3_assistant.engines.sam3_transformers.masks import to_records

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    import torch

    from napari_sam3_assistant.core.progress import Reporter
    from napari_sam3_assistant.core.prompts import MaskPrompt, PointPrompt, PromptSet
    from napari_sam3_assistant.core.results import ObjectRecord
    from napari_sam3_assistant.engines.sam3_transformers.embedding import Sam3Embedding
    from napari_sam3_assistant.engines.sam3_transformers.loading import LoadedModel

MASK_CUTOFF = 0.0
# Each box holds about 30 MB of features in the decoder at full size.
_BOXES_PER_CALL = 64
# Logits of painted and unpainted pixels: probability 0.99995 and 0.00005, as
# Sam3TrackerVideoModel gives a painted mask to its memory.
_PAINTED, _UNPAINTED = 10.0, -10.0


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
    model: LoadedModel,
    embedding: Sam3Embedding,
    prompts: PromptSet,
    reporter: Reporter,
    check: Callable[[], None],
) -> list[ObjectRecord]:
    """Return one object for each thing that is named, numbered from 1.

    Parameters
    ----------
    model : LoadedModel
        The weights.
    embedding : Sam3Embedding
        The encoded image.
    prompts : PromptSet
        Its points, boxes and masks are used.
    reporter : Reporter
        Is told of the progress, and stops the work.
    check : callable
        Called between the model's stages; what it raises stops the work.
    """
    records: list[ObjectRecord] = []
    features = click_features(model, embedding)
    for number, target in enumerate(targets(prompts, embedding.shape)):
        check()
        reporter.report(Progress(number, 0, "Segmenting the prompted objects"))
        answer = model.clicks(
            image_embeddings=features,
            multimask_output=False,
            **_encode(model, target, embedding.shape),
        )
        found = to_records(
            answer.pred_masks[0, :, 0].float(),
            answer.iou_scores[0, :, 0].float().tolist(),
            embedding.shape,
            cutoff=MASK_CUTOFF,
            check=check,
            # A box alone bounds its object; a click may correct it beyond the box.
            clips=None if target.points or not target.boxes else target.boxes,
        )
        records += [replace(record, id=record.id + len(records)) for record in found]
    return records


def _encode(model: LoadedModel, target: Target, shape: tuple[int, int]) -> dict[str, Any]:
    """Return a call's prompts as the model takes them."""
    prompts: dict[str, Any] = {}
    if target.points:
        prompts["input_points"] = [[[[float(p.x), float(p.y)] for p in target.points]]]
        prompts["input_labels"] = [[[int(p.positive) for p in target.points]]]
    if target.boxes:
        prompts["input_boxes"] = [
            [[float(box.x0), float(box.y0), float(box.x1), float(box.y1)] for box in target.boxes]
        ]
    encoded: dict[str, Any] = {}
    if prompts:
        # Coordinates stay in float32: bfloat16 would round them by up to two pixels.
        encoded = dict(
            model.click_processor(original_sizes=[list(shape)], return_tensors="pt", **prompts).to(
                model.device
            )
        )
        encoded.pop("original_sizes")
    if target.mask is not None:
        encoded["input_masks"] = _mask_logits(model, target.mask, shape)
    return encoded


def _mask_logits(model: LoadedModel, prompt: MaskPrompt, shape: tuple[int, int]) -> torch.Tensor:
    """Return a painted mask as logits at image size, shape (1, 1, H, W); the model shrinks it."""
    import torch

    logits = torch.full((1, 1, *shape), _UNPAINTED)
    inside = prompt.region.intersect(Region.whole(shape))
    painted = prompt.mask[inside.localise(prompt.region).slices]
    logits[0, 0][inside.slices][torch.from_numpy(painted)] = _PAINTED
    return logits.to(model.device, model.dtype)

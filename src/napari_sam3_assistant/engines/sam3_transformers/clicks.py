"""Segment the objects that clicks, boxes and painted masks name, one mask each."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from napari_sam3_assistant.engines.low_resolution_masks import to_records
from napari_sam3_assistant.engines.sam3_transformers.embedding import click_features

if TYPE_CHECKING:
    from collections.abc import Callable

    import torch

    from napari_sam3_assistant.core.prompts import MaskPrompt
    from napari_sam3_assistant.core.results import ObjectRecord
    from napari_sam3_assistant.engines.sam3_transformers.embedding import Sam3Embedding
    from napari_sam3_assistant.engines.sam3_transformers.loading import LoadedModel
    from napari_sam3_assistant.engines.targets import Target

MASK_CUTOFF = 0.0
# Logits of painted and unpainted pixels: probability 0.99995 and 0.00005, as
# Sam3TrackerVideoModel gives a painted mask to its memory.
_PAINTED, _UNPAINTED = 10.0, -10.0


def segment_target(
    model: LoadedModel, embedding: Sam3Embedding, check: Callable[[], None], target: Target
) -> list[ObjectRecord]:
    """Return the objects of one call of the mask decoder, numbered from 1.

    Parameters
    ----------
    model : LoadedModel
        The weights.
    embedding : Sam3Embedding
        The encoded image.
    check : callable
        Called between the model's stages; what it raises stops the work.
    target : Target
        What names the objects.
    """
    answer = model.clicks(
        image_embeddings=click_features(model, embedding),
        multimask_output=False,
        **_encode(model, target, embedding.shape),
    )
    return to_records(
        answer.pred_masks[0, :, 0].float(),
        answer.iou_scores[0, :, 0].float().tolist(),
        embedding.shape,
        cutoff=MASK_CUTOFF,
        check=check,
        clips=target.clips,
    )


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
    logits[0, 0][torch.from_numpy(prompt.to_plane(shape))] = _PAINTED
    return logits.to(model.device, model.dtype)

"""Segment the objects that clicks, boxes and painted masks name, one mask each."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from napari_sam3_assistant.core.regions import Region
from napari_sam3_assistant.core.results import ObjectRecord
from napari_sam3_assistant.core.soft_masks import SoftMask
from napari_sam3_assistant.engines.sam3_meta import compat

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy.typing as npt

    from napari_sam3_assistant.core.prompts import MaskPrompt
    from napari_sam3_assistant.engines.sam3_meta.encoding import MetaEncoding
    from napari_sam3_assistant.engines.sam3_meta.loading import LoadedModel
    from napari_sam3_assistant.engines.targets import Target

# What Meta's tracker makes of a painted mask: 20 times the mask, less 10
# (sam3_tracker_base.py, _use_mask_as_output).
_LOGIT_SCALE, _LOGIT_BIAS = 20.0, -10.0


def segment_target(
    loaded: LoadedModel, encoding: MetaEncoding, check: Callable[[], None], target: Target
) -> list[ObjectRecord]:
    """Return the objects of one call of the mask decoder, numbered from 1.

    Parameters
    ----------
    loaded : LoadedModel
        The weights.
    encoding : MetaEncoding
        The encoded image.
    check : callable
        Called between the model's stages; what it raises stops the work.
    target : Target
        What names the objects.
    """
    masks, scores, logits = _decode(loaded, encoding, target)
    records: list[ObjectRecord] = []
    whole = Region.whole(encoding.shape)
    for index, (mask, score) in enumerate(zip(masks, scores, strict=True)):
        check()
        clip = target.clips[index] if target.clips else whole
        record = ObjectRecord.from_mask(
            len(records) + 1,
            mask[clip.slices] > 0,
            offset=(clip.y0, clip.x0),
            score=float(score),
            soft=SoftMask.cut(logits[index], whole, logits=True, clip=clip),
        )
        if record is not None:
            records.append(record)
    return records


def _decode(
    loaded: LoadedModel, encoding: MetaEncoding, target: Target
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32], npt.NDArray[np.float32]]:
    """Run the mask decoder once.

    Returns
    -------
    masks : ndarray, shape (N, H, W), dtype float32
        1 inside, 0 outside.
    scores : ndarray, shape (N,), dtype float32
        The model's guess of each mask's overlap with the truth.
    logits : ndarray, shape (N, h, w), dtype float32
        The masks in low resolution, before they were cut.
    """
    prompts: dict[str, Any] = {}
    if target.points:
        prompts["point_coords"] = np.array([(p.x, p.y) for p in target.points], np.float32)
        prompts["point_labels"] = np.array([p.positive for p in target.points], np.int32)
    if target.boxes:
        prompts["box"] = np.array([(b.x0, b.y0, b.x1, b.y1) for b in target.boxes], np.float32)
    if target.mask is not None:
        size = compat.click_model(loaded.model).low_res_mask_size
        prompts["mask_input"] = mask_logits(target.mask, encoding.shape, size)
    try:
        masks, scores, low = loaded.model.predict_inst(
            encoding.state(), multimask_output=False, **prompts
        )
    finally:
        # After an error the predictor would go on holding the image's features.
        loaded.model.inst_interactive_predictor.reset_predictor()
    logits = low.reshape(-1, *low.shape[-2:])
    return masks.reshape(-1, *encoding.shape), scores.reshape(-1), logits


def mask_logits(prompt: MaskPrompt, shape: tuple[int, int], size: int) -> npt.NDArray[np.float32]:
    """Return a painted mask as the low-resolution logits that the prompt encoder takes.

    Parameters
    ----------
    prompt : MaskPrompt
        The painted pixels.
    shape : tuple of int
        Height and width of the image in pixels.
    size : int
        Side of the logits; the model's image is square.

    Returns
    -------
    ndarray, shape (1, size, size), dtype float32
        10 where all is painted, -10 where nothing is, between them in proportion.
    """
    import torch
    from torch.nn.functional import interpolate

    plane = torch.from_numpy(prompt.to_plane(shape)).float()[None, None]
    small = interpolate(plane, (size, size), mode="bilinear", align_corners=False, antialias=True)
    logits: npt.NDArray[np.float32] = (small[0] * _LOGIT_SCALE + _LOGIT_BIAS).numpy()
    return logits

"""Meta's SAM 3 on one image: encoding, clicks and boxes, phrases and examples."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_sam3_assistant.core.regions import Region
from napari_sam3_assistant.core.results import ObjectRecord, SoftMask
from napari_sam3_assistant.engines.encoding_cache import LRUCache
from napari_sam3_assistant.engines.sam3.engine import watch_layers
from napari_sam3_assistant.engines.sam3.grounding import ConceptFinder, Detections, check_length
from napari_sam3_assistant.engines.sam3.mask_decoder import Decoded, passes, require_numbers, xyxy
from napari_sam3_assistant.engines.sam3_meta import compat

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    import numpy.typing as npt
    import torch

    from napari_sam3_assistant.core.images import Untyped
    from napari_sam3_assistant.core.progress import Reporter
    from napari_sam3_assistant.core.prompts import ExemplarPrompt, MaskPrompt
    from napari_sam3_assistant.engines.sam3.mask_decoder import DecoderPrompt
    from napari_sam3_assistant.engines.sam3_meta.loading import LoadedModel


# One set of 200 low-resolution masks takes 66 MB in float32.
_KEPT_ANSWERS = 4


@dataclass(frozen=True, slots=True, eq=False)
class MetaEncoding:
    """The encoding of one image, for all prompts.

    ``shape``: height and width of the image in pixels.
    ``features``: ``backbone_out`` of ``Sam3Processor.set_image``; never written to.
    ``found``: what the detector found, by phrase and examples.
    """

    shape: tuple[int, int]
    features: Mapping[str, Any]
    found: LRUCache[Detections] = field(default_factory=lambda: LRUCache(_KEPT_ANSWERS))

    def state(self, extra: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """Return the package's inference state, a copy that a call may add to.

        The copy is shallow: the calls add entries and leave the image's features as they are.
        """
        return {
            "original_height": self.shape[0],
            "original_width": self.shape[1],
            "backbone_out": {**self.features, **(extra or {})},
        }

    @property
    def nbytes(self) -> int:
        """Memory that the tensors take, in bytes."""
        return sum(tensor.nbytes for tensor in self._all())

    def to(self, device: str) -> MetaEncoding:
        """Return it on another device, with what was found; itself where it is there already."""
        if str(self.features["vision_features"].device) == device:
            return self
        maps, click_maps = (
            [level.to(device) for level in part["backbone_fpn"]] for part in self._parts()
        )
        # Not the position encodings: the engine keeps one copy of them for all images.
        features = backbone_out(maps, click_maps, self.features["vision_pos_enc"])
        return MetaEncoding(self.shape, features, self.found.map(lambda item: item.to(device)))

    def tensors(self) -> dict[str, torch.Tensor]:
        """Return the feature maps by name; the rest can be made of them."""
        return {
            f"{name}{number}": tensor
            for name, part in zip(("map", "click"), self._parts(), strict=True)
            for number, tensor in enumerate(part["backbone_fpn"])
        }

    def _parts(self) -> tuple[Mapping[str, Any], Mapping[str, Any]]:
        return self.features, self.features["sam2_backbone_out"]

    def _all(self) -> Iterator[torch.Tensor]:
        # The coarsest map is in there twice, under two names.
        yield from self.tensors().values()
        for detections in self.found:
            yield detections.masks


def backbone_out(
    maps: Sequence[torch.Tensor],
    click_maps: Sequence[torch.Tensor],
    positions: Sequence[torch.Tensor],
) -> dict[str, Any]:
    """Return feature maps as ``Sam3Processor.set_image`` keeps them.

    As ``SAM3VLBackbone._forward_image_no_act_ckpt``.
    """

    def part(of: Sequence[torch.Tensor]) -> dict[str, Any]:
        return {"vision_features": of[-1], "vision_pos_enc": positions, "backbone_fpn": of}

    return {**part(maps), "sam2_backbone_out": part(click_maps)}


# What Meta's tracker makes of a painted mask: 20 times the mask, less 10
# (sam3_tracker_base.py, _use_mask_as_output).
_LOGIT_SCALE, _LOGIT_BIAS = 20.0, -10.0


def decode_objects(
    loaded: LoadedModel, encoding: MetaEncoding, reporter: Reporter, target: DecoderPrompt
) -> Decoded:
    """Run one call of the mask decoder."""
    masks, scores, logits = _decode(loaded, encoding, target)
    require_numbers(scores)
    clips, whole = target.clips, Region.whole(encoding.shape)

    def record_of(number: int) -> list[ObjectRecord]:
        reporter.check()
        clip = clips[number] if clips else whole
        record = ObjectRecord.from_mask(
            1,
            masks[number][clip.slices] > 0,
            offset=(clip.y0, clip.x0),
            score=float(scores[number]),
            soft=SoftMask.crop(logits[number], whole, logits=True, clip=clip),
        )
        return [] if record is None else [record]

    if target.is_ambiguous:
        return Decoded.best_of(scores.tolist(), record_of)
    return Decoded([record for number in range(len(scores)) for record in record_of(number)])


# Pixels of the masks that the package makes large in one call.
_MOST_PIXELS = 1 << 26


def decode_points(
    loaded: LoadedModel,
    encoding: MetaEncoding,
    points: Sequence[tuple[float, float]],
    least: float,
) -> Iterator[tuple[torch.Tensor, float]]:
    """Yield the masks at points that may be good enough, see :data:`.mask_decoder.PointDecoder`."""
    import torch

    height, width = encoding.shape
    size = max(1, _MOST_PIXELS // (3 * height * width))
    for first in range(0, len(points), size):
        coords = np.array([[(x, y)] for y, x in points[first : first + size]], np.float32)
        _, scores, logits = _predict(
            loaded,
            encoding,
            point_coords=coords,
            point_labels=np.ones(coords.shape[:2], np.int32),
            multimask_output=True,
        )
        for low, score in zip(logits, scores.tolist(), strict=True):
            if passes(score, least):
                yield torch.from_numpy(low), score


def _decode(
    loaded: LoadedModel, encoding: MetaEncoding, target: DecoderPrompt
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
        prompts["box"] = np.array([xyxy(box) for box in target.boxes], np.float32)
    if target.mask is not None:
        size = compat.click_model(loaded.model).low_res_mask_size
        prompts["mask_input"] = mask_logits(target.mask, encoding.shape, size)
    return _predict(loaded, encoding, multimask_output=target.is_ambiguous, **prompts)


def _predict(
    loaded: LoadedModel, encoding: MetaEncoding, **prompts: object
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32], npt.NDArray[np.float32]]:
    """Run the mask decoder on prompts as the package takes them; see :func:`_decode`."""
    try:
        masks, scores, low = loaded.model.predict_inst(encoding.state(), **prompts)
    finally:
        # After an error the predictor would go on holding the image's features.
        loaded.model.inst_interactive_predictor.reset_predictor()
    logits = low.reshape(-1, *low.shape[-2:])
    return masks.reshape(-1, *encoding.shape), scores.reshape(-1), logits


def mask_logits(prompt: MaskPrompt, shape: tuple[int, int], size: int) -> npt.NDArray[np.float32]:
    """Return a painted mask as the low-resolution logits that the prompt encoder takes.

    ``prompt``: the painted pixels.
    ``shape``: height and width of the image in pixels.
    ``size``: side of the logits; the model's image is square.

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


class Grounder(ConceptFinder[MetaEncoding, dict[str, Any]]):
    """Finds concepts in encoded images and remembers the encoded phrases.

    An encoded phrase is what the package adds to ``backbone_out`` for it.
    """

    # Of logits: the package cuts sigmoid(logit) at 0.5.
    cutoff = 0.0

    def __init__(self, loaded: LoadedModel) -> None:
        super().__init__()
        self._loaded = loaded

    def _detect(
        self,
        encoding: MetaEncoding,
        phrase: dict[str, Any],
        exemplars: tuple[ExemplarPrompt, ...],
        reporter: Reporter,
    ) -> Detections:
        model, processor = self._loaded.model, self._loaded.processor
        with watch_layers(compat.prompt_stages(model), "Searching the image", reporter):
            # As Sam3Processor._forward_grounding, but what lies below the threshold is kept, so
            # that another threshold needs no second run.
            answer = model.forward_grounding(
                backbone_out=encoding.state(phrase)["backbone_out"],
                find_input=processor.find_stage,
                geometric_prompt=self._examples(exemplars, encoding.shape),
                find_target=None,
            )
        reporter.check()
        presence = answer["presence_logit_dec"].sigmoid().unsqueeze(1)
        scores = (answer["pred_logits"].sigmoid() * presence).squeeze(-1)[0]
        return Detections(scores.float().cpu().numpy(), answer["pred_masks"][0])

    def _encode(self, phrase: str) -> dict[str, Any]:
        check_phrase(self._loaded, phrase)
        backbone = self._loaded.model.backbone
        encoded: dict[str, Any] = backbone.forward_text([phrase], device=self._loaded.device)
        return encoded

    def _examples(self, exemplars: tuple[ExemplarPrompt, ...], shape: tuple[int, int]) -> Untyped:
        """Return the examples as the model takes them, all at once."""
        import torch

        height, width = shape
        boxes = np.zeros((len(exemplars), 4), np.float32)
        for row, exemplar in zip(boxes, exemplars, strict=True):
            x0, y0, x1, y1 = xyxy(exemplar.cut(Region.whole(shape)))
            row[:] = (
                (x0 + x1) / 2 / width,
                (y0 + y1) / 2 / height,
                (x1 - x0) / width,
                (y1 - y0) / height,
            )
        labels = torch.tensor([exemplar.positive for exemplar in exemplars], dtype=torch.bool)
        device = self._loaded.device
        return compat.geometric_prompt(torch.from_numpy(boxes).to(device), labels.to(device))


def check_phrase(loaded: LoadedModel, phrase: str) -> None:
    """Refuse a phrase that is too long; the package cuts it without a word."""
    text = loaded.model.backbone.language_backbone
    # The begin and the end are tokens too.
    check_length(len(text.tokenizer.encode(phrase)) + 2, text.context_length)

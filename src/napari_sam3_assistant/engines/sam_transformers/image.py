"""SAM by transformers on one image: encoding, and the objects that clicks, boxes and masks name."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_sam3_assistant.engines.sam3.engine import watch_layers
from napari_sam3_assistant.engines.sam3.mask_decoder import Decoded, passes, to_records, xyxy
from napari_sam3_assistant.engines.sam_transformers.loading import find_backbone, pads
from napari_sam3_assistant.errors import EngineError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    import numpy.typing as npt
    import torch

    from napari_sam3_assistant.core.images import Untyped
    from napari_sam3_assistant.core.progress import Reporter
    from napari_sam3_assistant.core.prompts import MaskPrompt
    from napari_sam3_assistant.core.results import ObjectRecord
    from napari_sam3_assistant.engines.sam3.mask_decoder import DecoderPrompt
    from napari_sam3_assistant.engines.sam_transformers.loading import LoadedModel


def to_pixels(
    model: LoadedModel,
    processor: Untyped,
    image: npt.NDArray[np.uint8],
) -> torch.Tensor:
    """Return an image as a model takes it.

    ``processor``: prepares images.
    ``image`` has the shape (H, W, 3).

    Returns
    -------
    torch.Tensor, shape (1, 3, S, S)
        float32, on the model's device.
    """
    # A read-only or strided array would be refused, or warned of, by torch.
    picture = np.array(image, dtype=np.uint8, order="C")
    inputs = processor(images=picture, input_data_format="channels_last", return_tensors="pt")
    pixels: torch.Tensor = inputs["pixel_values"].to(model.device)
    return pixels


@dataclass(slots=True, eq=False)
class SamEmbedding:
    """The encoding of one image, for all prompts.

    ``shape``: height and width of the image in pixels.
    ``maps``: the feature maps, fine to coarse; of SAM 1 the only one, ``(1, C, h, w)``, of the
    others ``(h * w, 1, C)`` as their trackers take them.
    """

    shape: tuple[int, int]
    maps: tuple[torch.Tensor, ...]

    @property
    def nbytes(self) -> int:
        """Memory that the tensors of this image take, in bytes."""
        return sum(level.nbytes for level in self.maps)

    def to(self, device: str) -> SamEmbedding:
        """Return it on another device; itself where it is there already."""
        if str(self.maps[0].device) == device:
            return self
        return SamEmbedding(self.shape, tuple(level.to(device) for level in self.maps))

    def tensors(self) -> dict[str, torch.Tensor]:
        """Return its tensors by name."""
        return {f"map{number}": level for number, level in enumerate(self.maps)}


def encode(
    model: LoadedModel, image: npt.NDArray[np.uint8], message: str, reporter: Reporter
) -> SamEmbedding:
    """Return the encoding of an image.

    ``image`` has the shape (H, W, 3).
    ``message``: what is done, for the status line.
    """
    shape = (image.shape[0], image.shape[1])
    if pads(model.click_processor) and 0 in _scaled_shape(model, shape):
        raise EngineError(
            f"The image is too narrow for SAM 1, which makes it small: {shape[0]} x {shape[1]} "
            "pixels (height x width).",
            "Work on a part of it (ROI mode), or choose SAM 2.1 or SAM 3.",
        )
    pixels = to_pixels(model, model.click_processor, image)
    network = model.clicks
    with watch_layers(encoder_layers(network), message, reporter):
        if pads(model.click_processor):
            maps = (network.get_image_embeddings(pixels),)
        else:
            maps = tuple(network.get_image_features(pixels, return_dict=True).fpn_hidden_states)
    return SamEmbedding(shape, maps)


def encoder_layers(network: Untyped) -> Sequence[Any]:
    """Return the layers of the image encoder, which run one after the other."""
    backbone = find_backbone(network)
    for name in ("blocks", "layers"):
        if hasattr(backbone, name):
            layers: Sequence[Any] = getattr(backbone, name)
            return layers
    # One of timm.
    return list(backbone.timm_model.children())


def click_features(model: LoadedModel, embedding: SamEmbedding) -> Untyped:
    """Return the feature maps as the mask decoder takes them.

    As ``get_image_embeddings`` of the library, from what its trackers take.
    """
    if pads(model.click_processor):
        return embedding.maps[0]
    network = model.clicks
    maps = [*embedding.maps[:-1], embedding.maps[-1] + network.no_memory_embedding]
    return [
        flat.permute(1, 2, 0).reshape(1, -1, *size)
        for flat, size in zip(maps, network.backbone_feature_sizes, strict=True)
    ]


MASK_CUTOFF = 0.0
# Logits of painted and unpainted pixels: probability 0.99995 and 0.00005, as
# Sam2VideoModel gives a painted mask to its memory.
_PAINTED, _UNPAINTED = 10.0, -10.0


def decode_objects(
    model: LoadedModel,
    features: Untyped,
    shape: tuple[int, int],
    reporter: Reporter,
    target: DecoderPrompt,
) -> Decoded:
    """Run one call of the mask decoder."""
    answer = model.clicks(
        image_embeddings=features,
        multimask_output=target.is_ambiguous,
        **_encode(model, target, shape),
    )
    # Several masks of the object of a single click, one of each object of all other prompts.
    masks = answer.pred_masks[0].float().flatten(0, 1)
    scores = answer.iou_scores[0].float().flatten().tolist()
    clips = target.clips

    def record_of(number: int) -> list[ObjectRecord]:
        return to_records(
            _unpad(model, masks[number][None], shape),
            # SAM 1 guesses the overlap without a limit.
            [min(max(scores[number], 0.0), 1.0)],
            shape,
            cutoff=MASK_CUTOFF,
            reporter=reporter,
            clips=None if clips is None else clips[number : number + 1],
        )

    if target.is_ambiguous:
        return Decoded.best_of(scores, record_of)
    return Decoded([record for number in range(len(scores)) for record in record_of(number)])


def decode_points(
    model: LoadedModel,
    features: Untyped,
    shape: tuple[int, int],
    points: Sequence[tuple[float, float]],
    least: float,
) -> Iterator[tuple[torch.Tensor, float]]:
    """Yield the masks at points that may be good enough, see :data:`.mask_decoder.PointDecoder`."""
    prompts = {
        "input_points": [[[[float(x), float(y)]] for y, x in points]],
        "input_labels": [[[1] for _ in points]],
    }
    answer = model.clicks(
        image_embeddings=features,
        multimask_output=True,
        **_to_tensors(model, prompts, shape),
    )
    masks = answer.pred_masks[0].flatten(0, 1)
    for number, score in enumerate(answer.iou_scores[0].float().flatten().tolist()):
        if passes(score, least):
            yield _unpad(model, masks[number][None].float(), shape)[0], score


def _encode(model: LoadedModel, target: DecoderPrompt, shape: tuple[int, int]) -> dict[str, Any]:
    """Return a call's prompts as the model takes them."""
    prompts: dict[str, Any] = {}
    if target.points:
        prompts["input_points"] = [[[[float(p.x), float(p.y)] for p in target.points]]]
        prompts["input_labels"] = [[[int(p.positive) for p in target.points]]]
    if target.boxes:
        prompts["input_boxes"] = [[xyxy(box) for box in target.boxes]]
    encoded = _to_tensors(model, prompts, shape) if prompts else {}
    if target.mask is not None:
        encoded["input_masks"] = _mask_logits(model, target.mask, shape)
    return encoded


def _to_tensors(
    model: LoadedModel, prompts: dict[str, Any], shape: tuple[int, int]
) -> dict[str, Any]:
    """Return points and boxes in pixels as the model takes them."""
    if pads(model.click_processor):
        return _scale(model, prompts, shape)
    # Coordinates stay in float32: bfloat16 would round them by up to two pixels.
    encoded = dict(
        model.click_processor(original_sizes=[list(shape)], return_tensors="pt", **prompts).to(
            model.device
        )
    )
    encoded.pop("original_sizes")
    return encoded


def _scale(model: LoadedModel, prompts: dict[str, Any], shape: tuple[int, int]) -> dict[str, Any]:
    """Return prompts as ``SamProcessor`` does, which needs the image for it."""
    import torch

    height, width = _scaled_shape(model, shape)
    # In float64 as there, where the device knows it.
    precise = torch.float32 if model.device == "mps" else torch.float64
    scale = torch.tensor([width / shape[1], height / shape[0]], dtype=precise)
    encoded: dict[str, Any] = {}
    for name, values in prompts.items():
        if name == "input_labels":
            encoded[name] = torch.tensor(values)
        else:
            rounded = torch.tensor(values, dtype=torch.float32 if "box" in name else precise)
            encoded[name] = rounded.to(precise) * scale.repeat(rounded.shape[-1] // 2)
    return {name: tensor.to(model.device) for name, tensor in encoded.items()}


def _scaled_shape(model: LoadedModel, shape: tuple[int, int]) -> tuple[int, int]:
    """Return the size of an image before it is padded."""
    longest = model.click_processor.image_processor.size["longest_edge"]
    scale = longest / max(shape)
    return int(shape[0] * scale + 0.5), int(shape[1] * scale + 0.5)


def _mask_logits(model: LoadedModel, prompt: MaskPrompt, shape: tuple[int, int]) -> torch.Tensor:
    """Return a painted mask as logits, shape (1, 1, h, w).

    At image size, which the model shrinks; SAM 1 takes them small and padded like the image.
    """
    import torch
    from torch.nn.functional import interpolate, pad

    logits = torch.full((1, 1, *shape), _UNPAINTED)
    logits[0, 0][torch.from_numpy(prompt.to_plane(shape))] = _PAINTED
    if pads(model.click_processor):
        height, width = _scaled_shape(model, shape)
        low = 4 * model.clicks.prompt_encoder.image_embedding_size[0]
        side = model.click_processor.image_processor.pad_size["height"]
        logits = interpolate(logits, (height, width), mode="bilinear", antialias=True)
        logits = pad(logits, (0, side - width, 0, side - height), value=_UNPAINTED)
        logits = interpolate(logits, (low, low), mode="bilinear", antialias=True)
    return logits.to(model.device)


def _unpad(model: LoadedModel, low: torch.Tensor, shape: tuple[int, int]) -> torch.Tensor:
    """Return masks, shape (N, h, w), that cover the image and nothing beside it.

    As ``post_process_masks`` of ``SamProcessor`` does before it enlarges them to the image.
    """
    from torch.nn.functional import interpolate

    if not pads(model.click_processor):
        return low
    height, width = _scaled_shape(model, shape)
    side = model.click_processor.image_processor.pad_size
    large: torch.Tensor = interpolate(
        low[None], (side["height"], side["width"]), mode="bilinear", align_corners=False
    )
    return large[0, :, :height, :width]

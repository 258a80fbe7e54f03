"""Read SAM 1 in the layout of Meta's ``segment_anything``, in which micro-sam's models come.

One file of weights without settings: these follow from the shapes of the weights. transformers has
the same network under other names.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from napari_sam3_assistant.engines.checkpoints.files import FileIdentity, load_archive
from napari_sam3_assistant.engines.errors import DOWNLOAD, reading_files
from napari_sam3_assistant.errors import CheckpointInvalid

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    import torch


_POSITIONS = "prompt_encoder.pe_layer.positional_encoding_gaussian_matrix"
# Both parts of transformers' network that know the positions have them under a name of their own.
_POSITION_NAMES = (
    "shared_image_embedding.positional_embedding",
    "prompt_encoder.shared_embedding.positional_embedding",
)
_NAMES = tuple(
    (re.compile(pattern), name)
    for pattern, name in (
        (r"^image_encoder\.blocks\.(\d+)\.norm", r"vision_encoder.layers.\1.layer_norm"),
        (r"^image_encoder\.blocks\.", "vision_encoder.layers."),
        (r"^image_encoder\.patch_embed\.proj\.", "vision_encoder.patch_embed.projection."),
        (r"^image_encoder\.neck\.0\.", "vision_encoder.neck.conv1."),
        (r"^image_encoder\.neck\.1\.", "vision_encoder.neck.layer_norm1."),
        (r"^image_encoder\.neck\.2\.", "vision_encoder.neck.conv2."),
        (r"^image_encoder\.neck\.3\.", "vision_encoder.neck.layer_norm2."),
        (r"^image_encoder\.", "vision_encoder."),
        (r"^prompt_encoder\.point_embeddings\.", "prompt_encoder.point_embed."),
        (r"^prompt_encoder\.mask_downscaling\.0\.", "prompt_encoder.mask_embed.conv1."),
        (r"^prompt_encoder\.mask_downscaling\.1\.", "prompt_encoder.mask_embed.layer_norm1."),
        (r"^prompt_encoder\.mask_downscaling\.3\.", "prompt_encoder.mask_embed.conv2."),
        (r"^prompt_encoder\.mask_downscaling\.4\.", "prompt_encoder.mask_embed.layer_norm2."),
        (r"^prompt_encoder\.mask_downscaling\.6\.", "prompt_encoder.mask_embed.conv3."),
        (r"^mask_decoder\.transformer\.(.*\.)?norm", r"mask_decoder.transformer.\1layer_norm"),
        (r"^mask_decoder\.output_upscaling\.0\.", "mask_decoder.upscale_conv1."),
        (r"^mask_decoder\.output_upscaling\.1\.", "mask_decoder.upscale_layer_norm."),
        (r"^mask_decoder\.output_upscaling\.3\.", "mask_decoder.upscale_conv2."),
        (r"^(mask_decoder\.(?:output_hyper|iou_pred).*)\.layers\.0\.", r"\1.proj_in."),
        (r"^(mask_decoder\.(?:output_hyper|iou_pred).*)\.layers\.1\.", r"\1.layers.0."),
        (r"^(mask_decoder\.(?:output_hyper|iou_pred).*)\.layers\.2\.", r"\1.proj_out."),
    )
)


def read_segment_anything(file: Path) -> tuple[dict[str, Any], dict[str, torch.Tensor]]:
    """Return the settings of the network, and its weights by the names that transformers gives."""
    stored = _read(file)
    with reading_files(f"The weights in {file.name} are not of SAM 1.", DOWNLOAD):
        settings = _settings(stored)
    weights = {_rename(name): value for name, value in stored.items()}
    positions = weights.pop(_POSITIONS)
    return settings, weights | dict.fromkeys(_POSITION_NAMES, positions)


def _rename(name: str) -> str:
    for pattern, replacement in _NAMES:
        renamed, changed = pattern.subn(replacement, name)
        if changed:
            return renamed
    return name


def _read(file: Path) -> dict[str, torch.Tensor]:
    """Return the weights in memory of their own, in float32; no code in the file is run."""
    import torch

    unchanged = FileIdentity(file)
    stored = load_archive(file, DOWNLOAD)
    # A tensor may be said to be larger than what is stored of it.
    if sum(value.numel() * value.itemsize for value in stored.values()) > file.stat().st_size:
        raise CheckpointInvalid(f"{file.name} is said to hold more than it does.", DOWNLOAD)
    # Until here they are mapped from the file: had it been cut short, copying would end Python.
    unchanged.check()
    weights = {name: value.to(torch.float32, copy=True) for name, value in stored.items()}
    unchanged.check()
    return weights


def _settings(weights: Mapping[str, torch.Tensor]) -> dict[str, Any]:
    """Return what ``SamConfig`` takes, by the shapes of the weights."""

    def shape(name: str) -> tuple[int, ...]:
        return tuple(weights[name].shape)

    width, _, patch, _ = shape("image_encoder.patch_embed.proj.weight")
    grid = shape("image_encoder.pos_embed")[1]
    # Of each block: the distances that its attention tells apart, and the size of a head.
    blocks = [
        shape(f"image_encoder.blocks.{number}.attn.rel_pos_h")
        for number in range(sum(name.endswith("attn.rel_pos_h") for name in weights))
    ]
    windows = [(distances + 1) // 2 for distances, _ in blocks]
    channels = shape("image_encoder.neck.0.weight")[0]
    return {
        "vision_config": {
            "hidden_size": width,
            "output_channels": channels,
            "num_hidden_layers": len(blocks),
            "num_attention_heads": width // blocks[0][1],
            "image_size": grid * patch,
            "patch_size": patch,
            "mlp_dim": shape("image_encoder.blocks.0.mlp.lin1.weight")[0],
            "window_size": min(windows),
            "global_attn_indexes": [n for n, window in enumerate(windows) if window == grid],
            "num_pos_feats": shape(_POSITIONS)[1],
        },
        "prompt_encoder_config": {
            "hidden_size": channels,
            "image_size": grid * patch,
            "patch_size": patch,
            "mask_input_channels": shape("prompt_encoder.mask_downscaling.3.weight")[0],
        },
        "mask_decoder_config": {
            "hidden_size": channels,
            "mlp_dim": shape("mask_decoder.transformer.layers.0.mlp.lin1.weight")[0],
            "iou_head_hidden_dim": shape("mask_decoder.iou_prediction_head.layers.0.weight")[0],
        },
    }

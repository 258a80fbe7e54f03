"""Make small real checkpoints with random weights of the models that take clicks and boxes alone.

In the layouts of ``facebook/sam2.1-hiera-*``, ``yonigozlan/EdgeTAM-hf`` and ``facebook/sam-vit-*``:
no download, a second each.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

SIZE = 128
WIDTH = 128
GRID = SIZE // 16
MAPS = [[4 * GRID] * 2, [2 * GRID] * 2, [GRID] * 2]
PROMPT = {"hidden_size": WIDTH, "image_size": SIZE, "patch_size": 16}
DECODER = {
    "hidden_size": WIDTH,
    "mlp_dim": 128,
    "num_attention_heads": 4,
    "iou_head_hidden_dim": WIDTH,
}
MEMORY = {
    "image_size": SIZE,
    "memory_attention_hidden_size": WIDTH,
    "memory_attention_num_layers": 1,
    "memory_attention_rope_feat_sizes": [GRID, GRID],
    "memory_encoder_hidden_size": WIDTH,
    "memory_encoder_output_channels": 64,
    "mask_downsampler_embed_dim": WIDTH,
    "memory_fuser_embed_dim": WIDTH,
    "memory_fuser_intermediate_dim": 128,
}


def _sam2_vision() -> dict:
    widths = [16, 32, 64, 128]
    return {
        "model_type": "sam2_vision_model",
        "backbone_channel_list": widths[::-1],
        "backbone_feature_sizes": MAPS,
        "fpn_hidden_size": WIDTH,
        "backbone_config": {
            "model_type": "sam2_hiera_det_model",
            "hidden_size": widths[0],
            "image_size": [SIZE, SIZE],
            "embed_dim_per_stage": widths,
            "num_attention_heads_per_stage": [1, 2, 4, 8],
            "blocks_per_stage": [1, 1, 2, 1],
            "window_size_per_stage": [8, 4, 4, 4],
            "global_attention_blocks": [3],
        },
    }


def _edgetam_vision() -> dict:
    return {
        "model_type": "edgetam_vision_model",
        "backbone_channel_list": [64, 32, 16, 8],
        "backbone_feature_sizes": MAPS,
        "fpn_hidden_size": WIDTH,
        "backbone_config": {
            "model_type": "timm_wrapper",
            "architecture": "repvit_m1.dist_in1k",
            "num_classes": 1,
            "model_args": {
                "in_chans": 3,
                "features_only": True,
                "out_indices": [0, 1, 2, 3],
                "embed_dim": [8, 16, 32, 64],
                "depth": [1, 1, 2, 1],
            },
        },
    }


def _sam() -> dict:
    return {
        "vision_config": {
            "hidden_size": 64,
            "output_channels": WIDTH,
            "num_hidden_layers": 2,
            "num_attention_heads": 4,
            "image_size": SIZE,
            "mlp_dim": 128,
            "window_size": 4,
            "global_attn_indexes": [1],
            "num_pos_feats": WIDTH // 2,
            "initializer_range": 0.02,
        },
        "prompt_encoder_config": PROMPT,
        "mask_decoder_config": DECODER,
    }


def _make(kind: str):
    """Return the settings and the class of the network of a kind."""
    import transformers

    heads = {"prompt_encoder_config": PROMPT, "mask_decoder_config": DECODER}
    vision = {"sam2": _sam2_vision, "edgetam": _edgetam_vision}
    family = kind.removesuffix("_video")
    name = {"sam": "Sam", "sam2": "Sam2", "edgetam": "EdgeTam"}[family]
    settings = _sam() if family == "sam" else {"vision_config": vision[family](), **heads}
    if kind.endswith("_video"):
        name += "Video"
        settings |= MEMORY
    if kind == "edgetam_video":
        settings |= {
            "memory_attention_rope_k_sizes": [4, 4],
            "perceiver_resampler_num_latents": 16,
            "perceiver_resampler_num_latents_2d": 16,
        }
    return getattr(transformers, f"{name}Config")(**settings), getattr(transformers, f"{name}Model")


def _processor(kind: str):
    from transformers import (
        Sam2ImageProcessor,
        Sam2Processor,
        Sam2VideoProcessor,
        Sam2VideoVideoProcessor,
        SamImageProcessor,
        SamProcessor,
    )

    size, low = {"height": SIZE, "width": SIZE}, {"height": SIZE // 4, "width": SIZE // 4}
    if kind == "sam":
        return SamProcessor(
            SamImageProcessor(
                size={"longest_edge": SIZE},
                pad_size=size,
                mask_size={"longest_edge": SIZE // 4},
                mask_pad_size=low,
            )
        )
    image = Sam2ImageProcessor(size=size, mask_size=low)
    if kind.endswith("_video"):
        return Sam2VideoProcessor(image, Sam2VideoVideoProcessor(size=size))
    return Sam2Processor(image)


def write_tiny_sam(folder: Path, kind: str) -> Path:
    """Write a checkpoint into ``folder`` and return it.

    ``kind`` is the ``model_type``: sam2_video, sam2, edgetam_video, edgetam or sam.
    """
    import torch

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        config, network_class = _make(kind)
        network = network_class(config)
        _enliven(network)
    network.save_pretrained(folder)
    _processor(kind).save_pretrained(folder)
    return folder


def make_segment_anything():
    """Return a small SAM 1 of Meta's own package, for images whose longer side is :data:`SIZE`."""
    from functools import partial

    import torch
    from segment_anything.modeling import (
        ImageEncoderViT,
        MaskDecoder,
        PromptEncoder,
        Sam,
        TwoWayTransformer,
    )

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        model = Sam(
            ImageEncoderViT(
                depth=4,
                embed_dim=64,
                img_size=SIZE,
                mlp_ratio=2,
                norm_layer=partial(torch.nn.LayerNorm, eps=1e-6),
                num_heads=4,
                patch_size=16,
                qkv_bias=True,
                use_rel_pos=True,
                global_attn_indexes=(1, 3),
                window_size=3,
                out_chans=128,
            ),
            PromptEncoder(128, (SIZE // 16, SIZE // 16), (SIZE, SIZE), 16),
            MaskDecoder(
                transformer_dim=128,
                transformer=TwoWayTransformer(2, 128, 8, 192),
                iou_head_hidden_dim=96,
            ),
        )
        for weight in model.parameters():
            if weight.ndim > 1:
                weight.data *= 3
            if not weight.any():
                torch.nn.init.normal_(weight, std=0.3)
    return model.eval()


def write_full_size_sam2(folder: Path, **backbone) -> Path:
    """Write a checkpoint of the size of ``facebook/sam2.1-hiera-tiny`` (156 MB) into ``folder``.

    Other settings of the backbone make it one of the others.
    """
    import torch
    from transformers import (
        Sam2HieraDetConfig,
        Sam2ImageProcessor,
        Sam2VideoConfig,
        Sam2VideoModel,
        Sam2VideoProcessor,
        Sam2VideoVideoProcessor,
        Sam2VisionConfig,
    )

    encoder = Sam2HieraDetConfig(**backbone)
    vision = Sam2VisionConfig(
        backbone_config=encoder, backbone_channel_list=encoder.embed_dim_per_stage[::-1]
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network = Sam2VideoModel(Sam2VideoConfig(vision_config=vision))
    network.save_pretrained(folder)
    Sam2VideoProcessor(Sam2ImageProcessor(), Sam2VideoVideoProcessor()).save_pretrained(folder)
    return folder


def _enliven(network) -> None:
    """Have weights that matter: those of a new model lose every object, or are 0."""
    import torch

    for name, weight in network.named_parameters():
        if not weight.any() and "memory" in name:
            torch.nn.init.normal_(weight)
        elif name.endswith("pred_obj_score_head.proj_out.bias"):
            weight.data += 3
        elif weight.ndim > 1 and not name.startswith("vision_encoder.backbone"):
            weight.data *= 4

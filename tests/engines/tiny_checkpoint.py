"""Make a small real SAM 3 checkpoint with random weights, in the layout of ``facebook/sam3``.

5.7 million parameters, no download; see engines.md, section A5.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

SIZE = 224
QUERIES = 20
WIDTH = 128


def _byte_symbols() -> list[str]:
    """The 256 printable stand-ins for bytes that CLIP's byte-pair tokenizer starts from."""
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    spare = iter(range(256, 512))
    return [chr(byte) if byte in printable else chr(next(spare)) for byte in range(256)]


def _vision(width: int = WIDTH, layers: int = 2) -> dict:
    grid = SIZE // 14
    return {
        "model_type": "sam3_vision_model",
        "fpn_hidden_size": WIDTH,
        "backbone_feature_sizes": [[4 * grid] * 2, [2 * grid] * 2, [grid] * 2],
        "backbone_config": {
            "model_type": "sam3_vit_model",
            "hidden_size": width,
            "intermediate_size": 2 * width,
            "num_hidden_layers": layers,
            "num_attention_heads": 4,
            "image_size": SIZE,
            "pretrain_image_size": SIZE,
            "window_size": 8,
            "global_attn_indexes": [layers - 1],
        },
    }


def _detector(vocabulary: int, vision: dict) -> dict:
    head = {"hidden_size": WIDTH, "num_attention_heads": 4, "intermediate_size": 256}
    return {
        "model_type": "sam3",
        "vision_config": vision,
        "text_config": {
            "model_type": "clip_text_model",
            "vocab_size": vocabulary,
            "hidden_size": 64,
            "intermediate_size": 128,
            "projection_dim": 64,
            "num_hidden_layers": 2,
            "num_attention_heads": 4,
            "max_position_embeddings": 32,
            "eos_token_id": vocabulary - 1,
            "bos_token_id": vocabulary - 2,
            "pad_token_id": vocabulary - 1,
        },
        "geometry_encoder_config": {**head, "num_layers": 1},
        "detr_encoder_config": {**head, "num_layers": 1},
        "detr_decoder_config": {**head, "num_layers": 1, "num_queries": QUERIES},
        "mask_decoder_config": {"hidden_size": WIDTH, "num_attention_heads": 4},
    }


def _tracker(vision: dict) -> dict:
    return {
        "model_type": "sam3_tracker_video",
        "image_size": SIZE,
        "vision_config": vision,
        "prompt_encoder_config": {"hidden_size": WIDTH, "image_size": SIZE},
        "mask_decoder_config": {
            "hidden_size": WIDTH,
            "mlp_dim": 128,
            "num_attention_heads": 4,
            "iou_head_hidden_dim": WIDTH,
        },
        "memory_attention_hidden_size": WIDTH,
        "memory_attention_num_layers": 1,
        "memory_attention_feed_forward_hidden_size": 128,
        "memory_encoder_hidden_size": WIDTH,
        "memory_encoder_output_channels": 64,
        "mask_downsampler_embed_dim": WIDTH,
        "memory_fuser_embed_dim": WIDTH,
        "memory_fuser_intermediate_dim": 128,
    }


def _write_tokenizer(folder: Path):
    from transformers import CLIPTokenizer

    symbols = _byte_symbols()
    words = [*symbols, *(f"{symbol}</w>" for symbol in symbols)]
    words += ["<|startoftext|>", "<|endoftext|>"]
    vocabulary = {word: number for number, word in enumerate(words)}
    (folder / "vocab.json").write_text(json.dumps(vocabulary), encoding="utf-8")
    (folder / "merges.txt").write_text("#version: 0.2\n", encoding="utf-8")
    return CLIPTokenizer(vocab=vocabulary, merges=[], model_max_length=32)


def write_tiny_checkpoint(folder: Path, width: int = WIDTH, layers: int = 2) -> Path:
    """Write a checkpoint of 5.7 million parameters into ``folder`` and return it.

    Another width and number of layers of the image encoder make it heavier.
    """
    from transformers import Sam3VideoConfig

    tokenizer = _write_tokenizer(folder)
    config = Sam3VideoConfig(
        detector_config=_detector(len(tokenizer), _vision(width, layers)),
        tracker_config=_tracker(_vision(width, layers)),
        low_res_mask_size=4 * SIZE // 14,
        score_threshold_detection=0.1,
        new_det_thresh=0.1,
        hotstart_delay=0,
    )
    return _write_model(folder, config, tokenizer)


def write_full_size_checkpoint(folder: Path) -> Path:
    """Write a checkpoint of the size of ``facebook/sam3`` (3.4 GB) into ``folder``."""
    from transformers import Sam3VideoConfig

    return _write_model(folder, Sam3VideoConfig(), _write_tokenizer(folder))


def _write_model(folder: Path, config, tokenizer) -> Path:
    """Write random weights, always the same ones, and the files that belong to them."""
    import torch
    from transformers import (
        Sam2VideoVideoProcessor,
        Sam3ImageProcessor,
        Sam3VideoModel,
        Sam3VideoProcessor,
    )

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = Sam3VideoModel(config)
        # A trained model's is not zero, as a new one's is: with zero nothing would notice its loss.
        torch.nn.init.normal_(model.tracker_model.no_memory_embedding)
    model.save_pretrained(folder)
    size = {"height": config.image_size, "width": config.image_size}
    low = {"height": config.low_res_mask_size, "width": config.low_res_mask_size}
    half = {"image_mean": [0.5] * 3, "image_std": [0.5] * 3}
    Sam3VideoProcessor(
        Sam3ImageProcessor(size=size, mask_size=low),
        Sam2VideoVideoProcessor(size=size, **half),
        tokenizer,
    ).save_pretrained(folder)
    return folder

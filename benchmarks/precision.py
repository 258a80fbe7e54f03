"""Measure the number formats of the image encoders at full size, with random weights.

    python benchmarks/precision.py sam2.1-tiny             a few minutes
    python benchmarks/precision.py sam3 sam2.1-small ...   sam3 takes 8 GB of memory

Prints the table of ``napari-sam3 doctor --measure``: seconds of wall time and of all cores for one
encoding, and how much the masks overlap with those of float32. No download: the weights are random
and are written to a folder that is removed afterwards.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from pathlib import Path

from napari_sam3_assistant import api

sys.path.insert(0, str(Path(__file__).parents[1]))

# As sam2/configs/sam2.1 of Meta's repository, where they differ from the tiny one.
SAM2 = {
    "sam2.1-tiny": {},
    "sam2.1-small": {"blocks_per_stage": [1, 2, 11, 2], "global_attention_blocks": [7, 10, 13]},
    "sam2.1-base-plus": {
        "hidden_size": 112,
        "embed_dim_per_stage": [112, 224, 448, 896],
        "num_attention_heads": 2,
        "num_attention_heads_per_stage": [2, 4, 8, 16],
        "blocks_per_stage": [2, 3, 16, 3],
        "global_attention_blocks": [12, 16, 20],
        "window_positional_embedding_background_size": [14, 14],
    },
    "sam2.1-large": {
        "hidden_size": 144,
        "embed_dim_per_stage": [144, 288, 576, 1152],
        "num_attention_heads": 2,
        "num_attention_heads_per_stage": [2, 4, 8, 16],
        "blocks_per_stage": [2, 6, 36, 4],
        "global_attention_blocks": [23, 33, 43],
        "window_positional_embedding_background_size": [7, 7],
        "window_size_per_stage": [8, 4, 16, 8],
    },
}


def write(model: str, folder: Path) -> None:
    """Write a checkpoint of a model's size, with random weights."""
    from tests.engines.tiny_checkpoint import write_full_size_checkpoint
    from tests.engines.tiny_sam import write_full_size_sam2

    if model == "sam3":
        write_full_size_checkpoint(folder)
    else:
        write_full_size_sam2(folder, **SAM2[model])


def main() -> None:
    """Measure the models that are named."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("models", nargs="+", choices=["sam3", *SAM2])
    parser.add_argument("--device", default="cpu")
    chosen = parser.parse_args()
    os.environ.pop("NAPARI_SAM3_PRECISION", None)
    for model in chosen.models:
        with tempfile.TemporaryDirectory() as folder:
            write(model, Path(folder))
            measured = api.measure_precision(folder, device=chosen.device)
        print(f"{model}, at full size, random weights", *measured.lines(), sep="\n", flush=True)


if __name__ == "__main__":
    main()

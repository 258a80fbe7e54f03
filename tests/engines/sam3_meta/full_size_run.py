"""Run the engine at full size with random weights on the CPU, and print what it took.

Needs 8 GB of memory and 3.5 GB of disk; takes some minutes::

    python tests/engines/sam3_meta/full_size_run.py FOLDER

``FOLDER`` gets a ``sam3.pt`` of full size, written by a process of its own, so that the peak of
this one is that of a user who loads the file.
"""

from __future__ import annotations

import json
import resource
import subprocess
import sys
import time
from contextlib import contextmanager
from itertools import islice, product
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_sam3_assistant.core.options import PredictOptions
from napari_sam3_assistant.core.progress import NullReporter
from napari_sam3_assistant.core.prompts import (
    BoxPrompt,
    ExemplarPrompt,
    MaskPrompt,
    PointPrompt,
    PromptSet,
)
from napari_sam3_assistant.core.regions import Region
from napari_sam3_assistant.engines.sam3_meta import SPEC, compat, loading

if TYPE_CHECKING:
    import torch

QUIET = NullReporter()


def write_vocabulary(folder: Path) -> None:
    """Write a vocabulary of the right size."""
    symbols = [chr(code) for code in (*range(33, 127), *range(161, 173), *range(174, 300))]
    merges = [f"{a} {b}" for a, b in islice(product(symbols, symbols), loading.MERGE_COUNT)]
    (folder / loading.MERGES_NAME).write_text("\n".join(["#version: 0.2", *merges]), "utf-8")


def random_weights(folder: Path) -> dict[str, torch.Tensor]:
    """Return random weights by their names in ``sam3.pt``; the vocabulary is there."""
    import torch

    builder = compat.import_model_builder(compat.choose_patches())
    torch.manual_seed(0)
    model = compat.build_image_model(builder, loading.find_bpe(folder), "cpu")
    text = model.backbone.language_backbone.encoder
    torch.nn.init.normal_(text.positional_embedding, std=0.02)
    torch.nn.init.normal_(text.text_projection, std=0.03)
    clicks = "inst_interactive_predictor.model."
    return {
        "tracker." + name.removeprefix(clicks) if name.startswith(clicks) else "detector." + name: v
        for name, v in model.state_dict().items()
    }


def run(folder: Path) -> dict[str, Any]:
    """Load, encode and prompt; return seconds by step, and what memory it took.

    Beside the seconds on the clock stand those of all cores: on a busy machine they say more.
    """
    from napari_sam3_assistant.engines.sam3_meta.engine import Sam3MetaEngine

    figures: dict[str, Any] = {}

    @contextmanager
    def timed(step):
        start, used = time.perf_counter(), time.process_time()
        yield
        figures[step] = {
            "clock": round(time.perf_counter() - start, 2),
            "cores": round(time.process_time() - used, 2),
        }

    def ask(step, threshold=0.0, **prompts):
        with timed(step):
            answer = engine.predict(
                encoding, PromptSet(**prompts), PredictOptions(threshold), QUIET
            )
        assert all(np.isfinite(record.score) for record in answer.objects), step
        return answer.objects

    engine = Sam3MetaEngine(SPEC, folder, "cpu")
    with timed("load"):
        engine.load(QUIET)
    pixels = np.random.default_rng(0).integers(0, 256, (512, 512, 3), dtype=np.uint8)
    with timed("encode"):
        encoding = engine.embed(pixels, QUIET)
    assert len(ask("first phrase", text="cell")) > 0
    assert len(ask("second phrase", text="nucleus")) > 0
    ask("another threshold", threshold=0.2, text="nucleus")
    examples = (
        ExemplarPrompt(Region(100, 100, 160, 160)),
        ExemplarPrompt(Region(300, 300, 340, 360), positive=False),
    )
    assert len(ask("exemplars", exemplars=examples)) > 0
    ask("first click", points=(PointPrompt(200, 300),))
    ask("second click", points=(PointPrompt(200, 300), PointPrompt(10, 10, positive=False)))
    ask("box", boxes=(BoxPrompt(Region(100, 100, 300, 300)),))
    ask("eight boxes", boxes=tuple(BoxPrompt(Region(y, y, y + 90, y + 90)) for y in range(8)))
    painted = np.zeros((512, 512), bool)
    painted[100:200, 150:300] = True
    ask("mask", masks=(MaskPrompt.from_plane(painted),))
    figures["encoding, MB"] = round(encoding.nbytes / 2**20)
    with timed("close"):
        engine.close()
    # Kilobytes on Linux.
    figures["peak memory, GB"] = round(
        resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20, 2
    )
    return figures


def main() -> None:
    """Write the file if it is not there, run, and print the figures as JSON."""
    folder = Path(sys.argv[1])
    if len(sys.argv) > 2:
        write_vocabulary(folder)
        import torch

        torch.save(random_weights(folder), folder / "sam3.pt")
        return
    if not (folder / "sam3.pt").is_file():
        subprocess.run([sys.executable, __file__, str(folder), "write"], check=True)
    sys.stdout.write(json.dumps(run(folder)) + "\n")


if __name__ == "__main__":
    main()

"""Measure whether Unload gives the memory of the model back.

    python benchmarks/unload.py              SAM 3 by transformers and by Meta's package, a minute
    python benchmarks/unload.py sam3-meta    one of them

The weights are random, 0.8 GB, written to a folder that is removed afterwards. Each engine has a
process of its own with real napari layers and no window. "Before" is after a first run and Unload
of tiny weights: PyTorch's code stays in memory, as Python can't unload it. Then: load and run,
Unload, twice. Where there is a GPU, what PyTorch has allocated there counts, too. Fails where more
than 5 % above the memory before is left.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
from viewer_session import MIB, Desk, random_weights, resident

from napari_sam3_assistant.core.prompts import Tool

ENGINES = ("sam3-transformers", "sam3-meta")
SIZE = {"width": 1280, "layers": 14}
LIMIT = 0.05


def on_gpu():
    """What PyTorch has allocated on the GPU, in bytes; 0 where there is none."""
    import torch

    return torch.cuda.memory_allocated() if torch.cuda.is_available() else 0


def tell(name, before=None):
    """Print a line and return the memory, in bytes: of the process, and of the GPU."""
    now = resident(), on_gpu()
    change = "" if before is None else f"{now[0] / before[0] - 1:+7.1%}"
    in_ram, allocated = now[0] / MIB, now[1] / MIB
    print(f"{name:<18} {in_ram:8.0f} MiB {change:>8}   GPU {allocated:8.0f} MiB", flush=True)
    return now


def use(engine, folder):
    """Load and run; returns the session."""
    desk = Desk(engine, folder)
    desk.viewer.add_image(np.random.default_rng(0).integers(0, 256, (512, 512), np.uint8))
    desk.model.tool = Tool.POINTS
    desk.binding.prompts.arm()
    desk.viewer.layers["SAM3 points"].add((250, 250))
    desk.run()
    return desk


def unload(desk):
    desk.finish(desk.session.loading.unload())
    desk.close()


def measure(engine):
    """Print the figures of one engine; returns whether too much is left."""
    print(engine)
    kept = 0
    with tempfile.TemporaryDirectory() as place:
        tiny, heavy = Path(place) / "tiny", Path(place) / "heavy"
        with random_weights(engine, tiny):
            unload(use(engine, tiny))
        with random_weights(engine, heavy, **SIZE):
            before = tell("before")
            for _ in range(2):
                desk = use(engine, heavy)
                tell("loaded, one run", before)
                unload(desk)
                del desk
                after = tell("after Unload", before)
                kept = max(kept, after[0] / before[0] - 1, (after[1] - before[1]) / max(before))
    return int(kept > LIMIT)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("engine", nargs="?", choices=ENGINES)
    chosen = parser.parse_args().engine
    if chosen:
        return measure(chosen)
    runs = [subprocess.run([sys.executable, __file__, name], check=False) for name in ENGINES]
    return int(any(done.returncode for done in runs))


if __name__ == "__main__":
    sys.exit(main())

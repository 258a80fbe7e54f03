"""Check the SAM engines on this machine's GPUs, without a download: the weights are random.

    python tools/check_gpu.py                    every GPU, at full size, some minutes
    python tools/check_gpu.py --device cpu --tiny   proves the script where there is no GPU

Run it from a checkout with ``pip install -e ".[sam3]"``. For each engine and format it prints what
loading, encoding, a click, a phrase and a frame of a stack take, and the library's own call of
the image encoder; what memory is left after Unload, and whether running out of memory is survived;
and for each model how the masks agree with those of the CPU. The same goes to a JSON file.
"""

from __future__ import annotations

import argparse
import json
import platform
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1]))

from napari_sam3_assistant import api
from napari_sam3_assistant.core.display import FrameSource, view_of_array
from napari_sam3_assistant.core.options import PredictOptions
from napari_sam3_assistant.core.progress import NullReporter
from napari_sam3_assistant.core.prompts import PointPrompt, PromptSet
from napari_sam3_assistant.core.tracks import TrackSeed
from napari_sam3_assistant.engines import registry
from napari_sam3_assistant.engines.device import (
    free_cache,
    give_back_memory,
    read_devices,
    working_devices,
)
from napari_sam3_assistant.engines.errors import map_engine_errors
from napari_sam3_assistant.errors import EngineError, OutOfDeviceMemory

if TYPE_CHECKING:
    from collections.abc import Callable

REPORTER = NullReporter()
FRAMES = 8
CLICK = PointPrompt(60, 80)


def picture(side: int = 256) -> np.ndarray:
    """Return an 8-bit image with structure everywhere."""
    rows, columns = np.mgrid[:side, :side]
    return (127 + 60 * np.sin(rows / 17) + 60 * np.cos(columns / 19)).astype(np.uint8)


def write_models(folder: Path, *, tiny: bool) -> dict[str, Path]:
    """Write the checkpoints with random weights, by engine and model."""
    from tests.engines.tiny_checkpoint import write_full_size_checkpoint, write_tiny_checkpoint
    from tests.engines.tiny_sam import write_full_size_sam2, write_tiny_sam

    made = {name: folder / name for name in ("sam3", "sam2")}
    for path in made.values():
        path.mkdir()
    if tiny:
        write_tiny_checkpoint(made["sam3"])
        write_tiny_sam(made["sam2"], "sam2_video")
    else:
        write_full_size_checkpoint(made["sam3"])
        write_full_size_sam2(made["sam2"])
    return made


def timed(work: Callable[[], Any], device: str, repeats: int = 3) -> float:
    """Return the least seconds of some runs; the GPU has finished in each."""
    import torch

    work()
    took = []
    for _ in range(repeats):
        started = time.perf_counter()
        work()
        if device.startswith("cuda"):
            torch.cuda.synchronize(device)
        took.append(time.perf_counter() - started)
    return min(took)


def allocated(device: str) -> int:
    """Return the bytes of a GPU that PyTorch has given out; 0 elsewhere."""
    import torch

    return torch.cuda.memory_allocated(device) if device.startswith("cuda") else 0


def check(name: str, folder: Path, device: str, precision: str) -> dict[str, Any]:
    """Return what one model does on a device in a number format."""
    before = allocated(device)
    engine = registry.create(name, folder, device, precision)
    started = time.perf_counter()
    engine.load(REPORTER)
    row = {"load": time.perf_counter() - started, **measure(engine, device)}
    engine.close()
    give_back_memory()
    row["bytes_after_unload"] = allocated(device) - before
    return row


def measure(engine: Any, device: str) -> dict[str, Any]:  # noqa: ANN401 - an engine by transformers
    """Return how long the parts of an engine's work take, and what a full memory does."""
    import torch

    row: dict[str, Any] = {"works_in": engine.precision}
    image = np.stack([picture()] * 3, -1)
    row["encode"] = timed(lambda: engine.embed(image, REPORTER), device)
    pixels = engine.model.click_processor(images=image, return_tensors="pt")["pixel_values"]
    encoder = getattr(engine.model, "detector", engine.model.clicks).vision_encoder

    def directly() -> None:
        with torch.inference_mode():
            encoder(pixels.to(device))

    row["encode_by_library"] = timed(directly, device)
    encoding = engine.embed(image, REPORTER)

    def predict(prompts: PromptSet) -> None:
        engine.predict(encoding, prompts, PredictOptions(), REPORTER)

    row["click"] = timed(lambda: predict(PromptSet(points=(CLICK,))), device)
    if "text" in engine.spec.accepts:
        row["phrase"] = timed(lambda: predict(PromptSet(text="cell")), device)
    stack = FrameSource(view_of_array(np.stack([picture()] * FRAMES), plane=0), 0)
    track = engine.track(stack, PredictOptions(), lambda: 9)
    track.add(TrackSeed(0, 1, points=(CLICK,)))
    started = time.perf_counter()
    found = list(track.propagate(range(FRAMES), REPORTER))
    row["frame"] = (time.perf_counter() - started) / len(found)
    track.close()
    if device.startswith("cuda"):
        row["out_of_memory"] = fill_memory(engine, image, device)
    return row


def fill_memory(engine: Any, image: np.ndarray, device: str) -> str:  # noqa: ANN401
    """Return what happens where the GPU is full; afterwards the engine must work again."""
    import torch

    free_cache()
    total = torch.cuda.get_device_properties(device).total_memory
    torch.cuda.set_per_process_memory_fraction(allocated(device) / total + 0.001, device)
    told = "did not run out of memory"
    try:
        with map_engine_errors():
            engine.embed(image, REPORTER)
    except OutOfDeviceMemory:
        told = "told, and works again"
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0, device)
    free_cache()
    engine.embed(image, REPORTER)
    return told


def main() -> int:
    """Check what is asked for; 1 where something does not agree or can't run."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--device", help="one device (default: every GPU)")
    parser.add_argument("--tiny", action="store_true", help="tiny models, seconds")
    parser.add_argument("--json", type=Path, default=Path("check_gpu.json"))
    chosen = parser.parse_args()
    devices = [chosen.device] if chosen.device else list(working_devices(read_devices())[1:])
    if not devices:
        print("No GPU works here. `--device cpu --tiny` proves the script.")
        return 1
    import torch

    report: dict[str, Any] = {
        "python": platform.python_version(),
        "torch": torch.__version__,
        "devices": {
            one: torch.cuda.get_device_name(one) if one.startswith("cuda") else platform.processor()
            for one in devices
        },
        "size": "tiny" if chosen.tiny else "full",
        "rows": [],
    }
    failed = False
    with tempfile.TemporaryDirectory() as folder:
        for model, path in write_models(Path(folder), tiny=chosen.tiny).items():
            name = "sam3-transformers" if model == "sam3" else "sam-transformers"
            for device in devices:
                for precision in ("float32", "bfloat16"):
                    row = {"model": model, "device": device, "precision": precision}
                    try:
                        row |= check(name, path, device, precision)
                    except EngineError as error:
                        row["error"], failed = str(error), True
                    report["rows"].append(row)
                    print(*(f"{key}={format_value(value)}" for key, value in row.items()))
                compared = api.compare_devices(path, devices=("cpu", device))
                print(*compared.lines(), sep="\n")
                report["rows"].append(
                    {"model": model, "device": device, "agrees_with_cpu": compared.agrees}
                )
                failed |= not compared.agrees
    chosen.json.write_text(json.dumps(report, indent=1), encoding="utf-8")
    print(f"Written to {chosen.json}.")
    return int(failed)


def format_value(value: object) -> str:
    """Return a number with as many digits as matter."""
    return f"{value:.4g}" if isinstance(value, float) else str(value)


if __name__ == "__main__":
    sys.exit(main())

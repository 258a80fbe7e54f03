"""Check the SAM engines on this machine's GPUs, without a download: the weights are random.

    python tools/check_gpu.py                    every GPU, at full size, some minutes
    python tools/check_gpu.py --device cpu --tiny   proves the script where there is no GPU

Run it from a checkout with ``pip install -e ".[sam3]"`` and pytest and hypothesis. For each engine
and format it prints

- what loading, encoding, a click, a phrase, a tile of a scan and a frame of a stack (of 1, 4 and 16
  objects) take, what the library's own calls take for the same, and whether they find the same;
- what an image takes by the library in batches of 2 and 4, as tiles in batches would, and with
  ``torch.compile``, and what its pixels take to the GPU from ordinary and from pinned memory;
- where the memory of followed objects lies when the GPU is nearly full, whether running out of
  memory is survived, and what is left after Unload;

and for each model how the masks agree with those of the CPU, and for each GPU whether the tests of
equality with the library pass on it. The same goes to a JSON file.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1]))
sys.path.insert(1, str(Path(__file__).parents[1] / "tests"))

from napari_sam3_assistant import api
from napari_sam3_assistant.core.display import FrameSource, view_of_array
from napari_sam3_assistant.core.options import PredictOptions
from napari_sam3_assistant.core.progress import NullReporter
from napari_sam3_assistant.core.prompts import Everything, PointPrompt, PromptSet
from napari_sam3_assistant.core.tracks import TrackSeed
from napari_sam3_assistant.engines import registry
from napari_sam3_assistant.engines.caching_engine import CachingEngine
from napari_sam3_assistant.engines.device import (
    free_cache,
    give_back_memory,
    read_devices,
    working_devices,
)
from napari_sam3_assistant.engines.errors import map_engine_errors
from napari_sam3_assistant.errors import EngineError, OutOfDeviceMemory

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

ROOT = Path(__file__).parents[1]
REPORTER = NullReporter()
CLICK, PHRASE = PointPrompt(60, 80), "cell"
# A mask of ours and the library's own are the same where they share so much.
SAME = 0.99
SUITES = (
    "tests/engines/sam3_transformers/test_equality.py",
    "tests/engines/sam3_transformers/test_video_equality.py",
    "tests/engines/sam3_transformers/test_video_corrections.py",
    "tests/engines/sam_transformers/test_sam_equality.py",
    "tests/engines/sam_transformers/test_sam_video.py",
    "tests/engines/sam3_meta/test_meta_equality.py",
    "tests/engines/sam3_meta/test_meta_video_equality.py",
    "tests/engines/sam3_meta/test_meta_video_corrections.py",
    "tests/engines/sam3_meta/test_multiplex_real.py",
)
TRACKERS = {"sam3": "Sam3TrackerVideo", "sam2": "Sam2Video"}
# Below so much free memory that of followed objects lies in the computer's, see engines/device.py.
NEARLY_FULL = 4 << 30


def picture(side: int = 256) -> np.ndarray:
    """Return an 8-bit image with structure everywhere."""
    rows, columns = np.mgrid[:side, :side]
    return (127 + 60 * np.sin(rows / 17) + 60 * np.cos(columns / 19)).astype(np.uint8)


def write_models(folder: Path, models: Iterable[str], *, tiny: bool) -> dict[str, Path]:
    """Write the checkpoints of models with random weights."""
    from tests.engines.tiny_checkpoint import write_full_size_checkpoint, write_tiny_checkpoint
    from tests.engines.tiny_sam import write_full_size_sam2, write_tiny_sam

    def tiny_sam2(path: Path) -> Path:
        return write_tiny_sam(path, "sam2_video")

    write = {
        "sam3": write_tiny_checkpoint if tiny else write_full_size_checkpoint,
        "sam2": tiny_sam2 if tiny else write_full_size_sam2,
    }
    made = {name: folder / name for name in models}
    for name, path in made.items():
        path.mkdir()
        write[name](path)
    return made


def timed(work: Callable[[], Any], device: str, repeats: int = 3) -> float:
    """Return the least seconds of some runs after a first one; the GPU has finished in each."""
    import torch

    took = []
    for _ in range(1 + repeats):
        started = time.perf_counter()
        work()
        if device.startswith("cuda"):
            torch.cuda.synchronize(device)
        took.append(time.perf_counter() - started)
    return min(took[1:])


def allocated(device: str) -> int:
    """Return the bytes of a GPU that PyTorch has given out; 0 elsewhere."""
    import torch

    return torch.cuda.memory_allocated(device) if device.startswith("cuda") else 0


def check(
    model: str, folder: Path, device: str, precision: str, backend: str, frames: int
) -> dict[str, Any]:
    """Return what one model does on a device in a number format."""
    name = "sam3-transformers" if model == "sam3" else "sam-transformers"
    before = allocated(device)
    engine = registry.create(name, folder, device, precision)
    started = time.perf_counter()
    engine.load(REPORTER)
    row = {"load": time.perf_counter() - started}
    measured, found = measure(engine, device, frames)
    row |= measured
    row |= measure_encoder(engine, device, backend)
    if device.startswith("cuda"):
        row["out_of_memory"] = fill_memory(engine, np.stack([picture()] * 3, -1), device)
    engine.close()
    give_back_memory()
    row["bytes_after_unload"] = allocated(device) - before
    if precision == "float32":
        row["frame_by_library"] = time_frame(model, folder, device, frames)
        row |= compare_with_library(model, folder, device, found)
    return row


def measure(
    engine: Any,  # noqa: ANN401 - an engine by transformers
    device: str,
    frames: int,
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return how long the parts of an engine's work take, and what a click and a phrase find."""
    row: dict[str, Any] = {"works_in": engine.precision}
    image = np.stack([picture()] * 3, -1)
    row["encode"] = timed(lambda: engine.embed(image, REPORTER), device)
    encoding = engine.embed(image, REPORTER)
    found: dict[str, Any] = {}

    def predict(prompts: PromptSet) -> Any:  # noqa: ANN401 - objects
        return engine.predict(encoding, prompts, PredictOptions(threshold=0.0), REPORTER).objects

    asked = {"click": PromptSet(points=(CLICK,)), "phrase": PromptSet(text=PHRASE)}
    for part, prompts in asked.items():
        if part == "click" or "text" in engine.spec.accepts:
            row[part] = timed(lambda prompts=prompts: predict(prompts), device)
            found[part] = [whole(one) for one in predict(prompts)]
    row["scan_tile"] = scan_tile(engine)
    for objects in (1, 4, 16):
        row[f"frame_of_{objects}"], _ = follow(engine, device, frames, objects=objects)
    _, row["remembers_when_full_on"] = follow(engine, device, frames, spare=NEARLY_FULL)
    return row, found


def whole(record: Any) -> np.ndarray:  # noqa: ANN401 - an object
    """Return an object's mask on the whole picture."""
    mask = np.zeros_like(picture(), bool)
    mask[record.region.slices] = record.mask
    return mask


def scan_tile(engine: Any) -> float:  # noqa: ANN401
    """Return the seconds a tile of a scan: by a phrase, or by points where none is taken."""
    text = PHRASE if "text" in engine.spec.accepts else None
    tiles: list[object] = []
    with tempfile.TemporaryDirectory() as folder:
        started = time.perf_counter()
        api.scan(
            picture(512),
            output=Path(folder) / "labels.zarr",
            text=text,
            everything=False if text else Everything(points_per_side=2),
            tile=256,
            overlap=0.0,
            engine=CachingEngine(engine),
            on_step=tiles.append,
        )
        return (time.perf_counter() - started) / len(tiles)


def compare_with_library(
    model: str, folder: Path, device: str, found: dict[str, list[np.ndarray]]
) -> dict[str, Any]:
    """Return how long a click and a phrase take by the library itself, which encodes for each.

    And how much its masks and ours share: the least of all objects, 0 where their numbers differ.
    """
    import torch

    from contracts.documented_use import as_library_points
    from engines.sam3_transformers import test_equality as sam3
    from engines.sam_transformers import test_sam_equality as sam2

    image = np.stack([picture()] * 3, -1)
    row: dict[str, Any] = {}
    try:
        library = (
            sam3.Reference(folder, device)
            if model == "sam3"
            else sam2.Reference("sam2_video", folder, device)
        )
        click = getattr(library, "click", library)
        points = as_library_points((CLICK,))

        def by_click() -> Any:  # noqa: ANN401 - masks
            return click(image, multimask=True, **points)[0]

        def by_phrase() -> Any:  # noqa: ANN401 - masks
            return library.find(image, 0.0, text=PHRASE)["masks"].cpu().numpy() > 0

        calls = {"click": by_click, "phrase": by_phrase}
        for part, masks in found.items():
            row[f"encode_and_{part}_by_library"] = timed(calls[part], device, repeats=1)
            theirs = [mask for mask in calls[part]() if mask.any()]
            row[f"{part}_as_library"] = share(masks, theirs)
        if "phrase" in found:
            row["tile_of_4_by_library"] = timed(lambda: find_in_four(library), device, 1) / 4
    except torch.OutOfMemoryError:
        row["by_library"] = "out of memory"
    give_back_memory()
    return row


def find_in_four(library: Any) -> None:  # noqa: ANN401 - of the tests of equality
    """Look for a phrase on four tiles at once, as a scan in batches would."""
    import torch

    tiles = [np.stack([picture()] * 3, -1)] * 4
    inputs = library.processor(images=tiles, text=[PHRASE] * 4, return_tensors="pt")
    with torch.inference_mode():
        answer = library.detector(**inputs.to(library.device))
    library.processor.post_process_instance_segmentation(
        answer, target_sizes=inputs["original_sizes"].tolist()
    )


def share(ours: list[np.ndarray], theirs: list[np.ndarray]) -> float:
    """Return the least intersection over union of masks in the same order."""
    if len(ours) != len(theirs):
        return 0.0
    both = zip(ours, theirs, strict=True)
    return min(((one & other).sum() / (one | other).sum() for one, other in both), default=1.0)


def follow(
    engine: Any,  # noqa: ANN401
    device: str,
    frames: int,
    *,
    spare: int = 0,
    objects: int = 1,
) -> tuple[float, list[str]]:
    """Return the seconds a frame, and where the tracker remembers; ``spare`` bytes are free."""
    import torch

    filled = 0
    if spare and device.startswith("cuda"):
        filled = max(0, torch.cuda.mem_get_info(device)[0] - spare)
    filler = torch.empty(filled, dtype=torch.uint8, device=device)
    stack = FrameSource(view_of_array(np.stack([picture()] * frames), plane=0), 0)
    track = engine.track(stack, PredictOptions(), lambda: 9)
    for number in range(objects):
        track.add(TrackSeed(0, 1 + number, points=(CLICK,)))
    started = time.perf_counter()
    found = list(track.propagate(range(frames), REPORTER))
    took = (time.perf_counter() - started) / len(found)
    places = {
        str(record["maskmem_features"].device)
        for one in track._objects.values()  # noqa: SLF001
        for records in one.outputs.values()
        for record in records.values()
        if "maskmem_features" in record
    }
    track.close()
    del filler
    return took, sorted(places)


def time_frame(model: str, folder: Path, device: str, count: int) -> float:
    """Return the seconds a frame of the library's own documented use, weights loaded anew."""
    import torch
    import transformers

    network = getattr(transformers, f"{TRACKERS[model]}Model").from_pretrained(folder)
    processor = getattr(transformers, f"{TRACKERS[model]}Processor").from_pretrained(folder)
    network = network.eval().to(device)
    frames = np.stack([np.stack([picture()] * 3, -1)] * count)
    session = processor.init_video_session(video=frames, inference_device=device)
    processor.add_inputs_to_inference_session(
        session, 0, 1, input_points=[[[[CLICK.x, CLICK.y]]]], input_labels=[[[1]]]
    )
    with torch.inference_mode():
        started = time.perf_counter()
        for answer in network.propagate_in_video_iterator(session, start_frame_idx=0):
            processor.post_process_masks(
                [answer.pred_masks], original_sizes=[frames.shape[1:3]], binarize=False
            )[0].cpu()
    took = (time.perf_counter() - started) / count
    del network, session
    give_back_memory()
    return took


def measure_encoder(engine: Any, device: str, backend: str) -> dict[str, Any]:  # noqa: ANN401
    """Return how long the library's image encoder takes: in batches, and compiled."""
    import torch

    image = np.stack([picture()] * 3, -1)
    encoder = getattr(engine.model, "detector", engine.model.clicks).vision_encoder
    row: dict[str, Any] = {}

    def prepare() -> torch.Tensor:
        inputs = engine.model.click_processor(images=image, return_tensors="pt")
        made: torch.Tensor = inputs["pixel_values"]
        return made

    def encode(call: Any, pixels: torch.Tensor) -> None:  # noqa: ANN401 - a module
        with torch.inference_mode():
            call(pixels.to(device))

    pixels = prepare()
    row["encode_by_library"] = timed(lambda: encode(encoder, prepare()), device)
    for count in (2, 4):
        batch = pixels.expand(count, -1, -1, -1)
        took = timed(lambda batch=batch: encode(encoder, batch), device, repeats=1)
        row[f"encode_of_{count}"] = took / count
    if engine.precision == "bfloat16" and backend:
        row |= measure_compiled(encoder, encode, pixels, device, backend)
    row["copy"] = timed(lambda: pixels.to(device, copy=True), device)
    if device.startswith("cuda"):
        pinned = pixels.pin_memory()
        row["copy_pinned"] = timed(lambda: pinned.to(device, non_blocking=True), device)
    return row


def measure_compiled(
    encoder: Any,  # noqa: ANN401 - a module
    encode: Callable[[Any, Any], None],
    pixels: Any,  # noqa: ANN401 - a tensor
    device: str,
    backend: str,
) -> dict[str, Any]:
    """Return how long it takes to compile an image encoder, and to encode with it then."""
    import torch

    row: dict[str, Any] = {}
    compiled = torch.compile(encoder, backend=backend)
    started = time.perf_counter()
    try:
        encode(compiled, pixels)
        row["compile"] = time.perf_counter() - started
        row["encode_compiled"] = timed(lambda: encode(compiled, pixels), device)
    except RuntimeError as error:  # its errors are of many kinds, all of this one
        row["compile"] = f"failed: {str(error).splitlines()[0]}"
    torch.compiler.reset()
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


def run_suites(device: str, select: str) -> dict[str, Any]:
    """Return how many tests of equality with the library pass with both on a device, in float32."""
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--tb=line"]
    ran = subprocess.run(
        [*command, *SUITES, *(["-k", select] if select else [])],
        cwd=ROOT,
        env=os.environ | {"NAPARI_SAM3_TEST_DEVICE": device},
        capture_output=True,
        text=True,
        check=False,
    )
    lines = [line for line in ran.stdout.splitlines() if line.strip()]
    failed = [line for line in lines if line.startswith(("FAILED", "ERROR"))]
    counts = [line for line in lines if " passed" in line or " failed" in line]
    return {"passed": ran.returncode == 0, "tests": counts[-1:] or lines[-1:], "failed": failed}


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--device", help="one device (default: every GPU)")
    parser.add_argument("--models", nargs="+", choices=list(TRACKERS), default=list(TRACKERS))
    parser.add_argument("--tiny", action="store_true", help="tiny models, seconds")
    parser.add_argument("--select", default="", help="only these tests of equality (pytest -k)")
    parser.add_argument("--no-tests", action="store_true", help="none of them")
    parser.add_argument("--json", type=Path, default=Path("check_gpu.json"))
    return parser.parse_args(arguments)


def main(arguments: Sequence[str] | None = None) -> int:
    """Check what is asked for; 1 where something does not agree or can't run."""
    chosen = parse(arguments)
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
    failed, frames = False, 2 if chosen.tiny else 8

    def note(row: dict[str, Any], *, passed: bool) -> None:
        nonlocal failed
        failed |= not passed
        report["rows"].append(row)
        print(*(f"{key}={format_value(value)}" for key, value in row.items()), flush=True)
        # As it is: what ran before an end that nobody expected is not lost.
        chosen.json.write_text(json.dumps(report, indent=1), encoding="utf-8")

    with tempfile.TemporaryDirectory() as folder:
        for model, path in write_models(Path(folder), chosen.models, tiny=chosen.tiny).items():
            for device in devices:
                for precision in ("float32", "bfloat16"):
                    row = {"model": model, "device": device, "precision": precision}
                    # A compiler is asked for on a GPU only; elsewhere one model shows the way.
                    backend = "eager" if model == "sam2" else ""
                    backend = "inductor" if device.startswith("cuda") else backend
                    try:
                        # A small card may have no room for a part of it: the others go on.
                        with map_engine_errors():
                            row |= check(model, path, device, precision, backend, frames)
                    except EngineError as error:
                        row["error"] = str(error)
                        give_back_memory()
                    shared = [value for name, value in row.items() if name.endswith("_as_library")]
                    note(row, passed="error" not in row and min(shared, default=1.0) >= SAME)
            # With two GPUs also the one with the other.
            compared = api.compare_devices(path, devices=("cpu", *devices))
            print(*compared.lines(), sep="\n")
            note({"model": model, "agrees_with_cpu": compared.agrees}, passed=compared.agrees)
    for device in devices if not chosen.no_tests else ():
        found = run_suites(device, chosen.select)
        note({"device": device, **found}, passed=found["passed"])
    print(f"Written to {chosen.json}: please send it to us, whatever it says.")
    return int(failed)


def format_value(value: object) -> str:
    """Return a number with as many digits as matter."""
    return f"{value:.4g}" if isinstance(value, float) else str(value)


if __name__ == "__main__":
    sys.exit(main())

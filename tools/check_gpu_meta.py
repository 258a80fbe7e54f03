"""Check Meta's own package on this machine's first GPU, without a download: the weights are random.

    python tools/check_gpu_meta.py                        SAM 3.0 at full size, a minute or two
    python tools/check_gpu_meta.py --multiplex            SAM 3.1, with Meta's repository installed
    python tools/check_gpu_meta.py --device cpu --tiny    proves the script where there is no GPU

Run it as ``check_gpu.py``, with ``pip install -e ".[meta]"``. In each number format it prints what
loading, encoding, each kind of prompt and a frame of a stack (of 1 and 4 objects, of a phrase, with
little memory free) take, whether objects are the same where they are remembered in the computer's
memory, whether running out of memory is survived, and what is left after Unload. The same goes to a
JSON file. That the masks are those of the package's own documented use say the tests.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from contextlib import ExitStack, contextmanager
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any
from unittest import mock

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1]))
sys.path.insert(1, str(Path(__file__).parents[1] / "tests"))

from tools.check_gpu import (
    CLICK,
    NEARLY_FULL,
    PHRASE,
    REPORTER,
    allocated,
    fill_memory,
    format_value,
    picture,
    timed,
    whole,
)

from napari_sam3_assistant import api
from napari_sam3_assistant.core.display import FrameSource, view_of_array
from napari_sam3_assistant.core.options import PredictOptions
from napari_sam3_assistant.core.prompts import (
    BoxPrompt,
    ExemplarPrompt,
    MaskPrompt,
    PointPrompt,
    PromptKind,
    PromptSet,
)
from napari_sam3_assistant.core.regions import Region
from napari_sam3_assistant.core.tracks import TrackSeed
from napari_sam3_assistant.engines import sam3_meta
from napari_sam3_assistant.engines.checkpoints.files import MULTIPLEX_NAME
from napari_sam3_assistant.engines.device import give_back_memory

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

AREA = Region(60, 60, 120, 140)
PAINTED = np.zeros_like(picture(), bool)
PAINTED[AREA.slices] = True
PROMPTS = {
    "click": PromptSet(points=(CLICK,)),
    "box": PromptSet(boxes=(BoxPrompt(AREA),)),
    "mask": PromptSet(masks=(MaskPrompt.from_plane(PAINTED),)),
    "phrase": PromptSet(text=PHRASE),
    "examples": PromptSet(text=PHRASE, exemplars=(ExemplarPrompt(AREA),)),
}
# With these the models for stacks follow what random weights find.
EAGER = {
    "score_threshold_detection": 0.0,
    "new_det_thresh": 0.0,
    "det_nms_thresh": 0.0,
    "max_num_objects": 8,
    "hotstart_delay": 2,
    "hotstart_unmatch_thresh": 99,
    "hotstart_dup_thresh": 99,
    "suppress_det_close_to_boundary": False,
    "masklet_confirmation_enable": False,
}


def write_weights(folder: Path, *, multiplex: bool) -> None:
    """Write random weights with which objects are not lost at once, and a vocabulary."""
    import torch
    from tests.engines.sam3_meta import full_size_run

    full_size_run.write_vocabulary(folder)
    make = multiplex_weights if multiplex else full_size_run.random_weights
    weights = make(folder)
    for name, value in weights.items():
        if name.startswith("tracker.") and value.ndim > 1 and not value.is_complex():
            value.mul_(3)
        if name.endswith("pred_obj_score_head.layers.2.bias"):
            value.add_(3)
    torch.save({"model": weights}, folder / (MULTIPLEX_NAME if multiplex else "sam3.pt"))


def multiplex_weights(folder: Path) -> dict[str, Any]:
    """Return random weights of SAM 3.1."""
    import torch

    from napari_sam3_assistant.engines.sam3_meta import compat, loading, multiplex

    builder = multiplex.import_builder(compat.choose_patches())
    torch.manual_seed(0)
    model = multiplex.build_model(builder, loading.find_bpe(folder), "cpu")
    text = multiplex.text_encoder(model).encoder
    torch.nn.init.normal_(text.positional_embedding, std=0.02)
    torch.nn.init.normal_(text.text_projection, std=0.03)
    return {name: value.clone() for name, value in model.state_dict().items()}


@contextmanager
def small_models(*, multiplex: bool) -> Iterator[None]:
    """Have the package build small models."""
    from tests.engines.sam3_meta import conftest, test_multiplex_real

    with conftest.small_builder(
        test_multiplex_real.SIZE if multiplex else conftest.SIZE
    ) as builder:
        if not multiplex:
            yield
            return
        with test_multiplex_real.small_parts(builder):
            yield


def check(folder: Path, device: str, precision: str) -> dict[str, Any]:
    """Return what the engine does on a device in a number format."""
    before = allocated(device)
    engine: Any = sam3_meta.create(folder, device, precision)
    started = time.perf_counter()
    engine.load(REPORTER)
    row: dict[str, Any] = {"load": time.perf_counter() - started}
    with engine._working() as loaded:  # noqa: SLF001 - what it loaded is made eager
        video = getattr(loaded, "video", loaded.model)
        for name, value in EAGER.items():
            setattr(video, name, value)
    for name, objects, spare in (
        ("frame_of_1", 1, 0),
        ("frame_of_4", 4, 0),
        ("frame_of_a_phrase", 0, 0),
        ("frame_when_full", 4, NEARLY_FULL),
    ):
        row[name], found, row[f"{name}_remembers_on"] = follow(
            engine, device, objects=objects, spare=spare
        )
        row[f"{name}_masks"] = len(found)
    if "points" in engine.spec.accepts:
        row |= check_images(engine, device)
        row["same_when_remembered_in_ram"] = same_in_ram(engine, device)
        if device.startswith("cuda"):
            row["out_of_memory"] = fill_memory(engine, np.stack([picture()] * 3, -1), device)
    engine.close()
    give_back_memory()
    row["bytes_after_unload"] = allocated(device) - before
    return row


def check_images(engine: Any, device: str) -> dict[str, Any]:  # noqa: ANN401 - of Meta's package
    """Return how long each prompt takes on an image, and how many objects there are."""
    row: dict[str, Any] = {"works_in": engine.precision}
    image = np.stack([picture()] * 3, -1)
    row["encode"] = timed(lambda: engine.embed(image, REPORTER), device)
    encoding = engine.embed(image, REPORTER)

    def ask(prompts: PromptSet) -> Any:  # noqa: ANN401 - objects
        return engine.predict(encoding, prompts, PredictOptions(0.0), REPORTER).objects

    for name, prompts in PROMPTS.items():
        row[name] = timed(lambda prompts=prompts: ask(prompts), device)
        row[f"{name}_objects"] = len(ask(prompts))
    return row


def follow(
    engine: Any,  # noqa: ANN401
    device: str,
    frames: int = 4,
    *,
    objects: int,
    spare: int = 0,
) -> tuple[float, dict[tuple[int, int, int], bytes], list[str]]:
    """Return the seconds a frame, the masks found there and back, and where they are remembered.

    Without objects those of a phrase are followed; ``spare`` bytes of the GPU are free.
    """
    import torch

    filled = 0
    if spare and device.startswith("cuda"):
        filled = max(0, torch.cuda.mem_get_info(device)[0] - spare)
    filler = torch.empty(filled, dtype=torch.uint8, device=device)
    stack = np.stack([np.roll(picture(), 4 * number, 0) for number in range(frames)])
    names = count(100)
    source = FrameSource(view_of_array(stack, plane=0), 0)
    track = engine.track(source, PredictOptions(), lambda: next(names))
    takes_masks = PromptKind.MASK in engine.spec.video.prompts
    for number in range(objects):
        # Of clicks random weights may find nothing, painted objects are there.
        if takes_masks and number:
            mask = MaskPrompt.from_plane(np.roll(PAINTED, 9 * number, 1))
            track.add(TrackSeed(number % frames, 1 + number, mask=mask))
        else:
            track.add(TrackSeed(0, 1 + number, points=(PointPrompt(60 + 9 * number, 80),)))
    if not objects:
        track.add_phrase(PHRASE, 0)
    found = {}
    started = time.perf_counter()
    for way, order in enumerate((range(frames), range(frames - 1, -1, -1))):
        for result in track.propagate(order, REPORTER):
            for record in result.objects:
                found[way, result.frame, record.id] = whole(record).tobytes()
    took = (time.perf_counter() - started) / (2 * frames)
    places = sorted(set(remembered(track)))
    track.close()
    del filler
    return took, found, places


def remembered(track: Any) -> Iterator[str]:  # noqa: ANN401
    """Yield where the memories of prompted objects lie."""
    session = getattr(track, "_session", None)
    states = session.state["sam2_inference_states"] if session is not None else []
    states = states + [one.state for one in getattr(track, "_objects", {}).values()]
    for state in states:
        for records in state["output_dict"].values():
            for record in records.values():
                if record.get("maskmem_features") is not None:
                    yield str(record["maskmem_features"].device)


def same_in_ram(engine: Any, device: str) -> bool:  # noqa: ANN401
    """Return whether objects are the same, remembered on the device and in RAM, twice each."""
    runs = []
    for place in (device, "cpu", "cpu", device):
        with mock.patch.object(sam3_meta.engine, "memory_device", lambda _device, to=place: to):
            _, found, places = follow(engine, device, 6, objects=3)
        if places != [place]:
            return False
        runs.append(found)
    return bool(runs[0]) and all(run == runs[0] for run in runs)


def main(arguments: Sequence[str] | None = None) -> int:
    """Check what is asked for; 1 where something does not agree."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--device", default="cuda:0")
    parser.add_argument("--tiny", action="store_true", help="tiny models, seconds")
    parser.add_argument("--multiplex", action="store_true", help="SAM 3.1")
    parser.add_argument("--json", type=Path, default=Path("check_gpu_meta.json"))
    chosen = parser.parse_args(arguments)
    # SAM 3.1 has no choice of number formats.
    precisions = ("auto",) if chosen.multiplex else ("float32", "bfloat16")
    rows, passed = [], True
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        if chosen.tiny:
            stack.enter_context(small_models(multiplex=chosen.multiplex))
        write_weights(folder, multiplex=chosen.multiplex)
        for precision in precisions:
            row = {"device": chosen.device, "precision": precision}
            row |= check(folder, chosen.device, precision)
            passed &= row.get("same_when_remembered_in_ram", True)
            rows.append(row)
            print(*(f"{key}={format_value(value)}" for key, value in row.items()), flush=True)
            chosen.json.write_text(json.dumps(rows, indent=1), encoding="utf-8")
        if not chosen.multiplex:
            compared = api.compare_devices(folder, devices=("cpu", chosen.device))
            print(*compared.lines(), sep="\n")
            passed &= compared.agrees
    print(f"Written to {chosen.json}: please send it to us, whatever it says.")
    return int(not passed)


if __name__ == "__main__":
    sys.exit(main())

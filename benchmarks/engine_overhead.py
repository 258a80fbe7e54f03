"""Measure the plugin's own time around the forward passes of SAM 3 by transformers.

    python benchmarks/engine_overhead.py              the tiny checkpoint, seconds
    python benchmarks/engine_overhead.py --full-size  random weights at full size, minutes

No download: the weights are random and are written to a folder that is removed afterwards.
"""

from __future__ import annotations

import argparse
import importlib.util
import queue
import resource
import statistics
import tempfile
from contextlib import contextmanager
from pathlib import Path
from time import perf_counter

import numpy as np
from napari.components import ViewerModel

from napari_sam3_assistant.core.options import PredictOptions
from napari_sam3_assistant.core.progress import NullReporter
from napari_sam3_assistant.core.prompts import BoxPrompt, PointPrompt, PromptSet, Tool
from napari_sam3_assistant.core.regions import Region
from napari_sam3_assistant.core.results import paint_labels
from napari_sam3_assistant.engines.registry import acquire
from napari_sam3_assistant.engines.sam3_transformers import ENTRY
from napari_sam3_assistant.session.settings import MemorySettings
from napari_sam3_assistant.viewer.binding import binding_for

CHECKPOINTS = Path(__file__).parents[1] / "tests" / "engines" / "tiny_checkpoint.py"
SIDE = 2048


def checkpoints():
    spec = importlib.util.spec_from_file_location("tiny_checkpoint", CHECKPOINTS)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


class Timer:
    """Adds up the time that is spent inside the model's parts."""

    def __init__(self, engine):
        model = engine.model
        self.parts = [
            model.detector.vision_encoder,
            model.detector.text_encoder,
            model.detector.geometry_encoder,
            model.detector.detr_encoder,
            model.detector.detr_decoder,
            model.detector.mask_decoder,
            model.video.tracker_neck,
            model.clicks,
        ]
        self.inside = 0.0

    @contextmanager
    def running(self):
        self.inside = 0.0
        starts = []

        def before(*_):
            starts.append(perf_counter())

        def after(*_):
            self.inside += perf_counter() - starts.pop()

        handles = [part.register_forward_pre_hook(before) for part in self.parts]
        handles += [part.register_forward_hook(after) for part in self.parts]
        start = perf_counter()
        try:
            yield
        finally:
            self.total = perf_counter() - start
            for handle in handles:
                handle.remove()

    @property
    def own(self):
        return self.total - self.inside


def peak_rss():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20


def segment(engine, embedding, labels, prompts):
    """From the request to the labels, as the workflow does it."""
    prediction = engine.predict(embedding, prompts, PredictOptions(0.0), NullReporter())
    labels[...] = paint_labels(prediction.objects, Region.whole(labels.shape))


def measure(engine, timer, name, work, repeats=1):
    totals, owns = [], []
    for _ in range(repeats):
        with timer.running():
            work()
        totals.append(timer.total)
        owns.append(timer.own)
    total, own = statistics.median(totals), statistics.median(owns)
    print(f"{name:<34} {total * 1e3:10.1f} ms, of it our own {own * 1e3:8.1f} ms")
    return total, own


def run(folder, repeats):
    import torch

    engine = ENTRY.create(folder, "auto")
    start = perf_counter()
    engine.load(NullReporter())
    print(f"{torch.get_num_threads()} threads, device {engine.device}, dtype {engine.model.dtype}")
    print(f"load {perf_counter() - start:.1f} s")
    timer = Timer(engine)
    # Code that is loaded by the first run of an operation is not memory of a plane.
    small = engine.embed(np.zeros((64, 64, 3), np.uint8), NullReporter())
    segment(engine, small, np.zeros((64, 64), np.uint32), PromptSet(points=(PointPrompt(5, 5),)))
    del small
    loaded = peak_rss()
    print(f"peak resident memory of the model at work {loaded:.2f} GB")
    image = np.random.default_rng(0).integers(0, 256, (SIDE, SIDE, 3), dtype=np.uint8)
    labels = np.zeros((SIDE, SIDE), np.uint32)
    held = []
    encode, _ = measure(
        engine, timer, "encode", lambda: held.append(engine.embed(image, NullReporter()))
    )
    embedding = held[0]
    point = PromptSet(points=(PointPrompt(SIDE / 2, SIDE / 3),))
    boxes = PromptSet(
        boxes=tuple(BoxPrompt(Region(y, y, y + 300, y + 300)) for y in range(0, 1600, 200))
    )

    def click():
        segment(engine, embedding, labels, point)

    def phrase(text):
        return lambda: segment(engine, embedding, labels, PromptSet(text=text))

    measure(engine, timer, "first click", click)
    second_click, own = measure(engine, timer, "second click", click, repeats)
    above = (peak_rss() - loaded) * 2**30 / image.nbytes
    print(f"peak memory so far is {above:.1f} RGB planes above the loaded model")
    measure(engine, timer, "first phrase", phrase("cell"))
    second_phrase, _ = measure(engine, timer, "second phrase", phrase("ring"))
    measure(engine, timer, "the same phrase again", phrase("ring"))
    measure(engine, timer, "8 boxes", lambda: segment(engine, embedding, labels, boxes))
    print(f"encode + phrase / second phrase: {(encode + second_phrase) / second_phrase:.1f}")
    print(f"encode + click / second click: {(encode + second_click) / second_click:.0f}")
    print(f"our own part of a click: {own * 1e3:.1f} ms, {own / second_click:.0%} of it")
    print(f"one encoded plane keeps {embedding.nbytes / 2**20:.0f} MB")
    print(f"peak resident memory {peak_rss():.2f} GB, {peak_rss() - loaded:.2f} GB by the planes")


def to_the_layer(folder, repeats):
    """Clicks through the session on a viewer: from the request to the labels in the layer."""
    deliveries = queue.SimpleQueue()
    viewer = ViewerModel()
    image = np.random.default_rng(0).integers(0, 256, (SIDE, SIDE), dtype=np.uint8)
    viewer.add_image(image)
    binding = binding_for(viewer, deliveries.put, MemorySettings())
    model, session = binding.model, binding.session
    model.engine, model.model_folder, model.tool = ENTRY.spec.name, str(folder), Tool.POINTS
    binding.prompts.arm()
    points = binding.adapter.points_layer(model.image)
    loan = acquire(ENTRY.spec.name, folder, "auto")

    def run():
        job = session.run()
        while not job.state.is_over:
            deliveries.get()()

    points.add((SIDE / 2, SIDE / 3))
    run()
    timer = Timer(loan.engine._engine)  # noqa: SLF001 (nobody else needs the model)
    drawn = []
    labels = viewer.layers["SAM3 preview labels"]
    labels.events.labels_update.connect(lambda: drawn.append(perf_counter()))
    totals, owns, arrivals = [], [], []
    for spot in np.random.default_rng(1).uniform(200, SIDE - 200, (repeats, 2)):
        points.add(spot)
        drawn.clear()
        with timer.running():
            start = perf_counter()
            run()
        totals.append(timer.total)
        owns.append(timer.own)
        # Nothing is drawn where two masks are equal.
        arrivals += [at - start - timer.inside for at in drawn]
    own = statistics.median(owns)
    print(
        f"a further click through the session: {statistics.median(totals) * 1e3:.1f} ms; our own "
        f"and napari's part to the labels in the layer {statistics.median(arrivals) * 1e3:.1f} ms, "
        f"to the end with boxes and table {own * 1e3:.1f} ms (worst {max(owns) * 1e3:.1f}); "
        f"{np.count_nonzero(labels.data):,} pixels"
    )
    loan.close()
    binding.close()


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--full-size", action="store_true", help="840 million random weights")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as place:
        write = checkpoints()
        if arguments.full_size:
            folder, repeats = write.write_full_size_checkpoint(Path(place)), 5
        else:
            folder, repeats = write.write_tiny_checkpoint(Path(place)), 20
        run(folder, repeats)
        to_the_layer(folder, repeats)


if __name__ == "__main__":
    main()

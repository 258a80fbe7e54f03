"""How long the built-in engine takes on a large plane, and how soon it stops: printed tables.

Run ``OMP_NUM_THREADS=2 python benchmarks/speed_builtin.py [--stop-only]``. Seconds on the clock
are followed by seconds of the processor, which other programs on the machine change less.
"""

from __future__ import annotations

import argparse
import threading
import time
from dataclasses import replace

import numpy as np
from synthetic_cells import RECIPES, draw

from napari_sam3_assistant.core.options import PredictOptions
from napari_sam3_assistant.core.progress import CancelToken, NullReporter
from napari_sam3_assistant.core.prompts import BoxPrompt, ExemplarPrompt, PointPrompt, PromptSet
from napari_sam3_assistant.core.regions import Region
from napari_sam3_assistant.engines import registry
from napari_sam3_assistant.engines.builtin.features import PlaneFeatures
from napari_sam3_assistant.errors import JobCancelled

REPORTER = NullReporter()
OPTIONS = PredictOptions()
PLANE = 2048


def timed(work):
    """Return what work() returns, and the seconds that it took: on the clock, of processors."""
    began, busy = time.perf_counter(), time.process_time()
    result = work()
    return result, np.array([time.perf_counter() - began, time.process_time() - busy])


def plane_of(name: str, diameters: tuple[float, float], size: int):
    """Return the scene of a tile of 512, and the image that it fills.

    Drawing thousands of cells would take longer than this does.
    """
    recipe = replace(RECIPES[name], shape=(512, 512), diameters=diameters)
    scene = draw(recipe, 1)
    return scene, np.tile(scene.image, (size // 512, size // 512, 1))


def example_of(scene) -> Region:
    """Return the tight box of a cell."""
    rows, columns = np.nonzero(scene.labels)
    inside = np.argwhere(scene.labels == scene.labels[rows[0], columns[0]])
    (y0, x0), (y1, x1) = inside.min(0), inside.max(0) + 1
    return Region(int(y0), int(x0), int(y1), int(x1))


def measure(name: str, diameters: tuple[float, float]) -> None:
    """Print the times on one image."""
    scene, image = plane_of(name, diameters, PLANE)
    engine = registry.create("builtin")
    rows, columns = np.nonzero(scene.labels)
    picks = np.random.default_rng(0).integers(rows.size, size=12)
    points = [(int(rows[pick]) + 1024, int(columns[pick]) + 512) for pick in picks]
    engine.predict(engine.embed(image[:64, :64], REPORTER), _click(30, 30), OPTIONS, REPORTER)
    embedding, embed = timed(lambda: engine.embed(image, REPORTER))

    def run(prompts):
        return timed(lambda: engine.predict(embedding, prompts, OPTIONS, REPORTER))

    clicks = np.array([run(_click(*point))[1] for point in points])
    region = example_of(scene)
    box = run(PromptSet(boxes=(BoxPrompt(region),)))[1]
    word = "dark cells" if RECIPES[name].dark else "bright cells"
    found, text = run(PromptSet(text=word))
    embedding = engine.embed(image, REPORTER)  # forgets what was found
    alike, example = run(PromptSet(exemplars=(ExemplarPrompt(region),)))
    columns = (embed, embed + clicks[0], clicks[1:].max(0), np.median(clicks[1:], 0), box)
    print(
        f"{name:9}{diameters!s:>13}"
        + "".join(f"{_pair(seconds):>12}" for seconds in columns)
        + f"{_pair(text):>12} ({len(found.objects):4})"
        + f"{_pair(example):>12} ({len(alike.objects):4})",
        flush=True,
    )


def _pair(seconds) -> str:
    return f"{seconds[0]:.2f}/{seconds[1]:.2f}"


class Stoppable:
    """A reporter whose work another thread stops."""

    def __init__(self) -> None:
        self.token = CancelToken()
        self.at = 0.0

    def stop(self) -> None:
        """Ask the work to stop, and remember when."""
        self.at = time.perf_counter()
        self.token.cancel()

    def report(self, progress) -> None:
        """Look whether to go on."""
        self.token.check()

    def check(self) -> None:
        """Look whether to go on."""
        self.token.check()


def latencies(work, tries: int):
    """Return how long work took to stop, in seconds, asked at several moments of its run."""
    whole = timed(lambda: work(Stoppable()))[1][0]
    found = []
    for share in (np.arange(tries) + 0.5) / tries:
        reporter = Stoppable()
        timer = threading.Timer(share * whole, reporter.stop)
        timer.start()
        try:
            work(reporter)
        except JobCancelled:
            found.append(time.perf_counter() - reporter.at)
        timer.cancel()
        timer.join()
    return whole, found


def stop(name: str, diameters: tuple[float, float], size: int, tries: int) -> None:
    """Print how soon the engine stops on one image."""
    scene, image = plane_of(name, diameters, size)
    engine = registry.create("builtin")
    word = "dark cells" if RECIPES[name].dark else "bright cells"
    middle = Region(0, 0, size, size)
    prompts = {
        "text": PromptSet(text=word),
        "example": PromptSet(exemplars=(ExemplarPrompt(example_of(scene)),)),
        "click": _click(size // 2, size // 2),
        "large box": PromptSet(boxes=(BoxPrompt(middle),)),
    }
    works = {"embed": lambda reporter: engine.embed(image, reporter)}
    for kind, asked in prompts.items():
        # A fresh embedding a run: what was found is kept in it.
        luminance = engine.embed(image, REPORTER).luminance

        def work(reporter, asked=asked, luminance=luminance):
            return engine.predict(PlaneFeatures(luminance), asked, OPTIONS, reporter)

        works[kind] = work
    for kind, work in works.items():
        whole, found = latencies(work, tries)
        worst = f"{max(found):.3f}" if found else "-"
        print(f"{name:9}{size:6} {kind:10}{whole:8.2f}{len(found):6}{worst:>9}", flush=True)


def _click(y: int, x: int) -> PromptSet:
    return PromptSet(points=(PointPrompt(y, x),))


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--stop-only", action="store_true")
    if not parser.parse_args().stop_only:
        print(f"plane of {PLANE} x {PLANE}, seconds: clock/processor; found objects in brackets")
        titles = ("embed", "+1st click", "worst", "median", "box", "text")
        print(
            f"{'recipe':9}{'diameters':>13}"
            + "".join(f"{title:>12}" for title in titles)
            + f"{'':7}{'example':>12}"
        )
        for name in ("bright", "noisy", "textured", "crowded"):
            for diameters in ((12.0, 20.0), (40.0, 60.0)):
                measure(name, diameters)
    print("\nhow soon it stops: whole run, times stopped, worst, in seconds")
    stop("bright", (12.0, 20.0), 2048, 8)
    stop("bright", (12.0, 20.0), 4096, 4)


if __name__ == "__main__":
    main()

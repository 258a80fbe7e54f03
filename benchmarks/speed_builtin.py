"""How long the built-in engine takes on a plane of 2048 x 2048: a printed table.

Run ``OMP_NUM_THREADS=2 python benchmarks/speed_builtin.py``.
"""

from __future__ import annotations

import time
from dataclasses import replace

import numpy as np
from synthetic_cells import RECIPES, draw

from napari_sam3_assistant.core.options import PredictOptions
from napari_sam3_assistant.core.progress import NullReporter
from napari_sam3_assistant.core.prompts import BoxPrompt, ExemplarPrompt, PointPrompt, PromptSet
from napari_sam3_assistant.core.regions import Region
from napari_sam3_assistant.engines import registry

REPORTER = NullReporter()
PLANE = 2048


def timed(work):
    """Return what work() returns and the seconds that it took."""
    began = time.perf_counter()
    result = work()
    return result, time.perf_counter() - began


def measure(name: str, diameters: tuple[float, float]) -> None:
    """Print the times on one image."""
    # A tile of 512 repeated, because drawing thousands of cells would take longer than this.
    recipe = replace(RECIPES[name], shape=(512, 512), diameters=diameters)
    scene = draw(recipe, 1)
    image = np.tile(scene.image, (PLANE // 512, PLANE // 512, 1))
    engine = registry.create("builtin")
    options = PredictOptions()
    rows, columns = np.nonzero(scene.labels)
    picks = np.random.default_rng(0).integers(rows.size, size=12)
    points = [(int(rows[pick]) + 1024, int(columns[pick]) + 512) for pick in picks]
    engine.predict(engine.embed(image[:64, :64], REPORTER), _click(30, 30), options, REPORTER)
    embedding, embed = timed(lambda: engine.embed(image, REPORTER))
    clicks = [
        timed(lambda p=point: engine.predict(embedding, _click(*p), options, REPORTER))[1]
        for point in points
    ]
    here = scene.labels == scene.labels[rows[0], columns[0]]
    inside = np.argwhere(here)
    (y0, x0), (y1, x1) = inside.min(0), inside.max(0) + 1
    region = Region(int(y0), int(x0), int(y1), int(x1))
    box = timed(
        lambda: engine.predict(embedding, PromptSet(boxes=(BoxPrompt(region),)), options, REPORTER)
    )[1]
    word = "dark cells" if recipe.dark else "bright cells"
    found, text = timed(lambda: engine.predict(embedding, PromptSet(text=word), options, REPORTER))
    alike, example = timed(
        lambda: engine.predict(
            embedding, PromptSet(exemplars=(ExemplarPrompt(region),)), options, REPORTER
        )
    )
    print(
        f"{name:9}{diameters!s:>12}{embed:8.2f}{embed + clicks[0]:10.2f}{max(clicks[1:]):9.2f}"
        f"{np.median(clicks[1:]):8.2f}{box:7.2f}{text:7.2f} ({len(found.objects):4})"
        f"{example:8.2f} ({len(alike.objects):4})",
        flush=True,
    )


def _click(y: int, x: int) -> PromptSet:
    return PromptSet(points=(PointPrompt(y, x),))


def main() -> None:
    """Print the table."""
    print(f"seconds, plane of {PLANE} x {PLANE}; found objects in brackets")
    print(
        f"{'recipe':9}{'diameters':>12}{'embed':>8}{'+1st click':>10}{'worst':>9}{'median':>8}"
        f"{'box':>7}{'text':>7}{'':7}{'example':>8}"
    )
    for name in ("bright", "noisy", "textured", "crowded"):
        for diameters in ((12.0, 20.0), (40.0, 60.0)):
            measure(name, diameters)


if __name__ == "__main__":
    main()

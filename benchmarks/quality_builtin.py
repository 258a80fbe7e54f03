"""How well the built-in engine segments: printed tables, on synthetic cells and on coins.

Run ``python benchmarks/quality_builtin.py [--first N] [--seeds N] [--recipes NAME ...]``.
"""

from __future__ import annotations

import argparse
import time

import numpy as np
from coins_truth import coins
from synthetic_cells import RECIPES, Scene, draw

from napari_sam3_assistant.core.options import PredictOptions
from napari_sam3_assistant.core.progress import NullReporter
from napari_sam3_assistant.core.prompts import BoxPrompt, ExemplarPrompt, PointPrompt, PromptSet
from napari_sam3_assistant.core.regions import Region
from napari_sam3_assistant.engines import registry

REPORTER = NullReporter()


class Runner:
    """An engine and one embedded image."""

    def __init__(self, image: np.ndarray) -> None:
        self.engine = registry.create("builtin")
        self.engine.load(REPORTER)
        self.embedding = self.engine.embed(image, REPORTER)
        self.shape = image.shape[:2]

    def objects(self, **prompts):
        """Return (mask crop, region) of each object found."""
        answer = self.engine.predict(
            self.embedding, PromptSet(**prompts), PredictOptions(), REPORTER
        )
        return [(record.mask, record.region) for record in answer.objects]


def overlap(found, truth: np.ndarray) -> float:
    """Return the intersection over union of one object with a mask of the plane."""
    mask, region = found
    both = np.count_nonzero(mask & truth[region.slices])
    return both / (np.count_nonzero(mask) + np.count_nonzero(truth) - both)


def matched(found, labels: np.ndarray, least: float) -> int:
    """Return how many true objects are found with at least this overlap, each once."""
    areas = np.bincount(labels.ravel())
    seen: set[int] = set()
    for mask, region in found:
        inside = np.bincount(labels[region.slices][mask], minlength=areas.size)
        inside[0] = 0
        name = int(inside.argmax())
        union = np.count_nonzero(mask) + areas[name] - inside[name]
        if inside[name] and name not in seen and inside[name] / union >= least:
            seen.add(name)
    return len(seen)


def f1(found, labels: np.ndarray, least: float = 0.5) -> float:
    """Return the F1 score at an overlap."""
    true = len(np.unique(labels)) - 1
    return 2 * matched(found, labels, least) / max(1, true + len(found))


def measure(scene: Scene, *, dark: bool, seed: int, cells: int) -> dict[str, list[float]]:
    """Return the scores of one image by method."""
    rng = np.random.default_rng(seed)
    runner = Runner(scene.image)
    names = rng.permutation(np.unique(scene.labels)[1:])[:cells]
    result: dict[str, list[float]] = {"click": [], "box": [], "exemplar": [], "text": []}
    boxes = []
    for name in names:
        truth = scene.labels == name
        rows, columns = np.nonzero(truth)
        pick = rng.integers(rows.size)
        found = runner.objects(points=(PointPrompt(int(rows[pick]), int(columns[pick])),))
        result["click"].append(overlap(found[0], truth))
        jitter = rng.integers(-2, 3, 4)
        box = Region(
            max(0, int(rows.min() + jitter[0])),
            max(0, int(columns.min() + jitter[1])),
            int(rows.max() + 1 + jitter[2]),
            int(columns.max() + 1 + jitter[3]),
        )
        boxes.append(box)
        result["box"].append(overlap(runner.objects(boxes=(BoxPrompt(box),))[0], truth))
    for box in boxes[:3]:
        found = runner.objects(exemplars=(ExemplarPrompt(box),))
        result["exemplar"].append(f1(found, scene.labels))
    found = runner.objects(text="dark objects" if dark else "bright objects")
    result["text"].append(f1(found, scene.labels))
    return result


def synthetic(names: list[str], seeds: range, cells: int) -> None:
    """Print a table of all recipes: medians of all images, and of the worst image."""
    print(f"synthetic cells, seeds {seeds[0]} to {seeds[-1]}; median (worst seed's median)")
    print(f"{'recipe':16}{'click IoU':>16}{'box IoU':>16}{'exemplar F1':>16}{'text F1':>16}")
    every: dict[str, list[float]] = {}
    for name in names:
        images = [
            measure(draw(RECIPES[name], seed), dark=RECIPES[name].dark, seed=seed, cells=cells)
            for seed in seeds
        ]
        line = f"{name:16}"
        for method in images[0]:
            values = [value for image in images for value in image[method]]
            worst = min(float(np.median(image[method])) for image in images)
            every.setdefault(method, []).extend(values)
            line += f"{np.median(values):8.3f} ({worst:.3f})"
        print(line, flush=True)
    print(f"{'all':16}" + "".join(f"{np.median(values):8.3f}        " for values in every.values()))
    print(f"{'share < 0.7':16}" + "".join(f"{np.mean(np.array(values) < 0.7):8.3f}        "
                                          for values in every.values()))  # fmt: skip


def real() -> None:
    """Print how many of the 24 coins each method finds."""
    image, labels = coins()
    runner = Runner(image)
    true = int(labels.max())
    print(f"\ncoins of scikit-image, {true} coins")
    rng = np.random.default_rng(0)
    clicked, centred, boxed = [], [], []
    shares = []
    for name in range(1, true + 1):
        truth = labels == name
        rows, columns = np.nonzero(truth)
        for _ in range(4):
            pick = rng.integers(rows.size)
            found = runner.objects(points=(PointPrompt(int(rows[pick]), int(columns[pick])),))
            clicked.append(overlap(found[0], truth))
        found = runner.objects(points=(PointPrompt(rows.mean(), columns.mean()),))
        centred.append(overlap(found[0], truth))
        box = Region(
            int(rows.min()), int(columns.min()), int(rows.max()) + 1, int(columns.max()) + 1
        )
        boxed.append(overlap(runner.objects(boxes=(BoxPrompt(box),))[0], truth))
        found = runner.objects(exemplars=(ExemplarPrompt(box),))
        shares.append((matched(found, labels, 0.8), len(found)))
    for title, values in (("click centre", centred), ("click x4", clicked), ("box", boxed)):
        good = np.count_nonzero(np.array(values) >= 0.8)
        print(f"  {title:14} {good} of {len(values)} at IoU 0.8, median {np.median(values):.3f}")
    found = runner.objects(text="bright objects")
    print(f"  bright objects {matched(found, labels, 0.8)} at IoU 0.8, {len(found)} found")
    good = [share[0] for share in shares]
    print(f"  one example    median {np.median(good):g}, worst {min(good)}; "
          f"found at most {max(share[1] for share in shares)}")  # fmt: skip


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=6)
    parser.add_argument("--first", type=int, default=0, help="first seed")
    parser.add_argument("--cells", type=int, default=10, help="clicks and boxes an image")
    parser.add_argument("--recipes", nargs="*", default=list(RECIPES))
    options = parser.parse_args()
    began = time.perf_counter()
    seeds = range(options.first, options.first + options.seeds)
    synthetic(options.recipes, seeds, options.cells)
    real()
    print(f"\n{time.perf_counter() - began:.0f} s")


if __name__ == "__main__":
    main()

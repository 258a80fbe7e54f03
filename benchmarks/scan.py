"""Measure scans of large images: stitching against known truth, overhead, and memory.

    python benchmarks/scan.py             all of it, some minutes
    python benchmarks/scan.py stitching   one part: stitching, builtin, overhead or memory

No download. Truth is synthetic. "Small" objects are those that fit into the band which two tiles
have in common; they must all come out whole, and no two objects may come out as one.
"""

from __future__ import annotations

import argparse
import resource
import subprocess
import sys
import tempfile
import tracemalloc
from collections import Counter
from pathlib import Path
from time import perf_counter

import numpy as np
import zarr
from scipy import ndimage as ndi
from synthetic_cells import Recipe, draw

from napari_sam3_assistant import api
from napari_sam3_assistant.core.display import view_of_array
from napari_sam3_assistant.core.options import PredictOptions, TileOptions
from napari_sam3_assistant.core.progress import NullReporter
from napari_sam3_assistant.core.prompts import PromptKind, PromptSet
from napari_sam3_assistant.core.results import ObjectRecord
from napari_sam3_assistant.core.tiling import TileGrid
from napari_sam3_assistant.engines import registry
from napari_sam3_assistant.engines.base import EngineSpec, Prediction
from napari_sam3_assistant.engines.caching_engine import CachingEngine
from napari_sam3_assistant.workflows.scan import ScanRequest, scan

ROUNDS = 10  # one round of the built-in engine differs from the next by 5 %


class TruthEngine:
    """Reads object numbers from the colours of the picture; may answer as roughly as a model.

    ``doubt`` moves each outline by up to that many pixels, differently in each tile, and leaves
    out cut slivers of fewer than ``20 * doubt`` pixels.
    """

    device, version, weights = "cpu", "1", ""
    spec = EngineSpec("truth", "Truth", frozenset({PromptKind.TEXT}), needs_weights=False)

    def __init__(self, doubt=0, seed=0):
        self.doubt = doubt
        self.rng = np.random.default_rng(seed)
        self.seconds = 0.0

    def load(self, reporter):
        pass

    def embed(self, image, reporter):
        return image

    def predict(self, embedding, prompts, options, reporter):
        wide = embedding.astype(np.int64)
        numbers = (wide[..., 0] << 16) + (wide[..., 1] << 8) + wide[..., 2]
        values, local = np.unique(numbers, return_inverse=True)
        local = local.reshape(numbers.shape) + (1 if values[0] else 0)
        records = []
        for value, place in enumerate(ndi.find_objects(local), 1):
            mask = np.pad(local[place] == value, self.doubt)
            if self.doubt:
                mask = self.doubted(mask, place, local)
            record = ObjectRecord.from_mask(
                len(records) + 1, mask, offset=[axis.start - self.doubt for axis in place]
            )
            if record is not None and record.area > 20 * self.doubt:
                records.append(record)
        return Prediction(tuple(records), options.threshold, prompts.text)

    def doubted(self, mask, place, local):
        by = int(self.rng.integers(-self.doubt, self.doubt + 1))
        if by > 0:
            mask = ndi.binary_dilation(mask, iterations=by)
        elif by < 0:
            mask = ndi.binary_erosion(mask, iterations=-by)
        for axis, span in enumerate(place):
            over = span.start - self.doubt, span.stop + self.doubt - local.shape[axis]
            along = np.moveaxis(mask, axis, 0)
            if over[0] < 0:
                along[: -over[0]] = False
            if over[1] > 0:
                along[-over[1] :] = False
        return mask

    def close(self):
        pass


def truth_of(side, sizes, seed=0):
    """Ellipses and touching pairs, some as long as a tile, as labels."""
    rng = np.random.default_rng(seed)
    labels = np.zeros((side, side), np.uint32)
    count = 0
    for _ in range(side * side // 1200):
        a, b = rng.uniform(*sizes, 2) / 2
        y, x = rng.uniform(0, side, 2)
        if rng.random() < 0.02:
            a *= 12  # a fibre
        turn = rng.uniform(0, np.pi)
        reach = int(max(a, b)) + 2
        y0, x0 = max(0, int(y) - reach), max(0, int(x) - reach)
        piece = labels[y0 : int(y) + reach, x0 : int(x) + reach]
        rows, columns = np.ogrid[y0 : y0 + piece.shape[0], x0 : x0 + piece.shape[1]]
        dy, dx = rows - y, columns - x
        along = dx * np.cos(turn) + dy * np.sin(turn)
        across = dy * np.cos(turn) - dx * np.sin(turn)
        mask = (along / a) ** 2 + (across / b) ** 2 <= 1
        taken = np.count_nonzero(piece[mask])
        # They may touch but not cover each other, and are in one piece.
        if mask.sum() > 30 and taken < 0.2 * mask.sum():
            mask &= piece == 0
            if ndi.label(mask)[1] == 1:
                count += 1
                piece[mask] = count
    return labels


def run(engine, image, tiles, prompts, folder):
    """Scan into a folder; returns the result."""
    request = ScanRequest(
        view_of_array(image, rgb=True), prompts, folder / "labels.zarr", tiles=tiles, overwrite=True
    )
    *_, result = scan(CachingEngine(engine), request, NullReporter())
    return result


def labels_of(result):
    return zarr.open_group(str(result.path), mode="r")["0"][...]


def judge(name, truth, labels, band):
    """Print how the found objects go with the true ones."""
    pairs = Counter(zip(truth.ravel().tolist(), labels.ravel().tolist(), strict=True))
    true_area, found_area = Counter(truth.ravel().tolist()), Counter(labels.ravel().tolist())
    best = Counter()
    parts, owners = Counter(), Counter()
    for (true, found), shared in pairs.items():
        if true and found:
            best[true] = max(best[true], shared / (true_area[true] + found_area[found] - shared))
            # What one outline takes of a neighbour by a pixel is no part and no merger.
            parts[true] += shared > 0.1 * true_area[true]
            owners[found] += shared > 0.5 * true_area[true]
    places = ndi.find_objects(truth)
    small = [
        value
        for value, place in enumerate(places, 1)
        if place and max(axis.stop - axis.start for axis in place) <= band
    ]
    hits = sum(iou > 0.5 for iou in best.values())
    true, found = len(true_area) - (0 in true_area), len(found_area) - (0 in found_area)
    whole = sum(parts[value] <= 1 and best[value] > 0.5 for value in small)
    print(
        f"{name:<28} {true:5d} objects, {found:5d} found: precision {hits / found:.4f}, "
        f"recall {hits / true:.4f}; small ones whole {whole}/{len(small)}; "
        f"split {sum(value > 1 for value in parts.values())}, "
        f"merged {sum(value > 1 for value in owners.values())}"
    )


def stitching():
    """Tiles of 4096 are one tile: what the engine's own doubt makes of the truth."""
    truth = truth_of(2000, (10, 70))
    colours = np.stack([truth >> 16, truth >> 8, truth], -1).astype(np.uint8)
    with tempfile.TemporaryDirectory() as place:
        for size, overlap in ((4096, 0.15), (512, 0.15), (512, 0.25), (256, 0.5)):
            tiles = TileOptions(size, overlap)
            for doubt in (0, 1, 2):
                prompts = PromptSet(text="all")
                labels = labels_of(run(TruthEngine(doubt), colours, tiles, prompts, Path(place)))
                name = f"tile {size}, overlap {overlap:g}, doubt {doubt}"
                judge(name, truth, labels, tiles.band)


def builtin():
    """The built-in engine on cells: what tiles change of its own result."""
    with tempfile.TemporaryDirectory() as place:
        for name in ("bright", "touching"):
            recipe = Recipe(
                shape=(1500, 1500), diameters=(14.0, 34.0), touching=0.6 * (name == "touching")
            )
            scene = draw(recipe, 5)
            direct = api.segment(scene.image, text="bright cells")
            judge(f"{name}: in one piece", scene.labels, direct.labels, 64)
            result = api.scan(
                scene.image,
                text="bright cells",
                output=Path(place) / "labels.zarr",
                tile=256,
                overlap=0.25,
                overwrite=True,
            )
            labels = labels_of(result)
            judge(f"{name}: 64 tiles of 256", scene.labels, labels, 64)


def engine_alone(engine, image, grid, prompts):
    """Return how long an engine takes for all tiles when nothing else runs."""
    engine.load(NullReporter())
    began = perf_counter()
    for number in range(len(grid)):
        embedding = engine.embed(image[grid[number].slices], NullReporter())
        engine.predict(embedding, prompts, PredictOptions(), NullReporter())
    return perf_counter() - began


def overhead():
    """The scan reads and writes while the engine works, so the engine's time is its time alone."""
    cells = draw(Recipe(shape=(1024, 1024), diameters=(16.0, 40.0)), 2).image
    image = np.tile(cells, (3, 3, 1))
    tiles, prompts = TileOptions(1024), PromptSet(text="bright cells")
    grid = TileGrid.cover(image.shape[:2], tiles)
    alone, whole = [], []
    for _ in range(ROUNDS):
        alone.append(engine_alone(registry.create("builtin"), image, grid, prompts))
        with tempfile.TemporaryDirectory() as place:
            began = perf_counter()
            result = run(registry.create("builtin"), image, tiles, prompts, Path(place))
            whole.append(perf_counter() - began)
        print(f"the engine alone {alone[-1]:.2f} s, the scan {whole[-1]:.2f} s")
    engine, total = sum(alone) / ROUNDS, sum(whole) / ROUNDS
    print(
        f"{result.tiles} tiles of 1024, {len(result.objects)} objects, mean of {ROUNDS}: "
        f"{total:.2f} s, the engine alone {engine:.2f} s, "
        f"the scan's own part {total - engine:.2f} s ({total / engine - 1:.1%})"
    )


class Discs:
    """A large image that is made where it is read."""

    dtype = np.dtype(np.uint8)

    def __init__(self, side):
        self.shape = (side, side)

    def __getitem__(self, key):
        rows, columns = np.ogrid[key]
        return np.where(np.hypot(rows % 61 - 30, columns % 61 - 30) < 20, 200, 30).astype(np.uint8)


class BrightEngine(TruthEngine):
    """Finds bright pixels that touch."""

    def predict(self, embedding, prompts, options, reporter):
        found, _ = ndi.label(embedding[..., 0] > 127)
        records = [
            ObjectRecord.from_mask(
                value, found[place] == value, offset=[axis.start for axis in place]
            )
            for value, place in enumerate(ndi.find_objects(found), 1)
        ]
        return Prediction(tuple(records), options.threshold, prompts.text)


def memory_of(tiles, traced):
    """Scan in this process and print its peak memory in MiB, and of it what Python holds."""
    options = TileOptions(512, 0.15)
    per_side = round(tiles**0.5)
    side = (options.size - options.band) * (per_side - 1) + options.size
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)

        def once(shape):
            request = ScanRequest(
                view_of_array(Discs(shape)),
                PromptSet(text="bright"),
                folder / "labels.zarr",
                tiles=options,
                overwrite=True,
            )
            for _step in scan(CachingEngine(BrightEngine()), request, NullReporter()):
                last = _step
            return last

        if traced:
            tracemalloc.start()
        result = once(side)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    if traced:
        peak = tracemalloc.get_traced_memory()[1] / 2**20
    print(f"{result.tiles} {len(result.objects)} {peak:.0f}")


def memory():
    for tiles in (4, 25, 100, 400):
        peaks = []
        for kind in ("memory-of", "traced-memory-of"):
            command = [sys.executable, __file__, kind, str(tiles)]
            done = subprocess.run(command, capture_output=True, text=True, check=True)
            count, objects, peak = (int(value) for value in done.stdout.split())
            peaks.append(peak)
        print(
            f"{count:4d} tiles of 512, {objects:6d} objects: peak {peaks[0]} MiB resident, "
            f"{peaks[1]} MiB allocated by the scan"
        )


PARTS = {"stitching": stitching, "builtin": builtin, "overhead": overhead, "memory": memory}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("part", nargs="?", choices=[*PARTS, "memory-of", "traced-memory-of"])
    parser.add_argument("tiles", nargs="?", type=int)
    chosen = parser.parse_args()
    if chosen.tiles is not None:
        memory_of(chosen.tiles, traced=chosen.part == "traced-memory-of")
        return
    for name, part in PARTS.items():
        if chosen.part in (None, name):
            print(f"-- {name}")
            part()


if __name__ == "__main__":
    main()

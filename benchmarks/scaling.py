"""What many workers cost: a real cluster, and an engine that waits as long as a GPU works.

    python benchmarks/scaling.py pieces              what one task, one tile and one object cost
    python benchmarks/scaling.py speed [--wait 0.15] one worker, two, and one process
    python benchmarks/scaling.py memory [--tiles 100 1000 10000]

The engine sleeps while "the GPU" works, so that workers on a machine of few cores are as fast as
on one of many; all else, from reading tiles to stitching, is real. docs/scaling.md says what
follows from the numbers.
"""

import argparse
import hashlib
import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import psutil
import zarr
from distributed import Client, LocalCluster, WorkerPlugin

from napari_sam3_assistant import api
from napari_sam3_assistant.compute.host import PLUGIN, EngineChoice, Host
from napari_sam3_assistant.compute.wire import pack, pack_pixels
from napari_sam3_assistant.core.axes import make_axes
from napari_sam3_assistant.core.options import TileOptions
from napari_sam3_assistant.core.progress import NullReporter
from napari_sam3_assistant.core.prompts import PromptKind
from napari_sam3_assistant.core.results import ObjectRecord, Provenance
from napari_sam3_assistant.core.stitching import Stitcher
from napari_sam3_assistant.core.tiling import TileGrid
from napari_sam3_assistant.engines import registry
from napari_sam3_assistant.engines.base import EngineEntry, EngineSpec, EngineStatus, Prediction
from napari_sam3_assistant.engines.caching_engine import CachingEngine
from napari_sam3_assistant.engines.piecework import work_through
from napari_sam3_assistant.io.ome_zarr_labels import GrowingLabels
from napari_sam3_assistant.io.scan_folder import ScanFolder, TileResult

SPEC = EngineSpec("waiting", "Waiting", frozenset({PromptKind.TEXT}), needs_weights=False)


class WaitingEngine:
    """Sleeps, and finds a few squares."""

    device, version, weights, spec = "cpu", "1", "", SPEC

    def __init__(self, wait, objects):
        self.wait, self.objects = wait, objects

    def load(self, reporter):
        reporter.check()

    def embed(self, image, reporter):
        threading.Event().wait(self.wait)
        return image

    def predict(self, embedding, prompts, options, reporter):
        return Prediction(tuple(squares(embedding.shape[:2], self.objects)), 0.5, prompts.text)

    def close(self):
        pass


def squares(shape, count):
    """Yield objects of 24 x 24 pixels in rows."""
    columns = max(1, shape[1] // 40)
    for number in range(count):
        y, x = 40 * (number // columns), 40 * (number % columns)
        yield ObjectRecord.from_mask(number + 1, np.ones((24, 24), bool), offset=(y, x), score=0.9)


class WaitingWorker(WorkerPlugin):
    """Gives a worker the waiting engine."""

    name = PLUGIN

    def __init__(self, wait, objects):
        self.wait, self.objects = wait, objects

    def setup(self, worker):
        entry = EngineEntry(
            SPEC,
            lambda: EngineStatus(True),
            lambda *_: WaitingEngine(self.wait, self.objects),
        )
        registry.entries()[SPEC.name] = entry
        self.host = Host(EngineChoice(SPEC.name))


@contextmanager
def cluster(workers, wait, objects=4):
    """Give an engine of a cluster of worker processes, and a client of it."""
    with (
        LocalCluster(
            n_workers=workers, threads_per_worker=8, memory_limit=0, dashboard_address=":0"
        ) as made,
        Client(made, set_as_default=False) as client,
    ):
        client.register_plugin(WaitingWorker(wait, objects))
        with api.open_engine(compute=client) as engine:
            engine.load(NullReporter())
            yield engine, client


def serve(wait):
    """Be the server of `served`, until its input ends."""
    with cluster(2, wait) as (_, client):
        pids = [*client.run(os.getpid).values()]
        print(client.scheduler.address, os.getpid(), *pids, flush=True)
        sys.stdin.read()


@contextmanager
def served(wait):
    """Give an engine of two workers whose scheduler is a process of its own, and all pids."""
    command = [sys.executable, __file__, "serve", "--wait", str(wait)]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        address, *pids = process.stdout.readline().split()
        with api.open_engine(compute=address) as engine:
            engine.load(NullReporter())
            yield engine, [os.getpid(), *map(int, pids)]
        process.stdin.close()


class Nothing:
    """Work that costs nothing, so that what is left is the way there and back."""

    def can_read(self):
        return True

    def read(self, piece):
        return np.zeros((1, 1, 3), np.uint8)

    def run(self, engine, piece, pixels, reporter):
        return piece


def make_image(folder, tiles, tile, overlap):
    """Return a file of about so many tiles that takes no room."""
    side = int(np.ceil(tiles**0.5))
    length = tile + (side - 1) * (tile - TileOptions(tile, overlap).band)
    path = folder / f"{tiles}.zarr"
    zarr.create_array(str(path), shape=(length, length), chunks=(1024, 1024), dtype="uint8")
    return path


def scan(image, output, engine, tile, on_step=None):
    began = time.perf_counter()
    result = api.scan(
        image, output=output, text="cell", tile=tile, overlap=0.1, engine=engine, on_step=on_step
    )
    return time.perf_counter() - began, result


def labels_sum(result):
    return hashlib.sha256(zarr.open_group(str(result.path), mode="r")["0"][...]).hexdigest()[:12]


def show_speed(wait, tiles, tile):
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        image = make_image(folder, tiles, tile, 0.1)
        with CachingEngine(WaitingEngine(wait, 4)) as engine:
            alone, result = scan(image, folder / "0.zarr", engine, tile)
        sums, times = [labels_sum(result)], []
        for workers in (1, 2):
            with cluster(workers, wait) as (engine, _):
                took, result = scan(image, folder / f"{workers}.zarr", engine, tile)
            times.append(took)
            sums.append(labels_sum(result))
    ideal, equal = result.tiles * wait / 2, len(set(sums)) == 1
    print(f"{result.tiles} tiles of {tile}, {1000 * wait:.0f} ms each: labels equal: {equal}")
    print(f"one process {alone:.1f} s, one worker {times[0]:.1f} s, two {times[1]:.1f} s")
    print(f"two are {times[0] / times[1]:.2f} times one; waiting alone takes {ideal:.1f} s")
    print(f"overhead of two: {100 * (times[1] / ideal - 1):.1f} %")


def show_memory(counts, wait, tile):
    print(" tiles  client  server  worker  (MB, highest)  seconds  objects")
    for tiles in counts:
        with tempfile.TemporaryDirectory() as name, served(wait) as (engine, pids):
            image = make_image(Path(name), tiles, tile, 0.1)
            processes = [psutil.Process(pid) for pid in pids]
            peaks = np.zeros(len(pids))

            def look(step, peaks=peaks, processes=processes):
                if step.done % 20 == 1:
                    now = [process.memory_info().rss for process in processes]
                    np.maximum(peaks, now, out=peaks)

            took, result = scan(image, Path(name) / "labels.zarr", engine, tile, look)
            last = processes[0].memory_info().rss
        client, server, *workers = peaks / 1e6
        told = f"{client:7.0f} {server:7.0f} {max(workers):7.0f} {took:22.1f}"
        print(f"{result.tiles:6} {told} {len(result.objects):8}; at the end {last / 1e6:.0f}")


def show_pieces():
    with cluster(2, 0.0) as (engine, _):
        count = 2000
        began, cpu = time.perf_counter(), time.process_time()
        for _ in work_through(engine, Nothing(), range(count), NullReporter()):
            pass
        took, cpu = time.perf_counter() - began, time.process_time() - cpu
    each, here = 1000 * took / count, 1000 * cpu / count
    print(f"a piece: {each:.2f} ms, {here:.2f} ms of the processor of client and scheduler")
    rng = np.random.default_rng(0)
    for tile, objects in ((1024, 50), (1024, 500)):
        show_tile(tile, objects, rng)


def show_tile(tile, objects, rng):
    records = tuple(squares((tile, tile), objects))
    answer = TileResult(records, Provenance("e", "E", "1", "cpu", 0.5))
    grey = rng.integers(0, 40, (tile, tile, 1), np.uint8).repeat(3, axis=2)
    grid = TileGrid.cover((8 * tile, 8 * tile), TileOptions(tile, 0.1))
    with tempfile.TemporaryDirectory() as name:
        labels = GrowingLabels(Path(name) / "labels.zarr", make_axes((8 * tile, 8 * tile)))
        saved, stitched = [], []
        folder = ScanFolder(Path(name) / "other.zarr", {})
        with labels as plane:
            stitcher = Stitcher(plane, grid)
            for number in range(len(grid)):
                region = grid[number]
                placed = [one.shift(region.y0, region.x0) for one in records]
                began = time.perf_counter()
                folder.save(number, TileResult(tuple(placed), answer.engine))
                saved.append(time.perf_counter() - began)
                began = time.perf_counter()
                stitcher.add(number, placed)
                stitched.append(time.perf_counter() - began)
    per_tile = statistics.mean(stitched)
    sent, here = len(pack_pixels(grey)) / 1e6, 1000 * statistics.mean(saved)
    print(f"a tile of {tile} with {objects} objects:")
    print(f"  answer {len(pack(answer)) / 1e3:.1f} kB, sent pixels {sent:.2f} MB (noise)")
    print(f"  journal {here:.1f} ms, stitcher and labels {1000 * per_tile:.1f} ms")


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", choices=("pieces", "speed", "memory", "serve"))
    parser.add_argument("--wait", type=float, default=0.15)
    parser.add_argument("--tiles", type=int, nargs="+", default=[100, 1000, 10_000])
    parser.add_argument("--tile", type=int, default=256)
    chosen = parser.parse_args()
    if chosen.what == "serve":
        serve(chosen.wait)
    elif chosen.what == "pieces":
        show_pieces()
    elif chosen.what == "speed":
        show_speed(chosen.wait, chosen.tiles[0], chosen.tile)
    else:
        show_memory(chosen.tiles, chosen.wait, chosen.tile)


if __name__ == "__main__":
    main()

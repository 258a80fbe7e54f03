"""What a server costs: clicks and encodings on loopback, beside the same engine in the process.

    python benchmarks/remote.py [--size 2048] [--clicks 40]

The engine is a tiny SAM 2.1 with random weights, so that what is measured is the way and not the
model; its noise is the worst there is to compress. Encodings are of new pixels each time. Here and
server take turns, and the quickest of all is given beside the median, since other programs slow
down the one or the other.
"""

import argparse
import statistics
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import psutil

sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "engines"))

from napari_sam3_assistant import api
from napari_sam3_assistant.compute.host import EngineChoice
from napari_sam3_assistant.compute.remote_engine import RemoteEngine
from napari_sam3_assistant.compute.server import serve
from napari_sam3_assistant.core.progress import NullReporter
from napari_sam3_assistant.engines.caching_engine import CachingEngine

IMAGES = 6


def take_times(engines, points, images):
    """Return the seconds that each engine takes for each of some clicks."""
    times = [[] for _ in engines]
    for point, image in zip(points, images, strict=True):
        for engine, own in zip(engines, times, strict=True):
            began = time.perf_counter()
            api.segment(image, points=[point], engine=engine)
            own.append(time.perf_counter() - began)
    return times


def take_processor(engine, points, image, processes):
    """Return the seconds of the processor that all of some processes spend on a click."""

    def spent():
        return sum(sum(one.cpu_times()[:2]) for one in processes)

    before = spent()
    for point in points:
        api.segment(image, points=[point], engine=engine)
    return (spent() - before) / len(points)


def show(what, here, there):
    print(f"{what:<28} {here:8.3f} s {there:8.3f} s {1000 * (there - here):6.0f} ms")


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--size", type=int, default=2048)
    parser.add_argument("--clicks", type=int, default=40)
    chosen = parser.parse_args()
    from tiny_sam import write_tiny_sam

    size, rng = chosen.size, np.random.default_rng(0)
    images = [rng.integers(0, 255, (size, size), np.uint8) for _ in range(IMAGES)]
    with tempfile.TemporaryDirectory() as folder:
        weights = write_tiny_sam(Path(folder) / "tiny", "sam2")
        keys = Path(folder) / "connection.json"
        name = api.engine_for(weights)
        with (
            serve(EngineChoice(name, weights), port=0, connection=keys),
            api.open_engine(name, model_folder=weights) as here,
            CachingEngine(engine := RemoteEngine(keys)) as there,
        ):
            middle = [(size / 2, size / 2)] * IMAGES
            encoded = take_times((here, there), middle, images)
            link = engine.measure(NullReporter())
            before = engine.bytes_received
            places = [(place, size / 2) for place in np.linspace(10, size - 10, chosen.clicks)]
            clicked = take_times((here, there), places, [images[-1]] * chosen.clicks)
            clients = [psutil.Process()]
            workers = [
                one
                for one in clients[0].children(recursive=True)
                if "spawn_main" in " ".join(one.cmdline())
            ]
            processor = [
                take_processor(one, places, images[-1], processes)
                for one, processes in ((here, clients), (there, clients + workers))
            ]
            mask = (engine.bytes_received - before) / (2 * chosen.clicks)
    print(f"{size} x {size}                       here     server      more")
    for what, times in (("click", clicked), ("encode and click", [one[1:] for one in encoded])):
        show(f"{what}, quickest", *map(min, times))
        show(f"{what}, median", *map(statistics.median, times))
    show("click, processor of all", *processor)
    print(f"a question and its answer: {1000 * link.round_trip:.1f} ms")
    print(f"received for a click: {mask / 1e3:.0f} kB")
    print(f"sent: {engine.bytes_sent / 1e6:.1f} MB for {IMAGES} images")


if __name__ == "__main__":
    main()

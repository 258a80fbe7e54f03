"""What a server costs: clicks and encodings on loopback, beside the same engine in the process.

    python benchmarks/remote.py [--size 2048] [--clicks 40]

The engine is a tiny SAM 2.1 with random weights, so that what is measured is the way and not the
model. Encodings are of new pixels each time.
"""

import argparse
import statistics
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "engines"))

from napari_sam3_assistant import api
from napari_sam3_assistant.compute.host import EngineChoice
from napari_sam3_assistant.compute.remote_engine import RemoteEngine
from napari_sam3_assistant.compute.server import serve
from napari_sam3_assistant.engines.caching_engine import CachingEngine


def measure(engine, size, clicks):
    """Return the median seconds of a click on an encoded image, and of an image's encoding."""
    rng = np.random.default_rng(0)
    images = [rng.integers(0, 255, (size, size), np.uint8) for _ in range(4)]
    first, click = [], []
    for image in images:
        began = time.perf_counter()
        api.segment(image, points=[(size / 2, size / 2)], engine=engine)
        first.append(time.perf_counter() - began)
    for place in np.linspace(10, size - 10, clicks):
        began = time.perf_counter()
        api.segment(images[-1], points=[(place, size / 2)], engine=engine)
        click.append(time.perf_counter() - began)
    return statistics.median(click), statistics.median(first[1:])


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--size", type=int, default=2048)
    parser.add_argument("--clicks", type=int, default=40)
    chosen = parser.parse_args()
    from tiny_sam import write_tiny_sam

    with tempfile.TemporaryDirectory() as folder:
        weights = write_tiny_sam(Path(folder) / "tiny", "sam2")
        keys = Path(folder) / "connection.json"
        name = api.engine_for(weights)
        with api.open_engine(name, model_folder=weights) as here:
            local = measure(here, chosen.size, chosen.clicks)
        with (
            serve(EngineChoice(name, weights), port=0, connection=keys),
            CachingEngine(engine := RemoteEngine(keys)) as there,
        ):
            remote = measure(there, chosen.size, chosen.clicks)
    print(f"{chosen.size} x {chosen.size}, median  here      server    more")
    for what, one, other in zip(("click", "encode and click"), local, remote, strict=True):
        print(f"{what:<20} {one:8.3f} s {other:8.3f} s {1000 * (other - one):6.0f} ms")
    print(f"sent: {engine.bytes_sent / 1e6:.1f} MB for 4 images")


if __name__ == "__main__":
    main()

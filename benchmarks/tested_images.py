"""Run the images of a coverage table through the window's session, and save them.

    python benchmarks/tested_images.py              all rows and engines, a few minutes
    python benchmarks/tested_images.py builtin      one engine

Prints the figures of the first table of docs/tested-images.md. Each row has a process of its own,
with real napari layers and no window. Images are synthetic: 2048 x 2048 in memory, 60000 x 60000
as a zarr pyramid on disk of which the part round the click is written. "SAM 3 (random)" has small
random weights: what it finds means nothing, the way there is the same. Peak is the process's peak
memory above that with the image open, the engine loaded and used once. Needs Linux.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter

import numpy as np
import tifffile
from large_image import pyramid, write_image
from synthetic_cells import Recipe, draw
from viewer_session import MIB, Desk, forget_peak, peak, random_weights, resident

from napari_sam3_assistant.core.prompts import Tool
from napari_sam3_assistant.engines.device import give_back_memory

ENGINES = {
    "builtin": "built-in",
    "sam3-transformers": "SAM 3 by transformers (random)",
    "sam3-meta": "SAM 3 by Meta's package (random)",
}
PREVIEW, SAVED = "SAM3 preview labels", "SAM3 saved labels"


@dataclass(frozen=True)
class Row:
    """A row of the seed's table."""

    title: str
    layout: str
    rgb: bool
    large: bool

    @property
    def workflow(self):
        kind = "local ROI of 1024" if self.large else "2D preview"
        return f"{kind}, Save & Clean"

    def add_to(self, viewer, folder):
        """Open the image; returns where a cell is."""
        if self.large:
            spot = write_image(folder / "image", rgb=self.rgb)
            levels = pyramid(folder / "image")
            viewer.add_image(
                levels, name="image", rgb=self.rgb, contrast_limits=(0, 255), multiscale=True
            )
            return spot
        scene = draw(Recipe(shape=(2048, 2048), diameters=(24.0, 60.0)), 2)
        viewer.add_image(scene.image if self.rgb else scene.image[..., 0], name="image")
        cells = np.argwhere(scene.labels == scene.labels[900:1100, 900:1100].max())
        return tuple(map(int, cells[len(cells) // 2]))


ROWS = (
    Row("Single-channel 2D", "2048 x 2048", rgb=False, large=False),
    Row("RGB 2D", "2048 x 2048 x 3", rgb=True, large=False),
    Row("Single-channel large image", "60000 x 60000", rgb=False, large=True),
    Row("RGB large image", "60000 x 60000 x 3", rgb=True, large=True),
)


def use_once(desk):
    """Run on a small image: code that is loaded by the first run is no memory of a row."""
    image = desk.viewer.add_image(np.zeros((64, 64), np.uint8))
    desk.model.tool = Tool.POINTS
    desk.binding.prompts.arm()
    desk.viewer.layers["SAM3 points"].add((32, 32))
    desk.run()
    desk.viewer.layers.remove(image)
    for name in ("SAM3 points", PREVIEW):
        if name in desk.viewer.layers:
            desk.viewer.layers.remove(name)


def measure(engine, row, folder, weights):
    """Go through a row; returns what it took, or raises."""
    desk = Desk(engine, weights)
    use_once(desk)
    spot = row.add_to(desk.viewer, folder)
    give_back_memory()  # of making the image
    before = resident()
    forget_peak()
    desk.model.large_image = row.large
    desk.binding.prompts.arm()
    desk.viewer.layers["SAM3 points"].add(spot)
    running = desk.run()
    labels = np.array(desk.viewer.layers[PREVIEW].data)
    assert labels.shape == ((1024, 1024) if row.large else (2048, 2048))
    assert labels.any()

    output = folder / "masks"
    output.mkdir()
    desk.model.output_folder = str(output)
    began = perf_counter()
    desk.finish(desk.session.cleaning.save())
    saving = perf_counter() - began
    (file,) = output.glob("*.tif")
    np.testing.assert_array_equal(tifffile.imread(file), labels)
    np.testing.assert_array_equal(desk.viewer.layers[SAVED].data, labels)
    assert PREVIEW not in desk.viewer.layers
    assert desk.model.device_in_use is None
    highest = (peak() - before) / MIB
    desk.close()
    return f"{running:.2f} s | {saving:.2f} s | {highest:.0f} MiB"


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("engine", nargs="?", choices=ENGINES)
    parser.add_argument("--row", type=int, help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    if chosen.row is not None:
        with tempfile.TemporaryDirectory() as place:
            weights = Path(place) / "weights"
            with random_weights(chosen.engine, weights):
                print(measure(chosen.engine, ROWS[chosen.row], Path(place), weights), flush=True)
        return 0
    failed = 0
    print("| Image type | Size / layout | Workflow | Engine | Status | Run | Save | Peak memory |")
    print("| --- | --- | --- | --- | --- | ---: | ---: | ---: |")
    for number, row in enumerate(ROWS):
        for engine in [chosen.engine] if chosen.engine else ENGINES:
            command = [sys.executable, __file__, engine, "--row", str(number)]
            done = subprocess.run(command, capture_output=True, text=True, check=False)
            passed = done.returncode == 0
            failed += not passed
            figures = done.stdout.strip() if passed else "- | - | -"
            status = "Passed" if passed else "Failed"
            head = f"| {row.title} | {row.layout} | {row.workflow} | {ENGINES[engine]}"
            print(f"{head} | {status} | {figures} |", flush=True)
            if not passed:
                sys.stderr.write(done.stderr)
    return int(failed > 0)


if __name__ == "__main__":
    sys.exit(main())

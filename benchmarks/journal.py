"""What the journal costs: bytes on the disk, and processor time of the window, for each act.

Run with ``python benchmarks/journal.py``. A session with many accepted objects in a plane of
2048 x 2048 pixels; times are medians.
"""

import shutil
import statistics
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
import saved_sessions as saved
from napari_sam3_assistant.errors import PromptError

SIDE, DISTANCE, TIMES = 2048, 64, 9


def make_image(rng):
    """Return an image of discs, and where they are."""
    image = rng.normal(40, 3, (SIDE, SIDE)).clip(0, 255).astype(np.uint8)
    y, x = np.ogrid[:21, :21]
    disc = (y - 10) ** 2 + (x - 10) ** 2 <= 100
    places = range(DISTANCE // 2, SIDE - 32, DISTANCE)
    spots = [(cy, cx) for cy in places for cx in places]
    for cy, cx in spots:
        image[cy - 10 : cy + 11, cx - 10 : cx + 11][disc] = 200
    return image, spots


def main():
    """Print a table."""
    root = Path(tempfile.mkdtemp())
    binding = saved.new_binding()
    binding.session.run_live = lambda: None
    binding.session.journaling.start(root)
    viewer, rng = binding.viewer, np.random.default_rng(0)
    image, spots = make_image(rng)
    viewer.add_image(image, name="cells")
    binding.prompts.arm()
    points = next(one for one in viewer.layers if one.name == "SAM3 points")
    told = {"click": [], "run": [], "keep": [], "stroke": []}

    def write(act):
        journaling = binding.session.journaling
        before, begun = journaling.written, time.thread_time()
        journaling.tick()
        spent = (time.thread_time() - begun) * 1e3
        journaling.finish()
        told[act].append((journaling.written - before, spent))

    for number, spot in enumerate(spots[: TIMES + 3]):
        points.add(np.array(spot, float))
        write("click")
        assert binding.session.run().wait(240)
        write("run")
        try:
            binding.session.accept()
        except PromptError:
            continue
        write("keep")
        labels = viewer.layers["SAM3 live accepted labels"]
        labels.brush_size = 20
        labels.paint(tuple(rng.integers(100, SIDE - 100, 2)), number + 1000)
        write("stroke")
    print("| act | bytes | ms of the window's thread |\n|---|---|---|")
    for act, values in told.items():
        sizes, times = zip(*values[3:], strict=True)
        print(f"| {act} | {statistics.median(sizes):.0f} | {statistics.median(times):.1f} |")
    binding.close()
    shutil.rmtree(root, ignore_errors=True)


if __name__ == "__main__":
    main()

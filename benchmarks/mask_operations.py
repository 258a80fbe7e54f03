"""Measure the mask operations against what issue 7 asks for.

    python benchmarks/mask_operations.py            the plane and the stack, a minute
    python benchmarks/mask_operations.py --lazy     and a 60000 x 60000 zarr, minutes
    python benchmarks/mask_operations.py --window   instead the pauses of napari's window, minutes

Extra memory is the growth of the process's peak while the operation runs, over the label array.
"""

from __future__ import annotations

import argparse
import tempfile
import threading
from pathlib import Path
from time import perf_counter

import numpy as np
import zarr

from napari_sam3_assistant.core.masks.cleanup import delete_components, remove_small
from napari_sam3_assistant.core.masks.components import find_components
from napari_sam3_assistant.core.masks.morphology import fill_holes, smooth

SIDE, PITCH = 4096, 40
HUGE, CHUNK = 60_000, 1000
HEADS = "measured    wanted  memory"


def plane():
    """10 000 discs of radius 6 to 18, half of them with a hole, one label each."""
    rng = np.random.default_rng(0)
    labels = np.zeros((SIDE, SIDE), np.uint32)
    for number in range(10_000):
        cy, cx = (PITCH * at + 22 for at in divmod(number, 100))
        radius = rng.integers(6, 19)
        y, x = np.ogrid[-radius : radius + 1, -radius : radius + 1]
        around = labels[cy - radius : cy + radius + 1, cx - radius : cx + radius + 1]
        around[y * y + x * x <= radius * radius] = number + 1
        if number % 2:
            labels[cy - 2 : cy + 2, cx - 2 : cx + 3] = 0
    return labels


def stack():
    """5 000 balls of radius 6 to 14, where they overlap the later one on top."""
    rng = np.random.default_rng(0)
    labels = np.zeros((256, 1024, 1024), np.uint32)
    for number in range(1, 5001):
        radius = int(rng.integers(6, 15))
        z, y, x = (int(rng.integers(15, size - 15)) for size in labels.shape)
        grid = np.ogrid[(slice(-radius, radius + 1),) * 3]
        ball = sum(axis * axis for axis in grid) <= radius * radius
        where = tuple(slice(at - radius, at + radius + 1) for at in (z, y, x))
        labels[where][ball] = number
    return labels


def resident():
    """Memory of this process now, in bytes."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096


class Peak:
    """Watches the memory of this process while a block runs."""

    def __enter__(self):
        self.before = self.highest = resident()
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch)
        self._thread.start()
        return self

    def _watch(self):
        while not self._over.wait(0.002):
            self.highest = max(self.highest, resident())

    def __exit__(self, *_):
        self._over.set()
        self._thread.join()

    @property
    def extra(self):
        return self.highest - self.before


def row(name, target, labels, work, repeats=3):
    """Print the best time of some, the peak of the first, and return the last result."""
    times = []
    with Peak() as peak:
        for _ in range(repeats):
            began = perf_counter()
            result = work()
            times.append(perf_counter() - began)
    limit = f"{target:6.2f}" if target else "     -"
    print(f"{name:44s} {min(times):8.3f} s   {limit} s   {peak.extra / labels.nbytes:5.2f} x")
    return result


def small_ones(labels):
    print(f"\n{'x'.join(map(str, labels.shape))}, {labels.dtype}".ljust(46), HEADS)
    found = row("analyse", 1.0, labels, lambda: find_components(labels))
    row("remove small (< 400)", 0.3, labels, lambda: remove_small(labels, 400))
    row("fill holes (<= 256)", 1.5, labels, lambda: fill_holes(labels, 256))
    row("smooth, radius 2", 3.0, labels, lambda: smooth(labels, 2))

    def delete():
        edit = delete_components(found, [5000], labels.dtype)
        edit.write(labels)
        return edit

    edit = row("delete one component", 0.05, labels, delete, 1)
    row("undo it", 0.05, labels, lambda: edit.write(labels, forward=False), 1)
    many = remove_small(labels, 10_000)
    row("write: every component deleted", 0, labels, lambda: many.write(labels), 1)
    row("undo that", 0, labels, lambda: many.write(labels, forward=False), 1)
    print(f"    {len(found)} components; undo of all of them takes {many.nbytes / 1e6:.1f} MB")


def a_stack(labels):
    print(f"\n{'x'.join(map(str, labels.shape))}, {labels.dtype}".ljust(46), HEADS)
    row("analyse", 12, labels, lambda: find_components(labels), 1)


def huge(folder):
    """A zarr of 14 GB, of which a band of chunks is filled with discs."""
    labels = zarr.create_array(
        Path(folder) / "huge.zarr", shape=(HUGE, HUGE), chunks=(CHUNK, CHUNK), dtype="uint32"
    )
    part = plane()[: 4 * CHUNK, : 4 * CHUNK]
    for corner in range(0, HUGE - 4 * CHUNK + 1, 14 * CHUNK):
        labels[corner : corner + 4 * CHUNK, corner : corner + 4 * CHUNK] = part
    print(f"\n{HUGE}x{HUGE} zarr, chunks {CHUNK}".ljust(46), HEADS)
    for side in (1000, 2000, 4000):
        box = (slice(14 * CHUNK, 14 * CHUNK + side),) * 2
        row(
            f"analyse a region of {side}",
            0,
            labels,
            lambda box=box: find_components(labels, box=box),
        )
        row(f"smooth a region of {side}", 0, labels, lambda box=box: smooth(labels, 2, box=box), 1)
    edit = remove_small(labels, 400, box=(slice(14 * CHUNK, 16 * CHUNK),) * 2)
    row("write to a region of 2000", 0, labels, lambda: edit.write(labels), 1)
    row("undo it", 0, labels, lambda: edit.write(labels, forward=False), 1)
    row("analyse the whole layer", 0, labels, lambda: find_components(labels), 1)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--lazy", action="store_true", help="measure a 60000 x 60000 zarr too")
    parser.add_argument("--window", action="store_true", help="measure the window's pauses only")
    arguments = parser.parse_args()
    if arguments.window:
        from mask_window import window  # opens napari

        window(plane())
        return
    small_ones(plane())
    a_stack(stack())
    if arguments.lazy:
        with tempfile.TemporaryDirectory() as folder:
            huge(folder)


if __name__ == "__main__":
    main()

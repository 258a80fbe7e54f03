"""Two small convolutional networks that have learned to draw outlines, run by numpy.

Each sees a window that is as large as its prompt asks for, brought to ``SIDE`` pixels, and says how
likely each of them belongs to the object in a box or under a click, and how well that will overlap
with it. What counts is the mean of both: where one of them is wrong, the other seldom is in the
same way. ``benchmarks/train_outlines.py`` trains them and says on what; their weights ship.
"""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from scipy.special import expit

from napari_sam3_assistant.core.regions import Region
from napari_sam3_assistant.engines.builtin.features import bilinear

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    import numpy.typing as npt

    from napari_sam3_assistant.engines.builtin.features import PlaneFeatures

    Floats = npt.NDArray[np.float32]

SIDE = 40  # pixels of a window, as the network was trained
ROOM = 1.6  # of the longer side of a box: the side of its window
NO_BOX = -1.5  # what the planes that show where a box is hold without one
DOT = 2.5  # standard deviation, in pixels of the window, of the dot that shows a click
BRIGHTEST = 4.0  # standard deviations of the window from its mean
NEVER = -10.0  # log-odds of what the network does not see
# Multiplications of a product of matrices that OpenBLAS leaves to one thread (its limit is 2**18).
# Its threads wait for each other after each product, beside a window that draws for long.
ONE_THREAD = 1 << 17
TURNS = 4  # in which it sees a window: answers turn with the image
BATCH = 4  # windows that are sketched at a time: what is worked on then fits into a cache

VERSION = 7  # of the weights and of what is drawn by them; labels note it
WEIGHTS = Path(__file__).with_name("outline_net.npz")


@dataclass(frozen=True, slots=True)
class Window:
    """A square of the plane that the network sees.

    ``y`` and ``x``: its middle, in pixels; the corner of the plane is 0.
    ``side``: its side, in pixels of the plane.
    ``box``: height and width of the box round its middle; a click in its middle without one.
    """

    y: float
    x: float
    side: float
    box: tuple[float, float] | None = None

    @classmethod
    def of_box(cls, box: Region) -> Window:
        """Return the window of a box."""
        return cls(
            (box.y0 + box.y1) / 2,
            (box.x0 + box.x1) / 2,
            ROOM * max(box.shape),
            (float(box.height), float(box.width)),
        )

    @property
    def octave(self) -> int:
        """The octave that it is looked at in."""
        return max(0, round(math.log2(max(self.side / SIDE, 1e-6) / 2)))

    def planes(self, features: PlaneFeatures) -> Floats:
        """Return what the network sees: grey levels, box (twice) and click, (4, SIDE, SIDE)."""
        step, octave = self.side / SIDE, self.octave
        image = features.octave(octave)
        along = (np.arange(2 * SIDE) + 0.5) / (2 * SIDE) * self.side - self.side / 2
        rows, columns = (
            ((middle + along) / 2**octave - 0.5).clip(0, count - 1).astype(np.float32)
            for middle, count in zip((self.y, self.x), image.shape, strict=True)
        )
        fine = bilinear(image, rows, columns) / 255
        grey = fine.reshape(SIDE, 2, SIDE, 2).mean((1, 3))
        grey = ((grey - grey.mean()) / (grey.std() + 1e-3)).clip(-BRIGHTEST, BRIGHTEST)
        place = (np.arange(SIDE) + 0.5) * step - self.side / 2
        planes = np.zeros((4, SIDE, SIDE), np.float32)
        planes[0] = grey
        if self.box is None:
            planes[1:3] = NO_BOX
            dot = np.exp(-((place / step / DOT) ** 2) / 2)
            planes[3] = dot[:, None] * dot
        else:
            down, across = (np.abs(place) / (length / 2) for length in self.box)
            planes[1] = np.maximum(down[:, None], across) - 1
            planes[2] = np.hypot(down[:, None], across) - 1
            np.clip(planes[1:3], -1, 1, out=planes[1:3])
        return planes


@dataclass(frozen=True, slots=True, eq=False)
class Drawing:
    """What the networks draw in a window.

    ``window``: what it saw.
    ``odds`` (shape (SIDE, SIDE)): log-odds of the window's pixels to belong to the object.
    ``overlap``: the intersection over union with the object that it expects.
    """

    window: Window
    odds: Floats
    overlap: float

    @property
    def octave(self) -> int:
        """The finest octave whose pixels are not much smaller than those of the window."""
        return max(0, math.floor(math.log2(self.window.side / SIDE)))

    def region(self, features: PlaneFeatures) -> Region:
        """Return the pixels of that octave that the window covers."""
        size = 2**self.octave
        (y0, y1), (x0, x1) = (
            (
                math.floor((middle - self.window.side / 2) / size),
                math.ceil((middle + self.window.side / 2) / size),
            )
            for middle in (self.window.y, self.window.x)
        )
        height, width = features.octave(self.octave).shape
        return Region(y0, x0, y1, x1).intersect(Region.whole((height, width)))

    def within(self, region: Region, octave: int = 0) -> Floats:
        """Return the log-odds of the pixels of a region of an octave; low beyond the window."""
        size = 2**octave
        step = self.window.side / SIDE
        ends = []
        for middle, first, last in (
            (self.window.y, region.y0, region.y1),
            (self.window.x, region.x0, region.x1),
        ):
            place = (np.arange(first, last) + 0.5) * size - middle + self.window.side / 2
            ends.append((place / step - 0.5).astype(np.float32))
        rows, columns = ends
        drawn = bilinear(self.odds, rows.clip(0, SIDE - 1), columns.clip(0, SIDE - 1))
        beyond = [np.abs(end - (SIDE - 1) / 2) > SIDE / 2 for end in ends]
        drawn[beyond[0]] = drawn[:, beyond[1]] = NEVER
        return drawn

    def likely(self, region: Region, octave: int = 0) -> npt.NDArray[np.float64]:
        """Return how likely the pixels of a region of an octave belong to the object."""
        chances: npt.NDArray[np.float64] = expit(self.within(region, octave).astype(np.float64))
        return chances


class OutlineNet:
    """One of the networks.

    ``weights``: of each layer, with its bias under the name with ``.bias``.
    """

    def __init__(self, weights: Mapping[str, npt.NDArray[np.floating]]) -> None:
        self._weights = {name: weights[name].astype(np.float32) for name in weights}

    def __call__(self, planes: Floats) -> tuple[Floats, Floats]:
        """Return log-odds of pixels (N, SIDE, SIDE), and of overlaps (N,), of planes."""
        fine = self.convolve(planes.transpose(0, 2, 3, 1), "e1")
        middle = self._each(_pool(fine), ("e2a", "e2b"))
        coarse = self._each(_pool(middle), ("e3a", "e3b"))
        deep = self._each(_pool(coarse), ("e4a", "e4b"))
        grown = self.convolve(coarse + _double(self._mix(deep, "u3")), "d3")
        grown = self.convolve(middle + _double(self._mix(grown, "u2")), "d2")
        grown = self.convolve(fine + _double(self._mix(grown, "u1")), "d1")
        odds = self._mix(grown, "out")
        return odds[..., 0], self._expected(deep, grown, expit(odds))

    def _expected(self, deep: Floats, grown: Floats, likely: Floats) -> Floats:
        """Return log-odds of overlaps (N,), told by the window, what is drawn and its outline."""
        count, coarse, size = len(deep), deep.shape[1], SIDE // deep.shape[1]
        held = likely.reshape(count, coarse, size, coarse, size, 1).mean((2, 4))
        area, edge = likely.sum((1, 2)), likely * (1 - likely)
        cut_off = area - likely[:, 1:-1, 1:-1].sum((1, 2))
        told = [
            deep.mean((1, 2)),
            grown.mean((1, 2)),
            (grown * likely).sum((1, 2)) / (area + 1),
            (np.abs(likely - 0.5) * 2 * likely).sum((1, 2)) / (area + 1),
            area / SIDE**2,
            (deep * held).sum((1, 2)) / (held.sum((1, 2)) + 0.1),
            (grown * edge).sum((1, 2)) / (edge.sum((1, 2)) + 1),
            cut_off / (4 * SIDE - 4),
        ]
        return self._mix(np.maximum(self._mix(np.concatenate(told, 1), "h1"), 0), "h2")[:, 0]

    def _each(self, values: Floats, names: Iterable[str]) -> Floats:
        """Return values after some convolutions."""
        for name in names:
            values = self.convolve(values, name)
        return values

    def _mix(self, values: Floats, name: str) -> Floats:
        """Return the channels of each pixel mixed."""
        mixed: Floats = values @ self._weights[name] + self._weights[f"{name}.bias"]
        return mixed

    def convolve(self, values: Floats, name: str) -> Floats:
        """Return values after a convolution of 3 x 3 pixels, cut off below 0."""
        count, height, width, channels = values.shape
        # Rows of padded planes lie one behind the other, so moved pixels are a slice and no copy.
        row = width + 2
        padded = np.pad(values, ((0, 0), (1, 2), (1, 1), (0, 0))).reshape(count, -1, channels)
        kernel = self._weights[name].reshape(3, 3, channels, -1)
        most = max(1, ONE_THREAD // (row * kernel[0, 0].size))
        rows = max(some for some in range(1, height + 1) if height % some == 0 and some <= most)
        shape = (count, height // rows, rows * row)
        convolved: Floats = np.zeros((*shape, kernel.shape[-1]), np.float32)
        part = np.empty_like(convolved)
        for y, x in np.ndindex(3, 3):
            start = y * row + x
            moved = padded[:, start : start + height * row].reshape(*shape, channels)
            convolved += np.matmul(moved, kernel[y, x], out=part)
        convolved += self._weights[f"{name}.bias"]
        np.maximum(convolved, 0, out=convolved)
        return convolved.reshape(count, height, row, -1)[:, :, :width]


def _pool(values: Floats) -> Floats:
    """Return the greatest values of blocks of 2 x 2 pixels."""
    count, height, width, channels = values.shape
    pooled: Floats = values.reshape(count, height // 2, 2, width // 2, 2, channels).max((2, 4))
    return pooled


def _double(values: Floats) -> Floats:
    """Return each pixel as 2 x 2 pixels."""
    return values.repeat(2, 1).repeat(2, 2)


@functools.cache
def shipped() -> tuple[OutlineNet, ...]:
    """Return the networks that ship with the package."""
    members: dict[str, dict[str, npt.NDArray[np.floating]]] = {}
    with np.load(WEIGHTS, allow_pickle=False) as file:
        for key in file.files:
            member, name = key.split(".", 1)
            members.setdefault(member, {})[name] = file[key]
    return tuple(OutlineNet(weights) for weights in members.values())


def draw_outlines(features: PlaneFeatures, windows: Iterable[Window]) -> Iterator[Drawing]:
    """Yield what the networks draw in windows; each is seen in four turns, so answers turn along.

    Windows are drawn in one by one: what is worked on then fits into a processor's cache.
    """
    for window in windows:
        seen = window.planes(features)
        turned = np.stack([np.rot90(seen, turn, (1, 2)) for turn in range(TURNS)])
        answers = [net(turned) for net in shipped()]
        odds = np.mean([drawn for drawn, _ in answers], 0)
        mean = np.mean([np.rot90(odds[turn], -turn) for turn in range(TURNS)], 0)
        yield Drawing(window, mean, float(np.mean([expit(scores) for _, scores in answers])))


def sketch_outlines(features: PlaneFeatures, windows: Sequence[Window]) -> Iterator[Drawing]:
    """Yield what the first network draws in windows, in a tenth of the time of all turns of both.

    Each is seen with its brightest side up, so answers turn along.
    """
    net, rows = shipped()[0], SIDE // 3
    for first in range(0, len(windows), BATCH):
        some = windows[first : first + BATCH]
        planes, turns = [], []
        for window in some:
            seen = window.planes(features)
            grey = seen[0]
            sides = (grey[:rows], grey[:, -rows:], grey[-rows:], grey[:, :rows])
            turns.append(int(np.argmax([side.mean() for side in sides])))
            planes.append(np.rot90(seen, turns[-1], (1, 2)))
        for window, turn, odds, score in zip(some, turns, *net(np.stack(planes)), strict=True):
            yield Drawing(window, np.rot90(odds, -turn), float(expit(score)))

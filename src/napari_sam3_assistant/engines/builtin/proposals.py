"""What may be the object at a click or in a box: connected parts of the image above a grey level.

A window round the prompt is cut at several grey levels and resolutions, so the answer does not
depend on how large the plane is. Each connected part is rated by one formula, see
:func:`.object_mask.rating`; prompts pick from these proposals as SAM's do from its masks.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy import ndimage as ndi

from napari_sam3_assistant.core.regions import Region
from napari_sam3_assistant.engines.builtin.features import bilinear
from napari_sam3_assistant.engines.builtin.object_mask import (
    Patch,
    Proposal,
    along_outline,
    rating,
    solidity,
    split,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    import numpy.typing as npt

    from napari_sam3_assistant.core.progress import Reporter
    from napari_sam3_assistant.engines.builtin.features import PlaneFeatures

    Floats = npt.NDArray[np.float32]
    Bools = npt.NDArray[np.bool_]
    Labels = npt.NDArray[np.int32]

WINDOW = 48  # half the side of the window round a click, in pixels of the octave
BOXED = 72  # longest side at which a box is looked at, in pixels of the octave
MARGIN = 0.25  # of a box's longer side: what is looked at round it
LEVELS = 16
SMOOTHINGS = (0.6, 1.4)  # in pixels of the octave
SMALLEST = 4  # pixels of the first octave; of coarser ones:
SMALLEST_COARSE = 12
LARGEST = 5000
# Least share of the outline that must lie inside the plane; a quarter of a disc in a corner has
# half of it there.
HALF = 0.45
STEEP = 0.4  # share of the grey range in a window from which its uneven light is taken away
LAG = 16  # pixels of the octave between which the uneven light is measured
NECKED = 0.93  # solidity below which the parts between necks are proposed as well
_CROSS = ndi.generate_binary_structure(2, 1)


def at_point(
    features: PlaneFeatures, point: tuple[int, int], reporter: Reporter
) -> Iterator[Proposal]:
    """Yield what may be the object under a point.

    ``point``: row and column in the plane.
    """
    octave = 0
    while True:
        y, x = point[0] >> octave, point[1] >> octave
        window = _Window.cut_out(features, Region(y, x, y + 1, x + 1).grow(WINDOW), octave)
        seed = (y - window.region.y0, x - window.region.x0)
        reporter.check()
        yield from window.proposals(_Click(seed))
        if not any(window.cut):
            return
        octave += 1


def in_box(
    features: PlaneFeatures, box: Region, least: float, reporter: Reporter
) -> Iterator[Proposal]:
    """Yield what may be the object in a box.

    ``box``: at least one pixel of it lies in the plane.
    ``least``: least intersection over union of a proposal's bounding box with the box.
    """
    octave = octave_for(box)
    coarse = covered_by(box, octave)
    margin = max(4, round(MARGIN * max(coarse.shape)))
    window = _Window.cut_out(features, coarse.grow(margin), octave)
    own = coarse.localise(window.region)
    reporter.check()
    yield from window.proposals(_Box(own, least))


def covered_by(box: Region, octave: int) -> Region:
    """Return the pixels of an octave that a box of the plane covers."""
    size = 2**octave
    return Region(box.y0 // size, box.x0 // size, -(-box.y1 // size), -(-box.x1 // size))


def octave_for(box: Region) -> int:
    """Return the octave at which what a box is drawn round is looked at."""
    octave = 0
    while max(box.shape) >> octave > BOXED:
        octave += 1
    return octave


def agreement(first: Region, second: Region) -> float:
    """Return the intersection over the union of two boxes."""
    shared = first.intersect(second).area
    return shared / (first.area + second.area - shared)


@dataclass(frozen=True, slots=True)
class _Click:
    """Looks for what holds one pixel of a window."""

    seed: tuple[int, int]

    def parts(self, above: Bools) -> Iterator[tuple[Bools, Region]]:
        """Yield the connected part that holds the pixel, itself or in a hole, without holes."""
        labels, _ = ndi.label(above)
        name = labels[self.seed]
        if name == 0:
            below, _ = ndi.label(~above)
            hole = below == below[self.seed]
            if hole[0].any() or hole[-1].any() or hole[:, 0].any() or hole[:, -1].any():
                return
            touching = labels[ndi.binary_dilation(hole, _CROSS) & ~hole]
            name = np.bincount(touching).argmax()
        yield _fill_holes(labels == name, Region.whole((above.shape[0], above.shape[1])))

    def top(self, image: Floats) -> float:
        """Return a grey level above which nothing is of interest."""
        # A click may lie in a dark core, whose rim encloses it at levels above its own.
        y, x = self.seed
        return float(np.median(image[max(0, y - 2) : y + 3, max(0, x - 2) : x + 3]))

    def chosen(self, parts: Labels, region: Region) -> list[int]:
        """Return which parts of what lies in a region are of interest."""
        y, x = self.seed[0] - region.y0, self.seed[1] - region.x0
        inside = 0 <= y < region.height and 0 <= x < region.width
        return [int(parts[y, x])] if inside and parts[y, x] else []

    @property
    def ends(self) -> bool:
        """Whether what lies below a part that is too large can't be of interest."""
        return True


@dataclass(frozen=True, slots=True)
class _Box:
    """Looks for what agrees with a box of a window."""

    box: Region
    least: float

    def parts(self, above: Bools) -> Iterator[tuple[Bools, Region]]:
        """Yield the connected parts whose bounding boxes agree, without holes."""
        labels, _ = ndi.label(above)
        for name, place in enumerate(ndi.find_objects(labels), start=1):
            region = Region(place[0].start, place[1].start, place[0].stop, place[1].stop)
            if agreement(region, self.box) > self.least:
                yield _fill_holes(labels[place] == name, region)

    def top(self, image: Floats) -> float:
        """Return a grey level above which nothing is of interest."""
        return float(image.min())

    def chosen(self, parts: Labels, region: Region) -> list[int]:
        """Return which parts of what lies in a region are of interest."""
        return [
            name
            for name, place in enumerate(ndi.find_objects(parts), start=1)
            if agreement(
                Region(place[0].start, place[1].start, place[0].stop, place[1].stop).globalise(
                    region
                ),
                self.box,
            )
            > self.least
        ]

    @property
    def ends(self) -> bool:
        """Whether what lies below a part that is too large can't be of interest."""
        return False


@dataclass(frozen=True, slots=True, eq=False)
class _Window:
    """A part of one octave of a plane."""

    image: Floats
    region: Region
    octave: int
    cut: tuple[bool, bool, bool, bool]  # behind which edges of the window the plane goes on

    @classmethod
    def cut_out(cls, features: PlaneFeatures, region: Region, octave: int) -> _Window:
        image = features.octave(octave)
        height, width = image.shape
        region = region.intersect(Region.whole((height, width)))
        cut = (region.y0 > 0, region.x0 > 0, region.y1 < height, region.x1 < width)
        return cls(image[region.slices], region, octave, cut)

    def proposals(self, prompt: _Click | _Box) -> Iterator[Proposal]:
        """Yield proposals of either polarity for a prompt."""
        for sigma in SMOOTHINGS:
            smooth = ndi.gaussian_filter(self.image, sigma, mode="nearest")
            gradient = ndi.gaussian_gradient_magnitude(self.image, max(sigma, 1.0), mode="nearest")
            gradient /= 2**self.octave
            lights = [smooth]
            ramp = _ramp(smooth)
            if np.ptp(ramp) > STEEP * np.subtract(*np.percentile(smooth, (99, 1))):
                lights.append(smooth - ramp)
            for light in lights:
                for polarity in (1, -1):
                    yield from self._walk(light * polarity, gradient, polarity, prompt)

    def _walk(
        self, image: Floats, gradient: Floats, polarity: int, prompt: _Click | _Box
    ) -> Iterator[Proposal]:
        """Yield the bright parts that matter, from the brightest grey level down."""
        bottom, top = (float(value) for value in np.percentile(image, (1, 99)))
        top = max(top, prompt.top(image))
        if top - bottom < 1e-3:
            return
        known: set[tuple[int, Region]] = set()
        least = SMALLEST_COARSE if self.octave else SMALLEST
        for level in np.linspace(top, bottom, LEVELS + 2)[1:-1]:
            for mask, region in prompt.parts(image >= level):
                area = int(np.count_nonzero(mask))
                if area >= least and (area, region) not in known:
                    known.add((area, region))
                    yield from self._rated(mask, region, gradient, polarity, prompt)
                if prompt.ends and (area > LARGEST or self._is_cut(region)):
                    return

    def _rated(
        self,
        mask: Bools,
        region: Region,
        gradient: Floats,
        polarity: int,
        prompt: _Click | _Box,
    ) -> Iterator[Proposal]:
        """Yield a part, and what it consists of between its necks."""
        if self._free_share(mask, region) < HALF:
            return
        convex = solidity(mask)
        if self._is_whole(mask, region):
            yield self._proposal(mask, region, gradient, polarity, convex)
        if convex >= NECKED or mask.size < 2 * SMALLEST_COARSE:
            return
        parts = split(mask, convex)
        if parts.max() < 2:
            return
        for name in prompt.chosen(parts, region):
            part, part_region = _crop(parts == name, region)
            if self._is_whole(part, part_region):
                yield self._proposal(part, part_region, gradient, polarity, solidity(part))

    def _is_whole(self, mask: Bools, region: Region) -> bool:
        """Return whether a part is seen whole, at a resolution that suits it."""
        return not self._is_cut(region) and int(np.count_nonzero(mask)) <= LARGEST

    def _proposal(
        self, mask: Bools, region: Region, gradient: Floats, polarity: int, convex: float
    ) -> Proposal:
        # Where the image ends nothing shows that the part ends.
        strength = along_outline(gradient, mask, region) * self._free_share(mask, region)
        return Proposal(
            mask,
            region.globalise(self.region),
            self.octave,
            polarity,
            rating(strength, convex),
            convex,
        )

    def _is_cut(self, region: Region) -> bool:
        """Return whether a part reaches an edge of the window behind which the plane goes on."""
        height, width = self.image.shape
        touches = (region.y0 == 0, region.x0 == 0, region.y1 == height, region.x1 == width)
        return any(at_edge and cut for at_edge, cut in zip(touches, self.cut, strict=True))

    def _free_share(self, mask: Bools, region: Region) -> float:
        """Return the share of a part's outline that does not lie on the edge of the window."""
        bound = 0
        if region.y0 == 0:
            bound += int(np.count_nonzero(mask[0]))
        if region.x0 == 0:
            bound += int(np.count_nonzero(mask[:, 0]))
        if region.y1 == self.image.shape[0]:
            bound += int(np.count_nonzero(mask[-1]))
        if region.x1 == self.image.shape[1]:
            bound += int(np.count_nonzero(mask[:, -1]))
        return max(0.0, 1 - bound / (2 * (region.height + region.width)))


def _crop(mask: Bools, region: Region) -> tuple[Bools, Region]:
    """Return a mask cropped, and where the crop lies."""
    kept = Region.around(mask)
    return mask[kept.slices], kept.globalise(region)


def _fill_holes(mask: Bools, region: Region) -> tuple[Bools, Region]:
    """Return a mask without holes, cropped, and where the crop lies."""
    crop, crop_region = _crop(mask, region)
    return ndi.binary_fill_holes(crop), crop_region


def _ramp(image: Floats) -> Floats:
    """Return the uneven light of a window: a plane as steep as most of the window."""
    height, width = image.shape
    down = across = 0.0
    if height > LAG:
        down = float(np.median(image[LAG:] - image[:-LAG])) / LAG
    if width > LAG:
        across = float(np.median(image[:, LAG:] - image[:, :-LAG])) / LAG
    rows = np.arange(height, dtype=np.float32)[:, None]
    return rows * np.float32(down) + np.arange(width, dtype=np.float32) * np.float32(across)


def upsample_proposal(features: PlaneFeatures, proposal: Proposal) -> Patch:
    """Return a proposal at full resolution."""
    size = 2**proposal.octave
    region = proposal.covers
    if size == 1:
        return Patch(proposal.mask, region, proposal.polarity)
    # Between the centres of coarse pixels the outline runs straight, not along their sides.
    padded = np.pad(proposal.mask, 1).astype(np.float32)
    rows, columns = (
        ((np.arange(count * size) + 0.5) / size - 0.5).clip(0, count - 1).astype(np.float32)
        for count in padded.shape
    )
    mask = bilinear(padded, rows, columns) >= 0.5
    region = region.grow(size)
    return Patch(mask, region, proposal.polarity).clip(features.region)

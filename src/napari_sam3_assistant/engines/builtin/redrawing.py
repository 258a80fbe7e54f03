"""What a network makes of the objects that rules find in a plane, and what it finds beside them.

An object is drawn anew in its box, and the overlap that is expected of that says how much it is an
object. Where something stands out and nothing was found, the network draws what lies there, in a
window that suits objects of the usual size, and then where the plane looks as in the middle of what
was found. Where the usual size is told, or where what it draws in windows of many sizes says that
the rules have found but specks, it looks everywhere.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
from scipy import ndimage as ndi
from scipy.spatial import KDTree

from napari_sam3_assistant.engines.builtin.features import (
    each,
    gaussian_blur,
    gradient_magnitude,
    noise,
)
from napari_sam3_assistant.engines.builtin.object_mask import Detection, Patch, Proposal, measure
from napari_sam3_assistant.engines.builtin.outline_net import Window, sketch_outlines
from napari_sam3_assistant.engines.builtin.proposals import upsample_proposal

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy.typing as npt

    from napari_sam3_assistant.core.progress import Reporter
    from napari_sam3_assistant.core.regions import Region
    from napari_sam3_assistant.engines.builtin.features import PlaneFeatures
    from napari_sam3_assistant.engines.builtin.outline_net import Drawing

# The odds of an object stay if so much overlap is expected of what is drawn; else they are more or
# less by this power. What nothing but a drawing tells of is as likely as not where they stay.
EXPECTED, TOLD = 0.7, 0.4
SUREST = 0.99  # overlap that may be expected
LEAST = 0.2  # whose score is lower stays as it is
AGREED = 0.9  # overlap with what is drawn, from which on the finer outline is kept
TOGETHER = 32  # windows that a thread draws in at a time

LIKELY = 0.5  # score of the objects that tell the usual size and between which others are missed
FINE = 16  # pixels of the octave that an object of the usual size is long, at least
SMOOTH = 1.0  # pixels of it
AWAY = 0.25  # usual diameters from what was found: places nearer to it mean that
STEP = 0.5  # usual diameters between places that are looked at
STANDS_OUT = 2.5  # standard deviations of the background
# Of more than FEW places every SAMPLE-th is looked at first, and the others if it is WORTH it: if
# there is an object at such a share of these. At most one for so many PIXELS is looked at.
FEW, SAMPLE, WORTH, PIXELS = 64, 4, 0.03, 400
SMALLEST = 8.0  # pixels: usual diameter below which windows would hold too little
ROOM = 2.0  # usual diameters: the side of a window
ALIKE = 2.0  # times the usual area, or as many times smaller
BORDER = 8.0  # cost of the share of a window's border that is held by what is drawn in it
SHARED = 0.3  # share of an object that may lie in another

# Where the plane looks as in the middle of objects, so many of which say how that is, so many
# places are looked at in a turn, and in another as long as one of so many holds an object. At
# most one for so many pixels of the plane, and one for so many objects that the network has drawn.
MIDDLES, TURN, YIELD, PIXELS_ALIKE, DRAWN_ALIKE = 64, 24, 8, 4000, 3

# Where the usual diameter is known: the overlap that must be expected of what is drawn, and how far
# from that, in usual diameters, everything is looked at. Where the usual one of what is surely
# found is told so many times too large or too small at most, it is as if nobody had told it.
KNOWN, NEAR, OFF = 0.6, 1.5, 1.6
# Where what was found is finer than FINE, holds less than SPARSE of the plane and scores less than
# SURE, windows of many sizes are asked, at VIEWS places for each size. Drawings that differ by
# SPREAD in the logarithm of their diameters tell much the same; so many objects tell it at least.
SPARSE, SURE, VIEWS, SPREAD, PLENTY = 0.05, 0.8, 64, 0.25, 6
SIZES = tuple(12 * 1.5**step for step in range(8))  # usual diameters, in pixels


def redraw(
    features: PlaneFeatures, found: Sequence[Detection], reporter: Reporter
) -> list[Detection]:
    """Return objects, those that may count as the network draws them.

    ``found``: the surest first.
    """
    count = sum(item.score >= LEAST for item in found)
    windows = [Window.of_box(item.patch.crop().region) for item in found[:count]]
    drawings = _sketch(features, windows, reporter)
    redrawn = []
    for item, drawing in zip(found[:count], drawings, strict=True):
        reporter.check()
        patch = _outline_of(features, item.patch, drawing)
        redrawn.append(Detection(patch, _score(item.score, drawing.overlap)))
    return [*redrawn, *found[count:]]


def add_missed(
    features: PlaneFeatures,
    ground: PlaneFeatures,
    found: Sequence[Detection],
    polarity: int,
    diameter: float | None,
    reporter: Reporter,
) -> list[Detection]:
    """Return objects with those beside them that only the network sees.

    ``ground``: grey values above its background; objects are bright.
    ``found``: what was found.
    ``polarity``: +1 if the objects are bright in the plane, -1 if they are dark.
    ``diameter``: of the usual object, in pixels, if it is known; else the objects tell it.
    """
    look = Look(features, ground, polarity, reporter)
    if diameter is None:
        diameter = look.diameter_beside(found)
    elif _are_surely_of(found, diameter):
        # To be told so changes nothing: what is looked for everywhere is found where nothing is.
        diameter = None
    if diameter:
        found = [_as_usual(item, diameter) for item in found]
    found = sorted(found, key=lambda item: -item.score)
    taken = Taken(features.shape)
    likely = [item for item in found if item.score >= LIKELY and taken.add(item.patch)]
    drawn = look.everywhere(diameter) if diameter else []
    if diameter or likely:
        drawn += look.between(taken, diameter or _usual_diameter(likely))
    for item in sorted(drawn, key=lambda item: -item.score):
        if taken.add(item.patch):
            likely.append(item)
    if not diameter and len(likely) >= PLENTY:
        height, width = features.shape
        count = sum(item.score >= LEAST for item in found) / DRAWN_ALIKE
        likely += look.alike(taken, likely, int(count + height * width / PIXELS_ALIKE))
    others = (item for item in found if item.score < LIKELY)
    return [*likely, *(item for item in others if taken.has_room(item.patch))]


def _diameter(area: float) -> float:
    """Return the diameter of the disc of an area."""
    return 2 * math.sqrt(area / math.pi)


def _usual_diameter(items: Sequence[Detection]) -> float:
    """Return the median diameter of objects, in pixels; there is one."""
    return _diameter(float(np.median([item.patch.area for item in items])))


def _are_sure(items: Sequence[Detection]) -> bool:
    """Return whether objects are surely such, by the median of their scores; none are not."""
    return bool(items) and bool(np.median([item.score for item in items]) >= SURE)


def _are_surely_of(found: Sequence[Detection], diameter: float) -> bool:
    """Return whether plenty of objects are surely such, and about as large as a told diameter."""
    likely = [item for item in found if item.score >= LIKELY]
    if len(likely) < PLENTY or not _are_sure(likely):
        return False
    return diameter / OFF < _usual_diameter(likely) < diameter * OFF


def _middle(region: Region) -> tuple[float, float]:
    """Return the middle of a region."""
    return (region.y0 + region.y1) / 2, (region.x0 + region.x1) / 2


def _lattice(shape: tuple[int, int], apart: float, diameter: float) -> list[Window]:
    """Return windows for objects of a diameter all over a plane, every second row moved."""
    height, width = shape
    return [
        Window(y, x, ROOM * diameter)
        for row, y in enumerate(np.arange(apart / 2, height, apart).tolist())
        for x in np.arange(apart / 2 * (1 + row % 2), width, apart).tolist()
    ]


def _as_usual(item: Detection, diameter: float) -> Detection:
    """Return an object whose odds are less the more it differs from the usual diameter."""
    apart = math.log(_diameter(item.patch.area) / diameter)
    odds = item.score / (1 - item.score) * math.exp(-2 * apart**2)
    return replace(item, score=odds / (1 + odds))


@dataclass(frozen=True, slots=True, eq=False)
class Look:
    """The network's look at a plane without boxes.

    ``ground``: grey values above its background; objects are bright.
    ``polarity``: +1 if objects are bright in the plane, -1 if they are dark.
    """

    features: PlaneFeatures
    ground: PlaneFeatures
    polarity: int
    reporter: Reporter

    def between(self, taken: Taken, diameter: float) -> list[Detection]:
        """Return what is drawn where something stands out that belongs to no object."""
        places = _places(self.ground, taken, diameter)
        drawings = _look(self.features, places, self.reporter)
        return self._objects(self._alike(drawings, diameter, EXPECTED))

    def everywhere(self, diameter: float) -> list[Detection]:
        """Return what is drawn anywhere: at places that lie apart, and all round what is there."""
        if diameter < SMALLEST:
            return []
        apart = max(diameter, math.sqrt(PIXELS))
        first = self._drawn(_lattice(self.features.shape, apart, diameter), diameter)
        if not first:
            return []
        there = KDTree([_middle(patch.region) for patch, _ in first])
        places = _lattice(self.features.shape, STEP * diameter, diameter)
        off, _ = there.query([(place.y, place.x) for place in places])
        near = [places[index] for index in np.flatnonzero(off <= NEAR * diameter)]
        return self._objects(first + self._drawn(near, diameter))

    def alike(self, taken: Taken, found: Sequence[Detection], most: int) -> list[Detection]:
        """Return what is drawn at places that look as the middles of objects do, and take it.

        The most alike first, ``most`` at most, and no more if hardly anything is drawn there.
        ``taken``: what belongs to objects; gets what is returned.
        ``found``: the objects.
        """
        diameter = _usual_diameter(found)
        if diameter < SMALLEST:
            return []
        octave = max(0, math.floor(math.log2(2 * diameter / FINE)))
        places = _free_places(taken, np.True_, octave, diameter)
        if not places:
            return []
        middles = [_middle(item.patch.region) for item in found[:: -(-len(found) // MIDDLES)]]
        looks = self._looks(middles + [(place.y, place.x) for place in places], octave, diameter)
        known, here = np.split(looks, [len(middles)])
        apart, _ = KDTree(known).query(here, k=[(1 + len(known)) // 2])
        waiting = [places[index] for index in np.argsort(apart[:, 0], kind="stable")]
        alike: list[Detection] = []
        while waiting and most > 0:
            free = [place for place in waiting if not taken.owner[int(place.y), int(place.x)]]
            turn, waiting = free[: min(TURN, most)], free[TURN:]
            most -= len(turn)
            drawn = self._objects(self._drawn(turn, diameter))
            drawn.sort(key=lambda item: -item.score)
            new = [item for item in drawn if taken.add(item.patch)]
            alike += new
            if YIELD * len(new) < len(turn):
                break
        return alike

    def _looks(
        self, pixels: Sequence[tuple[float, float]], octave: int, diameter: float
    ) -> npt.NDArray[np.float32]:
        """Return how N pixels look, shape (N, 4), in standard deviations of the plane.

        Their grey level, how much it is above what is round them, and how steep it is in a small
        and in a large part of an object of a diameter.
        """
        size = diameter / 2**octave
        rows, columns = (np.array(pixels).astype(np.intp) >> octave).T
        ground = self.ground.octave(octave)
        steep = gradient_magnitude(self.features.octave(octave), SMOOTH, self.reporter)

        def blur(image: npt.NDArray[np.float32], part: int) -> npt.NDArray[np.float32]:
            return gaussian_blur(image, size / part, self.reporter)

        grey = blur(ground, 8)
        images = (grey, grey - blur(ground, 2), blur(steep, 8), blur(steep, 3))
        return np.stack([image[rows, columns] / max(image.std(), 1e-6) for image in images], 1)

    def diameter_beside(self, found: Sequence[Detection]) -> float | None:
        """Return the diameter that drawings tell, if they explain more than fine objects do.

        A drawing tells what is expected of it above a half, and each place that lies in one counts:
        objects count by their areas, so that specks can't outvote cells.
        """
        likely = [item for item in found if item.score >= LIKELY]
        usual = _usual_diameter(likely) if likely else 0.0
        height, width = self.features.shape
        held = sum(item.score * item.patch.area for item in likely) / (height * width)
        # Nuclei that are surely found are not given up for their cells.
        sure = _are_sure(likely)
        if usual >= FINE or held >= SPARSE or sure:
            return None
        views = min(VIEWS, height * width // (PIXELS * len(SIZES)))
        told: list[tuple[float, float, Patch]] = []
        for size in SIZES:
            if not views or 2 * size > min(height, width):
                break
            apart = max(STEP * size, math.sqrt(height * width / views))
            places = _lattice((height, width), apart, size)
            told += [
                (math.log(_diameter(patch.area)), (expected - 0.5) / len(places), patch)
                for patch, expected in self._drawn(places, size)
            ]
        if not told:
            return None
        sizes, worths = np.array([(size, worth) for size, worth, _ in told]).T
        shares = np.exp(-(((sizes[:, None] - sizes) / SPREAD) ** 2) / 2) @ worths
        best = int(shares.argmax())
        taken = Taken(self.features.shape)
        alike = np.flatnonzero(np.abs(sizes - sizes[best]) < 2 * SPREAD)
        count = sum(taken.add(told[index][2]) for index in alike)
        diameter = math.exp(sizes[best])
        if shares[best] <= held or count < PLENTY or diameter < 2 * usual:
            return None
        return diameter

    def _drawn(self, places: Sequence[Window], diameter: float) -> list[tuple[Patch, float]]:
        """Return what is drawn in windows and may be an object, and what is expected of it."""
        return self._alike(_sketch(self.features, places, self.reporter), diameter, KNOWN)

    def _alike(
        self, drawings: Sequence[Drawing], diameter: float, least: float
    ) -> list[tuple[Patch, float]]:
        """Return what is drawn of about a diameter and stands out, and what is expected of it."""
        usual = math.pi * diameter**2 / 4
        drawn = []
        for drawing in drawings:
            self.reporter.check()
            item = _object_in(self.features, drawing, self.polarity, least)
            if item is not None and usual / ALIKE <= item[0].area <= usual * ALIKE:
                drawn.append(item)
        patches = [patch for patch, _ in drawn]
        seen = measure(self.ground.luminance, patches, self.reporter)
        return [drawn[index] for index in np.flatnonzero(seen.mean > seen.ground)]

    @staticmethod
    def _objects(drawn: Sequence[tuple[Patch, float]]) -> list[Detection]:
        """Return what is drawn with its scores; what nothing else tells of."""
        return [Detection(patch, _score(0.5, expected)) for patch, expected in drawn]


def _sketch(
    features: PlaneFeatures, windows: Sequence[Window], reporter: Reporter
) -> list[Drawing]:
    """Return what the network draws in windows."""
    pieces = [windows[first : first + TOGETHER] for first in range(0, len(windows), TOGETHER)]
    for window in windows:
        features.octave(window.octave)  # no two threads shall make it

    def sketch(some: Sequence[Window], stop: Reporter) -> list[Drawing]:
        stop.check()
        return list(sketch_outlines(features, some))

    return [drawing for drawings in each(sketch, pieces, reporter) for drawing in drawings]


def _score(score: float, overlap: float) -> float:
    """Return a score after a look at what is drawn, of which an overlap is expected."""
    overlap = min(overlap, SUREST)
    seen = overlap / (1 - overlap) * (1 - EXPECTED) / EXPECTED
    odds: float = score / (1 - score) * seen**TOLD
    return odds / (1 + odds)


def _outline_of(features: PlaneFeatures, patch: Patch, drawing: Drawing) -> Patch:
    """Return what is drawn of an object, or the object where that is nothing or much the same."""
    region = drawing.region(features)
    labels, count = ndi.label(drawing.within(region, drawing.octave) > 0)
    own = patch.coarser(drawing.octave).within(region)
    shared = np.bincount(labels[own], minlength=count + 1)[1:]
    if not shared.any():
        return patch
    drawn = _part(features, drawing, labels == 1 + shared.argmax(), patch.polarity)
    return drawn if drawn.area and drawn.overlap(patch) < AGREED else patch


def _object_in(
    features: PlaneFeatures, drawing: Drawing, polarity: int, least: float
) -> tuple[Patch, float] | None:
    """Return what is drawn under the middle of a window, and the overlap expected, if enough."""
    if drawing.overlap < least:
        return None
    region, size = drawing.region(features), 2**drawing.octave
    labels, _ = ndi.label(drawing.within(region, drawing.octave) > 0)
    y, x = int(drawing.window.y) // size - region.y0, int(drawing.window.x) // size - region.x0
    if not labels[y, x]:
        return None
    part = labels == labels[y, x]
    border = np.concatenate([part[0], part[-1], part[:, 0], part[:, -1]]).mean()
    expected = drawing.overlap * math.exp(-BORDER * border)
    return (_part(features, drawing, part, polarity), expected) if expected >= least else None


def _part(
    features: PlaneFeatures, drawing: Drawing, part: npt.NDArray[np.bool_], polarity: int
) -> Patch:
    """Return a part of what is drawn at full resolution, without holes; it may have no pixel."""
    mask, region = ndi.binary_fill_holes(part), drawing.region(features)
    proposal = Proposal(mask, region, drawing.octave, polarity, 0.0)
    patch = upsample_proposal(features, proposal)
    # Of a coarse pixel in the corner of the plane nothing may be left.
    return patch.crop() if patch.area else patch


def divide(found: Sequence[Detection], shape: tuple[int, int]) -> list[Detection]:
    """Return objects that share no pixels, the surest first: what two claim is of the surer one.

    Labels can't hold what lies in two objects, and what goes on from labels would be another.
    """
    taken = np.zeros(shape, bool)
    divided = []
    for item in sorted(found, key=lambda item: -item.score):
        patch, there = item.patch, taken[item.patch.region.slices]
        if (there & patch.mask).any():
            labels, _ = ndi.label(patch.mask & ~there)
            sizes = np.bincount(labels.ravel())[1:]
            if not sizes.size:
                continue
            patch = replace(patch, mask=labels == 1 + sizes.argmax()).crop()
        taken[patch.region.slices] |= patch.mask
        divided.append(replace(item, patch=patch))
    return divided


class Taken:
    """Which pixels of a plane belong to objects."""

    def __init__(self, shape: tuple[int, int]) -> None:
        self.owner = np.zeros(shape, np.int32)
        self._areas = [0]

    def add(self, patch: Patch) -> bool:
        """Give an object the pixels that no other has, if there is room for it."""
        if not self.has_room(patch):
            return False
        target = self.owner[patch.region.slices]
        target[patch.mask & (target == 0)] = len(self._areas)
        self._areas.append(patch.area)
        return True

    def has_room(self, patch: Patch) -> bool:
        """Return whether an object shares little with others, of it and of each of them."""
        inside = self.owner[patch.region.slices][patch.mask]
        names, counts = np.unique(inside[inside > 0], return_counts=True)
        areas = np.array([self._areas[name] for name in names])
        return bool(counts.sum() <= SHARED * patch.area and (counts <= SHARED * areas).all())


def _places(ground: PlaneFeatures, taken: Taken, diameter: float) -> list[Window]:
    """Return windows where something stands out that belongs to no object."""
    if diameter < SMALLEST:
        return []
    octave = max(0, math.floor(math.log2(diameter / FINE)))
    image = ndi.gaussian_filter(ground.octave(octave), SMOOTH, mode="nearest")
    places = _free_places(taken, image >= STANDS_OUT * noise(image), octave, diameter)
    return places[:: max(1, math.ceil(len(places) * PIXELS / taken.owner.size))]


def _free_places(
    taken: Taken, there: npt.NDArray[np.bool_] | np.bool_, octave: int, diameter: float
) -> list[Window]:
    """Return windows where a mask of an octave is, and that mean none of what was found."""
    away = ndi.distance_transform_edt(taken.owner[:: 2**octave, :: 2**octave] == 0)
    free = there & (away > AWAY * diameter / 2**octave)
    return [
        place
        for place in _lattice(taken.owner.shape, STEP * diameter, diameter)
        if free[int(place.y) >> octave, int(place.x) >> octave]
    ]


def _look(features: PlaneFeatures, places: Sequence[Window], reporter: Reporter) -> list[Drawing]:
    """Return what is drawn at places; at some of them only, if hardly anything is drawn there."""
    sample = places[::SAMPLE] if len(places) > FEW else places
    drawings = _sketch(features, sample, reporter)
    worth = sum(drawing.overlap >= EXPECTED for drawing in drawings) >= WORTH * len(sample)
    if len(sample) == len(places) or not worth:
        return drawings
    others = [place for index, place in enumerate(places) if index % SAMPLE]
    return drawings + _sketch(features, others, reporter)

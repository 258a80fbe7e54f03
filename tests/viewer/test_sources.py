"""Images wherever napari has them from: where Save writes, what its note says, what reads it."""

import json
import sys
from importlib import import_module
from pathlib import Path

import imageio.v3 as iio
import numpy as np
import pytest
import tifffile
import zarr
from napari.plugins import _initialize_plugins

from napari_sam3_assistant.api import rerun
from napari_sam3_assistant.core.prompts import Task
from napari_sam3_assistant.errors import ImageError

sys.path.insert(0, str(Path(__file__).parents[1]))  # the tests are not a package
saved = import_module("saved_sessions")

NAMES = ("im0", "im1", "im2", "im10")


def discs(colours=()):
    """Two bright discs on each of four planes."""
    y, x = np.ogrid[:48, :64]
    image = np.full((4, 48, 64), 30, np.uint8)
    for number, plane in enumerate(image):
        for cy, cx in ((14, 16), (32, 44)):
            plane[(y - cy) ** 2 + (x - cx - number) ** 2 <= 64] = 200
    return np.stack([image] * 3, -1) if colours else image


def write_series(folder, ending, pixels, beside=()):
    folder.mkdir()
    for name, plane in zip(NAMES, pixels, strict=True):
        iio.imwrite(folder / f"{name}{ending}", plane)
    for name in beside:
        iio.imwrite(folder / f"{name}{ending}", pixels[0])
    return [str(folder / f"{name}{ending}") for name in NAMES]


def series(root, viewer, ending=".tif", pixels=None, beside=()):
    files = write_series(root / "well A", ending, discs() if pixels is None else pixels, beside)
    return viewer.open(files, stack=True, plugin="napari")


def folder(root, viewer):
    write_series(root / "well A", ".tif", discs())
    return viewer.open(str(root / "well A"), plugin="napari")


def one_file(root, viewer):
    tifffile.imwrite(root / "cells.tif", discs(), photometric="minisblack")
    return viewer.open(str(root / "cells.tif"), plugin="napari")


def one_of_many(root, viewer):
    for name in NAMES:
        tifffile.imwrite(root / f"{name}.tif", discs(), photometric="minisblack")
    return viewer.open(str(root / "im0.tif"), plugin="napari")


def zarr_array(root, viewer):
    zarr.save_array(str(root / "cells.zarr"), discs())
    return viewer.open(str(root / "cells.zarr"), plugin="napari")


# How it is opened: the file that Save writes, what the note names, and whether rerun can read that.
SOURCES = {
    "series": (series, "well_A_labels.tif", "well A", False),
    "series of colours": (
        lambda root, viewer: series(root, viewer, ".png", discs("rgb")),
        "well_A_labels.tif", "well A", False,
    ),
    "part of a folder": (
        lambda root, viewer: series(root, viewer, beside=("other",)),
        "well_A_labels.tif", "well A", False,
    ),
    "folder": (folder, "well_A_labels.tif", "well A", False),
    "file": (one_file, "cells_labels.tif", "cells.tif", True),
    "file of many": (one_of_many, "im0_labels.tif", "im0.tif", True),
    "zarr": (zarr_array, "cells_labels.tif", "cells.zarr", True),
}  # fmt: skip


@pytest.mark.parametrize("kind", SOURCES)
def test_labels_lie_beside_what_was_opened_and_all_of_it_opens_again(kind, tmp_path):
    how, name, origin, can_rerun = SOURCES[kind]
    root = tmp_path / "data"
    root.mkdir()
    _initialize_plugins()  # napari's own reader
    binding = saved.new_binding()
    try:
        (image,) = how(root, binding.viewer)
        before = np.asarray(image.data)
        inside = sorted(root.rglob("*"))
        binding.model.task = Task.TEXT
        binding.model.text = "bright objects"
        job = binding.session.run()
        assert job.wait(240)
        job = binding.session.saving.save()
        assert job.wait(240)
        if job.error is not None:
            raise job.error
        labels = tifffile.imread(root / name)
        assert len(np.unique(labels)) == 3

        note = root / f"{name}.json"
        assert set(root.rglob("*")) - set(inside) == {root / name, note}
        (channel,) = json.loads(note.read_text(encoding="utf-8"))["channels"]
        assert Path(channel["path"]) == root / origin
        assert tuple(channel["shape"]) == before.shape
        if can_rerun:
            np.testing.assert_array_equal(tifffile.imread(rerun(note).path), labels)
        else:
            with pytest.raises(ImageError, match="saved as one file"):
                rerun(note)

        saved.save(binding, tmp_path / "work")
        again = saved.open_in_new(tmp_path / "work.sam3session")
        try:
            assert again.model.message.text.count("Not brought back") == 0
            np.testing.assert_array_equal(np.asarray(again.viewer.layers[image.name].data), before)
        finally:
            again.close()
    finally:
        binding.close()

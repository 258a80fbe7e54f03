"""Save & Clean as OME-Zarr, and where a file can't be written: one sentence, nothing lost."""

import json
import shutil
import sys

import numpy as np
import pytest
from ome_zarr.io import parse_url
from ome_zarr.reader import Reader
from qtpy.QtWidgets import QFileDialog, QLineEdit

from napari_sam3_assistant.errors import ExportError
from napari_sam3_assistant.workflows import save as saving

PREVIEW, SAVED = "SAM3 preview labels", "SAM3 saved labels"
FORMATS = ("TIFF", "OME-Zarr (.ome.zarr)")
ENDINGS = {"TIFF": ".tif", "OME-Zarr (.ome.zarr)": ".ome.zarr"}


@pytest.fixture
def folder(tmp_path):
    folder = tmp_path / "masks"
    folder.mkdir()
    return folder


def find_all(user, image, **layer):
    user.viewer.add_image(image, name="cells", **layer)
    user.choose_in("task", "Text segmentation")
    user.type_phrase("bright discs")
    user.wait_for_end()
    return np.array(user.viewer.layers[PREVIEW].data)


def save(user, folder, format_):
    user.widget.findChild(QLineEdit, "output_folder").setText(str(folder))
    user.choose_in("output_format", format_)
    user.click("save_clean")
    user.wait_for_end()


def read(path):
    """What the reference reader says: the sizes, the axes, and scale and first pixel of each."""
    (node, *_) = Reader(parse_url(path, mode="r"))()
    axes = [(axis["name"], axis.get("unit")) for axis in node.metadata["axes"]]
    moves = [
        {move["type"]: move[move["type"]] for move in level}
        for level in node.metadata["coordinateTransformations"]
    ]
    return [np.asarray(level) for level in node.data], axes, moves


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_ome_zarr_as_the_reference_reader_reads_it(advanced, discs, folder):
    user = advanced.user
    image = np.tile(discs, (2, 2))
    labels = find_all(user, image, scale=(0.5, 0.25), translate=(10, 20), units=("um", "um"))

    save(user, folder, "OME-Zarr (.ome.zarr)")

    assert user.text_of("saved") == "Saved: cells_mask_01.ome.zarr"
    assert names(folder) == ["cells_mask_01.ome.zarr", "cells_mask_01.ome.zarr.json"]
    levels, axes, moves = read(folder / "cells_mask_01.ome.zarr")
    np.testing.assert_array_equal(levels[0], labels)
    np.testing.assert_array_equal(levels[1], labels[::2, ::2])
    assert axes == [("y", "micrometer"), ("x", "micrometer")]
    assert moves == [
        {"scale": [0.5, 0.25], "translation": [10.0, 20.0]},
        {"scale": [1.0, 0.5], "translation": [10.0, 20.0]},
    ]
    note = json.loads((folder / "cells_mask_01.ome.zarr.json").read_text())
    assert note["axes"]["translate"] == [10.0, 20.0]
    np.testing.assert_array_equal(user.viewer.layers[SAVED].data, labels)
    assert not user.has(PREVIEW)


def test_a_region_of_a_large_image_lies_where_it_was(advanced, folder):
    user = advanced.user
    image = np.full((2000, 3000), 20, np.uint8)
    image[800:840, 1200:1230] = 220
    user.viewer.add_image(image, name="cells", scale=(2, 2))
    user.click("create_prompt_layer")
    user.button("large_image").click()
    user.choose_in("roi_size", "512 x 512")
    user.viewer.layers["SAM3 points"].add([(820, 1215)])
    user.run()
    layer = user.viewer.layers[PREVIEW]
    labels, translate = np.array(layer.data), list(layer.translate)

    save(user, folder, "OME-Zarr (.ome.zarr)")

    levels, _, moves = read(folder / "cells_roi_mask_01.ome.zarr")
    np.testing.assert_array_equal(levels[0], labels)
    assert labels.shape == (512, 512)
    assert moves[0] == {"scale": [2.0, 2.0], "translation": translate}
    y, x = np.argwhere(levels[0] > 0).min(0)
    assert (translate[0] / 2 + y, translate[1] / 2 + x) == pytest.approx((800, 1200), abs=2)


def check_nothing_is_lost(user, labels):
    assert user.status.startswith("✕ ")
    np.testing.assert_array_equal(user.viewer.layers[PREVIEW].data, labels)
    assert not user.has(SAVED)
    assert user.button("save_clean").isEnabled()


def test_a_full_disk(advanced, discs, folder, disks, tmp_path):
    user = advanced.user
    labels = find_all(user, discs)
    for format_ in FORMATS:
        with disks.small_disk(folder, 64):
            (folder / "other files").write_bytes(bytes(64 * 1024))
            save(user, folder, format_)
            assert names(folder) == ["other files"]

        check_nothing_is_lost(user, labels)
        assert "No space left on device. Free some space on this disk" in user.status
    for format_ in FORMATS:
        save(user, tmp_path, format_)
        assert (tmp_path / f"cells_mask_01{ENDINGS[format_]}").exists()
        assert not user.has(PREVIEW)
        user.run()


def test_a_network_folder_that_vanishes_meanwhile_and_one_that_nobody_may_write_to(
    advanced, discs, folder, disks, monkeypatch
):
    user = advanced.user
    labels = find_all(user, discs)
    for format_ in FORMATS:
        a_network_folder_vanishes_meanwhile(user, folder, format_, monkeypatch)
        check_nothing_is_lost(user, labels)
        assert f"The folder {folder} does not exist. Make it first, or choose" in user.status

        folder.mkdir()
        with disks.locked(folder):
            save(user, folder, format_)
            assert names(folder) == []
        check_nothing_is_lost(user, labels)
        assert user.status.endswith("Choose a folder that you may write to.")


def a_network_folder_vanishes_meanwhile(user, folder, format_, monkeypatch):
    real = saving.save_labels

    def write(*arguments, **options):
        shutil.rmtree(folder)
        return real(*arguments, **options)

    with monkeypatch.context() as patched:
        patched.setattr(saving, "save_labels", write)
        save(user, folder, format_)


def test_of_two_previews_the_second_can_not_be_written(advanced, discs, folder, monkeypatch):
    user = advanced.user
    user.viewer.add_image(discs[::-1].copy(), name="other")
    user.button("batch_images").click()
    user.viewer.add_image(discs, name="cells")
    user.choose_in("task", "Text segmentation")
    user.type_phrase("bright discs")
    user.wait_for_end()
    real, written = saving.save_labels, []

    def previews():
        return [layer.name for layer in user.viewer.layers if layer.name.startswith(PREVIEW)]

    before = previews()
    assert len(before) == 2

    def write(labels, path, *arguments, **options):
        if written:
            raise ExportError("The disk is full.", "Choose another folder.")
        written.append(path)
        return real(labels, path, *arguments, **options)

    monkeypatch.setattr(saving, "save_labels", write)

    save(user, folder, "TIFF")

    assert user.status == "✕ The disk is full. Choose another folder."
    assert previews() == before
    assert user.text_of("saved") == f"Saved: {written[0].name}"


def test_save_to_file_takes_the_format_that_was_chosen_and_says_what_it_does(
    advanced, discs, folder, monkeypatch
):
    user = advanced.user
    labels = find_all(user, discs, scale=(0.5, 0.5))
    user.viewer.layers[PREVIEW].data[0, 0] = labels[0, 0] = 9

    def choose(name, format_):
        answer = (str(folder / name), format_)
        monkeypatch.setattr(QFileDialog, "getSaveFileName", lambda *_: answer)
        user.click("save_file")
        user.wait_for_end()

    choose("exp1.0_A", "OME-Zarr (*.ome.zarr *.zarr)")
    choose("exp1.0_A", "OME-Zarr (*.ome.zarr *.zarr)")
    choose("b.npy", "TIFF (*.tif *.tiff)")

    files = ["b.npy", "exp1.0_A.ome.zarr", "exp1.0_A_02.ome.zarr"]
    assert names(folder) == sorted([*files, *(f"{file}.json" for file in files)])
    np.testing.assert_array_equal(np.load(folder / "b.npy"), labels)
    levels, _, moves = read(folder / "exp1.0_A_02.ome.zarr")
    np.testing.assert_array_equal(levels[0], labels)
    assert moves[0] == {"scale": [0.5, 0.5]}
    assert user.has(PREVIEW)

    assert user.button("save").text() == "Save as Layer"
    assert "nothing is written to disk" in user.button("save").toolTip()
    assert user.button("save_file").text() == "Save to File …"
    assert "Write what you accepted, and the preview, to disk" in user.button("save_file").toolTip()


@pytest.mark.skipif(sys.platform == "win32", reason="Windows takes no other home than its own")
def test_a_folder_is_typed_as_in_a_terminal(advanced, discs, folder, monkeypatch):
    user = advanced.user
    find_all(user, discs)
    monkeypatch.setenv("HOME", str(folder.parent))

    save(user, f" ~/{folder.name} ", "TIFF")

    assert "cells_mask_01.tif" in names(folder)

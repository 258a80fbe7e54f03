"""Batch folder in the window: the same prompts on every image or stack of a folder; encodings."""

import csv

import numpy as np
import pytest
import tifffile
from qtpy.QtCore import Qt
from qtpy.QtGui import QDesktopServices
from qtpy.QtTest import QTest
from qtpy.QtWidgets import QAbstractButton, QFileDialog, QLineEdit, QTextEdit

from napari_sam3_assistant import api
from napari_sam3_assistant.viewer.binding import find_binding
from napari_sam3_assistant.widgets import commands

TEXT = "bright discs"


@pytest.fixture
def folders(tmp_path, discs):
    """Two images, something that is none, and a place for labels."""
    source = tmp_path / "in"
    source.mkdir()
    tifffile.imwrite(source / "a.tif", discs)
    tifffile.imwrite(source / "b.tif", discs[::-1])
    (source / "broken.tif").write_bytes(b"no image")
    (source / "read me.txt").write_text("no image")
    return source, tmp_path / "out"


def line(user, name):
    return user.widget.findChild(QLineEdit, name)


def set_up(user, folders, task="Text segmentation"):
    user.choose_in("task", task)
    for name, folder in zip(("folder_source", "folder_output"), folders, strict=True):
        line(user, name).setText(str(folder))


def rows(folder):
    with (folder / "sam3_summary.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def statuses(folder):
    return [row["status"] for row in rows(folder)]


def run(user):
    user.click("batch_folder")
    user.wait_for_end()


def test_a_phrase_on_every_image_without_one_in_the_window(advanced, folders, monkeypatch):
    user, (source, output) = advanced.user, folders
    set_up(user, folders)
    user.type_phrase(TEXT, enter=False)
    assert not user.button("open_batch_folder").isVisibleTo(user.widget)

    run(user)

    assert user.status.startswith("⚠ Folder batch ready: 2 done (8 objects), 1 failed. Summary: ")
    assert str(output / "sam3_summary.csv") in user.status
    assert "Left out: 1 file, see there. First failure: broken.tif: " in user.status
    for name in "ab":
        expected = api.segment(tifffile.imread(source / f"{name}.tif"), text=TEXT).labels
        found = tifffile.imread(output / f"{name}_bright_discs_mask.tif")
        np.testing.assert_array_equal(found, expected)
    assert statuses(output) == ["done", "done", "failed", "left out"]
    assert rows(output)[-1]["image"] == "read me.txt"
    opened = []
    monkeypatch.setattr(QDesktopServices, "openUrl", lambda url: opened.append(url.toLocalFile()))
    user.click("open_batch_folder")
    assert opened == [str(output)]


def test_a_second_start_skips_what_is_finished(advanced, folders, gate):
    gate.opened.set()
    user, (_, output) = advanced.user, folders
    set_up(user, folders)
    user.type_phrase(TEXT, enter=False)
    line(user, "folder_pattern").setText("[ab].tif")
    run(user)
    before = gate.runs

    run(user)
    assert gate.runs == before
    assert user.status.startswith("✓ Folder batch ready: 0 done (0 objects), 2 skipped. Summary: ")

    user.button("folder_skips").click()
    run(user)
    assert gate.runs == before + 2
    assert (output / "a_bright_discs_mask_02.tif").exists()
    assert statuses(output) == ["done", "done"]


def test_cancel_keeps_what_is_done_and_the_next_start_goes_on(advanced, folders, gate):
    user, (_, output) = advanced.user, folders
    set_up(user, folders)
    user.type_phrase(TEXT, enter=False)
    line(user, "folder_pattern").setText("[ab].tif")
    user.click("batch_folder")
    gate.passes.release()
    user.wait(lambda: user.status.startswith("b.tif (2 of 2"))
    user.wait(lambda: gate.runs == 2)
    assert user.progress_bar.text().startswith("1 of 2, ")
    user.click("cancel")
    user.wait_for_end()
    gate.opened.set()

    assert user.status.startswith("Folder batch stopped: 1 done (4 objects). What is done is kept")
    assert (output / "a_bright_discs_mask.tif").exists()
    run(user)
    assert user.status.startswith("✓ Folder batch ready: ")
    assert statuses(output)[0] == "skipped"
    assert (output / "b_bright_discs_mask.tif").exists()
    assert not (output / "b_bright_discs_mask_02.tif").exists()


def test_several_phrases_in_another_format(advanced, folders):
    user, (_, output) = advanced.user, folders
    set_up(user, folders)
    box = user.widget.findChild(QTextEdit, "batch_text")
    for phrase in ("bright discs", "bright spots"):
        QTest.keyClicks(box, phrase)
        QTest.keyClick(box, Qt.Key.Key_Return)
    line(user, "folder_pattern").setText("a.tif")
    user.choose_in("folder_format", "NumPy (.npy)")

    run(user)

    assert sorted(path.name for path in output.glob("*.npy")) == [
        "a_bright_discs_mask.npy",
        "a_bright_spots_mask.npy",
    ]


def test_an_example_of_the_image_on_show_serves_every_image(advanced, folders, discs):
    user, (_, output) = advanced.user, folders
    user.viewer.add_image(discs, name="image")
    set_up(user, folders, "Exemplar segmentation")
    line(user, "folder_pattern").setText("a.tif")
    user.click("create_prompt_layer")
    assert "Draw the prompt" in user.button("batch_folder").toolTip()
    user.viewer.layers["SAM3 boxes"].add_rectangles(np.array([(14, 24), (46, 56)]))

    run(user)

    expected = api.segment(discs, exemplars=[(14, 24, 47, 57)]).labels
    assert expected.max() > 1
    np.testing.assert_array_equal(tifffile.imread(output / "a_mask.tif"), expected)


def test_what_keeps_a_folder_batch_from_starting(advanced, folders, discs):
    user, (source, output) = advanced.user, folders

    def reason():
        assert not user.button("batch_folder").isEnabled()
        return user.button("batch_folder").toolTip()

    user.viewer.add_image(discs, name="image")
    user.choose_in("tool", "Labels mask")
    assert "A painted mask fits one image only" in reason()
    user.choose_in("task", "Live Points (positive/negative)")
    assert "Live Points correct one image" in reason()
    user.choose_in("task", "Text segmentation")
    assert reason() == "Type a phrase first."
    user.type_phrase(TEXT, enter=False)
    assert reason() == "Choose the folder of the images first."
    line(user, "folder_source").setText(str(source))
    assert reason() == "Choose the folder for the labels first."
    line(user, "folder_output").setText(str(output))
    assert user.button("batch_folder").isEnabled()


def test_a_folder_without_images_is_said(advanced, folders, tmp_path):
    user, (_, output) = advanced.user, folders
    set_up(user, (tmp_path / "missing", output))
    user.type_phrase(TEXT, enter=False)

    run(user)

    assert user.status == f"✕ There is no folder {tmp_path / 'missing'}. Check the path."


def test_the_home_of_nobody_is_said(advanced, folders):
    user, (_, output) = advanced.user, folders
    set_up(user, ("~nobody there", output))
    line(user, "scan_folder").setText("~nobody there")
    user.type_phrase(TEXT, enter=False)

    run(user)

    assert user.status.startswith("✕ There is no folder ")
    assert user.status.endswith("nobody there. Check the path.")


def test_the_folders_are_chosen_and_remembered(advanced, tmp_path, monkeypatch):
    user = advanced.user
    for name in ("folder_source", "folder_output"):
        chosen = str(tmp_path / name)
        monkeypatch.setattr(QFileDialog, "getExistingDirectory", lambda *_, c=chosen: c)
        user.click(f"choose_{name}")
    user.choose_in("folder_format", "OME-Zarr")
    user.close_dock()
    user.open()

    assert line(user, "folder_source").text() == str(tmp_path / "folder_source")
    assert line(user, "folder_output").text() == str(tmp_path / "folder_output")
    assert user.combo("folder_format").currentText() == "OME-Zarr"


def test_every_image_tile_by_tile(advanced, folders):
    user, (source, output) = advanced.user, folders
    set_up(user, folders)
    user.type_phrase(TEXT, enter=False)
    assert user.combo("folder_format").currentText() == "TIFF"
    user.button("folder_tiles").click()
    assert user.combo("folder_format").currentText() == "OME-Zarr"
    assert not user.combo("folder_format").isEnabled()
    run(user)

    assert [row["labels"] for row in rows(output)[:2]] == [
        "a_bright_discs_mask.zarr",
        "b_bright_discs_mask.zarr",
    ]
    assert api.imread(output / "a_bright_discs_mask.zarr").data.shape == (
        tifffile.imread(source / "a.tif").shape
    )
    user.choose_in("task", "3D/video propagation")
    assert user.combo("folder_format").isEnabled()
    assert user.combo("folder_format").currentText() == "TIFF"
    assert not user.button("folder_tiles").isEnabled()


def test_another_image_of_each_file(advanced, tmp_path, discs):
    user, source, output = advanced.user, tmp_path / "in", tmp_path / "out"
    source.mkdir()
    with tifffile.TiffWriter(source / "a.tif") as writer:
        writer.write(discs, metadata=None)
        writer.write(discs[: discs.shape[0] // 2], metadata=None)
    set_up(user, (source, output))
    user.type_phrase(TEXT, enter=False)
    run(user)
    assert "holds 2 images; series 0 was taken, the largest" in rows(output)[0]["message"]
    assert "Notes: on 1 image, see there." in user.status

    user.wait(user.combo("folder_series").isEnabled)
    user.choose_in("folder_series", "1: 60 x 150 (1 file)")
    run(user)

    found = tifffile.imread(output / "a_1_bright_discs_mask.tif")
    assert found.shape == discs[: discs.shape[0] // 2].shape
    assert (rows(output)[1]["image"], rows(output)[1]["message"]) == ("a.tif [1]", "")
    user.choose_in("folder_series", "Every image")
    run(user)
    assert [(row["image"], row["status"]) for row in rows(output)[1:]] == [
        ("a.tif [0]", "done"),
        ("a.tif [1]", "skipped"),
    ]


@pytest.fixture
def stacks(tmp_path, discs):
    """Two stacks of three slices, the second of discs that move, and a plane."""
    source = tmp_path / "stacks"
    source.mkdir()
    moving = np.stack([np.roll(discs, 3 * frame, axis=1) for frame in range(3)])
    for name, stack in (("a", np.stack([discs] * 3)), ("b", moving)):
        tifffile.imwrite(source / f"{name}.ome.tif", stack, metadata={"axes": "ZYX"})
    tifffile.imwrite(source / "plane.tif", discs)
    return source, tmp_path / "tracks"


def test_prompts_are_followed_through_every_stack_and_a_second_start_goes_on(advanced, stacks):
    user, (source, output) = advanced.user, stacks
    set_up(user, stacks, "3D/video propagation")
    user.choose_in("tool", "Text only")
    user.type_phrase(TEXT, enter=False)
    told = []
    find_binding(user.viewer).model.events.message.connect(lambda new: told.append(new.text))
    line(user, "folder_pattern").setText("a*.tif")
    run(user)
    assert user.status.startswith("✓ Folder batch ready: 1 done (4 objects). Summary: ")
    assert any(one.startswith("a.ome.tif (1 of 1): Frame 1: 4 objects") for one in told)

    line(user, "folder_pattern").setText("*")
    run(user)

    assert user.status.startswith(
        "⚠ Folder batch ready: 1 done (4 objects), 1 skipped, 1 failed. Summary: "
    )
    assert (
        "First failure: plane.tif: An image of the shape (120, 150) is not a stack" in user.status
    )
    assert statuses(output) == ["skipped", "done", "failed"]
    for name in "ab":
        expected = api.track(source / f"{name}.ome.tif", text=TEXT)
        found = tifffile.imread(output / f"{name}_tracks.tif")
        for result in expected:
            np.testing.assert_array_equal(found[result.frame], result.labels)

    user.button("folder_skips").click()
    line(user, "folder_pattern").setText("b*.tif")
    run(user)
    assert (output / "b_tracks_02.tif").exists()

    # Prompts on the stack on show serve every stack.
    user.viewer.add_image(tifffile.imread(source / "b.ome.tif"), name="stack")
    user.choose_in("tool", "Points (positive/negative)")
    user.click("create_prompt_layer")
    assert "Draw the prompt" in user.button("batch_folder").toolTip()
    user.viewer.dims.set_point(0, 1)
    user.viewer.layers["SAM3 points"].add((1, 30, 40))
    run(user)
    expected = api.track(source / "b.ome.tif", frame=1, points=[(30, 40)])
    found = tifffile.imread(output / "b_tracks_03.tif")
    for result in expected:
        np.testing.assert_array_equal(found[result.frame], result.labels)
    assert found[2].any()


def test_cancel_keeps_the_stacks_that_are_done(advanced, stacks, gate):
    user, (_, output) = advanced.user, stacks
    set_up(user, stacks, "3D/video propagation")
    user.choose_in("tool", "Everything")
    line(user, "folder_pattern").setText("*.ome.tif")
    user.click("batch_folder")

    def is_in_the_second():
        if user.progress_bar.text().startswith("1 of 2, "):
            return True
        if gate.reached.acquire(blocking=False):
            gate.passes.release()
        return False

    user.wait(is_in_the_second)
    user.click("cancel")
    gate.opened.set()
    user.wait_for_end()

    assert user.status.startswith("Folder batch stopped: 1 done (4 objects). What is done is kept")
    assert user.button("batch_folder").text() == "Continue batch"
    assert [path.name for path in output.glob("*.tif")] == ["a_tracks.tif"]
    run(user)
    assert statuses(output) == ["skipped", "done"]


def test_a_folder_is_encoded_and_clicks_on_it_encode_nothing(
    advanced, tmp_path, tiny_checkpoint, model_calls
):
    user, source, kept = advanced.user, tmp_path / "in", tmp_path / "kept"
    source.mkdir()
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 256, (2, 60, 70), np.uint8)
    pixels[:, 0, :2] = 0, 255
    tifffile.imwrite(source / "a.ome.tif", pixels, metadata={"axes": "ZYX"})
    (source / "broken.tif").write_bytes(b"no image")
    assert "encodes nothing" in user.button("encode_folder").toolTip()
    find_binding(user.viewer).session.setup.use_folder(str(tiny_checkpoint))
    user.wait_for_end()
    line(user, "folder_source").setText(str(source))
    assert "Encodings in Step 1" in user.button("encode_folder").toolTip()
    line(user, "encodings_folder").setText(str(kept))
    user.click("encode_folder")
    user.wait_for_end()
    assert user.status.startswith(
        f"⚠ Encodings ready: 1 done (2 planes), 1 failed. Folder: {kept}. First failure: broken.tif"
    )
    assert model_calls["encode"] == 2
    assert len(list(kept.glob("*.safetensors"))) == 2

    commands.encode_folder()
    user.wait_for_end()
    assert "Encodings ready: 0 done (0 planes), 1 skipped, 1 failed." in user.status

    user.viewer.add_image(tifffile.imread(source / "a.ome.tif"), name="a")
    user.choose("2d_segmentation", "points")
    user.viewer.dims.set_point(0, 1)
    user.viewer.layers["SAM3 points"].add((1, 30, 40))
    user.run()
    assert "SAM3 preview labels" in user.viewer.layers
    assert model_calls["encode"] == 2


def write_positions(path, discs, *names):
    """Write a thumbnail, and positions of which each has one disc less."""
    with tifffile.TiffWriter(path, ome=True) as writer:
        writer.write(discs[:40, :40], metadata={"Name": "thumbnail", "axes": "YX"})
        for number, name in enumerate(names):
            image = discs.copy()
            image[:, : 75 * number] = 50
            writer.write(image, metadata={"Name": name, "axes": "YX"})


def entries(combo):
    return [combo.itemText(at) for at in range(combo.count())]


def test_positions_are_chosen_from_a_list_of_what_the_files_hold(open_advanced, tmp_path, discs):
    user = open_advanced().user
    source, output = tmp_path / "in", tmp_path / "out"
    source.mkdir()
    write_positions(source / "a.ome.tif", discs, "Pos 1", "Pos 2")
    write_positions(source / "b.ome.tif", discs, "Pos 1", "Pos 2")
    write_positions(source / "c.ome.tif", discs, "Pos 1")
    tifffile.imwrite(source / "notes.tif", discs)
    (source / "notes.tif").write_bytes(b"no image")
    user.choose_in("task", "Text segmentation")
    user.type_phrase(TEXT, enter=False)
    fold = next(
        one for one in user.widget.findChildren(QAbstractButton, "fold") if "Batch F" in one.text()
    )
    QTest.mouseClick(fold, Qt.MouseButton.LeftButton)
    combo = user.combo("folder_series")
    assert combo.accessibleName() == "Series"
    assert not combo.isEnabled()
    assert entries(combo) == ["Largest image (default)"]
    assert combo.toolTip() == "Choose the folder of the images first."

    line(user, "folder_source").setFocus()
    QTest.keyClicks(line(user, "folder_source"), str(source))
    # Slowly typed, the folder above is looked at before.
    offered = [
        "Largest image (default)",
        "Every image",
        "0: thumbnail, 40 x 40 (3 files)",
        "1: Pos 1, 120 x 150 (3 files)",
        "2: Pos 2, 120 x 150 (2 of 3 files)",
    ]
    user.wait(lambda: entries(combo) == offered and combo.isEnabled())

    assert "1 file can't be read" in combo.toolTip()
    combo.setFocus()
    for _ in range(4):
        QTest.keyClick(combo, Qt.Key.Key_Down)
    assert combo.currentText().startswith("2: Pos 2")
    assert "1 file of these has no image 2: they will fail" in combo.toolTip()
    assert combo.accessibleDescription() == combo.toolTip()
    QTest.keyClicks(line(user, "folder_output"), str(output))
    assert not output.exists()
    run(user)

    assert statuses(output) == ["done", "done", "failed", "failed"]
    assert [row["objects"] for row in rows(output)[:2]] == ["2", "2"]
    assert "There is no series 2 in the file" in rows(output)[2]["message"]
    user.close_dock()
    vars(user).clear()


def test_a_plain_folder_offers_no_choice_and_one_that_it_lacks_is_given_up(
    advanced, folders, tmp_path, discs
):
    user, combo = advanced.user, advanced.user.combo("folder_series")
    several = tmp_path / "several"
    several.mkdir()
    write_positions(several / "a.ome.tif", discs, "Pos 1")
    line(user, "folder_source").setText(str(several))
    user.wait(combo.isEnabled)
    user.choose_in("folder_series", "1: Pos 1, 120 x 150 (1 file)")

    line(user, "folder_source").setText(str(folders[0]))
    user.wait(lambda: "each file holds one image" in combo.toolTip())

    assert not combo.isEnabled()
    assert entries(combo) == ["Largest image (default)"]
    assert "⚠ Series 1 is in none of the 2 files looked at" in user.status
    line(user, "folder_source").setText(str(tmp_path / "missing"))
    user.wait(lambda: "There is no folder" in combo.toolTip())


def test_the_chosen_image_is_remembered_with_the_folder(open_advanced, tmp_path, discs):
    user = open_advanced().user
    write_positions(tmp_path / "a.ome.tif", discs, "Pos 1")
    line(user, "folder_source").setText(str(tmp_path))
    user.wait(user.combo("folder_series").isEnabled)
    user.choose_in("folder_series", "1: Pos 1, 120 x 150 (1 file)")
    user.close_dock()
    user.open()

    combo = user.combo("folder_series")
    assert combo.currentText() == "1: not found yet"
    fold = next(
        one for one in user.widget.findChildren(QAbstractButton, "fold") if "Batch F" in one.text()
    )
    fold.click()
    user.wait(lambda: combo.currentText() == "1: Pos 1, 120 x 150 (1 file)")
    vars(user).clear()

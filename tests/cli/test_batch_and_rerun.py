"""``napari-sam3 batch`` and ``napari-sam3 rerun``."""

import codecs
import json
import shutil

import numpy as np
import pytest
import tifffile

from napari_sam3_assistant.cli import main
from napari_sam3_assistant.io.images import read_image


@pytest.fixture
def source(tmp_path):
    """Two images: a plane with two discs, and a stack of two planes."""
    folder = tmp_path / "in"
    folder.mkdir()
    rows, columns = np.ogrid[:60, :80]
    first = (rows - 30) ** 2 + (columns - 20) ** 2 <= 100
    second = (rows - 30) ** 2 + (columns - 60) ** 2 <= 100
    both = np.where(first | second, 200, 30).astype(np.uint8)
    tifffile.imwrite(folder / "a.tif", both)
    one = np.where(first, 60000, 3000).astype(np.uint16)
    tifffile.imwrite(folder / "b.tif", np.stack([one, one[:, ::-1]]), metadata={"axes": "ZYX"})
    return folder


def test_a_folder_and_each_of_its_results_again(source, tmp_path, capsys):
    output = tmp_path / "out"
    (tmp_path / "phrases.txt").write_text("# what to find\nbright discs\nBright  discs\n")
    command = ["batch", str(source), str(output), "--texts", str(tmp_path / "phrases.txt")]

    assert main([*command, "--text", "dark things", "--threshold", "0.4"]) == 0

    said = capsys.readouterr().out
    assert "a.tif - bright discs: 2 objects, done: a_bright_discs_mask.tif" in said
    assert "4 done, 0 skipped, 0 failed" in said
    for name in ("a_bright_discs_mask.tif", "b_bright_discs_mask.tif", "b_dark_things_mask.tif"):
        assert main(["rerun", str(output / f"{name}.json")]) == 0
        again = capsys.readouterr().out.split()[-1]
        assert again.endswith("_mask_02.tif")
        np.testing.assert_array_equal(
            np.asarray(read_image(again).data), np.asarray(read_image(output / name).data)
        )
    assert main([*command, "--text", "dark things", "--threshold", "0.4"]) == 0
    assert "0 done, 4 skipped, 0 failed" in capsys.readouterr().out

    # An editor of Windows has saved them, with a mark in front.
    for edited in (tmp_path / "phrases.txt", *output.glob("*.json")):
        edited.write_bytes(codecs.BOM_UTF8 + edited.read_bytes().replace(b"\n", b"\r\n"))
    assert main([*command, "--text", "dark things", "--threshold", "0.4"]) == 0
    assert "0 done, 4 skipped, 0 failed" in capsys.readouterr().out
    assert main(["rerun", str(output / "a_bright_discs_mask.tif.json")]) == 0


def test_one_that_fails_is_told(source, tmp_path, capsys):
    (source / "c.tif").write_bytes(b"broken")

    assert main(["batch", str(source), str(tmp_path / "out"), "--box", "15,5,45,35"]) == 1

    said = capsys.readouterr().out
    assert "c.tif: failed. " in said
    assert "2 done, 0 skipped, 1 failed" in said


@pytest.mark.parametrize(
    ("given", "done"),
    [
        (["in", "-o", "out"], {"a.TIF", "b.tif"}),
        (["-o", "out", "in/*.tif"], {"a.TIF", "b.tif"}),
        (["in/a.TIF", "out"], {"a.TIF"}),
        (["in", "out", "--pattern", "*.tif"], {"a.TIF", "b.tif"}),
        (["in", "out", "--pattern", "below ü\\*.TIF"], {"below ü/c.tif"}),
        (["in/*", "--pattern", "*.tif", "-o", "out"], {"below ü/c.tif"}),
    ],
)
def test_how_people_name_their_images(source, tmp_path, monkeypatch, capsys, given, done):
    monkeypatch.chdir(tmp_path)
    (source / "a.tif").rename(source / "a.TIF")
    (source / "below ü").mkdir()
    shutil.copy(source / "a.TIF", source / "below ü" / "c.tif")

    assert main(["batch", *given, "--box", "15,5,45,35", "--json"]) == 0

    rows = json.loads(capsys.readouterr().out)["rows"]
    assert {row["image"] for row in rows if row["status"] == "done"} == done


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (["in"], "required: OUT"),
        (["in", "out", "-o", "other"], "OUT was given twice"),
        (["-o", "other", "in", "out"], "OUT was given twice"),
        (["in", "-o", "other", "-o", "out"], "OUT was given twice"),
        (["in/a.tif", "in/b.tif", "out"], "needs its quotes"),
        (["in", "out", "-v"], "unrecognized arguments: -v\n"),
    ],
)
def test_what_is_typed_wrong_is_said_of_the_command(tmp_path, capsys, given, said):
    with pytest.raises(SystemExit) as ended:
        main(["batch", *given, "--text", "discs"])

    assert ended.value.code == 2
    told = capsys.readouterr().err
    assert told.startswith("usage: napari-sam3 batch ")
    assert said in told


def test_labels_of_before_are_no_images(source, tmp_path, capsys):
    command = ["batch", str(source), "--box", "15,5,45,35", "--pattern", "**/*"]
    tifffile.imwrite(source / "b_cp_masks.tif", np.zeros((60, 80), np.uint16))

    assert main([*command, "-o", str(source / "first")]) == 0
    assert "b_cp_masks.tif: left out. By its name it is the labels of b." in capsys.readouterr().out
    assert main([*command, "-o", str(source / "second")]) == 0

    said = capsys.readouterr().out
    assert "first/a_mask.tif: left out. It is labels, as the note beside it says." in said
    assert "2 done" in said
    assert main([*command[:-1], "*_cp_masks.tif", "-o", str(tmp_path / "third")]) == 0


def test_every_plane_tile_by_tile(source, tmp_path, capsys):
    output = tmp_path / "out"
    command = ["batch", str(source), str(output), "--text", "bright discs", "--tile", "256"]

    assert main(command) == 0
    assert "b.tif - bright discs: 2 objects, done: b_bright_discs_mask.zarr" in (
        capsys.readouterr().out
    )
    assert main(command) == 0
    assert "0 done, 2 skipped, 0 failed" in capsys.readouterr().out
    assert main(["rerun", str(output / "b_bright_discs_mask.zarr.json")]) == 0
    first, again = (
        read_image(output / f"b_bright_discs_mask{name}.zarr").data[...] for name in ("", "_02")
    )
    np.testing.assert_array_equal(first, again)
    assert first.shape == (2, 60, 80)
    assert main([*command, "--format", "tif"]) == 2
    assert "Choose the format zarr" in capsys.readouterr().err


def test_a_scan_again(source, tmp_path, capsys):
    output = tmp_path / "labels.zarr"
    command = ["scan", str(source / "b.tif"), "--plane", "1", "-o", str(output)]
    assert main([*command, "--text", "bright discs", "--contrast", "0,60000"]) == 0

    assert main(["rerun", f"{output}.json", "-o", str(tmp_path / "b.zarr")]) == 0

    np.testing.assert_array_equal(
        read_image(tmp_path / "b.zarr").data[...], read_image(output).data[...]
    )
    assert "1 object\n" in capsys.readouterr().out


def test_what_is_not_as_it_was_is_told(source, tmp_path, capsys):
    output = tmp_path / "out"
    assert main(["batch", str(source), str(output), "--text", "bright discs"]) == 0
    path = output / "a_bright_discs_mask.tif.json"
    note = json.loads(path.read_text("utf-8"))
    note["engine"]["version"] = "0.1"
    path.write_text(json.dumps(note))
    (source / "a.tif").rename(tmp_path / "elsewhere.tif")

    assert main(["rerun", str(path)]) == 2
    assert "is gone" in capsys.readouterr().err
    assert main(["rerun", str(path), "--image", str(tmp_path / "elsewhere.tif")]) == 0
    assert "had 0.1" in capsys.readouterr().out


def test_files_that_are_no_notes(source, capsys):
    assert main(["rerun", str(source / "a.tif")]) == 2
    assert "does not say" in capsys.readouterr().err


@pytest.mark.parametrize("place", [r"\\host\share\sam3", "//host/share/sam3"])
def test_a_note_does_not_send_to_a_model_on_another_computer(source, tmp_path, capsys, place):
    batch = ["batch", str(source), str(tmp_path / "out"), "--box", "15,5,45,35"]
    assert main([*batch, "--pattern", "a.tif"]) == 0
    note = tmp_path / "out" / "a_mask.tif.json"
    told = json.loads(note.read_text("utf-8"))
    told["engine"]["model_folder"] = place
    note.write_text(json.dumps(told), "utf-8")
    capsys.readouterr()

    assert main(["rerun", str(note)]) == 2

    assert "not opened unasked" in capsys.readouterr().err

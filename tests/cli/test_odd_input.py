"""What a hasty user types, and what the system does meanwhile: a sentence, and nothing is lost."""

import csv
import os
import re
import signal
import subprocess
import sys

import numpy as np
import pytest
import tifffile
import zarr

from amounts import thorough
from napari_sam3_assistant.cli import main
from napari_sam3_assistant.io.images import read_image

TEXT = ("--text", "bright objects")
SEEDS = ("--everything", "--seeds", "labels.tif")
CALL = "import sys; from napari_sam3_assistant.cli import main; sys.exit(main(sys.argv[1:]))"


def told(errors):
    """Return what a process said, but for what zarr's parts tell their developers."""
    return re.sub(r".*DeprecationWarning: .*\n  .*\n", "", errors)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """Make a folder with an image and a stack, and work in it."""
    rows, columns = np.ogrid[:60, :80]
    disc = np.where((rows - 30) ** 2 + (columns - 20) ** 2 <= 100, 200, 30).astype(np.uint8)
    size = {"PhysicalSizeY": 0.5, "PhysicalSizeX": 0.25}
    units = {"PhysicalSizeYUnit": "µm", "PhysicalSizeXUnit": "µm"}
    tifffile.imwrite(tmp_path / "a.ome.tif", disc, metadata={"axes": "YX", **size, **units})
    np.save(tmp_path / "stack.npy", np.stack([disc] * 3))
    tifffile.imwrite(tmp_path / "labels.tif", (disc > 100).astype(np.uint16))
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize(
    "command",
    [
        ("segment", "a.ome.tif", *TEXT, "-o", "a.ome.tif"),
        ("segment", "a.ome.tif", *TEXT, "-o", "link.tif"),
        ("segment", "a.ome.tif", "--mask", "labels.tif", "-o", "./labels.tif"),
        ("track", "stack.npy", "--point", "30,20", "-o", "stack.npy"),
        ("track", "stack.npy", "--mask", "0:labels.tif", "-o", "labels.tif"),
        ("track", "stack.npy", "--point", "30,20", "-o", "b.tif", "--csv", "b.tif"),
        ("track", "stack.npy", "--point", "30,20", "-o", "b.tif", "--csv", "stack.npy"),
        ("scan", "a.ome.tif", *TEXT, "-o", "b.zarr", "--table", "a.ome.tif"),
        ("segment", "a.ome.tif", *SEEDS, "-o", "labels.tif", "--overwrite"),
        ("segment", "a.ome.tif", *SEEDS, "-o", "b.tif", "--table", "labels.tif", "--overwrite"),
        ("scan", "a.ome.tif", *SEEDS, "-o", "b.zarr", "--table", "labels.tif", "--overwrite"),
        ("track", "stack.npy", *SEEDS, "-o", "labels.tif", "--overwrite"),
        ("track", "stack.npy", *SEEDS, "-o", "b.tif", "--csv", "labels.tif", "--overwrite"),
    ],
)
def test_input_is_never_replaced(folder, capsys, command):
    (folder / "link.tif").symlink_to("a.ome.tif")
    before = {path.name: path.read_bytes() for path in folder.iterdir()}

    assert main(command) == 2

    assert "would replace" in capsys.readouterr().err
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before


@pytest.mark.parametrize(
    ("command", "said"),
    [
        (("segment", "stack.npy", *TEXT, "-o", "b.tif", "--plane", "0.5"), "not whole numbers"),
        (("segment", "stack.npy", *TEXT, "-o", "b.tif", "--plane", "nan"), "not whole numbers"),
        (("track", "stack.npy", "--point", "inf:30,20", "-o", "b.tif"), "not whole numbers"),
        (("track", "stack.npy", "--point", "30,20,1.5", "-o", "b.tif"), "is not a whole number"),
        (("track", "stack.npy", "--point", "30,20,4294967295", "-o", "b.tif"), "1 to 1000000000"),
        (("track", "stack.npy", "--point", "30,20", "--axis", "²", "-o", "b.tif"), "no axis '²'"),
        (("track", "stack.npy", "--box", "9,9,50,50,-", "-o", "b.tif"), "behind the 4 coordinates"),
        (("segment", "a.ome.tif", *TEXT, "-o", f"{'n' * 300}.tif"), "File name too long"),
        (("segment", f"{'n' * 300}.tif", *TEXT, "-o", "b.tif"), "There is no file"),
        (("segment", "a.ome.tif", *TEXT, "-o", "b.jpg"), "can't be saved as '.jpg'"),
        (("scan", "a.ome.tif", *TEXT, "-o", "none/b.zarr"), "none does not exist"),
        (("segment", "a.ome.tif", *TEXT, "-o", "b.tif", "--device", "gpu"), "no device 'gpu'"),
        (("info", "."), "napari-sam3 batch"),
    ],
)
def test_a_mistake_is_one_sentence(folder, capsys, command, said):
    before = sorted(folder.iterdir())

    assert main(command) == 2

    told = capsys.readouterr()
    assert told.out == ""
    assert told.err.startswith("napari-sam3: ")
    assert said in told.err
    assert sorted(folder.iterdir()) == before


@pytest.mark.parametrize(
    "option",
    [("--contrast", "-100,300"), ("--contrast", "-.5,3e2"), ("--box", "-5,-2,45,32")],
)
def test_values_below_0_need_no_equals_sign(folder, capsys, option):
    point = () if option[0] == "--box" else ("--point", "30,20")

    assert main(("segment", "a.ome.tif", *point, *option, "-o", "b.tif")) == 0, capsys.readouterr()

    assert tifffile.imread("b.tif")[30, 20] == 1


@pytest.mark.parametrize(
    "command",
    [
        ("track", "stack.npy", "--point", "30,20", "-o", "b.zarr"),
        ("scan", "a.ome.tif", *TEXT, "-o", "b.zarr", "--overwrite"),
    ],
)
def test_a_file_in_the_place_of_the_note_is_told_before_the_work(folder, capsys, command):
    (folder / "b.zarr.json").write_text('{"mine": 1}')
    before = sorted(folder.rglob("*"))

    assert main(command) == 2

    assert "is not a note of labels. Rename it." in capsys.readouterr().err
    assert (folder / "b.zarr.json").read_text() == '{"mine": 1}'
    assert sorted(folder.rglob("*")) == before


def test_an_ending_is_told_before_the_work(folder, capsys, monkeypatch):
    def fail(*_, **__):
        raise AssertionError("it was segmented in vain")

    monkeypatch.setattr("napari_sam3_assistant.api.segment", fail)
    assert main(["segment", "a.ome.tif", *TEXT, "-o", "b.jpg"]) == 2


def test_the_home_folder_is_known_where_the_shell_leaves_it(folder, monkeypatch):
    monkeypatch.setenv("HOME", str(folder))
    monkeypatch.setenv("USERPROFILE", str(folder))
    assert main(["segment", "~/a.ome.tif", *TEXT, "-o", "~/b.tif"]) == 0
    assert (folder / "b.tif").exists()


@pytest.mark.parametrize(
    "command",
    [
        ("segment", "a.ome.tif", *TEXT, "-o", "b.ome.tif"),
        ("scan", "a.ome.tif", *TEXT, "-o", "b.ome.tif.zarr"),
        ("batch", ".", "out", *TEXT, "--pattern", "a.*"),
    ],
)
def test_labels_keep_the_size_of_a_pixel_and_its_unit(folder, command):
    assert main(command) == 0

    (path,) = {*folder.glob("b.*"), *folder.glob("out/*.tif")} - {*folder.glob("*.json")}
    found = read_image(path)
    assert found.axis_labels == ("y", "x")
    assert [(axis.scale, axis.unit) for axis in found.axes] == [
        (0.5, "micrometer"),
        (0.25, "micrometer"),
    ]
    assert set(np.unique(found.data[...])) == {0, 1}


def test_links_to_nowhere_in_a_folder_are_told(folder, capsys):
    (folder / "loop.tif").symlink_to("loop.tif")
    (folder / "nowhere.tif").symlink_to("gone.tif")

    assert main(["batch", ".", "out", *TEXT, "--pattern", "*.tif"]) == 1

    said = capsys.readouterr().out
    assert "loop.tif - bright objects: failed. There is no file" in said
    assert "nowhere.tif - bright objects: failed. There is no file" in said
    assert "2 done, 0 skipped, 2 failed" in said


@pytest.fixture
def damaged(folder):
    """Return the name of a stack of seven frames of which the sixth can't be read."""
    frames = np.repeat(np.load("stack.npy")[:1], 7, axis=0).astype(np.uint16) * 200
    zarr.create_array("damaged.zarr", data=frames, chunks=(1, 60, 80), zarr_format=2)
    (folder / "damaged.zarr" / "5.0.0").write_bytes(b"no chunk")
    return "damaged.zarr"


def test_a_damaged_chunk_ends_its_direction_and_what_is_done_stays(damaged, capsys):
    command = (
        "track",
        damaged,
        "--frame",
        "3",
        "--point",
        "30,20",
        "-o",
        "b.tif",
        "--csv",
        "b.csv",
    )

    assert main(command) == 2

    told = capsys.readouterr()
    assert told.err.startswith("napari-sam3: ")
    assert told.err.count("\n") == 1
    assert "on 5 frames" in told.out
    found = [bool(plane.any()) for plane in tifffile.imread("b.tif")]
    assert found == [True] * 5 + [False] * 2
    with open("b.csv", newline="") as table:
        assert sorted(row["frame"] for row in csv.DictReader(table)) == list("01234")
    # The note makes the same again, with the same fault.
    assert main(["rerun", "b.tif.json"]) == 0
    np.testing.assert_array_equal(tifffile.imread("b_02.tif"), tifffile.imread("b.tif"))


def test_a_damaged_chunk_costs_a_batch_its_image_only(damaged, capsys):
    assert main(["batch", ".", "out", *TEXT, "--pattern", "[ad]*"]) == 1

    said = capsys.readouterr().out
    assert "damaged.zarr - bright objects: failed. " in said
    assert "1 done, 0 skipped, 1 failed" in said


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has other pipes and signals")
class TestProcess:
    def test_the_work_goes_on_where_nobody_reads(self, folder):
        reading, writing = os.pipe()
        os.close(reading)
        command = ("batch", ".", "out", *TEXT, "--pattern", "*.tif")
        done = subprocess.run(
            [sys.executable, "-c", CALL, *command],
            stdout=writing,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
        )
        os.close(writing)
        assert (done.returncode, told(done.stderr)) == (0, "")
        assert (folder / "out" / "sam3_summary.csv").exists()

    def test_nothing_is_read_or_told(self, folder):
        command = f"{sys.executable} -c '{CALL}' segment a.ome.tif -o b.tif --text bright >&- 2>&-"
        assert subprocess.run(command, shell=True, check=False).returncode == 0
        assert (folder / "b.tif").exists()

    @pytest.mark.skipif(not os.path.exists("/dev/full"), reason="only Linux has such a device")
    def test_a_full_disk_behind_the_output(self, folder):
        command = f"{sys.executable} -c '{CALL}' doctor > /dev/full"
        done = subprocess.run(command, shell=True, check=False, capture_output=True, text=True)
        assert done.returncode == 2
        said = told(done.stderr)
        assert said.startswith("napari-sam3: What was found can't be printed: No space")
        assert said.count("\n") == 1

    @pytest.mark.parametrize("number", [signal.SIGINT, thorough(signal.SIGTERM)])
    def test_a_stopped_propagation_keeps_what_is_done(self, folder, number):
        np.save("long.npy", np.repeat(np.load("stack.npy"), 300, axis=0))
        stop = f"""
import os, signal
signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background jobs ignore it
from napari_sam3_assistant.api.track import TrackFrames
following = TrackFrames.__next__
def kill(frames):
    result = following(frames)
    if result.frame == 3:
        os.kill(os.getpid(), {int(number)})
    return result
TrackFrames.__next__ = kill
"""
        command = ("track", "long.npy", "--point", "30,20", "-o", "b.tif")
        done = subprocess.run(
            [sys.executable, "-c", stop + CALL, *command],
            capture_output=True,
            text=True,
            check=False,
        )
        assert (done.returncode, told(done.stderr)) == (130, "napari-sam3: Stopped.\n")
        planes = [bool(plane.any()) for plane in tifffile.imread("b.tif")]
        assert planes == [True] * 3 + [False] * 897
        assert main(["rerun", "b.tif.json"]) == 0
        np.testing.assert_array_equal(tifffile.imread("b_02.tif"), tifffile.imread("b.tif"))

    @pytest.mark.parametrize("number", [thorough(signal.SIGINT), signal.SIGTERM])
    def test_stopped_while_it_starts(self, folder, number):
        stop = f"""
import os, signal, sys
signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background jobs ignore it
class Finder:
    def find_spec(name, path, target=None):
        if name == "napari_sam3_assistant.cli.track":
            os.kill(os.getpid(), {int(number)})
sys.meta_path.insert(0, Finder)
"""
        command = ("segment", "a.ome.tif", *TEXT, "-o", "b.tif")
        done = subprocess.run(
            [sys.executable, "-c", stop + CALL, *command],
            capture_output=True,
            text=True,
            check=False,
        )
        assert (done.returncode, told(done.stderr)) == (130, "napari-sam3: Stopped.\n")
        assert not (folder / "b.tif").exists()


def test_a_stack_that_no_memory_holds_is_one_sentence(folder, capsys):
    # A few bytes say so of themselves.
    zarr.create_array("claims.zarr", shape=(10**9,) * 3, chunks=(1, 64, 64), dtype="uint8")

    assert main(["batch", ".", "out", *TEXT, "--pattern", "*.zarr"]) == 1

    assert "claims.zarr - bright objects: failed. The labels of 1000000000" in (
        capsys.readouterr().out
    )

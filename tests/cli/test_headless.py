"""What scripts and clusters need: tables, notes, JSON, logs, and nothing replaced unasked."""

import csv
import io
import json
import os
import pty
import subprocess
import sys

import numpy as np
import pytest
import tifffile
from skimage.measure import regionprops
from skimage.morphology import ball

from amounts import thorough
from napari_sam3_assistant import api
from napari_sam3_assistant.cli import main
from napari_sam3_assistant.cli.arguments import TerminalReporter, print_line
from napari_sam3_assistant.core.progress import Progress
from napari_sam3_assistant.errors import ImageError, MaskError

CALL = "import sys; from napari_sam3_assistant.cli import main; sys.exit(main(sys.argv[1:]))"


@pytest.fixture
def discs(tmp_path):
    """A file with two bright discs on 80 x 100 pixels of 0.5 um."""
    rows, columns = np.ogrid[:80, :100]
    pixels = np.full((80, 100), 30, np.uint8)
    for y, x in ((20, 30), (55, 70)):
        pixels[(rows - y) ** 2 + (columns - x) ** 2 <= 100] = 200
    path = tmp_path / "discs.tif"
    size = {"axes": "YX", "PhysicalSizeX": 0.5, "PhysicalSizeY": 0.5}
    tifffile.imwrite(path, pixels, ome=True, metadata=size)
    return path


def segment(discs, output, *more):
    return main(["segment", str(discs), "-o", str(output), "--text", "bright objects", *more])


def test_segment_writes_the_labels_their_note_and_a_table(discs, tmp_path, capsys):
    labels, table = tmp_path / "a.tif", tmp_path / "a.csv"

    assert segment(discs, labels, "--table", str(table)) == 0

    with table.open(newline="") as file:
        rows = list(csv.DictReader(file))
    found = {one.label: one for one in regionprops(tifffile.imread(labels))}
    assert {int(row["id"]): float(row["area"]) for row in rows} == {
        label: one.area for label, one in found.items()
    }
    assert capsys.readouterr().out.splitlines()[-2:] == [str(labels), str(table)]
    again = api.rerun(tmp_path / "a.tif.json", output=tmp_path / "b.tif")
    np.testing.assert_array_equal(tifffile.imread(again.path), tifffile.imread(labels))
    assert (again.objects, again.notes) == (2, ())


def test_segment_by_the_api_writes_the_same(discs, tmp_path):
    made = api.segment(discs, text="bright objects", output=tmp_path / "a.tif")

    np.testing.assert_array_equal(tifffile.imread(tmp_path / "a.tif"), made.labels)
    assert json.loads((tmp_path / "a.tif.json").read_text())["objects"][0]["area"] == 317
    alone = api.segment(tifffile.imread(discs), text="bright objects", output=tmp_path / "b.npy")
    again = api.rerun(tmp_path / "b.npy.json", image=discs, output=tmp_path / "c.npy")
    np.testing.assert_array_equal(np.load(again.path), alone.labels)


def test_json_is_one_object_of_what_was_printed(discs, tmp_path, capsys):
    labels = tmp_path / "a.tif"
    folder = tmp_path / "in"
    folder.mkdir()
    discs.rename(folder / discs.name)
    discs = folder / discs.name
    (folder / "bad.tif").write_text("no image")
    lines = (
        ["segment", discs, "-o", labels, "--text", "bright objects"],
        ["clean", labels, "renumber", "-o", tmp_path / "b.tif"],
        ["measure", labels, "--image", discs],
        ["export", labels, "-o", tmp_path / "b.json"],
        ["rerun", tmp_path / "a.tif.json"],
        ["batch", folder, tmp_path / "out", "--text", "bright objects"],
    )

    answers = {}
    for line in lines:
        assert main([*map(str, line), "--json"]) == (line[0] == "batch")
        (printed,) = capsys.readouterr().out.splitlines()
        answers[line[0]] = json.loads(printed)

    assert answers["segment"]["objects"] == 2
    assert answers["segment"]["files"] == [str(labels)]
    assert answers["segment"]["engine"] == "Built-in (no SAM 3 weights)"
    assert answers["clean"]["files"] == [str(tmp_path / "b.tif")]
    assert [one["id"] for one in answers["measure"]["rows"]] == [1, 2]
    assert answers["rerun"]["files"] == [str(tmp_path / "a_02.tif")]
    assert answers["batch"]["counts"] == {"done": 1, "failed": 1}
    assert [one["status"] for one in answers["batch"]["rows"]] == ["failed", "done"]
    # What fails is a sentence for people, and no object.
    assert main(["segment", "none.tif", "-o", str(labels), "--json", "--overwrite"]) == 2
    said = capsys.readouterr()
    assert (said.out, "none.tif" in said.err) == ("", True)


@pytest.mark.parametrize(
    "line",
    [
        "segment {0} -o {1} --text bright",
        "segment {0} -o {2}/new.tif --table {1} --text bright",
        "scan {0} -o {2}/new.zarr --table {1} --text bright",
        "track {0} -o {1} --point 20,30",
        "track {0} -o {2}/new.tif --csv {1} --point 20,30",
        "clean {0} renumber -o {1}",
        "export {0} --format tiff -o {1}",
        "measure {0} -o {1}",
    ],
)
def test_nothing_is_replaced_where_nobody_can_answer(line, discs, tmp_path, capsys):
    there = tmp_path / "there.tif"
    there.write_text("weeks of work")

    assert main(line.format(discs, there, tmp_path).split()) == 2

    assert f"{there} exists already. Choose another name, or give --overwrite" in (
        capsys.readouterr().err
    )
    assert there.read_text() == "weeks of work"
    assert sorted(one.name for one in tmp_path.iterdir()) == ["discs.tif", "there.tif"]


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no pseudo terminals")
@pytest.mark.parametrize(("typed", "status"), [(b"y\n", 0), (b"\n", 2), thorough(b"no\n", 2)])
def test_in_a_terminal_it_asks_and_rows_stand_on_lines_of_their_own(discs, tmp_path, typed, status):
    labels = tmp_path / "a.tif"
    labels.write_text("weeks of work")
    ours, theirs = pty.openpty()
    command = ["segment", str(discs), "-o", str(labels), "--text", "bright objects"]
    with subprocess.Popen(
        [sys.executable, "-c", CALL, *command], stdin=theirs, stdout=theirs, stderr=theirs
    ) as run:
        os.close(theirs)
        os.write(ours, b"y\n")
        said = b""
        while True:
            try:
                said += os.read(ours, 9999)
            except OSError:  # the end of a terminal on Linux
                break
        assert run.wait() == 0, said
    os.close(ours)

    text = said.decode()
    assert f"{labels} exists already. Replace? [y/N] " in text
    assert tifffile.imread(labels).max() == 2
    # What a terminal would show: \r goes back to the first column.
    shown = [line.rsplit("\r", 1)[-1] for line in text.replace("\r\n", "\n").splitlines()]
    assert [one for one in shown if one.startswith("2 objects in")]
    assert shown[-1] == str(labels)


@pytest.mark.parametrize("typed", ["\n", "no\n", "", "yes, please\n"])
def test_only_a_yes_replaces(discs, tmp_path, typed, capsys, monkeypatch):
    there = tmp_path / "there.tif"
    there.write_text("weeks of work")
    monkeypatch.setattr("sys.stdin", io.StringIO(typed))
    monkeypatch.setattr("sys.stdin.isatty", lambda: True)
    monkeypatch.setattr("sys.stderr.isatty", lambda: True)

    assert segment(discs, there) == 2

    assert "Replace? [y/N] " in capsys.readouterr().err
    assert there.read_text() == "weeks of work"


def test_rows_do_not_stand_on_the_progress_line(capsys, monkeypatch):
    monkeypatch.setattr("sys.stderr.isatty", lambda: True)
    monkeypatch.setenv("COLUMNS", "20")

    with TerminalReporter() as reporter:
        reporter.report(Progress(0, 2, "a message that is longer than the terminal"))
        print_line("a row")
        reporter.report(Progress(1, 2, "short"))

    said = capsys.readouterr()
    assert said.out == "a row\n"
    first, blank, second, last = [one for one in said.err.split("\r") if one]
    assert (first, second) == ("a message that is l", "short")
    assert (blank, last) == (" " * 19, " " * 5)


def test_a_log_has_a_line_in_a_while_and_no_carriage_return(capsys):
    now = [0.0]
    with TerminalReporter(lambda: now[0]) as reporter:
        for step in range(100):
            now[0] = step
            reporter.report(Progress(step, 100, f"Tile {step + 1}"))

    lines = capsys.readouterr().err.splitlines(keepends=True)
    assert lines[0] == "15 s: Tile 16 (15 of 100)\n"
    assert len(lines) == 6
    assert not any("\r" in line for line in lines)


@pytest.mark.parametrize(
    ("message", "told"),
    [
        ("Tile 11 of 20, 3 objects", "Tile 11 of 20, 3 objects (1 of 2)"),
        ("a.tif (2 of 2, 9 s left)", "a.tif (2 of 2, 9 s left)"),
        ("Cutting 1 of 25", "Cutting 1 of 25 (1 of 2)"),
    ],
)
def test_a_line_of_a_log_counts_once(capsys, message, told):
    now = [0.0]
    with TerminalReporter(lambda: now[0]) as reporter:
        now[0] = 15.0
        reporter.report(Progress(1, 2, message))

    assert capsys.readouterr().err == f"15 s: {told}\n"


def test_what_can_not_be_measured_is_told(discs, tmp_path, capsys):
    oblong = tmp_path / "oblong.tif"
    tifffile.imwrite(
        oblong, tifffile.imread(discs), imagej=True, resolution=(10, 5), metadata={"unit": "um"}
    )
    segment(oblong, tmp_path / "a.tif")
    capsys.readouterr()
    line = ["measure", str(tmp_path / "a.tif"), "--more", "Perimeter,Highest intensity,Solidity"]
    assert main(line) == 0
    printed = capsys.readouterr()
    assert "Solidity" in printed.out
    assert "Not measured: Perimeter, Highest intensity. Intensities need --image" in printed.err
    assert main([*line, "--image", str(oblong)]) == 0
    assert "Not measured: Perimeter. " in capsys.readouterr().err


def test_measured_are_the_objects_of_the_image(discs, tmp_path, capsys):
    labels = tmp_path / "a.tif"
    segment(discs, labels)
    image = tifffile.imread(discs)

    rows = api.measure(labels, discs, more=["Perimeter"])

    for row, one in zip(rows, regionprops(tifffile.imread(labels), image), strict=True):
        assert row["unit"] == "micrometer"
        assert row["Measured area"] == pytest.approx(one.area / 4)
        assert row["Centroid Y"] == pytest.approx(one.centroid[0] / 2)
        assert row["Mean intensity"] == pytest.approx(one.intensity_mean)
        assert row["Perimeter"] == pytest.approx(one.perimeter / 2)
    capsys.readouterr()
    assert main(["measure", str(labels), "--image", str(discs), "--more", "Perimeter"]) == 0
    printed = list(csv.DictReader(capsys.readouterr().out.splitlines()))
    assert [{**one, "id": int(one["id"])} for one in printed] == [
        {name: value if name in ("id", "unit") else str(value) for name, value in row.items()}
        for row in rows
    ]
    shape = api.measure(tifffile.imread(labels), more=["Solidity", "Highest intensity"])
    assert [list(row) for row in shape] == [
        ["id", "Measured area", "Diameter", "Centroid Y", "Centroid X", "Solidity", "unit"]
    ] * 2


def test_planes_of_a_stack_and_labels_of_one_plane(tmp_path):
    rng = np.random.default_rng(0)
    stack = rng.integers(0, 999, (2, 3, 20, 30)).astype(np.uint16)
    labels = np.zeros(stack.shape, np.uint8)
    labels[:, :, 5:9, 6:12] = rng.integers(0, 3, (2, 3, 1, 1))
    labels[1, 2, 0, 0] = 7

    rows = api.measure(labels, stack)

    assert len(rows) == sum(len(np.unique(one)) - 1 for one in labels.reshape(6, 20, 30))
    for row in rows:
        plane = (row["t"], row["z"])
        inside = stack[plane][labels[plane] == row["id"]]
        assert row["Mean intensity"] == pytest.approx(inside.mean())
    last = api.measure(labels[1, 2], stack, plane=(1, 2))[-1]
    assert last["Mean intensity"] == stack[1, 2, 0, 0]
    for odd in ({}, {"plane": (1,)}, {"plane": (2, 0)}, {"plane": (-1, 0)}):
        with pytest.raises(MaskError, match="don't fit an image"):
            api.measure(labels[1, 2], stack, **odd)
    with pytest.raises(MaskError, match="don't fit an image"):
        api.measure(labels[0, 0, 1:], stack[0, 0])
    with pytest.raises(MaskError, match=r"no measurement “Weight”.*Perimeter"):
        api.measure(labels, more=["Weight"])
    with pytest.raises(ImageError):
        api.measure(labels, tmp_path / "none.tif")


def test_volumes_are_those_of_the_whole_stack(tmp_path, capsys):
    rng = np.random.default_rng(3)
    image = rng.integers(0, 999, (2, 6, 30, 40)).astype(np.uint16)
    labels = np.zeros(image.shape, np.uint8)
    labels[0, :5, 3:8, 3:8] = 4 * ball(2)
    labels[1, 1:5, 10:20, 5:9] = 2
    labels[1, 3, 25:28, 30:39] = 4
    files = tmp_path / "labels.tif", tmp_path / "image.tif"
    about = {"axes": "TZYX", "spacing": 2.0, "unit": "um"}
    for file, array in zip(files, (labels, image), strict=True):
        tifffile.imwrite(file, array, imagej=True, resolution=(2, 4), metadata=about)

    rows = api.measure(*files, volumes=True, more=["Volume extent"])

    spacing = (2.0, 0.25, 0.5)
    truth = {
        (t, one.label): one
        for t in range(2)
        for one in regionprops(labels[t], image[t], spacing=spacing)
    }
    assert [(row["t"], row["id"]) for row in rows] == sorted(truth)
    for row in rows:
        one = truth[row["t"], row["id"]]
        assert row["Volume"] == pytest.approx(one.area)
        assert row["Sphere diameter"] == pytest.approx(one.equivalent_diameter_area)
        assert row["Volume intensity"] == pytest.approx(one.intensity_mean)
        assert row["Volume extent"] == pytest.approx(one.extent)
        middle = [row[f"Centroid {name}"] for name in "ZYX"]
        assert middle == pytest.approx(one.centroid)
        assert row["slices"] == len(np.unique(one.coords[:, 0]))
        assert row["unit"] == "micrometer"
    capsys.readouterr()
    assert main(["measure", str(files[0]), "--volumes"]) == 0
    assert len(capsys.readouterr().out.splitlines()) == 4
    assert "Volume intensity" not in api.measure(labels, volumes=True)[0]
    with pytest.raises(MaskError, match="no z axis"):
        api.measure(labels[0, 0], volumes=True)
    with pytest.raises(MaskError, match=r"“Perimeter” of volumes.*Volume solidity"):
        api.measure(labels, volumes=True, more=["Perimeter"])


@pytest.mark.skipif(sys.platform == "win32", reason="argcomplete is for other shells")
def test_a_shell_completes_commands_and_options(tmp_path):
    def complete(line):
        answers = tmp_path / "answers"
        environment = {
            **os.environ,
            "_ARGCOMPLETE": "1",
            "_ARGCOMPLETE_STDOUT_FILENAME": str(answers),
            "COMP_LINE": line,
            "COMP_POINT": str(len(line)),
            "_ARGCOMPLETE_IFS": "\n",
        }
        subprocess.run([sys.executable, "-c", CALL], env=environment, check=True)
        return answers.read_text().split("\n")

    assert "--text" in complete("napari-sam3 segment a.tif --te")[0]

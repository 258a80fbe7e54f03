"""``napari-sam3 track``."""

import csv
import re
from functools import cached_property

import numpy as np
import pytest
import tifffile
import zarr

from amounts import each_once, thorough
from napari_sam3_assistant import api
from napari_sam3_assistant.api.track import TrackFrames
from napari_sam3_assistant.cli import main
from napari_sam3_assistant.errors import ImageError
from napari_sam3_assistant.io.image_folder import FolderImage
from napari_sam3_assistant.io.images import read_image
from napari_sam3_assistant.io.provenance import read_provenance


@pytest.fixture(scope="module")
def stack():
    z, y, x = np.ogrid[:7, :40, :60]
    inside = (2.5 * (z - 3)) ** 2 + (y - 20) ** 2 + (x - 30) ** 2 <= 144
    return np.where(inside, 200, 30).astype(np.uint8)


@pytest.fixture
def file(stack, tmp_path):
    path = tmp_path / "ball.tif"
    tifffile.imwrite(path, stack, photometric="minisblack", metadata={"axes": "ZYX"})
    mask = (stack[3] > 100).astype(np.uint8) * 5
    tifffile.imwrite(tmp_path / "mask.tif", mask)
    return path


@pytest.mark.parametrize(
    ("arguments", "request_"),
    [
        (["--point", "20,30,+", "--point", "2,2,-"], {"points": [(20, 30, 1), (2, 2, 0)]}),
        thorough(["--point", "20,30"], {"points": [(20, 30)]}),
        thorough(["--point", "20,30,4"], {"points": [(20, 30, 1, 4)]}),
        (["--point", "4:20,30,+,4"], {"points": {4: [(20, 30, 1, 4)]}}),
        thorough(["--box", "8,18,33,43"], {"boxes": [(8, 18, 33, 43)]}),
        (["--box", "2:8,18,33,43,6"], {"boxes": {2: [(8, 18, 33, 43, 6)]}}),
        (["--exemplar", "8,18,33,43,+"], {"exemplars": [(8, 18, 33, 43)]}),
        (["--text", "bright objects"], {"text": "bright objects"}),
        (
            ["--point", "20,30", "--axis", "Z", "--direction", "forward", "--frames", "2,5"],
            {"points": [(20, 30)], "direction": "forward", "frames": (2, 5)},
        ),
    ],
)
def test_the_command_line_gives_the_same_labels_as_the_api(
    stack, file, tmp_path, capsys, arguments, request_
):
    output = tmp_path / "labels.tif"
    assert main(["track", str(file), "--frame", "3", *arguments, "-o", str(output)]) == 0

    expected = np.zeros(stack.shape, np.uint32)
    for result in api.track(stack, frame=3, **request_):
        expected[result.frame] = result.labels
    np.testing.assert_array_equal(tifffile.imread(output), expected)
    assert expected.any()
    said = capsys.readouterr().out
    assert "1 object on" in said
    assert str(output) in said


@pytest.mark.parametrize("ending", [".tif", ".npy", ".zarr"])
def test_a_labels_mask_and_the_formats(stack, file, tmp_path, ending):
    output = tmp_path / f"labels{ending}"

    assert (
        main(["track", str(file), "--mask", f"3:{tmp_path / 'mask.tif'}", "-o", str(output)]) == 0
    )

    read = {
        ".tif": tifffile.imread,
        ".npy": np.load,
        ".zarr": lambda path: zarr.open(str(path), mode="r")["0"][:],
    }[ending]
    labels = read(output)
    assert labels.shape == stack.shape
    assert set(np.unique(labels)) == {0, 5}


@pytest.mark.parametrize("ending", [".tif", ".zarr"])
def test_labels_and_table_carry_the_size_of_a_pixel(stack, tmp_path, capsys, ending):
    file, output, table = tmp_path / "ball.ome.tif", tmp_path / f"a{ending}", tmp_path / "a.csv"
    told = {"axes": "TYX", "TimeIncrement": 30.0, "TimeIncrementUnit": "s"}
    told |= {"PhysicalSizeY": 0.5, "PhysicalSizeYUnit": "µm", "PhysicalSizeX": 0.25}
    tifffile.imwrite(file, stack, metadata=told)
    arguments = ["--axis", "t", "--point", "3:20,30", "--frames", "3,4", "--csv", str(table)]

    assert main(["track", str(file), *arguments, "-o", str(output)]) == 0

    written = read_image(output)
    assert written.axis_labels == ("t", "y", "x")
    assert [(axis.scale, axis.unit) for axis in written.axes] == [
        (30.0, "second"),
        (0.5, "micrometer"),
        (0.25, "micrometer"),
    ]
    with table.open() as lines:
        rows = list(csv.DictReader(lines))
    labels = np.asarray(written.data[...])
    assert [(row["frame"], row["object"], int(row["area_px"])) for row in rows] == [
        (str(frame), "1", np.count_nonzero(labels[frame])) for frame in (3, 4)
    ]
    assert (rows[1]["position"], rows[1]["position_unit"]) == ("120", "second")
    assert (float(rows[0]["y"]), float(rows[0]["x"])) == (
        pytest.approx(float(rows[0]["y_px"]) * 0.5),
        pytest.approx(float(rows[0]["x_px"]) * 0.25),
    )
    assert float(rows[0]["area"]) == pytest.approx(int(rows[0]["area_px"]) / 8)
    assert str(table) in capsys.readouterr().out


def test_a_model_folder_chooses_its_engine(file, tmp_path, capsys):
    (tmp_path / "empty").mkdir()
    arguments = ["--point", "20,30", "-o", str(tmp_path / "a.tif"), "--model-folder"]

    assert main(["track", str(file), *arguments, str(tmp_path / "empty")]) == 2

    # The built-in engine would not have looked into it.
    assert "No weight file found" in capsys.readouterr().err


def test_the_progress_line_tells_the_time_left(file, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("sys.stderr.isatty", lambda: True)

    arguments = ["--frame", "3", "--point", "20,30", "-o", str(tmp_path / "a.tif")]
    assert main(["track", str(file), *arguments]) == 0

    said = capsys.readouterr().err.split("\r")
    assert re.search(r"Frame 5: 1 object, [\d.e+]+ frames/s, \d+ s left", " ".join(said))


@pytest.mark.parametrize(
    ("error", "status", "said", "ending"),
    each_once(
        [
            pytest.param(KeyboardInterrupt(), 130, "Stopped"),
            pytest.param(MemoryError(), 2, "not enough free memory"),
            pytest.param(ImageError("It can't be read.", "Look."), 2, "It can't be read. Look."),
            pytest.param(ZeroDivisionError("a fault of ours"), None, ""),
        ],
        [".tif", ".zarr"],
    ),
)
def test_what_is_done_stays_whatever_ends_the_work(
    file, tmp_path, capsys, monkeypatch, error, status, said, ending
):
    output = tmp_path / f"labels{ending}"
    following = TrackFrames.__next__

    def interrupted(frames):
        result = following(frames)
        if result.frame == 5:
            raise error
        return result

    arguments = ["--frame", "3", "--point", "20,30", "-o", str(output)]
    command = ["track", str(file), *arguments, "--csv", str(tmp_path / "a.csv")]
    with monkeypatch.context() as patch:
        patch.setattr(TrackFrames, "__next__", interrupted)
        if status is None:
            with pytest.raises(ZeroDivisionError):
                main(command)
        else:
            assert main(command) == status

    labels = np.asarray(read_image(output).data[...])
    assert [bool(plane.any()) for plane in labels] == [False] * 3 + [True] * 2 + [False] * 2
    told = capsys.readouterr()
    assert "1 object on 2 frames" in told.out
    assert said in told.err
    with (tmp_path / "a.csv").open() as table:
        assert [row["frame"] for row in csv.DictReader(table)] == ["3", "4"]
    assert_rerun_makes_the_same(output, capsys)


def assert_rerun_makes_the_same(output, capsys):
    """Make labels again from the note beside them."""
    assert main(["rerun", f"{output}.json"]) == 0
    again = capsys.readouterr().out.splitlines()[-1]
    assert again != str(output)
    np.testing.assert_array_equal(
        np.asarray(read_image(again).data[...]), np.asarray(read_image(output).data[...])
    )


@pytest.mark.parametrize(
    ("ending", "prompts"),
    each_once(
        [".tif", ".npy", ".ome.zarr"],
        [
            ["--point", "20,30", "--point", "5:20,30,+,7", "--frame", "2"],
            ["--point", "2:20,30", "--direction", "forward", "--frames", "1,4"],
            ["--point", "3:20,30", "--stop-after-lost", "1"],
            ["--text", "bright objects", "--frame", "3", "--threshold", "0.4"],
        ],
    ),
)
def test_the_note_makes_the_same_labels_again(file, tmp_path, capsys, monkeypatch, ending, prompts):
    monkeypatch.chdir(tmp_path)
    output = f"labels{ending}"
    assert main(["track", "ball.tif", *prompts, "-o", output]) == 0

    note = read_provenance(tmp_path / f"{output}.json")
    labels = np.asarray(read_image(tmp_path / output).data[...])
    assert sorted(one["id"] for one in note.objects) == np.unique(labels)[1:].tolist()
    assert note.channels[0]["path"] == str(file)
    assert_rerun_makes_the_same(tmp_path / output, capsys)


def test_the_note_of_one_plane_of_a_movie_and_its_axes(stack, tmp_path, capsys):
    file, output = tmp_path / "movie.ome.tif", tmp_path / "labels.ome.tif"
    movie = np.stack([np.full_like(stack, 30), stack], 1)
    told = {"axes": "TZYX", "TimeIncrement": 30.0, "TimeIncrementUnit": "s"}
    tifffile.imwrite(
        file, movie, metadata={**told, "PhysicalSizeX": 0.25}, photometric="minisblack"
    )
    arguments = ["--axis", "t", "--plane", "1", "--point", "3:20,30", "--contrast", "10,220"]

    assert main(["track", str(file), *arguments, "-o", str(output)]) == 0

    assert np.asarray(read_image(output).data).any()
    assert_rerun_makes_the_same(output, capsys)
    again = read_image(tmp_path / "labels_02.ome.tif")
    assert again.axis_labels == ("t", "y", "x")
    assert again.axes == read_image(output).axes
    assert [axis.scale for axis in again.axes] == [30.0, 1.0, 0.25]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--point", "20,30", "-o", "labels.png"], "can't be saved as '.png'"),
        (["--point", "20", "-o", "labels.tif"], "1 number, but 2 or 3 or 4 are needed"),
        (["--point", "+,20,30", "-o", "labels.tif"], "stands behind the 2 coordinates"),
        (["--point", "20,30", "--frame", "9", "-o", "labels.tif"], "no frame 9 in a stack of 7"),
        (["-o", "labels.tif"], "No prompts found"),
        (
            ["--point", "20,30", "-o", "labels.tif", "--csv", "none/a.csv"],
            "output folder none does not exist",
        ),
    ],
)
def test_mistakes_are_told_and_nothing_is_written(
    file, tmp_path, capsys, monkeypatch, arguments, said
):
    monkeypatch.chdir(tmp_path)
    before = sorted(tmp_path.iterdir())

    assert main(["track", str(file), *arguments]) == 2

    assert said in capsys.readouterr().err
    assert sorted(tmp_path.iterdir()) == before


def test_a_folder_of_stacks(tmp_path, capsys):
    rows, columns = np.ogrid[:40, :50]
    movie = np.stack([np.hypot(rows - 20, columns - 20 - shift) < 9 for shift in range(3)])
    (tmp_path / "in").mkdir()
    for name in ("a.tif", "b.tif"):
        tifffile.imwrite(
            tmp_path / "in" / name,
            np.where(movie, 200, 20).astype(np.uint8),
            photometric="minisblack",
        )
    command = ["track", str(tmp_path / "in"), "-o", str(tmp_path / "out"), "--point", "20,20,+"]
    assert main(command) == 0
    assert "a.tif: 1 object, done: a_tracks.tif" in capsys.readouterr().out
    labels = tifffile.imread(tmp_path / "out" / "b_tracks.tif")
    assert [int(frame.max()) for frame in labels] == [1, 1, 1]
    assert main([*command, "--json"]) == 0
    assert '"skipped": 2' in capsys.readouterr().out
    assert main([*command, "--csv", "a.csv"]) == 2


def test_no_stack_of_a_folder_is_looked_at_before_its_turn(tmp_path, monkeypatch):
    """A server may need a second for each of thousands; what is changed later is another one."""
    (tmp_path / "in").mkdir()
    paths = [tmp_path / "in" / f"{number}.tif" for number in range(6)]
    movie = np.where(np.hypot(*np.ogrid[-20:20, -20:20]) < 9, 200, 20).astype(np.uint8)
    for path in paths:
        tifffile.imwrite(path, np.stack([movie] * 2), photometric="minisblack")
    looked_at, look = [], FolderImage.state.func
    noted = cached_property(lambda image: looked_at.append(image.path) or look(image))
    noted.__set_name__(FolderImage, "state")
    monkeypatch.setattr(FolderImage, "state", noted)

    def follow(on_row=None):
        folder = tmp_path / "out"
        rows = api.track_folder(
            tmp_path / "in", folder, points=[(20, 20)], direction="forward", on_row=on_row
        )
        return [row.status for row in rows]

    def change_the_first(row):
        if row.image == "0.tif":
            assert len(looked_at) < len(paths)
            tifffile.imwrite(paths[0], np.stack([movie[:, 1:]] * 2), photometric="minisblack")

    assert follow(change_the_first) == ["done"] * 6
    assert looked_at == paths
    assert follow() == ["done"] + ["skipped"] * 5

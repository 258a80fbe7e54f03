"""Everything of a movie in which cells divide: tracks, parents, and files of both."""

import json

import numpy as np
import pytest
import tifffile
from skimage.draw import disk

from napari_sam3_assistant import api
from napari_sam3_assistant.cli import main
from napari_sam3_assistant.errors import PromptError


@pytest.fixture(scope="module")
def movie():
    """Three bright cells that move down a little; the middle one divides at frame 3 of 6."""
    frames = np.full((6, 120, 150), 30, np.uint8)
    for t, frame in enumerate(frames):
        discs = [(30 + 2 * t, 30, 13), (40 + 2 * t, 120, 13)]
        apart = 10 + 2 * (t - 3)
        discs += [(75, 75, 14)] if t < 3 else [(75 - 4, 75 - apart, 9.5), (75 + 4, 75 + apart, 9.5)]
        for y, x, radius in discs:
            frame[disk((y, x), radius, shape=frame.shape)] = 200
    return frames


def follow(movie, **options):
    """Return the labels, and the table, of everything in a movie."""
    labels, table = np.zeros(movie.shape, np.uint32), api.TrackTable()
    for result in api.track(movie, everything=api.Everything(joining="time"), **options):
        labels[result.frame] = result.labels
        table.add(result)
    return labels, table


def at(labels, frame, y, x):
    return int(labels[frame, y, x])


@pytest.mark.parametrize(
    ("frame", "direction"), [(0, "forward"), (5, "backward"), (2, "both"), (3, "both")]
)
def test_a_cell_divides_whichever_way_the_movie_is_gone_through(movie, frame, direction):
    labels, table = follow(movie, frame=frame, direction=direction)

    mother, daughters = at(labels, 0, 75, 75), {at(labels, 5, 71, 61), at(labels, 5, 79, 89)}
    assert table.links() == dict.fromkeys(daughters, mother)
    assert table.frames_of(mother) == (0, 1, 2)
    assert [table.frames_of(one) for one in daughters] == [(3, 4, 5)] * 2
    assert table.frames_of(at(labels, 0, 30, 30)) == tuple(range(6))
    assert len(table.ids) == 5


def test_by_overlap_alone_nothing_divides(movie):
    table = api.TrackTable()
    for result in api.track(movie, everything=True):
        table.add(result)
    assert table.links() == {}


def test_on_the_command_line_up_to_the_files_of_the_challenge(movie, tmp_path, capsys):
    tifffile.imwrite(tmp_path / "m.tif", movie, metadata={"axes": "TYX"})
    line = ["track", str(tmp_path / "m.tif"), "--everything", "--joining", "time"]
    assert main([*line, "-o", str(tmp_path / "l.tif"), "--csv", str(tmp_path / "l.csv")]) == 0
    assert main(["export", str(tmp_path / "l.tif"), "-o", str(tmp_path / "01_RES.ctc")]) == 0
    capsys.readouterr()

    labels = tifffile.imread(tmp_path / "l.tif")
    mother = at(labels, 0, 75, 75)
    rows = np.loadtxt(tmp_path / "01_RES.ctc" / "res_track.txt", int)
    assert sorted(rows[rows[:, 3] > 0][:, 1:].tolist()) == [[3, 5, mother]] * 2
    note = tmp_path / "l.tif.json"
    told = json.loads(note.read_text())
    assert [one["parent"] for one in told["objects"] if "parent" in one] == [mother] * 2
    assert main(["rerun", str(note), "-o", str(tmp_path / "again.tif")]) == 0
    np.testing.assert_array_equal(tifffile.imread(tmp_path / "again.tif"), labels)
    told["objects"][0]["parent"] = "x"
    note.write_text(json.dumps(told))
    assert main(["export", str(tmp_path / "l.tif"), "-o", str(tmp_path / "02_RES.ctc")]) == 2
    assert "what descends from what" in capsys.readouterr().err
    api.export(labels, tmp_path / "03_RES.ctc", parents={})
    assert not np.loadtxt(tmp_path / "03_RES.ctc" / "res_track.txt", int)[:, 3].any()


def test_another_way_of_joining_is_refused():
    with pytest.raises(PromptError, match="overlap, time, video"):
        api.Everything(joining="space")

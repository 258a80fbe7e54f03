"""Everything of a movie in which cells divide: tracks, parents, and files of both."""

import itertools
import json

import numpy as np
import pytest
import tifffile
from hypothesis import given
from hypothesis import strategies as st
from skimage.draw import disk
from skimage.filters import gaussian

from amounts import FEWEST
from napari_sam3_assistant import api
from napari_sam3_assistant.cli import main
from napari_sam3_assistant.core.display import FrameSource, view_of_array
from napari_sam3_assistant.core.progress import NullReporter
from napari_sam3_assistant.core.prompts import MaskPrompt
from napari_sam3_assistant.core.tracks import TrackSeed
from napari_sam3_assistant.engines.builtin.propagation import BuiltinTrack
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


@given(st.floats(0, 3.1), st.integers(0, 99))
@FEWEST
def test_a_clicked_cell_goes_on_in_both_daughters(angle, seed):
    rng = np.random.default_rng(seed)
    frames, truth = np.full((6, 120, 150), 40.0), np.zeros((6, 120, 150), int)
    for t in range(6):
        step = np.array([np.sin(angle), np.cos(angle)]) * (10.5 + 1.5 * (t - 3))
        middle = np.array([62, 70 + t])
        cells = [(middle, 14)] if t < 3 else [(middle - step, 9.5), (middle + step, 9.5)]
        for number, (at_, radius) in enumerate([*cells, ((25, 125), 12)], 1):
            inside = disk(at_, radius, shape=frames.shape[1:])
            frames[t][inside], truth[t][inside] = 150, number
    movie = (gaussian(frames, (0, 1, 1)) + rng.normal(0, 6, frames.shape)).clip(0, 255)
    labels, table = np.zeros(movie.shape, np.uint32), api.TrackTable()
    clicks = [(62, 70, True, 1), (25, 125, True, 2)]
    for result in api.track(
        movie.astype(np.uint8), points=clicks, contrast=(0, 255), axis="t", axis_labels="tyx"
    ):
        labels[result.frame] = result.labels
        table.add(result)

    daughters = set(table.links())
    assert len(daughters) == 2
    assert set(table.links().values()) == {1}
    assert table.frames_of(1) == (0, 1, 2)
    assert table.frames_of(2) == tuple(range(6))
    for number in (1, 2):
        names, counts = np.unique(labels[5][truth[5] == number], return_counts=True)
        best = names[counts.argmax()]
        assert best in daughters
        shared = np.count_nonzero((labels[5] == best) & (truth[5] == number))
        assert shared > 0.8 * np.count_nonzero((labels[5] == best) | (truth[5] == number))


def test_a_correction_of_the_mother_takes_her_daughters_back(movie):
    frames = FrameSource(view_of_array(movie, plane=0), 0, "t")
    ids = itertools.count(10)
    track = BuiltinTrack(frames, lambda: next(ids))
    reporter = NullReporter()
    mask = np.zeros(movie.shape[1:], bool)
    mask[disk((75, 75), 14)] = True
    track.add(TrackSeed(0, 1, mask=MaskPrompt.from_plane(mask)))
    found = list(track.propagate(range(6), reporter))
    assert [sorted(one.id for one in each.objects) for each in found] == [[1]] * 3 + [[10, 11]] * 3
    assert [dict(each.parents) for each in found] == [{}] * 3 + [{10: 1, 11: 1}] + [{}] * 2
    # Once more, stopped and gone on: the same, and what is before them is not followed there.
    again = [*track.propagate(range(2, 4), reporter), *track.propagate(range(4, 6), reporter)]
    assert [sorted(one.id for one in each.objects) for each in again] == [[1]] + [[10, 11]] * 3
    # Backwards they are not followed to where their mother was.
    before = list(track.propagate(range(2, -1, -1), reporter))
    assert not {10, 11} & {one.id for each in before for one in each.objects}
    one = np.zeros(movie.shape[1:], bool)
    one[disk((71, 61), 9.5)] = True
    track.add(TrackSeed(4, 1, mask=MaskPrompt.from_plane(one)))
    later = list(track.propagate(range(4, 6), reporter))
    assert [sorted(one.id for one in each.objects) for each in later] == [[1]] * 2


@pytest.mark.parametrize("seed", [0, 3, 11])
def test_cells_that_look_alike_and_go_fast_are_not_mistaken_for_each_other(seed):
    """From time to time each goes further than its radius, and another is nearly as near."""
    rng = np.random.default_rng(seed)
    middles = np.array([[30.0, 30], [30, 58], [58, 30], [58, 58]])
    frames, places = [], []
    for _ in range(6):
        frame = np.full((90, 90), 40.0)
        for y, x in middles:
            frame[disk((y, x), 9, shape=frame.shape)] = 150
        frames.append(gaussian(frame, 1) + rng.normal(0, 6, frame.shape))
        places.append(middles)
        while True:
            there = middles + rng.uniform(-12, 12, middles.shape)
            apart = np.linalg.norm(there[:, None] - there[None], axis=-1) + 99 * np.eye(4)
            if apart.min() >= 21 and there.min() > 12 and there.max() < 78:
                break
        middles = there
    movie = np.stack(frames).clip(0, 255).astype(np.uint8)
    clicks = [(round(y), round(x), True, id_) for id_, (y, x) in enumerate(places[0], 1)]
    for result in api.track(movie, points=clicks, axis_labels=("t", "y", "x")):
        shown = [result.labels[round(y), round(x)] for y, x in places[result.frame]]
        assert shown == [1, 2, 3, 4]


def test_slices_of_a_volume_do_not_divide(movie):
    for names in ("zyx", None):
        table = api.TrackTable()
        for result in api.track(movie, points=[(75, 75)], axis_labels=names):
            table.add(result)
        assert set(table.ids) == {1}

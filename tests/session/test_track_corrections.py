"""Tracks that are corrected by hand: joined, split, divided and unlinked, with undo and rerun."""

import csv
import json
import math

import numpy as np
import pytest
import tifffile
from hypothesis import given
from hypothesis import strategies as st
from skimage.draw import disk

from amounts import FEW
from napari_sam3_assistant import api
from napari_sam3_assistant.core.lineage import Lineage
from napari_sam3_assistant.core.prompts import Everything, Joining, Tool
from napari_sam3_assistant.core.tracks import Direction
from napari_sam3_assistant.errors import ExportError, PromptError, Sam3AssistantError
from napari_sam3_assistant.io.class_list import read_object_parents
from napari_sam3_assistant.mask_operations.layers import LabelsAdapter
from napari_sam3_assistant.session.messages import STATE, column_titles
from napari_sam3_assistant.session.results import format_row
from napari_sam3_assistant.viewer.accepted_objects import read_parents
from napari_sam3_assistant.viewer.roles import key_of


def movie():
    """A cell that stays, and one that jumps at frame 4, where a new one begins: (8, 70, 90)."""
    frames = np.full((8, 70, 90), 30, np.uint8)
    for t, frame in enumerate(frames):
        discs = [(15, 20, 8), (50, 25, 8)] if t < 4 else [(15, 20, 8), (50, 50, 8), (50, 75, 8)]
        for y, x, radius in discs:
            frame[disk((y, x), radius)] = 200
    return frames


@pytest.fixture
def follow(open_bench):
    """Return a function that follows everything in the movie; gives the bench."""

    def go():
        bench = open_bench(movie())
        bench.viewer.dims.set_current_step(0, 0)
        bench.model.direction = Direction.FORWARD
        bench.arm(Tool.EVERYTHING)
        assert bench.start().error is None
        return bench

    return go


def settle(bench):
    bench.desk.until(lambda: not bench.propagation.edited.waiting)


def at(bench, frame, y, x):
    return int(bench.labels.data[frame, y, x])


def names(bench):
    """Return the tracks: that which stays, the one that ends, and the two that begin."""
    return (
        at(bench, 0, 15, 20),
        at(bench, 0, 50, 25),
        at(bench, 7, 50, 50),
        at(bench, 7, 50, 75),
    )


def check_rows(bench):
    """Compare the table, the rows and the ids with what the labels hold."""
    labels = np.asarray(bench.labels.data)
    there = {(t, int(v)) for t, one in enumerate(labels) for v in np.unique(one[one > 0])}
    areas = {(row.frame, row.object_id): row.area for row in bench.propagation.tracks.rows()}
    assert set(areas) == there
    for (frame, id_), area in areas.items():
        assert area == np.count_nonzero(labels[frame] == id_)
    assert {
        (row.preview.target.plane.leading[0], row.record.id) for row in bench.model.results
    } == (there)
    assert bench.model.propagated_ids == tuple(sorted({id_ for _, id_ in there}))


def test_a_jump_is_joined_and_undone(follow):
    bench = follow()
    _, ends, begins, _ = names(bench)
    before = np.asarray(bench.labels.data).copy()

    bench.session.corrections.join(begins, ends)
    settle(bench)

    tracks = bench.propagation.tracks
    assert tracks.frames_of(ends) == tuple(range(8))
    np.testing.assert_array_equal(bench.labels.data, np.where(before == begins, ends, before))
    check_rows(bench)
    bench.session.undo()
    settle(bench)
    np.testing.assert_array_equal(bench.labels.data, before)
    check_rows(bench)
    bench.session.redo()
    settle(bench)
    assert tracks.frames_of(ends) == tuple(range(8))


def test_a_division_from_two_links_and_one_from_a_track_that_goes_on(follow, tmp_path):
    bench = follow()
    stays, ends, one, other = names(bench)
    session, tracks = bench.session, bench.propagation.tracks

    session.corrections.divide(ends, one)
    session.corrections.divide(ends, other)
    assert tracks.links() == {one: ends, other: ends}
    session.corrections.unlink(ends, other)
    assert tracks.links() == {one: ends}
    session.undo()
    assert tracks.links() == {one: ends, other: ends}

    session.corrections.unlink(other)
    session.corrections.divide(stays, other)
    settle(bench)
    rest = at(bench, 7, 15, 20)
    assert tracks.links() == {one: ends, other: stays, rest: stays}
    assert (tracks.frames_of(stays), tracks.frames_of(rest)) == ((0, 1, 2, 3), (4, 5, 6, 7))
    bench.finish(session.tracks.export(tmp_path / "01_RES", ".ctc"))
    bench.finish(session.tracks.export(tmp_path / "a.csv"))
    rows = np.loadtxt(tmp_path / "01_RES" / "res_track.txt", int)
    assert {row[0]: row[3] for row in rows.tolist() if row[3]} == tracks.links()
    with (tmp_path / "a.csv").open() as file:
        told = {int(row["object"]): row["parent"] for row in csv.DictReader(file)}
    assert {id_: int(parent) for id_, parent in told.items() if parent} == tracks.links()


@pytest.mark.parametrize("all_accepted", [True, False])
def test_saved_labels_have_the_parents_of_accepted_and_propagated_objects(
    follow, tmp_path, all_accepted
):
    bench = follow()
    stays, ends, one, other = names(bench)
    session = bench.session
    session.corrections.divide(ends, one)
    session.corrections.divide(ends, other)
    if all_accepted:
        session.accept()
    else:
        layer = bench.viewer.add_labels(np.where(bench.labels.data == stays, stays, 0))
        session.use_labels.accept(key_of(layer))
    bench.desk.until(lambda: not bench.model.running)
    bench.finish(session.saving.export(tmp_path / "movie.tif"))
    labels = tifffile.imread(tmp_path / "movie.tif")
    mother, *daughters = (int(labels[place]) for place in ((0, 50, 25), (7, 50, 50), (7, 50, 75)))
    assert 0 not in (mother, *daughters)
    assert read_object_parents(tmp_path / "movie_classes.csv") == dict.fromkeys(daughters, mother)
    made = api.export(tmp_path / "movie.tif", tmp_path / "RES", format="ctc")
    table = np.loadtxt(made / "res_track.txt", int)
    links = {row[0]: row[3] for row in table.tolist() if row[3]}
    assert links == dict.fromkeys(daughters, mother)


def test_accepted_objects_keep_their_parents(follow, tmp_path):
    bench = follow()
    _, ends, one, other = names(bench)
    session, viewer = bench.session, bench.viewer
    session.corrections.divide(ends, one)
    session.corrections.divide(ends, other)
    session.accept()
    bench.desk.until(lambda: not bench.model.running)
    kept = viewer.layers["SAM3 live accepted labels"]

    def parents():
        labels = np.asarray(kept.data)
        told = read_parents(kept)
        places = {"one": (7, 50, 50), "other": (7, 50, 75), "ends": (0, 50, 25)}
        ids = {name: int(labels[place]) for name, place in places.items()}
        return {name: told.get(id_, 0) == ids["ends"] for name, id_ in ids.items() if id_}

    expected = {"one": True, "other": True, "ends": False}
    assert parents() == expected
    rows = {format_row(row, (STATE,))[-1] for row in bench.model.results}
    assert f"accepted, daughter of {int(kept.data[0, 50, 25])}" in rows

    # Mask Operations exports them, and undo brings them back with their objects.
    known = LabelsAdapter(viewer).parents(key_of(kept))
    assert known == read_parents(kept)
    made = api.export(np.asarray(kept.data), tmp_path / "RES", format="ctc", parents=known)
    table = np.loadtxt(made / "res_track.txt", int)
    assert {row[0]: row[3] for row in table.tolist() if row[3]} == known
    session.undo()
    bench.desk.until(lambda: not bench.model.running)
    assert read_parents(kept) == {}
    session.redo()
    bench.desk.until(lambda: not bench.model.running)
    assert parents() == expected

    # Of an object that is gone nothing descends; what else somebody writes there is no parent.
    kept.data_setitem(np.nonzero(kept.data == kept.data[0, 50, 25]), 0)
    assert read_parents(kept) == {}
    for strange in (math.nan, "x", 1e300, -4):
        kept.features["parent"] = [strange] * len(kept.features)
        assert read_parents(kept) == {}


def test_the_rest_of_a_track_takes_its_daughters_with_it(follow):
    bench = follow()
    stays, ends, one, other = names(bench)
    corrections = bench.session.corrections
    corrections.divide(ends, one)
    corrections.divide(ends, other)
    bench.viewer.dims.set_current_step(0, 2)

    corrections.split(ends)
    settle(bench)

    rest = at(bench, 2, 50, 25)
    assert rest not in (stays, ends, one, other)
    assert bench.propagation.tracks.links() == {one: rest, other: rest}
    check_rows(bench)


def test_what_can_not_be_is_said(follow):
    bench = follow()
    stays, ends, one, _ = names(bench)
    corrections = bench.session.corrections
    before = np.asarray(bench.labels.data).copy()
    for verb, asked, said in (
        (corrections.join, (stays, ends), "are both on frame 0"),
        (corrections.join, (one, one), "the same track"),
        (corrections.join, (one, 77), "no track 77"),
        (corrections.split, (ends,), "goes from frame 0 to 3; the one on show is 0"),
        (corrections.divide, (stays, ends), "both begin on frame 0"),
        (corrections.unlink, (one,), "neither a parent nor daughters"),
        (corrections.unlink, (one, ends), "no link to track"),
    ):
        with pytest.raises(PromptError, match=said):
            verb(*asked)
    np.testing.assert_array_equal(bench.labels.data, before)
    assert bench.model.lineage == Lineage()


def test_divisions_that_were_found_are_no_step_of_undo(open_bench):
    frames = movie()
    frames[4:, 35:65, 35:] = 30
    for y, x in ((50, 18), (50, 32)):
        for frame in frames[4:]:
            frame[disk((y, x), 5.5)] = 200
    bench = open_bench(frames)
    bench.model.everything = Everything(joining=Joining.TIME)
    bench.arm(Tool.EVERYTHING)
    bench.start()
    mother, daughters = at(bench, 0, 50, 25), {at(bench, 7, 50, 18), at(bench, 7, 50, 32)}
    assert bench.propagation.tracks.links() == dict.fromkeys(daughters, mother)

    bench.click(0, 15, 20)
    bench.session.undo()

    assert bench.propagation.tracks.links() == dict.fromkeys(daughters, mother)
    bench.session.clear_preview()
    assert bench.model.lineage == Lineage()
    while bench.model.can_undo:
        bench.session.undo()
    assert bench.model.lineage == Lineage()


def test_what_goes_on_later_has_the_corrected_numbers_and_rerun_makes_it_again(
    open_bench, tmp_path
):
    frames = movie()
    tifffile.imwrite(tmp_path / "m.tif", frames, photometric="minisblack")
    bench = open_bench(frames)
    bench.model.direction = Direction.FORWARD
    bench.model.last_frame = 5
    bench.viewer.dims.set_current_step(0, 0)
    bench.click(0, 15, 20, on=1)
    bench.click(4, 50, 50, on=4)
    bench.start()
    bench.viewer.dims.set_current_step(0, 3)
    bench.session.corrections.split(1)
    settle(bench)
    rest = at(bench, 5, 15, 20)
    assert rest == 5
    assert bench.model.tracked == (4, 5)

    bench.model.last_frame = None
    bench.viewer.dims.set_current_step(0, 5)
    bench.go_on()
    bench.click(5, 50, 75, on=bench.model.tracked[-1] + 1)
    bench.go_on()
    settle(bench)

    assert [at(bench, t, 15, 20) for t in range(8)] == [1] * 3 + [5] * 5
    assert at(bench, 7, 50, 75) == 6
    check_rows(bench)
    labels = np.asarray(bench.labels.data).copy()
    bench.session.corrections.join(1, 5)
    settle(bench)
    bench.session.undo()
    settle(bench)
    np.testing.assert_array_equal(bench.labels.data, labels)
    bench.finish(bench.propagation.remove(5))
    labels = np.asarray(bench.labels.data).copy()
    assert set(np.unique(labels)) == {0, 1, 4, 6}
    bench.model.output_folder = str(tmp_path)
    bench.finish(bench.session.cleaning.save())
    note = tmp_path / f"{bench.model.saved[0]}.json"
    told = json.loads(note.read_text())
    correction = told["extra"]["propagation"]["steps"][1]
    assert correction == {"relabelled": [1, 5, 3]}
    made = api.rerun(note, image=tmp_path / "m.tif")
    np.testing.assert_array_equal(tifffile.imread(made.path), labels)
    for hostile in ([1, 2**40, 3], [0, 5, 3], [1, 5, -1], [1, 5, 8], [1, 5], "x"):
        correction["relabelled"] = hostile
        note.write_text(json.dumps(told))
        with pytest.raises(ExportError, match="does not say completely"):
            api.rerun(note, image=tmp_path / "m.tif")


@pytest.mark.parametrize("on_disk", [False, True])
def test_any_corrections_are_what_the_lineage_says_and_can_all_be_taken_back(open_bench, on_disk):
    bench = open_bench(movie())
    bench.binding.adapter.stacks.in_memory = 1000 if on_disk else 1 << 31
    bench.model.everything = Everything()
    bench.arm(Tool.EVERYTHING)
    bench.start()
    session, tracks = bench.session, bench.propagation.tracks
    first = np.asarray(bench.labels.data).copy()
    begun = session.step

    @given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 9), st.integers(0, 9)), max_size=6))
    @FEW
    def corrected(asked):
        for way, one, two in asked:
            ids = sorted(tracks.ids)
            bench.viewer.dims.set_current_step(0, two % 8)
            verb, *given_ = (
                (session.corrections.join, ids[one % len(ids)], ids[two % len(ids)]),
                (session.corrections.split, ids[one % len(ids)]),
                (session.corrections.divide, ids[one % len(ids)], ids[two % len(ids)]),
                (session.corrections.unlink, ids[one % len(ids)]),
                (session.undo,) if session.step != begun else (session.redo,),
                (session.redo,),
            )[way]
            try:
                verb(*given_)
            except Sam3AssistantError:
                continue
            settle(bench)
        lineage = bench.model.lineage
        for frame, plane in enumerate(np.asarray(bench.labels.data)):
            wanted = [lineage.shown_as(int(one), frame) for one in range(first.max() + 1)]
            np.testing.assert_array_equal(plane, np.array(wanted)[first[frame]])
        check_rows(bench)
        assert tracks.parents == lineage.parents
        while session.step != begun:
            session.undo()
            settle(bench)
        np.testing.assert_array_equal(bench.labels.data, first)
        assert bench.model.lineage == Lineage()
        check_rows(bench)

    corrected()


def test_rows_name_the_mother_and_the_labels_keep_it_for_the_next_session(follow):
    bench = follow()
    _, ends, one, _ = names(bench)
    bench.session.corrections.divide(one, ends)

    rows = {row.record.id: format_row(row, (STATE,))[-1] for row in bench.model.results}
    assert rows[one] == f"propagated, daughter of {ends}"
    assert rows[ends] == "propagated"
    assert column_titles(bench.model.results, ()) == (STATE,)
    bench.propagation.resume()
    settle(bench)
    assert bench.propagation.tracks.links() == {one: ends}


def falls_apart():
    """A cell whose mask is in two pieces from frame 3 on: (7, 60, 90) uint8."""
    frames = np.full((7, 60, 90), 30, np.uint8)
    for t, frame in enumerate(frames):
        apart = 12 + 2 * (t - 3)
        for x, radius in ((45, 14),) if t < 3 else ((45 - apart, 10), (45 + apart, 10)):
            frame[disk((30, x), radius, shape=frame.shape)] = 200
    return frames


def test_a_division_is_shown_on_its_frame_whichever_slice_is_on_show(open_bench):
    frames = falls_apart()
    bench = open_bench(np.stack([frames] * 4, axis=1))
    for axis, position in ((0, 0), (1, 3)):  # the slice has the number of the frame
        bench.viewer.dims.set_current_step(axis, position)
    bench.model.frame_axis = 0
    bench.arm(Tool.EVERYTHING)
    assert bench.start().error is None
    labels = np.zeros(bench.labels.data.shape, np.uint32)
    labels[:, 3] = np.where(frames > 100, 1, 0)  # as an engine that keeps both in one mask
    bench.labels.data = labels
    settle(bench)
    bench.finish(bench.session.corrections.find_divisions())
    (division,) = bench.model.proposed_divisions

    bench.session.corrections.reveal(division)

    assert division.frame == 3
    assert tuple(bench.viewer.dims.current_step[:2]) == (3, 3)


def test_divisions_are_proposed_accepted_and_dropped(open_bench):
    frames = falls_apart()
    bench = open_bench(frames)
    bench.viewer.dims.set_current_step(0, 0)
    bench.arm(Tool.EVERYTHING)
    bench.start()
    session, corrections = bench.session, bench.session.corrections
    first = np.asarray(bench.labels.data).copy()
    mother = at(bench, 0, 30, 45)
    pieces = np.where(np.asarray(frames) > 100, mother, 0)

    bench.finish(corrections.find_divisions())
    (division,) = bench.model.proposed_divisions
    assert (division.frame, division.mother) == (3, mother)
    corrections.reveal(division)
    assert bench.viewer.dims.current_step[0] == 3
    corrections.accept_division(division)
    assert set(bench.propagation.tracks.links().values()) == {mother}
    assert len(bench.propagation.tracks.links()) == 2
    assert bench.model.proposed_divisions == ()
    while bench.propagation.tracks.links():
        session.undo()
        settle(bench)
    np.testing.assert_array_equal(bench.labels.data, first)

    bench.labels.data = pieces.astype(np.uint32)  # as an engine that keeps both in one mask
    settle(bench)
    bench.finish(corrections.find_divisions())
    (division,) = bench.model.proposed_divisions
    assert division.daughters == (mother, mother)
    corrections.accept_division(division)
    settle(bench)
    left, right = at(bench, 3, 30, 33), at(bench, 3, 30, 57)
    assert len({left, right, mother}) == 3
    for t in range(3, 7):
        assert (at(bench, t, 30, 33 - 2 * (t - 3)), at(bench, t, 30, 57 + 2 * (t - 3))) == (
            left,
            right,
        )
    assert bench.propagation.tracks.links() == {left: mother, right: mother}
    check_rows(bench)
    session.undo()
    settle(bench)
    np.testing.assert_array_equal(bench.labels.data, pieces)
    bench.finish(corrections.find_divisions())
    corrections.drop_division(bench.model.proposed_divisions[0])
    assert bench.model.proposed_divisions == ()

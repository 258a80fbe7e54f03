"""Objects of propagations and scans, hidden and shown by their values, without a run."""

import json
import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tifffile import imread

from napari_sam3_assistant.core.classes import ClassList
from napari_sam3_assistant.core.prompts import Tool
from napari_sam3_assistant.core.regions import Region
from napari_sam3_assistant.core.tracks import TrackRow, TrackTable
from napari_sam3_assistant.session.messages import value_of

LEFT, RIGHT = (20, 20), (40, 50)


@pytest.fixture
def bench(open_bench):
    """Two balls that are followed: 1 is smaller through the whole stack than 2, and not on 6."""
    z, y, x = np.ogrid[:12, :60, :70]
    stack = np.full((12, 60, 70), 30, np.uint8)
    stack[((z - 6) * 4) ** 2 + (y - LEFT[0]) ** 2 + (x - LEFT[1]) ** 2 < 170] = 200
    stack[((z - 6) * 2) ** 2 + (y - RIGHT[0]) ** 2 + (x - RIGHT[1]) ** 2 < 140] = 200
    bench = open_bench(stack)
    bench.click(6, *LEFT, on=1)
    bench.click(6, *RIGHT, on=2)
    bench.start()
    return bench


def ids(bench):
    return {row.record.id for row in bench.model.results}


def volumes(labels):
    return dict(zip(*map(np.ndarray.tolist, np.unique(labels, return_counts=True)), strict=True))


def test_of_a_propagation_an_object_counts_with_all_its_frames(bench, tmp_path):
    filtering = bench.session.filtering
    whole = np.array(bench.labels.data)
    sizes = volumes(whole)
    on_six = volumes(whole[6])
    assert sizes[1] < sizes[2]
    assert on_six[1] > on_six[2], "one frame says the opposite of all"
    assert sorted(filtering.values("Area")) == [sizes[1], sizes[2]]
    assert filtering.count() == (2, 2)

    filtering.show_range("Area", sizes[1] + 1, math.inf)

    assert filtering.count() == (1, 2)
    assert ids(bench) == {2}
    shown = np.where(whole == 1, 0, whole)
    assert np.array_equal(np.asarray(bench.labels.data), shown)
    assert bench.labels.get_value(bench.image.data_to_world((6, *LEFT)), world=True) == 0
    assert not bench.labels.editable
    bench.session.saving.export(tmp_path / "a.npy")
    bench.desk.until(lambda: not bench.model.running)
    assert np.array_equal(np.load(tmp_path / "a.npy"), shown)
    (beside,) = tmp_path.glob("*.json")
    note = json.loads(beside.read_text(encoding="utf-8"))
    assert "Only 1 of 2 objects were kept." in note["notes"]
    assert [one["id"] for one in note["objects"]] == [2]
    bench.session.tracks.export(tmp_path / "t.csv")
    bench.desk.until(lambda: not bench.model.running)
    assert {line.split(",")[1] for line in (tmp_path / "t.csv").read_text().split()[1:]} == {"2"}
    bench.session.tracks.export(tmp_path / "01_RES", ".ctc")
    bench.desk.until(lambda: not bench.model.running)
    written = np.stack([imread(one) for one in sorted((tmp_path / "01_RES").glob("*.tif"))])
    assert np.array_equal(written, shown)
    assert "the tracks of 1 object to" in bench.message

    filtering.show_all()
    assert filtering.count() == (2, 2)
    assert ids(bench) == {1, 2}
    assert np.array_equal(bench.labels.data, whole)

    filtering.show_range("Area", sizes[1] + 1, math.inf)
    filtering.show_range("Area", -math.inf, math.inf)
    assert filtering.count() == (2, 2)
    assert filtering.ranges == (), "a handle at each end hides nothing"
    assert isinstance(bench.labels.data, np.ndarray)
    assert bench.labels.editable


def test_what_was_measured_on_the_frames_filters_a_propagation_and_is_kept(bench):
    bench.session.measuring.measure()
    bench.desk.until(lambda: not bench.model.running)
    title, by_object = "Diameter", {}
    for row in bench.model.results:
        by_object.setdefault(row.record.id, []).append(value_of(row, title))
    means = {id_: np.mean(values) for id_, values in by_object.items()}
    filtering = bench.session.filtering
    assert filtering.values(title) == pytest.approx([means[1], means[2]])
    highest = max(means, key=means.get)
    filtering.show_range(title, sum(means.values()) / 2, math.inf)
    assert filtering.count() == (1, 2)
    assert ids(bench) == {highest}
    filtering.show_all()
    assert filtering.count() == (2, 2)
    assert all(row.measured is not None for row in bench.model.results)


def test_what_is_hidden_is_followed_on_and_comes_back_as_it_would_have_been(bench, open_bench):
    bench.session.filtering.show_range("Area", volumes(bench.labels.data)[1] + 1, math.inf)
    bench.model.next_positive = False
    bench.viewer.dims.set_current_step(0, 6)
    layer = bench.arm(Tool.POINTS)
    bench.model.object_id = 1
    layer.add((6, LEFT[0] + 6, LEFT[1]))
    bench.go_on()
    assert ids(bench) == {2}
    assert 1 not in np.unique(np.asarray(bench.labels.data))
    bench.session.filtering.show_all()
    there = np.array(bench.labels.data)
    assert bench.propagation.tracks.totals()[1][0] == volumes(there)[1]
    assert {row.record.area for row in bench.model.results if row.record.id == 1} == {
        count for frame in there for value, count in volumes(frame).items() if value == 1
    }


def test_an_object_on_show_is_corrected_while_others_are_hidden(bench):
    whole = np.array(bench.labels.data)
    bench.session.filtering.show_range("Area", volumes(whole)[1] + 1, math.inf)
    row = next(one for one in bench.model.results if one.preview.target.plane.leading == (6,))
    bench.session.correcting.delete(row)
    bench.desk.until(lambda: not (bench.model.running or bench.propagation.edited.waiting))
    bench.session.filtering.show_all()
    after = whole.copy()
    after[6][after[6] == 2] = 0
    assert np.array_equal(bench.labels.data, after)
    bench.session.undo()
    bench.desk.until(lambda: not (bench.model.running or bench.propagation.edited.waiting))
    assert np.array_equal(bench.labels.data, whole)


def test_hidden_objects_come_back_after_one_on_show_was_given_a_class(bench):
    def places():
        rows = bench.model.results
        return sorted((row.preview.target.plane.leading, row.record.id) for row in rows)

    bench.model.class_list = ClassList.of_names(["cell"])
    before = places()
    bench.session.filtering.show_range("Area", volumes(bench.labels.data)[1] + 1, math.inf)
    bench.session.classes.set_class(bench.model.results[:1], "cell")
    bench.session.filtering.show_all()
    assert places() == before
    assert {row.record.id for row in bench.model.results if row.record.class_name} == {2}


def test_a_new_propagation_and_a_closed_dock_hide_nothing(bench):
    filtering = bench.session.filtering
    filtering.show_range("Area", 1e9, math.inf)
    assert filtering.count() == (0, 2)
    bench.start()
    assert filtering.count() == (2, 2)
    assert not filtering.ranges
    whole = np.array(bench.labels.data)
    filtering.show_range("Area", 1e9, math.inf)
    bench.session.close()
    assert np.array_equal(bench.labels.data, whole)


def test_the_threshold_acts_on_what_a_phrase_has_followed(open_bench):
    bench = open_bench()
    bench.viewer.dims.set_current_step(0, 6)
    bench.model.tool, bench.model.text = Tool.TEXT, "bright"
    bench.start()
    tracks, filtering = bench.propagation.tracks, bench.session.filtering
    bench.model.threshold = 0.9
    assert filtering.count() == (2, 2), "the built-in engine gives no scores on the way"
    # As SAM 3 does.
    for frame in tracks.frames:
        scored = [replace(row, score=0.4 * row.object_id) for row in tracks.on(frame)]
        tracks.remove(1, [frame])
        tracks.remove(2, [frame])
        tracks.put(frame, scored)
    bench.model.threshold = 0.5
    assert filtering.count() == (1, 2)
    assert ids(bench) == {2}
    bench.model.threshold = 0.85
    assert filtering.count() == (0, 2)
    bench.model.threshold = 0.1
    assert filtering.count() == (2, 2)
    assert not bench.model.running


def test_how_firm_outlines_are_filters_a_propagation(bench):
    """Of everything on each slice, of which a SAM says so: an object counts with its mean."""
    tracks, results = bench.propagation.tracks, bench.session.results
    firm_tracks = TrackTable()
    # As a SAM does.
    for place in {row.preview for row in results.of_frames}:
        frame = place.target.plane.leading[-1]
        firm = {1: 0.4 + 0.01 * frame, 2: 0.8}
        rows = [replace(row, stability=firm[row.object_id]) for row in tracks.on(frame)]
        results.add_frame(place, rows)
        firm_tracks.put(frame, rows)
    filtering = bench.session.filtering
    frames = [row.preview.target.plane.leading[-1] for row in results.of_frames]
    mean = 0.4 + 0.01 * np.mean(frames[::2])
    assert filtering.values("Stability") == pytest.approx([mean, 0.8], abs=0.02)
    told = bench.binding.adapter.stacks.to_accept(bench.model.propagated, firm_tracks).known
    assert [told[1].stability, told[2].stability] == pytest.approx([mean, 0.8], abs=0.02)
    filtering.show_range("Stability", 0.6, math.inf)
    assert filtering.count() == (1, 2)
    assert ids(bench) == {2}


ROWS = st.tuples(
    st.integers(0, 4), st.integers(1, 4), st.integers(1, 50), st.none() | st.floats(0, 1)
)


@given(st.lists(ROWS, max_size=15), st.sets(st.integers(1, 4)))
def test_totals_are_of_all_and_rows_of_what_is_shown(rows, hidden):
    table, known = TrackTable(), {}
    for frame, id_, area, score in rows:
        known[frame, id_] = TrackRow(frame, id_, area, Region(0, 0, 1, 1), 0, 0, score)
    for frame in {frame for frame, _ in known}:
        table.put(frame, [row for (at, _), row in known.items() if at == frame])
    table.hidden = frozenset(hidden)
    shown = {(row.frame, row.object_id) for row in table.rows()}
    assert shown == {(frame, id_) for frame, id_ in known if id_ not in hidden}
    assert set(table.copy().totals()) == {id_ for _, id_ in known}
    for id_, (area, score) in table.totals().items():
        own = [row for row in known.values() if row.object_id == id_]
        assert area == sum(row.area for row in own)
        scores = [row.score for row in own if row.score is not None]
        assert score == (pytest.approx(np.mean(scores)) if scores else None)

"""How quick an engine is: by the quickest of its latest runs, on planes of about the same size."""

from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from napari_sam3_assistant.core.prompts import PromptKind
from napari_sam3_assistant.session.engine import RunTimes

LIMIT = 1.5
CLICK = PromptKind.POINTS
quick, slow = st.floats(0, LIMIT), st.floats(LIMIT, 600, exclude_min=True)


def see(key, side=256):
    """Return the two things of a view that count: its key, and its height and width."""
    return SimpleNamespace(key=key, shape=(side, side))


def note_all(run_times, seconds, engine="engine", side=256):
    for key, answer in enumerate(seconds):
        run_times.note(engine, see(key, side), CLICK, 0.0, answer)


@given(st.lists(st.booleans(), min_size=1, max_size=12), st.data())
def test_an_engine_is_quick_if_one_of_its_latest_runs_was(kinds, data):
    run_times = RunTimes(latest=3)
    seconds = [data.draw(quick if kind else slow) for kind in kinds]
    note_all(run_times, seconds)
    expected = run_times.expect("engine", see("next"), CLICK)
    assert expected == min(seconds[-3:])
    assert (expected <= LIMIT) == any(kinds[-3:])


@given(st.lists(slow, min_size=1, max_size=8))
def test_an_engine_that_is_always_slow_is_known_by_its_first_run(seconds):
    run_times = RunTimes()
    for key, answer in enumerate(seconds):
        run_times.note("engine", see(key), CLICK, 0.0, answer)
        assert run_times.expect("engine", see(key), CLICK) > LIMIT
    assert run_times.expect("another", see(0), CLICK) is None


def test_one_run_on_a_busy_machine_does_not_make_an_engine_slow():
    run_times = RunTimes()
    note_all(run_times, [0.2, 0.3, 9.0])
    assert run_times.expect("engine", see("next"), CLICK) == 0.2


def test_each_size_of_plane_counts_by_itself_and_all_where_none_is_known():
    run_times = RunTimes()
    note_all(run_times, [0.1], side=256)
    assert run_times.expect("engine", see("large", 4096), CLICK) == 0.1
    note_all(run_times, [8.0], side=4096)
    assert run_times.expect("engine", see("large", 4000), CLICK) == 8.0
    assert run_times.expect("engine", see("small", 250), CLICK) == 0.1


def test_another_plane_is_encoded_first_and_one_that_was_seen_is_not():
    run_times = RunTimes()
    run_times.note("engine", see("seen"), CLICK, 5.0, 5.2)
    assert run_times.expect("engine", see("seen"), CLICK) == pytest.approx(0.2)
    assert run_times.expect("engine", see("next"), CLICK) == pytest.approx(5.2)
    # Its encoding was there already, which says nothing of that of the next one.
    run_times.note("engine", see("seen"), CLICK, 0.0, 0.3)
    assert run_times.expect("engine", see("next"), CLICK) == pytest.approx(5.2)


@given(st.lists(st.tuples(st.sampled_from(PromptKind), slow), min_size=1, max_size=12))
def test_what_phrases_take_says_nothing_of_clicks(runs):
    """A click follows by itself after a phrase that took long: only clicks say how long they do."""
    run_times = RunTimes()
    for kind, answer in runs:
        run_times.note("engine", see("seen"), kind, 3.0, 3.0 + answer)
    clicks = [answer for kind, answer in runs if kind is CLICK]
    expected = min(clicks[-3:], default=0.0)
    assert run_times.expect("engine", see("seen"), CLICK) == pytest.approx(expected)
    # What it is encoded by is the same.
    assert run_times.expect("engine", see("next"), CLICK) == pytest.approx(expected + 3.0)

"""How quick an engine is: by the quickest of its latest runs, on planes of about the same size."""

from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from napari_sam3_assistant.session.engine import RunTimes

LIMIT = 1.5
quick, slow = st.floats(0, LIMIT), st.floats(LIMIT, 600, exclude_min=True)


def see(key, side=256):
    """Return the two things of a view that count: its key, and its height and width."""
    return SimpleNamespace(key=key, shape=(side, side))


def note_all(run_times, seconds, engine="engine", side=256):
    for key, answer in enumerate(seconds):
        run_times.note(engine, see(key, side), 0.0, answer)


@given(st.lists(st.booleans(), min_size=1, max_size=12), st.data())
def test_an_engine_is_quick_if_one_of_its_latest_runs_was(kinds, data):
    run_times = RunTimes(latest=3)
    seconds = [data.draw(quick if kind else slow) for kind in kinds]
    note_all(run_times, seconds)
    expected = run_times.expect("engine", see("next"))
    assert expected == min(seconds[-3:])
    assert (expected <= LIMIT) == any(kinds[-3:])


@given(st.lists(slow, min_size=1, max_size=8))
def test_an_engine_that_is_always_slow_is_known_by_its_first_run(seconds):
    run_times = RunTimes()
    for key, answer in enumerate(seconds):
        run_times.note("engine", see(key), 0.0, answer)
        assert run_times.expect("engine", see(key)) > LIMIT
    assert run_times.expect("another", see(0)) is None


def test_one_run_on_a_busy_machine_does_not_make_an_engine_slow():
    run_times = RunTimes()
    note_all(run_times, [0.2, 0.3, 9.0])
    assert run_times.expect("engine", see("next")) == 0.2


def test_each_size_of_plane_counts_by_itself_and_all_where_none_is_known():
    run_times = RunTimes()
    note_all(run_times, [0.1], side=256)
    assert run_times.expect("engine", see("large", 4096)) == 0.1
    note_all(run_times, [8.0], side=4096)
    assert run_times.expect("engine", see("large", 4000)) == 8.0
    assert run_times.expect("engine", see("small", 250)) == 0.1


def test_another_plane_is_encoded_first_and_one_that_was_seen_is_not():
    run_times = RunTimes()
    run_times.note("engine", see("seen"), 5.0, 5.2)
    assert run_times.expect("engine", see("seen")) == pytest.approx(0.2)
    assert run_times.expect("engine", see("next")) == pytest.approx(5.2)
    # Its encoding was there already, which says nothing of that of the next one.
    run_times.note("engine", see("seen"), 0.0, 0.3)
    assert run_times.expect("engine", see("next")) == pytest.approx(5.2)

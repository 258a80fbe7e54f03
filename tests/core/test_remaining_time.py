"""How long is left, and how it is said."""

import pytest

from napari_sam3_assistant.core.progress import RemainingTime, format_duration


def test_the_first_piece_does_not_count():
    times = iter([100.0, 110.0, 130.0, 145.0])
    remaining_time = RemainingTime(4, clock=lambda: next(times))

    assert [remaining_time.step() for _ in range(4)] == [None, 20.0, 15.0, 0.0]


def test_pieces_that_are_left_out_take_no_time():
    times = iter([100.0, 110.0])
    remaining_time = RemainingTime(9, clock=lambda: next(times))
    remaining_time.step()
    remaining_time.skip(5)
    assert remaining_time.step() == 20.0


@pytest.mark.parametrize(
    ("seconds", "said"),
    [(0.2, "0 s"), (99, "99 s"), (100, "2 min"), (3000, "50 min"), (12000, "3 h 20 min")],
)
def test_durations_for_people(seconds, said):
    assert format_duration(seconds) == said

import numpy as np
import pytest
import zarr
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from napari_sam3_assistant.core.masks.edits import (
    EditHistory,
    LabelEdit,
    changes_between,
    classify_pixels,
)
from napari_sam3_assistant.core.masks.labels import whole_box, write_smaller


def edit_between(before, after):
    changes = changes_between([(whole_box(before.shape), before, after)], before.shape)
    return LabelEdit.pack("test", before.shape, changes, before.dtype)


def edit_of(pixels):
    before = np.zeros((1, pixels), np.uint8)
    return edit_between(before, before + 1)


@given(st.data(), st.sampled_from(["array", "transposed", "zarr"]))
def test_any_change_is_done_and_taken_back(data, kind):
    shape = data.draw(hnp.array_shapes(min_dims=2, max_dims=3, min_side=1, max_side=6))
    arrays = hnp.arrays(np.uint16, shape, elements=st.sampled_from([0, 1, 65535]))
    before, after = data.draw(arrays), data.draw(arrays)
    if kind == "zarr":
        target = zarr.create_array({}, shape=shape, chunks=(2,) * len(shape), dtype="uint16")
    elif kind == "transposed":
        target = np.empty(shape[::-1], np.uint16).T
    else:
        target = np.empty(shape, np.uint16)
    target[...] = before
    edit = edit_between(before, after)

    edit.write(target)
    np.testing.assert_array_equal(target[...], after)
    edit.write(target, forward=False)
    np.testing.assert_array_equal(target[...], before)
    assert edit.pixels == np.count_nonzero(before != after)


def test_an_array_in_another_memory_order():
    target = np.zeros((3, 2), np.uint16).T
    after = np.array([[1, 0, 2], [0, 3, 0]], np.uint16)

    edit_between(np.zeros((2, 3), np.uint16), after).write(target)

    np.testing.assert_array_equal(target, after)


def test_what_was_changed_meanwhile_is_left_as_it_is():
    labels = np.array([[1, 1, 1]], np.uint8)
    edit = edit_between(labels, np.array([[2, 2, 2]], np.uint8))
    edit.write(labels)
    labels[0, 1] = 9

    edit.write(labels, forward=False)

    assert labels.tolist() == [[1, 9, 1]]


@pytest.mark.parametrize("lazy", [False, True])
def test_writing_tells_what_was_really_written(lazy):
    begin = np.array([[1, 1, 1, 1], [0, 0, 0, 0]], np.uint8)
    edit = edit_between(begin, np.array([[2, 2, 2, 2], [0, 0, 0, 3]], np.uint8))
    target = zarr.create_array({}, shape=(2, 4), chunks=(1, 3), dtype="uint8") if lazy else begin
    target[...] = [[1, 9, 1, 1], [0, 0, 0, 0]]

    written = edit.write(target)

    assert target[...].tolist() == [[2, 9, 2, 2], [0, 0, 0, 3]]
    assert (written.pixels, edit.pixels) == (4, 5)
    written.write(target, forward=False)
    assert target[...].tolist() == [[1, 9, 1, 1], [0, 0, 0, 0]]


def test_an_edit_that_was_written_whole_is_told_as_it_is():
    edit = edit_of(4)
    labels = np.zeros((1, 4), np.uint8)

    assert edit.write(labels) is edit
    assert edit.write(labels, forward=False) is edit


def test_smaller_levels_follow_the_largest():
    large = np.arange(1, 37, dtype=np.uint8).reshape(6, 6)
    small, tiny = np.zeros((3, 3), np.uint8), np.zeros((2, 2), np.uint8)

    write_smaller(large, [small, tiny], (slice(2, 5), slice(2, 4)))

    assert small.tolist() == [[0, 0, 0], [0, 15, 0], [0, 27, 0]]
    assert tiny.tolist() == [[0, 0], [0, 22]]


@given(st.data())
def test_smaller_levels_of_any_factor_hold_the_pixels_at_their_place(data):
    size = data.draw(st.integers(1, 40))
    small = data.draw(st.integers(1, size))
    first = data.draw(st.integers(0, size))
    stop = data.draw(st.integers(first, size))
    large = np.arange(1, size + 1, dtype=np.uint8)[:, None]
    level, part = np.zeros((2, small, 1), np.uint8)

    write_smaller(large, [level], (slice(0, size), slice(0, 1)))
    write_smaller(large, [part], (slice(first, stop), slice(0, 1)))

    places = level[:, 0].astype(int) - 1
    assert np.abs((places + 0.5) / size - (np.arange(small) + 0.5) / small).max() <= 1 / small
    changed = (places >= first) & (places < stop)
    assert part[:, 0].tolist() == np.where(changed, level[:, 0], 0).tolist()


def test_the_preview_shows_what_goes_comes_and_changes():
    before = np.array([[0, 0, 0, 0, 0], [0, 1, 0, 2, 3]], np.uint8)
    after = np.array([[0, 0, 0, 0, 0], [0, 0, 1, 5, 3]], np.uint8)

    edit = edit_between(before, after)

    assert edit.box == (slice(1, 2), slice(1, 4))
    assert classify_pixels(edit).tolist() == [[1, 2, 3]]


def test_an_edit_takes_far_less_memory_than_the_labels():
    labels = np.zeros((1000, 1000), np.uint32)
    after = labels.copy()
    after[100:900, 100:900] = 7

    assert edit_between(labels, after).nbytes < labels.nbytes / 1000


def test_large_changes_are_written_in_pieces():
    edit = edit_of(10)
    before = np.arange(20, dtype=np.uint8).reshape(4, 5)
    many = edit_between(before, before[::-1].copy())

    pieces = list(many.changes().pieces(pixels=3))

    assert len(list(edit.changes().pieces(3))) == 1  # a single stretch is not cut
    assert len(pieces) > 5
    assert sum(int(piece.lengths.sum()) for piece in pieces) == 20


def test_undo_and_redo_go_back_and_forth():
    history, first, second = EditHistory(), edit_of(1), edit_of(2)
    history.push("a", first)
    history.push("a", second)

    assert history.undo("a") is second
    assert history.undo("a") is first
    assert history.undo("a") is None
    assert history.redo("a") is first
    assert history.can_redo("a")
    history.push("a", edit_of(3))
    assert not history.can_redo("a")


def test_layers_have_histories_of_their_own():
    history = EditHistory()
    history.push("a", edit_of(1))

    assert not history.can_undo("b")
    history.forget("a")
    assert not history.can_undo("a")
    assert history.nbytes == 0


def test_the_latest_step_of_some_layers_is_found():
    history, first, second = EditHistory(), edit_of(1), edit_of(2)
    history.push("a", first)
    history.push("b", second)
    history.push("c", edit_of(3))

    assert history.latest({"a", "b"}) == ("b", second)
    assert history.latest({"x"}) is None
    history.undo("a")
    history.undo("b")
    assert history.latest({"a", "b"}, forward=True) == ("b", second)
    history.redo("b")
    assert history.latest({"a", "b"}) == ("b", second)
    history.forget_undone({"a"})
    assert history.latest({"a", "b"}, forward=True) is None


def test_a_step_is_amended_where_it_went():
    history, less = EditHistory(), edit_of(1)
    history.push("a", edit_of(5))
    history.undo("a")

    history.amend("a", less, forward=False)

    assert history.redo("a") is less
    assert history.knows("a")
    history.forget("a")
    assert not history.knows("a")


def test_the_oldest_edits_go_when_the_limit_is_reached():
    size = edit_of(1).nbytes
    history = EditHistory(limit=2 * size)
    kept = edit_of(1)

    assert history.push("a", edit_of(1)) == 0
    assert history.push("b", edit_of(1)) == 0
    assert history.push("b", kept) == 1
    assert not history.can_undo("a")
    assert history.nbytes <= 2 * size
    assert history.undo("b") is kept


def test_an_edit_beyond_the_limit_is_not_kept():
    history = EditHistory(limit=1)

    assert history.push("a", edit_of(1)) == 1
    assert not history.can_undo("a")


@pytest.mark.parametrize("shape", [(0, 3), (2, 2)])
def test_no_change(shape):
    edit = edit_between(np.zeros(shape, np.uint8), np.zeros(shape, np.uint8))

    assert edit.pixels == 0
    assert classify_pixels(edit).size == 0

"""Edits of labels from the file of a session: whole ones are taken, others are refused."""

from __future__ import annotations

import zlib
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from napari.components import ViewerModel

from napari_sam3_assistant.core.masks.edits import Changes, LabelEdit
from napari_sam3_assistant.io import edits as edits_of_files
from napari_sam3_assistant.io.edits import check_edit, read_edit
from napari_sam3_assistant.io.typed_json import WRONG
from napari_sam3_assistant.session.saved import write_value
from napari_sam3_assistant.viewer.label_pixels import edits_of
from napari_sam3_assistant.viewer.roles import key_of
from napari_sam3_assistant.viewer.saved_viewer import SavedViewer


def edit_of_pixels(shape: tuple[int, ...], pixels: Any, value: int = 2) -> LabelEdit:
    at = np.asarray(pixels, np.int64)
    ones = np.ones(at.size, np.uint8)
    return LabelEdit.pack(
        "paint", shape, Changes(at, np.ones_like(at), ones, ones * value), np.uint8
    )


def test_an_edit_of_more_than_a_quarter_of_a_gigabyte_is_taken() -> None:
    count = (1 << 28) // 28 + 1  # of 28 bytes each, every second pixel of a row
    numbers = (np.full(count, 2, np.int64), np.full(count, 1, np.uint32))
    labels = (np.full(count, value, np.uint64) for value in (0, 1))
    packed = tuple(zlib.compress(array.data, 1) for array in (*numbers, *labels))
    box = (slice(0, 1), slice(2, 2 * count + 1))
    check_edit(LabelEdit("paint", (1, 3 * count), count, box, count, packed, "<u8"))


PIXELS = st.lists(st.integers(0, 59), unique=True).map(sorted)
NUMBERS = st.integers(-3, 3) | st.integers(-(1 << 62), 1 << 62)


@given(PIXELS, st.integers(1, 7))
def test_any_edit_of_ours_is_taken(pixels: list[int], piece: int) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(edits_of_files, "_PIECE", piece)
        check_edit(edit_of_pixels((6, 10), pixels))


@given(st.lists(st.tuples(NUMBERS, st.integers(0, (1 << 32) - 1)), max_size=6), NUMBERS)
def test_what_is_taken_lies_in_its_labels(stretches: list[tuple[int, int]], count: int) -> None:
    steps = np.array([step for step, _ in stretches], np.int64)
    lengths = np.array([length for _, length in stretches], np.uint32)
    labels = np.ones(len(stretches), np.uint8)
    packed = tuple(zlib.compress(array.tobytes()) for array in (steps, lengths, labels, labels))
    for said in (count, len(stretches)):
        try:
            edit = read_edit("paint", [6, 10], said, packed, "|u1")
        except WRONG:
            continue
        changes = edit.changes()
        assert changes.starts.size == edit.count
        pixels = changes.split_pixels().starts
        assert (np.diff(pixels) > 0).all()
        assert pixels.size == edit.pixels
        rows, columns = np.unravel_index(pixels, (6, 10))
        inside = np.zeros((6, 10), bool)
        inside[edit.box] = True
        assert inside[rows, columns].all()
        check_edit(edit)
        with pytest.raises(WRONG):
            check_edit(replace(edit, pixels=edit.pixels + 1))


@pytest.mark.parametrize(
    "packed",
    [b"", b"noise", zlib.compress(b"\1\1")[:-1], zlib.compress(b"\1"), zlib.compress(bytes(10**7))],
)
def test_bytes_that_are_torn_too_few_or_too_many_are_refused(packed: bytes) -> None:
    edit = edit_of_pixels((6, 10), [3, 7])
    with pytest.raises(WRONG):
        check_edit(replace(edit, packed=(*edit.packed[:3], packed)))


def test_of_steps_with_a_damaged_one_those_stay_that_lead_back_to_it() -> None:
    viewer = ViewerModel()
    first, second = (viewer.add_labels(np.ones((6, 10), np.uint8)) for _ in range(2))
    edits = [edit_of_pixels((6, 10), [at]) for at in range(5)]
    entries: dict[str, Any] = {
        f"mask_edit/{number}": write_value(edit) for number, edit in enumerate(edits)
    }
    entries["mask_edit/1"]["packed"][0] = "AAAA"
    steps = [(first, False), (first, False), (second, False), (first, False), (first, True)]
    for number, (layer, undone) in enumerate(steps):
        entries[f"mask_step/{number}"] = [key_of(layer), number, undone]
    keys = {key_of(layer): key_of(layer) for layer in (first, second)}
    problems: list[str] = []

    class Adapter:
        """What the steps need of the real one."""

    adapter: Any = Adapter()
    adapter.viewer = viewer
    SavedViewer(adapter, adapter).restore_mask_steps(entries, keys, problems)

    kept = edits_of(viewer).history.edits(1 << 20).values()
    assert [(key, edit.box[1].start, undone) for key, edit, undone in kept][::-1] == [
        (key_of(second), 2, False),
        (key_of(first), 3, False),
        (key_of(first), 4, True),
    ]
    assert len(problems) == 1
    assert first.name in problems[0]

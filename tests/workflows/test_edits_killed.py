"""Edits of labels on the disk that are killed half-way are known, finished or taken back."""

import json
import os
import shutil
import tracemalloc
import zlib

import numpy as np
import pytest
import zarr

from napari_sam3_assistant import api
from napari_sam3_assistant.core.axes import make_axes
from napari_sam3_assistant.core.masks.operations import Expand, FillHoles, LabelsPart
from napari_sam3_assistant.core.progress import NullReporter
from napari_sam3_assistant.errors import MaskError
from napari_sam3_assistant.io.edit_journal import NAME, JournaledEdit, array_folder, read_journal
from napari_sam3_assistant.io.ome_zarr_labels import create_pyramid, open_levels
from napari_sam3_assistant.viewer.file_backed_layers import LazyPlane
from napari_sam3_assistant.workflows.edit_masks import compute_edit, write_edit

SHAPE = (1100, 1300)
# Fills holes and is killed when the given number of files is about to get its name: the note of the
# edit is the first, then come the chunks of the largest level, then those of the smaller ones.
CODE = """
import os, pathlib, signal, sys
from napari_sam3_assistant.core.masks.operations import FillHoles, LabelsPart
from napari_sam3_assistant.core.progress import NullReporter
from napari_sam3_assistant.io.ome_zarr_labels import open_levels
from napari_sam3_assistant.viewer.file_backed_layers import LazyPlane
from napari_sam3_assistant.workflows.edit_masks import compute_edit
from napari_sam3_assistant.workflows.edit_masks import write_edit
largest, *smaller = open_levels(pathlib.Path(sys.argv[1]), writable=True)
moment, view = int(sys.argv[2]), sys.argv[3]
if view != "as it is":
    rows, columns = map(int, view.split())
    largest, *smaller = [LazyPlane(one, 3, rows, columns) for one in (largest, *smaller)]
part = LabelsPart(largest, (1,) * largest.ndim)
(edit,) = compute_edit(FillHoles(0), part, NullReporter())
real, seen = pathlib.Path.replace, []
def replace(self, target):
    seen.append(target)
    if len(seen) == moment:
        os.kill(os.getpid(), signal.SIGKILL)
    return real(self, target)
pathlib.Path.replace = replace
(written,) = write_edit(edit, largest, smaller, NullReporter())
print("files", len(seen))
"""


def labels():
    made = np.zeros(SHAPE, np.uint32)
    for row in range(50, 1000, 200):
        for column in range(50, 1200, 200):
            made[row : row + 90, column : column + 90] = row + column
            made[row + 30 : row + 40, column + 30 : column + 50] = 0
    return made


@pytest.fixture
def stored(tmp_path):
    """A folder of labels with holes, in several sizes."""
    levels = create_pyramid(tmp_path / "labels.zarr", make_axes(SHAPE))
    for number, level in enumerate(levels):
        level[:] = labels()[:: 2**number, :: 2**number]
    return tmp_path / "labels.zarr"


def pixels(path):
    return [np.asarray(level) for level in open_levels(path)]


def edit_of(largest):
    part = LabelsPart(largest, (1.0,) * 2)
    return next(compute_edit(FillHoles(0), part, NullReporter()))


def same(path, right):
    return all(np.array_equal(*pair) for pair in zip(pixels(path), right, strict=True))


@pytest.fixture
def finished(stored, tmp_path):
    """What the labels are when nothing happens."""
    path = shutil.copytree(stored, tmp_path / "finished.zarr")
    largest, *smaller = open_levels(path, writable=True)
    next(write_edit(edit_of(largest), largest, smaller, NullReporter()))
    assert api.unfinished_edits(path) == ()
    assert not list(path.rglob(NAME))
    return pixels(path)


@pytest.mark.parametrize(
    ("moment", "view"), [(1, "as it is"), (2, "as it is"), (4, "2 1"), (11, "0 2")]
)
def test_an_edit_that_was_killed_is_finished_or_taken_back(
    moment, view, stored, finished, killed, tmp_path
):
    begin = pixels(stored)
    killed.run_and_kill(CODE, stored, moment, view)

    known = api.unfinished_edits(stored)
    if moment == 1:
        assert known == ()
        assert same(stored, begin)
        return
    assert known == (
        "“fill holes” was stopped half-way in these labels. Finish it or take it back first.",
    )
    largest, *smaller = open_levels(stored, writable=True)
    with pytest.raises(MaskError, match="stopped half-way"):
        next(write_edit(edit_of(largest), largest, smaller, NullReporter()))
    other = shutil.copytree(stored, tmp_path / "other.zarr")
    assert api.finish_edits(stored) == ("fill holes",)
    assert same(stored, finished)
    assert api.take_back_edits(other) == ("fill holes",)
    assert same(other, begin)
    for path in (stored, other):
        assert api.unfinished_edits(path) == ()
        assert not list(path.rglob(NAME))


def note(stored):
    """The note of an edit that another process has begun."""
    largest = open_levels(stored, writable=True)[0]
    mark = "00000000-1-00000000"
    JournaledEdit(array_folder(largest), edit_of(largest), True, ("1",), mark).write()
    return array_folder(largest) / NAME


def test_a_note_that_is_damaged_or_hostile_counts_as_none(stored):
    file = note(stored)
    whole = file.read_bytes()
    assert read_journal(file.parent) is not None
    line, _, body = whole.partition(b"\n")
    about = json.loads(line)
    bomb = zlib.compress(bytes(10**7))
    sizes = [len(bomb)] * 4
    changed = [
        {"format": "another"},
        {"levels": ["../../other.zarr/0"]},
        {"levels": [".."]},
        {"count": 10**12},
        {"count": -1},
        {"count": float("inf")},
        {"shape": []},
        {"sizes": [-1, 0, 0, len(body) + 1]},
        {"shape": [10**9, 10**9]},
        {"shape": [3, 3]},
        {"dtype": "O"},
        {"dtype": "f8"},
        {"process": "nobody"},
        {"sizes": [10**12, 0, 0, 0]},
        {"sum": 1},
    ]
    cases = [json.dumps(about | change).encode() + b"\n" + body for change in changed]
    cases += [b"", b"{}", b"[" * 100_000, whole[:-1], whole[: len(line) // 2]]
    cases.append(
        json.dumps(about | {"sizes": sizes, "sum": zlib.crc32(bomb * 4)}).encode()
        + b"\n"
        + bomb * 4
    )
    for case in cases:
        file.write_bytes(case)
        assert read_journal(file.parent) is None
    with file.open("wb") as sparse:
        sparse.write(json.dumps(about | {"sizes": [1 << 42, 0, 0, 0]}).encode() + b"\n")
        sparse.truncate(sparse.tell() + (1 << 42))
    assert read_journal(file.parent) is None
    file.unlink()
    os.mkfifo(file)
    assert read_journal(file.parent) is None


def test_however_much_a_note_says_that_it_holds_little_is_unpacked(stored):
    file = note(stored)
    about = json.loads(file.read_bytes().partition(b"\n")[0])
    count = 1 << 24
    packed = [zlib.compress(bytes(count * wide)) for wide in (8, 4, 4, 4)]
    body = b"".join(packed)
    sides = {"shape": [1 << 13, 1 << 13], "count": count}
    said = {"sizes": [*map(len, packed)], "sum": zlib.crc32(body)}
    del packed
    file.write_bytes(json.dumps(about | sides | said).encode() + b"\n" + body)
    tracemalloc.start()
    try:
        assert read_journal(file.parent) is None
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < count * 8


def test_labels_that_are_others_now_are_left_alone(stored):
    file = note(stored)
    shutil.rmtree(file.parent / "0", ignore_errors=True)
    group = zarr.open_group(str(stored), mode="r+", zarr_format=2)
    text = file.read_bytes()
    group.create_array(file.parent.name, shape=(9, 9), dtype="u4", chunks=(9, 9), overwrite=True)
    file.write_bytes(text)
    with pytest.raises(MaskError, match="others than those that were edited"):
        api.finish_edits(stored)


def test_an_edit_of_a_transposed_plane_is_one_of_the_plane():
    plane = labels()[:60, :90]
    seen, direct = (zarr.array(plane, chunks=(20, 30)) for _ in range(2))
    view = LazyPlane(seen, 3, 2, 0)
    part = LabelsPart(view, (1.0,) * 3)
    (edit,) = compute_edit(Expand(3), part, NullReporter())
    edit.write(view)
    view.stored_edit(edit).write(direct)
    np.testing.assert_array_equal(direct[:], seen[:])
    assert not np.array_equal(direct[:], plane)

"""An edit of labels in a zarr folder that was killed is offered when they are opened again."""

import dask.array as da
import numpy as np
import pytest
from napari.layers._source import layer_source

from napari_sam3_assistant.core.axes import make_axes
from napari_sam3_assistant.core.masks.operations import FillHoles, LabelsPart, Operation
from napari_sam3_assistant.core.progress import NullReporter
from napari_sam3_assistant.io.edit_journal import NAME, JournaledEdit, array_folder
from napari_sam3_assistant.io.ome_zarr_labels import create_pyramid, open_levels
from napari_sam3_assistant.viewer.file_backed_layers import LazyPlane
from napari_sam3_assistant.workflows.edit_masks import compute_edit

SHAPE = (700, 800)
SAID = "“fill holes” was stopped half-way in these labels. Finish it or take it back first."


@pytest.fixture
def stored(tmp_path):
    """Labels in two sizes, of which the upper half was written when the process ended."""
    levels = create_pyramid(tmp_path / "scan.zarr", make_axes(SHAPE))
    whole = np.zeros(SHAPE, np.uint32)
    for row in (20, 620):
        whole[row : row + 40, 30:300] = 1
        whole[row + 10 : row + 20, 100:110] = 0
    for number, level in enumerate(levels):
        level[:] = whole[:: 2**number, :: 2**number]
    part = LabelsPart(levels[0], (1.0, 1.0))
    (edit,) = compute_edit(FillHoles(), part, NullReporter())
    names = tuple(array_folder(level).name for level in levels[1:])
    # Of a process that is not one any more.
    mark = JournaledEdit(array_folder(levels[0]), edit, True, names, "00000000-1-00000000")
    mark.write()
    levels[0][30:40, 100:110] = 1
    return tmp_path / "scan.zarr"


def pixels(stored):
    return [np.asarray(level) for level in open_levels(stored)]


def opened(bench, stored, how):
    levels = open_levels(stored, writable=True)
    if how == "planes of a stack":
        levels = [LazyPlane(level, 3, 1, 2) for level in levels]
    by_path = how == "dask, by its path"
    if by_path:
        levels = [da.from_zarr(level) for level in levels]
    # As a reader of napari makes a layer.
    with layer_source(path=str(stored) if by_path else None):
        layer = bench.viewer.add_labels(list(levels), multiscale=True, name="scan")
    bench.model.target = bench.key(layer)
    return layer


@pytest.mark.parametrize("how", ["zarr", "planes of a stack", "dask, by its path"])
@pytest.mark.parametrize("forward", [True, False], ids=["finish", "take back"])
def test_it_is_offered_and_ended(bench, stored, how, forward):
    opened(bench, stored, how)
    assert bench.model.unfinished == SAID
    (bench.cleanup.finish if forward else bench.cleanup.take_back)()
    did = "Finished" if forward else "Took back"
    assert bench.settle() == f"{did}: fill holes on “scan”."
    assert bench.model.unfinished == ""
    largest, *smaller = pixels(stored)
    right = np.zeros(SHAPE, np.uint32)
    for row in (20, 620):
        right[row : row + 40, 30:300] = 1
        if not forward:
            right[row + 10 : row + 20, 100:110] = 0
    np.testing.assert_array_equal(largest, right)
    for number, level in enumerate(smaller, 1):
        np.testing.assert_array_equal(level, right[:: 2**number, :: 2**number])
    assert not list(stored.rglob(NAME))


def test_other_edits_wait_for_it(bench, stored):
    opened(bench, stored, "zarr")
    before = pixels(stored)
    bench.cleanup.apply(Operation.REMOVE_SMALL)
    bench.settle()
    bench.cleanup.apply(Operation.EXPAND)
    assert bench.settle() == SAID
    np.testing.assert_array_equal(pixels(stored)[0], before[0])
    assert not bench.model.can_undo


def test_labels_that_nobody_edited_offer_nothing(bench):
    bench.add(np.zeros((9, 9), np.uint8))
    assert bench.model.unfinished == ""

"""Undo does not keep every result of a long session."""

import gc
import weakref

import numpy as np

from napari_sam3_assistant.core.prompts import Task, Tool
from napari_sam3_assistant.session import undo


def test_the_oldest_results_go_where_all_take_too_much_memory(
    viewer, binding, run, disc, monkeypatch
):
    viewer.add_image(disc, name="cells")
    binding.prompts.arm()
    viewer.layers["SAM3 points"].add((20, 30))
    # A mask and the labels of a result, and a little room for the prompts.
    first = undo.count_bytes(run().segmentation)
    assert first > 4 * disc.size
    monkeypatch.setattr(undo, "_MOST_BYTES", 7 * first + first // 2)

    results = [weakref.ref(run().segmentation.labels) for _ in range(10)]
    gc.collect()

    assert [result() is not None for result in results] == [False] * 3 + [True] * 7
    for _ in range(6):
        binding.session.undo()
    assert binding.model.preview.segmentation.labels is results[3]()


def test_painted_masks_count_and_are_kept_once(viewer, binding, disc, monkeypatch):
    viewer.add_image(disc, name="cells")
    binding.model.task, binding.model.tool = Task.SEGMENT, Tool.MASK
    binding.prompts.arm()
    painted = viewer.layers["SAM3 mask prompt"]
    session = binding.session
    whole = disc.size * painted.data.itemsize
    monkeypatch.setattr(undo, "_MOST_BYTES", 8 * whole)

    for value in range(1, 13):
        painted.data_setitem(np.nonzero(disc >= 0), value)
        session.note_prompts()
    for _ in range(30):
        session.undo()
    assert painted.data.max() > 1  # not back to the first: its masks went

    # Steps that change something else share one mask.
    painted.data_setitem(np.nonzero(disc >= 0), 20)
    session.note_prompts()
    binding.model.tool = Tool.POINTS
    binding.prompts.arm()
    for row in range(12):
        viewer.layers["SAM3 points"].add((row, 3))
        session.note_prompts()
    for _ in range(12):
        session.undo()
    assert len(viewer.layers["SAM3 points"].data) == 0
    assert painted.data.max() == 20

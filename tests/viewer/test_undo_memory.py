"""Undo does not keep every result of a long session."""

import gc
import weakref

from napari_sam3_assistant.session import undo


def test_the_oldest_results_go_where_all_take_too_much_memory(
    viewer, binding, run, disc, monkeypatch
):
    monkeypatch.setattr(undo, "_MOST_BYTES", 7 * 4 * disc.size)
    viewer.add_image(disc, name="cells")
    binding.arm()
    viewer.layers["SAM3 points"].add((20, 30))

    results = [weakref.ref(run().segmentation.labels) for _ in range(10)]
    gc.collect()

    assert [result() is not None for result in results] == [False] * 3 + [True] * 7
    for _ in range(6):
        binding.session.undo()
    assert binding.model.preview.segmentation.labels is results[3]()

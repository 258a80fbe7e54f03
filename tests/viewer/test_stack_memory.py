"""Where the labels of a whole stack are kept."""

import gc
from pathlib import Path

import numpy as np
import zarr
from napari.layers import Labels

from napari_sam3_assistant.viewer.stacks import memory as stack_memory


def test_small_ones_are_in_memory():
    labels = stack_memory.empty_labels((3, 4, 5))
    assert isinstance(labels, np.ndarray)
    assert (labels.dtype, labels.shape, labels.max()) == (np.uint32, (3, 4, 5), 0)


def test_the_folder_of_large_ones_goes_with_their_layer(monkeypatch):
    monkeypatch.setattr(stack_memory, "IN_MEMORY", 100)
    labels = stack_memory.empty_labels((3, 4, 2000))
    assert isinstance(labels, zarr.Array)
    assert labels.chunks == (1, 4, 1024)
    layer = Labels(labels)
    stack_memory.let_go_with(layer, labels)
    layer.data[1, 2:4, 3] = 7
    assert np.asarray(layer.data[1]).sum() == 14
    folder = Path(labels.store_path.store.root)
    assert any(folder.iterdir())

    del layer, labels
    gc.collect()

    assert not folder.exists()

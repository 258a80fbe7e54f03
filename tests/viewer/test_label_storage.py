"""Where labels as large as an image are kept."""

import gc
import os
import stat
import sys
import tempfile
from pathlib import Path

import numpy as np
import pytest
import zarr
from napari.layers import Labels

from napari_sam3_assistant.session import label_storage


def test_small_ones_are_in_memory():
    labels = label_storage.empty_labels((3, 4, 5))
    assert isinstance(labels, np.ndarray)
    assert (labels.dtype, labels.shape, labels.max()) == (np.uint32, (3, 4, 5), 0)


def test_the_folder_of_large_ones_goes_with_their_layer():
    labels = label_storage.empty_labels((3, 4, 2000), in_memory=100)
    assert isinstance(labels, zarr.Array)
    assert labels.chunks == (1, 4, 1024)
    layer = Labels(labels)
    label_storage.delete_with(layer, labels)
    layer.data[1, 2:4, 3] = 7
    assert np.asarray(layer.data[1]).sum() == 14
    folder = Path(labels.store_path.store.root)
    assert any(folder.iterdir())

    del layer, labels
    gc.collect()

    assert not folder.exists()


KILLED = """
import os, signal, sys, tempfile
tempfile.tempdir = sys.argv[1]
from napari_sam3_assistant.session import label_storage
labels = label_storage.empty_labels((3, 4, 2000), in_memory=100)
labels[1] = 5
os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has other rights")
def test_only_its_owner_can_read_the_folder(monkeypatch, tmp_path):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    before = os.umask(0)
    try:
        labels = label_storage.empty_labels((3, 4, 2000), in_memory=100)
    finally:
        os.umask(before)
    labels[1] = 5
    (folder,) = tmp_path.iterdir()
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700


@pytest.mark.skipif(sys.platform == "win32", reason="Windows knows no such signal")
def test_what_a_killed_process_left_goes_with_the_next_one(monkeypatch, tmp_path, killed):
    killed.run_and_kill(KILLED, tmp_path)
    (left,) = tmp_path.iterdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))

    label_storage.empty_labels((3, 4, 2000), in_memory=100)

    assert left not in tmp_path.iterdir()
    assert len(list(tmp_path.iterdir())) == 1

"""Saving where the disk is full, locked or gone, or the process is killed: nothing is lost."""

import shutil
import signal

import numpy as np
import pytest
import zarr

from napari_sam3_assistant.core.axes import make_axes
from napari_sam3_assistant.core.progress import NullReporter
from napari_sam3_assistant.errors import ExportError
from napari_sam3_assistant.io import ome_zarr_labels
from napari_sam3_assistant.io.images import read_image
from napari_sam3_assistant.io.labels import open_label_stack
from napari_sam3_assistant.workflows.save import LabelsExport, export_labels

ENDINGS = (".tif", ".npy", ".png", ".ome.zarr")
# No zeros: zarr leaves out chunks without a label.
LABELS = np.random.default_rng(0).integers(1, 60000, (700, 900)).astype(np.uint32)
AXES = make_axes(LABELS.shape, scale=(0.5, 0.25), units="micrometer", origin=(100.0, 50.0))


def save(path, labels=LABELS):
    return list(export_labels(LabelsExport(labels, path, AXES), NullReporter()))


def sentence(path):
    """What the user reads when a save fails; one sentence, and one with the remedy."""
    with pytest.raises(ExportError) as caught:
        save(path)
    assert str(path) in caught.value.message
    assert str(caught.value) == f"{caught.value.message} {caught.value.hint}"
    return str(caught.value)


def names(folder):
    return sorted(path.name for path in folder.iterdir())


@pytest.mark.parametrize("ending", ENDINGS)
def test_a_full_disk(tmp_path, disks, ending):
    with disks.small_disk(tmp_path, 400):
        said = sentence(tmp_path / f"a{ending}")
        assert names(tmp_path) == []

    assert "No space left on device" in said
    assert said.endswith("Free some space on this disk, or choose another folder.")
    assert save(tmp_path / f"a{ending}") == [tmp_path / f"a{ending}"]


@pytest.mark.parametrize("ending", [".tif", ".npy", ".zarr"])
def test_a_full_disk_is_said_and_does_not_end_the_process_of_a_stack(tmp_path, disks, ending):
    with disks.small_disk(tmp_path, 400):
        with pytest.raises(ExportError, match="No space left on device") as caught:
            write_stack(tmp_path / f"a{ending}")
        assert names(tmp_path) == []
    assert caught.value.hint.startswith("Free some space")
    write_stack(tmp_path / f"a{ending}")


def write_stack(path):
    with open_label_stack(path, (4, 500, 500)) as write:
        for plane in range(4):
            write(plane, LABELS[:500, :500])


@pytest.mark.parametrize("ending", ENDINGS)
def test_a_folder_that_nobody_may_write_to(tmp_path, disks, ending):
    folder = tmp_path / "locked"
    folder.mkdir()
    with disks.locked(folder):
        said = sentence(folder / f"a{ending}")
        assert names(folder) == []

    assert said.endswith("Choose a folder that you may write to.")


@pytest.mark.parametrize("ending", ENDINGS)
def test_a_folder_that_vanishes_while_it_is_written_to(tmp_path, monkeypatch, ending):
    folder = tmp_path / "network"
    folder.mkdir()
    gone = []

    def vanish(*_):
        if not gone:
            gone.append(folder)
            shutil.rmtree(folder)

    # When the file is complete, and before it gets its name; of zarr, when one chunk is written.
    monkeypatch.setattr("napari_sam3_assistant.io.atomic.os.fsync", vanish)
    real = zarr.Array.__setitem__

    def write(array, key, value):
        real(array, key, value)
        vanish()

    monkeypatch.setattr(zarr.Array, "__setitem__", write)

    said = sentence(folder / f"a{ending}")

    assert gone
    assert said.endswith(
        "Check that the disk or the network folder is connected, or choose another folder."
    )
    assert not (folder / f"a{ending}").exists()


def test_a_zarr_folder_that_is_replaced_comes_back_when_the_new_one_has_no_name(
    tmp_path, monkeypatch
):
    path = tmp_path / "a.ome.zarr"
    save(path)
    real = type(path).rename

    def rename(self, target):
        if self.name.endswith(".zarr") and self.name != path.name:
            raise PermissionError(13, "Permission denied")
        return real(self, target)

    monkeypatch.setattr(type(path), "rename", rename)

    with pytest.raises(ExportError, match="Permission denied"):
        ome_zarr_labels.save_ome_zarr(LABELS[::-1], path, AXES, replace=True)

    assert names(tmp_path) == ["a.ome.zarr"]
    np.testing.assert_array_equal(read_image(path).data[...], LABELS)


SAVE = """
import os, signal, sys
from pathlib import Path
import numpy as np
import zarr
from napari_sam3_assistant.core.axes import make_axes
from napari_sam3_assistant.core.progress import NullReporter
from napari_sam3_assistant.workflows.save import LabelsExport, export_labels
real, seen = zarr.Array.__setitem__, []
def write(array, key, value):
    real(array, key, value)
    seen.append(key)
    if len(seen) == {chunk}:
        os.kill(os.getpid(), signal.SIGKILL)
zarr.Array.__setitem__ = write
def rename(self, target):
    os.kill(os.getpid(), signal.SIGKILL)
if {chunk} == 0:
    Path.rename = rename
labels = np.random.default_rng(0).integers(1, 60000, (700, 900)).astype(np.uint32)
axes = make_axes(labels.shape)
list(export_labels(LabelsExport(labels, Path(sys.argv[1]), axes), NullReporter()))
"""


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="Windows has no such signal")
@pytest.mark.parametrize("chunk", [1, 3, 6, 0])
def test_a_killed_save_of_ome_zarr_leaves_no_half_folder(tmp_path, killed, chunk):
    path = tmp_path / "a.ome.zarr"

    killed.run_and_kill(SAVE.format(chunk=chunk), path)

    assert [name for name in names(tmp_path) if not name.startswith(".")] == []
    said, status = killed.run_python(SAVE.format(chunk=-1), path)
    assert status == 0, said
    np.testing.assert_array_equal(read_image(path).data[...], LABELS)


VANISH = """
import shutil, sys
from pathlib import Path
import numpy as np
from napari_sam3_assistant.errors import ExportError
from napari_sam3_assistant.io.images import read_image
from napari_sam3_assistant.io.labels import open_label_stack
from napari_sam3_assistant.io.labels import save_labels

home, kind = Path(sys.argv[1]), sys.argv[2]
folder = home / "network-0"
labels = np.random.default_rng(0).integers(1, 60000, (2, 130, 140)).astype(np.uint32)
seen, moment = 0, None

def watch(event, arguments):
    global seen
    if event in ("open", "os.mkdir", "os.rename") and str(folder) in str(arguments[0]):
        seen += 1
        if seen == moment:
            shutil.rmtree(folder, ignore_errors=True)

def save():
    path = folder / "a.zarr"
    if kind == "whole":
        save_labels(labels, path)
    else:
        with open_label_stack(path, labels.shape) as write:
            for number, plane in enumerate(labels):
                write(number, plane)
    return path

sys.addaudithook(watch)
folder.mkdir()
save()
moments, told = seen, 0
for number in range(1, moments + 1):
    # another folder: zarr's threads may still write into the one that vanished
    folder = home / f"network-{number}"
    folder.mkdir()
    seen, moment = 0, number
    try:
        path = save()
    except ExportError:
        told += 1
        assert not (folder / "a.zarr").exists(), number
    else:
        if path.exists():  # it may have gone when it was complete
            moment = None
            assert (np.asarray(read_image(path).data[...]) == labels).all(), number
assert moments > 30 and told
"""


@pytest.mark.parametrize("kind", ["whole", "planes"])
def test_a_folder_that_vanishes_at_any_moment_leaves_no_unreadable_ome_zarr(tmp_path, killed, kind):
    said, status = killed.run_python(VANISH, tmp_path, kind)
    assert status == 0, said

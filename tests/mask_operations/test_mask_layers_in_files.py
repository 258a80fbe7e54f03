"""Labels in zarr: a plane of a stack is edited as any other, and a disk that fails does no harm."""

import errno
import os

import numpy as np
import pytest
import tifffile
import zarr
from zarr.storage import MemoryStore

from napari_sam3_assistant.core.axes import make_axes
from napari_sam3_assistant.core.masks.objects import ExportFormat
from napari_sam3_assistant.core.masks.operations import Operation
from napari_sam3_assistant.errors import MaskError
from napari_sam3_assistant.io.ome_zarr_labels import create_pyramid, open_levels
from napari_sam3_assistant.viewer.file_backed_layers import LazyPlane

SHAPE = (700, 800)


def labels_of(shape):
    labels = np.zeros(shape, np.uint32)
    labels[20:60, 30:300] = 1
    labels[30:40, 100:110] = 0
    labels[600:640, 500:560] = 2
    labels[300, 300] = 3
    return labels


@pytest.fixture
def stored(tmp_path):
    """A folder of labels in two sizes."""
    levels = create_pyramid(tmp_path / "scan.zarr", make_axes(SHAPE))
    for number, level in enumerate(levels):
        level[:] = labels_of(SHAPE)[:: 2**number, :: 2**number]
    return tmp_path / "scan.zarr"


@pytest.fixture(params=[(1, 2), (2, 1), (0, 2)], ids=str)
def scan(request, bench, stored):
    """The layer of a scanned plane of a stack, as the target; rows and columns as the image has."""
    levels = [LazyPlane(level, 3, *request.param) for level in open_levels(stored, writable=True)]
    layer = bench.viewer.add_labels(levels, multiscale=True, name="scan")
    bench.model.target = bench.key(layer)
    return layer


def on_disk(stored):
    return [np.asarray(level) for level in open_levels(stored)]


def test_a_scanned_plane_of_a_stack_is_edited_in_its_file(bench, scan, stored):
    begin = on_disk(stored)
    assert len(begin) > 1
    bench.cleanup.analyze()
    assert "3 connected components" in bench.settle()
    bench.cleanup.apply(Operation.FILL_HOLES)
    assert "changed 100 pixels" in bench.settle()
    bench.cleanup.apply(Operation.REMOVE_SMALL)
    assert "changed 1 pixel" in bench.settle()

    largest, *smaller = on_disk(stored)
    assert largest[35, 105] == 1
    assert largest[300, 300] == 0
    for number, level in enumerate(smaller, 1):
        np.testing.assert_array_equal(level, largest[:: 2**number, :: 2**number])
    np.testing.assert_array_equal(np.squeeze(np.asarray(scan.data[0])).ravel().sum(), largest.sum())

    for _ in range(2):
        bench.cleanup.undo()
        bench.settle()
    for before, now in zip(begin, on_disk(stored), strict=True):
        np.testing.assert_array_equal(now, before)
    bench.cleanup.redo()
    bench.settle()
    assert on_disk(stored)[0][35, 105] == 1


def test_a_component_of_a_scanned_plane_goes_by_a_right_click(bench, scan, stored):
    pixel = [0, 0, 0]
    rows, columns = scan.data[0]._axes  # noqa: SLF001 - how this fixture laid it
    pixel[rows], pixel[columns] = 25, 35
    bench.model.right_click = "label"

    bench.cleanup.delete_at(pixel)
    bench.settle()

    assert set(np.unique(on_disk(stored)[0])) == {0, 2, 3}


def test_a_scanned_plane_is_exported(bench, scan, tmp_path):
    bench.model.output, bench.model.path = "scan", str(tmp_path / "out")
    bench.model.export_format = ExportFormat.TIFF
    bench.collection.export()
    assert "Exported" in bench.settle()

    written = tifffile.imread(tmp_path / "out.tif")
    assert written.size == SHAPE[0] * SHAPE[1]
    np.testing.assert_array_equal(np.squeeze(written), np.squeeze(np.asarray(scan.data[0])))


def test_a_folder_is_not_replaced_by_labels_that_are_read_from_it(bench, scan, stored):
    begin = on_disk(stored)
    bench.model.output = "scan"
    bench.collection.choose_path(str(stored))
    bench.model.export_format = ExportFormat.OME_ZARR

    bench.collection.export()

    assert "is where these labels are stored" in bench.settle()
    np.testing.assert_array_equal(on_disk(stored)[0], begin[0])


def test_a_scan_that_goes_on_is_only_read(bench, stored):
    layer = bench.viewer.add_labels([LazyPlane(level, 3, 1, 2) for level in open_levels(stored)])
    bench.model.target = bench.key(layer)

    with pytest.raises(MaskError, match=r"can only be read\. Wait for the end of its scan"):
        bench.cleanup.apply(Operation.FILL_HOLES)


# -- a disk that fails ---------------------------------------------------------------------


class Disk(MemoryStore):
    """A disk that has room for so many chunks; None for any number."""

    room = None

    async def set(self, key, value, byte_range=None):
        if self.room is not None:
            if self.room == 0:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            self.room -= 1
        await super().set(key, value, byte_range)


@pytest.fixture
def disk(bench):
    """Labels on such a disk, as the target: six objects, each in a chunk of its own."""
    made = Disk()
    labels = np.zeros((20, 30), np.uint16)
    labels[3::10, 3::10] = 5
    array = zarr.create_array(made, shape=labels.shape, chunks=(10, 10), dtype=labels.dtype)
    array[:] = labels
    bench.model.target = bench.key(bench.viewer.add_labels(array))
    made.array, made.begin = array, labels
    return made


def relabel_all(bench):
    bench.model.values_text, bench.model.new_value = "5", 6
    bench.cleanup.apply(Operation.MERGE_VALUES)
    return bench.settle()


def test_an_edit_that_the_disk_does_not_take_is_taken_back(bench, disk):
    disk.room = 3
    with pytest.MonkeyPatch.context() as patch:
        # What is full has room for what it held before.
        patch.setattr(Disk, "set", refuse_once(disk))
        said = relabel_all(bench)

    assert "No space left on device. They are as they were before." in said
    np.testing.assert_array_equal(disk.array[:], disk.begin)
    assert not bench.model.can_undo
    assert bench.binding.adapter.layer(bench.model.target).editable
    relabel_all(bench)
    assert np.count_nonzero(disk.array[:] == 6) == 6


def refuse_once(disk):
    """Return a ``set`` that refuses one chunk when the room has gone, and none after it."""
    usual = Disk.set

    async def set_(self, key, value, byte_range=None):
        try:
            await usual(self, key, value, byte_range)
        except OSError:
            disk.room = None
            raise

    return set_


def test_what_a_broken_disk_took_of_an_edit_can_be_taken_back_later(bench, disk):
    disk.room = 3

    said = relabel_all(bench)

    assert "press Undo once the disk works again" in said
    assert np.count_nonzero(disk.array[:] == 6) == 3
    disk.room = None
    bench.cleanup.undo()
    bench.settle()
    np.testing.assert_array_equal(disk.array[:], disk.begin)


def test_an_undo_that_the_disk_does_not_take_is_there_still(bench, disk):
    relabel_all(bench)
    disk.room = 2
    bench.cleanup.undo()
    assert "No space left" in bench.settle()
    assert bench.model.can_undo
    assert not bench.model.can_redo

    disk.room = None
    bench.cleanup.undo()
    bench.settle()

    np.testing.assert_array_equal(disk.array[:], disk.begin)

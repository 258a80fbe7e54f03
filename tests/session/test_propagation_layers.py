"""3D/video: layers that go meanwhile, what is read, and what is kept."""

import json
import threading

import dask
import dask.array as da
import numpy as np
import pytest
import tifffile
import zarr
from napari.layers import Labels

from napari_sam3_assistant.errors import ExportError
from napari_sam3_assistant.jobs import JobState

PREVIEW = "SAM3 propagated preview labels"
SAVED = "SAM3 saved propagated labels"
LENGTH, HEIGHT, WIDTH = 12, 60, 70


@pytest.fixture
def bench(open_bench):
    """A viewer with the stack of two balls."""
    return open_bench()


def test_renamed_layers_make_no_difference(bench):
    bench.click(6, 20, 20)
    job = bench.session.run()
    bench.desk.until(lambda: PREVIEW in bench.viewer.layers)
    labels = bench.labels
    labels.name, bench.image.name = "mine", "other"

    bench.finish(job)

    assert bench.values(labels.data) == [[]] + [[1]] * 11


@pytest.mark.parametrize("which", ["labels", "image"])
def test_a_layer_removed_while_it_runs_stops_it_with_a_sentence(bench, which):
    bench.click(6, 20, 20)
    job = bench.session.run()
    bench.desk.until(lambda: PREVIEW in bench.viewer.layers)
    gone = bench.labels if which == "labels" else bench.image

    bench.viewer.layers.remove(gone)

    assert job.state is JobState.CANCELLED
    assert f"“{gone.name}” was removed; the propagation was stopped." in bench.message
    assert not bench.model.can_continue
    assert (PREVIEW in bench.viewer.layers) == (which == "image")


def test_it_starts_again_after_its_labels_were_removed(bench):
    bench.click(6, 20, 20)
    bench.start()
    bench.viewer.layers.remove(PREVIEW)
    bench.start()
    assert bench.values(bench.labels.data) == [[]] + [[1]] * 11


def test_each_frame_of_a_lazy_stack_is_read_once_a_direction(open_bench, balls):
    stack, reads = balls, []

    def read(block, block_info=None):
        if threading.current_thread().name == "sam3-jobs":
            reads.append(block_info[None]["chunk-location"][0])
        return block

    lazy = da.from_array(stack, chunks=(1, HEIGHT, WIDTH)).map_blocks(read, dtype=np.uint8)
    with dask.config.set(scheduler="synchronous"):
        bench = open_bench(lazy, contrast_limits=(0, 255))
        bench.click(6, 20, 20)
        bench.start()

    # The prompted frame is read for its prompts, too; the tracker begins there.
    assert sorted(set(reads)) == list(range(LENGTH))
    assert all(reads.count(frame) == 1 for frame in range(LENGTH) if frame != 6)
    assert reads.count(6) <= 3


def test_a_large_stack_is_written_to_a_temporary_folder(bench):
    bench.binding.adapter.stacks.in_memory = 1000
    bench.click(6, 20, 20)

    bench.start()

    data = bench.labels.data
    assert isinstance(data, zarr.Array)
    assert bench.values(np.asarray(data)) == [[]] + [[1]] * 11
    assert data.chunks == (1, HEIGHT, WIDTH)


def test_kept_labels_stay_when_the_next_session_begins(bench):
    bench.click(6, 20, 20)
    bench.start()
    bench.session.saving.keep_all()
    bench.desk.until(lambda: SAVED in bench.viewer.layers)
    kept = bench.viewer.layers[SAVED]
    before = bench.labels.data.copy()

    bench.model.last_frame = 7
    bench.start()

    assert isinstance(kept, Labels)
    assert np.array_equal(kept.data, before)
    assert not np.array_equal(bench.labels.data, before)


@pytest.mark.parametrize("on_disk", [False, True])
def test_save_and_clean_writes_a_stack_with_its_scale(open_bench, tmp_path, on_disk):
    bench = open_bench(
        scale=(0.5, 0.2, 0.2), units=("micrometer",) * 3, axis_labels=("z", "y", "x")
    )
    if on_disk:
        bench.binding.adapter.stacks.in_memory = 1000
    bench.click(6, 20, 20, on=3)
    bench.start()
    wanted = np.asarray(bench.labels.data)
    bench.model.output_folder = str(tmp_path)

    bench.finish(bench.session.cleaning.save())

    file = tmp_path / "image_propagated_mask_01.tif"
    assert bench.model.saved == (str(file),)
    with tifffile.TiffFile(file) as tiff:
        assert tiff.series[0].axes == "ZYX"
        assert np.array_equal(tiff.asarray(), wanted)
        for size in ('PhysicalSizeZ="0.5"', 'PhysicalSizeY="0.2"', 'PhysicalSizeX="0.2"'):
            assert size in tiff.ome_metadata
    note = json.loads((tmp_path / f"{file.name}.json").read_text("utf-8"))
    steps = note["extra"]["propagation"]["steps"]
    assert list(steps[0]["prompts"]) == ["6"]
    assert steps[0]["prompts"]["6"]["points"][0]["object_id"] == 3
    assert steps[0]["passes"] == [[6, 12, 1], [5, -1, -1]]
    assert note["objects"] == [{"id": 3, "text": "", "frames": 11, "first": 1, "last": 11}]
    assert PREVIEW not in bench.viewer.layers
    assert np.array_equal(np.asarray(bench.viewer.layers[SAVED].data), wanted)
    assert not bench.model.can_continue


def test_numpy_and_ome_zarr_and_no_png(open_bench, tmp_path):
    bench = open_bench(scale=(2.0, 0.2, 0.2), axis_labels=("t", "y", "x"))
    bench.click(6, 20, 20)
    bench.start()
    wanted = bench.labels.data

    bench.finish(bench.session.saving.export(tmp_path / "found.npy"))
    bench.finish(bench.session.saving.export(tmp_path / "found.ome.zarr"))

    assert np.array_equal(np.load(tmp_path / "found.npy"), wanted)
    group = zarr.open_group(tmp_path / "found.ome.zarr", mode="r")
    assert np.array_equal(group["0"][:], wanted)
    multiscale = group.attrs["multiscales"][0]
    assert [axis["name"] for axis in multiscale["axes"]] == ["t", "y", "x"]
    assert multiscale["datasets"][0]["coordinateTransformations"][0]["scale"] == [2.0, 0.2, 0.2]
    with pytest.raises(ExportError, match="Choose TIFF, NumPy or OME-Zarr"):
        bench.session.saving.export(tmp_path / "found.png")

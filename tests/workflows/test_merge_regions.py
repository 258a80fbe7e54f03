"""Results of regions in one file."""

import shutil

import numpy as np
import pytest

from napari_sam3_assistant.core.axes import make_axes
from napari_sam3_assistant.core.progress import CancelToken, NullReporter
from napari_sam3_assistant.core.regions import Region
from napari_sam3_assistant.errors import ExportError, JobCancelled, MaskError
from napari_sam3_assistant.io.images import read_image
from napari_sam3_assistant.workflows.save import MergeRequest, merge_regions

PARTS = (
    (Region(0, 0, 2, 3), np.array([[1, 2, 0], [0, 0, 2]], np.uint32)),
    (Region(1, 2, 3, 4), np.array([[1, 0], [1, 3]], np.uint32)),
)


def test_ids_go_on_and_the_later_result_is_on_top(tmp_path):
    request = MergeRequest(PARTS, make_axes((4, 5), scale=(0.5, 0.25)), tmp_path / "a.zarr")

    (path,) = merge_regions(request, NullReporter())

    loaded = read_image(path)
    assert np.asarray(loaded.data).tolist() == [
        [1, 2, 0, 0, 0],
        [0, 0, 3, 0, 0],
        [0, 0, 3, 5, 0],
        [0, 0, 0, 0, 0],
    ]
    assert tuple(axis.scale for axis in loaded.axes) == (0.5, 0.25)
    assert [entry.name for entry in tmp_path.iterdir()] == ["a.zarr"]


def test_a_cancel_leaves_nothing(tmp_path):
    token = CancelToken()

    class Reporter(NullReporter):
        def report(self, progress):
            token.check()
            if progress.message == "Merging region 2":
                token.cancel()

        check = token.check

    with pytest.raises(JobCancelled):
        list(
            merge_regions(
                MergeRequest(PARTS, make_axes((3000, 3000)), tmp_path / "b.zarr"), Reporter()
            )
        )

    assert list(tmp_path.iterdir()) == []


def test_nothing_to_merge_or_a_name_that_is_taken(tmp_path):
    with pytest.raises(MaskError, match="no results"):
        list(
            merge_regions(MergeRequest((), make_axes((4, 5)), tmp_path / "a.zarr"), NullReporter())
        )
    (tmp_path / "a.zarr").mkdir()
    request = MergeRequest(PARTS, make_axes((4, 5)), tmp_path / "a.zarr")
    with pytest.raises(ExportError, match="exists already"):
        list(merge_regions(request, NullReporter()))


def test_a_folder_that_vanishes_meanwhile_leaves_no_half_labels(tmp_path):
    class Reporter(NullReporter):
        def report(self, progress):
            if progress.message == "Merging region 2":
                # The thread that writes makes folders anew meanwhile.
                shutil.rmtree(tmp_path, ignore_errors=True)

    request = MergeRequest(PARTS, make_axes((300, 300)), tmp_path / "b.zarr")
    with pytest.raises(ExportError, match=r"vanished|No such file"):
        list(merge_regions(request, Reporter()))

    assert not (tmp_path / "b.zarr").exists()


def test_a_name_that_somebody_takes_meanwhile_is_left_to_them(tmp_path):
    class Reporter(NullReporter):
        def report(self, progress):
            (tmp_path / "b.zarr").mkdir(exist_ok=True)
            (tmp_path / "b.zarr" / "theirs").touch()

    request = MergeRequest(PARTS, make_axes((4, 5)), tmp_path / "b.zarr")
    (path,) = merge_regions(request, Reporter())

    assert path == tmp_path / "b_02.zarr"
    assert read_image(path).data.shape == (4, 5)
    assert [entry.name for entry in (tmp_path / "b.zarr").iterdir()] == ["theirs"]

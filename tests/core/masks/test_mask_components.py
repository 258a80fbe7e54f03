import dask.array as da
import numpy as np
import pytest
import zarr
from hypothesis import given
from hypothesis import strategies as st
from mask_cases import small_labels
from skimage import measure

from napari_sam3_assistant.core.masks import labels as blocks
from napari_sam3_assistant.core.masks.components import find_components
from napari_sam3_assistant.core.masks.labels import Connectivity, whole_box
from napari_sam3_assistant.core.progress import CancelToken
from napari_sam3_assistant.errors import JobCancelled


def image_of(found, shape):
    return found.image(np.arange(1, len(found) + 1), whole_box(shape))


def test_touching_labels_and_separate_parts_are_components_of_their_own():
    labels = np.array(
        [
            [1, 1, 2, 0, 1],
            [0, 1, 2, 2, 0],
            [2, 0, 0, 0, 70000],
        ]
    )

    found = find_components(labels)

    assert found.values.tolist() == [1, 1, 2, 2, 70000]
    assert found.areas.tolist() == [3, 1, 3, 1, 1]
    assert found.centroids[2].tolist() == pytest.approx([2 / 3, 7 / 3])
    assert found.box(0) == (slice(0, 2), slice(0, 2))
    np.testing.assert_array_equal(
        image_of(found, labels.shape), [[1, 1, 3, 0, 2], [0, 1, 3, 3, 0], [4, 0, 0, 0, 5]]
    )


def test_corners_join_only_where_they_count():
    labels = np.array([[1, 0], [0, 1]], np.uint8)

    assert len(find_components(labels, Connectivity.FACES)) == 2
    assert len(find_components(labels, Connectivity.ALL)) == 1


@pytest.mark.parametrize("shape", [(0, 4), (3, 0), (5, 5), (1, 1)])
def test_empty_labels_have_no_components(shape):
    assert len(find_components(np.zeros(shape, np.uint16))) == 0


def test_one_pixel():
    found = find_components(np.ones((1, 1, 1), bool))

    assert found.areas.tolist() == [1]
    assert found.centroids.tolist() == [[0, 0, 0]]


@given(small_labels(), st.sampled_from(Connectivity))
def test_like_scikit_image(labels, connectivity):
    expected = measure.label(labels, connectivity=connectivity.rank(labels.ndim))

    found = find_components(labels, connectivity)
    image = image_of(found, labels.shape)

    pairs = np.unique(np.stack([image.ravel(), expected.ravel()]), axis=1)
    assert pairs.shape[1] == len(np.unique(image)) == len(np.unique(expected))
    for row, region in zip(range(len(found)), measure.regionprops(image), strict=True):
        assert found.areas[row] == region.area
        assert found.centroids[row] == pytest.approx(region.centroid)
        assert found.box(row) == region.slice
        assert (labels[region.slice][region.image] == found.values[row]).all()


@given(
    small_labels(dims=(2,), side=12),
    st.sampled_from(Connectivity),
    st.tuples(st.integers(1, 5), st.integers(1, 5)),
)
def test_components_of_lazy_labels_are_joined_across_blocks(labels, connectivity, chunks):
    whole_ = find_components(labels, connectivity)
    lazy = zarr.create_array({}, shape=labels.shape, chunks=chunks, dtype=labels.dtype)
    lazy[:] = labels

    for array in (lazy, da.from_array(labels, chunks=chunks)):
        with pytest.MonkeyPatch.context() as patch:
            # Every chunk is a block of its own.
            patch.setattr(blocks.split_blocks, "__defaults__", (1,))
            found = find_components(array, connectivity)
        assert found.values.tolist() == whole_.values.tolist()
        assert found.areas.tolist() == whole_.areas.tolist()
        np.testing.assert_array_equal(image_of(found, labels.shape), image_of(whole_, labels.shape))


def test_lazy_labels_in_three_dimensions():
    rng = np.random.default_rng(0)
    labels = (rng.integers(1, 3, (9, 20, 20)) * (rng.random((9, 20, 20)) < 0.6)).astype(np.uint8)
    lazy = zarr.create_array({}, shape=labels.shape, chunks=(4, 8, 8), dtype=labels.dtype)
    lazy[:] = labels

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(blocks.split_blocks, "__defaults__", (1,))
        found = find_components(lazy)

    assert found.areas.tolist() == find_components(labels).areas.tolist()


def test_only_the_blocks_of_the_box_are_read():
    lazy = zarr.create_array({}, shape=(100, 100), chunks=(10, 10), dtype="uint8")
    lazy[:] = 1

    boxes = blocks.split_blocks(lazy, (slice(12, 18), slice(55, 75)))

    assert all(box[0] == slice(12, 18) for box in boxes)
    assert boxes[0][1].start == 55
    assert boxes[-1][1].stop == 75


def test_a_cancelled_analysis_stops():
    token = CancelToken()

    class Stopped:
        def report(self, progress):
            token.cancel()
            token.check()

        def check(self):
            token.check()

    with pytest.raises(JobCancelled):
        find_components(np.ones((4, 4), np.uint8), reporter=Stopped())

"""Measuring results: which pixels are read, of which channels, and how it stops."""

import dask.array as da
import numpy as np
import pytest
import zarr

from napari_sam3_assistant.core.axes import guess_axes
from napari_sam3_assistant.core.images import ImageSource, PixelSize, RawPlane
from napari_sam3_assistant.core.progress import CancelToken, NullReporter
from napari_sam3_assistant.core.regions import Region
from napari_sam3_assistant.core.results import ObjectRecord
from napari_sam3_assistant.core.stitching import StitchedObject
from napari_sam3_assistant.errors import ImageError, JobCancelled
from napari_sam3_assistant.workflows.measure import MeasureRequest, measure


def square(y, x, id_=1, size=4):
    return ObjectRecord(id_, np.ones((size, size), bool), Region(y, x, y + size, x + size))


def measured(data, objects, leading=(), scale=(1.0, 1.0), **axes):
    source = ImageSource(data, guess_axes(data.shape, **axes))
    request = MeasureRequest(RawPlane(source, leading, PixelSize(*scale, "um")), tuple(objects))
    (answers,) = measure([request], NullReporter())
    return answers


def test_the_order_of_the_objects_is_kept():
    image = np.arange(1000 * 1000).reshape(1000, 1000)
    objects = [square(900, 900), square(0, 0), square(904, 904), square(500, 2)]

    answers = measured(image, objects)

    expected = [float(image[one.region.slices].mean()) for one in objects]
    assert [one.means[0] for one in answers] == expected


def test_only_the_chunks_below_objects_are_read():
    read = []

    def block(block_info=None):
        location = block_info[None]["chunk-location"]
        read.append(location)
        return np.full((1, 256, 256), location[0] + 10 * location[1] + location[2], np.uint16)

    stack = da.map_blocks(block, chunks=((1,) * 3, (256,) * 4, (256,) * 4), dtype=np.uint16)
    objects = [square(300, 20), square(320, 40), square(900, 1000)]

    answers = measured(stack, objects, leading=(2,))

    assert sorted(set(read)) == [(2, 1, 0), (2, 3, 3)]
    assert [one.means for one in answers] == [(12.0,), (12.0,), (35.0,)]


def test_rgb_is_measured_without_alpha():
    image = np.zeros((40, 40, 4), np.uint8)
    image[...] = (10, 20, 30, 255)

    (answer,) = measured(image, [square(3, 5)], rgb=True)

    assert answer.means == (10.0, 20.0, 30.0)


def test_every_channel_on_the_plane_of_a_zarr(tmp_path):
    array = zarr.create_array(str(tmp_path / "a.zarr"), shape=(2, 3, 40, 50), dtype="u2")
    array[...] = 0
    array[1, :, 10:14, 20:24] = np.array([100, 200, 300])[:, None, None]

    (answer,) = measured(array, [square(10, 20)], (1,), (0.5, 0.25), channel_axis=1)

    assert answer.means == (100.0, 200.0, 300.0)
    assert answer.area == 16 * 0.5 * 0.25
    assert answer.centroid == (11.5 * 0.5, 21.5 * 0.25)
    assert answer.unit == "um"


def test_several_results_and_a_cancel_between_them():
    source = ImageSource(np.ones((64, 64)), guess_axes((64, 64)))
    requests = [MeasureRequest(RawPlane(source), (square(y, 0),)) for y in (0, 10)]
    token, said = CancelToken(), []

    class Reporter(NullReporter):
        def report(self, progress):
            token.check()
            said.append((progress.done, progress.total, progress.message))

    measuring = measure(requests, Reporter())
    assert next(measuring)[0].area == 16
    token.cancel()
    with pytest.raises(JobCancelled):
        next(measuring)
    assert said == [(0, 2, "Measuring object 1 of 2")]


def test_a_file_that_is_gone_is_one_sentence():
    class Gone:
        shape, dtype = (64, 64), np.dtype(np.uint8)

        def __getitem__(self, key):
            raise FileNotFoundError("a.tif")

    with pytest.raises(ImageError, match="could not be read") as caught:
        measured(Gone(), [square(0, 0)])
    assert caught.value.hint


def of_labels(image, labels, objects, side=2048):
    source = ImageSource(image, guess_axes(image.shape))
    request = MeasureRequest(
        RawPlane(source, (), PixelSize(0.5, 2.0, "um")), tuple(objects), labels
    )
    (answers,) = measure([request], NullReporter(), side)
    return answers


def test_objects_in_labels_are_measured_like_those_with_masks():
    rng = np.random.default_rng(0)
    image = rng.integers(0, 60_000, (300, 400), np.uint16)
    labels = np.zeros(image.shape, np.uint32)
    for number in range(1, 40):
        y, x = rng.integers(0, 250), rng.integers(0, 350)
        height, width = rng.integers(1, 150, 2) if number % 7 == 0 else rng.integers(1, 40, 2)
        labels[y : y + height, x : x + width] = number
    labels[250:, :] = 99  # as wide as the image
    ids = np.unique(labels[labels > 0]).tolist()
    records = [ObjectRecord.from_mask(one, labels == one) for one in ids]
    stored = zarr.array(labels, chunks=(64, 64))
    # The box that a scan tells may be larger than the object.
    stitched = [
        StitchedObject(one.id, one.area, one.region.grow(3).intersect(Region.whole(image.shape)))
        for one in records
    ]

    answers = of_labels(image, stored, stitched, side=64)  # so that some are read in parts

    for one, other in zip(answers, of_labels(image, None, records), strict=True):
        assert one.area == pytest.approx(other.area)
        assert one.diameter == pytest.approx(other.diameter)
        assert one.centroid == pytest.approx(other.centroid)
        assert one.means == pytest.approx(other.means)
        assert one.unit == "um"


def test_an_object_that_was_erased_from_the_labels_has_no_measurement():
    labels = np.zeros((20, 20), np.uint32)
    labels[3:6, 3:6] = 2
    objects = [
        StitchedObject(1, 9, Region(10, 10, 13, 13)),
        StitchedObject(2, 9, Region(3, 3, 6, 6)),
    ]
    answers = of_labels(np.ones((20, 20)), labels, objects)
    assert answers[0] is None
    assert answers[1].area == 9.0

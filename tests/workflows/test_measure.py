"""Measuring results: which pixels are read, of which channels, and how it stops."""

import dask.array as da
import numpy as np
import pytest
import zarr

from napari_sam3_assistant.core.axes import guess_axes
from napari_sam3_assistant.core.images import ImageSource
from napari_sam3_assistant.core.progress import CancelToken, NullReporter
from napari_sam3_assistant.core.raw_plane import PixelSize, RawPlane
from napari_sam3_assistant.core.regions import Region
from napari_sam3_assistant.core.results import ObjectRecord
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

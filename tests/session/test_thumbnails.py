"""Pictures of objects: what they show, what is read for them, and how they are made."""

import threading

import dask.array as da
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from napari_sam3_assistant.core.axes import guess_axes
from napari_sam3_assistant.core.display import ImageView, ViewChannel, view_of_array
from napari_sam3_assistant.core.images import ImageSource, PlaneRef
from napari_sam3_assistant.core.regions import Region
from napari_sam3_assistant.core.results import ObjectRecord
from napari_sam3_assistant.errors import ImageError
from napari_sam3_assistant.session.snapshots import PictureSource
from napari_sam3_assistant.session.thumbnails import (
    SIDE,
    Thumbnails,
    draw_thumbnail,
)
from napari_sam3_assistant.session.values import FileBackedKind, FileBackedLabels, ResultRow

OUTLINE = (242, 199, 68)


def source_of(view, region):
    return PictureSource(view, region, lambda part: np.ones(part.shape, bool))


@given(
    st.integers(1, 60), st.integers(1, 60), st.data(), st.sampled_from(["u1", "u2", "f4", "bool"])
)
def test_any_object_of_any_image_has_a_picture_with_its_outline(height, width, data, dtype):
    y0, x0 = data.draw(st.integers(0, height - 1)), data.draw(st.integers(0, width - 1))
    y1, x1 = data.draw(st.integers(y0 + 1, height)), data.draw(st.integers(x0 + 1, width))
    view = view_of_array(np.arange(height * width).reshape(height, width).astype(dtype))

    picture = draw_thumbnail(source_of(view, Region(y0, x0, y1, x1)))

    assert picture.shape == (SIDE, SIDE, 3)
    assert (picture == OUTLINE).all(-1).any()


def test_only_the_pixels_round_an_object_are_read():
    read = []

    def block(block_info=None):
        read.append(block_info[None]["chunk-location"])
        return np.zeros((1, 64, 64), np.uint16)

    stack = da.map_blocks(block, chunks=((1,) * 5, (64,) * 40, (64,) * 40), dtype=np.uint16)
    source = ImageSource(stack, guess_axes(stack.shape))
    view = ImageView((ViewChannel(source, PlaneRef((3,))),))
    source.contrast(None)
    read.clear()

    draw_thumbnail(source_of(view, Region(700, 900, 720, 915)))

    assert {(z, y // 1, x // 1) for z, y, x in read} <= {
        (3, y, x) for y in (10, 11) for x in (13, 14)
    }


def test_of_an_object_as_large_as_a_slide_the_middle_is_read():
    read = []

    class Slide:
        shape, dtype = (200_000, 100_000), np.dtype("u1")

        def __getitem__(self, key):
            read.append(key)
            return np.zeros([one.stop - one.start for one in key], "u1")

    view = view_of_array(Slide(), rgb=False)
    asked = []

    def mask(part):
        asked.append(part)
        return np.ones(part.shape, bool)

    draw_thumbnail(PictureSource(view, Region(0, 0, 200_000, 100_000), mask))

    assert max(part.height * part.width for part in asked) <= 4096**2
    assert all((y.stop - y.start) * (x.stop - x.start) <= 4096**2 for y, x in read)


class Adapter:
    """Says where pictures come from. The real one needs a viewer; see tests/viewer."""

    def __init__(self, view):
        self.view, self.gone = view, set()

    def picture_source(self, row):
        if row.record.id in self.gone:
            raise ImageError("The image is gone.", "Open it again.")
        return source_of(self.view, row.record.region)


def rows_of(count):
    stored = FileBackedLabels(FileBackedKind.SCAN, None, None, ())
    square = np.ones((4, 4), bool)
    return [
        ResultRow(stored, ObjectRecord(n + 1, square, Region(n, n, n + 4, n + 4)))
        for n in range(count)
    ]


@pytest.fixture
def deliver():
    lock = threading.Lock()

    def run(call):
        with lock:
            call()

    return run


def test_pictures_come_when_they_are_asked_for_and_stay(deliver):
    pictures = Thumbnails(Adapter(view_of_array(np.zeros((90, 90), "u1"))), deliver)
    rows, made = rows_of(70), {}
    done = threading.Event()

    def take(row):
        made[row.record.id] = made.get(row.record.id, 0) + 1
        if len(made) == 20:
            done.set()

    pictures.made.connect(take)
    for row in rows[:20]:
        assert pictures.find(row) is None
    assert done.wait(240)
    assert all(pictures.find(row).shape == (SIDE, SIDE, 3) for row in rows[:20])
    assert set(made.values()) == {1}
    assert set(made) == set(range(1, 21))
    pictures.close()


def test_what_is_gone_has_an_empty_picture_and_is_not_asked_for_again(deliver):
    adapter = Adapter(view_of_array(np.zeros((90, 90), "u1")))
    adapter.gone = {1}
    pictures = Thumbnails(adapter, deliver)
    row = rows_of(1)[0]
    assert pictures.find(row) is None
    assert not pictures.find(row).any()
    pictures.close()

"""The overlay shows each object filled and outlined, and the rest as it is."""

import imageio.v3 as iio
import numpy as np
import pytest

from napari_sam3_assistant.errors import ExportError
from napari_sam3_assistant.io.exports import save_overlay

BLUE, ORANGE = (86, 180, 233), (230, 159, 0)


def drawn(tmp_path, labels, grey=100):
    rgb = np.full((*labels.shape, 3), grey, np.uint8)
    return iio.imread(save_overlay(rgb, labels, tmp_path / "a.png"))


def test_objects_are_filled_and_outlined_and_the_background_stays(tmp_path):
    labels = np.zeros((20, 20), np.uint32)
    labels[2:9, 2:9] = 1
    labels[2:9, 9:16] = 2

    picture = drawn(tmp_path, labels)

    assert picture.shape == (20, 20, 3)
    assert picture.dtype == np.uint8
    np.testing.assert_array_equal(picture[labels == 0], 100)
    np.testing.assert_array_equal(picture[2, 2], BLUE)
    np.testing.assert_array_equal(picture[5, 8], BLUE)  # outlined against its neighbour too
    np.testing.assert_array_equal(picture[5, 9], ORANGE)
    mixed = np.round(0.35 * np.array(BLUE) + 0.65 * 100)
    np.testing.assert_allclose(picture[5, 5].astype(int), mixed, atol=1)


def test_colours_go_by_the_id_whatever_else_is_there(tmp_path):
    labels = np.zeros((10, 10), np.uint32)
    labels[2:8, 2:8] = 2

    np.testing.assert_array_equal(drawn(tmp_path, labels)[2, 2], ORANGE)


def test_ids_beyond_the_colours_start_again(tmp_path):
    labels = np.zeros((10, 10), np.uint32)
    labels[2:8, 2:8] = 70001  # 7 colours, so this is the first again

    np.testing.assert_array_equal(drawn(tmp_path, labels)[2, 2], BLUE)


def test_without_objects_it_is_the_image(tmp_path):
    np.testing.assert_array_equal(drawn(tmp_path, np.zeros((5, 6), np.uint32)), 100)


@pytest.mark.parametrize(
    ("shape", "name", "said"),
    [
        ((5, 5), "a.png", "don't fit"),
        ((4, 4), "a.tif", r"as '\.tif'"),
        ((4, 4), "nowhere/a.png", "does not exist"),
    ],
)
def test_refused_with_a_remedy(tmp_path, shape, name, said):
    with pytest.raises(ExportError, match=said) as caught:
        save_overlay(np.zeros((4, 4, 3), np.uint8), np.zeros(shape, int), tmp_path / name)
    assert caught.value.hint

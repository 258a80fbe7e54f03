"""What the model sees: single planes, composites, bare arrays and a layer's contrast."""

import dask.array as da
import numpy as np
import pytest

from napari_sam3_assistant.core.axes import guess_axes
from napari_sam3_assistant.core.display import (
    INVERTED,
    Display,
    ImageView,
    ViewChannel,
    choose_contrast,
    view_of_array,
)
from napari_sam3_assistant.core.images import ImageSource, PlaneRef
from napari_sam3_assistant.core.regions import Region
from napari_sam3_assistant.errors import ImageError

RED = np.array([[0.0, 0.0, 0.0], [1.0, 0.0, 0.0]])
YELLOW = np.array([[0.0, 0.0, 0.0], [1.0, 1.0, 0.0]])


def source_of(data, **known):
    return ImageSource(data, guess_axes(data.shape, **known))


def row(*values, dtype=np.uint8):
    return np.array([values], dtype)


def test_channels_add_up_and_are_clipped():
    view = ImageView(
        (
            ViewChannel(source_of(row(0, 100, 200)), PlaneRef(), Display(colormap=RED)),
            ViewChannel(source_of(row(50, 60, 70)), PlaneRef(), Display(colormap=YELLOW)),
        )
    )

    np.testing.assert_array_equal(view.rgb(), [[[50, 50, 0], [160, 60, 0], [255, 70, 0]]])


def test_of_inverted_channels_the_darkest_counts():
    ink = np.array([[1.0, 1.0, 1.0], [0.0, 0.0, 1.0]])
    view = ImageView(
        (
            ViewChannel(source_of(row(0, 255, 100)), PlaneRef(), Display(colormap=ink)),
            ViewChannel(source_of(row(0, 0, 200)), PlaneRef(), Display(colormap=INVERTED)),
        )
    )

    np.testing.assert_array_equal(view.rgb(), [[[255] * 3, [0, 0, 255], [55] * 3]])


def test_a_region_of_a_view_is_the_crop_of_the_view():
    rng = np.random.default_rng(0)
    view = view_of_array(rng.random((3, 40, 50)), channel_axis=0)

    np.testing.assert_array_equal(view.rgb(Region(-5, 10, 8, 99)), view.rgb()[0:8, 10:50])


def test_planes_of_a_stack_share_their_contrast():
    data = np.stack([np.full((4, 4), 100.0), np.full((4, 4), 200.0), np.full((4, 4), 300.0)])

    shown = [view_of_array(data, plane=index).rgb()[0, 0, 0] for index in range(3)]

    assert shown == [0, 128, 255]


def test_one_hot_pixel_does_not_black_out_an_image():
    data = np.where(np.indices((50, 50)).sum(0) % 2, 200, 100).astype(np.uint16)
    data[3, 3] = 65535

    assert set(np.unique(view_of_array(data).rgb())) == {0, 255}
    assert (view_of_array(data).rgb() == 255).mean() > 0.49


def test_images_of_different_sizes_are_no_view():
    channels = [
        ViewChannel(source_of(np.zeros(shape, np.uint8)), PlaneRef()) for shape in ((4, 5), (4, 6))
    ]

    with pytest.raises(ImageError, match="4 x 5, 4 x 6"):
        ImageView(tuple(channels))


def test_a_view_of_nothing():
    with pytest.raises(ImageError, match="no image"):
        ImageView(())


def test_a_view_of_a_plane_that_is_not_there():
    with pytest.raises(ImageError, match="no plane 9"):
        ImageView((ViewChannel(source_of(np.zeros((3, 4, 5))), PlaneRef((9,))),))


def test_the_key_is_known_without_reading_and_tells_pictures_apart():
    def never(block):
        raise AssertionError("a pixel was read")

    data = da.zeros((2, 8, 8), chunks=(1, 8, 8), dtype=np.uint16).map_blocks(never, dtype="u2")
    source = source_of(data)

    def key(index=0, contrast=None, source=source):
        return ImageView((ViewChannel(source, PlaneRef((index,)), Display(contrast)),)).key

    assert key() == key()
    assert hash(key()) == hash(key())
    assert len({key(), key(1), key(contrast=(0, 1)), key(source=source_of(data))}) == 4


def test_a_bare_grey_array():
    data = np.arange(12, dtype=np.uint8).reshape(3, 4)
    view = view_of_array(data)

    assert view.shape == (3, 4)
    np.testing.assert_array_equal(view.rgb(), data[..., None].repeat(3, -1))


def test_a_bare_rgba_array():
    data = np.random.default_rng(0).integers(0, 256, (9, 8, 4), np.uint8)

    np.testing.assert_array_equal(view_of_array(data).rgb(), data[..., :3])


def test_a_bare_array_with_contrast():
    view = view_of_array(row(0, 50, 100, dtype=np.uint8), contrast=(0, 100))

    assert view.rgb()[0, :, 0].tolist() == [0, 128, 255]


@pytest.mark.parametrize(
    ("count", "colours"),
    [
        (1, [(1, 1, 1)]),
        (2, [(1, 0, 1), (0, 1, 0)]),
        (3, [(0, 1, 1), (1, 1, 0), (1, 0, 1)]),
        (
            7,
            [(0, 1, 1), (1, 1, 0), (1, 0, 1), (1, 0, 0), (0, 1, 0), (0, 0, 1), (0, 1, 1)],
        ),
    ],
)
def test_channels_have_naparis_colours(count, colours):
    # Channel k is bright in pixel k only.
    data = (np.eye(count) * 200).astype(np.uint8)[:, None, :]

    rgb = view_of_array(data, channel_axis=0).rgb()

    np.testing.assert_array_equal(rgb[0], np.array(colours) * 200)


def test_one_channel_is_grey():
    data = np.stack([row(1, 2), row(3, 4)])

    np.testing.assert_array_equal(
        view_of_array(data, channel_axis=0, channel=1).rgb(), [[[3, 3, 3], [4, 4, 4]]]
    )


def test_one_colour_of_an_rgb_array():
    data = np.random.default_rng(0).integers(0, 256, (9, 8, 3), np.uint8)

    np.testing.assert_array_equal(
        view_of_array(data, channel=1).rgb(), data[..., 1:2].repeat(3, -1)
    )


def test_labels_name_the_channel_axis():
    data = np.zeros((2, 5, 4, 6), np.uint8)
    data[1, 3] = 90

    view = view_of_array(data, axis_labels=("c", "z", "y", "x"), plane=3)

    np.testing.assert_array_equal(np.unique(view.rgb().reshape(-1, 3), axis=0), [[0, 90, 0]])


@pytest.mark.parametrize("plane", [(1, 2), [1, 2], np.array([1, 2])])
def test_the_plane_of_a_stack(plane):
    data = np.arange(2 * 3 * 4 * 5, dtype=np.uint8).reshape(2, 3, 4, 5)

    np.testing.assert_array_equal(view_of_array(data, plane=plane).rgb()[..., 0], data[1, 2])


def test_axes_of_size_one_need_no_plane():
    assert view_of_array(np.zeros((1, 1, 6, 7), np.uint8)).shape == (6, 7)


def test_a_stack_without_a_plane_says_how_to_choose_one():
    with pytest.raises(ImageError, match=r"axis 0 of size 2, axis 1 of size 9.*plane=\(0, 0\)"):
        view_of_array(np.zeros((2, 9, 6, 7)))


def test_a_channel_without_a_channel_axis():
    with pytest.raises(ImageError, match="no channel 0"):
        view_of_array(np.zeros((6, 7)), channel=0)


def test_untouched_limits_that_a_hot_pixel_stretched_are_not_used():
    data = np.arange(2500, dtype=np.uint16).reshape(50, 50)
    data[0, 0] = 65535
    source = source_of(data)

    assert choose_contrast((1, 65535), (1, 65535), source, None) == (4.0, 2497.0)


def test_limits_that_the_user_set_are_kept():
    data = np.arange(2500, dtype=np.uint16).reshape(50, 50)
    data[0, 0] = 65535

    assert choose_contrast((1, 30000), (1, 65535), source_of(data), None) == (1.0, 30000.0)


def test_untouched_limits_without_outliers_are_kept():
    source = source_of(np.arange(2500, dtype=np.uint16).reshape(50, 50))

    assert choose_contrast((0, 2499), (0, 2499), source, None) == (0.0, 2499.0)


def test_a_dim_8_bit_image_stays_as_dim_as_the_user_sees_it():
    source = source_of(np.arange(40, dtype=np.uint8).reshape(4, 10))

    assert choose_contrast((0, 255), (0, 255), source, None) == (0.0, 255.0)


@pytest.mark.parametrize("shape", [(5, 64, 3), (9, 64, 2)])
def test_an_index_for_each_axis_overrules_the_guess_of_colours_and_channels(shape):
    data = np.arange(np.prod(shape)).reshape(shape).astype(np.uint8)

    np.testing.assert_array_equal(view_of_array(data, plane=4).rgb()[..., 0], data[4])

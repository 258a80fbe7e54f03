"""Images round which nothing was taken: mosaics, turned and shifted images, no-data values."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import ndimage as ndi
from skimage.draw import disk

from amounts import FEW
from napari_sam3_assistant import api
from napari_sam3_assistant.core.axes import guess_axes
from napari_sam3_assistant.core.display import view_of_array
from napari_sam3_assistant.core.images import ImageSource
from napari_sam3_assistant.core.padding import find_padding

CENTRES = ((40, 50), (40, 110), (85, 50), (85, 110))
PADDED = np.s_[:, :22]


def cells(background=500.0, signal=100.0, noise=10.0):
    image = np.random.default_rng(0).normal(background, noise, (120, 150))
    for centre in CENTRES:
        image[disk(centre, 14)] += signal
    return image


def pad(image, value):
    padded = image.copy()
    padded[:, :22] = padded[:14] = value
    return padded


@FEW
@given(
    value=st.sampled_from([0, -9999, -3.4e38, 3.4e38, 65535, np.nan]),
    dtype=st.sampled_from([np.float32, np.float64, np.uint16, np.int32]),
    polarity=st.sampled_from([1, -1]),
)
def test_what_is_found_does_not_depend_on_how_nothing_is_written(value, dtype, polarity):
    if np.dtype(dtype).kind != "f":
        value = 65535 if value == 65535 else 0
    image = cells(signal=100 * polarity).astype(dtype)
    text = "bright cells" if polarity > 0 else "dark cells"

    found = api.segment(pad(image, value), text=text)

    truth = np.zeros(image.shape, bool)
    for centre in CENTRES:
        truth[disk(centre, 14)] = True
    assert len(found.objects) == len(CENTRES)
    assert (truth & (found.labels > 0)).sum() > 0.97 * (truth | (found.labels > 0)).sum()


def test_a_turned_image_with_a_blended_rim():
    turned = ndi.rotate(cells(), 20, order=1, mode="constant", cval=0.0).astype(np.uint16)
    assert find_padding([turned]) == 0


def test_a_shifted_stack():
    stack = np.stack([pad(cells(), 0), cells(), cells()]).astype(np.uint16)
    source = ImageSource(stack, guess_axes(stack.shape))
    low, _ = source.contrast()
    assert low > 400
    shown = view_of_array(stack, plane=0).rgb()
    assert abs(int(np.median(shown[:, :22])) - int(np.median(shown[14:, 22:]))) < 20


@pytest.mark.parametrize(
    "image",
    [
        np.where(cells() > 550, cells(), 0),  # masked cells
        np.where(cells(signal=-400) < 300, 0, cells()),  # black objects within
        np.where(cells(signal=900) > 1000, 65535, cells()),  # saturated cells
        np.where(np.indices((40, 40)).sum(0) < 40, 0, 700),  # two values
        np.full((40, 40), 7),
        np.full((40, 40), np.nan),
        cells().clip(500),
        np.zeros((0, 5)),
    ],
    ids=["masked", "black", "saturated", "two values", "one value", "nan", "clipped", "empty"],
)
def test_what_is_no_padding(image):
    assert find_padding([image]) is None


def test_a_blank_frame_is_no_padding():
    assert find_padding([np.zeros((40, 40)), cells(), cells()]) is None


def test_where_the_contrast_is_chosen_the_picture_is_as_it_is_seen():
    image = pad(cells(), 0).astype(np.uint16)
    assert (view_of_array(image, contrast=(0, 700)).rgb()[PADDED] == 0).all()

"""What a network adds to the objects that rules find in a plane."""

import numpy as np
import pytest
from scipy import ndimage as ndi

from napari_sam3_assistant.core.progress import NullReporter
from napari_sam3_assistant.core.regions import Region
from napari_sam3_assistant.engines.builtin.detection import detect
from napari_sam3_assistant.engines.builtin.features import PlaneFeatures
from napari_sam3_assistant.engines.builtin.outline_net import Window, sketch_outlines

ROWS, COLUMNS = np.indices((160, 160))


def nuclei(seed):
    """Return nuclei of three brightnesses that touch, mottled inside, and their truth."""
    rng = np.random.default_rng(seed)
    labels, grey = np.zeros(ROWS.shape, int), np.zeros(ROWS.shape)
    for y in range(16, 160, 24):
        for x in range(16, 160, 24):
            away = np.hypot(ROWS - y - rng.normal(0, 2), COLUMNS - x - rng.normal(0, 2))
            mask = (away < rng.uniform(9.5, 12.5)) & (labels == 0)
            labels[mask], grey[mask] = labels.max() + 1, rng.choice([25, 60, 120])
    mottled = ndi.gaussian_filter(rng.standard_normal(grey.shape), 2)
    grey = grey * (1 + 0.35 * mottled / mottled.std()) + 20
    grey = ndi.gaussian_filter(grey, 1.2) + rng.normal(0, 2, grey.shape)
    return grey.astype(np.float32), labels


def found_in(grey, polarity=1):
    found = detect(PlaneFeatures(grey), polarity, NullReporter())
    return [item for item in found if item.score >= 0.5]


def overlaps(found, labels):
    """Return the intersection over union of each object with the true one it shares most with."""
    areas, values = np.bincount(labels.ravel()), []
    for item in found:
        names = labels[item.patch.region.slices][item.patch.mask]
        shared = np.bincount(names, minlength=areas.size)[1:]
        name = 1 + shared.argmax()
        values.append(shared.max() / (item.patch.area + areas[name] - shared.max()))
    return np.array(values)


def test_nuclei_that_touch_and_differ_are_found():
    right = wrong = 0
    for seed in range(3):
        grey, labels = nuclei(seed)
        good = overlaps(found_in(grey), labels) >= 0.5
        right, wrong = right + good.sum(), wrong + (~good).sum()
    assert right >= 70  # of 108; without the network 51
    assert wrong <= 6


def test_what_is_found_shares_no_pixels():
    for seed in range(3):
        grey, _ = nuclei(seed)
        count = np.zeros(grey.shape, int)
        for item in detect(PlaneFeatures(grey), 1, NullReporter()):
            count[item.patch.region.slices] += item.patch.mask
        assert count.max() == 1


def test_what_is_dark_is_not_among_what_is_bright():
    grey, labels = nuclei(1)
    middle = grey[labels > 0].mean()
    for item in found_in(grey):
        assert grey[item.patch.region.slices][item.patch.mask].mean() > 0.3 * middle
    found = found_in(255 - grey, -1)
    assert np.count_nonzero(overlaps(found, labels) >= 0.5) >= 18


def test_nothing_is_drawn_into_noise_beside_an_object():
    grey = 40 + 8 * np.random.default_rng(0).standard_normal(ROWS.shape)
    grey += 90 * (np.hypot(ROWS - 50, COLUMNS - 60) < 12)
    (only,) = found_in(grey.astype(np.float32))
    assert only.patch.holds(50, 60)


@pytest.mark.parametrize("window", [Window.of_box(Region(28, 40, 56, 75)), Window(70.0, 64.0, 50)])
def test_a_sketch_turns_with_the_image(window):
    grey, _ = nuclei(2)
    (drawn,) = sketch_outlines(PlaneFeatures(grey), [window])
    box = None if window.box is None else window.box[::-1]
    turned = Window(160 - window.x, window.y, window.side, box)
    (again,) = sketch_outlines(PlaneFeatures(np.rot90(grey).copy()), [turned])
    np.testing.assert_allclose(again.odds, np.rot90(drawn.odds), atol=0.01)
    assert again.overlap == pytest.approx(drawn.overlap, abs=1e-3)

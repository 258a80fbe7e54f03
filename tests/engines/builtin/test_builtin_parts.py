"""The pieces that work on many objects at once give what one object at a time gives."""

import threading

import numpy as np
import pytest
from scipy import ndimage as ndi

from napari_sam3_assistant.core.progress import CancelToken, NullReporter
from napari_sam3_assistant.core.regions import Region
from napari_sam3_assistant.engines.builtin import component_tree, features, object_mask
from napari_sam3_assistant.engines.builtin.object_mask import LARGE, Patch, solidity, split
from napari_sam3_assistant.errors import JobCancelled

REPORTER = NullReporter()
SHAPE = (60, 90)


def disc(y, x, radius, shape=SHAPE):
    rows, columns = np.ogrid[: shape[0], : shape[1]]
    return (rows - y) ** 2 + (columns - x) ** 2 <= radius**2


@pytest.mark.parametrize("sigma", [0.7, 2.0])
def test_filters_in_strips_equal_filters_of_the_whole(sigma):
    image = np.random.default_rng(0).normal(size=(2000, 700)).astype(np.float32)
    assert len(list(features.strips(image.shape, REPORTER))) > 2
    np.testing.assert_array_equal(
        features.gaussian_blur(image, sigma, REPORTER),
        ndi.gaussian_filter(image, sigma, mode="nearest"),
    )
    np.testing.assert_array_equal(
        features.gradient_magnitude(image, sigma, REPORTER),
        ndi.gaussian_gradient_magnitude(image, sigma, mode="nearest"),
    )


def test_measures_of_objects_of_several_sizes():
    cells = [disc(20, 20, 8), disc(30, 70, 15), disc(0, 40, 5)]
    grey = np.full(SHAPE, 10, np.float32)
    for value, cell in zip((50, 80, 30), cells, strict=True):
        grey[cell] = value
    patches = []
    for cell in cells:
        rows, columns = np.nonzero(cell)
        region = Region(rows.min(), columns.min(), rows.max() + 1, columns.max() + 1)
        patches.append(Patch(cell[region.slices], region))
    seen = object_mask.measure(grey, patches, REPORTER)
    np.testing.assert_array_equal(seen.area, [cell.sum() for cell in cells])
    np.testing.assert_allclose(seen.mean, [50, 80, 30])
    np.testing.assert_allclose(seen.ground, [10, 10, 10])
    np.testing.assert_allclose([*seen.deviation, *seen.roughness], 0, atol=1e-6)
    np.testing.assert_allclose(
        seen.solidity, [solidity(patch.mask) for patch in patches], rtol=0.01
    )
    np.testing.assert_allclose(seen.elongation[:2], 1, atol=0.01)
    assert 1.7 < seen.elongation[2] < 2.2


def test_a_huge_object_is_measured_by_some_of_its_pixels():
    shape = (2 * object_mask.SAMPLED, 3 * object_mask.SAMPLED)
    cell = disc(500, 750, 420, shape)
    grey = np.where(cell, 70, 20).astype(np.float32)
    rough = object_mask.measure(grey, [Patch(cell, Region.whole(shape))], REPORTER)
    assert rough.area == cell.sum()
    np.testing.assert_allclose(rough.mean, 70)
    np.testing.assert_allclose(rough.ground, 20)
    np.testing.assert_allclose(rough.solidity, solidity(cell), atol=0.04)


@pytest.mark.parametrize(("y", "x"), [(0, 0), (1, 2), (3, 1)])
def test_a_huge_object_of_thin_lines_is_measured(y, x):
    side = 2 * object_mask.SAMPLED + 1
    frame = np.ones((side, side), bool)
    frame[1:-1, 1:-1] = False
    region = Region(y, x, y + side, x + side)
    grey = np.full((side + 20, side + 20), 20, np.float32)
    grey[region.slices][frame] = 70
    seen = object_mask.measure(grey, [Patch(frame, region)], REPORTER)
    assert seen.area == frame.sum()
    np.testing.assert_allclose([seen.mean, seen.ground], [[70], [20]])
    assert 0 < seen.solidity < 0.02
    assert 1 <= seen.elongation < 3


def parts_of(image, levels):
    image = np.asarray(image, np.float32)
    gradient = ndi.gaussian_gradient_magnitude(image, 0.7)
    plane = component_tree.Plane(image, gradient, 0, 1)
    tree = component_tree.tree_of_parts(plane, levels, REPORTER)
    found = tree.best(component_tree.UsualSize(), REPORTER)
    masks = []
    for part in sorted(found, key=lambda part: part.region.box):
        mask = np.zeros(SHAPE, bool)
        mask[part.region.slices] = part.mask
        masks.append(mask)
    return masks


def test_the_tree_gives_two_cells_on_a_faint_pedestal_and_not_the_pedestal():
    cells = disc(30, 25, 9), disc(30, 60, 9)
    image = 6.0 * disc(30, 43, 28) + 60.0 * (cells[0] | cells[1])
    found = parts_of(ndi.gaussian_filter(image, 0.5), [50, 30, 20, 10, 3])
    assert len(found) == 2
    for mask, cell in zip(found, cells, strict=True):
        assert np.count_nonzero(mask ^ cell) < 0.15 * np.count_nonzero(cell)


def test_the_tree_fills_a_ring_and_keeps_one_part():
    ring = disc(30, 40, 16) & ~disc(30, 40, 13)
    (found,) = parts_of(80.0 * ring, [60, 40, 20])
    np.testing.assert_array_equal(found, disc(30, 40, 16))


def test_a_large_mask_is_divided_at_its_neck():
    size = LARGE + 200
    one, other = disc(180, 190, 170, (400, size)), disc(180, 520, 165, (400, size))
    parts = split(one | other)
    assert parts.max() == 2
    first, second = parts[180, 190], parts[180, 520]
    assert {first, second} == {1, 2}
    assert np.count_nonzero((parts == first) & one) > 0.97 * np.count_nonzero(one)
    assert not parts[~(one | other)].any()


def test_pieces_are_answered_in_their_order():
    assert features.each(lambda piece, stop: piece**2, range(9), REPORTER) == [
        piece**2 for piece in range(9)
    ]


def test_pieces_stop_when_the_work_shall():
    begun, token = threading.Event(), CancelToken()

    class Watch:
        def report(self, progress):
            self.check()

        def check(self):
            begun.wait(240)
            token.cancel()
            token.check()

    def endless(piece, stop):
        begun.set()
        while True:
            stop.check()

    with pytest.raises(JobCancelled):
        features.each(endless, [1, 2, 3], Watch())


def test_an_error_in_a_piece_is_not_lost():
    def broken(piece, stop):
        raise ValueError(piece)

    with pytest.raises(ValueError, match="7"):
        features.each(broken, [7], REPORTER)

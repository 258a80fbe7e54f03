"""Soft masks: small as they are kept, and large as PyTorch makes them."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from napari_sam3_assistant.core.regions import Region
from napari_sam3_assistant.core.results import (
    FLOOR,
    ObjectRecord,
    SoftMask,
    has_soft_masks,
    max_probability,
)
from napari_sam3_assistant.errors import JobCancelled

PLANE = Region(0, 0, 8, 12)


def record(soft, id_=1):
    return ObjectRecord(id_, np.ones((1, 1), bool), Region(0, 0, 1, 1), soft=soft)


def test_a_grid_of_the_planes_size_is_itself():
    values = np.zeros((8, 12), np.float16)
    values[2:4, 5:8] = [[0.25, 0.5, 0.75], [0.5, 1, 0.5]]
    soft = SoftMask.crop(values, PLANE, logits=False)

    np.testing.assert_array_equal(max_probability([record(soft)], PLANE), values)
    assert soft.values.shape == (4, 5)
    assert soft.extent == Region(1, 4, 5, 9)


def test_the_highest_of_the_objects_and_nothing_of_those_without():
    one, two = (
        SoftMask.crop(np.full((2, 3), value, np.float16), PLANE, logits=False, clip=clip)
        for value, clip in ((0.5, PLANE), (0.75, Region(0, 0, 2, 4)))
    )
    assert has_soft_masks([record(None), record(one)])
    assert not has_soft_masks([record(None)])

    expected = np.full((8, 12), 0.5)
    expected[:2, :4] = 0.75
    np.testing.assert_array_equal(
        max_probability([record(one), record(two), record(None)], PLANE), expected
    )


def test_logits_become_probabilities_after_they_are_enlarged():
    soft = SoftMask.crop(
        np.array([[-2.0, 2.0]], np.float16), Region(0, 0, 1, 4), logits=True
    )  # fmt: skip

    found = max_probability([record(soft)], Region(0, 0, 1, 4))

    sigmoid = 1 / (1 + np.exp(-np.array([[-2.0, -1.0, 1.0, 2.0]])))
    np.testing.assert_allclose(found, sigmoid, atol=1e-3)


def test_nothing_that_is_seen_is_nothing():
    assert SoftMask.crop(np.full((4, 4), FLOOR / 2, np.float16), PLANE, logits=False) is None
    assert SoftMask.crop(np.full((4, 4), -20, np.float16), PLANE, logits=True) is None
    assert max_probability([record(None)], PLANE).tolist() == np.zeros((8, 12)).tolist()


def test_a_moved_object_takes_its_soft_mask_along():
    values = np.zeros((8, 12), np.float16)
    values[2, 5] = 1
    moved = record(SoftMask.crop(values, PLANE, logits=False)).shift(100, 200)

    found = max_probability([moved], PLANE.shift(100, 200))

    np.testing.assert_array_equal(found, values)
    assert max_probability([moved], PLANE).max() == 0


def test_large_masks_are_made_in_bands_and_stop_between_them():
    area = Region.whole((3000, 3000))
    soft = SoftMask.crop(np.full((4, 4), 0.5, np.float16), area, logits=False)
    seen = []

    def check():
        seen.append(1)
        if len(seen) == 2:
            raise JobCancelled

    with pytest.raises(JobCancelled):
        max_probability([record(soft)], area, check)

    assert (max_probability([record(soft)], area) == 0.5).all()


@given(
    grid=st.tuples(st.integers(1, 12), st.integers(1, 12)),
    shape=st.tuples(st.integers(1, 40), st.integers(1, 40)),
    corners=st.lists(st.integers(0, 39), min_size=4, max_size=4),
    logits=st.booleans(),
    seed=st.integers(0, 99),
)
def test_as_pytorch_enlarges(grid, shape, corners, logits, seed):
    torch = pytest.importorskip("torch")
    rng = np.random.default_rng(seed)
    values = rng.normal(0, 4, grid) if logits else rng.random(grid)
    values = values.astype(np.float16)
    y0, y1 = sorted(min(value, shape[0]) for value in corners[:2])
    x0, x1 = sorted(min(value, shape[1]) for value in corners[2:])
    region = Region(y0, x0, y1, x1)
    soft = SoftMask.crop(values, Region.whole(shape), logits=logits)

    found = max_probability([record(soft)], region)

    low = torch.from_numpy(values.astype(np.float32))[None, None]
    large = torch.nn.functional.interpolate(low, shape, mode="bilinear", align_corners=False)
    expected = (large.sigmoid() if logits else large)[0, 0].numpy()[region.slices]
    # What lies below the floor is 0: beside it, the mean is of one value that is kept.
    np.testing.assert_allclose(found, expected, atol=2 * FLOOR)

"""A slice of a stack averaged with its neighbours."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from skimage.draw import disk

from napari_sam3_assistant.core.display import average_alike

SHAPE = (80, 90)


def picture(discs, noise, seed):
    """Return bright discs (y, x, radius) on a dark ground, with noise."""
    levels = np.full(SHAPE, 60.0)
    for y, x, radius in discs:
        levels[disk((y, x), radius, shape=SHAPE)] = 160
    levels += np.random.default_rng(seed).normal(0, noise, SHAPE)
    return np.repeat(levels.clip(0, 255).astype(np.uint8)[..., None], 3, 2)


@given(st.floats(5, 30), st.integers(0, 100))
def test_noise_sinks_where_slices_show_the_same(noise, seed):
    disc = [(40, 40, 15)]
    clean = picture(disc, 0, 0).astype(float)
    slices = [picture(disc, noise, 10 * seed + one) for one in range(5)]
    mean = average_alike(slices[2], slices[:2] + slices[3:])
    before, after = (np.abs(one - clean).mean() for one in (slices[2], mean))
    assert after < 0.6 * before


@given(st.floats(1, 12), st.integers(0, 100))
def test_what_is_on_one_slice_alone_keeps_its_contrast(noise, seed):
    here = picture([(40, 40, 12)], noise, seed)
    beside = [picture([(60, 70, 12)], noise, seed + one) for one in (200, 300)]
    mean = average_alike(here, beside)
    inside, elsewhere = disk((40, 40), 9), disk((60, 70), 9)
    assert mean[inside].mean() - mean[elsewhere].mean() > 90


def test_a_slice_without_noise_stays_as_it_is():
    here = np.full((*SHAPE, 3), 60, np.uint8)
    there = np.full((*SHAPE, 3), 90, np.uint8)
    np.testing.assert_array_equal(average_alike(here, [there, there]), here)
    np.testing.assert_array_equal(average_alike(here, []), here)


def test_colours_are_averaged_each():
    rng = np.random.default_rng(3)
    slices = [
        (np.array([200, 90, 30]) + rng.normal(0, 12, (*SHAPE, 1))).clip(0, 255).astype(np.uint8)
        for _ in range(5)
    ]
    mean = average_alike(slices[0], slices[1:])
    np.testing.assert_allclose(mean.mean((0, 1)), [200, 90, 30], atol=2)
    assert mean[..., 0].std() < 0.6 * slices[0][..., 0].std()


@given(st.floats(2, 25), st.integers(0, 100), st.integers(6, 20))
def test_objects_that_have_moved_are_not_averaged(noise, seed, step):
    here = picture([(30, 30, 9), (50, 60, 9)], noise, seed)
    there = [
        picture([(30 + by, 30, 9), (50, 60 + by, 9)], noise, seed + 200 + by)
        for by in (-step, step)
    ]
    mean = average_alike(here, there)
    assert np.abs(mean.astype(float) - here).mean() < 0.2 * noise + 0.5

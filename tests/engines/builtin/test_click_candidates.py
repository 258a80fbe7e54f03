"""What a click may mean: parts and outlines, rated by trees that were fitted on real images."""

import json
from importlib import resources

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage as ndi

from napari_sam3_assistant.core.progress import NullReporter
from napari_sam3_assistant.engines.builtin import click_candidates
from napari_sam3_assistant.engines.builtin.clicks import Click, candidates_at, object_at
from napari_sam3_assistant.engines.builtin.component_tree import upsample_proposal
from napari_sam3_assistant.engines.builtin.features import PlaneFeatures

REPORTER = NullReporter()
SHAPE = (120, 120)


def disc(y, x, radius):
    rows, columns = np.ogrid[: SHAPE[0], : SHAPE[1]]
    return (rows - y) ** 2 + (columns - x) ** 2 <= radius**2


def clicked(grey, pixel):
    patch = object_at(PlaneFeatures(grey.astype(np.float32)), [Click(pixel)], REPORTER)
    mask = np.zeros(grey.shape, bool)
    mask[patch.region.slices] = patch.mask
    return mask


def iou(one, other):
    return np.count_nonzero(one & other) / np.count_nonzero(one | other)


def cell_in_a_torn_membrane(seed, radius):
    """Return a cell as grey as what is round it, behind a membrane with gaps, and its mask."""
    rng = np.random.default_rng(seed)
    cell = disc(60, 60, radius)
    membrane = disc(60, 60, radius + 2) & ~cell
    rows, columns = np.indices(SHAPE)
    turns = np.arctan2(rows - 60, columns - 60) + rng.uniform(0, 2 * np.pi)
    membrane &= np.cos(3 * turns) < 0.8  # three gaps, of a tenth of the turn each
    grey = ndi.gaussian_filter(110.0 + 60.0 * membrane, 1.0)
    return grey + rng.normal(0, 4, SHAPE), cell


@pytest.mark.parametrize("sign", [1, -1])
@pytest.mark.parametrize("radius", [18, 28])
def test_a_click_takes_a_cell_whose_membrane_has_gaps(sign, radius):
    for seed in range(2):
        grey, cell = cell_in_a_torn_membrane(seed, radius)
        found = clicked(grey if sign > 0 else 255 - grey, (60, 60))
        with_membrane = disc(60, 60, radius + 2)  # whose it is, is a matter of taste
        assert max(iou(found, cell), iou(found, with_membrane)) > 0.8


def test_the_trees_end_at_leaves_and_know_every_trait():
    text = resources.files(click_candidates.__package__).joinpath("click_trees.json").read_text()
    trees = json.loads(text)
    assert tuple(trees["traits"]) == click_candidates.TRAITS
    trait, low, high = (np.array(trees[name]) for name in ("trait", "low", "high"))
    assert trait.min() >= 0
    assert trait.max() < len(click_candidates.TRAITS)
    own = np.arange(trait.shape[1])
    leaf = (low == own) & (high == own)
    inner = (low > own) & (high > own)
    reached = np.zeros(trait.shape, bool)
    reached[:, 0] = True
    for node in own:
        for side in (low, high):
            reached[np.arange(len(trait)), side[:, node]] |= reached[:, node]
    assert (leaf | inner)[reached].all()


@settings(max_examples=15, deadline=None)
@given(
    seed=st.integers(0, 2**31),
    y=st.integers(0, 59),
    x=st.integers(0, 47),
    smooth=st.floats(0.3, 4.0),
    span=st.floats(0.0, 120.0),
)
def test_what_a_click_likely_means_is_among_what_it_may_mean_on_any_image(seed, y, x, smooth, span):
    grey = ndi.gaussian_filter(np.random.default_rng(seed).normal(size=(60, 48)), smooth)
    grey = 128 + span * grey / max(np.abs(grey).max(), 1e-9)
    features = PlaneFeatures(grey.astype(np.float32))
    best = click_candidates.likeliest(features, (y, x), REPORTER)
    _, traits, worths = click_candidates.candidates_with_traits(features, (y, x), REPORTER)
    assert traits.shape == (worths.size, len(click_candidates.TRAITS))
    assert np.isfinite(traits).all()
    assert object_at(features, [Click((y, x))], REPORTER).holds(y, x)
    offered = candidates_at(features, (y, x), REPORTER)
    assert bool(offered) == (best is not None)
    if best is not None:
        mask = upsample_proposal(features, best).mask
        assert any(np.array_equal(mask, other.mask) for other in offered)


def test_nothing_is_drawn_where_nothing_stands_out():
    features = PlaneFeatures(np.full(SHAPE, 90, np.float32))
    assert click_candidates.likeliest(features, (60, 60), REPORTER) is None
    assert object_at(features, [Click((60, 60))], REPORTER).area < 25

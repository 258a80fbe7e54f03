"""The networks that draw outlines: weights, what they see, and that their answers turn along."""

import numpy as np
import pytest

from napari_sam3_assistant.core.regions import Region
from napari_sam3_assistant.engines.builtin.features import PlaneFeatures
from napari_sam3_assistant.engines.builtin.outline_net import (
    SIDE,
    WEIGHTS,
    Window,
    draw_outlines,
    shipped,
)

ROWS, COLUMNS = np.indices((90, 90))


def cell(y, x, tall, wide):
    return ((ROWS - y) / tall) ** 2 + ((COLUMNS - x) / wide) ** 2 <= 1


def test_the_weights_are_small_finite_and_no_pickle():
    assert WEIGHTS.stat().st_size < 2_000_000
    with np.load(WEIGHTS, allow_pickle=False) as file:
        assert all(np.isfinite(file[name]).all() for name in file.files)


@pytest.mark.parametrize("box", [Region(29, 17, 56, 66), None])
def test_what_is_drawn_turns_with_the_image_and_stays_the_same_in_another_light(box):
    truth = cell(42, 41, 13, 24)
    noise = np.random.default_rng(0).normal(0, 4, truth.shape)
    grey = (90 + 60 * truth + noise).astype(np.float32)
    window = Window.of_box(box) if box else Window(42.5, 41.5, 80.0)
    (drawn,) = draw_outlines(PlaneFeatures(grey), [window])
    mask = drawn.within(Region.whole(truth.shape)) > 0
    assert np.count_nonzero(mask & truth) / np.count_nonzero(mask | truth) > 0.8
    size = None if box is None else (float(box.width), float(box.height))
    turned = Window(90 - window.x, window.y, window.side, size)
    (again,) = draw_outlines(PlaneFeatures(np.rot90(grey).copy()), [turned])
    np.testing.assert_allclose(again.odds, np.rot90(drawn.odds), atol=0.01)
    assert again.overlap == pytest.approx(drawn.overlap, abs=1e-3)
    (dimmer,) = draw_outlines(PlaneFeatures(0.5 * grey + 20), [window])
    assert np.abs(dimmer.odds - drawn.odds).max() < 0.3


def test_numpy_draws_what_the_trained_network_does():
    torch = pytest.importorskip("torch")
    rng = np.random.default_rng(1)
    net = shipped()[1]
    with np.load(WEIGHTS) as file:
        weights = file["second.e2a"].astype(np.float32)
        bias = torch.from_numpy(file["second.e2a.bias"].astype(np.float32))
    kernel = torch.from_numpy(weights).reshape(3, 3, len(weights) // 9, -1)
    values = rng.standard_normal((2, 10, 10, kernel.shape[2])).astype(np.float32)
    true = torch.nn.functional.conv2d(
        torch.from_numpy(values).permute(0, 3, 1, 2), kernel.permute(3, 2, 0, 1), bias, padding=1
    ).relu()
    np.testing.assert_allclose(
        net.convolve(values, "e2a"), true.permute(0, 2, 3, 1).numpy(), atol=1e-3
    )


def test_what_lies_beyond_a_window_is_never_drawn():
    features = PlaneFeatures(np.full((90, 90), 50, np.float32))
    (drawn,) = draw_outlines(features, [Window(20.0, 20.0, 24.0)])
    odds = drawn.within(features.region)
    assert (odds[34:] < -5).all()
    assert (odds[:, 34:] < -5).all()
    assert drawn.odds.shape == (SIDE, SIDE)

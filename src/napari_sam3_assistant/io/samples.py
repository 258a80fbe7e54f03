"""Sample images for a first try; nothing is downloaded."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import numpy.typing as npt


if TYPE_CHECKING:
    LayerData = tuple[npt.NDArray[Any], dict[str, Any], str]

_SHAPE = (24, 256, 256)
_SPACING = (2.0, 0.5, 0.5)
_CELLS = 40


def coins() -> list[LayerData]:
    """Return scikit-image's picture of 24 Greek coins, (303, 384) uint8."""
    from skimage.data import coins as picture

    return [(picture(), {"name": "coins"}, "image")]


def cell_stack() -> list[LayerData]:
    """Return a z-stack of bright blurred ellipsoids with noise and uneven illumination.

    Returns
    -------
    list of (data, keyword arguments, layer type)
        One image, shape (24, 256, 256) (z, y, x), dtype uint16, with voxels of 2 x 0.5 x 0.5 µm.
        The same every time.
    """
    rng = np.random.default_rng(3)
    grid = np.ogrid[tuple(slice(0, size) for size in _SHAPE)]
    stack = np.zeros(_SHAPE, np.float32)
    for _ in range(_CELLS):
        centre = rng.uniform((3, 12, 12), np.subtract(_SHAPE, (3, 12, 12)))
        radii = rng.uniform((2.0, 8.0, 8.0), (3.5, 15.0, 15.0))
        distance = sum(
            ((axis - middle) / radius) ** 2
            for axis, middle, radius in zip(grid, centre, radii, strict=True)
        )
        # A smooth edge one quarter of the radius wide.
        cell = rng.uniform(0.6, 1.0) / (1 + np.exp(8 * (np.sqrt(distance) - 1)))
        np.maximum(stack, cell, out=stack)
    light = np.linspace(0.7, 1.0, _SHAPE[2], dtype=np.float32)
    noisy = 300 + 3000 * stack * light + rng.normal(0, 60, _SHAPE)
    return [
        (
            noisy.clip(0, 65535).astype(np.uint16),
            {
                "name": "cells",
                "scale": _SPACING,
                "units": ("um",) * 3,
                "axis_labels": ("z", "y", "x"),
            },
            "image",
        )
    ]

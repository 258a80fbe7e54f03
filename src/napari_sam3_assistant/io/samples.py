"""Sample images for a first try: three that are there, three that are downloaded when chosen."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from napari_sam3_assistant.errors import ImageError

if TYPE_CHECKING:
    import numpy.typing as npt

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


def stained_tissue() -> list[LayerData]:
    """Return scikit-image's colon tissue, IHC with DAB and hematoxylin, (512, 512, 3) uint8."""
    from skimage.data import immunohistochemistry

    return [(immunohistochemistry(), {"name": "stained tissue", "rgb": True}, "image")]


def nuclei() -> list[LayerData]:
    """Return scikit-image's fluorescent nuclei of human cells, (512, 512) uint8; it is fetched."""
    return [(_fetch("human_mitosis"), {"name": "nuclei"}, "image")]


def cells_3d() -> list[LayerData]:
    """Return scikit-image's z-stack of cells: membranes and nuclei; it is fetched.

    Returns
    -------
    list of (data, keyword arguments, layer type)
        Two images, shape (60, 256, 256) (z, y, x), dtype uint16, voxels of 0.29 x 0.26 x 0.26 µm.
    """
    both = _fetch("cells3d")
    place = {
        "scale": (0.29, 0.26, 0.26),
        "units": ("um",) * 3,
        "axis_labels": ("z", "y", "x"),
        "blending": "additive",
    }
    return [
        (both[:, channel], {"name": name, "colormap": colormap, **place}, "image")
        for channel, (name, colormap) in enumerate((("membranes", "magenta"), ("nuclei", "green")))
    ]


def skin() -> list[LayerData]:
    """Return scikit-image's skin, stained with H&E, RGB uint8; it is fetched."""
    return [(_fetch("skin"), {"name": "skin", "rgb": True}, "image")]


def _fetch(name: str) -> npt.NDArray[Any]:
    """Return a picture that scikit-image downloads, and keeps; raises ImageError if it can't."""
    import skimage.data

    try:
        return np.asarray(getattr(skimage.data, name)())
    except (OSError, ImportError, ValueError) as exc:  # no network, no pooch, another file
        raise ImageError(
            f"The sample could not be downloaded ({exc}).",
            "Connect to the internet, or open another sample: coins, cells and stained tissue are "
            "there already.",
        ) from exc

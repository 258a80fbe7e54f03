"""The smaller levels of labels that are stored in several sizes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from napari_sam3_assistant.core.masks.blocks import blocks
from napari_sam3_assistant.core.masks.labels import Box, is_writable, shape_of

if TYPE_CHECKING:
    from collections.abc import Sequence


def write_smaller(largest: Any, smaller: Sequence[Any], box: Box) -> None:  # noqa: ANN401
    """Bring the smaller levels up to date, block by block.

    Each pixel of a smaller level is the nearest one of the largest.

    Parameters
    ----------
    largest : array-like of int
        The level that was changed.
    smaller : sequence of array-like of int
        The others. Those that can only be read are left alone.
    box : tuple of slice
        What was changed in the largest.
    """
    if 0 in shape_of(box):
        return
    for level in smaller:
        if not is_writable(level):
            continue
        steps = [
            max(1, round(size / small))
            for size, small in zip(largest.shape, level.shape, strict=True)
        ]
        reached = tuple(
            slice(side.start // step, min(-(-side.stop // step), size))
            for side, step, size in zip(box, steps, level.shape, strict=True)
        )
        for part in blocks(level, reached):
            fine = tuple(
                slice(side.start * step, side.stop * step, step)
                for side, step in zip(part, steps, strict=True)
            )
            level[part] = np.asarray(largest[fine])

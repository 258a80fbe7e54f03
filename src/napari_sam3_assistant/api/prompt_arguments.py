"""Prompts as the functions take them: plain numbers, in pixels, y before x."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from napari_sam3_assistant.core.prompts import (
    BoxPrompt,
    ExemplarPrompt,
    MaskPrompt,
    PointPrompt,
    PromptSet,
)
from napari_sam3_assistant.core.regions import Region
from napari_sam3_assistant.errors import PromptError

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    import numpy.typing as npt


def prompt_set(
    points: Sequence[Sequence[float]],
    boxes: Sequence[Sequence[float]],
    exemplars: Sequence[Sequence[float]],
    mask: npt.ArrayLike | None,
    text: str | None,
    shape: tuple[int, int],
) -> PromptSet:
    """Return the prompts of a call.

    Parameters
    ----------
    points : sequence of (y, x) or (y, x, positive)
        Clicks.
    boxes : sequence of (y0, x0, y1, x1)
        One object each.
    exemplars : sequence of (y0, x0, y1, x1) or (y0, x0, y1, x1, positive)
        Boxes round examples.
    mask : array-like, shape (H, W), or None
        Non-zero where painted.
    text : str or None
        A phrase.
    shape : tuple of int
        Height and width of the plane.

    Raises
    ------
    PromptError
        If a value can't be used.
    """
    points, boxes, exemplars = map(tuple, (points, boxes, exemplars))
    check_lists(points, boxes, exemplars)
    return PromptSet(
        points=tuple(_point(point) for point in points),
        boxes=tuple(BoxPrompt(Region.from_box(box)) for box in boxes),
        exemplars=tuple(
            ExemplarPrompt(Region.from_box(box[:4]), bool(box[4]) if len(box) > 4 else True)
            for box in exemplars
        ),
        masks=() if mask is None else (_mask(np.asarray(mask), shape),),
        text=(text or "").strip(),
    )


def check_lists(*prompts: Iterable[npt.ArrayLike]) -> None:
    """Raise PromptError where a single prompt is given in place of a list of them."""
    for given in prompts:
        for one in given:
            if np.ndim(one) == 0:
                raise PromptError(
                    f"{given} is no list of prompts.", "Put it in a list, as in points=[(120, 85)]."
                )


def _point(point: Sequence[float]) -> PointPrompt:
    if len(point) not in {2, 3}:
        raise PromptError(
            f"A point has y, x and whether it is positive; this one has {len(point)} values.",
            "Give (y, x, True) or (y, x, False).",
        )
    return PointPrompt(float(point[0]), float(point[1]), bool(point[2]) if len(point) > 2 else True)


def _mask(mask: npt.NDArray[np.generic], shape: tuple[int, int]) -> MaskPrompt:
    if mask.shape != shape:
        raise PromptError(
            f"The mask has the shape {mask.shape}, the image plane {shape}.",
            "Give a mask of the plane's height and width.",
        )
    return MaskPrompt.from_plane(mask)

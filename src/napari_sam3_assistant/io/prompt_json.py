"""Prompts as JSON, complete: the same prompts come back."""

from __future__ import annotations

import base64
import zlib
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_sam3_assistant.core.prompts import (
    BoxPrompt,
    ExemplarPrompt,
    MaskPrompt,
    PointPrompt,
    PromptSet,
)
from napari_sam3_assistant.core.regions import Region
from napari_sam3_assistant.io.json_values import flag, listed, named, number, text, whole

if TYPE_CHECKING:
    from collections.abc import Mapping

    import numpy.typing as npt


_MOST_PIXELS = 1 << 29
"""So many pixels the painted masks of a note may have together: they take a byte each."""


def prompts_to_json(prompts: PromptSet) -> dict[str, Any]:
    """Return prompts as values that JSON holds; boxes are ``[y0, x0, y1, x1]``.

    Parameters
    ----------
    prompts : PromptSet
        In pixels of the plane.
    """
    return {
        "points": [
            {
                "y": point.y,
                "x": point.x,
                "positive": point.positive,
                "object_id": point.object_id,
            }
            for point in prompts.points
        ],
        "boxes": [
            {"box": list(prompt.region.box), "object_id": prompt.object_id}
            for prompt in prompts.boxes
        ],
        "exemplars": [
            {"box": list(prompt.region.box), "positive": prompt.positive}
            for prompt in prompts.exemplars
        ],
        "masks": [
            {
                "box": list(prompt.region.box),
                "bits": _packed(prompt.mask),
                "object_id": prompt.object_id,
            }
            for prompt in prompts.masks
        ],
        "text": prompts.text,
    }


def prompts_from_json(found: Mapping[str, Any]) -> PromptSet:
    """Return the prompts that :func:`prompts_to_json` wrote.

    Raises
    ------
    KeyError, TypeError, ValueError, zlib.error
        If it is no such mapping.
    """
    boxes = [named(box) for box in listed(found["boxes"])]
    masks = [(named(mask), region_from_json(mask["box"])) for mask in listed(found["masks"])]
    if sum(region.area for _, region in masks) > _MOST_PIXELS:
        raise ValueError("its painted masks are too large")
    return PromptSet(
        points=tuple(
            PointPrompt(
                number(point["y"]),
                number(point["x"]),
                flag(point["positive"]),
                _object(point["object_id"]),
            )
            for point in map(named, listed(found["points"]))
        ),
        boxes=tuple(
            BoxPrompt(region_from_json(box["box"]), _object(box["object_id"])) for box in boxes
        ),
        exemplars=tuple(
            ExemplarPrompt(region_from_json(example["box"]), flag(example["positive"]))
            for example in map(named, listed(found["exemplars"]))
        ),
        masks=tuple(
            # Notes of earlier versions do not name the object.
            MaskPrompt(_unpacked(mask["bits"], region), region, _object(mask.get("object_id")))
            for mask, region in masks
        ),
        text=text(found["text"]),
    )


def region_from_json(box: object) -> Region:
    """Return a region of ``[y0, x0, y1, x1]``.

    Raises
    ------
    TypeError, ValueError
        If it is no such box, or an empty one.
    """
    y0, x0, y1, x1 = (whole(value) for value in listed(box, 4))
    if not (y0 < y1 and x0 < x1):
        raise ValueError(f"the box {[y0, x0, y1, x1]} is empty")
    return Region(y0, x0, y1, x1)


def _object(id_: object) -> int | None:
    return None if id_ is None else whole(id_)


def _packed(mask: npt.NDArray[np.bool_]) -> str:
    """Return the pixels of a mask, eight in a byte, compressed by zlib, in base 64."""
    return base64.b64encode(zlib.compress(np.packbits(mask).tobytes())).decode("ascii")


def _unpacked(bits: object, region: Region) -> npt.NDArray[np.bool_]:
    """Return the pixels of a mask; no more is unpacked than its region has."""
    size = -(-region.area // 8)
    unpacked = zlib.decompressobj().decompress(base64.b64decode(text(bits)), size + 1)
    if len(unpacked) != size:
        raise ValueError(f"a painted mask has not the size of its box, {region.shape}")
    pixels = np.unpackbits(np.frombuffer(unpacked, np.uint8), count=region.area)
    return pixels.reshape(region.shape).view(bool)

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

if TYPE_CHECKING:
    from collections.abc import Mapping

    import numpy.typing as npt


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
    KeyError, TypeError, ValueError
        If it is no such mapping.
    """
    return PromptSet(
        points=tuple(
            PointPrompt(
                float(point["y"]), float(point["x"]), bool(point["positive"]), point["object_id"]
            )
            for point in found["points"]
        ),
        boxes=tuple(BoxPrompt(_region(box["box"]), box["object_id"]) for box in found["boxes"]),
        exemplars=tuple(
            ExemplarPrompt(_region(example["box"]), bool(example["positive"]))
            for example in found["exemplars"]
        ),
        masks=tuple(
            # Notes of earlier versions do not name the object.
            MaskPrompt(_unpacked(mask["bits"], region.shape), region, mask.get("object_id"))
            for mask in found["masks"]
            for region in (_region(mask["box"]),)
        ),
        text=str(found["text"]),
    )


def _region(box: list[int]) -> Region:
    y0, x0, y1, x1 = (int(value) for value in box)
    return Region(y0, x0, y1, x1)


def _packed(mask: npt.NDArray[np.bool_]) -> str:
    """Return the pixels of a mask, eight in a byte, compressed by zlib, in base 64."""
    return base64.b64encode(zlib.compress(np.packbits(mask).tobytes())).decode("ascii")


def _unpacked(text: str, shape: tuple[int, int]) -> npt.NDArray[np.bool_]:
    bits = np.frombuffer(zlib.decompress(base64.b64decode(text)), np.uint8)
    return np.unpackbits(bits, count=shape[0] * shape[1]).reshape(shape).astype(bool)

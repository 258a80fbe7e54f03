"""One prompt of a call: checked numbers as a click, a box or an example."""

from __future__ import annotations

import operator
from typing import TYPE_CHECKING, Any

from napari_sam3_assistant.core.prompts import BoxPrompt, ExemplarPrompt, PointPrompt
from napari_sam3_assistant.errors import PromptError

if TYPE_CHECKING:
    from collections.abc import Sequence

_POINT = "(y, x), (y, x, positive) or (y, x, positive, object)"
_BOX = "(y0, x0, y1, x1) or (y0, x0, y1, x1, object)"
_EXAMPLE = "(y0, x0, y1, x1) or (y0, x0, y1, x1, positive)"


def as_point(values: Sequence[Any], *, objects: bool = False) -> PointPrompt:
    """Return a click.

    Parameters
    ----------
    values : sequence of (y, x), (y, x, positive) or (y, x, positive, object)
        Pixels; ``positive`` is True, False, 1 or 0.
    objects : bool
        Whether it may say of which object it is.

    Raises
    ------
    PromptError
        If a value can't be used.
    """
    if objects:
        _check_length(values, 2, 4, _POINT)
    elif len(values) not in {2, 3}:
        raise PromptError(
            f"A point has y, x and whether it is positive; this one has {len(values)} values.",
            "Give (y, x, True) or (y, x, False).",
        )
    y, x = _as_numbers(values[:2])
    return PointPrompt(y, x, _is_positive(values, 2), _as_object(values, 3))


def as_box(values: Sequence[Any], *, objects: bool = False) -> BoxPrompt:
    """Return the box of an object.

    Parameters
    ----------
    values : sequence of (y0, x0, y1, x1) or (y0, x0, y1, x1, object)
        Pixels.
    objects : bool
        Whether it may say of which object it is.

    Raises
    ------
    PromptError
        If a value can't be used.
    """
    if not objects:
        return BoxPrompt.from_box(_as_pixels(values))
    _check_length(values, 4, 5, _BOX)
    return BoxPrompt.from_box(_as_pixels(values[:4]), object_id=_as_object(values, 4))


def as_example(values: Sequence[Any]) -> ExemplarPrompt:
    """Return the box round an example.

    Parameters
    ----------
    values : sequence of (y0, x0, y1, x1) or (y0, x0, y1, x1, positive)
        Pixels; ``positive`` is True, False, 1 or 0.

    Raises
    ------
    PromptError
        If a value can't be used.
    """
    _check_length(values, 4, 5, _EXAMPLE)
    return ExemplarPrompt.from_box(_as_pixels(values[:4]), positive=_is_positive(values, 4))


def as_frame(number: object) -> int:
    """Return the number of a frame.

    Raises
    ------
    PromptError
        If it is no whole number.
    """
    try:
        return operator.index(number)  # type: ignore[arg-type]
    except TypeError as error:
        raise PromptError(
            f"The frame {number!r:.60} is not a whole number.", "Count frames from 0."
        ) from error


def _check_length(values: Sequence[Any], least: int, most: int, example: str) -> None:
    if not least <= len(values) <= most:
        raise PromptError(
            f"A prompt has {least} to {most} numbers, this one has {len(values)}.",
            f"Give {example}.",
        )


def _as_numbers(values: Sequence[Any]) -> list[float]:
    try:
        return [float(value) for value in values]
    except (TypeError, ValueError) as error:
        raise PromptError(
            f"{tuple(values)!r:.60} are not all numbers.", "Give y before x, in pixels."
        ) from error


def _as_pixels(values: Sequence[Any]) -> list[float]:
    """Return the sides of a box; those that count in parts of the image would be one pixel."""
    sides = _as_numbers(values)
    if all(0 <= side <= 1 for side in sides) and not all(side.is_integer() for side in sides):
        raise PromptError(
            f"The box {tuple(sides)} is within one pixel: it seems to be in parts of the image.",
            "Give pixels: multiply y by the height of the image and x by its width.",
        )
    return sides


def _is_positive(values: Sequence[Any], place: int) -> bool:
    """Return whether a prompt is positive; -1 and "negative" are true for Python."""
    if len(values) <= place:
        return True
    value = values[place]
    if isinstance(value, str) or value not in (True, False):
        raise PromptError(
            f"{value!r:.60} does not say whether a prompt is positive.",
            "Give True or 1 for what belongs to the object, False or 0 for what does not.",
        )
    return bool(value)


def _as_object(values: Sequence[Any], place: int) -> int | None:
    if len(values) <= place:
        return None
    (number,) = _as_numbers(values[place : place + 1])
    if not number.is_integer():
        raise PromptError(
            f"The object id {number} is not a whole number.", "Number objects from 1."
        )
    return int(number)

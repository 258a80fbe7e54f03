"""Lengths as users tell them, in pixels or in a unit, and how many pixels of an image they are."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from napari_sam3_assistant.core.axes import convert_unit, ome_symbol, parse_unit
from napari_sam3_assistant.errors import PromptError

if TYPE_CHECKING:
    from napari_sam3_assistant.core.images import PixelSize

# A number that is not the end of another one, and a unit that is a word of its own.
_NUMBER = r"(?<![\d.,])(\d+(?:[.,]\d+)?)"
_UNIT = r"(px|pixels?|[nu\u00b5\u03bcm]m|microns?|(?:nano|micro|milli)met(?:er|re)s?)"
_TOLD = re.compile(rf"{_NUMBER} ?{_UNIT}\b", re.IGNORECASE)
_FROM = r"\d[\d.,]*\s*(?:px|[nu\u00b5\u03bcm]m)?\s*(?:[-\u2013]|to)\s*"
_RANGE = re.compile(rf"(?:(?<![\w.])-|{_FROM}){_NUMBER} ?{_UNIT}\b", re.IGNORECASE)
_ALONE = re.compile(rf"{_NUMBER}\s*{_UNIT}?", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Length:
    """A length in an image.

    Parameters
    ----------
    value : float
        How many of the unit; above 0.
    unit : str
        Its name in OME-Zarr, such as ``micrometer``; empty for pixels.

    Raises
    ------
    PromptError
        If the value can't be a length.
    """

    value: float
    unit: str = ""

    def __post_init__(self) -> None:
        if not (math.isfinite(self.value) and self.value > 0):
            raise PromptError(f"A diameter of {self.value:g} can't be used.", _WRITE)

    @classmethod
    def parse(cls, told: Length | str | float) -> Length:
        """Return a length as somebody tells it, such as ``30``, ``30 px`` or ``12 µm``.

        Parameters
        ----------
        told : Length, str or float
            A bare number counts pixels.

        Raises
        ------
        PromptError
            If it is none.
        """
        if isinstance(told, Length):
            return told
        found = _ALONE.fullmatch(str(told).strip())
        if found is None:
            raise PromptError(f"“{told}” is not a diameter.", _WRITE)
        return cls(_number(found[1]), parse_unit((found[2] or "").lower())[1])

    def __str__(self) -> str:
        """Return it as :meth:`parse` reads it."""
        number = np.format_float_positional(self.value, 12, fractional=False, trim="-")
        return f"{number} {ome_symbol(self.unit) if self.unit else 'px'}"

    def in_pixels(self, pixel: PixelSize) -> float:
        """Return how many pixels it is; of pixels that are not square, of squares of their area.

        Parameters
        ----------
        pixel : PixelSize
            The size of a pixel, as far as it is known.

        Raises
        ------
        PromptError
            If it is in a unit, and how large a pixel is in that is not known.
        """
        if not self.unit:
            return self.value
        side = convert_unit(math.sqrt(abs(pixel.area)), pixel.unit, self.unit)
        # Rounded, for 30.000000000000004 pixels would be looked for at other places.
        count = float(f"{self.value / side:.12g}") if side else math.inf
        if not 0 < count < math.inf:
            raise PromptError(
                f"How many pixels {self} are is not known: the image has no size of a pixel.",
                "Press Use Pixel Size where it is offered, give the layer its scale and units, or "
                "tell the diameter in pixels, as in 30 px.",
            )
        return count


_WRITE = "Write it as 30 px or 12 µm; a number alone counts pixels."


def _number(text: str) -> float:
    return float(text.replace(",", "."))


def find_length(phrase: str) -> Length | None:
    """Return the first length that a phrase tells, such as ``bright cells 30 px``; None for none.

    Parameters
    ----------
    phrase : str
        A number without a unit is none, and nothing is 0 long.

    Raises
    ------
    PromptError
        If it tells a range, or less than nothing.
    """
    if several := _RANGE.search(phrase):
        raise PromptError(f"“{several[0]}” is not one diameter.", _WRITE)
    for number, unit in _TOLD.findall(phrase):
        if _number(number) > 0:
            return Length(_number(number), parse_unit(unit.lower())[1])
    return None

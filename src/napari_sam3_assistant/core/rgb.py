"""From pixel values of any type to the 8-bit RGB picture that the model sees."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from napari_sam3_assistant.errors import ImageError

if TYPE_CHECKING:
    from collections.abc import Hashable

    import numpy.typing as npt

_BLOCK_PIXELS = 1 << 18
_LEVELS = 256


@dataclass(frozen=True, slots=True, eq=False)
class Display:
    """How pixel values are shown.

    Parameters
    ----------
    contrast : tuple of float or None
        Values shown as black and as full brightness. None: uint8 as it is, bool as black and
        white, other types stretched over the range that :func:`to_rgb` is given.
    gamma : float
        Exponent of the brightness; 1 is linear.
    colormap : ndarray, shape (N, 3), dtype float, or None
        Colours from dark to bright, 0 to 1; None for grey. RGB images have their own colours.

    Raises
    ------
    ImageError
        If a value can't be used.
    """

    contrast: tuple[float, float] | None = None
    gamma: float = 1.0
    colormap: npt.NDArray[np.floating] | None = None

    def __post_init__(self) -> None:
        if self.contrast is not None and not (
            len(self.contrast) == 2
            and all(map(math.isfinite, self.contrast))
            and self.contrast[0] <= self.contrast[1]
        ):
            raise ImageError(
                f"The contrast limits {tuple(self.contrast)} are not a low and a high value.",
                "Give two finite numbers, the lower first.",
            )
        if not (math.isfinite(self.gamma) and self.gamma > 0):
            raise ImageError(
                f"A gamma of {self.gamma} can't be used.", "Give a number above 0; 1 is linear."
            )
        if self.colormap is not None and (self.colormap.ndim != 2 or self.colormap.shape[1] != 3):
            raise ImageError(
                f"A colormap has the shape (N, 3), this one has {self.colormap.shape}.",
                "Give red, green and blue for each colour.",
            )

    @property
    def key(self) -> Hashable:
        """Identity of the display: equal keys show equal pictures."""
        colours = None if self.colormap is None else self.colormap.astype(np.float32).tobytes()
        return (self.contrast, self.gamma, colours)


def to_rgb(
    plane: npt.NDArray[np.generic], display: Display, fallback_contrast: tuple[float, float]
) -> npt.NDArray[np.uint8]:
    """Return the picture of a plane.

    The alpha of RGBA is left out and the colours stay as stored, as Pillow's
    ``convert("RGB")`` does and with it SAM 3's own image loading. One contrast range serves all
    three colours, so hues stay.

    Parameters
    ----------
    plane : ndarray, shape (h, w), or (h, w, 3 | 4)
        Pixel values of any real type. NaN is shown as black; infinite values as the ends.
    display : Display
        Contrast, gamma and colours.
    fallback_contrast : tuple of float
        Contrast where ``display`` names none; not used for uint8 and bool.

    Returns
    -------
    ndarray, shape (h, w, 3), dtype uint8
        A new array.
    """
    contrast = display.contrast
    if contrast is None:
        contrast = {"uint8": (0.0, 255.0), "bool": (0.0, 1.0)}.get(
            plane.dtype.name, fallback_contrast
        )
    colours = plane.ndim == 3
    out = np.empty((*plane.shape[:2], 3), np.uint8)
    table = None if colours else _colour_table(display.colormap)
    rows = max(1, _BLOCK_PIXELS // max(1, plane.shape[1]))
    for start in range(0, plane.shape[0], rows):
        block = plane[start : start + rows, :, :3] if colours else plane[start : start + rows]
        levels = _levels(block, contrast, display.gamma)
        if colours:
            out[start : start + rows] = levels
        elif table is None:
            # Plane by plane: five times faster than to repeat pixel by pixel.
            for colour in range(3):
                out[start : start + rows, :, colour] = levels
        else:
            out[start : start + rows] = table[levels]
    return out


def _levels(
    block: npt.NDArray[np.generic], contrast: tuple[float, float], gamma: float
) -> npt.NDArray[np.uint8]:
    """Return the brightness of each value, 0 to 255."""
    low, high = contrast
    if block.dtype == np.uint8 and gamma == 1.0 and contrast == (0.0, 255.0):
        return block.astype(np.uint8, copy=False)
    if block.dtype.kind in "bu" and block.dtype.itemsize == 1:
        # Each of the few values is computed once.
        values = np.arange(_LEVELS, dtype=np.float32)
        table: npt.NDArray[np.uint8] = _scale(values, low, high, gamma)
        return table[block.view(np.uint8)]
    # float32 holds 8- and 16-bit integers exactly; wider types are blocks of float64, as a
    # large offset would swallow their differences.
    return _scale(block.astype(np.result_type(block.dtype, np.float32)), low, high, gamma)


def _scale(
    values: npt.NDArray[np.floating], low: float, high: float, gamma: float
) -> npt.NDArray[np.uint8]:
    """Return values as 0 to 255; overwrites ``values``."""
    span = high - low if high > low else 1.0
    span = max(span, float(np.finfo(values.dtype).tiny))  # float32 would take less for 0
    with np.errstate(over="ignore", invalid="ignore"):
        values -= low
        values /= span
        np.clip(values, 0.0, 1.0, out=values)
        np.nan_to_num(values, copy=False, nan=0.0)
        if gamma != 1.0:
            np.power(values, gamma, out=values)
        values *= _LEVELS - 1
        values += 0.5
        return values.astype(np.uint8)


def _colour_table(colormap: npt.NDArray[np.floating] | None) -> npt.NDArray[np.uint8] | None:
    """Return the colour of each brightness, shape (256, 3); None for grey."""
    if colormap is None:
        return None
    positions = np.linspace(0.0, 1.0, len(colormap))
    wanted = np.linspace(0.0, 1.0, _LEVELS)
    columns = [np.interp(wanted, positions, np.clip(column, 0, 1)) for column in colormap.T]
    return (np.stack(columns, axis=1) * (_LEVELS - 1) + 0.5).astype(np.uint8)

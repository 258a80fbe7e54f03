"""The choices of a run that are not prompts."""

from __future__ import annotations

from dataclasses import dataclass

from napari_sam3_assistant.core.images import UNKNOWN_PIXEL, PixelSize
from napari_sam3_assistant.core.lengths import Length, find_length
from napari_sam3_assistant.errors import PromptError

DEFAULT_THRESHOLD = 0.35


@dataclass(frozen=True, slots=True)
class PredictOptions:
    """Choices that the engine reads.

    Parameters
    ----------
    threshold : float
        Detection threshold: found objects with a lower score are left out. It does not touch
        objects that a click, a box or a mask names.
    diameter : Length or None
        The usual diameter of the objects that are looked for, where somebody has told it.
    pixel : PixelSize
        The size of a pixel of the image, as far as it is known.

    Raises
    ------
    PromptError
        If the threshold is not between 0 and 1.
    """

    threshold: float = DEFAULT_THRESHOLD
    diameter: Length | None = None
    pixel: PixelSize = UNKNOWN_PIXEL

    def __post_init__(self) -> None:
        if not 0.0 <= self.threshold <= 1.0:
            raise PromptError(
                f"The detection threshold {self.threshold} is not between 0 and 1.",
                f"The default is {DEFAULT_THRESHOLD}.",
            )

    def told_diameter(self, phrase: str = "") -> Length | None:
        """Return the usual diameter as it was told; what a phrase tells comes first.

        Parameters
        ----------
        phrase : str
            Such as ``bright cells 30 px``; empty for none.
        """
        return find_length(phrase) or self.diameter

    def diameter_in_pixels(self, phrase: str = "") -> float | None:
        """Return the usual diameter in pixels; None where nobody has told it.

        Here alone a length becomes pixels, so that an engine sees nothing else.

        Parameters
        ----------
        phrase : str
            The phrase that is looked for; empty for none.

        Raises
        ------
        PromptError
            If it was told in a unit, and the size of a pixel is not known.
        """
        told = self.told_diameter(phrase)
        return None if told is None else told.in_pixels(self.pixel)

    def explain_diameter(self, phrase: str = "") -> tuple[str, ...]:
        """Return the note on how many pixels a diameter is that was told in a unit."""
        told = self.told_diameter(phrase)
        if told is None or not told.unit:
            return ()
        return (f"The usual diameter of {told} is {told.in_pixels(self.pixel):.3g} pixels here.",)


TILE_SIZES = (256, 8192)
MOST_OVERLAP = 0.5


@dataclass(frozen=True, slots=True)
class TileOptions:
    """How a large plane is cut into tiles.

    Parameters
    ----------
    size : int
        Side of a tile in pixels.
    overlap : float
        Share of its side that a tile has in common with the next one, 0 to 0.5. Objects that
        are smaller than this band are found whole; without overlap none are joined.

    Raises
    ------
    PromptError
        If a value can't be used.
    """

    size: int = 1024
    overlap: float = 0.15

    def __post_init__(self) -> None:
        least, most = TILE_SIZES
        if not least <= self.size <= most:
            raise PromptError(
                f"A tile size of {self.size} pixels can't be used.",
                f"Choose {least} to {most}; 1024 suits SAM 3.",
            )
        if not 0.0 <= self.overlap <= MOST_OVERLAP:
            raise PromptError(
                f"A tile overlap of {self.overlap} can't be used.",
                f"Choose 0 to {MOST_OVERLAP}, a share of the tile's side.",
            )

    @property
    def band(self) -> int:
        """Width in pixels of what two tiles have in common."""
        return round(self.size * self.overlap)

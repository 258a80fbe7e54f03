"""The choices of a run that are not prompts."""

from __future__ import annotations

from dataclasses import dataclass

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

    Raises
    ------
    PromptError
        If the threshold is not between 0 and 1.
    """

    threshold: float = DEFAULT_THRESHOLD

    def __post_init__(self) -> None:
        if not 0.0 <= self.threshold <= 1.0:
            raise PromptError(
                f"The detection threshold {self.threshold} is not between 0 and 1.",
                f"The default is {DEFAULT_THRESHOLD}.",
            )


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

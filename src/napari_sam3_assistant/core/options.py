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

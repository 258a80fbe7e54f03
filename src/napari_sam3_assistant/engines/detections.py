"""What a detector answers before any threshold, and which of it the user gets."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from napari_sam3_assistant.core.options import DEFAULT_THRESHOLD
from napari_sam3_assistant.engines.base import Prediction

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import numpy.typing as npt
    import torch

    from napari_sam3_assistant.core.results import ObjectRecord

# From this share of all queries on, objects may be missing from the result.
_CROWDED = 0.9


@dataclass(frozen=True, slots=True, eq=False)
class Detections:
    """What the detector answers, one entry for each of its queries.

    Parameters
    ----------
    scores : ndarray, shape (Q,), dtype float32
        Score of each query: its own times the presence of the concept.
    masks : torch.Tensor, shape (Q, h, w)
        Low-resolution mask logits.
    """

    scores: npt.NDArray[np.float32]
    masks: torch.Tensor

    def to(self, device: str) -> Detections:
        """Return them with the masks on another device."""
        return Detections(self.scores, self.masks.to(device))


def retry_thresholds(first: float) -> tuple[float, ...]:
    """Return a phrase's thresholds, falling, the asked one first."""
    lower = sorted({min(first, DEFAULT_THRESHOLD) / 2, 0.20, 0.10}, reverse=True)
    return (first, *(value for value in lower if value < first))


def pick_objects(
    scores: npt.NDArray[np.float32],
    threshold: float,
    phrase: str,
    records_of: Callable[[npt.NDArray[np.intp]], Sequence[ObjectRecord]],
) -> Prediction:
    """Return the objects above the threshold.

    Where a phrase finds nothing, lower thresholds are tried on the same answer of the model.

    Parameters
    ----------
    scores : ndarray, shape (Q,), dtype float32
        Score of each query.
    threshold : float
        Queries with a score above it are objects.
    phrase : str
        The phrase; empty for examples alone, for which no other threshold is tried.
    records_of : callable
        Makes the objects of the queries with the given numbers.
    """
    used = threshold
    objects: Sequence[ObjectRecord] = ()
    for used in retry_thresholds(threshold) if phrase else (threshold,):
        kept = np.flatnonzero(scores > used)
        objects = records_of(kept) if kept.size else ()
        if objects:
            break
    notes = _notes(scores, len(objects), threshold, used)
    return Prediction(tuple(objects), used, phrase, notes)


def _notes(
    scores: npt.NDArray[np.float32], count: int, asked: float, used: float
) -> tuple[str, ...]:
    notes = []
    if count and used != asked:
        notes.append(f"Nothing scored above {asked:g}; shown is what scored above {used:g}.")
    if not count:
        best = float(scores.max(initial=0.0))
        notes.append(
            f"Nothing scored above {used:g}; the best score was {best:.2f}. Try another phrase, "
            "an example box, a smaller region, or a lower threshold."
        )
    if count >= _CROWDED * len(scores):
        notes.append(
            f"{count} objects were found, and SAM 3 finds {len(scores)} at most in one "
            "image: some may be missing. Run it on tiles or on a smaller region."
        )
    return tuple(notes)

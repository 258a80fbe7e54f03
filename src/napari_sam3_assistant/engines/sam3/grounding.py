"""Find every instance of a concept: what the SAM 3 engines do in the same way."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Generic, Protocol, TypeVar

import numpy as np

from napari_sam3_assistant.core.options import DEFAULT_THRESHOLD
from napari_sam3_assistant.core.phrases import clean_phrase
from napari_sam3_assistant.core.progress import Progress
from napari_sam3_assistant.engines.base import Packable, Prediction
from napari_sam3_assistant.engines.encoding_cache import LRUCache
from napari_sam3_assistant.engines.sam3.mask_decoder import require_numbers, to_records
from napari_sam3_assistant.errors import PromptError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import numpy.typing as npt
    import torch

    from napari_sam3_assistant.core.progress import Reporter
    from napari_sam3_assistant.core.prompts import ExemplarPrompt, PromptSet
    from napari_sam3_assistant.core.results import ObjectRecord


_KEPT_PHRASES = 64
# What both libraries say themselves for examples without a phrase.
NO_PHRASE = "visual"


class SearchableEncoding(Packable, Protocol):
    """An encoded image that remembers what was found in it."""

    @property
    def found(self) -> LRUCache[Detections]:
        """What the detector found, by phrase and examples."""


E = TypeVar("E", bound=SearchableEncoding)
P = TypeVar("P")


class ConceptFinder(ABC, Generic[E, P]):
    """Finds concepts in encoded images; remembers encoded phrases, and answers by image.

    Generic in the encoded image and in the encoded phrase.
    """

    # Pixels of a mask, as ``_to_logits`` returns it, that lie above this belong to the object.
    cutoff: ClassVar[float]

    def __init__(self) -> None:
        self._phrases: LRUCache[P] = LRUCache(_KEPT_PHRASES)

    def find(
        self,
        encoding: E,
        prompts: PromptSet,
        threshold: float,
        reporter: Reporter,
    ) -> Prediction:
        """Return the objects that the phrase and the examples name.

        Another threshold on the same phrase and examples runs nothing of the model.
        """
        phrase = clean_phrase(prompts.text)
        exemplars = prompts.exemplars

        def detect() -> Detections:
            reporter.report(Progress(0, 0, "Reading the phrase"))
            text = phrase or NO_PHRASE
            encoded = self._phrases.get_or_make(text, lambda: self._encode(text))
            found = self._detect(encoding, encoded, exemplars, reporter)
            require_numbers(found.scores)
            return found

        answer = encoding.found.get_or_make((phrase, exemplars), detect)

        def records_of(kept: npt.NDArray[np.intp]) -> list[ObjectRecord]:
            return to_records(
                self._to_logits(answer.masks[kept].float()),
                answer.scores[kept].tolist(),
                encoding.shape,
                cutoff=self.cutoff,
                reporter=reporter,
                text=phrase,
            )

        return pick_objects(answer.scores, threshold, phrase, records_of)

    @abstractmethod
    def _encode(self, phrase: str) -> P:
        """Return an encoded phrase."""

    @abstractmethod
    def _detect(
        self,
        encoding: E,
        phrase: P,
        exemplars: tuple[ExemplarPrompt, ...],
        reporter: Reporter,
    ) -> Detections:
        """Run the detector."""

    def _to_logits(self, logits: torch.Tensor) -> torch.Tensor:
        """Return masks as the library enlarges and cuts them, from their logits."""
        return logits


def check_length(tokens: int, limit: int) -> None:
    """Raise unless a phrase has no more tokens than the text encoder takes."""
    if tokens > limit:
        raise PromptError(
            f"The phrase has {tokens} tokens, SAM 3 takes up to {limit}.",
            "Use a short noun phrase, such as 'red blood cell'.",
        )


# From this share of all queries on, objects may be missing from the result.
_CROWDED = 0.9


@dataclass(frozen=True, slots=True, eq=False)
class Detections:
    """What the detector answers, one entry for each of its queries.

    ``scores`` (shape (Q,)): score of each query: its own times the presence of the concept.
    ``masks`` (shape (Q, h, w)): low-resolution mask logits.
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

    ``scores`` (shape (Q,)): score of each query.
    ``threshold``: queries with a score above it are objects.
    ``phrase``: the phrase; empty for examples alone, for which no other threshold is tried.
    ``records_of``: makes the objects of the queries with the given numbers.
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

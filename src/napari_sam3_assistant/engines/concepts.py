"""Finding every instance of a concept: what the SAM 3 engines do in the same way."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, ClassVar, Generic, Protocol, TypeVar

from napari_sam3_assistant.core.progress import Progress
from napari_sam3_assistant.engines.detections import Detections, pick_objects
from napari_sam3_assistant.engines.low_resolution_masks import to_records
from napari_sam3_assistant.engines.phrases import clean_phrase
from napari_sam3_assistant.engines.recent import Recent
from napari_sam3_assistant.errors import PromptError

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy as np
    import numpy.typing as npt
    import torch

    from napari_sam3_assistant.core.progress import Reporter
    from napari_sam3_assistant.core.prompts import ExemplarPrompt, PromptSet
    from napari_sam3_assistant.core.results import ObjectRecord
    from napari_sam3_assistant.engines.base import Prediction

_KEPT_PHRASES = 64
# What both libraries say themselves for examples without a phrase.
NO_PHRASE = "visual"


class Searched(Protocol):
    """An encoded image that remembers what was found in it."""

    @property
    def shape(self) -> tuple[int, int]:
        """Height and width of the image in pixels."""

    @property
    def found(self) -> Recent[Detections]:
        """What the detector found, by phrase and examples."""


E = TypeVar("E", bound=Searched)
P = TypeVar("P")


class ConceptFinder(ABC, Generic[E, P]):
    """Finds concepts in encoded images; remembers encoded phrases, and answers by image.

    Generic in the encoded image and in the encoded phrase.
    """

    # Pixels of a mask, as ``_as_cut`` returns it, that lie above this belong to the object.
    cutoff: ClassVar[float]

    def __init__(self) -> None:
        self._phrases: Recent[P] = Recent(_KEPT_PHRASES)

    def find(
        self,
        encoding: E,
        prompts: PromptSet,
        threshold: float,
        reporter: Reporter,
        check: Callable[[], None],
    ) -> Prediction:
        """Return the objects that the phrase and the examples name.

        Another threshold on the same phrase and examples runs nothing of the model.

        Parameters
        ----------
        encoding : object
            The encoded image.
        prompts : PromptSet
            Its text and its examples are used.
        threshold : float
            Objects with a score above it are returned.
        reporter : Reporter
            Is told of the progress, and stops the work.
        check : callable
            Called between the model's stages; what it raises stops the work.

        Raises
        ------
        PromptError
            If the phrase is too long.
        """
        phrase = clean_phrase(prompts.text)
        exemplars = prompts.exemplars

        def detect() -> Detections:
            check()
            reporter.report(Progress(0, 0, "Reading the phrase"))
            text = phrase or NO_PHRASE
            encoded = self._phrases.get_or_make(text, lambda: self._encode(text))
            return self._detect(encoding, encoded, exemplars, reporter, check)

        answer = encoding.found.get_or_make((phrase, exemplars), detect)

        def records_of(kept: npt.NDArray[np.intp]) -> list[ObjectRecord]:
            return to_records(
                self._as_cut(answer.masks[kept].float()),
                answer.scores[kept].tolist(),
                encoding.shape,
                cutoff=self.cutoff,
                check=check,
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
        check: Callable[[], None],
    ) -> Detections:
        """Run the detector."""

    def _as_cut(self, logits: torch.Tensor) -> torch.Tensor:
        """Return masks as the library enlarges and cuts them, from their logits."""
        return logits


def check_length(tokens: int, limit: int) -> None:
    """Raise unless a phrase has no more tokens than the text encoder takes.

    Raises
    ------
    PromptError
        If it has more.
    """
    if tokens > limit:
        raise PromptError(
            f"The phrase has {tokens} tokens, SAM 3 takes up to {limit}.",
            "Use a short noun phrase, such as 'red blood cell'.",
        )

"""Find every instance of a concept: a phrase, example boxes, or both."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_sam3_assistant.core.progress import Progress
from napari_sam3_assistant.core.regions import Region
from napari_sam3_assistant.engines.base import Prediction
from napari_sam3_assistant.engines.phrases import clean_phrase
from napari_sam3_assistant.engines.sam3_transformers.masks import to_records
from napari_sam3_assistant.engines.sam3_transformers.stages import watched
from napari_sam3_assistant.errors import PromptError

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy.typing as npt
    import torch

    from napari_sam3_assistant.core.progress import Reporter
    from napari_sam3_assistant.core.prompts import ExemplarPrompt, PromptSet
    from napari_sam3_assistant.core.results import ObjectRecord
    from napari_sam3_assistant.engines.sam3_transformers.embedding import Sam3Embedding
    from napari_sam3_assistant.engines.sam3_transformers.loading import LoadedModel

MASK_CUTOFF = 0.5
# The tokenizer pads to this length, and the text encoder takes no more.
_MAX_TOKENS = 32
# From this share of all queries on, objects may be missing from the result.
_CROWDED = 0.9
_KEPT_PHRASES = 64


@dataclass(frozen=True, slots=True, eq=False)
class Grounding:
    """What the detector answers, before any threshold.

    Parameters
    ----------
    scores : ndarray, shape (Q,), dtype float32
        Score of each query: its own times the presence of the concept.
    masks : torch.Tensor, shape (Q, h, w)
        Low-resolution mask logits.
    """

    scores: npt.NDArray[np.float32]
    masks: torch.Tensor


class Grounder:
    """Finds concepts in embedded images and remembers the encoded phrases.

    Parameters
    ----------
    model : LoadedModel
        The weights.
    """

    def __init__(self, model: LoadedModel) -> None:
        self._model = model
        self._texts: dict[str, tuple[Any, torch.Tensor]] = {}

    def find(
        self,
        embedding: Sam3Embedding,
        prompts: PromptSet,
        threshold: float,
        reporter: Reporter,
        check: Callable[[], None],
    ) -> Prediction:
        """Return the objects that the phrase and the examples name.

        Where a phrase finds nothing, lower thresholds are tried on the same answer of the
        model.

        Parameters
        ----------
        embedding : Sam3Embedding
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
        grounding = self._ground(embedding, phrase, prompts.exemplars, reporter, check)
        tried = _thresholds(threshold) if phrase else (threshold,)
        used = threshold
        objects: list[ObjectRecord] = []
        for used in tried:
            objects = self._above(grounding, used, embedding.shape, phrase, check)
            if objects:
                break
        notes = _notes(grounding, objects, threshold, used)
        return Prediction(tuple(objects), used, phrase, notes)

    def _ground(
        self,
        embedding: Sam3Embedding,
        phrase: str,
        exemplars: tuple[ExemplarPrompt, ...],
        reporter: Reporter,
        check: Callable[[], None],
    ) -> Grounding:
        key = (phrase, exemplars)
        if key in embedding.groundings:
            embedding.groundings.move_to_end(key)
            return embedding.groundings[key]
        check()
        reporter.report(Progress(0, 0, "Reading the phrase"))
        # "visual" is what the library itself says for examples without a phrase.
        text, attention = self._encode(phrase or "visual")
        boxes, labels = self._encode_examples(embedding.shape, exemplars)
        detector = self._model.detector
        layers = [*detector.detr_encoder.layers, *detector.detr_decoder.layers]
        with watched(layers, "Searching the image", reporter, check):
            answer = detector(
                vision_embeds=embedding.vision,
                text_embeds=text,
                attention_mask=attention,
                input_boxes=boxes,
                input_boxes_labels=labels,
            )
        check()
        scores = answer.pred_logits.float().sigmoid()
        if answer.presence_logits is not None:
            scores = scores * answer.presence_logits.float().sigmoid()
        grounding = Grounding(scores[0].cpu().numpy(), answer.pred_masks[0])
        embedding.keep(key, grounding)
        return grounding

    def _encode(self, phrase: str) -> tuple[Any, torch.Tensor]:
        """Return the encoded phrase and which of its tokens count."""
        if phrase not in self._texts:
            tokens = self._model.find_processor(text=phrase, return_tensors="pt")
            length = tokens["input_ids"].shape[1]
            if length > _MAX_TOKENS:
                raise PromptError(
                    f"The phrase has {length} tokens, SAM 3 takes up to {_MAX_TOKENS}.",
                    "Use a short noun phrase, such as 'red blood cell'.",
                )
            tokens = tokens.to(self._model.device)
            text = self._model.detector.get_text_features(**tokens, return_dict=True)
            while len(self._texts) >= _KEPT_PHRASES:
                self._texts.pop(next(iter(self._texts)))
            self._texts[phrase] = (text, tokens["attention_mask"])
        return self._texts[phrase]

    def _encode_examples(
        self, shape: tuple[int, int], exemplars: tuple[ExemplarPrompt, ...]
    ) -> tuple[torch.Tensor | None, torch.Tensor | None]:
        """Return example boxes as the model takes them, and which of them are positive."""
        if not exemplars:
            return None, None
        plane = Region.whole(shape)
        corners = []
        for exemplar in exemplars:
            inside = exemplar.region.intersect(plane)
            corners.append([float(end) for end in (inside.x0, inside.y0, inside.x1, inside.y1)])
        encoded = self._model.find_processor(
            text="visual",
            input_boxes=[corners],
            input_boxes_labels=[[int(exemplar.positive) for exemplar in exemplars]],
            original_sizes=[list(shape)],
            return_tensors="pt",
        )
        boxes = encoded["input_boxes"].to(self._model.device, self._model.dtype)
        return boxes, encoded["input_boxes_labels"].to(self._model.device)

    def _above(
        self,
        grounding: Grounding,
        threshold: float,
        shape: tuple[int, int],
        phrase: str,
        check: Callable[[], None],
    ) -> list[ObjectRecord]:
        kept = np.flatnonzero(grounding.scores > threshold)
        if kept.size == 0:
            return []
        return to_records(
            grounding.masks[kept].float().sigmoid(),
            grounding.scores[kept].tolist(),
            shape,
            cutoff=MASK_CUTOFF,
            check=check,
            text=phrase,
        )


def _thresholds(first: float) -> tuple[float, ...]:
    """Return a phrase's thresholds, falling, the asked one first."""
    lower = sorted({min(first, 0.35) / 2, 0.20, 0.10}, reverse=True)
    return (first, *(value for value in lower if value < first))


def _notes(
    grounding: Grounding, objects: list[ObjectRecord], asked: float, used: float
) -> tuple[str, ...]:
    notes = []
    if objects and used != asked:
        notes.append(f"Nothing scored above {asked:g}; shown is what scored above {used:g}.")
    if not objects:
        best = float(grounding.scores.max(initial=0.0))
        notes.append(
            f"Nothing scored above {used:g}; the best score was {best:.2f}. Try another phrase, "
            "an example box, a smaller region, or a lower threshold."
        )
    queries = len(grounding.scores)
    if len(objects) >= _CROWDED * queries:
        notes.append(
            f"{len(objects)} objects were found, and SAM 3 finds {queries} at most in one "
            "image: some may be missing. Run it on tiles or on a smaller region."
        )
    return tuple(notes)

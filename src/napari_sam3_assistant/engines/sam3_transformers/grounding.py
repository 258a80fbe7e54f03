"""Find every instance of a concept: a phrase, example boxes, or both."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from napari_sam3_assistant.core.regions import Region
from napari_sam3_assistant.engines.concepts import NO_PHRASE, ConceptFinder, check_length
from napari_sam3_assistant.engines.detections import Detections
from napari_sam3_assistant.engines.sam3_transformers.embedding import Sam3Embedding
from napari_sam3_assistant.engines.stages import watched

if TYPE_CHECKING:
    from collections.abc import Callable

    import torch

    from napari_sam3_assistant.core.progress import Reporter
    from napari_sam3_assistant.core.prompts import ExemplarPrompt
    from napari_sam3_assistant.engines.sam3_transformers.loading import LoadedModel

# The tokenizer pads to this length, and the text encoder takes no more.
MAX_TOKENS = 32


class Grounder(ConceptFinder[Sam3Embedding, tuple[Any, Any]]):
    """Finds concepts in embedded images and remembers the encoded phrases.

    An encoded phrase is the text encoder's output and which of its tokens count.

    Parameters
    ----------
    model : LoadedModel
        The weights.
    """

    # Of probabilities: post_process_instance_segmentation of transformers enlarges these.
    cutoff = 0.5

    def __init__(self, model: LoadedModel) -> None:
        super().__init__()
        self._model = model

    def _as_cut(self, logits: torch.Tensor) -> torch.Tensor:
        return logits.sigmoid()

    def _detect(
        self,
        encoding: Sam3Embedding,
        phrase: tuple[Any, Any],
        exemplars: tuple[ExemplarPrompt, ...],
        reporter: Reporter,
        check: Callable[[], None],
    ) -> Detections:
        text, attention = phrase
        boxes, labels = self._encode_examples(encoding.shape, exemplars)
        detector = self._model.detector
        layers = [*detector.detr_encoder.layers, *detector.detr_decoder.layers]
        with watched(layers, "Searching the image", reporter, check):
            answer = detector(
                vision_embeds=encoding.vision,
                text_embeds=text,
                attention_mask=attention,
                input_boxes=boxes,
                input_boxes_labels=labels,
            )
        check()
        scores = answer.pred_logits.float().sigmoid()
        if answer.presence_logits is not None:
            scores = scores * answer.presence_logits.float().sigmoid()
        return Detections(scores[0].cpu().numpy(), answer.pred_masks[0])

    def _encode(self, phrase: str) -> tuple[Any, Any]:
        tokens = self._model.find_processor(text=phrase, return_tensors="pt")
        check_length(tokens["input_ids"].shape[1], MAX_TOKENS)
        tokens = tokens.to(self._model.device)
        text = self._model.detector.get_text_features(**tokens, return_dict=True)
        return text, tokens["attention_mask"]

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
            text=NO_PHRASE,
            input_boxes=[corners],
            input_boxes_labels=[[int(exemplar.positive) for exemplar in exemplars]],
            original_sizes=[list(shape)],
            return_tensors="pt",
        )
        boxes = encoded["input_boxes"].to(self._model.device, self._model.dtype)
        return boxes, encoded["input_boxes_labels"].to(self._model.device)

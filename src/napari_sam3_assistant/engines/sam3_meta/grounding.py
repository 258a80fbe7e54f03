"""Find every instance of a concept: a phrase, example boxes, or both."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from napari_sam3_assistant.core.regions import Region
from napari_sam3_assistant.engines.concepts import ConceptFinder, check_length
from napari_sam3_assistant.engines.detections import Detections
from napari_sam3_assistant.engines.sam3_meta import compat
from napari_sam3_assistant.engines.sam3_meta.encoding import MetaEncoding
from napari_sam3_assistant.engines.stages import watched

if TYPE_CHECKING:
    from collections.abc import Callable

    from napari_sam3_assistant.core.progress import Reporter
    from napari_sam3_assistant.core.prompts import ExemplarPrompt
    from napari_sam3_assistant.engines.sam3_meta.loading import LoadedModel


class Grounder(ConceptFinder[MetaEncoding, dict[str, Any]]):
    """Finds concepts in encoded images and remembers the encoded phrases.

    An encoded phrase is what the package adds to ``backbone_out`` for it.

    Parameters
    ----------
    loaded : LoadedModel
        The weights.
    """

    # Of logits: the package cuts sigmoid(logit) at 0.5.
    cutoff = 0.0

    def __init__(self, loaded: LoadedModel) -> None:
        super().__init__()
        self._loaded = loaded

    def _detect(
        self,
        encoding: MetaEncoding,
        phrase: dict[str, Any],
        exemplars: tuple[ExemplarPrompt, ...],
        reporter: Reporter,
        check: Callable[[], None],
    ) -> Detections:
        model, processor = self._loaded.model, self._loaded.processor
        with watched(compat.prompt_stages(model), "Searching the image", reporter, check):
            # As Sam3Processor._forward_grounding, but what lies below the threshold is kept, so
            # that another threshold needs no second run.
            answer = model.forward_grounding(
                backbone_out=encoding.state(phrase)["backbone_out"],
                find_input=processor.find_stage,
                geometric_prompt=self._examples(exemplars, encoding.shape),
                find_target=None,
            )
        check()
        presence = answer["presence_logit_dec"].sigmoid().unsqueeze(1)
        scores = (answer["pred_logits"].sigmoid() * presence).squeeze(-1)[0]
        return Detections(scores.float().cpu().numpy(), answer["pred_masks"][0])

    def _encode(self, phrase: str) -> dict[str, Any]:
        check_phrase(self._loaded, phrase)
        backbone = self._loaded.model.backbone
        encoded: dict[str, Any] = backbone.forward_text([phrase], device=self._loaded.device)
        return encoded

    def _examples(self, exemplars: tuple[ExemplarPrompt, ...], shape: tuple[int, int]) -> Any:  # noqa: ANN401
        """Return the examples as the model takes them, all at once."""
        import torch

        height, width = shape
        boxes = np.zeros((len(exemplars), 4), np.float32)
        for row, exemplar in zip(boxes, exemplars, strict=True):
            box = exemplar.region.intersect(Region.whole(shape))
            row[:] = (
                (box.x0 + box.x1) / 2 / width,
                (box.y0 + box.y1) / 2 / height,
                box.width / width,
                box.height / height,
            )
        labels = torch.tensor([exemplar.positive for exemplar in exemplars], dtype=torch.bool)
        device = self._loaded.device
        return compat.geometric_prompt(torch.from_numpy(boxes).to(device), labels.to(device))


def check_phrase(loaded: LoadedModel, phrase: str) -> None:
    """Refuse a phrase that is too long; the package cuts it without a word.

    Parameters
    ----------
    loaded : LoadedModel
        The weights.
    phrase : str
        The phrase.

    Raises
    ------
    PromptError
        If it is too long.
    """
    text = loaded.model.backbone.language_backbone
    # The begin and the end are tokens too.
    check_length(len(text.tokenizer.encode(phrase)) + 2, text.context_length)

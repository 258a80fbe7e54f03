"""Find every instance of a concept: a phrase, example boxes, or both."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from napari_sam3_assistant.core.progress import Progress
from napari_sam3_assistant.core.regions import Region
from napari_sam3_assistant.engines.detections import Detections, pick_objects
from napari_sam3_assistant.engines.embeddings import EmbeddingStore
from napari_sam3_assistant.engines.phrases import clean_phrase
from napari_sam3_assistant.engines.sam3_meta import compat
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
    from napari_sam3_assistant.engines.base import Prediction
    from napari_sam3_assistant.engines.sam3_meta.encoding import MetaEncoding
    from napari_sam3_assistant.engines.sam3_meta.loading import LoadedModel

# The package cuts sigmoid(logit) at 0.5.
_LOGIT_CUTOFF = 0.0
_KEPT_PHRASES = 64


class Grounder:
    """Finds concepts in encoded images and remembers the encoded phrases.

    Parameters
    ----------
    loaded : LoadedModel
        The weights.
    """

    def __init__(self, loaded: LoadedModel) -> None:
        self._loaded = loaded
        self._texts = EmbeddingStore(_KEPT_PHRASES)

    def find(
        self,
        encoding: MetaEncoding,
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
        encoding : MetaEncoding
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
        found = self._ground(encoding, phrase, prompts.exemplars, reporter, check)

        def records_of(kept: npt.NDArray[np.intp]) -> list[ObjectRecord]:
            return to_records(
                found.masks[kept].float(),
                found.scores[kept].tolist(),
                encoding.shape,
                cutoff=_LOGIT_CUTOFF,
                check=check,
                text=phrase,
            )

        return pick_objects(found.scores, threshold, phrase, records_of)

    def _ground(
        self,
        encoding: MetaEncoding,
        phrase: str,
        exemplars: tuple[ExemplarPrompt, ...],
        reporter: Reporter,
        check: Callable[[], None],
    ) -> Detections:
        key = (phrase, exemplars)
        if key in encoding.found:
            encoding.found.move_to_end(key)
            return encoding.found[key]
        check()
        reporter.report(Progress(0, 0, "Reading the phrase"))
        # "visual" is what the package itself says for examples without a phrase.
        text = phrase or "visual"
        language = self._texts.get_or_make(text, lambda: self._encode(text))
        model, processor = self._loaded.model, self._loaded.processor
        with watched(compat.prompt_stages(model), "Searching the image", reporter, check):
            # As Sam3Processor._forward_grounding, but what lies below the threshold is kept, so
            # that another threshold needs no second run.
            answer = model.forward_grounding(
                backbone_out=encoding.state(language)["backbone_out"],
                find_input=processor.find_stage,
                geometric_prompt=self._examples(exemplars, encoding.shape),
                find_target=None,
            )
        check()
        presence = answer["presence_logit_dec"].sigmoid().unsqueeze(1)
        scores = (answer["pred_logits"].sigmoid() * presence).squeeze(-1)[0]
        detections = Detections(scores.float().cpu().numpy(), answer["pred_masks"][0])
        encoding.keep(key, detections)
        return detections

    def _encode(self, phrase: str) -> dict[str, torch.Tensor]:
        """Return the encoded phrase."""
        backbone = self._loaded.model.backbone
        limit = backbone.language_backbone.context_length
        # The begin and the end are tokens too; the package cuts what is longer without a word.
        length = len(backbone.language_backbone.tokenizer.encode(phrase)) + 2
        if length > limit:
            raise PromptError(
                f"The phrase has {length} tokens, SAM 3 takes up to {limit}.",
                "Use a short noun phrase, such as 'red blood cell'.",
            )
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

"""SAM 3 of transformers on one image: loading, encoding, clicks, boxes, phrases, examples."""

from __future__ import annotations

from copy import deepcopy
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from napari_sam3_assistant.core.progress import Progress
from napari_sam3_assistant.core.regions import Region
from napari_sam3_assistant.engines.checkpoints import inspect_folder
from napari_sam3_assistant.engines.encoding_cache import LRUCache
from napari_sam3_assistant.engines.errors import reading_files
from napari_sam3_assistant.engines.sam3.engine import watch_layers
from napari_sam3_assistant.engines.sam3.grounding import (
    NO_PHRASE,
    ConceptFinder,
    Detections,
    check_length,
)
from napari_sam3_assistant.engines.sam3.mask_decoder import xyxy
from napari_sam3_assistant.engines.sam_transformers.loading import (
    AGAIN,
    STAGES,
    LoadedModel,
    read_folder,
    share_modules,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    import torch

    from napari_sam3_assistant.core.images import Untyped
    from napari_sam3_assistant.core.progress import Reporter
    from napari_sam3_assistant.core.prompts import ExemplarPrompt

# One set of 200 low-resolution masks takes 66 MB in float32.
_KEPT_ANSWERS = 4


@dataclass(slots=True, eq=False)
class Sam3Embedding:
    """The encoding of one image, for all prompts.

    ``shape``: height and width of the image in pixels.
    ``vision``: the image encoder's output and the detector's feature maps.
    ``clicks``: the feature maps for clicks, fine to coarse; None until the first click.
    ``found``: what the detector found, by phrase and examples.
    """

    shape: tuple[int, int]
    vision: Any
    clicks: list[torch.Tensor] | None = None
    found: LRUCache[Detections] = field(default_factory=lambda: LRUCache(_KEPT_ANSWERS))

    @property
    def nbytes(self) -> int:
        """Memory that the tensors of this image take, in bytes."""
        return sum(tensor.nbytes for tensor in self._all())

    def to(self, device: str) -> Sam3Embedding:
        """Return it on another device, with what was found; itself where it is there already."""
        if str(self.vision.last_hidden_state.device) == device:
            return self
        # Not the position encodings: the library keeps one copy of them for all images.
        vision = replace(
            self.vision,
            last_hidden_state=self.vision.last_hidden_state.to(device),
            fpn_hidden_states=tuple(level.to(device) for level in self.vision.fpn_hidden_states),
        )
        clicks = self.clicks and [level.to(device) for level in self.clicks]
        found = self.found.map(lambda detections: detections.to(device))
        return Sam3Embedding(self.shape, vision, clicks, found)

    def tensors(self) -> dict[str, torch.Tensor]:
        """Return the image encoder's output by name; the rest can be made of it."""
        maps = {f"map{number}": level for number, level in enumerate(self.vision.fpn_hidden_states)}
        return {"hidden": self.vision.last_hidden_state, **maps}

    @classmethod
    def from_tensors(
        cls, model: LoadedSam3, shape: tuple[int, int], tensors: Mapping[str, torch.Tensor]
    ) -> Sam3Embedding:
        """Return the encoding that :meth:`tensors` was asked of."""
        from transformers.models.sam3.modeling_sam3 import Sam3VisionEncoderOutput

        # All but the hidden states.
        names = [f"map{number}" for number in range(len(tensors) - 1)]
        maps = tuple(tensors[name].to(model.device) for name in names)
        positions = model.detector.vision_encoder.neck.position_encoding
        vision = Sam3VisionEncoderOutput(
            last_hidden_state=tensors["hidden"].to(model.device),
            fpn_hidden_states=maps,
            fpn_position_encoding=tuple(positions(m.shape, m.device, m.dtype) for m in maps),
        )
        return cls(shape, vision)

    def _all(self) -> Iterator[torch.Tensor]:
        yield from self.tensors().values()
        yield from self.clicks or ()
        for detections in self.found:
            yield detections.masks


def click_features(model: LoadedSam3, embedding: Sam3Embedding) -> list[torch.Tensor]:
    """Return the feature maps for clicks, made at the first call from the image encoding.

    The "no memory" embedding goes to the coarsest map that the mask decoder sees, as Meta's
    ``SAM3InteractiveImagePredictor.set_image`` and ``Sam3TrackerVideoModel`` do.
    ``Sam3TrackerModel.get_image_embeddings`` (transformers 5.23) adds it to a fourth, coarser
    map and then drops that one.
    """
    if embedding.clicks is None:
        maps, _ = model.video.get_vision_features_for_tracker(embedding.vision)
        maps[-1] = maps[-1] + model.clicks.no_memory_embedding
        embedding.clicks = [
            flat.permute(1, 2, 0).reshape(1, -1, *size)
            for flat, size in zip(maps, model.clicks.backbone_feature_sizes, strict=True)
        ]
    return embedding.clicks


# The tokenizer pads to this length, and the text encoder takes no more.
MAX_TOKENS = 32


class Grounder(ConceptFinder[Sam3Embedding, tuple[Any, Any]]):
    """Finds concepts in embedded images and remembers the encoded phrases.

    An encoded phrase is the text encoder's output and which of its tokens count.
    """

    # Of probabilities: post_process_instance_segmentation of transformers enlarges these.
    cutoff = 0.5

    def __init__(self, model: LoadedSam3) -> None:
        super().__init__()
        self._model = model

    def _to_logits(self, logits: torch.Tensor) -> torch.Tensor:
        return logits.sigmoid()

    def _detect(
        self,
        encoding: Sam3Embedding,
        phrase: tuple[Any, Any],
        exemplars: tuple[ExemplarPrompt, ...],
        reporter: Reporter,
    ) -> Detections:
        text, attention = phrase
        boxes, labels = self._encode_examples(encoding.shape, exemplars)
        detector = self._model.detector
        layers = [*detector.detr_encoder.layers, *detector.detr_decoder.layers]
        with watch_layers(layers, "Searching the image", reporter):
            answer = detector(
                vision_embeds=encoding.vision,
                text_embeds=text,
                attention_mask=attention,
                input_boxes=boxes,
                input_boxes_labels=labels,
            )
        reporter.check()
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
        encoded = self._model.find_processor(
            text=NO_PHRASE,
            input_boxes=[[xyxy(exemplar.cut(plane)) for exemplar in exemplars]],
            input_boxes_labels=[[int(exemplar.positive) for exemplar in exemplars]],
            original_sizes=[list(shape)],
            return_tensors="pt",
        )
        boxes = encoded["input_boxes"].to(self._model.device)
        return boxes, encoded["input_boxes_labels"].to(self._model.device)


@dataclass(frozen=True, slots=True, eq=False)
class LoadedSam3(LoadedModel):
    """One copy of the weights of SAM 3, seen by each head that uses them.

    ``video``: holds the weights; finds concepts, and follows them through frames.
    ``find_processor``: prepares images, phrases and example boxes.
    """

    video: Any = None
    find_processor: Any = None

    @property
    def detector(self) -> Untyped:
        """The ``Sam3Model`` that finds all instances of a concept."""
        return self.video.detector_model


def load_model(folder: Path, device: str, precision: str, reporter: Reporter) -> LoadedSam3:
    """Load the folder of ``facebook/sam3``, offline."""
    reporter.report(Progress(0, STAGES, "Checking the model folder"))
    inspect_folder(folder).require("sam3-transformers")
    video, (find, click), precision = read_folder(
        folder,
        "SAM 3",
        "Sam3VideoModel",
        ("Sam3Processor", "Sam3TrackerProcessor"),
        device,
        precision,
        reporter,
    )
    with reading_files(f"{folder / 'config.json'} is not of SAM 3.", AGAIN):
        clicks = build_click_model(video)
    reporter.report(Progress(STAGES, STAGES, "SAM 3 is ready"))
    return LoadedSam3(
        clicks, click, video.tracker_model, device, precision, video=video, find_processor=find
    )


def build_click_model(video: Untyped) -> Untyped:
    """Return a ``Sam3TrackerModel`` made of the modules of a ``Sam3VideoModel``.

    ``Sam3TrackerModel.from_pretrained`` leaves 147 weights random for a ``sam3_video`` folder
    (transformers 5.23), and would be a second copy of the image encoder. It is given image
    embeddings and never encodes an image by itself.
    """
    import torch

    parts = deepcopy(video.config.tracker_config)
    # Its image encoder is left out, so it need not be built at its size.
    parts.vision_config.backbone_config.num_hidden_layers = 1
    return share_modules(video.tracker_model, "Sam3TrackerModel", parts, torch.nn.Identity())

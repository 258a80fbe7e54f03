"""What is computed once for an image."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator

    import torch

    from napari_sam3_assistant.engines.sam3_transformers.grounding import Grounding
    from napari_sam3_assistant.engines.sam3_transformers.loading import LoadedModel

# One set of 200 low-resolution masks takes 66 MB in float32.
_KEPT_GROUNDINGS = 4


@dataclass(slots=True, eq=False)
class Sam3Embedding:
    """The encoding of one image, for all prompts.

    Parameters
    ----------
    shape : tuple of int
        Height and width of the image in pixels.
    vision : Sam3VisionEncoderOutput
        The image encoder's output and the detector's feature maps.
    clicks : list of torch.Tensor or None
        The feature maps for clicks, fine to coarse; None until the first click.
    groundings : OrderedDict
        What the detector found, by phrase and examples, the latest last.
    """

    shape: tuple[int, int]
    vision: Any
    clicks: list[torch.Tensor] | None = None
    groundings: OrderedDict[Any, Grounding] = field(default_factory=OrderedDict)

    @property
    def nbytes(self) -> int:
        """Memory that the tensors of this image take, in bytes."""
        return sum(tensor.nbytes for tensor in self._tensors())

    def keep(self, key: object, grounding: Grounding) -> None:
        """Keep what the detector found, in place of the oldest."""
        self.groundings[key] = grounding
        while len(self.groundings) > _KEPT_GROUNDINGS:
            self.groundings.popitem(last=False)

    def _tensors(self) -> Iterator[torch.Tensor]:
        yield self.vision.last_hidden_state
        # Not the position encodings: the library keeps one copy of them for all images.
        yield from self.vision.fpn_hidden_states
        yield from self.clicks or ()
        for grounding in self.groundings.values():
            yield grounding.masks


def click_features(model: LoadedModel, embedding: Sam3Embedding) -> list[torch.Tensor]:
    """Return the feature maps for clicks, made at the first call from the image encoding.

    The "no memory" embedding goes to the coarsest map that the mask decoder sees, as Meta's
    ``SAM3InteractiveImagePredictor.set_image`` and ``Sam3TrackerVideoModel`` do.
    ``Sam3TrackerModel.get_image_embeddings`` (transformers 5.23) adds it to a fourth, coarser
    map and then drops that one.

    Parameters
    ----------
    model : LoadedModel
        The model that made the embedding.
    embedding : Sam3Embedding
        The encoding of one image.

    Returns
    -------
    list of torch.Tensor
        Shapes ``(1, C, h, w)``, fine to coarse.
    """
    if embedding.clicks is None:
        maps, _ = model.video.get_vision_features_for_tracker(embedding.vision)
        maps[-1] = maps[-1] + model.clicks.no_memory_embedding
        embedding.clicks = [
            flat.permute(1, 2, 0).reshape(1, -1, *size)
            for flat, size in zip(maps, model.clicks.backbone_feature_sizes, strict=True)
        ]
    return embedding.clicks

"""What is computed once for an image."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_sam3_assistant.engines.recent import Recent

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    import numpy.typing as npt
    import torch

    from napari_sam3_assistant.engines.detections import Detections
    from napari_sam3_assistant.engines.sam3_transformers.loading import LoadedModel

# One set of 200 low-resolution masks takes 66 MB in float32.
_KEPT_ANSWERS = 4


def to_pixels(model: LoadedModel, image: npt.NDArray[np.uint8]) -> torch.Tensor:
    """Return an image as the model takes it.

    Parameters
    ----------
    model : LoadedModel
        The weights.
    image : ndarray, shape (H, W, 3), dtype uint8
        RGB image; not modified.

    Returns
    -------
    torch.Tensor, shape (1, 3, S, S)
        In the model's number format, on its device.
    """
    # A read-only or strided array would be refused, or warned of, by torch.
    picture = np.array(image, dtype=np.uint8, order="C")
    inputs = model.find_processor(
        images=picture, input_data_format="channels_last", return_tensors="pt"
    )
    pixels: torch.Tensor = inputs["pixel_values"].to(model.device, model.dtype)
    return pixels


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
    found : Recent
        What the detector found, by phrase and examples.
    """

    shape: tuple[int, int]
    vision: Any
    clicks: list[torch.Tensor] | None = None
    found: Recent[Detections] = field(default_factory=lambda: Recent(_KEPT_ANSWERS))

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
            fpn_hidden_states=tuple(one.to(device) for one in self.vision.fpn_hidden_states),
        )
        clicks = self.clicks and [one.to(device) for one in self.clicks]
        found = self.found.map(lambda detections: detections.to(device))
        return Sam3Embedding(self.shape, vision, clicks, found)

    def tensors(self) -> dict[str, torch.Tensor]:
        """Return the image encoder's output by name; the rest can be made of it."""
        maps = {f"map{number}": one for number, one in enumerate(self.vision.fpn_hidden_states)}
        return {"hidden": self.vision.last_hidden_state, **maps}

    @classmethod
    def from_tensors(
        cls, model: LoadedModel, shape: tuple[int, int], tensors: Mapping[str, torch.Tensor]
    ) -> Sam3Embedding:
        """Return the encoding that :meth:`tensors` was asked of.

        Parameters
        ----------
        model : LoadedModel
            The model that made it.
        shape : tuple of int
            Height and width of the image in pixels.
        tensors : mapping
            Its tensors by name.
        """
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

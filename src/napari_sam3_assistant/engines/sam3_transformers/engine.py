"""The engine: SAM 3 by Hugging Face transformers, for single planes."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from napari_sam3_assistant.engines.base import package_version
from napari_sam3_assistant.engines.device import objects_together
from napari_sam3_assistant.engines.sam3.engine import Sam3Engine, watch_layers
from napari_sam3_assistant.engines.sam3.track import TrackContext
from napari_sam3_assistant.engines.sam3_transformers.image import (
    Grounder,
    LoadedSam3,
    Sam3Embedding,
    click_features,
    load_model,
)
from napari_sam3_assistant.engines.sam3_transformers.video import TransformersTrack
from napari_sam3_assistant.engines.sam_transformers.image import (
    decode_objects,
    decode_points,
    to_pixels,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Mapping
    from contextlib import AbstractContextManager
    from pathlib import Path

    import numpy as np
    import numpy.typing as npt
    import torch

    from napari_sam3_assistant.core.display import FrameSource
    from napari_sam3_assistant.core.options import PredictOptions
    from napari_sam3_assistant.core.progress import Reporter
    from napari_sam3_assistant.engines.sam3.mask_decoder import Decoded, DecoderPrompt, PointDecoder


class Sam3TransformersEngine(Sam3Engine[LoadedSam3, Sam3Embedding]):
    """SAM 3 by Hugging Face transformers, from the folder of ``facebook/sam3``."""

    @property
    def version(self) -> str:
        """Version of transformers."""
        return package_version("transformers")

    def unpack(self, shape: tuple[int, int], tensors: Mapping[str, torch.Tensor]) -> Sam3Embedding:
        """Return the encoding that :meth:`Sam3Embedding.tensors` was asked of."""
        model = self.model
        with self._call_context(model, "encode"):
            return Sam3Embedding.from_tensors(model, shape, tensors)

    def track(
        self, frames: FrameSource, options: PredictOptions, new_id: Callable[[], int]
    ) -> TransformersTrack:
        """Begin to follow objects through a stack; see :class:`.engines.base.VideoEngine`."""
        del options
        context = TrackContext(frames, self._working, new_id, objects_together(self.device))
        return TransformersTrack(self._named_folder(), context)

    def _which_folder(self) -> str:
        return "Choose the folder with config.json and model.safetensors of facebook/sam3."

    def _load(self, folder: Path, reporter: Reporter) -> LoadedSam3:
        device, precision = self._choose()
        return load_model(folder, device, precision, reporter)

    def _make_finder(self, model: LoadedSam3) -> Grounder:
        return Grounder(model)

    def _call_context(self, model: LoadedSam3, part: Hashable) -> AbstractContextManager[object]:
        return model.calling(part, self._folder)

    def _embed(
        self, model: LoadedSam3, image: npt.NDArray[np.uint8], reporter: Reporter
    ) -> Sam3Embedding:
        pixels = to_pixels(model, model.find_processor, image)
        layers = model.detector.vision_encoder.backbone.layers
        with watch_layers(layers, "Encoding the image", reporter):
            vision = model.detector.get_vision_features(pixel_values=pixels)
        return Sam3Embedding(shape=(image.shape[0], image.shape[1]), vision=vision)

    def _decoder(
        self, model: LoadedSam3, embedding: Sam3Embedding, reporter: Reporter
    ) -> Callable[[DecoderPrompt], Decoded]:
        features = click_features(model, embedding)
        return partial(decode_objects, model, features, embedding.shape, reporter)

    def _point_decoder(self, model: LoadedSam3, embedding: Sam3Embedding) -> PointDecoder:
        features = click_features(model, embedding)
        return partial(decode_points, model, features, embedding.shape)

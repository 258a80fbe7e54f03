"""The engine: SAM 2, SAM 1 and EdgeTAM by Hugging Face transformers, for planes and stacks."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from napari_sam3_assistant.engines.base import package_version
from napari_sam3_assistant.engines.device import objects_together
from napari_sam3_assistant.engines.sam3.engine import SamEngine
from napari_sam3_assistant.engines.sam3.track import TrackContext
from napari_sam3_assistant.engines.sam_transformers.image import (
    SamEmbedding,
    click_features,
    decode_objects,
    decode_points,
    encode,
)
from napari_sam3_assistant.engines.sam_transformers.loading import LoadedModel, load_sam
from napari_sam3_assistant.engines.sam_transformers.video import SamTrack

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


class SamTransformersEngine(SamEngine[LoadedModel, SamEmbedding]):
    """A SAM that takes clicks, boxes and masks, from a folder of the Hugging Face Hub."""

    @property
    def version(self) -> str:
        """Version of transformers."""
        return package_version("transformers")

    def unpack(self, shape: tuple[int, int], tensors: Mapping[str, torch.Tensor]) -> SamEmbedding:
        """Return the encoding that :meth:`SamEmbedding.tensors` was asked of."""
        device = self.model.device
        maps = tuple(tensors[f"map{number}"].to(device) for number in range(len(tensors)))
        return SamEmbedding(shape, maps)

    def track(
        self, frames: FrameSource, options: PredictOptions, new_id: Callable[[], int]
    ) -> SamTrack:
        """Begin to follow objects through a stack; see :class:`.engines.base.VideoEngine`."""
        del options
        context = TrackContext(frames, self._working, new_id, objects_together(self.device))
        return SamTrack(self._named_folder(), context)

    def _which_folder(self) -> str:
        return (
            "Choose the folder with config.json and model.safetensors of a SAM 2.1, such as "
            "facebook/sam2.1-hiera-tiny."
        )

    def _load(self, folder: Path, reporter: Reporter) -> LoadedModel:
        device, precision = self._choose()
        return load_sam(folder, self.spec.model_name, device, precision, reporter)

    def _call_context(self, model: LoadedModel, part: Hashable) -> AbstractContextManager[object]:
        return model.calling(part, self._folder)

    def _embed(
        self, model: LoadedModel, image: npt.NDArray[np.uint8], reporter: Reporter
    ) -> SamEmbedding:
        return encode(model, image, "Encoding the image", reporter)

    def _decoder(
        self, model: LoadedModel, embedding: SamEmbedding, reporter: Reporter
    ) -> Callable[[DecoderPrompt], Decoded]:
        features = click_features(model, embedding)
        return partial(decode_objects, model, features, embedding.shape, reporter)

    def _point_decoder(self, model: LoadedModel, embedding: SamEmbedding) -> PointDecoder:
        features = click_features(model, embedding)
        return partial(decode_points, model, features, embedding.shape)

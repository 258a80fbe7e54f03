"""The engine: SAM 3 by Hugging Face transformers, for single planes."""

from __future__ import annotations

from contextlib import contextmanager, nullcontext
from functools import partial
from importlib.metadata import version
from typing import TYPE_CHECKING

from napari_sam3_assistant.engines.device import choose_device
from napari_sam3_assistant.engines.errors import reading_files
from napari_sam3_assistant.engines.sam3.engine import Sam3Engine, watch_layers
from napari_sam3_assistant.engines.sam3.track import TrackContext
from napari_sam3_assistant.engines.sam3_transformers.image import (
    Grounder,
    Sam3Embedding,
    decode_objects,
    to_pixels,
)
from napari_sam3_assistant.engines.sam3_transformers.loading import LoadedModel, load_model
from napari_sam3_assistant.engines.sam3_transformers.video import TransformersTrack
from napari_sam3_assistant.errors import CheckpointNotFound

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
    from contextlib import AbstractContextManager
    from pathlib import Path

    import numpy as np
    import numpy.typing as npt
    import torch

    from napari_sam3_assistant.core.display import FrameSource
    from napari_sam3_assistant.core.options import PredictOptions
    from napari_sam3_assistant.core.progress import Reporter
    from napari_sam3_assistant.core.results import ObjectRecord
    from napari_sam3_assistant.engines.sam3.mask_decoder import DecoderPrompt


class Sam3TransformersEngine(Sam3Engine[LoadedModel, Sam3Embedding]):
    """SAM 3 by Hugging Face transformers, from the folder of ``facebook/sam3``."""

    @property
    def version(self) -> str:
        """Version of transformers."""
        return version("transformers")

    def unpack(self, shape: tuple[int, int], tensors: Mapping[str, torch.Tensor]) -> Sam3Embedding:
        """Return the encoding that :meth:`Sam3Embedding.tensors` was asked of.

        Parameters
        ----------
        shape : tuple of int
            Height and width of the image in pixels.
        tensors : mapping
            Its tensors by name.
        """
        model = self.model
        with self._call_context(model, "encode"):
            return Sam3Embedding.from_tensors(model, shape, tensors)

    def track(
        self, frames: FrameSource, options: PredictOptions, new_id: Callable[[], int]
    ) -> TransformersTrack:
        """Begin to follow objects through a stack; see :class:`.engines.video.VideoEngine`.

        Raises
        ------
        CheckpointNotFound
            If there is no model folder.
        """
        del options
        if self._folder is None:
            raise CheckpointNotFound("SAM 3 needs a model folder.", self._which_folder())
        return TransformersTrack(self._folder, TrackContext(frames, self._working, new_id))

    def _which_folder(self) -> str:
        return "Choose the folder with config.json and model.safetensors of facebook/sam3."

    def _load(self, folder: Path, reporter: Reporter) -> LoadedModel:
        return load_model(folder, choose_device(self._requested).device, reporter)

    def _make_finder(self, model: LoadedModel) -> Grounder:
        return Grounder(model)

    @contextmanager
    def _call_context(self, model: LoadedModel, part: Hashable) -> Iterator[None]:
        """Until a part has worked once, config.json may describe what can be built and not run."""
        import torch

        guard: AbstractContextManager[None] = nullcontext()
        if part not in model.worked:
            guard = reading_files(
                f"SAM 3 does not work with the files in {self._folder}.",
                "Download them again; if that does not help, report this.",
            )
        with torch.inference_mode(), guard:
            yield
        model.worked.add(part)

    def _embed(
        self, model: LoadedModel, image: npt.NDArray[np.uint8], reporter: Reporter
    ) -> Sam3Embedding:
        pixels = to_pixels(model, image)
        layers = model.detector.vision_encoder.backbone.layers
        with watch_layers(layers, "Encoding the image", reporter):
            vision = model.detector.get_vision_features(pixel_values=pixels)
        return Sam3Embedding(shape=(image.shape[0], image.shape[1]), vision=vision)

    def _decoder(
        self, model: LoadedModel, embedding: Sam3Embedding, reporter: Reporter
    ) -> Callable[[DecoderPrompt], Sequence[ObjectRecord]]:
        return partial(decode_objects, model, embedding, reporter)

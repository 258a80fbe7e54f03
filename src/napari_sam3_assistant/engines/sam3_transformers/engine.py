"""The engine: one loaded model, one caller at a time."""

from __future__ import annotations

from dataclasses import replace
from importlib.metadata import version
from typing import TYPE_CHECKING

import numpy as np

from napari_sam3_assistant.core.prompts import PromptKind
from napari_sam3_assistant.engines.base import Prediction
from napari_sam3_assistant.engines.device import choose_device, free_cache
from napari_sam3_assistant.engines.errors import map_engine_errors
from napari_sam3_assistant.engines.exclusive import Exclusive
from napari_sam3_assistant.engines.sam3_transformers import SPEC
from napari_sam3_assistant.engines.sam3_transformers.clicks import segment_targets
from napari_sam3_assistant.engines.sam3_transformers.embedding import Sam3Embedding
from napari_sam3_assistant.engines.sam3_transformers.grounding import Grounder
from napari_sam3_assistant.engines.sam3_transformers.loading import LoadedModel, load_model
from napari_sam3_assistant.engines.sam3_transformers.stages import watched
from napari_sam3_assistant.errors import CheckpointNotFound, EngineError

if TYPE_CHECKING:
    from pathlib import Path

    import numpy.typing as npt

    from napari_sam3_assistant.core.options import PredictOptions
    from napari_sam3_assistant.core.progress import Reporter
    from napari_sam3_assistant.core.prompts import PromptSet
    from napari_sam3_assistant.core.results import ObjectRecord

_GROUNDED = frozenset({PromptKind.TEXT, PromptKind.EXEMPLARS})


class Sam3TransformersEngine:
    """SAM 3 by Hugging Face transformers, for single planes.

    Parameters
    ----------
    model_folder : Path or None
        The folder of ``facebook/sam3``.
    device : str
        ``auto``, ``cpu``, ``cuda``, ``cuda:N`` or ``mps``.
    """

    spec = SPEC

    def __init__(self, model_folder: Path | None, device: str = "auto") -> None:
        self._folder = None if model_folder is None else model_folder.expanduser()
        self._requested = device
        self._model: LoadedModel | None = None
        self._grounder: Grounder | None = None
        self._turns = Exclusive()

    @property
    def version(self) -> str:
        """Version of transformers."""
        return version("transformers")

    @property
    def device(self) -> str:
        """Where the model runs; before loading, what was asked for."""
        return self._requested if self._model is None else self._model.device

    @property
    def weights(self) -> str:
        """File name of the loaded weights; empty before loading."""
        return "" if self._model is None else self._model.weights

    @property
    def model(self) -> LoadedModel:
        """The loaded weights, for an engine that shares them.

        Raises
        ------
        EngineError
            If nothing is loaded.
        """
        if self._model is None:
            raise EngineError("SAM 3 is not loaded.", "Load the model first.")
        return self._model

    def load(self, reporter: Reporter) -> None:
        """Load the weights; a second call does nothing.

        Parameters
        ----------
        reporter : Reporter
            Is told of each stage, and stops the work before the next one.

        Raises
        ------
        CheckpointNotFound
            If there is no model folder or it holds no weights.
        CheckpointInvalid
            If the weights can't be used.
        DeviceUnavailable
            If the device does not work.
        OutOfDeviceMemory
            If the model does not fit.
        """
        with self._turns.turn(reporter):
            if self._model is not None:
                return
            if self._folder is None:
                raise CheckpointNotFound(
                    "SAM 3 needs a model folder.",
                    "Choose the folder with config.json and model.safetensors of facebook/sam3.",
                )
            device = choose_device(self._requested).device
            self._model = load_model(self._folder, device, reporter)
            self._grounder = Grounder(self._model)

    def embed(self, image: npt.NDArray[np.uint8], reporter: Reporter) -> Sam3Embedding:
        """Encode an image once, for all prompts.

        Parameters
        ----------
        image : ndarray, shape (H, W, 3), dtype uint8
            RGB image; not modified.
        reporter : Reporter
            Is told before each layer of the encoder, and stops the work there.

        Raises
        ------
        OutOfDeviceMemory
            If the image does not fit beside the model.
        """
        import torch

        with self._turns.turn(reporter), map_engine_errors(), torch.inference_mode():
            model = self.model
            # A read-only or strided array would be refused, or warned of, by torch.
            pixels = np.array(image, dtype=np.uint8, order="C")
            inputs = model.find_processor(
                images=pixels, input_data_format="channels_last", return_tensors="pt"
            )
            layers = model.detector.vision_encoder.backbone.layers
            with watched(layers, "Encoding the image", reporter, self._turns.check):
                vision = model.detector.get_vision_features(
                    pixel_values=inputs["pixel_values"].to(model.device, model.dtype)
                )
        return Sam3Embedding(shape=(image.shape[0], image.shape[1]), vision=vision)

    def predict(
        self,
        embedding: Sam3Embedding,
        prompts: PromptSet,
        options: PredictOptions,
        reporter: Reporter,
    ) -> Prediction:
        """Segment an embedded image.

        Objects that a phrase or examples find come first, then those that clicks, boxes and
        masks name.

        Parameters
        ----------
        embedding : Sam3Embedding
            The answer of :meth:`embed`.
        prompts : PromptSet
            Prompts in the pixels of the embedded image.
        options : PredictOptions
            The choices of the run.
        reporter : Reporter
            Is told of the progress, and stops the work.

        Raises
        ------
        PromptError
            If a prompt lies outside the image or the phrase is too long.
        OutOfDeviceMemory
            If the work does not fit into the memory.
        """
        import torch

        prompts.check(embedding.shape)
        found = Prediction((), options.threshold)
        with self._turns.turn(reporter), map_engine_errors(), torch.inference_mode():

            def check() -> None:
                self._turns.check()
                reporter.check()

            model, grounder = self.model, self._grounder
            if prompts.kinds & _GROUNDED and grounder is not None:
                found = grounder.find(embedding, prompts, options.threshold, reporter, check)
            named: list[ObjectRecord] = []
            if prompts.kinds - _GROUNDED:
                named = segment_targets(model, embedding, prompts, reporter, check)
        first = len(found.objects)
        return replace(
            found,
            objects=found.objects
            + tuple(replace(record, id=record.id + first) for record in named),
        )

    def close(self) -> None:
        """Free memory and device; work in progress stops before the model's next stage."""
        with self._turns.last_turn():
            loaded = self._model is not None
            self._model = self._grounder = None
        if loaded:
            free_cache()

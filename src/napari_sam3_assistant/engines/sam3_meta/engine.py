"""The engine: one loaded model, one caller at a time."""

from __future__ import annotations

from dataclasses import replace
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING

import numpy as np

from napari_sam3_assistant.core.prompts import PromptKind
from napari_sam3_assistant.engines.base import EngineSpec, Prediction
from napari_sam3_assistant.engines.device import free_cache
from napari_sam3_assistant.engines.errors import map_engine_errors
from napari_sam3_assistant.engines.exclusive import Exclusive
from napari_sam3_assistant.engines.sam3_meta import compat
from napari_sam3_assistant.engines.sam3_meta.clicks import segment_targets
from napari_sam3_assistant.engines.sam3_meta.encoding import MetaEncoding
from napari_sam3_assistant.engines.sam3_meta.grounding import Grounder
from napari_sam3_assistant.engines.sam3_meta.loading import LoadedModel, load_model
from napari_sam3_assistant.engines.sam3_transformers.stages import watched
from napari_sam3_assistant.errors import EngineError

if TYPE_CHECKING:
    from pathlib import Path

    import numpy.typing as npt
    import torch

    from napari_sam3_assistant.core.options import PredictOptions
    from napari_sam3_assistant.core.progress import Reporter
    from napari_sam3_assistant.core.prompts import PromptSet
    from napari_sam3_assistant.core.results import ObjectRecord

_GROUNDED = frozenset({PromptKind.TEXT, PromptKind.EXEMPLARS})


class Sam3MetaEngine:
    """SAM 3 by Meta's own package, for single planes.

    Parameters
    ----------
    spec : EngineSpec
        The engine's card.
    model_folder : Path or None
        The folder with ``sam3.pt`` of ``facebook/sam3`` and its tokenizer files.
    device : str
        ``auto``, ``cpu``, ``cuda`` or ``cuda:N``.
    """

    def __init__(self, spec: EngineSpec, model_folder: Path | None, device: str = "auto") -> None:
        self.spec = spec
        self._folder = model_folder
        self._requested = device
        self._loaded: LoadedModel | None = None
        self._grounder: Grounder | None = None
        self._positions: list[torch.Tensor] | None = None
        self._exclusive = Exclusive()

    @property
    def version(self) -> str:
        """Version of the sam3 package."""
        try:
            return version("sam3")
        except PackageNotFoundError:
            # A copy of the repository on the path, that was never installed.
            return "unknown"

    @property
    def device(self) -> str:
        """Where the model runs; before loading, what was asked for."""
        return self._requested if self._loaded is None else self._loaded.device

    @property
    def weights(self) -> str:
        """File name of the loaded weights; empty before loading."""
        return "" if self._loaded is None else self._loaded.weights

    def load(self, reporter: Reporter) -> None:
        """Load the weights; a second call does nothing.

        Parameters
        ----------
        reporter : Reporter
            Is told of each step, and stops the work before the next one.

        Raises
        ------
        CheckpointNotFound
            If there is no model folder, or it lacks the weights or the tokenizer's file.
        CheckpointInvalid
            If the weights can't be used.
        DeviceUnavailable
            If the device does not work.
        OutOfDeviceMemory
            If the model does not fit.
        """
        with self._exclusive.turn(reporter), map_engine_errors():
            if self._loaded is None:
                loaded = load_model(self._folder, self._requested, reporter)
                self._grounder = Grounder(loaded)
                self._loaded = loaded

    def embed(self, image: npt.NDArray[np.uint8], reporter: Reporter) -> MetaEncoding:
        """Encode an image once, for all prompts.

        Parameters
        ----------
        image : ndarray, shape (H, W, 3), dtype uint8
            RGB image; not modified.
        reporter : Reporter
            Is told before each block of the encoder, and stops the work there.

        Raises
        ------
        OutOfDeviceMemory
            If the image does not fit beside the model.
        """
        from PIL import Image

        with self._exclusive.turn(reporter), map_engine_errors():
            loaded, _ = self._ready()
            # The package takes an array's last two axes for height and width: (H, W, 3) would
            # be read as a plane of W x 3.
            picture = Image.fromarray(np.ascontiguousarray(image))
            blocks = compat.vision_blocks(loaded.model)
            with (
                compat.calls(loaded.device),
                watched(blocks, "Encoding the image", reporter, self._exclusive.check),
            ):
                features = loaded.processor.set_image(picture)["backbone_out"]
            self._share_positions(features)
        return MetaEncoding((image.shape[0], image.shape[1]), features)

    def predict(
        self,
        embedding: MetaEncoding,
        prompts: PromptSet,
        options: PredictOptions,
        reporter: Reporter,
    ) -> Prediction:
        """Segment an embedded image.

        Objects that a phrase or examples find come first, then those that clicks, boxes and
        masks name.

        Parameters
        ----------
        embedding : MetaEncoding
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
        prompts.check(embedding.shape)
        found = Prediction((), options.threshold)
        named: list[ObjectRecord] = []

        def check() -> None:
            self._exclusive.check()
            reporter.check()

        with self._exclusive.turn(reporter), map_engine_errors():
            loaded, grounder = self._ready()
            with compat.calls(loaded.device):
                if prompts.kinds & _GROUNDED:
                    found = grounder.find(embedding, prompts, options.threshold, reporter, check)
                if prompts.kinds - _GROUNDED:
                    named = segment_targets(loaded, embedding, prompts, reporter, check)
        first = len(found.objects)
        numbered = tuple(replace(record, id=record.id + first) for record in named)
        return replace(found, objects=found.objects + numbered)

    def close(self) -> None:
        """Free memory and device; work in progress stops before the model's next stage."""
        with self._exclusive.last_turn():
            loaded, self._loaded = self._loaded, None
            self._grounder = self._positions = None
        if loaded is not None:
            loaded.close()
            del loaded
            free_cache()

    def _ready(self) -> tuple[LoadedModel, Grounder]:
        if self._loaded is None or self._grounder is None:
            raise EngineError("SAM 3 is not loaded.", "Load the model first.")
        return self._loaded, self._grounder

    def _share_positions(self, features: dict[str, object]) -> None:
        """Let all encodings hold one copy of the position encodings.

        They depend on nothing but the size, which is the same for all images, and take 30 % of
        what is kept for an image.
        """
        if self._positions is None:
            self._positions = features["vision_pos_enc"]  # type: ignore[assignment]
        features["vision_pos_enc"] = self._positions
        features["sam2_backbone_out"]["vision_pos_enc"] = self._positions  # type: ignore[index]

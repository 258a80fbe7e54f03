"""What the SAM engines share: loading, encoding, and objects that clicks, boxes and masks name."""

from __future__ import annotations

import threading
from abc import ABC, abstractmethod
from collections.abc import Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Generic, Protocol, TypeVar

from napari_sam3_assistant.core.paths import expand_user
from napari_sam3_assistant.core.progress import Progress
from napari_sam3_assistant.core.prompts import PromptKind
from napari_sam3_assistant.engines.base import Packable, Prediction, encoding_id, portable_id
from napari_sam3_assistant.engines.device import AUTO, choose_device, choose_precision, free_cache
from napari_sam3_assistant.engines.sam3.grounding import ConceptFinder, SearchableEncoding
from napari_sam3_assistant.engines.sam3.mask_decoder import (
    Decoded,
    objects_at_points,
    renumber,
    require_numbers,
    segment_prompts,
)
from napari_sam3_assistant.errors import CheckpointNotFound, EngineError

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Iterator, Sequence
    from contextlib import AbstractContextManager
    from pathlib import Path

    import numpy as np
    import numpy.typing as npt

    from napari_sam3_assistant.core.images import Untyped
    from napari_sam3_assistant.core.options import PredictOptions
    from napari_sam3_assistant.core.progress import Reporter
    from napari_sam3_assistant.core.prompts import PromptSet
    from napari_sam3_assistant.engines.base import EngineSpec
    from napari_sam3_assistant.engines.sam3.mask_decoder import DecoderPrompt, PointDecoder


_GUARD = threading.Lock()
_REPLACED: dict[tuple[int, str], tuple[Any, dict[object, Any]]] = {}


@contextmanager
def replace_attribute(module: Untyped, name: str, value: Untyped) -> Iterator[None]:
    """Replace a name in a module of a library while in the block.

    Several blocks may overlap, of engines that are closed in any order: what was there comes back
    with the end of the last one, and until then one of those that are left holds.
    """
    key, block = (id(module), name), object()
    with _GUARD:
        original, values = _REPLACED.setdefault(key, (getattr(module, name), {}))
        values[block] = value
        setattr(module, name, value)
    try:
        yield
    finally:
        with _GUARD:
            del values[block]
            setattr(module, name, next(reversed(values.values()), original))
            if not values:
                del _REPLACED[key]


_GROUNDED = frozenset({PromptKind.TEXT, PromptKind.EXEMPLARS})


class LoadedWeights(Protocol):
    """Weights in memory."""

    @property
    def device(self) -> str:
        """Where they lie."""

    @property
    def weights(self) -> str:
        """File name of the weights."""

    @property
    def precision(self) -> str:
        """The number format of the image encoder, such as ``float32``."""

    def close(self) -> None:
        """Undo what loading did beside reading the weights."""


M = TypeVar("M", bound=LoadedWeights)
E = TypeVar("E", bound=Packable)


class SamEngine(ABC, Generic[M, E]):
    """A SAM for single planes; generic in the loaded model and in the encoded image.

    ``spec``: the engine's card.
    ``model_folder``: the folder of the weights.
    ``device``: ``auto``, ``cpu``, ``cuda``, ``cuda:N`` or ``mps``.
    ``precision``: ``auto``, ``float32``, ``bfloat16`` or ``int8``: that of the image encoder.
    """

    def __init__(
        self,
        spec: EngineSpec,
        model_folder: Path | None,
        device: str = "auto",
        precision: str = AUTO,
    ) -> None:
        self.spec = spec
        self._folder = None if model_folder is None else expand_user(model_folder)
        self._requested = device
        self._precision = precision
        self._model: M | None = None
        self._encoding_id = ""

    @property
    @abstractmethod
    def version(self) -> str:
        """Version of the package that does the work."""

    @property
    def device(self) -> str:
        """Where the model runs; before loading, what was asked for."""
        return self._requested if self._model is None else self._model.device

    @property
    def precision(self) -> str:
        """The number format of the image encoder; empty before loading."""
        return "" if self._model is None else self._model.precision

    @property
    def weights(self) -> str:
        """File name of the loaded weights; empty before loading."""
        return "" if self._model is None else self._model.weights

    @property
    def encoding_id(self) -> str:
        """Identity of package, weights and number format; empty while nothing is loaded."""
        return self._encoding_id

    @property
    def portable_id(self) -> str:
        """The same by the content of the weights, which are read once for it.

        Empty where their file is gone, or is not the one any more that was loaded.
        """
        weights = self._named_folder() / self.model.weights
        made_by = (self.spec.name, self.version, weights, self.precision)
        try:
            found = portable_id(*made_by)
            return found if encoding_id(*made_by) == self._encoding_id else ""
        except OSError:
            return ""

    @property
    def model(self) -> M:
        """The loaded weights, for an engine that shares them."""
        if self._model is None:
            raise EngineError(f"{self.spec.model_name} is not loaded.", "Load the model first.")
        return self._model

    def load(self, reporter: Reporter) -> None:
        """Load the weights; a second call does nothing."""
        if self._model is not None:
            return
        folder = self._named_folder()
        model = self._load(folder, reporter)
        self._encoding_id = encoding_id(
            self.spec.name, self.version, folder / model.weights, model.precision
        )
        self._model = model

    def embed(self, image: npt.NDArray[np.uint8], reporter: Reporter) -> E:
        """Encode an image once, for all prompts.

        ``image`` has the shape (H, W, 3).
        """
        with self._working("encode") as model:
            encoding = self._embed(model, image, reporter)
            # Before it is kept, and asked again and again.
            for tensor in encoding.tensors().values():
                require_numbers(float(tensor.sum()))
            return encoding

    def predict(
        self,
        embedding: E,
        prompts: PromptSet,
        options: PredictOptions,
        reporter: Reporter,
    ) -> Prediction:
        """Segment an embedded image."""
        self.spec.check_kinds(prompts.kinds)
        prompts.check(embedding.shape)
        with self._working(prompts.kinds) as model:
            if prompts.everything is not None:
                decode = self._point_decoder(model, embedding)
                found = objects_at_points(prompts.everything, embedding.shape, decode, reporter)
                return Prediction(tuple(found), options.threshold)
            return self._predict(model, embedding, prompts, options.threshold, reporter)

    def close(self) -> None:
        """Free memory and device."""
        model, self._model = self._model, None
        self._encoding_id = ""
        if model is not None:
            model.close()
            del model
            free_cache()

    def _named_folder(self) -> Path:
        """Return the model folder."""
        if self._folder is None:
            raise CheckpointNotFound(
                f"{self.spec.model_name} needs a model folder.", self._which_folder()
            )
        return self._folder

    def _choose(self) -> tuple[str, str]:
        """Return the device to load on, and the number format of the image encoder."""
        device = choose_device(self._requested).device
        return device, choose_precision(self._precision, device).precision

    @contextmanager
    def _working(self, part: Hashable = "track") -> Iterator[M]:
        """Give the model, ready for calls of a part of it."""
        model = self.model
        with self._call_context(model, part):
            yield model

    @abstractmethod
    def _which_folder(self) -> str:
        """Return which folder to choose, for the user."""

    @abstractmethod
    def _load(self, folder: Path, reporter: Reporter) -> M:
        """Load the weights of a folder."""

    def _predict(
        self, model: M, embedding: E, prompts: PromptSet, threshold: float, reporter: Reporter
    ) -> Prediction:
        """Return what clicks, boxes and masks name."""
        decode = self._decoder(model, embedding, reporter)
        named = segment_prompts(prompts, embedding.shape, decode, reporter)
        objects, candidates = tuple(named.objects), tuple(named.candidates)
        return Prediction(objects, threshold, candidates=candidates)

    @abstractmethod
    def _call_context(self, model: M, part: Hashable) -> AbstractContextManager[object]:
        """Return the context of every call of a part of the model."""

    @abstractmethod
    def _embed(self, model: M, image: npt.NDArray[np.uint8], reporter: Reporter) -> E:
        """Encode an image."""

    @abstractmethod
    def _decoder(
        self, model: M, embedding: E, reporter: Reporter
    ) -> Callable[[DecoderPrompt], Decoded]:
        """Return what runs one call of the mask decoder on an image."""

    @abstractmethod
    def _point_decoder(self, model: M, embedding: E) -> PointDecoder:
        """Return what asks the mask decoder at points, each of an object of its own."""


S = TypeVar("S", bound=SearchableEncoding)


class Sam3Engine(SamEngine[M, S], Generic[M, S]):
    """SAM 3: it finds concepts, too, whose objects come before those that prompts name."""

    _finder: ConceptFinder[S, Any] | None = None

    def close(self) -> None:
        """Free memory and device."""
        self._finder = None
        super().close()

    def _predict(
        self, model: M, embedding: S, prompts: PromptSet, threshold: float, reporter: Reporter
    ) -> Prediction:
        found = Prediction((), threshold)
        if prompts.kinds & _GROUNDED:
            if self._finder is None:
                self._finder = self._make_finder(model)
            found = self._finder.find(embedding, prompts, threshold, reporter)
        if not prompts.kinds - _GROUNDED:
            return found
        named = super()._predict(model, embedding, prompts, threshold, reporter)
        objects = (*found.objects, *renumber(named.objects, first=len(found.objects) + 1))
        return replace(found, objects=objects, candidates=named.candidates)

    @abstractmethod
    def _make_finder(self, model: M) -> ConceptFinder[S, Any]:
        """Return what finds concepts with the weights."""


@contextmanager
def watch_layers(layers: Sequence[Any], message: str, reporter: Reporter) -> Iterator[None]:
    """Report before each of some layers runs, while in the block."""

    def before(number: int) -> Callable[..., None]:
        def hook(_module: object, _arguments: object) -> None:
            reporter.report(Progress(number, len(layers), message))

        return hook

    with ExitStack() as stack:
        for number, layer in enumerate(layers):
            handle = layer.register_forward_pre_hook(before(number))
            stack.callback(handle.remove)
        yield


@contextmanager
def watch_numbers(*modules: Untyped) -> Iterator[None]:
    """Raise where a part of the model answers with values that are no numbers, while in the block.

    For answers that a package weighs itself: no value that is none passes a threshold, so objects
    would be missing without a word.
    """

    def hook(_module: object, _arguments: object, answer: Untyped) -> None:
        for value in answer.values() if isinstance(answer, Mapping) else answer:
            if getattr(value, "is_floating_point", bool)() and value.numel():
                require_numbers(float(value.amax()))

    with ExitStack() as stack:
        for module in modules:
            stack.callback(module.register_forward_hook(hook).remove)
        yield

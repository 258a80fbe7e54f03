"""A loaded engine and the encodings it has made: an image is encoded once and prompted often."""

from __future__ import annotations

from collections import OrderedDict
from typing import TYPE_CHECKING, Any, Self

from napari_sam3_assistant.core.results import Provenance

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable
    from types import TracebackType

    from napari_sam3_assistant.core.options import PredictOptions
    from napari_sam3_assistant.core.progress import Reporter
    from napari_sam3_assistant.core.prompts import PromptSet
    from napari_sam3_assistant.core.regions import Region
    from napari_sam3_assistant.core.views import ImageView
    from napari_sam3_assistant.engines.base import EngineSpec, ImageEngine, Prediction


class EmbeddingStore:
    """The last few encodings, the least recently used dropped first.

    Parameters
    ----------
    capacity : int
        How many are kept.
    """

    def __init__(self, capacity: int = 4) -> None:
        self._capacity = capacity
        self._items: OrderedDict[Hashable, Any] = OrderedDict()

    def __len__(self) -> int:
        return len(self._items)

    def get_or_make(self, key: Hashable, make: Callable[[], Any]) -> Any:  # noqa: ANN401
        """Return the encoding of a key; it is made if it is not there."""
        if key not in self._items:
            made = make()
            while len(self._items) >= self._capacity:
                self._items.popitem(last=False)
            self._items[key] = made
        self._items.move_to_end(key)
        return self._items[key]

    def clear(self) -> None:
        """Forget all encodings."""
        self._items.clear()


class EncodingEngine:
    """An engine together with the encodings it has made.

    Leaving it as a context manager closes the engine.

    Parameters
    ----------
    engine : ImageEngine
        The engine; from here on nobody else calls it.
    store : EmbeddingStore, optional
        Where encodings are kept.
    """

    def __init__(self, engine: ImageEngine, store: EmbeddingStore | None = None) -> None:
        self._engine = engine
        self._store = store or EmbeddingStore()

    @property
    def spec(self) -> EngineSpec:
        """The engine's card."""
        return self._engine.spec

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def load(self, reporter: Reporter) -> None:
        """Make the engine ready; a second call does nothing."""
        self._engine.load(reporter)

    def embedding(
        self, view: ImageView, region: Region, reporter: Reporter, key: Hashable = None
    ) -> Any:  # noqa: ANN401
        """Return the encoding of a region of a view; its pixels are read only if it is new.

        Parameters
        ----------
        view : ImageView
            What the model shall see.
        region : Region
            The part of the plane to encode.
        reporter : Reporter
            Is told of the progress, and stops the work.
        key : hashable, optional
            Identity of the pixels; by default that of the view.
        """
        whole_key = (view.key if key is None else key, region)
        return self._store.get_or_make(
            whole_key, lambda: self._engine.embed(view.rgb(region), reporter)
        )

    def predict(
        self,
        embedding: Any,  # noqa: ANN401
        prompts: PromptSet,
        options: PredictOptions,
        reporter: Reporter,
    ) -> Prediction:
        """Segment an encoded image; see :meth:`ImageEngine.predict`."""
        return self._engine.predict(embedding, prompts, options, reporter)

    def provenance(self, prediction: Prediction) -> Provenance:
        """Return what made a prediction."""
        engine = self._engine
        return Provenance(
            engine=engine.spec.name,
            title=engine.spec.title,
            version=engine.version,
            device=engine.device,
            threshold=prediction.threshold,
            weights=engine.weights,
            phrase=prediction.phrase,
        )

    def close(self) -> None:
        """Forget all encodings and free the engine's memory."""
        self._store.clear()
        self._engine.close()

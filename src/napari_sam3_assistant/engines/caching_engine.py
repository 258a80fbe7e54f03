"""A loaded engine and the encodings it has made: an image is encoded once and prompted often."""

from __future__ import annotations

import threading
from contextlib import AbstractContextManager, contextmanager
from functools import cached_property
from typing import TYPE_CHECKING, Any, TypeVar, cast

from napari_sam3_assistant.core.regions import Region
from napari_sam3_assistant.core.results import Provenance
from napari_sam3_assistant.engines.base import Packable, ReusesEncodings, Unpacker
from napari_sam3_assistant.engines.device import free_cache, give_back_memory
from napari_sam3_assistant.engines.encoding_cache import EmbeddingStore
from napari_sam3_assistant.engines.errors import map_engine_errors
from napari_sam3_assistant.errors import EngineError, JobCancelled, OutOfDeviceMemory

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Iterator

    import numpy as np
    import numpy.typing as npt

    from napari_sam3_assistant.core.display import FrameSource, ImageView
    from napari_sam3_assistant.core.options import PredictOptions
    from napari_sam3_assistant.core.progress import Progress, Reporter
    from napari_sam3_assistant.core.prompts import PromptSet
    from napari_sam3_assistant.engines.base import (
        EngineSpec,
        ImageEngine,
        Prediction,
        VideoEngine,
        VideoTrack,
    )
    from napari_sam3_assistant.engines.encoding_cache import EmbeddingFolder


T = TypeVar("T")


class CachingEngine(AbstractContextManager["CachingEngine"]):
    """An engine together with the encodings it has made, for one caller at a time.

    Several threads may call; each waits for its turn and can be stopped while it waits. Leaving
    it as a context manager closes the engine.

    Parameters
    ----------
    engine : ImageEngine
        The engine; from here on nobody else calls it.
    store : EmbeddingStore, optional
        Where encodings are kept in memory.
    folder : EmbeddingFolder, optional
        Where encodings are kept on disk as well.
    """

    def __init__(
        self,
        engine: ImageEngine,
        store: EmbeddingStore | None = None,
        folder: EmbeddingFolder | None = None,
    ) -> None:
        self._engine = engine
        # Not `or`: an empty store is false.
        self._store = EmbeddingStore() if store is None else store
        self._folder = folder
        self._lock = EngineLock()
        self._loaded = False

    @cached_property
    def _version(self) -> str:
        # Engines ask the package's metadata for it, which takes 2 ms.
        return self._engine.version

    @property
    def spec(self) -> EngineSpec:
        """The engine's card."""
        return self._engine.spec

    @property
    def is_loaded(self) -> bool:
        """Whether the engine is ready to work."""
        return self._loaded

    @property
    def device(self) -> str:
        """Where the loaded engine runs: ``cpu``, ``cuda:0``, ``mps``."""
        return self._engine.device

    def __exit__(self, *_: object) -> None:
        self.close()

    def load(self, reporter: Reporter) -> None:
        """Make the engine ready; a second call does nothing."""
        with self._lock.hold(reporter):
            self._engine.load(reporter)
            self._loaded = True

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

        Raises
        ------
        OutOfDeviceMemory
            If it does not fit, also after all other encodings have made room.
        """
        with self._lock.hold(reporter):
            return self._get_or_make(view, region, reporter, key)

    def prefetch(self, view: ImageView, region: Region, reporter: Reporter) -> None:
        """Make the encoding that nobody has asked for yet.

        Parameters
        ----------
        view : ImageView
            What the model shall see.
        region : Region
            The part of the plane to encode.
        reporter : Reporter
            Stops the work.

        Raises
        ------
        JobCancelled
            If somebody else wants the engine.
        """
        with self._lock.hold(reporter, urgent=False):
            self._get_or_make(view, region, _PreemptibleReporter(reporter, self._lock))

    def encode(self, image: npt.NDArray[np.uint8], reporter: Reporter) -> Any:  # noqa: ANN401
        """Return the encoding of a picture that is needed once; it is not kept.

        Parameters
        ----------
        image : ndarray, shape (H, W, 3), dtype uint8
            RGB picture.
        reporter : Reporter
            Is told of the progress, and stops the work.
        """
        with self._lock.hold(reporter):
            return self._retry_with_room(lambda: self._engine.embed(image, reporter))

    def predict(
        self,
        embedding: Any,  # noqa: ANN401
        prompts: PromptSet,
        options: PredictOptions,
        reporter: Reporter,
    ) -> Prediction:
        """Segment an encoded image; see :meth:`ImageEngine.predict`."""
        with self._lock.hold(reporter):
            return self._retry_with_room(
                lambda: self._engine.predict(embedding, prompts, options, reporter), embedding
            )

    def track(
        self, frames: FrameSource, options: PredictOptions, new_id: Callable[[], int]
    ) -> VideoTrack:
        """Begin to follow objects through a stack; see :class:`VideoEngine`.

        Raises
        ------
        EngineError
            If the engine works on single planes only.
        """
        if self.spec.video is None:
            raise EngineError(
                f"{self.spec.title} can't follow objects through a stack.",
                "Choose another engine for 3D/video.",
            )
        track = cast("VideoEngine", self._engine).track(frames, options, new_id)
        if isinstance(track, ReusesEncodings):
            whole = Region.whole(frames.shape)
            track.reuse(lambda frame, told: self._find_kept(frames.view_at(frame), whole, told))
        return track

    def provenance(self, prediction: Prediction) -> Provenance:
        """Return what made a prediction."""
        engine = self._engine
        return Provenance(
            engine=engine.spec.name,
            title=engine.spec.title,
            version=self._version,
            device=engine.device,
            threshold=prediction.threshold,
            weights=engine.weights,
            phrase=prediction.phrase,
        )

    def close(self) -> None:
        """Forget all encodings and free the engine's memory; work in progress is stopped."""
        # The engine first: it stops who works with it, and that caller then leaves his turn.
        self._engine.close()
        with self._lock.preempt():
            self._store.clear()
            had_weights, self._loaded = self._loaded and self.spec.needs_weights, False
        if had_weights:
            give_back_memory()

    def _key(self, pixels: Hashable, region: Region) -> Hashable:
        engine = self._engine
        return (pixels, region, engine.encoding_id if isinstance(engine, Unpacker) else "")

    def _find_kept(self, view: ImageView, region: Region, reporter: Reporter) -> Any:  # noqa: ANN401
        """Return the encoding of a region of a view if it is kept; nothing is made."""
        with self._lock.hold(reporter):
            key = self._key(view.key, region)
            return self._retry_with_room(lambda: self._store.find(key, self._engine.device))

    def _get_or_make(
        self, view: ImageView, region: Region, reporter: Reporter, pixels: Hashable = None
    ) -> Any:  # noqa: ANN401
        sources = [channel.source for channel in view.channels] if pixels is None else []
        made = self._retry_with_room(
            lambda: self._store.get_or_make(
                self._key(view.key if pixels is None else pixels, region),
                lambda: self._make(view, region, reporter),
                self._engine.device,
                [source.token for source in sources],
            )
        )
        for source in sources:
            source.add_cache(self._store)
        return made

    def _make(self, view: ImageView, region: Region, reporter: Reporter) -> Any:  # noqa: ANN401
        image = view.rgb(region)
        engine, folder = self._engine, self._folder
        if folder is None or not isinstance(engine, Unpacker):
            return engine.embed(image, reporter)
        name = folder.key(image, engine.encoding_id)
        packed = folder.load(name)
        if packed is not None:
            return engine.unpack(*packed)
        made = engine.embed(image, reporter)
        if isinstance(made, Packable):
            folder.save(name, made.shape, made.tensors())
        return made

    def _retry_with_room(self, work: Callable[[], T], in_use: Any = None) -> T:  # noqa: ANN401
        """Do work; where memory runs out, let the encodings go and try once more."""
        try:
            with map_engine_errors():
                return work()
        except OutOfDeviceMemory:
            if not self._store.free(self._engine.device, keep=in_use):
                raise
        free_cache()
        with map_engine_errors():
            return work()


class _PreemptibleReporter:
    """A reporter for work that stops as soon as somebody waits for his turn."""

    def __init__(self, reporter: Reporter, lock: EngineLock) -> None:
        self._reporter = reporter
        self._lock = lock

    def report(self, progress: Progress) -> None:
        self.check()
        self._reporter.report(progress)

    def check(self) -> None:
        self._reporter.check()
        if self._lock.has_waiters:
            raise JobCancelled


# How often a caller that waits for another one looks whether it shall stop, in seconds.
_PATIENCE = 0.05


class EngineLock:
    """A lock that a waiting caller can be stopped at, and that can stop who holds it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._closing = threading.Event()
        self._counting = threading.Lock()
        self._waiting = 0

    @property
    def has_waiters(self) -> bool:
        """Whether an urgent caller waits for his turn."""
        return self._waiting > 0

    @contextmanager
    def hold(self, reporter: Reporter, *, urgent: bool = True) -> Iterator[None]:
        """Wait until no other thread uses the model; a caller that waits can be stopped.

        Parameters
        ----------
        reporter : Reporter
            Stops the waiting.
        urgent : bool
            Whether who waits shall be seen by :attr:`has_waiters`.
        """
        self._count(urgent)
        try:
            while not self._lock.acquire(timeout=_PATIENCE):
                reporter.check()
        finally:
            self._count(-urgent)
        try:
            reporter.check()
            yield
        finally:
            self._lock.release()

    @contextmanager
    def preempt(self) -> Iterator[None]:
        """Stop who uses the model at its next :meth:`check`, and wait until it has stopped."""
        self._closing.set()
        try:
            with self._lock:
                yield
        finally:
            self._closing.clear()

    def check(self) -> None:
        """Raise if the model is being closed.

        Raises
        ------
        EngineError
            If it is.
        """
        if self._closing.is_set():
            raise EngineError("SAM 3 was closed while it worked.", "Load it and run again.")

    def _count(self, change: int) -> None:
        with self._counting:
            self._waiting += change

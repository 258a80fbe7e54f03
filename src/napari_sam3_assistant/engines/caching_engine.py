"""A loaded engine and the encodings it has made: an image is encoded once and prompted often."""

from __future__ import annotations

import logging
import threading
from contextlib import AbstractContextManager, contextmanager
from typing import TYPE_CHECKING, TypeVar, cast

from napari_sam3_assistant.core.options import PredictOptions
from napari_sam3_assistant.core.progress import NullReporter, Progress
from napari_sam3_assistant.core.prompts import PointPrompt, PromptKind, PromptSet
from napari_sam3_assistant.core.regions import Region
from napari_sam3_assistant.core.results import Provenance
from napari_sam3_assistant.engines.base import (
    FollowsPhrases,
    Packable,
    Remote,
    ReusesEncodings,
    SpreadsPieces,
    Unpacker,
)
from napari_sam3_assistant.engines.device import free_cache, give_back_memory
from napari_sam3_assistant.engines.encoding_cache import (
    EmbeddingFolder,
    EmbeddingStore,
    pack_encoding,
)
from napari_sam3_assistant.engines.errors import map_engine_errors
from napari_sam3_assistant.errors import (
    EngineError,
    JobCancelled,
    OutOfDeviceMemory,
    PromptError,
    Sam3AssistantError,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Iterator, Mapping
    from pathlib import Path

    import numpy as np
    import numpy.typing as npt
    import torch

    from napari_sam3_assistant.core.display import FrameSource, ImageView
    from napari_sam3_assistant.core.progress import Reporter
    from napari_sam3_assistant.core.tracks import TrackedFrame, TrackSeed
    from napari_sam3_assistant.engines.base import (
        Encoding,
        EngineSpec,
        ImageEngine,
        Prediction,
        Traffic,
        VideoEngine,
        VideoTrack,
    )


T = TypeVar("T")

logger = logging.getLogger(__name__)

_OTHER_WEIGHTS = "The weights on the disk are not those any more that were loaded."


class CachingEngine(AbstractContextManager["CachingEngine"]):
    """An engine together with the encodings it has made, for one caller at a time.

    Several threads may call; each waits for its turn and can be stopped while it waits. Leaving
    it as a context manager closes the engine.

    ``engine``: the engine; from here on nobody else calls it.
    ``store``: where encodings are kept in memory.
    ``folder``: where encodings are kept on disk as well.
    ``turns``: what others who call the engine beside it take turns by.
    ``model_folder``: where the weights are on this machine.
    """

    def __init__(
        self,
        engine: ImageEngine,
        store: EmbeddingStore | None = None,
        folder: EmbeddingFolder | None = None,
        turns: EngineLock | None = None,
        model_folder: Path | None = None,
    ) -> None:
        self._engine = engine
        self.model_folder = model_folder
        # Not `or`: an empty store is false.
        self._store = EmbeddingStore() if store is None else store
        self._folder = folder
        self._lock = turns or EngineLock(engine.spec.title)
        self._loaded = False

    def use_folder(self, path: Path | None) -> None:
        """Look for encodings in a folder from now on, and keep new ones there; None for none."""
        if path is None:
            self._folder = None
        elif self._folder is None or self._folder.path != path:
            self._folder = EmbeddingFolder(path)

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

    @property
    def traffic(self) -> Traffic | None:
        """What went to its server and came back so far; None where it works in this process."""
        engine = self._engine
        return engine.traffic if isinstance(engine, Remote) else None

    @property
    def precision(self) -> str:
        """The number format of the loaded engine's image encoder; empty where it has no choice."""
        return str(getattr(self._engine, "precision", ""))

    @property
    def many(self) -> SpreadsPieces | None:
        """What does pieces of work at the same time; None where this engine does one by one."""
        return self._engine if isinstance(self._engine, SpreadsPieces) else None

    def __exit__(self, *_: object) -> None:
        self.close()

    def load(self, reporter: Reporter) -> None:
        """Make the engine ready; a second call does nothing."""
        with self._lock.hold(reporter) as stoppable, map_engine_errors():
            self._engine.load(stoppable)
            self._loaded = True

    def embedding(
        self, view: ImageView, region: Region, reporter: Reporter, key: Hashable = None
    ) -> Encoding:
        """Return the encoding of a region of a view; its pixels are read only if it is new.

        ``view``: what the model shall see.
        ``region``: the part of the plane to encode.
        ``key``: identity of the pixels; by default that of the view.
        Raises OutOfDeviceMemory if it does not fit, also after all other encodings have made room.
        """
        with self._lock.hold(reporter) as stoppable:
            return self._get_or_make(view, region, stoppable, key)

    def prefetch(self, view: ImageView, region: Region, reporter: Reporter) -> None:
        """Make the encoding that nobody has asked for yet.

        ``view``: what the model shall see.
        ``region``: the part of the plane to encode.
        """
        with self._lock.hold(reporter, urgent=False) as stoppable:
            self._get_or_make(view, region, stoppable)

    def encode(self, image: npt.NDArray[np.uint8], reporter: Reporter) -> Encoding:
        """Return the encoding of a picture that is needed once; it is not kept.

        ``image`` has the shape (H, W, 3).
        """
        with self._lock.hold(reporter) as stoppable:
            return self._retry_with_room(lambda: self._engine.embed(image, stoppable))

    def portable_id(self, reporter: Reporter) -> str:
        """Return the identity of what makes encodings, equal on all machines, as far as known.

        Empty for an engine whose encodings can't be kept. Reads the weights once.
        """
        engine = self._engine
        with self._lock.hold(reporter), map_engine_errors():
            return str(getattr(engine, "portable_id", ""))

    def encode_for_folder(
        self, image: npt.NDArray[np.uint8], reporter: Reporter
    ) -> tuple[str, bytes]:
        """Encode a picture for an :class:`EmbeddingFolder`; returns its key and the file's content.

        ``image`` has the shape (H, W, 3).
        Raises EngineError if the engine's encodings can't be kept.
        """
        encoded, engine = self.encode(image, reporter), self._engine
        if not (isinstance(encoded, Packable) and isinstance(engine, Unpacker)):
            raise EngineError(
                f"{self.spec.title} makes no encodings that can be kept.",
                "Give the model folder of SAM 3 or of a SAM.",
            )
        with self._lock.hold(reporter):
            identity = engine.portable_id
            if not identity:
                raise EngineError(_OTHER_WEIGHTS, "Load the model again.")
            key = EmbeddingFolder.key(image, identity)
            return key, pack_encoding(encoded.shape, encoded.tensors())

    def predict(
        self,
        embedding: Encoding,
        prompts: PromptSet,
        options: PredictOptions,
        reporter: Reporter,
    ) -> Prediction:
        """Segment an encoded image; see :meth:`ImageEngine.predict`."""
        with self._lock.hold(reporter) as stoppable:
            return self._retry_with_room(
                lambda: self._engine.predict(embedding, prompts, options, stoppable), embedding
            )

    def track(
        self, frames: FrameSource, options: PredictOptions, new_id: Callable[[], int]
    ) -> LockedTrack:
        """Begin to follow objects through a stack; see :class:`VideoEngine`.

        The track may be used beside the engine: each frame waits for its turn.

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
            track.reuse(lambda frame: self._find_kept(frames.view_at(frame), whole))
        return LockedTrack(track, self._lock, lambda: self._store.free(self._engine.device))

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
            precision=self.precision,
        )

    def close(self) -> None:
        """Forget all encodings and free the engine's memory; work in progress is stopped."""
        with self._lock.preempt():
            self._engine.close()
            self._store.clear()
            had_weights, self._loaded = self._loaded and self.spec.needs_weights, False
        if had_weights:
            give_back_memory()

    def _key(self, pixels: Hashable, region: Region) -> Hashable:
        engine = self._engine
        return (pixels, region, engine.encoding_id if isinstance(engine, Unpacker) else "")

    def _find_kept(self, view: ImageView, region: Region) -> Encoding:
        """Return the encoding of a region of a view if it is kept, within a track's turn."""
        key = self._key(view.key, region)
        return self._retry_with_room(lambda: self._store.find(key, self._engine.device))

    def _get_or_make(
        self, view: ImageView, region: Region, reporter: Reporter, pixels: Hashable = None
    ) -> Encoding:
        sources = [channel.source for channel in view.channels] if pixels is None else []
        encoded = self._retry_with_room(
            lambda: self._store.get_or_make(
                self._key(view.key if pixels is None else pixels, region),
                lambda: self._make(view, region, reporter),
                self._engine.device,
                [source.token for source in sources],
            )
        )
        for source in sources:
            source.add_cache(self._store)
        return encoded

    def _make(self, view: ImageView, region: Region, reporter: Reporter) -> Encoding:
        image = view.rgb(region)
        engine, folder = self._engine, self._folder
        if folder is None or not isinstance(engine, Unpacker):
            return engine.embed(image, reporter)
        identity = engine.portable_id
        if not identity:
            reporter.report(Progress(0, 0, f"{_OTHER_WEIGHTS} Encodings are not kept."))
            return engine.embed(image, reporter)
        name = folder.key(image, identity)
        packed = folder.load(name)
        if packed is not None:
            try:
                unpacked = engine.unpack(*packed)
                self._try_out(unpacked, packed[1], image.shape[:2])
            except (Sam3AssistantError, LookupError, TypeError, ValueError, RuntimeError) as error:
                if isinstance(error, (JobCancelled, OutOfDeviceMemory)):
                    raise
                # Of a stranger: tensors of other names or shapes than this engine makes.
                folder.drop(name)
                message = f"An encoding in {folder.path} is not of this model; it is made anew"
                logger.warning("%s: %s", message, error)
                reporter.report(Progress(0, 0, message))
            else:
                return unpacked
        embedding = engine.embed(image, reporter)
        if isinstance(embedding, Packable):
            folder.save(name, embedding.shape, embedding.tensors())
        return embedding

    def _try_out(
        self, read: Encoding, tensors: Mapping[str, torch.Tensor], shape: tuple[int, ...]
    ) -> None:
        """Raise where an encoding of a file is none that this engine can use.

        One click costs milliseconds, and finds whatever the file has of another model before the
        user's own click does.
        """
        height, width = shape
        with map_engine_errors():
            if read.shape != (height, width):
                raise ValueError(f"it is of an image of {read.shape}")
            if not all(tensor.is_floating_point() for tensor in tensors.values()):
                raise TypeError("it holds whole numbers")
            if PromptKind.POINTS in self.spec.accepts:
                middle = PromptSet(points=(PointPrompt(height // 2, width // 2),))
                self._engine.predict(read, middle, PredictOptions(), NullReporter())

    def _retry_with_room(self, work: Callable[[], T], in_use: Encoding = None) -> T:
        """Do work; where memory runs out, drop the encodings and try once more."""
        try:
            with map_engine_errors():
                return work()
        except OutOfDeviceMemory:
            if not self._store.free(self._engine.device, keep=in_use):
                raise
        free_cache()
        with map_engine_errors():
            return work()


class LockedTrack:
    """A track of which every call, and every frame, is a turn with its engine.

    ``lock``: the engine's turns.
    ``make_room``: frees what memory of the device is held beside the track.
    """

    def __init__(
        self, track: VideoTrack, lock: EngineLock, make_room: Callable[[], object]
    ) -> None:
        self._track = track
        self._lock = lock
        self._make_room = make_room

    def add(self, seed: TrackSeed) -> None:
        """See :meth:`VideoTrack.add`."""
        with self._lock.hold(NullReporter()), map_engine_errors():
            self._track.add(seed)

    def add_phrase(self, text: str, frame: int) -> None:
        """See :meth:`FollowsPhrases.add_phrase`; a track without phrases refuses."""
        if not isinstance(self._track, FollowsPhrases):
            raise PromptError(
                f"This engine can't look for '{text}' on each slice from {frame} on.",
                "Let it find the objects on one slice and follow their masks.",
            )
        with self._lock.hold(NullReporter()), map_engine_errors():
            self._track.add_phrase(text, frame)

    def remove(self, object_id: int) -> None:
        """See :meth:`VideoTrack.remove`."""
        with self._lock.hold(NullReporter()), map_engine_errors():
            self._track.remove(object_id)

    def propagate(self, order: range, reporter: Reporter) -> Iterator[TrackedFrame]:
        """See :meth:`VideoTrack.propagate`."""
        frames = self._track.propagate(order, StoppableReporter(reporter, self._lock))
        while True:
            with self._lock.hold(reporter):
                try:
                    with map_engine_errors():
                        found = next(frames, None)
                except OutOfDeviceMemory:
                    # Not tried again here, half-way in a frame: who goes on finds the room.
                    self._make_room()
                    raise
            if found is None:
                return
            yield found

    def close(self) -> None:
        """See :meth:`VideoTrack.close`."""
        self._track.close()


class StoppableReporter:
    """A reporter for work within a turn: also who closes the engine stops it.

    ``lock``: what the turn is of.
    ``urgent``: work that is not stops as soon as somebody waits for his turn, too.
    """

    def __init__(self, reporter: Reporter, lock: EngineLock, *, urgent: bool = True) -> None:
        self._reporter = reporter
        self._lock = lock
        self._urgent = urgent

    def report(self, progress: Progress) -> None:
        """Show the progress, unless the work shall stop."""
        self.check()
        self._reporter.report(progress)

    def check(self) -> None:
        """Raise if the work shall stop."""
        self._lock.check()
        self._reporter.check()
        if not self._urgent and self._lock.has_waiters:
            raise JobCancelled


# How often a caller that waits for another one looks whether it shall stop, in seconds.
_PATIENCE = 0.05


class EngineLock:
    """A lock that a waiting caller can be stopped at, and that can stop who holds it.

    ``title``: what it is the lock of, for the user.
    """

    def __init__(self, title: str) -> None:
        self._title = title
        self._lock = threading.Lock()
        self._closing = threading.Event()
        self._counting = threading.Lock()
        self._waiting = 0

    @property
    def has_waiters(self) -> bool:
        """Whether an urgent caller waits for his turn."""
        return self._waiting > 0

    @contextmanager
    def hold(self, reporter: Reporter, *, urgent: bool = True) -> Iterator[StoppableReporter]:
        """Wait until no other thread uses the model, and give the reporter of the work.

        ``urgent``: whether who waits shall be seen by :attr:`has_waiters`, and not give way to
        others.
        """
        self._count(urgent)
        try:
            while not self._lock.acquire(timeout=_PATIENCE):
                reporter.check()
        finally:
            self._count(-urgent)
        try:
            reporter.check()
            yield StoppableReporter(reporter, self, urgent=urgent)
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
        """Raise if the model is being closed."""
        if self._closing.is_set():
            raise EngineError(
                f"{self._title} was closed while it worked.", "Load it and run again."
            )

    def _count(self, change: int) -> None:
        with self._counting:
            self._waiting += change

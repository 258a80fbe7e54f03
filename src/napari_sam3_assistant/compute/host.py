"""What runs on a worker of a server: one engine, and what it holds for each client."""

from __future__ import annotations

import asyncio
import queue
import socket
import sys
import threading
import time
from collections import OrderedDict, deque
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import TYPE_CHECKING, Any, TypeVar, cast

from distributed import WorkerPlugin, get_worker

from napari_sam3_assistant import __version__
from napari_sam3_assistant.compute.wire import PackedPicture, pack, unpack, unpack_pixels
from napari_sam3_assistant.core.progress import CancelToken, NullReporter, Progress
from napari_sam3_assistant.engines import registry
from napari_sam3_assistant.engines.base import Unpacker
from napari_sam3_assistant.engines.caching_engine import CachingEngine, EngineLock
from napari_sam3_assistant.engines.device import free_cache, name_device, read_devices
from napari_sam3_assistant.engines.errors import map_engine_errors
from napari_sam3_assistant.errors import (
    EngineError,
    ImageError,
    JobCancelled,
    OutOfDeviceMemory,
    Sam3AssistantError,
)

if TYPE_CHECKING:
    import concurrent.futures
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    import numpy as np
    import numpy.typing as npt
    from distributed import Client, Worker

    from napari_sam3_assistant.core.options import PredictOptions
    from napari_sam3_assistant.core.progress import Reporter
    from napari_sam3_assistant.core.prompts import PromptSet
    from napari_sam3_assistant.engines.base import EngineSpec, ImageEngine, Prediction, VideoEngine
    from napari_sam3_assistant.engines.piecework import Piecework

T = TypeVar("T")

PLUGIN = "napari-sam3-assistant"
ENCODINGS = 4
"""So many encodings are kept for each client."""
IDLE_SECONDS = 1800.0
"""What a client holds goes when it has not been heard of for so long."""
_STOPS = 64
"""So many calls of a client may be stopped before they have come: all that it can have sent."""
_ANSWER_SECONDS = 60.0
_ASK_SECONDS = 0.1  # between two looks whether a question is still to be answered
_REPORT_SECONDS = 0.1


@dataclass(frozen=True, slots=True)
class EngineChoice:
    """Which engine a server's workers run.

    ``name``: its name in the registry.
    ``model_folder``: the folder of the weights, as the workers see it.
    ``device`` and ``precision``: as the registry takes them.
    """

    name: str
    model_folder: Path | None = None
    device: str = "auto"
    precision: str = "auto"

    def count_gpus(self) -> int:
        """Return how many GPUs of this machine it can be spread over."""
        if self.device not in {"auto", "cuda"}:
            return 0
        # Nobody tries the CPU, so that no memory of a GPU is taken to count them.
        weights = registry.find_entry(self.name).spec.needs_weights
        return len(read_devices("cpu").cuda) if weights else 0

    def for_worker(self, name: str) -> EngineChoice:
        """Return the choice of a worker: of several on one machine each has a GPU of its own.

        dask-cuda lets each see its own one first, which is the one that is taken by itself.
        """
        gpus = self.count_gpus()
        if gpus < 2 or not name.isdigit() or "dask_cuda" in sys.modules:
            return self
        return replace(self, device=f"cuda:{int(name) % gpus}")


class TrackForgotten(EngineError):
    """A track that was idle for long, or whose server was started again."""


_FORGOTTEN = (
    "The server does not know this propagation any more.",
    "Start it again; what was found stays.",
)


@dataclass(frozen=True, slots=True)
class HostCard:
    """What a worker's loaded engine is, on which machine, and what its device is."""

    spec: EngineSpec
    version: str = ""
    device: str = ""
    weights: str = ""
    precision: str = ""
    machine: str = ""
    hardware: str = ""
    release: str = __version__
    portable_id: str = ""

    @property
    def model(self) -> tuple[str, ...]:
        """What must be the same on all workers, so that it does not matter who does what."""
        engine = self.release, self.spec.name, self.version, self.precision
        # Small and large models have files of the same name.
        return *engine, self.weights, self.portable_id


class PieceState(StrEnum):
    """The state of a piece of work on a worker."""

    DONE = "done"
    UNREADABLE = "unreadable"
    """Its pixels have to be sent."""
    UNKNOWN = "unknown"
    """The work has to be begun once more."""


@dataclass
class _Session:
    """What one client holds."""

    encodings: OrderedDict[str, Any] = field(default_factory=OrderedDict)
    tracks: dict[str, TrackHost] = field(default_factory=dict)
    calls: dict[str, CancelToken] = field(default_factory=dict)
    stopped: deque[str] = field(default_factory=lambda: deque(maxlen=_STOPS))
    works: dict[str, tuple[Piecework[Any, Any, Any], threading.Lock]] = field(default_factory=dict)
    going: set[str] = field(default_factory=set)
    heard: float = 0.0


class _HostReporter:
    """A reporter whose client says by another call that the work shall stop.

    ``token``: set when it shall stop.
    ``tell``: takes what the client shall hear of the progress.
    """

    def __init__(self, token: CancelToken, tell: Callable[[list[Any]], None]) -> None:
        self.token, self._tell = token, tell
        self._reported = -_REPORT_SECONDS

    def report(self, progress: Progress) -> None:
        """Tell the client, not too often, unless the work shall stop."""
        self.check()
        now = time.monotonic()
        if now - self._reported >= _REPORT_SECONDS:
            self._reported = now
            left = progress.seconds_left
            event = [int(progress.done), int(progress.total), progress.message]
            self._tell([*event, None if left is None else float(left)])

    def check(self) -> None:
        """Raise if the work shall stop."""
        self.token.check()


class Host:
    """One engine of a worker, and what it holds for each client.

    Its methods are called from the threads of the worker. Work on the engine takes turns.

    ``choice``: which engine.
    ``clock``: returns seconds.
    ``tell``: takes the name of a client, and what it shall hear of the progress of a call.
    """

    def __init__(
        self,
        choice: EngineChoice,
        clock: Callable[[], float] = time.monotonic,
        tell: Callable[[str, list[Any]], None] = lambda _session, _event: None,
    ) -> None:
        self._choice, self._clock, self._tell = choice, clock, tell
        self._engine: ImageEngine | None = None
        self._portable_id = ""
        self._sessions: dict[str, _Session] = {}
        self._guard = threading.Lock()
        self._turns = EngineLock(choice.name)

    def tell_release(self, session: str, call: str) -> str:
        """Return the release of this package here."""
        del call
        self._session(session)
        return __version__

    def swallow(self, session: str, call: str, data: bytes) -> int:
        """Return how many bytes arrived."""
        del call
        self._session(session)
        return len(data)

    def describe(self, session: str, call: str) -> HostCard:
        """Load the engine, where nobody has, and say what it is."""
        with self._turn(session, call) as (_, reporter):
            if self._engine is None:
                choice = self._choice
                engine = registry.create(
                    choice.name, choice.model_folder, choice.device, choice.precision
                )
                engine.load(reporter)
                self._portable_id = engine.portable_id if isinstance(engine, Unpacker) else ""
                self._engine = engine
        engine = self._engine
        precision = str(getattr(engine, "precision", ""))
        return HostCard(
            engine.spec,
            engine.version,
            engine.device,
            engine.weights,
            precision,
            socket.gethostname(),
            name_device(engine.device),
            portable_id=self._portable_id,
        )

    def embed(self, session: str, call: str, name: str, picture: PackedPicture) -> None:
        """Encode a picture and keep the encoding under a name."""
        with self._turn(session, call) as (found, reporter):
            image = picture.unpack()
            found.encodings[name] = self._with_room(
                lambda: self._loaded.embed(image, reporter), found
            )
            while len(found.encodings) > ENCODINGS:
                found.encodings.popitem(last=False)

    def predict(
        self, session: str, call: str, name: str, prompts: PromptSet, options: PredictOptions
    ) -> Prediction | None:
        """Segment an encoded picture; None where its encoding is not here any more."""
        with self._turn(session, call) as (found, reporter):
            encoding = found.encodings.get(name)
            if encoding is None:
                return None
            found.encodings.move_to_end(name)
            return self._with_room(
                lambda: self._loaded.predict(encoding, prompts, options, reporter), found
            )

    def begin_work(self, session: str, call: str, name: str, work: bytes) -> tuple[HostCard, bool]:
        """Take the steps of work; says what the engine is, and whether the pixels are here."""
        card = self.describe(session, call)
        found: Piecework[Any, Any, Any] = unpack(work)
        # Readers of files are for one thread at a time.
        self._session(session).works[name] = (found, threading.Lock())
        return card, found.can_read()

    def do_piece(
        self, session: str, call: str, name: str, packed: bytes, sent: bytes | None
    ) -> tuple[PieceState, Any]:
        """Do a piece of work, which is packed, on pixels that are sent or read here.

        Work on the engine takes turns with other calls step by step, so pixels are read while the
        engine works on other ones.
        """
        found = self._session(session)
        if name not in found.works:
            return PieceState.UNKNOWN, None
        (work, reading), piece = found.works[name], unpack(packed)
        with self._going(found, session, call) as stop:
            if sent is None:
                try:
                    with reading:
                        pixels = work.read(piece)
                except (ImageError, MemoryError):
                    return PieceState.UNREADABLE, None
            else:
                pixels = unpack_pixels(sent)
            # Its own store of encodings: what a piece leaves there goes with it.
            engine = CachingEngine(self._loaded, turns=self._turns)
            with map_engine_errors():
                return PieceState.DONE, work.run(engine, piece, pixels, stop)

    def release(self, session: str, names: Sequence[str]) -> None:
        """Forget encodings, tracks and work."""
        found = self._session(session)
        for name in names:
            found.encodings.pop(name, None)
            found.works.pop(name, None)
            track = found.tracks.pop(name, None)
            if track is not None:
                found.calls.pop(track.asked_by, None)
                track.close()

    def stop(self, session: str, call: str) -> None:
        """Have a call stop at its next check; it may not have come yet, or be over."""
        found = self._session(session)
        found.stopped.append(call)
        token = found.calls.get(call)
        if token is not None:
            token.cancel()

    def leave(self, session: str) -> None:
        """Forget all that a client holds."""
        with self._guard:
            found = self._sessions.pop(session, None)
        if found is not None:
            self._forget(found)

    def open_track(
        self,
        session: str,
        call: str,
        name: str,
        shape: tuple[int, int],
        length: int,
        options: PredictOptions,
        is_movie: bool,
    ) -> None:
        """Begin to follow objects through a stack whose frames the client has."""
        with self._turn(session, call) as (found, _):
            engine = cast("VideoEngine", self._loaded)
            found.tracks[name] = TrackHost(
                engine, self._turns, shape, length, options, is_movie=is_movie
            )

    def step_track(
        self, session: str, call: str, name: str, method: str, *arguments: object
    ) -> tuple[str, Any]:
        """Call a method of a track, or answer what it asked; returns what it asks or yields."""
        found = self._session(session)
        track = found.tracks.get(name)
        if track is None:
            raise TrackForgotten(*_FORGOTTEN)
        asked_by, track.asked_by = track.asked_by, ""
        try:
            with self._going(found, session, call) as reporter:
                kind, value = track.step(reporter, method, *arguments)
        finally:
            found.calls.pop(asked_by, None)
        if kind != "value":
            # Until it is answered: whoever is asked may stop the step instead.
            track.asked_by, found.calls[call] = call, reporter.token
        return kind, value

    @contextmanager
    def _turn(self, session: str, call: str) -> Iterator[tuple[_Session, Reporter]]:
        """Wait for the engine, and give what its client holds and the reporter of the work."""
        found = self._session(session)
        with (
            self._going(found, session, call) as own_reporter,
            self._turns.hold(own_reporter) as reporter,
            map_engine_errors(),
        ):
            yield found, reporter

    @contextmanager
    def _going(self, owner: _Session, session: str, call: str) -> Iterator[_HostReporter]:
        """Give the reporter of a call, whose client counts as heard of as long as it goes on."""
        token = owner.calls[call] = CancelToken()
        # Looked up in the other order than :meth:`stop` writes, so that one of them sees the other.
        if call in owner.stopped:
            token.cancel()
        owner.going.add(call)
        try:
            yield _HostReporter(token, lambda event: self._tell(session, [call, *event]))
        finally:
            owner.heard = self._clock()
            owner.going.discard(call)
            owner.calls.pop(call, None)

    def _with_room(self, work: Callable[[], T], session: _Session) -> T:
        """Do work; where memory runs out, drop the encodings of other clients and try again."""
        try:
            with map_engine_errors():
                return work()
        except OutOfDeviceMemory:
            with self._guard:
                others = [other for other in self._sessions.values() if other is not session]
            for other in others:
                other.encodings.clear()
            while len(session.encodings) > 1:
                session.encodings.popitem(last=False)
        free_cache()
        return work()

    @property
    def _loaded(self) -> ImageEngine:
        if self._engine is None:
            # After a restart of the worker; the client describes it first otherwise.
            raise EngineError("The server was started again.", "Try once more.")
        return self._engine

    def _session(self, name: str) -> _Session:
        now = self._clock()
        with self._guard:
            idle = [
                key
                for key, session in self._sessions.items()
                if not session.going and now - session.heard > IDLE_SECONDS
            ]
            gone = [self._sessions.pop(key) for key in idle if key != name]
            found = self._sessions.setdefault(name, _Session())
            found.heard = now
        for key in gone:
            self._forget(key)
        return found

    def _forget(self, session: _Session) -> None:
        for call in list(session.calls.values()):
            call.cancel()
        for track in session.tracks.values():
            track.close()
        session.encodings.clear()
        session.works.clear()


class TrackHost:
    """A track on a worker: each step has a thread of its own, which asks the client for frames.

    ``shape``: height and width of a frame in pixels.
    ``length``: how many frames there are.
    ``is_movie``: whether the frames are known to be times.
    ``asked_by``: the call whose answer was a question that is open; empty for none.
    """

    def __init__(
        self,
        engine: VideoEngine,
        turns: EngineLock,
        shape: tuple[int, int],
        length: int,
        options: PredictOptions,
        *,
        is_movie: bool,
    ) -> None:
        self.shape, self.is_movie = shape, is_movie
        self.asked_by = ""
        self._length, self._turns = length, turns
        self._asked: queue.Queue[tuple[str, Any]] = queue.Queue()
        self._answers: queue.Queue[Any] = queue.Queue()
        self._closed = threading.Event()
        self._thread = threading.Thread()
        self._frames: Any = None
        self._reporter: Reporter = NullReporter()
        # It reads of a FrameSource only shape, length, pictures and whether it is a movie.
        self._track: Any = engine.track(cast("Any", self), options, lambda: self._ask("id", None))

    def __len__(self) -> int:
        return self._length

    def read(self, frame: int) -> npt.NDArray[np.uint8]:
        """Return a frame, which the client has."""
        return cast("PackedPicture", self._ask("frame", frame)).unpack()

    def step(self, reporter: Reporter, method: str, *arguments: object) -> tuple[str, Any]:
        """Call a method, or answer what was asked; the reporter ends what goes on meanwhile."""
        if method == "answer":
            self._reporter = reporter
            self._answers.put(arguments[0])
        else:
            # One that was stopped while it asked may be there yet. What it says is for nobody.
            while self._thread.is_alive():
                reporter.check()
                self._thread.join(_ASK_SECONDS)
            self._reporter = reporter
            self._asked, self._answers = queue.Queue(), queue.Queue()
            self._thread = threading.Thread(
                target=self._work, args=(method, arguments), daemon=True, name="sam3-track"
            )
            self._thread.start()
        kind, value = self._asked.get()
        if kind == "error":
            raise value
        return kind, value

    def report(self, progress: Progress) -> None:
        """Pass progress to the caller that waits for the current step."""
        self._reporter.report(progress)

    def check(self) -> None:
        """Raise if the step that is going shall stop."""
        self._reporter.check()

    def close(self) -> None:
        """Free what it holds."""
        self._closed.set()
        self._track.close()

    def _work(self, method: str, arguments: tuple[Any, ...]) -> None:
        try:
            with self._turns.hold(self) as reporter, map_engine_errors():
                if method == "propagate":
                    self._frames = self._track.propagate(*arguments, reporter)
                    value = None
                elif method == "next":
                    value = next(self._frames, None)
                else:
                    value = getattr(self._track, method)(*arguments)
        except BaseException as error:  # noqa: BLE001 - told to the client, who raises it
            self._asked.put(("error", error))
        else:
            self._asked.put(("value", value))

    def _ask(self, kind: str, question: object) -> Any:  # noqa: ANN401 - as the question is
        self._asked.put((kind, question))
        waited = 0.0
        while not self._closed.is_set() and waited < _ANSWER_SECONDS:
            try:
                answer = self._answers.get(timeout=_ASK_SECONDS)
            except queue.Empty:
                self._reporter.check()
                waited += _ASK_SECONDS
            else:
                if isinstance(answer, ImageError):
                    raise answer
                return answer
        # Its client is gone, or asleep, and others wait for the engine.
        raise JobCancelled if self._closed.is_set() else TrackForgotten(*_FORGOTTEN)


class HostPlugin(WorkerPlugin):
    """Gives each worker of a scheduler, also those that come later, its host.

    ``choice``: which engine they run.
    """

    name = PLUGIN

    def __init__(self, choice: EngineChoice) -> None:
        self._choice = choice
        self.host: Host | None = None

    def setup(self, worker: Worker) -> None:
        """Make the host; its engine is loaded when it is asked for the first time."""
        self.host = Host(
            self._choice.for_worker(str(worker.name)),
            tell=lambda session, event: worker.log_event(progress_topic(session), event),
        )


def progress_topic(session: str) -> str:
    """Return where a client hears of its progress; a few for all, since schedulers keep them."""
    return f"{PLUGIN}-{int(session, 16) % 64}"


def call(method: str, *arguments: object) -> bytes:
    """Call a method of this worker's host, and return its answer packed; a task."""
    return _call(get_worker(), method, arguments)


async def answer(method: str, *arguments: object, dask_worker: Worker) -> bytes:
    """Do the same as :func:`call` as an answer to a message, without a task of the scheduler.

    What the engine or the user refuses is an answer, too: errors would be in the worker's log.
    """

    def work() -> bytes:
        try:
            return _call(dask_worker, method, arguments)
        except Sam3AssistantError as error:
            return pack(error)

    threads = dask_worker.executors["default"]
    return await asyncio.get_running_loop().run_in_executor(threads, work)


def ask_worker(
    client: Client, address: str, method: str, *arguments: object
) -> concurrent.futures.Future[bytes]:
    """Call a method of a worker's host by one message there and one back.

    For whoever waits: a task goes through the scheduler's queue, and its answer is fetched by
    messages of its own, which takes several times as long.
    """

    async def ask() -> bytes:
        answers = await client.run(answer, method, *arguments, workers=[address])
        return cast("bytes", answers[address])

    # Dask types it as one that may not be there, and by the class of another loop.
    return asyncio.run_coroutine_threadsafe(ask(), cast("Any", client.loop).asyncio_loop)


def _call(worker: Worker, method: str, arguments: tuple[object, ...]) -> bytes:
    plugin = cast("HostPlugin | None", worker.plugins.get(PLUGIN))
    if plugin is None:
        raise EngineError(
            "The workers of this scheduler run no engine.",
            "Give them one: napari-sam3 serve --connect ADDRESS.",
        )
    try:
        return pack(getattr(plugin.host, method)(*arguments))
    except OSError as error:
        # Who asks would take it for a lost worker, as Dask's own errors are, which have no number.
        if error.errno is None or isinstance(error, ConnectionError):
            raise
        raise EngineError(
            f"The server's worker {worker.address} could not do it: {error}.",
            "Make room, or mend it there, and try again.",
        ) from error

"""An engine whose work is done by a server's worker."""

from __future__ import annotations

import concurrent.futures
import os
import statistics
import threading
import time
import uuid
import weakref
from collections import deque
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from napari_sam3_assistant import __version__
from napari_sam3_assistant.compute.connection import UNKNOWN_ENGINE, connect, leave
from napari_sam3_assistant.compute.host import (
    HostCard,
    TrackForgotten,
    ask_worker,
    progress_topic,
)
from napari_sam3_assistant.compute.wire import PackedPicture, unpack
from napari_sam3_assistant.compute.workers import LOST, spread
from napari_sam3_assistant.core.plurals import part_of
from napari_sam3_assistant.core.progress import NullReporter, Progress
from napari_sam3_assistant.core.prompts import PromptKind
from napari_sam3_assistant.engines.base import Traffic
from napari_sam3_assistant.errors import EngineError, ImageError, JobCancelled, Sam3AssistantError

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterable, Iterator

    import numpy as np
    import numpy.typing as npt
    from distributed import Client

    from napari_sam3_assistant.compute.connection import Compute
    from napari_sam3_assistant.core.display import FrameSource
    from napari_sam3_assistant.core.options import PredictOptions
    from napari_sam3_assistant.core.progress import Reporter
    from napari_sam3_assistant.core.prompts import PromptSet
    from napari_sam3_assistant.core.tracks import TrackedFrame, TrackSeed
    from napari_sam3_assistant.engines.base import EngineSpec, Outcome, Prediction
    from napari_sam3_assistant.engines.piecework import Piecework

_POLL_SECONDS = 0.05
_POLLS_A_LOOK = 20
_LOOKS, _LOOK_SECONDS = 240, 0.25
_AGAIN = (
    "Prompts and results are kept. See that 'napari-sam3 serve' runs there; the next run connects "
    "by itself."
)
_ROUND_TRIPS = 11
_TRANSFER_BYTES = 1 << 23


class ServerLost(EngineError):
    """The connection went, or the worker."""


@dataclass(frozen=True, slots=True)
class Link:
    """How quick the way to a server is.

    ``round_trip``: seconds for a question and its answer, the median.
    ``bytes_a_second``: how much arrives there, of what can't be compressed.
    """

    round_trip: float
    bytes_a_second: float


@dataclass(eq=False)
class RemoteEncoding:
    """An encoding on a server, and the picture to make it again where the server forgot it."""

    name: str
    picture: PackedPicture

    @property
    def nbytes(self) -> int:
        """Memory that it takes here, in bytes."""
        return len(self.picture.data)


class RemoteEngine:
    """An engine of a server, behind the interface of :class:`ImageEngine` and ``VideoEngine``.

    :meth:`load` connects. A lost connection is one error; the next call connects again, and sends
    again what the server no longer holds.

    ``compute``: the server, as :func:`connect` takes it.
    ``spec``: the card of the server's engine; before it was loaded one that takes anything.
    ``bytes_sent``: how much was sent of pictures.
    ``bytes_received``: how much came back.
    """

    def __init__(self, compute: Compute) -> None:
        self._compute = compute
        self._session = uuid.uuid4().hex
        self._client: Client | None = None
        self._described: Client | None = None
        self._worker = ""
        self._released: deque[str] = deque()
        # The call that is going, and the latest that was heard of it: what Progress is made of.
        self._asked = ""
        self._latest_progress: list[Any] | None = None
        self.bytes_sent = self.bytes_received = 0
        self.spec: EngineSpec = UNKNOWN_ENGINE
        self.card = HostCard(self.spec)

    @property
    def version(self) -> str:
        """Version of the package that does the work there."""
        return self.card.version

    @property
    def device(self) -> str:
        """Where it runs there, and on which machine."""
        return f"{self.card.device} on {self._host()}"

    @property
    def weights(self) -> str:
        """File name of the weights there."""
        return self.card.weights

    @property
    def portable_id(self) -> str:
        """What tells the encodings made there from those of other weights; empty for none."""
        return self.card.portable_id

    @property
    def precision(self) -> str:
        """The number format there."""
        return self.card.precision

    @property
    def traffic(self) -> Traffic:
        """What went there and came back so far: pictures, and answers."""
        return Traffic(self.bytes_sent, self.bytes_received)

    def load(self, reporter: Reporter) -> None:
        """Connect, and see that the server's engine is loaded."""
        client = self._client
        if client is not None and client is self._described and client.status == "running":
            # What the server runs changes with the connection only.
            reporter.check()
            return
        reporter.report(Progress(0, 0, "Loading the model on the server"))
        self._described = None
        self._set_card(self.ask("describe", reporter=reporter))

    def measure(self, reporter: Reporter) -> Link:
        """Measure how quick the way to the server is; takes a second or two."""
        times = []
        for _ in range(_ROUND_TRIPS):
            began = time.perf_counter()
            self.ask("swallow", b"", reporter=reporter)
            times.append(time.perf_counter() - began)
        round_trip = statistics.median(times)
        data = os.urandom(_TRANSFER_BYTES)
        began = time.perf_counter()
        self.ask("swallow", data, reporter=reporter)
        took = time.perf_counter() - began - round_trip
        return Link(round_trip, len(data) / max(took, 1e-6))

    def embed(self, image: npt.NDArray[np.uint8], reporter: Reporter) -> RemoteEncoding:
        """Send a picture and have it encoded; see :meth:`ImageEngine.embed`."""
        encoding = RemoteEncoding(uuid.uuid4().hex, PackedPicture.pack(image))
        self._send(encoding, reporter)
        weakref.finalize(encoding, self.release, encoding.name)
        return encoding

    def predict(
        self,
        embedding: RemoteEncoding,
        prompts: PromptSet,
        options: PredictOptions,
        reporter: Reporter,
    ) -> Prediction:
        """Segment an encoded picture; see :meth:`ImageEngine.predict`."""
        # The session may not have known it when it asked.
        self.spec.check_kinds(prompts.kinds)
        while True:
            found: Prediction | None = self.ask(
                "predict", embedding.name, prompts, options, reporter=reporter
            )
            if found is not None:
                return found
            self._send(embedding, reporter)

    def track(
        self, frames: FrameSource, options: PredictOptions, new_id: Callable[[], int]
    ) -> RemoteTrack:
        """Begin to follow objects through a stack; see :class:`VideoEngine`."""
        video = self.spec.video
        follows = video is not None and PromptKind.TEXT in video.prompts
        track_class = RemotePhraseTrack if follows else RemoteTrack
        return track_class(self, frames, options, new_id)

    def spread(
        self, work: Piecework[Any, Any, Any], pieces: Iterable[object], reporter: Reporter
    ) -> Generator[Outcome]:
        """Have all workers of the server do pieces of work; see :class:`SpreadsPieces`."""
        with self._map_lost_connection():
            client = self._connect(reporter)
            yield from spread(client, self._session, self.card, work, pieces, reporter)

    def close(self) -> None:
        """Have the server forget what this client holds, and leave it."""
        client, self._client = self._client, None
        if client is None:
            return
        if client.status == "running":
            with suppress(*LOST):
                self._start(client, "leave").result(timeout=5)
        if client is not self._compute:
            leave(client)

    def ask(self, method: str, *arguments: object, reporter: Reporter | None = None) -> Any:  # noqa: ANN401 - as the method
        """Call a method of the host, and stop it there when the work is stopped here."""
        reporter = reporter or NullReporter()
        with self._map_lost_connection():
            client = self._connect(reporter)
            if self._released:
                gone = [self._released.popleft() for _ in range(len(self._released))]
                self._start(client, "release", gone)
            return self._ask(client, method, arguments, reporter)

    def release(self, name: str) -> None:
        """Have the server forget an encoding or a track, before its next work."""
        # Nothing more: garbage collection calls this, in any thread and in the middle of anything.
        self._released.append(name)

    # -- inside ---------------------------------------------------------------------------

    @contextmanager
    def _map_lost_connection(self) -> Iterator[None]:
        """Make one sentence of a lost connection; the next call connects again."""
        try:
            yield
        except LOST as error:
            self._drop()
            raise ServerLost(f"The connection to the server was lost ({error}).", _AGAIN) from error

    def _host(self) -> str:
        return self._worker.partition("://")[2].rpartition(":")[0]

    def _connect(self, reporter: Reporter) -> Client:
        """Return a client that is connected, and knows which worker it asks."""
        client = self._client
        if client is not None and client.status == "running":
            return client
        self._drop()
        try:
            client = self._client = connect(self._compute, reporter)
        except EngineError as error:
            if client is None:
                raise
            # It went between two questions of a run, or while one was on its way: the same.
            raise ServerLost(
                f"The connection to the server was lost ({error.message.rstrip('.')}).", _AGAIN
            ) from error
        try:
            self._settle_on_worker(client, reporter)
        except BaseException:
            # Also where it was stopped: the next call would ask a worker that was never chosen.
            self._drop()
            raise
        return client

    def _settle_on_worker(self, client: Client, reporter: Reporter) -> None:
        """Choose a worker, and see that it runs our release and, in a run, the engine of before."""
        workers = self._find_workers(client, reporter)
        # Spread by chance: who is where is known to nobody, and an idle session costs little.
        self._worker = sorted(workers)[int(self._session, 16) % len(workers)]
        client.subscribe_topic(progress_topic(self._session), self._on_progress)
        theirs = self._ask(client, "tell_release", (), reporter)
        if theirs != __version__:
            raise EngineError(
                f"The server runs release {theirs} of napari-sam3-assistant, this is "
                f"{__version__}.",
                "Install the same release on both.",
            )
        if self._described is not None:
            # In the middle of a run: what was asked for is asked of the same engine.
            before = self.card.model
            self._set_card(self._ask(client, "describe", (), reporter))
            if self.card.model != before:
                raise EngineError(
                    f"The server runs another engine now: {self.spec.title}.",
                    "Run again: it is used from now on.",
                )

    def _set_card(self, card: HostCard) -> None:
        self.card, self.spec, self._described = card, card.spec, self._client

    def _find_workers(self, client: Client, reporter: Reporter) -> list[str]:
        """Return the workers that are there; one that was lost is started again in a moment."""
        for _ in range(_LOOKS):
            workers = list(client.scheduler_info(n_workers=-1)["workers"])
            if workers:
                return workers
            reporter.report(Progress(0, 0, "Waiting for a worker of the server"))
            threading.Event().wait(_LOOK_SECONDS)
        raise EngineError(
            "The server has no workers.", "Wait until one has started, or look at its log."
        )

    def _on_progress(self, event: tuple[float, list[Any]]) -> None:
        call, *progress = event[1]
        if call == self._asked:
            self._latest_progress = progress

    def _ask(
        self, client: Client, method: str, arguments: tuple[object, ...], reporter: Reporter
    ) -> Any:  # noqa: ANN401 - as the method
        self._asked = name = uuid.uuid4().hex
        self._latest_progress = None
        asked = self._start(client, method, name, *arguments)
        try:
            return self._wait(client, asked, reporter)
        except JobCancelled:
            # Also where an answer is there by now: it may be a question that waits for us.
            self._start(client, "stop", name)
            raise

    def _wait(
        self, client: Client, asked: concurrent.futures.Future[bytes], reporter: Reporter
    ) -> Any:  # noqa: ANN401 - as the method
        """Return an answer; give up when the worker that gives it is gone."""
        polls = 0
        while not concurrent.futures.wait([asked], _POLL_SECONDS).done:
            progress, self._latest_progress = self._latest_progress, None
            if progress is not None:
                reporter.report(Progress(*progress))
            reporter.check()
            polls += 1
            if client.status != "running" or (
                polls % _POLLS_A_LOOK == 0
                and self._worker not in client.scheduler_info(n_workers=-1)["workers"]
            ):
                raise ConnectionError("it does not answer")
        packed = asked.result()
        self.bytes_received += len(packed)
        answer = unpack(packed)
        if isinstance(answer, Sam3AssistantError):
            raise answer
        return answer

    def _start(
        self, client: Client, method: str, *arguments: object
    ) -> concurrent.futures.Future[bytes]:
        return ask_worker(client, self._worker, method, self._session, *arguments)

    def _drop(self) -> None:
        client, self._client = self._client, None
        if client is not None and client is not self._compute:
            leave(client, timeout=1)

    def _send(self, encoding: RemoteEncoding, reporter: Reporter) -> None:
        self.bytes_sent += len(encoding.picture.data)
        self.ask("embed", encoding.name, encoding.picture, reporter=reporter)


@dataclass(slots=True)
class _TrackCall:
    """A call of a track, and how often it was asked for the next frame since."""

    method: str
    arguments: tuple[object, ...]
    frames: int = 0


class RemoteTrack:
    """A track on a server; its frames are read here and sent one by one, when it asks for them."""

    def __init__(
        self,
        engine: RemoteEngine,
        frames: FrameSource,
        options: PredictOptions,
        new_id: Callable[[], int],
    ) -> None:
        self._engine, self._frames, self._options, self._new_id = engine, frames, options, new_id
        self._name = ""
        self._card = engine.card
        # What made the track what it is, to make it again: calls, and how often each was asked
        # for the next frame; and the ids that were given.
        self._calls: list[_TrackCall] = []
        self._ids: list[int] = []
        self._open(NullReporter())

    def add(self, seed: TrackSeed) -> None:
        """See :meth:`VideoTrack.add`."""
        self._call("add", seed)

    def remove(self, object_id: int) -> None:
        """See :meth:`VideoTrack.remove`."""
        self._call("remove", object_id)

    def propagate(self, order: range, reporter: Reporter) -> Iterator[TrackedFrame]:
        """See :meth:`VideoTrack.propagate`."""
        self._call("propagate", order, reporter=reporter)
        going = self._calls[-1]
        while True:
            found = self._step("next", reporter=reporter)
            going.frames += 1
            if found is None:
                return
            yield found

    def close(self) -> None:
        """Have the server free what it holds."""
        self._engine.release(self._name)
        self._name = ""

    def _call(self, method: str, *arguments: object, reporter: Reporter | None = None) -> None:
        reporter = reporter or NullReporter()
        try:
            if not self._name:
                self._open(reporter)
            self._step(method, *arguments, reporter=reporter)
        except TrackForgotten:
            self._open(reporter)
            self._step(method, *arguments, reporter=reporter)
        self._calls.append(_TrackCall(method, arguments))

    def _open(self, reporter: Reporter) -> None:
        """Begin the track on the server, and do again what was done before it was lost."""
        engine, frames = self._engine, self._frames
        if self._calls:
            engine.load(reporter)
        if engine.card.model != self._card.model:
            raise EngineError(
                f"The server runs another engine now: {engine.spec.title}.",
                "Start the propagation again; what was found stays until then.",
            )
        self._name = uuid.uuid4().hex
        about = frames.shape, len(frames), self._options, frames.is_movie
        try:
            engine.ask("open_track", self._name, *about, reporter=reporter)
            self._do_again(reporter)
        except BaseException:
            self.close()
            raise

    def _do_again(self, reporter: Reporter) -> None:
        known_ids = iter(tuple(self._ids))
        total, done = sum(call.frames for call in self._calls), 0
        for call in self._calls:
            self._step(call.method, *call.arguments, reporter=reporter, known_ids=known_ids)
            for _ in range(call.frames):
                message = f"The server was lost: {part_of(done + 1, total)} frames again"
                reporter.report(Progress(done, total, message))
                self._step("next", reporter=reporter, known_ids=known_ids)
                done += 1

    def _step(
        self,
        method: str,
        *arguments: object,
        reporter: Reporter,
        known_ids: Iterator[int] | None = None,
    ) -> Any:  # noqa: ANN401 - as the method
        """Run a step on the server, and send what it asks for on the way."""
        try:
            kind, value = self._ask(method, *arguments, reporter=reporter)
            while kind != "value":
                answer = self._find_id(known_ids) if kind == "id" else self._pack_frame(value)
                kind, value = self._ask("answer", answer, reporter=reporter)
        except (ServerLost, TrackForgotten):
            # How far it has come there is not known any more.
            self.close()
            raise
        return value

    def _find_id(self, known_ids: Iterator[int] | None) -> int:
        known = next(known_ids or iter(()), None)
        if known is None:
            known = self._new_id()
            self._ids.append(known)
        return known

    def _pack_frame(self, frame: int) -> PackedPicture | ImageError:
        try:
            packed = PackedPicture.pack(self._frames.read(frame))
        except ImageError as error:
            return error  # it comes back from there, as from an engine of this process
        self._engine.bytes_sent += len(packed.data)
        return packed

    def _ask(self, method: str, *arguments: object, reporter: Reporter) -> tuple[str, Any]:
        asked: tuple[str, Any] = self._engine.ask(
            "step_track", self._name, method, *arguments, reporter=reporter
        )
        return asked


class RemotePhraseTrack(RemoteTrack):
    """A track on a server that looks for phrases, too."""

    def add_phrase(self, text: str, frame: int) -> None:
        """See :meth:`FollowsPhrases.add_phrase`."""
        self._call("add_phrase", text, frame)

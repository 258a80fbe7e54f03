"""An engine whose work is done by a server's worker."""

from __future__ import annotations

import threading
import uuid
import weakref
from collections import deque
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from distributed import fire_and_forget

from napari_sam3_assistant import __version__
from napari_sam3_assistant.compute.connection import connect
from napari_sam3_assistant.compute.host import HostCard, PackedPicture, call, unpack
from napari_sam3_assistant.compute.workers import LOST, spread
from napari_sam3_assistant.core.progress import NullReporter, Progress
from napari_sam3_assistant.core.prompts import PromptKind
from napari_sam3_assistant.errors import EngineError, JobCancelled

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterable, Iterator

    import numpy as np
    import numpy.typing as npt
    from distributed import Client, Future

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
_AGAIN = (
    "Prompts and results are kept. See that 'napari-sam3 serve' runs there; the next run connects "
    "by itself."
)


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

    A lost connection is one error; the next call connects again, and sends again what the
    server no longer holds.

    Parameters
    ----------
    compute : str, Path or Client
        The server, as :func:`connect` takes it.

    Attributes
    ----------
    spec : EngineSpec
        The card of the server's engine.
    bytes_sent : int
        How much was sent of pictures to be encoded.

    Raises
    ------
    EngineError
        If it can't be reached, or runs another release of this package.
    """

    def __init__(self, compute: Compute) -> None:
        self._compute = compute
        self._session = uuid.uuid4().hex
        self._client: Client | None = None
        self._worker = ""
        self._released: deque[str] = deque()
        self.bytes_sent = 0
        self._card: HostCard = self.ask("describe")
        self.spec: EngineSpec = self._card.spec
        if self._card.release != __version__:
            raise EngineError(
                f"The server runs release {self._card.release}, this is {__version__}.",
                "Install the same release on both.",
            )

    @property
    def version(self) -> str:
        """Version of the package that does the work there."""
        return self._card.version

    @property
    def device(self) -> str:
        """Where it runs there, and on which machine."""
        return f"{self._card.device} on {self._host()}"

    @property
    def weights(self) -> str:
        """File name of the weights there."""
        return self._card.weights

    @property
    def precision(self) -> str:
        """The number format there."""
        return self._card.precision

    def load(self, reporter: Reporter) -> None:
        """See that the server's engine is loaded."""
        reporter.report(Progress(0, 0, "Loading the model on the server"))
        self._card = self.ask("describe", reporter=reporter)

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
        video = self._card.spec.video
        follows = video is not None and PromptKind.TEXT in video.prompts
        made = RemotePhraseTrack if follows else RemoteTrack
        return made(self, frames, options, new_id)

    def spread(
        self, work: Piecework[Any, Any, Any], pieces: Iterable[object], reporter: Reporter
    ) -> Generator[Outcome]:
        """Have all workers of the server do pieces of work; see :class:`SpreadsPieces`."""
        with self._telling_losses():
            yield from spread(self._connect(), self._session, self._card, work, pieces, reporter)

    def close(self) -> None:
        """Have the server forget what this client holds, and leave it."""
        client, self._client = self._client, None
        if client is None:
            return
        if client.status == "running":
            with suppress(*LOST):
                self._submit(client, "leave").result(timeout=5)
        if client is not self._compute:
            client.close()

    def ask(self, method: str, *arguments: object, reporter: Reporter | None = None) -> Any:  # noqa: ANN401 - as the method
        """Call a method of the host, and stop it there when the work is stopped here."""
        name = uuid.uuid4().hex
        with self._telling_losses():
            client = self._connect()
            if self._released:
                gone = [self._released.popleft() for _ in range(len(self._released))]
                fire_and_forget(self._submit(client, "release", gone))
            asked = self._submit(client, method, name, *arguments)
            try:
                return self._wait(client, asked, reporter or NullReporter())
            except JobCancelled:
                fire_and_forget(self._submit(client, "stop", name))
                raise

    def release(self, name: str) -> None:
        """Have the server forget an encoding or a track, before its next work."""
        # Nothing more: garbage collection calls this, in any thread and in the middle of anything.
        self._released.append(name)

    # -- inside ---------------------------------------------------------------------------

    @contextmanager
    def _telling_losses(self) -> Iterator[None]:
        """Make one sentence of a lost connection; the next call connects again."""
        try:
            yield
        except LOST as error:
            self._drop()
            raise EngineError(
                f"The connection to the server was lost ({error}).", _AGAIN
            ) from error

    def _host(self) -> str:
        return self._worker.partition("://")[2].rpartition(":")[0]

    def _connect(self) -> Client:
        """Return a client that is connected, and choose the worker with the fewest clients."""
        client = self._client
        if client is not None and client.status == "running":
            return client
        client = self._client = connect(self._compute)
        workers = client.scheduler_info(n_workers=-1)["workers"]
        if not workers:
            raise EngineError(
                "The server has no workers.", "Wait until one has started, or look at its log."
            )
        # Spread by chance: who is where is known to nobody, and an idle session costs little.
        self._worker = sorted(workers)[int(self._session, 16) % len(workers)]
        return client

    def _wait(self, client: Client, asked: Future[Any], reporter: Reporter) -> Any:  # noqa: ANN401 - as the method
        """Return an answer; give up when the worker that gives it is gone."""
        # Not result(timeout): where both come at once, Dask loses the answer.
        answered = threading.Event()
        asked.add_done_callback(lambda _: answered.set())
        polls = 0
        while not answered.wait(_POLL_SECONDS):
            reporter.check()
            polls += 1
            if client.status != "running" or (
                polls % _POLLS_A_LOOK == 0
                and self._worker not in client.scheduler_info(n_workers=-1)["workers"]
            ):
                raise ConnectionError("it does not answer")
        return unpack(asked.result())

    def _submit(self, client: Client, method: str, *arguments: object) -> Future[Any]:
        return client.submit(
            call,
            method,
            self._session,
            *arguments,
            workers=[self._worker],
            pure=False,
            retries=0,
            priority=10,
        )

    def _drop(self) -> None:
        client, self._client = self._client, None
        if client is not None and client is not self._compute:
            client.close(timeout=1)

    def _send(self, encoding: RemoteEncoding, reporter: Reporter) -> None:
        self.bytes_sent += len(encoding.picture.data)
        self.ask("embed", encoding.name, encoding.picture, reporter=reporter)


class RemoteTrack:
    """A track on a server; its frames are read here and sent one by one, when it asks for them."""

    def __init__(
        self,
        engine: RemoteEngine,
        frames: FrameSource,
        options: PredictOptions,
        new_id: Callable[[], int],
    ) -> None:
        self._engine, self._frames, self._new_id = engine, frames, new_id
        self._name = uuid.uuid4().hex
        engine.ask("open_track", self._name, frames.shape, len(frames), options)

    def add(self, seed: TrackSeed) -> None:
        """See :meth:`VideoTrack.add`."""
        self._call("add", seed)

    def remove(self, object_id: int) -> None:
        """See :meth:`VideoTrack.remove`."""
        self._call("remove", object_id)

    def propagate(self, order: range, reporter: Reporter) -> Iterator[TrackedFrame]:
        """See :meth:`VideoTrack.propagate`."""
        self._call("propagate", order, reporter=reporter)
        while True:
            found = self._call("next", reporter=reporter)
            if found is None:
                return
            yield found

    def close(self) -> None:
        """Have the server free what it holds."""
        self._engine.release(self._name)

    def _call(self, what: str, *arguments: object, reporter: Reporter | None = None) -> Any:  # noqa: ANN401 - as the method
        kind, value = self._step(what, *arguments, reporter=reporter)
        while kind != "value":
            answer = (
                self._new_id() if kind == "id" else PackedPicture.pack(self._frames.read(value))
            )
            kind, value = self._step("answer", answer, reporter=reporter)
        return value

    def _step(self, what: str, *arguments: object, reporter: Reporter | None) -> tuple[str, Any]:
        step: tuple[str, Any] = self._engine.ask(
            "step_track", self._name, what, *arguments, reporter=reporter
        )
        return step


class RemotePhraseTrack(RemoteTrack):
    """A track on a server that looks for phrases, too."""

    def add_phrase(self, text: str, frame: int) -> None:
        """See :meth:`FollowsPhrases.add_phrase`."""
        self._call("add_phrase", text, frame)

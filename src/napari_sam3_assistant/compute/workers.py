"""Pieces of work on all workers of a server: a few on their way to each, what is lost elsewhere.

Which worker does which piece is decided here and not by the scheduler: its workers have many
threads, for clients that wait, and only one engine.
"""

from __future__ import annotations

import time
import uuid
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING, Any

from distributed import CancelledError, KilledWorker, fire_and_forget

from napari_sam3_assistant.compute.host import PieceState, call
from napari_sam3_assistant.compute.wire import pack, pack_pixels, unpack
from napari_sam3_assistant.core.progress import Progress
from napari_sam3_assistant.engines.base import Outcome
from napari_sam3_assistant.errors import EngineError, JobCancelled, PromptError, Sam3AssistantError

if TYPE_CHECKING:
    from collections.abc import Generator, Iterable, Iterator

    from distributed import Client, Future

    from napari_sam3_assistant.compute.host import HostCard
    from napari_sam3_assistant.core.progress import Reporter
    from napari_sam3_assistant.engines.piecework import Piecework

LOST = (OSError, TimeoutError, CancelledError, KilledWorker)
"""What Dask raises where a worker, a scheduler or the way to it is gone."""
IN_FLIGHT = 2
"""So many pieces are with each worker: one at the engine, one whose pixels are read meanwhile."""
_AHEAD = 4  # pieces for each worker that may be begun or done before an earlier one is done
_TRIES = 3
_POLL_SECONDS = 0.05
_LOOK_SECONDS = 1.0  # between two looks at which workers there are
_WAIT_SECONDS = 600.0  # for a worker, where there is none
_FETCH_SECONDS = 20.0
_FETCHERS = 4


@dataclass(slots=True, eq=False)
class _Task:
    """A piece on its way."""

    number: int
    piece: Any
    failed_on: set[str] = field(default_factory=set)
    tries: int = 0
    error: Sam3AssistantError | None = None
    send: bool = False  # whether a worker that has the files could not read this one


@dataclass(slots=True, eq=False)
class _Worker:
    """A worker as this client sees it."""

    address: str
    reads: bool | None = None  # whether it reads the pixels itself; None until it has begun
    flying: dict[str, _Task] = field(default_factory=dict)  # by the name of the call


def spread(
    client: Client,
    session: str,
    card: HostCard,
    work: Piecework[Any, Any, Any],
    pieces: Iterable[Any],
    reporter: Reporter,
) -> Generator[Outcome]:
    """Yield the outcome of each piece, in their order, from all workers of a server."""
    crew = _Crew(client, session, card, work, reporter)
    try:
        yield from crew.do(iter(pieces))
    finally:
        crew.leave()


class _Crew:
    """All workers that do one work, and what is with whom."""

    def __init__(
        self,
        client: Client,
        session: str,
        card: HostCard,
        work: Piecework[Any, Any, Any],
        reporter: Reporter,
    ) -> None:
        self._client, self._session, self._card = client, session, card
        self._work, self._reporter = work, reporter
        self._name = uuid.uuid4().hex
        self._packed = pack(work)
        self._workers: dict[str, _Worker] = {}
        self._refused: dict[str, EngineError] = {}
        self._futures: dict[str, Future[Any]] = {}
        self._answers: SimpleQueue[tuple[str, str, Any]] = SimpleQueue()
        self._fetchers = ThreadPoolExecutor(_FETCHERS, thread_name_prefix="fetch")
        self._again: deque[_Task] = deque()
        self._outcomes: dict[int, Outcome] = {}
        self._looked = self._served = float("-inf")

    def do(self, pieces: Iterator[Any]) -> Iterator[Outcome]:
        """Yield outcomes in the order of the pieces."""
        taken = yielded = 0
        self._served = time.monotonic()
        more = True
        while more or yielded < taken:
            self._reporter.check()
            self._update_workers()
            for worker in self._free():
                task = self._take_again(worker)
                if task is None and more and taken - yielded < _AHEAD * len(self._workers):
                    piece = next(pieces, _END)
                    more = piece is not _END
                    if more:
                        task = _Task(taken, piece)
                        taken += 1
                if task is not None:
                    self._send(worker, task)
            self._collect_answers()
            while yielded in self._outcomes:
                yield self._outcomes.pop(yielded)
                yielded += 1

    def leave(self) -> None:
        """Stop what is on its way, and have the workers forget the work."""
        self._fetchers.shutdown(wait=False, cancel_futures=True)
        if self._client.status != "running":
            return
        with suppress(*LOST):
            for worker in self._workers.values():
                for name in worker.flying:
                    fire_and_forget(self._submit(worker.address, "stop", name))
                fire_and_forget(self._submit(worker.address, "release", [self._name]))
        self._futures.clear()

    # -- who is there -----------------------------------------------------------------------

    def _update_workers(self) -> None:
        """See who came and who went, once in a while."""
        now = time.monotonic()
        if self._client.status != "running":
            raise ConnectionError("it does not answer")
        if now - self._looked < _LOOK_SECONDS:
            return
        self._looked = now
        there = self._client.scheduler_info(n_workers=-1)["workers"]
        for address in [address for address in self._workers if address not in there]:
            gone = self._workers.pop(address)
            for name, task in gone.flying.items():
                self._forget(name)
                self._try_again(task, address, None)
        for address in there:
            if address not in self._workers and address not in self._refused:
                worker = self._workers[address] = _Worker(address)
                self._ask(worker, uuid.uuid4().hex, "begin_work", self._name, self._packed)
        if any(worker.reads is not None for worker in self._workers.values()):
            self._served = now
        elif now - self._served > _WAIT_SECONDS or (self._refused and not self._workers):
            raise next(iter(self._refused.values()), _NOBODY)
        elif not self._workers:
            self._reporter.report(Progress(0, 0, "Waiting for a worker of the server"))

    def _free(self) -> Iterator[_Worker]:
        """Yield a worker for each piece that may be sent, who has least to do first."""
        ready = [worker for worker in self._workers.values() if worker.reads is not None]
        for load in range(IN_FLIGHT):
            for worker in ready:
                if len(worker.flying) == load:
                    yield worker

    def _take_again(self, worker: _Worker) -> _Task | None:
        """Return a piece that failed elsewhere; where all have failed on it, anybody's."""
        for task in self._again:
            if worker.address not in task.failed_on or task.failed_on >= self._workers.keys():
                self._again.remove(task)
                return task
        return None

    # -- what is sent and heard -------------------------------------------------------------

    def _send(self, worker: _Worker, task: _Task) -> None:
        sent = None
        if task.send or not worker.reads:
            try:
                sent = pack_pixels(self._work.read(task.piece))
            except (Sam3AssistantError, MemoryError) as error:
                self._settle(task, None, error)
                return
        name = uuid.uuid4().hex
        worker.flying[name] = task
        self._ask(worker, name, "do_piece", self._name, pack(task.piece), sent)

    def _ask(self, worker: _Worker, name: str, method: str, *arguments: object) -> None:
        """Call a method of a worker; what it answers is heard later."""
        asked = self._submit(worker.address, method, name, *arguments)
        self._futures[name] = asked

        def fetch() -> None:
            try:
                # It is there; where it is lost again on its way, Dask would wait for ever.
                answer = unpack(asked.result(timeout=_FETCH_SECONDS))
            except Exception as error:  # noqa: BLE001 - heard, and raised there
                answer = error
            self._answers.put((worker.address, name, answer))

        def note_done(_: object) -> None:
            with suppress(RuntimeError):  # nobody wants to know any more
                self._fetchers.submit(fetch)

        asked.add_done_callback(note_done)

    def _submit(self, address: str, method: str, *arguments: object) -> Future[Any]:
        return self._client.submit(
            call, method, self._session, *arguments, workers=[address], pure=False, retries=0
        )

    def _collect_answers(self) -> None:
        """Take the answers that are there, and wait for one for a moment."""
        with suppress(Empty):
            address, name, answer = self._answers.get(timeout=_POLL_SECONDS)
            while True:
                worker = self._workers.get(address)
                if worker is not None and self._forget(name):
                    self._take_answer(worker, name, answer)
                address, name, answer = self._answers.get_nowait()

    def _take_answer(self, worker: _Worker, name: str, answer: Any) -> None:  # noqa: ANN401 - of the method
        task = worker.flying.pop(name, None)
        if task is None:
            self._begin(worker, answer)
        elif isinstance(answer, (*LOST, JobCancelled)):
            # Whether it is gone is seen at the next look.
            self._looked = float("-inf")
            self._try_again(task, worker.address, None)
        elif isinstance(answer, Sam3AssistantError) and not isinstance(answer, PromptError):
            self._try_again(task, worker.address, answer)
        elif isinstance(answer, PromptError):
            self._settle(task, None, answer)
        elif isinstance(answer, Exception):
            raise answer
        else:
            state, value = answer
            self._take_state(worker, task, state, value)

    def _take_state(self, worker: _Worker, task: _Task, state: PieceState, value: object) -> None:
        if state is PieceState.DONE:
            self._settle(task, value)
            return
        self._again.appendleft(task)
        task.send |= state is PieceState.UNREADABLE
        if state is PieceState.UNKNOWN:
            # It has forgotten the work, and begins it anew.
            self._let_go(worker)

    def _let_go(self, worker: _Worker) -> None:
        """Take back what is with a worker, which is looked for anew."""
        del self._workers[worker.address]
        for name, task in worker.flying.items():
            self._forget(name)
            self._again.appendleft(task)
        self._looked = float("-inf")

    def _begin(self, worker: _Worker, answer: Any) -> None:  # noqa: ANN401 - an answer, or an error
        """Accept a worker whose engine is the requested one."""
        if isinstance(answer, (*LOST, JobCancelled)):
            self._let_go(worker)
            return
        if isinstance(answer, Exception) and not isinstance(answer, EngineError):
            raise answer
        if not isinstance(answer, EngineError):
            card, reads = answer
            if card.model == self._card.model:
                worker.reads = reads
                return
            answer = EngineError(
                f"The worker {worker.address} runs another engine, or other weights, than the "
                "others.",
                "Give all workers the same: napari-sam3 serve --connect ADDRESS.",
            )
        self._refused[worker.address] = answer
        del self._workers[worker.address]

    def _forget(self, name: str) -> bool:
        """Forget a call; returns whether it was known."""
        return self._futures.pop(name, None) is not None

    def _try_again(self, task: _Task, address: str, error: Sam3AssistantError | None) -> None:
        """Have another worker do a piece, unless it has failed too often."""
        task.failed_on.add(address)
        task.tries += 1
        task.error = error or task.error
        if task.tries < _TRIES:
            self._again.append(task)
            return
        died = EngineError(
            f"{task.tries} workers ended while they did it.", "Look into the logs of the workers."
        )
        self._settle(task, None, task.error or died)

    def _settle(
        self, task: _Task, value: object, error: Sam3AssistantError | MemoryError | None = None
    ) -> None:
        self._outcomes[task.number] = Outcome(value, error, max(1, len(self._workers)))


_END = object()
_NOBODY = EngineError(
    "The server has no workers.", "Wait until one has started, or look at its log."
)

"""The engine that a session runs on: chosen, loaded, unloaded, and encoding ahead."""

from __future__ import annotations

import logging
import math
import time
from collections import defaultdict, deque
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, TypeVar

from psygnal import Signal

from napari_sam3_assistant.compute import open_remote_engine
from napari_sam3_assistant.compute.connection import UNKNOWN_ENGINE
from napari_sam3_assistant.core.lengths import Length
from napari_sam3_assistant.core.options import PredictOptions
from napari_sam3_assistant.core.paths import expand_user
from napari_sam3_assistant.core.prompts import NOT_DRAWN, Task
from napari_sam3_assistant.engines import registry
from napari_sam3_assistant.engines.caching_engine import CachingEngine
from napari_sam3_assistant.engines.device import device_reason
from napari_sam3_assistant.engines.registry import EngineLease, acquire, lend
from napari_sam3_assistant.errors import EngineError, ImageError
from napari_sam3_assistant.jobs import Job, JobState
from napari_sam3_assistant.session.values import DeviceInUse, EncodeAhead, Level, Message
from napari_sam3_assistant.workflows.segment import SEGMENTING, load, prefetch

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from napari_sam3_assistant.core.display import ImageView
    from napari_sam3_assistant.core.images import PixelSize
    from napari_sam3_assistant.core.progress import Reporter
    from napari_sam3_assistant.core.prompts import PromptKind
    from napari_sam3_assistant.engines.base import EngineSpec
    from napari_sam3_assistant.jobs import JobProgress, JobRunner
    from napari_sam3_assistant.session.model import SessionModel
    from napari_sam3_assistant.viewer.adapter import ViewerAdapter
    from napari_sam3_assistant.workflows.track import Tracking


T = TypeVar("T")


class EngineInUse:
    """The chosen engine. Engines that are no longer chosen are closed when a worker has time.

    Attributes
    ----------
    leaving : Signal
        Tells that the engine is about to be let go.
    """

    leaving = Signal()

    def __init__(self, model: SessionModel) -> None:
        self._model = model
        self._lease: EngineLease | None = None
        self._key: tuple[str, ...] | None = None
        self._unused: list[EngineLease] = []
        self._trackings: list[Tracking] = []

    @property
    def choice(self) -> tuple[str, ...]:
        """The chosen server, or engine, model folder, device and precision."""
        model = self._model
        if model.compute:
            return (model.compute,)
        return model.engine, model.model_folder, model.device, model.precision

    @property
    def spec(self) -> EngineSpec:
        """The card of the chosen engine; of a server that has not answered one that takes all."""
        model = self._model
        if model.compute:
            return model.server_spec or UNKNOWN_ENGINE
        return registry.spec_for(model.engine, model.model_folder)

    @property
    def model_folder(self) -> Path | None:
        """The folder of the weights on this computer, for the notes of results."""
        folder = self._model.model_folder
        return Path(folder) if folder and not self._model.compute else None

    def options(self, kinds: frozenset[PromptKind], pixel: PixelSize) -> PredictOptions:
        """Return the choices of a run, as the chosen engine makes use of them.

        ``kinds``: what its prompts are.
        ``pixel``: the size of a pixel of the image, as far as it is known.
        Raises PromptError if one of them can't be used.
        """
        told = self._model.diameter.strip()
        used = bool(told) and self.spec.takes_diameter and bool(kinds & NOT_DRAWN)
        return PredictOptions(self._model.threshold, Length.parse(told) if used else None, pixel)

    @property
    def choices(self) -> tuple[EngineSpec, ...]:
        """The cards of all known engines."""
        return tuple(entry.spec for entry in registry.entries().values())

    @property
    def loaded(self) -> CachingEngine | None:
        """The chosen engine if it has been loaded, else None."""
        chosen = self._lease is not None and self._key == self.choice
        engine = self._lease.engine if chosen and self._lease else None
        return engine if engine is not None and engine.is_loaded else None

    def take(self) -> CachingEngine:
        """Return the chosen engine, not always loaded yet.

        While it is not, another session may have loaded one that does as well.

        Raises EngineError if it can't run on this machine, or the folder of encodings is gone;
        nothing has changed then.
        """
        encodings = self._find_encodings()
        key, lease = self.choice, self._lease
        if lease is None or key != self._key or not lease.engine.is_loaded:
            lease = self._borrow()
            self.release()
            self._lease, self._key = lease, key
        lease.engine.use_folder(encodings)
        return lease.engine

    def _find_encodings(self) -> Path | None:
        """Return the folder of encodings that was chosen."""
        model = self._model
        if model.compute or not model.encodings_folder.strip():
            return None
        folder = expand_user(model.encodings_folder.strip())
        if not folder.is_dir():
            raise EngineError(
                f"There is no folder of encodings {folder}.",
                "Choose one in Step 1 of Advanced, or leave that line empty.",
            )
        return folder

    def _borrow(self) -> EngineLease:
        model = self._model
        if model.compute:
            return lend(CachingEngine(open_remote_engine(model.compute)))
        folder = Path(model.model_folder) if model.model_folder else None
        return acquire(model.engine, folder, model.device, model.precision)

    def make_job(
        self,
        title: str,
        engine: CachingEngine,
        work: Callable[[Reporter], Iterator[T]],
        show: Callable[[T], None],
    ) -> Job:
        """Return a job of the engine that was taken; the model shows where the engine runs.

        ``engine``: the engine; it is loaded when the first result is there.
        ``work``: takes a Reporter and returns the results; it runs on the worker thread.
        ``show``: takes each result on the GUI thread.
        """
        choice, asked, known = self.choice, self._model.device, self._model.device_in_use

        def results(reporter: Reporter) -> Iterator[tuple[T, DeviceInUse]]:
            self.close_unused()
            device = known
            for result in work(reporter):
                if engine.traffic is not None:
                    # A server that was started again may have another engine.
                    device = DeviceInUse(engine.device, "", engine.precision)
                # Asked for here and once, since it may start PyTorch's GPU.
                device = device or DeviceInUse(
                    engine.device, device_reason(asked, engine.device), engine.precision
                )
                yield result, device

        def tell(answer: tuple[T, DeviceInUse]) -> None:
            result, device = answer
            if choice == self.choice:
                if engine.traffic is not None:
                    self._model.server_spec, self._model.traffic = engine.spec, engine.traffic
                self._model.device_in_use = device
            show(result)

        job = Job(title, results)
        job.yielded.connect(tell)
        return job

    def close_later(self, tracking: Tracking) -> None:
        """Have a tracking closed when a worker has time."""
        self._trackings.append(tracking)

    def release(self) -> None:
        """Do without the engine from now on."""
        self.leaving.emit()
        if self._lease is not None:
            self._unused.append(self._lease)
        self._lease = self._key = None

    def close_unused(self) -> None:
        """Close what is no longer used; called on the worker thread, since it takes a while."""
        # What an engine has tracked goes before the engine.
        while self._trackings:
            self._trackings.pop().close()
        while self._unused:
            self._unused.pop().close()


_NEXT = "Next: choose a task, create a prompt layer if needed, then run preview."
_NEXT_VIDEO = "Next: go to a slice or frame, add prompts, then start the propagation."


class ModelLoading:
    """The verbs that load and unload the model. All are called on the GUI thread."""

    def __init__(
        self, model: SessionModel, engine: EngineInUse, start: Callable[[Job], Job]
    ) -> None:
        self._model = model
        self._engine = engine
        self._start = start

    def load(self) -> Job:
        """Load the chosen engine, so that the first run need not.

        Raises EngineError if it can't run on this machine.
        """
        engine = self._engine.take()

        def show(device: str) -> None:
            hint = _NEXT_VIDEO if self._model.task is Task.VIDEO else _NEXT
            loaded = f"answers, on {device}" if self._model.compute else "is loaded"
            self._model.message = Message(f"{engine.spec.title} {loaded}. {hint}", Level.SUCCESS)

        return self._start(
            self._engine.make_job("Loading", engine, lambda reporter: load(engine, reporter), show)
        )

    def unload(self, message: str = "The model is unloaded.") -> Job:
        """Let go of the engine and its memory; previews and prompts stay.

        ``message``: what the status line says then.
        """
        self._engine.release()
        self._model.device_in_use = None

        def work(reporter: Reporter) -> Iterator[str]:
            reporter.check()
            self._engine.close_unused()
            yield message

        job = Job("Unloading", work)
        job.yielded.connect(
            lambda text: setattr(self._model, "message", Message(text, Level.SUCCESS))
        )
        return self._start(job)


logger = logging.getLogger(__name__)


class EmbeddingPrefetch:
    """Encodes the plane on show before it is asked for; never loads weights to do so.

    Then, while nothing else is to be done, the plane that is on show next. Every run comes before
    it: one of another plane ends it, one of the same plane waits for it and goes on with what it
    has made. All methods are called on the GUI thread.

    Attributes
    ----------
    find_upcoming : callable
        Returns what is on show next; None where that is not known.
    """

    def __init__(
        self, model: SessionModel, adapter: ViewerAdapter, runner: JobRunner, engine: EngineInUse
    ) -> None:
        self._model = model
        self._adapter = adapter
        self._runner = runner
        self._engine = engine
        self.find_upcoming: Callable[[], ImageView | None] = lambda: None
        self._job: Job | None = None
        # What was encoded, is being encoded (the last one), or failed: not to be tried again.
        self._tried: deque[tuple[CachingEngine, object]] = deque(maxlen=2)
        # Who types a phrase will run it on the plane on show.
        model.events.text.connect(self.start, max_args=0)
        model.events.image.connect(self.stop_if_stale, max_args=0)
        model.events.running.connect(self.start_upcoming, max_args=0)

    @property
    def is_enabled(self) -> bool:
        """Whether the user wants it: by default where the engine runs on a GPU."""
        if self._model.encode_ahead is EncodeAhead.AUTO:
            used = self._model.device_in_use
            return used is not None and used.name != "cpu"
        return self._model.encode_ahead is EncodeAhead.ON

    def start(self) -> None:
        """Encode the plane on show, if that is wanted and the engine is loaded and idle."""
        engine = self._usable_engine()
        view = None if engine is None else self._take_view()
        if engine is not None and view is not None and (engine, view.key) not in self._tried:
            self._encode(engine, view)

    def start_upcoming(self) -> None:
        """Encode what is on show next, if that is known and nothing else is to be encoded."""
        engine = self._usable_engine()
        if engine is None or self._job is not None:
            return
        view = self.find_upcoming()
        if view is not None and (engine, view.key) not in self._tried:
            self._encode(engine, view)

    def _usable_engine(self) -> CachingEngine | None:
        """Return the engine, if it is to encode ahead and has nothing else to do."""
        engine, model = self._engine.loaded, self._model
        if engine is None or not engine.spec.needs_weights or not self.is_enabled:
            return None
        # A tracker reads its frames by itself. Of a large image it is known when a run begins
        # which part it works on.
        busy = model.running or model.task is Task.VIDEO or model.large_image
        return None if busy else engine

    def _encode(self, engine: CachingEngine, view: ImageView) -> None:
        self.cancel()
        job = Job("Encoding ahead", partial(prefetch, engine, view))
        job.finished.connect(partial(self._on_finished, job))
        self._job = job
        self._tried.append((engine, view.key))
        self._runner.start(job)

    def stop_if_stale(self) -> None:
        """Stop if another plane is on show now, unless a run waits for the one in work."""
        if self._job is None or self._model.running:
            return
        on_show = (self._take_view(), self.find_upcoming())
        if self._tried[-1][1] not in [view.key for view in on_show if view is not None]:
            self.cancel()

    def cancel(self) -> None:
        """Stop; nothing is left of an encoding that is not complete."""
        if self._job is not None:
            self._job.cancel()

    def find_job(self, engine: CachingEngine, view: ImageView) -> Job | None:
        """Return the job that makes what a run of a plane needs, or None."""
        going = self._job is not None and self._tried[-1] == (engine, view.key)
        return self._job if going else None

    def _take_view(self) -> ImageView | None:
        try:
            return self._adapter.take_view(self._model.image)
        except ImageError:
            # There is nothing to encode; a run says why.
            return None

    def _on_finished(self, job: Job, state: JobState) -> None:
        if job.error is not None:
            # Nobody has asked for it: a run on this plane will say it aloud.
            logger.info("Encoding ahead ended: %s", job.error)
        if job is self._job:
            self._job = None
            if state is JobState.CANCELLED:
                self._tried.pop()
            else:
                self.start_upcoming()


class _Run(NamedTuple):
    """What a run saw, by which prompts, and the seconds that its encoding and its answer took."""

    view: object
    kind: PromptKind
    ready: float
    answer: float


def _size_class(view: ImageView) -> int:
    """Return how large a plane is: those of one class are alike within a factor of four."""
    return math.prod(view.shape).bit_length() // 2


class RunTimes:
    """How long an engine takes from prompts to a mask: as long as the quickest of its latest runs.

    So a machine that is busy for a moment does not make an engine slow; one that is slow is known
    by its first run. Planes of about the same size count, and all where none is known. Each kind of
    prompt counts by itself: a phrase takes many times as long as a click.

    ``latest``: of each engine, size of plane and kind of prompt, how many runs count.
    """

    def __init__(self, latest: int = 3) -> None:
        def make() -> deque[_Run]:
            return deque(maxlen=latest)

        self._runs: defaultdict[tuple[object, int, PromptKind], deque[_Run]] = defaultdict(make)

    def note(
        self, engine: object, view: ImageView, kind: PromptKind, ready: float, seconds: float
    ) -> None:
        """Record a run: when it had encoded the view, and how long it took in all."""
        alike = self._of_size(engine, view)
        # An encoding that was there already says nothing of the next one.
        known = next((run.ready for run in alike if run.view == view.key), ready)
        runs = self._runs[engine, _size_class(view), kind]
        runs.append(_Run(view.key, kind, known, seconds - ready))

    def has_run(self, engine: object, view: ImageView) -> bool:
        """Return whether one of the latest runs was on what is seen."""
        return any(run.view == view.key for run in self._of_size(engine, view))

    def expect(self, engine: object, view: ImageView, kind: PromptKind) -> float | None:
        """Return how many seconds the next run will take; None where that is not known.

        Of a kind that was not run yet it is what the encoding takes.
        """
        runs = self._of_size(engine, view) or [
            run for (known, *_), others in self._runs.items() if known == engine for run in others
        ]
        if not runs:
            return None
        answer = min((run.answer for run in runs if run.kind is kind), default=0.0)
        return answer if self.has_run(engine, view) else answer + min(run.ready for run in runs)

    def _of_size(self, engine: object, view: ImageView) -> list[_Run]:
        """Return the latest runs of an engine on planes of about the same size, by all prompts."""
        size = _size_class(view)
        return [
            run
            for (known, alike, _), runs in self._runs.items()
            if known == engine and alike == size
            for run in runs
        ]


class Stopwatch:
    """Times a run, and when it had encoded the image, in seconds."""

    def __init__(self) -> None:
        self._began = time.monotonic()
        self.ready = 0.0

    @property
    def elapsed(self) -> float:
        """How long it has taken until now."""
        return time.monotonic() - self._began

    def note(self, progress: JobProgress) -> None:
        """Record a step."""
        if progress.step.message == SEGMENTING:
            self.ready = self.elapsed

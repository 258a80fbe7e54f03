"""The engine that a session runs on, borrowed and given back as the choice changes."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from psygnal import Signal

from napari_sam3_assistant.engines import registry
from napari_sam3_assistant.engines.device import device_reason
from napari_sam3_assistant.engines.shared import Loan, borrow
from napari_sam3_assistant.jobs.job import Job
from napari_sam3_assistant.session.model import DeviceInUse

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from napari_sam3_assistant.core.progress import Reporter
    from napari_sam3_assistant.engines.base import EngineSpec
    from napari_sam3_assistant.engines.embeddings import EncodingEngine
    from napari_sam3_assistant.session.model import SessionModel
    from napari_sam3_assistant.workflows.track import Tracking

T = TypeVar("T")


class EngineInUse:
    """The chosen engine. Engines that are no longer chosen are closed when a worker has time.

    Parameters
    ----------
    model : SessionModel
        Says which engine, folder and device are chosen.

    Attributes
    ----------
    leaving : Signal
        Tells that the engine is about to be let go.
    """

    leaving = Signal()

    def __init__(self, model: SessionModel) -> None:
        self._model = model
        self._loan: Loan | None = None
        self._key: tuple[str, str, str] | None = None
        self._retired: list[Loan] = []
        self._trackings: list[Tracking] = []

    @property
    def choice(self) -> tuple[str, str, str]:
        """The chosen engine, model folder and device."""
        return self._model.engine, self._model.model_folder, self._model.device

    @property
    def spec(self) -> EngineSpec:
        """The card of the chosen engine."""
        return registry.spec_for(self._model.engine, self._model.model_folder)

    @property
    def loaded(self) -> EncodingEngine | None:
        """The chosen engine if it has been loaded, else None."""
        chosen = self._loan is not None and self._key == self.choice
        engine = self._loan.engine if chosen and self._loan else None
        return engine if engine is not None and engine.is_loaded else None

    def take(self) -> EncodingEngine:
        """Return the chosen engine, not always loaded yet.

        While it is not, another session may have loaded one that does as well.

        Raises
        ------
        EngineError
            If it can't run on this machine; nothing has changed then.
        """
        name, folder, device = key = self.choice
        loan = self._loan
        if loan is None or key != self._key or not loan.engine.is_loaded:
            loan = borrow(name, Path(folder) if folder else None, device)
            self.let_go()
            self._loan, self._key = loan, key
        return loan.engine

    def job(
        self,
        title: str,
        engine: EncodingEngine,
        work: Callable[[Reporter], Iterator[T]],
        show: Callable[[T], None],
    ) -> Job:
        """Return a job of the engine that was taken; the model is told where the engine runs.

        Parameters
        ----------
        title : str
            What the user reads.
        engine : EncodingEngine
            The engine; it is loaded when the first result is there.
        work : callable
            Takes a Reporter and returns the results; it runs on the worker thread.
        show : callable
            Takes each result on the GUI thread.
        """
        choice, asked, known = self.choice, self._model.device, self._model.device_in_use

        def results(reporter: Reporter) -> Iterator[tuple[T, DeviceInUse]]:
            self.close_retired()
            device = known
            for result in work(reporter):
                # Asked for here and once, since it may start PyTorch's GPU.
                device = device or DeviceInUse(engine.device, device_reason(asked, engine.device))
                yield result, device

        def tell(answer: tuple[T, DeviceInUse]) -> None:
            result, device = answer
            if choice == self.choice:
                self._model.device_in_use = device
            show(result)

        job = Job(title, results)
        job.yielded.connect(tell)
        return job

    def retire(self, tracking: Tracking) -> None:
        """Have a tracking closed when a worker has time."""
        self._trackings.append(tracking)

    def let_go(self) -> None:
        """Do without the engine from now on."""
        self.leaving.emit()
        if self._loan is not None:
            self._retired.append(self._loan)
        self._loan = self._key = None

    def close_retired(self) -> None:
        """Close what is no longer used; called on the worker thread, since it takes a while."""
        # What an engine has tracked goes before the engine.
        while self._trackings:
            self._trackings.pop().close()
        while self._retired:
            self._retired.pop().close()

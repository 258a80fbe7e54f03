"""The engine on SAM 3.1: stacks only, by Meta's repository."""

from __future__ import annotations

from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NoReturn

from napari_sam3_assistant.core.progress import Progress
from napari_sam3_assistant.engines.checkpoints.unchanged import Unchanged
from napari_sam3_assistant.engines.device import free_cache
from napari_sam3_assistant.engines.errors import map_engine_errors
from napari_sam3_assistant.engines.exclusive import Exclusive
from napari_sam3_assistant.engines.sam3_meta import compat, compat_kernels, compat_multiplex
from napari_sam3_assistant.engines.sam3_meta.bpe import find_bpe
from napari_sam3_assistant.engines.sam3_meta.checkpoint import (
    MULTIPLEX_NAME,
    multiplex_error,
    read_weights,
)
from napari_sam3_assistant.engines.sam3_meta.loading import choose_cpu_or_cuda, sam3_version
from napari_sam3_assistant.engines.sam3_meta.multiplex_track import MultiplexTrack
from napari_sam3_assistant.engines.sam3_track import TrackContext
from napari_sam3_assistant.errors import EngineError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from napari_sam3_assistant.core.frames import FrameSource
    from napari_sam3_assistant.core.options import PredictOptions
    from napari_sam3_assistant.core.progress import Reporter
    from napari_sam3_assistant.engines.base import EngineSpec

_STEPS = 4


@dataclass(frozen=True, slots=True, eq=False)
class LoadedMultiplex:
    """The loaded weights of SAM 3.1.

    Parameters
    ----------
    model : Sam3MultiplexTrackingWithInteractivity
        The model.
    device : str
        ``cpu`` or ``cuda:N``.
    measures : ExitStack
        Undoes the measures that were taken in the package.
    """

    model: Any
    device: str
    measures: ExitStack


class Sam3MultiplexEngine:
    """SAM 3.1 by Meta's repository, from a folder with ``sam3.1_multiplex.pt``.

    It has no model for single planes; what asks for one is told so.

    Parameters
    ----------
    spec : EngineSpec
        The engine's card.
    model_folder : Path
        The folder of the weights.
    device : str
        ``auto``, ``cpu``, ``cuda`` or ``cuda:N``.
    """

    def __init__(self, spec: EngineSpec, model_folder: Path, device: str = "auto") -> None:
        self.spec = spec
        self._folder = model_folder.expanduser()
        self._requested = device
        self._loaded: LoadedMultiplex | None = None
        self._turns = Exclusive()

    @property
    def version(self) -> str:
        """Version of the sam3 package."""
        return sam3_version()

    @property
    def device(self) -> str:
        """Where the model runs; before loading, what was asked for."""
        return self._requested if self._loaded is None else self._loaded.device

    @property
    def weights(self) -> str:
        """File name of the weights; empty before loading."""
        return "" if self._loaded is None else MULTIPLEX_NAME

    def load(self, reporter: Reporter) -> None:
        """Load the weights; a second call does nothing.

        Raises
        ------
        EngineNotInstalled
            If the installed package has no SAM 3.1.
        CheckpointInvalid
            If the weights can't be used.
        DeviceUnavailable
            If the device does not work.
        """
        with self._turns.turn(reporter), map_engine_errors():
            if self._loaded is None:
                self._loaded = _load(self._folder, self._requested, reporter)

    def embed(self, image: object, reporter: Reporter) -> NoReturn:
        """Refuse a single plane."""
        del image, reporter
        raise multiplex_error(MULTIPLEX_NAME)

    def predict(
        self, embedding: object, prompts: object, options: object, reporter: Reporter
    ) -> NoReturn:
        """Refuse a single plane."""
        del embedding, prompts, options, reporter
        raise multiplex_error(MULTIPLEX_NAME)

    def track(
        self, frames: FrameSource, options: PredictOptions, new_id: Callable[[], int]
    ) -> MultiplexTrack:
        """Begin to follow objects through a stack; see :class:`.engines.video.VideoEngine`."""
        del options
        return MultiplexTrack(TrackContext(frames, self._working, self._turns.check, new_id))

    def close(self) -> None:
        """Free memory and device; work in progress stops before the model's next stage."""
        with self._turns.last_turn():
            loaded, self._loaded = self._loaded, None
        if loaded is not None:
            loaded.measures.close()
            del loaded
            free_cache()

    @contextmanager
    def _working(self, reporter: Reporter) -> Iterator[LoadedMultiplex]:
        """Wait for this caller's turn and give the model."""
        with self._turns.turn(reporter), map_engine_errors():
            if self._loaded is None:
                raise EngineError("SAM 3.1 is not loaded.", "Load the model first.")
            with compat.calls(self._loaded.device):
                yield self._loaded


def _load(folder: Path, requested: str, reporter: Reporter) -> LoadedMultiplex:
    device = choose_cpu_or_cuda(requested)
    reporter.report(Progress(0, _STEPS, "Importing sam3"))
    measures = compat_kernels.choose_measures()
    builder = compat_multiplex.import_builder(measures)
    # After the package, since some copies of it bring a vocabulary along.
    bpe = find_bpe(folder)
    with ExitStack() as stack:
        stack.enter_context(compat_kernels.applied(measures))
        stack.enter_context(compat_multiplex.without_bars())
        unchanged = Unchanged(folder / MULTIPLEX_NAME)
        weights = read_weights(folder / MULTIPLEX_NAME)
        reporter.report(Progress(1, _STEPS, "Building SAM 3.1"))
        model = compat_multiplex.build_model(builder, bpe, device)
        reporter.report(Progress(2, _STEPS, f"Reading {MULTIPLEX_NAME}"))
        # As in loading.py: until here they are mapped from the file.
        unchanged.check()
        compat_multiplex.put_into(model, weights, MULTIPLEX_NAME)
        unchanged.check()
        del weights
        reporter.report(Progress(3, _STEPS, f"Moving SAM 3.1 to {device}"))
        model = model.to(device).eval()
        reporter.report(Progress(_STEPS, _STEPS, "SAM 3.1 is loaded"))
        return LoadedMultiplex(model, device, stack.pop_all())

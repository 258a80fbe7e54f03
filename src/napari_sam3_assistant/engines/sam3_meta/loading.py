"""The model in memory, and how it gets there."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Any

from napari_sam3_assistant.core.progress import Progress
from napari_sam3_assistant.engines.checkpoints.unchanged import Unchanged
from napari_sam3_assistant.engines.device import choose_device, supports_bfloat16
from napari_sam3_assistant.engines.recent import Recent
from napari_sam3_assistant.engines.sam3_meta import compat, compat_kernels, compat_video
from napari_sam3_assistant.engines.sam3_meta.bpe import find_bpe
from napari_sam3_assistant.engines.sam3_meta.checkpoint import (
    find_weights,
    put_into,
    read_weights,
    to_image_model,
)
from napari_sam3_assistant.errors import DeviceUnavailable

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    import torch

    from napari_sam3_assistant.core.progress import Reporter

_STEPS = 4


@dataclass(frozen=True, slots=True, eq=False)
class LoadedModel:
    """The loaded weights and what goes with them.

    Parameters
    ----------
    model : sam3.model.sam3_image.Sam3Image
        The image model with the click head.
    processor : sam3.model.sam3_image_processor.Sam3Processor
        Prepares images, at the size that the model is built for.
    device : str
        ``cpu`` or ``cuda:N``.
    weights : str
        File name of the weights.
    measures : ExitStack
        Undoes the measures that were taken in the package.
    """

    model: Any
    processor: Any
    device: str
    weights: str
    measures: ExitStack
    _positions: Recent[Sequence[torch.Tensor]] = field(default_factory=lambda: Recent(1))
    _video: Recent[Any] = field(default_factory=lambda: Recent(2))

    @property
    def number_format(self) -> str:
        """Name of the number format of the work."""
        return "bfloat16" if supports_bfloat16(self.device) else "float32"

    def positions(self, make: Callable[[], Sequence[torch.Tensor]]) -> Sequence[torch.Tensor]:
        """Return the position encodings, one copy for all images; made at the first call.

        They depend on nothing but the size, which is the same for all images, and take 30 % of
        what the package keeps for an image.
        """
        return self._positions.get_or_make("all", make)

    @property
    def tracker(self) -> Any:  # noqa: ANN401 - sam3 ships no types
        """The tracker for stacks, of the same weights."""
        return self._video.get_or_make("tracker", lambda: compat_video.make_tracker(self.model))

    @property
    def video(self) -> Any:  # noqa: ANN401
        """The model that follows phrases through stacks, of the same weights."""
        return self._video.get_or_make(
            "video", lambda: compat_video.make_video_model(self.model, self.tracker, self.device)
        )

    def close(self) -> None:
        """Undo what was done to the package."""
        self.measures.close()


def sam3_version() -> str:
    """Return the version of the sam3 package."""
    try:
        return version("sam3")
    except PackageNotFoundError:
        # A copy of the repository on the path, that was never installed.
        return "unknown"


def choose_cpu_or_cuda(requested: str) -> str:
    """Return the device for Meta's package, which is written for CUDA and runs on the CPU.

    Parameters
    ----------
    requested : str
        ``auto``, ``cpu``, ``cuda`` or ``cuda:N``.

    Raises
    ------
    DeviceUnavailable
        If the device is not there, or is the Apple GPU.
    """
    device = choose_device(requested).device
    if device != "mps":
        return device
    if requested.strip().lower() == "auto":
        return "cpu"
    raise DeviceUnavailable(
        "Meta's sam3 package does not run on the Apple GPU (mps).",
        "Choose the engine sam3-transformers, which does, or the device 'cpu'.",
    )


def load_model(folder: Path | None, requested: str, reporter: Reporter) -> LoadedModel:
    """Load the image model.

    Parameters
    ----------
    folder : Path or None
        The model folder.
    requested : str
        The device that was asked for.
    reporter : Reporter
        Is told of each step, and stops the work before the next one.

    Raises
    ------
    CheckpointNotFound
        If there is no folder, or no weights or no tokenizer vocabulary in it.
    CheckpointInvalid
        If the weights can't be used.
    DeviceUnavailable
        If the device does not work.
    EngineError
        If the installed package can't be built for the device.
    """
    path = find_weights(folder)
    bpe = find_bpe(path.parent)
    device = choose_cpu_or_cuda(requested)
    reporter.report(Progress(0, _STEPS, "Importing sam3"))
    measures = compat_kernels.choose_measures()
    builder = compat.import_model_builder(measures)
    with ExitStack() as stack:
        stack.enter_context(compat_kernels.applied(measures))
        # Read first: a damaged file is told before the model is built, which takes 20 seconds.
        unchanged = Unchanged(path)
        weights = to_image_model(read_weights(path), path.name)
        reporter.report(Progress(1, _STEPS, "Building SAM 3"))
        model = compat.build_image_model(builder, bpe, device)
        reporter.report(Progress(2, _STEPS, f"Reading {path.name}"))
        # Until here they are mapped from the file: had it been cut short, copying would end Python.
        unchanged.check()
        put_into(model, weights, path.name)
        unchanged.check()
        del weights
        reporter.report(Progress(3, _STEPS, f"Moving SAM 3 to {device}"))
        model = model.to(device).eval()
        processor = compat.make_processor(model, device)
        reporter.report(Progress(_STEPS, _STEPS, "SAM 3 is loaded"))
        return LoadedModel(model, processor, device, path.name, stack.pop_all())

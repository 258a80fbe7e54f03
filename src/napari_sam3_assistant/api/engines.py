"""Which engines there are, an engine that stays open, and model folders."""

from __future__ import annotations

import os
import platform
import shutil
import sys
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from napari_sam3_assistant.core.extras import has_napari, pip_install
from napari_sam3_assistant.core.paths import expand_user
from napari_sam3_assistant.core.progress import NullReporter
from napari_sam3_assistant.engines import registry
from napari_sam3_assistant.engines.caching_engine import CachingEngine
from napari_sam3_assistant.engines.checkpoints import find_model_folder
from napari_sam3_assistant.engines.device import AUTO, choose_device, choose_precision
from napari_sam3_assistant.engines.download import REPOSITORY
from napari_sam3_assistant.engines.encoding_cache import EmbeddingFolder
from napari_sam3_assistant.errors import EngineError, EngineNotInstalled
from napari_sam3_assistant.workflows.model_setup import WeightsRequest, check_folder, get_weights
from napari_sam3_assistant.workflows.model_setup import compare_devices as _compare_devices
from napari_sam3_assistant.workflows.model_setup import measure_precision as _measure_precision

if TYPE_CHECKING:
    from collections.abc import Sequence

    from napari_sam3_assistant.compute.connection import Compute
    from napari_sam3_assistant.core.progress import Reporter
    from napari_sam3_assistant.engines.base import ImageEngine
    from napari_sam3_assistant.workflows.model_setup import DeviceComparison, PrecisionMeasurement


@dataclass(frozen=True, slots=True)
class EngineInfo:
    """One engine, as :func:`engines` lists it.

    Parameters
    ----------
    name : str
        The name to give to :func:`segment`.
    title : str
        The name for people.
    available : bool
        Whether it can run on this machine.
    reason : str
        Why it can't, and what to do; empty if it can.
    """

    name: str
    title: str
    available: bool
    reason: str


def engines() -> tuple[EngineInfo, ...]:
    """Return the engines, whether each can run here, and if not, why and what to do."""
    listed = []
    for entry in registry.entries().values():
        status = entry.status()
        listed.append(
            EngineInfo(entry.spec.name, entry.spec.title, status.available, status.reason)
        )
    return tuple(listed)


def doctor() -> tuple[str, ...]:
    """Return what is installed on this machine and what is missing, line by line."""
    return report()


def open_engine(
    name: str | None = None,
    *,
    compute: Compute | None = None,
    model_folder: str | Path | None = None,
    device: str = "auto",
    precision: str = AUTO,
    encodings_folder: str | Path | None = None,
) -> CachingEngine:
    """Return an engine that keeps its weights and encodings between calls of :func:`segment`.

    Use it as a context manager; leaving it frees the memory.

    Parameters
    ----------
    name : str, optional
        Its name, see :func:`engines`; by default the one that reads the model folder, without a
        folder the built-in one.
    compute : str, Path or Client, optional
        A server that does the work: the connection file or, on this machine, the ``tcp://``
        address of ``napari-sam3 serve``, or a :class:`distributed.Client`. Its engine, weights
        and device are those that it was started with. Use only servers that you trust.
    model_folder : str or Path, optional
        The folder of the weights, for engines that need them.
    device : str
        ``auto``, ``cpu``, ``cuda``, ``cuda:N`` or ``mps``.
    precision : str
        The number format of the image encoder of SAM: ``auto``, ``float32``, ``bfloat16``, or on
        the CPU ``int8``.
    encodings_folder : str or Path, optional
        Where encodings of SAM 3 are kept on disk too, so that another process need not encode
        the same pixels again: up to 10 GB, the least recently used go first; or the folder that
        :func:`precompute` filled, of which nothing goes. Not with ``compute``.

    Raises
    ------
    EngineError
        If there is no such engine, it can't run here, it reads no weights and is given some, it
        has no choice of the precision, or no server lets us in.

    Examples
    --------
    >>> from napari_sam3_assistant import api
    >>> from skimage.data import coins
    >>> with api.open_engine("builtin") as engine:
    ...     result = api.segment(coins(), points=[(125, 165)], engine=engine)
    >>> len(result.objects)
    1
    """
    folder = None if model_folder is None else find_model_folder(model_folder)
    kept = None if encodings_folder is None else EmbeddingFolder(Path(encodings_folder))
    if compute is not None:
        if folder is not None or (device, precision) != ("auto", AUTO):
            raise EngineError(
                "Model folder, device and precision are the server's, and were given here.",
                "Give them to 'napari-sam3 serve'.",
            )
        if kept is not None:
            raise EngineError(
                "A folder of encodings is for an engine on this machine.",
                "Leave out the server, or the folder; 'napari-sam3 precompute' fills one by a "
                "server.",
            )
        return CachingEngine(_reach_engine(name, compute))
    name = name or engine_for(folder, video=True)
    spec = registry.spec_for(name, folder)
    if folder is not None and not spec.needs_weights:
        # Its masks would be taken for those of the weights.
        raise EngineError(
            f"{spec.title} reads no weights, and was given the model folder {folder}.",
            "Leave out the folder, or the engine's name: the engine then follows from the folder.",
        )
    if precision != AUTO and not spec.precisions:
        raise EngineError(f"{spec.title} has no choice of the precision.", f"Leave it at '{AUTO}'.")
    engine = registry.create(name, folder, device, precision)
    return CachingEngine(engine, folder=kept, model_folder=folder)


def _reach_engine(name: str | None, compute: Compute) -> ImageEngine:
    """Return the engine of a server, which may be asked to be a certain one."""
    from napari_sam3_assistant.compute import open_remote_engine

    engine = open_remote_engine(compute)
    engine.load(NullReporter())
    if name not in (None, engine.spec.name):
        found = engine.spec.name
        engine.close()
        raise EngineError(
            f"The server runs the engine '{found}', not '{name}'.",
            "Leave out the engine's name, or start the server with that engine.",
        )
    return engine


def engine_for(model_folder: str | Path | None, *, video: bool = False) -> str:
    """Return the name of the engine that reads a model folder; no weights are loaded.

    Parameters
    ----------
    model_folder : str or Path or None
        The folder of the weights; None for the engine that needs none.
    video : bool
        Whether it is for :func:`track`, so that weights for 3D and video only will do.

    Raises
    ------
    EngineError
        If nothing in the folder can be loaded for that.
    EngineNotInstalled
        If the engine can't run on this machine.
    """
    if model_folder is None:
        return next(iter(registry.entries()))
    choice = next(check_folder(find_model_folder(model_folder), NullReporter()))
    if not video:
        choice.require_planes()
    if not choice.installed:
        raise EngineNotInstalled(choice.reason)
    return choice.engine


def compare_devices(
    model_folder: str | Path,
    *,
    devices: Sequence[str] | None = None,
    reporter: Reporter | None = None,
) -> DeviceComparison:
    """Run a click, a box and, where it takes one, a phrase on every device and compare the results.

    Parameters
    ----------
    model_folder : str or Path
        The folder of the weights.
    devices : sequence of str, optional
        The reference and the others; by default the CPU and every other device that works.
    reporter : Reporter, optional
        Receives the progress; may cancel the work.

    Returns
    -------
    DeviceComparison
        ``rows`` with the differences, ``agrees``, ``verdict``, and ``lines()`` for reading.

    Raises
    ------
    EngineError
        If no engine can load the folder, or the reference device does not work.
    """
    folder = find_model_folder(model_folder)
    return next(_compare_devices(folder, reporter or NullReporter(), devices))


def measure_precision(
    model_folder: str | Path, *, device: str = "auto", reporter: Reporter | None = None
) -> PrecisionMeasurement:
    """Encode an image in each number format: how long it takes here, and what it does to masks.

    Parameters
    ----------
    model_folder : str or Path
        The folder of the weights.
    device : str
        ``auto``, ``cpu``, ``cuda``, ``cuda:N`` or ``mps``.
    reporter : Reporter, optional
        Receives the progress; may cancel the work.

    Returns
    -------
    PrecisionMeasurement
        ``times``, ``rows`` with the differences from float32, ``automatic`` (what ``auto`` takes,
        and why), and ``lines()`` for reading.

    Raises
    ------
    EngineError
        If no engine can load the folder, its engine has no choice, or the device does not work.
    """
    folder = find_model_folder(model_folder)
    return next(_measure_precision(folder, reporter or NullReporter(), device))


def download(
    folder: str | Path,
    *,
    repository: str = REPOSITORY,
    meta: bool = False,
    token: str | None = None,
    reporter: Reporter | None = None,
) -> str:
    """Fetch the weights of a model from the Hugging Face Hub; what was stopped goes on.

    Parameters
    ----------
    folder : str or Path
        Where to.
    repository : str
        Owner and name on the hub, or a name that ``napari-sam3 download --list`` shows, such as
        ``sam2.1-tiny``.
    meta : bool
        Whether to fetch ``sam3.pt`` for Meta's package in place of ``model.safetensors``.
    token : str, optional
        Your token; by default HF_TOKEN or the one that ``hf auth login`` saved.
    reporter : Reporter, optional
        Receives the progress; may cancel the work.

    Returns
    -------
    str
        Which engine reads the folder, and why.

    Raises
    ------
    EngineError
        If it could not be done, or no engine can load the folder.
    """
    request = WeightsRequest(expand_user(folder), repository, meta, token)
    return next(get_weights(request, reporter or NullReporter())).reason


_PACKAGES = {
    "napari-sam3-assistant": ("", ""),
    "napari": ("", ""),
    "numpy": ("", ""),
    "scipy": ("", ""),
    "scikit-image": ("", ""),
    "PyQt6": ("a window needs PyQt6 or PySide6", "pyqt6"),
    "PySide6": ("not needed beside PyQt6", ""),
    "torch": ("for SAM 3", "sam3"),
    "torchvision": ("for SAM 3", "sam3"),
    "transformers": ("for SAM 3", "sam3"),
    "safetensors": ("for SAM 3", "sam3"),
    "huggingface_hub": ("for fetching weights", "sam3"),
    "sam3": ("only for Meta's own engine", "meta"),
}
"""What each is for, and the extra that brings it."""


def report() -> tuple[str, ...]:
    """Return versions, engines, devices and display, one line each."""
    lines = [f"Python {platform.python_version()} on {platform.platform()}", "", "Packages"]
    lines += [_package(name, *about) for name, about in _PACKAGES.items()]
    lines += ["", "Engines"]
    for entry in registry.entries().values():
        status = entry.status()
        state = "ready" if status.available else f"not available. {status.reason}"
        if status.available and entry.spec.needs_weights:
            state = "installed; needs a model folder"
        lines.append(f"  {entry.spec.name:<20} {entry.spec.title}: {state}")
    lines += ["", "Devices", *_devices(), "", "Display", f"  {_display()}"]
    return tuple(lines)


def _package(name: str, purpose: str, extra: str) -> str:
    try:
        text = version(name)
    except PackageNotFoundError:
        about = ": ".join(filter(None, (purpose, pip_install(extra) if extra else "")))
        text = f"not installed ({about})" if about else "not installed"
    return f"  {name:<22} {text}"


def _devices() -> list[str]:
    if find_spec("torch") is None:
        return ["  cpu (the built-in engine needs nothing else)"]
    choice = choose_device("auto")
    precision = choose_precision(AUTO, choice.device)
    return [
        f"  {choice.device}: {choice.reason}",
        f"  image encoder of SAM in {precision.precision}: {precision.reason}",
    ]


def _display() -> str:
    if not has_napari():
        return "none is needed: napari, which opens windows, is not installed"
    if sys.platform in {"win32", "darwin"}:
        return "the desktop"
    shown = os.environ.get("WAYLAND_DISPLAY") or os.environ.get("DISPLAY")
    if shown:
        return shown
    if shutil.which("Xvfb"):
        return "none; Xvfb is installed, so 'xvfb-run napari' works"
    return "none: napari needs one. Log in to a desktop, or install the package xvfb."

"""Model folders: fetch the weights, and compare the devices that run them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from napari_sam3_assistant.core.progress import NullReporter
from napari_sam3_assistant.engines import registry
from napari_sam3_assistant.engines.download import REPOSITORY
from napari_sam3_assistant.errors import EngineNotInstalled
from napari_sam3_assistant.workflows.check_folder import check_folder
from napari_sam3_assistant.workflows.compare_devices import compare_devices as _compare_devices
from napari_sam3_assistant.workflows.get_weights import WeightsRequest, get_weights

if TYPE_CHECKING:
    from collections.abc import Sequence

    from napari_sam3_assistant.core.progress import Reporter
    from napari_sam3_assistant.workflows.compare_devices import DeviceComparison


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
    choice = next(check_folder(Path(model_folder).expanduser(), NullReporter()))
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
    """Run a click, a box and a phrase on every device and compare the results.

    Parameters
    ----------
    model_folder : str or Path
        The folder of the weights.
    devices : sequence of str, optional
        The reference and the others; by default the CPU and every other device that works.
    reporter : Reporter, optional
        Is told of the progress, and may stop the work.

    Returns
    -------
    DeviceComparison
        ``rows`` with the differences, ``agrees``, ``verdict``, and ``lines()`` for reading.

    Raises
    ------
    EngineError
        If no engine can load the folder, or the reference device does not work.
    """
    folder = Path(model_folder).expanduser()
    return next(_compare_devices(folder, reporter or NullReporter(), devices))


def download(
    folder: str | Path,
    *,
    repository: str = REPOSITORY,
    meta: bool = False,
    token: str | None = None,
    reporter: Reporter | None = None,
) -> str:
    """Fetch the weights of SAM 3 from the Hugging Face Hub; what was stopped goes on.

    Parameters
    ----------
    folder : str or Path
        Where to.
    repository : str
        Owner and name on the hub.
    meta : bool
        Whether to fetch ``sam3.pt`` for Meta's package in place of ``model.safetensors``.
    token : str, optional
        Your token; by default HF_TOKEN or the one that ``hf auth login`` saved.
    reporter : Reporter, optional
        Is told of the progress, and may stop the work.

    Returns
    -------
    str
        Which engine reads the folder, and why.

    Raises
    ------
    EngineError
        If it could not be done, or no engine can load the folder.
    """
    request = WeightsRequest(Path(folder).expanduser(), repository, meta, token)
    return next(get_weights(request, reporter or NullReporter())).reason

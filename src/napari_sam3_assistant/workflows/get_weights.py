"""Fetch a model folder and find out which engine it is for."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from napari_sam3_assistant.engines.download import REPOSITORY, download_model
from napari_sam3_assistant.workflows.check_folder import check_folder

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from napari_sam3_assistant.core.progress import Reporter
    from napari_sam3_assistant.engines.checkpoints import EngineChoice


@dataclass(frozen=True, slots=True)
class WeightsRequest:
    """What to fetch.

    Parameters
    ----------
    folder : Path
        Where to.
    repository : str
        Owner and name on the Hugging Face Hub.
    meta : bool
        Whether to fetch the weights for Meta's package in place of those for transformers.
    token : str or None
        The user's token; None for the one that is set or saved on this machine.
    """

    folder: Path
    repository: str = REPOSITORY
    meta: bool = False
    # Not to be shown with the rest.
    token: str | None = field(default=None, repr=False)


def get_weights(request: WeightsRequest, reporter: Reporter) -> Iterator[EngineChoice]:
    """Fetch what is missing in a folder, then yield the engine that can load it.

    Parameters
    ----------
    request : WeightsRequest
        What to fetch.
    reporter : Reporter
        Is told of the progress in megabytes, and stops the work.

    Raises
    ------
    EngineError
        If it could not be done, or the folder can't be used.
    """
    download_model(
        request.folder,
        reporter,
        repository=request.repository,
        meta=request.meta,
        token=request.token,
    )
    yield from check_folder(request.folder, reporter)

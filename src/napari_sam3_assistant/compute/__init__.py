"""An engine on another machine, by Dask distributed: the server, and the engine that asks it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from napari_sam3_assistant.compute.connection import require_distributed

if TYPE_CHECKING:
    from napari_sam3_assistant.compute.connection import Compute
    from napari_sam3_assistant.compute.remote_engine import RemoteEngine


def open_remote_engine(compute: Compute) -> RemoteEngine:
    """Return the engine of a server; it is reached when it is loaded."""
    require_distributed()
    from napari_sam3_assistant.compute.remote_engine import RemoteEngine

    return RemoteEngine(compute)

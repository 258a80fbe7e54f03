"""Start the server: a scheduler, and a worker for each GPU that holds the engine."""

from __future__ import annotations

from contextlib import contextmanager
from importlib.util import find_spec
from typing import TYPE_CHECKING

import dask
from dask.system import CPU_COUNT
from distributed import Client, LocalCluster
from distributed.comm.addressing import unparse_host_port

from napari_sam3_assistant.compute.connection import Connection, connect, is_loopback
from napari_sam3_assistant.compute.host import EngineChoice, HostPlugin
from napari_sam3_assistant.compute.remote_engine import RemoteEngine
from napari_sam3_assistant.core.progress import NullReporter
from napari_sam3_assistant.errors import EngineError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

PORT = 8786
DASHBOARD_PORT = 8787
# Calls of several clients wait for the engine in threads of their own.
_THREADS = 32


@contextmanager
def serve(
    choice: EngineChoice,
    *,
    host: str = "127.0.0.1",
    port: int = PORT,
    workers: int | None = None,
    connection: Path | None = None,
) -> Iterator[tuple[Connection, RemoteEngine, str]]:
    """Run a server as long as the block does.

    ``choice``: which engine its workers run.
    ``host``: address of this machine that clients reach it by; beyond this machine only with keys.
    ``port``: port of the scheduler; 0 for a free one.
    ``workers``: how many workers; by default one for each GPU, or one.
    ``connection``: the file for clients. One that exists keeps its keys while they are good, so
    that copies of it go on.
    Raises EngineError if the engine can't be loaded, the port is taken, or keys are missing.

    Yields
    ------
    Connection, RemoteEngine, str
        How clients connect, a client of it with the engine loaded, and the address of Dask's
        dashboard on this machine, empty without bokeh.
    """
    if connection is None and not is_loopback(host):
        raise EngineError(
            f"Who can reach {host}:{port} could run any program here.",
            "Give --connection FILE: keys for clients are written there, and only they get in.",
        )
    keys = Connection("") if connection is None else choose_keys(connection)
    scheme = "tls" if keys.certificate else "tcp"
    count = workers or choice.count_gpus() or 1
    try:
        with dask.config.set({"distributed.nanny.pre-spawn-environ": _share_cores(count)}):
            cluster = LocalCluster(
                n_workers=count,
                threads_per_worker=_THREADS,
                memory_limit=0,
                host=f"{scheme}://{unparse_host_port(host)}",
                scheduler_port=port,
                security=keys.security(),
                # Whoever reaches it reads what is done: this machine only.
                dashboard_address=f"127.0.0.1:{DASHBOARD_PORT if port else 0}",
            )
    except (OSError, RuntimeError) as error:
        raise EngineError(
            f"The server can't start at {host}:{port} ({error}).",
            "Choose another --port, or an address of this machine.",
        ) from error
    with cluster:
        found = Connection(cluster.scheduler_address, keys.certificate, keys.key)
        with Client(cluster, set_as_default=False) as client:
            client.register_plugin(HostPlugin(choice))
            engine = RemoteEngine(client)
            engine.load(NullReporter())
            if connection is not None:
                found.write(connection)
            # Without bokeh the page says no more than that bokeh is missing.
            dashboard = cluster.dashboard_link if find_spec("bokeh") else ""
            yield found, engine, dashboard


def _share_cores(workers: int) -> dict[str, int | None]:
    """Return the environment in which each worker has its share of the cores.

    Dask gives a worker one core, since it has many tasks at once; an engine works alone. What is
    None follows the first; variables of the user's own win.
    """
    cores = max(1, CPU_COUNT // workers)
    return {"OMP_NUM_THREADS": cores, "MKL_NUM_THREADS": None, "OPENBLAS_NUM_THREADS": None}


def choose_keys(connection: Path) -> Connection:
    """Return the keys of a connection file, or new ones where it has none that are good."""
    if connection.exists():
        kept = Connection.read(connection)
        if kept.certificate and not kept.expired:
            return kept
    return Connection.make("")


def join(choice: EngineChoice, compute: str | Path) -> RemoteEngine:
    """Give the workers of a scheduler that runs already the engine, those that come later, too.

    Raises EngineError if it can't be reached, or the engine can't be loaded there.
    """
    client = connect(compute)
    client.register_plugin(HostPlugin(choice))
    engine = RemoteEngine(client)
    engine.load(NullReporter())
    return engine

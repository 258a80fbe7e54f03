"""``napari-sam3 serve``: let other machines click on an engine that runs here."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

from napari_sam3_assistant import api
from napari_sam3_assistant.cli.arguments import add_precision, parse_path, print_line
from napari_sam3_assistant.engines.precision import AUTO
from napari_sam3_assistant.errors import PromptError

if TYPE_CHECKING:
    import argparse
    import os

    from napari_sam3_assistant.compute.remote_engine import RemoteEngine


def add(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command."""
    parser = commands.add_parser(
        "serve",
        help="let other machines segment with the engine of this one",
        description=(
            "Start a Dask scheduler and one worker for each GPU, each with the engine loaded once. "
            "Whoever is let in can run any program here as you: without a connection file it "
            "serves this machine only, with one those who have a copy of it."
        ),
        epilog=(
            "Examples: napari-sam3 serve --model-folder ~/models/sam3 --host 10.0.0.5 "
            "--connection sam3-server.json; then, with a copy of that file elsewhere: napari-sam3 "
            "segment cells.tif -o labels.tif --point 120,85,+ --compute sam3-server.json"
        ),
    )
    parser.add_argument("--engine", help="see 'napari-sam3 doctor'")
    parser.add_argument("--model-folder", type=parse_path, metavar="FOLDER", help="the weights")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda, cuda:N or mps")
    add_precision(parser, AUTO, "by the hardware")
    parser.add_argument(
        "--workers", type=int, metavar="N", help="how many (default: one for each GPU, or one)"
    )
    parser.add_argument(
        "--host", default="127.0.0.1", help="address of this machine (default: %(default)s)"
    )
    parser.add_argument(
        "--port", type=int, default=8786, help="port of the scheduler (default: %(default)s)"
    )
    parser.add_argument(
        "--connection",
        type=parse_path,
        metavar="FILE.json",
        help="write address and keys for clients there; one that exists keeps its keys",
    )
    parser.add_argument(
        "--connect",
        metavar="FILE",
        help="give the workers of a scheduler that runs already the engine instead: its connection "
        "file, or tcp:// on this machine",
    )
    parser.set_defaults(command=run)


def run(chosen: argparse.Namespace) -> int:
    """Serve until it is stopped."""
    from napari_sam3_assistant.compute.connection import require_distributed

    require_distributed()
    from napari_sam3_assistant.compute.host import EngineChoice
    from napari_sam3_assistant.compute.server import join, serve

    if chosen.workers is not None and chosen.workers < 1:
        raise PromptError(f"{chosen.workers} workers can do nothing.", "Give --workers 1 or more.")
    name = chosen.engine or api.engine_for(chosen.model_folder, video=True)
    folder = None if chosen.model_folder is None else chosen.model_folder.resolve()
    choice = EngineChoice(name, folder, chosen.device, chosen.precision)
    if chosen.connect is not None:
        engine = join(choice, chosen.connect)
        _say(engine, chosen.connect)
        engine.close()
        return 0
    with serve(
        choice,
        host=chosen.host,
        port=chosen.port,
        workers=chosen.workers,
        connection=chosen.connection,
    ) as (connection, engine, dashboard):
        _say(engine, chosen.connection or connection.address)
        if dashboard:
            print_line(f"What the workers do, from this machine only: {dashboard}")
        print_line("Ctrl+C stops the server.")
        # An event, and no sleep: signals end the waiting at once.
        threading.Event().wait()
    return 0


def _say(engine: RemoteEngine, compute: str | os.PathLike[str]) -> None:
    """Print what is served, and what to type on a client."""
    print_line(f"Serving {engine.spec.title}, {engine.device}.")
    print_line(f"On the client: napari-sam3 segment IMAGE -o LABELS --compute {compute}")
    print_line(f'In Python: api.open_engine(compute="{compute}")')

"""``napari-sam3 doctor``: what is installed, and how the devices and number formats compare."""

from __future__ import annotations

import threading
from difflib import get_close_matches
from getpass import getpass
from typing import TYPE_CHECKING

from napari_sam3_assistant import api
from napari_sam3_assistant.cli.arguments import (
    TerminalReporter,
    add_precision,
    parse_path,
    print_line,
)
from napari_sam3_assistant.engines.device import AUTO
from napari_sam3_assistant.errors import DownloadError, PromptError

if TYPE_CHECKING:
    import argparse
    import os
    from pathlib import Path

    from napari_sam3_assistant.compute.remote_engine import RemoteEngine


def add_doctor(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command."""
    parser = commands.add_parser(
        "doctor",
        help="say what is installed and what is missing",
        epilog="Example: napari-sam3 doctor --compare-devices ~/models/sam3",
    )
    questions = parser.add_mutually_exclusive_group()
    questions.add_argument(
        "--compare-devices",
        type=parse_path,
        metavar="MODEL_FOLDER",
        help="run the folder's model on every device that works, and compare the results with "
        "those of the CPU",
    )
    questions.add_argument(
        "--measure",
        type=parse_path,
        metavar="MODEL_FOLDER",
        help="encode an image with the folder's model in each number format, and say how long "
        "that takes here and what it does to masks",
    )
    parser.set_defaults(command=run_doctor)


def run_doctor(chosen: argparse.Namespace) -> int:
    """Print the report, or what was asked; return 1 where a device does not agree."""
    agrees = True
    if chosen.compare_devices is not None:
        with TerminalReporter() as reporter:
            compared = api.compare_devices(chosen.compare_devices, reporter=reporter)
        lines, agrees = compared.lines(), compared.agrees
    elif chosen.measure is not None:
        with TerminalReporter() as reporter:
            lines = api.measure_precision(chosen.measure, reporter=reporter).lines()
    else:
        lines = api.doctor()
    for line in lines:
        print_line(line)
    return 0 if agrees else 1


def add_download(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command."""
    parser = commands.add_parser(
        "download",
        help="fetch the weights of SAM 2.1 (open, from 156 MB on), SAM 3 (gated, 3.4 GB) or others",
        description=(
            "Fetch the weights of a model from huggingface.co into a folder. Those of SAM 3 are "
            "Meta's: ask for access on https://huggingface.co/facebook/sam3 first. The token is "
            "the one in HF_TOKEN, or the one that 'hf auth login' saved; open models need none. "
            "What was stopped can be started again, and goes on where it was."
        ),
        epilog="Examples: napari-sam3 download sam2.1-tiny; napari-sam3 download sam3 ~/sam3",
    )
    parser.add_argument(
        "model",
        nargs="?",
        metavar="MODEL",
        help="a name that --list shows, such as sam2.1-tiny; or the folder, for SAM 3",
    )
    parser.add_argument(
        "folder", nargs="?", type=parse_path, metavar="FOLDER", help="where to (default: ~/models)"
    )
    parser.add_argument("--list", action="store_true", help="list the models, and fetch nothing")
    parser.add_argument(
        "--repo", metavar="OWNER/NAME", help="another repository, in place of the model's"
    )
    parser.add_argument(
        "--meta", action="store_true", help="sam3.pt for Meta's package, not model.safetensors"
    )
    parser.add_argument(
        "--ask-token", action="store_true", help="ask for the token; it is not kept"
    )
    parser.set_defaults(command=run_download)


def run_download(chosen: argparse.Namespace) -> int:
    """Fetch the files and say which engine reads them."""
    if chosen.list:
        for model in api.HUB_MODELS:
            print_line(f"{model.name:<18} {model.summary}, {model.licence}: {model.repository}")
        return 0
    repository, folder = _choose(chosen.model, chosen.folder)
    token = _ask_token() if chosen.ask_token else None
    with TerminalReporter() as reporter:
        path_text = api.download(
            folder,
            repository=chosen.repo or repository,
            meta=chosen.meta,
            token=token,
            reporter=reporter,
        )
    print_line(path_text)
    print_line(str(folder))
    return 0


def _choose(name: str | None, folder: Path | None) -> tuple[str, Path]:
    """Return the repository and the folder that are meant; a folder alone is for SAM 3."""
    known = {model.name: model for model in api.HUB_MODELS}
    if name in known:
        return known[name].repository, folder or known[name].folder
    if name is None or folder is not None or get_close_matches(name, known, cutoff=0.8):
        raise DownloadError(f"There is no model {name}.", f"Known models: {', '.join(known)}.")
    return known["sam3"].repository, parse_path(name)


def _ask_token() -> str:
    """Return the token that the user types."""
    try:
        return getpass("Token of your account on huggingface.co: ")
    except EOFError as error:
        raise DownloadError(
            "The token was not given.", "Type it in a terminal, or put it into HF_TOKEN."
        ) from error


def add_serve(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
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
    parser.set_defaults(command=run_serve)


def run_serve(chosen: argparse.Namespace) -> int:
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

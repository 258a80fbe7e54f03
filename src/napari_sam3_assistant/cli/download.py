"""``napari-sam3 download``: fetch the weights of a model."""

from __future__ import annotations

from difflib import get_close_matches
from getpass import getpass
from typing import TYPE_CHECKING

from napari_sam3_assistant import api
from napari_sam3_assistant.cli.arguments import TerminalReporter, parse_path, print_line
from napari_sam3_assistant.errors import DownloadError

if TYPE_CHECKING:
    import argparse
    from pathlib import Path


def add(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
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
    parser.set_defaults(command=run)


def run(chosen: argparse.Namespace) -> int:
    """Fetch the files and say which engine reads them."""
    if chosen.list:
        for model in api.HUB_MODELS:
            print_line(f"{model.name:<18} {model.summary}, {model.licence}: {model.repository}")
        return 0
    repository, folder = _choose(chosen.model, chosen.folder)
    token = _ask_token() if chosen.ask_token else None
    with TerminalReporter() as reporter:
        said = api.download(
            folder,
            repository=chosen.repo or repository,
            meta=chosen.meta,
            token=token,
            reporter=reporter,
        )
    print_line(said)
    print_line(str(folder))
    return 0


def _choose(name: str | None, folder: Path | None) -> tuple[str, Path]:
    """Return the repository and the folder that are meant; a folder alone is for SAM 3.

    Raises
    ------
    DownloadError
        If no model is of that name.
    """
    known = {model.name: model for model in api.HUB_MODELS}
    if name in known:
        return known[name].repository, folder or known[name].folder
    if name is None or folder is not None or get_close_matches(name, known, cutoff=0.8):
        raise DownloadError(f"There is no model {name}.", f"Known models: {', '.join(known)}.")
    return known["sam3"].repository, parse_path(name)


def _ask_token() -> str:
    """Return the token that the user types.

    Raises
    ------
    DownloadError
        If there is nobody to ask, as in a job of a cluster.
    """
    try:
        return getpass("Token of your account on huggingface.co: ")
    except EOFError as error:
        raise DownloadError(
            "The token was not given.", "Type it in a terminal, or put it into HF_TOKEN."
        ) from error

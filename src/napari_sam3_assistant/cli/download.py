"""``napari-sam3 download``: fetch the weights of SAM 3."""

from __future__ import annotations

from getpass import getpass
from typing import TYPE_CHECKING

from napari_sam3_assistant import api
from napari_sam3_assistant.cli.arguments import TerminalReporter, parse_path, print_line
from napari_sam3_assistant.errors import DownloadError

if TYPE_CHECKING:
    import argparse


def add(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command."""
    parser = commands.add_parser(
        "download",
        help="fetch the weights of SAM 3 (3.4 GB)",
        description=(
            "Fetch the weights of SAM 3 from huggingface.co into a folder. They are Meta's: ask "
            "for access on https://huggingface.co/facebook/sam3 first. The token is the one in "
            "HF_TOKEN, or the one that 'hf auth login' saved. What was stopped can be started "
            "again, and goes on where it was."
        ),
    )
    parser.add_argument("folder", type=parse_path, metavar="FOLDER", help="where to")
    parser.add_argument(
        "--repo",
        default="facebook/sam3",
        metavar="OWNER/NAME",
        help="the repository (default: %(default)s)",
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
    token = _ask_token() if chosen.ask_token else None
    with TerminalReporter() as reporter:
        said = api.download(
            chosen.folder,
            repository=chosen.repo,
            meta=chosen.meta,
            token=token,
            reporter=reporter,
        )
    print_line(said)
    print_line(str(chosen.folder))
    return 0


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

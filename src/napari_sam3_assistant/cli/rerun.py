"""``napari-sam3 rerun``: make labels again from the note beside them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from napari_sam3_assistant import api
from napari_sam3_assistant.cli.arguments import TerminalReporter, path_of, say

if TYPE_CHECKING:
    import argparse


def add(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command."""
    parser = commands.add_parser("rerun", help="make labels again from the note beside them")
    parser.add_argument("sidecar", type=path_of, metavar="SIDECAR", help="the .json beside labels")
    parser.add_argument(
        "-o",
        "--output",
        type=path_of,
        metavar="LABELS",
        help="the new labels (default: a free name beside the old ones)",
    )
    parser.add_argument("--image", type=path_of, help="the image, if it was moved")
    parser.add_argument("--model-folder", type=path_of, metavar="FOLDER", help="if it was moved")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda, cuda:N or mps")
    parser.set_defaults(command=run)


def run(chosen: argparse.Namespace) -> int:
    """Make the labels again."""
    with TerminalReporter() as reporter:
        made = api.rerun(
            chosen.sidecar,
            output=chosen.output,
            image=chosen.image,
            model_folder=chosen.model_folder,
            device=chosen.device,
            reporter=reporter,
        )
    say(f"{made.objects} object{'' if made.objects == 1 else 's'}")
    for note in made.notes:
        say(note)
    say(str(made.path))
    return 0

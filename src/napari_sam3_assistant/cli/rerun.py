"""``napari-sam3 rerun``: make labels again from the note beside them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from napari_sam3_assistant import api
from napari_sam3_assistant.cli.arguments import (
    Answer,
    TerminalReporter,
    add_compute,
    add_json,
    add_output,
    add_precision,
    parse_path,
)
from napari_sam3_assistant.core.plurals import plural_of

if TYPE_CHECKING:
    import argparse


def add(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command."""
    parser = commands.add_parser(
        "rerun",
        help="make labels again from the note beside them",
        epilog="Example: napari-sam3 rerun labels.tif.json -o again.tif",
    )
    parser.add_argument(
        "sidecar", type=parse_path, metavar="SIDECAR", help="the .json beside labels"
    )
    add_output(
        parser,
        "LABELS",
        "the new labels (default: a free name beside the old ones)",
        required=False,
    )
    parser.add_argument("--image", type=parse_path, help="the image, if it was moved")
    parser.add_argument("--model-folder", type=parse_path, metavar="FOLDER", help="if it was moved")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda, cuda:N or mps")
    add_precision(parser, None, "that of the note")
    add_compute(parser)
    add_json(parser)
    parser.set_defaults(command=run)


def run(chosen: argparse.Namespace) -> int:
    """Make the labels again."""
    with TerminalReporter() as reporter:
        made = api.rerun(
            chosen.sidecar,
            output=chosen.output,
            image=chosen.image,
            compute=chosen.compute,
            model_folder=chosen.model_folder,
            device=chosen.device,
            precision=chosen.precision,
            reporter=reporter,
        )
    with Answer(chosen) as answer:
        objects = f"{made.objects} {plural_of(made.objects, 'object')}"
        answer.say(objects, objects=made.objects)
        for note in made.notes:
            answer.note(note)
        answer.file(made.path)
    return 0

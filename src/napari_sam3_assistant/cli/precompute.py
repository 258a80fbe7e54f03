"""``napari-sam3 precompute``: encode images ahead, so that clicks later need no encoder."""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from napari_sam3_assistant import api
from napari_sam3_assistant.cli.arguments import (
    Answer,
    TerminalReporter,
    add_engine_choice,
    add_json,
    add_look,
    chosen_engine,
    look_arguments,
    parse_path,
)
from napari_sam3_assistant.core.plurals import pluralize

if TYPE_CHECKING:
    import argparse

    from napari_sam3_assistant.api import PrecomputedRow


def add(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command."""
    parser = commands.add_parser(
        "precompute",
        help="encode images ahead, so that clicks on them later need no encoder",
        description=(
            "Encode every plane of an image, or of the images of a folder, into a folder that "
            "--encodings of the other commands and open_engine in Python take. It may be moved to "
            "another machine with the same weights. What is there is skipped."
        ),
        epilog=(
            "Examples: napari-sam3 precompute images --output encodings --model-folder "
            "~/models/sam3; then napari-sam3 segment images/a.tif -o a_labels.tif --point "
            "120,85,+ --encodings encodings --model-folder ~/models/sam3"
        ),
    )
    parser.add_argument(
        "source", type=parse_path, metavar="IN", help="folder of images, a plate, or one image"
    )
    parser.add_argument(
        "--output", "-o", type=parse_path, required=True, metavar="FOLDER", help="the encodings"
    )
    parser.add_argument(
        "--pattern",
        default="*",
        help="which files, as '*.tif', or '**/*' for all folders below (default: %(default)s)",
    )
    add_engine_choice(parser)
    add_look(parser)
    add_json(parser)
    parser.set_defaults(command=run, encodings=None, threshold=None)


def run(chosen: argparse.Namespace) -> int:
    """Encode what was named; returns 1 if an image failed."""
    with Answer(chosen) as answer:
        told: list[dict[str, Any]] = []

        def tell(row: PrecomputedRow) -> None:
            told.append(asdict(row))
            why = row.message or pluralize(row.planes, "plane")
            answer.say(f"{row.image}: {row.status}, {why}", rows=told)

        with TerminalReporter() as reporter, chosen_engine(chosen) as engine:
            engine.pop("threshold")
            rows = api.precompute(
                chosen.source,
                chosen.output,
                pattern=chosen.pattern,
                reporter=reporter,
                on_row=tell,
                **engine,
                **look_arguments(chosen),
            )
        counts = Counter(row.status for row in rows)
        answer.say(
            ", ".join(f"{many} {status}" for status, many in counts.items()), counts=dict(counts)
        )
        answer.file(chosen.output)
    return 1 if counts["failed"] else 0

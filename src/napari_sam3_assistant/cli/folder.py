"""``napari-sam3 batch``, ``precompute`` and ``rerun``: folders of images, and labels by notes."""

from __future__ import annotations

import argparse
from collections import Counter
from typing import TYPE_CHECKING

from napari_sam3_assistant import api
from napari_sam3_assistant.cli.arguments import (
    Answer,
    TerminalReporter,
    add_compute,
    add_engine,
    add_engine_choice,
    add_everything,
    add_json,
    add_look,
    add_output,
    add_pattern,
    add_precision,
    add_repeated,
    add_tiles,
    chosen_engine,
    everything_argument,
    explain_row,
    look_arguments,
    once,
    parse_numbers,
    parse_path,
    parse_signed,
)
from napari_sam3_assistant.core.plurals import plural_of, pluralize
from napari_sam3_assistant.errors import PromptError

if TYPE_CHECKING:
    from pathlib import Path

    from napari_sam3_assistant.api import PrecomputedRow


def add_batch(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command."""
    parser = commands.add_parser(
        "batch",
        help="the same prompts on every image of a folder",
        description=(
            "Segment every image of a folder, or every field of an OME-Zarr plate. Nothing is "
            "overwritten but sam3_summary.csv; what is finished is skipped when the command is "
            "given again."
        ),
        epilog=("Example: napari-sam3 batch images labels --text 'bright cells' --pattern '*.tif'"),
    )
    parser.add_argument(
        "source",
        type=parse_path,
        metavar="IN",
        help="folder of the images, a plate, one image, or a pattern in quotes, as 'images/*.tif'",
    )
    output = parser.add_argument(
        "output",
        action=once(),
        type=parse_path,
        metavar="OUT",
        help="folder for the labels; or -o OUT",
    )
    parser.add_argument(
        "-o",
        "--output",
        action=once(output),
        type=parse_path,
        metavar="OUT",
        help=argparse.SUPPRESS,
    )
    add_pattern(parser)
    parser.add_argument(
        "--format",
        choices=("tif", "png", "npy", "zarr"),
        help="format of the labels (default: tif; with --tile it is zarr)",
    )
    prompts = parser.add_argument_group("prompts, in pixels of each image, y before x")
    prompts.add_argument(
        "--text", action="append", default=[], help="a short phrase; may be repeated"
    )
    prompts.add_argument(
        "--texts", type=parse_path, metavar="FILE", help="phrases, one a line; # begins a comment"
    )
    add_repeated(prompts, "--point", "Y,X,+|-", "a click: + on the object, - off it")
    add_repeated(prompts, "--box", "Y0,X0,Y1,X1", "a box around one object")
    add_repeated(
        prompts, "--exemplar", "Y0,X0,Y1,X1[,+|-]", "a box around an example of what to find"
    )
    add_tiles(parser, "scan every plane in tiles of this side, as scan does (default: as a whole)")
    add_everything(parser)
    add_engine(parser)
    add_look(parser)
    add_json(parser)
    parser.set_defaults(command=run_batch)


def run_batch(chosen: argparse.Namespace) -> int:
    """Segment the images of the folder; returns 1 if one failed."""
    look = look_arguments(chosen)
    with Answer(chosen) as answer:
        with TerminalReporter() as reporter, chosen_engine(chosen) as engine:
            rows = api.segment_folder(
                chosen.source,
                chosen.output,
                texts=[*chosen.text, *_read_lines(chosen.texts)],
                points=[parse_signed(text, 2, "--point") for text in chosen.point],
                boxes=[parse_numbers(text, (4,), "--box") for text in chosen.box],
                exemplars=[parse_signed(text, 4, "--exemplar") for text in chosen.exemplar],
                everything=everything_argument(chosen),
                pattern=chosen.pattern,
                ending=chosen.format and f".{chosen.format}",
                tile=chosen.tile,
                overlap=chosen.overlap,
                reporter=reporter,
                on_row=lambda row: answer.row(explain_row(row), row),
                **look,
                **engine,
            )
        counts = Counter(row.status for row in rows)
        parts = [f"{counts[status]} {status}" for status in ("done", "skipped", "failed")]
        parts += [f"{counts['left out']} left out"] if counts["left out"] else []
        answer.say(", ".join(parts), counts=dict(counts))
        answer.file(chosen.output / "sam3_summary.csv")
    return 1 if counts["failed"] else 0


def _read_lines(path: Path | None) -> list[str]:
    if path is None:
        return []
    try:
        return path.read_text("utf-8-sig").splitlines()
    except (OSError, ValueError) as error:
        raise PromptError(
            f"The phrases in {path} can't be read ({error}).", "Give a text file in UTF-8."
        ) from error


def add_precompute(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
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
    add_output(parser, "FOLDER", "the encodings")
    add_pattern(parser)
    add_engine_choice(parser)
    add_look(parser)
    add_json(parser)
    parser.set_defaults(command=run_precompute, encodings=None)


def run_precompute(chosen: argparse.Namespace) -> int:
    """Encode what was named; returns 1 if an image failed."""
    with Answer(chosen) as answer:

        def tell(row: PrecomputedRow) -> None:
            why = row.message or pluralize(row.planes, "plane")
            answer.row(f"{row.image}: {row.status}, {why}", row)

        with TerminalReporter() as reporter, chosen_engine(chosen) as engine:
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


def add_rerun(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
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
    parser.set_defaults(command=run_rerun)


def run_rerun(chosen: argparse.Namespace) -> int:
    """Make the labels again."""
    with TerminalReporter() as reporter:
        result = api.rerun(
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
        objects = f"{result.objects} {plural_of(result.objects, 'object')}"
        answer.say(objects, objects=result.objects)
        for note in result.notes:
            answer.note(note)
        answer.file(result.path)
    return 0

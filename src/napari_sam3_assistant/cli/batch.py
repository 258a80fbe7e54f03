"""``napari-sam3 batch``: the same prompts on every image of a folder."""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from napari_sam3_assistant import api
from napari_sam3_assistant.cli.arguments import (
    Answer,
    TerminalReporter,
    add_engine,
    add_everything,
    add_json,
    add_look,
    chosen_engine,
    everything_argument,
    explain_row,
    look_arguments,
    parse_numbers,
    parse_path,
    parse_signed,
)
from napari_sam3_assistant.errors import PromptError

if TYPE_CHECKING:
    import argparse
    from pathlib import Path

    from napari_sam3_assistant.api import FolderRow


def add(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
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
        "source", type=parse_path, metavar="IN", help="folder of the images, or a plate"
    )
    parser.add_argument("output", type=parse_path, metavar="OUT", help="folder for the labels")
    parser.add_argument(
        "--pattern",
        default="*",
        help="which files, as '*.tif', or '**/*' for all folders below (default: %(default)s)",
    )
    parser.add_argument(
        "--format",
        default="tif",
        choices=("tif", "png", "npy", "zarr"),
        help="format of the labels (default: %(default)s)",
    )
    prompts = parser.add_argument_group("prompts, in pixels of each image, y before x")
    prompts.add_argument(
        "--text", action="append", default=[], help="a short phrase; may be repeated"
    )
    prompts.add_argument(
        "--texts", type=parse_path, metavar="FILE", help="phrases, one a line; # begins a comment"
    )
    prompts.add_argument("--point", action="append", default=[], metavar="Y,X,+|-")
    prompts.add_argument("--box", action="append", default=[], metavar="Y0,X0,Y1,X1")
    prompts.add_argument("--exemplar", action="append", default=[], metavar="Y0,X0,Y1,X1[,+|-]")
    add_everything(parser)
    add_engine(parser)
    add_look(parser)
    add_json(parser)
    parser.set_defaults(command=run)


def run(chosen: argparse.Namespace) -> int:
    """Segment the images of the folder; returns 1 if one failed."""
    look = look_arguments(chosen)
    with Answer(chosen) as answer:
        told: list[dict[str, Any]] = []

        def tell(row: FolderRow) -> None:
            told.append(asdict(row))
            answer.say(explain_row(row), rows=told)

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
                ending=f".{chosen.format}",
                reporter=reporter,
                on_row=tell,
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
        return path.read_text("utf-8").splitlines()
    except (OSError, ValueError) as error:
        raise PromptError(
            f"The phrases in {path} can't be read ({error}).", "Give a text file in UTF-8."
        ) from error

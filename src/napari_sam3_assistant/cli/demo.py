"""``napari-sam3 demo``: a first try on a real image."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING

from napari_sam3_assistant import api
from napari_sam3_assistant.cli.arguments import Answer, add_json, parse_path
from napari_sam3_assistant.core.display import view_of_array
from napari_sam3_assistant.errors import ExportError
from napari_sam3_assistant.io.exports import save_overlay
from napari_sam3_assistant.io.labels import save_labels

if TYPE_CHECKING:
    import argparse


def add(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command."""
    parser = commands.add_parser(
        "demo",
        help="segment scikit-image's coins as a first try",
        epilog="Example: napari-sam3 demo -o first-try",
    )
    parser.add_argument(
        "-o",
        "--output-folder",
        type=parse_path,
        default=Path("napari-sam3-demo"),
        metavar="FOLDER",
        help="where to write (default: %(default)s)",
    )
    add_json(parser)
    parser.set_defaults(command=run)


def run(chosen: argparse.Namespace) -> int:
    """Segment the coins and write labels and an overlay."""
    from skimage.data import coins

    folder: Path = chosen.output_folder
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ExportError(
            f"The folder {folder} can't be made ({error.strerror}).", "Choose another folder."
        ) from error
    image = coins()
    began = time.monotonic()
    result = api.segment(image, text="bright objects")
    seconds = time.monotonic() - began
    labels, overlay = folder / "coins_labels.tif", folder / "coins_overlay.png"
    save_labels(result.labels, labels)
    save_overlay(view_of_array(image).rgb(), result.labels, overlay)
    with Answer(chosen) as answer:
        answer.found(len(result.objects), " in", seconds, result.engine.title)
        for note in result.notes:
            answer.note(note)
        for path in (labels, overlay):
            answer.file(path)
    return 0

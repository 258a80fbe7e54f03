"""``napari-sam3 doctor``: what is installed, what is missing, and whether the devices agree."""

from __future__ import annotations

from typing import TYPE_CHECKING

from napari_sam3_assistant import api
from napari_sam3_assistant.cli.arguments import TerminalReporter, parse_path, print_line

if TYPE_CHECKING:
    import argparse


def add(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command."""
    parser = commands.add_parser(
        "doctor",
        help="say what is installed and what is missing",
        epilog="Example: napari-sam3 doctor --compare-devices ~/models/sam3",
    )
    parser.add_argument(
        "--compare-devices",
        type=parse_path,
        metavar="MODEL_FOLDER",
        help="run the folder's model on every device that works, and compare the results with "
        "those of the CPU",
    )
    parser.set_defaults(command=run)


def run(chosen: argparse.Namespace) -> int:
    """Print the report, or the comparison; return 1 where a device does not agree."""
    if chosen.compare_devices is None:
        for line in api.doctor():
            print_line(line)
        return 0
    with TerminalReporter() as reporter:
        compared = api.compare_devices(chosen.compare_devices, reporter=reporter)
    for line in compared.lines():
        print_line(line)
    return 0 if compared.agrees else 1

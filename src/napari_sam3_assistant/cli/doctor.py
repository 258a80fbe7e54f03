"""``napari-sam3 doctor``: what is installed, and how the devices and number formats compare."""

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
    parser.set_defaults(command=run)


def run(chosen: argparse.Namespace) -> int:
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

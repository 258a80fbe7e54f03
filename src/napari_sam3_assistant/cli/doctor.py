"""``napari-sam3 doctor``: what is installed and what is missing."""

from __future__ import annotations

from typing import TYPE_CHECKING

from napari_sam3_assistant import api
from napari_sam3_assistant.cli.arguments import say

if TYPE_CHECKING:
    import argparse


def add(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command."""
    parser = commands.add_parser("doctor", help="say what is installed and what is missing")
    parser.set_defaults(command=run)


def run(chosen: argparse.Namespace) -> int:
    """Print the report."""
    del chosen
    for line in api.doctor():
        say(line)
    return 0

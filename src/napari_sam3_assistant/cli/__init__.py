"""The command line, ``napari-sam3``: reads arguments, calls the API, writes files.

One module a command.
"""

from __future__ import annotations

import argparse
import sys
from typing import TYPE_CHECKING

from napari_sam3_assistant import __version__
from napari_sam3_assistant.cli import batch, demo, doctor, download, rerun, scan, segment, track
from napari_sam3_assistant.errors import Sam3AssistantError

if TYPE_CHECKING:
    from collections.abc import Sequence


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line.

    Parameters
    ----------
    arguments : sequence of str, optional
        The arguments; by default those of the process.

    Returns
    -------
    int
        0 when it worked, 1 when devices do not agree, 2 when the input can't be used, 130 when
        the user stopped it.
    """
    parser = argparse.ArgumentParser(
        prog="napari-sam3", description="Segment images without opening a window."
    )
    parser.add_argument("--version", action="version", version=f"napari-sam3 {__version__}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    for command in (segment, scan, batch, rerun, track, demo, doctor, download):
        command.add(commands)
    chosen = parser.parse_args(arguments)
    try:
        return int(chosen.command(chosen))
    except Sam3AssistantError as error:
        sys.stderr.write(f"napari-sam3: {error}\n")
        return 2
    except KeyboardInterrupt:
        sys.stderr.write("napari-sam3: Stopped.\n")
        return 130

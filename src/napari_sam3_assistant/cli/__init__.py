"""The command line, ``napari-sam3``: reads arguments, calls the API, writes files."""

from __future__ import annotations

import argparse
import io
import logging
import os
import re
import signal
import sys
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

from napari_sam3_assistant import __version__
from napari_sam3_assistant.errors import NO_MEMORY, Sam3AssistantError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line.

    ``arguments``: the arguments; by default those of the process.

    Returns
    -------
    int
        0 when it worked, 1 when devices do not agree, 2 when the input can't be used, 130 when
        it was stopped by Ctrl+C or by the system (SIGTERM).
    """
    # Python has none of these where they were closed, and argparse and ours write to them.
    sys.stdout = sys.stdout or open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115
    sys.stderr = sys.stderr or open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115
    if isinstance(sys.stdout, io.TextIOWrapper):
        # Names of files that the terminal has no letters for are written with \.
        sys.stdout.reconfigure(errors="backslashreplace")
    # What it makes of damaged files is in our sentence; its own lines would stand before that.
    logging.getLogger("tifffile").addHandler(logging.NullHandler())
    try:
        with _stop_on_sigterm():
            chosen = _parse(arguments)
            return int(chosen.command(chosen))
    except Sam3AssistantError as error:
        return _print_error(str(error), 2)
    except OSError as error:
        return _print_error(f"{error.filename or 'A file'}: {error.strerror or error}.", 2)
    except MemoryError:
        return _print_error(NO_MEMORY, 2)
    except KeyboardInterrupt:
        return _print_error("Stopped.", 130)


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """Return what was typed, with the command that it chooses."""
    version = argparse.ArgumentParser(prog="napari-sam3", add_help=False)
    version.add_argument(
        "--version",
        action="version",
        version=f"%(prog)s {__version__}",
        help="print the version and leave",
    )
    version.parse_known_args(arguments)
    parser = argparse.ArgumentParser(
        prog="napari-sam3",
        description="Segment images without opening a window.",
        epilog="Each command has examples: napari-sam3 COMMAND --help.",
        parents=[version],
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND", dest="command_name")
    _add_commands(commands)
    if "_ARGCOMPLETE" in os.environ:
        # A shell that asks how a line goes on; without the package it has no answer.
        with suppress(ImportError):
            import argcomplete

            argcomplete.autocomplete(parser)
    typed = _join_negative(sys.argv[1:] if arguments is None else arguments)
    chosen, others = parser.parse_known_args(typed)
    if others:
        # A shell writes out the names of files that a pattern fits.
        quotes = "" if others[0].startswith("-") else " (a pattern as '*.tif' needs its quotes)"
        message = f"unrecognized arguments: {' '.join(others)}{quotes}"
        commands.choices[chosen.command_name].error(message)
    return chosen


def _join_negative(arguments: Sequence[str]) -> list[str]:
    """Join options with values below 0: argparse takes such as ``-100,300`` for an option."""
    joined: list[str] = []
    for argument in arguments:
        if re.match(r"-[\d.]", argument) and joined and re.fullmatch(r"--[a-z][\w-]*", joined[-1]):
            joined[-1] += f"={argument}"
        else:
            joined.append(argument)
    return joined


def _add_commands(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the commands; what they need takes a second to import, which the version need not."""
    from napari_sam3_assistant.cli import folder, labels, segment, setup, track

    for add in (
        segment.add_segment,
        segment.add_scan,
        folder.add_batch,
        folder.add_precompute,
        folder.add_rerun,
        track.add_track,
        segment.add_info,
        setup.add_serve,
        segment.add_demo,
        setup.add_doctor,
        setup.add_download,
        labels.add_clean,
        labels.add_measure,
        labels.add_export,
        labels.add_export_series,
        labels.add_import,
    ):
        add(commands)


def _print_error(sentence: str, status: int) -> int:
    """Write a sentence to standard error, and return the exit status."""
    from napari_sam3_assistant.cli.arguments import make_printable

    sys.stderr.write(f"napari-sam3: {make_printable(sentence)}\n")
    return status


@contextmanager
def _stop_on_sigterm() -> Iterator[None]:
    """Let SIGTERM, as a cluster sends it before it kills, end the work as Ctrl+C does."""

    def stop(number: int, frame: object) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)

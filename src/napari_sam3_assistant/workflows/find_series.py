"""Find out which images the files of a folder hold, by the first of them."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from napari_sam3_assistant.errors import ImageError
from napari_sam3_assistant.io.image_folder import first_files
from napari_sam3_assistant.io.images import list_series
from napari_sam3_assistant.io.series import own_series

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from napari_sam3_assistant.core.progress import Reporter
    from napari_sam3_assistant.io.series import Series

_MOST_FILES = 20
_MOST_SERIES = 1000
_SECONDS = 5.0
"""How long the folder is listed, and how long files are looked at then: disks may be far away."""


@dataclass(frozen=True, slots=True)
class FoundSeries:
    """The images of one number in several files.

    Parameters
    ----------
    number : int
        Which image of each file, from 0.
    names : tuple of str
        What the files call it, each name once; empty where it has none.
    shapes : tuple of tuple of int
        Its lengths along the axes, each once.
    files : int
        How many files have it.
    """

    number: int
    names: tuple[str, ...]
    shapes: tuple[tuple[int, ...], ...]
    files: int


@dataclass(frozen=True, slots=True)
class FolderSeries:
    """What there is to choose in a folder.

    Parameters
    ----------
    files : int
        How many images were looked at: files, sets of files, or zarr folders.
    unreadable : int
        How many of them can't be read.
    series : tuple of FoundSeries
        What the others hold, by number.
    problem : str
        Why nothing could be looked at; empty where it could.
    """

    files: int = 0
    unreadable: int = 0
    series: tuple[FoundSeries, ...] = ()
    problem: str = ""


def find_series(
    source: Path, output: Path | None, pattern: str, reporter: Reporter
) -> Iterator[FolderSeries]:
    """Yield which images the first files of a folder hold; reads no pixels and makes nothing.

    Parameters
    ----------
    source, output, pattern
        As of a folder batch; the output may not be known yet.
    reporter : Reporter
        Stops the work.

    Raises
    ------
    ImageError
        If the folder is missing or holds no image.
    ExportError
        If both folders are the same.
    """
    files = first_files(source, output, pattern, _in_time(reporter))
    looked_at: list[tuple[Series, ...]] = []
    go_on: Callable[[], bool] | None = None
    for path in files:
        # Its time begins when the folder is listed.
        go_on = go_on or _in_time(reporter)
        try:
            looked_at.append(list_series(path))
        except ImageError:
            looked_at.append(())
        if len(looked_at) == _MOST_FILES or not go_on():
            break
    if not looked_at:
        yield FolderSeries(problem=f"No image was found in {_SECONDS:.0f} s; the folder is large.")
        return
    by_number: dict[int, list[Series]] = {}
    for found in filter(None, looked_at):
        here = own_series(found)
        # A file of a set of positions is one image, whatever its number.
        for number in here if len(here) > 1 or len(found) == 1 else ():
            by_number.setdefault(number, []).append(found[number])
    yield FolderSeries(
        len(looked_at),
        looked_at.count(()),
        tuple(
            FoundSeries(
                number,
                tuple(dict.fromkeys(one.name for one in alike if one.name)),
                tuple(dict.fromkeys(one.shape for one in alike)),
                len(alike),
            )
            for number, alike in sorted(by_number.items())[:_MOST_SERIES]
        ),
    )


def _in_time(reporter: Reporter) -> Callable[[], bool]:
    """Return what says whether there is time left; it raises JobCancelled if the work is over."""
    end = time.monotonic() + _SECONDS

    def go_on() -> bool:
        reporter.check()
        return time.monotonic() < end

    return go_on

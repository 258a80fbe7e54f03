"""Files that hold several images: which of them is taken."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from napari_sam3_assistant.core.plurals import pluralize
from napari_sam3_assistant.errors import ImageError

if TYPE_CHECKING:
    from collections.abc import Sequence


_MOST_LISTED = 8


@dataclass(frozen=True, slots=True)
class Series:
    """One of the images of a file.

    Parameters
    ----------
    name : str
        What the file calls it; empty where it has no name.
    shape : tuple of int
        Length of each axis in the file; empty where finding out takes long, of fields of a plate.
    reduced : bool
        Whether the file says that it is a smaller copy of another one, such as a thumbnail.
    elsewhere : bool
        Whether all of it lies in other files of the same set.
    samples : int
        How many of its values are one pixel, such as 3 for RGB.
    """

    name: str
    shape: tuple[int, ...]
    reduced: bool = False
    elsewhere: bool = False
    samples: int = 1

    @property
    def pixels(self) -> int:
        """Number of pixels; 0 for a smaller copy."""
        return 0 if self.reduced else math.prod(self.shape) // self.samples

    def __str__(self) -> str:
        size = " x ".join(map(str, self.shape))
        if not self.name:
            return size
        return f"'{self.name}' ({size})" if size else f"'{self.name}'"


def own_series(series: Sequence[Series]) -> Sequence[int]:
    """Return the numbers of the images that lie in the file itself; all where none does."""
    here = [number for number, one in enumerate(series) if not one.elsewhere]
    return here or range(len(series))


def choose_series(series: Sequence[Series], index: int | None) -> tuple[int, tuple[str, ...]]:
    """Return the number of the image that is taken, and what the user should know.

    Without a choice it is the one with most pixels, so never a thumbnail in place of its image;
    of several the first. Of a set of files each has its own.

    Parameters
    ----------
    series : sequence of Series
        The images of a file.
    index : int or None
        The user's choice, from 0.

    Returns
    -------
    int
        The number.
    tuple of str
        What was taken, and what else there is; empty where the user chose or there is only one.

    Raises
    ------
    ImageError
        If there is no such image, or none at all.
    """
    if not series:
        raise ImageError("The file holds no image.", "Choose a file that holds one.")
    listed = [f"{number}: {one}" for number, one in enumerate(series[:_MOST_LISTED])]
    all_of_them = "; ".join([*listed, *(["..."] if len(series) > _MOST_LISTED else [])])
    if index is not None:
        if not 0 <= index < len(series):
            raise ImageError(
                f"There is no series {index} in the file, which holds "
                f"{pluralize(len(series), 'image')} ({all_of_them}).",
                "Choose 0." if len(series) == 1 else f"Choose 0 to {len(series) - 1}.",
            )
        return index, ()
    own = own_series(series)
    taken = max(own, key=lambda number: series[number].pixels)
    if len(own) == 1:
        return taken, ()
    equal = sum(series[number].pixels == series[taken].pixels for number in own)
    which = f"the first of {equal} of its size" if equal > 1 else "the largest"
    note = (
        f"The file holds {len(series)} images; series {taken} was taken, {which}. To take another "
        f"one, choose its series: {all_of_them}."
    )
    return taken, (note,)

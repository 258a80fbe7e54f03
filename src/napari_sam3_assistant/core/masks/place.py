"""Where labels lie in the image that they belong to."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence


@dataclass(frozen=True, slots=True)
class ImagePlace:
    """The pixels of an image that labels lie on, one on one.

    Parameters
    ----------
    image : str
        Name of the image.
    shape : tuple of int
        Height and width of the image.
    y, x : int
        Row and column of the labels' first pixel in the image.
    leading : tuple of int
        Index of the labels' first plane on each axis before rows and columns.
    names : tuple of str
        What each of these axes is: ``t``, ``c`` or ``z``; empty for one that the image has not.
    note : str
        Why this is not the place in the image that the user sees; empty if it is.
    file : str
        Name of the file of the image, without its folder; empty if it has none, or none is known.
    """

    image: str
    shape: tuple[int, int]
    y: int = 0
    x: int = 0
    leading: tuple[int, ...] = ()
    names: tuple[str, ...] = ()
    note: str = ""
    file: str = ""

    @classmethod
    def alone(
        cls, name: str, shape: Sequence[int], names: tuple[str, ...] = (), note: str = ""
    ) -> ImagePlace:
        """Return the place of labels that belong to no image: they are one.

        Parameters
        ----------
        name : str
            What they are called.
        shape : sequence of int
            Their shape, rows and columns last.
        names : tuple of str
            What the axes before these are; by default z, and t before it.
        note : str
            Why they have no image.
        """
        *planes, height, width = (int(size) for size in shape)
        return cls(
            name,
            (height, width),
            leading=(0,) * len(planes),
            names=names or plane_names(len(planes)),
            note=note,
        )

    def plane(self, index: tuple[int, ...]) -> dict[str, int]:
        """Return the plane of the image by the names of its axes, from its index in the labels."""
        places = zip(self.names, self.leading, index, strict=True)
        return {name: first + at for name, first, at in places if name}

    @property
    def file_names(self) -> tuple[str, ...]:
        """What a file of annotations may call the first plane, the likeliest first."""
        numbered = self.file_name((0,) * len(self.leading)) if self.leading else ""
        return tuple(dict.fromkeys(one for one in (numbered, self.file, self.image) if one))

    def file_name(self, index: tuple[int, ...]) -> str:
        """Return what a plane of the image is called as a file: in stacks with its numbers."""
        name, dot, ending = self.file.rpartition(".") if self.file else (self.image, "", "")
        numbers = map(str, self.plane(index).values())
        return "_".join([name or ending, *numbers]) + (dot + ending if name else "")


def plane_names(count: int, axis_names: Sequence[str] = ()) -> tuple[str, ...]:
    """Return what the axes before rows and columns are: z, t before it, and c before that.

    Parameters
    ----------
    count : int
        How many axes.
    axis_names : sequence of str
        What is known of each: ``t``, ``c``, ``z``, or empty; by default nothing.
    """
    names = list(axis_names) or [""] * count
    for axis in reversed(range(count)):
        if not names[axis]:
            names[axis] = next((name for name in "ztc" if name not in names), "")
    return tuple(names)

"""What the axes of labels are called and how long a pixel is along each."""

from __future__ import annotations

import math
from dataclasses import dataclass

from napari_sam3_assistant.errors import ExportError

_LEADING = ("", "z", "tz", "tcz")


@dataclass(frozen=True, slots=True)
class LabelAxes:
    """The axes of labels, for files that can hold them.

    Parameters
    ----------
    names : tuple of str
        One of ``t``, ``c``, ``z``, ``y``, ``x`` for each axis, each at most once.
    scale : tuple of float
        Length of a pixel along each axis.
    units : tuple of str
        What the scale counts in, such as ``micrometer`` or ``second``; empty where not known.
    translate : tuple of float
        Where the first pixel lies, in what the scale counts in; empty for 0.

    Raises
    ------
    ExportError
        If the values don't fit together.
    """

    names: tuple[str, ...]
    scale: tuple[float, ...]
    units: tuple[str, ...]
    translate: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        if not len(self.names) == len(self.scale) == len(self.units):
            raise ExportError(
                f"{len(self.names)} axes have {len(self.scale)} scales and "
                f"{len(self.units)} units.",
                "Give one for each axis.",
            )
        if len(self.translate) not in (0, len(self.names)) or not all(
            map(math.isfinite, self.translate)
        ):
            raise ExportError(
                f"The position {self.translate} can't be saved.", "Give a number for each axis."
            )
        if not all(math.isfinite(size) and size > 0 for size in self.scale):
            raise ExportError(
                f"The scale {self.scale} can't be saved.", "Give positive numbers for each axis."
            )

    @classmethod
    def of(
        cls,
        ndim: int,
        *,
        names: tuple[str, ...] | None = None,
        scale: tuple[float, ...] | None = None,
        unit: str = "",
        translate: tuple[float, ...] = (),
    ) -> LabelAxes:
        """Return the axes of labels of ``ndim`` dimensions; what is not given is filled in.

        Parameters
        ----------
        ndim : int
            Number of axes, rows and columns last.
        names : tuple of str, optional
            Their names; used if they are ``t``, ``c``, ``z``, ``y``, ``x`` in that order.
        scale : tuple of float, optional
            Length of a pixel along each axis; by default 1.
        unit : str
            What the scale of z, y and x counts in.
        translate : tuple of float
            Where the first pixel lies; empty for 0.

        Raises
        ------
        ExportError
            If the values don't fit together, or there are more than five axes.
        """
        if names is None or not in_order(names) or len(names) != ndim:
            if not 2 <= ndim < len(_LEADING) + 2:
                raise ExportError(
                    f"OME files have two, and up to five axes; these labels have {ndim}.",
                    "Save a part of them, or save them as NumPy.",
                )
            names = (*_LEADING[ndim - 2], "y", "x")
        units = tuple(unit if name in "zyx" else "" for name in names)
        sizes = (1.0,) * ndim if scale is None else tuple(map(float, scale))
        return cls(names, sizes, units, tuple(map(float, translate)))


def in_order(names: tuple[str, ...]) -> bool:
    """Return whether names are some of t, c, z, y, x in this order, y and x among them."""
    order = ["tczyx".find(name) if len(name) == 1 else -1 for name in names]
    return order == sorted(set(order)) and order[:1] != [-1] and names[-2:] == ("y", "x")

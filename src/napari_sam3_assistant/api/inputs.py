"""How the functions of the API take images, masks and prompts."""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import numpy as np

from napari_sam3_assistant.api.prompt_values import as_box, as_example, as_point
from napari_sam3_assistant.core.images import UNKNOWN_PIXEL, PixelSize
from napari_sam3_assistant.core.lengths import Length
from napari_sam3_assistant.core.options import PredictOptions
from napari_sam3_assistant.core.paths import expand_user, is_address
from napari_sam3_assistant.core.prompts import (
    Everything,
    MaskPrompt,
    PromptSet,
)
from napari_sam3_assistant.errors import ImageError, PromptError, Sam3AssistantError
from napari_sam3_assistant.io.images import read_image
from napari_sam3_assistant.io.in_memory import load_object
from napari_sam3_assistant.io.label_files import read_mask

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from enum import StrEnum

    import numpy.typing as npt

    from napari_sam3_assistant.core.axes import Axes
    from napari_sam3_assistant.core.display import ImageView
    from napari_sam3_assistant.core.images import AnyArray
    from napari_sam3_assistant.io.loaded import LoadedImage

_Choice = TypeVar("_Choice", bound="StrEnum")


def one_of(kind: type[_Choice], name: str, what: str, error: type[Sam3AssistantError]) -> _Choice:
    """Return the choice of a name; raises the error, which says what there is."""
    try:
        return kind(name)
    except ValueError:
        raise error(f"There is no {what} '{name}'.", f"Use one of {', '.join(kind)}.") from None


@dataclass(frozen=True, slots=True, eq=False)
class ImageInput:
    """An image and where it came from.

    Parameters
    ----------
    image : LoadedImage
        The image.
    path : Path or None
        Its file; None for an array, and what is on a server.
    """

    image: LoadedImage
    path: Path | None = None

    def plane_axes(self, view: ImageView) -> Axes:
        """Return the axes of rows and columns, as the file tells them."""
        axes = view.channels[0].source.axes
        return self.image.along((axes.y, axes.x))


def read_input(
    image: AnyArray | Path | str,
    axis_labels: Sequence[str] | None = None,
    *,
    rgb: bool | None = None,
    series: int | str | None = None,
) -> ImageInput:
    """Return the image of an array or a path.

    Parameters
    ----------
    image : array-like, str or Path
        An array, the levels of a multiscale image, an object of :func:`.in_memory.load_object`, or
        the path of a file.
    axis_labels : sequence of str, optional
        Names of the axes; by default what the file says.
    rgb : bool, optional
        Whether the last axis holds colours; by default what the file says.
    series : int or str, optional
        Which image of a file that holds several; by default the largest.

    Raises
    ------
    ImageError
        If the file can't be read.
    """
    path = None
    if isinstance(image, os.PathLike):
        image = Path(image)
    if isinstance(image, str | Path):
        path = None if is_address(image) else expand_user(image)
        loaded = read_image(image if path is None else path, series)
    else:
        loaded = load_object(image)
    rgb = loaded.rgb if rgb is None else rgb
    axes = loaded.axes
    if axis_labels is not None:
        names = list(map(str, axis_labels))
        # napari leaves out the name of the colours.
        names += ["s"] * (rgb is True and len(names) == len(axes) - 1)
        if len(names) != len(axes):
            raise ImageError(
                f"There are {len(names)} axis labels for an image of {len(axes)} axes.",
                "Give one label for each axis, such as ('z', 'y', 'x').",
            )
        axes = tuple(replace(axis, name=name) for axis, name in zip(axes, names, strict=True))
    return ImageInput(replace(loaded, axes=axes, rgb=rgb), path)


def make_options(threshold: float, diameter: str | float | None, axes: Axes = ()) -> PredictOptions:
    """Return the choices of a run.

    Parameters
    ----------
    threshold : float
        Detection threshold, 0 to 1.
    diameter : str, float or None
        The usual diameter of the objects, as :meth:`.Length.parse` reads it; None for none.
    axes : tuple of Axis
        Those of rows and columns, where one image is looked at.

    Raises
    ------
    PromptError
        If one of them can't be used.
    """
    told = None if diameter is None else Length.parse(diameter)
    return PredictOptions(threshold, told, PixelSize.of_axes(axes) if axes else UNKNOWN_PIXEL)


def files_of(*given: object) -> tuple[Path, ...]:
    """Return what of that are files on this computer, which an output must not replace."""
    named = (os.fspath(one) for one in given if isinstance(one, str | os.PathLike))
    return tuple(expand_user(one) for one in named if not is_address(one))


def make_prompts(
    points: Sequence[Sequence[float]],
    boxes: Sequence[Sequence[float]],
    exemplars: Sequence[Sequence[float]],
    mask: npt.ArrayLike | str | Path | None,
    text: str | None,
    shape: tuple[int, int],
    everything: bool | Everything = False,
) -> PromptSet:
    """Return the prompts of a call.

    Parameters
    ----------
    points : sequence of (y, x) or (y, x, positive)
        Clicks.
    boxes : sequence of (y0, x0, y1, x1)
        One object each.
    exemplars : sequence of (y0, x0, y1, x1) or (y0, x0, y1, x1, positive)
        Boxes round examples.
    mask : array-like, shape (H, W), str or Path, or None
        Non-zero where painted.
    text : str or None
        A phrase.
    shape : tuple of int
        Height and width of the plane.
    everything : bool or Everything
        Whether, or how, all objects are looked for.

    Raises
    ------
    PromptError
        If a value can't be used.
    """
    points, boxes, exemplars = map(tuple, (points, boxes, exemplars))
    check_lists(points, boxes, exemplars)
    return PromptSet(
        points=tuple(map(as_point, points)),
        boxes=tuple(map(as_box, boxes)),
        exemplars=tuple(map(as_example, exemplars)),
        masks=() if mask is None else (_mask(take_mask(mask), shape),),
        text=as_phrase(text),
        everything=as_everything(everything),
    )


def as_phrase(text: str | None) -> str:
    """Return a phrase; raises PromptError for a list of them."""
    if not isinstance(text, str | None):
        raise PromptError(
            f"A phrase is one text, and this is {text!r:.60}.",
            "Call once for each phrase; segment_folder takes several, as texts.",
        )
    return (text or "").strip()


def take_mask(mask: npt.ArrayLike | str | Path) -> npt.NDArray[np.generic]:
    """Return a mask of an array or a file."""
    if isinstance(mask, str | Path):
        return read_mask(mask if is_address(mask) else expand_user(mask))
    return np.asarray(load_object(mask).data)


def as_everything(everything: bool | Everything) -> Everything | None:
    """Return how all objects are looked for; None where they are not."""
    if isinstance(everything, Everything):
        return everything
    return Everything() if everything else None


def check_lists(*prompts: Iterable[npt.ArrayLike]) -> None:
    """Raise PromptError where a single prompt is given in place of a list of them."""
    for kind in prompts:
        for prompt in kind:
            if np.ndim(prompt) == 0:
                raise PromptError(
                    f"{kind} is not a list of prompts.",
                    "Put it in a list, as in points=[(120, 85)].",
                )


def _mask(mask: npt.NDArray[np.generic], shape: tuple[int, int]) -> MaskPrompt:
    if mask.shape != shape:
        raise PromptError(
            f"The mask has the shape {mask.shape}, the image plane {shape}.",
            "Give a mask of the plane's height and width.",
        )
    return MaskPrompt.from_plane(mask)

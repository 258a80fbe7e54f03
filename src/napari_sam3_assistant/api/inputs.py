"""What the functions take as an image and as an engine."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari_sam3_assistant.api.engines import open_engine
from napari_sam3_assistant.api.models import engine_for
from napari_sam3_assistant.core.axes import axes_of
from napari_sam3_assistant.core.images import level_zero
from napari_sam3_assistant.engines.embeddings import EncodingEngine
from napari_sam3_assistant.errors import ImageError
from napari_sam3_assistant.io.images import read_image
from napari_sam3_assistant.io.loaded import LoadedImage

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from napari_sam3_assistant.core.axes import Axes
    from napari_sam3_assistant.core.views import ImageView


@dataclass(frozen=True, slots=True, eq=False)
class Source:
    """An image and where it came from.

    Parameters
    ----------
    image : LoadedImage
        The image.
    path : Path or None
        Its file; None for an array.
    """

    image: LoadedImage
    path: Path | None = None

    def plane_axes(self, view: ImageView) -> Axes:
        """Return the axes of rows and columns, as the file tells them."""
        axes = view.channels[0].source.axes
        return self.image.along((axes.y, axes.x))


def source_of(
    image: Any,  # noqa: ANN401 (any array, or a path)
    axis_labels: Sequence[str] | None = None,
    *,
    rgb: bool | None = None,
    series: int | None = None,
) -> Source:
    """Return the image of an array or a path.

    Parameters
    ----------
    image : array-like, str or Path
        An array, the levels of a multiscale image, or the path of a file.
    axis_labels : sequence of str, optional
        Names of the axes; by default what the file says.
    rgb : bool, optional
        Whether the last axis holds colours; by default what the file says.
    series : int, optional
        Which image of a file that holds several; by default the largest.

    Raises
    ------
    ImageError
        If the file can't be read.
    """
    if isinstance(image, str | Path):
        path = Path(image).expanduser()
        loaded = read_image(path, series)
    else:
        path, data = None, level_zero(image)
        loaded = LoadedImage(data, axes_of(data.shape, names=("",) * len(data.shape)))
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
    return Source(replace(loaded, axes=axes, rgb=rgb), path)


@contextmanager
def opened(
    engine: str | EncodingEngine | None, model_folder: str | Path | None, device: str
) -> Iterator[EncodingEngine]:
    """Give an engine that is closed at the end, or the one that the caller has opened.

    Without a name it is the one that reads the model folder, or the built-in one without a folder.
    """
    if isinstance(engine, EncodingEngine):
        yield engine
        return
    name = engine_for(model_folder) if engine is None else engine
    with open_engine(name, model_folder=model_folder, device=device) as made:
        yield made

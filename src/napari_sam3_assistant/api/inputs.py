"""What the functions take as an image and as an engine."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari_sam3_assistant.api.engines import open_engine
from napari_sam3_assistant.engines.embeddings import EncodingEngine
from napari_sam3_assistant.io.images import read_image
from napari_sam3_assistant.io.loaded import LoadedImage

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from napari_sam3_assistant.core.views import ImageView
    from napari_sam3_assistant.io.label_axes import LabelAxes


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

    def plane_axes(self, view: ImageView) -> LabelAxes:
        """Return the size of a pixel along y and x, and what it counts in, as the file says."""
        axes = view.channels[0].source.axes
        return self.image.axes_of_labels((axes.y, axes.x))


def source_of(
    image: Any,  # noqa: ANN401 (any array, or a path)
    axis_labels: Sequence[str] | None = None,
    *,
    rgb: bool | None = None,
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

    Raises
    ------
    ImageError
        If the file can't be read.
    """
    labels = None if axis_labels is None else tuple(axis_labels)
    if not isinstance(image, str | Path):
        return Source(LoadedImage(image, labels, rgb))
    path = Path(image).expanduser()
    loaded = read_image(path)
    return Source(
        LoadedImage(
            loaded.data,
            loaded.axis_labels if labels is None else labels,
            loaded.rgb if rgb is None else rgb,
            loaded.scale,
            loaded.name,
            loaded.units,
        ),
        path,
    )


@contextmanager
def opened(
    engine: str | EncodingEngine, model_folder: str | Path | None, device: str
) -> Iterator[EncodingEngine]:
    """Give an engine by its name, closed at the end, or one that the caller has opened."""
    if isinstance(engine, EncodingEngine):
        yield engine
        return
    with open_engine(engine, model_folder=model_folder, device=device) as made:
        yield made

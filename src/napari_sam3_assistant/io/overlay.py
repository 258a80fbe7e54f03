"""Pictures of a result, to look at."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import imageio.v3 as iio
import numpy as np
from skimage.color import label2rgb
from skimage.segmentation import find_boundaries

from napari_sam3_assistant.errors import ExportError
from napari_sam3_assistant.io.atomic import atomic_write

if TYPE_CHECKING:
    import numpy.typing as npt

# Okabe & Ito, "Color Universal Design" (2008), without black: told apart by all eyes.
_COLOURS = (
    np.array(
        [
            (86, 180, 233),
            (230, 159, 0),
            (0, 158, 115),
            (240, 228, 66),
            (204, 121, 167),
            (213, 94, 0),
            (0, 114, 178),
        ]
    )
    / 255.0
)
_FILL = 0.35


def save_overlay(
    rgb: npt.NDArray[np.uint8], labels: npt.NDArray[np.integer], path: str | Path
) -> Path:
    """Write a PNG of the image with each object filled in a light colour and outlined.

    Parameters
    ----------
    rgb : ndarray, shape (H, W, 3), dtype uint8
        The image.
    labels : ndarray of integers, shape (H, W)
        Object ids; 0 is background.
    path : str or Path
        File that ends in .png; replaced if it exists.

    Returns
    -------
    Path
        The file.

    Raises
    ------
    ExportError
        If the shapes differ, the ending is another, or the file can't be written.
    """
    path = Path(path)
    if path.suffix.lower() != ".png":
        raise ExportError(f"An overlay can't be saved as '{path.suffix}': {path}.", "Use .png.")
    if rgb.shape[:2] != labels.shape:
        raise ExportError(
            f"The labels of shape {labels.shape} don't fit the image of shape {rgb.shape}.",
            "Give the labels of the whole image.",
        )
    picture = _draw(rgb, labels)
    with atomic_write(path) as draft:
        iio.imwrite(draft, picture, plugin="pillow", extension=".png")
    return path


def _draw(rgb: npt.NDArray[np.uint8], labels: npt.NDArray[np.integer]) -> npt.NDArray[np.uint8]:
    """Return the picture, shape (H, W, 3), dtype uint8."""
    if not labels.any():
        return rgb
    # Ids that follow each other have different colours; 0 stays background.
    numbers = np.where(labels > 0, (labels - 1) % len(_COLOURS) + 1, 0).astype(np.intp)
    used = _COLOURS[np.unique(numbers[numbers > 0]) - 1]
    filled: npt.NDArray[np.float64] = label2rgb(
        numbers, rgb, colors=used, alpha=_FILL, bg_label=0, bg_color=None, saturation=1
    )
    outline = find_boundaries(labels, mode="inner", background=0)
    filled[outline] = _COLOURS[numbers[outline] - 1]
    return (filled * 255 + 0.5).astype(np.uint8)

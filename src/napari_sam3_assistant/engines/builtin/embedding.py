"""What the built-in engine keeps of a plane: its luminance at several resolutions."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from napari_sam3_assistant.core.progress import NullReporter
from napari_sam3_assistant.core.regions import Region
from napari_sam3_assistant.engines.builtin.strips import strips

if TYPE_CHECKING:
    import numpy.typing as npt

    from napari_sam3_assistant.core.progress import Reporter
    from napari_sam3_assistant.engines.builtin.detect import Detection
    from napari_sam3_assistant.engines.builtin.proposals import Proposal


# ITU-R BT.601 luma.
LUMA = np.array([0.299, 0.587, 0.114], np.float32)


class PlaneFeatures:
    """The luminance of a plane and what is computed from it, each part when first asked for.

    Parameters
    ----------
    luminance : ndarray, shape (H, W), dtype float32
        Grey values, 0 to 255.

    Attributes
    ----------
    detections : dict
        Objects found in the whole plane, by polarity (+1 bright, -1 dark); filled by
        :func:`napari_sam3_assistant.engines.builtin.detect.detect`.
    proposals : dict
        What may be the object under a pixel, by row and column; filled by
        :func:`napari_sam3_assistant.engines.builtin.clicks.proposed`.
    """

    def __init__(self, luminance: npt.NDArray[np.float32]) -> None:
        self._levels = [luminance]
        self.detections: dict[int, tuple[Detection, ...]] = {}
        self.proposals: dict[tuple[int, int], tuple[Proposal, ...]] = {}

    @classmethod
    def from_rgb(
        cls, image: npt.NDArray[np.uint8], reporter: Reporter | None = None
    ) -> PlaneFeatures:
        """Return the features of an RGB image.

        Parameters
        ----------
        image : ndarray, shape (H, W, 3), dtype uint8
            Not modified.
        reporter : Reporter, optional
            Stops the work.
        """
        luminance = np.empty(image.shape[:2], np.float32)
        for rows in strips(luminance.shape, reporter or NullReporter()):
            red, green, blue = (image[rows, :, channel] for channel in range(3))
            luminance[rows] = red * LUMA[0] + green * LUMA[1] + blue * LUMA[2]
        return cls(luminance)

    @property
    def luminance(self) -> npt.NDArray[np.float32]:
        """Grey values at full resolution, shape (H, W), dtype float32, 0 to 255."""
        return self._levels[0]

    @property
    def shape(self) -> tuple[int, int]:
        """Height and width of the plane in pixels."""
        height, width = self.luminance.shape
        return (height, width)

    @property
    def nbytes(self) -> int:
        """Memory that the luminance takes, in bytes."""
        return sum(level.nbytes for level in self._levels)

    @property
    def region(self) -> Region:
        """The whole plane."""
        return Region.whole(self.shape)

    def octave(self, index: int) -> npt.NDArray[np.float32]:
        """Return the luminance averaged over blocks of ``2 ** index`` pixels squared.

        Each octave is computed once. Rows and columns that do not fill a block are averaged
        with copies of themselves, so pixel ``i`` always covers plane pixels from
        ``i * 2 ** index``.

        Parameters
        ----------
        index : int
            0 for full resolution.

        Returns
        -------
        ndarray, shape (ceil(H / 2 ** index), ceil(W / 2 ** index)), dtype float32
        """
        while len(self._levels) <= index:
            self._levels.append(_halve(self._levels[-1]))
        return self._levels[index]


def _halve(image: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Return the means of blocks of 2 x 2 pixels."""
    height, width = image.shape
    if height % 2 or width % 2:
        image = np.pad(image, ((0, height % 2), (0, width % 2)), mode="edge")
    rows = image[::2] + image[1::2]
    halved: npt.NDArray[np.float32] = (rows[:, ::2] + rows[:, 1::2]) * np.float32(0.25)
    return halved

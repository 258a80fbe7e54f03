"""The raw pixels of a plane, for measuring."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from napari_sam3_assistant.core.images import PlaneRef

if TYPE_CHECKING:
    import numpy.typing as npt

    from napari_sam3_assistant.core.images import ImageSource
    from napari_sam3_assistant.core.regions import Region


@dataclass(frozen=True, slots=True)
class PixelSize:
    """How large a pixel of a plane is.

    Parameters
    ----------
    height, width : float
        Length of the step from a pixel to the one below it, and to the one on its right.
    unit : str
        What they count in, such as ``micrometer``; empty where that is not known.
    sine : float
        Sine of the angle between the two steps: 1 unless the image is sheared.
    """

    height: float = 1.0
    width: float = 1.0
    unit: str = ""
    sine: float = 1.0

    @property
    def area(self) -> float:
        """Area of a pixel, in squares of the unit."""
        return self.height * self.width * self.sine


@dataclass(frozen=True, slots=True, eq=False)
class RawPlane:
    """A plane of an image with all of its channels, and the size of a pixel.

    Parameters
    ----------
    source : ImageSource
        The image.
    leading : tuple of int
        Index on each leading axis.
    pixel : PixelSize
        How large a pixel is.
    """

    source: ImageSource
    leading: tuple[int, ...] = ()
    pixel: PixelSize = PixelSize()

    def read(self, region: Region) -> npt.NDArray[np.generic]:
        """Return the raw pixels of a region, shape (h, w, C); without alpha.

        Raises
        ------
        ImageError
            If the image can't be read.
        """
        source = self.source
        if source.axes.rgb:
            return source.read(PlaneRef(self.leading), region)[..., :3]
        channels = range(source.channels) if source.has_channels else (None,)
        return np.stack(
            [source.read(PlaneRef(self.leading, channel), region) for channel in channels], -1
        )

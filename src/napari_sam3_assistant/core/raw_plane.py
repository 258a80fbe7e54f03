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


@dataclass(frozen=True, slots=True, eq=False)
class RawPlane:
    """A plane of an image with all of its channels, and the size of a pixel.

    Parameters
    ----------
    source : ImageSource
        The image.
    leading : tuple of int
        Index on each leading axis.
    scale : tuple of float
        Height and width of a pixel.
    unit : str
        What the scale counts in; empty where that is not known.
    """

    source: ImageSource
    leading: tuple[int, ...] = ()
    scale: tuple[float, float] = (1.0, 1.0)
    unit: str = ""

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

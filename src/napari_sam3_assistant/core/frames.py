"""The frames of a stack along one axis, read one at a time with one contrast."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from napari_sam3_assistant.core.views import ImageView
from napari_sam3_assistant.errors import ImageError

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from napari_sam3_assistant.core.views import ViewChannel


@dataclass(frozen=True, slots=True, eq=False)
class FrameSource:
    """The planes of an image along one of its leading axes.

    The contrast is that of the view, or of a bounded sample of the whole stack (see
    :meth:`~napari_sam3_assistant.core.images.ImageSource.contrast`), so brightness does not
    flicker from frame to frame.

    Parameters
    ----------
    view : ImageView
        How any one of the frames is seen; its index on ``axis`` does not matter.
    axis : int
        Number of the array's axis along which the frames lie.

    Raises
    ------
    ImageError
        If the image has no such leading axis, or its images differ in length along it.
    """

    view: ImageView
    axis: int

    def __post_init__(self) -> None:
        lengths = set()
        for channel in self.view.channels:
            source = channel.source
            if self.axis not in source.axes.leading:
                choice = ", ".join(map(str, source.axes.leading)) or "none: it is one plane"
                raise ImageError(
                    f"Axis {self.axis} of the image of shape {source.shape} is no axis of frames "
                    f"({source.axes.reason}).",
                    f"Choose one of its leading axes: {choice}.",
                )
            lengths.add(source.shape[self.axis])
        if len(lengths) > 1:
            raise ImageError(
                f"The images have different numbers of frames: {sorted(lengths)}.",
                "Hide those that don't belong to it, or choose a single image.",
            )

    def __len__(self) -> int:
        return self.view.channels[0].source.shape[self.axis]

    @property
    def shape(self) -> tuple[int, int]:
        """Height and width of a frame in pixels."""
        return self.view.shape

    def view_at(self, frame: int) -> ImageView:
        """Return how a frame is seen; reads no pixels."""

        def moved(channel: ViewChannel) -> ViewChannel:
            leading = list(channel.plane.leading)
            leading[channel.source.axes.leading.index(self.axis)] = frame
            return replace(channel, plane=replace(channel.plane, leading=tuple(leading)))

        return ImageView(tuple(moved(channel) for channel in self.view.channels))

    def read(self, frame: int) -> npt.NDArray[np.uint8]:
        """Return a frame's picture, shape (H, W, 3), and read nothing else."""
        return self.view_at(frame).rgb()

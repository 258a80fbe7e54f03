"""A view that workers of a server open by themselves, where they reach the same files."""

from __future__ import annotations

import zlib
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari_sam3_assistant.core.display import ImageView
from napari_sam3_assistant.core.regions import Region
from napari_sam3_assistant.errors import ImageError
from napari_sam3_assistant.io.provenance import view_from_json, view_to_json
from napari_sam3_assistant.io.zarr_images import find_address

if TYPE_CHECKING:
    from collections.abc import Mapping

    from napari_sam3_assistant.core.display import ViewChannel

_SAMPLES = 4  # pieces of the image along each side that tell it from another one
_SAMPLE_SIDE = 64


class SharedView:
    """What the model shall see, here and, once it was pickled, on another machine.

    Pickled it is a description: the files, and a checksum of pieces of the picture.

    Parameters
    ----------
    view : ImageView or None
        The view; None where it can't be read.
    paths : mapping of int to Path
        The file of each image, by the token of its source; those without one are read here only.
    series : int or None
        Which image of the file.
    address : str
        Where on a web server or in a bucket the image is, in place of a file; empty for nowhere.
        An array of zarr that lies there says so itself.
    """

    def __init__(
        self,
        view: ImageView | None,
        paths: Mapping[int, Path],
        series: int | None = None,
        address: str = "",
    ) -> None:
        self._view = view
        self._paths, self._series, self._address = paths, series, address

    @property
    def view(self) -> ImageView:
        """The view; on another machine only after :meth:`can_read` said so."""
        if self._view is None:
            raise ImageError("The image is not on this machine.", "Put it where it can be read.")
        return self._view

    def can_read(self) -> bool:
        """Return whether the pixels can be read on this machine, and are the same."""
        return self._view is not None

    def __reduce__(self) -> tuple[Any, ...]:
        """Describe the view, with its contrast, which nobody then has to find out again."""
        view = ImageView(tuple(map(_with_contrast, self.view.channels)))
        sources = {channel.source.token: channel.source for channel in view.channels}
        address = self._address
        if len(sources) == 1 and not sources.keys() & self._paths.keys():
            address = address or find_address(next(iter(sources.values())).data)
        named = bool(address) or sources.keys() <= self._paths.keys()
        channels = view_to_json(view, self._paths, Path.cwd(), self._series) if named else []
        return SharedView._open, (channels, view_checksum(view) if named else 0, address)

    @classmethod
    def _open(cls, channels: list[dict[str, Any]], checksum: int, address: str) -> SharedView:
        """Return a view that was pickled; without pixels where the files here have others."""
        view = None
        try:
            view = view_from_json(channels, Path.cwd(), address or None) if channels else None
            view = view if view is None or view_checksum(view) == checksum else None
        except ImageError:
            # It can't be read here: who has it sends the pixels.
            view = None
        return cls(view, {})


def _with_contrast(channel: ViewChannel) -> ViewChannel:
    """Return a channel whose contrast does not depend on samples of its image."""
    source, display = channel.source, channel.display
    if display.contrast is not None or source.dtype.name in ("uint8", "bool"):
        return channel
    contrast = source.contrast(channel.plane.channel)
    return replace(channel, display=replace(display, contrast=contrast))


def view_checksum(view: ImageView) -> int:
    """Return a checksum of pieces all over the picture."""
    height, width = view.shape
    found = 0
    for row in range(_SAMPLES):
        for column in range(_SAMPLES):
            y = (height - 1) * row // (_SAMPLES - 1)
            x = (width - 1) * column // (_SAMPLES - 1)
            half = _SAMPLE_SIDE // 2
            piece = view.rgb(Region(y - half, x - half, y + half, x + half))
            found = zlib.crc32(piece.data, found)
    return found

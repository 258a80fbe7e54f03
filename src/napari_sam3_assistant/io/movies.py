"""Read movies: the frames that are shown, one by one, forward and back."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from napari_sam3_assistant.core.axes import make_axes
from napari_sam3_assistant.errors import ImageError
from napari_sam3_assistant.io.loaded import LAZY_BYTES, LoadedImage, frames_of, only_image

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    import numpy.typing as npt

    from napari_sam3_assistant.core.images import Untyped

_GREY = {
    "gray": np.uint8,
    **dict.fromkeys(("gray10le", "gray12le", "gray14le", "gray16le", "gray16be"), np.uint16),
}
"""How values of grey are stored in movies that have no colours; all others are read as RGB."""

_KEPT_BYTES = 1 << 27
"""So many bytes of frames are kept for those who step back."""


def read_movie(path: Path, series: int | None = None, lazy_bytes: int = LAZY_BYTES) -> LoadedImage:
    """Read a movie, such as AVI or MP4: axes t, y, x and, where it has any, colours.

    Parameters
    ----------
    path : Path
        The file.
    series : int, optional
        0, as there is one image.
    lazy_bytes : int
        Movies of more bytes than this are read frame by frame.

    Raises
    ------
    ImageError
        If there is no such image, or no picture in it.
    """
    import av

    with av.open(str(path)) as file:
        if not file.streams.video:
            raise ImageError(f"There is no picture in {path}.", "Choose a movie that shows some.")
        stream = file.streams.video[0]
        seconds = float(1 / stream.average_rate) if stream.average_rate else 1.0
        size, kind = (stream.height, stream.width), stream.format.name
        bits = max(component.bits for component in stream.format.components)
        # What the file says counts frames that were dropped, trimmed away or never written, too.
        count, cut_off = 0, False
        for packet in file.demux(stream):
            if packet.size:
                count += not packet.is_discard
                cut_off = packet.is_corrupt
        count -= cut_off
    if not count:
        raise ImageError(f"There is no picture in {path}.", "Copy it again from where it is from.")
    grey = kind in _GREY
    shape = size if grey else (*size, 3)
    frames = _Frames(path, None if grey else "rgb24", math.prod(shape) * 2)
    data = frames_of(frames.read, count, shape, _GREY.get(kind, np.uint8), lazy_bytes)
    ndim = 1 + len(shape)
    axes = make_axes(
        (count, *shape),
        names=("t", "y", "x", "s")[:ndim],
        scale=(seconds, 1.0, 1.0, 1.0)[:ndim],
        units=("second", "", "", "")[:ndim],
    )
    loaded = only_image(data, axes, series, rgb=not grey)
    notes = []
    if cut_off:
        notes.append(
            f"The file ends in the middle of a frame, after {count} whole ones: it may be cut off."
        )
    if bits > 8 and not grey:
        notes.append(
            f"Its pixels have {bits} bits, and are read as colours of 8: to measure intensities, "
            "export it as TIFF where it was made."
        )
    return replace(loaded, notes=tuple(notes))


class _Frames:
    """The frames of a movie by number: forward from the last one, back from a whole picture.

    Parameters
    ----------
    path : Path
        The movie.
    pixels : str or None
        How its pixels are wanted; None as they are stored.
    frame_bytes : int
        How many bytes a frame takes at most.
    """

    def __init__(self, path: Path, pixels: str | None, frame_bytes: int) -> None:
        self._path, self._pixels = path, pixels
        self._most = max(1, _KEPT_BYTES // max(1, frame_bytes))
        self._kept: dict[int, npt.NDArray[np.generic]] = {}
        # Of all frames that have ever come: when each is shown, and which are whole pictures.
        self._times: list[int | None] = []
        self._whole: list[int] = []
        self._begin()

    def read(self, number: int) -> npt.NDArray[np.generic]:
        """Return the frame of a number."""
        if number not in self._kept and number < self._next:
            self._go_back(number)
        while number not in self._kept:
            self._take(keep=number - self._next < self._most)
        return self._kept[number].copy()

    def _begin(self) -> None:
        """Begin with the first frame."""
        import av

        self._file = av.open(str(self._path))
        self._stream = self._file.streams.video[0]
        self._stream.thread_type = "AUTO"
        self._coming: Iterator[Untyped] = self._file.decode(self._stream)
        self._next = 0
        self._jumped = False

    def _go_back(self, number: int) -> None:
        """Go to the last whole picture up to a frame; what comes is compared with what came."""
        whole = max((one for one in self._whole if one <= number), default=0)
        time = self._times[whole]
        if not whole or time is None:
            self._begin()
            return
        self._file.seek(time, stream=self._stream)
        coming = self._file.decode(self._stream)
        # Some that are shown earlier lie behind it in the file.
        self._coming = (frame for frame in coming if frame.pts is None or frame.pts >= time)
        self._next = whole
        self._jumped = True

    def _take(self, *, keep: bool) -> None:
        """Decode the next frame."""
        frame = next(self._coming, None)
        known = self._next < len(self._times)
        if self._jumped and known and (frame is None or frame.pts != self._times[self._next]):
            # This file can't be entered in the middle.
            self._whole.clear()
            self._begin()
            return
        if frame is None:
            raise ImageError(
                f"{self._path} ends before frame {self._next}, and has more of them.",
                "Check that it plays elsewhere, or save it again.",
            )
        if not known:
            self._times.append(frame.pts)
            if frame.key_frame:
                self._whole.append(self._next)
        if keep:
            self._kept[self._next] = frame.to_ndarray(format=self._pixels)
            if len(self._kept) > self._most:
                del self._kept[next(iter(self._kept))]
        self._next += 1

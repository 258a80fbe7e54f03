"""Read pictures and movies: PNG, JPEG, BMP, GIF, WebP, JPEG 2000, AVI, MP4."""

from __future__ import annotations

import weakref
from typing import TYPE_CHECKING

import imageio.v3 as iio
import numpy as np
from imagecodecs import jpeg2k_decode, png_decode
from PIL import Image

from napari_sam3_assistant.core.axes import make_axes
from napari_sam3_assistant.errors import ImageError
from napari_sam3_assistant.io.loaded import LAZY_BYTES, LoadedImage, frames_of, only_image
from napari_sam3_assistant.io.series import Series

if TYPE_CHECKING:
    from pathlib import Path

    import numpy.typing as npt
    from imageio.core.v3_plugin_api import PluginV3


JPEG_2000 = (b"\x00\x00\x00\x0cjP  \r\n\x87\n", b"\xff\x4f\xff\x51")
"""How the files and the bare streams of JPEG 2000 begin."""
_KINDS = ("PNG", "JPEG", "BMP", "GIF", "WEBP", "JPEG2000")
_PLAIN_MODES = ("1", "L", "LA", "P", "RGB", "RGBA", "I", "F")
_KEPT_MODES = {
    "1": np.dtype("?"), "L": np.dtype("u1"), "I;16": np.dtype("u2"),
    "RGB": np.dtype("3u1"), "RGBA": np.dtype("4u1"),
}  # fmt: skip
"""Kinds of frames that stay what they are, and a pixel of each."""


def read_picture(
    path: Path, series: int | None = None, lazy_bytes: int = LAZY_BYTES
) -> LoadedImage:
    """Read a PNG, JPEG, BMP, GIF, WebP or JPEG 2000 file; of an animation all frames.

    Parameters
    ----------
    path : Path
        The file.
    series : int, optional
        0, as there is one image.
    lazy_bytes : int
        Animations of more bytes are read frame by frame, where they are indexed.

    Raises
    ------
    ImageError
        If there is no such image.
    """
    kind, mode, size, count = _look_at(path)
    if count > 1 and kind != "MPO":  # a photograph with its own smaller copies
        # Frames of GIF and WebP may each be of another kind; those of PNG are of the file's.
        kept = mode if kind == "PNG" and mode in _KEPT_MODES else "RGB"
        return _animation(path, series, (count, *size), lazy_bytes, mode=kept)
    pixels = _decode(path, mode)
    if pixels.ndim == 3 and pixels.shape[-1] == 2:
        pixels = pixels[..., 0]  # grey with alpha
    return only_image(pixels, "yxs"[: pixels.ndim], series, rgb=pixels.ndim == 3)


def _look_at(path: Path) -> tuple[str, str, tuple[int, int], int]:
    """Return format, colours, height and width, and number of frames; reads no pixels.

    Pillow does not open pictures of an absurd size; of its other formats some run programs.
    """
    with Image.open(path, formats=_KINDS) as picture:
        count = getattr(picture, "n_frames", 1)
        return str(picture.format), picture.mode, picture.size[::-1], count


def _decode(path: Path, mode: str) -> npt.NDArray[np.generic]:
    content = path.read_bytes()
    if content.startswith(b"\x89PNG") and content[24] == 16 and content[25] != 0:
        # Pillow cuts colours, and grey with alpha, of 16 bits to 8.
        return np.asarray(png_decode(content))
    if content.startswith(JPEG_2000) and mode in ("RGB", "RGBA", "LA"):
        return np.asarray(jpeg2k_decode(content))  # the same of JPEG 2000
    # CMYK and YCbCr have three or four channels that are no RGB.
    plain = mode in _PLAIN_MODES or mode.startswith("I;16")
    pixels: npt.NDArray[np.generic] = iio.imread(
        content, index=0, plugin="pillow", mode=None if plain else "RGB"
    )
    return pixels


def list_picture(path: Path) -> tuple[Series, ...]:
    """Return the image of a picture; reads no pixels."""
    kind, _, size, count = _look_at(path)
    return (Series("", (count, *size) if count > 1 and kind != "MPO" else size),)


def read_movie(path: Path, series: int | None = None, lazy_bytes: int = LAZY_BYTES) -> LoadedImage:
    """Read a movie, such as AVI or MP4: axes t, y, x and colours.

    Parameters, results and errors are those of :func:`read_picture`.
    """
    import av

    with av.open(str(path)) as file:
        if not file.streams.video:
            raise ImageError(f"There is no picture in {path}.", "Choose a movie that shows some.")
        stream = file.streams.video[0]
        # The packets are counted where the file does not say how many frames there are.
        count = stream.frames or sum(packet.size > 0 for packet in file.demux(stream))
        shape = (count, stream.height, stream.width)
        rate = stream.average_rate
    scale = 1.0 if not rate else float(1 / rate)
    return _animation(path, series, shape, lazy_bytes, scale)


def _animation(
    path: Path,
    series: int | None,
    size: tuple[int, ...],
    lazy_bytes: int,
    seconds: float = 0.0,
    mode: str = "RGB",
) -> LoadedImage:
    """Return the frames of a movie, whose frames have a length in seconds, or of pictures."""
    shape = (*size, *_KEPT_MODES[mode].shape)
    options = {"constant_framerate": False} if seconds else {"mode": mode}
    # One open file goes forward frame by frame, and begins again to go back.
    file: PluginV3 = (
        iio.imopen(path, "r", plugin="pyav") if seconds else iio.imopen(path, "r", plugin="pillow")
    )

    def read(number: int) -> npt.NDArray[np.generic]:
        try:
            return np.asarray(file.read(index=number, **options))
        except (StopIteration, EOFError) as exc:
            raise ImageError(
                f"{path} ends before frame {number}, and says that it has {shape[0]} frames.",
                "Check that it plays elsewhere, or save it again.",
            ) from exc

    weakref.finalize(read, file.close)
    data = frames_of(read, shape[0], shape[1:], _KEPT_MODES[mode].base, lazy_bytes)
    axes = make_axes(
        shape,
        names=("t", "y", "x", "s")[: len(shape)],
        scale=(seconds or 1.0, 1.0, 1.0, 1.0)[: len(shape)],
        units=("second" if seconds else "", "", "", "")[: len(shape)],
    )
    return only_image(data, axes, series, rgb=len(shape) == 4)

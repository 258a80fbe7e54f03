"""How pictures and answers go to a server and back."""

from __future__ import annotations

import io
import math
import pickle
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numcodecs  # type: ignore[import-untyped]
import numpy as np

if TYPE_CHECKING:
    import numpy.typing as npt

    from napari_sam3_assistant.engines.piecework import Pixels

_CODEC = numcodecs.Zstd(level=1)  # Blosc takes no more than 2 GB


@dataclass(frozen=True, slots=True)
class PackedPicture:
    """An RGB picture for the wire; of a grey one, one channel.

    ``data``: compressed.
    ``shape``: height and width.
    ``grey``: whether the three channels are equal.
    """

    data: bytes
    shape: tuple[int, int]
    grey: bool

    @classmethod
    def pack(cls, image: npt.NDArray[np.uint8]) -> PackedPicture:
        """Pack a picture of shape (H, W, 3)."""
        first = image[..., 0]
        grey = all(np.array_equal(first, image[..., other]) for other in (1, 2))
        pixels = np.ascontiguousarray(first if grey else image)
        return cls(bytes(_CODEC.encode(pixels)), image.shape[:2], grey)

    def unpack(self) -> npt.NDArray[np.uint8]:
        """Return the picture, shape (H, W, 3)."""
        flat = np.frombuffer(_CODEC.decode(self.data), np.uint8)
        if self.grey:
            return np.repeat(flat.reshape(*self.shape, 1), 3, axis=2)
        return flat.reshape(*self.shape, 3)


def pack_pixels(pixels: Pixels) -> bytes:
    """Return pictures for the wire."""
    pictures = (pixels,) if isinstance(pixels, np.ndarray) else pixels
    packed = [PackedPicture.pack(picture) for picture in pictures]
    return pack((pictures is pixels, packed))


def unpack_pixels(packed: bytes) -> Pixels:
    """Return what :func:`pack_pixels` packed."""
    many, pictures = unpack(packed)
    unpacked = tuple(picture.unpack() for picture in pictures)
    return unpacked if many else unpacked[0]


class _Packer(pickle.Pickler):
    """Pickles masks as bits, and paths so that Windows and others understand each other."""

    def reducer_override(self, value: object) -> Any:  # noqa: ANN401 - as pickle has it
        """Return how a mask or a path is made again; the rest is pickled as usual."""
        if isinstance(value, Path):
            return Path, (str(value),)
        if type(value) is np.ndarray and value.dtype == np.bool_:
            return _unpack_mask, (np.packbits(value).tobytes(), value.shape)
        return NotImplemented


def _unpack_mask(bits: bytes, shape: tuple[int, ...]) -> npt.NDArray[np.bool_]:
    count = math.prod(shape)
    return np.unpackbits(np.frombuffer(bits, np.uint8), count=count).view(bool).reshape(shape)


def pack(value: object) -> bytes:
    """Return a value for the wire; masks become a small part of what they were."""
    file = io.BytesIO()
    _Packer(file, pickle.HIGHEST_PROTOCOL).dump(value)
    return bytes(_CODEC.encode(file.getbuffer()))


def unpack(packed: bytes) -> Any:  # noqa: ANN401 - as it was packed
    """Return an answer; its server is trusted, as Dask does."""
    return pickle.loads(_CODEC.decode(packed))

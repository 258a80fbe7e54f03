"""Read DICOM: one frame, several frames, and slides in tiles."""

from __future__ import annotations

import math
import struct
from dataclasses import replace
from threading import Lock
from typing import TYPE_CHECKING, Any

import numpy as np
from imagecodecs import jpeg2k_decode

from napari_sam3_assistant.core.axes import make_axes
from napari_sam3_assistant.errors import ImageError
from napari_sam3_assistant.io.loaded import (
    LAZY_BYTES,
    NUMBERS_OF_PALETTE,
    ZERO_IS_WHITE,
    LoadedImage,
    check_length,
    check_memory,
    frames_of,
    only_image,
    tiles_of,
)
from napari_sam3_assistant.io.readers import decode_deep_jpeg, jpeg_frame

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    import numpy.typing as npt

    from napari_sam3_assistant.core.images import AnyArray, Untyped


_ITEM = 8
"""Bytes that each frame takes at least where frames are packed."""
_MOST_EMPTY = 1000
"""A slide has so many places for each tile at most: any more are nobody's."""
_NOTES = {"MONOCHROME1": ZERO_IS_WHITE, "PALETTE COLOR": NUMBERS_OF_PALETTE}


def read_dicom(path: Path, series: int | None = None, lazy_bytes: int = LAZY_BYTES) -> LoadedImage:
    """Read the image of a DICOM file, of one frame or several, as it is stored.

    A slide is put together of its tiles; its smaller sizes are other files.

    Parameters
    ----------
    path : Path
        The file, also one without the preamble that newer ones have.
    series : int, optional
        0, as there is one image.
    lazy_bytes : int
        Images of more bytes than this are read frame by frame.

    Raises
    ------
    ImageError
        If there is no such image, or it does not fit into memory.
    """
    import pydicom
    from pydicom.pixels import pixel_array
    from pydicom.pixels.utils import get_expected_length

    head = pydicom.dcmread(path, stop_before_pixels=True, force=True)
    if any(name not in head for name in ("Rows", "Columns", "BitsAllocated")):
        raise ImageError(f"There is no image in {path}.", "Choose a file that holds an image.")
    count = int(head.get("NumberOfFrames") or 1)
    samples = int(head.get("SamplesPerPixel") or 1)
    shape = (int(head.Rows), int(head.Columns), *([samples] if samples > 1 else []))
    syntax = head.file_meta.get("TransferSyntaxUID") or _guess_syntax(head)
    if syntax.is_compressed:
        check_length(path, count * _ITEM)
    else:
        check_length(path, get_expected_length(head), packed=syntax.is_deflated)
    check_memory(shape, np.uint16)
    # Packed as a whole, it has to be read as a whole.
    source = pydicom.dcmread(path) if syntax.is_deflated else path
    told: dict[str, Any] = {"decoding_plugin": _choose_decoder(syntax, head)}
    if "TransferSyntaxUID" not in head.file_meta:
        told["transfer_syntax_uid"] = syntax

    def read(number: int) -> npt.NDArray[np.generic]:
        return np.asarray(pixel_array(source, index=number, **told))

    first = read(0)
    tiles = _tiles_of_slide(head, count)
    data: AnyArray = first
    leading, along, unit = "", 0.0, ""
    if tiles is not None:
        size = (int(head.TotalPixelMatrixRows), int(head.TotalPixelMatrixColumns))
        data = tiles_of(read, tiles, first.shape, first.dtype, size, lazy_bytes)
    elif count > 1:
        data = frames_of(read, count, shape, first.dtype, lazy_bytes)
        leading, along, unit = _frame_axis(head)
    own = ["y", "x", "s"][: len(shape)]
    names = own if len(own) == data.ndim else [leading, *own]
    sizes = _spacing(head)
    known = dict(zip("yx", sizes or (), strict=False))
    axes = make_axes(
        data.shape,
        names=names,
        scale=[known.get(name, 1.0) if name in own else along or 1.0 for name in names],
        units=[("millimeter" if name in known else "") if name in own else unit for name in names],
    )
    note = _NOTES.get(str(head.get("PhotometricInterpretation")))
    loaded = only_image(data, axes, series, rgb=samples > 1)
    return replace(loaded, notes=(note,)) if note else loaded


_DECODER = "napari-sam3-assistant"
_one_at_a_time = Lock()


def _choose_decoder(syntax: Untyped, head: Untyped) -> str:
    """Return what pydicom is to decode frames by; empty where it can do so by itself.

    It asks other packages for the rest: GDCM and pylibjpeg, which are seldom there, and Pillow,
    which knows no JPEG of 12 bits and no colours of 16.
    """
    from pydicom import pixels, uid

    if syntax == uid.JPEGExtended12Bit and head.get("BitsStored") == 8:
        return ""
    if not is_available(syntax):
        return ""
    decoder = pixels.get_decoder(syntax)
    with _one_at_a_time:
        if _DECODER not in decoder.available_plugins:
            decoder.add_plugin(_DECODER, (__name__, decode_frame.__name__))
    return _DECODER


def is_available(syntax: str) -> bool:
    """Return whether :func:`decode_frame` decodes a kind of packing; pydicom asks for this name."""
    from pydicom import uid

    return syntax in {
        uid.JPEGExtended12Bit,
        uid.JPEGLossless,
        uid.JPEGLosslessSV1,
        *uid.JPEGLSTransferSyntaxes,
        *uid.JPEG2000TransferSyntaxes,
    }


def decode_frame(frame: bytes, runner: Untyped) -> bytes:
    """Return the pixels of a packed frame, and tell pydicom what they are.

    Parameters
    ----------
    frame : bytes
        A JPEG, JPEG-LS or JPEG 2000.
    runner : pydicom.pixels.decoders.base.DecodeRunner
        What the file says of its frames.

    Raises
    ------
    ImageError
        If the frame says that it has another size, or nothing here can unpack it.
    """
    from pydicom import uid

    wavelets = runner.transfer_syntax in uid.JPEG2000TransferSyntaxes
    size = _size_of_wavelets(frame) if wavelets else jpeg_frame(frame)[2][:2]
    if size != (runner.rows, runner.columns):
        raise ImageError(
            f"A frame has {size[0]} x {size[1]} pixels, and the file says "
            f"{runner.rows} x {runner.columns}.",
            "Save it again with the program that made it.",
        )
    if not wavelets:
        pixels = decode_deep_jpeg(frame)
    elif runner.transfer_syntax in (uid.HTJ2K, uid.HTJ2KLossless, uid.HTJ2KLosslessRPCL):
        pixels = _decode_high_throughput(frame)
    else:
        pixels = np.asarray(jpeg2k_decode(frame))
    runner.set_option("bits_allocated", pixels.dtype.itemsize * 8)
    if runner.samples_per_pixel > 1:
        runner.set_option("planar_configuration", 0)
    if str(runner.photometric_interpretation) in ("YBR_ICT", "YBR_RCT"):
        runner.set_option("photometric_interpretation", "RGB")
    return pixels.tobytes()


def _decode_high_throughput(frame: bytes) -> npt.NDArray[np.generic]:
    try:
        from imagecodecs import htj2k_decode  # newer than the oldest release that we run on
    except ImportError as error:
        raise ImageError(
            "It is packed by High-Throughput JPEG 2000, which the installed imagecodecs does not "
            "know.",
            "Run: pip install --upgrade imagecodecs",
        ) from error
    return np.asarray(htj2k_decode(frame))


def _size_of_wavelets(frame: bytes) -> tuple[int, int]:
    """Return height and width of a JPEG 2000; zeros if it does not say."""
    at = frame.find(b"\xff\x4f\xff\x51")
    if at < 0 or len(frame) < at + 24:
        return 0, 0
    right, bottom, left, top = struct.unpack_from(">4I", frame, at + 8)
    return bottom - top, right - left


def _guess_syntax(head: Untyped) -> Untyped:
    """Return how a file that does not say so is written: as pydicom could read its head."""
    from pydicom import uid

    implicit, little = head.original_encoding
    if implicit:
        return uid.ImplicitVRLittleEndian
    return uid.ExplicitVRLittleEndian if little else uid.ExplicitVRBigEndian


def _tiles_of_slide(head: Untyped, count: int) -> npt.NDArray[np.intp] | None:
    """Return which frame is at each tile of a slide, -1 for none; None where frames are no tiles.

    Of several colours or depths in one file each frame stays by itself.
    """
    if count < 2 or not head.get("TotalPixelMatrixColumns"):
        return None
    tile = np.array([int(head.Rows), int(head.Columns)])
    size = np.array([int(head.TotalPixelMatrixRows), int(head.TotalPixelMatrixColumns)])
    grid = -(-size // tile)
    listed, places_there = "PerFrameFunctionalGroupsSequence" in head, math.prod(grid.tolist())
    if places_there > count * (_MOST_EMPTY if listed else 1):
        return None
    if listed:
        at = np.array([_place_of_tile(frame) for frame in head.PerFrameFunctionalGroupsSequence])
    else:
        at = np.indices(grid).reshape(2, -1).T * tile  # row by row
    places = at // tile
    fits = len(places) == count and not (at % tile).any() and (places >= 0).all()
    if not fits or (places >= grid).any() or len(np.unique(places, axis=0)) < count:
        return None
    tiles = np.full(grid, -1, np.intp)
    tiles[tuple(places.T)] = np.arange(count)
    return tiles


def _place_of_tile(frame: Untyped) -> tuple[int, int]:
    """Return the row and column where a tile begins, from 0; -1 where it does not say."""
    found = frame.get("PlanePositionSlideSequence")
    if not found:
        return -1, -1
    rows, columns = (
        found[0].get(f"{name}PositionInTotalImagePixelMatrix") or 0 for name in ("Row", "Column")
    )
    return int(rows) - 1, int(columns) - 1


def _spacing(head: Untyped) -> Sequence[float] | None:
    """Return height and width of a pixel in mm; None where the file does not say."""
    for place in (_measures(head), head):
        for name in ("PixelSpacing", "ImagerPixelSpacing", "NominalScannedPixelSpacing"):
            spacing = place.get(name) if place is not None else None
            if spacing and len(spacing) == 2 and all(float(size) > 0 for size in spacing):
                return [float(size) for size in spacing]
    return None


def _measures(head: Untyped) -> Untyped:
    """Return what files of several frames say of all of them; None where they don't."""
    shared = head.get("SharedFunctionalGroupsSequence")
    found = shared[0].get("PixelMeasuresSequence") if shared else None
    return found[0] if found else None


def _frame_axis(head: Untyped) -> tuple[str, float, str]:
    """Return name, distance and unit of what the frames of a file lie along."""
    if head.get("FrameTime"):
        return ("t", float(head.FrameTime), "millisecond")
    for place in (_measures(head), head):
        for name in ("SpacingBetweenSlices", "SliceThickness"):
            spacing = place.get(name) if place is not None else None
            if spacing and float(spacing) > 0:
                return ("z", float(spacing), "millimeter")
    return ("", 0.0, "")

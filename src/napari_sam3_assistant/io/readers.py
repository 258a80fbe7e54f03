"""Read pictures and arrays: NumPy, what Pillow knows, NIfTI, MRC, CZI and ND2."""

from __future__ import annotations

import gzip
import importlib
import logging
import math
import struct
import warnings
import weakref
import zipfile
from contextlib import ExitStack, suppress
from dataclasses import replace
from datetime import timedelta
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import imageio.v3 as iio
import numpy as np
from imagecodecs import jpeg2k_decode, jpeg_decode, jpegls_decode, ljpeg_decode, png_decode
from PIL import ExifTags, Image

from napari_sam3_assistant.core.axes import make_axes
from napari_sam3_assistant.errors import ImageError
from napari_sam3_assistant.io.loaded import (
    LAZY_BYTES,
    LoadedImage,
    Series,
    check_length,
    check_memory,
    choose_series,
    explain_orientation,
    frames_of,
    only_image,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    import numpy.typing as npt

    from napari_sam3_assistant.core.images import Untyped

_REAL = "buif"
_HEADER_2 = np.lib.format.read_array_header_2_0


def read_npy(path: Path, series: int | None = None, lazy_bytes: int = LAZY_BYTES) -> LoadedImage:
    """Map an array of NumPy; reads no pixels."""
    with path.open("rb") as file:
        version = np.lib.format.read_magic(file)  # type: ignore[no-untyped-call]
        header = np.lib.format.read_array_header_1_0 if version == (1, 0) else _HEADER_2
        _, _, dtype = header(file)  # type: ignore[no-untyped-call]
    if dtype.hasobject:
        raise ImageError(
            f"{path} can't be read: it holds pickled Python objects, and these could run any "
            "program.",
            "Of a _seg.npy of Cellpose, save the masks as TIFF or PNG in Cellpose, and open that.",
        )
    data = np.load(path, mmap_mode="r", allow_pickle=False)
    return only_image(data, ("",) * data.ndim, series, rgb=None)


def read_npz(path: Path, series: int | None = None, lazy_bytes: int = LAZY_BYTES) -> LoadedImage:
    """Read one of the arrays of an ``.npz`` file; the others stay where they are.

    Parameters
    ----------
    path : Path
        The file.
    series : int, optional
        Which of its arrays of numbers with rows and columns; by default the largest.
    lazy_bytes : int
        Not used: compressed arrays can only be read whole.

    Raises
    ------
    ImageError
        If there is none, no such one, or more than fits into memory.
    """
    with zipfile.ZipFile(path) as file:
        found = list(_members(file))
        choices = tuple(Series(name.removesuffix(".npy"), shape) for name, shape, _ in found)
        number, notes = choose_series(choices, series)
        name, shape, dtype = found[number]
        check_memory(shape, dtype)
        with file.open(name) as member:
            data = np.lib.format.read_array(member, allow_pickle=False)  # type: ignore[no-untyped-call]
    axes = make_axes(shape, names=("",) * len(shape))
    return LoadedImage(data, axes, notes=notes, series=number, choices=choices)


def list_npz(path: Path) -> tuple[Series, ...]:
    """Return the images of an ``.npz`` file; reads no pixels."""
    with zipfile.ZipFile(path) as file:
        return tuple(Series(name.removesuffix(".npy"), shape) for name, shape, _ in _members(file))


def _members(file: zipfile.ZipFile) -> Iterator[tuple[str, tuple[int, ...], np.dtype[Any]]]:
    """Yield name, shape and type of each array of numbers that has rows and columns."""
    for info in file.infolist():
        if not info.filename.endswith(".npy"):
            continue
        with file.open(info) as member:
            version = np.lib.format.read_magic(member)  # type: ignore[no-untyped-call]
            old = version == (1, 0)  # the two that hold arrays of numbers
            read = np.lib.format.read_array_header_1_0 if old else _HEADER_2
            shape, _, dtype = read(member)  # type: ignore[no-untyped-call]
        # A few bytes may say of themselves that they are any number of pixels.
        fits = math.prod(shape) * dtype.itemsize <= info.file_size
        if len(shape) >= 2 and dtype.kind in _REAL and fits:
            yield info.filename, shape, dtype


JPEG_2000 = (b"\x00\x00\x00\x0cjP  \r\n\x87\n", b"\xff\x4f\xff\x51")
"""How the files and the bare streams of JPEG 2000 begin."""
_KINDS = ("PNG", "JPEG", "BMP", "GIF", "WEBP", "JPEG2000", "PPM")
_PLAIN_MODES = ("1", "L", "LA", "P", "RGB", "RGBA", "I", "F")
_KEPT_MODES = {
    "1": np.dtype("?"), "L": np.dtype("u1"), "I;16": np.dtype("u2"),
    "RGB": np.dtype("3u1"), "RGBA": np.dtype("4u1"),
}  # fmt: skip
"""Kinds of frames that stay what they are, and a pixel of each."""


def read_picture(
    path: Path, series: int | None = None, lazy_bytes: int = LAZY_BYTES
) -> LoadedImage:
    """Read a PNG, JPEG, BMP, GIF, WebP, PNM or JPEG 2000 file; of an animation all frames.

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
    kind, mode, size, count, orientation = _look_at(path)
    if count > 1 and kind != "MPO":  # a photograph with its own smaller copies
        # Frames of GIF and WebP may each be of another kind; those of PNG are of the file's.
        kept = mode if kind == "PNG" and mode in _KEPT_MODES else "RGB"
        return _animation(path, series, (count, *size), lazy_bytes, kept)
    pixels = _decode(path, mode)
    if pixels.ndim == 3 and pixels.shape[-1] == 2:
        pixels = pixels[..., 0]  # grey with alpha
    loaded = only_image(pixels, "yxs"[: pixels.ndim], series, rgb=pixels.ndim == 3)
    return replace(loaded, notes=explain_orientation(orientation))


def _look_at(path: Path) -> tuple[str, str, tuple[int, int], int, object]:
    """Return format, colours, height and width, frames and orientation; reads no pixels.

    Pillow does not open pictures of an absurd size; of its other formats some run programs.
    """
    with Image.open(path, formats=_KINDS) as picture:
        count = getattr(picture, "n_frames", 1)
        told = picture.info.get("exif", b"")
        return str(picture.format), picture.mode, picture.size[::-1], count, _orientation(told)


def _orientation(told: bytes) -> object:
    exif = Image.Exif()
    with warnings.catch_warnings(), suppress(SyntaxError, struct.error):  # damaged
        warnings.simplefilter("ignore")
        exif.load(told)
        return exif.get(ExifTags.Base.Orientation)
    return None


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
    # Pillow gives 32 bits of a PGM, which has 16 at most.
    return pixels.astype(np.uint16) if content[:2] in (b"P2", b"P5") and mode == "I" else pixels


def is_deep_jpeg(head: bytes) -> bool:
    """Return whether a file begins as a JPEG of more than 8 bits, a lossless one, or JPEG-LS."""
    return jpeg_frame(head)[:2] not in ((0, 0), (0xC0, 8), (0xC1, 8), (0xC2, 8))


_FRAMES = {*range(0xC0, 0xD0), 0xF7} - {0xC4, 0xC8, 0xCC}
"""Markers of JPEG that say what the image is; the others of their range are tables."""


def jpeg_frame(head: bytes) -> tuple[int, int, tuple[int, int, int]]:
    """Return marker, bits, and height, width and channels of a JPEG; zeros if it does not say."""
    at = 2
    while head.startswith(b"\xff\xd8\xff") and at + 10 <= len(head) and head[at] == 0xFF:
        length = int.from_bytes(head[at + 2 : at + 4], "big")
        if head[at + 1] in _FRAMES:
            size = int.from_bytes(head[at + 5 : at + 7], "big")
            return (
                head[at + 1],
                head[at + 4],
                (size, int.from_bytes(head[at + 7 : at + 9], "big"), head[at + 9]),
            )
        at += 2 + length
    return 0, 0, (0, 0, 0)


def read_deep_jpeg(
    path: Path, series: int | None = None, lazy_bytes: int = LAZY_BYTES
) -> LoadedImage:
    """Read a JPEG of 9 to 16 bits, a lossless one, or JPEG-LS, which Pillow does not know.

    Parameters, results and errors are those of :func:`read_picture`.
    """
    content = path.read_bytes()
    check_memory(jpeg_frame(content)[2], np.uint16)
    pixels = decode_deep_jpeg(content)
    return only_image(pixels, "yxs"[: pixels.ndim], series, rgb=pixels.ndim == 3)


def decode_deep_jpeg(content: bytes) -> npt.NDArray[np.generic]:
    """Return the pixels of a JPEG of 9 to 16 bits, a lossless one, or JPEG-LS."""
    marker = jpeg_frame(content)[0]
    decode = {0xC3: ljpeg_decode, 0xF7: jpegls_decode}.get(marker, jpeg_decode)
    return np.asarray(decode(content))


def list_deep_jpeg(path: Path) -> tuple[Series, ...]:
    """Return the image of such a JPEG; decodes no pixels."""
    height, width, channels = jpeg_frame(path.read_bytes())[2]
    return (Series("", (height, width, channels)[: 2 + (channels > 1)], samples=channels),)


def read_palette_numbers(path: str | Path) -> npt.NDArray[np.uint8] | None:
    """Return the numbers of a picture with a palette; None for others, and for animations."""
    with Image.open(path, formats=_KINDS) as picture:
        if picture.mode != "P" or getattr(picture, "n_frames", 1) > 1:
            return None
        return np.asarray(picture)


def list_picture(path: Path) -> tuple[Series, ...]:
    """Return the image of a picture; reads no pixels."""
    kind, _, size, count, _ = _look_at(path)
    return (Series("", (count, *size) if count > 1 and kind != "MPO" else size),)


def _animation(
    path: Path,
    series: int | None,
    size: tuple[int, ...],
    lazy_bytes: int,
    mode: str,
) -> LoadedImage:
    """Return the pictures of an animation."""
    shape = (*size, *_KEPT_MODES[mode].shape)
    # One open file goes forward picture by picture, and begins again to go back.
    file: Any = iio.imopen(path, "r", plugin="pillow")

    def read(number: int) -> npt.NDArray[np.generic]:
        try:
            return np.asarray(file.read(index=number, mode=mode))
        except (StopIteration, EOFError) as exc:
            raise ImageError(
                f"{path} ends before frame {number}, and says that it has {shape[0]} frames.",
                "Check that it plays elsewhere, or save it again.",
            ) from exc

    weakref.finalize(read, file.close)
    data = frames_of(read, shape[0], shape[1:], _KEPT_MODES[mode].base, lazy_bytes)
    axes = make_axes(shape, names=("t", "y", "x", "s")[: len(shape)])
    return only_image(data, axes, series, rgb=len(shape) == 4)


GZIP = b"\x1f\x8b"


def read_nifti(path: Path, series: int | None = None, lazy_bytes: int = LAZY_BYTES) -> LoadedImage:
    """Read a NIfTI file, version 1 or 2, also with gzip: axes c, t, z, y, x.

    Parameters
    ----------
    path : Path
        The file.
    series : int, optional
        0, as there is one image.
    lazy_bytes : int
        Images of more bytes than this are read plane by plane.

    Raises
    ------
    ImageError
        If there is no such image, or it does not fit into memory.
    """
    import nibabel

    packed = _begins(path, GZIP)
    with ExitStack() as opened:
        file = opened.enter_context(gzip.open(path) if packed else path.open("rb"))  # noqa: SIM115
        version = nibabel.Nifti2Image if file.read(4) in _NIFTI_2 else nibabel.Nifti1Image
        file.seek(0)
        holder = nibabel.FileHolder(fileobj=file)
        image = version.from_file_map({"header": holder, "image": holder})
        pixels = image.dataobj
        weakref.finalize(pixels, opened.pop_all().close)
    size = math.prod(pixels.shape) * pixels.dtype.itemsize
    check_length(path, size, packed=packed)
    ndim = len(pixels.shape)
    zooms = [float(zoom) for zoom in image.header.get_zooms()]
    space, time = (unit.replace("unknown", "") for unit in image.header.get_xyzt_units())
    # The file has its axes the other way round: x is the quickest.
    names = [*[""] * (ndim - 5), *reversed("xyztc"[:ndim])]
    known = [math.isfinite(zoom) and zoom > 0 for zoom in zooms]
    scale = [zoom if good else 1.0 for zoom, good in zip(zooms, known, strict=True)]
    units = [{"t": time, "c": "", "": ""}.get(name, space) for name in reversed(names)]
    data: Any
    if pixels.dtype.names:  # colours
        check_memory(pixels.shape, pixels.dtype)
        colours = np.asanyarray(pixels)
        data = np.stack([colours[name].T for name in pixels.dtype.names], -1)
        names, scale, units = [*names, "s"], [1.0, *scale], ["", *units]
    elif size <= lazy_bytes:
        data = np.asanyarray(pixels).T
    else:
        # Its scaling, where it has one, makes other numbers of those that are stored.
        dtype = pixels[(slice(0, 1),) * ndim].dtype
        import dask.array as da

        chunks = (*pixels.shape[:2], *(1,) * (ndim - 2))
        data = da.from_array(pixels, chunks=chunks, meta=np.empty(0, dtype)).T
    axes = make_axes(data.shape, names=names, scale=scale[::-1], units=units[::-1])
    return only_image(data, axes, series, rgb=names[-1] == "s")


_NIFTI_2 = (b"\x1c\x02\x00\x00", b"\x00\x00\x02\x1c")  # 540, the length of its header


def _begins(path: Path, magic: bytes) -> bool:
    with path.open("rb") as file:
        return file.read(len(magic)) == magic


def read_mrc(path: Path, series: int | None = None, lazy_bytes: int = LAZY_BYTES) -> LoadedImage:
    """Map an MRC file (``.mrc``, ``.map``, ``.rec``, ``.st``); with gzip it is read whole.

    Parameters, results and errors are those of :func:`read_nifti`.
    """
    import mrcfile

    with warnings.catch_warnings():
        # What many programs write there is not quite as it should be, and is read all the same.
        warnings.simplefilter("ignore")
        if _begins(path, GZIP):
            with mrcfile.open(path, permissive=True, header_only=True) as head:
                size = (int(head.header.nz), int(head.header.ny), int(head.header.nx))
            check_length(path, math.prod(size), packed=True)  # a byte a pixel at least
            check_memory(size, np.complex64)
            file = mrcfile.open(path, permissive=True)
        else:
            file = mrcfile.mmap(path, permissive=True)
    data = file.data
    if data is None or data.ndim < 2:
        raise ImageError(f"{path} is shorter than it says.", "Copy it again from where it is from.")
    if data.dtype == np.int8 and _has_unsigned_bytes(file.header):
        data = data.view(np.uint8)
    volume = data.ndim == 4 or (data.ndim == 3 and file.is_volume())
    names = ("", "z", "y", "x")[-data.ndim :] if volume else ("", "y", "x")[-data.ndim :]
    if volume:
        order = (len(names) - 3 + at for at in _order_of_volume(file.header))
        data = data.transpose(*range(len(names) - 3), *order)
    sizes = {name: float(file.voxel_size[name]) for name in "zyx"}
    known = [math.isfinite(sizes.get(name, 0.0)) and sizes.get(name, 0.0) > 0 for name in names]
    axes = make_axes(
        data.shape,
        names=names,
        scale=[sizes[name] if good else 1.0 for name, good in zip(names, known, strict=True)],
        units=["angstrom" if good else "" for good in known],
    )
    return only_image(data, axes, series, rgb=False)


_IMOD = int.from_bytes(b"IMOD", "little")
_SIGNED = 1


def _has_unsigned_bytes(header: Untyped) -> bool:
    """Return whether bytes are from 0 to 255: IMOD wrote them so, and says it by a flag."""
    stamp, flags = np.frombuffer(header.extra2.tobytes(), header.mode.dtype)[10:12]
    return int(stamp) == _IMOD and not int(flags) & _SIGNED


def _order_of_volume(header: Untyped) -> Sequence[int]:
    """Return which axes of the file z, y and x are: sections, rows and columns may be any."""
    along = [int(header[name]) for name in ("maps", "mapr", "mapc")]
    return [along.index(axis) for axis in (3, 2, 1)] if sorted(along) == [1, 2, 3] else (0, 1, 2)


def read_bio(
    path: Path, reader: str, series: int | None = None, lazy_bytes: int = LAZY_BYTES
) -> LoadedImage:
    """Open a scene of a CZI or ND2 file; reads no pixels.

    Parameters
    ----------
    path : Path
        The file.
    reader : str
        The package that reads it, such as ``bioio_czi``.
    series : int, optional
        Which of its scenes, from 0; by default the largest.
    lazy_bytes : int
        Not used: pixels are read where they are indexed.

    Raises
    ------
    ImageError
        If there is no such scene.
    """
    is_czi = reader == "bioio_czi"
    scenes = _count_czi_scenes(path) if is_czi else 0
    now = path.stat()
    choices = _list_scenes(path, reader, (now.st_mtime_ns, now.st_size))
    number, notes = choose_series(choices, series)
    if scenes > len(choices):
        # bioio knows scenes by their names alone.
        notes = (
            *notes,
            f"The file has {scenes} scenes, of which {len(choices)} can be read here: the others "
            "have no names in it. Save them as OME-TIFF to read all.",
        )
    image = _open_bio(path, reader)
    image.set_scene(number)
    if is_czi:
        notes = (*notes, *_explain_left_out(image))
    levels = []
    for level in image.resolution_levels:
        image.set_resolution_level(level)
        loaded = load_bio(image)
        if is_czi and loaded.rgb:  # blue comes first there
            data: Untyped = loaded.data
            loaded = replace(loaded, data=data[..., [2, 1, 0, *range(3, data.shape[-1])]])
        levels.append(loaded)
    first, *smaller = levels
    return replace(
        first,
        notes=notes,
        series=number,
        choices=choices,
        smaller=tuple(level.data for level in smaller),
    )


def load_bio(image: Untyped) -> LoadedImage:
    """Return the scene and level that an image of bioio, or of aicsimageio, shows; reads no pixels.

    Parameters
    ----------
    image : BioImage or AICSImage
        The image.
    """
    kept = _kept(image)
    sizes = image.physical_pixel_sizes
    by_axis = {"z": sizes.Z, "y": sizes.Y, "x": sizes.X, "t": _seconds_per_frame(image)}
    known = {name: abs(size) for name, size in by_axis.items() if size and math.isfinite(size)}
    data = image.dask_data
    data = data[tuple(slice(None) if at in kept else 0 for at in range(data.ndim))]
    names = [image.dims.order[at].lower() for at in kept]
    axes = make_axes(
        data.shape,
        names=names,
        scale=[known.get(name, 1.0) for name in names],
        units=[
            "" if name not in known else "second" if name == "t" else "micrometer" for name in names
        ],
    )
    return LoadedImage(data, axes, "s" in names)


def _open_bio(path: Path, reader: str) -> Untyped:
    import bioio

    # Colours are A in a CZI. By their usual name bioio-czi does not know them there, and reads the
    # first one three times.
    how = {"chunk_dims": list("ZYXSA")} if reader == "bioio_czi" else {}
    image = bioio.BioImage(path, reader=importlib.import_module(reader).Reader, **how)
    inner = getattr(image.reader, "_implementation", None)
    if hasattr(inner, _SIZES_OF_CZI):
        setattr(inner, _SIZES_OF_CZI, _read_czi_sizes)
    return image


_SIZES_OF_CZI = "_get_coords_and_physical_px_sizes"
"""What bioio-czi refuses files by that tell no size of a pixel, or channels that planes lack."""


def _read_czi_sizes(xml: Untyped, scene_index: int, dims_shape: Untyped) -> tuple[Untyped, Untyped]:
    """Return numbers for channels, and the size of a pixel in micrometers; None where it has none.

    Parameters and results are those of the method of bioio-czi that this stands for.
    """
    del scene_index
    from bioio_base.types import PhysicalPixelSizes

    found = {}
    for name in "ZYX":
        value = xml.findtext(f"./Metadata/Scaling/Items/Distance[@Id='{name}']/Value")
        found[name] = float(value) * 1e6 if value else None
    first, last = dims_shape.get("C", (0, 0))
    channels = {"C": list(map(str, range(last - first)))} if last > first else {}
    return channels, PhysicalPixelSizes(**found)


@lru_cache(maxsize=16)
def _list_scenes(path: Path, reader: str, stamp: tuple[int, int]) -> tuple[Series, ...]:
    """Return the scenes of a file as it was written last.

    Each scene has to be looked at for its shape: who reads all of a hundred does so once.
    """
    del stamp  # another one is another file
    image = _open_bio(path, reader)
    choices = []
    for number, name in enumerate(image.scenes):
        image.set_scene(number)
        choices.append(Series(str(name), tuple(image.shape[at] for at in _kept(image))))
    return tuple(choices)


def _count_czi_scenes(path: Path) -> int:
    """Return how many scenes a CZI has.

    Raises unless it is long enough for its planes, for each of which bioio makes an object.
    """
    from aicspylibczi import CziFile

    with path.open("rb") as file:
        scenes = CziFile(file).get_dims_shape()
    for scene in scenes:
        lengths = (last - first for name, (first, last) in scene.items() if name not in "YXA")
        check_length(path, math.prod(lengths))
    spans = (scene.get("S", (0, 1)) for scene in scenes)
    return sum(last - first for first, last in spans)


_PARTS = {"H": "phases", "V": "views", "I": "illuminations", "R": "rotations"}
"""Axes of a CZI that bioio does not hand on."""


def _explain_left_out(image: Untyped) -> tuple[str, ...]:
    """Return a note on what a CZI has several of, and bioio gives the first of."""
    dims = image.reader.dims
    left = [
        f"{length} {_PARTS[name]}"
        for name, length in zip(dims.order, dims.shape, strict=True)
        if name in _PARTS and length > 1
    ]
    if not left:
        return ()
    return (
        f"The file has {' and '.join(left)} of each plane; the first was read. "
        "To have another one, save it apart in ZEN.",
    )


def _kept(image: Untyped) -> list[int]:
    """Return the axes that the file has: bioio gives all of T, C, Z, Y, X."""
    lengths = enumerate(zip(image.dims.order, image.shape, strict=True))
    return [at for at, (name, length) in lengths if name in "YXS" or length > 1]


def _seconds_per_frame(image: Untyped) -> float | None:
    """Return how long a frame takes; None where the file does not say."""
    # Where it does not, bioio-czi logs a traceback, which is nothing to the user.
    log = logging.getLogger("bioio_czi")
    level = log.level
    log.setLevel(logging.CRITICAL)
    try:
        interval = getattr(image, "time_interval", None)
    finally:
        log.setLevel(level)
    return interval.total_seconds() if isinstance(interval, timedelta) else interval

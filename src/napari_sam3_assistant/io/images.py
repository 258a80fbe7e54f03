"""Read images of every supported format, lazily where they are large.

Which format a file has is known by its first bytes; its name counts only where these say nothing.
"""

from __future__ import annotations

import os
import zlib
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari_sam3_assistant.core.extras import pip_install
from napari_sam3_assistant.core.images import map_read_errors
from napari_sam3_assistant.core.paths import hide_secrets, is_address
from napari_sam3_assistant.errors import ImageError
from napari_sam3_assistant.io.dicom import read_dicom
from napari_sam3_assistant.io.hdf5 import read_hdf5
from napari_sam3_assistant.io.leica import read_lif
from napari_sam3_assistant.io.loaded import LAZY_BYTES, find_named
from napari_sam3_assistant.io.movies import read_movie
from napari_sam3_assistant.io.olympus import read_oif
from napari_sam3_assistant.io.readers import (
    GZIP,
    JPEG_2000,
    is_deep_jpeg,
    list_deep_jpeg,
    list_npz,
    list_picture,
    read_bio,
    read_deep_jpeg,
    read_mrc,
    read_nifti,
    read_npy,
    read_npz,
    read_picture,
)
from napari_sam3_assistant.io.tiff import list_tiff, read_tiff
from napari_sam3_assistant.io.untrusted import open_regular
from napari_sam3_assistant.io.zarr_images import read_zarr, read_zarr_zip

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from napari_sam3_assistant.io.loaded import LoadedImage, Series


@dataclass(frozen=True, slots=True)
class Format:
    """A format of files, and how they are read.

    Parameters
    ----------
    name : str
        As users know it.
    endings : tuple of str
        How its files are named, in small letters.
    begins : callable
        Tells by the first bytes of a file whether it is one.
    module : str
        The package that reads it.
    extra : str
        The extra of this package that installs it; empty where it is always there.
    read : callable
        Reads the image of a number, and takes from how many bytes on it is read piece by piece.
    list_series : callable or None
        Returns the images of a file; None where ``read`` does so, and reads no pixels.
    """

    name: str
    endings: tuple[str, ...]
    begins: Callable[[bytes], bool]
    module: str
    extra: str
    read: Callable[[Any, int | None, int], LoadedImage]
    list_series: Callable[[Any], tuple[Series, ...]] | None = None


def _begins(*magic: bytes, at: int = 0) -> Callable[[bytes], bool]:
    return lambda head: head.startswith(magic, at)


def _riff(kind: bytes) -> Callable[[bytes], bool]:
    return lambda head: head.startswith(b"RIFF") and head.startswith(kind, 8)


def _is_npz(head: bytes) -> bool:
    # Many other files are zips, too: the name of the first file in it tells.
    name = head[30 : 30 + int.from_bytes(head[26:28], "little")]
    return head.startswith(b"PK\3\4") and name.endswith(b".npy")


_ZARR_FILES = (".zgroup", ".zattrs", ".zarray", "zarr.json", ".zmetadata")


def _is_zarr_zip(head: bytes) -> bool:
    name = head[30 : 30 + int.from_bytes(head[26:28], "little")].decode("utf-8", "replace")
    return head.startswith(b"PK\3\4") and (name.endswith(_ZARR_FILES) or ".zarr/" in name)


_TIFF = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
_DICOM = b"DICM"


def _is_tiff(head: bytes) -> bool:
    # What stands before the mark of DICOM may be anything, and often is the beginning of a TIFF.
    return head.startswith(_TIFF) and not head.startswith(_DICOM, 128)


def _is_pnm(head: bytes) -> bool:
    return head[:1] == b"P" and head[1:2] in b"123456f" and head[2:3].isspace()


def _is_hdf5(head: bytes) -> bool:
    return any(head.startswith(b"\x89HDF\r\n\x1a\n", at) for at in (0, 512, 1024, 2048))


def _is_nifti(head: bytes) -> bool:
    return head.startswith(b"n+1\0", 344) or head.startswith(b"n+2\0", 4)


def _is_mp4(head: bytes) -> bool:
    # Pictures (AVIF, HEIC) are in boxes of the same kind.
    return head.startswith(b"ftyp", 4) and not head.startswith(
        (b"avi", b"hei", b"hev", b"mif", b"msf", b"crx"), 8
    )


def _picture(name: str, endings: tuple[str, ...], begins: Callable[[bytes], bool]) -> Format:
    return Format(name, endings, begins, "PIL", "", read_picture, list_picture)


def _bio(name: str, begins: Callable[[bytes], bool]) -> Format:
    module = f"bioio_{name.lower()}"
    return Format(name, (f".{name.lower()}",), begins, module, "bio", _read_by(module))


def _read_by(module: str) -> Callable[[Path, int | None, int], LoadedImage]:
    return lambda path, series, lazy_bytes: read_bio(path, module, series, lazy_bytes)


FORMATS = (
    Format(
        "TIFF",
        (".tif", ".tiff", ".btf", ".tf8", ".lsm", ".stk", ".svs", ".qptiff", ".ndpi", ".scn"),
        _is_tiff, "tifffile", "", read_tiff, list_tiff,
    ),
    _picture("PNG", (".png",), _begins(b"\x89PNG\r\n\x1a\n")),
    Format(
        "JPEG, of other kinds", (".jls",), is_deep_jpeg, "imagecodecs", "", read_deep_jpeg,
        list_deep_jpeg,
    ),
    _picture("JPEG", (".jpg", ".jpeg"), _begins(b"\xff\xd8\xff")),
    _picture("BMP", (".bmp",), lambda head: head.startswith(b"BM") and head[6:10] == b"\0\0\0\0"),
    _picture("GIF", (".gif",), _begins(b"GIF87a", b"GIF89a")),
    _picture("WebP", (".webp",), _riff(b"WEBP")),
    _picture("JPEG 2000", (".jp2", ".j2k", ".jpx"), _begins(*JPEG_2000)),
    _picture("PNM", (".pgm", ".ppm", ".pbm", ".pnm", ".pfm"), _is_pnm),
    Format("AVI", (".avi",), _riff(b"AVI "), "av", "formats", read_movie),
    Format("MP4", (".mp4", ".mov", ".m4v"), _is_mp4, "av", "formats", read_movie),
    Format(
        "Matroska", (".mkv", ".webm"), _begins(b"\x1a\x45\xdf\xa3"), "av", "formats", read_movie
    ),
    Format("NumPy", (".npy",), _begins(b"\x93NUMPY"), "numpy", "", read_npy),
    Format("NumPy, several", (".npz",), _is_npz, "numpy", "", read_npz, list_npz),
    Format("OME-Zarr in a zip", (".zarr.zip", ".ozx"), _is_zarr_zip, "zarr", "", read_zarr_zip),
    Format("HDF5", (".h5", ".hdf5", ".ims"), _is_hdf5, "h5py", "formats", read_hdf5),
    Format("NIfTI", (".nii.gz", ".nii"), _is_nifti, "nibabel", "formats", read_nifti),
    Format(
        "MRC", (".mrc", ".mrcs", ".mrc.gz", ".map.gz"),
        _begins(b"MAP ", at=208), "mrcfile", "formats", read_mrc,
    ),
    Format("DICOM", (".dcm",), _begins(_DICOM, at=128), "pydicom", "formats", read_dicom),
    _bio("CZI", _begins(b"ZISRAWFILE")),
    _bio("ND2", _begins(b"\xda\xce\xbe\x0a")),
    Format(
        "LIF", (".lif", ".lof"),
        lambda head: head.startswith(b"\x70\0\0\0") and head[8:9] == b"\x2a",
        "liffile", "bio", read_lif,
    ),
    # Its files are of the kind of Word's and Zeiss' ZVI, and begin as these.
    Format("OIB", (".oib", ".oif"), _begins(), "oiffile", "bio", read_oif),
)  # fmt: skip
"""All formats of files, each once; folders and servers hold OME-Zarr."""
NAMES = ", ".join(form.name for form in FORMATS if "," not in form.name and "zip" not in form.name)
_ZARR = Format("zarr", (".zarr",), _begins(), "zarr", "", read_zarr)
_HEAD = 4096  # bytes that tell the format
_LFS = b"version https://git-lfs.github.com/spec/"
_CONVERT = "Convert it to OME-TIFF or OME-Zarr, with Fiji (Bio-Formats) or bioformats2raw"
_SAVE = "Save it as PNG or TIFF"
_UNREAD = {
    ".vsi": ("Olympus keeps the image in .ets files beside it, which nothing here reads", _CONVERT),
    ".companion.ome": (
        "it describes the TIFF files beside it",
        "Open one of these, which takes all of them",
    ),
    **dict.fromkeys(
        (".ets", ".oir", ".zvi", ".sld", ".sldy", ".mrxs", ".dv", ".lei", ".n5"),
        ("nothing here reads this format", _CONVERT),
    ),
    **dict.fromkeys(
        (".nrrd", ".nhdr", ".mha", ".mhd", ".mgz"),
        (
            "nothing here reads this format",
            "In Python give what SimpleITK or nibabel reads of it, or convert it to NIfTI or TIFF, "
            "with 3D Slicer or Fiji",
        ),
    ),
    **dict.fromkeys(
        (".pdf", ".heic", ".heif", ".avif", ".jxl", ".jxr", ".tga", ".psd", ".svg", ".eps"),
        ("nothing here reads this format", _SAVE),
    ),
}
"""What users have and we don't read, why, and the way on. A VSI begins as a TIFF of its label."""


def format_of(path: Path) -> Format | None:
    """Return the format of a file, by its content or else by its name; None if it is no image.

    Raises
    ------
    OSError
        If it can't be opened, or is no file on a disk.
    """
    with open_regular(path) as file:
        head = file.read(_HEAD)
    if head.startswith(GZIP):
        with suppress(zlib.error):
            head = zlib.decompressobj(wbits=31).decompress(head, _HEAD)
    return next((form for form in FORMATS if form.begins(head)), None) or format_by_name(path)


def format_by_name(path: Path) -> Format | None:
    """Return the format that a file's name implies; None if it implies none."""
    return next((form for form in FORMATS if path.name.lower().endswith(form.endings)), None)


def read_image(
    path: str | Path, series: int | str | None = None, *, lazy_bytes: int = LAZY_BYTES
) -> LoadedImage:
    """Read an image.

    Parameters
    ----------
    path : str or Path
        A file of any of the formats (see the documentation, Files), a folder of a zarr array,
        an OME-Zarr image or a plate, or the address of one on a server (``https://``,
        ``s3://``), as text.
    series : int or str, optional
        Which image of a file that holds several: its number from 0, or its name. By default the one
        with most pixels, so never a thumbnail in place of its image; the notes say which.
    lazy_bytes : int
        Images of more bytes than this are read only where they are indexed, if the format can.

    Returns
    -------
    LoadedImage
        ``data``, ``axes`` (name, length, size of a pixel and unit of each), ``rgb``, ``levels``
        (all sizes of a pyramid), ``name`` and ``notes``.

    Raises
    ------
    ImageError
        If it is missing, empty, damaged or of another format, has no such series, other files
        of its set are missing, or what reads it is not installed.
    """
    with _open_place(path) as (place, form):
        number = find_named(_list(place, form), series) if isinstance(series, str) else series
        loaded = form.read(place, number, lazy_bytes)
    if 0 in loaded.data.shape:
        raise ImageError(
            f"{hide_secrets(str(path))} is empty: its image has the shape "
            f"{tuple(loaded.data.shape)}.",
            "Choose an image that has pixels.",
        )
    return replace(loaded, name=image_name(Path(path)), format=form.name, library=form.module)


def list_series(path: str | Path) -> tuple[Series, ...]:
    """Return the images of a file, or of a zarr folder, by the numbers that `read_image` takes.

    No pixels are read.

    Raises
    ------
    ImageError
        If it is missing, empty, of another format, or what stands before its pixels is damaged.
    """
    with _open_place(path) as (place, form):
        return _list(place, form)


def _list(place: str | Path, form: Format) -> tuple[Series, ...]:
    return form.list_series(place) if form.list_series else form.read(place, None, 0).choices


@contextmanager
def _open_place(path: str | Path) -> Iterator[tuple[str | Path, Format]]:
    """Give the place of an image and its format; what its readers raise becomes one sentence."""
    place: str | Path = path if is_address(path) else Path(path)
    if isinstance(place, Path) and not os.path.exists(place):  # unlike its own, if names are long
        raise ImageError(f"There is no file {path}.", "Check the path.")
    hint = "Check that it opens elsewhere, or save it again as TIFF."
    if is_address(path):
        hint = "Check the address and the connection, or copy the image to this computer."
    with map_read_errors(f"{path} can't be read", hint):
        form = _format(place)
        if find_spec(form.module) is None:
            raise _not_installed(place, form.name, form.extra)
        try:
            yield place, form
        except ImportError as exc:
            if not is_address(place):
                raise
            raise _not_installed(place, f"zarr on servers ({exc})", "remote") from exc


def _not_installed(place: str | Path, subject: str, extra: str) -> ImageError:
    return ImageError(
        f"{hide_secrets(str(place))} can't be read: what reads {subject} is not installed.",
        f"Install it: {pip_install(extra)}; or open it in napari, then segment there.",
    )


def _format(place: str | Path) -> Format:
    if isinstance(place, str) or place.is_dir():
        unread = find_unread(place, None)
        if unread is not None:
            raise unread
        return _ZARR
    if not place.is_file():
        raise ImageError(f"{place} is not a file.", "Choose a file that holds an image.")
    if place.stat().st_size == 0:
        raise ImageError(f"{place} is empty.", "Choose a file that holds an image.")
    if place.stat().st_size < _HEAD and place.read_bytes().startswith(_LFS):
        raise ImageError(
            f"{place} stands for a file that Git LFS keeps elsewhere.",
            "Fetch it: git lfs pull, in its folder.",
        )
    form = format_of(place)
    unread = find_unread(place, form)
    if unread is not None:
        raise unread
    if form is None:
        raise ImageError(
            f"Files of the type '{place.suffix}' can't be read: {place} does not begin as those of "
            "any known format do.",
            f"Use {NAMES} or OME-Zarr; or open it in napari, then segment there.",
        )
    return form


def find_unread(place: str | Path, form: Format | None) -> ImageError | None:
    """Return what to say of a format that users have and we don't read; None of any other.

    Parameters
    ----------
    place : str or Path
        The file or folder.
    form : Format or None
        What its content says.
    """
    name = str(place).lower()
    ending = next((ending for ending in _UNREAD if name.endswith(ending)), "")
    if not ending or (form is not None and ending != ".vsi"):
        return None
    why, remedy = _UNREAD[ending]
    return ImageError(
        f"{hide_secrets(str(place))} can't be read: {why}.",
        f"{remedy}; or open it in napari by a plugin that reads it, then segment there.",
    )


def image_name(path: Path) -> str:
    """Return the name of a file without its ending; other dots are part of the name."""
    known = [suffix for form in (*FORMATS, _ZARR) for suffix in form.endings]
    lower = path.name.lower()
    ending = next((suffix for suffix in known if lower.endswith(suffix)), path.suffix)
    name = path.name[: len(path.name) - len(ending)]
    return name[:-4] if name.lower().endswith(".ome") else name

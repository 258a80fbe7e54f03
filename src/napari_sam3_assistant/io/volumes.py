"""Read volumes of medicine and electron microscopy: NIfTI, MRC and DICOM."""

from __future__ import annotations

import gzip
import math
import warnings
import weakref
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_sam3_assistant.core.axes import make_axes
from napari_sam3_assistant.errors import ImageError
from napari_sam3_assistant.io.loaded import (
    LAZY_BYTES,
    LoadedImage,
    check_length,
    check_memory,
    frames_of,
    only_image,
)

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from napari_sam3_assistant.core.images import Untyped


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
    names = list(reversed("xyztc"[:ndim]))
    known = [math.isfinite(zoom) and zoom > 0 for zoom in zooms]
    scale = [zoom if good else 1.0 for zoom, good in zip(zooms, known, strict=True)]
    units = [{"t": time, "c": ""}.get(name, space) for name in reversed(names)]
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
    volume = data.ndim == 4 or (data.ndim == 3 and file.is_volume())
    names = ("", "z", "y", "x")[-data.ndim :] if volume else ("", "y", "x")[-data.ndim :]
    sizes = {name: float(file.voxel_size[name]) for name in "zyx"}
    known = [math.isfinite(sizes.get(name, 0.0)) and sizes.get(name, 0.0) > 0 for name in names]
    axes = make_axes(
        data.shape,
        names=names,
        scale=[sizes[name] if good else 1.0 for name, good in zip(names, known, strict=True)],
        units=["angstrom" if good else "" for good in known],
    )
    return only_image(data, axes, series, rgb=False)


def read_dicom(path: Path, series: int | None = None, lazy_bytes: int = LAZY_BYTES) -> LoadedImage:
    """Read the image of a DICOM file, of one frame or several, as it is stored.

    Parameters, results and errors are those of :func:`read_nifti`.
    """
    import pydicom
    from pydicom.pixels import pixel_array

    head = pydicom.dcmread(path, stop_before_pixels=True)
    if "Rows" not in head or "Columns" not in head:
        raise ImageError(f"There is no image in {path}.", "Choose a file that holds an image.")
    count = int(head.get("NumberOfFrames") or 1)
    samples = int(head.get("SamplesPerPixel") or 1)
    shape = (int(head.Rows), int(head.Columns), *([samples] if samples > 1 else []))
    if not head.file_meta.TransferSyntaxUID.is_compressed:
        check_length(path, count * math.prod(shape) * int(head.BitsAllocated) // 8)
    check_memory(shape, np.uint16)
    first = pixel_array(path, index=0)
    data = first
    if count > 1:
        data = frames_of(
            lambda number: np.asarray(pixel_array(path, index=number)),
            count, shape, first.dtype, lazy_bytes,
        )  # fmt: skip
    leading, along, unit = _frame_axis(head) if count > 1 else ("", 0.0, "")
    sizes = _dicom_spacing(head)
    axes = make_axes(
        data.shape,
        names=[leading, "y", "x", "s"][count == 1 :][: data.ndim],
        scale=[along or 1.0, *(sizes or (1.0, 1.0)), 1.0][count == 1 :][: data.ndim],
        units=[unit, *["millimeter" if sizes else ""] * 2, ""][count == 1 :][: data.ndim],
    )
    return only_image(data, axes, series, rgb=samples > 1)


def _dicom_spacing(head: Untyped) -> Sequence[float] | None:
    """Return height and width of a pixel in mm; None where the file does not say."""
    for place in (_measures(head), head):
        for name in ("PixelSpacing", "ImagerPixelSpacing", "NominalScannedPixelSpacing"):
            told = place.get(name) if place is not None else None
            if told and len(told) == 2 and all(float(size) > 0 for size in told):
                return [float(size) for size in told]
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
            told = place.get(name) if place is not None else None
            if told and float(told) > 0:
                return ("z", float(told), "millimeter")
    return ("", 0.0, "")

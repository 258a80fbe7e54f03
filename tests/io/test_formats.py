"""Files of each format, made by other writers, are read by what is in them, whatever their name.

ND2 is not here: nothing that can be installed writes it. LIF is written here by its description.
"""

import gc
import gzip
import io
import logging
import math
import os
import re
import struct
import tracemalloc
import warnings
import zipfile
from contextlib import suppress

import imagecodecs
import imageio.v3 as iio
import numpy as np
import psutil
import pytest
import tifffile
import zarr
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from zarr.storage import ZipStore

from damaged_bytes import CHANGES, damage
from napari_sam3_assistant.core.images import PlaneRef
from napari_sam3_assistant.core.regions import Region
from napari_sam3_assistant.errors import ImageError
from napari_sam3_assistant.io.file_axes import find_axes
from napari_sam3_assistant.io.image_folder import find_images
from napari_sam3_assistant.io.images import FORMATS, format_by_name, list_series, read_image
from napari_sam3_assistant.workflows.segment import first_view

DEEP = np.random.default_rng(0).integers(0, 4000, (3, 24, 32), np.uint16)
RGB = np.random.default_rng(1).integers(0, 256, (24, 32, 3), np.uint8)
FRAMES = np.zeros((4, 24, 32, 3), np.uint8) + np.array(
    [[[[40]]], [[[90]]], [[[140]]], [[[190]]]], "u1"
)
FRAMES[:, 5:10, 8:20] = (200, 60, 20)
MICRO = "micrometer"
PLAIN = ("", 1.0, "")


def plain(names):
    return tuple((name, 1.0, "") for name in names)


def write_svs(path):
    """Write what Aperio's scanner does: tiles, a thumbnail, a smaller level."""
    told = "Aperio Image Library v10.0.51\r\n32x24 [0,0 32x24] |AppMag = 20|MPP = 0.4990"
    with tifffile.TiffWriter(path) as writer:
        options = {"photometric": "rgb", "metadata": None, "software": False}
        writer.write(RGB, tile=(16, 16), description=told, **options)
        writer.write(RGB[::4, ::4], description=told, rowsperstrip=6, **options)
        writer.write(RGB[::2, ::2], tile=(16, 16), description=told, **options)


def write_bigtiff(path):
    tifffile.imwrite(path, DEEP, bigtiff=True, photometric="minisblack")


def write_qptiff(path):
    """Write what Akoya's scanner does: a page a channel, a thumbnail, and the same smaller."""
    with tifffile.TiffWriter(path) as writer:
        options = {"metadata": None, "software": "PerkinElmer-QPI", "description": "<x/>"}
        tiled = {"photometric": "minisblack", "tile": (16, 16), **options}
        size = {"resolution": (20000, 40000), "resolutionunit": "CENTIMETER"}
        for plane in DEEP:
            writer.write(plane, **tiled, **size)
        writer.write(RGB[::4, ::4], photometric="rgb", **options)
        for plane in DEEP:
            writer.write(plane[::2, ::2], **tiled)


def write_lsm(path):
    """Write what Zeiss' LSM does: a thumbnail behind each plane, and its own structure in a tag."""
    kinds = np.dtype(tifffile.TIFF.CZ_LSMINFO)
    told = np.zeros((), kinds)
    told["MagicNumber"], told["StructureSize"] = 67127628, kinds.itemsize
    told["DimensionX"], told["DimensionY"], told["DimensionZ"] = 32, 24, 3
    told["DimensionChannels"], told["DimensionTime"] = 1, 1
    told["VoxelSizeX"], told["VoxelSizeY"], told["VoxelSizeZ"] = 2.5e-7, 5e-7, 2e-6
    tag = (34412, 1, kinds.itemsize, told.tobytes(), True)
    with tifffile.TiffWriter(path, byteorder="<") as writer:
        options = {"photometric": "minisblack", "metadata": None, "software": False}
        for at, plane in enumerate(DEEP):
            writer.write(plane, extratags=[tag] if at == 0 else (), **options)
            small = plane[::4, ::4].astype(np.uint8)
            writer.write(small, subfiletype=1, **options)


def write_h5(path):
    h5py = pytest.importorskip("h5py")
    with h5py.File(path, "w") as file:
        data = file.create_dataset("raw/volume", data=DEEP, chunks=(1, 24, 32), compression="gzip")
        data.attrs["element_size_um"] = (2.0, 0.5, 0.25)
        file.create_dataset("raw/preview", data=DEEP[0, ::2, ::2])
        file.create_dataset("names", data=np.array([b"one", b"two"]))


def write_h5_with_text_first(path):
    h5py = pytest.importorskip("h5py")
    with h5py.File(path, "w", userblock_size=512) as file:
        data = file.create_dataset("exported_data", data=DEEP)
        tags = ", ".join(f'{{"key": "{name}"}}' for name in "tyx")
        data.attrs["axistags"] = f'{{"axes": [{tags}]}}'
    with path.open("r+b") as file:
        file.write(b"MATLAB 7.3 MAT-file")


def write_matlab(path, pixels):
    """Write what MATLAB 7.3 does of rows, columns and slices: its axes the other way round."""
    h5py = pytest.importorskip("h5py")
    in_matlab = np.moveaxis(pixels, 0, -1) if len(pixels) == 9 else pixels
    with h5py.File(path, "w", userblock_size=512) as file:
        data = file.create_dataset("cells", data=in_matlab.T)
        data.attrs["MATLAB_class"] = np.bytes_(pixels.dtype.name)


def write_imaris(path):
    """Write two times of two channels at two sizes, padded to the pieces that are kept together."""
    h5py = pytest.importorskip("h5py")

    def letters(text):
        return np.frombuffer(text.encode(), "S1")

    with h5py.File(path, "w") as file:
        for at, (level, time, channel) in enumerate(np.ndindex(2, 2, 2)):
            pixels = TIMES[time, channel][:, :: level + 1, :: level + 1]
            group = file.create_group(
                f"DataSet/ResolutionLevel {level}/TimePoint {time}/Channel {channel}"
            )
            padded = np.pad(pixels, [(0, 1), (0, 8), (0, 0)], constant_values=at)
            group.create_dataset("Data", data=padded, chunks=(4, 4, 8), compression="gzip")
            for axis, length in zip("ZYX", pixels.shape, strict=True):
                group.attrs[f"ImageSize{axis}"] = letters(str(length))
            group.create_dataset("Histogram", data=np.zeros(256, "u8"))
        about = file.create_group("DataSetInfo/Image").attrs
        about["Unit"] = letters("um")
        for number, end in enumerate((8.0, 12.0, 6.0)):
            about[f"ExtMin{number}"] = letters("-1.000")
            about[f"ExtMax{number}"] = letters(f"{end - 1:.3f}")
        times = file.create_group("DataSetInfo/TimeInfo").attrs
        for number in (1, 2):
            times[f"TimePoint{number}"] = letters(f"2026-11-27 10:0{number}:00.500")
        file.create_dataset("Thumbnail/Data", data=np.zeros((256, 1024), "u1"))


def write_bigdataviewer(path):
    """Write two setups, of which the first lacks a time, beside the XML that names their sizes."""
    h5py = pytest.importorskip("h5py")
    with h5py.File(path, "w") as file:
        for time, setup, level in np.ndindex(2, 2, 2):
            if (time, setup) != (0, 1):
                pixels = SETUPS[setup, time, :, :: level + 1, :: level + 1]
                name = f"t{time + 7:05d}/s{setup:02d}/{level}/cells"
                file.create_dataset(name, data=pixels.view("i2"), chunks=(2, 8, 8))
        for setup in range(2):
            file[f"s{setup:02d}/resolutions"] = np.array([[1.0, 1, 1], [2, 2, 1]])
    sizes = "".join(
        f"<ViewSetup><id>{setup}</id><voxelSize><unit>um</unit><size>{size}</size></voxelSize>"
        "</ViewSetup>"
        for setup, size in enumerate(("0.25 0.5 2.0", "none"))
    )
    path.with_suffix(".xml").write_text(f"<SpimData>{sizes}</SpimData>")


def nifti(path, data, scale, **options):
    nibabel = pytest.importorskip("nibabel")
    image = options.pop("kind", nibabel.Nifti1Image)(data, np.diag([*scale[:3], 1.0]))
    image.header.set_xyzt_units("mm", "sec")
    if len(scale) > 3:
        image.header.set_zooms(scale)
    for name, value in options.items():
        image.header[name] = value
    content = image.to_bytes()
    path.write_bytes(gzip.compress(content) if path.name.endswith("gz") else content)


SIX = np.stack([[DEEP, DEEP + 1], [DEEP + 2, DEEP + 3]])[:, :, None].astype(np.int16)


def write_nifti_2(path):
    nifti(path, DEEP.T, (0.5, 0.25, 2.0), kind=pytest.importorskip("nibabel").Nifti2Image)


def write_nifti_in_time(path):
    nifti(path, np.stack([DEEP.T, DEEP.T + 1], -1).astype(np.int16), (0.5, 0.25, 2.0, 1.5))


def write_nifti_in_colour(path):
    kind = np.dtype([("R", "u1"), ("G", "u1"), ("B", "u1")])
    pixels = np.ascontiguousarray(RGB.transpose(1, 0, 2)).view(kind)[..., 0]
    nifti(path, pixels, (1.0, 1.0, 1.0))


def write_mrc(path):
    mrcfile = pytest.importorskip("mrcfile")
    with mrcfile.new(path.with_name("made.mrc"), overwrite=True) as file:
        file.set_data(DEEP.astype(np.float32))
        file.voxel_size = (1.5, 2.5, 3.5)
    content = path.with_name("made.mrc").read_bytes()
    path.write_bytes(gzip.compress(content) if path.name.endswith("gz") else content)


def write_mrc_stack(path):
    mrcfile = pytest.importorskip("mrcfile")
    with mrcfile.new(path) as file:
        file.set_data(DEEP)
        file.set_image_stack()
        file.voxel_size = 1.5


def write_mrc_of_other_order(path):
    """Write columns along z, rows along x and sections along y, as some of the EMDB are."""
    mrcfile = pytest.importorskip("mrcfile")
    with mrcfile.new(path) as file:
        file.set_data(DEEP.transpose(1, 2, 0).copy())
        file.set_volume()
        file.header.mapc, file.header.mapr, file.header.maps = 3, 1, 2
        # Their lengths are told of x, y and z, whatever the order.
        file.header.mz, file.header.my, file.header.mx = DEEP.shape
        depth, height, width = DEEP.shape
        file.header.cella = (1.5 * width, 2.5 * height, 3.5 * depth)


def write_mrc_of_imod(path):
    """Write bytes from 0 to 255, as IMOD did: its stamp, and no flag of signed ones."""
    mrcfile = pytest.importorskip("mrcfile")
    with mrcfile.new(path) as file:
        file.set_data(RGB[..., 0].view(np.int8))
        file.header.extra2 = bytes(40) + struct.pack("<2i", 1146047817, 0) + bytes(36)


def write_dicom(path, pixels=DEEP, **told):
    pydicom = pytest.importorskip("pydicom")
    file = pydicom.Dataset()
    file.file_meta = pydicom.dataset.FileMetaDataset()
    file.file_meta.TransferSyntaxUID = pydicom.uid.ExplicitVRLittleEndian
    file.file_meta.MediaStorageSOPClassUID = pydicom.uid.SecondaryCaptureImageStorage
    file.file_meta.MediaStorageSOPInstanceUID = pydicom.uid.generate_uid()
    file.SOPClassUID = file.file_meta.MediaStorageSOPClassUID
    file.SOPInstanceUID = file.file_meta.MediaStorageSOPInstanceUID
    colours = pixels.shape[-1] == 3
    file.Rows, file.Columns = pixels.shape[-3:-1] if colours else pixels.shape[-2:]
    file.SamplesPerPixel = 3 if colours else 1
    file.PhotometricInterpretation = "RGB" if colours else "MONOCHROME2"
    file.PlanarConfiguration = 0
    file.BitsAllocated = file.BitsStored = pixels.dtype.itemsize * 8
    file.HighBit, file.PixelRepresentation = file.BitsStored - 1, 0
    if pixels.ndim - colours == 3:
        file.NumberOfFrames = len(pixels)
    for name, value in told.items():
        setattr(file, name, value)
    file.PixelData = pixels.tobytes()
    file.save_as(path, enforce_file_format=True)


def write_movie(path):
    pytest.importorskip("av")
    kinds = {".avi": ("rawvideo", "bgr24"), ".mp4": ("libx264", "yuv420p")}
    codec, colours = kinds.get(path.suffix, ("ffv1", "bgr0"))
    iio.imwrite(path, FRAMES, plugin="pyav", codec=codec, out_pixel_format=colours, fps=4)


def write_czi(path):
    writer = pytest.importorskip("pylibCZIrw.czi", reason="no wheels for this Python")
    with writer.create_czi(str(path)) as file:
        for at, plane in enumerate(DEEP):
            file.write(plane[..., None], plane={"C": at, "Z": 0, "T": 0})
        file.write_metadata("a", scale_x=0.25e-6, scale_y=0.5e-6, scale_z=1e-6)


def write_lif(path, dimensions=(), tags=(0, 0), pixels=None):
    """Write a LIF, or the LOF of one image: XML, then pixels, each with a short head.

    Dimensions are Leica's number, length, size in m or s, and bytes from one to the next.
    """
    pixels = DEEP_COLOURS if pixels is None else pixels
    step = pixels.nbytes // 3 // 2 if tags == (0, 0) else 1
    told = "".join(
        f'<DimensionDescription DimID="{kind}" NumberOfElements="{count}" Origin="0" Unit="{unit}" '
        f'Length="{size * (count - 1)}" BitInc="0" BytesInc="{stride}"/>'
        for kind, count, size, unit, stride in dimensions
    )
    channels = "".join(
        f'<ChannelDescription DataType="0" ChannelTag="{tag}" BitInc="0" BytesInc="{step * at}" '
        f'Resolution="{8 * pixels.itemsize}" NameOfMeasuredQuantity="" Min="0" Max="1" Unit="" '
        'LUTName="Gray" IsLUTInverted="0"/>'
        for at, tag in enumerate(tags)
    )
    image = (
        f"<Data><Image><ImageDescription><Channels>{channels}</Channels><Dimensions>{told}"
        "</Dimensions></ImageDescription></Image></Data>"
        f'<Memory Size="{pixels.nbytes}" MemoryBlockID="MemBlock_1"/>'
    )
    if path.suffix == ".lif":
        image = f'<Children><Element Name="Series001">{image}</Element></Children>'
    xml = f'<LMSDataContainerHeader Version="2"><Element Name="a">{image}</Element>'
    xml = lif_text(f"{xml}</LMSDataContainerHeader>")
    block = pixels.tobytes()
    if path.suffix == ".lof":
        kind = lif_text("LMS_Object_File") + struct.pack("<BIBI", 0x2A, 2, 0x2A, 0)
        path.write_bytes(kind + struct.pack("<BQ", 0x2A, len(block)) + block + xml)
        return
    name = "MemBlock_1".encode("utf-16-le")
    head = struct.pack("<IIBQBI", 0x70, len(name) + 14, 0x2A, len(block), 0x2A, len(name) // 2)
    path.write_bytes(xml + head + name + block)


def lif_text(text):
    content = text.encode("utf-16-le")
    return struct.pack("<IIBI", 0x70, len(content) + 5, 0x2A, len(text)) + content


DEEP_COLOURS = np.stack([DEEP, DEEP[:, ::-1]], 1)  # a channel after the other in each slice
LIF_STACK = ((1, 32, 2.5e-7, "m", 2), (2, 24, 5e-7, "m", 64), (3, 3, -2e-6, "m", 3072))
LIF_SWEEP = ((1, 32, 2.5e-7, "m", 2), (3, 24, 5e-7, "m", 64), (5, 3, 1e-8, "m", 1536))
LIF_COLOURS = ((1, 32, 1e-6, "m", 3), (2, 24, 1e-6, "m", 96), (4, 2, 0.5, "s", 2304))


def write_zarr_zip(path):
    """Write an OME-Zarr whose files are in a zip, as the draft of single-file OME-Zarr has them."""
    with ZipStore(path, mode="w") as store:
        steps = [{"type": "scale", "scale": [2.0, 0.5, 0.25]}]
        level = {"path": "0", "coordinateTransformations": steps}
        axes = [{"name": name, "type": "space", "unit": MICRO} for name in "zyx"]
        scales = [{"axes": axes, "datasets": [level]}]
        told = {"ome": {"version": "0.5", "multiscales": scales}}
        group = zarr.create_group(store, zarr_format=3, attributes=told)
        group.create_array("0", data=DEEP, chunks=(1, 16, 16))


NINE = np.concatenate([DEEP, DEEP + 1, DEEP + 2])
TIMES = np.stack([[DEEP, DEEP + 1], [DEEP + 2, DEEP + 3]])
SETUPS = np.stack([[DEEP + 40000, DEEP], [DEEP * 0, DEEP + 1]]).astype("u2")

FILES = {
    "grey.gif": (lambda path: iio.imwrite(path, FRAMES, duration=100), FRAMES, plain("tyxs")),
    "moving.webp": (
        lambda path: iio.imwrite(path, FRAMES, lossless=True, duration=100), FRAMES, plain("tyxs"),
    ),
    "still.webp": (lambda path: iio.imwrite(path, RGB, lossless=True), RGB, plain("yxs")),
    "a.jp2": (
        lambda path: path.write_bytes(imagecodecs.jpeg2k_encode(RGB.astype("u2") * 99, level=0)),
        RGB.astype("u2") * 99, plain("yxs"),
    ),
    "a.j2k": (
        lambda path: path.write_bytes(
            imagecodecs.jpeg2k_encode(DEEP[0], level=0, codecformat="j2k")
        ),
        DEEP[0], plain("yx"),
    ),
    "lossless.jpg": (
        lambda path: path.write_bytes(imagecodecs.ljpeg_encode(DEEP[0])), DEEP[0], plain("yx"),
    ),
    "a.jls": (
        lambda path: path.write_bytes(imagecodecs.jpegls_encode(DEEP[0])), DEEP[0], plain("yx"),
    ),
    "grey.pgm": (lambda path: Image.fromarray(RGB[..., 0]).save(path), RGB[..., 0], plain("yx")),
    "deep.pgm": (
        lambda path: path.write_bytes(
            b"P5\n%d %d\n65535\n" % DEEP[0].shape[::-1] + DEEP[0].astype(">u2").tobytes()
        ),
        DEEP[0], plain("yx"),
    ),
    "a.ppm": (lambda path: Image.fromarray(RGB).save(path), RGB, plain("yxs")),
    "a.pbm": (
        lambda path: Image.fromarray(RGB[..., 0] > 99).save(path), RGB[..., 0] > 99, plain("yx"),
    ),
    "a.ozx": (
        write_zarr_zip, DEEP, (("z", 2.0, MICRO), ("y", 0.5, MICRO), ("x", 0.25, MICRO))
    ),
    "a.svs": (write_svs, RGB, (("y", 0.499, MICRO), ("x", 0.499, MICRO), ("s", 1.0, ""))),
    "a.qptiff": (write_qptiff, DEEP, (("c", 1.0, ""), ("y", 0.25, MICRO), ("x", 0.5, MICRO))),
    "a.lsm": (
        write_lsm, DEEP, (("z", 2.0, MICRO), ("y", 0.5, MICRO), ("x", 0.25, MICRO))
    ),
    "a.btf": (write_bigtiff, DEEP, plain("qyx")),
    "a.avi": (write_movie, FRAMES, (("t", 0.25, "second"), *plain("yxs"))),
    "a.mkv": (write_movie, FRAMES, (("t", 0.25, "second"), *plain("yxs"))),
    "a.npz": (
        lambda path: np.savez_compressed(path, image=DEEP, labels=DEEP[0], who="me"),
        DEEP, (PLAIN,) * 3,
    ),
    "a.h5": (write_h5, DEEP, (("z", 2.0, MICRO), ("y", 0.5, MICRO), ("x", 0.25, MICRO))),
    "stack.mat": (lambda path: write_matlab(path, NINE), NINE, (PLAIN,) * 3),
    "colours.mat": (lambda path: write_matlab(path, RGB[..., ::-1]), RGB[..., ::-1], (PLAIN,) * 3),
    "labels.mat": (lambda path: write_matlab(path, DEEP[0]), DEEP[0], (PLAIN,) * 2),
    "a.ims": (
        write_imaris, TIMES,
        (
            ("t", 60.0, "second"), ("c", 1.0, ""), ("z", 2.0, MICRO), ("y", 0.5, MICRO),
            ("x", 0.25, MICRO),
        ),
    ),
    "setups.h5": (
        write_bigdataviewer, SETUPS[0],
        (("t", 1.0, ""), ("z", 2.0, MICRO), ("y", 0.5, MICRO), ("x", 0.25, MICRO)),
    ),
    "a.mat": (write_h5_with_text_first, DEEP, plain("tyx")),
    "a.nii": (
        lambda path: nifti(path, DEEP.T, (0.5, 0.25, 2.0)), DEEP,
        (("z", 2.0, "millimeter"), ("y", 0.25, "millimeter"), ("x", 0.5, "millimeter")),
    ),
    "a.nii.gz": (
        lambda path: nifti(path, DEEP.T, (0.5, 0.25, 2.0)), DEEP,
        (("z", 2.0, "millimeter"), ("y", 0.25, "millimeter"), ("x", 0.5, "millimeter")),
    ),
    "two.nii": (
        write_nifti_2, DEEP,
        (("z", 2.0, "millimeter"), ("y", 0.25, "millimeter"), ("x", 0.5, "millimeter")),
    ),
    "time.nii": (
        write_nifti_in_time, np.stack([DEEP, DEEP + 1]).astype(np.int16),
        (
            ("t", 1.5, "second"), ("z", 2.0, "millimeter"), ("y", 0.25, "millimeter"),
            ("x", 0.5, "millimeter"),
        ),
    ),
    "six.nii": (
        lambda path: nifti(path, SIX.T, (0.5, 0.25, 2.0)), SIX,
        (
            ("", 1.0, ""), ("c", 1.0, ""), ("t", 1.0, "second"), ("z", 2.0, "millimeter"),
            ("y", 0.25, "millimeter"), ("x", 0.5, "millimeter"),
        ),
    ),
    "colour.nii": (
        write_nifti_in_colour, RGB,
        (("y", 1.0, "millimeter"), ("x", 1.0, "millimeter"), ("s", 1.0, "")),
    ),
    "a.mrc": (
        write_mrc, DEEP.astype(np.float32),
        (("z", 3.5, "angstrom"), ("y", 2.5, "angstrom"), ("x", 1.5, "angstrom")),
    ),
    "a.map.gz": (
        write_mrc, DEEP.astype(np.float32),
        (("z", 3.5, "angstrom"), ("y", 2.5, "angstrom"), ("x", 1.5, "angstrom")),
    ),
    "order.map": (
        write_mrc_of_other_order, DEEP,
        (("z", 3.5, "angstrom"), ("y", 2.5, "angstrom"), ("x", 1.5, "angstrom")),
    ),
    "imod.mrc": (write_mrc_of_imod, RGB[..., 0], plain("yx")),
    "a.mrcs": (write_mrc_stack, DEEP, (PLAIN, ("y", 1.5, "angstrom"), ("x", 1.5, "angstrom"))),
    "a.dcm": (
        lambda path: write_dicom(path, DEEP[0], PixelSpacing=[0.5, 0.25]), DEEP[0],
        (("y", 0.5, "millimeter"), ("x", 0.25, "millimeter")),
    ),
    "frames.dcm": (
        lambda path: write_dicom(path, PixelSpacing=[0.5, 0.25], SpacingBetweenSlices=3), DEEP,
        (("z", 3.0, "millimeter"), ("y", 0.5, "millimeter"), ("x", 0.25, "millimeter")),
    ),
    "cine.dcm": (
        lambda path: write_dicom(path, FRAMES, FrameTime=40), FRAMES,
        (("t", 40.0, "millisecond"), *plain("yxs")),
    ),
    "a.lif": (
        lambda path: write_lif(path, LIF_STACK), DEEP_COLOURS,
        (("z", 2.0, MICRO), ("c", 1.0, ""), ("y", 0.5, MICRO), ("x", 0.25, MICRO)),
    ),
    "sweep.lif": (  # slices across the focus, at several wavelengths
        lambda path: write_lif(path, LIF_SWEEP, (0,), DEEP), DEEP,
        (("λ", 1.0, ""), ("z", 0.5, MICRO), ("x", 0.25, MICRO)),
    ),
    "colours.lof": (  # blue comes first there
        lambda path: write_lif(path, LIF_COLOURS, (3, 2, 1), np.stack([RGB, RGB + 1])[..., ::-1]),
        np.stack([RGB, RGB + 1]),
        (("t", 0.5, "second"), ("y", 1.0, MICRO), ("x", 1.0, MICRO), ("s", 1.0, "")),
    ),
    "a.czi": (write_czi, DEEP, (("c", 1.0, ""), ("y", 0.5, MICRO), ("x", 0.25, MICRO))),
}  # fmt: skip


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("files")


def made(folder, name):
    path = folder / name
    if not path.exists():
        FILES[name][0](path)
    need(path)
    return path


def need(path):
    form = format_by_name(path)
    if form is not None:
        pytest.importorskip(form.module, reason=f"needs the extra {form.extra}")


@pytest.mark.parametrize("lazy_bytes", [1 << 28, 0], ids=["read", "lazy"])
@pytest.mark.parametrize("name", FILES)
def test_pixels_axes_and_sizes_are_those_of_the_file(folder, name, lazy_bytes):
    _, pixels, axes = FILES[name]
    path = made(folder, name)

    loaded = read_image(path, lazy_bytes=lazy_bytes)

    np.testing.assert_array_equal(np.asarray(loaded.data[...]), pixels)
    assert loaded.data.dtype == pixels.dtype
    assert [(axis.name, pytest.approx(axis.scale), axis.unit) for axis in loaded.axes] == list(axes)
    assert bool(loaded.rgb) == (axes[-1][0] == "s")
    assert loaded.name == name.split(".")[0]
    told = list_series(path)
    assert len(told) == len(loaded.choices)
    assert told[loaded.series].shape[:2] == pixels.shape[:2]


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("wrong", ["a", "a.tif"])
def test_its_name_says_nothing(folder, tmp_path, name, wrong):
    path = made(folder, name)
    other = tmp_path / wrong
    other.write_bytes(path.read_bytes())

    loaded = read_image(other)

    np.testing.assert_array_equal(np.asarray(loaded.data[...]), FILES[name][1])


def test_a_movie_that_loses_is_nearly_the_same(tmp_path):
    write_movie(tmp_path / "a.mp4")

    for lazy_bytes in (0, 1 << 28):
        loaded = read_image(tmp_path / "a.mp4", lazy_bytes=lazy_bytes)
        assert loaded.data.shape == FRAMES.shape
        # Backwards, too.
        for number in (3, 1, 2, 0):
            frame = np.asarray(loaded.data[number])
            assert abs(np.median(frame) - np.median(FRAMES[number])) < 8


@pytest.mark.parametrize(
    ("name", "levels"),
    [("a.svs", (RGB, RGB[::2, ::2])), ("a.qptiff", (DEEP, DEEP[:, ::2, ::2]))],
)
def test_levels_are_there_and_lazy(folder, name, levels):
    loaded = read_image(made(folder, name))

    for level, pixels in zip(loaded.levels, levels, strict=True):
        np.testing.assert_array_equal(np.asarray(level[...]), pixels)
    assert not isinstance(loaded.levels[1], np.ndarray)


def test_another_array_of_the_file(folder):
    for name, number, pixels in [("a.npz", 1, DEEP[0]), ("a.h5", 0, DEEP[0, ::2, ::2])]:
        loaded = read_image(made(folder, name), number)

        np.testing.assert_array_equal(np.asarray(loaded.data[...]), pixels)
        assert read_image(folder / name).notes


def write_ndtiff(folder, frames):
    """A dataset of Micro-Manager, a file for each frame, as ndstorage lays it out."""
    index = b""
    for number, frame in enumerate(frames):
        name = f"NDTiffStack{f'_{number}' if number else ''}.tif"
        about = b'{"Camera": 1}'
        begin = struct.pack("<IIIII", 483729, 3, 0, 2355492, len(about)) + about
        at, (height, width) = 8 + len(begin), frame.shape
        tags = [(256, width), (257, height), (258, 16), (259, 1), (262, 1), (273, at)]
        tags += [(277, 1), (278, height), (279, frame.nbytes)]
        ifd = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in tags)
        content = begin + frame.astype("<u2").tobytes()
        ifd += struct.pack("<HHII", 51123, 2, len(about), 28)  # what Micro-Manager knows of it
        content += struct.pack("<H", len(tags) + 1) + ifd + bytes(4)
        (folder / name).write_bytes(struct.pack("<2sHI", b"II", 42, at + frame.nbytes) + content)
        for text in (f'{{"time": {number}}}'.encode(), name.encode()):
            index += struct.pack("<I", len(text)) + text
        index += struct.pack("<IiiiiIii", at, width, height, 1, 0, 28, len(about), 0)
    (folder / "NDTiff.index").write_bytes(index)


def test_a_dataset_of_micro_manager_in_several_files_is_one_image(tmp_path):
    """A batch did all of it once for each file."""
    write_ndtiff(tmp_path, DEEP)

    content = find_images(tmp_path, tmp_path / "out", "*.tif")

    (image,) = content.images
    np.testing.assert_array_equal(np.asarray(read_image(image.path).data[...]), DEEP)
    assert [name for name, _ in content.left_out] == ["NDTiffStack_1.tif", "NDTiffStack_2.tif"]


@pytest.mark.parametrize("kind", [np.uint8, np.uint16])
def test_colours_of_a_czi_are_the_colours_of_its_planes(tmp_path, kind):
    """Blue is stored first there; the first one was read three times: slides became grey."""
    writer = pytest.importorskip("pylibCZIrw.czi", reason="no wheels for this Python")
    pytest.importorskip("bioio_czi")
    planes = np.stack([RGB, RGB[::-1], RGB[:, ::-1]]).astype(kind)
    with writer.create_czi(str(tmp_path / "a.czi")) as file:
        for z, plane in enumerate(planes):
            for x in (0, 16):  # in two tiles
                tile = np.ascontiguousarray(plane[:, x : x + 16, ::-1])
                file.write(tile, plane={"C": 0, "Z": z, "T": 0}, location=(x, 0))

    loaded = read_image(tmp_path / "a.czi")

    assert loaded.rgb
    assert [axis.name for axis in loaded.axes] == ["z", "y", "x", "s"]
    np.testing.assert_array_equal(np.asarray(loaded.data[...]), planes)
    np.testing.assert_array_equal(np.asarray(loaded.data[1, 3:7, 9:20]), planes[1, 3:7, 9:20])


def test_a_movie_without_times_is_read_quietly(tmp_path, caplog):
    """bioio-czi logged a traceback of each such file."""
    writer = pytest.importorskip("pylibCZIrw.czi", reason="no wheels for this Python")
    need(tmp_path / "a.czi")
    with writer.create_czi(str(tmp_path / "a.czi")) as file:
        for at, plane in enumerate(DEEP):
            file.write(plane[..., None], plane={"C": 0, "Z": 0, "T": at})
        file.write_metadata("a", scale_x=0.25e-6, scale_y=0.5e-6, scale_z=1e-6)
    content = (tmp_path / "a.czi").read_bytes()
    # Of each plane Zeiss' own programs may say nothing.
    content = re.sub(rb"<METADATA>.*?</METADATA>", lambda found: bytes(len(found[0])), content)
    (tmp_path / "a.czi").write_bytes(content)

    axis = read_image(tmp_path / "a.czi").axes[0]

    assert (axis.name, axis.length, axis.unit) == ("t", len(DEEP), "")
    assert not caplog.records


@pytest.mark.parametrize("part", [b"Scaling", b"Channels"])
def test_a_czi_that_tells_less_than_bioio_asks_for_is_read(tmp_path, part):
    """As microscopes beside ZEN write them; bioio-czi refused all of it."""
    write_czi(tmp_path / "a.czi")
    need(tmp_path / "a.czi")
    content = (tmp_path / "a.czi").read_bytes()
    gone = re.compile(rb"<%s>.*?</%s>" % (part, part), re.DOTALL)
    assert gone.search(content)
    content = gone.sub(lambda found: b" " * len(found[0]), content)
    (tmp_path / "a.czi").write_bytes(content)

    loaded = read_image(tmp_path / "a.czi")

    np.testing.assert_array_equal(loaded.pixels(), DEEP)
    sizes = (1.0, 1.0, 1.0) if part == b"Scaling" else (1.0, 0.5, 0.25)
    assert tuple(axis.scale for axis in loaded.axes) == pytest.approx(sizes)
    assert [axis.name for axis in loaded.axes] == ["c", "y", "x"]


def test_phases_of_a_czi_that_are_not_read_are_told(tmp_path):
    """As a raw Airyscan has 32; the first was read in silence."""
    writer = pytest.importorskip("pylibCZIrw.czi", reason="no wheels for this Python")
    need(tmp_path / "a.czi")
    with writer.create_czi(str(tmp_path / "a.czi")) as file:
        for phase, plane in enumerate(DEEP):
            file.write(plane[..., None], plane={"C": 0, "T": phase})
        file.write_metadata("a")
    content = (tmp_path / "a.czi").read_bytes()
    (tmp_path / "a.czi").write_bytes(content.replace(b"T\0\0\0", b"H\0\0\0"))

    loaded = read_image(tmp_path / "a.czi")

    np.testing.assert_array_equal(loaded.pixels(), DEEP[0])
    assert f"{len(DEEP)} phases" in loaded.notes[0]


def test_scenes_that_can_t_be_read_are_told(tmp_path):
    writer = pytest.importorskip("pylibCZIrw.czi", reason="no wheels for this Python")
    pytest.importorskip("bioio_czi")
    with writer.create_czi(str(tmp_path / "a.czi")) as file:
        for scene in range(3):
            place = (100 * scene, 0)
            file.write(DEEP[0][..., None], plane={"C": 0}, scene=scene, location=place)

    (note,) = read_image(tmp_path / "a.czi").notes

    assert note.startswith("The file has 3 scenes, of which 1 can be read here")


@pytest.mark.parametrize(
    "form", [form for form in FORMATS if form.extra], ids=lambda form: form.name
)
def test_what_is_not_installed_is_named(folder, tmp_path, monkeypatch, form):
    path = tmp_path / f"a{form.endings[0]}"
    path.write_bytes(bytes(200))
    monkeypatch.setattr("napari_sam3_assistant.io.images.find_spec", lambda name: None)

    with pytest.raises(ImageError, match=f"what reads {form.name} is not installed") as caught:
        read_image(path)

    assert f'pip install "napari-sam3-assistant[{form.extra}]"' in caught.value.hint
    assert "open it in napari" in caught.value.hint


def read_all(path):
    """Read a part of an image as a run does; a plane is 64 x 64 at most, as sizes may be huge."""
    for lazy_bytes in (0, 1 << 20):
        loaded = read_image(path, lazy_bytes=lazy_bytes)
        source = first_view(loaded).channels[0].source
        plane = PlaneRef((0,) * len(source.leading_shape), 0 if source.has_channels else None)
        assert source.read(plane, Region(0, 0, 64, 64)).dtype.kind in "buif"


@pytest.mark.parametrize(
    ("name", "begins", "said"),
    [
        ("a.vsi", b"II*\0", r"\.ets files beside it.*bioformats2raw"),
        ("a.zvi", b"\xd0\xcf\x11\xe0", "Fiji"),
        ("a.companion.ome", b"<OME>", "describes the TIFF files beside it. Open one"),
        ("a.HEIC", b"\0\0\0\x18ftypheic", "PNG or TIFF"),
        ("a.pdf", b"%PDF-1.7", "PNG or TIFF"),
        ("a.nrrd", b"NRRD0004\n", "SimpleITK"),
    ],
)
def test_what_is_not_read_is_told_with_the_way_on(tmp_path, name, begins, said):
    path = tmp_path / name
    path.write_bytes(begins + bytes(64))
    with pytest.raises(ImageError, match=said):
        read_image(path)
    iio.imwrite(tmp_path / "b.png", RGB)
    left_out = dict(find_images(tmp_path, tmp_path / "out", "*").left_out)
    assert name == "a.vsi" or re.search(said, left_out[name])
    if name != "a.vsi":  # which begins as an image that it is not
        iio.imwrite(path, RGB, extension=".png")
        np.testing.assert_array_equal(read_image(path).data, RGB)


@pytest.mark.parametrize("name", ["a.czi", "a.ome.tif", "a"])
def test_what_git_lfs_keeps_elsewhere_is_told(tmp_path, name):
    lines = ["version https://git-lfs.github.com/spec/v1", f"oid sha256:{'0' * 64}", "size 5"]
    (tmp_path / name).write_text("\n".join([*lines, ""]))
    with pytest.raises(ImageError, match="git lfs pull"):
        read_image(tmp_path / name)


def test_n5_is_told(tmp_path):
    (tmp_path / "a.n5").mkdir()
    (tmp_path / "a.n5" / "attributes.json").write_text('{"n5": "2.0.0"}')
    with pytest.raises(ImageError, match=r"nothing here reads this format.*OME-Zarr"):
        read_image(tmp_path / "a.n5")


# A movie and a CZI take long to open; these were tried by hand.
SLOW = {"a.avi", "a.mkv", "a.czi"}


@given(st.sampled_from(sorted(set(FILES) - SLOW)), CHANGES)
def test_a_damaged_file_is_read_or_told(folder, name, changes):
    logging.getLogger("tifffile").setLevel(logging.CRITICAL)
    content = made(folder, name).read_bytes()
    for change in changes:
        content = damage(content, change)
    path = folder / f"damaged {name}"
    path.write_bytes(content)
    with warnings.catch_warnings(), suppress(ImageError):
        warnings.simplefilter("ignore")  # libraries warn of what is odd, and read it all the same
        read_all(path)


@pytest.mark.parametrize("name", sorted(set(FILES) - SLOW))
def test_a_file_that_can_t_be_opened_is_let_go_at_once(folder, name):
    logging.getLogger("tifffile").setLevel(logging.CRITICAL)
    content = made(folder, name).read_bytes()
    path = folder / f"half {name}"
    gc.disable()  # which closes it sooner or later, and on Windows nobody can move it until then
    try:
        for kept in (len(content) // 2, 400, 300, 64):
            path.write_bytes(content[:kept])
            try:
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore")
                    read_image(path)
            except ImageError:
                pass
            else:
                continue
            assert str(path) not in [one.path for one in psutil.Process().open_files()]
    finally:
        gc.enable()


def test_a_file_whose_pixels_can_t_be_read_is_let_go_at_once(tmp_path):
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, DEEP, photometric="minisblack", tile=(16, 16), compression="zlib")
    with tifffile.TiffFile(path) as file:
        start, length = file.pages[0].dataoffsets[0], file.pages[0].databytecounts[0]
    content = bytearray(path.read_bytes())
    content[start : start + length] = bytes(length)
    path.write_bytes(content)
    gc.disable()
    try:
        with pytest.raises(ImageError, match="could not be read"):
            first_view(read_image(path, lazy_bytes=0)).channels[0].source.read(PlaneRef((0,)))
        assert str(path) not in [one.path for one in psutil.Process().open_files()]
    finally:
        gc.enable()


HUGE = 60_000


def claim_npz(path):
    """Write an array that says of itself that it has terabytes."""
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(
        header, {"descr": "<f8", "fortran_order": False, "shape": (HUGE, HUGE, HUGE)}
    )
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("a.npy", header.getvalue() + bytes(80))


def bomb_npz(path):
    """Write an array of zeros that is honest, larger than any memory, and small when packed."""
    shape = (HUGE, HUGE, HUGE)
    header = io.BytesIO()
    told = {"descr": "<f8", "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(header, told)
    content = header.getvalue() + bytes(80)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr("a.npy", content)
    # The sizes of the member, as a packer of all these zeros would have written them.
    data = path.read_bytes()
    size = len(header.getvalue()) + 8 * math.prod(shape)
    start = data.index(b"PK\1\2")
    name_end = start + 46 + 5
    extra = struct.pack("<HHQ", 1, 8, size)
    entry = bytearray(data[start:name_end])
    entry[24:28] = b"\xff" * 4
    entry[30:32] = struct.pack("<H", len(extra))
    end = bytearray(data[name_end:])
    end[12:16] = struct.pack("<I", len(entry) + len(extra))
    path.write_bytes(data[:start] + bytes(entry) + extra + bytes(end))


def claim(path, write, at, value):
    """Write a file, and then a huge size into its header."""
    write(path)
    content = path.read_bytes()
    packed = content.startswith(b"\x1f\x8b")
    plain = bytearray(gzip.decompress(content) if packed else content)
    plain[at : at + len(value)] = value
    path.write_bytes(gzip.compress(bytes(plain)) if packed else bytes(plain))


def claim_nifti(path):
    claim(path, FILES["a.nii"][0], 42, struct.pack("<3h", 32000, 32000, 32000))


def claim_mrc(path):
    claim(path, write_mrc, 0, struct.pack("<3i", HUGE, HUGE, HUGE))


def claim_czi(path):
    """Write that a tile of the mosaic is the fifty-millionth."""
    write_czi(path)
    content = path.read_bytes()
    at = content.rindex(b"M\0\0\0\0\0\0\0\1\0\0\0")
    claim(path, lambda path: path.write_bytes(content), at + 4, struct.pack("<i", 50_000_000))


HOSTILE = {
    "claims.czi": (claim_czi, "too short for that"),
    "claims.npz": (claim_npz, "holds no image"),
    "bomb.npz": (bomb_npz, "GB of memory are free"),
    "claims.mrc": (claim_mrc, "shorter than it says|can't be read"),
    "claims.map.gz": (claim_mrc, "too short for that"),
    "claims.nii.gz": (claim_nifti, "too short for that"),
    "claims.dcm": (
        lambda path: write_dicom(path, DEEP[0], Rows=65535, Columns=65535), "too short for that",
    ),
    "pickled.npz": (lambda path: np.savez(path, a=np.array([[{}]])), "holds no image"),
    "claims.gif": (
        lambda path: claim(path, FILES["grey.gif"][0], 6, struct.pack("<2H", 65000, 65000)),
        "can't be read",
    ),
    "claims.bmp": (
        lambda path: claim(
            path, lambda path: iio.imwrite(path, RGB), 18, struct.pack("<2i", HUGE, HUGE)
        ),
        "can't be read",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", HOSTILE)
def test_a_huge_claim_is_one_sentence_and_takes_no_memory(tmp_path, name):
    path = tmp_path / name
    write, said = HOSTILE[name]
    write(path)
    need(path)

    tracemalloc.start()
    try:
        with pytest.raises(ImageError, match=said) as caught:
            read_plane(path)
        assert tracemalloc.get_traced_memory()[1] < 64e6
    finally:
        tracemalloc.stop()
    assert "\n" not in str(caught.value)


def read_plane(path):
    source = first_view(read_image(path)).channels[0].source
    source.read(PlaneRef((0,) * len(source.leading_shape)))


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="the system has no pipes among its files")
def test_what_is_no_file_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "pipe.tif")
    (tmp_path / "loop.tif").symlink_to("loop.tif")
    (tmp_path / "gone.tif").symlink_to("nowhere.tif")
    (tmp_path / "empty.h5").touch()

    for name, said in [
        ("pipe.tif", "is not a file"),
        ("loop.tif", "There is no file"),
        ("gone.tif", "There is no file"),
        ("empty.h5", "is empty"),
    ]:
        with pytest.raises(ImageError, match=said):
            read_image(tmp_path / name)


def test_a_setup_of_bigdataviewer_keeps_its_times(folder):
    """What it lacks is black and told, where another setup has that time."""
    loaded = read_image(made(folder, "setups.h5"), 1)

    np.testing.assert_array_equal(np.asarray(loaded.data[...]), SETUPS[1])
    assert loaded.notes == ("1 of 2 stacks are not in the file; they are black.",)
    assert [level.shape for level in loaded.levels] == [(2, 3, 24, 32), (2, 3, 12, 16)]
    np.testing.assert_array_equal(np.asarray(loaded.levels[1][1]), DEEP[:, ::2, ::2] + 1)


def test_pixels_of_other_files_are_not_read_from_hdf5(tmp_path):
    h5py = pytest.importorskip("h5py")
    (tmp_path / "secret").write_bytes(bytes(range(100)))
    with h5py.File(tmp_path / "a.h5", "w") as file:
        outside = [(str(tmp_path / "secret"), 0, 100)]
        file.create_dataset("outside", (10, 10), "u1", external=outside)
        file["linked"] = h5py.ExternalLink("b.h5", "/data")
        layout = h5py.VirtualLayout((10, 10), "u1")
        layout[...] = h5py.VirtualSource("b.h5", "data", (10, 10))
        file.create_virtual_dataset("virtual", layout)

    with pytest.raises(ImageError, match="holds no image"):
        read_image(tmp_path / "a.h5")


def test_files_that_are_no_images_are_left_out_of_a_folder(tmp_path):
    """Also those that begin as images do: documents are zips, as .npz is."""
    source = tmp_path / "in"
    source.mkdir()
    with zipfile.ZipFile(source / "table.xlsx", "w") as file:
        file.writestr("[Content_Types].xml", "<x/>")
    (source / "notes.txt").write_text("no image")
    (source / "run.py").write_text("print()")
    (source / "letters").write_bytes(bytes(range(256)) * 3)
    np.savez(source / "array", image=DEEP)
    tifffile.imwrite(source / "no ending", DEEP[0])
    os.link(source / "no ending", source / "slide.data")

    content = find_images(source, tmp_path / "out", "*")

    names = [(one.relative, one.stem) for one in content.images]
    assert names == [
        ("array.npz", "array"), ("no ending", "no ending"), ("slide.data", "slide")
    ]  # fmt: skip
    assert [name for name, _ in content.left_out] == [
        "letters", "notes.txt", "run.py", "table.xlsx"
    ]  # fmt: skip


@pytest.mark.parametrize("order", ["yx", "zyx", "czyx", "zyxc", "tczyx", "tzcyx"])
@pytest.mark.parametrize("named", [True, False])
def test_hdf5_sizes_of_pixels_belong_to_the_axes_that_they_are_told_of(order, named, tmp_path):
    h5py = pytest.importorskip("h5py")
    true = {"t": 60.0, "c": 1.0, "z": 2.0, "y": 0.5, "x": 0.25}
    with h5py.File(tmp_path / "a.h5", "w") as file:
        data = file.create_dataset("raw", data=np.zeros(range(2, 2 + len(order)), "u1"))
        data.attrs["element_size_um"] = [true[name] for name in order]
        for place, name in enumerate(order if named else ""):
            data.dims[place].label = name

    axes = {axis.name: axis.scale for axis in read_image(tmp_path / "a.h5").axes if axis.unit}
    known = named or len(order) <= 3
    assert axes == ({name: true[name] for name in order if name in "zyx"} if known else {})


PACKED_WHOLE = (".gif", ".webp", ".jp2", ".j2k", ".avi", ".mkv", ".npz", ".dcm", ".gz")
"""Of these nothing can be asked without pixels."""


@pytest.mark.parametrize("name", FILES)
def test_of_an_array_that_another_reader_made_the_file_tells_the_same(folder, name):
    _, pixels, axes = FILES[name]
    expected = [("", 1.0, "") if axis == ("q", 1.0, "") else axis for axis in axes]
    # Of a group of HDF5 the array may be any, and not the first.
    found = find_axes(made(folder, name), pixels.shape, as_stored=name != "a.h5")
    if name.endswith(PACKED_WHOLE) or {axis[1:] for axis in expected} == {(1.0, "")}:
        expected = [axis for axis in expected if name == "a.mat"]  # which names its times
    assert [(axis.name, pytest.approx(axis.scale), axis.unit) for axis in found] == expected

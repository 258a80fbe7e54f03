"""DICOM as scanners and other programs wrote it: files that pydicom brings for its own tests."""

import shutil
import sys
import tracemalloc
from types import ModuleType

import imagecodecs
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from napari_sam3_assistant.errors import ImageError
from napari_sam3_assistant.io.images import read_image

pydicom = pytest.importorskip("pydicom")
TILE, GRID = (16, 24), (3, 2)  # of a slide of 40 x 36 pixels
SLIDE = np.random.default_rng(0).integers(1, 256, (40, 36, 3), np.uint8)


def bundled(name):
    return pydicom.data.get_testdata_file(name, download=False)


@pytest.mark.parametrize("kept_name", [True, False])
@pytest.mark.parametrize(
    "name",
    [
        "CT_small.dcm",  # what stands before its mark begins as a TIFF, which it is not
        "MR_small_RLE.dcm",
        "image_dfl.dcm",  # packed as a whole
        "SC_ybr_full_422_uncompressed.dcm",  # two pixels share their colours
        "liver_1frame.dcm",  # eight pixels in a byte
        "JPEG2000.dcm",
    ],
)
def test_pixels_are_those_that_pydicom_reads(tmp_path, name, kept_name):
    file = pydicom.dcmread(bundled(name))
    path = tmp_path / (name if kept_name else "a.tif")
    shutil.copyfile(bundled(name), path)

    loaded = read_image(path)

    np.testing.assert_array_equal(loaded.pixels(), file.pixel_array)
    assert loaded.format == "DICOM"
    if "PixelSpacing" in file:
        assert [axis.scale for axis in loaded.axes[:2]] == pytest.approx(list(file.PixelSpacing))


@pytest.mark.parametrize("syntax", ["Explicit", "Implicit"])
def test_a_file_without_its_first_part_is_read(tmp_path, syntax):
    """As many were written before DICOM had files: the data alone."""
    file = pydicom.dcmread(bundled("MR_small.dcm"))
    pixels = file.pixel_array
    del file.file_meta
    file.preamble = None
    path = tmp_path / "a.dcm"
    file.save_as(path, implicit_vr=syntax == "Implicit", little_endian=True, overwrite=True)
    assert path.read_bytes()[128:132] != b"DICM"

    np.testing.assert_array_equal(read_image(path).pixels(), pixels)


@pytest.mark.parametrize(
    ("kind", "said"), [("MONOCHROME1", "0 is white"), ("PALETTE COLOR", "palette")]
)
def test_what_is_shown_otherwise_is_told(tmp_path, kind, said):
    file = pydicom.dcmread(bundled("MR_small.dcm"))
    file.PhotometricInterpretation = kind
    file.save_as(tmp_path / "a.dcm")

    (note,) = read_image(tmp_path / "a.dcm").notes

    assert said in note
    assert not read_image(bundled("MR_small.dcm")).notes


def write_slide(path, frames, places=None, **told):
    """Write a slide of tiles; row by row, or each with the place that it has."""
    file = pydicom.dcmread(bundled("SC_rgb_rle_2frame.dcm"))
    file.file_meta.TransferSyntaxUID = pydicom.uid.ExplicitVRLittleEndian
    file.Rows, file.Columns = TILE
    file.TotalPixelMatrixRows, file.TotalPixelMatrixColumns = SLIDE.shape[:2]
    file.NumberOfFrames, file.PixelData = len(frames), np.stack(frames).tobytes()
    file["PixelData"].is_undefined_length = False
    file.PlanarConfiguration = 0
    if places is not None:
        file.PerFrameFunctionalGroupsSequence = []
        for row, column in places:
            place, frame = pydicom.Dataset(), pydicom.Dataset()
            place.RowPositionInTotalImagePixelMatrix = row + 1
            place.ColumnPositionInTotalImagePixelMatrix = column + 1
            frame.PlanePositionSlideSequence = [place]
            file.PerFrameFunctionalGroupsSequence.append(frame)
    for name, value in told.items():
        setattr(file, name, value)
    file.save_as(path)


def tiles_of_slide():
    (height, width), (rows, columns) = TILE, GRID
    whole = np.zeros((rows * height, columns * width, 3), np.uint8)
    whole[: SLIDE.shape[0], : SLIDE.shape[1]] = SLIDE
    places = [(row * height, column * width) for row in range(rows) for column in range(columns)]
    return [whole[y : y + height, x : x + width] for y, x in places], places


@pytest.mark.parametrize("lazy_bytes", [1 << 28, 0], ids=["read", "lazy"])
def test_a_slide_is_one_image(tmp_path, lazy_bytes):
    """It was a stack of its tiles."""
    frames, _ = tiles_of_slide()
    write_slide(tmp_path / "a.dcm", frames)

    loaded = read_image(tmp_path / "a.dcm", lazy_bytes=lazy_bytes)

    np.testing.assert_array_equal(loaded.pixels(), SLIDE)
    assert [axis.name for axis in loaded.axes] == ["y", "x", "s"]
    assert loaded.rgb


def test_a_slide_may_lack_tiles_and_have_them_in_any_order(tmp_path):
    frames, places = tiles_of_slide()
    order = [5, 0, 3, 2]
    write_slide(tmp_path / "a.dcm", [frames[at] for at in order], [places[at] for at in order])

    pixels = read_image(tmp_path / "a.dcm").pixels()

    expected = SLIDE.copy()
    for gone in set(range(len(places))) - set(order):
        y, x = places[gone]
        expected[y : y + TILE[0], x : x + TILE[1]] = 0
    np.testing.assert_array_equal(pixels, expected)


def test_what_holds_no_image_is_told(tmp_path):
    with pytest.raises(ImageError, match="There is no image in"):
        read_image(bundled("rtplan.dcm"))


@pytest.mark.parametrize("listed", [True, False])
def test_a_huge_claim_of_a_slide_takes_no_memory(tmp_path, listed):
    frames, places = tiles_of_slide()
    claimed = {f"TotalPixelMatrix{name}": 2**32 - 1 for name in ("Rows", "Columns")}
    write_slide(tmp_path / "a.dcm", frames, places if listed else None, **claimed)

    tracemalloc.start()
    try:
        pixels = read_image(tmp_path / "a.dcm").pixels()
        assert tracemalloc.get_traced_memory()[1] < 64e6
    finally:
        tracemalloc.stop()

    np.testing.assert_array_equal(pixels, np.stack(frames))


def test_a_huge_number_of_packed_frames_is_told(tmp_path):
    file = pydicom.dcmread(bundled("SC_rgb_rle_2frame.dcm"))
    file.NumberOfFrames = 2**31 - 1
    file.save_as(tmp_path / "a.dcm")
    with pytest.raises(ImageError, match="too short for that"):
        read_image(tmp_path / "a.dcm")


PACKINGS = {
    "ExplicitVRLittleEndian": np.ndarray.tobytes,
    "ExplicitVRBigEndian": lambda frame: frame.astype(frame.dtype.newbyteorder(">")).tobytes(),
    "DeflatedExplicitVRLittleEndian": np.ndarray.tobytes,
    "RLELossless": None,
    "JPEGLossless": lambda frame: imagecodecs.jpeg_encode(frame, lossless=True, predictor=4),
    "JPEGLosslessSV1": lambda frame: imagecodecs.jpeg_encode(frame, lossless=True, predictor=1),
    "JPEGLSLossless": imagecodecs.jpegls_encode,
    "JPEG2000Lossless": lambda frame: imagecodecs.jpeg2k_encode(
        frame, codecformat="j2k", reversible=True
    ),
    "HTJ2KLossless": lambda frame: imagecodecs.htj2k_encode(frame, reversible=True),
}


def write_packed(path, frames, packing):
    """Write frames, shape (frames, y, x) or with colours, packed in one of the ways of DICOM."""
    colours = frames.ndim == 4
    big = packing.endswith("BigEndian")
    file = pydicom.dcmread(bundled("MR_small_bigendian.dcm" if big else "MR_small.dcm"))
    file.file_meta.TransferSyntaxUID = getattr(pydicom.uid, packing)
    file.NumberOfFrames, file.Rows, file.Columns = frames.shape[:3]
    file.BitsAllocated = file.BitsStored = frames.dtype.itemsize * 8
    file.HighBit, file.SamplesPerPixel = file.BitsStored - 1, 3 if colours else 1
    file.PixelRepresentation = int(frames.dtype.kind == "i")
    del file["SmallestImagePixelValue"], file["LargestImagePixelValue"]
    if colours:
        reversible = packing == "JPEG2000Lossless"
        file.PhotometricInterpretation = "YBR_RCT" if reversible else "RGB"
        file.PlanarConfiguration = 0
    pack = PACKINGS[packing]
    if not file.file_meta.TransferSyntaxUID.is_compressed:
        pixels = b"".join(map(pack, frames))
        file.PixelData = pixels + b"\0" * (len(pixels) % 2)
    elif pack is None:
        file.compress(pydicom.uid.RLELossless, frames if len(frames) > 1 else frames[0])
    else:
        # JPEG does not know of numbers below 0: their bits are those of others.
        unsigned = frames.view(f"u{frames.dtype.itemsize}") if packing[:5] != "JPEG2" else frames
        packed = [bytes(pack(np.ascontiguousarray(frame))) for frame in unsigned]
        file.PixelData = pydicom.encaps.encapsulate(packed)
        file["PixelData"].is_undefined_length = True
    file["PixelData"].VR = "OW" if frames.itemsize > 1 else "OB"
    file.save_as(path, enforce_file_format=True)


PACKINGS_HERE = [
    name
    for name in PACKINGS
    if hasattr(imagecodecs, "htj2k_encode") or not name.startswith("HTJ2K")
]
"""Those that the installed imagecodecs can write."""


@pytest.mark.parametrize("packing", PACKINGS_HERE)
@given(data=st.data())
def test_the_same_pixels_in_whatever_packing(tmp_path_factory, packing, data):
    """JPEG-LS and JPEG without loss were not read, nor colours of 16 bits in JPEG 2000."""
    colours = data.draw(st.sampled_from([(), (3,)]))
    shape = data.draw(st.tuples(st.integers(1, 3), st.integers(1, 9), st.integers(1, 9)))
    kinds = ["u1", "u2"] if colours else ["u1", "u2", "i2"]
    frames = data.draw(arrays(data.draw(st.sampled_from(kinds)), shape + colours))
    path = tmp_path_factory.mktemp("packed") / "a.dcm"
    write_packed(path, frames, packing)

    loaded = read_image(path, lazy_bytes=data.draw(st.sampled_from([0, 1 << 20])))

    np.testing.assert_array_equal(loaded.pixels(), frames if len(frames) > 1 else frames[0])
    assert loaded.pixels().dtype.newbyteorder("=") == frames.dtype


@pytest.mark.parametrize("packing", ["JPEGLSLossless", "JPEGLosslessSV1", "JPEG2000Lossless"])
def test_a_frame_that_claims_another_size_takes_no_memory(tmp_path, packing):
    frames = np.zeros((1, 8, 8), np.uint8)
    write_packed(tmp_path / "a.dcm", frames, packing)
    file = pydicom.dcmread(tmp_path / "a.dcm")
    told = (8).to_bytes(4 if "2000" in packing else 2, "big") * 2
    assert told in file.PixelData
    file.PixelData = file.PixelData.replace(told, b"\x7f" * len(told), 1)
    file.save_as(tmp_path / "a.dcm")

    with pytest.raises(ImageError, match="pixels, and the file says 8 x 8"):
        read_image(tmp_path / "a.dcm")


@pytest.mark.skipif("HTJ2KLossless" not in PACKINGS_HERE, reason="nothing here can write it")
def test_an_older_imagecodecs_is_to_be_upgraded_for_the_one_packing_it_lacks(tmp_path, monkeypatch):
    write_packed(tmp_path / "a.dcm", np.zeros((1, 8, 8), np.uint8), "HTJ2KLossless")
    monkeypatch.setitem(sys.modules, "imagecodecs", ModuleType("imagecodecs"))

    with pytest.raises(ImageError, match="pip install --upgrade imagecodecs"):
        read_image(tmp_path / "a.dcm")


def test_jpeg_of_12_bits_is_read():
    """Pillow knows no more than 8."""
    pixels = read_image(bundled("JPGExtended.dcm")).pixels()

    assert (pixels.shape, pixels.dtype, pixels.max()) == ((1024, 256), np.uint16, 264)

"""TIFF: axes from the file, large files read where they are indexed."""

import gc

import numpy as np
import pytest
import tifffile
from hypothesis import given
from hypothesis import strategies as st
from napari_builtins.io import napari_get_reader
from PIL import Image

from napari_sam3_assistant.core.axes import guess_axes
from napari_sam3_assistant.core.images import ImageSource, PlaneRef
from napari_sam3_assistant.core.regions import Region
from napari_sam3_assistant.io.images import read_image
from napari_sam3_assistant.io.tiff import read_tiff

STACK = np.arange(3 * 64 * 48, dtype=np.uint16).reshape(3, 64, 48)
RGB = np.random.default_rng(0).integers(0, 256, (64, 48, 3), np.uint8)


@pytest.mark.parametrize(
    ("data", "options", "labels", "rgb"),
    [
        (STACK, {"photometric": "minisblack", "metadata": {"axes": "ZYX"}}, "zyx", False),
        (STACK, {"imagej": True, "metadata": {"axes": "CYX"}}, "cyx", False),
        (STACK[0], {}, "yx", False),
        (RGB, {"photometric": "rgb"}, "yxs", True),
        (
            RGB[None].repeat(2, 0),
            {"photometric": "rgb", "metadata": {"axes": "TYXS"}},
            "tyxs",
            True,
        ),
        (
            np.dstack([RGB, RGB[..., :1]]),
            {"photometric": "rgb", "extrasamples": ["unassalpha"]},
            "yxs",
            True,
        ),
    ],
    ids=["stack", "imagej", "plane", "rgb", "video", "rgba"],
)
def test_axes_as_the_file_says(tmp_path, data, options, labels, rgb):
    tifffile.imwrite(tmp_path / "a.tif", data, **options)

    loaded = read_tiff(tmp_path / "a.tif")

    np.testing.assert_array_equal(loaded.data, data)
    assert loaded.axis_labels == tuple(labels)
    assert loaded.rgb == rgb


@pytest.mark.parametrize(
    ("shape", "options", "labels"),
    [
        ((64, 48, 2), {}, "yxc"),
        ((3, 64, 48, 5), {}, "qyxc"),
        ((64, 48, 3), {"photometric": "minisblack"}, "yxc"),
        ((64, 48, 2), {"metadata": {"axes": "ZYX"}}, "zyx"),
        ((5, 64, 48), {}, "qyx"),
        ((40, 6, 5), {}, "qyx"),
    ],
)
def test_an_array_that_was_saved_without_names_has_its_channels_last(
    tmp_path, shape, options, labels
):
    """Else its rows would be planes of two columns, each of which a batch segments."""
    tifffile.imwrite(tmp_path / "a.tif", np.zeros(shape, np.float32), **options)

    assert read_tiff(tmp_path / "a.tif").axis_labels == tuple(labels)


@pytest.mark.parametrize("lazy_bytes", [1 << 28, 0], ids=["read", "lazy"])
@pytest.mark.parametrize("compression", [None, "zlib"])
def test_colours_stored_plane_by_plane_become_the_last_axis(tmp_path, compression, lazy_bytes):
    tifffile.imwrite(
        tmp_path / "a.tif",
        RGB.transpose(2, 0, 1),
        photometric="rgb",
        planarconfig="separate",
        compression=compression,
    )

    loaded = read_tiff(tmp_path / "a.tif", lazy_bytes=lazy_bytes)

    assert loaded.axis_labels == ("y", "x", "s")
    assert loaded.rgb
    np.testing.assert_array_equal(np.asarray(loaded.data), RGB)


@pytest.mark.parametrize("lazy_bytes", [1 << 28, 0], ids=["read", "lazy"])
@pytest.mark.parametrize(
    "options",
    [
        {"photometric": "rgb", "compression": "jpeg"},  # which tifffile stores as YCbCr
        {"photometric": "rgb", "compression": "jpeg", "tile": (16, 16)},
        {"photometric": "rgb", "compression": "jpeg", "subsampling": (1, 1)},
    ],
)
def test_jpeg_in_slides_is_rgb(tmp_path, options, lazy_bytes):
    colours = np.zeros((64, 48, 3), np.uint8) + np.array([200, 100, 50], np.uint8)
    tifffile.imwrite(tmp_path / "a.tif", colours, **options)
    with tifffile.TiffFile(tmp_path / "a.tif") as file:
        assert file.pages.first.photometric == tifffile.PHOTOMETRIC.YCBCR

    loaded = read_tiff(tmp_path / "a.tif", lazy_bytes=lazy_bytes)

    assert loaded.rgb
    np.testing.assert_allclose(np.asarray(loaded.data[...]).astype(int), colours, atol=3)


@pytest.mark.parametrize("lazy_bytes", [1 << 28, 0], ids=["read", "lazy"])
@pytest.mark.parametrize("mode", ["YCbCr", "CMYK"])
def test_other_colours_are_converted(tmp_path, mode, lazy_bytes):
    colours = np.zeros((64, 48, 3), np.uint8) + np.array([200, 100, 50], np.uint8)
    colours[10:20] = (20, 220, 130)
    Image.fromarray(colours).convert(mode).save(tmp_path / "a.tif")

    loaded = read_tiff(tmp_path / "a.tif", lazy_bytes=lazy_bytes)

    assert loaded.rgb
    assert [axis.length for axis in loaded.axes] == [64, 48, 3]
    np.testing.assert_allclose(np.asarray(loaded.data[...]).astype(int), colours, atol=3)


@pytest.mark.parametrize("lazy_bytes", [1 << 28, 0], ids=["read", "lazy"])
@pytest.mark.parametrize("planar", ["contig", "separate"])
@pytest.mark.parametrize("kind", [np.uint8, np.uint16])
def test_inks_are_converted_as_pillow_does_it(tmp_path, kind, planar, lazy_bytes):
    """Those of 16 bits were four channels."""
    inks = np.random.default_rng(0).integers(0, 256, (9, 8, 4), np.uint8)
    expected = np.asarray(Image.fromarray(inks, "CMYK").convert("RGB"))
    stored = inks.astype(kind) * (257 if kind == np.uint16 else 1)
    stored = stored if planar == "contig" else stored.transpose(2, 0, 1)
    tifffile.imwrite(tmp_path / "a.tif", stored, photometric="separated", planarconfig=planar)

    loaded = read_tiff(tmp_path / "a.tif", lazy_bytes=lazy_bytes)

    assert loaded.rgb
    assert loaded.data.dtype == kind
    eight = loaded.pixels().astype(float) * 255 / np.iinfo(kind).max
    np.testing.assert_allclose(eight, expected, atol=0 if kind == np.uint8 else 0.51)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_what_is_to_be_shown_turned_is_read_as_stored_and_told(tmp_path, orientation):
    tifffile.imwrite(tmp_path / "a.tif", RGB, extratags=[(274, 3, 1, orientation, True)])
    told = Image.Exif()
    told[274] = orientation
    for suffix in (".png", ".webp", ".jpg"):
        Image.fromarray(RGB).save(tmp_path / f"a{suffix}", exif=told, lossless=True)

    for suffix in (".tif", ".png", ".webp", ".jpg"):
        path = tmp_path / f"a{suffix}"
        loaded = read_image(path)

        assert ("turned or mirrored" in "".join(loaded.notes)) == (orientation != 1)
        if suffix != ".jpg":
            np.testing.assert_array_equal(loaded.pixels(), RGB)
        ((shown, *_),) = napari_get_reader(str(path))(str(path))
        np.testing.assert_array_equal(loaded.pixels(), shown)


@pytest.mark.filterwarnings("ignore:Corrupt EXIF")  # as imageio says of it
@given(st.binary(max_size=40))
def test_damaged_exif_costs_nothing(tmp_path, content):
    Image.fromarray(RGB).save(tmp_path / "a.png", exif=b"Exif\0\0II*\0\x08\0\0\0" + content)

    np.testing.assert_array_equal(read_image(tmp_path / "a.png").pixels(), RGB)


@pytest.mark.parametrize("planar", ["contig", "separate"])
def test_colours_of_16_bits_stay(tmp_path, planar):
    colours = RGB.astype(np.uint16) * 257
    stored = colours if planar == "contig" else colours.transpose(2, 0, 1)
    tifffile.imwrite(tmp_path / "a.tif", stored, photometric="rgb", planarconfig=planar)

    loaded = read_tiff(tmp_path / "a.tif")

    assert loaded.rgb
    np.testing.assert_array_equal(loaded.data, colours)


def test_large_plain_files_are_mapped(tmp_path):
    tifffile.imwrite(tmp_path / "a.tif", STACK, photometric="minisblack")

    data = read_tiff(tmp_path / "a.tif", lazy_bytes=0).data

    assert isinstance(data, np.memmap)
    np.testing.assert_array_equal(data, STACK)


def test_of_large_compressed_files_only_the_tiles_under_the_region_are_read(tmp_path):
    path = tmp_path / "a.tif"
    tifffile.imwrite(
        path, STACK, photometric="minisblack", tile=(16, 16), compression="zlib", metadata=None
    )
    with tifffile.TiffFile(path) as file:
        page = file.pages[1]
        offsets, sizes = page.dataoffsets, page.databytecounts
        others = [p for number, p in enumerate(file.pages) if number != 1]
        spans = [span for p in others for span in zip(p.dataoffsets, p.databytecounts, strict=True)]
    # Rows 16 to 47, columns 16 to 31 lie in tiles 4 and 7 of the 4 x 3 tiles; all the others,
    # and all other planes, are made unreadable.
    spans += [
        span for tile, span in enumerate(zip(offsets, sizes, strict=True)) if tile not in (4, 7)
    ]
    content = bytearray(path.read_bytes())
    for offset, size in spans:
        content[offset : offset + size] = b"\xff" * size
    path.write_bytes(content)

    loaded = read_tiff(path, lazy_bytes=0)
    source = ImageSource(loaded.data, guess_axes(loaded.data.shape))

    np.testing.assert_array_equal(
        source.read(PlaneRef((1,)), Region(20, 18, 44, 30)), STACK[1, 20:44, 18:30]
    )


def test_the_largest_level_of_a_pyramid(tmp_path):
    path = tmp_path / "a.ome.tif"
    large = STACK[0]
    with tifffile.TiffWriter(path) as writer:
        writer.write(large, subifds=1, tile=(16, 16), compression="zlib")
        writer.write(large[::2, ::2], subfiletype=1, tile=(16, 16), compression="zlib")

    for lazy_bytes in (0, 1 << 28):
        np.testing.assert_array_equal(read_tiff(path, lazy_bytes=lazy_bytes).data[...], large)


def test_a_lazy_file_is_closed_when_its_image_is_let_go(tmp_path):
    """An open file would warn here (warnings are errors) and can't be deleted on Windows."""
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, STACK, photometric="minisblack", compression="zlib")
    data = read_tiff(path, lazy_bytes=0).data
    data[0, 0, 0]

    del data
    gc.collect()

    path.unlink()
    assert not path.exists()


@pytest.mark.parametrize("lazy_bytes", [1 << 28, 0], ids=["read", "lazy"])
def test_grey_with_transparency_is_grey(tmp_path, lazy_bytes):
    """As that of a PNG; a second channel stays."""
    grey = np.random.default_rng(0).integers(0, 255, (40, 60), np.uint8)
    picture = Image.merge("LA", [Image.fromarray(grey), Image.new("L", (60, 40), 128)])
    picture.save(tmp_path / "alpha.tif")
    channels = np.stack([grey, 255 - grey], -1)
    tifffile.imwrite(tmp_path / "channels.tif", channels, photometric="minisblack", planarconfig=1)

    one = read_tiff(tmp_path / "alpha.tif", lazy_bytes=lazy_bytes)
    two = read_tiff(tmp_path / "channels.tif", lazy_bytes=lazy_bytes)

    assert one.axis_labels == ("y", "x")
    assert np.array_equal(one.pixels(), grey)
    assert np.array_equal(two.pixels(), channels)


@pytest.mark.parametrize("palette", ["grey", "green", "inverted", "picture"])
def test_a_palette_of_colours_is_told(tmp_path, palette):
    ramp = np.arange(256)
    colours = {
        "grey": np.stack([ramp] * 3, -1),
        "green": np.stack([0 * ramp, ramp, 0 * ramp], -1),
        "inverted": np.stack([255 - ramp] * 3, -1),
        "picture": np.random.default_rng(0).integers(0, 255, (256, 3)),
    }[palette]
    numbers = np.random.default_rng(0).integers(0, 255, (40, 60), np.uint8)
    image = Image.fromarray(numbers)
    image.putpalette(colours.astype(np.uint8).ravel().tolist())
    image.save(tmp_path / "palette.tif")

    loaded = read_tiff(tmp_path / "palette.tif")

    assert np.array_equal(loaded.pixels(), numbers)
    said = " ".join(loaded.notes)
    assert ("not the colours" in said) == (palette == "picture")
    assert ("0 is white" in said) == (palette == "inverted")


@pytest.mark.parametrize("mode", ["1", "L"])
def test_a_file_in_which_0_is_white_is_told(tmp_path, mode):
    numbers = np.random.default_rng(0).integers(0, 2, (40, 60), np.uint8) * 255
    image = Image.fromarray(numbers).convert(mode)
    image.save(tmp_path / "usual.tif")
    image.save(tmp_path / "inverted.tif", tiffinfo={262: 0})

    assert not read_tiff(tmp_path / "usual.tif").notes
    (note,) = read_tiff(tmp_path / "inverted.tif").notes

    assert "0 is white" in note


KINDS = ["u1", "u2", "u4", "i2", "f4", "f8", "?"]
COMPRESSIONS = [None, "zlib", "lzw", "packbits", "zstd", "lzma"]


@given(data=st.data())
def test_the_same_pixels_in_whatever_file(tmp_path_factory, data):
    """Whatever their order of bytes, tiles, planes of colours, metadata and compression."""
    draw = data.draw
    axes = draw(st.sampled_from(["YX", "ZYX", "TCYX", "TZCYX", "YXS", "ZYXS", "TZYXS"]))
    lengths = {"Y": st.integers(2, 40), "X": st.integers(2, 40), "S": st.sampled_from([3, 4])}
    shape = tuple(draw(lengths.get(axis, st.integers(2, 3))) for axis in axes)
    kind = draw(st.sampled_from(["u1", "u2"] if "S" in axes else KINDS))
    seed = draw(st.integers(0, 2**32 - 1))
    pixels = np.random.default_rng(seed).integers(0, 256, shape).astype(kind)
    stored, named = pixels, axes
    how = {"photometric": "rgb" if "S" in axes else "minisblack"}
    if "S" in axes and draw(st.booleans()):
        named = f"{axes[:-3]}SYX"
        stored, how["planarconfig"] = np.moveaxis(pixels, -1, -3), "separate"
    if draw(st.booleans()):
        stored = np.asfortranarray(stored)
    if draw(st.booleans()):
        how["tile"] = draw(st.sampled_from([(16, 16), (32, 16)]))
    if kind != "?":
        how["compression"] = draw(st.sampled_from(COMPRESSIONS))
    size = draw(st.sampled_from([0.25, 3.0]))
    metadata = {"axes": named, "PhysicalSizeX": size, "PhysicalSizeXUnit": "nm"}
    path = tmp_path_factory.mktemp("tiff") / "a.tif"
    tifffile.imwrite(
        path, stored, ome=True, metadata=metadata, bigtiff=draw(st.booleans()),
        byteorder=draw(st.sampled_from("<>")), **how,
    )  # fmt: skip

    loaded = read_image(path, lazy_bytes=draw(st.sampled_from([0, 1 << 20])))

    np.testing.assert_array_equal(loaded.pixels(), pixels)
    assert loaded.pixels().dtype.newbyteorder("=") == pixels.dtype
    assert "".join(axis.name for axis in loaded.axes).upper() == axes
    assert loaded.rgb == ("S" in axes)
    (along,) = (axis for axis in loaded.axes if axis.name == "x")
    assert (along.scale, along.unit) == (size, "nanometer")

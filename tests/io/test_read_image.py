"""Every format is read as it is stored; what can't be read is one sentence."""

import imagecodecs
import imageio.v3 as iio
import numpy as np
import pytest
import tifffile
import zarr
from PIL import Image

from napari_sam3_assistant.core.axes import guess_axes
from napari_sam3_assistant.core.images import ImageSource, PlaneRef
from napari_sam3_assistant.errors import ImageError
from napari_sam3_assistant.io.images import read_image

GREY = np.arange(48, dtype=np.uint8).reshape(6, 8)
RGB = np.random.default_rng(0).integers(0, 256, (6, 8, 3), np.uint8)


@pytest.mark.parametrize(
    ("name", "image", "rgb"),
    [
        ("grey.png", GREY, False),
        ("deep.png", GREY.astype(np.uint16) * 1000, False),
        ("colour.png", RGB, True),
        ("alpha.png", np.dstack([RGB, GREY]), True),
        ("mask.png", GREY > 20, False),
        ("grey.bmp", GREY, False),
        ("colour.BMP", RGB, True),
        ("grey.tif", GREY, False),
        ("float.tiff", GREY.astype(np.float32) / 7, False),
        ("colour.tif", RGB, True),
        ("array.npy", GREY.astype(np.int64) - 20, None),
    ],
)
def test_pixels_come_back_as_they_were_saved(tmp_path, name, image, rgb):
    path = tmp_path / name
    if path.suffix == ".npy":
        np.save(path, image)
    elif path.suffix in (".tif", ".tiff"):
        tifffile.imwrite(path, image)
    else:
        iio.imwrite(path, image, extension=path.suffix.lower(), plugin="pillow")

    loaded = read_image(path)

    np.testing.assert_array_equal(np.asarray(loaded.data[...]), image)
    assert loaded.data.dtype == image.dtype
    assert loaded.rgb == rgb


@pytest.mark.parametrize("colours", [2, 3, 4])
def test_png_of_16_bits_is_not_cut_to_8(tmp_path, colours):
    image = np.random.default_rng(0).integers(0, 65536, (6, 8, colours), np.uint16)
    (tmp_path / "a.png").write_bytes(imagecodecs.png_encode(image))

    loaded = read_image(tmp_path / "a.png")

    expected = image if colours > 2 else image[..., 0]
    np.testing.assert_array_equal(loaded.data, expected)
    assert loaded.data.dtype == np.uint16
    assert loaded.rgb == (colours > 2)


def test_jpeg(tmp_path):
    image = np.full((16, 16, 3), (200, 100, 50), np.uint8)
    iio.imwrite(tmp_path / "a.jpg", image, quality=95)

    loaded = read_image(tmp_path / "a.jpg")

    np.testing.assert_allclose(loaded.data[...].astype(int), image, atol=4)
    assert loaded.rgb


@pytest.mark.parametrize(
    ("mode", "colour", "suffix", "expected"),
    [
        ("CMYK", (0, 255, 255, 0), ".jpg", (254, 0, 0)),
        ("P", 3, ".png", (10, 20, 30)),
        ("LA", (77, 128), ".png", 77),
    ],
)
def test_pictures_of_other_colour_models(tmp_path, mode, colour, suffix, expected):
    picture = Image.new(mode, (8, 6), colour)
    if mode == "P":
        picture.putpalette([0, 0, 0, 0, 0, 1, 0, 0, 2, 10, 20, 30])
    picture.save(tmp_path / f"a{suffix}")

    data = read_image(tmp_path / f"a{suffix}").data[...]

    assert data.shape == (6, 8, *np.shape(expected))
    np.testing.assert_allclose(data[2, 3].astype(int), expected, atol=2)


STEPS = np.add.outer(np.arange(24) * 2, np.arange(32) * 6).astype(np.uint8)
COLOURS = np.stack([STEPS, STEPS[::-1], STEPS[:, ::-1]], -1)


@pytest.mark.parametrize(
    ("mode", "pixels"),
    [
        ("1", STEPS > 90), ("L", STEPS), ("I;16", STEPS * np.uint16(200)), ("RGB", COLOURS),
        ("P", COLOURS // 64 * 64), ("RGBA", np.dstack([COLOURS, STEPS])),
    ],
)  # fmt: skip
@pytest.mark.parametrize("suffix", [".png", ".bmp", ".jpg", ".tif", "frames.png"])
def test_a_picture_has_the_pixels_that_napari_shows(tmp_path, mode, pixels, suffix):
    builtins = pytest.importorskip("napari_builtins.io")
    path = tmp_path / f"a{suffix}"
    picture = Image.fromarray(pixels).convert(mode)
    try:
        more = [picture.rotate(180)] if "frames" in suffix else []
        picture.save(path, **({"save_all": True, "append_images": more} if more else {}))
    except (OSError, ValueError):
        pytest.skip("the format has no such pictures")

    loaded = read_image(path)

    ((shown, *_),) = builtins.napari_get_reader(str(path))(str(path))
    np.testing.assert_array_equal(loaded.data[...], shown)
    assert loaded.data.dtype == shown.dtype
    assert loaded.rgb == (shown.shape[-1] in (3, 4))


@pytest.mark.parametrize(
    ("file", "name"),
    [
        ("exp1.0_A.tif", "exp1.0_A"),
        ("scan.ome.tif", "scan"),
        ("Scan.OME.TIFF", "Scan"),
        ("plain.tiff", "plain"),
    ],
)
def test_dots_are_part_of_the_name(tmp_path, file, name):
    tifffile.imwrite(tmp_path / file, GREY)

    assert read_image(tmp_path / file).name == name


def test_npy_is_mapped_not_read(tmp_path):
    np.save(tmp_path / "a.npy", GREY)

    assert isinstance(read_image(tmp_path / "a.npy").data, np.memmap)


def test_a_path_may_be_text(tmp_path):
    np.save(tmp_path / "a.npy", GREY)

    assert read_image(str(tmp_path / "a.npy")).name == "a"


def write_cut_tiff(path):
    tifffile.imwrite(path, np.random.default_rng(0).random((64, 64)), compression="zlib")
    path.write_bytes(path.read_bytes()[:2000])


def write_cut_png(path):
    iio.imwrite(path, np.random.default_rng(0).integers(0, 255, (64, 64), np.uint8))
    path.write_bytes(path.read_bytes()[:2000])


@pytest.mark.parametrize(
    ("name", "write", "said"),
    [
        ("none.tif", None, "There is no file"),
        ("void.tif", lambda path: path.write_bytes(b""), "is empty"),
        ("notes.txt", lambda path: path.write_text("hello"), r"type '\.txt' can't be read"),
        ("image", lambda path: path.write_text("hello"), "type '' can't be read"),
        ("text.tif", lambda path: path.write_text("hello"), "can't be read"),
        ("text.png", lambda path: path.write_text("hello"), "can't be read"),
        ("text.jpg", lambda path: path.write_text("hello"), "can't be read"),
        ("text.npy", lambda path: path.write_text("hello"), "can't be read"),
        ("cut.tif", write_cut_tiff, "can't be read"),
        ("cut.png", write_cut_png, "can't be read"),
        ("void.npy", lambda path: np.save(path, np.zeros((0, 5))), "empty"),
        ("objects.npy", lambda path: np.save(path, np.array([{}])), "can't be read"),
        ("folder", lambda path: path.mkdir(), "no zarr image"),
        (
            "void.zarr",
            lambda path: zarr.open(str(path), mode="w", shape=(0, 5), dtype="u1"),
            r"empty: .*\(0, 5\)",
        ),
    ],
)
def test_what_cannot_be_read_is_one_sentence_with_a_remedy(tmp_path, name, write, said):
    path = tmp_path / name
    if write is not None:
        write(path)

    with pytest.raises(ImageError, match=said) as caught:
        read_image(path)

    assert str(path) in caught.value.message
    assert caught.value.hint
    assert "\n" not in str(caught.value)


def test_what_was_read_can_be_segmented(tmp_path):
    data = np.arange(2 * 3 * 6 * 8, dtype=np.uint16).reshape(2, 3, 6, 8)
    tifffile.imwrite(tmp_path / "a.ome.tif", data, metadata={"axes": "ZCYX"})

    loaded = read_image(tmp_path / "a.ome.tif")
    axes = guess_axes(loaded.data.shape, rgb=loaded.rgb, axis_labels=loaded.axis_labels)

    assert axes.channel == 1
    np.testing.assert_array_equal(
        ImageSource(loaded.data, axes).read(PlaneRef((1,), 2)), data[1, 2]
    )

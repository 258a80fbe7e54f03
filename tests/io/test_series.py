"""Files that hold several images, and images that are spread over several files."""

import uuid
from contextlib import suppress

import numpy as np
import pytest
import tifffile
import zarr

from napari_sam3_assistant.core.axes import guess_axes
from napari_sam3_assistant.core.images import ImageSource, PlaneRef
from napari_sam3_assistant.errors import ImageError
from napari_sam3_assistant.io.images import read_image
from napari_sam3_assistant.io.tiff import list_set_files, read_tiff


def plane(value, shape=(64, 80)):
    return np.full(shape, value, np.uint8)


def value_of(loaded):
    return int(np.asarray(loaded.data[...]).max())


def write_ome(path):
    with tifffile.TiffWriter(path, ome=True) as writer:
        writer.write(plane(1, (16, 20)), metadata={"Name": "thumbnail", "axes": "YX"})
        for value, size in ((2, 0.5), (3, 0.7)):
            writer.write(
                np.stack([plane(value)] * 5),
                photometric="minisblack",
                metadata={"Name": f"Pos {value}", "axes": "ZYX", "PhysicalSizeX": size},
            )


def write_pages(path):
    with tifffile.TiffWriter(path) as writer:
        for value, shape in ((1, (16, 20)), (2, (64, 80)), (3, (16, 20)), (4, (30, 44))):
            writer.write(plane(value, shape), metadata=None)


def write_grey_with_thumbnail_in_colour(path):
    with tifffile.TiffWriter(path) as writer:
        writer.write(np.full((60, 70, 3), 1, np.uint8), photometric="rgb", metadata=None)
        writer.write(plane(2, (90, 80)), metadata=None)


def write_reduced(path):
    with tifffile.TiffWriter(path) as writer:
        writer.write(plane(1, (640, 800)), subfiletype=1, metadata=None)
        writer.write(plane(2), metadata=None)


def write_pyramid_and_label(path):
    """Write a slide as scanners do: the image with its levels, and pictures of the label."""
    with tifffile.TiffWriter(path) as writer:
        writer.write(plane(1, (40, 30)), metadata=None)
        writer.write(plane(2, (256, 320)), subifds=2, tile=(64, 64), metadata=None)
        writer.write(plane(2, (128, 160)), subfiletype=1, tile=(64, 64), metadata=None)
        writer.write(plane(2, (64, 80)), subfiletype=1, tile=(64, 64), metadata=None)


@pytest.mark.parametrize(
    ("name", "write", "taken", "values"),
    [
        ("a.ome.tif", write_ome, 1, [1, 2, 3]),
        ("a.tif", write_pages, 1, [3, 2, 4]),
        ("a.tif", write_grey_with_thumbnail_in_colour, 1, [1, 2]),
        ("a.tif", write_reduced, 1, [1, 2]),
        ("a.tif", write_pyramid_and_label, 1, [1, 2]),
    ],
)
def test_the_image_and_not_its_thumbnail(tmp_path, name, write, taken, values):
    write(tmp_path / name)

    loaded = read_image(tmp_path / name)

    assert (loaded.series, value_of(loaded)) == (taken, values[taken])
    assert len(loaded.choices) == len(values)
    (note,) = loaded.notes
    assert f"holds {len(values)} images; series {taken} was taken" in note
    for number, value in enumerate(values):
        chosen = read_image(tmp_path / name, number)
        assert (value_of(chosen), chosen.notes) == (value, ())
        assert chosen.data.shape == loaded.choices[number].shape


def test_images_of_equal_size_are_told_with_their_names(tmp_path):
    write_ome(tmp_path / "a.ome.tif")

    (note,) = read_image(tmp_path / "a.ome.tif").notes

    assert "the first of 2 of its size" in note
    assert "1: 'Pos 2' (5 x 64 x 80); 2: 'Pos 3' (5 x 64 x 80)" in note
    sizes = [read_image(tmp_path / "a.ome.tif", number).axes[-1].scale for number in (1, 2)]
    assert sizes == [0.5, 0.7]


def test_any_image_can_be_read_lazily(tmp_path):
    write_pages(tmp_path / "a.tif")

    read = [read_tiff(tmp_path / "a.tif", number, lazy_bytes=0) for number in range(3)]
    assert list(map(value_of, read)) == [3, 2, 4]


@pytest.mark.parametrize("name", ["a.ome.tif", "a.png", "a.npy", "a.zarr"])
def test_an_image_that_is_not_there(tmp_path, name):
    path = tmp_path / name
    if name.endswith("zarr"):
        zarr.create_array(str(path), data=plane(1))
    elif name.endswith("npy"):
        np.save(path, plane(1))
    else:
        write_ome(path) if name.endswith("tif") else write_png(path)

    with pytest.raises(ImageError, match="no series 7") as caught:
        read_image(path, 7)
    assert caught.value.hint
    assert "1 images" not in str(caught.value)
    assert read_image(path, 0).series == 0


def write_png(path):
    import imageio.v3 as iio

    iio.imwrite(path, plane(1))


@pytest.mark.parametrize("version", ["0.4", "0.5"])
@pytest.mark.parametrize("told", [True, False])
def test_images_of_bioformats2raw(tmp_path, version, told):
    root = zarr.open_group(
        str(tmp_path / "a.zarr"), mode="w", zarr_format=2 if version == "0.4" else 3
    )

    def tell(group, **attributes):
        group.attrs.update(attributes if version == "0.4" else {"ome": attributes})

    tell(root, **{"bioformats2raw.layout": 3})
    for number in range(11):
        group = root.create_group(str(number))
        group.create_array("0", data=plane(number, (16, 20) if number < 2 else (64, 80)))
        axes = [{"name": "y", "type": "space"}, {"name": "x", "type": "space"}]
        tell(group, multiscales=[{"name": f"P{number}", "axes": axes, "datasets": [{"path": "0"}]}])
    if told:
        tell(root.create_group("OME"), series=[str(number) for number in range(11)])

    loaded = read_image(tmp_path / "a.zarr")

    assert (loaded.series, value_of(loaded)) == (2, 2)
    assert "0: 'P0' (16 x 20)" in loaded.notes[0]
    assert value_of(read_image(tmp_path / "a.zarr", 10)) == 10
    # Only the one that is read is opened, of a plate on a server among hundreds.
    for metadata in (tmp_path / "a.zarr" / "5" / "0").glob("*z*"):
        metadata.unlink()
    assert value_of(read_image(tmp_path / "a.zarr", 10)) == 10


COMPANION = "cells.companion.ome"


def write_set(folder, names, write=None, *, positions=False, kept=None):
    """Write one plane into each OME-TIFF, as Bio-Formats does: of a z-stack, or of a position.

    ``kept``: the file that has the metadata of all; by default each has them.
    """
    ids = [f"urn:uuid:{uuid.uuid4()}" for _ in names]
    data = [
        f'<TiffData IFD="0" PlaneCount="1" FirstZ="{0 if positions else z}" FirstC="0" FirstT="0">'
        f'<UUID FileName="{name}">{one}</UUID></TiffData>'
        for z, (name, one) in enumerate(zip(names, ids, strict=True))
    ]
    images = "".join(
        f'<Image ID="Image:{number}" Name="P{number}"><Pixels ID="Pixels:{number}" '
        f'DimensionOrder="XYZCT" Type="uint8" SizeX="80" SizeY="64" SizeZ="{planes}" SizeC="1" '
        f'SizeT="1"><Channel ID="Channel:{number}:0" SamplesPerPixel="1"/>{told}</Pixels></Image>'
        for number, (planes, told) in enumerate(
            [(1, one) for one in data] if positions else [(len(names), "".join(data))]
        )
    )
    if kept == COMPANION:
        (folder / kept).write_text(ome("urn:uuid:1", images))
    for number, (name, one) in enumerate(zip(names, ids, strict=True)):
        if write is None or name in write:
            refers = f'<BinaryOnly MetadataFile="{kept}" UUID="urn:uuid:1"/>'
            xml = ome(one, images if kept in (None, name) else refers)
            tifffile.imwrite(folder / name, plane(number + 1), description=xml, metadata=None)


def ome(own, content):
    return (
        '<?xml version="1.0" encoding="UTF-8"?><OME '
        f'xmlns="http://www.openmicroscopy.org/Schemas/OME/2016-06" UUID="{own}">{content}</OME>'
    )


NAMES = [f"cells_z{number}.ome.tif" for number in range(4)]


@pytest.mark.parametrize("lazy_bytes", [0, 1 << 28], ids=["lazy", "read"])
@pytest.mark.parametrize("kept", [None, COMPANION, NAMES[0]])
def test_a_set_of_files_is_one_image(tmp_path, kept, lazy_bytes):
    write_set(tmp_path, NAMES, kept=kept)

    for name in NAMES:
        loaded = read_image(tmp_path / name, lazy_bytes=lazy_bytes)
        assert np.asarray(loaded.data[...]).max((1, 2)).tolist() == [1, 2, 3, 4]
        assert loaded.notes == ()
        assert list_set_files(tmp_path / name) == set(NAMES)


@pytest.mark.parametrize("kept", [None, COMPANION, NAMES[0]])
def test_each_file_of_a_set_of_positions_is_its_own_image(tmp_path, kept):
    write_set(tmp_path, NAMES, positions=True, kept=kept)

    for number, name in enumerate(NAMES):
        loaded = read_image(tmp_path / name)
        assert (value_of(loaded), loaded.series, loaded.notes) == (number + 1, number, ())
        assert len(loaded.choices) == 4
        assert value_of(read_image(tmp_path / name, 3)) == 4
        assert list_set_files(tmp_path / name) == {name}
    (tmp_path / (kept or NAMES[0])).unlink()
    left = read_image(tmp_path / NAMES[2])
    assert value_of(left) == 3
    assert (f"{kept} describes, which is not beside it" in "".join(left.notes)) == bool(kept)


@pytest.mark.parametrize("there", [NAMES[:1], NAMES[1:], NAMES[:2]])
def test_missing_files_of_a_set_are_an_error_and_no_black_planes(tmp_path, there):
    write_set(tmp_path, NAMES, there)

    with pytest.raises(ImageError, match="of a set of which") as caught:
        read_image(tmp_path / there[0])

    for name in set(NAMES) - set(there):
        assert name in caught.value.message
    assert "\n" not in str(caught.value)


def test_metadata_of_a_set_are_read_beside_it_only(tmp_path):
    (tmp_path / "in").mkdir()
    write_set(tmp_path / "in", NAMES, kept=f"../../{COMPANION}")
    (tmp_path / COMPANION).write_text("<OME>secret</OME>")
    assert value_of(read_image(tmp_path / "in" / NAMES[1])) == 2
    for content in (b"", b"\xff", b"<OME>", b"<OME></OME>"):
        (tmp_path / "in" / COMPANION).write_bytes(content)
        with suppress(ImageError):
            assert value_of(read_image(tmp_path / "in" / NAMES[1])) == 2


def test_planes_that_were_never_written_are_told(tmp_path):
    path = tmp_path / "a.ome.tif"
    tifffile.imwrite(path, np.stack([plane(1)] * 3), metadata={"axes": "TYX"})
    with tifffile.TiffFile(path) as file:
        xml = file.ome_metadata.replace('SizeT="3"', 'SizeT="5"')
    tifffile.imwrite(
        path, np.stack([plane(1)] * 3), description=xml, metadata=None, photometric="minisblack"
    )

    loaded = read_image(path)

    assert loaded.data.shape == (5, 64, 80)
    assert loaded.notes == ("2 of 5 planes are not in the file; they are black.",)


def test_a_damaged_page_costs_itself(tmp_path):
    path = tmp_path / "a.tif"
    rng = np.random.default_rng(0)
    movie = rng.integers(0, 60000, (6, 64, 80), np.uint16)
    tifffile.imwrite(path, movie, photometric="minisblack", compression="zlib", metadata=None)
    with tifffile.TiffFile(path) as file:
        (offset, *_), (size, *_) = file.pages[2].dataoffsets, file.pages[2].databytecounts
    content = bytearray(path.read_bytes())
    content[offset : offset + size] = b"\xff" * size
    path.write_bytes(content)

    loaded = read_image(path)
    source = ImageSource(loaded.data, guess_axes(loaded.data.shape, axis_labels=loaded.axis_labels))

    np.testing.assert_array_equal(source.read(PlaneRef((3,))), movie[3])
    assert source.contrast()[1] > 50_000
    with pytest.raises(ImageError, match=r"Plane \(2,\) of the image could not be read"):
        source.read(PlaneRef((2,)))

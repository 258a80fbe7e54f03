"""What a file says of the axes of an array that another program's reader made of it."""

import warnings

import numpy as np
import pytest
import tifffile
import zarr
from hypothesis import assume, given
from hypothesis import strategies as st

from napari_sam3_assistant.core.axes import axis_kind
from napari_sam3_assistant.errors import ImageError
from napari_sam3_assistant.io.file_axes import find_axes
from napari_sam3_assistant.io.images import read_image

MICRO = {"PhysicalSizeX": 0.325, "PhysicalSizeY": 0.325}


def write(path, shape, axes, **more):
    metadata = {"axes": axes, **MICRO, **more}
    tifffile.imwrite(path, np.zeros(shape, np.uint8), photometric="minisblack", metadata=metadata)
    return path


def told(axes):
    return [(axis.name, axis.scale, axis.unit) for axis in axes]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("random")


NAMES = st.sampled_from(["t", "z", "c", "tc", "tz", "cz", "tcz"])


@given(names=NAMES, data=st.data())
@pytest.mark.parametrize("as_stored", [True, False])
def test_it_never_names_an_axis_wrong_whatever_a_reader_made_of_the_file(
    folder, as_stored, names, data
):
    names = f"{names}yx"
    lengths = [data.draw(st.integers(2 if name in "yx" else 1, 4)) for name in names]
    path = folder / "a.ome.tif"
    write(path, lengths, names.upper())
    known = list(zip(names, lengths, strict=True))
    leading = known[:-2]
    if data.draw(st.booleans()):  # its layers are along one of the axes, which need not be c
        leading.remove(data.draw(st.sampled_from(leading)))
    if not as_stored:
        leading = data.draw(st.permutations(leading))
        leading = [pair for pair in leading if pair[1] > 1 or data.draw(st.booleans())]
    array = [*leading, *known[-2:]]
    assume(len(array) > 1)
    try:
        axes = find_axes(path, [length for _, length in array], as_stored=as_stored)
    except ImageError:
        # It may be told only where two of the file's axes are as long as each other.
        long = [length for length in lengths if length > 1]
        assert len(set(long)) < len(long)
        return
    found = [axis.name for axis in axes]
    for name, (true, _) in zip(found, array, strict=bool(found)):
        assert name in ("", true)
    long = [(at, true) for at, (true, length) in enumerate(array) if length > 1]
    assert all(found[at] == true for at, true in long if len(set(lengths)) == len(lengths))


def test_names_sizes_and_units(tmp_path):
    path = write(
        tmp_path / "a.ome.tif", (7, 5, 16, 20), "TZYX",
        PhysicalSizeZ=2.0, TimeIncrement=30.0, TimeIncrementUnit="s",
    )  # fmt: skip
    y, x = ("y", 0.325, "micrometer"), ("x", 0.325, "micrometer")
    assert told(find_axes(path, (7, 5, 16, 20))) == [
        ("t", 30.0, "second"), ("z", 2.0, "micrometer"), y, x
    ]  # fmt: skip
    # As many programs hand it on: all five axes of OME.
    assert told(find_axes(path, (7, 1, 5, 16, 20)))[1:3] == [("", 1, ""), ("z", 2.0, "micrometer")]


def test_times_that_are_as_many_as_slices_are_not_guessed(tmp_path):
    path = write(tmp_path / "a.ome.tif", (5, 5, 16, 20), "TZYX")
    assert [axis.name for axis in find_axes(path, (5, 5, 16, 20), as_stored=True)] == list("tzyx")
    with pytest.raises(ImageError, match=r"t, z, y, x or z, t, y, x.*axis_labels"):
        find_axes(path, (5, 5, 16, 20))
    with pytest.raises(ImageError, match="t, y, x or z, y, x"):
        find_axes(path, (5, 16, 20), as_stored=True)  # one layer of several, along either


def test_the_images_of_a_file(tmp_path):
    path = tmp_path / "a.ome.tif"
    with tifffile.TiffWriter(path) as file:
        for axes, size in (("ZYX", 0.1), ("TYX", 0.1), ("ZYX", 0.3)):
            metadata = {"axes": axes, "PhysicalSizeX": size, "PhysicalSizeY": size}
            file.write(np.zeros((5, 16, 20), np.uint8), metadata=metadata)
        file.write(np.zeros((3, 8, 8), np.uint8), metadata={"axes": "TYX", **MICRO})
    assert told(find_axes(path, (5, 16, 20), as_stored=True))[0][0] == "z"
    with pytest.raises(ImageError, match="z, y, x or t, y, x"):
        find_axes(path, (5, 16, 20))
    assert told(find_axes(path, (3, 8, 8)))[0][0] == "t"
    assert find_axes(path, (3, 8, 8), as_stored=True) == ()  # napari's reader takes the first


def test_images_that_differ_in_the_size_of_a_pixel(tmp_path):
    path = tmp_path / "a.ome.tif"
    with tifffile.TiffWriter(path) as file:
        for size in (0.1, 0.3):
            metadata = {"axes": "YX", "PhysicalSizeX": size, "PhysicalSizeY": size}
            file.write(np.zeros((16, 20), np.uint8), metadata=metadata)
    with pytest.raises(ImageError, match="pixels of other sizes"):
        find_axes(path, (16, 20))


@pytest.mark.parametrize("place", ["", "a0.ome.tif"])
def test_a_stack_of_files_has_the_pixels_of_a_file(tmp_path, place):
    for number in range(4):
        write(tmp_path / f"a{number}.ome.tif", (16, 20), "YX")
    expected = [("", 1, ""), ("y", 0.325, "micrometer"), ("x", 0.325, "micrometer")]
    assert told(find_axes(tmp_path / place, (4, 16, 20))) == expected
    assert find_axes(tmp_path / place, (4, 20, 16)) == ()
    assert find_axes(tmp_path / place, (9, 16, 20)) == ()  # there are not so many


def test_a_folder_of_files_that_differ_says_nothing(tmp_path):
    for number in range(4):
        write(tmp_path / f"a{number}.ome.tif", (16, 20), "YX", PhysicalSizeX=0.1 * (number + 1))
    assert find_axes(tmp_path, (4, 16, 20)) == ()


def test_what_says_nothing(tmp_path):
    np.save(tmp_path / "a.npy", np.zeros((5, 16, 20)))
    tifffile.imwrite(tmp_path / "plain.tif", np.zeros((5, 16, 20), np.uint8))
    (tmp_path / "damaged.tif").write_bytes(b"II*\0 and no more")
    (tmp_path / "empty").mkdir()
    for name in ("a.npy", "plain.tif", "damaged.tif", "gone.tif", "empty"):
        assert find_axes(tmp_path / name, (5, 16, 20)) == ()


def test_of_a_plain_file_the_resolution_counts(tmp_path):
    path = tmp_path / "a.tif"
    data = np.zeros((5, 16, 20), np.uint8)
    tifffile.imwrite(path, data, resolution=(2e4, 2e4), resolutionunit="CENTIMETER")
    expected = [("", 1, ""), ("y", 0.5, "micrometer"), ("x", 0.5, "micrometer")]
    assert told(find_axes(path, (5, 16, 20))) == expected


@pytest.mark.parametrize("version", [2, 3])
def test_ome_zarr_and_one_of_its_sizes(tmp_path, version):
    group = zarr.open_group(tmp_path / "a.zarr", mode="w", zarr_format=version)
    units = {"t": "second", **dict.fromkeys("zyx", "micrometer")}
    with warnings.catch_warnings():
        # ome-zarr warns of parts of itself, and of what its oldest versions take.
        warnings.simplefilter("ignore")
        from ome_zarr.format import FormatV04, FormatV05
        from ome_zarr.writer import write_multiscale

        write_multiscale(
            [np.zeros((3, 5, 16, 20), np.uint8), np.zeros((3, 5, 8, 10), np.uint8)], group,
            axes=[
                {"name": name, "type": "time" if name == "t" else "space", "unit": unit}
                for name, unit in units.items()
            ],
            coordinate_transformations=[
                [{"type": "scale", "scale": [30.0, 2.0, size, size]}] for size in (0.25, 0.5)
            ],
            fmt={2: FormatV04, 3: FormatV05}[version](),
        )  # fmt: skip
    whole = find_axes(tmp_path / "a.zarr", (3, 5, 16, 20))
    assert told(whole)[:3] == [
        ("t", 30, "second"), ("z", 2, "micrometer"), ("y", 0.25, "micrometer")
    ]  # fmt: skip
    large, small = sorted(name for name, _ in group.arrays())
    assert find_axes(tmp_path / "a.zarr" / large, (3, 5, 16, 20)) == whole
    level = read_image(tmp_path / "a.zarr" / small)
    assert told(level.axes)[-1] == ("x", 0.5, "micrometer")
    group.attrs["multiscales"] = [{"datasets": "damaged"}]
    group.attrs["ome"] = {"multiscales": [3]}
    assert read_image(tmp_path / "a.zarr" / small).data.shape == level.data.shape


def test_an_array_of_zarr_that_names_its_axes(tmp_path):
    zarr.create_array(
        str(tmp_path / "a.zarr"), shape=(6, 16, 20), dtype="u1", dimension_names=("frame", "y", "x")
    )
    assert axis_kind(find_axes(tmp_path / "a.zarr", (6, 16, 20))[0].name) == "t"


def test_it_reads_no_pixels(tmp_path):
    path, noise = tmp_path / "a.ome.tif", np.random.default_rng(0).integers(0, 255, (5, 64, 80))
    metadata = {"axes": "TYX", **MICRO}
    tifffile.imwrite(path, noise.astype(np.uint8), compression="zlib", metadata=metadata)
    with tifffile.TiffFile(path) as file:
        places = [(page.dataoffsets[0], page.databytecounts[0]) for page in file.pages]
    content = bytearray(path.read_bytes())
    for offset, count in places:
        content[offset : offset + count] = b"\xff" * count
    path.write_bytes(content)
    with pytest.raises(ImageError):
        read_image(path).pixels()
    assert find_axes(path, (5, 64, 80))[0].name == "t"

"""What the first files of a folder hold, before anything is run on it."""

from pathlib import Path
from tempfile import TemporaryDirectory

import imageio.v3 as iio
import numpy as np
import pytest
import tifffile
import zarr
from hypothesis import given
from hypothesis import strategies as st

from amounts import FEW
from napari_sam3_assistant.core.progress import CancelToken, NullReporter
from napari_sam3_assistant.errors import ExportError, ImageError, JobCancelled
from napari_sam3_assistant.io.image_folder import find_images
from napari_sam3_assistant.io.images import list_series, read_image
from napari_sam3_assistant.io.loaded import parse_series
from napari_sam3_assistant.workflows import batch as module
from napari_sam3_assistant.workflows.batch import find_series


def found_in(folder, output=None, pattern="*", **limits):
    (found,) = find_series(folder, output, pattern, NullReporter(), **limits)
    return found


def plane(shape):
    return np.zeros(shape, np.uint8)


def write_ome(path, images):
    with tifffile.TiffWriter(path, ome=True) as writer:
        for name, shape in images:
            axes = "ZYX"[-len(shape) :]
            writer.write(
                plane(shape), photometric="minisblack", metadata={"Name": name, "axes": axes}
            )


def write_zarr(path, images):
    """Write images as bioformats2raw does."""
    root = zarr.open_group(str(path), mode="w", zarr_format=2)
    root.attrs["bioformats2raw.layout"] = 3
    for number, (name, shape) in enumerate(images):
        group = root.create_group(str(number))
        group.create_array("0", data=plane(shape))
        axes = [{"name": axis, "type": "space"} for axis in "zyx"[-len(shape) :]]
        group.attrs["multiscales"] = [{"name": name, "axes": axes, "datasets": [{"path": "0"}]}]


names = st.sampled_from(["Pos 1", "Pos 2", "POS/2", "thumbnail", "細胞 µ", "1"])
shapes = st.one_of(
    st.tuples(st.integers(5, 40), st.integers(5, 40)),
    st.tuples(st.integers(2, 4), st.integers(5, 40), st.integers(5, 40)),
)
images = st.lists(st.tuples(names, shapes), min_size=1, max_size=5)
kinds = st.sampled_from(["ome.tif", "zarr", "png", "spoilt"])


@FEW
@given(st.lists(st.tuples(kinds, images), min_size=1, max_size=6))
def test_it_is_what_each_number_reads_in_each_file(files):
    with TemporaryDirectory() as name:
        folder = Path(name)
        expected = {}
        readable = 0
        for at, (kind, held) in enumerate(files):
            path = folder / f"image{at}.{kind}"
            if kind == "spoilt":
                path.with_suffix(".tif").write_bytes(b"II*\0 is no image")
                continue
            readable += 1
            if kind == "png":
                held = [("", held[0][1][-2:])]
                iio.imwrite(path, plane(held[0][1]))
            else:
                {"ome.tif": write_ome, "zarr": write_zarr}[kind](path, held)
            for number, (called, shape) in enumerate(held):
                assert read_image(path, number).data.shape == shape
                expected.setdefault(number, []).append((called, shape))

        found = found_in(folder)

    assert (found.files, found.unreadable) == (len(files), len(files) - readable)
    told = {one.number: one for one in found.series}
    assert list(told) == sorted(expected)
    for number, alike in expected.items():
        assert told[number].files == len(alike)
        assert set(told[number].names) == {called for called, _ in alike} - {""}
        assert set(told[number].shapes) == {shape for _, shape in alike}


@FEW
@given(
    st.lists(st.tuples(st.sampled_from(["ome.tif", "zarr"]), images), min_size=1, max_size=4),
    st.lists(st.one_of(st.integers(0, 5), st.sampled_from(["1-3", "Pos*", "all"])), min_size=1),
)
def test_each_image_that_is_meant_is_there_once_and_keeps_its_name(files, wanted):
    with TemporaryDirectory() as name:
        folder = Path(name, "in")
        folder.mkdir()
        for at, (kind, held) in enumerate(files):
            # Files of one name but for the ending, too.
            {"ome.tif": write_ome, "zarr": write_zarr}[kind](folder / f"a{at // 2}.{kind}", held)
        every = find_images(folder, Path(name, "out"), "*", ("all",)).images
        asked = [*wanted, 0]  # so that there is one
        some = find_images(folder, Path(name, "out"), "*", parse_series(asked)).images

        read = {(one.relative, one.series): read_image(one.path, one.series) for one in every}
        held = {path.name: list_series(path) for path in folder.iterdir()}
    assert sorted((relative, found.series) for (relative, _), found in read.items()) == sorted(
        (relative, number) for relative, choices in held.items() for number in range(len(choices))
    )
    for images in (every, some):
        for told in ("stem", "title"):
            assert len({getattr(one, told).casefold() for one in images}) == len(images)
    known = {(one.relative, one.series): one for one in every}
    for one in some:
        there = known.get((one.relative, one.series))
        assert (there is None) == (one.series not in (None, *range(len(held[one.relative]))))
        # In a folder of files of one name a part of them may need no ending.
        assert there is None or one.stem in (there.stem, there.stem.rpartition("_")[0])


def test_no_pixel_is_read(tmp_path):
    tifffile.imwrite(tmp_path / "a.tif", plane((64, 80)), compression="zlib")
    iio.imwrite(tmp_path / "b.png", np.random.default_rng(0).integers(0, 256, (64, 80), np.uint8))
    with tifffile.TiffFile(tmp_path / "a.tif") as file:
        (offset,), (size,) = file.pages[0].dataoffsets, file.pages[0].databytecounts
    content = bytearray((tmp_path / "a.tif").read_bytes())
    content[offset : offset + size] = b"\xff" * size
    (tmp_path / "a.tif").write_bytes(content)
    (tmp_path / "b.png").write_bytes((tmp_path / "b.png").read_bytes()[:200])
    for name in ("a.tif", "b.png"):
        with pytest.raises(ImageError):
            read_image(tmp_path / name)

    found = found_in(tmp_path)

    assert (found.files, found.unreadable) == (2, 0)
    assert found.series[0].shapes == ((64, 80),)


def test_the_first_files_as_the_batch_sorts_them_and_no_others(tmp_path):
    for number in range(30):
        write_ome(tmp_path / f"{number:02}.ome.tif", [("a", (5, 6))] * (2 if number < 20 else 3))
    (tmp_path / "00 read me.txt").write_text("no image")

    found = found_in(tmp_path)

    first = [one.path for one in find_images(tmp_path, tmp_path / "out", "*").images[:20]]
    assert found.files == len(first) == 20
    assert [(one.number, one.files) for one in found.series] == [(0, 20), (1, 20)]
    assert [one.number for one in found_in(tmp_path, most=1).series] == [0]


def test_a_disk_that_is_far_away(tmp_path, monkeypatch):
    for number in range(3):
        write_ome(tmp_path / f"{number}.ome.tif", [("a", (5, 6)), ("b", (7, 8))])
    listed, shown = iter([True, True, False]), iter([False])
    clocks = iter([lambda: next(listed), lambda: next(shown)])
    monkeypatch.setattr(module, "_in_time", lambda _: next(clocks))

    found = found_in(tmp_path)

    assert (found.files, len(found.series)) == (1, 2)
    monkeypatch.setattr(module, "_in_time", lambda _: lambda: False)
    assert "No image was found in " in found_in(tmp_path).problem


def test_nothing_is_made_and_labels_are_no_images(tmp_path):
    write_ome(tmp_path / "a.ome.tif", [("a", (5, 6)), ("b", (7, 8))])
    output = tmp_path / "labels"

    found_in(tmp_path, output, "**/*")
    assert [path.name for path in tmp_path.iterdir()] == ["a.ome.tif"]

    output.mkdir()
    tifffile.imwrite(output / "a_mask.tif", plane((5, 6)))
    assert found_in(tmp_path, output, "**/*").files == 1
    assert found_in(tmp_path, None, "**/*").files == 2


def test_a_set_of_files_is_one_image_and_each_of_a_set_of_positions_offers_none(tmp_path):
    (tmp_path / "stack").mkdir()
    (tmp_path / "positions").mkdir()
    write_set(tmp_path / "stack", [f"z{number}.ome.tif" for number in range(3)])
    write_set(tmp_path / "positions", [f"p{number}.ome.tif" for number in range(3)], positions=True)

    stack = found_in(tmp_path / "stack")
    positions = found_in(tmp_path / "positions")

    assert (stack.files, [one.shapes for one in stack.series]) == (1, [((3, 64, 80),)])
    assert (positions.files, positions.unreadable, positions.series) == (3, 0, ())
    for asked, files in (("all", "012"), ("1-", "12"), ("2", "2"), ("P1", "1")):
        folder = tmp_path / "positions"
        found = find_images(folder, tmp_path / "out", "*", parse_series(asked))
        assert [image.title for image in found.images] == [f"p{at}.ome.tif" for at in files]


def write_set(folder, names, *, positions=False):
    """Write a plane into each OME-TIFF, as Bio-Formats does: of a z-stack, or of a position."""
    data = [
        f'<TiffData IFD="0" PlaneCount="1" FirstZ="{0 if positions else z}" FirstC="0" FirstT="0">'
        f'<UUID FileName="{name}">urn:uuid:{z}</UUID></TiffData>'
        for z, name in enumerate(names)
    ]
    images = "".join(
        f'<Image ID="Image:{number}" Name="P{number}"><Pixels ID="Pixels:{number}" '
        f'DimensionOrder="XYZCT" Type="uint8" SizeX="80" SizeY="64" SizeZ="{planes}" SizeC="1" '
        f'SizeT="1"><Channel ID="Channel:{number}:0" SamplesPerPixel="1"/>{told}</Pixels></Image>'
        for number, (planes, told) in enumerate(
            [(1, one) for one in data] if positions else [(len(names), "".join(data))]
        )
    )
    for z, name in enumerate(names):
        xml = (
            '<?xml version="1.0" encoding="UTF-8"?>'
            '<OME xmlns="http://www.openmicroscopy.org/Schemas/OME/2016-06" '
            f'UUID="urn:uuid:{z}">{images}</OME>'
        )
        tifffile.imwrite(folder / name, plane((64, 80)), description=xml, metadata=None)


@pytest.mark.parametrize(
    ("pattern", "error", "said"),
    [
        ("*.jpg", ImageError, "No image in"),
        ("../*", ImageError, "leads out of the folder"),
        ("/abs/*", ImageError, "can't be used"),
        ("*", ExportError, "can't be in the same folder"),
    ],
)
def test_what_the_batch_would_say_is_said_before(tmp_path, pattern, error, said):
    write_ome(tmp_path / "a.ome.tif", [("a", (5, 6))])
    output = tmp_path if error is ExportError else tmp_path / "out"

    for look in (
        lambda: found_in(tmp_path, output, pattern),
        lambda: find_images(tmp_path, output, pattern),
    ):
        with pytest.raises(error, match=said):
            look()


@pytest.mark.parametrize("name", ["missing", "x" * 5000])
def test_a_folder_that_is_not_there(tmp_path, name):
    with pytest.raises(ImageError, match="There is no folder"):
        found_in(tmp_path / name)
    with pytest.raises(ImageError, match="There is no folder"):
        find_images(tmp_path / name, tmp_path / "out", "*")


def test_it_stops_between_two_paths(tmp_path):
    for number in range(3):
        write_ome(tmp_path / f"{number}.ome.tif", [("a", (5, 6))])
    token = CancelToken()

    class Stopped(NullReporter):
        def check(self):
            token.check()
            token.cancel()

    with pytest.raises(JobCancelled):
        next(find_series(tmp_path, None, "*", Stopped()))


def test_no_two_images_of_a_folder_have_one_name(tmp_path):
    for name in ("a.png", "a.jpg", "a_png.png"):
        iio.imwrite(tmp_path / name, np.zeros((8, 9), np.uint8))

    images = find_images(tmp_path, tmp_path / "out", "*").images

    assert sorted(one.stem for one in images) == ["a_jpg", "a_png", "a_png_02"]


@pytest.mark.parametrize("pattern", ["*", "**/*", "**/*.tif", "*/*"])
def test_what_lies_in_hidden_folders_is_not_the_users(pattern, tmp_path):
    image = np.zeros((4, 5), np.uint8)
    for name in ("a.tif", "b/c.tif", ".AppleDouble/a.tif", "b/.thumbs/deep/c.tif", "b/._c.tif"):
        path = tmp_path / ".mine" / name  # who keeps all in a hidden folder names it
        path.parent.mkdir(parents=True, exist_ok=True)
        tifffile.imwrite(path, image)

    found = find_images(tmp_path / ".mine", tmp_path / "out", pattern)
    expected = {"*": {"a.tif"}, "*/*": {"b/c.tif"}}.get(pattern, {"a.tif", "b/c.tif"})
    assert {one.relative for one in found.images} == expected
    assert {name for name, _ in found.left_out} == ({"b"} if pattern == "*" else set())


@pytest.mark.parametrize("pattern", [".mine/*.tif", ".mine/**/*.tif", "**/.mine/*", ".a*"])
def test_that_what_a_pattern_names_is_hidden_is_said(pattern, tmp_path):
    (tmp_path / ".mine").mkdir()
    for name in (".mine/a.tif", ".a.tif"):
        tifffile.imwrite(tmp_path / name, np.zeros((4, 5), np.uint8))

    with pytest.raises(ImageError, match="begins with a dot is hidden"):
        find_images(tmp_path, tmp_path / "out", pattern)

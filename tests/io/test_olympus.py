"""OIB and OIF of FluoView, written here by their description: planes by tifffile, settings as text.

What FluoView itself wrote, the file in oiffile's repository, was read by hand.
"""

import io
import shutil
import struct

import numpy as np
import pytest
import tifffile

from napari_sam3_assistant.errors import ImageError
from napari_sam3_assistant.io.image_folder import find_images
from napari_sam3_assistant.io.images import read_image
from napari_sam3_assistant.io.olympus import _has_circle

oiffile = pytest.importorskip("oiffile")
PIXELS = np.random.default_rng(0).integers(0, 4096, (2, 3, 24, 32), np.uint16)  # c, z, y, x
SECTOR, END, FREE, FAT = 512, 0xFFFFFFFE, 0xFFFFFFFF, 0xFFFFFFFD


def settings(order="XYCZ"):
    """Return what the main file says: sizes are from the first to the last pixel."""
    axes = {"X": (32, 0, 7.75, "um"), "Y": (24, 0, 5.75, "um"), "Z": (3, 1000, 3000, "nm")}
    axes |= {"C": (2, 1, 2, "Ch"), "T": (0, 0, 0, "ms")}
    lines = ["[ProfileSaveInfo]", "Name=COFAImages", "Version=2.0.0.0"]
    for number, (code, (count, first, last, unit)) in enumerate(axes.items()):
        lines += [f"[Axis {number} Parameters Common]", f'AxisCode="{code}"', f"MaxSize={count}"]
        lines += [f"StartPosition={first}", f"EndPosition={last}", f'UnitName="{unit}"']
    lines += ["[Axis Parameter Common]", f'AxisOrder="{order}"']
    return "\r\n".join([*lines, ""]).encode("utf-16")


def planes():
    for c, z in np.ndindex(2, 3):
        file = io.BytesIO()
        tifffile.imwrite(file, PIXELS[c, z])
        yield f"s_C{c + 1:03}Z{z + 1:03}.tif", file.getvalue()


def write_oif(path):
    path.write_bytes(settings())
    folder = path.with_name(f"{path.name}.files")
    folder.mkdir()
    for name, content in planes():
        (folder / name).write_bytes(content)


def write_oib(path):
    """Write a compound file: a head, a table of what follows each sector, names, contents."""
    inside = {"Stream00000": settings()}
    told = ["[OibSaveInfo]", "Name=COFAImages", "Version=2.0.0.0", "MainFileName=Stream00000"]
    told += ["Stream00000=cells.oif"]
    for number, (name, content) in enumerate(planes(), 1):
        inside[f"Stream{number:05}"] = content
        told.append(f"Stream{number:05}=Storage00001/{name}")
    inside["OibInfo.txt"] = "\r\n".join([*told, ""]).encode("utf-16")

    def entry(name, kind, *, right=FREE, child=FREE, start=END, size=0):
        text = f"{name}\0".encode("utf-16-le")
        head = struct.pack(
            "<64sHBBIII16sIQQ", text, len(text), kind, 1, FREE, right, child, b"", 0, 0, 0
        )
        return head + struct.pack("<IQ", start, size)

    names, following, contents = [], [], b""
    directory = -(-(len(inside) + 1) * 128 // SECTOR)
    first = 1 + directory  # after the table, which is one sector, and the names
    for number, (name, content) in enumerate(inside.items(), 1):
        count = -(-len(content) // SECTOR)
        right = number + 1 if number < len(inside) else FREE
        names.append(entry(name, 2, right=right, start=first, size=len(content)))
        following += [*range(first + 1, first + count), END]
        contents += content.ljust(count * SECTOR, b"\0")
        first += count
    root = entry("Root Entry", 5, child=1)
    table = [FAT, *range(2, 1 + directory), END, *following]
    assert len(table) <= SECTOR // 4
    head = struct.pack(
        "<8s16sHHHHH6xIIIIIIIIII", b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", b"", 0x3E, 3, 0xFFFE, 9, 6,
        0, 1, 1, 0, 0, END, 0, END, 0, 0,
    )  # fmt: skip
    path.write_bytes(
        head.ljust(SECTOR, b"\xff")
        + struct.pack(f"<{SECTOR // 4}I", *table, *[FREE] * (SECTOR // 4 - len(table)))
        + b"".join([root, *names]).ljust(directory * SECTOR, b"\0")
        + contents
    )


@pytest.mark.parametrize("lazy_bytes", [1 << 28, 0], ids=["read", "lazy"])
@pytest.mark.parametrize(("name", "write"), [("a.oif", write_oif), ("a.OIB", write_oib)])
def test_pixels_axes_and_sizes_are_those_of_the_file(tmp_path, name, write, lazy_bytes):
    write(tmp_path / name)

    loaded = read_image(tmp_path / name, lazy_bytes=lazy_bytes)

    np.testing.assert_array_equal(loaded.pixels(), PIXELS)
    assert [(axis.name, pytest.approx(axis.scale), axis.unit) for axis in loaded.axes] == [
        ("c", 1.0, ""), ("z", 1.0, "micrometer"), ("y", 0.25, "micrometer"),
        ("x", 0.25, "micrometer"),
    ]  # fmt: skip


def test_planes_beside_an_oif_are_no_images(tmp_path):
    write_oif(tmp_path / "a.oif")
    found = find_images(tmp_path, tmp_path / "out", "**/*")
    assert [image.relative for image in found.images] == ["a.oif"]


def test_missing_planes_are_told(tmp_path):
    write_oif(tmp_path / "a.oif")
    (tmp_path / "a.oif.files" / "s_C001Z002.tif").unlink()
    with pytest.raises(ImageError, match="lacks 1 of its 6 planes"):
        read_image(tmp_path / "a.oif")
    shutil.rmtree(tmp_path / "a.oif.files")
    with pytest.raises(ImageError, match="can't be read"):
        read_image(tmp_path / "a.oif")


@pytest.mark.parametrize("at", [0, 13, 39])
def test_sectors_in_a_circle_are_told(tmp_path, at):
    """oiffile follows them for ever, and takes all memory."""
    path = tmp_path / "a.oib"
    write_oib(path)
    content = bytearray(path.read_bytes())
    place = SECTOR + 4 * (1 + at)
    content[place : place + 4] = struct.pack("<I", 1 + at)
    path.write_bytes(content)

    with pytest.raises(ImageError, match="is damaged"):
        read_image(path)


def test_circles_are_known_from_ends():
    rng = np.random.default_rng(0)
    for _ in range(200):
        following = rng.integers(0, 12, 8).astype(np.uint32)
        circle = False
        for place in range(8):
            seen = set()
            while place < 8 and place not in seen:
                seen.add(place)
                place = int(following[place])
            circle |= place < 8
        assert _has_circle(following) == circle

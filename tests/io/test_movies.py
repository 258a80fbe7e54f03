"""Movies of phones and microscopes: every frame that is shown, in any order, and not twice."""

import struct
from fractions import Fraction
from functools import partial

import numpy as np
import pytest

from napari_sam3_assistant.io import movies
from napari_sam3_assistant.io.images import read_image

av = pytest.importorskip("av", reason="needs the extra formats")

COUNT, SIDE = 48, 64


def picture(number, high):
    """A picture that tells its number by blocks, black or bright, as a film's clapper does."""
    bits = [[(number >> (2 * row + column)) & 1 for column in range(2)] for row in range(3)]
    return np.kron(np.array(bits, np.uint16), np.full((16, SIDE // 2), high, np.uint16))


def number_of(frame):
    """Which one a frame says that it is."""
    grey = frame if frame.ndim == 2 else frame.mean(-1)
    bright = grey[8::16, 16::32] > grey.max() / 2
    return sum(int(bit) << place for place, bit in enumerate(bright.ravel()))


def write(path, codec, pixels, shown_at=lambda number: number, **options):
    """Write a movie whose frames are shown at some times, in 25ths of a second."""
    with av.open(str(path), "w") as file:
        stream = file.add_stream(codec, rate=25, options=options)
        stream.width, stream.height, stream.pix_fmt = SIDE, 48, pixels
        for number in range(COUNT):
            values = picture(number + 1, 200)
            if pixels == "gray16le":
                frame = av.VideoFrame.from_ndarray(values * 300 + 7, format=pixels)
            else:
                frame = av.VideoFrame.from_ndarray(values.astype(np.uint8), format="gray")
            frame.pts, frame.time_base = shown_at(number), Fraction(1, 25)
            file.mux(stream.encode(frame))
        file.mux(stream.encode())


def trim(path):
    """Write a movie, and have it begin later and end earlier, as phones do: by a list in it."""
    write(path, "libx264", "yuv420p", g="12", bf="2")
    content = bytearray(path.read_bytes())
    listed, film = content.find(b"elst"), content.find(b"mdhd")
    (start,) = struct.unpack_from(">I", content, listed + 16)
    (rate,) = struct.unpack_from(">I", content, film + 16)
    struct.pack_into(">II", content, listed + 12, 800, start + rate * 10 // 25)
    path.write_bytes(content)


def cut_off(path):
    """Write a movie of which the end was never written."""
    write(path, "mjpeg", "yuvj420p")
    content = path.read_bytes()
    path.write_bytes(content[: len(content) * 6 // 10])


def dropped(number):
    return number + 5 * (number > 10) + 3 * (number > 30)


ALL = range(1, COUNT + 1)
H264 = partial(write, codec="libx264", pixels="yuv420p", g="12", bf="3")
MOVIES = {
    "h264.mp4": (H264, ALL),
    "never_whole.mov": (partial(write, codec="libx264", pixels="yuv420p", g="999"), ALL),
    "open.mkv": (partial(H264, **{"x264-params": "open-gop=1"}), ALL),
    "other_times.mkv": (partial(H264, shown_at=lambda number: number**2 // 20 + number), ALL),
    "mpeg4.avi": (partial(write, codec="mpeg4", pixels="yuv420p", g="8", bf="2"), ALL),
    "dropped.avi": (partial(write, codec="mjpeg", pixels="yuvj420p", shown_at=dropped), ALL),
    "vp9.webm": (partial(write, codec="libvpx-vp9", pixels="yuv420p"), ALL),
    "microscope.avi": (partial(write, codec="ffv1", pixels="gray16le", g="8"), ALL),
    "trimmed.mp4": (trim, range(11, 31)),
    "cut_off.avi": (cut_off, None),  # as many as there are
}


@pytest.fixture(scope="module")
def movie(tmp_path_factory, request):
    """The file of a movie, for reading only."""
    path = tmp_path_factory.mktemp("movie") / request.param
    MOVIES[request.param][0](path)
    return path


@pytest.mark.parametrize("movie", MOVIES, indirect=True)
@pytest.mark.parametrize("kept_bytes", [1, 60_000, 1 << 27])
def test_each_frame_that_is_shown_is_read_in_any_order(movie, kept_bytes, monkeypatch):
    monkeypatch.setattr(movies, "_KEPT_BYTES", kept_bytes)
    once = read_image(movie).data
    numbers = [number_of(frame) for frame in once]
    truth = MOVIES[movie.name][1]
    assert numbers == list(truth or range(1, len(once) + 1))
    lazy = read_image(movie, lazy_bytes=0).data
    order = np.random.default_rng(0).permutation(len(once))
    for number in [*order, *range(len(once) - 1, -1, -1)]:
        np.testing.assert_array_equal(lazy[number].compute(scheduler="sync"), once[number])


@pytest.mark.parametrize("movie", MOVIES, indirect=True)
def test_only_a_movie_without_its_end_is_told_to_be_cut_off(movie):
    told = [note for note in read_image(movie).notes if "cut off" in note]
    assert len(told) == (movie.name == "cut_off.avi")


@pytest.mark.parametrize("movie", ["microscope.avi"], indirect=True)
def test_grey_of_16_bits_stays_as_it_is(movie):
    data = read_image(movie).data
    assert data.dtype == np.uint16
    np.testing.assert_array_equal(data[4], picture(5, 200) * 300 + 7)


@pytest.mark.parametrize(("pixels", "bits"), [("yuv420p10le", 10), ("yuv420p", 0)])
def test_bits_that_are_not_read_are_told_of(pixels, bits, tmp_path):
    write(tmp_path / "a.mkv", "ffv1", pixels)
    told = [note for note in read_image(tmp_path / "a.mkv").notes if f"have {bits} bits" in note]
    assert len(told) == bool(bits)


@pytest.mark.parametrize("movie", ["h264.mp4", "mpeg4.avi"], indirect=True)
def test_going_back_does_not_begin_with_the_first_frame(movie, monkeypatch):
    """From the last to the first at most three are decoded for one: half of all would be 24."""
    monkeypatch.setattr(movies, "_KEPT_BYTES", 8 * 48 * SIDE * 6)  # 8 frames are kept
    decoded, take = [], movies._Frames._take  # noqa: SLF001 - what is decoded is seen nowhere else

    def counted(frames, **keep):
        decoded.append(1)
        take(frames, **keep)

    monkeypatch.setattr("napari_sam3_assistant.io.movies._Frames._take", counted)
    lazy = read_image(movie, lazy_bytes=0).data
    for number in range(COUNT - 1, -1, -1):
        lazy[number].compute(scheduler="sync")
    assert COUNT <= len(decoded) <= 3 * COUNT

"""What the model was shown, out of a note that anybody may have written."""

import json
import os
from pathlib import Path, PureWindowsPath

import numpy as np
import pytest
import tifffile

from napari_sam3_assistant.core.display import ImageView, view_of_array
from napari_sam3_assistant.errors import ImageError
from napari_sam3_assistant.io.json_values import explain_guess, view_from_json, view_to_json
from napari_sam3_assistant.io.untrusted import is_on_a_share


@pytest.fixture
def told(tmp_path):
    """Return what is noted of an image, as JSON gives it back."""
    pixels = np.arange(2 * 9 * 8, dtype=np.uint8).reshape(2, 9, 8)
    np.save(tmp_path / "a.npy", pixels)
    view = view_of_array(pixels, plane=[1])
    paths = {view.channels[0].source.token: tmp_path / "a.npy"}
    return json.loads(json.dumps(view_to_json(view, paths, tmp_path)))


def test_the_same_picture_comes_back(told, tmp_path):
    view = view_from_json(told, tmp_path)

    np.testing.assert_array_equal(view.rgb()[..., 0], np.load(tmp_path / "a.npy")[1])


def test_an_image_that_is_not_the_main_one_of_its_file(tmp_path):
    """napari reads the first image of a file, and the note of the window does not say which."""
    small, large = (np.full(shape, shape[0], np.uint8) for shape in ((9, 8), (30, 44)))
    with tifffile.TiffWriter(tmp_path / "a.tif") as writer:
        writer.write(small, metadata=None)
        writer.write(large, metadata=None)
    for pixels, series in ((small, None), (large, None), (large, 1), (small, 0)):
        view = view_of_array(pixels)
        paths = {view.channels[0].source.token: tmp_path / "a.tif"}

        again = view_from_json(view_to_json(view, paths, tmp_path, series), tmp_path)

        np.testing.assert_array_equal(again.rgb()[..., 0], pixels)
        paths = {again.channels[0].source.token: tmp_path / "a.tif"}
        (told,) = view_to_json(again, paths, tmp_path)
        assert told["series"] == series  # so that they can be made again from the next note, too


def test_channels_of_two_images_of_a_file(tmp_path):
    images = [np.full((9, 8), value, np.uint8) for value in (10, 30)]
    with tifffile.TiffWriter(tmp_path / "a.tif", ome=True) as writer:
        for pixels in images:
            writer.write(pixels, metadata={"axes": "YX"})
    channels = [view_of_array(pixels).channels[0] for pixels in images]
    for number, channel in enumerate(channels):
        channel.source.series = number
    paths = {channel.source.token: tmp_path / "a.tif" for channel in channels}

    again = view_from_json(view_to_json(ImageView(tuple(channels)), paths, tmp_path), tmp_path)

    told = view_to_json(ImageView(tuple(channels)), paths, tmp_path)
    assert not explain_guess(told, tmp_path)
    told[0]["series"] = None  # as readers of napari leave it
    (sentence,) = explain_guess(told, tmp_path)
    assert "holds 2 images of this size" in sentence
    assert "series 0 was taken" in sentence
    values = [channel.source.read(channel.plane).max() for channel in again.channels]
    assert values == [10, 30]


@pytest.mark.parametrize(
    "change",
    [
        lambda one: one.update(shape=None),
        lambda one: one["axes"].update(channel=7),
        lambda one: one["axes"].update(channel=2, plane_axes=[1, 2]),
        lambda one: one["axes"].update(plane_axes=[1, 1]),
        lambda one: one["axes"].update(plane_axes=[1, -5]),
        lambda one: one["axes"].update(rgb=True),
        lambda one: one["plane"].update(leading=[0.5]),
        lambda one: one["plane"].update(leading={}),
        lambda one: one["display"].update(gamma=float("nan")),
        lambda one: one["display"].update(contrast=[1]),
        lambda one: one["display"].update(colormap=[[1, 2]]),
        lambda one: one.update(path=3),
    ],
)
def test_what_does_not_fit_is_refused(told, tmp_path, change):
    change(told[0])

    with pytest.raises((KeyError, TypeError, ValueError)):
        view_from_json(told, tmp_path)


@pytest.mark.parametrize("key", ["path", "beside"])
@pytest.mark.parametrize("path", [r"\\host\share\a.npy", "//host/share/a.npy", r"\\?\UNC\h\s\a"])
def test_another_computer_is_not_asked(told, tmp_path, monkeypatch, key, path):
    told[0].update({"path": None, "beside": None, key: path})
    asked, real = [], os.stat

    def stat(place, *args, **kwargs):
        asked.append(os.fspath(place) if isinstance(place, str | Path) else place)
        return real(place, *args, **kwargs)

    monkeypatch.setattr(os, "stat", stat)
    monkeypatch.setattr(os.path, "exists", lambda place: asked.append(str(place)) or False)

    with pytest.raises(ImageError, match="not opened unasked") as caught:
        view_from_json(told, tmp_path)

    assert "give the image by its path" in caught.value.hint
    assert not any("share" in str(place) or "UNC" in str(place) for place in asked)


def test_what_lies_beside_is_found_though_the_old_place_was_on_a_share(told, tmp_path):
    told[0].update(path="//host/share/a.npy")

    assert view_from_json(told, tmp_path).shape == (9, 8)


@pytest.mark.parametrize(
    ("path", "folder", "is_elsewhere"),
    [
        (r"\\host\share\a.tif", r"\\HOST\share\more", False),
        (r"\\host\share\a.tif", r"\\host\other", True),
        (r"\\host\share\a.tif", r"C:\labels", True),
        (r"/\host/share/a.tif", r"C:\labels", True),
        (r"\\.\pipe\x", r"C:\labels", True),
        ("//host", r"C:\labels", True),
        (r"D:\a.tif", r"C:\labels", False),
        ("/data/a.tif", "/labels", False),
        ("", "/labels", False),
    ],
)
def test_which_paths_lead_to_another_computer(path, folder, is_elsewhere):
    class Folder(PureWindowsPath):
        def absolute(self):
            return self

    assert is_on_a_share(path, Folder(folder)) is is_elsewhere

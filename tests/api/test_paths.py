"""Every function that takes an image takes a file, too."""

import numpy as np
import pytest
import tifffile

from napari_sam3_assistant import api
from napari_sam3_assistant.errors import ExportError


@pytest.fixture
def stack(tmp_path):
    rows, columns = np.ogrid[:40, :50]
    disc = np.where((rows - 20) ** 2 + (columns - 25) ** 2 < 60, 200, 20).astype(np.uint8)
    path = tmp_path / "a.ome.tif"
    with tifffile.TiffWriter(path) as writer:
        told = {"axes": "ZYX", "PhysicalSizeX": 0.5}
        writer.write(np.stack([disc, disc, disc]), photometric="minisblack", metadata=told)
        writer.write(disc[5:35], metadata={"axes": "YX"})
    return path


def test_a_file_is_segmented_as_its_array(stack):
    array = np.array(tifffile.imread(stack))
    expected = api.segment(array, plane=(1,), points=[(20, 25)])

    for image in (stack, str(stack)):
        result = api.segment(image, plane=(1,), points=[(20, 25)])
        np.testing.assert_array_equal(result.labels, expected.labels)
        assert "holds 2 images" in result.notes[0]
    assert api.segment(stack, series=1, points=[(15, 25)]).labels.shape == (30, 50)


def test_what_is_read_is_not_replaced_whatever_it_is_called(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    plane = np.zeros((40, 50), np.uint8)
    plane[10:30, 15:35] = 200
    for name in ("image", "mask"):
        tifffile.imwrite(tmp_path / f"{name}.tif", plane)
    before = (tmp_path / "image.tif").read_bytes()
    for output in ("image.tif", "mask.tif"):
        with pytest.raises(ExportError, match="would replace"):
            api.segment(
                "~/image.tif",
                mask="~/mask.tif",
                output=tmp_path / output,
                overwrite=True,
            )
    assert (tmp_path / "image.tif").read_bytes() == before
    assert (tmp_path / "mask.tif").read_bytes() == before


def test_a_file_is_followed_by_the_name_of_its_axis(stack):
    found = list(api.track(stack, axis="z", frame=1, points=[(20, 25)]))

    assert sorted(result.frame for result in found) == [0, 1, 2]
    assert all(result.labels.any() for result in found)


def test_imread_gives_what_the_file_says(stack):
    image = api.imread(stack)

    assert isinstance(image, api.LoadedImage)
    assert [(axis.name, axis.length) for axis in image.axes] == [("z", 3), ("y", 40), ("x", 50)]
    assert (image.axes[2].scale, image.axes[2].unit) == (0.5, "micrometer")
    assert (image.format, image.library, image.levels) == ("TIFF", "tifffile", (image.data,))
    assert api.imread(stack, 1).data.shape == (30, 50)

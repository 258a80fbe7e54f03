"""The order and the names that OME files give to axes, which each keep what is theirs."""

import imageio.v3 as iio
import numpy as np
import pytest

from napari_sam3_assistant import api
from napari_sam3_assistant.core.axes import Axis, make_axes
from napari_sam3_assistant.errors import ExportError, ImageError, MaskError
from napari_sam3_assistant.io.labels import save_labels
from napari_sam3_assistant.io.pixel_size import ome_tiff_axes, ome_zarr_axes

SHAPE = (2, 3, 4, 5, 6)


@pytest.mark.parametrize(
    ("names", "tiff", "zarr"),
    [
        (("", ""), "yx", "yx"),
        (("", "y", "x"), "zyx", "zyx"),
        (("", "", "", "y", "x"), "ctzyx", "tczyx"),
        (("t", "y", "x"), "tyx", "tyx"),
        (("Time", "Y", "X"), "tyx", "tyx"),
        (("q", "y", "x"), "zyx", "zyx"),
        (("z", "t", "y", "x"), "ztyx", "tzyx"),
        (("z", "x", "y"), "zyx", "zyx"),
        (("y", "x", "z"), "zyx", "zyx"),
        (("y", "y", "x"), "zyx", "zyx"),
        (("z", "q", "y", "x"), "ztyx", "tzyx"),
        (("y", "z", "x"), "zyx", "zyx"),
        (("z", "x"), "yx", "zx"),
        (("t", "x"), "yx", "yx"),
    ],
)
def test_each_axis_keeps_its_own_values(names, tiff, zarr):
    axes = make_axes(SHAPE[: len(names)], names=names, scale=np.arange(1.0, 1 + len(names)))

    for (stored, order), expected in [(ome_tiff_axes(axes), tiff), (ome_zarr_axes(axes), zarr)]:
        assert "".join(axis.name for axis in stored) == expected
        assert [(axis.length, axis.scale) for axis in stored] == [
            (axes[number].length, axes[number].scale) for number in order
        ]


@pytest.mark.parametrize(
    "wrong", [{"scale": (1.0,)}, {"scale": (0.0, 1.0)}, {"origin": (0.0, np.nan)}, {"names": "x"}]
)
def test_numbers_that_are_no_axes(wrong):
    with pytest.raises(ImageError) as caught:
        make_axes((4, 5), **wrong)
    assert caught.value.hint


@pytest.mark.parametrize("ending", [".tif", ".zarr"])
def test_axes_of_other_labels_are_refused(tmp_path, ending):
    with pytest.raises(ExportError, match=r"\(4, 5\)") as caught:
        save_labels(np.zeros((4, 5), np.uint16), tmp_path / f"a{ending}", make_axes((5, 4)))
    assert caught.value.hint
    assert not list(tmp_path.iterdir())


def test_six_axes_are_a_plain_tiff_and_no_ome_zarr(tmp_path):
    labels = np.ones((1, 2, 1, 2, 4, 5), np.uint16)

    assert save_labels(labels, tmp_path / "a.tif", make_axes(labels.shape)).exists()
    with pytest.raises(ExportError, match="up to five axes"):
        save_labels(labels, tmp_path / "a.zarr", make_axes(labels.shape))


def test_units_are_known_by_any_of_their_names():
    axes = make_axes((2, 3, 4), names="zyx", scale=(1.0, 2.0, 3.0), units=("thou", "Microns", "px"))

    assert axes == (
        Axis("z", 2, 25.4, "micrometer"),
        Axis("y", 3, 2.0, "micrometer"),
        Axis("x", 4, 3.0),
    )


@pytest.mark.parametrize("kind", [np.int8, np.int16, np.int32, np.int64])
def test_minus_one_is_the_background_where_there_is_no_zero(tmp_path, kind):
    labels = np.full((20, 30), -1, kind)
    labels[2:6, 3:9] = 1
    labels[10:15, 3:9] = 4
    np.save(tmp_path / "a.npy", labels)

    for given in (labels, tmp_path / "a.npy"):
        assert [row["id"] for row in api.measure(given)] == [1, 4]
        assert api.clean(given, [api.Renumber()]).max() == 2
    labels[0, 0] = 0
    with pytest.raises(MaskError, match=r"lowest here is -1.*np\.where\(labels < 0, 0, labels\)"):
        api.measure(labels)


def test_labels_that_jpeg_has_changed_are_refused(tmp_path):
    labels = np.zeros((40, 60), np.uint8)
    labels[5:20, 5:20] = 80
    labels[20:35, 20:50] = 160
    iio.imwrite(tmp_path / "labels.jpg", labels)
    iio.imwrite(tmp_path / "even.jpg", np.full((16, 16), 255, np.uint8))

    for use in (api.measure, lambda path: api.segment(labels, labels=path)):
        with pytest.raises(MaskError, match=r"JPEG, which changes numbers.*PNG or TIFF"):
            use(tmp_path / "labels.jpg")
    with pytest.raises(MaskError, match=r"JPEG, which changes numbers.*> 127"):
        api.segment(labels, mask=tmp_path / "labels.jpg")
    assert len(api.measure(tmp_path / "even.jpg")) == 1

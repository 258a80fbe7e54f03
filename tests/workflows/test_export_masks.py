from pathlib import Path

import imageio.v3 as iio
import numpy as np
import pytest
import tifffile

from napari_sam3_assistant.core.axes import make_axes
from napari_sam3_assistant.core.masks.labels import ImagePlace
from napari_sam3_assistant.core.masks.objects import ExportFormat, with_suffix
from napari_sam3_assistant.core.progress import NullReporter
from napari_sam3_assistant.workflows.save import MaskExport, export_masks

LABELS = np.array([[0, 1], [2, 65535]], np.uint32)
PLACE = ImagePlace.alone("image", LABELS.shape)
READERS = {
    ExportFormat.TIFF: tifffile.imread,
    ExportFormat.PNG: iio.imread,
    ExportFormat.NPY: np.load,
}


def export(path, format_, labels=LABELS):
    request = MaskExport(labels, path, format_, PLACE, make_axes(labels.shape))
    return list(export_masks(request, NullReporter()))


@pytest.mark.parametrize("format_", READERS)
def test_pixels_are_read_back(tmp_path, format_):
    path = with_suffix(tmp_path / "exp1.0_A", format_)

    list(
        export_masks(
            MaskExport(LABELS, path, format_, PLACE, make_axes(LABELS.shape)), NullReporter()
        )
    )

    assert path.name == f"exp1.0_A{format_.suffix}"
    np.testing.assert_array_equal(READERS[format_](path), LABELS)


@pytest.mark.parametrize("format_", [each for each in ExportFormat if each not in READERS])
def test_every_other_format_writes_its_file(tmp_path, format_):
    path = with_suffix(tmp_path / "masks.tif", format_)
    labels = np.stack([LABELS] * 2) if format_.has_tracks else LABELS

    assert export(path, format_, labels) == [path]
    assert path.exists()
    assert path.suffix == format_.suffix


@pytest.mark.parametrize(
    ("name", "format_", "expected"),
    [
        ("a.TIFF", ExportFormat.TIFF, "a.TIFF"),
        ("a.png", ExportFormat.TIFF, "a.tif"),
        ("a.v2", ExportFormat.PNG, "a.v2.png"),
        ("a", ExportFormat.OME_ZARR, "a.zarr"),
        ("a.tiff", ExportFormat.YOLO, "a.txt"),
        ("TRA", ExportFormat.CTC, "TRA"),
        ("a.tif", ExportFormat.CTC, "a.ctc"),
        ("TRA", ExportFormat.GEFF, "TRA.geff"),
    ],
)
def test_the_ending_follows_the_format(name, format_, expected):
    assert with_suffix(Path(name), format_) == Path(expected)


def test_one_plane_of_a_stack_is_one_plane_as_png(tmp_path):
    path = tmp_path / "plane.png"

    list(
        export_masks(
            MaskExport(LABELS[None], path, ExportFormat.PNG, PLACE, make_axes((1, 2, 2))),
            NullReporter(),
        )
    )

    np.testing.assert_array_equal(iio.imread(path), LABELS)

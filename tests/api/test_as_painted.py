"""Painted masks that are the objects as they are, with any engine."""

import numpy as np
import pytest
from skimage.draw import disk
from tifffile import imread, imwrite

from napari_sam3_assistant import api
from napari_sam3_assistant.cli import main


@pytest.fixture
def image():
    plane = np.full((80, 90), 20, np.uint8)
    plane[disk((40, 40), 12)] = 200
    return plane


@pytest.fixture
def painted(image):
    """Beside the disc in part, with a hole and an island: as no engine would draw it."""
    mask = np.zeros(image.shape, bool)
    mask[disk((43, 44), 9)] = True
    mask[43, 44] = False
    mask[70:73, 3] = True
    return mask


def test_the_object_is_what_was_painted(image, painted):
    assert not np.array_equal(api.segment(image, mask=painted).labels > 0, painted)

    result = api.segment(image, mask=painted, as_painted=True)

    np.testing.assert_array_equal(result.labels, painted)
    assert [one.id for one in result.objects] == [1]


def test_labels_stay_as_they_are_with_their_numbers(image, painted):
    labels = np.where(painted, 7, 0)
    labels[:4, :4] = 70000
    result = api.segment(image, labels=labels, as_painted=True)
    np.testing.assert_array_equal(result.labels, labels)


def test_sam_3_changes_nothing_either(image, painted, tiny_checkpoint):
    with api.open_engine("sam3-transformers", model_folder=tiny_checkpoint, device="cpu") as engine:
        result = api.segment(image, mask=painted, as_painted=True, engine=engine)
    np.testing.assert_array_equal(result.labels, painted)
    assert result.engine.engine == "sam3-transformers"


def test_a_click_corrects_it_as_it_was_painted(image, painted):
    painted[70:73, 3] = False
    kept = api.segment(image, mask=painted, points=[(44, 46)], as_painted=True)
    np.testing.assert_array_equal(kept.labels > 0, painted)
    more = api.segment(image, mask=painted, points=[(33, 33)], as_painted=True).labels > 0
    assert more[33, 33]
    assert more[painted].all()


def test_the_command_line_does_so_and_the_note_makes_it_again(image, painted, tmp_path):
    file, mask, output = (tmp_path / name for name in ("image.tif", "mask.tif", "labels.tif"))
    imwrite(file, image)
    imwrite(mask, painted.astype(np.uint8))
    asked = ["segment", str(file), "--mask", str(mask), "--as-painted", "-o", str(output)]
    assert main(asked) == 0
    np.testing.assert_array_equal(imread(output), painted)

    again = tmp_path / "again.tif"
    assert main(["rerun", f"{output}.json", "-o", str(again)]) == 0
    np.testing.assert_array_equal(imread(again), painted)

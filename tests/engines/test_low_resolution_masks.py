"""Masks at the size of the image, made of the parts that matter only."""

from __future__ import annotations

import numpy as np
import pytest

from napari_sam3_assistant.core.progress import NullReporter
from napari_sam3_assistant.core.regions import Region
from napari_sam3_assistant.engines.sam3.mask_decoder import mask_extent, to_records, upscale_part
from napari_sam3_assistant.errors import JobCancelled

torch = pytest.importorskip("torch")
SHAPES = [(33, 47), (5, 400), (16, 16), (7, 3), (301, 299)]


def library(low, shape):
    """The whole image, as transformers makes it."""
    return torch.nn.functional.interpolate(low[None], shape, mode="bilinear", align_corners=False)[
        0
    ]


def blobs():
    """Logits of blobs: at the edges, in the middle, one pixel, noise, all, none."""
    low = torch.full((7, 16, 16), -3.0)
    low[0, :4, :4] = 2.0
    low[1, 12:, 10:] = 0.5
    low[2, 7, 8] = 9.0
    low[3] = torch.randn((16, 16), generator=torch.Generator().manual_seed(0))
    low[4] = 1.0
    low[6, 15, 0] = 0.01
    return low


@pytest.mark.parametrize("shape", SHAPES)
def test_reach_holds_the_whole_mask(shape):
    low = blobs()
    for small, large in zip(low, library(low, shape), strict=True):
        region = mask_extent((small > 0).numpy(), shape)
        outside = (large > 0).numpy()
        outside[region.slices] = False
        assert not outside.any()


def test_reach_is_not_much_larger_than_the_mask():
    small = np.zeros((16, 16), bool)
    small[7:9, 3] = True
    assert mask_extent(small, (160, 320)) == Region(60, 40, 100, 100)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("large", [0.0, 1.0], ids=["by PyTorch", "by parts"])
def test_part_has_the_values_of_the_whole(shape, large):
    low = torch.randn((40, 28), generator=torch.Generator().manual_seed(0))
    whole = library(low[None], shape)[0]
    height, width = shape
    for region in (
        Region.whole(shape),
        Region(0, 0, 1, 1),
        Region(height - 1, width - 2, height, width),
        Region(height // 3, width // 3, height // 2 + 1, width),
    ):
        part = upscale_part(low, shape, region, large)
        torch.testing.assert_close(part, whole[region.slices], rtol=0, atol=1e-5)


@pytest.mark.parametrize("shape", SHAPES)
def test_records_are_the_masks_of_the_library(shape):
    low = blobs()
    records = to_records(low, [0.5] * 7, shape, cutoff=0.0, reporter=NullReporter())
    expected = [mask for mask in (library(low, shape) > 0).numpy() if mask.any()]
    assert [record.id for record in records] == list(range(1, len(expected) + 1))
    for record, mask in zip(records, expected, strict=True):
        put_back = np.zeros(shape, bool)
        put_back[record.region.slices] = record.mask
        np.testing.assert_array_equal(put_back, mask)


def test_many_masks_can_be_cancelled():
    calls = []

    class Third(NullReporter):
        def check(self):
            calls.append(1)
            if len(calls) == 3:
                raise JobCancelled

    with pytest.raises(JobCancelled):
        to_records(blobs(), [0.5] * 7, (20, 20), cutoff=0.0, reporter=Third())
    assert len(calls) == 3

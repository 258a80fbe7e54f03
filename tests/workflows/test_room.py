"""Planes that the memory does not hold while they are looked at whole."""

from types import SimpleNamespace

import numpy as np
import psutil
import pytest

from napari_sam3_assistant.core.display import view_of_array
from napari_sam3_assistant.core.options import PredictOptions
from napari_sam3_assistant.core.progress import NullReporter
from napari_sam3_assistant.core.prompts import BoxPrompt, Everything, PointPrompt, PromptSet
from napari_sam3_assistant.core.regions import Region
from napari_sam3_assistant.errors import ImageError
from napari_sam3_assistant.workflows.batch import FolderRequest, segment_folder
from napari_sam3_assistant.workflows.segment import SegmentRequest, segment

GIGABYTE = 1e9


class Slide:
    """Pixels of which none may be read."""

    shape, dtype = (20000, 30000, 3), np.dtype(np.uint8)

    def __getitem__(self, key):
        raise AssertionError("pixels were read")


@pytest.fixture
def free(monkeypatch):
    """Return what sets how much memory is free, of much more."""

    def set_(size):
        memory = SimpleNamespace(total=1e12, available=size)
        monkeypatch.setattr(psutil, "virtual_memory", lambda: memory)

    return set_


@pytest.fixture
def builtin():
    from napari_sam3_assistant.api import open_engine

    with open_engine("builtin") as engine:
        yield engine


@pytest.mark.parametrize(
    ("prompts", "takes"),
    [
        (PromptSet(text="dark nuclei"), "60 GB"),
        (PromptSet(everything=Everything()), "60 GB"),
        (PromptSet(points=(PointPrompt(10, 10),)), "6 GB"),
        (PromptSet(boxes=(BoxPrompt(Region(1, 1, 9, 9)),)), "6 GB"),
    ],
)
def test_a_slide_is_refused_before_a_pixel_is_read(builtin, free, prompts, takes):
    free(5 * GIGABYTE)

    with pytest.raises(ImageError, match=f"takes about {takes} of memory, and 5 GB are free"):
        next(segment(builtin, SegmentRequest(view_of_array(Slide()), prompts), NullReporter()))


def test_a_region_of_it_is_not(engine, free):
    free(5 * GIGABYTE)
    prompts, region = PromptSet(text="bright"), Region(0, 0, 1000, 1000)

    with pytest.raises(ImageError, match="pixels were read"):
        next(
            segment(
                engine,
                SegmentRequest(view_of_array(Slide()), prompts, region=region),
                NullReporter(),
            )
        )


def test_in_a_batch_it_costs_itself(engine, free, tmp_path):
    (tmp_path / "in").mkdir()
    for name, side in (("large", 2000), ("small", 100)):
        np.save(tmp_path / "in" / f"{name}.npy", np.zeros((side, side), np.uint8))
    free(2e7)

    rows = list(
        segment_folder(
            engine,
            FolderRequest(
                tmp_path / "in", tmp_path / "out", PromptSet(text="bright"), PredictOptions()
            ),
            NullReporter(),
        )
    )

    assert [row.status for row in rows] == ["failed", "done"]
    assert "Scan the image tile by tile" in rows[0].message

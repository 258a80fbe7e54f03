"""The rows of the results, without a window."""

import numpy as np
import pytest

from napari_sam3_assistant.core.axes import guess_axes
from napari_sam3_assistant.core.images import PlaneRef
from napari_sam3_assistant.core.progress import deliver_inline
from napari_sam3_assistant.core.regions import Region
from napari_sam3_assistant.core.results import ObjectRecord, Provenance, Segmentation
from napari_sam3_assistant.errors import PromptError
from napari_sam3_assistant.session.model import SessionModel
from napari_sam3_assistant.session.results import Results, format_row
from napari_sam3_assistant.session.values import PlaneTarget, Preview

MADE_BY = Provenance("builtin", "Built-in", "1", "cpu", 0.35)


def start(job):
    job.run(deliver_inline)
    return job


def preview(count, *, leading=(), text="", score=0.5):
    square = np.ones((2, 3), bool)
    objects = tuple(
        ObjectRecord(number, square, Region(0, 0, 2, 3), score, text)
        for number in range(1, count + 1)
    )
    target = PlaneTarget("key", "cells\t1", guess_axes((9, 9)), PlaneRef(leading), (9, 9))
    labels = np.zeros((9, 9), np.uint32)
    return Preview(target, Segmentation(labels, objects, Region.whole((9, 9)), MADE_BY), 1.0)


@pytest.fixture
def model():
    return SessionModel()


def test_the_rows_follow_the_preview(model):
    results = Results(model, start)
    model.previews = (preview(2, leading=(4,), text="cell"),)

    assert [format_row(row) for row in model.results] == [
        ("cells\t1", "cell", "4", "1", "0.500", "6"),
        ("cells\t1", "cell", "4", "2", "0.500", "6"),
    ]
    results.clear()
    assert model.results == ()
    assert model.preview is not None
    model.previews = (preview(1, score=None),)
    assert format_row(model.results[0]) == ("cells\t1", "-", "-", "1", "-", "6")


def test_a_tab_in_a_name_does_not_shift_the_columns(model):
    results = Results(model, start)
    model.previews = (preview(1),)

    header, row = results.copy_text(model.results).splitlines()

    assert header.split("\t") == ["Layer", "Prompt", "Frame", "Object ID", "Score", "Area"]
    assert row.split("\t") == ["cells 1", "-", "-", "1", "0.500", "6"]


def test_a_hundred_thousand_rows_reach_the_file(model, tmp_path):
    results = Results(model, start)
    model.previews = (preview(100_000),)
    results.export(model.results, tmp_path / "all.csv")

    assert len((tmp_path / "all.csv").read_text().splitlines()) == 100_001


def test_nothing_to_copy_or_export(model, tmp_path):
    results = Results(model, start)

    with pytest.raises(PromptError, match="no results yet"):
        results.copy_text(())
    with pytest.raises(PromptError, match="no results yet"):
        results.export((), tmp_path / "none.csv")

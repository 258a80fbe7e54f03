"""Labels of other tools as prompts: each object asked for by its mask, with its own number."""

import json
from dataclasses import replace

import numpy as np
import pytest
import zarr
from hypothesis import given
from hypothesis import strategies as st
from skimage.draw import disk
from tifffile import imwrite

from napari_sam3_assistant import api
from napari_sam3_assistant.cli import main
from napari_sam3_assistant.core.prompts import MaskPrompt
from napari_sam3_assistant.core.results import ObjectRecord
from napari_sam3_assistant.engines.builtin import SPEC
from napari_sam3_assistant.engines.builtin.engine import BuiltinEngine
from napari_sam3_assistant.engines.caching_engine import CachingEngine
from napari_sam3_assistant.errors import ImageError, MaskError, PromptError
from napari_sam3_assistant.workflows.segment import KEPT_LABELS

CENTRES = {3: (20, 20), 7: (20, 60), 70000: (55, 40)}


@pytest.fixture
def cells():
    """A plane of discs, and labels of another tool that are a few pixels off and too small."""
    image, labels = np.full((80, 90), 20, np.uint8), np.zeros((80, 90), np.int32)
    truth = np.zeros_like(labels)
    for label, (y, x) in CENTRES.items():
        image[disk((y, x), 10)] = 200
        truth[disk((y, x), 10)] = label
        labels[disk((y + 2, x - 2), 7)] = label
    return image, labels, truth


def iou(one, other):
    return np.sum(one & other) / np.sum(one | other)


def test_each_label_becomes_its_object_and_keeps_its_number(cells):
    image, labels, truth = cells
    result = api.segment(image, labels=labels)

    assert [one.id for one in result.objects] == list(CENTRES)
    for label in CENTRES:
        before = iou(labels == label, truth == label)
        after = iou(result.labels == label, truth == label)
        assert after > before, (label, before, after)


class FindsNothingInTheDark(BuiltinEngine):
    """The built-in engine, but blind at some masks: it always finds something where it is asked."""

    def predict(self, embedding, prompts, options, reporter):
        answer = super().predict(embedding, prompts, options, reporter)
        (mask,) = prompts.masks
        return replace(answer, objects=()) if mask.region.x0 < 30 else answer


def test_a_label_where_nothing_is_found_stays_as_it_is(cells):
    image, labels, _ = cells
    with CachingEngine(FindsNothingInTheDark(SPEC)) as engine:
        result = api.segment(image, labels=labels, engine=engine)
    assert [one.id for one in result.objects] == list(CENTRES)
    np.testing.assert_array_equal(result.labels == 3, labels == 3)
    assert (result.labels[labels == 7] == 7).any()
    assert result.notes.count(KEPT_LABELS) == 1


def write(kind, folder, labels):
    file = folder / f"labels.{kind}"
    if kind == "tif":
        imwrite(file, labels.astype(np.uint32))
    elif kind == "npy":
        np.save(file, labels)
    elif kind == "h5":  # as ilastik: one data set, with a channel
        h5py = pytest.importorskip("h5py")
        with h5py.File(file, "w") as opened:
            opened["exported_data"] = labels[..., None].astype(np.uint32)
    return file


@pytest.mark.parametrize("kind", ["tif", "npy", "h5"])
def test_labels_of_files_in_python_and_by_the_command_line(cells, kind, tmp_path, capsys):
    image, labels, _ = cells
    imwrite(tmp_path / "cells.tif", image)
    file = write(kind, tmp_path, labels)
    expected = api.segment(image, labels=labels).labels
    np.testing.assert_array_equal(api.segment(image, labels=file).labels, expected)
    out = tmp_path / "out.tif"
    arguments = ["segment", str(tmp_path / "cells.tif"), "-o", str(out), "--labels", str(file)]
    assert main(arguments) == 0
    np.testing.assert_array_equal(api.imread(out).data, expected)
    assert len(json.loads((tmp_path / "out.tif.json").read_text())["objects"]) == 3
    capsys.readouterr()
    again = api.rerun(tmp_path / "out.tif.json", output=tmp_path / "again.tif")
    assert again is not None
    np.testing.assert_array_equal(api.imread(tmp_path / "again.tif").data, expected)


def test_of_a_stack_of_labels_the_plane_counts(cells):
    image, labels, _ = cells
    stack = np.stack([np.zeros_like(image), image])
    both = np.stack([np.zeros_like(labels), labels])
    found = api.segment(stack, plane=(1,), labels=both).labels
    np.testing.assert_array_equal(found, api.segment(stack, plane=(1,), labels=labels).labels)
    with pytest.raises(PromptError, match="empty here"):
        api.segment(stack, plane=(0,), labels=both)


def test_what_is_no_labels_is_refused(cells, tmp_path):
    image, labels, _ = cells
    with pytest.raises(MaskError, match="whole numbers"):
        api.segment(image, labels=labels + 0.5)
    with pytest.raises(PromptError, match="shape"):
        api.segment(image, labels=labels[:-1])
    with pytest.raises(PromptError, match="without other prompts"):
        api.segment(image, labels=labels, points=[(20, 20)])
    # Cellpose's own file is pickled: it could run anything, so it is not opened.
    np.save(tmp_path / "cells_seg.npy", {"masks": labels}, allow_pickle=True)
    with pytest.raises(ImageError, match="Cellpose"):
        api.segment(image, labels=tmp_path / "cells_seg.npy")


@given(data=st.data())
def test_masks_of_any_labels_are_the_labels(data):
    shape = data.draw(st.tuples(st.integers(1, 9), st.integers(1, 9)))
    area = shape[0] * shape[1]
    values = data.draw(
        st.lists(st.sampled_from([-1, 0, 1, 2, 9, 10**6]), min_size=area, max_size=area)
    )
    labels = np.array(values, data.draw(st.sampled_from([np.int32, np.int64]))).reshape(shape)
    if not (labels > 0).any():
        with pytest.raises(PromptError):
            MaskPrompt.of_labels(labels)
        return
    again = np.zeros_like(labels)
    for one in MaskPrompt.of_labels(labels):
        record = ObjectRecord(one.object_id, one.mask, one.region)
        again[record.region.slices][record.mask] = record.id
    np.testing.assert_array_equal(again, np.maximum(labels, 0))  # -1 is background, too


def test_of_a_stack_of_labels_in_pieces_one_plane_is_read(cells, tmp_path, monkeypatch):
    image, labels, _ = cells
    shape = (5, 1, *labels.shape)
    stack = zarr.open(
        tmp_path / "labels.zarr", mode="w", shape=shape, chunks=(1, 1, 80, 90), dtype="i4"
    )
    stack[3, 0] = labels
    read = []
    whole = zarr.Array.__getitem__

    def count(array, index):
        pixels = whole(array, index)
        read.append(np.size(pixels))
        return pixels

    monkeypatch.setattr(zarr.Array, "__getitem__", count)
    found = api.segment(np.stack([image] * 5), plane=(3,), labels=tmp_path / "labels.zarr")
    assert [one.id for one in found.objects] == list(CENTRES)
    assert sum(read) == labels.size

    del read[:]
    found = api.segment(np.stack([image] * 5), plane=(3,), labels=stack)
    assert [one.id for one in found.objects] == list(CENTRES)
    assert sum(read) == labels.size, "an array is read no further than its file"

    for other in (np.stack([image] * 6), np.stack([image[:-1]] * 6)):
        with pytest.raises(PromptError, match="shape"):
            api.segment(other, plane=(5,), labels=tmp_path / "labels.zarr")
    assert sum(read) == labels.size, "nothing is read of what does not fit"

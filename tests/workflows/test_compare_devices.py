"""Comparing devices: the measure with literal masks, the run with the tiny checkpoint."""

import numpy as np
import pytest

from napari_sam3_assistant import api
from napari_sam3_assistant.core.regions import Region
from napari_sam3_assistant.core.results import ObjectRecord, Provenance, Segmentation, paint_labels
from napari_sam3_assistant.errors import CheckpointInvalid, CheckpointNotFound, DeviceUnavailable
from napari_sam3_assistant.workflows.model_setup import DeviceComparison, Difference, difference

PLANE = Region(0, 0, 20, 20)


def result(*boxes, scores=()):
    """A result of full rectangles."""
    records = []
    for number, box in enumerate(boxes, 1):
        mask = np.zeros(PLANE.shape, bool)
        mask[Region.from_box(box).slices] = True
        score = scores[number - 1] if scores else None
        records.append(ObjectRecord.from_mask(number, mask, score=score))
    made = Provenance("any", "Any", "1", "cpu", 0.3)
    return Segmentation(paint_labels(records, PLANE), tuple(records), PLANE, made)


def test_equal_results():
    one = result((0, 0, 5, 5), (8, 8, 12, 12), scores=(0.9, 0.8))
    compared = difference("mps", "box", one, one)
    assert compared == Difference("mps", "box", 2, 2, 1.0, 0.0, 0.0)
    assert compared.agrees


def test_objects_are_paired_by_overlap_not_by_number():
    one = result((0, 0, 5, 5), (8, 8, 12, 12), scores=(0.9, 0.8))
    two = result((8, 8, 12, 12), (0, 0, 5, 5), scores=(0.78, 0.9))
    compared = difference("mps", "phrase", one, two)
    assert compared.iou == 1.0
    assert compared.score == pytest.approx(0.02)


def test_a_shifted_object():
    # Two of 4 x 4 pixels, moved by 2: 8 pixels shared of 24.
    compared = difference("mps", "box", result((0, 0, 4, 4)), result((2, 0, 6, 4)))
    assert compared.iou == pytest.approx(8 / 24)
    assert compared.box == 2.0
    assert not compared.agrees


def test_an_object_that_one_device_does_not_find():
    compared = difference(
        "mps", "phrase", result((0, 0, 4, 4)), result((0, 0, 4, 4), (9, 9, 12, 12))
    )
    assert (compared.objects, compared.expected, compared.iou) == (1, 2, 0.5)
    assert not compared.agrees


def test_scores_that_differ():
    one, two = (result((0, 0, 4, 4), scores=(score,)) for score in (0.9, 0.6))
    assert not difference("mps", "phrase", one, two).agrees


def test_nothing_found_on_either():
    assert difference("mps", "phrase", result(), result()).agrees


def test_verdicts():
    good = Difference("mps", "click", 1, 1, 0.99, 0.0, 0.01)
    bad = Difference("cuda:0", "click", 1, 1, 0.4, 9.0, 0.3)
    assert DeviceComparison("SAM 3", "cpu").verdict == (
        "Only the device cpu works here, so there is nothing to compare."
    )
    assert DeviceComparison("SAM 3", "cpu", (good,)).verdict == "The other devices agree with cpu."
    assert DeviceComparison("SAM 3", "cpu", (good, bad)).verdict == (
        "Cuda:0 differs from cpu. Choose the device cpu, and report this."
    )
    failed = DeviceComparison("SAM 3", "cpu", (), ("mps could not run.",))
    assert not failed.agrees
    assert failed.lines()[0] == "mps could not run."


def test_cpu_against_cpu(tiny_checkpoint):
    compared = api.compare_devices(tiny_checkpoint, devices=("cpu", "cpu"))

    assert [row.prompt for row in compared.rows] == ["click", "box", "phrase"]
    assert all((row.iou, row.box, row.score) == (1.0, 0.0, 0.0) for row in compared.rows)
    assert all(row.objects > 0 for row in compared.rows)
    assert compared.verdict == "The other devices agree with cpu."
    title, head, *_ = compared.lines()
    assert title == "SAM 3 (transformers), compared with cpu"
    assert head.split() == ["device", "prompt", "objects", "mask", "IoU", "box", "px", "score"]


def test_a_device_that_is_not_there_is_told(tiny_checkpoint):
    compared = api.compare_devices(tiny_checkpoint, devices=("cpu", "cuda:99"))
    assert not compared.agrees
    assert compared.failures[0].startswith("cuda:99 could not run.")
    assert compared.verdict.startswith("Not every device could run.")
    with pytest.raises(DeviceUnavailable):
        api.compare_devices(tiny_checkpoint, devices=("cuda:99", "cpu"))


def test_a_folder_that_is_none(tmp_path):
    with pytest.raises(CheckpointNotFound):
        api.compare_devices(tmp_path / "gone")
    (tmp_path / "model.safetensors").write_bytes(b"")
    with pytest.raises(CheckpointInvalid):
        api.compare_devices(tmp_path)


@pytest.mark.parametrize("kind", ["sam3", "sam"])
def test_the_number_formats_are_measured(tiny_checkpoint, sam_folder, kind):
    folder = tiny_checkpoint if kind == "sam3" else sam_folder(kind)
    measured = api.measure_precision(folder, device="cpu")

    assert [one.works_in for one in measured.times] == ["float32", "bfloat16", "int8"]
    prompts = ["click", "box", *(["phrase"] if kind == "sam3" else [])]
    assert [row.prompt for row in measured.rows] == prompts * 2
    title, head, *table, chosen = measured.lines()
    assert title.endswith("on cpu. The CPU was asked for.")
    assert head.split() == ["precision", "encode", "s", "processor", "s", "least", "mask", "IoU"]
    assert [line.split()[0] for line in table] == ["float32", "bfloat16", "int8"]
    # Here `auto` is float32, see conftest.py.
    assert chosen == "auto is float32. NAPARI_SAM3_PRECISION is float32."


def test_devices_are_compared_for_a_model_that_takes_no_phrases(sam_folder):
    compared = api.compare_devices(sam_folder("sam"), devices=("cpu", "cpu"))
    assert [row.prompt for row in compared.rows] == ["click", "box"]


def test_an_engine_without_number_formats_is_not_measured(tmp_path):
    with pytest.raises(CheckpointNotFound):
        api.measure_precision(tmp_path / "gone")

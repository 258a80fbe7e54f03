"""Labels of SAM 3 made again from their note: real code, tiny random weights."""

import hashlib
import json
import shutil

import imageio.v3 as iio
import numpy as np
import pytest

from napari_sam3_assistant import api
from napari_sam3_assistant.io.images import read_image


@pytest.fixture
def model(tiny_checkpoint, tmp_path):
    """A model folder of this test's own."""
    return shutil.copytree(tiny_checkpoint, tmp_path / "model")


def test_the_same_labels_and_a_word_where_the_weights_are_others(model, tmp_path):
    (tmp_path / "in").mkdir()
    image = np.random.default_rng(0).integers(0, 255, (70, 90, 3), dtype=np.uint8)
    iio.imwrite(tmp_path / "in" / "a.png", image)

    (row,) = api.segment_folder(
        tmp_path / "in",
        tmp_path / "out",
        texts=["cell"],
        engine="sam3-transformers",
        model_folder=model,
        device="cpu",
    )

    labels = tmp_path / "out" / row.labels
    note = labels.with_name(f"{labels.name}.json")
    found = json.loads(note.read_text("utf-8"))["engine"]
    weights = model / found["weights"]
    assert found["sha256"] == hashlib.sha256(weights.read_bytes()).hexdigest()
    again = api.rerun(note, device="cpu")
    np.testing.assert_array_equal(
        np.asarray(read_image(again.path).data), np.asarray(read_image(labels).data)
    )
    assert again.objects == row.objects
    assert again.notes == ()

    other = tmp_path / "note.json"
    changed = json.loads(note.read_text("utf-8"))
    changed["engine"]["sha256"] = "0" * 64
    other.write_text(json.dumps(changed))
    told = api.rerun(
        other, image=tmp_path / "in" / "a.png", device="cpu", output=tmp_path / "b.npy"
    )
    assert "weights are others" in told.notes[0]

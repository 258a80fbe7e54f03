"""Encodings on disk: found again, limited in size, and never half of one."""

from __future__ import annotations

import os
import subprocess
import sys

import numpy as np
import pytest

from napari_sam3_assistant.engines.encoding_cache import EmbeddingFolder

torch = pytest.importorskip("torch")
pytest.importorskip("safetensors")

IMAGE = np.arange(4 * 6 * 3, dtype=np.uint8).reshape(4, 6, 3)
TENSORS = {
    "map0": torch.arange(24.0).reshape(1, 2, 3, 4),
    "hidden": torch.linspace(-1, 1, 8).to(torch.bfloat16).reshape(1, 8),
}


@pytest.fixture
def folder(tmp_path):
    return EmbeddingFolder(tmp_path / "encodings")


def files(tmp_path):
    return sorted(file.name for file in (tmp_path / "encodings").iterdir())


def test_what_is_written_is_read(folder):
    key = folder.key(IMAGE, "weights")
    assert folder.load(key) is None
    folder.save(key, (4, 6), TENSORS)
    shape, tensors = folder.load(key)
    assert shape == (4, 6)
    assert tensors.keys() == TENSORS.keys()
    for name, tensor in TENSORS.items():
        assert tensors[name].dtype == tensor.dtype
        assert torch.equal(tensors[name], tensor)


def test_strided_tensors_are_written_too(folder):
    turned = TENSORS["map0"].transpose(2, 3)
    folder.save("0" * 64, (4, 6), {"map0": turned})
    assert torch.equal(folder.load("0" * 64)[1]["map0"], turned)


def test_the_key_is_of_pixels_shape_and_weights(folder):
    changed = IMAGE.copy()
    changed[3, 5, 2] += 1
    keys = {
        folder.key(IMAGE, "weights"),
        folder.key(changed, "weights"),
        folder.key(IMAGE.reshape(6, 4, 3), "weights"),
        folder.key(IMAGE, "other weights"),
    }
    assert len(keys) == 4
    assert folder.key(IMAGE[::-1][::-1], "weights") in keys


def test_the_least_recently_used_files_go(tmp_path):
    size = 24 * 4 + 8 * 2
    folder = EmbeddingFolder(tmp_path / "encodings", limit_bytes=4 * size + 1000)
    for number, key in enumerate("abc"):
        folder.save(key * 64, (4, 6), TENSORS)
        os.utime(tmp_path / "encodings" / f"{key * 64}.safetensors", (number, number))
    folder.load("a" * 64)
    one = (tmp_path / "encodings" / f"{'a' * 64}.safetensors").stat().st_size
    smaller = EmbeddingFolder(tmp_path / "encodings", limit_bytes=3 * one)
    smaller.save("d" * 64, (4, 6), TENSORS)
    assert files(tmp_path) == [f"{key * 64}.safetensors" for key in "acd"]


def test_one_beyond_the_limit_is_not_written(tmp_path):
    folder = EmbeddingFolder(tmp_path / "encodings", limit_bytes=50)
    folder.save("a" * 64, (4, 6), TENSORS)
    assert not (tmp_path / "encodings").exists()


def cut(file):
    file.write_bytes(file.read_bytes()[:-20])


def flip(file):
    content = bytearray(file.read_bytes())
    content[-3] ^= 255
    file.write_bytes(content)


def empty(file):
    file.write_bytes(b"")


def foreign(file):
    from safetensors.torch import save_file

    save_file(TENSORS, file)


@pytest.mark.parametrize("harm", [cut, flip, empty, foreign])
def test_a_damaged_or_foreign_file_is_removed(folder, tmp_path, harm, caplog):
    folder.save("a" * 64, (4, 6), TENSORS)
    harm(tmp_path / "encodings" / f"{'a' * 64}.safetensors")
    assert folder.load("a" * 64) is None
    assert files(tmp_path) == []
    assert "it is removed" in caplog.text


def test_files_of_other_names_are_left_alone(tmp_path):
    folder = EmbeddingFolder(tmp_path / "encodings", limit_bytes=2000)
    (tmp_path / "encodings").mkdir()
    (tmp_path / "encodings" / "model.safetensors").write_bytes(bytes(5000))
    folder.save("a" * 64, (4, 6), TENSORS)
    assert files(tmp_path) == [f"{'a' * 64}.safetensors", "model.safetensors"]


def test_a_crash_half_way_leaves_no_file_under_the_name(folder, tmp_path):
    code = (
        "import os, torch; from pathlib import Path\n"
        "from napari_sam3_assistant.engines import encoding_cache as module\n"
        "module.os.fsync = lambda _: os._exit(3)\n"
        f"folder = module.EmbeddingFolder(Path({str(tmp_path / 'encodings')!r}))\n"
        "folder.save('a' * 64, (4, 6), {'map0': torch.zeros(5)})\n"
    )
    crashed = subprocess.run([sys.executable, "-c", code], check=False, timeout=600)
    assert crashed.returncode == 3
    (draft,) = (tmp_path / "encodings").iterdir()
    assert draft.suffix == ".draft"
    assert folder.load("a" * 64) is None
    # A draft of just now may be of another process that is still at it.
    folder.save("b" * 64, (4, 6), TENSORS)
    assert draft.exists()
    os.utime(draft, (0, 0))
    folder.save("a" * 64, (4, 6), TENSORS)
    assert files(tmp_path) == [f"{'a' * 64}.safetensors", f"{'b' * 64}.safetensors"]


def test_a_folder_that_can_not_be_made_costs_nothing_but_a_line(tmp_path, caplog):
    (tmp_path / "encodings").write_text("a file")
    folder = EmbeddingFolder(tmp_path / "encodings")
    folder.save("a" * 64, (4, 6), TENSORS)
    assert "can't be kept" in caplog.text
    assert folder.load("a" * 64) is None

"""The script for GPUs runs through on the CPU, with tiny models: what it needs is still there."""

from __future__ import annotations

import importlib.util
import json
import sys
from pathlib import Path

import pytest

pytest.importorskip("transformers")
ROOT = Path(__file__).parents[1]


@pytest.fixture
def load(monkeypatch):
    """Return a script as a module; it makes other folders of the checkout importable."""
    monkeypatch.setattr(sys, "path", list(sys.path))

    def load(name):
        spec = importlib.util.spec_from_file_location(name, ROOT / "tools" / f"{name}.py")
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        return module

    return load


@pytest.mark.thorough
def test_the_tiny_form_for_metas_package_runs_on_the_cpu(load, tmp_path):
    pytest.importorskip("sam3")
    written = tmp_path / "report.json"

    asked = ["--device", "cpu", "--tiny", "--json", str(written)]
    assert load("check_gpu_meta").main(asked) == 0

    rows = json.loads(written.read_text("utf-8"))
    assert [row["works_in"] for row in rows] == ["float32", "bfloat16"]
    assert all(row["frame_of_4_masks"] and row["frame_of_a_phrase_masks"] for row in rows)
    assert all(row["bytes_after_unload"] == 0 for row in rows)


def test_the_tiny_form_runs_on_the_cpu(load, tmp_path):
    check_gpu = load("check_gpu")
    written = tmp_path / "report.json"
    # The tests of equality are this suite's own.
    asked = ["--device", "cpu", "--tiny", "--no-tests", "--json", str(written)]

    assert check_gpu.main(asked) == 0
    assert all((ROOT / suite).is_file() for suite in check_gpu.SUITES)

    rows = json.loads(written.read_text("utf-8"))["rows"]
    measured = [row for row in rows if "precision" in row]
    assert [(row["model"], row["works_in"]) for row in measured] == [
        (model, precision) for model in ("sam3", "sam2") for precision in ("float32", "bfloat16")
    ]
    parts = {"encode", "click", "scan_tile", "frame_of_1", "frame_of_16", "encode_of_4", "copy"}
    assert all(parts <= row.keys() and row["bytes_after_unload"] == 0 for row in measured)
    assert [row["agrees_with_cpu"] for row in rows if "agrees_with_cpu" in row] == [True, True]
    by_library = {"frame_by_library", "encode_and_click_by_library"}
    sam3, _, sam2, compiled = measured
    assert by_library <= sam2.keys()
    assert {*by_library, "encode_and_phrase_by_library", "tile_of_4_by_library"} <= sam3.keys()
    assert [sam3["click_as_library"], sam3["phrase_as_library"], sam2["click_as_library"]] == [
        1
    ] * 3
    assert "encode_compiled" in compiled

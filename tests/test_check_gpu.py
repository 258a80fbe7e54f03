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
def check_gpu(monkeypatch):
    """The script as a module; it makes other folders of the checkout importable."""
    monkeypatch.setattr(sys, "path", list(sys.path))
    spec = importlib.util.spec_from_file_location("check_gpu", ROOT / "tools" / "check_gpu.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_tiny_form_runs_on_the_cpu(check_gpu, tmp_path):
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

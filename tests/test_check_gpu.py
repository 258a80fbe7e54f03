"""The script for GPUs runs through on the CPU, with a tiny model: what it needs is still there."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("transformers")
ROOT = Path(__file__).parents[1]


def test_the_tiny_form_runs_on_the_cpu(tmp_path):
    written = tmp_path / "report.json"
    ran = subprocess.run(
        [
            *(sys.executable, str(ROOT / "tools/check_gpu.py"), "--device", "cpu", "--tiny"),
            *(
                "--models",
                "sam2",
                "--select",
                "several_objects_both_ways and sam2",
                "--json",
                str(written),
            ),
        ],
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )

    assert ran.returncode == 0, ran.stdout + ran.stderr
    rows = json.loads(written.read_text("utf-8"))["rows"]
    measured = [row for row in rows if "precision" in row]
    assert [(row["model"], row["works_in"]) for row in measured] == [
        ("sam2", "float32"),
        ("sam2", "bfloat16"),
    ]
    parts = {"encode", "click", "frame", "encode_by_library", "encode_of_4", "copy"}
    assert all(parts <= row.keys() and row["bytes_after_unload"] == 0 for row in measured)
    assert [row["agrees_with_cpu"] for row in rows if "agrees_with_cpu" in row] == [True]
    assert "frame_by_library" in measured[0]
    assert "encode_compiled" in measured[1]
    assert rows[-1]["passed"]
    assert "passed" in rows[-1]["tests"][0]

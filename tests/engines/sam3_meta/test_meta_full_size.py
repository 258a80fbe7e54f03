"""The engine at full size, with random weights."""

from __future__ import annotations

import json
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_every_prompt_at_full_size_on_the_cpu(request, tmp_path):
    """In a process of its own: its peak memory is counted, and nothing here is made small."""
    if find_spec("sam3") is None:
        pytest.skip("Meta's package sam3 is not installed")
    if "slow" not in request.config.getoption("markexpr"):
        pytest.skip("takes minutes and 8 GB of memory: run it with -m slow")
    script = Path(__file__).with_name("full_size_run.py")
    result = subprocess.run(
        [sys.executable, str(script), str(tmp_path)], capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, result.stderr
    figures = json.loads(result.stdout.splitlines()[-1])

    def cores(step):
        return figures[step]["cores"]

    assert cores("second click") < cores("encode") / 10
    assert cores("another threshold") < cores("second phrase") / 2
    assert figures["peak memory, GB"] < 12

"""The script in ``windows_sam31_workaround``, run as a user runs it."""

from __future__ import annotations

import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

pytestmark = pytest.mark.skipif(
    find_spec("sam3") is None, reason="Meta's package sam3 is not installed"
)

SCRIPT = Path(__file__).parents[3] / "windows_sam31_workaround" / "run_with_workaround.py"
SWITCHES = ("SAM3_FORCE_SDPA_FALLBACK", "SAM3_FORCE_SLOW_EDT", "USE_PERFLIB")


def _run(*arguments, **switches):
    environment = {k: v for k, v in os.environ.items() if k not in SWITCHES} | switches
    return subprocess.run(
        [sys.executable, "-W", "ignore", str(SCRIPT), *arguments],
        capture_output=True,
        text=True,
        check=False,
        timeout=600,
        env=environment,
    )


def test_check_says_what_is_done():
    result = _run("--check", SAM3_FORCE_SDPA_FALLBACK="0")
    lines = result.stdout.splitlines()

    assert result.returncode == 0, result.stderr
    assert [line.split()[-1] for line in lines[1:]] == ["off", "on", "on"]


def test_runs_a_script_with_its_arguments_and_the_measures(tmp_path):
    script = tmp_path / "mine.py"
    script.write_text(
        "import sys\n"
        "import sam3.perflib\n"
        "import sam3.model.sam3_tracker_utils as utils\n"
        "print(sys.argv[1:], sam3.perflib.is_enabled, utils.edt_triton.__name__)\n"
    )
    result = _run(str(script), "a", "--b")

    assert result.stdout.strip() == "['a', '--b'] False distance_transform", result.stderr

"""Triton beside the LLVM of the OpenGL driver."""

import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

# What Mesa does when it draws without a GPU, and then what loading SAM 3 does.
SCRIPT = """
import ctypes, sys
ctypes.CDLL(sys.argv[1], mode=ctypes.RTLD_GLOBAL)
from napari_sam3_assistant.engines.device import read_devices
read_devices()
import triton
print("alive")
"""


def test_the_process_survives_triton_after_mesa():
    libraries = sorted(Path("/usr/lib").glob("*/libLLVM*.so*"))
    if not libraries or find_spec("triton") is None or find_spec("torch") is None:
        pytest.skip("needs torch, triton and the LLVM of Mesa")
    # In a process of its own, for without the measure it ends with a segmentation fault.
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, str(libraries[0])],
        capture_output=True,
        text=True,
        check=False,
        timeout=600,
    )
    assert (done.returncode, done.stdout) == (0, "alive\n"), done.stderr[:500]

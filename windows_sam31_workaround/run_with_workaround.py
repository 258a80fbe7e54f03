"""Run a Python script, or a module, with Meta's ``sam3`` package made fit for Windows.

Three measures are taken in the memory of this process; no file of ``sam3`` is changed::

    python run_with_workaround.py --check
    python run_with_workaround.py my_script.py ARGUMENTS
    python run_with_workaround.py -m napari

Each measure has a switch in the environment: ``SAM3_FORCE_SDPA_FALLBACK``,
``SAM3_FORCE_SLOW_EDT`` and ``USE_PERFLIB``. Here they are 1, 1 and 0 unless you set them.
See README.md beside this file.
"""

from __future__ import annotations

import argparse
import os
import runpy
import sys
from importlib.metadata import version
from importlib.util import find_spec

from napari_sam3_assistant.engines.sam3_meta import compat

_DEFAULTS = {
    "SAM3_FORCE_SDPA_FALLBACK": "1",
    "SAM3_FORCE_SLOW_EDT": "1",
    "USE_PERFLIB": "0",
}


def main(arguments: list[str] | None = None) -> int:
    """Take the measures and run what is named; return the exit code."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--check", action="store_true", help="say what is done, and end")
    parser.add_argument("-m", dest="module", action="store_true", help="TARGET is a module")
    parser.add_argument("target", nargs="?", help="the script or module to run")
    parser.add_argument("rest", nargs=argparse.REMAINDER, help="its arguments")
    chosen = parser.parse_args(arguments)
    if find_spec("sam3") is None:
        sys.stderr.write('sam3 is not installed: pip install "napari-sam3-assistant[meta]"\n')
        return 2
    for name, value in _DEFAULTS.items():
        os.environ.setdefault(name, value)
    patches = compat.choose_patches()
    compat.import_model_builder(patches)
    with compat.apply_patches(patches):
        if chosen.check or chosen.target is None:
            _say(patches)
            return 0
        sys.argv = [chosen.target, *chosen.rest]
        if chosen.module:
            runpy.run_module(chosen.target, run_name="__main__", alter_sys=True)
        else:
            runpy.run_path(chosen.target, run_name="__main__")
    return 0


def _say(patches: compat.Patches) -> None:
    lines = (
        f"sam3 {version('sam3')} imports here.",
        f"attention on any kernel:            {'on' if patches.attention else 'off'}",
        f"distance transform without Triton:  {'on' if patches.distance else 'off'}",
        f"sam3's own kernels (perflib) off:   {'on' if patches.perflib else 'off'}",
    )
    sys.stdout.write("\n".join(lines) + "\n")


if __name__ == "__main__":
    sys.exit(main())

"""Keep Triton's copy of LLVM apart from the one of the OpenGL driver.

Mesa draws with LLVM where there is no GPU driver of its own (software rendering, remote desktops,
some AMD GPUs), so once napari has drawn, ``libLLVM`` is in memory with its names open to all.
PyTorch imports Triton where that is installed, as it is with PyTorch for Linux from PyPI. Its
library has an LLVM of another version inside, whose calls then go to Mesa's: the process ends
with a segmentation fault. (Seen with triton 3.9 and Mesa's LLVM 15; the same with TensorFlow's:
https://github.com/tensorflow/tensorflow/issues/124205)
"""

from __future__ import annotations

import ctypes
import os
import sys
from importlib.util import find_spec
from pathlib import Path


def keep_triton_apart() -> None:
    """Load Triton's library so that it calls its own LLVM, if another one is in memory.

    To be called before PyTorch is imported; later it does nothing.
    """
    if not sys.platform.startswith("linux") or "triton" in sys.modules:
        return
    if "libLLVM" not in Path("/proc/self/maps").read_text(encoding="utf-8", errors="replace"):
        return
    spec = find_spec("triton")
    for folder in (spec.submodule_search_locations or []) if spec else []:
        library = Path(folder) / "_C" / "libtriton.so"
        if library.is_file():
            # The import of it later finds it in memory, and so with these bindings.
            ctypes.CDLL(str(library), mode=os.RTLD_NOW | os.RTLD_DEEPBIND)

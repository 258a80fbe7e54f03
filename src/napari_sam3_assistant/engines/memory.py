"""Giving memory back to the system after a model has gone."""

from __future__ import annotations

import ctypes
import gc
import sys

from napari_sam3_assistant.engines.device import free_cache


def give_back_memory() -> None:
    """Let the system have what nobody uses any more, in RAM and on the device.

    To let go of a model is not enough. Its parts refer to each other, so Python frees them when it
    next looks for such circles. PyTorch keeps what it had on a GPU. And the C library of Linux
    keeps most of it, too: once a block of up to 32 MB has been freed, blocks of that size no longer
    come from the system one by one (``M_MMAP_THRESHOLD`` in mallopt(3)). Takes some tenths of a
    second.
    """
    gc.collect()
    free_cache()
    if sys.platform == "linux":
        # Of glibc only; another C library, such as musl, gives back by itself.
        trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
        if trim is not None:
            trim(0)

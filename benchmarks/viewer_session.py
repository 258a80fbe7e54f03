"""What the benchmarks of whole runs share: a session on a viewer without a window, and meters."""

from __future__ import annotations

import gc
import importlib.util
import json
import queue
import subprocess
import sys
import threading
from contextlib import contextmanager
from pathlib import Path
from time import perf_counter

import psutil
from napari.components import ViewerModel

from napari_sam3_assistant.engines import registry
from napari_sam3_assistant.engines.base import EngineEntry
from napari_sam3_assistant.session.settings import MemorySettings
from napari_sam3_assistant.viewer.binding import binding_for

_TESTS = Path(__file__).parents[1] / "tests" / "engines"
MIB = 2**20


@contextmanager
def random_weights(engine, folder, **size):
    """Write a checkpoint with random weights, for as long as its engine shall read it.

    Of its image encoder, ``width`` and ``layers`` may be given; otherwise it is tiny. Nothing is
    downloaded. A process of its own writes, so that this one's memory stays as it is.
    """
    folder.mkdir()
    if engine == "builtin":
        yield
        return
    command = [sys.executable, __file__, engine, str(folder), json.dumps(size)]
    subprocess.run(command, check=True, capture_output=True)
    with _small(engine, size):
        yield


@contextmanager
def _small(engine, size):
    """Have Meta's package build what the weights are for; transformers reads it in the folder."""
    names = {"width": "embed_dim", "layers": "depth"}
    if engine == "sam3-meta":
        vit = {names[key]: value for key, value in size.items()}
        with _module("sam3_meta/conftest.py").small_builder(**vit):
            yield
    else:
        yield


def _write(engine, folder, size):
    with _small(engine, size):
        if engine == "sam3-meta":
            _module("sam3_meta/full_size_run.py").write_checkpoint(folder)
        else:
            _module("tiny_checkpoint.py").write_tiny_checkpoint(folder, **size)


def _module(path):
    """Import a file of the tests, which are no package."""
    spec = importlib.util.spec_from_file_location(Path(path).stem, _TESTS / path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


class Worked:
    """How long an engine encoded and predicted."""

    def __init__(self):
        self.seconds = 0.0

    def watch(self, name):
        """Count the work of every engine that is made from now on under a name."""
        real = registry.find_entry(name)

        def create(*choice):
            engine = real.create(*choice)
            engine.embed = self._timed(engine.embed)
            engine.predict = self._timed(engine.predict)
            return engine

        registry.entries()[name] = EngineEntry(real.spec, real.status, create)

    def _timed(self, work):
        def timed(*arguments):
            began = perf_counter()
            try:
                return work(*arguments)
            finally:
                self.seconds += perf_counter() - began

        return timed


class Desk:
    """A viewer, its session, and the thread that both live on: this one."""

    def __init__(self, engine="builtin", folder=None):
        self._calls = queue.SimpleQueue()
        self.viewer = ViewerModel()
        self.binding = binding_for(self.viewer, self._calls.put, MemorySettings())
        self.model, self.session = self.binding.model, self.binding.session
        self.model.engine, self.model.device = engine, "auto"
        self.model.model_folder = "" if folder is None else str(folder)

    def finish(self, job):
        """Do what comes in until a job is over."""
        while self.model.running or not job.state.is_over:
            self._calls.get(timeout=600)()
        if job.error is not None:
            raise job.error

    def run(self):
        """Run once and return how long it took, with its layers written."""
        began = perf_counter()
        self.finish(self.session.run())
        return perf_counter() - began

    def close(self):
        """End the session, and wait until its worker has let go of the engine."""
        self.binding.close()
        for worker in threading.enumerate():
            if worker.name == "sam3-jobs":
                worker.join(60)


def resident():
    """Return this process's memory in RAM, in bytes."""
    gc.collect()
    return psutil.Process().memory_info().rss


def forget_peak():
    """Begin to look for the peak of this process's memory anew (Linux)."""
    Path("/proc/self/clear_refs").write_text("5", encoding="ascii")


def peak():
    """Return the peak of this process's memory in RAM since it was forgotten, in bytes."""
    for line in Path("/proc/self/status").read_text(encoding="ascii").splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    sys.exit("This system does not tell the peak of a process's memory.")


if __name__ == "__main__":
    _write(sys.argv[1], Path(sys.argv[2]), json.loads(sys.argv[3]))

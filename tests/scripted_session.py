"""A session by a script, the same each time: clicks, runs, acceptances, strokes, corrections."""

import pickle
from contextlib import suppress
from pathlib import Path

import numpy as np

from killed_process import run_python
from napari_sam3_assistant.core.prompts import Task
from napari_sam3_assistant.errors import PromptError

COUNT = 10


def make_image():
    """Return bright discs on a dark, noisy ground."""
    rng = np.random.default_rng(0)
    image = rng.normal(40, 3, (128, 160))
    y, x = np.ogrid[:128, :160]
    for cy in range(16, 128, 32):
        for cx in range(16, 160, 32):
            image[(y - cy) ** 2 + (x - cx) ** 2 <= 81] += 150
    return image.clip(0, 255).astype(np.uint8)


def begin(binding):
    """Show an image."""
    binding.viewer.add_image(make_image(), name="cells")
    binding.session.run_live = lambda: None  # runs are acts of their own


def _click(binding, rng):
    binding.prompts.arm()
    points = next(one for one in binding.viewer.layers if one.name == "SAM3 points")
    points.add(rng.integers(4, 120, 2).astype(float))


def _run(binding, rng):
    del rng
    if not binding.model.why_not.run:
        assert binding.session.run().wait(240)


def _accept(binding, rng):
    del rng
    with suppress(PromptError):  # all of it is accepted already
        binding.session.accept()


def _paint(binding, rng):
    name = "SAM3 live accepted labels"
    if name in binding.viewer.layers:
        layer = binding.viewer.layers[name]
        layer.brush_size = 9
        layer.paint(tuple(rng.integers(4, 120, 2)), int(rng.integers(1, 9)))


def _undo(binding, rng):
    del rng
    binding.actions.undo()


def _everything(binding, rng):
    del rng
    task, binding.model.task = binding.model.task, Task.EVERYTHING
    assert binding.session.run().wait(240)
    binding.model.task = task


ACTS = {
    "click": _click,
    "run": _run,
    "accept": _accept,
    "paint": _paint,
    "everything": _everything,
    "undo": _undo,
}
_ORDER = (
    "click",
    "run",
    "accept",
    "paint",
    "click",
    "run",
    "undo",
    "everything",
    "accept",
    "paint",
)


def act(binding, number):
    """Do the act of a number."""
    ACTS[_ORDER[number % len(_ORDER)]](binding, np.random.default_rng(number))


def without_times(facts):
    """Return what does not depend on how fast the machine is."""
    previews = [(*one[:2], *one[3:]) for one in facts["previews"]]
    return {**facts, "previews": previews}


KILLED = """
import os, pickle, signal, sys, threading
sys.path.insert(0, {tests!r})
import saved_sessions as saved, scripted_session as scripted
from pathlib import Path
root, after, told = Path(sys.argv[1]), float(sys.argv[2]), Path(sys.argv[3])
binding = saved.new_binding()
binding.session.journaling.start(root)
scripted.begin(binding)
done = os.open(told, os.O_CREAT | os.O_WRONLY | os.O_APPEND)
for number in range(scripted.COUNT):
    if number == 1 and after:
        threading.Timer(after, os.kill, (os.getpid(), signal.SIGKILL)).start()
    scripted.act(binding, number)
    binding.session.journaling.finish()
    os.write(done, pickle.dumps(scripted.without_times(saved.facts(binding))))
threading.Event().wait(60 if after else 0)
"""


def run_killed(tmp_path, name, after):
    """Run the script, which is killed after so many seconds; return what it did until then."""
    root, told = tmp_path / name, tmp_path / f"{name}.pickles"
    code = KILLED.format(tests=str(Path(__file__).parent))
    _, status = run_python(code, root, after, told)
    return status, root, read_states(told)


def read_states(told):
    """Return the states that a process has told of, until it was killed."""
    states = []
    with told.open("rb") as file:
        try:
            while True:
                states.append(pickle.load(file))
        except (EOFError, pickle.UnpicklingError):
            return states

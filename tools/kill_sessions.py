"""Kill a scripted session at random moments, and compare what comes back, object by object.

Run with ``python tools/kill_sessions.py 50``: so many times, without a window. With ``--docked`` a
person works in the docked window by mouse and keys; that needs a display.
"""

import argparse
import os
import pickle
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
from dataclasses import replace
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
import saved_sessions as saved
import scripted_session as scripted
from napari_sam3_assistant.core.prompts import PointPrompt, Task

ACTS = (
    ("click", (16, 16)),
    ("accept",),
    ("click", (16, 48)),
    ("click", (48, 48)),
    ("undo",),
    ("accept",),
    ("stroke", (80, 80), (84, 90)),
    ("click", (112, 112)),
    ("accept",),
    ("undo",),
    ("redo",),
    ("click", (48, 144)),
    ("accept",),
)
"""What the person does in the window."""


_MOST_TOLD = 300
"""Letters of a value that is told of."""


def go_on(root: Path, *, docked: bool) -> dict[str, object]:
    """Return what comes back of the one journal in a folder."""
    binding = saved.new_binding()
    binding.session.journaling.start(root)
    (left,) = binding.session.journaling.left()
    opened = threading.Event()
    binding.session.opening.opened.connect(lambda _: opened.set())
    binding.session.journaling.go_on(left)
    assert opened.wait(240)
    if docked:  # the window's table does so
        binding.session.measuring.measure_at_once()
        saved.wait_until(lambda: all(row.measured for row in binding.session.results.everything))
    found = scripted.without_times(saved.facts(binding))
    binding.close()
    return found


def work_in_window(told: Path, after: float) -> None:
    """Work in a window, and be killed so many seconds after the first act; 0 for never."""
    from demo_gui import open_demo
    from qtpy.QtCore import Qt
    from qtpy.QtTest import QTest
    from user import User

    image = scripted.make_image()
    demo = open_demo(image, "cells")
    user = User(demo, dock_width=420, width=1300, height=800)
    cells = user.viewer.layers["cells"]
    user.click(f"task_{Task.LIVE_POINTS}")
    (told / "root").write_text(os.environ["XDG_STATE_HOME"], encoding="utf8")
    states = os.open(told / "states", os.O_CREAT | os.O_WRONLY | os.O_APPEND)
    control, shift = Qt.KeyboardModifier.ControlModifier, Qt.KeyboardModifier.ShiftModifier

    def do(verb: str, *pixels: tuple[int, int]) -> None:
        if verb == "click":
            user.click_at(cells, pixels[0])
        elif verb == "accept":
            user.press(Qt.Key.Key_K)
        elif verb == "undo":
            user.press(Qt.Key.Key_Z, control)
        elif verb == "redo":
            user.press(Qt.Key.Key_Z, control | shift)
        else:
            layer = user.viewer.layers["SAM3 live accepted labels"]
            user.viewer.layers.selection.active = layer
            layer.brush_size, layer.selected_label, layer.mode = 9, 7, "paint"
            user.drag(layer, *pixels)
            layer.mode = "pan_zoom"
            user.click(f"task_{Task.LIVE_POINTS}")

    for number, (verb, *pixels) in enumerate(ACTS):
        if number == 1 and after:
            threading.Timer(after, os.kill, (os.getpid(), signal.SIGKILL)).start()
        do(verb, *pixels)
        QTest.qWait(400)  # for the run that follows a click
        user.wait_for(lambda: True)
        QTest.qWait(700)  # the journal's clock has ticked, and its thread has written
        found = scripted.without_times(saved.facts(user.widget.binding))
        os.write(states, pickle.dumps(found))
    os.kill(os.getpid(), signal.SIGKILL)


def run_docked(folder: Path, after: float) -> tuple[Path, list[dict[str, object]]]:
    """Have a person work in a window that is killed; returns the journals, and the states."""
    folder.mkdir()
    command = [sys.executable, __file__, "0", "--docked", "--told", folder, "--after", after]
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True, check=False)
    if done.returncode != -signal.SIGKILL:
        raise RuntimeError(done.stderr)
    root = Path((folder / "root").read_text("utf8")) / "napari-sam3-assistant" / "journals"
    states = folder / "states"
    return root, scripted.read_states(states) if states.exists() else []


def is_between(found: object, before: object, after: object) -> bool:
    """Return whether each part is as it was before an act, or as it is after it."""
    if isinstance(found, dict) and isinstance(before, dict):
        then = after if isinstance(after, dict) else {}
        return found.keys() == before.keys() and all(
            is_between(found[name], before[name], then.get(name)) for name in found
        )
    return found in (before, after)


def as_parts(facts: dict[str, object]) -> dict[str, object]:
    """Return facts with layers and rows by name, so that each is compared for itself.

    What an object measures comes some time after it.
    """
    layers = {layer["name"]: layer for layer in facts["layers"]}
    rows = {
        f"row {place} {id_}": {"record": record, "measured": measured}
        for place, id_, *record, measured in facts["rows"]
    }
    return {
        **{name: one for name, one in facts.items() if name != "rows"},
        **rows,
        "layers": tuple(layers),
        **{f"layer {name}": one for name, one in layers.items()},
    }


def to_whole_pixels(value: object) -> object:
    """Return facts with clicks at whole pixels: where one lands differs with the window's size."""
    if isinstance(value, PointPrompt):
        return replace(value, y=round(value.y), x=round(value.x))
    if isinstance(value, dict):
        return {name: to_whole_pixels(one) for name, one in value.items()}
    if not isinstance(value, list | tuple):
        return value
    if len(value) == 3 and value[1] == "float64" and isinstance(value[2], bytes):
        return (value[0], np.frombuffer(value[2]).round().tolist())
    return type(value)(map(to_whole_pixels, value))


def find_lost(
    found: dict[str, object], done: list[dict[str, object]], states: list[dict[str, object]]
) -> dict[str, str]:
    """Return what of each part is neither as before the act in flight nor as after it."""
    others = (found, done[-1], states[min(len(done), len(states) - 1)])
    here, before, after = (as_parts(to_whole_pixels(one)) for one in others)
    # A layer that the act in flight makes is there or not; one that it takes away, too.
    lost = [name for name in before.keys() - here.keys() if name in after]
    # Which layer is selected may be in between, as while a stroke is painted.
    names = (before.keys() & here.keys()) - {"selected"}
    lost += [name for name in names if not is_between(here[name], before[name], after.get(name))]
    return {name: tell_apart(here.get(name), before.get(name), after.get(name)) for name in lost}


def tell_apart(found: object, before: object, after: object) -> str:
    """Return what came back beside what was there, where dicts differ key by key."""
    if isinstance(found, dict) and isinstance(before, dict):
        then = after if isinstance(after, dict) else {}
        return "; ".join(
            f"{name}: {tell_apart(one, before.get(name), then.get(name))}"
            for name, one in found.items()
            if not is_between(one, before.get(name), then.get(name))
        )
    told = (repr(one)[:_MOST_TOLD] for one in (found, before, after))
    return "{} came back, {} was before the act, {} after it".format(*told)


def main(times: int, seed: int, *, docked: bool) -> int:
    """Kill, compare and tell."""
    folder = Path(tempfile.mkdtemp())
    rng = np.random.default_rng(seed)
    if docked:
        _, states = run_docked(folder / "whole", 0)
        longest = 1.6 * len(ACTS)
    else:
        _, _, states = scripted.run_killed(folder, "whole", 0)
        longest = 0.6
    lost = early = 0
    for number, after in enumerate(rng.uniform(0.01, longest, times)):
        if docked:
            root, done = run_docked(folder / str(number), after)
        else:
            _, root, done = scripted.run_killed(folder, str(number), after)
        if not done:
            early += 1
            continue
        parts = find_lost(go_on(root, docked=docked), done, states)
        lost += bool(parts)
        differ = (f"{name} ({how})" for name, how in sorted(parts.items()))
        said = f"lost: {', '.join(differ)}" if parts else "all there"
        print(f"{number + 1}: killed after {after:.3f} s, {len(done)} acts: {said}", flush=True)
        if docked:
            shutil.rmtree(root.parents[1], ignore_errors=True)
    print(f"{times} kills, {early} before the first act, {lost} with something lost")
    shutil.rmtree(folder, ignore_errors=True)
    return lost


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("kills", type=int, nargs="?", default=50)
    parser.add_argument("--docked", action="store_true")
    parser.add_argument("--seed", type=int, default=0, help="of the random moments")
    parser.add_argument("--told", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--after", type=float, default=0.0, help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    if chosen.told is not None:
        work_in_window(chosen.told, chosen.after)
    sys.exit(main(chosen.kills, chosen.seed, docked=chosen.docked))

"""Kill a scripted session at random moments, and compare what comes back, object by object.

Run with ``python tools/kill_sessions.py 50``: so many times, without a window. With ``--docked`` a
person works in the docked window by mouse and keys, with ``--series`` on the images of a folder;
that needs a display.
"""

from __future__ import annotations

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
from typing import TYPE_CHECKING

import numpy as np
import tifffile

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
import saved_sessions as saved
import scripted_session as scripted
from napari_sam3_assistant.core.prompts import PointPrompt, Task

if TYPE_CHECKING:
    from user import User

    from napari_sam3_assistant.viewer.binding import Binding

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

SERIES_ACTS = (
    ("click", (16, 16)),
    ("accept",),
    ("next",),
    ("click", (16, 48)),
    ("next",),
    ("click", (48, 48)),
    ("accept",),
    ("click", (80, 80)),
    ("undo",),
    ("previous",),
    ("click", (112, 112)),
    ("next",),
    ("next",),
)
"""What the person does with the images of a folder."""

_MOST_TOLD = 300
"""Letters of a value that is told of."""


def make_series(folder: Path) -> None:
    """Write the images of a folder anew; nothing of them is annotated."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    for number in range(4):
        tifffile.imwrite(folder / f"cells{number}.tif", np.roll(scripted.make_image(), number))


def read_facts(binding: Binding) -> dict[str, object]:
    """Return all that counts of a session, the labels of its folder in files, too."""
    source = binding.session.annotation.model.source
    files = Path(source).glob("sam3_labels/*_labels.tif") if source else ()
    saved_labels = {file.name: tifffile.imread(file).tolist() for file in files}
    return scripted.without_times(saved.facts(binding)) | {"files": saved_labels}


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
    saved.wait_idle(binding)
    found = read_facts(binding)
    binding.close()
    return found


def work_in_window(told: Path, after: float, series: Path | None) -> None:
    """Work in a window, and be killed so many seconds after the first act; 0 for never.

    ``series``: the folder of the images that are annotated; None for one image in memory.
    """
    from demo_gui import open_demo
    from qtpy.QtTest import QTest
    from qtpy.QtWidgets import QFileDialog
    from user import User

    demo = open_demo(scripted.make_image(), "cells")
    user = User(demo, dock_width=420, width=1300, height=800)
    user.click(f"task_{Task.LIVE_POINTS}")
    if series is not None:
        QFileDialog.getExistingDirectory = lambda *_: str(series)
        user.click("annotate_folder")
        user.wait_for(lambda: user.widget.binding.session.annotation.model.name != "")
    (told / "root").write_text(os.environ["XDG_STATE_HOME"], encoding="utf8")
    states = os.open(told / "states", os.O_CREAT | os.O_WRONLY | os.O_APPEND)
    for number, (verb, *pixels) in enumerate(ACTS if series is None else SERIES_ACTS):
        if number == 1 and after:
            threading.Timer(after, os.kill, (os.getpid(), signal.SIGKILL)).start()
        do(user, verb, *pixels)
        QTest.qWait(400)  # for the run that follows a click
        user.wait_for(lambda: True)
        QTest.qWait(700)  # the journal's clock has ticked
        user.widget.binding.session.journaling.finish()  # its thread has written
        os.write(states, pickle.dumps(read_facts(user.widget.binding)))
    os.kill(os.getpid(), signal.SIGKILL)


def do(user: User, verb: str, *pixels: tuple[int, int]) -> None:
    """Do one of the acts by mouse and keys."""
    from qtpy.QtCore import Qt

    control, shift = Qt.KeyboardModifier.ControlModifier, Qt.KeyboardModifier.ShiftModifier
    key, annotation = Qt.Key, user.widget.binding.session.annotation.model
    if verb == "click":
        shown = Path(annotation.name).stem or "cells"
        user.click_at(user.viewer.layers[shown], pixels[0])
    elif verb == "accept":
        user.press(key.Key_K)
    elif verb == "undo":
        user.press(key.Key_Z, control)
    elif verb == "redo":
        user.press(key.Key_Z, control | shift)
    elif verb in ("next", "previous"):
        before = annotation.name
        user.press(key.Key_PageDown if verb == "next" else key.Key_PageUp)
        user.wait_for(lambda: annotation.name != before)
    else:
        layer = user.viewer.layers["SAM3 live accepted labels"]
        user.viewer.layers.selection.active = layer
        layer.brush_size, layer.selected_label, layer.mode = 9, 7, "paint"
        user.drag(layer, *pixels)
        layer.mode = "pan_zoom"
        user.click(f"task_{Task.LIVE_POINTS}")


def run_docked(
    folder: Path, after: float, series: Path | None
) -> tuple[Path, list[dict[str, object]]]:
    """Have a person work in a window that is killed; returns the journals, and the states."""
    folder.mkdir()
    command = [sys.executable, __file__, "0", "--docked", "--told", folder, "--after", after]
    if series is not None:
        make_series(series)
        command += ["--images", series]
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
        return all(
            is_between(found.get(name), before.get(name), then.get(name))
            for name in found.keys() | before.keys() | then.keys()
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
            f"{name}: {tell_apart(found.get(name), before.get(name), then.get(name))}"
            for name in sorted(found.keys() | before.keys() | then.keys())
            if not is_between(found.get(name), before.get(name), then.get(name))
        )
    told = (repr(one)[:_MOST_TOLD] for one in (found, before, after))
    return "{} came back, {} was before the act, {} after it".format(*told)


def main(times: int, seed: int, *, docked: bool, of_series: bool) -> int:
    """Kill, compare and tell."""
    folder = Path(tempfile.mkdtemp())
    series = folder / "images" if of_series else None
    rng = np.random.default_rng(seed)
    if docked:
        whole = folder / "whole"
        _, states = run_docked(whole, 0, series)
        longest = (whole / "states").stat().st_mtime - (whole / "root").stat().st_mtime
    else:
        _, _, states = scripted.run_killed(folder, "whole", 0)
        longest = 0.6
    lost = early = 0
    for number, after in enumerate(rng.uniform(0.01, longest, times)):
        if docked:
            root, done = run_docked(folder / str(number), after, series)
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
    parser.add_argument("--series", action="store_true", help="docked, on the images of a folder")
    parser.add_argument("--seed", type=int, default=0, help="of the random moments")
    parser.add_argument("--told", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--after", type=float, default=0.0, help=argparse.SUPPRESS)
    parser.add_argument("--images", type=Path, help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    if chosen.told is not None:
        work_in_window(chosen.told, chosen.after, chosen.images)
    docked = chosen.docked or chosen.series
    sys.exit(main(chosen.kills, chosen.seed, docked=docked, of_series=chosen.series))

"""Kill a scripted session at random moments, and compare what comes back, object by object.

Run with ``python tools/kill_sessions.py 50``: so many times.
"""

import shutil
import sys
import tempfile
import threading
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
import saved_sessions as saved
import scripted_session as scripted


def go_on(root: Path) -> dict[str, object]:
    """Return what comes back of the one journal in a folder."""
    binding = saved.new_binding()
    binding.session.journaling.start(root)
    (left,) = binding.session.journaling.left()
    opened = threading.Event()
    binding.session.opening.opened.connect(lambda _: opened.set())
    binding.session.journaling.go_on(left)
    assert opened.wait(240)
    found = scripted.without_times(saved.facts(binding))
    binding.close()
    return found


def main(times: int) -> int:
    """Kill, compare and tell."""
    folder = Path(tempfile.mkdtemp())
    _, _, states = scripted.run_killed(folder, "whole", 0)
    lost = 0
    for number, after in enumerate(np.random.default_rng().uniform(0.01, 0.6, times)):
        _, root, done = scripted.run_killed(folder, str(number), after)
        if not done:
            continue
        right = go_on(root) in (states[len(done) - 1], *states[len(done) : len(done) + 1])
        lost += not right
        print(f"{number + 1}: killed after {after:.3f} s, {len(done)} acts: {right}", flush=True)
    print(f"{times} kills, {lost} with something lost")
    shutil.rmtree(folder, ignore_errors=True)
    return lost


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]) if len(sys.argv) > 1 else 50))

"""Drafts of a process that was killed go with the next save; those of others never do."""

import os
import signal
import subprocess
import sys

import numpy as np
import pytest

from napari_sam3_assistant.io import atomic
from napari_sam3_assistant.io.atomic import draft_folder, draft_path, process_mark, remove_abandoned
from napari_sam3_assistant.io.labels import save_labels

LABELS = np.random.default_rng(0).integers(1, 60000, (700, 900)).astype(np.uint32)
SAVE = """
import os, signal, sys
import numpy as np
from pathlib import Path
from napari_sam3_assistant.io.labels import save_labels

class Killing:
    def report(self, progress):
        os.kill(os.getpid(), signal.SIGKILL)
    def check(self):
        pass

labels = np.ones((1200, 1200), np.uint32)
path = Path(sys.argv[1])
if path.suffix == ".zarr":
    save_labels(labels, path, reporter=Killing())
os.fsync = lambda _: os.kill(os.getpid(), signal.SIGKILL)
save_labels(labels, path)
"""
MERGE = """
import os, signal, sys
import numpy as np
from pathlib import Path
from napari_sam3_assistant.core.axes import make_axes
from napari_sam3_assistant.core.regions import Region
from napari_sam3_assistant.workflows.save import MergeRequest, merge_regions

class Killing:
    def report(self, progress):
        os.kill(os.getpid(), signal.SIGKILL)

parts = ((Region(0, 0, 8, 8), np.ones((8, 8), np.uint32)),)
next(merge_regions(MergeRequest(parts, make_axes((16, 16)), Path(sys.argv[1])), Killing()))
"""
WRITE_SLOWLY = """
import sys
from pathlib import Path
from napari_sam3_assistant.io.atomic import draft_folder
with draft_folder(Path(sys.argv[1])) as draft:
    draft.mkdir()
    print(draft.name, flush=True)
    sys.stdin.read()
"""
posix = pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="Windows has no such signal")


def names(folder):
    return sorted(path.name for path in folder.iterdir())


@posix
@pytest.mark.parametrize(
    ("code", "name"),
    [(SAVE, "a.zarr"), (SAVE, "a.tif"), (SAVE, "a.npy"), (MERGE, "a.zarr")],
)
def test_the_next_save_removes_what_a_killed_process_left(tmp_path, killed, code, name):
    killed.run_and_kill(code, tmp_path / name)
    (left,) = names(tmp_path)
    assert left.startswith(".sam3-draft-")

    save_labels(LABELS, tmp_path / "b.tif")

    assert names(tmp_path) == ["b.tif"]


def test_what_another_process_is_writing_stays(tmp_path):
    with subprocess.Popen(
        [sys.executable, "-c", WRITE_SLOWLY, str(tmp_path / "a.zarr")],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as other:
        draft = other.stdout.readline().strip()
        save_labels(LABELS, tmp_path / "b.tif")
        assert names(tmp_path) == [draft, "b.tif"]
        other.communicate()


def test_what_this_process_is_writing_stays(tmp_path):
    with draft_folder(tmp_path / "a.zarr") as draft:
        draft.mkdir()
        remove_abandoned(tmp_path)
        assert names(tmp_path) == [draft.name]
    assert names(tmp_path) == []


def test_only_what_is_certainly_abandoned_goes(tmp_path):
    own = draft_path(tmp_path / "a.tif").name
    head, machine, number, token, unique = own.removesuffix(".tif").rsplit("-", 4)
    assert f"{machine}-{number}-{token}" == process_mark()
    assert (head, number) == (".sam3-draft", str(os.getpid()))
    stays = [
        own,
        f"{head}-00000000-999999999-00000000-{unique}.zarr",  # another machine
        f"{head}-{machine}-999999999-{token}.tif",
        f".{'0' * 32}.zarr",
    ]
    goes = [
        f"{head}-{machine}-999999999-00000000-{unique}.tif",
        f"{head}-{machine}-{number}-00000000-{unique}.zarr",  # the number came round again
        f"{head}-{machine}-{os.getppid()}-00000000-{unique}.zarr",  # for a program that runs
    ]
    for name in (*stays, *goes):
        (tmp_path / name).write_text("")

    remove_abandoned(tmp_path)

    assert names(tmp_path) == sorted(stays)


def test_a_folder_is_looked_through_once(tmp_path, monkeypatch):
    asked = []
    monkeypatch.setattr(atomic, "remove_abandoned", asked.append)
    for _ in range(3):
        save_labels(LABELS, tmp_path / "a.tif")
    assert asked == [tmp_path]

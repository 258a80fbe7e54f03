"""Folders of sessions: whole or as before, journals with torn ends, and hostile files."""

import codecs
import json
import os
import shutil
import subprocess
import sys
from contextlib import suppress
from importlib import import_module
from pathlib import Path

import numpy as np
import pytest
import zarr
from hypothesis import given
from hypothesis import strategies as st

from napari_sam3_assistant.errors import ExportError, Sam3AssistantError, SessionError
from napari_sam3_assistant.io import session_folder, session_lock
from napari_sam3_assistant.io.atomic import is_running
from napari_sam3_assistant.io.session_arrays import PixelBox, write_array
from napari_sam3_assistant.io.session_folder import (
    Changed,
    Journal,
    apply_journal,
    make_folder,
    read_session,
    write_index,
)
from napari_sam3_assistant.io.session_lock import is_taken, release_folder, take_folder
from napari_sam3_assistant.io.session_pixels import open_held

sys.path.insert(0, str(Path(__file__).parents[1]))  # the tests are not a package
run_and_kill = import_module("killed_process").run_and_kill
KILL_AT_SYNC = import_module("killed_process").KILL_AT_SYNC

pytestmark = pytest.mark.usefixtures("windows_files")


@pytest.fixture
def folder(tmp_path):
    """A session with one array and two entries."""
    place = tmp_path / "a.sam3session"
    make_folder(place)
    stored = write_array(place, np.arange(12, dtype=np.uint32).reshape(3, 4))
    write_index(place, {"one": 1, "two": {"b": [1, 2]}}, {"x": stored})
    return place


def test_a_session_whose_index_an_editor_of_windows_has_saved(folder):
    before = read_session(folder).entries
    index = next(folder.glob("*.json"))
    index.write_bytes(codecs.BOM_UTF8 + index.read_bytes())
    assert read_session(folder).entries == before


def test_a_journal_is_applied_and_its_torn_end_is_dropped(folder):
    key = read_session(folder).key
    journal = Journal(folder, key)
    box = PixelBox("x", (1, 2), np.full((2, 2), 99, np.uint32))
    journal.append(Changed({"one": 2, "three": 3}, pixels=(box,)))
    whole = journal.size
    journal.append(Changed({"one": 4}, gone=("two",)))
    end = journal.size
    journal.sync()
    journal.close()
    log = folder / "journal.log"
    content = log.read_bytes()
    for cut in range(whole, end + 1):
        log.write_bytes(content[:cut])
        found = read_session(folder)
        assert found.entries["one"] == (4 if cut == end else 2)
        assert ("two" in found.entries) is (cut < end)
        assert len(found.pixels) == 1
    apply_journal(folder)
    found = read_session(folder)
    assert (found.entries, found.pixels) == ({"one": 4, "three": 3}, [])
    assert found.open("x")[1:, 2:].tolist() == [[99, 99], [99, 99]]
    assert not log.exists()
    apply_journal(folder)  # again: whoever was to go on with it may not have come to that
    assert read_session(folder).entries == found.entries


def test_many_strokes_are_written_piece_by_piece_and_the_last_one_counts(tmp_path, monkeypatch):
    place, rng = tmp_path / "a.sam3session", np.random.default_rng(0)
    make_folder(place)
    expected = rng.integers(0, 99, (1500, 1100), np.uint32)
    key = write_index(place, {}, {"x": write_array(place, expected)})
    journal = Journal(place, key)
    for number in range(300):
        y, x = rng.integers(0, (1400, 1000))
        box = PixelBox("x", (int(y), int(x)), np.full(rng.integers(0, 90, 2), number, np.uint32))
        expected[box.key] = number
        journal.append(Changed(pixels=(box,)))
    journal.close()
    (whole,) = open_held({"names": ["x"]}, read_session(place), writable=False)
    np.testing.assert_array_equal(whole, expected)
    written, write = [], zarr.Array.__setitem__
    monkeypatch.setattr(
        zarr.Array, "__setitem__", lambda *given: (written.append(given[1]), write(*given))
    )
    apply_journal(place)
    assert len(written) == 4
    np.testing.assert_array_equal(read_session(place).open("x")[:], expected)


@given(st.lists(st.integers(0, 300), max_size=8), st.integers(0, 300), st.integers(20, 200))
def test_what_is_written_can_be_read_or_is_refused(tmp_path_factory, texts, index, sides):
    """However small what can be read is: in earnest it is a gigabyte."""
    place = tmp_path_factory.mktemp("any") / "a.sam3session"
    make_folder(place)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(session_folder, "_LONGEST_RECORD", 400)
        patch.setattr(session_folder, "_MOST_BYTES", 500)
        patch.setattr(session_folder, "LARGEST_CHUNK", 100)
        try:
            key = write_index(place, {"index": "x" * index}, {})
        except ExportError:
            assert index > 100
            assert not (place / "session.json").exists()
            return
        journal, kept = Journal(place, key), []
        for number, size in enumerate(texts):
            box = PixelBox("x", (0,), np.zeros(sides if number % 2 else 1, np.uint8))
            with suppress(ExportError):
                journal.append(Changed({"at": number, "text": "x" * size}, pixels=(box,)))
                kept.append(number)
        journal.close()
        found = read_session(place)
    assert found.damaged == 0
    assert len(found.pixels) == len(kept)
    assert found.entries.get("at") == (kept[-1] if kept else None)


def test_a_damaged_record_is_left_out_and_told_of(folder):
    journal = Journal(folder, read_session(folder).key)
    first = journal.append(Changed({"one": 2}))
    journal.append(Changed({"two": 5}))
    journal.close()
    log = folder / "journal.log"
    content = bytearray(log.read_bytes())
    content[-first - 20] ^= 255
    log.write_bytes(content)
    found = read_session(folder)
    assert found.damaged == 1
    assert (found.entries["one"], found.entries["two"]) == (1, 5)


def test_the_journal_of_an_earlier_state_counts_no_more(folder):
    journal = Journal(folder, read_session(folder).key)
    journal.append(Changed({"one": 2}))
    journal.close()
    write_index(folder, {"one": 7}, {})
    assert read_session(folder).entries == {"one": 7}
    assert list((folder / "arrays").iterdir()) == []  # named no more


SAVE_AGAIN = """
import sys
from pathlib import Path
import numpy as np
from napari_sam3_assistant.io.session_arrays import write_array
from napari_sam3_assistant.io.session_folder import make_folder, write_index
folder = Path(sys.argv[1])
make_folder(folder)
stored = write_array(folder, np.full((3, 4), 5, np.uint32))
write_index(folder, {"one": "new"}, {"x": stored})
"""


@pytest.mark.parametrize("count", [1, 2, 3])
def test_a_session_that_is_killed_over_another_is_one_of_both(folder, count):
    run_and_kill(KILL_AT_SYNC.format(count=count) + SAVE_AGAIN, folder)
    found = read_session(folder)
    assert found.entries["one"] == 1
    assert found.open("x")[:].tolist() == np.arange(12).reshape(3, 4).tolist()


@pytest.fixture
def other():
    """The mark of another process, which runs until the test ends."""
    code = "import sys; from napari_sam3_assistant.io import atomic as a; print(a.process_mark())"
    command = [sys.executable, "-c", f"{code}; sys.stdout.flush(); sys.stdin.read()"]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    with subprocess.Popen(command, **pipes) as process:
        yield process.stdout.readline().strip()
        process.communicate()


def test_two_processes_do_not_have_one_folder(folder, other):
    assert take_folder(folder, "a")
    assert take_folder(folder, "a")  # it is ours
    assert not take_folder(folder, "b")  # of another viewer
    release_folder(folder, "b")
    assert is_taken(folder)
    lock = folder / "open.lock"
    lock.write_text(other)
    assert is_taken(folder)
    assert not take_folder(folder, "a")
    machine, number, began = other.split("-")
    gone = (
        f"{machine}-999999999-{began}",
        f"{machine}-{number}-00000000",  # the number came round again
        f"{machine}-{os.getpid()}-00000000",
        "",
    )
    for mark in gone:
        lock.write_text(mark)
        assert not is_taken(folder)
        assert take_folder(folder, "a")
    release_folder(folder, "a")
    assert [path.name for path in folder.iterdir() if "json" not in path.name] == ["arrays"]


def test_of_two_that_find_the_mark_of_one_that_is_gone_one_gets_the_folder(
    folder, other, monkeypatch
):
    lock, gone = folder / "open.lock", f"{other.split('-')[0]}-999999999-00000000"
    lock.write_text(gone)

    def be_slower(mark):
        if mark == gone:
            lock.write_text(other)
        return is_running(mark)

    monkeypatch.setattr(session_lock, "is_running", be_slower)
    assert not take_folder(folder, "a")
    assert lock.read_text() == other


@pytest.mark.parametrize(
    "box",
    [
        PixelBox("x", (2, 2), np.ones((2, 2), np.uint32)),
        PixelBox("x", (0,), np.ones(2, np.uint32)),
        PixelBox("x", (1, 1, 1), np.ones((1, 1, 1), np.uint32)),
        PixelBox("x", (0, 0), np.ones((2, 2), np.float64)),
    ],
)
def test_pixels_of_a_journal_that_lie_beside_their_array_are_told_of(folder, box):
    journal = Journal(folder, read_session(folder).key)
    journal.append(Changed(pixels=(box,)))
    journal.close()
    with pytest.raises(SessionError, match=r"The journal of .* lie beside their array"):
        apply_journal(folder)


@pytest.mark.parametrize(
    "path",
    [
        "../outside.zarr",
        "arrays/../../outside.zarr",
        "/etc",
        "arrays/..",
        "arrays\\x",
        "arrays/",
        "",
    ],
)
def test_no_array_leads_out_of_the_folder(folder, path):
    index = json.loads((folder / "session.json").read_text())
    index["arrays"]["x"]["path"] = path
    (folder / "session.json").write_text(json.dumps(index))
    with pytest.raises(SessionError):
        read_session(folder).open("x")


@pytest.mark.skipif(os.name == "nt", reason="links need rights on Windows")
def test_no_link_leads_out_of_the_folder(folder, tmp_path):
    (place,) = (folder / "arrays").iterdir()
    shutil.move(place, tmp_path / "outside.zarr")
    place.symlink_to(tmp_path / "outside.zarr")
    with pytest.raises(SessionError, match="lie elsewhere"):
        read_session(folder).open("x")


def test_what_unpacks_pixels_runs_no_code(folder):
    (place,) = (folder / "arrays").iterdir()
    about = json.loads((place / "zarr.json").read_text())
    about["codecs"].append({"name": "numcodecs.pickle", "configuration": {}})
    (place / "zarr.json").write_text(json.dumps(about))
    with pytest.raises(SessionError, match="unknown way"):
        read_session(folder).open("x")


def test_arrays_that_are_not_as_large_as_they_say_are_refused(folder):
    (place,) = (folder / "arrays").iterdir()
    about = json.loads((place / "zarr.json").read_text())
    about["shape"] = [1 << 20, 1 << 20]
    (place / "zarr.json").write_text(json.dumps(about))
    with pytest.raises(SessionError, match="another shape"):
        read_session(folder).open("x")
    index = json.loads((folder / "session.json").read_text())
    index["arrays"]["x"]["shape"] = [1 << 20, 1 << 20]
    (folder / "session.json").write_text(json.dumps(index))
    # Four terabytes of nothing are opened, and not read.
    (level,) = open_held({"names": ["x"]}, read_session(folder), writable=False)
    assert not isinstance(level, np.ndarray)


@pytest.mark.parametrize(
    ("place", "path", "follows"),
    [
        ("/old/work.sam3session", "/old/images/a.tif", True),
        ("C:\\old\\work.sam3session", "C:\\old\\images\\a.tif", True),
        ("/old/work.sam3session", "/old/images/is not made yet.zarr", True),
        ("/old/work.sam3session", "/older/images/a.tif", False),
        ("/old/work.sam3session", "/old/images/../images/a.tif", False),
        ("/old/work.sam3session", "/old/gone/a.tif", False),
        ("", "/old/images/a.tif", False),
    ],
)
def test_paths_beside_a_session_follow_it(folder, place, path, follows):
    images = folder.parent / "images"
    images.mkdir()
    (images / "a.tif").touch()
    write_index(folder, {"one": [{"path": path}]}, {})
    index = json.loads((folder / "session.json").read_text())
    (folder / "session.json").write_text(json.dumps(index | {"place": place}))
    now = str(images / path.replace("\\", "/").rpartition("/")[2])
    assert read_session(folder).entries == {"one": [{"path": now if follows else path}]}


LEAVES = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5)
ANY = st.recursive(
    LEAVES,
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3)
    ),
    max_leaves=6,
)


@given(st.sampled_from(["format", "version", "key", "place", "entries", "arrays"]), ANY)
def test_any_index_is_read_or_refused_in_words(tmp_path_factory, name, value):
    place = tmp_path_factory.mktemp("hostile") / "a.sam3session"
    make_folder(place)
    write_index(place, {"one": 1}, {})
    index = json.loads((place / "session.json").read_text())
    index[name] = value
    (place / "session.json").write_text(json.dumps(index))
    with suppress(Sam3AssistantError):
        read_session(place)


@given(st.binary(max_size=200), st.integers(0, 10_000))
def test_any_journal_is_read_as_far_as_it_goes(tmp_path_factory, noise, at):
    place = tmp_path_factory.mktemp("noise") / "a.sam3session"
    make_folder(place)
    key = write_index(place, {"one": 1}, {})
    journal = Journal(place, key)
    for number in range(5):
        journal.append(Changed({"one": number}))
    journal.close()
    log = place / "journal.log"
    content = log.read_bytes()
    at %= len(content)
    log.write_bytes(content[:at] + noise + content[at + len(noise) :])
    assert read_session(place).entries["one"] in range(5)

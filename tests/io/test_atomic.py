"""A file is there completely or as it was."""

import errno
import os
import shutil
import sys
import threading

import pytest

from napari_sam3_assistant.errors import ExportError, NameTaken
from napari_sam3_assistant.io.atomic import atomic_write, draft_folder, give_name

pytestmark = pytest.mark.usefixtures("windows_files")


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def write_half(path, error):
    with atomic_write(path) as draft:
        draft.write_text("half")
        raise error


def test_the_file_appears_with_the_whole_content(tmp_path):
    path = tmp_path / "a.txt"

    with atomic_write(path) as draft:
        draft.write_text("half")
        assert not path.exists()
        assert draft.parent == tmp_path
        assert draft.suffix == ".txt"
        draft.write_text("whole")

    assert path.read_text() == "whole"
    assert names(tmp_path) == ["a.txt"]


def test_an_existing_file_is_replaced(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("old")

    with atomic_write(path) as draft:
        draft.write_text("new")

    assert path.read_text() == "new"


@pytest.mark.parametrize("error", [ValueError("no"), KeyboardInterrupt()])
def test_after_a_failure_the_old_file_stays_and_nothing_else(tmp_path, error):
    path = tmp_path / "a.txt"
    path.write_text("old")

    with pytest.raises(type(error)):
        write_half(path, error)

    assert path.read_text() == "old"
    assert names(tmp_path) == ["a.txt"]


def test_a_full_disk_is_one_sentence(tmp_path):
    path = tmp_path / "a.txt"

    with pytest.raises(ExportError, match="No space left") as caught:
        write_half(path, OSError(28, "No space left on device"))

    assert str(path) in caught.value.message
    assert caught.value.hint
    assert names(tmp_path) == []


def test_a_missing_folder(tmp_path):
    with (
        pytest.raises(ExportError, match="nowhere does not exist"),
        atomic_write(tmp_path / "nowhere" / "a.txt"),
    ):
        pass


def test_a_folder_in_the_way(tmp_path):
    (tmp_path / "a.txt").mkdir()

    with (
        pytest.raises(ExportError, match="can't be written"),
        atomic_write(tmp_path / "a.txt") as draft,
    ):
        draft.write_text("new")

    assert names(tmp_path) == ["a.txt"]


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such permissions")
def test_others_may_read_the_file_as_any_other(tmp_path):
    (tmp_path / "plain.txt").write_text("")

    with atomic_write(tmp_path / "a.txt") as draft:
        draft.write_text("new")

    assert (tmp_path / "a.txt").stat().st_mode == (tmp_path / "plain.txt").stat().st_mode


@pytest.mark.parametrize("taken", ["file", "folder", "link to nowhere"])
def test_a_name_that_is_taken_meanwhile_is_not_replaced(tmp_path, taken):
    path = tmp_path / "a.txt"

    def write():
        with atomic_write(path, replace=False) as draft:
            draft.write_text("new")
            {"file": path.touch, "folder": path.mkdir}.get(taken, lambda: path.symlink_to("gone"))()

    with pytest.raises(NameTaken, match="exists already"):
        write()

    assert names(tmp_path) == ["a.txt"]
    assert not (path.is_file() and path.read_text())


# The systems that know no second name for a file can't be had here: what they say is put in.
@pytest.mark.parametrize("says", [None, errno.EPERM, errno.EOPNOTSUPP])
@pytest.mark.parametrize("kind", ["file", "folder"])
def test_of_many_that_want_a_name_one_gets_it(tmp_path, monkeypatch, says, kind):
    if says is not None:

        def refuse(*_):
            raise OSError(says, os.strerror(says))

        monkeypatch.setattr(os, "link", refuse)
    path = tmp_path / "wanted"
    together = threading.Barrier(8)
    got, told = [], []

    def want(number):
        draft = tmp_path / f"draft{number}"
        if kind == "folder":
            draft.mkdir()
        (draft / "inside" if kind == "folder" else draft).write_text(str(number))
        together.wait()
        try:
            give_name(draft, path)
            got.append(number)
        except NameTaken:
            told.append(number)

    threads = [threading.Thread(target=want, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert (len(got), len(told)) == (1, 7)
    content = path / "inside" if kind == "folder" else path
    assert content.read_text() == str(got[0])


def test_a_full_disk_is_not_taken_for_a_name_that_is_taken(tmp_path, monkeypatch):
    def full(*_, **__):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "link", full)
    monkeypatch.setattr(os, "replace", full)

    with (
        pytest.raises(ExportError, match="No space left") as caught,
        atomic_write(tmp_path / "a.txt", replace=False) as draft,
    ):
        draft.write_text("new")

    assert not isinstance(caught.value, NameTaken)
    assert names(tmp_path) == []


def fail_in_draft(path):
    with draft_folder(path) as draft:
        draft.mkdir()
        raise OSError("full")


def test_a_draft_folder_goes_although_a_thread_still_writes_there(tmp_path, monkeypatch):
    remove = shutil.rmtree

    def remove_and_write(folder, **options):  # at this moment, whatever the speed of the machine
        monkeypatch.undo()
        remove(folder, **options)
        thread = threading.Thread(target=(folder / "0").mkdir, kwargs={"parents": True})
        thread.start()
        thread.join()

    monkeypatch.setattr(shutil, "rmtree", remove_and_write)
    with pytest.raises(OSError, match="full"):
        fail_in_draft(tmp_path / "a.zarr")

    assert names(tmp_path) == []


@pytest.mark.skipif(sys.platform == "darwin", reason="macOS replaces what is open")
def test_a_table_that_is_open_elsewhere_stays_and_is_to_be_closed(tmp_path):
    path = tmp_path / "cells.csv"
    path.write_text("old")
    with path.open(), pytest.raises(ExportError) as raised, atomic_write(path) as draft:
        draft.write_text("new")

    assert "Excel" in raised.value.hint
    assert path.read_text() == "old"
    assert names(tmp_path) == ["cells.csv"]

"""Tests of the marks by which work in a folder knows of others."""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING

import pytest

from napari_sam3_assistant.errors import ExportError
from napari_sam3_assistant.io import claims
from napari_sam3_assistant.io.claims import Claim

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize(
    "name",
    [
        "work-abcd-1-ef-01234567 (Ann's conflicted copy 2026-11-27)",
        "work-abcd-1-ef-01234567.sync-conflict-20261127-101112-ABCDEFG",
        "work-",
    ],
)
def test_copies_of_marks_that_syncing_made_are_in_nobodys_way(tmp_path: Path, name: str) -> None:
    (tmp_path / name).touch()

    with Claim(tmp_path, "work", "Busy.", "Wait."), pytest.raises(ExportError, match="Busy"):
        Claim(tmp_path, "work", "Busy.", "Wait.").take()

    assert [path.name for path in tmp_path.iterdir()] == [name]


@pytest.fixture
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Claim:
    """A claim as another computer makes it in a folder of the network."""
    with monkeypatch.context() as patch:
        patch.setattr(claims, "process_mark", lambda: "0badf00d-1-00000001")
        return Claim(tmp_path, "work", "Busy.", "Wait.")


@pytest.mark.parametrize("seconds", [0, -3600, 3600])
def test_work_of_another_computer_counts_as_long_as_it_is_renewed(
    tmp_path: Path, elsewhere: Claim, seconds: float
) -> None:
    """It is looked at by the clock of the disk: that of the other one may be hours wrong."""
    with elsewhere:
        (mark,) = tmp_path.iterdir()
        os.utime(mark, (time.time() + seconds,) * 2)
        if not seconds:
            with pytest.raises(ExportError, match="Busy"):
                Claim(tmp_path, "work", "Busy.", "Wait.").take()
            assert list(tmp_path.iterdir()) == [mark]
        else:  # it went off
            with Claim(tmp_path, "work", "Busy.", "Wait."):
                assert mark.exists()
    assert not list(tmp_path.iterdir())


def test_a_mark_is_renewed_while_the_work_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(claims, "_RENEWED_S", 0.01)
    with Claim(tmp_path, "work", "Busy.", "Wait."):
        (mark,) = tmp_path.iterdir()
        os.utime(mark, (0, 0))
        end = time.monotonic() + 60
        while mark.stat().st_mtime == 0:
            assert time.monotonic() < end

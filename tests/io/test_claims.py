"""Tests of the marks by which work in a folder knows of others."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from napari_sam3_assistant.errors import ExportError
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

"""The table of what became of the images of a folder."""

import csv
import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from amounts import FEW
from napari_sam3_assistant.workflows.summary import SUMMARY, write_summary

NAMES = st.text(st.characters(exclude_categories=()), max_size=5)  # any, also halves of letters

NOT_ON_WINDOWS = pytest.mark.skipif(os.name == "nt", reason="names of files are text there")


def row(name, status="done"):
    return (name, "bright cells", status, "1", "0.10", f"{name}_mask.tif", "")


def read(folder):
    with (folder / SUMMARY).open(encoding="utf-8", newline="") as file:
        return list(csv.reader(file))[1:]


@FEW
@given(names=st.lists(NAMES, unique=True, max_size=4))
def test_an_image_has_one_row_whatever_it_is_called(tmp_path_factory, names):
    """One whose name is no text to the system had another row after each start."""
    folder = tmp_path_factory.mktemp("summary")
    for status in ("done", "skipped", "skipped"):
        write_summary(folder, [row(name, status) for name in names])

    rows = read(folder)

    assert len(rows) == len(names)
    assert {cells[2] for cells in rows} <= {"skipped"}


@pytest.mark.parametrize(
    ("name", "written"),
    [
        ("ü", "ü"),
        pytest.param("\udcc3\udcbc", "ü", marks=NOT_ON_WINDOWS),
        ("\udce4", "\\udce4"),
        ("\ud800", "\\ud800"),
    ],
)
def test_names_are_written_as_they_are_on_the_disk(tmp_path, name, written):
    """In a locale of ASCII alone a name in UTF-8 comes as halves of letters."""
    write_summary(tmp_path, [row(name)])
    assert read(tmp_path)[0][0] == written

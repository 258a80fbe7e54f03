"""CSV files."""

import csv

import pytest

from napari_sam3_assistant.errors import ExportError
from napari_sam3_assistant.io.exports import write_table


def test_values_are_read_back(tmp_path):
    path = tmp_path / "a.csv"

    write_table(path, ("name", "score"), [("cat, big", 0.5), ('say "hi"\nthere', None), ("ä", 1)])

    with path.open(newline="", encoding="utf-8") as file:
        assert list(csv.reader(file)) == [
            ["name", "score"],
            ["cat, big", "0.5"],
            ['say "hi"\nthere', ""],
            ["ä", "1"],
        ]


def test_rows_that_fail_leave_the_old_file(tmp_path):
    path = tmp_path / "a.csv"
    write_table(path, ("a",), [(1,)])

    def rows():
        yield (2,)
        raise OSError(28, "No space left on device")

    with pytest.raises(ExportError, match="No space left"):
        write_table(path, ("a",), rows())

    assert path.read_text().split() == ["a", "1"]
    assert [file.name for file in tmp_path.iterdir()] == ["a.csv"]

"""Hostile command lines end in work done or in one sentence, never in a traceback."""

import os
import subprocess
import sys

import numpy as np
import pytest
import tifffile

from napari_sam3_assistant.cli import main

CALL = "import sys; from napari_sam3_assistant.cli import main; sys.exit(main(sys.argv[1:]))"


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such names, links and pipes")
def test_each_is_work_done_or_one_sentence(tmp_path, monkeypatch, hub, hostile_lines):
    folder = tmp_path / "work"
    folder.mkdir()
    monkeypatch.chdir(folder)
    with open(os.devnull) as nothing, monkeypatch.context() as patch:
        patch.setattr("sys.stdin", nothing)
        found, statuses = hostile_lines.run(folder, 150, seed=20)

    assert not found, "\n\n".join(f"{line}\n{why}" for line, why in found)
    # Many come as far as the work.
    assert statuses[0] > 10
    assert statuses[2] > 50
    assert list(tmp_path.iterdir()) == [folder]


@pytest.mark.skipif(sys.platform != "linux", reason="other systems have no such names")
def test_names_that_a_terminal_can_not_show_do_not_end_a_batch(tmp_path):
    disc = np.hypot(*np.mgrid[-20:20, -20:20]) < 9
    names = [os.fsdecode(b"caf\xe9.tif"), "zebra\x1b[31m\n.tif", "äöü.tif"]
    (tmp_path / "in").mkdir()
    for name in names:
        tifffile.imwrite(tmp_path / "in" / name, np.where(disc, 200, 30).astype(np.uint8))
    command = ("batch", "in", "out", "--text", "bright objects", "--pattern", "*.tif")
    plain = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    call = [sys.executable, "-W", "ignore", "-c", CALL, *command]

    for text in ("3 done, 0 skipped", "0 done, 3 skipped"):
        done = subprocess.run(
            call, cwd=tmp_path, env={**os.environ, **plain}, capture_output=True, check=False
        )
        assert done.returncode == 0, done.stderr
        # Whatever the filters are, zarr's codecs say on import which of their libraries is old.
        assert all(b"numcodecs" in line for line in done.stderr.splitlines()), done.stderr
        assert text in done.stdout.decode("ascii")
        assert b"\x1b" not in done.stdout

    summary = (tmp_path / "out" / "sam3_summary.csv").read_text("utf-8")
    assert "caf\\udce9.tif" in summary


def test_a_pattern_does_not_lead_out_of_the_folder(tmp_path, capsys):
    (tmp_path / "in").mkdir()
    tifffile.imwrite(tmp_path / "a.tif", np.zeros((9, 9), np.uint8))

    command = ["batch", str(tmp_path / "in"), str(tmp_path / "out"), "--text", "x"]
    assert main([*command, "--pattern", "../*"]) == 2

    assert "leads out of the folder" in capsys.readouterr().err
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.tif", "in"]

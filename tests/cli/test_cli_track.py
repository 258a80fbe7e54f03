"""``napari-sam3 track``."""

import numpy as np
import pytest
import tifffile
import zarr

from napari_sam3_assistant import api
from napari_sam3_assistant.cli import main
from napari_sam3_assistant.cli import track as command


@pytest.fixture(scope="module")
def stack():
    z, y, x = np.ogrid[:7, :40, :60]
    inside = (2.5 * (z - 3)) ** 2 + (y - 20) ** 2 + (x - 30) ** 2 <= 144
    return np.where(inside, 200, 30).astype(np.uint8)


@pytest.fixture
def file(stack, tmp_path):
    path = tmp_path / "ball.tif"
    tifffile.imwrite(path, stack, photometric="minisblack", metadata={"axes": "ZYX"})
    mask = (stack[3] > 100).astype(np.uint8) * 5
    tifffile.imwrite(tmp_path / "mask.tif", mask)
    return path


@pytest.mark.parametrize(
    ("arguments", "request_"),
    [
        (["--point", "20,30,+", "--point", "2,2,-"], {"points": [(20, 30, 1), (2, 2, 0)]}),
        (["--point", "20,30"], {"points": [(20, 30)]}),
        (["--point", "20,30,4"], {"points": [(20, 30, 1, 4)]}),
        (["--point", "4:20,30,+,4"], {"points": {4: [(20, 30, 1, 4)]}}),
        (["--box", "8,18,33,43"], {"boxes": [(8, 18, 33, 43)]}),
        (["--box", "2:8,18,33,43,6"], {"boxes": {2: [(8, 18, 33, 43, 6)]}}),
        (["--exemplar", "8,18,33,43,+"], {"exemplars": [(8, 18, 33, 43)]}),
        (["--text", "bright objects"], {"text": "bright objects"}),
        (
            ["--point", "20,30", "--axis", "Z", "--direction", "forward", "--frames", "2,5"],
            {"points": [(20, 30)], "direction": "forward", "frames": (2, 5)},
        ),
    ],
)
def test_the_command_line_gives_the_same_labels_as_the_api(
    stack, file, tmp_path, capsys, arguments, request_
):
    output = tmp_path / "labels.tif"
    assert main(["track", str(file), "--frame", "3", *arguments, "-o", str(output)]) == 0

    expected = np.zeros(stack.shape, np.uint32)
    for result in api.track(stack, frame=3, **request_):
        expected[result.frame] = result.labels
    np.testing.assert_array_equal(tifffile.imread(output), expected)
    assert expected.any()
    said = capsys.readouterr().out
    assert "1 object on" in said
    assert str(output) in said


@pytest.mark.parametrize("ending", [".tif", ".npy", ".zarr"])
def test_a_labels_mask_and_the_formats(stack, file, tmp_path, ending):
    output = tmp_path / f"labels{ending}"

    assert (
        main(["track", str(file), "--mask", f"3:{tmp_path / 'mask.tif'}", "-o", str(output)]) == 0
    )

    read = {
        ".tif": tifffile.imread,
        ".npy": np.load,
        ".zarr": lambda path: zarr.open(str(path), mode="r")["0"][:],
    }[ending]
    labels = read(output)
    assert labels.shape == stack.shape
    assert set(np.unique(labels)) == {0, 5}


def test_ctrl_c_keeps_what_is_done(stack, file, tmp_path, capsys, monkeypatch):
    output = tmp_path / "labels.tif"

    def interrupted(*args, **kwargs):
        for result in api.track(*args, **kwargs):
            if result.frame == 5:
                raise KeyboardInterrupt
            yield result

    class Api:
        track = staticmethod(interrupted)

    monkeypatch.setattr(command, "api", Api)
    assert main(["track", str(file), "--frame", "3", "--point", "20,30", "-o", str(output)]) == 130

    labels = tifffile.imread(output)
    assert [bool(plane.any()) for plane in labels] == [False] * 3 + [True] * 2 + [False] * 2
    told = capsys.readouterr()
    assert "1 object on 2 frames" in told.out
    assert "Stopped" in told.err


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--point", "20,30", "-o", "labels.png"], "can't be saved as '.png'"),
        (["--point", "20", "-o", "labels.tif"], "1 numbers, but 2 or 3 or 4 are needed"),
        (["--point", "+,20,30", "-o", "labels.tif"], "stands behind the 2 coordinates"),
        (["--point", "20,30", "--frame", "9", "-o", "labels.tif"], "no frame 9 in a stack of 7"),
        (["-o", "labels.tif"], "No prompts found"),
    ],
)
def test_mistakes_are_told_and_nothing_is_written(
    file, tmp_path, capsys, monkeypatch, arguments, said
):
    monkeypatch.chdir(tmp_path)
    before = sorted(tmp_path.iterdir())

    assert main(["track", str(file), *arguments]) == 2

    assert said in capsys.readouterr().err
    assert sorted(tmp_path.iterdir()) == before

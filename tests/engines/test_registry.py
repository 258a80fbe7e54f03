"""Engines of other packages, broken ones among them: real packages in a process of their own."""

import json
import os

import imageio.v3 as iio
import numpy as np
import pytest

POINTS = {
    "cannot-import": ("broken_import:ENTRY", "import nothing_of_that_name"),
    "cannot-parse": ("broken_parse:ENTRY", "def :"),
    "ends-python": ("broken_exit:ENTRY", "raise SystemExit(3)"),
    "has-no-entry": ("broken_name:ENTRY", "OTHER = 1"),
    "is-no-entry": ("broken_kind:ENTRY", "ENTRY = 'an engine'"),
    "cannot-say": ("broken_status:ENTRY", "def status(): raise RuntimeError('no status')"),
    "says-nothing": ("broken_nothing:ENTRY", "def status(): pass"),
    "works": (
        "good:ENTRY",
        "from napari_sam3_assistant.engines.base import EngineStatus\n"
        "def status(): return EngineStatus(True)",
    ),
    "builtin": (
        "takes_our_place:ENTRY",
        "from napari_sam3_assistant.engines.base import EngineStatus\n"
        "def status(): return EngineStatus(False, 'taken')",
    ),
}
ENTRY = """
from napari_sam3_assistant.engines.base import EngineEntry, EngineSpec
SPEC = EngineSpec({name!r}, 'Of others', frozenset(), needs_weights=False)
ENTRY = EngineEntry(SPEC, status, None)
"""
LOOK = """
import json, sys
from napari_sam3_assistant import api, cli
print(json.dumps([(one.name, one.available, one.reason) for one in api.engines()]))
for line in api.doctor():
    print(line)
print(api.engine_for(None))
try:
    api.open_engine('ends-python')
except Exception as exc:
    print(type(exc).__name__, exc)
print('exit', cli.main(['segment', sys.argv[1], '-o', sys.argv[2], '--point', '10,10,+']))
"""


@pytest.fixture
def packages(tmp_path):
    folder = tmp_path / "packages"
    about = folder / "others-1.0.dist-info"
    about.mkdir(parents=True)
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: others\nVersion: 1.0\n")
    lines = ["[napari_sam3_assistant.engines]"]
    for name, (value, code) in POINTS.items():
        lines.append(f"{name} = {value}")
        if "status" in code:
            code += ENTRY.format(name=name)
        (folder / f"{value.partition(':')[0]}.py").write_text(code)
    (about / "entry_points.txt").write_text("\n".join(lines) + "\n")
    return folder


def test_a_broken_engine_costs_itself(killed, packages, tmp_path, monkeypatch):

    image = np.zeros((40, 40), np.uint8)
    image[5:20, 5:20] = 200
    iio.imwrite(tmp_path / "image.png", image)
    known = os.environ.get("PYTHONPATH", "")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(filter(None, [str(packages), known])))

    said, status = killed.run_new_python(LOOK, tmp_path / "image.png", tmp_path / "labels.tif")

    assert status == 0, said
    assert "Traceback" not in said
    assert "exit 0" in said
    assert (tmp_path / "labels.tif").is_file()

    listed = {name: (available, why) for name, available, why in json.loads(said.splitlines()[0])}
    ours = ["builtin", "sam-transformers", "sam3-meta", "sam3-transformers"]
    assert list(listed)[: len(ours)] == ours
    assert set(listed) == {*POINTS, *ours}
    assert listed["builtin"] == (True, "")
    assert listed["works"] == (True, "")
    for name, why in {
        "cannot-import": "ModuleNotFoundError: No module named 'nothing_of_that_name'",
        "cannot-parse": "SyntaxError: invalid syntax",
        "ends-python": "SystemExit: 3",
        "has-no-entry": "AttributeError: ",
        "is-no-entry": "broken_kind:ENTRY is not an EngineEntry",
        "cannot-say": "RuntimeError: no status",
        "says-nothing": "its status is not an EngineStatus",
    }.items():
        available, reason = listed[name]
        assert not available
        assert reason.startswith(f"It is broken ({why}")
        assert reason.endswith("Update or remove the package others.")
        assert f"not available. {reason}" in said
    assert "\nbuiltin\n" in said
    assert "EngineNotInstalled ends-python can't run here. It is broken (SystemExit: 3)." in said

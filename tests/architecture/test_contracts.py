"""The promises that keep the house standing: import direction, manifest, light imports."""

import importlib.util
import re
import subprocess
import sys
from pathlib import Path

import pytest
from npe2 import PluginManifest
from npe2.manifest.utils import import_python_name

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "src" / "napari_sam3_assistant"
PLUGIN = "napari-sam3-assistant"
WINDOW = {
    "qtpy",
    "PyQt5",
    "PyQt6",
    "PySide2",
    "PySide6",
    "napari",
    "psygnal",
    "pyqtgraph",
    "superqt",
}
HEAVY = {*WINDOW, "dask", "torch", "transformers"}


@pytest.fixture
def manifest():
    return PluginManifest.from_distribution(PLUGIN)


def run_python(code):
    return subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=False,
        timeout=600,
        cwd=ROOT,
    )


def test_import_contracts_hold():
    # In a process of its own: import-linter sets up logging and so mutes the loggers there are.
    linted = run_python(
        "import sys; from importlinter.cli import lint_imports;"
        "sys.exit(lint_imports(config_filename='pyproject.toml', no_cache=True))"
    )

    assert linted.returncode == 0, linted.stdout + linted.stderr


def test_manifest_keeps_the_published_names(manifest):
    # Saved napari layouts and scripts of earlier releases look the widgets up by these.
    assert (manifest.name, manifest.display_name) == (PLUGIN, "SAM3 Assistant")
    assert manifest.visibility == "public"
    commands = {c.id: (c.title, str(c.python_name)) for c in manifest.contributions.commands}
    widgets = {w.display_name: w.command for w in manifest.contributions.widgets}
    package = "napari_sam3_assistant.widgets"
    published = {
        f"{PLUGIN}.make_widget": ("SAM3 Assistant", f"{package}.main_widget:MainWidget"),
        f"{PLUGIN}.make_mask_operations_widget": (
            "SAM3 Mask Operations",
            f"{package}.mask_operations_widget:MaskOperationsWidget",
        ),
    }
    assert published.items() <= commands.items()
    assert widgets == {
        "SAM3 Assistant": f"{PLUGIN}.make_widget",
        "SAM3 Mask Operations": f"{PLUGIN}.make_mask_operations_widget",
    }


def test_every_command_of_the_manifest_can_be_imported(manifest):
    manifest.validate_imports()  # raises where one can't

    commands = manifest.contributions.commands
    assert all(callable(import_python_name(command.python_name)) for command in commands)


@pytest.mark.parametrize("module", ["napari_sam3_assistant", "napari_sam3_assistant.api"])
def test_headless_import_loads_no_window_and_no_torch(module):
    # In a process of its own: this one has loaded napari through pytest's plugins.
    code = f"import sys, {module}; print(*sorted({{m.partition('.')[0] for m in sys.modules}}))"

    loaded = run_python(code)

    assert loaded.returncode == 0, loaded.stderr
    assert HEAVY.intersection(loaded.stdout.split()) == set()


WITHOUT_A_WINDOW = """
import sys
from importlib.abc import MetaPathFinder

class Missing(MetaPathFinder):
    def find_spec(self, name, path, target=None):
        if name.partition(".")[0] in {window}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)

sys.meta_path.insert(0, Missing())
import os
import numpy as np
import tifffile
from napari_sam3_assistant.cli import main

os.chdir({folder!r})
image = np.full((60, 70), 40, np.uint8)
image[15:30, 20:40] = 200
os.mkdir("images")
tifffile.imwrite("images/one.tif", image)
tifffile.imwrite("stack.tif", np.stack([image] * 5))
bright = ["--text", "bright objects"]
for command in (
    ["doctor"],
    ["info", "stack.tif"],
    ["segment", "images/one.tif", *bright, "-o", "labels.tif"],
    ["batch", "images", "batched", *bright],
    ["scan", "images/one.tif", *bright, "-o", "scan.zarr"],
    ["track", "stack.tif", "--point", "20,30", "-o", "tracked.tif"],
    ["rerun", "batched/one_bright_objects_mask.tif.json", "-o", "again.tif"],
    ["export", "labels.tif", "-o", "labels.geojson"],
    ["clean", "labels.tif", "-o", "clean.tif", "fill-holes"],
):
    if main(command):
        sys.exit(f"{{command}} failed")
"""


def test_every_command_runs_without_napari_and_qt(tmp_path):
    ran = run_python(WITHOUT_A_WINDOW.format(window=WINDOW, folder=str(tmp_path)))

    assert ran.returncode == 0, ran.stderr
    for made in ("labels.tif", "scan.zarr", "tracked.tif", "again.tif", "labels.geojson"):
        assert (tmp_path / made).exists()


def test_the_manual_shows_the_tree_as_it_is():
    tool = Path(__file__).parents[2] / "tools" / "architecture_tree.py"
    spec = importlib.util.spec_from_file_location(tool.stem, tool)
    tree = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(tree)
    manual = tree.MANUAL.read_text("utf8")

    assert tree.with_tree(manual) == manual, f"run python tools/{tool.name}"
    assert "| `adapter.py` | The viewer as " in manual


def test_what_the_manual_points_at_is_there():
    manual = (ROOT / "docs" / "architecture.md").read_text("utf8")
    one_line = re.sub(r"\s+", " ", manual)
    pointers = re.findall(r"`((?:\w+/)+\w+\.py)(?:: ([\w.]+))?`", one_line)

    for file, name in pointers:
        path = next((one for one in (PACKAGE / file, ROOT / file) if one.exists()), None)
        assert path, file
        assert name.rpartition(".")[2] in path.read_text("utf8"), (file, name)
    assert len(pointers) > 50

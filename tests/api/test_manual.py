"""The Python of the manual: it imports from `api` only, and it runs as it stands."""

import ast
import doctest
import importlib
import re
import textwrap
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
import tifffile
import zarr

from napari_sam3_assistant import api

ROOT = Path(__file__).parents[2]
SOURCE = ROOT / "src"
PACKAGE = "napari_sam3_assistant"
API = f"{PACKAGE}.api"
# The page for authors of engines is for people who write against the interface, not scripts.
MORE_ALLOWED = {"docs/architecture.md": {f"{PACKAGE}.engines.base"}}

_FENCE = re.compile(
    r"^( *)```(?:python|py|pycon|python3)\b.*?\n(.*?)^\1```", re.MULTILINE | re.DOTALL
)


def blocks(markdown):
    """Return the Python blocks of a page."""
    return [textwrap.dedent(code) for _indent, code in _FENCE.findall(markdown)]


PAGES = {
    str(path.relative_to(ROOT)): path.read_text("utf8")
    for path in [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
}
WITH_PYTHON = [page for page, text in PAGES.items() if blocks(text)]
MODULES = {
    ".".join(path.relative_to(SOURCE).with_suffix("").parts).removesuffix(".__init__"): path
    for path in sorted(SOURCE.rglob("*.py"))
}
WITH_EXAMPLES = [name for name, path in MODULES.items() if ">>> " in path.read_text("utf8")]


def deep_imports(code, allowed=frozenset()):
    """Return the modules of the package, other than its `api`, that code imports from."""
    modules = []
    for node in ast.walk(ast.parse(code)):
        if isinstance(node, ast.Import):
            modules += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module == PACKAGE:
            modules += [f"{PACKAGE}.{alias.name}" for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            modules.append(node.module)
    return [m for m in modules if m.split(".")[0] == PACKAGE and m not in {API, *allowed}]


@pytest.mark.parametrize(
    ("code", "deep"),
    [
        ("from napari_sam3_assistant import api", []),
        ("import napari_sam3_assistant.api as sam3", []),
        ("from napari_sam3_assistant.api import segment, Span", []),
        ("import numpy as np\nfrom napari_sam3_assistants import core", []),
        ("import napari_sam3_assistant.core.tracks", ["napari_sam3_assistant.core.tracks"]),
        ("from napari_sam3_assistant import core", ["napari_sam3_assistant.core"]),
        (
            "def f():\n    from napari_sam3_assistant.api.track import track",
            ["napari_sam3_assistant.api.track"],
        ),
        (
            "from napari_sam3_assistant.core.tracks import Direction, Span",
            ["napari_sam3_assistant.core.tracks"],
        ),
    ],
)
def test_deep_imports_are_told_from_those_of_the_api(code, deep):
    assert deep_imports(code) == deep


def test_blocks_of_python_are_found_in_lists_and_under_other_names():
    in_a_list = "1. Do:\n\n   ```python\n   a = 1\n   b = 2\n   ```\n\n"
    text = f"{in_a_list}```bash\nls\n```\n```py\nc = 3\n```\n"

    assert blocks(text) == ["a = 1\nb = 2\n", "c = 3\n"]


def test_the_manual_imports_from_the_api_only():
    found = {
        page: deep
        for page, text in PAGES.items()
        if (deep := deep_imports("\n".join(blocks(text)), MORE_ALLOWED.get(page, frozenset())))
    }

    assert found == {}


def test_what_the_manual_names_of_the_api_is_there():
    named = {name for text in PAGES.values() for name in re.findall(r"\bapi\.(\w+)", text)}

    assert named - {"py"} <= set(api.__all__)


def test_the_api_offers_all_that_a_typed_propagation_takes():
    assert set(api.__all__) >= {
        "BoxPrompt", "Direction", "ExemplarPrompt", "FrameSource", "MaskPrompt", "NullReporter",
        "PointPrompt", "PromptSet", "Region", "Span", "Tracking", "view_of_array",
    }  # fmt: skip
    assert all(hasattr(api, name) for name in api.__all__)


@pytest.fixture
def readers_things(tmp_path, monkeypatch):
    """What the manual's reader has at hand: a folder of files, arrays, and a viewer."""
    from napari.components import ViewerModel

    monkeypatch.chdir(tmp_path)

    def disc(y, x, size):
        rows, columns = np.ogrid[:size, :size]
        return np.where((rows - y) ** 2 + (columns - x) ** 2 < 144, 200, 30).astype(np.uint8)

    (tmp_path / "IN").mkdir()
    tifffile.imwrite("IN/a.tif", disc(40, 40, 96))
    tifffile.imwrite("cells.tif", (disc(40, 40, 96) > 99).astype(np.uint16))
    slide = zarr.create_group("slide.ome.zarr", zarr_format=3)
    slide.create_array("0", data=disc(60, 60, 256))
    axes = [{"name": name, "type": "space"} for name in "yx"]
    scale = [{"type": "scale", "scale": [1, 1]}]
    level = {"path": "0", "coordinateTransformations": scale}
    image = {"name": "slide", "axes": axes, "datasets": [level]}
    slide.attrs["ome"] = {"version": "0.5", "multiscales": [image]}
    about = {"resolution": (20_000, 20_000), "resolutionunit": "CENTIMETER", "photometric": "rgb"}
    with tifffile.TiffWriter("slide.svs") as writer:
        writer.write(np.zeros((64, 96, 3), np.uint8), subifds=1, **about)
        writer.write(np.zeros((32, 48, 3), np.uint8), subfiletype=1, photometric="rgb")
    return {
        "image": disc(120, 85, 160),
        "stack": np.stack([disc(42, 55, 96)] * 22),
        "labels": np.zeros((22, 96, 96), np.uint32),
        "viewer": ViewerModel(),
    }


# What each page's code leaves behind, so that it is known to have done what the page says.
OUTCOMES = {
    "README.md": lambda left: len(left["result"].objects) == 1,
    "docs/3d-and-video.md": lambda left: (
        left["labels"].any(axis=(1, 2)).all()
        and Path("table.csv").exists()
        and len(left["viewer"].layers[0].data) == 22
    ),
    "docs/batch.md": lambda left: len(left["rows"]) == len(list(Path("OUT").glob("*.tif"))) == 2,
    "docs/mask-operations.md": lambda left: (
        left["clean"].any() and Path("cells.json").exists() and Path("cells.zip").exists()
    ),
    "docs/large-images.md": lambda left: (
        left["result"].objects
        and Path("labels.zarr").exists()
        and len(left["viewer"].layers["slide"].data) == 2
        and np.allclose(left["viewer"].layers["slide"].scale, 0.5)
    ),
    "docs/server.md": lambda left: (
        len(left["first"].objects) == len(left["second"].objects) == 1
        and len(list(Path("OUT").glob("*.tif"))) == 1
    ),
}


@contextmanager
def server_of(page):
    """Run the server that a page speaks of, where it does."""
    if page != "docs/server.md":
        yield
        return
    serving = pytest.importorskip("napari_sam3_assistant.compute.server")
    choice = serving.EngineChoice("builtin")
    with serving.serve(choice, port=0, connection=Path("sam3-server.json")):
        yield


@pytest.mark.parametrize("page", WITH_PYTHON)
def test_the_python_of_a_page_runs_from_top_to_bottom(page, readers_things):
    left = readers_things
    with server_of(page):
        for code in blocks(PAGES[page]):
            exec(compile(code, page, "exec"), left)

    assert OUTCOMES[page](left)


@pytest.mark.parametrize("name", WITH_EXAMPLES)
def test_the_examples_of_the_docstrings_run_and_import_from_the_api_only(
    name, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    tests = doctest.DocTestFinder().find(importlib.import_module(name), globs={})
    runner = doctest.DocTestRunner()

    for test in tests:
        assert deep_imports("".join(example.source for example in test.examples)) == []
        assert not any(doctest.SKIP in example.options for example in test.examples)
        runner.run(test)

    assert runner.summarize(verbose=False).failed == 0
    assert runner.tries > 0

"""What `tools/code_metrics.py` counts, on a small package whose numbers are known."""

import importlib.util
import json
import re
import subprocess
import sys
import textwrap
import threading
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

TOOL = Path(__file__).parents[1] / "tools" / "code_metrics.py"
pytestmark = pytest.mark.skipif(not TOOL.exists(), reason="tools/ is not in the source archive")


@pytest.fixture(scope="module")
def metrics():
    spec = importlib.util.spec_from_file_location(TOOL.stem, TOOL)
    module = importlib.util.module_from_spec(spec)
    sys.modules[TOOL.stem] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    yield module
    del sys.modules[TOOL.stem]


@pytest.fixture
def package(tmp_path, monkeypatch):
    """Write a package with a circle by a type-only import, one inside a function, and no other."""
    files = {
        "__init__": "from small.chain import one\n",
        "chain": "from small import end\nfrom small.end import two\none = two\n",
        "end": "two = 2\n",
        "model": """\
            from typing import TYPE_CHECKING
            if TYPE_CHECKING:
                from small.view import View
            class Model: ...
            """,
        "view": "from small.model import Model\nclass View(Model): ...\n",
        "now": "from small import later\n",
        "later": "def f():\n    import small.now\n    return small.now\n",
    }
    for name, text in files.items():
        path = tmp_path / "small" / f"{name}.py"
        path.parent.mkdir(exist_ok=True)
        path.write_text(textwrap.dedent(text))
    monkeypatch.syspath_prepend(tmp_path)
    yield tmp_path / "small"
    for name in [name for name in sys.modules if name.split(".")[0] == "small"]:
        del sys.modules[name]


def test_lines_of_code_are_those_without_blanks_comments_and_docstrings(metrics):
    text = '''\
"""A docstring
of two lines."""

import os
from sys import (
    path,  # a comment
)

LIMIT = 3  # why
"""Of a value."""

# A comment.
def f( a ):
    """Say."""
    text = """
# no comment

"""
    return f"""{a}""", text
'''

    code = metrics.read_code(text)

    assert list(code.lines) == [4, 5, 6, 7, 9, 13, 15, 16, 17, 18, 19]
    assert code.imports == {4, 5, 6, 7}
    assert (code.lines[6], code.lines[9], code.lines[16]) == ("path,", "LIMIT = 3", "# no comment")
    assert metrics.read_code("").lines == {}


def test_no_two_files_of_ours_import_each_other(metrics):
    assert metrics.import_circles(metrics.PACKAGE) == []


def test_circles_are_found_by_type_only_imports_and_within_functions(metrics, package):
    assert metrics.import_circles(package.name) == [
        ["small.later", "small.now"],
        ["small.model", "small.view"],
    ]


def test_lines_that_stand_twice_are_told_once_and_as_long_as_they_go(metrics):
    def body(name):
        return f"def {name}():\n" + "".join(f"    a{n} = {n}\n\n" for n in range(9))

    one = metrics.read_code("import os\n" + body("f"))
    other = metrics.read_code("import os\nimport sys\n\n# Why.\n" + body("g").replace("\n\n", "\n"))

    assert metrics.repetitions({"one.py": one, "other.py": other}) == [
        metrics.Repetition(("one.py", 3), ("other.py", 6), 9)
    ]
    assert metrics.repetitions({"one.py": one, "other.py": other}, least=10) == []


@given(st.lists(st.text("ab", max_size=14), max_size=3), st.integers(2, 4))
def test_repetitions_are_those_of_a_search_of_all_pairs(metrics, texts, least):
    files = {str(n): metrics.read_code("\n".join(text)) for n, text in enumerate(texts)}
    expected = []
    for at, one in enumerate(texts):
        for to, other in list(enumerate(texts))[at:]:
            for shift in range(least if at == to else -len(one), len(other)):
                equal = [
                    0 <= row + shift < len(other) and one[row] == other[row + shift]
                    for row in range(len(one))
                ]
                for begin in range(len(one)):
                    if begin and equal[begin - 1]:
                        continue
                    end = [*equal, False].index(False, begin)
                    if end - begin >= least:
                        places = (str(at), begin + 1), (str(to), begin + shift + 1)
                        expected.append(metrics.Repetition(*places, end - begin))

    assert metrics.repetitions(files, least) == sorted(expected)


def test_files_are_passed_where_a_function_runs_on_any_thread_meanwhile(metrics, package):
    for name in ("a", "b", "c", "d"):
        (package / f"{name}.py").write_text("def f():\n    pass\n")
    from small import a, b, c, d

    passed = metrics.FilesPassed(package)
    go = threading.Event()
    worker = threading.Thread(target=lambda: go.wait(240) and b.f())
    worker.start()
    d.f()
    with passed:
        a.f()
        go.set()
        worker.join()
    c.f()
    passed.close()

    assert passed.functions == {"a.py": {"f"}, "b.py": {"f"}}


_EVERY_ACT = """
import json, os, sys
os.environ["NAPARI_CONFIG"] = ""
sys.path[:0] = sys.argv[1:]
import code_metrics as metrics
passed = {name: metrics.functions_passed(act) for name, act in metrics.ACTS.items()}
print(json.dumps(passed, default=sorted))
"""


@pytest.fixture(scope="module")
def passed_by(metrics):
    """The functions that every act passes, by act and file."""
    # In a process of its own, as the tool is used: a process has one profiler, and what hundreds of
    # other tests have loaded and left running may take it.
    paths = [str(TOOL.parent), str(metrics.SOURCE)]
    done = subprocess.run(
        [sys.executable, "-c", _EVERY_ACT, *paths], stdout=subprocess.PIPE, check=True, text=True
    )
    return json.loads(done.stdout.splitlines()[-1])


def test_every_act_passes_files_of_ours(metrics, passed_by):
    assert set(passed_by) == set(metrics.ACTS)
    for name, passed in passed_by.items():
        assert passed, name
        assert all((metrics.SOURCE / metrics.PACKAGE / file).exists() for file in passed)


_WALKS = {
    "A click in Live Points": ["a click in Live Points"],
    "A tile of a scan": ["a scan of two tiles", "the same by napari-sam3 scan"],
    "A propagated frame": ["a propagation, 6 frames"],
    "Fill Holes, and back": ["Fill Holes, and undo"],
}
_RUNS_AS = {
    "ViewerAdapter.take_snapshot": "ViewerPrompts.take_snapshot",
    "VideoTrack.propagate": "BuiltinTrack.propagate",
}
_ON_A_SERVER = {"Host.do_piece", "spread"}


@pytest.mark.parametrize("title", _WALKS)
def test_the_walks_of_the_manual_name_what_runs(passed_by, title):
    manual = (TOOL.parents[1] / "docs" / "architecture.md").read_text("utf8")
    walk = re.search(rf"^## {title}\n(.*?)^## ", manual, re.M | re.S)[1]
    pointers = re.findall(r"`(?:(\w+(?:/\w+)*\.py):\s)?([A-Z]\w+\.\w+|[a-z]\w+)`", walk)
    named = {name for file, name in pointers if file or "." in name} - _ON_A_SERVER
    ran = {one for act in _WALKS[title] for file in passed_by[act].values() for one in file}

    assert len(named) > 5
    assert {_RUNS_AS.get(name, name) for name in named} <= ran


def test_a_profiler_that_is_taken_away_is_told_of(metrics, package):
    passed = metrics.FilesPassed(package)
    with pytest.raises(RuntimeError, match="profiler"), passed:
        sys.setprofile(None)
    passed.close()

"""Measure the code: size, circles of imports, repetitions, and the files that a user's act passes.

    .venv/bin/python tools/code_metrics.py

The acts are done on a real viewer without a window and the built-in engine. What counts as passed
is each of our files of which a function ran, on any thread, once everything is imported.
"""

from __future__ import annotations

import ast
import contextlib
import io
import os
import queue
import statistics
import sys
import tempfile
import threading
import tokenize
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, Self

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from types import FrameType

    import numpy as np
    import numpy.typing as npt

    from napari_sam3_assistant.core.prompts import Task
    from napari_sam3_assistant.mask_operations.model import MaskModel
    from napari_sam3_assistant.session.model import SessionModel

PACKAGE = "napari_sam3_assistant"
SOURCE = Path(__file__).resolve().parents[1] / "src"
LEAST_REPEATED = 8
_BUILTIN = "engines/builtin/"
_LONGEST_WAIT_S = 600
_NO_CODE = {
    tokenize.COMMENT,
    tokenize.DEDENT,
    tokenize.ENCODING,
    tokenize.ENDMARKER,
    tokenize.INDENT,
    tokenize.NEWLINE,
    tokenize.NL,
}


# -- size ---------------------------------------------------------------------------------------


class Code(NamedTuple):
    """The lines of code of a file, without blank lines, comments and docstrings.

    Parameters
    ----------
    lines : dict of int to str
        By number, from 1: each without indentation and comment.
    imports : set of int
        Those of import statements.
    """

    lines: dict[int, str]
    imports: set[int]


def read_code(text: str) -> Code:
    """Return the lines of code of a file; every bare string is a docstring."""
    bare, imports = set[int](), set[int]()
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Import | ast.ImportFrom):
            imports.update(_lines_of(node))
        elif isinstance(node, ast.Expr) and isinstance(getattr(node.value, "value", None), str):
            bare.update(_lines_of(node))
    written = text.splitlines()
    code = set[int]()
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type == tokenize.COMMENT:
            row, column = token.start
            written[row - 1] = written[row - 1][:column]
        elif token.type not in _NO_CODE:
            code.update(range(token.start[0], token.end[0] + 1))
    return Code({n: " ".join(written[n - 1].split()) for n in sorted(code - bare)}, imports)


def _lines_of(node: ast.stmt) -> range:
    return range(node.lineno, (node.end_lineno or node.lineno) + 1)


# -- imports ------------------------------------------------------------------------------------


def import_circles(package: str) -> list[list[str]]:
    """Return the groups of modules that import each other, type-only imports included.

    Parameters
    ----------
    package : str
        Its name; it is found on Python's path.
    """
    import grimp
    import numpy as np
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    graph = grimp.build_graph(package, exclude_type_checking_imports=False, cache_dir=None)
    names = sorted(graph.modules)
    number = {name: at for at, name in enumerate(names)}
    pairs = [
        (number[name], number[other])
        for name in names
        for other in graph.find_modules_directly_imported_by(name)
    ]
    # The csgraph of SciPy 1.11 takes 32-bit indices only.
    rows, columns = np.array(pairs, np.int32).reshape(-1, 2).T
    size = (len(names), len(names))
    arrows = coo_array(([True] * len(pairs), (rows, columns)), shape=size)
    _count, group = connected_components(arrows, connection="strong")
    members = defaultdict[int, list[str]](list)
    for name in names:
        members[group[number[name]]].append(name)
    return [circle for circle in members.values() if len(circle) > 1]


# -- repetitions --------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, order=True)
class Repetition:
    """Lines that stand in two places.

    Parameters
    ----------
    first, second : (str, int)
        File and line where each begins.
    length : int
        How many lines of code are the same.
    """

    first: tuple[str, int]
    second: tuple[str, int]
    length: int


def repetitions(files: Mapping[str, Code], least: int = LEAST_REPEATED) -> list[Repetition]:
    """Return what stands twice, as long as it goes; import lines don't count.

    Parameters
    ----------
    files : mapping of str to Code
        The code by file.
    least : int
        Shortest run of lines that counts.
    """
    texts, places = list[str](), list[tuple[str, int]]()
    for name, code in files.items():
        for row in sorted(code.lines.keys() - code.imports):
            texts.append(code.lines[row])
            places.append((name, row))
    begins = defaultdict[tuple[str, ...], list[int]](list)
    for at in range(len(texts) - least + 1):
        if places[at][0] == places[at + least - 1][0]:
            begins[tuple(texts[at : at + least])].append(at)
    same = {
        (one, other)
        for starts in begins.values()
        for number, one in enumerate(starts)
        for other in starts[number + 1 :]
        if other - one >= least or places[one][0] != places[other][0]
    }
    found = []
    for one, other in same:
        if (one - 1, other - 1) in same:
            continue
        more = 0
        while (one + more + 1, other + more + 1) in same:
            more += 1
        found.append(Repetition(places[one], places[other], least + more))
    return sorted(found)


# -- files passed -------------------------------------------------------------------------------


class FilesPassed:
    """The files of a folder of which a function runs while it is entered, on any thread.

    Threads are seen that start after it was made, and until it is closed.

    Parameters
    ----------
    folder : Path
        The folder.

    Attributes
    ----------
    functions : dict of str to set of str
        By file, relative to the folder, the qualified names of the functions that ran.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = f"{folder}{os.sep}"
        self._counts = False
        self.functions = defaultdict[str, set[str]](set)
        threading.setprofile(self._on_event)

    def close(self) -> None:
        """Watch no more threads."""
        threading.setprofile(None)

    def __enter__(self) -> Self:
        self._counts = True
        sys.setprofile(self._on_event)
        return self

    def __exit__(self, *_error: object) -> None:
        taken = sys.getprofile() != self._on_event
        sys.setprofile(None)
        self._counts = False
        if taken:
            raise RuntimeError("Something else has taken the profiler: these files are not all.")

    def _on_event(self, frame: FrameType, event: str, _value: object) -> None:
        if self._counts and event == "call":
            file = frame.f_code.co_filename
            if file.startswith(self._folder):
                name = Path(file[len(self._folder) :]).as_posix()
                self.functions[name].add(frame.f_code.co_qualname)


class Desk:
    """The thread that a session lives on, to which its worker delivers: the caller's."""

    def __init__(self) -> None:
        self._calls: queue.SimpleQueue[Callable[[], None]] = queue.SimpleQueue()

    def __call__(self, call: Callable[[], None]) -> None:
        """Take what shall be done on this thread."""
        self._calls.put(call)

    def settle(self, model: SessionModel | MaskModel) -> None:
        """Do what comes in until nothing runs any more."""
        while model.running or not self._calls.empty():
            self._calls.get(timeout=_LONGEST_WAIT_S)()


class User:
    """A viewer without a window with an image, and the session on it."""

    def __init__(self, image: npt.NDArray[np.uint8]) -> None:
        from napari.components import ViewerModel

        from napari_sam3_assistant.session.settings import MemorySettings
        from napari_sam3_assistant.viewer.binding import binding_for

        self._desk = Desk()
        self.viewer = ViewerModel()
        self.viewer.add_image(image, name="image")
        self._binding = binding_for(self.viewer, self._desk, MemorySettings())
        self.model, self.session = self._binding.model, self._binding.session

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        self._binding.close()

    def choose(self, task: Task) -> Any:  # noqa: ANN401 (a layer of napari, which has no types)
        """Choose a task and return the layer to draw its prompts in."""
        self.model.task = task
        self._binding.prompts.arm()
        return self.viewer.layers.selection.active

    def settle(self) -> None:
        """Wait until nothing runs any more."""
        self._desk.settle(self.model)


def click(passed: FilesPassed) -> None:
    """Click on an object with Live Points, and see its mask."""
    from napari_sam3_assistant.core.prompts import Task

    with User(_discs(64, 64)) as user:
        points = user.choose(Task.LIVE_POINTS)
        with passed:
            points.add((20, 30))
            user.session.run_live()
            user.settle()
        _done(len(user.model.previews) == 1)


def scan(passed: FilesPassed) -> None:
    """Scan an image of two tiles for a phrase."""
    from napari_sam3_assistant.core.prompts import Task

    with tempfile.TemporaryDirectory() as folder, User(_discs(128, 320)) as user:
        user.model.task, user.model.text = Task.TEXT, "bright objects"
        user.session.scan_model.scan_tile, user.session.scan_model.scan_folder = 256, folder
        with passed:
            user.session.scanning.run()
            user.settle()
        _done(len(user.model.results) > 1)


def scan_command(passed: FilesPassed) -> None:
    """Scan an image of two tiles for a phrase by the command line."""
    from imageio.v3 import imwrite

    from napari_sam3_assistant.cli import main

    with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stderr(io.StringIO()):
        image, labels = Path(folder, "image.tif"), Path(folder, "labels.zarr")
        imwrite(image, _discs(128, 320))
        arguments = ["scan", str(image), "-o", str(labels), "--text", "bright objects"]
        with passed, contextlib.redirect_stdout(io.StringIO()):
            failed = main([*arguments, "--tile", "256"])
        _done(not failed)


def fill_holes(passed: FilesPassed) -> None:
    """Fill the holes of a labels layer, and take it back."""
    from napari.components import ViewerModel

    from napari_sam3_assistant.core.masks.operations import Operation
    from napari_sam3_assistant.mask_operations.binding import mask_binding_for

    desk, viewer = Desk(), ViewerModel()
    labels = (_discs(64, 64) > 100).astype("uint8")
    labels[20, 30] = 0
    layer = viewer.add_labels(labels.copy(), name="cells")
    with contextlib.closing(mask_binding_for(viewer, desk)) as binding:
        binding.model.target = str(layer.unique_id)
        desk.settle(binding.model)
        with passed:
            binding.session.cleanup.apply(Operation.FILL_HOLES)
            desk.settle(binding.model)
            filled = layer.data[20, 30] == 1
            binding.session.cleanup.undo()
            desk.settle(binding.model)
        _done(filled and bool((layer.data == labels).all()))


def propagate(passed: FilesPassed) -> None:
    """Click on an object of a stack, and see it spread to the other frames."""
    import numpy as np

    from napari_sam3_assistant.core.prompts import Task

    with User(np.stack([_discs(64, 64)] * 6)) as user:
        user.choose(Task.VIDEO).add((3, 20, 30))
        with passed:
            user.session.run()
            user.settle()
        _done(len(user.model.results) == 6)


ACTS = {
    "a click in Live Points": click,
    "a scan of two tiles": scan,
    "the same by napari-sam3 scan": scan_command,
    "Fill Holes, and undo": fill_holes,
    "a propagation, 6 frames": propagate,
}


def _discs(height: int, width: int) -> npt.NDArray[np.uint8]:
    """Return bright discs of radius 9, 48 pixels apart, on a dark plane."""
    import numpy as np

    y, x = np.ogrid[:height, :width]
    inside = ((y + 4) % 48 - 24) ** 2 + ((x - 6) % 48 - 24) ** 2 <= 81
    return np.where(inside, 200, 30).astype(np.uint8)


def _done(done: bool) -> None:
    if not done:
        raise RuntimeError("The act did not do its work, so its files say nothing.")


def functions_passed(act: Callable[[FilesPassed], None]) -> dict[str, set[str]]:
    """Return the functions of ours that an act passes, by file relative to the package."""
    # Done twice, since the first time also passes what is imported on the way.
    for _time in range(2):
        with contextlib.closing(FilesPassed(SOURCE / PACKAGE)) as passed:
            act(passed)
    return passed.functions


# -- the table ----------------------------------------------------------------------------------


def table() -> Iterator[str]:
    """Yield the lines of the table."""
    files = {
        path.relative_to(SOURCE / PACKAGE).as_posix(): read_code(path.read_text("utf8"))
        for path in sorted((SOURCE / PACKAGE).rglob("*.py"))
    }
    sizes = {file: len(code.lines) for file, code in files.items()}
    total = sum(sizes.values())
    median = statistics.median(n for file, n in sizes.items() if not file.endswith("__init__.py"))
    imports = sum(len(code.imports) for code in files.values())
    yield f"{'files':<44}{len(files):>7}"
    yield f"{'median lines of code, without __init__.py':<44}{median:>7.0f}"
    yield f"{'lines of code':<44}{total:>7}"
    yield f"{'of these imports':<44}{imports:>7}  {imports / total:.1%}"
    circles = import_circles(PACKAGE)
    yield f"{'circles of imports, with type-only ones':<44}{len(circles):>7}"
    for circle in circles:
        yield "    " + ", ".join(name.removeprefix(f"{PACKAGE}.") for name in circle)
    twice = repetitions(files)
    yield f"{f'runs of {LEAST_REPEATED} lines or more that stand twice':<44}{len(twice):>7}"
    for one in twice:
        places = (f"{file}:{row}" for file, row in (one.first, one.second))
        yield f"    {one.length} lines: {' = '.join(places)}"
    yield f"{'files passed by':<44}{'all':>7}  without {_BUILTIN}"
    for name, act in ACTS.items():
        passed = functions_passed(act)
        others = [file for file in passed if not file.startswith(_BUILTIN)]
        yield f"    {name:<40}{len(passed):>7}  {len(others)}"


if __name__ == "__main__":
    # Read by napari when its settings are imported: empty means none are read or written.
    os.environ["NAPARI_CONFIG"] = ""
    sys.path.insert(0, str(SOURCE))
    for line in table():
        print(line, flush=True)

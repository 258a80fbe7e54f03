"""Write the tree of the package, a line for each file, into ``docs/architecture.md``.

    .venv/bin/python tools/architecture_tree.py

The line is the first of the file's own docstring, so the tree is as true as these are.
"""

from __future__ import annotations

import ast
import re
from pathlib import Path

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "src" / "napari_sam3_assistant"
MANUAL = ROOT / "docs" / "architecture.md"
_TREE = re.compile(r"(?s)(?<=<!-- tree -->\n).*(?=<!-- end of tree -->)")


def first_line(file: Path) -> str:
    """Return the first line of a module's docstring."""
    found = ast.get_docstring(ast.parse(file.read_text("utf8")))
    return (found or "").partition("\n")[0].replace("``", "`")


def tree() -> str:
    """Return the tree as Markdown: a table for each folder."""
    parts = []
    for folder in sorted({file.parent for file in PACKAGE.rglob("*.py")}):
        name = folder.relative_to(PACKAGE).as_posix()
        about = first_line(folder / "__init__.py")
        parts.append(f"### `{'napari_sam3_assistant' if name == '.' else name}/`\n\n{about}\n\n")
        rows = [file for file in sorted(folder.glob("*.py")) if file.name != "__init__.py"]
        if rows:
            parts.append("| file | what it is |\n|---|---|\n")
            parts += (f"| `{file.name}` | {first_line(file)} |\n" for file in rows)
            parts.append("\n")
    return "".join(parts)


def with_tree(manual: str) -> str:
    """Return the manual with the tree as it is now."""
    return _TREE.sub(lambda _: "\n" + tree(), manual)


if __name__ == "__main__":
    MANUAL.write_text(with_tree(MANUAL.read_text("utf8")), "utf8")

"""What the project says of itself outside the code: the README that PyPI shows, links, versions."""

import ast
import re
import subprocess
import sys
import tomllib
from importlib.metadata import PackageNotFoundError, packages_distributions, requires
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[1]
TABLES = tomllib.loads((ROOT / "pyproject.toml").read_text("utf8"))
PROJECT = TABLES["project"]
OWN = re.compile(
    re.escape(PROJECT["urls"]["Source"].replace("github.com", "HOST")).replace(
        "HOST", r"(?:github\.com|raw\.githubusercontent\.com)"
    )
    + r"/(?:blob/|tree/)?main/([^#]*)"
)
_LINK = re.compile(r"\]\(([^)\s]+)\)|^\[[^\]]+\]:\s*(\S+)", re.MULTILINE)


def links(markdown):
    """Return what a page links to, pictures too."""
    return [inline or defined for inline, defined in _LINK.findall(markdown)]


def test_links_are_found_in_both_forms():
    text = "[a](docs/a.md) and ![b](https://host/b.png)\n[c][c]\n\n[c]: https://host/c\n"

    assert links(text) == ["docs/a.md", "https://host/b.png", "https://host/c"]


def test_the_readme_can_be_read_on_pypi():
    # PyPI shows it without the repository round it, so a relative link leads nowhere there.
    found = links((ROOT / "README.md").read_text("utf8"))

    assert [link for link in found if not link.startswith(("https://", "#"))] == []


@pytest.mark.skipif(not (ROOT / "docs/images").is_dir(), reason="an sdist has no pictures")
def test_links_into_the_repository_lead_to_something():
    pages = [ROOT / "README.md", *(ROOT / "docs").rglob("*.md")]
    urls = [
        *PROJECT["urls"].values(),
        *(link for page in pages for link in links(page.read_text("utf8"))),
    ]
    inside = [found[1] for url in urls if (found := OWN.match(url))]

    assert len(inside) > 15
    assert [path for path in inside if not (ROOT / path).exists()] == []


def test_links_between_pages_lead_to_something():
    pages = [*ROOT.glob("*.md"), *(ROOT / "windows_sam31_workaround").glob("*.md")]
    broken = [
        (page.name, link)
        for page in pages
        for link in links(page.read_text("utf8"))
        if not link.startswith(("http", "#"))
        and not (page.parent / link.partition("#")[0]).exists()
    ]

    assert broken == []


def test_commits_and_lint_run_the_same_ruff():
    hooks = set(
        re.findall(r"\bruff==([\d.]+)", (ROOT / ".pre-commit-config.yaml").read_text("utf8"))
    )
    pins = set(re.findall(r"^ruff==([\d.]+)", (ROOT / "constraints.txt").read_text("utf8"), re.M))

    assert hooks == pins
    assert len(pins) == 1


def test_a_tag_of_another_version_is_not_published():
    tagged = subprocess.run(
        [sys.executable, "tools/check_version.py", "v0.0.1"],
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip

    assert tagged.returncode == 1
    for file in ("pyproject.toml", "CITATION.cff", "CHANGELOG.md"):
        assert file in tagged.stderr


WINDOW = {"napari", "psygnal", "pyqtgraph", "qtpy", "superqt"}


def test_the_manual_lists_what_a_server_needs():
    needed = {re.match(r"[\w-]+(\[\w+\])?", one)[0] for one in PROJECT["dependencies"]}
    page = (ROOT / "docs/installation.md").read_text("utf8")
    commands = page.partition("## Without a window")[2].partition("```bash\n")[2]
    listed = commands.partition("```")[0].partition('pip install "dask')[2]

    assert set(f"dask{listed.partition('napari-sam3')[0]}".replace('"', "").split()) - {"\\"} == (
        needed - WINDOW
    )


def test_properties_take_the_number_of_their_examples_from_the_profile():
    """Else `make test-thorough` is not."""
    own = {"conftest.py", "amounts.py", Path(__file__).name}
    files = [path for path in (ROOT / "tests").rglob("*.py") if path.name not in own]

    assert [path.name for path in files if "max_examples" in path.read_text("utf8")] == []


def installed_by(lines):
    """Return the names of all packages that requirements bring, with what these require."""
    found, ahead = set(), [(Requirement(line), "") for line in lines]
    while ahead:
        package, of = ahead.pop()
        if package.marker is not None and not package.marker.evaluate({"extra": of}):
            continue
        for extra in ("", *package.extras):
            key = canonicalize_name(package.name), extra
            if key not in found:
                found.add(key)
                try:
                    needed = requires(package.name) or ()
                except PackageNotFoundError:
                    needed = ()
                ahead += [(Requirement(line), extra) for line in needed]
    return {name for name, _ in found}


def imports_at_once(file):
    """Yield what a file imports before it asks for a package by `importorskip`."""
    before = re.split(r"(?m)^(?:\w+ = )?pytest\.importorskip", file.read_text("utf8"))[0]
    for step in ast.parse(before).body:
        if isinstance(step, ast.Import):
            yield from (one.name.partition(".")[0] for one in step.names)
        elif isinstance(step, ast.ImportFrom) and step.module:
            yield step.module.partition(".")[0]


def test_tests_that_need_an_extra_skip_where_it_is_not_installed():
    """Else `make test-oldest` and `make test-pyside`, which have none, end before they begin."""
    group = TABLES["dependency-groups"]["test"]
    there = installed_by([*PROJECT["dependencies"], *group])
    owners = packages_distributions()
    missing = {
        file.relative_to(ROOT).as_posix(): name
        for file in (ROOT / "tests").rglob("test_*.py")
        for name in imports_at_once(file)
        if name in owners
        and not there & {canonicalize_name(one) for one in owners[name]}
        and owners[name] != [PROJECT["name"]]
    }
    assert missing == {}

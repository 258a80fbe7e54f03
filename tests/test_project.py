"""What the project says of itself outside the code: the README that PyPI shows, links, versions."""

import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf8"))["project"]
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

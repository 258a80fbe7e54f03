"""What the project says of itself outside the code: the README that PyPI shows, its links."""

import re
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

"""End with an error unless a tag, the package, the citation and the changelog name one version.

python tools/check_version.py v5.0.0
"""

from __future__ import annotations

import re
import sys
import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[1]


def versions() -> dict[str, str]:
    """Return the version that each file names; of the changelog, the newest with a date."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf8"))["project"]
    citation = re.search(r"^version: (\S+)", (ROOT / "CITATION.cff").read_text("utf8"), re.M)
    dated = re.search(
        r"^## \[(\S+)\] - \d{4}-\d\d-\d\d$", (ROOT / "CHANGELOG.md").read_text("utf8"), re.M
    )
    return {
        "pyproject.toml": project["version"],
        "CITATION.cff": citation[1] if citation else "none",
        "CHANGELOG.md, newest with a date": dated[1] if dated else "none",
    }


if __name__ == "__main__":
    tag = sys.argv[1]
    wrong = {file: version for file, version in versions().items() if f"v{version}" != tag}
    for file, version in wrong.items():
        print(f"The tag is {tag}, and {file} says {version}.", file=sys.stderr)
    sys.exit(bool(wrong))

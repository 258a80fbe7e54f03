#!/bin/sh
# Solve the dependencies anew and write the two constraint files (names and versions only).
#
#   sh tools/constraints.sh
#
# Run it with Python 3.11 in .venv (see `make setup`); nothing is installed.
set -eu
cd "$(dirname "$0")/.."
python=${PYTHON:-.venv/bin/python}
solved=$(mktemp)
trap 'rm -f "$solved"' EXIT

# solve FILE SPEC...: write what pip would install into an empty environment, pip and the
# build backend included.
solve() {
    file=$1
    shift
    "$python" -m pip install --quiet --dry-run --ignore-installed --report "$solved" \
        pip hatchling editables "$@"
    "$python" - "$solved" "$file" <<'PYTHON'
import json
import sys
from pathlib import Path

solved, file = map(Path, sys.argv[1:])
lines = ["# Written by tools/constraints.sh"]
for package in sorted(
    (p["metadata"] for p in json.loads(solved.read_text())["install"]),
    key=lambda p: p["name"].lower(),
):
    if package["name"] != "napari-sam3-assistant":
        # A local part such as +cpu names one registry's build; without it any build will do.
        lines.append(f"{package['name']}=={package['version'].partition('+')[0]}")
file.write_text("\n".join(lines) + "\n")
PYTHON
}

solve constraints.txt ".[pyqt6,pyside6,sam3,meta,formats,bio,remote,cluster]" --group test --group lint --group docs
# What pyproject.toml asks for, at the oldest versions that it lets in.
solve constraints-oldest.txt ".[pyqt6]" --group test \
    napari==0.5.6 dask==2024.10.0 imageio==2.31.1 numpy==1.26.0 pillow==10.3.0 platformdirs==3.0.0 \
    psygnal==0.11.0 pyqtgraph==0.13.7 PyQt6==6.5.1 qtpy==2.4.0 scikit-image==0.22.0 scipy==1.11.1 superqt==0.6.7 \
    tifffile==2025.5.21 zarr==3.1.3 imagecodecs==2024.6.1 roifile==2024.9.15 \
    "pydantic<2.13" # what pydantic-zarr can be used with on Python 3.11, for the tests

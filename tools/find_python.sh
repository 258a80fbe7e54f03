#!/bin/sh
# Print the first Python that this machine has of some versions, from PATH or from pyenv.
#
#   sh tools/find_python.sh VERSION...
set -eu
for version in "$@"; do
    for candidate in "python$version" "${PYENV_ROOT:-$HOME/.pyenv}"/versions/"$version".*/bin/python; do
        if "$candidate" -c '' 2>/dev/null; then
            echo "$candidate"
            exit
        fi
    done
done
echo "There is no Python $* here. Install one, or name it: PYTHON=/path/to/python" >&2
exit 1

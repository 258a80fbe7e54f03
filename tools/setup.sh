#!/bin/sh
# Make a virtual environment and install this package into it, unless that is done already.
#
#   sh tools/setup.sh FOLDER CONSTRAINTS EXTRAS [GROUP...]
#
# PYTHON=... chooses the interpreter. Where packages come from is left to pip's own settings.
set -eu
cd "$(dirname "$0")/.."
folder=$1 constraints=$2 extras=$3
shift 3

# A stamp holds the sum of all that decides what is installed, one stamp for each set.
stamp="$folder/.installed-$extras$(printf -- '-%s' "$@")"
sum=$(cat pyproject.toml "$constraints" tools/setup.sh | cksum)
if [ -f "$stamp" ] && [ "$(cat "$stamp")" = "$sum" ]; then
    exit 0
fi

new_enough() { "$1" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; }

python=
# Python 3.11 first: the constraints were solved with it.
for candidate in ${PYTHON:-python3.11 python3 python3.12 python3.13 python}; do
    if new_enough "$candidate"; then
        python=$candidate
        break
    fi
done
if [ -z "$python" ]; then
    echo "None of these is a Python 3.11 or newer: ${PYTHON:-python3.11 python3 python3.12 python3.13 python}" >&2
    echo "Install one, or name it: make test PYTHON=/path/to/python" >&2
    exit 1
fi

if ! [ -x "$folder/bin/python" ]; then
    # Debian ships Python without the part that puts pip into a new environment.
    if ! "$python" -c 'import ensurepip' 2>/dev/null; then
        version=$("$python" -c 'import sys; print("%d.%d" % sys.version_info[:2])')
        sh tools/apt.sh "python$version-venv"
    fi
    echo "Making $folder with $("$python" --version) ..."
    "$python" -m venv "$folder"
fi

# Sets that were installed from other versions of these files no longer hold.
for old in "$folder"/.installed-*; do
    if [ -f "$old" ] && [ "$(cat "$old")" != "$sum" ]; then rm "$old"; fi
done

for group in "$@"; do
    set -- "$@" --group "$group"
    shift
done
echo "Installing into $folder (the first time takes some minutes) ..."
export PIP_DISABLE_PIP_VERSION_CHECK=1
"$folder/bin/python" -m pip install --quiet --constraint "$constraints" --upgrade pip
# Python compiles a module when it is first imported; pip would compile all 23 000, in one thread.
"$folder/bin/python" -m pip install --quiet --no-compile --constraint "$constraints" \
    --build-constraint "$constraints" "$@" --editable ".[$extras]"
echo "$sum" > "$stamp"

#!/bin/sh
# Run the tests on each Python that this machine has, once with PyQt6 and once with PySide6.
#
#   sh tools/test_matrix.sh [ARGUMENT...]
#
# PYTHONS="3.12 3.13" names other versions. The arguments go to pytest. What could not be run is said;
# the exit code is that of the worst run.
set -u
cd "$(dirname "$0")/.."
rows= worst=0

for version in ${PYTHONS:-3.11 3.12 3.13 3.14}; do
    python=$(sh tools/find_python.sh "$version" 2>/dev/null)
    for qt in pyqt6 pyside6; do
        if [ -z "$python" ]; then
            outcome="not run: no Python $version here"
        elif [ "$version-$qt" = 3.11-pyside6 ]; then
            outcome="not run: PySide6 6.12 ends Python 3.11 with 'deallocating None'"
        else
            folder=.venv-$version-$qt
            if ! PYTHON=$python sh tools/setup.sh "$folder" constraints.txt "$qt" test; then
                outcome="not run: could not be installed" worst=1
            elif sh tools/with_display.sh "$folder" sh tools/run_tests.sh "$folder" "$@"; then
                outcome=passed
            else
                outcome=FAILED worst=1
            fi
        fi
        rows="$rows$version $qt: $outcome
"
    done
done
printf '\n%s' "$rows"
exit $worst

#!/bin/sh
# Run all tests, those with windows and the others at the same time.
#
#   sh tools/run_tests.sh FOLDER [ARGUMENT...]
#
# FOLDER is the virtual environment. With arguments it is one pytest with these.
set -u
python=$1/bin/python
shift
[ $# -eq 0 ] || exec "$python" -m pytest "$@"

# One thread of computing each: those of two processes on the same cores wait for each other, which
# makes PyTorch five times slower.
export OMP_NUM_THREADS=1
others=$(mktemp)
trap 'rm -f "$others"' EXIT
"$python" -m pytest --ignore=tests/widgets --durations=10 >"$others" 2>&1 &
"$python" -m pytest tests/widgets --durations=10
with_windows=$?
wait $!
without=$?
cat "$others"
[ $with_windows -eq 0 ] && [ $without -eq 0 ]

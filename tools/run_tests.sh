#!/bin/sh
# Run all tests, on one process more than the machine has cores, if it has memory for them.
#
#   sh tools/run_tests.sh FOLDER [ARGUMENT...]
#
# FOLDER is the virtual environment. With arguments it is one pytest with these.
set -eu
python=$1/bin/python
shift
[ $# -eq 0 ] || exec "$python" -m pytest "$@"

# One thread of computing and of drawing each: those of several processes on the same cores wait for
# each other, which makes PyTorch five times slower.
export OMP_NUM_THREADS=1 LP_NUM_THREADS=1
# Each worker, and each process that a test starts, would compile all modules again.
unset PYTHONDONTWRITEBYTECODE
# One more than there are cores: windows, servers and programs that are killed are waited for.
workers=$("$python" -c 'import psutil
print(max(1, min(psutil.cpu_count() + 1, psutil.virtual_memory().available // (3 * 2**30))))')

if [ "$(uname)" != Linux ] || ! command -v Xvfb >/dev/null; then
    # One display: what opens windows goes to one process (see tests/conftest.py).
    exec "$python" -m pytest --numprocesses="$workers" --dist=loadgroup --durations=10
fi

# A display for each process, since only one window of a display has the keyboard.
folder=$(mktemp -d)
servers=
trap 'rm -rf "$folder"; [ -z "$servers" ] || kill $servers 2>/dev/null' EXIT
trap 'echo "The tests were stopped by a signal." >&2; exit 1' HUP INT TERM
for server in $(seq "$workers"); do
    # A pipe for each: in one of all, the server before closes its end for the next one, too.
    mkfifo "$folder/$server"
    Xvfb -displayfd 3 -screen 0 1280x1024x24 -nolisten tcp 3>"$folder/$server" 2>>"$folder/log" &
    servers="$servers $!"
    read -r number <"$folder/$server" || { echo "Xvfb did not start." >&2; cat "$folder/log" >&2; exit 1; }
    set -- "$@" --tx "popen//env:DISPLAY=:$number"
done
unset WAYLAND_DISPLAY QT_QPA_PLATFORM
"$python" -m pytest "$@" --dist=worksteal --durations=10

#!/bin/sh
# Run a command that opens windows: on the display there is, or else on a virtual one (Xvfb).
#
#   sh tools/with_display.sh FOLDER COMMAND...
#
# FOLDER is the virtual environment whose Qt must be able to open the display. SCREEN is the size of
# a virtual display, 1280x1024 if it is not set.
set -eu
folder=$1
shift

qt_opens() { "$folder/bin/python" -c 'from qtpy.QtGui import QGuiApplication as A; A([])'; }

[ "$(uname)" = Linux ] || exec "$@"
if [ -n "${DISPLAY:-}${WAYLAND_DISPLAY:-}" ] && qt_opens >/dev/null 2>&1; then
    exec "$@"
fi

# What Qt and OpenGL load when they start, and the Debian package that has it.
PATH=$PATH:/usr/sbin:/sbin
libraries=$(ldconfig -p)
missing=
while read -r library package; do
    case $libraries in
        *"$library "*) ;;
        *) missing="$missing $package" ;;
    esac
done <<'TABLE'
libGL.so.1 libgl1
libEGL.so.1 libegl1
libOpenGL.so.0 libopengl0
libglib-2.0.so.0 libglib2.0-0
libdbus-1.so.3 libdbus-1-3
libfontconfig.so.1 libfontconfig1
libfreetype.so.6 libfreetype6
libX11-xcb.so.1 libx11-xcb1
libxkbcommon.so.0 libxkbcommon0
libxkbcommon-x11.so.0 libxkbcommon-x11-0
libxcb-cursor.so.0 libxcb-cursor0
libxcb-icccm.so.4 libxcb-icccm4
libxcb-image.so.0 libxcb-image0
libxcb-keysyms.so.1 libxcb-keysyms1
libxcb-randr.so.0 libxcb-randr0
libxcb-render-util.so.0 libxcb-render-util0
libxcb-shape.so.0 libxcb-shape0
libxcb-xkb.so.1 libxcb-xkb1
TABLE
command -v Xvfb >/dev/null || missing="$missing xvfb"
command -v xauth >/dev/null || missing="$missing xauth"
# shellcheck disable=SC2086 # one word a package
[ -z "$missing" ] || sh "$(dirname "$0")/apt.sh" $missing

unset WAYLAND_DISPLAY QT_QPA_PLATFORM
exec xvfb-run --auto-servernum --server-args="-screen 0 ${SCREEN:-1280x1024}x24" "$@"

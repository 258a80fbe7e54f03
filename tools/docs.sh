#!/bin/sh
# Build the documentation site into site/, with warnings as errors, and run the examples on the way.
#
#   sh tools/docs.sh FOLDER
#
# FOLDER is the virtual environment.
set -eu
settings=$(mktemp -d)
trap 'rm -rf "$settings"' EXIT
# Whoever builds has settings of napari and the plugin, which are nobody else's business.
export NAPARI_CONFIG= XDG_CONFIG_HOME="$settings"
# Deprecations inside other packages would be printed among what the examples print.
export MPLBACKEND=agg PYTHONWARNINGS=ignore NO_MKDOCS_2_WARNING=1
# Pages of the gallery are made anew, as the code that the examples call may have changed.
rm -rf docs/generated
sh tools/with_display.sh "$1" "$1/bin/python" -m mkdocs build --strict

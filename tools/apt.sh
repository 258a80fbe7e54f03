#!/bin/sh
# Install Debian packages where we may; otherwise name them and stop.
#
#   sh tools/apt.sh PACKAGE...
set -eu
if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
    echo "Installing system packages: $*"
    export DEBIAN_FRONTEND=noninteractive
    apt-get update -qq </dev/null
    apt-get install -qq --yes --no-install-recommends "$@" </dev/null >/dev/null
else
    echo "System packages are missing. Install these (Debian and Ubuntu names), then try again:" >&2
    echo "  sudo apt-get install $*" >&2
    exit 1
fi

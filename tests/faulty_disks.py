"""Disks that are full, folders that nobody may write to: real ones, where the system lets us."""

import contextlib
import os
import shutil
import subprocess
import sys

import pytest


def _do(*command):
    """Run a command of the system; skip the test where it is not there or not allowed."""
    if shutil.which(command[0]) is None:
        pytest.skip(f"there is no {command[0]} here")
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"{command[0]}: {done.stderr.strip()}")


@contextlib.contextmanager
def small_disk(folder, kilobytes):
    """Make a folder a disk of its own, of so many kilobytes."""
    if sys.platform != "linux" or os.geteuid() != 0:
        pytest.skip("only root on Linux may mount a small disk")
    _do("mount", "-t", "tmpfs", "-o", f"size={kilobytes}k", "tmpfs", str(folder))
    try:
        yield
    finally:
        subprocess.run(("umount", "-l", str(folder)), check=True)


@contextlib.contextmanager
def locked(folder):
    """Let nobody write to a folder; root neither."""
    if sys.platform == "win32":
        pytest.skip("Windows knows no folder without the right to write")
    if os.geteuid() == 0:
        _do("chattr", "+i", str(folder))
        try:
            yield
        finally:
            _do("chattr", "-i", str(folder))
        return
    folder.chmod(0o500)
    try:
        yield
    finally:
        folder.chmod(0o700)

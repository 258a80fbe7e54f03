"""Commands that install what is optional: of extras beside napari, of their packages without."""

import shlex
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from napari_sam3_assistant.core import extras

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf8"))["project"]


def parse(lines):
    found = map(Requirement, lines)
    return {(canonicalize_name(one.name), frozenset(one.extras), one.specifier) for one in found}


@pytest.mark.parametrize("extra", PROJECT["optional-dependencies"])
def test_without_napari_the_packages_are_named_and_napari_is_not_brought(extra, monkeypatch):
    pip = f'pip install "napari-sam3-assistant[{extra}]"'
    monkeypatch.setattr(extras, "has_napari", lambda: True)
    assert extras.pip_install(extra) == pip

    monkeypatch.setattr(extras, "has_napari", lambda: False)
    command = extras.pip_install(extra, "--upgrade")

    listed = parse(PROJECT["optional-dependencies"][extra])
    if any(name.startswith("napari") for name, *_ in listed):  # a window
        assert command == pip.replace("install", "install --upgrade")
        return
    assert parse(shlex.split(command)[3:]) == listed
    assert "'" not in command  # which the shell of Windows takes for a letter


def test_no_other_file_words_such_a_command():
    source = ROOT / "src/napari_sam3_assistant"
    wording = [
        file.relative_to(source).as_posix()
        for file in source.rglob("*.py")
        if "pip install" in (text := file.read_text("utf8")) and f"{PROJECT['name']}[" in text
    ]
    assert wording == []

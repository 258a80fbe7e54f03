"""The engine's card, and what it costs to look at it."""

from __future__ import annotations

import subprocess
import sys
from importlib.metadata import requires, version
from types import MappingProxyType

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

from napari_sam3_assistant.core import extras
from napari_sam3_assistant.core.prompts import PromptKind
from napari_sam3_assistant.engines import sam3_transformers, sam_transformers


def test_card():
    spec = sam3_transformers.ENTRY.spec
    assert (spec.name, spec.title) == ("sam3-transformers", "SAM 3 (transformers)")
    assert spec.accepts == frozenset(PromptKind)
    assert spec.needs_weights


def test_looking_at_it_imports_no_large_package():
    code = (
        "import sys\n"
        "from napari_sam3_assistant.engines.sam3_transformers import ENTRY\n"
        "ENTRY.status(); ENTRY.create(None, 'auto')\n"
        "assert not {'torch', 'transformers', 'safetensors'} & set(sys.modules)\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.fixture
def installed(monkeypatch):
    """Say which packages are installed, and versions of some."""

    def say(packages, versions=MappingProxyType({})):
        monkeypatch.setattr(
            sam_transformers, "find_spec", lambda name: object() if name in packages else None
        )
        monkeypatch.setattr(extras, "version", lambda name: versions.get(name) or version(name))

    return say


ALL = {"torch", "torchvision", "transformers", "safetensors"}


def test_available(installed):
    installed(ALL)
    assert sam3_transformers.status().available


def test_missing_packages_are_named_with_the_remedy(installed):
    installed(ALL - {"torchvision", "torch"})
    status = sam3_transformers.status()
    assert not status.available
    assert status.reason == (
        'Not installed: torch, torchvision. Run: pip install "napari-sam3-assistant[sam3]"'
    )


@pytest.mark.parametrize("package", ["torch", "transformers", "huggingface-hub"])
def test_what_pip_would_not_have_installed_is_refused(installed, package):
    """transformers 5.17 can't load SAM 2.1; torch before 2.6 runs code out of weights."""
    known = map(Requirement, requires("napari-sam3-assistant"))
    asked = next(one for one in known if canonicalize_name(one.name) == package)
    (least,) = (Version(one.version) for one in asked.specifier)
    older = f"{least.major}.{least.minor - 1}.9" if least.minor else f"{least.major - 1}.99.0"
    newer = (f"{least}.0+cu130", f"{least.major + 1}.0rc1")
    for found, fits in ((older, False), (newer[0], True), (newer[1], True)):
        installed(ALL, {asked.name: found})
        for entry in (sam3_transformers.ENTRY, sam_transformers.ENTRY):
            assert entry.status().available == fits
        if not fits:
            assert f"Too old: {asked.name} {older} (it needs >={least})." in entry.status().reason
            assert 'pip install "napari-sam3-assistant[sam3]"' in entry.status().reason

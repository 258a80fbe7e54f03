"""The engine's card, and what it costs to look at it."""

from __future__ import annotations

import subprocess
import sys

import pytest

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
    """Say which packages are installed, and the version of transformers."""

    def say(packages, transformers="5.1.0"):
        monkeypatch.setattr(
            sam_transformers, "find_spec", lambda name: object() if name in packages else None
        )
        monkeypatch.setattr(sam_transformers, "version", lambda name: transformers)

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


def test_old_transformers(installed):
    installed(ALL, "4.57.1")
    status = sam3_transformers.status()
    assert not status.available
    assert status.reason.startswith("transformers 4.57.1 has no SAM 3")

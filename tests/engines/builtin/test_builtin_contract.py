import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest
import skimage

from napari_sam3_assistant.core.prompts import PromptKind
from napari_sam3_assistant.engines import registry

# Test folders are no packages (import mode importlib), so the shared base is loaded by path.
_PATH = Path(__file__).parents[2] / "contracts" / "engine.py"
_SPEC = importlib.util.spec_from_file_location("engine_contract", _PATH)
_MODULE = importlib.util.module_from_spec(_SPEC)
_SPEC.loader.exec_module(_MODULE)


class TestBuiltinContract(_MODULE.ImageEngineContract):
    @pytest.fixture
    def engine(self):
        return registry.create("builtin")


def test_card():
    entry = registry.find_entry("builtin")
    assert entry.status().available
    assert entry.spec.title == "Built-in (no SAM 3 weights)"
    assert entry.spec.accepts == set(PromptKind)
    assert not entry.spec.needs_weights
    engine = registry.create("builtin", None, "cuda")
    assert (engine.version, engine.device, engine.weights) == (skimage.__version__, "cpu", "")


def test_the_card_is_read_without_loading_image_packages():
    code = (
        "import sys, napari_sam3_assistant.engines.builtin as b; b.ENTRY.status();"
        "print([m for m in ('skimage', 'scipy', 'torch') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"

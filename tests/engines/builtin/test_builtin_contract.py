import subprocess
import sys

import pytest
import skimage

from contracts import engine as engine_contract
from napari_sam3_assistant.core.prompts import PromptKind
from napari_sam3_assistant.engines import registry
from napari_sam3_assistant.engines.builtin import outline_net


class TestBuiltinContract(engine_contract.ImageEngineContract):
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
    assert engine.version == f"{skimage.__version__} outlines {outline_net.VERSION}"
    assert (engine.device, engine.weights) == ("cpu", "")


def test_the_card_is_read_without_loading_image_packages():
    code = (
        "import sys, napari_sam3_assistant.engines.builtin as b; b.ENTRY.status();"
        "print([m for m in ('skimage', 'scipy', 'torch') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"

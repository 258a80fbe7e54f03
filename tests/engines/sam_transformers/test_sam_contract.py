"""What holds for every engine holds for SAM 2, SAM 1 and EdgeTAM."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest

from napari_sam3_assistant.engines.sam_transformers import ENTRY

_SPEC = importlib.util.spec_from_file_location(
    "engine_contract", Path(__file__).parents[2] / "contracts" / "engine.py"
)
_CONTRACT = importlib.util.module_from_spec(_SPEC)
_SPEC.loader.exec_module(_CONTRACT)


class TestSam2Contract(_CONTRACT.ImageEngineContract):
    """A model that stretches images."""

    model = "sam2_video"

    @pytest.fixture
    def engine(self, sam_folder):
        engine = ENTRY.create(sam_folder(self.model), "cpu")
        yield engine
        engine.close()

    @pytest.fixture
    def loaded(self, loaded_sam):
        return loaded_sam(self.model)


class TestSam1Contract(TestSam2Contract):
    """A model that pads images; the others differ from the first in their encoder."""

    model = "sam"

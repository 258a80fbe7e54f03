"""What holds for every engine holds for SAM 2, SAM 1 and EdgeTAM."""

from __future__ import annotations

import numpy as np
import pytest

from contracts import engine as engine_contract
from napari_sam3_assistant.core.progress import NullReporter
from napari_sam3_assistant.engines.sam_transformers import ENTRY
from napari_sam3_assistant.errors import EngineError


class TestSam2Contract(engine_contract.ImageEngineContract):
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

    def test_an_image_of_which_padding_leaves_nothing_is_told(self, loaded):
        with pytest.raises(EngineError, match=r"too narrow for SAM 1.*1 x 3000.*ROI mode"):
            loaded.embed(np.zeros((1, 3000, 3), np.uint8), NullReporter())

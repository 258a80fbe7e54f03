"""A scan with the real SAM 3 code and tiny random weights: phrases, and examples by composite."""

import numpy as np
import pytest
import zarr

from napari_sam3_assistant import api


@pytest.fixture(scope="module")
def image():
    return np.random.default_rng(0).integers(0, 255, (300, 420, 3), dtype=np.uint8)


@pytest.mark.parametrize(
    "prompts", [{"text": "cell"}, {"exemplars": [(10, 12, 60, 70)]}], ids=["text", "example"]
)
def test_every_tile_is_encoded_once(image, tmp_path, tiny_checkpoint, model_calls, prompts):
    with api.open_engine("sam3-transformers", model_folder=tiny_checkpoint, device="cpu") as engine:
        result = api.scan(
            image, output=tmp_path / "a.zarr", tile=256, engine=engine, threshold=0.0, **prompts
        )

    assert result.tiles == 4
    assert model_calls["encode"] == 4
    labels = zarr.open_group(str(result.path), mode="r")["0"]
    assert labels.shape == (300, 420)
    assert {one.id for one in result.objects} >= set(np.unique(labels[...]).tolist()) - {0}
    assert any("pasted beside" in note for note in result.notes) == ("exemplars" in prompts)

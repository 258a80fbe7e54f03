"""A viewer without a window, and its session with results delivered at once."""

import numpy as np
import pytest
from napari.components import ViewerModel

from napari_sam3_assistant.core.progress import deliver_inline
from napari_sam3_assistant.session.settings import MemorySettings
from napari_sam3_assistant.viewer.binding import binding_for

TRANSFORMS = {
    "none": {},
    "scale": {"scale": (0.5, 2.0)},
    "translate": {"translate": (100, -20)},
    "rotate": {"rotate": 30},
    "shear": {"shear": [0.4]},
    "affine": {"affine": [[1, 0.2, 3], [0.1, 0.9, -4], [0, 0, 1]]},
    "all": {
        "scale": (0.5, 2.0), "translate": (100, -20), "rotate": 30, "shear": [0.4],
        "affine": [[1, 0.2, 3], [0.1, 0.9, -4], [0, 0, 1]],
    },
}  # fmt: skip


@pytest.fixture(params=TRANSFORMS.values(), ids=TRANSFORMS)
def transform(request):
    """Each of napari's ways to place a layer, and all of them together."""
    return request.param


@pytest.fixture
def viewer():
    return ViewerModel()


@pytest.fixture
def binding(viewer):
    bound = binding_for(viewer, deliver_inline, MemorySettings())
    yield bound
    bound.close()


@pytest.fixture
def disc():
    """A bright disc of radius 10 around (20, 30) on a dark plane of 48 x 64 pixels."""
    y, x = np.ogrid[:48, :64]
    inside = (y - 20) ** 2 + (x - 30) ** 2 <= 100
    return np.where(inside, 200, 30).astype(np.uint8)


@pytest.fixture
def run(binding):
    """Run the session's prompts and wait for the result."""

    def go():
        job = binding.session.run()
        assert job.wait(240)
        if job.error is not None:
            raise job.error
        return binding.model.preview

    return go

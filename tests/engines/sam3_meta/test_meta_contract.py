"""Meta's SAM 3 does what every engine must do."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest

_SPEC = importlib.util.spec_from_file_location(
    "engine_contract", Path(__file__).parents[2] / "contracts" / "engine.py"
)
_MODULE = importlib.util.module_from_spec(_SPEC)
_SPEC.loader.exec_module(_MODULE)


class TestMetaContract(_MODULE.ImageEngineContract):
    fills_holes = True

    @pytest.fixture
    def engine(self, make_engine):
        return make_engine()

    @pytest.fixture
    def loaded(self, loaded_engine):
        """The engine of the session: only the test of closing needs one of its own."""
        return loaded_engine

"""What holds for every engine holds for SAM 3 by transformers."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest

_SPEC = importlib.util.spec_from_file_location(
    "engine_contract", Path(__file__).parents[2] / "contracts" / "engine.py"
)
_CONTRACT = importlib.util.module_from_spec(_SPEC)
_SPEC.loader.exec_module(_CONTRACT)


class TestTransformersContract(_CONTRACT.ImageEngineContract):
    @pytest.fixture
    def engine(self, new_engine):
        return new_engine

    @pytest.fixture
    def loaded(self, shared_engine):
        """The engine that is loaded already; loading it for each test would take minutes."""
        return shared_engine

"""What holds for every engine holds for SAM 3 by transformers."""

from __future__ import annotations

import pytest

from contracts import engine as engine_contract


class TestTransformersContract(engine_contract.ImageEngineContract):
    @pytest.fixture
    def engine(self, new_engine):
        return new_engine

    @pytest.fixture
    def loaded(self, shared_engine):
        """The engine that is loaded already; loading it for each test would take minutes."""
        return shared_engine

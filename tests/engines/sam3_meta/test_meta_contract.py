"""Meta's SAM 3 does what every engine must do."""

from __future__ import annotations

import pytest

from contracts import engine as engine_contract


class TestMetaContract(engine_contract.ImageEngineContract):
    fills_holes = True

    @pytest.fixture
    def engine(self, make_engine):
        return make_engine()

    @pytest.fixture
    def loaded(self, loaded_engine):
        """The engine of the session: only the test of closing needs one of its own."""
        return loaded_engine

"""Marks of tests that need what is not installed everywhere, for `pytest.param`."""

from importlib.util import find_spec

import pytest

TORCH = pytest.mark.skipif(find_spec("torch") is None, reason="SAM 3 runs on torch")
"""Skips where fixtures are not made yet: napari 0.5.6's own stumble over a skip after them."""

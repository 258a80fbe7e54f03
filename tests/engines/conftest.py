"""Parts that the engines' tests share."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def tiny_checkpoint(tmp_path_factory) -> Path:
    """Return the folder of a small real SAM 3 checkpoint; treat it as read-only."""
    for package in ("torch", "torchvision", "transformers"):
        pytest.importorskip(package)
    source = Path(__file__).with_name("tiny_checkpoint.py")
    spec = importlib.util.spec_from_file_location("tiny_checkpoint", source)
    builder = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(builder)
    return builder.write_tiny_checkpoint(tmp_path_factory.mktemp("tiny_sam3"))

"""Two who ask for the same engine hold one copy of the weights."""

from __future__ import annotations

import types
from contextlib import ExitStack

import pytest
from hypothesis import given
from hypothesis import strategies as st

from napari_sam3_assistant.core.progress import NullReporter
from napari_sam3_assistant.engines.registry import acquire
from napari_sam3_assistant.engines.sam3.engine import replace_attribute
from napari_sam3_assistant.errors import EngineError

QUIET = NullReporter()


@pytest.fixture
def lend(tiny_checkpoint):
    loans = []

    def lend(name="sam3-transformers", folder=tiny_checkpoint, device="cpu", precision="auto"):
        loans.append(acquire(name, folder, device, precision))
        return loans[-1]

    yield lend
    for lease in loans:
        lease.close()


def test_the_same_choice_is_the_same_engine(lend, tiny_checkpoint):
    first, second = lend(), lend(folder=tiny_checkpoint / ".." / tiny_checkpoint.name)
    assert first.engine is second.engine
    first.engine.load(QUIET)
    assert second.engine.is_loaded


@pytest.mark.parametrize("other", [{"folder": None}, {"device": "mps"}, {"precision": "int8"}])
def test_another_choice_is_another_engine(lend, other):
    assert lend().engine is not lend(**other).engine


def test_a_device_by_another_name_is_the_same_engine(lend, monkeypatch):
    from napari_sam3_assistant.engines import device

    # A machine without a GPU, whatever runs this test.
    monkeypatch.setattr(device, "read_devices", lambda _requested: device.Devices())
    first = lend(device="auto")
    # Nobody has looked yet which device that is.
    assert lend(device="cpu").engine is not first.engine
    first.engine.load(QUIET)

    assert first.engine.device == "cpu"
    assert lend(device=" CPU").engine is first.engine
    assert lend(device="auto").engine is first.engine
    assert lend(device="cuda:0").engine is not first.engine
    assert lend(device="cuda").engine is lend(device="cuda:0").engine


def test_the_loaded_engine_serves_who_asks_for_its_device(lend, monkeypatch):
    from napari_sam3_assistant.engines import device

    monkeypatch.setattr(device, "read_devices", lambda _requested: device.Devices())
    first = lend(device="auto")
    first.engine.load(QUIET)
    second = lend(device="cpu")
    assert second.engine is first.engine
    first.close()
    assert second.engine.is_loaded


def test_the_last_one_closes_it(lend):
    first, second = lend(), lend()
    first.engine.load(QUIET)
    first.close()
    first.close()
    assert second.engine.is_loaded
    second.close()
    assert not second.engine.is_loaded
    assert lend().engine is not second.engine


def test_engines_without_weights_are_not_shared(lend):
    assert lend("builtin", None).engine is not lend("builtin", None).engine


def test_an_engine_that_is_not_there(lend):
    with pytest.raises(EngineError, match="no engine 'other'"):
        lend("other")


@given(st.permutations(range(4)), st.permutations(range(4)))
def test_what_is_replaced_in_a_library_holds_until_the_last_engine_is_closed(opened, closed):
    library = types.SimpleNamespace(label="its own")
    engines = {}
    for name in opened:
        engines[name] = ExitStack()
        engines[name].enter_context(replace_attribute(library, "label", f"of {name}"))
        assert library.label == f"of {name}"
    left = list(opened)
    for name in closed:
        engines[name].close()
        left.remove(name)
        assert library.label == (f"of {left[-1]}" if left else "its own")

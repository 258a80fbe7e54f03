"""Steps of objects that go through the networks together end as they do one after the other."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

torch = pytest.importorskip("torch")

from napari_sam3_assistant.engines.sam3.together import Network, run_together  # noqa: E402


class Attention(torch.nn.Module):
    """Takes (length, objects, 4) by name and in a list, as the memory attentions do."""

    def __init__(self):
        super().__init__()
        self.sizes = []

    def forward(self, queries, memory, *, tokens):
        self.sizes.append(memory.shape[1])
        return {"memory": queries[0] + tokens * memory.mean(0, keepdim=True), "mask": None}


class Decoder(torch.nn.Module):
    """Takes (objects, 4) and something that is the same for all of them."""

    def __init__(self):
        super().__init__()
        self.sizes = []

    def forward(self, found, image_pe):
        self.sizes.append(len(found))
        assert image_pe.shape == (1, 4)
        return (found * image_pe)[:, None], found.sum(1, keepdim=True)


LENGTHS = st.lists(st.tuples(st.integers(0, 3), st.booleans()), min_size=1, max_size=7)


@pytest.fixture
def networks():
    return (Network(Attention(), 1), Network(Decoder(), 0, frozenset({"image_pe"})))


def make_step(networks, number, length, *, decodes):
    """Return the step of one object; one with a memory of no length has nothing to look at."""
    attention, decoder = (network.module for network in networks)
    generator = torch.Generator().manual_seed(number)
    queries = torch.rand(3, 1, 4, generator=generator)
    memory = torch.rand(length, 1, 4, generator=generator)
    position = torch.rand(1, 4, generator=generator.manual_seed(0))

    def step():
        found = queries
        if length:
            found = attention([queries], memory=memory, tokens=2)["memory"]
        if not decodes:
            return (found,)
        return decoder(found.mean(0), image_pe=position)

    return step


@given(LENGTHS)
def test_they_are_what_they_are_alone(objects):
    networks = (Network(Attention(), 1), Network(Decoder(), 0, frozenset({"image_pe"})))
    steps = [
        make_step(networks, number, length, decodes=decodes)
        for number, (length, decodes) in enumerate(objects)
    ]
    alone = [step() for step in steps]
    for network in networks:
        network.module.sizes.clear()

    together = run_together(steps, networks)

    for one, other in zip(together, alone, strict=True):
        for mine, theirs in zip(one, other, strict=True):
            torch.testing.assert_close(mine, theirs)
            # What is kept of one does not keep the others.
            assert len(objects) == 1 or mine.untyped_storage().nbytes() == mine.nbytes
    attention, decoder = (network.module for network in networks)
    # Once for each length of memory, and once for all.
    assert len(attention.sizes) == len({length for length, _ in objects} - {0})
    # Those that have nothing to look at are there before the others.
    assert len(decoder.sizes) <= len({length > 0 for length, _ in objects})
    assert "forward" not in vars(attention)


def test_an_error_leaves_the_networks_as_they_were(networks):
    def fail():
        raise ValueError("no memory of this frame")

    step = make_step(networks, 0, 2, decodes=True)
    expected = step()

    with pytest.raises(ValueError, match="no memory of this frame"):
        run_together([step, fail], networks)

    torch.testing.assert_close(step(), expected)


@pytest.mark.parametrize(
    "full",
    [
        torch.OutOfMemoryError("CUDA out of memory"),
        RuntimeError("MPS backend out of memory (MPS allocated: 9 GB)"),
        RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
    ],
)
def test_where_they_do_not_fit_together_they_go_one_by_one(networks, full):
    attention = networks[0].module
    forward = Attention.forward

    class Small(Attention):
        def forward(self, queries, memory, *, tokens):
            if memory.shape[1] > 1:
                raise full
            return forward(self, queries, memory, tokens=tokens)

    steps = [make_step(networks, number, 2, decodes=True) for number in range(3)]
    alone = [step() for step in steps]
    attention.__class__ = Small

    together = run_together(steps, networks)

    assert attention.sizes[-3:] == [1, 1, 1]
    for one, other in zip(together, alone, strict=True):
        torch.testing.assert_close(one, other)

"""Steps of several objects together: a network that all of them call runs once for all.

The trackers of the libraries take one object after the other where each has its own prompts, its
own memory and its own corrections. A step of an object changes nothing before it has the answers of
the networks that it calls. So the step of each object runs until it calls one, and is left there;
the network runs once on what all of them gave it; and the steps run again with its answers, up to
the next one. What the library does with each object stays as it is.
"""

from __future__ import annotations

from collections import defaultdict
from contextlib import ExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

from napari_sam3_assistant.engines.errors import engine_error
from napari_sam3_assistant.errors import OutOfDeviceMemory

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from napari_sam3_assistant.core.images import Untyped

T = TypeVar("T")


@dataclass(frozen=True, slots=True, eq=False)
class Network:
    """A part of a model that can take several objects at once.

    ``module``: the part.
    ``axis``: along which the tensors that it takes and gives hold the objects: one in a step.
    ``common``: names of the tensors that it takes once, however many objects there are.
    """

    module: Untyped
    axis: int
    common: frozenset[str] = frozenset()

    def answer(self, calls: Sequence[_Call]) -> list[Any]:
        """Return what it gives to each of some calls that are alike."""
        try:
            return self._answer_at_once(calls)
        except RuntimeError as error:
            if len(calls) == 1 or not isinstance(engine_error(error), OutOfDeviceMemory):
                raise
        return [self._answer_at_once([call])[0] for call in calls]

    def _answer_at_once(self, calls: Sequence[_Call]) -> list[Any]:
        import torch
        from torch.utils._pytree import tree_map, tree_unflatten

        joined = [
            torch.cat(leaves, self.axis) if isinstance(leaves[0], torch.Tensor) else leaves[0]
            for leaves in zip(*(call.leaves for call in calls), strict=True)
        ]
        arguments, options = tree_unflatten(joined, calls[0].layout)
        together = self.module(*arguments, **options, **calls[0].common)

        def part(number: int) -> Callable[[object], object]:
            def cut(leaf: object) -> object:
                if not isinstance(leaf, torch.Tensor):
                    return leaf
                # A copy: what is remembered of one object would keep that of the others.
                return leaf.narrow(self.axis, number, 1).clone()

            return cut

        return [tree_map(part(number), together) for number in range(len(calls))]


class _Call(Exception):
    """A step has called a network whose answer is not known yet."""

    def __init__(self, network: Network, arguments: Sequence[Any], options: dict[str, Any]) -> None:
        from torch.utils._pytree import tree_flatten

        super().__init__()
        self.network = network
        self.common = {name: options.pop(name) for name in network.common & options.keys()}
        self.leaves, self.layout = tree_flatten((tuple(arguments), options))

    @property
    def kind(self) -> str:
        """The same for calls that can be answered together."""
        leaves = [(getattr(leaf, "shape", leaf), getattr(leaf, "dtype", 0)) for leaf in self.leaves]
        return f"{id(self.network)} {self.layout} {leaves}"


def run_together(steps: Sequence[Callable[[], T]], networks: Sequence[Network]) -> list[T]:
    """Return what some steps give, each network run once for all that call it alike."""
    if len(steps) == 1:
        return [steps[0]()]
    answers: list[list[Any]] = [[] for _ in steps]
    ends: dict[int, T] = {}
    while len(ends) < len(steps):
        waiting: defaultdict[str, list[tuple[int, _Call]]] = defaultdict(list)
        for number, step in enumerate(steps):
            if number in ends:
                continue
            try:
                ends[number] = _run_with(answers[number], step, networks)
            except _Call as call:
                waiting[call.kind].append((number, call))
        for alike in waiting.values():
            numbers, calls = zip(*alike, strict=True)
            for number, answer in zip(numbers, calls[0].network.answer(calls), strict=True):
                answers[number].append(answer)
    return [ends[number] for number in range(len(steps))]


def _run_with(answers: Sequence[Any], step: Callable[[], T], networks: Sequence[Network]) -> T:
    """Run a step on the answers of networks that are known, as far as they go."""
    remaining = iter(answers)

    def stand_in(network: Network) -> Callable[..., Any]:
        def forward(*arguments: object, **options: object) -> Any:  # noqa: ANN401 - of a network
            for answer in remaining:
                return answer
            raise _Call(network, arguments, options)

        return forward

    with ExitStack() as stack:
        for network in networks:
            network.module.forward = stand_in(network)
            # Its own one is the class's.
            stack.callback(delattr, network.module, "forward")
        return step()

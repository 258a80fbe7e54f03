"""How much is tried: all by `make test-thorough`; by `make test` less of what repeats itself."""

from itertools import product

import pytest
from hypothesis import settings

_EXAMPLES = settings.default.max_examples  # of the profile, see conftest.py

FEW = settings(max_examples=_EXAMPLES // 3)
"""For a property of which an example takes more than about 50 ms."""

FEWEST = settings(max_examples=_EXAMPLES // 12)
"""For one of which an example takes seconds."""


def thorough(*values, marks=(), id=None):
    """A set of values for `parametrize` that `make test-thorough` tries, too."""
    return pytest.param(*values, marks=[*marks, pytest.mark.thorough], id=id)


def each_once(*sets):
    """All combinations for `parametrize`, of which `make test` tries each value at least once."""
    sets = [[one if hasattr(one, "marks") else pytest.param(one) for one in some] for some in sets]
    met = {tuple(n % len(some) for some in sets) for n in range(max(map(len, sets)))}
    combinations = []
    for places in product(*(range(len(some)) for some in sets)):
        chosen = [some[n] for some, n in zip(sets, places, strict=True)]
        values = [value for one in chosen for value in one.values]
        marks = [mark for one in chosen for mark in one.marks]
        make = pytest.param if places in met else thorough
        combinations.append(make(*values, marks=marks))
    return combinations

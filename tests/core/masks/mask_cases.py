"""Small random labels for property tests."""

import numpy as np
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp


def small_labels(dims=(2, 3), highest=3, side=7):
    """Labels of 2 or 3 axes with values up to ``highest``, patchy enough to touch and enclose."""
    shapes = st.sampled_from(dims).flatmap(
        lambda ndim: hnp.array_shapes(min_dims=ndim, max_dims=ndim, min_side=1, max_side=side)
    )
    return shapes.flatmap(
        lambda shape: hnp.arrays(np.uint8, shape, elements=st.integers(0, highest))
    )


def applied(edit, labels):
    """The labels after an edit, which is checked to be taken back exactly."""
    after = labels.copy()
    edit.write(after)
    assert edit.pixels == np.count_nonzero(after != labels)
    back = after.copy()
    edit.write(back, forward=False)
    np.testing.assert_array_equal(back, labels)
    return after

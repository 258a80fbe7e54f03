import numpy as np
import shapely
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from napari_sam3_assistant.core.masks.objects import trace_polygons


@given(
    hnp.arrays(bool, hnp.array_shapes(min_dims=2, max_dims=2, max_side=9), elements=st.booleans())
)
def test_the_outline_is_the_union_of_the_pixels(mask):
    squares = [shapely.box(x, y, x + 1, y + 1) for y, x in np.argwhere(mask)]

    parts = [
        shapely.Polygon(rings[0][:, ::-1], [ring[:, ::-1] for ring in rings[1:]])
        for rings in trace_polygons(mask)
    ]

    assert all(part.is_valid for part in parts)
    assert shapely.unary_union(parts).equals(shapely.unary_union(squares))
    assert sum(part.area for part in parts) == np.count_nonzero(mask)


def test_a_square_has_four_corners():
    mask = np.zeros((5, 6), bool)
    mask[1:3, 2:5] = True

    ((ring,),) = trace_polygons(mask)

    assert sorted(ring.tolist()) == [[1, 2], [1, 5], [3, 2], [3, 5]]

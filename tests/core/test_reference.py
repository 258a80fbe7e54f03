"""An example pasted beside a tile."""

import numpy as np
import pytest

from napari_sam3_assistant.core.prompts import ExemplarPrompt
from napari_sam3_assistant.core.regions import Region
from napari_sam3_assistant.core.results import ObjectRecord
from napari_sam3_assistant.core.tiling import compose_tile, crop_around

PLANE = (1000, 2000)


@pytest.mark.parametrize(
    ("example", "expected"),
    [
        (Region(500, 500, 550, 560), Region(405, 410, 645, 650)),  # four times its longer side
        (Region(500, 500, 504, 504), Region(438, 438, 566, 566)),  # at least 128
        (Region(300, 500, 500, 600), Region(144, 294, 656, 806)),  # at most 512
        (Region(100, 500, 700, 600), Region(92, 242, 708, 858)),  # but the example with a margin
        (Region(0, 0, 4, 4), Region(0, 0, 66, 66)),  # cut to the image
    ],
)
def test_the_piece_that_is_shown(example, expected):
    assert crop_around(example, PLANE) == expected


def test_pieces_are_at_the_left_and_the_tile_at_the_right():
    tile = np.full((20, 30, 3), 50, np.uint8)
    pieces = [np.full((10, 12, 3), 100, np.uint8), np.full((16, 9, 3), 200, np.uint8)]
    examples = [ExemplarPrompt(Region(1, 2, 5, 6)), ExemplarPrompt(Region(3, 3, 6, 6), False)]
    inside = [ExemplarPrompt(Region(7, 8, 9, 10))]

    made = compose_tile(tile, pieces, examples, inside)

    assert made.picture.shape == (34, 50, 3)
    assert made.tile == Region(0, 20, 20, 50)
    assert made.exemplars == (
        ExemplarPrompt(Region(1, 2, 5, 6)),
        ExemplarPrompt(Region(21, 3, 24, 6), False),
        ExemplarPrompt(Region(7, 28, 9, 30)),
    )
    expected = np.full((34, 50), 50, np.uint8)
    expected[:10, :12] = 100
    expected[18:, :9] = 200
    np.testing.assert_array_equal(made.picture[..., 0], expected)


def test_results_are_cut_back_to_the_tile():
    made = compose_tile(
        np.zeros((20, 30, 3), np.uint8),
        [np.zeros((10, 12, 3), np.uint8)],
        [ExemplarPrompt(Region(1, 2, 5, 6))],
    )

    def record(id_, box):
        region = Region(*box)
        return ObjectRecord(id_, np.ones(region.shape, bool), region, 0.5, "cell")

    kept = made.crop_to_tile(
        [
            record(1, (0, 0, 5, 5)),  # in the piece
            record(2, (4, 22, 8, 30)),  # in the tile
            record(3, (4, 10, 8, 22)),  # mostly outside
            record(4, (4, 18, 8, 30)),  # mostly in the tile
        ]
    )

    assert [(one.id, one.region, one.score, one.text) for one in kept] == [
        (1, Region(4, 2, 8, 10), 0.5, "cell"),
        (2, Region(4, 0, 8, 10), 0.5, "cell"),
    ]

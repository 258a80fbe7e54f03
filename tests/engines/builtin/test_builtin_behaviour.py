"""What the built-in engine finds on small images whose truth is known."""

import numpy as np
import pytest
from scipy import ndimage as ndi

from napari_sam3_assistant.core.options import PredictOptions
from napari_sam3_assistant.core.progress import NullReporter
from napari_sam3_assistant.core.prompts import (
    BoxPrompt,
    ExemplarPrompt,
    MaskPrompt,
    PointPrompt,
    PromptSet,
)
from napari_sam3_assistant.core.regions import Region
from napari_sam3_assistant.core.results import paint_labels
from napari_sam3_assistant.engines import registry
from napari_sam3_assistant.errors import PromptError

SHAPE = (96, 128)


def disc(y, x, radius, shape=SHAPE):
    rows, columns = np.ogrid[: shape[0], : shape[1]]
    return (rows - y) ** 2 + (columns - x) ** 2 <= radius**2


def picture(signal, noise=4.0, blur=1.0, base=70.0, ramp=0.0, seed=0):
    """Return an RGB image of a signal on an uneven ground."""
    grey = base + ndi.gaussian_filter(np.asarray(signal, float), blur)
    grey += ramp * np.linspace(-0.5, 0.5, grey.shape[1])
    grey += np.random.default_rng(seed).normal(0, noise, grey.shape)
    grey = np.clip(grey, 0, 255).astype(np.uint8)
    return np.repeat(grey[..., None], 3, 2)


def predict(image, threshold=0.35, **prompts):
    engine = registry.create("builtin")
    reporter = NullReporter()
    engine.load(reporter)
    return engine.predict(
        engine.embed(image, reporter), PromptSet(**prompts), PredictOptions(threshold), reporter
    )


def plane_mask(record, shape=SHAPE):
    mask = np.zeros(shape, bool)
    mask[record.region.slices] = record.mask
    return mask


def only(answer, shape=SHAPE):
    (record,) = answer.objects
    return plane_mask(record, shape)


def iou(one, other):
    return np.count_nonzero(one & other) / np.count_nonzero(one | other)


def box_of(mask, grow=0):
    rows, columns = np.nonzero(mask)
    return Region(rows.min(), columns.min(), rows.max() + 1, columns.max() + 1).grow(grow)


PAIR = disc(40, 40, 15), disc(40, 69.5, 14)
CELL = disc(45, 60, 17)


@pytest.mark.parametrize("sign", [1, -1])
@pytest.mark.parametrize("click", [(45, 60), (52, 70), (34, 55)])
def test_a_click_takes_a_cell_of_either_polarity_from_anywhere_inside(sign, click):
    image = picture(sign * 60 * CELL, base=120)
    # A click at the rim speaks for an outline that runs a little further out.
    assert iou(only(predict(image, points=(PointPrompt(*click),))), CELL) > 0.93


def test_a_click_takes_a_cell_under_uneven_light():
    image = picture(50 * CELL, base=120, ramp=140)
    assert iou(only(predict(image, points=(PointPrompt(45, 60),))), CELL) > 0.95


def test_a_click_takes_a_textured_cell_and_not_a_spot_of_it():
    rough = ndi.gaussian_filter(np.random.default_rng(1).normal(size=SHAPE), 1.5)
    image = picture(CELL * (70 + 18 * rough / rough.std()))
    for click in ((45, 60), (50, 66), (38, 52)):
        assert iou(only(predict(image, points=(PointPrompt(*click),))), CELL) > 0.9


def test_a_click_in_the_dark_middle_of_a_ring_takes_the_whole_cell():
    image = picture(80 * CELL - 50.0 * disc(45, 60, 11))
    assert iou(only(predict(image, points=(PointPrompt(45, 60),))), CELL) > 0.9


@pytest.mark.parametrize("which", [0, 1])
def test_one_click_takes_one_of_two_touching_cells(which):
    image = picture(80.0 * (PAIR[0] | PAIR[1]))
    click = PointPrompt(40, (40, 70)[which])
    assert iou(only(predict(image, points=(click,))), PAIR[which]) > 0.9


def test_a_second_click_on_the_other_cell_takes_both():
    image = picture(80.0 * (PAIR[0] | PAIR[1]))
    answer = predict(image, points=(PointPrompt(40, 40), PointPrompt(40, 70)))
    assert iou(only(answer), PAIR[0] | PAIR[1]) > 0.9


def test_a_tiny_object_is_taken():
    spot = disc(30, 30, 1.5)
    found = only(predict(picture(150 * spot, blur=0.5), points=(PointPrompt(30, 30),)))
    assert found[30, 30]
    assert 3 <= np.count_nonzero(found) <= 25


def test_a_large_object_is_taken():
    large = disc(200, 210, 130, (420, 420))
    image = picture(60 * large)
    found = only(predict(image, points=(PointPrompt(150, 250),)), (420, 420))
    assert iou(found, large) > 0.97


def test_a_box_gives_one_object_that_reaches_a_pixel_beyond_it_at_most():
    image = picture(80.0 * (PAIR[0] | PAIR[1]))
    boxes = tuple(BoxPrompt(box_of(mask, 1)) for mask in PAIR)
    answer = predict(image, boxes=boxes)
    assert len(answer.objects) == 2
    for record, mask, box in zip(answer.objects, PAIR, boxes, strict=True):
        assert iou(plane_mask(record), mask) > 0.9
        assert record.region.intersect(box.region.grow(1)) == record.region


@pytest.mark.parametrize("seed", [3, 6, 9])
def test_a_box_twice_as_large_takes_a_rough_cell_whole_among_others(seed):
    # The clearest outline alone may be that of a part: what else may be the object speaks as well.
    rng = np.random.default_rng(seed)
    shape = (120, 120)
    rough = ndi.gaussian_filter(rng.normal(size=shape), 2.0)
    radius = rng.uniform(9, 13)
    cell = disc(60, 60, radius, shape)
    cells = cell.copy()
    for angle in rng.uniform(0, 6.28, 4):
        away = rng.uniform(2.0, 2.4) * radius
        middle = 60 + away * np.sin(angle), 60 + away * np.cos(angle)
        cells |= disc(*middle, radius * rng.uniform(0.7, 1), shape)
    image = picture(cells * (40 + 12 * rough / rough.std()), noise=6.0, seed=seed)
    box = box_of(cell)
    found = predict(image, boxes=(BoxPrompt(box.grow(box.height // 2)),))
    assert iou(only(found, shape), cell) > 0.88


def test_a_box_that_cuts_a_cell_keeps_its_object_inside_but_for_a_pixel():
    box = Region(20, 60, 70, 90)
    (record,) = predict(picture(80.0 * CELL), boxes=(BoxPrompt(box),)).objects
    assert record.region.intersect(box.grow(1)) == record.region


def test_a_rough_painted_mask_is_snapped_to_the_edge():
    painted = disc(47, 58, 14)
    answer = predict(picture(80.0 * CELL), masks=(MaskPrompt.from_plane(painted),))
    assert iou(painted, CELL) < 0.75
    assert iou(only(answer), CELL) > 0.93


def test_a_painted_mask_that_is_no_blob_is_snapped_too():
    bent = np.zeros(SHAPE, bool)
    bent[20:80, 30:44] = bent[66:80, 30:100] = True
    painted = ndi.binary_erosion(bent, iterations=3)
    answer = predict(picture(80.0 * bent), masks=(MaskPrompt.from_plane(painted),))
    assert iou(painted, bent) < 0.7
    assert iou(only(answer), bent) > 0.85


@pytest.mark.parametrize(
    "centres", [[(24, 22), (24, 64)], [(24, 22), (68, 64), (68, 106), (24, 106), (68, 22)]]
)
def test_each_piece_of_a_painted_mask_is_snapped_and_none_is_lost(centres):
    drawn = np.any([disc(*centre, 14) for centre in centres], 0)
    painted = np.any([disc(*centre, 11) for centre in centres], 0)
    found = only(predict(picture(80.0 * drawn), masks=(MaskPrompt.from_plane(painted),)))
    assert iou(painted, drawn) < 0.65
    assert iou(found, drawn) > 0.95


@pytest.mark.parametrize("inside", [0, 80], ids=["hole", "left out by the brush"])
def test_a_painted_hole_stays_where_the_image_has_one(inside):
    cell, hole = disc(47, 60, 25), disc(47, 60, 9)
    picture_of = picture(80.0 * (cell & ~hole) + inside * hole)
    found = only(predict(picture_of, masks=(MaskPrompt.from_plane(cell & ~hole),)))
    assert iou(found, cell if inside else cell & ~hole) > 0.95


def test_dabs_on_one_cell_are_still_that_cell():
    dabs = disc(39, 49, 10) | disc(39, 71, 10) | disc(60, 60, 10)
    found = only(predict(picture(80.0 * disc(47, 60, 22)), masks=(MaskPrompt.from_plane(dabs),)))
    assert iou(found, disc(47, 60, 22)) > iou(dabs, disc(47, 60, 22)) + 0.2


def test_clicks_correct_the_object_of_a_box():
    both = PAIR[0] | PAIR[1]
    image = picture(80.0 * both)
    prompts = {"boxes": (BoxPrompt(box_of(both)),)}
    points = (PointPrompt(40, 36), PointPrompt(40, 72, positive=False))
    found = only(predict(image, points=points, **prompts))
    assert found[40, 36]
    assert not found[40, 72]
    assert np.count_nonzero(found & PAIR[1]) < 0.3 * np.count_nonzero(PAIR[1])


def test_clicks_correct_the_object_of_a_painted_mask():
    image = picture(80.0 * (PAIR[0] | disc(70, 100, 10)))
    mask = MaskPrompt.from_plane(disc(40, 40, 12))
    found = only(predict(image, masks=(mask,), points=(PointPrompt(70, 100),)))
    assert iou(found, PAIR[0] | disc(70, 100, 10)) > 0.9


def test_a_negative_click_on_the_background_changes_nothing():
    image = picture(80.0 * CELL)
    one = only(predict(image, points=(PointPrompt(45, 60),)))
    two = only(predict(image, points=(PointPrompt(45, 60), PointPrompt(5, 5, positive=False))))
    np.testing.assert_array_equal(one, two)


def scattered(radius=8):
    centres = [(y, x) for y in (16, 48, 80) for x in (16, 48, 80, 112)]
    return [disc(y, x, radius) for y, x in centres]


@pytest.mark.parametrize(("word", "sign"), [("bright", 1), ("dark", -1)])
def test_a_phrase_finds_all_objects_of_its_polarity(word, sign):
    cells = scattered()
    signal = sign * 60.0 * np.logical_or.reduce(cells) - sign * 60.0 * disc(32, 64, 7)
    answer = predict(picture(signal, base=125), text=f"Segment all the {word.upper()} cells.")
    assert answer.phrase == f"{word.upper()} cells"
    assert len(answer.objects) == len(cells)
    assert all(record.text == answer.phrase for record in answer.objects)
    for cell in cells:
        assert max(iou(plane_mask(record), cell) for record in answer.objects) > 0.85


def test_a_phrase_divides_what_touches():
    answer = predict(picture(80.0 * (PAIR[0] | PAIR[1])), text="bright things")
    assert len(answer.objects) == 2


@pytest.mark.parametrize("text", ["cells", "brightly", "the dark ones", "."])
def test_any_other_phrase_says_what_it_needs(text):
    with pytest.raises(
        PromptError, match=r"needs SAM 3 weights. Choose an engine .*the model folder"
    ):
        predict(picture(80.0 * CELL), text=text)


def test_an_example_finds_what_is_like_it_and_is_surer_of_it_than_of_the_rest():
    small, large = scattered(7)[:8], [disc(80, 30, 13), disc(80, 90, 13)]
    image = picture(70.0 * np.logical_or.reduce(small + large))
    answer = predict(image, exemplars=(ExemplarPrompt(box_of(small[0], 1)),))
    scores = {}
    for record in answer.objects:
        name = int(np.argmax([iou(plane_mask(record), cell) for cell in small + large]))
        scores[name] = record.score
    assert set(range(8)) <= set(scores)
    assert scores[0] == max(scores.values()) > 0.95
    assert min(scores[name] for name in range(8)) > max(scores.get(name, 0.0) for name in (8, 9))


def test_an_example_finds_sure_objects_that_vary_as_nuclei_do():
    nuclei = [
        (disc(y, x, radius), grey)
        for (y, x), radius, grey in zip(
            ((16, 16), (16, 56), (20, 100), (60, 20), (64, 64), (72, 108)),
            (4, 6, 13, 9, 7, 11),
            (35.0, 60.0, 90.0, 45.0, 110.0, 70.0),
            strict=True,
        )
    ]
    image = picture(sum(grey * cell for cell, grey in nuclei))
    answer = predict(image, exemplars=(ExemplarPrompt(box_of(nuclei[0][0], 1)),))
    assert len(answer.objects) == len(nuclei)
    for cell, _ in nuclei:
        assert max(iou(plane_mask(record), cell) for record in answer.objects) > 0.7


def test_a_negative_example_leaves_its_kind_out():
    small, large = scattered(7)[:8], [disc(80, 30, 9), disc(80, 90, 9)]
    image = picture(70.0 * np.logical_or.reduce(small + large))
    answer = predict(
        image,
        exemplars=(
            ExemplarPrompt(box_of(small[0], 1)),
            ExemplarPrompt(box_of(large[0], 1), positive=False),
        ),
    )
    labels = paint_labels(answer.objects, Region.whole(SHAPE))
    assert not any(labels[cell].any() for cell in large)
    assert len(answer.objects) == len(small)


def test_the_threshold_leaves_out_what_is_less_sure():
    image = picture(70.0 * np.logical_or.reduce(scattered()))
    all_found = predict(image, threshold=0.0, text="bright").objects
    cut = float(np.median([record.score for record in all_found]))
    kept = predict(image, threshold=cut, text="bright").objects
    assert 0 < len(kept) < len(all_found)
    assert min(record.score for record in kept) >= cut


@pytest.mark.parametrize(
    ("prompts", "words"),
    [
        ({"text": "bright", "boxes": (BoxPrompt(Region(1, 1, 5, 5)),)}, "text.*boxes"),
        (
            {
                "exemplars": (ExemplarPrompt(Region(1, 1, 5, 5)),),
                "points": (PointPrompt(3, 3),),
            },
            "example boxes.*points",
        ),
        ({"exemplars": (ExemplarPrompt(Region(1, 1, 5, 5), positive=False),)}, "negative"),
        ({"points": (PointPrompt(3, 3, positive=False),)}, "All points are negative"),
        ({"points": (PointPrompt(3, 3), PointPrompt(3.2, 3, positive=False))}, r"pixel \(3, 3\)"),
        ({}, "No prompts"),
    ],
)
def test_prompts_that_can_not_be_used_are_refused_in_words(prompts, words):
    with pytest.raises(PromptError, match=words):
        predict(picture(80.0 * CELL), **prompts)

"""What real images taught: noise cut off at black, crowds, loose boxes, careful painters."""

import numpy as np
import pytest
from scipy import ndimage as ndi

from amounts import thorough
from napari_sam3_assistant import api
from napari_sam3_assistant.core.options import PredictOptions
from napari_sam3_assistant.core.progress import NullReporter
from napari_sam3_assistant.core.prompts import BoxPrompt, MaskPrompt, PointPrompt, PromptSet
from napari_sam3_assistant.core.regions import Region
from napari_sam3_assistant.engines import registry
from napari_sam3_assistant.engines.builtin import clicks, contours, prompted
from napari_sam3_assistant.engines.builtin.features import PlaneFeatures, grain
from napari_sam3_assistant.engines.builtin.object_mask import Patch


def disc(y, x, radius, shape):
    rows, columns = np.ogrid[: shape[0], : shape[1]]
    return (rows - y) ** 2 + (columns - x) ** 2 <= radius**2


def rgb(grey):
    return np.repeat(np.clip(grey, 0, 255).round().astype(np.uint8)[..., None], 3, 2)


def encode(image):
    return registry.create("builtin").embed(image, NullReporter())


def predict(image, **prompts):
    return ask(encode(image), **prompts)


def ask(encoding, **prompts):
    engine, reporter = registry.create("builtin"), NullReporter()
    return engine.predict(encoding, PromptSet(**prompts), PredictOptions(), reporter).objects


def plane(record, shape):
    mask = np.zeros(shape, bool)
    mask[record.region.slices] = record.mask
    return mask


def iou(one, other):
    return np.count_nonzero(one & other) / np.count_nonzero(one | other)


def nuclei_in_cells(shape, seed=0):
    """Return a smear: dark nuclei inside grey cells that touch, and the nuclei's masks."""
    rng = np.random.default_rng(seed)
    grey = np.full(shape, 230.0)
    nuclei = []
    for y in range(40, shape[0] - 30, 44):
        for x in range(40, shape[1] - 30, 44):
            grey[disc(y, x, 26, shape)] = 165 + rng.uniform(-8, 8)
            nuclei.append(disc(y + rng.integers(-8, 9), x + rng.integers(-8, 9), 6, shape))
    for nucleus in nuclei:
        grey[nucleus] = 80
    return ndi.gaussian_filter(grey, 1.2) + rng.normal(0, 3, shape), nuclei


def test_a_click_takes_the_nucleus_however_many_cells_there_are_round_it():
    grey, nuclei = nuclei_in_cells((700, 700))
    small = (slice(0, 130), slice(0, 130))
    for nucleus in nuclei[: 3 * 15 : 15]:
        y, x = (int(axis.mean()) for axis in np.nonzero(nucleus))
        (whole,) = predict(rgb(grey), points=(PointPrompt(y, x),))
        assert iou(plane(whole, grey.shape), nucleus) > 0.8
    y, x = (int(axis.mean()) for axis in np.nonzero(nuclei[0]))
    (cut,) = predict(rgb(grey[small]), points=(PointPrompt(y, x),))
    (whole,) = predict(rgb(grey), points=(PointPrompt(y, x),))
    assert iou(plane(cut, (130, 130)), plane(whole, grey.shape)[small]) > 0.9


def test_a_phrase_finds_nuclei_and_not_the_cells_that_hold_them():
    grey, nuclei = nuclei_in_cells((300, 300))
    found = [plane(record, grey.shape) for record in predict(rgb(grey), text="dark nuclei")]
    good = sum(max(iou(mask, nucleus) for mask in found) > 0.5 for nucleus in nuclei)
    assert good >= 0.9 * len(nuclei)
    assert len(found) <= 1.2 * len(nuclei)


def test_a_phrase_finds_nuclei_in_cells_of_which_some_are_as_dark_as_other_nuclei():
    """No grey level tells nuclei from cells everywhere: each stands out from its own cell."""
    shape = (300, 420)
    rng = np.random.default_rng(4)
    dark, nuclei = np.zeros(shape), []
    for row in range(2):
        for column in range(3):
            y, x = 75 + 150 * row, 70 + 140 * column
            # Three cells on top of each other, about as large as what is looked at round them.
            for off in ((0, 0), (18, -14), (-16, 16)):
                dark[disc(y + off[0], x + off[1], 44, shape)] += 22
            for off in ((-10, -12), (12, 14)):
                nuclei.append(disc(y + off[0], x + off[1], 8, shape))
                dark[nuclei[-1]] += 45
    image = rgb(230 - ndi.gaussian_filter(dark, 1.2) + rng.normal(0, 2, shape))
    found = [plane(record, shape) for record in predict(image, text="dark nuclei")]
    good = sum(max(iou(mask, nucleus) for mask in found) > 0.5 for nucleus in nuclei)
    assert good >= 0.9 * len(nuclei)


def crowds_and_single_nuclei(depth, radius, sign, seed):
    """Return nuclei of one size, alone and in crowds of seven with grooves between, and masks."""
    rng = np.random.default_rng(seed)
    shape, nuclei = (300, 420), []
    for row in range(4):
        for column in range(6):
            y, x = 37 + 75 * row, 37 + 70 * column
            nuclei.append(disc(y, x, radius - 0.5, shape))
            for turn in range(6 if (row + column) % 3 == 0 else 0):
                down, across = np.sin(turn * np.pi / 3), np.cos(turn * np.pi / 3)
                nuclei.append(
                    disc(y + 2 * radius * down, x + 2 * radius * across, radius - 0.5, shape)
                )
    height = np.zeros(shape)
    for nucleus in nuclei:
        dome = np.minimum(1, ndi.distance_transform_edt(nucleus) / radius)
        height = np.where(nucleus, 80 - depth * (1 - dome), height)
    gaps = ndi.binary_closing(height > 0, iterations=4) & (height == 0)
    height[gaps] = 80 - depth
    return 80 + sign * ndi.gaussian_filter(height, 1.0) + rng.normal(0, 2, shape), nuclei


@pytest.mark.parametrize("seed", [0, thorough(1)])
@pytest.mark.parametrize(("depth", "radius"), [(50, 9), (60, 7)])
@pytest.mark.parametrize(("word", "sign"), [("bright", 1), ("dark", -1)])
def test_a_phrase_takes_no_crowd_for_an_object_where_others_tell_the_usual_size(
    word, sign, depth, radius, seed
):
    grey, nuclei = crowds_and_single_nuclei(depth, radius, sign, seed)
    grey = grey if sign > 0 else grey + 100
    found = [plane(record, grey.shape) for record in predict(rgb(grey), text=f"{word} nuclei")]
    good = sum(max(iou(mask, nucleus) for mask in found) > 0.5 for nucleus in nuclei)
    assert good >= 0.8 * len(nuclei)
    assert len(found) <= 1.2 * len(nuclei)


def test_grain_is_the_noise_of_pixels_and_not_what_lies_under_it():
    rng = np.random.default_rng(5)
    rows, columns = np.indices((200, 300))
    signal = 40 * np.sin(rows / 15) * np.cos(columns / 20)
    for noise in (2.0, 8.0):
        image = (signal + rng.normal(0, noise, signal.shape)).astype(np.float32)
        blurred = ndi.gaussian_filter(image - signal, 1.5)
        assert grain(image, 1.5) == pytest.approx(blurred.std(), rel=0.25)


@pytest.mark.parametrize("grained", [0.0, 1.0])
def test_a_phrase_takes_no_specks_where_noise_is_cut_off_at_black(grained):
    rng = np.random.default_rng(1)
    shape = (320, 320)
    cells = [disc(y, x, 12, shape) for y in range(40, 300, 60) for x in range(40, 300, 60)]
    noise = rng.normal(0, 1, shape)
    if grained:
        noise = ndi.gaussian_filter(noise, grained)
        noise /= noise.std()
    grey = ndi.gaussian_filter(60.0 * np.logical_or.reduce(cells), 1.5) + 8 * noise - 4
    found = [plane(record, shape) for record in predict(rgb(grey), text="bright cells")]
    assert sum(max(iou(mask, cell) for mask in found) > 0.5 for cell in cells) == len(cells)
    assert len(found) <= 1.1 * len(cells)


@pytest.mark.parametrize("sign", [1, -1])
@pytest.mark.parametrize("size", [1.0, 1.3, 1.6, 2.0])
def test_a_loose_box_gives_the_object_that_is_whole_in_it(size, sign):
    shape, radius = (160, 200), 20
    cell = disc(80, 95, radius, shape)
    rng = np.random.default_rng(2)
    image = rgb(120 + sign * 70 * ndi.gaussian_filter(cell * 1.0, 1) + rng.normal(0, 4, shape))
    half = radius * size
    box = Region(round(80 - half), round(95 - half), round(81 + half), round(96 + half))
    moved = box.shift(round((size - 1) * 6), -round((size - 1) * 6))
    for drawn in (box, moved):
        (record,) = predict(image, boxes=(BoxPrompt(drawn),))
        assert iou(plane(record, shape), cell & plane_of(drawn, shape)) > 0.9


def plane_of(box, shape):
    mask = np.zeros(shape, bool)
    mask[box.slices] = True
    return mask


def test_what_was_painted_stays_where_the_image_shows_nothing():
    shape = (90, 110)
    rng = np.random.default_rng(3)
    image = rgb(120 + rng.normal(0, 6, shape))
    for painted in (disc(45, 50, 18, shape), disc(45, 50, 18, shape) & ~disc(35, 60, 14, shape)):
        (record,) = predict(image, masks=(MaskPrompt.from_plane(painted),))
        assert iou(plane(record, shape), painted) > 0.95


@pytest.mark.parametrize("off", [-0.08, 0.08])
def test_a_painted_outline_is_moved_to_a_step_and_not_to_one_side_of_a_membrane(off):
    """On either side of a membrane there is an edge; the object reaches to its middle."""
    shape, radius = (130, 130), 25
    rows, columns = np.indices(shape)
    away = np.hypot(rows - 64, columns - 64)
    noise = np.random.default_rng(7).normal(0, 3, shape)
    painted = Patch(away <= radius * (1 + off), Region.whole(shape), -1)
    step = 30 + 180 / (1 + np.exp(radius - away))
    membrane = 30 + 180 * np.exp(-(((away - radius) / 2.5) ** 2))
    moved = prompted.move_outline(PlaneFeatures.from_rgb(rgb(step + noise)), painted, 0)
    assert moved is not None
    assert iou(moved.within(painted.region), away <= radius) > 0.92
    assert prompted.move_outline(PlaneFeatures.from_rgb(rgb(membrane + noise)), painted, 0) is None


def test_a_careful_outline_is_not_traded_for_the_spots_inside():
    shape = (120, 120)
    cell = disc(60, 60, 26, shape)
    spots = np.logical_or.reduce([disc(50, 52, 7, shape), disc(66, 70, 7, shape)])
    rng = np.random.default_rng(4)
    signal = ndi.gaussian_filter(25.0 * cell + 110.0 * spots, 1.5)
    image = rgb(60 + signal + rng.normal(0, 3, shape))
    (record,) = predict(image, masks=(MaskPrompt.from_plane(cell),))
    assert iou(plane(record, shape), cell) > 0.9


@pytest.mark.parametrize("sign", [1, -1])
@pytest.mark.parametrize("moved", [(0, 0), (1, -2), (-2, 2)])
def test_a_tight_box_gives_a_cell_that_is_as_faint_as_the_noise(moved, sign):
    shape = (120, 130)
    cell = disc(60, 66, 24, shape)
    rng = np.random.default_rng(5)
    image = rgb(120 + sign * 9 * ndi.gaussian_filter(cell * 1.0, 1.5) + rng.normal(0, 9, shape))
    (record,) = predict(image, boxes=(BoxPrompt(Region(36, 42, 85, 91).shift(*moved)),))
    assert iou(plane(record, shape), cell) > 0.8


@pytest.mark.parametrize("seed", [6, 8, 10, 11])
def test_a_box_where_the_image_shows_nothing_gives_about_its_ellipse(seed):
    shape, box = (100, 120), Region(20, 30, 70, 90)
    image = rgb(120 + np.random.default_rng(seed).normal(0, 8, shape))
    rows, columns = np.ogrid[: shape[0], : shape[1]]
    ellipse = ((rows - 44.5) / 25) ** 2 + ((columns - 59.5) / 30) ** 2 <= 1
    (record,) = predict(image, boxes=(BoxPrompt(box),))
    assert iou(plane(record, shape), ellipse) > 0.65


@pytest.mark.parametrize("sign", [1, -1])
@pytest.mark.parametrize("radius", [18.4, 20.4])
def test_a_box_that_is_drawn_a_pixel_too_small_all_round_gives_the_whole_cell(radius, sign):
    shape = (90, 90)
    cell = disc(44, 46, radius, shape)
    noise = np.random.default_rng(3).normal(0, 3, shape)
    grey = 120 + sign * 90 * ndi.gaussian_filter(cell * 1.0, 1.0) + noise
    (record,) = predict(rgb(grey), boxes=(BoxPrompt(Region.around(cell).grow(-1)),))
    assert iou(plane(record, shape), cell) > 0.965


def test_what_a_box_gives_depends_on_what_lies_in_and_near_it_alone():
    cell = disc(70, 66, 24, (140, 140))
    rough = np.random.default_rng(9).normal(0, 1, cell.shape)
    noise = ndi.gaussian_filter(rough, 1.0) * 20 + rough * 4
    grey = (120 + 30 * ndi.gaussian_filter(cell * 1.0, 1.2) + noise).astype(np.float32)
    box = Region.around(cell)

    def found(values, drawn):
        patch = prompted.object_in(PlaneFeatures(values), drawn, NullReporter())
        return patch.within(Region.whole(values.shape))

    mask = found(grey, box)
    assert iou(mask, cell) > 0.8
    turned = found(np.rot90(grey).copy(), Region.around(np.rot90(cell)))
    assert iou(turned, np.rot90(mask)) > 0.95
    assert iou(found(0.5 * grey + 30, box), mask) > 0.95
    around = np.pad(grey, ((64, 32), (16, 80)), mode="reflect")
    wider = found(around, box.shift(64, 16))
    np.testing.assert_array_equal(wider[64:-32, 16:-80], mask)


def patchy_cell(seed, shape=(120, 140)):
    """Return an image of a cell whose parts differ in brightness, beside another, and its mask."""
    rng = np.random.default_rng(seed)
    parts = [
        disc(60 + rng.integers(-14, 15), 60 + rng.integers(-14, 15), rng.integers(11, 17), shape)
        for _ in range(3)
    ]
    grey = 30.0 + 50 * disc(60, 112, 16, shape)
    for part, light in zip(parts, (25, 45, 80), strict=True):
        grey[part] = 30 + light
    noisy = ndi.gaussian_filter(grey, 1.3) + rng.normal(0, 4, shape)
    return rgb(noisy), np.logical_or.reduce(parts)


def middle(mask):
    depth = ndi.distance_transform_edt(np.pad(mask, 1))[1:-1, 1:-1]
    return tuple(int(axis) for axis in np.unravel_index(int(depth.argmax()), mask.shape))


def test_correcting_clicks_improve_and_lose_nothing():
    worse, ends = [], []
    for seed in range(8):
        image, cell = patchy_cell(seed)
        encoding = encode(image)
        points = [PointPrompt(*middle(cell))]
        found = plane(ask(encoding, points=tuple(points))[0], cell.shape)
        for _ in range(4):
            errors, _ = ndi.label(found != cell)
            largest = errors == 1 + int(np.bincount(errors.ravel())[1:].argmax())
            y, x = middle(largest)
            points.append(PointPrompt(y, x, positive=bool(cell[y, x])))
            before = found
            found = plane(ask(encoding, points=tuple(points))[0], cell.shape)
            worse.append(iou(found, cell) < iou(before, cell) - 0.01)
        ends.append(iou(found, cell))
    assert np.mean(worse) <= 0.1
    assert np.median(ends) > 0.9


def test_a_cell_on_grainy_ground_that_was_painted_roughly_gets_better():
    """The grain is as strong as the cell, so that no level shows its outline."""
    gains = []
    for seed in range(6):
        rng = np.random.default_rng(seed)
        shape, radius = (110, 120), int(rng.integers(12, 24))
        cell = disc(55, 60, radius, shape)
        grain = ndi.gaussian_filter(rng.normal(0, 1, shape), 2.0)
        step = 25 if seed % 2 else -25
        grey = 110 + step * ndi.gaussian_filter(cell * 1.0, 1.5) + 20 * grain / grain.std()
        image = rgb(grey + rng.normal(0, 3, shape))
        for off in (-0.12 * radius, 0.12 * radius):
            painted = disc(55, 60, radius + off, shape)
            (record,) = predict(image, masks=(MaskPrompt.from_plane(painted),))
            gains.append(iou(plane(record, shape), cell) - iou(painted, cell))
    assert min(gains) > -0.02
    assert np.mean(gains) > 0.02


@pytest.mark.parametrize("sign", [1, -1])
def test_a_small_nucleus_painted_too_large_or_too_small_gets_its_edge(sign):
    gains = []
    for seed in range(8):
        rng = np.random.default_rng(seed)
        shape, radius = (60, 70), rng.uniform(4, 6)
        cell = disc(30, 35, radius, shape)
        grey = 110 + sign * 60 * ndi.gaussian_filter(cell * 1.0, 1.0)
        image = rgb(grey + rng.normal(0, 6, shape))
        for off in (-1, 1):
            painted = disc(30, 35, radius + off, shape)
            (record,) = predict(image, masks=(MaskPrompt.from_plane(painted),))
            gains.append(iou(plane(record, shape), cell) - iou(painted, cell))
    assert min(gains) > -0.02
    assert np.mean(gains) > 0.12


def test_a_thin_painted_rod_stays_on_grainy_ground():
    shape = (80, 100)
    painted = np.zeros(shape, bool)
    painted[38:43, 20:70] = True
    for seed in range(6):
        rng = np.random.default_rng(seed)
        grain = ndi.gaussian_filter(rng.normal(0, 1, shape), 2.0)
        image = rgb(110 + 8 * painted + 20 * grain / grain.std())
        (record,) = predict(image, masks=(MaskPrompt.from_plane(painted),))
        np.testing.assert_array_equal(plane(record, shape), painted)


@pytest.mark.parametrize("sign", [1, -1])
@pytest.mark.parametrize("towards", [0.0, 1.6, 3.1, 4.6])
def test_a_click_means_the_spot_in_whose_middle_it_is_and_else_the_cell(towards, sign):
    shape = (120, 120)
    cell, spot = disc(60, 60, 22, shape), disc(60, 60, 5, shape)
    grey = 125.0 + sign * (40.0 * cell + 75.0 * spot)
    grey = ndi.gaussian_filter(grey, 1.0) + np.random.default_rng(3).normal(0, 2, shape)
    beside = (round(60 + 5 * np.sin(towards)), round(60 + 5 * np.cos(towards)))
    for click, meant in [((60, 60), spot), (beside, cell)]:
        (found,) = predict(rgb(grey), points=(PointPrompt(*click),))
        assert iou(plane(found, shape), meant) > 0.8


@pytest.mark.parametrize("sign", [1, -1])
def test_a_loose_box_gives_a_bent_rod_and_not_what_it_bends_round(sign):
    shape = (140, 140)
    rows, columns = np.ogrid[:140, :140]
    angle = np.arctan2(rows - 70, columns - 70)
    rod = disc(70, 70, 30, shape) & ~disc(70, 70, 20, shape) & (np.abs(angle) < 1.2)
    grey = ndi.gaussian_filter(125.0 + sign * 60.0 * rod, 1.5)
    grey += np.random.default_rng(4).normal(0, 4, shape)
    tight = Region.around(rod)
    for size in (1.3, 1.6):
        box = tight.grow(round((size - 1) / 2 * max(tight.shape)))
        (found,) = predict(rgb(grey), boxes=(BoxPrompt(box),))
        assert iou(plane(found, shape), rod) > 0.7


@pytest.mark.parametrize("sign", [1, -1])
def test_a_click_offers_what_is_smaller_and_larger_than_its_object(sign):
    shape = (160, 150)
    nested = [disc(80, 70, radius, shape) for radius in (6, 18, 40)]
    grey = 125.0 + sign * sum(35.0 * part for part in nested)
    grey = ndi.gaussian_filter(grey, 1.0) + np.random.default_rng(5).normal(0, 2, shape)
    result = api.segment(rgb(grey), points=[(80, 70)])
    areas = [record.area for record in result.candidates]
    assert areas == sorted(areas)
    for part in nested:
        assert max(iou(plane(record, shape), part) for record in result.candidates) > 0.8
    (chosen,) = result.objects
    assert any(np.array_equal(chosen.mask, record.mask) for record in result.candidates)
    more = api.segment(rgb(grey), points=[(80, 70), (80, 95)])
    assert not more.candidates


def test_a_click_where_no_edge_runs_all_round_says_so_and_one_on_a_cell_does_not():
    rng = np.random.default_rng(6)
    shape = (150, 150)
    texture = ndi.gaussian_filter(rng.normal(0, 1, shape), 1.5)
    unclear = 0
    for y in range(30, 130, 20):
        result = api.segment(rgb(125 + 30 * texture / texture.std()), points=[(y, y)])
        unclear += any("uncertain" in note for note in result.notes)
    assert unclear >= 3
    cell = ndi.gaussian_filter(100.0 * disc(70, 70, 18, shape), 1.2) + rng.normal(60, 3, shape)
    assert not api.segment(rgb(cell), points=[(70, 70)]).notes


@pytest.mark.parametrize("sign", [1, -1])
def test_a_tight_box_gives_a_cell_between_membranes(sign):
    # Cells of a tissue, as grey as their neighbours: only the line between them shows.
    rng = np.random.default_rng(3)
    shape = (160, 160)
    rows, columns = np.mgrid[20:160:40, 20:160:40] + rng.uniform(-6, 7, (2, 4, 4))
    seeds = np.zeros(shape, int)
    seeds[rows.astype(int), columns.astype(int)] = np.arange(16).reshape(4, 4) + 1
    nearest = ndi.distance_transform_edt(seeds == 0, return_indices=True)[1]
    cells = seeds[tuple(nearest)]
    lines = ndi.maximum_filter(cells, 3) != ndi.minimum_filter(cells, 3)
    grey = 128 + sign * 70 * ndi.gaussian_filter(lines.astype(float), 1.2)
    grey = grey + rng.normal(0, 6, shape)
    overlaps = []
    for name in (6, 7, 10, 11):
        cell = cells == name
        (record,) = predict(rgb(grey), boxes=(BoxPrompt(Region.around(cell)),))
        overlaps.append(iou(plane(record, shape), cell))
    assert min(overlaps) > 0.75


@pytest.mark.parametrize("kind", ["step", "line"])
@pytest.mark.parametrize("sign", [1, -1])
def test_a_contour_round_an_ellipse_finds_the_edge_near_it(kind, sign):
    shape = (80, 80)
    rng = np.random.default_rng(5)
    turn = np.arctan2(*(axis - 40 for axis in np.indices(shape)))
    away = np.hypot(*(axis - 40 for axis in np.indices(shape)))
    for _ in range(5):
        wave = rng.uniform(-0.08, 0.08, 4)
        outline = 20 * (1 + sum(w * np.cos((k + 2) * turn + 3 * k) for k, w in enumerate(wave)))
        truth = away <= outline
        shown = truth if kind == "step" else ndi.binary_dilation(truth) ^ ndi.binary_erosion(truth)
        image = ndi.gaussian_filter(sign * 50.0 * shown + rng.normal(0, 10, shape), 1.0)
        odds = 4 * np.tanh((1 - away / 20) / 0.4)[None]
        axes = np.array([[20.0, 20.0]])
        (found,) = contours.likeliest(image.astype(np.float32), odds, (40.0, 40.0), axes)
        assert iou(found, truth) > 0.84  # 2 pixels further out all round would be 0.83


def test_a_click_beside_the_outline_of_a_grainy_cell_corrects_all_of_the_outline():
    shape = (80, 80)
    cell, rough = disc(40, 40, 14, shape), disc(40, 43, 16, shape)
    click = clicks.Click((40, 57), positive=False)
    for seed in range(8):
        grain = ndi.gaussian_filter(np.random.default_rng(seed).normal(0, 20, shape), 0.7)
        grey = 100 + 30 * ndi.gaussian_filter(cell * 1.0, 1.2) + grain
        patch = clicks.correct_by_clicks(
            PlaneFeatures(grey.astype(np.float32)),
            Patch(rough, Region.whole(shape)).crop(),
            [click],
            NullReporter(),
        )
        assert iou(plane(patch, shape), cell) > 0.8 > iou(rough, cell)

"""What a network adds to the objects that rules find in a plane."""

import numpy as np
import pytest
from scipy import ndimage as ndi

from napari_sam3_assistant.core.options import PredictOptions
from napari_sam3_assistant.core.progress import NullReporter
from napari_sam3_assistant.core.prompts import PromptSet
from napari_sam3_assistant.core.regions import Region
from napari_sam3_assistant.engines.builtin import SPEC
from napari_sam3_assistant.engines.builtin.detection import detect
from napari_sam3_assistant.engines.builtin.engine import BuiltinEngine
from napari_sam3_assistant.engines.builtin.features import PlaneFeatures
from napari_sam3_assistant.engines.builtin.object_mask import Detection, Patch
from napari_sam3_assistant.engines.builtin.outline_net import Window, sketch_outlines
from napari_sam3_assistant.engines.builtin.redrawing import Look, Taken, add_missed

ROWS, COLUMNS = np.indices((160, 160))


def nuclei(seed):
    """Return nuclei of three brightnesses that touch, mottled inside, and their truth."""
    rng = np.random.default_rng(seed)
    labels, grey = np.zeros(ROWS.shape, int), np.zeros(ROWS.shape)
    for y in range(16, 160, 24):
        for x in range(16, 160, 24):
            away = np.hypot(ROWS - y - rng.normal(0, 2), COLUMNS - x - rng.normal(0, 2))
            mask = (away < rng.uniform(9.5, 12.5)) & (labels == 0)
            labels[mask], grey[mask] = labels.max() + 1, rng.choice([25, 60, 120])
    mottled = ndi.gaussian_filter(rng.standard_normal(grey.shape), 2)
    grey = grey * (1 + 0.35 * mottled / mottled.std()) + 20
    grey = ndi.gaussian_filter(grey, 1.2) + rng.normal(0, 2, grey.shape)
    return grey.astype(np.float32), labels


def found_in(grey, polarity=1):
    found = detect(PlaneFeatures(grey), polarity, NullReporter())
    return [item for item in found if item.score >= 0.5]


def overlaps(found, labels):
    """Return the intersection over union of each object with the true one it shares most with."""
    areas, values = np.bincount(labels.ravel()), []
    for item in found:
        names = labels[item.patch.region.slices][item.patch.mask]
        shared = np.bincount(names, minlength=areas.size)[1:]
        name = 1 + shared.argmax()
        values.append(shared.max() / (item.patch.area + areas[name] - shared.max()))
    return np.array(values)


def test_nuclei_that_touch_and_differ_are_found():
    right = wrong = 0
    for seed in range(3):
        grey, labels = nuclei(seed)
        good = overlaps(found_in(grey), labels) >= 0.5
        right, wrong = right + good.sum(), wrong + (~good).sum()
    assert right >= 70  # of 108; without the network 51
    assert wrong <= 6


def test_what_is_found_shares_no_pixels():
    for seed in range(3):
        grey, _ = nuclei(seed)
        count = np.zeros(grey.shape, int)
        for item in detect(PlaneFeatures(grey), 1, NullReporter()):
            count[item.patch.region.slices] += item.patch.mask
        assert count.max() == 1


def test_what_is_dark_is_not_among_what_is_bright():
    grey, labels = nuclei(1)
    middle = grey[labels > 0].mean()
    for item in found_in(grey):
        assert grey[item.patch.region.slices][item.patch.mask].mean() > 0.3 * middle
    found = found_in(255 - grey, -1)
    assert np.count_nonzero(overlaps(found, labels) >= 0.5) >= 18


def test_nothing_is_drawn_into_noise_beside_an_object():
    grey = 40 + 8 * np.random.default_rng(0).standard_normal(ROWS.shape)
    grey += 90 * (np.hypot(ROWS - 50, COLUMNS - 60) < 12)
    (only,) = found_in(grey.astype(np.float32))
    assert only.patch.holds(50, 60)


@pytest.mark.parametrize("window", [Window.of_box(Region(28, 40, 56, 75)), Window(70.0, 64.0, 50)])
def test_a_sketch_turns_with_the_image(window):
    grey, _ = nuclei(2)
    (drawn,) = sketch_outlines(PlaneFeatures(grey), [window])
    box = None if window.box is None else window.box[::-1]
    turned = Window(160 - window.x, window.y, window.side, box)
    (again,) = sketch_outlines(PlaneFeatures(np.rot90(grey).copy()), [turned])
    np.testing.assert_allclose(again.odds, np.rot90(drawn.odds), atol=0.01)
    assert again.overlap == pytest.approx(drawn.overlap, abs=1e-3)


def specked(size):
    """Return cells with a faint body of some diameter and a bright speck, and their truth."""
    shape = (8 * size, 8 * size)
    rows, columns = np.indices(shape)
    rng = np.random.default_rng(3)
    labels, grey = np.zeros(shape, int), np.zeros(shape)
    for y in np.arange(1, 8, 2) * size:
        for x in np.arange(1, 8, 2) * size:
            body = np.hypot(rows - y, columns - x) < size / 2
            labels[body], grey[body] = labels.max() + 1, 25
            speck = rng.uniform(-0.2, 0.2, 2) * size
            grey += 120 * (np.hypot(rows - y - speck[0], columns - x - speck[1]) < size / 12)
    grey = ndi.gaussian_filter(grey, size / 30) + 40 + rng.normal(0, 2, shape)
    return grey.astype(np.float32), labels


def patches_of(labels, score):
    """Return the objects of labels, each found with a score."""
    for name, place in enumerate(ndi.find_objects(labels), start=1):
        region = Region(place[0].start, place[1].start, place[0].stop, place[1].stop)
        yield Detection(Patch(labels[place] == name, region), score)


@pytest.mark.parametrize("size", [30, 45])
def test_cells_that_are_drawn_outvote_specks_that_were_found(size):
    grey, labels = specked(size)
    specks, _ = ndi.label(grey > 120)
    look = Look(PlaneFeatures(grey), PlaneFeatures(grey - 40), 1, NullReporter())
    assert look.diameter_beside(list(patches_of(specks, 0.6))) == pytest.approx(size, rel=0.15)
    assert look.diameter_beside(list(patches_of(specks, 0.9))) is None
    assert look.diameter_beside(list(patches_of(labels, 0.6))) is None


def test_cells_are_found_where_rules_find_their_specks():
    grey, labels = specked(30)
    specks, _ = ndi.label(grey > 120)
    planes = PlaneFeatures(grey), PlaneFeatures(grey - 40)
    found = add_missed(*planes, list(patches_of(specks, 0.6)), 1, None, NullReporter())
    assert (overlaps([item for item in found if item.score >= 0.35], labels) >= 0.5).all()
    assert len(found) >= labels.max()


def walled(seed, size=24):
    """Return cells with a dark wall that are as grey inside as the ground, and their truth."""
    shape = (10 * size, 10 * size)
    rows, columns = np.indices(shape)
    rng = np.random.default_rng(seed)
    labels, grey = np.zeros(shape, int), np.zeros(shape)
    for y in (1 + 1.3 * np.arange(7)) * size:
        for x in (1 + 1.3 * np.arange(7)) * size:
            off = np.hypot(rows - y - rng.normal(0, 1), columns - x - rng.normal(0, 1)) - size / 2
            labels[off < 0] = labels.max() + 1
            grey -= 60 * np.exp(-((off / 1.5) ** 2) / 2)
            grey[off < -3] += 4
    return (grey + 100 + rng.normal(0, 2, shape)).astype(np.float32), labels


def look_at_half(grey, labels):
    """Return a look at a plane of grey 100, and every second object of it."""
    planes = PlaneFeatures(grey), PlaneFeatures(grey - 100)
    return Look(*planes, 1, NullReporter()), list(patches_of(labels, 0.8))[::2]


@pytest.mark.parametrize("seed", range(3))
def test_cells_in_which_nothing_stands_out_are_found_by_those_that_were(seed):
    grey, labels = walled(seed)
    look, half = look_at_half(grey, labels)
    found = add_missed(look.features, look.ground, half, 1, None, NullReporter())
    good = overlaps(found, labels) >= 0.5
    assert good.sum() >= len(half) + 8  # of 24; without it none
    assert np.count_nonzero(~good) <= 8


def test_fewer_places_are_looked_at_than_would_find_all():
    grey, labels = walled(0)
    look, half = look_at_half(grey, labels)
    for most in (0, 1, 5):
        taken = Taken(grey.shape)
        assert all(taken.add(item.patch) for item in half)
        assert len(look.alike(taken, half, most)) <= most


def test_nothing_is_drawn_into_noise_that_looks_like_what_was_found():
    rng = np.random.default_rng(4)
    grey = 100 + 8 * rng.standard_normal((240, 240))
    noise = PlaneFeatures(grey.astype(np.float32))
    labels = walled(0)[1]
    look = Look(noise, PlaneFeatures(noise.luminance - 100), 1, NullReporter())
    taken, half = Taken(grey.shape), list(patches_of(labels, 0.8))[::2]
    assert all(taken.add(item.patch) for item in half)
    assert look.alike(taken, half, 1000) == []


def test_noise_tells_no_diameter():
    grey = (40 + 8 * np.random.default_rng(5).standard_normal((300, 300))).astype(np.float32)
    look = Look(PlaneFeatures(grey), PlaneFeatures(grey - 40), 1, NullReporter())
    assert look.diameter_beside([]) is None


def test_what_is_surely_found_stays_where_about_its_diameter_is_told():
    grey, labels = specked(30)
    found, planes = list(patches_of(labels, 0.9)), (PlaneFeatures(grey), PlaneFeatures(grey - 40))

    def told(diameter, items=found):
        added = add_missed(*planes, items, 1, diameter, NullReporter())
        return [(item.patch.area, item.score) for item in added]

    for diameter in (20, 30, 45):
        assert told(diameter) == told(None)
    # Where it is another one, or what was found is unsure or little, what is told counts.
    assert told(60) != told(None)
    assert told(30, list(patches_of(labels, 0.6))) != told(None, list(patches_of(labels, 0.6)))
    assert told(30, found[:5]) != told(None, found[:5])


def test_a_diameter_in_the_phrase_says_which_of_two_kinds_is_meant():
    grey, labels = specked(30)
    plane, engine = PlaneFeatures(grey), BuiltinEngine(SPEC)
    for diameter, least in ((30, labels.max()), (5, 10)):
        prompts = PromptSet(text=f"bright things of {diameter:g} px")
        found = engine.predict(plane, prompts, PredictOptions(), NullReporter()).objects
        areas = np.array([np.count_nonzero(item.mask) for item in found])
        assert len(areas) >= least
        assert (np.abs(np.log(areas / (np.pi * diameter**2 / 4))) < np.log(2)).all()

"""A library of examples, and what it proposes on another image."""

import json

import numpy as np
import pytest
import tifffile
from hypothesis import given
from hypothesis import strategies as st
from skimage.draw import disk

from napari_sam3_assistant import api
from napari_sam3_assistant.cli import main
from napari_sam3_assistant.core.display import view_of_array
from napari_sam3_assistant.core.options import PredictOptions
from napari_sam3_assistant.core.progress import NullReporter
from napari_sam3_assistant.core.regions import Region
from napari_sam3_assistant.engines.registry import acquire
from napari_sam3_assistant.errors import PromptError
from napari_sam3_assistant.io.provenance import provenance_path
from napari_sam3_assistant.workflows.examples import (
    EXPERIMENTAL,
    PROMPT,
    Example,
    ExampleLibrary,
    propose,
)

CENTRES = ((30, 40), (30, 110), (85, 40), (85, 110))


def discs(level=190, radius=14):
    image = np.random.default_rng(0).normal(50, 4, (120, 150))
    for centre in CENTRES:
        image[disk(centre, radius, shape=image.shape)] = level
    return image.clip(0, 255).astype(np.uint8)


def example(**changes):
    picture = np.repeat(discs()[:64, :80, None], 3, axis=2)
    return Example(picture, Region(15, 25, 45, 55), **changes)


@pytest.fixture
def engine():
    lease = acquire("builtin", None, "cpu")
    yield lease.engine
    lease.close()


def test_examples_come_back_in_their_order(tmp_path):
    library = ExampleLibrary(tmp_path / "examples")
    assert library.read() == ()
    first = example(class_name="nucleus", image="a/b.tif")
    library.add(first)
    library.add(example(positive=False))

    one, other = ExampleLibrary(tmp_path / "examples").read()

    np.testing.assert_array_equal(one.picture, first.picture)
    assert (one.region, one.positive, one.class_name) == (first.region, True, "nucleus")
    assert one.image == "b.tif"
    assert other.positive is False


def test_what_looks_like_the_examples_is_proposed_on_another_image(engine):
    image = np.pad(discs(), ((20, 0), (10, 0)), constant_values=50)

    (found,) = propose(
        engine,
        view_of_array(image),
        [example(class_name="disc")],
        PredictOptions(),
        NullReporter(),
    )

    assert len(found.objects) == len(CENTRES)
    assert found.labels.shape == image.shape
    for y, x in CENTRES:
        assert found.labels[y + 20, x + 10]
    assert {one.class_name for one in found.objects} == {"disc"}
    assert {one.text for one in found.objects} == {PROMPT}
    assert [one.id for one in found.objects] == [1, 2, 3, 4]
    assert EXPERIMENTAL in found.notes


def test_each_class_is_looked_for(engine):
    (found,) = propose(
        engine,
        view_of_array(discs()),
        [example(class_name="one"), example(class_name="two")],
        PredictOptions(),
        NullReporter(),
    )
    assert {one.class_name for one in found.objects} == {"one", "two"}


@pytest.mark.parametrize("examples", [(), (example(positive=False),)])
def test_without_a_positive_example_it_is_said(engine, examples):
    with pytest.raises(PromptError, match="no example"):
        next(propose(engine, view_of_array(discs()), examples, PredictOptions(), NullReporter()))


@given(
    st.one_of(
        st.binary(max_size=30),
        st.fixed_dictionaries(
            {
                "box": st.lists(st.integers(-5, 200) | st.just("x"), max_size=5),
                "positive": st.sampled_from([True, 1, None]),
                "class": st.sampled_from(["a", 3]),
                "image": st.sampled_from(["../../x", None]),
            }
        ).map(lambda told: json.dumps(told).encode()),
    )
)
def test_strange_notes_are_no_examples(tmp_path_factory, told):
    folder = tmp_path_factory.mktemp("library")
    library = ExampleLibrary(folder)
    path = library.add(example())
    path.with_suffix(".json").write_bytes(told)

    for one in library.read():
        assert one.region.intersect(Region(0, 0, 64, 80)) == one.region
        assert "/" not in one.image


def test_an_example_that_is_gone_when_it_is_read_costs_no_other(tmp_path):
    library = ExampleLibrary(tmp_path)
    gone, _kept = library.add(example()), library.add(example(class_name="kept"))
    gone.with_suffix(".json").unlink()
    gone.with_suffix(".json").symlink_to(tmp_path / "nowhere")  # listed, and not there

    assert [one.class_name for one in library.read()] == ["kept"]


def test_a_library_is_made_and_used_without_a_window(tmp_path, capsys):
    library, first, other = tmp_path / "library", tmp_path / "a.tif", tmp_path / "b.tif"
    tifffile.imwrite(first, discs())
    shifted = np.pad(discs(), ((20, 0), (10, 0)), constant_values=50)
    tifffile.imwrite(other, shifted)
    api.add_example(library, first, (15, 25, 45, 55), class_name="disc")
    (kept,) = api.ExampleLibrary(library).read()
    assert (kept.image, kept.class_name, kept.positive) == ("a.tif", "disc", True)
    np.testing.assert_array_equal(
        kept.picture[kept.region.slices], np.repeat(discs()[15:45, 25:55, None], 3, axis=2)
    )

    found = api.segment(other, examples=library, output=tmp_path / "b_labels.tif")
    assert len(found.objects) == len(CENTRES)
    assert {one.class_name for one in found.objects} == {"disc"}
    assert EXPERIMENTAL in found.notes
    assert EXPERIMENTAL in provenance_path(tmp_path / "b_labels.tif").read_text(encoding="utf-8")

    out = tmp_path / "c.tif"
    assert main(["segment", str(other), "--examples", str(library), "-o", str(out)]) == 0
    assert "Experimental" in capsys.readouterr().out
    np.testing.assert_array_equal(tifffile.imread(out), found.labels)


def test_a_library_is_not_mixed_with_prompts_nor_empty_nor_elsewhere(tmp_path):
    with pytest.raises(PromptError, match="without prompts"):
        api.segment(discs(), examples=tmp_path, points=[(30, 40)])
    with pytest.raises(PromptError, match="no example"):
        api.segment(discs(), examples=tmp_path)
    with pytest.raises(PromptError, match="outside"):
        api.add_example(tmp_path, discs(), (500, 500, 510, 510))
    # A negative one alone tells nobody what to look for.
    api.add_example(tmp_path, discs(), (15, 25, 45, 55), positive=False)
    with pytest.raises(PromptError, match="no example"):
        api.segment(discs(), examples=tmp_path)

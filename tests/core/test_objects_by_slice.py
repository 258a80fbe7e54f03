"""Objects of labels in step with changes of their pixels."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from napari_sam3_assistant.core.masks.edits import changes_between
from napari_sam3_assistant.core.objects_by_slice import update_objects
from napari_sam3_assistant.core.regions import Region
from napari_sam3_assistant.core.stitching import StitchedObject


@given(st.integers(0, 2**32 - 1))
def test_the_objects_after_random_edits_are_those_of_the_labels(seed):
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 4, (1, 8, 11)) * rng.integers(0, 2, (1, 8, 11))
    objects = {
        id_: StitchedObject(
            id_, int((labels == id_).sum()), Region(0, 0, 8, 11), 0.1 * id_, f"{id_}"
        )
        for id_ in np.unique(labels[labels > 0]).tolist()
    }
    for _ in range(3):
        after = np.where(
            rng.random(labels.shape) < 0.3, rng.choice([0, 1, 3, 7, 900], labels.shape), labels
        )
        if rng.random() < 0.3:
            after[after == 1] = 44
        ids, number = np.unique(labels[labels > 0]), np.arange(901)
        number[ids] = rng.permutation(ids)  # the same objects, each with the number of another
        renumbers = rng.random() < 0.3
        after = number[labels] if renumbers else after
        before = objects
        box = tuple(slice(0, size) for size in labels.shape)
        changes = changes_between([(box, labels, after)], labels.shape)
        changed = (
            update_objects(objects, changes, labels.shape, (1, 2)) if changes.starts.size else {}
        )
        objects = {id_: one for id_, one in {**objects, **changed}.items() if one is not None}
        labels = after
        assert sorted(objects) == np.unique(labels[labels > 0]).tolist()
        for id_, one in objects.items():
            assert one.area == (labels == id_).sum()
            around = Region.around(labels[0] == id_)
            assert one.region.intersect(around) == around
            if renumbers:
                same = before[int(np.flatnonzero(number == id_)[0])]
                assert (one.score, one.text) == (same.score, same.text)

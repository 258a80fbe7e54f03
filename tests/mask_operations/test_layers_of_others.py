"""Labels layers of other programs, whose features and metadata mean what they like."""

import numpy as np
import pandas as pd
import pytest

from napari_sam3_assistant.core.masks.objects import ExportFormat

LABELS = np.array([[1, 1, 0, 0], [0, 2, 2, 0]], np.uint32)
FEATURES = [
    {"index": index, "area": [1.0, 2.0, 3.0], "class": [1, None, "a"], "parent": ["?", None, 3]}
    for index in ([1, 1, 2], [1, np.nan, 2], ["a", "b", "c"], [1.0, 2.0, 3.5])
]
METADATA = [
    {"class_names": ["cell", "dirt"]},
    {"class_names": {"cell": 1}},
    {"class_names": None, "object_classes": [1, 2]},
    {"class_names": {1: "cell"}, "object_classes": {1: "cell"}},
    {"class_value": "x", "sam3_role": "accepted_object"},
    {"class_value": [1], "class_name": None},
]


@pytest.mark.parametrize("told", [*FEATURES, *METADATA], ids=repr)
def test_labels_of_others_are_exported_and_accepted(bench, tmp_path, told):
    bench.viewer.add_image(np.zeros(LABELS.shape), name="image")
    fields = {"features": pd.DataFrame(told)} if "index" in told else {"metadata": told}
    bench.add(LABELS, name="theirs", **fields)
    bench.model.output = "theirs"
    for export_format in (ExportFormat.TIFF, ExportFormat.GEOJSON, ExportFormat.COCO_RLE):
        bench.model.export_format = export_format
        bench.model.path = str(tmp_path / f"a{export_format.suffix}")
        bench.collection.export()
        assert bench.settle().startswith("Exported mask “theirs”")
    bench.collection.save_accepted()
    assert bench.settle().startswith("Saved accepted object")


def test_classes_that_were_text_in_a_file_are_known(bench):
    known = {"class_names": {"3": "cell"}, "object_classes": {"1": 3, "2": "3"}}
    layer = bench.add(LABELS, name="theirs", metadata=known)
    classes = bench.binding.adapter.take_snapshot(bench.key(layer)).classes
    assert (classes.names, classes.of_object) == ({3: "cell"}, {1: 3, 2: 3})

"""Images with a rim where nothing was taken, as the window shows them to an engine."""

import numpy as np
from skimage.draw import disk

from napari_sam3_assistant.core.prompts import Task, Tool
from napari_sam3_assistant.io.json_values import view_from_json, view_to_json

CENTRES = ((40, 50), (40, 110), (85, 50), (85, 110))


def padded():
    image = np.random.default_rng(0).normal(500, 10, (120, 150))
    for centre in CENTRES:
        image[disk(centre, 14)] += 100
    image[:, :22] = image[:14] = 0
    return image.astype(np.uint16)


def test_the_rim_is_no_object_and_notes_say_so(viewer, binding, run, tmp_path):
    viewer.add_image(padded(), name="mosaic")
    binding.model.task, binding.model.tool = Task.TEXT, Tool.TEXT
    for phrase, count in (("dark cells", 0), ("bright cells", len(CENTRES))):
        binding.model.text = phrase
        found = run()
        assert (0 if found is None else len(found.segmentation.objects)) == count

    image = viewer.layers["mosaic"]
    view = binding.adapter.take_view(binding.model.image)
    assert view.channels[0].display.padding
    assert np.ptp(view.rgb()[:, :22]) == 0
    assert view.rgb()[:, :22].min() > 0
    np.save(tmp_path / "mosaic.npy", image.data)
    paths = {view.channels[0].source.token: tmp_path / "mosaic.npy"}
    again = view_from_json(view_to_json(view, paths, tmp_path), tmp_path)
    np.testing.assert_array_equal(again.rgb(), view.rgb())
    # Who has chosen a contrast is shown what the contrast shows.
    image.contrast_limits = (0, 600)
    seen = binding.adapter.take_view(binding.model.image)
    assert not seen.channels[0].display.padding
    assert seen.rgb()[:, :22].max() == 0
    assert seen.key != view.key

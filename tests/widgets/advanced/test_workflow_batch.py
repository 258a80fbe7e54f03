"""“Batch Multiple 2D Images” of the first manual, step by step, by mouse and keyboard."""

import numpy as np
import pytest

import needs
from amounts import thorough

KINDS = ("SAM3 preview labels", "SAM3 preview masks", "SAM3 preview boxes")


@pytest.mark.parametrize(
    ("engine", "prompt"),
    [
        ("builtin", "labels mask"),
        *(thorough("builtin", prompt) for prompt in ("text", "exemplar", "box")),
        thorough("sam3-transformers", "text", marks=[needs.TORCH]),
        pytest.param("sam3-transformers", "box", marks=needs.TORCH),
    ],
    indirect=["engine"],
)
def test_batch_multiple_2d_images(open_advanced, discs, engine, prompt):
    # 1: several images, of different sizes and types.
    advanced = open_advanced(discs)
    user = advanced.user
    viewer = user.viewer
    second = discs[:100].astype(np.uint16) * 3
    viewer.add_image(second, name="second")
    user.look_at_all()
    engine.choose(user)
    user.choose_in("image", "image")
    first = viewer.layers["image"]
    # 2 and 3: a 2D task and its prompt, once.
    if prompt == "text":
        user.choose_in("task", "Text segmentation")
        user.type_phrase("bright discs", enter=False)
    elif prompt == "labels mask":
        user.choose_in("tool", "Labels mask")
        user.click("create_prompt_layer")
        viewer.layers["SAM3 mask prompt"].brush_size = 15
        user.drag(first, (28, 36), (30, 40), (32, 44))
    else:
        if prompt == "exemplar":
            user.choose_in("task", "Exemplar segmentation")
        else:
            user.choose_in("tool", "Box")
        user.click("create_prompt_layer")
        user.drag(first, (12, 22), (30, 40), (48, 58))
    # 4 and 5: all images, and run.
    user.click("batch_images")
    assert user.button("run_preview").text() == "Run Preview (batch)"
    user.run()

    given, rows = prompts_of(viewer, prompt), advanced.cells()
    for image in (first, viewer.layers["second"]):
        # What the model sees is what is on show: between the contrast limits.
        data = image.data
        cut = cut_to(given, data.shape)
        expected = engine.labels(data, **cut)
        name = f"{KINDS[0]} [{image.name}]"
        assert expected.any(), name
        np.testing.assert_array_equal(viewer.layers[name].data, expected)
        boxes = viewer.layers[f"{KINDS[2]} [{image.name}]"].data
        assert len(boxes) == sum(row[0] == image.name for row in rows) > 0
        assert user.has(f"{KINDS[1]} [{image.name}]") == engine.has_weights
    # It is off for Live Points.
    user.choose_in("task", "Live Points (positive/negative)")
    assert not user.button("batch_images").isEnabled()


def prompts_of(viewer, prompt):
    """The prompts as the API takes them, read from the layer that the user drew on."""
    if prompt == "text":
        return {"text": "bright discs"}
    if prompt == "labels mask":
        return {"mask": np.asarray(viewer.layers["SAM3 mask prompt"].data) != 0}
    (corners,) = viewer.layers["SAM3 boxes"].data
    # The first pixel begins at 0, and its middle is 0 in the layer.
    low, high = corners.min(0) + 0.5, corners.max(0) + 0.5
    kind = "exemplars" if prompt == "exemplar" else "boxes"
    return {kind: [(*map(float, low), *map(float, high))]}


def cut_to(given, shape):
    return {
        kind: value[: shape[0], : shape[1]] if kind == "mask" else value
        for kind, value in given.items()
    }

"""Where prompts lie in an image and where results go, with every transform napari has."""

import numpy as np
from napari.layers import Image, Labels, Points

from napari_sam3_assistant.core.axes import guess_axes
from napari_sam3_assistant.core.images import PlaneRef
from napari_sam3_assistant.core.regions import Region
from napari_sam3_assistant.viewer.geometry import (
    DataMap,
    World,
    layer_transform,
    result_transform,
    to_layer_axes,
)

FLAT = World((0.0, 0.0), (0, 1))
STACK = World((0.0,) * 4, (0, 1, 2, 3))


def test_a_layer_without_transform_maps_through_the_world(transform):
    image = Image(np.zeros((40, 50)), **transform)
    points = Points([[3.0, 4.0]])
    world = image.data_to_world((7.0, 9.0))
    points.data = [world]

    mapped = DataMap.between(points, image, World(world, (0, 1)))(points.data)

    np.testing.assert_allclose(mapped, [[7, 9]], atol=1e-9)


def test_a_result_of_a_region_lies_on_its_pixels(transform):
    image = Image(np.zeros((40, 50)), **transform)
    axes = guess_axes((40, 50))
    placed = result_transform(image, axes, FLAT, PlaneRef(), Region(10, 20, 15, 26))
    labels = Labels(np.zeros((5, 6), int), **placed)

    np.testing.assert_allclose(labels.data_to_world((0, 0)), image.data_to_world((10, 20)))
    np.testing.assert_allclose(labels.data_to_world((4, 5)), image.data_to_world((14, 25)))


def test_a_result_of_a_plane_of_a_stack_lies_on_its_slice():
    transform = {"scale": (3, 2, 0.5, 0.25), "translate": (1, 2, 3, 4), "rotate": np.eye(4)}
    image = Image(np.zeros((4, 5, 8, 9)), **transform, units=("s", "um", "um", "um"))
    axes = guess_axes((4, 5, 8, 9), rgb=False)
    plane = PlaneRef((2, 3))
    data = to_layer_axes(np.zeros((8, 9), int), axes)
    labels = Labels(data, **result_transform(image, axes, STACK, plane, Region(0, 0, 8, 9)))

    assert data.shape == (1, 1, 8, 9)
    np.testing.assert_allclose(
        labels.data_to_world((0, 0, 1, 2)), image.data_to_world((2, 3, 1, 2))
    )
    assert [str(unit) for unit in labels.units] == ["second", *["micrometer"] * 3]


def test_a_first_channel_axis_is_left_out():
    image = Image(
        np.zeros((3, 8, 9)), scale=(1, 0.5, 0.25), translate=(0, 3, 4),
        axis_labels=("c", "y", "x"),
    )  # fmt: skip
    axes = guess_axes((3, 8, 9), channel_axis=0)
    transform = layer_transform(image, axes, World((0.0,) * 3, (0, 1, 2)))

    np.testing.assert_allclose(transform["scale"], [0.5, 0.25])
    np.testing.assert_allclose(transform["translate"], [3, 4])
    assert transform["axis_labels"] == ("y", "x")
    assert transform["affine"].shape == (3, 3)


def test_layers_are_aligned_at_their_last_axes():
    stack = Image(np.zeros((10, 20, 30)), scale=(2, 1, 1))
    flat = Points([[5.0, 6.0]])

    mapped = DataMap.between(flat, stack, World((8.0, 0.0, 0.0), (0, 1, 2)))([[5, 6]])

    np.testing.assert_allclose(mapped, [[4, 5, 6]])


def test_a_deeper_layer_maps_into_a_plane():
    deep = Points([[7.0, 5.0, 6.0]])
    image = Image(np.zeros((20, 30)), translate=(1, 1))

    way = DataMap.between(deep, image, World((0.0,) * 3, (0, 1, 2)))
    np.testing.assert_allclose(way(deep.data), [[4, 5]])


def test_transposed_planes_are_turned_for_the_layer():
    axes = guess_axes((4, 8, 9), rgb=False, plane_axes=(0, 2))

    assert to_layer_axes(np.zeros((4, 9)), axes).shape == (4, 1, 9)

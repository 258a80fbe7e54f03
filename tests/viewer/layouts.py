# ruff: noqa: SLF001 - what napari draws is told nowhere else
"""Random layouts of a viewer, and what napari itself draws of its layers.

The oracle asks napari's slices and transforms and never this plugin: what value a layer shows
under a place on the canvas, and where on the canvas a data coordinate is drawn.
"""

from dataclasses import dataclass, field
from types import SimpleNamespace

import numpy as np
from hypothesis import strategies as st
from napari.components import ViewerModel
from napari.layers import Image
from napari.utils.interactions import (
    mouse_move_callbacks,
    mouse_press_callbacks,
    mouse_release_callbacks,
)

SIZES = {"y": 7, "x": 9}
LENGTHS = {"um": 1.0, "nm": 1000.0}
TIMES = {"s": 1.0, "ms": 1000.0}


@dataclass
class Layout:
    """An image, how it lies in the world, and what else the viewer holds."""

    names: tuple[str, ...]
    shape: tuple[int, ...]
    channel_axis: int
    transform: dict
    order: tuple[int, ...]
    steps: tuple[float, ...]
    beside: dict | None
    tilted: bool
    pixels: tuple[tuple[float, float], ...] = ()
    channel: int | None = field(default=None)

    def open(self):
        """Return a viewer with the image on show, its sliders and axes as they shall be."""
        viewer = ViewerModel()
        data = np.arange(np.prod(self.shape), dtype=np.float32).reshape(self.shape)
        image = viewer.add_image(data, name="image", **self.transform)
        if self.beside is not None:
            viewer.add_image(np.zeros(self.shape[-2:], np.uint8), name="beside", **self.beside)
        viewer.layers.selection.active = image
        viewer.dims.order = self.order
        for axis, part in enumerate(self.steps):
            last = max(int(viewer.dims.nsteps[axis]) - 1, 0)
            viewer.dims.set_current_step(axis, round(part * last))
        return viewer, image


@st.composite
def layouts(draw, *, tilted=True):
    """Axes, units, transforms, order and sliders at random.

    Parameters
    ----------
    draw : callable
        Hypothesis' own.
    tilted : bool
        Whether rotations and shears between axes on show and hidden ones may come.
    """
    leading = draw(st.sampled_from(["", "z", "t", "zc", "tz", "ct", "cz", "tc", "tcz", "tzc", "c"]))
    names = [*leading, "y", "x"]
    if leading and draw(st.booleans()):
        # The axes that are shown may be stored anywhere.
        names = draw(st.permutations(names))
    sizes = {**SIZES, "z": draw(st.integers(1, 4)), "t": draw(st.integers(1, 3))}
    sizes["c"] = draw(st.integers(1, 5))
    shape = tuple(sizes[name] for name in names)
    ndim = len(names)
    shown = [names.index(name) for name in draw(st.permutations("yx"))]
    hidden = draw(st.permutations([axis for axis in range(ndim) if axis not in shown]))
    channel = names.index("c") if "c" in names else None
    by_name = channel is not None and draw(st.booleans())
    transform = draw(transforms(names, shown, tilted=tilted))
    if by_name:
        transform["axis_labels"] = tuple(names)
    return Layout(
        tuple(names),
        shape,
        -1 if channel is None or by_name else channel,
        transform,
        (*hidden, *shown),
        tuple(draw(st.floats(0, 1)) for _ in names),
        draw(st.none() | besides()),
        bool(transform.pop("tilted")),
        # Rows may be the longer or the shorter axis.
        tuple(tuple(draw(st.integers(0, min(SIZES.values()) - 1)) for _ in "yx") for _ in "12"),
        channel,
    )


def _factors(count):
    sign = st.sampled_from([1, 1, 1, -1])
    size = st.sampled_from([0.05, 0.25, 0.3, 1, 1, 2.5, 40])
    return st.lists(st.builds(float.__mul__, sign.map(float), size.map(float)),
                    min_size=count, max_size=count)  # fmt: skip


@st.composite
def transforms(draw, names, shown, *, tilted):
    """Any of napari's ways to place a layer; ``tilted`` where hidden axes are turned in."""
    ndim = len(names)
    placed = {"tilted": False}
    if draw(st.booleans()):
        placed["scale"] = draw(_factors(ndim))
    if draw(st.booleans()):
        placed["translate"] = [draw(st.floats(-100, 100).map(lambda v: round(v, 2)))
                               for _ in names]  # fmt: skip
    kind = draw(st.sampled_from(["", "", "um", "nm", "mixed"]))
    if kind:
        placed["units"] = [_unit(draw, name, kind) for name in names]
    spatial = [axis for axis, name in enumerate(names) if name != "c"]
    turned = draw(st.sampled_from(["", "", "rotate", "shear", "affine"]))
    if turned:
        pair = list(shown)
        if tilted and len(spatial) > 2 and draw(st.integers(0, 3)) == 0:
            pair = draw(st.permutations(spatial))[:2]
            placed["tilted"] = set(pair) != set(shown)
        matrix = np.eye(ndim)
        angle = np.deg2rad(draw(st.integers(-170, 170)))
        grid = np.ix_(pair, pair)
        if turned == "rotate":
            cosine, sine = np.cos(angle), np.sin(angle)
            matrix[grid] = [[cosine, -sine], [sine, cosine]]
            placed["rotate"] = matrix
        elif turned == "shear":
            matrix[min(pair), max(pair)] = draw(st.floats(-1, 1).map(lambda v: round(v, 2)))
            placed["shear"] = matrix[np.triu_indices(ndim, 1)]
        else:
            whole = np.eye(ndim + 1)
            whole[:ndim, :ndim][grid] = [[0.5, 0.2], [-0.1, 0.8]]
            whole[:ndim, ndim] = 3
            placed["affine"] = whole
    return placed


def _unit(draw, name, kind):
    if name == "c":
        return "pixel"
    if name == "t":
        return draw(st.sampled_from(["s", "ms"]))
    return draw(st.sampled_from(["um", "nm"])) if kind == "mixed" else kind


@st.composite
def besides(draw):
    """Another layer: its units decide what the viewer's world counts in."""
    units = draw(st.sampled_from([("nm", "nm"), ("um", "um"), ("pixel", "pixel"), ("mm", "mm")]))
    return {"units": units, "scale": draw(_factors(2)), "translate": [draw(st.integers(-9, 9))] * 2}


# -- what napari draws ----------------------------------------------------------------------------


def displayed(layer):
    """Return the axes of a layer that napari shows, in its order."""
    return list(layer._slice_input.displayed)


def world_ratios(viewer, layer):
    """What a unit of each axis of a layer is on the canvas: as napari's vispy layers take it."""
    world = getattr(viewer.dims, "units", None)
    if world is None:
        return np.ones(layer.ndim)
    pairs = zip(layer.units, world[-layer.ndim :], strict=True)
    return np.array([(1.0 * own).to(unit).magnitude for own, unit in pairs])


def drawing(viewer, layer):
    """Return matrix and offset from a layer's data on the axes on show to the canvas."""
    shown = layer._slice_input.displayed
    placed = layer._transforms.simplified.set_slice(shown)
    ratios = world_ratios(viewer, layer)[shown]
    return ratios[:, None] * placed.linear_matrix, ratios * placed.translate


def place_of(viewer, layer, position):
    """Return where on the canvas a data coordinate of a layer is drawn."""
    matrix, offset = drawing(viewer, layer)
    return matrix @ np.asarray(position, float)[layer._slice_input.displayed] + offset


def pixel_at(viewer, layer, place):
    """Return the data coordinate on the axes on show that is drawn at a place on the canvas."""
    matrix, offset = drawing(viewer, layer)
    return np.linalg.solve(matrix, np.asarray(place) - offset)


def slice_on_show(image: Image):
    """Return the index that the drawn slice of a coded image has on each hidden axis, or None."""
    raw = np.asarray(image._slice.image.raw)
    # napari 0.5.6 draws one pixel where it has no slice, and doesn't mark it as empty.
    if image._slice.empty or raw.shape != tuple(image.data.shape[one] for one in displayed(image)):
        return None
    code = int(raw.flat[0])
    index = np.unravel_index(code, image.data.shape)
    return {axis: int(index[axis]) for axis in image._slice_input.not_displayed}


def drawn_under(viewer, layer, image, pixels):
    """Return the values that are drawn over pixels of an image, shape (N,).

    Parameters
    ----------
    viewer : ViewerModel
        The viewer.
    layer : Labels or Image
        What lies over it.
    image : Image
        The image.
    pixels : ndarray, shape (N, 2)
        Its pixels on the axes on show, in the order in which they are shown.
    """
    if layer._slice.empty or not layer.visible:
        return np.zeros(len(pixels), int)
    raw = np.asarray(layer._slice.image.raw)
    (matrix, offset), (inner, begin) = drawing(viewer, image), drawing(viewer, layer)
    places = np.asarray(pixels) @ matrix.T + offset
    at = np.round(np.linalg.solve(inner, (places - begin).T) + 1e-9).astype(int)
    inside = ((at >= 0) & (at < np.array(raw.shape)[:, None])).all(axis=0)
    return np.where(inside, raw[tuple(np.where(inside, at, 0))], 0)


def shown_points(layer):
    """Return the numbers of the points that napari draws."""
    name = "_view_indices" if hasattr(layer, "_view_indices") else "_indices_view"  # before 0.6
    return [number for number in getattr(layer, name) if layer.shown[number]]


def shown_shapes(layer):
    """Return which shapes napari draws."""
    return np.asarray(layer._data_view._displayed, bool)


def shown_vertices(layer):
    """Return which vertices of tracks napari's shader draws, shape (N,).

    None that is later than the layer's time, and of the earlier ones those in the tail: see
    ``napari/_vispy/filters/tracks.py``, which counts in float32.
    """
    age = np.float32(layer.current_time) - np.float32(layer.track_times)
    return (age >= 0) & (age < layer.tail_length) if layer.use_fade else np.full(len(age), True)


# -- what a person does ---------------------------------------------------------------------------


def move_a_slider(viewer):
    """Move the first slider that has somewhere to go there and back.

    Where a new layer changes what the sliders count in, napari slices the others only then.
    """
    dims = viewer.dims
    for axis in dims.not_displayed:
        before, (low, high, _) = dims.point[axis], dims.range[axis]
        if low < high:
            dims.set_point(axis, low if before > (low + high) / 2 else high)
            dims.set_point(axis, before)
            return


def _event(viewer, type_, place, pos):
    position = list(viewer.dims.point)
    for axis, at in zip(viewer.dims.displayed, place, strict=True):
        position[axis] = float(at)
    return SimpleNamespace(
        type=type_, position=tuple(position), view_direction=None, up_direction=None,
        dims_displayed=list(viewer.dims.displayed), dims_point=list(viewer.dims.point),
        button=1, buttons=[1], modifiers=(), pos=np.array(pos), handled=False,
        camera_zoom=1.0, is_dragging=type_ == "mouse_move",
    )  # fmt: skip


def drag(viewer, *places):
    """Press the mouse on the active layer, draw it over places of the canvas, and let go."""
    layer = viewer.layers.selection.active
    for target in (viewer, layer):
        mouse_press_callbacks(target, _event(viewer, "mouse_press", places[0], (0, 0)))
    for number, place in enumerate(places[1:], 1):
        for target in (viewer, layer):
            moved = _event(viewer, "mouse_move", place, (50 * number, 50 * number))
            mouse_move_callbacks(target, moved)
    last = 50 * (len(places) - 1)
    for target in (viewer, layer):
        mouse_release_callbacks(target, _event(viewer, "mouse_release", places[-1], (last, last)))

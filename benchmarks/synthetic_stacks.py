"""Synthetic 3-D cells with known truth: solid, hollow, tilted, touching, fading, crowded."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import ndimage as ndi


@dataclass(frozen=True, slots=True)
class StackRecipe:
    """How a stack is made; lengths in pixels and slices, grey levels as parts of 255."""

    shape: tuple[int, int, int] = (36, 160, 160)
    cells: int = 4
    radius: tuple[float, float] = (11.0, 20.0)
    half_length: tuple[float, float] = (8.0, 14.0)  # slices from the middle to a pole
    tilt: float = 0.3  # most pixels that the centre moves per slice
    wall: float = 0.0  # thickness of a bright wall round a dark inside; 0 for solid cells
    touching: bool = False  # cells in pairs that share a wall
    fading: float = 0.0  # part of the signal that is lost from the first slice to the last
    contrast: tuple[float, float] = (0.35, 0.6)
    noise: float = 0.05
    blur: tuple[float, float, float] = (0.7, 1.2, 1.2)
    dark: bool = False


@dataclass(frozen=True, slots=True, eq=False)
class StackScene:
    """A stack, the labels of its cells, and the middle slice of each."""

    image: np.ndarray  # (Z, Y, X) uint8
    labels: np.ndarray  # (Z, Y, X) int32
    middles: dict[int, int]


def draw_stack(recipe: StackRecipe, seed: int) -> StackScene:
    """Return the scene of a recipe and a seed."""
    rng = np.random.default_rng(seed)
    labels = np.zeros(recipe.shape, np.int32)
    signal = np.zeros(recipe.shape)
    middles: dict[int, int] = {}
    for _ in range(400):
        if len(middles) >= recipe.cells:
            break
        for cell in _group(rng, recipe):
            _place(rng, recipe, cell, labels, signal, middles)
    depth = np.linspace(1, 1 - recipe.fading, recipe.shape[0])[:, None, None]
    level = rng.uniform(*recipe.contrast)
    signal = ndi.gaussian_filter(signal, recipe.blur) * depth * level
    sign = -1.0 if recipe.dark else 1.0
    grey = 0.5 - sign * level / 2 + sign * signal + rng.normal(0, recipe.noise, recipe.shape)
    return StackScene(np.clip(grey * 255, 0, 255).round().astype(np.uint8), labels, middles)


def _group(rng, recipe):
    """Return one cell, or two that touch: centre, axes and tilt of each."""
    depth, height, width = recipe.shape
    radius, half = rng.uniform(*recipe.radius), rng.uniform(*recipe.half_length)
    centre = np.array(
        [
            rng.uniform(half * 0.8, depth - half * 0.8),
            rng.uniform(radius * 1.4, height - radius * 1.4),
            rng.uniform(radius * 1.4, width - radius * 1.4),
        ]
    )
    tilt = rng.uniform(-1, 1, 2) * recipe.tilt
    aspect = rng.uniform(0.75, 1.0)
    first = (centre, half, radius, radius * aspect, rng.uniform(0, np.pi), tilt)
    if not recipe.touching:
        return [first]
    angle = rng.uniform(0, 2 * np.pi)
    other = rng.uniform(0.85, 1.1) * radius
    apart = (radius * aspect + other) * 0.98
    shift = np.array([rng.uniform(-2, 2), np.sin(angle) * apart, np.cos(angle) * apart])
    return [first, (centre + shift, half, other, other * 0.9, rng.uniform(0, np.pi), tilt)]


def _place(rng, recipe, cell, labels, signal, middles):
    """Put a cell where it does not run over another one; cells of a pair may share a border."""
    centre, half, a, b, turn, tilt = cell
    z, y, x = np.ogrid[: recipe.shape[0], : recipe.shape[1], : recipe.shape[2]]
    dz = z - centre[0]
    dy, dx = y - centre[1] - tilt[0] * dz, x - centre[2] - tilt[1] * dz
    along, across = dx * np.cos(turn) + dy * np.sin(turn), dy * np.cos(turn) - dx * np.sin(turn)
    inside = (dz / half) ** 2 + (along / a) ** 2 + (across / b) ** 2 <= 1
    size = np.count_nonzero(inside)
    taken = np.count_nonzero(inside & (labels > 0)) / size
    if taken > (0.12 if recipe.touching else 0.0):
        return
    if not recipe.touching and (labels[ndi.binary_dilation(inside, iterations=3)] > 0).any():
        return
    inside &= labels == 0
    middle = int(np.argmax(inside.sum((1, 2))))
    # Cells that are mostly cut off by the stack's sides have no outline to speak of.
    if np.count_nonzero(inside) < 0.75 * 4 / 3 * np.pi * half * a * b:
        return
    name = len(middles) + 1
    labels[inside] = name
    middles[name] = middle
    brightness = rng.uniform(0.85, 1.0)
    if recipe.wall:
        deep = ndi.distance_transform_edt(inside, sampling=(a / half, 1, 1))
        signal[inside] = np.where(deep[inside] <= recipe.wall, brightness, 0.15 * brightness)
    else:
        signal[inside] = brightness


STACKS: dict[str, StackRecipe] = {
    "solid": StackRecipe(),
    "dark": StackRecipe(dark=True),
    "hollow": StackRecipe(wall=3.0),
    "tilted": StackRecipe(tilt=1.6),
    "touching": StackRecipe(touching=True, noise=0.04),
    "touching hollow": StackRecipe(touching=True, wall=3.0, noise=0.04),
    "fading": StackRecipe(fading=0.75),
    "noisy": StackRecipe(noise=0.12),
}
"""Wide variety on purpose: other stacks of these kinds will be tried."""

"""Synthetic cells with known truth: blurred ellipses, noise, uneven light, touching pairs."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import ndimage as ndi


@dataclass(frozen=True, slots=True)
class Recipe:
    """How an image is made; fractions are of the full grey range (0 to 255)."""

    shape: tuple[int, int] = (384, 384)
    dark: bool = False
    diameters: tuple[float, float] = (10.0, 60.0)
    contrast: tuple[float, float] = (0.15, 0.6)
    spread: float = 0.15  # cells of one image differ by this share of their contrast
    noise: float = 0.05
    gradient: float = 0.0
    blur: float = 1.2
    texture: float = 0.0  # standard deviation inside cells, as a share of the contrast
    ring: float = 0.0  # how much darker than the rim the inside is, as a share of the contrast
    touching: float = 0.0  # share of the cells that get a touching partner
    cover: float = 0.2


@dataclass(frozen=True, slots=True, eq=False)
class Scene:
    """An RGB image and the labels of its cells."""

    image: np.ndarray
    labels: np.ndarray


def draw(recipe: Recipe, seed: int) -> Scene:
    """Return the scene of a recipe and a seed."""
    rng = np.random.default_rng(seed)
    height, width = recipe.shape
    labels = np.zeros(recipe.shape, np.int32)
    level = rng.uniform(*recipe.contrast)
    mean = np.exp(rng.uniform(np.log(recipe.diameters[0]), np.log(recipe.diameters[1]), 1))[0]
    signal = np.zeros(recipe.shape)
    count = 0
    for _ in range(600):
        if np.count_nonzero(labels) > recipe.cover * labels.size:
            break
        centre = rng.uniform((mean * 0.6,) * 2, (height - mean * 0.6, width - mean * 0.6))
        first = _ellipse(rng, mean, recipe.diameters)
        group = [(centre, first)]
        if rng.random() < recipe.touching:
            group.append(_partner(rng, centre, first, _ellipse(rng, mean, recipe.diameters)))
        # One crop that holds the group and a margin of 4 pixels; it must lie in the image.
        reach = max(first[0], group[-1][1][0]) + 6
        low = np.floor(np.min([cell[0] for cell in group], 0) - reach).astype(int)
        high = np.ceil(np.max([cell[0] for cell in group], 0) + reach).astype(int)
        if (low < 0).any() or high[0] > height or high[1] > width:
            continue
        crop = (slice(low[0], high[0]), slice(low[1], high[1]))
        masks = [_mask(high - low, cell - low, ellipse) for cell, ellipse in group]
        near = ndi.binary_dilation(np.logical_or.reduce(masks), iterations=4)
        if (labels[crop][near] > 0).any():
            continue
        for mask in masks:
            mask &= labels[crop] == 0
            count += 1
            labels[crop][mask] = count
            signal[crop][mask] = _inside(rng, mask, recipe)[mask] * level
    return Scene(_photographed(signal, level, recipe, rng), labels)


def _photographed(signal, level, recipe, rng):
    """Return the RGB image of a signal: blurred, on uneven ground, noisy."""
    height, width = recipe.shape
    signal = ndi.gaussian_filter(signal, recipe.blur)
    angle = rng.uniform(0, 2 * np.pi)
    rows, columns = np.mgrid[-0.5 : 0.5 : height * 1j, -0.5 : 0.5 : width * 1j]
    ramp = recipe.gradient * (rows * np.sin(angle) + columns * np.cos(angle)) * 0.8
    sign = -1.0 if recipe.dark else 1.0
    base = 0.5 - sign * level * 0.5
    grey = base + sign * signal + ramp + rng.normal(0, recipe.noise, recipe.shape)
    if recipe.gradient:  # keep the whole ramp inside the grey range
        low, high = np.percentile(grey, (0.1, 99.9))
        if high - low > 1:
            grey = (grey - low) / (high - low)
    grey = np.clip(grey * 255, 0, 255).round().astype(np.uint8)
    return np.repeat(grey[..., None], 3, 2)


def _ellipse(rng, mean, diameters):
    diameter = np.clip(mean * rng.uniform(0.8, 1.25), *diameters)
    aspect = rng.uniform(0.7, 1.0)
    return diameter / 2 / np.sqrt(aspect), diameter / 2 * np.sqrt(aspect), rng.uniform(0, np.pi)


def _reach(ellipse, angle):
    a, b, turn = ellipse
    return a * b / np.hypot(b * np.cos(angle - turn), a * np.sin(angle - turn))


def _partner(rng, centre, first, second):
    angle = rng.uniform(0, 2 * np.pi)
    apart = _reach(first, angle) + _reach(second, angle) + rng.uniform(-0.5, 0.8)
    return centre + apart * np.array([np.sin(angle), np.cos(angle)]), second


def _mask(shape, centre, ellipse):
    a, b, turn = ellipse
    rows, columns = np.ogrid[: shape[0], : shape[1]]
    dy, dx = rows - centre[0], columns - centre[1]
    along, across = dx * np.cos(turn) + dy * np.sin(turn), dy * np.cos(turn) - dx * np.sin(turn)
    return (along / a) ** 2 + (across / b) ** 2 <= 1


def _inside(rng, mask, recipe):
    values = np.full(mask.shape, 1 + rng.uniform(-1, 1) * recipe.spread)
    if recipe.texture:
        rough = ndi.gaussian_filter(rng.normal(size=mask.shape), 1.5)
        values += recipe.texture * rough / rough.std()
    if recipe.ring:
        depth = ndi.distance_transform_edt(mask)
        rim = max(2.0, depth.max() * 0.3)
        values -= recipe.ring * np.clip((depth - rim) / 2, 0, 1)
    return values


RECIPES: dict[str, Recipe] = {
    "bright": Recipe(noise=0.05),
    "dark": Recipe(noise=0.05, dark=True),
    "touching": Recipe(touching=0.6, noise=0.04),
    "dark touching": Recipe(touching=0.6, noise=0.04, dark=True),
    "gradient": Recipe(gradient=0.5, noise=0.03),
    "dark gradient": Recipe(gradient=0.5, noise=0.03, dark=True),
    "textured": Recipe(texture=0.25, noise=0.03, diameters=(20, 60)),
    "ring": Recipe(ring=0.6, noise=0.03, diameters=(20, 60)),
    "dark ring": Recipe(ring=0.6, noise=0.03, diameters=(20, 60), dark=True),
    "noisy": Recipe(noise=0.15, contrast=(0.3, 0.6)),
    "faint": Recipe(noise=0.06, contrast=(0.15, 0.2), diameters=(14, 60)),
    "small": Recipe(diameters=(8, 12), noise=0.04, contrast=(0.25, 0.6), cover=0.1),
    "crowded": Recipe(touching=0.7, gradient=0.3, noise=0.05, texture=0.1, cover=0.35),
}
"""Wide variety on purpose: other images of these kinds will be tried."""

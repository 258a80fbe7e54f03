"""Drawn images of what microscopes show, with the truth; ``outline_crops.py`` cuts crops of them.

They need no source and no licence. A scene is one of ``SCENES``, each with random sizes, contrasts,
textures, blur and noise: blobs, tiles and rods with any grey levels, and what a look at real images
says that these lack: bacteria and yeast in phase contrast, flat cells, cells in relief, cells
between membranes, electron microscopy, myelin, H&E, nuclei of stained cells, chloroplasts.
"""

from __future__ import annotations

import numpy as np
from scipy import ndimage as ndi
from scipy.spatial import cKDTree

SCENE = 176  # pixels of a drawn image

Scene = tuple[np.ndarray, np.ndarray]  # grey levels, and labels of what is meant


def cloud(rng: np.random.Generator, sigma: float) -> np.ndarray:
    """Return smooth noise of unit deviation."""
    size = max(1, int(sigma // 2.5)) if sigma > 5 else 1
    count = SCENE // size + 4
    noise = ndi.gaussian_filter(
        rng.standard_normal((count, count)).astype(np.float32), sigma / size, truncate=3
    )
    noise = (ndi.zoom(noise, size, order=1) if size > 1 else noise)[:SCENE, :SCENE]
    noise = np.pad(noise, [(0, SCENE - side) for side in noise.shape], mode="edge")
    return noise / max(float(noise.std()), 1e-6)


def either(rng: np.random.Generator) -> int:
    """Return -1 or 1."""
    return int(rng.choice([-1, 1]))


def chance(rng: np.random.Generator, share: float) -> bool:
    """Return whether something is so this time."""
    return bool(rng.random() < share)


def distances(labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return how deep pixels lie in their own object, and how far from any, in pixels."""
    ends = np.zeros(labels.shape, bool)
    for axis in (0, 1):
        step = np.diff(labels, axis=axis) != 0
        first, last = [slice(None)] * 2, [slice(None)] * 2
        first[axis], last[axis] = slice(None, -1), slice(1, None)
        ends[tuple(first)] |= step
        ends[tuple(last)] |= step
    own = ndi.distance_transform_edt(~ends) + 0.5 if ends.any() else np.full(labels.shape, 99.0)
    return own * (labels > 0), ndi.distance_transform_edt(labels == 0)


def relative(labels: np.ndarray) -> np.ndarray:
    """Return how deep pixels lie in their own object: 1 at its deepest, 0 outside."""
    own, _ = distances(labels)
    most = np.asarray(ndi.maximum(own, labels, np.arange(labels.max() + 1)))
    most[0] = 1
    return own / np.maximum(most, 1)[labels]


def middles(rng: np.random.Generator, spacing: float) -> np.ndarray:
    """Return places that are not nearer to each other than they may be."""
    count = int((SCENE + 40) ** 2 / spacing**2 * 1.3) + 1
    places = rng.uniform(-20, SCENE + 20, (count * 3, 2)).astype(np.float32)
    near = ((places[:, None] - places[None]) ** 2).sum(2) < (spacing * 0.8) ** 2
    kept = np.ones(len(places), bool)
    for index in range(len(places)):
        if kept[index]:
            kept[index + 1 :] &= ~near[index, index + 1 :]
    return places[kept][:count]


def shapes(rng: np.random.Generator, kind: str, radius: float) -> np.ndarray:
    """Return the labels of objects of a kind, of about a radius."""
    least, most = {
        "sparse": (2.2, 4.0), "dense": (1.5, 2.2), "tiled": (1.2, 1.6), "rods": (0.75, 2.0),
    }[kind]  # fmt: skip
    places = middles(rng, rng.uniform(least, most) * radius)
    bent, spread = rng.uniform(0, 0.35) * radius, rng.uniform(0, 0.4)
    scale = rng.uniform(0.4, 1.2) * radius
    rows, columns = (axis + bent * cloud(rng, scale) for axis in np.indices((SCENE, SCENE)))
    common, along = rng.uniform(0, np.pi), chance(rng, 0.4)
    best = np.full((SCENE, SCENE), np.inf)
    labels = np.zeros((SCENE, SCENE), np.int32)
    for name, (y, x) in enumerate(places, 1):
        size = radius * np.exp(spread * rng.standard_normal() * 0.6)
        size *= 1.6 if kind == "tiled" else 1.0
        ratio = rng.uniform(2, 4.5) if kind == "rods" else np.exp(abs(rng.normal(0, 0.3)))
        turn = common + rng.normal(0, 0.25) if along else rng.uniform(0, np.pi)
        reach = int(size * ratio**0.5 * 1.1 + bent * 3 + 6)
        window = tuple(slice(max(0, int(c) - reach), max(0, int(c) + reach)) for c in (y, x))
        down, across = rows[window] - y, columns[window] - x
        one = (np.cos(turn) * down + np.sin(turn) * across) / (size * ratio**0.5)
        other = (np.cos(turn) * across - np.sin(turn) * down) / (size / ratio**0.5)
        power = int(rng.choice([2, 2, 3, 4]))
        away = (np.abs(one) ** power + np.abs(other) ** power) ** (1 / power)
        nearer = away < best[window]
        best[window][nearer] = away[nearer]
        labels[window][nearer & (away < 1)] = name
    if kind in ("tiled", "dense") and chance(rng, 0.5):  # a gap, which may hold a membrane
        ends = ndi.grey_erosion(labels, size=3) != ndi.grey_dilation(labels, size=3)
        labels[ndi.distance_transform_edt(~ends) < rng.uniform(0.5, 2.0)] = 0
    return labels


def lit(rng: np.random.Generator, labels: np.ndarray, faint: bool) -> np.ndarray:
    """Return grey levels of objects: steps, rims, membranes, halos, shadows."""
    inside = labels > 0
    depth, away = ndi.distance_transform_edt(inside), ndi.distance_transform_edt(~inside)
    signed = np.where(inside, depth - 0.5, 0.5 - away)
    step = 0.0 if faint else rng.uniform(0.15, 1.2) * either(rng)
    levels = step + rng.normal(0, rng.uniform(0, 0.5) * abs(step) + 0.02, labels.max() + 1)
    levels[0] = 0
    image = levels[labels]
    if chance(rng, 0.35):
        image *= 1 - rng.uniform(0.2, 0.9) * np.exp(-depth / rng.uniform(1.5, 12)) * inside
    if chance(rng, 0.5 if faint else 0.3):  # a membrane
        line = np.exp(-(((signed - rng.uniform(-1, 1)) / rng.uniform(0.7, 2.2)) ** 2))
        image += either(rng) * rng.uniform(0.3, 1.2) * line
    if chance(rng, 0.22):
        halo = np.exp(-away / rng.uniform(1.5, 5)) * ~inside
        image += either(rng) * rng.uniform(0.2, 0.9) * halo
    if chance(rng, 0.35 if faint else 0.18):  # differential interference contrast
        turn = rng.uniform(0, 2 * np.pi)
        thick = ndi.gaussian_filter(inside * (1 + 0.3 * cloud(rng, 3)), rng.uniform(0.8, 2))
        down, across = np.gradient(thick)
        image += rng.uniform(1, 5) * (np.cos(turn) * down + np.sin(turn) * across)
    return image


def inner(rng: np.random.Generator, labels: np.ndarray, radius: float, share: float) -> np.ndarray:
    """Return a part in each object: a nucleus, a vesicle."""
    rough = relative(labels) + rng.uniform(0, 0.12) * cloud(rng, max(1.0, radius * 0.4))
    moved = ndi.shift(rough, rng.uniform(-0.13, 0.13, 2) * radius, order=1)
    return (labels > 0) & (moved > share)


def disturbed(rng: np.random.Generator, image: np.ndarray, inside: np.ndarray) -> np.ndarray:
    """Return an image with texture, specks, fibres, uneven light, blur and noise, 0 to 255."""
    if chance(rng, 0.6):
        image = image + rng.uniform(0.05, 0.5) * cloud(rng, rng.uniform(0.6, 4)) * inside
    if chance(rng, 0.5):
        image = image + rng.uniform(0.03, 0.4) * cloud(rng, rng.uniform(0.6, 5)) * ~inside
    if chance(rng, 0.3):
        image = image + either(rng) * rng.uniform(0.3, 1.5) * specks(rng, 3, 60)
    if chance(rng, 0.15):
        image = image + rng.uniform(0.1, 0.6) * fibres(rng)
    return seen(rng, image)


def specks(rng: np.random.Generator, least: int, most: int) -> np.ndarray:
    """Return some blurred dots."""
    dots, sigma = np.zeros((SCENE, SCENE)), rng.uniform(0.7, 3)
    at = rng.integers(0, SCENE, (2, int(rng.integers(least, most))))
    dots[at[0], at[1]] = rng.uniform(0.5, 1, at.shape[1]) * sigma**2 * 6
    return ndi.gaussian_filter(dots, sigma)


def fibres(rng: np.random.Generator) -> np.ndarray:
    """Return lines that wind through the image."""
    return np.exp(-((cloud(rng, rng.uniform(6, 16)) / rng.uniform(0.05, 0.2)) ** 2))


def seen(rng: np.random.Generator, image: np.ndarray) -> np.ndarray:
    """Return an image in uneven light, blurred and noisy, 0 to 255."""
    if chance(rng, 0.6):
        image = image + rng.uniform(0, 0.5) * cloud(rng, rng.uniform(15, 60))
    if chance(rng, 0.75):
        image = ndi.gaussian_filter(image, rng.uniform(0.4, 1.6))
    span = np.ptp(np.percentile(image, (2, 98)))
    noise = rng.choice([0, rng.uniform(0.01, 0.06), rng.uniform(0.06, 0.2)], p=[0.3, 0.5, 0.2])
    image = image + noise * span * rng.standard_normal(image.shape)
    low, high = np.percentile(image, (0.5, 99.5))
    return ((image - low) / max(high - low, 1e-6) * 255).clip(0, 255).astype(np.float32)


# -- one at a time --------------------------------------------------------------------------------


class Field:
    """Objects that are put beside each other where there is room."""

    def __init__(self, rng: np.random.Generator, gap: float) -> None:
        self.rng, self.gap = rng, gap
        self.labels = np.zeros((SCENE, SCENE), np.int32)
        self.taken = np.zeros((SCENE, SCENE), bool)
        self.thick = np.zeros((SCENE, SCENE), np.float32)  # 1 in the middle line of an object
        self.count = 0

    def put(self, y: float, x: float, reach: float, away) -> bool:
        """Put an object whose pixels ``away`` (of rows and columns from y, x) says are below 1."""
        spans = [np.arange(max(0, int(c - reach)), min(SCENE, int(c + reach) + 2)) for c in (y, x)]
        if min(span.size for span in spans) < 2:
            return False
        far = away(spans[0][:, None] - y, spans[1][None] - x)
        mask = far < 1
        window = np.ix_(*spans)
        crowded = np.count_nonzero(mask & self.taken[window]) / max(1, np.count_nonzero(mask))
        if crowded > 0.12 or not mask.any():
            return False
        mask &= ~self.taken[window]
        self.count += 1
        self.labels[window] = np.where(mask, self.count, self.labels[window])
        self.taken[window] |= far < 1 + self.gap
        thick = np.sqrt(np.clip(1 - far**2, 0, 1)) * mask
        self.thick[window] = np.maximum(self.thick[window], thick)
        return True


def capsule(length: float, width: float, turn: float, bend: float, waist: float):
    """Return how far places lie from the line of a rod, in half widths; below 1 is inside."""

    def away(rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
        along = np.cos(turn) * rows + np.sin(turn) * columns
        across = np.cos(turn) * columns - np.sin(turn) * rows
        half = max(0.5, (length - width) / 2)
        across = across - bend * half * ((along / half) ** 2 - 0.5)
        past = np.maximum(np.abs(along) - half, 0)
        slim = 1 - waist * np.exp(-((along / (0.7 * width)) ** 2))
        return np.hypot(past, across) / (width / 2 * slim)

    return away


def star(rng: np.random.Generator, size: float, ratio: float, rough: float, arms: int):
    """Return how far places lie out of a blob with waves and arms; below 1 is inside."""
    turn, lengths = rng.uniform(0, np.pi), rng.uniform(0.2, 1.3, max(1, arms))
    at = rng.uniform(0, 2 * np.pi, max(1, arms))
    sharp = rng.uniform(4, 30)
    waves = [(k, rough * rng.normal() / k, rng.uniform(0, 2 * np.pi)) for k in range(2, 7)]

    def away(rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
        one = (np.cos(turn) * rows + np.sin(turn) * columns) / ratio**0.5
        other = (np.cos(turn) * columns - np.sin(turn) * rows) * ratio**0.5
        angle = np.arctan2(one, other)
        radius = 1 + sum(a * np.cos(k * angle + phase) for k, a, phase in waves)
        for middle, length in zip(at[:arms], lengths, strict=False):
            radius = radius + length * np.exp(sharp * (np.cos(angle - middle) - 1))
        return np.hypot(one, other) / (size * np.maximum(radius, 0.25))

    return away


def strewn(
    rng: np.random.Generator, radius: float, spacing: float, gap: float, rough: float,
    arms: int = 0, ratio: float = 0.25, spread: float = 0.2,
) -> Field:  # fmt: skip
    """Return a field of blobs."""
    field = Field(rng, gap)
    for y, x in middles(rng, radius * spacing):
        size = radius * float(np.exp(spread * rng.standard_normal()))
        long = float(np.exp(abs(rng.normal(0, ratio))))
        away = star(rng, size, long, rough, int(rng.integers(0, arms + 1)))
        field.put(y, x, size * long**0.5 * (2.6 if arms else 1.5) + 2, away)
    return field


# -- what microscopes show ------------------------------------------------------------------------


def anything(rng: np.random.Generator) -> Scene:
    """Blobs, tiles and rods with random grey levels, or nuclei inside them."""
    radius = rng.uniform(6, 26)
    kind = str(rng.choice(["sparse", "dense", "tiled", "rods"], p=[0.3, 0.31, 0.16, 0.23]))
    labels = shapes(rng, kind, radius)
    image = lit(rng, labels, chance(rng, 0.25))
    inside = labels > 0
    if kind in ("sparse", "dense") and chance(rng, 0.3):  # what is meant is a nucleus in a cell
        nuclei = inner(rng, labels, radius, rng.uniform(0.25, 0.6))
        image = image * rng.uniform(0.1, 0.6) + either(rng) * rng.uniform(0.5, 1.2) * nuclei
        labels = labels * nuclei
    elif chance(rng, 0.4):
        parts = inner(rng, labels, radius, rng.uniform(0.35, 0.7))
        image = image + either(rng) * rng.uniform(0.2, 1.3) * parts
    return disturbed(rng, image, inside), labels


def bacteria(rng: np.random.Generator) -> Scene:
    """Rods in colonies or chains, dark or bright in phase contrast, or fluorescent."""
    width = rng.uniform(4, 13)
    ratio = rng.uniform(1.6, 5)
    field = Field(rng, rng.choice([0.0, 0.0, rng.uniform(0.05, 0.5)]))
    flow = cloud(rng, rng.uniform(12, 60)) * rng.uniform(0.2, 1.6) + rng.uniform(0, np.pi)
    centre, radius = rng.uniform(40, SCENE - 40, 2), rng.uniform(40, 160)
    dense = rng.uniform(0.25, 1.0)
    bent = rng.choice([0.0, rng.uniform(0, 0.25), rng.uniform(0.2, 0.7)], p=[0.4, 0.4, 0.2])
    tries = int(dense * 5 * SCENE**2 / (width**2 * ratio))
    for y, x in rng.uniform(-5, SCENE + 5, (min(tries, 900), 2)):
        if np.hypot(y - centre[0], x - centre[1]) > radius:
            continue
        at = int(np.clip(y, 0, SCENE - 1)), int(np.clip(x, 0, SCENE - 1))
        turn = float(flow[at]) + rng.normal(0, 0.15)
        thick = width * float(np.exp(rng.normal(0, 0.06)))
        length = width * ratio * float(np.exp(rng.normal(0, 0.25)))
        waist = rng.choice([0.0, rng.uniform(0.1, 0.5)], p=[0.7, 0.3])
        rod = capsule(length, thick, turn, bent * rng.normal(), waist)
        if field.put(y, x, length / 2 + thick, rod) and chance(rng, 0.5):  # its sister behind it
            step = length * rng.uniform(0.98, 1.15)
            y, x = y + np.cos(turn) * step, x + np.sin(turn) * step
            field.put(y, x, length / 2 + thick, capsule(length, thick, turn, 0, waist))
    kind = rng.choice(["dark", "bright", "glow", "rim"], p=[0.45, 0.2, 0.2, 0.15])
    thick = ndi.gaussian_filter(field.thick, width * rng.uniform(0.03, 0.16))
    spread = ndi.gaussian_filter(field.thick, width * rng.uniform(0.5, 1.6))
    levels = 1 + rng.uniform(0, 0.3) * rng.standard_normal(field.count + 1)
    thick = thick * levels.clip(0.1)[field.labels]
    if kind == "glow":
        image = thick ** rng.uniform(0.3, 1.2) + rng.uniform(0, 0.6) * spread
    elif kind == "rim":
        rim = np.exp(-(((relative(field.labels) - rng.uniform(0, 0.4)) / 0.25) ** 2))
        image = rim * (field.labels > 0) * either(rng) + rng.uniform(-0.6, 0.6) * thick
    else:
        image = -(thick ** rng.uniform(0.5, 1.2)) + rng.uniform(0.2, 1.3) * spread
        image = image if kind == "dark" else -image
    if chance(rng, 0.3):
        image = image + either(rng) * rng.uniform(0.1, 0.6) * specks(rng, 20, 150) * thick
    if chance(rng, 0.4):
        image = image + rng.uniform(0.03, 0.2) * cloud(rng, rng.uniform(0.6, 3))
    return seen(rng, image), field.labels


def threads(rng: np.random.Generator) -> Scene:
    """Long thin cells that wind: filaments, worms, bent rods."""
    width = rng.uniform(3, 9)
    length = width * rng.uniform(5, 16)
    labels = np.zeros((SCENE, SCENE), np.int32)
    taken, thick = np.zeros(labels.shape, bool), np.zeros(labels.shape)
    wild = rng.uniform(0.02, 0.5)
    for name in range(1, int(rng.integers(3, 26))):
        steps = max(4, int(length * np.exp(rng.normal(0, 0.3))))
        turns = np.cumsum(ndi.gaussian_filter1d(rng.standard_normal(steps), 4) * wild)
        turns += rng.uniform(0, 2 * np.pi)
        ways = np.cumsum(np.sin(turns)), np.cumsum(np.cos(turns))
        y, x = (way + rng.uniform(0, SCENE) for way in ways)
        held = (y > 0) & (y < SCENE - 1) & (x > 0) & (x < SCENE - 1)
        if np.count_nonzero(held) < 8:
            continue
        y, x = y[held].round().astype(int), x[held].round().astype(int)
        reach = int(width) + 2
        near = tuple(slice(max(0, c.min() - reach), c.max() + reach + 1) for c in (y, x))
        line = np.ones(labels.shape, bool)[near]
        line[y - near[0].start, x - near[1].start] = False
        away = ndi.distance_transform_edt(line) / (width / 2)
        mask = away < 1
        if np.count_nonzero(mask & taken[near]) > 0.1 * np.count_nonzero(mask):
            continue
        mask &= ~taken[near]
        labels[near][mask] = name
        thick[near] = np.maximum(thick[near], np.sqrt(np.clip(1 - away**2, 0, 1)) * mask)
        taken[near] |= away < 1.2
    wide = ndi.gaussian_filter(thick, width * rng.uniform(0.4, 1.2))
    image = thick - rng.uniform(0, 1.2) * wide
    if chance(rng, 0.35):
        turn = rng.uniform(0, 2 * np.pi)
        down, across = np.gradient(ndi.gaussian_filter(thick, rng.uniform(0.5, 1.2)))
        image = rng.uniform(0, 0.4) * image + 2 * (np.cos(turn) * down + np.sin(turn) * across)
    image += rng.uniform(0.01, 0.2) * cloud(rng, rng.uniform(0.7, 5))
    return seen(rng, image * either(rng)), labels


def yeast(rng: np.random.Generator) -> Scene:
    """Round cells with bright and dark rims in clusters, with buds and vacuoles."""
    radius = rng.uniform(7, 24)
    field = strewn(rng, radius, rng.uniform(1.7, 3.0), rng.choice([0.0, rng.uniform(0, 0.15)]),
                   0.04, spread=rng.uniform(0.1, 0.35))  # fmt: skip
    labels = field.labels
    own, away = distances(labels)
    signed = np.where(labels > 0, own, -away)
    image = np.zeros((SCENE, SCENE))
    sign = either(rng)
    for _ in range(int(rng.integers(1, 4))):  # rings, by turns dark and bright
        at, wide = rng.uniform(-0.22, 0.25) * radius, rng.uniform(0.06, 0.18) * radius
        image += sign * rng.uniform(0.4, 1.3) * np.exp(-(((signed - at) / max(wide, 0.8)) ** 2))
        sign = -sign
    image += rng.uniform(-0.5, 0.5) * (labels > 0)
    if chance(rng, 0.6):
        parts = inner(rng, labels, radius, rng.uniform(0.35, 0.75))
        line = parts ^ ndi.binary_erosion(parts, iterations=int(rng.integers(1, 3)))
        image += either(rng) * rng.uniform(0.2, 0.9) * (line if chance(rng, 0.5) else parts)
    return disturbed(rng, image, labels > 0), labels


def flat_cells(rng: np.random.Generator) -> Scene:
    """Flat cells with arms, their middle thick and grained, in part with a halo."""
    radius = rng.uniform(9, 20)
    field = strewn(rng, radius, rng.uniform(1.6, 3.5), 0.0, rng.uniform(0.1, 0.5),
                   arms=5, ratio=rng.uniform(0.2, 0.9), spread=0.25)  # fmt: skip
    labels, inside = field.labels, field.labels > 0
    own, away = distances(labels)
    deep = relative(labels)
    image = rng.uniform(-0.25, 0.5) * inside + rng.uniform(0, 0.9) * deep ** rng.uniform(0.7, 3)
    image += rng.uniform(0.1, 0.7) * deep * cloud(rng, rng.uniform(0.7, 2.5))
    where = np.clip(cloud(rng, rng.uniform(5, 20)) + rng.uniform(-0.5, 2), 0, 1.5)
    image += rng.uniform(0, 1.3) * np.exp(-away / rng.uniform(1, 4)) * ~inside * where
    rim = np.exp(-own / rng.uniform(0.8, 2)) * inside * where
    image += rng.uniform(-0.8, 0.8) * rim
    if chance(rng, 0.7):
        nuclei = inner(rng, labels, radius, rng.uniform(0.5, 0.8))
        image += rng.uniform(-0.7, 0.9) * ndi.gaussian_filter(nuclei.astype(float), 1)
        image += rng.uniform(0, 0.8) * specks(rng, 10, 80) * nuclei
    image += rng.uniform(0.02, 0.2) * cloud(rng, rng.uniform(0.8, 4))
    return seen(rng, image if chance(rng, 0.8) else -image), labels


def relief(rng: np.random.Generator) -> Scene:
    """Cells in differential interference contrast: what rises to one side is bright."""
    radius = rng.uniform(10, 26)
    field = strewn(rng, radius, rng.uniform(1.5, 2.6), 0.0, rng.uniform(0.03, 0.35),
                   arms=int(rng.integers(0, 4)), spread=0.2)  # fmt: skip
    labels = field.labels
    if chance(rng, 0.35):  # side by side, a groove between them
        labels = tiled(rng, radius)
        labels = labels * (distances(labels)[0] > rng.uniform(0.5, 2))
    deep = relative(labels)
    height = np.minimum(deep / rng.uniform(0.1, 1), 1) ** rng.uniform(0.5, 1.5)
    nuclei = inner(rng, labels, radius, rng.uniform(0.4, 0.7))
    height += rng.uniform(-0.5, 0.6) * ndi.gaussian_filter(nuclei.astype(float), 1.5)
    grain = rng.uniform(0.02, 0.3) * cloud(rng, rng.uniform(0.8, 3))
    height += grain * (labels > 0) + rng.uniform(0, 0.08) * cloud(rng, rng.uniform(0.8, 3))
    height += rng.uniform(0, 0.5) * specks(rng, 5, 120) * (labels > 0)
    turn = rng.uniform(0, 2 * np.pi)
    down, across = np.gradient(ndi.gaussian_filter(height, rng.uniform(0.5, 1.6)))
    image = np.cos(turn) * down + np.sin(turn) * across
    return seen(rng, image / (image.std() + 1e-6) * 0.3), labels


def tiled(rng: np.random.Generator, radius: float) -> np.ndarray:
    """Return labels that fill the image: convex cells, or some grown together, with bays."""
    if chance(rng, 0.5):
        labels = shapes(rng, "tiled", radius)
        _, nearest = ndi.distance_transform_edt(labels == 0, return_indices=True)
        return labels[nearest[0], nearest[1]]
    small, large = middles(rng, radius * rng.uniform(0.6, 1.1)), middles(rng, radius * 2.2)
    away = np.hypot(*(small[:, None] - large[None]).transpose(2, 0, 1))
    away *= np.exp(rng.uniform(0, 0.5) * rng.standard_normal(len(large)))
    owner = (away + rng.normal(0, 0.3 * radius, away.shape)).argmin(1)
    bent = rng.uniform(0, 0.3) * radius
    rows, columns = (
        (axis + bent * cloud(rng, rng.uniform(0.3, 1) * radius)).astype(np.float32)
        for axis in np.indices((SCENE, SCENE))
    )
    _, nearest = cKDTree(small).query(np.stack([rows.ravel(), columns.ravel()], 1))
    labels = ndi.median_filter(owner[nearest].reshape(SCENE, SCENE) + 1, 5)
    return labels.astype(np.int32)


def membranes(rng: np.random.Generator) -> Scene:
    """Cells side by side between bright or dark membranes that fade here and there."""
    radius = rng.uniform(8, 24)
    tiles = tiled(rng, radius)
    own, _ = distances(tiles)
    wide = rng.uniform(0.8, 3.0)
    line = np.exp(-((own / wide) ** 2))
    fading = np.clip(1 + rng.uniform(0, 0.7) * cloud(rng, rng.uniform(4, 20)), 0.05, 2)
    image = line * fading + rng.uniform(0, 0.2) * rng.standard_normal(tiles.max() + 1)[tiles]
    image += rng.uniform(0, 0.35) * cloud(rng, rng.uniform(0.6, 4))
    if chance(rng, 0.5):
        nuclei = inner(rng, tiles, radius, rng.uniform(0.4, 0.75))
        image += rng.uniform(-0.8, 0.8) * nuclei * (1 + 0.4 * cloud(rng, 2))
    if chance(rng, 0.4):
        image += either(rng) * rng.uniform(0.2, 0.8) * specks(rng, 10, 120)
    drawn = own > rng.choice([0.0, rng.uniform(0, wide)])
    return seen(rng, image * either(rng)), tiles * drawn


def electrons(rng: np.random.Generator) -> Scene:
    """Cells between dark membranes with vesicles and mitochondria; one or the other is meant."""
    radius = rng.uniform(12, 30)
    tiles = tiled(rng, radius)
    own, _ = distances(tiles)
    image = -rng.uniform(0.5, 1.2) * np.exp(-((own / rng.uniform(0.8, 2.2)) ** 2))
    image += rng.uniform(0, 0.25) * rng.standard_normal(tiles.max() + 1)[tiles]
    parts = Field(rng, 0.3)
    size = radius * rng.uniform(0.2, 0.5)
    for y, x in rng.uniform(0, SCENE, (int(rng.integers(5, 45)), 2)):
        at = int(y), int(x)
        if own[at] < size * 0.7:
            continue
        away = star(rng, size * rng.uniform(0.7, 1.3), rng.uniform(1, 2.6), 0.1, 0)
        parts.put(y, x, size * 2.5, away)
    held = parts.labels > 0
    held &= own > 1.5
    deep, _ = distances(parts.labels * held)
    dark = rng.uniform(0.1, 0.8)
    image -= dark * held
    image -= rng.uniform(0.2, 0.8) * np.exp(-(((deep - 1) / rng.uniform(0.7, 1.5)) ** 2)) * held
    folds = np.sin(cloud(rng, rng.uniform(4, 9)) * rng.uniform(3, 9))
    image += rng.uniform(0, 0.35) * folds * held
    vesicles = (specks(rng, 10, 250) > 0.3) & (own > 2)
    ring = vesicles ^ ndi.binary_erosion(vesicles)
    image -= rng.uniform(0, 0.6) * (ring if chance(rng, 0.6) else vesicles)
    image += rng.uniform(0.05, 0.3) * cloud(rng, rng.uniform(0.6, 1.6))
    if chance(rng, 0.5) and parts.count:
        return seen(rng, image), parts.labels * held
    drawn = own > rng.choice([0.0, rng.uniform(0.5, 2)])
    return seen(rng, image), tiles * drawn


def myelin(rng: np.random.Generator) -> Scene:
    """Axons in dark or bright rings of myelin; the axon is meant, without the ring."""
    radius = rng.uniform(8, 22)
    field = strewn(rng, radius, rng.uniform(2.0, 3.6), rng.uniform(0.15, 0.7),
                   rng.uniform(0.03, 0.18), ratio=0.35, spread=0.4)  # fmt: skip
    labels = field.labels
    own, away = distances(labels)
    thick = radius * rng.uniform(0.1, 0.5) * np.clip(1 + 0.2 * cloud(rng, radius), 0.4, 2)
    ring = np.clip((thick - away) / rng.uniform(0.5, 2) + 0.5, 0, 1) * (labels == 0)
    image = -ring * rng.uniform(0.7, 1.4)
    image += rng.uniform(-0.5, 0.5) * (away > thick)
    image += rng.uniform(-0.3, 0.3) * (labels > 0)
    image += rng.uniform(0, 0.15) * rng.standard_normal(labels.max() + 1)[labels] * (labels > 0)
    if chance(rng, 0.5):  # mitochondria in the axon
        image -= rng.uniform(0.2, 0.9) * (specks(rng, 10, 150) > 0.35) * (own > 1)
    image += rng.uniform(0.05, 0.5) * cloud(rng, rng.uniform(0.7, 3)) * (away > thick)
    image += rng.uniform(0.02, 0.25) * cloud(rng, rng.uniform(0.7, 2))
    return seen(rng, image if chance(rng, 0.75) else -image), labels


def tissue(rng: np.random.Generator) -> Scene:
    """Dark grained nuclei among fibres and fainter ones out of focus, as in H&E."""
    radius = rng.uniform(7, 20)
    rough, spread = rng.uniform(0.02, 0.2), rng.uniform(0.15, 0.4)
    field = strewn(rng, radius, rng.uniform(1.6, 3.5), 0.0, rough, 0, 0.4, spread)
    below = strewn(rng, radius, rng.uniform(2, 5), 0.0, rough, 0, 0.4, spread)
    labels, inside = field.labels, field.labels > 0
    own, _ = distances(labels)
    levels = rng.uniform(0.4, 1.1) * np.clip(1 + 0.3 * rng.standard_normal(field.count + 1), 0.3, 2)
    levels[0] = 0
    image = -levels[labels]
    image -= image * rng.uniform(0, 0.9) * np.clip(cloud(rng, rng.uniform(0.8, 3)), -1, 1)
    pale = rng.random(field.count + 1) < rng.uniform(0, 0.6)  # vesicular: a dark rim, pale inside
    image *= np.where(pale[labels] & (own > rng.uniform(1.2, 3)), rng.uniform(0.2, 0.8), 1)
    out = ndi.gaussian_filter((below.labels > 0).astype(float), rng.uniform(1, 4))
    image -= rng.uniform(0, 0.6) * out * ~inside
    ground = rng.uniform(0, 0.4) * cloud(rng, rng.uniform(1, 8))
    ground -= rng.uniform(0, 0.6) * fibres(rng)
    ground += rng.uniform(0, 0.7) * (cloud(rng, rng.uniform(5, 15)) > rng.uniform(0.5, 2))
    return seen(rng, image + ground * np.where(inside, rng.uniform(0, 0.4), 1)), labels


def stained(rng: np.random.Generator) -> Scene:
    """Cells with a nucleus, often of some lobes, among paler cells; mostly the nucleus is meant."""
    radius = rng.uniform(12, 26)
    field = strewn(rng, radius, rng.uniform(1.9, 3.5), 0.0, 0.06, ratio=0.2, spread=0.15)
    labels = field.labels
    deep = relative(labels)
    nuclei = np.zeros((SCENE, SCENE), bool)
    lobes = int(rng.choice([1, 1, 2, 3, 4]))
    places = ndi.center_of_mass(labels > 0, labels, np.arange(1, field.count + 1))
    share = rng.uniform(0.3, 0.8) * radius
    rows, columns = np.indices((SCENE, SCENE))
    white = rng.random(field.count) < rng.choice([1.0, rng.uniform(0.2, 0.8)])
    for (y, x), has in zip(places, white, strict=True):
        if not has or np.isnan(y):
            continue
        turn = rng.uniform(0, 2 * np.pi)
        for lobe in range(lobes):
            angle = turn + 1.1 * lobe
            off = share * 0.8 * (lobes > 1) + rng.uniform(0, 0.25) * share
            at = y + off * np.sin(angle), x + off * np.cos(angle)
            size = share / lobes**0.4 * rng.uniform(0.85, 1.15)
            away = star(rng, size, float(np.exp(abs(rng.normal(0, 0.25)))), 0.1, 0)
            near = tuple(slice(max(0, int(c - 2 * size)), max(0, int(c + 2 * size))) for c in at)
            nuclei[near] |= away(rows[near] - at[0], columns[near] - at[1]) < 1
    nuclei &= deep > 0.08
    cell, core = rng.uniform(0.03, 0.5), rng.uniform(0.4, 1.2)
    image = -cell * (labels > 0) * np.clip(1 + 0.3 * cloud(rng, rng.uniform(0.8, 3)), 0, 2)
    if chance(rng, 0.4):  # pale in the middle, as red cells
        image += rng.uniform(0.2, 0.9) * cell * deep * ~nuclei
    image -= core * nuclei * np.clip(1 + rng.uniform(0, 0.35) * cloud(rng, 2), 0.2, 2)
    if chance(rng, 0.4):
        own, away = distances(labels)
        line = np.exp(-(((np.where(labels > 0, own, -away)) / rng.uniform(0.8, 2)) ** 2))
        image -= rng.uniform(-0.4, 0.5) * line
    image += rng.uniform(0.01, 0.2) * cloud(rng, rng.uniform(0.8, 6))
    image = seen(rng, image if chance(rng, 0.75) else -image)
    return image, labels * nuclei if chance(rng, 0.85) and nuclei.any() else labels


def crowded(rng: np.random.Generator) -> Scene:
    """Grained ovals that lie close in large pale cells with walls, as chloroplasts do."""
    wall = shapes(rng, "tiled", rng.uniform(30, 60))
    radius = rng.uniform(6, 18)
    field = strewn(rng, radius, rng.uniform(1.5, 2.6), rng.choice([0.0, 0.1]), 0.06, 0, 0.4, 0.15)
    ends, _ = distances(wall)
    labels = field.labels * (ends > 2)
    own, away = distances(labels)
    inside = labels > 0
    image = rng.uniform(0.1, 0.8) * either(rng) * np.minimum(own / (0.5 * radius), 1) * inside
    image += rng.uniform(0.05, 0.5) * cloud(rng, rng.uniform(0.7, 2.2)) * inside
    line = np.exp(-((away / rng.uniform(0.8, 2.5)) ** 2)) * ~inside
    image += either(rng) * rng.uniform(0.1, 0.9) * line
    image += either(rng) * rng.uniform(0, 0.8) * np.exp(-((ends / rng.uniform(1, 3)) ** 2))
    levels = 1 + rng.uniform(0, 0.5) * rng.standard_normal(labels.max() + 1)
    image *= levels[labels]
    image += rng.uniform(0.05, 0.4) * cloud(rng, rng.uniform(1, 8))
    return seen(rng, image), labels


def stained_cells(rng: np.random.Generator) -> Scene:
    """Whole cells in fluorescence, bright round a dark nucleus or with a bright one, that touch."""
    radius = rng.uniform(10, 24)
    field = strewn(rng, radius, rng.uniform(1.5, 2.8), 0.0, rng.uniform(0.05, 0.3),
                   arms=int(rng.integers(0, 5)), ratio=0.4, spread=0.25)  # fmt: skip
    labels = field.labels
    deep = relative(labels)
    levels = np.exp(rng.uniform(0, 0.6) * rng.standard_normal(labels.max() + 1))
    levels[0] = 0
    image = levels[labels] * (0.3 + deep ** rng.uniform(0.2, 1.2))
    image *= np.clip(1 + rng.uniform(0, 0.6) * cloud(rng, rng.uniform(0.8, 4)), 0.1, 3)
    nuclei = inner(rng, labels, radius, rng.uniform(0.4, 0.7))
    image *= np.where(nuclei, rng.uniform(0.2, 1.6), 1)
    if chance(rng, 0.4):
        fibrils = np.abs(cloud(rng, rng.uniform(2, 5))) < 0.15
        image += rng.uniform(0.2, 1.0) * fibrils * (labels > 0)
    image = ndi.gaussian_filter(image, rng.uniform(0.3, 1.5))
    image += rng.uniform(0, 0.3) * ndi.gaussian_filter(image, 6)
    return seen(rng, image if chance(rng, 0.8) else -image), labels


#: What is drawn, and its share of the scenes.
SCENES = {
    anything: 0.15,
    bacteria: 0.13,
    threads: 0.07,
    yeast: 0.05,
    flat_cells: 0.08,
    relief: 0.065,
    membranes: 0.08,
    electrons: 0.09,
    myelin: 0.045,
    tissue: 0.055,
    stained: 0.08,
    crowded: 0.06,
    stained_cells: 0.045,
}

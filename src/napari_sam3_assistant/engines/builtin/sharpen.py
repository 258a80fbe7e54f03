"""Proposals at a finer resolution than the one they were found at."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
from scipy import ndimage as ndi

from napari_sam3_assistant.core.regions import Region

if TYPE_CHECKING:
    from napari_sam3_assistant.engines.builtin.embedding import PlaneFeatures
    from napari_sam3_assistant.engines.builtin.proposals import Proposal


FINER = 2  # octaves
LARGEST = 1024  # side in pixels of the finer octave; what is larger is sharp enough
SIGMA = 1.2  # in pixels of the finer octave


def sharpened(features: PlaneFeatures, candidate: Proposal) -> tuple[Proposal, float]:
    """Return a candidate at a finer octave, and how much of it was really there.

    Its outline follows the grey level half way between inside and outside. A group of
    separate things that ran together at the coarse resolution falls apart here.

    Parameters
    ----------
    features : PlaneFeatures
        The plane.
    candidate : Proposal
        A part of the image at some octave.

    Returns
    -------
    candidate : Proposal
        The same thing, up to ``FINER`` octaves finer.
    coverage : float
        The share of the coarse mask that is still inside, 0 to 1.
    """
    if max(candidate.region.shape) > LARGEST:
        return candidate, 1.0
    octave = max(0, candidate.octave - FINER)
    while max(candidate.region.shape) << (candidate.octave - octave) > LARGEST:
        octave += 1
    size = 2 ** (candidate.octave - octave)
    image = features.octave(octave)
    region = candidate.region.grow(3)
    full = Region(*(value * size for value in region.box))
    kept = full.intersect(Region.whole((image.shape[0], image.shape[1])))
    coarse = np.repeat(np.repeat(np.pad(candidate.mask, 3), size, 0), size, 1)
    coarse = coarse[kept.localise(full).slices]
    values = ndi.gaussian_filter(image[kept.slices], SIGMA, mode="nearest") * candidate.polarity
    depth = ndi.distance_transform_edt(coarse)
    distance = ndi.distance_transform_edt(~coarse)
    rim = (distance > 1) & (distance <= 2 * size + 1)
    if not rim.any():
        return candidate, 1.0
    middle = (float(np.median(values[rim])) + float(np.percentile(values[coarse], 75))) / 2
    found = ndi.binary_fill_holes((values >= middle) & (distance <= size + 1))
    coverage = np.count_nonzero(found & coarse) / np.count_nonzero(coarse)
    mask = ndi.binary_fill_holes(found | (depth > size + 1))
    sharp = replace(candidate, mask=mask, region=kept, octave=octave, convex=0.0)
    return sharp, float(coverage)

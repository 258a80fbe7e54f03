"""The 24 coins of ``skimage.data.coins`` as labels.

Marker-controlled watershed on the Sobel gradient, as the image is known to need (dark corner,
textured coins), then checked by eye: 24 convex parts, one a coin.
"""

from __future__ import annotations

import numpy as np
from scipy import ndimage as ndi


def coins() -> tuple[np.ndarray, np.ndarray]:
    """Return the RGB image and its labels, 1 to 24."""
    from skimage import data
    from skimage.filters import sobel
    from skimage.segmentation import watershed

    grey = data.coins()
    markers = np.zeros(grey.shape, np.int8)
    markers[grey < 30] = 1
    markers[grey > 150] = 2
    filled = ndi.binary_fill_holes(watershed(sobel(grey), markers) == 2)
    smooth = ndi.binary_opening(filled, iterations=5)
    labels, _ = ndi.label(smooth)
    return np.repeat(grey[..., None], 3, 2), labels.astype(np.int32)

"""
# Clicks on one object

A positive click on what you want, a negative one on what you don't.
"""

# %%
# Points are (y, x) in pixels; a third value says whether the pixel belongs to the object.
import matplotlib.pyplot as plt
from skimage.data import coins
from skimage.segmentation import find_boundaries

from napari_sam3_assistant import api

image = coins()
points = [(54, 45, True), (54, 85, False)]
result = api.segment(image, points=points)

coin = result.objects[0]
print(f"{coin.area} pixels, box {coin.bbox}, by the engine {result.engine.engine}")

# %%
# `result.labels` is an ordinary array of whole numbers, as large as the image.
fig, axes = plt.subplots(figsize=(6, 5))
axes.imshow(image, cmap="gray")
axes.contour(find_boundaries(result.labels), [0.5], colors="tab:orange")
for y, x, positive in points:
    axes.plot(x, y, "o", color="lime" if positive else "red")
axes.set_axis_off()
plt.show()

"""
# Everything like an example

A box round one object finds the others that look like it.
"""

# %%
import matplotlib.pyplot as plt
from matplotlib.patches import Rectangle
from skimage.color import label2rgb
from skimage.data import coins

from napari_sam3_assistant import api

image = coins()
y0, x0, y1, x1 = example = (30, 18, 78, 74)
result = api.segment(image, exemplars=[example])
print(f"{len(result.objects)} objects like the one in the box")

fig, axes = plt.subplots(figsize=(6, 5))
axes.imshow(label2rgb(result.labels, image, alpha=0.4, bg_label=0))
axes.add_patch(Rectangle((x0, y0), x1 - x0, y1 - y0, fill=False, edgecolor="yellow"))
axes.set_axis_off()
plt.show()

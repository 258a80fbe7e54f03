"""
# Into napari, by script

The image and the labels in a viewer, with the plugin's window beside them. Leave out
`show=False` and end with `napari.run()` to work on in the window.
"""

# %%
import matplotlib.pyplot as plt
import napari
from skimage.data import coins

from napari_sam3_assistant import api

image = coins()
viewer = napari.Viewer(show=False)
viewer.add_image(image, name="coins")
viewer.add_labels(api.segment(image, text="bright objects").labels, name="coins by phrase")
viewer.window.resize(1200, 800)
dock, widget = viewer.window.add_plugin_dock_widget("napari-sam3-assistant", "SAM3 Assistant")

# %%
picture = viewer.screenshot(canvas_only=False, flash=False)
viewer.close()

plt.figure(figsize=(10, 6))
plt.imshow(picture)
plt.axis("off")
plt.show()

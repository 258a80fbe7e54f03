"""The state of a working session and its verbs. Knows neither Qt nor napari.

``model`` is the only state; ``availability`` says what can't be done; ``session`` does the rest.
"""

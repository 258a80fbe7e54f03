"""Features of results that another plugin has replaced by a table of its own."""

from __future__ import annotations

from typing import TYPE_CHECKING
from weakref import WeakKeyDictionary

from napari_sam3_assistant.viewer.accepted_objects import as_label

if TYPE_CHECKING:
    from collections.abc import Collection

    from napari.layers import Labels

    from napari_sam3_assistant.core.images import Untyped

# What was said of the objects last, an object a row.
_KNOWN: WeakKeyDictionary[Labels, Untyped] = WeakKeyDictionary()


def note_features(layer: Labels) -> None:
    """Remember what a layer's features say of its objects."""
    if "index" in layer.features:
        _KNOWN[layer] = layer.features


def keep_features(layer: Labels, ids: Collection[int]) -> None:
    """Put back what was known of objects, where somebody's table is about others or none.

    What that table says of an object stands beside it: by its column ``index`` or scikit-image's
    ``label``, without either by napari's own rule, the place of its row.

    ``ids``: the objects of the layer.
    """
    table, before = layer.features, _KNOWN.get(layer)
    if before is None or ("index" in table and not set(ids) - set(map(as_label, table["index"]))):
        note_features(layer)
        return
    named = next((name for name in ("index", "label") if name in table), None)
    labels = list(map(as_label, range(len(table)) if named is None else table[named]))
    at = {label: place for place, label in enumerate(labels)}
    places = [at.get(as_label(id_), -1) for id_ in before["index"]]
    come = table.columns.difference([*before.columns, "label"], sort=False)
    # A row of nothing at the end is that of what the table does not tell of.
    rows = table[come].reset_index(drop=True).reindex([*range(len(table)), -1]).iloc[places]
    layer.features = before.assign(**{name: rows[name].to_numpy() for name in come})

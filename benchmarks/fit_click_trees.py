"""Make the trees that rate what a click may mean, and print how good they are on other sets.

Run ``python benchmarks/fit_click_trees.py --data FOLDER [--write FILE]`` where scikit-learn is
installed; the folder is that of ``quality_real.py``. On each object there is a click in its middle
and one beside it. All sets count the same. What is printed is the overlap with the truth that is
picked on each set by trees that were made of the others only, beside that of the worthiest part.
"""

from __future__ import annotations

import argparse
import json
from collections import defaultdict
from pathlib import Path

import numpy as np
from quality_real import REPORTER, Scene, deepest
from scipy import ndimage as ndi

from napari_sam3_assistant.engines.builtin.click_candidates import (
    KNOWN,
    TRAITS,
    best_part,
    candidates_with_traits,
    is_clear,
)
from napari_sam3_assistant.engines.builtin.component_tree import upsample_proposal

BESIDE = 0.5  # of the greatest depth: how far from the outline the other clicks are at least
TREES, RATE, LEAVES, LEAST, SHRINK = 60, 0.12, 4, 150, 5.0
FIELDS = {
    "trait": "feature_idx",
    "most": "num_threshold",
    "low": "left",
    "high": "right",
    "adds": "value",
}


def clicked(path: Path, objects: int) -> list[dict]:
    """Return what may be meant by clicks on some objects of a file, and the overlaps with them."""
    with np.load(path) as data:
        scene = Scene(data["image"], data["labels"])
    rng = np.random.default_rng(1)
    rows = []
    for name in rng.permutation(scene.names)[:objects]:
        truth = scene.labels == name
        depth = ndi.distance_transform_edt(np.pad(truth, 1))[1:-1, 1:-1]
        others = np.argwhere(depth >= BESIDE * depth.max())
        for kind, click in enumerate((deepest(truth), others[rng.integers(len(others))])):
            pixel = (int(click[0]), int(click[1]))
            items, traits, worths = candidates_with_traits(scene.embedding, pixel, REPORTER)
            if not items:
                continue
            overlaps = []
            for item in items:
                patch = upsample_proposal(scene.embedding, item)
                both = np.count_nonzero(truth[patch.region.slices] & patch.mask)
                overlaps.append(both / (patch.area + np.count_nonzero(truth) - both))
            rows.append(
                {
                    "set": path.stem.rsplit("-", 1)[0],
                    "file": path.stem,
                    "kind": kind,
                    "traits": traits.astype(np.float32).astype(np.float64),
                    "worths": worths,
                    "clear": is_clear(scene.embedding, best_part(scene.embedding, pixel, REPORTER)),
                    "overlaps": np.array(overlaps),
                }
            )
    return rows


def fit(rows: list[dict]):
    """Return the boosted trees of some clicks; each set counts the same."""
    from sklearn.ensemble import HistGradientBoostingRegressor

    counts: dict[str, int] = defaultdict(int)
    for row in rows:
        counts[row["set"]] += 1
    weights = np.concatenate([np.full(len(row["worths"]), 1 / counts[row["set"]]) for row in rows])
    trees = HistGradientBoostingRegressor(
        max_iter=TREES,
        learning_rate=RATE,
        max_leaf_nodes=LEAVES,
        min_samples_leaf=LEAST,
        l2_regularization=SHRINK,
        early_stopping=False,
    )
    traits = np.concatenate([row["traits"] for row in rows])
    overlaps = np.concatenate([row["overlaps"] for row in rows])
    return trees.fit(traits, overlaps, sample_weight=weights / weights.mean())


def as_lists(trees) -> dict[str, list]:
    """Return the fields of the trees' nodes; a leaf leads to itself."""
    tables: dict[str, list] = {name: [] for name in FIELDS}
    for (tree,) in trees._predictors:  # noqa: SLF001  it has no public way to its nodes
        nodes = tree.nodes
        leaf, own = nodes["is_leaf"].astype(bool), np.arange(len(nodes))
        leaves = {"trait": 0, "most": 0, "low": own, "high": own, "adds": nodes["value"]}
        for name, field in FIELDS.items():
            values = np.where(leaf, leaves[name], 0 if name == "adds" else nodes[field])
            values = np.pad(values, (0, 2 * LEAVES - 1 - len(nodes)))
            is_index = name in ("trait", "low", "high")
            values = values.astype(int) if is_index else values.astype(float).round(5)
            tables[name].append(values.tolist())
    return tables


def mean_of_sets(rows: list[dict], picked: list[float], average) -> dict[str, float]:
    """Return the average of what was picked on each set, of its files."""
    files: dict[str, dict[str, list]] = defaultdict(lambda: defaultdict(list))
    for row, value in zip(rows, picked, strict=True):
        files[row["set"]][row["file"]].append(value)
    return {
        name: float(np.mean([average(values) for values in some.values()]))
        for name, some in files.items()
    }


def main() -> None:
    """Print the judgement, and write the trees that were made of all sets."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--objects", type=int, default=8, help="of each image")
    parser.add_argument("--write", type=Path, help="file of the trees")
    options = parser.parse_args()
    rows = []
    for path in sorted(options.data.glob("*.npz")):
        if not path.stem.startswith("stack"):
            rows += clicked(path, options.objects)
            print(path.stem, len(rows), flush=True)
    before = [
        row["overlaps"][np.where(row["traits"][:, 1] > 0, -np.inf, row["worths"]).argmax()]
        for row in rows
    ]
    after = [0.0] * len(rows)
    for name in sorted({row["set"] for row in rows}):
        trees = fit([row for row in rows if row["set"] != name])
        for index, row in enumerate(rows):
            if row["clear"]:
                after[index] = before[index]
            elif row["set"] == name:
                values = trees.predict(row["traits"]) + KNOWN * row["worths"]
                after[index] = row["overlaps"][values.argmax()]
    for kind, title in enumerate(("in the middle", "beside it")):
        some = [index for index, row in enumerate(rows) if row["kind"] == kind]
        for average in (np.mean, np.median):
            old, new, best = (
                mean_of_sets([rows[k] for k in some], [values[k] for k in some], average)
                for values in (before, after, [row["overlaps"].max() for row in rows])
            )
            figures = (np.mean(list(some.values())) for some in (old, new, best))
            print(f"{title}, {average.__name__}: %.3f -> %.3f of %.3f" % tuple(figures))
            print("  " + ", ".join(f"{name} {new[name] - old[name]:+.3f}" for name in new))
    if options.write:
        trees = fit(rows)
        fields = {"traits": TRAITS, **as_lists(trees)}
        lines = [f'"{name}": {json.dumps(value)}' for name, value in fields.items()]
        options.write.write_text("{\n" + ",\n".join(lines) + "\n}\n")


if __name__ == "__main__":
    main()

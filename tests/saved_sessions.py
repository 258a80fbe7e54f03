"""What a person would miss of a session, as values that can be compared; keys are left out."""

import threading
import time

import numpy as np
from napari.components import ViewerModel

from napari_sam3_assistant.core.progress import deliver_inline
from napari_sam3_assistant.session.saved import CHOICES
from napari_sam3_assistant.session.settings import MemorySettings
from napari_sam3_assistant.viewer.binding import binding_for
from napari_sam3_assistant.viewer.roles import is_put_away, key_of, role_of, slot_of
from napari_sam3_assistant.viewer.saved_layers import DERIVED

NAMES_LAYERS = ("image", "points_layer", "shapes_layer", "labels_layer", "active_rois")


def new_binding(viewer=None):
    return binding_for(viewer or ViewerModel(), deliver_inline, MemorySettings())


def wait_idle(binding):
    """Wait for the job that is going, and for those that follow from it."""
    wait_until(lambda: not binding.model.running)


def wait_until(is_so):
    """Wait for what another thread does."""
    end = time.monotonic() + 240
    while not is_so():
        assert time.monotonic() < end
        threading.Event().wait(0.01)


def save(binding, folder, **options):
    job = binding.session.storing.save(folder, **options)
    assert job.wait(240)
    if job.error is not None:
        raise job.error


def open_in_new(folder, ask=None):
    """Open a session in a viewer of its own."""
    binding = new_binding()
    if ask is not None:
        binding.session.opening.ask_place = ask
    opened = threading.Event()
    binding.session.opening.opened.connect(lambda _: opened.set())
    job = binding.session.opening.open(folder)
    assert job.wait(240)
    if job.error is not None:
        binding.close()
        raise job.error
    assert opened.wait(240)
    return binding


def facts(binding):
    """Return all that counts of a session."""
    model, session = binding.model, binding.session
    names = {key_of(layer): layer.name for layer in binding.viewer.layers}
    rows = session.results
    return {
        # What was emptied to be used again is made anew when it is.
        "layers": [
            _layer(layer, names)
            for layer in binding.viewer.layers
            if not is_put_away(layer)
            and (role_of(layer) not in DERIVED or getattr(layer, "nshapes", 1))
        ],
        "previews": [_preview(one, names) for one in model.previews],
        "rows": sorted(
            (_place(row, names), row.record.id, row.record.area, row.record.region.box,
             row.record.score, row.record.text, _measured(row.measured))
            for row in (*rows.everything, *rows.kept, *rows.of_frames)
        ),
        "choices": {
            name: getattr(model, name) for name in CHOICES if name not in NAMES_LAYERS
        },
        "image": names.get(model.image, model.image),
        "chosen": [names.get(getattr(model, name), "") for name in NAMES_LAYERS[1:4]],
        "kept": model.kept,
        "filters": (session.filtering.ranges, session.filtering.count()),
        "annotation": (session.annotation.model.source, session.annotation.model.name),
        "undo": (model.can_undo, model.can_redo),
        "refining": model.refining,
        "propagated": None if model.propagated is None else
        (_target(model.propagated.target, names), model.propagated.axis),
        "ids": model.propagated_ids,
        "lineage": session.propagation.tracks.parents,
        "hidden": session.propagation.tracks.hidden,
        "steps": None if session.propagation.provenance is None
        else session.propagation.provenance.steps,
        "dims": (tuple(binding.viewer.dims.point), tuple(binding.viewer.dims.order)),
        "selected": sorted(layer.name for layer in binding.viewer.layers.selection),
    }  # fmt: skip


def walk_steps(binding):
    """Take all steps of undo back and make them again; return what was there at each."""
    model, session, seen = binding.model, binding.session, []

    def go(verb):
        verb()
        wait_idle(binding)
        seen.append(_step(binding))

    taken_back = made = 0
    while model.can_undo:
        go(session.undo)
        taken_back += 1
    while model.can_redo:
        go(session.redo)
        made += 1
    for _ in range(made - taken_back):
        go(session.undo)
    return seen


def _step(binding):
    names = {key_of(layer): layer.name for layer in binding.viewer.layers}
    held = [
        (layer.name, [np.asarray(one).tobytes() for one in _arrays(layer)])
        for layer in binding.viewer.layers
        if type(layer).__name__ != "Image" and role_of(layer) not in DERIVED
    ]
    rows = binding.session.results.kept
    return {
        "previews": [_preview(one, names) for one in binding.model.previews],
        "layers": sorted(held, key=lambda one: one[0]),
        "kept": sorted(
            (_place(row, names), row.record.id, row.record.area, row.record.region.box,
             row.record.score, row.record.text, row.record.class_name)
            for row in rows
        ),
        "refining": binding.model.refining,
        "lineage": binding.model.lineage,
        "undo": (binding.model.can_undo, binding.model.can_redo),
    }  # fmt: skip


def _arrays(layer):
    several = isinstance(layer.data, list) or getattr(layer, "multiscale", False)
    return layer.data if several else [layer.data]


def _layer(layer, names):
    told = {
        "name": layer.name, "type": type(layer).__name__, "role": role_of(layer),
        "slot": (names.get(slot_of(layer)[0], ""), slot_of(layer)[1]),
        "visible": layer.visible, "opacity": round(layer.opacity, 6),
        "scale": tuple(np.round(layer.scale, 9)), "translate": tuple(np.round(layer.translate, 9)),
        "affine": np.round(layer.affine.affine_matrix, 9).tolist(),
        "units": tuple(map(str, layer.units)), "labels": tuple(layer.axis_labels),
    }  # fmt: skip
    data = map(np.asarray, _arrays(layer))
    told["data"] = [(one.shape, str(one.dtype), one.tobytes()) for one in data]
    if hasattr(layer, "features"):
        table = layer.features
        told["features"] = {name: [_plain(one) for one in table[name]] for name in table.columns}
    for name in ("contrast_limits", "gamma", "contour", "selected_label", "rgb"):
        if hasattr(layer, name):
            value = getattr(layer, name)
            told[name] = tuple(value) if isinstance(value, list | tuple) else value
    if type(layer).__name__ == "Image":
        told["colormap"] = np.round(layer.colormap.colors, 6).tolist()
    if type(layer).__name__ == "Tracks":
        told["graph"] = layer.graph
    if type(layer).__name__ == "Points":
        told["colours"] = np.round(layer.face_color, 6).astype(np.float32).tolist()
    if type(layer).__name__ == "Shapes":
        told["shapes"] = list(map(str, layer.shape_type))
    return told


def _plain(value):
    value = value.item() if isinstance(value, np.generic) else value
    return "nan" if isinstance(value, float) and value != value else value


def _preview(preview, names):
    found = preview.segmentation
    groups = (found.objects, preview.hidden, found.candidates)
    run = preview.provenance
    return (
        _target(preview.target, names), preview.label, preview.seconds, preview.edited,
        preview.by_hand,
        preview.ranges, preview.replaces, dict(preview.added),
        found.region, found.engine, found.notes,
        found.labels.tobytes(), [[_record(one) for one in group] for group in groups],
        None if run is None else (
            _prompts(run.prompts), run.options, run.engine, run.region, run.notes,
            len(run.view.channels), run.view.channels[0].plane, run.view.channels[0].display.key,
        ),
    )  # fmt: skip


def _prompts(prompts):
    masks = [(one.region, one.mask.tobytes(), one.object_id) for one in prompts.masks]
    return (
        prompts.points,
        prompts.boxes,
        prompts.exemplars,
        prompts.text,
        prompts.everything,
        masks,
    )


def _record(record):
    soft = record.soft
    return (
        record.id, record.region, record.mask.tobytes(), record.score, record.text,
        record.stability,
        record.class_name,
        None if soft is None else
        (soft.values.tobytes(), soft.first, soft.grid, soft.area, soft.clip, soft.logits),
    )  # fmt: skip


def _target(target, names):
    return (names.get(target.image, target.image), target.axes, target.plane, target.shape)


def _place(row, names):
    return (type(row.preview).__name__, row.preview.target.name, row.preview.target.plane.leading,
            getattr(row.preview, "label", ""))  # fmt: skip


def _measured(measured):
    return None if measured is None else tuple(sorted(measured.values().items()))


def assert_same(one, other):
    """Compare two sessions part by part, so that what differs is named."""
    for name, value in one.items():
        if name == "layers":
            mine = [layer["name"] for layer in value]
            assert mine == [layer["name"] for layer in other[name]]
            for mine, theirs in zip(value, other[name], strict=True):
                for part, told in mine.items():
                    assert theirs.get(part) == told, (mine["name"], part)
        else:
            assert other[name] == value, name

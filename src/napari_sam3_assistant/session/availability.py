"""What can't be done now, and why: a pure function of the state and the engine's card."""

from __future__ import annotations

from typing import TYPE_CHECKING

from napari_sam3_assistant.core.lengths import Length
from napari_sam3_assistant.core.prompts import (
    NOT_DRAWN,
    SEARCHES,
    SIGNED,
    Joining,
    PromptKind,
    Task,
    Tool,
    prompt_kind,
)
from napari_sam3_assistant.core.results import has_soft_masks
from napari_sam3_assistant.core.tracks import Direction
from napari_sam3_assistant.errors import PromptError
from napari_sam3_assistant.session.values import WhyNot
from napari_sam3_assistant.workflows.track_prompts import check_limits

if TYPE_CHECKING:
    from napari_sam3_assistant.engines.base import EngineSpec
    from napari_sam3_assistant.session.model import ScanModel, SessionModel
    from napari_sam3_assistant.session.values import Preview, PromptCounts


_MISSING = {
    PromptKind.POINTS: "Click on the object in the image first.",
    PromptKind.BOXES: "Draw a box around an object in the image first.",
    PromptKind.EXEMPLARS: "Draw a box around one example object first.",
    PromptKind.MASK: "Paint over the object in the image first.",
    PromptKind.TEXT: "Type a phrase first.",
}


def no_preview(model: SessionModel, message: str = "There is no preview yet.") -> PromptError:
    """Return the error that there is nothing yet of a run, which says how there will be."""
    start = "Start 3D Propagation" if model.task is Task.VIDEO else "Run Preview"
    return PromptError(message, model.why_not.run or model.why_not_live or f"Press {start} first.")


def resolve(model: SessionModel, scan_model: ScanModel, spec: EngineSpec) -> WhyNot:
    """Return why each thing that the user can ask for can't be done now."""
    run = _why_not_run(model, spec)
    wait = _WAIT if model.running else ""
    # The latest result may be one without objects, beside others that have some.
    found = any(preview.segmentation.objects for preview in model.previews)
    stack = model.propagated is not None
    go_on = _why_not_go_on(model)
    kind, prompts = prompt_kind(model.task, model.tool), model.prompts
    signed = kind in SIGNED
    drawn = prompts.positive or prompts.negative or prompts.boxes or prompts.painted
    # What the run is about to find can be accepted before.
    awaited = model.running and drawn and kind not in NOT_DRAWN and model.task is not Task.VIDEO
    return WhyNot(
        run=run,
        cancel="" if model.running else "Nothing is running",
        clear="" if model.previews or stack else "There is no preview to clear yet",
        undo="" if model.can_undo else "There is nothing to take back",
        redo="" if model.can_redo else "Nothing was taken back",
        accept="" if found or awaited else "There is no preview to accept yet",
        accept_all=wait or ("" if stack else "There is nothing propagated yet"),
        refine="" if found else "There is no preview to refine yet",
        follow=_why_not_follow(model, spec, has_objects=found),
        save=_why_not_save(model, has_result=found) or (wait if stack else ""),
        # Copying a stack is a job of its own.
        save_file=(wait if stack else "") if found or stack or model.kept else _NOTHING_TO_SAVE,
        save_and_clean=_why_not_save_and_clean(model) or wait,
        figure=wait or ("" if model.image else "Open an image first"),
        go_on=go_on,
        remove_object=go_on or ("" if model.tracked else "No object is followed"),
        export_tracks=wait if stack else "There is nothing propagated yet",
        correct_tracks=wait if stack else "There is nothing propagated yet",
        scan=_why_not_scan(model, scan_model, run),
        batch_folder=_why_not_batch_folder(model, scan_model, spec),
        encode_folder=_why_not_encode_folder(model, scan_model, spec),
        merge_rois=_why_not_merge(model),
        batch_images=_NO_BATCH.get(model.task, ""),
        batch_text="" if model.task is Task.TEXT else "Choose the task Text segmentation first",
        large_image=_NO_REGION if model.task is Task.VIDEO else "",
        text=_why_no_text(model),
        polarity="" if signed else "Choose the prompt type Points, or Exemplar, first",
        prompt_layer=_why_no_prompt_layer(model),
        load=spec.why_no_planes or _why_not_load(model, spec),
        load_video=_why_no_video(spec) or _why_not_load(model, spec),
        unload="" if _is_loaded(model, spec) else "No model is loaded",
        test_server="" if model.compute else "Choose a server first",
        validate="" if model.model_folder else "Choose a model folder first",
        encode_ahead=_why_not_encoded(spec),
        results="" if model.results else "There are no results yet",
        export_results=wait or ("" if model.results else "There are no results yet"),
        measure=why_not_measure(model) or wait,
        soft_masks=_why_no_soft_masks(model, spec),
    )


def _why_not_run(model: SessionModel, spec: EngineSpec) -> str:
    image = model.chosen_image
    if image is None:
        return model.no_image
    if image.why_not and not model.runs_all_images:
        return image.why_not
    kind = prompt_kind(model.task, model.tool)
    if refused := _why_engine_refuses(model, spec, kind):
        return refused
    if missing := _why_no_model(model, spec):
        return missing
    if _has_prompt(kind, model.prompts, model.text) or model.phrases:
        return ""
    return _why_no_prompt(model, kind)


def _why_no_prompt(model: SessionModel, kind: PromptKind) -> str:
    if kind is PromptKind.POINTS and model.prompts.negative and _may_refine(model):
        return ""
    if model.prompts.elsewhere and model.task is Task.VIDEO:
        return "The prompts are at another position of the other sliders. Go there, or prompt here."
    if model.prompts.elsewhere and kind not in NOT_DRAWN:
        return "The prompts are on another slice. Go there, or prompt on this slice."
    if model.prompts.outside and kind not in NOT_DRAWN:
        return "The prompts are flat or beside the image. Prompt on the object."
    if kind is PromptKind.POINTS and model.prompts.negative:
        return "All points are negative. Add a positive point on the object."
    if kind is PromptKind.EXEMPLARS and model.prompts.negative:
        return "All examples are negative. Add a positive one of what you look for."
    return _MISSING[kind]


def _may_refine(model: SessionModel) -> bool:
    """Return whether a negative click alone may be on an object that it corrects."""
    clicked = any(preview.made_by(PromptKind.POINTS) for preview in model.previews)
    return bool(model.refining) or (bool(model.previews) and not clicked)


def _why_no_model(model: SessionModel, spec: EngineSpec) -> str:
    if spec.needs_weights and not (model.model_folder or model.compute):
        return f"{spec.title} needs its weights. Use Choose model folder."
    if spec.needs_weights and not model.load_when_running and model.device_in_use is None:
        if model.compute:
            return "The server is not connected. Press Connect, or tick Load model when running."
        button = "Load 3D/Video Model" if spec.why_no_planes else "Load 2D Model"
        return (
            f"The model is not loaded. In Advanced, press {button}, or tick "
            "Load model when running."
        )
    return ""


def _why_not_planes(spec: EngineSpec, kind: PromptKind) -> str:
    if kind in spec.accepts:
        return ""
    return spec.why_no_planes or f"{spec.title} does not take this prompt. {spec.what_instead}"


def _why_engine_refuses(model: SessionModel, spec: EngineSpec, kind: PromptKind) -> str:
    if model.task is Task.VIDEO and not model.frame_axes:
        return _NO_STACK
    return _why_kind_is_refused(model, spec, kind)


def _why_kind_is_refused(model: SessionModel, spec: EngineSpec, kind: PromptKind) -> str:
    if spec.takes_diameter and kind in NOT_DRAWN and model.diameter.strip():
        try:
            Length.parse(model.diameter)
        except PromptError as error:
            return f"{error}"
    if model.task is not Task.VIDEO:
        return _why_not_planes(spec, kind)
    if kind is PromptKind.EVERYTHING and model.everything.joining is not Joining.VIDEO:
        return _why_not_planes(spec, kind)
    counts = model.prompts
    boxes = counts.boxes if kind is PromptKind.BOXES else 0
    try:
        check_limits(spec, frozenset({kind}), points=counts.most_points, boxes=boxes)
    except PromptError as error:
        return str(error)
    return ""


def _why_not_follow(model: SessionModel, spec: EngineSpec, *, has_objects: bool) -> str:
    if not model.frame_axes:
        return _NO_STACK
    if missing := _why_no_model(model, spec):
        return missing
    if not (has_objects or model.kept):
        return "Find or accept an object on a slice first."
    try:
        check_limits(spec, frozenset({PromptKind.MASK}))
    except PromptError as error:
        return str(error)
    return ""


def _why_not_go_on(model: SessionModel) -> str:
    if not model.can_continue:
        return "Start a propagation first: this goes on with its objects."
    return "Wait for the run to end." if model.running else ""


def _has_prompt(kind: PromptKind, counts: PromptCounts, text: str) -> bool:
    """Return whether there is a prompt of a kind."""
    by_kind = {
        PromptKind.POINTS: counts.positive,
        PromptKind.BOXES: counts.boxes,
        PromptKind.EXEMPLARS: counts.positive,
        PromptKind.MASK: counts.painted,
        PromptKind.TEXT: text.strip(),
        PromptKind.EVERYTHING: True,
    }
    return bool(by_kind[kind])


_NO_STACK = "This image has no z or time axis. Open a stack for 3D/video, or choose the task 2D."
_RUNNING = "Wait for the run to end, or cancel it."
NO_SOURCE = "Choose the folder of the images first."
_WAIT = "Wait for the run to end"
_NOTHING_TO_SAVE = "There is no preview to save yet"
_NO_BATCH = {
    Task.LIVE_POINTS: "Live Points correct one image; choose another task for a batch",
    Task.VIDEO: "3D/video goes through one stack; choose a 2D task for a batch",
}
_IS_LAYER = (
    "What you accepted is a layer already, “SAM3 live accepted labels”; Save writes it to disk"
)
_NO_REGION = "3D/video follows objects on whole slices; choose a 2D task for a region"


def is_worth_a_scan(model: SessionModel, scan_model: ScanModel) -> bool:
    """Return whether a scan can find what was chosen, and would be of more than one tile."""
    image = model.chosen_image
    return _takes_scans(model) and image is not None and max(image.shape) > scan_model.scan_tile


def _takes_scans(model: SessionModel) -> bool:
    """Return whether the chosen task and tool say what to look for everywhere."""
    return model.task is not Task.VIDEO and prompt_kind(model.task, model.tool) in SEARCHES


def _why_not_scan(model: SessionModel, scan_model: ScanModel, run: str) -> str:
    if model.chosen_image is None:
        return "Open an image first."
    if not _takes_scans(model):
        return (
            "A scan finds everything that a phrase or an example names. Choose the task Text, "
            "Exemplar or Everything."
        )
    if model.phrases:
        return "A scan takes one phrase. Empty Batch text prompts first."
    if model.running:
        return _RUNNING
    return _why_no_tiles(scan_model) or run


def _why_not_batch_folder(model: SessionModel, scan_model: ScanModel, spec: EngineSpec) -> str:
    if model.task is Task.LIVE_POINTS:
        return "Live Points correct one image. Choose another task for a folder."
    kind = prompt_kind(model.task, model.tool)
    if kind is PromptKind.MASK:
        return "A painted mask fits one image only. Choose a phrase, boxes or points for a folder."
    if refused := _why_kind_is_refused(model, spec, kind):
        return refused
    if refused := _why_not_stacks(model, scan_model, kind) or _why_not_tiles(model, scan_model):
        return refused
    if missing := _why_no_model(model, spec):
        return missing
    if not (_has_prompt(kind, model.prompts, model.text) or model.phrases):
        return (
            "Type a phrase first."
            if kind is PromptKind.TEXT
            else "Draw the prompt on the image on show first; it is used at the same pixels of "
            "every image."
        )
    if not scan_model.folder_source.strip():
        return NO_SOURCE
    if not scan_model.folder_output.strip():
        return "Choose the folder for the labels first."
    return _RUNNING if model.running else ""


def _why_not_stacks(model: SessionModel, scan_model: ScanModel, kind: PromptKind) -> str:
    """Return why the stacks of a folder can't be followed; empty for another task, too."""
    if model.task is not Task.VIDEO:
        return ""
    if scan_model.folder_format == ".png":
        return "PNG holds one plane. Choose TIFF, NumPy or OME-Zarr for labels of stacks."
    if kind in NOT_DRAWN and model.direction is Direction.BACKWARD:
        return (
            "What is not drawn is looked for from the first frame of each stack on. Choose the "
            "direction forward or both."
        )
    return ""


def _why_not_tiles(model: SessionModel, scan_model: ScanModel) -> str:
    """Return why the images of a folder can't be scanned; empty where they shall not be."""
    if not scan_model.folder_tiles or model.task is Task.VIDEO:
        return ""
    if not _takes_scans(model):
        return (
            "A scan finds everything that a phrase or an example names. Choose the task Text, "
            "Exemplar or Everything, or untick Tile by tile."
        )
    return _why_no_tiles(scan_model)


def _why_no_tiles(scan_model: ScanModel) -> str:
    """Return why the size and overlap of tiles can't be used."""
    try:
        scan_model.tiles()
    except PromptError as error:
        return str(error)
    return ""


def _why_not_encoded(spec: EngineSpec) -> str:
    if spec.needs_weights:
        return ""
    return f"{spec.title} encodes nothing. Choose a SAM 3 engine."


def _why_not_encode_folder(model: SessionModel, scan_model: ScanModel, spec: EngineSpec) -> str:
    if refused := _why_not_encoded(spec) or spec.why_no_planes or _why_no_model(model, spec):
        return refused
    if not scan_model.folder_source.strip():
        return NO_SOURCE
    if not model.encodings_folder.strip():
        return "Choose the folder of encodings first: Encodings in Step 1."
    return _RUNNING if model.running else ""


def regions_to_merge(model: SessionModel) -> tuple[Preview, ...]:
    """Return the results of regions that lie on the plane of the latest one, the latest last."""
    local = [
        preview
        for preview in model.previews
        if preview.segmentation.objects
        and preview.provenance is not None
        and preview.provenance.region is not None
    ]
    return tuple(preview for preview in local if preview.target == local[-1].target)


def _why_not_merge(model: SessionModel) -> str:
    if not regions_to_merge(model):
        return (
            "There is no result of a region yet. Tick Enable large-image local inference and run."
        )
    return _RUNNING if model.running else ""


def _why_not_save(model: SessionModel, *, has_result: bool) -> str:
    if has_result or model.propagated is not None:
        return ""
    return _IS_LAYER if model.kept else _NOTHING_TO_SAVE


def _why_not_save_and_clean(model: SessionModel) -> str:
    found = any(preview.segmentation.objects for preview in model.previews)
    if not found and not model.kept and model.propagated is None:
        return _NOTHING_TO_SAVE
    if not model.output_folder.strip():
        return "Choose an output folder first"
    if model.propagated is not None and model.output_format == ".png":
        return "PNG holds one plane; choose TIFF, NumPy or OME-Zarr for propagated labels"
    return ""


_NO_PHRASE = "Choose the task Text segmentation, or the prompt type Text only, first"
_REPLACED = "The batch text prompts of Advanced mode run in its place; clear them to use this line."


def _why_no_text(model: SessionModel) -> str:
    return _REPLACED if model.phrases else "" if model.tool is Tool.TEXT else _NO_PHRASE


def _why_no_prompt_layer(model: SessionModel) -> str:
    if model.tool is Tool.TEXT:
        return "A phrase needs no prompt layer"
    if not model.tool.has_layer:
        return "Nothing has to be drawn to find everything"
    return "" if model.image else "Open an image first"


def _is_loaded(model: SessionModel, spec: EngineSpec) -> bool:
    return (spec.needs_weights or bool(model.compute)) and model.device_in_use is not None


def _why_not_load(model: SessionModel, spec: EngineSpec) -> str:
    if not (spec.needs_weights or model.compute):
        return f"{spec.title} has no model to load"
    if not (model.model_folder or model.compute):
        return "Choose a model folder first"
    if model.running:
        return _WAIT
    if not _is_loaded(model, spec):
        return ""
    return "The server is connected" if model.compute else "The model is loaded"


def _why_no_video(spec: EngineSpec) -> str:
    return "" if spec.video is not None else f"{spec.title} can't follow objects"


def why_not_measure(model: SessionModel) -> str:
    """Return why nothing can be measured; empty if something can."""
    return "" if model.results else "There are no results yet"


def _why_no_soft_masks(model: SessionModel, spec: EngineSpec) -> str:
    if spec.soft_masks or any(
        has_soft_masks(preview.segmentation.objects) for preview in model.previews
    ):
        return ""
    return f"{spec.title} gives no soft masks. Choose a SAM 3 engine."

"""Where a scan that nobody has named goes on, or begins."""

from __future__ import annotations

from dataclasses import replace
from glob import escape
from typing import TYPE_CHECKING

from napari_sam3_assistant.core.progress import Progress
from napari_sam3_assistant.io.atomic import explained
from napari_sam3_assistant.io.free_name import free_name, split_ending
from napari_sam3_assistant.io.scan_folder import is_folder_of, output_of
from napari_sam3_assistant.workflows.scan import scan_identity

if TYPE_CHECKING:
    from napari_sam3_assistant.core.progress import Reporter
    from napari_sam3_assistant.engines.embeddings import EncodingEngine
    from napari_sam3_assistant.workflows.scan_values import ScanRequest


def placed(engine: EncodingEngine, request: ScanRequest, reporter: Reporter) -> ScanRequest:
    """Return a request whose output is free, or belongs to the same scan on its way.

    Parameters
    ----------
    engine : EncodingEngine
        The engine of the scan; it is loaded if it is not.
    request : ScanRequest
        Its output is the name that is wanted; ``name_02``, ``name_03``, ... are others. The
        folder that it lies in is made.
    reporter : Reporter
        Is told of the progress, and stops the work.

    Raises
    ------
    ExportError
        If the folder can't be made.
    """
    reporter.report(Progress(0, 0, f"Loading {engine.spec.title}"))
    engine.load(reporter)
    identity = scan_identity(engine, request)
    parent, (stem, ending) = request.output.parent, split_ending(request.output.name)
    with explained(parent):
        parent.mkdir(parents=True, exist_ok=True)
        on_the_way = sorted(parent.glob(f"{escape(stem)}*{ending}.scan"))
    for folder in on_the_way:
        if is_folder_of(folder, identity) and not output_of(folder).exists():
            return replace(request, output=output_of(folder))
    taken = {output_of(folder).name.lower() for folder in on_the_way}
    return replace(request, output=free_name(request.output, taken))

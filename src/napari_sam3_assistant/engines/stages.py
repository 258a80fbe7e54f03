"""Let long calls of the model be watched and stopped between its layers."""

from __future__ import annotations

from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any

from napari_sam3_assistant.core.progress import Progress

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from napari_sam3_assistant.core.progress import Reporter


@contextmanager
def watched(
    layers: Sequence[Any], message: str, reporter: Reporter, check: Callable[[], None]
) -> Iterator[None]:
    """Report and check before each of some layers runs, while in the block.

    Parameters
    ----------
    layers : sequence of torch.nn.Module
        Layers that run once each, in this order.
    message : str
        What they do, for the status line.
    reporter : Reporter
        Is told before each layer; what it raises stops the model.
    check : callable
        Raises when the work shall stop for another reason.
    """

    def before(number: int) -> Callable[..., None]:
        def hook(_module: object, _arguments: object) -> None:
            check()
            reporter.report(Progress(number, len(layers), message))

        return hook

    with ExitStack() as stack:
        for number, layer in enumerate(layers):
            handle = layer.register_forward_pre_hook(before(number))
            stack.callback(handle.remove)
        yield

"""Find out which devices PyTorch has on this machine."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from napari_sam3_assistant.core.progress import Progress
from napari_sam3_assistant.engines.device import device_options, pick_device, read_devices

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from napari_sam3_assistant.core.progress import Reporter
    from napari_sam3_assistant.engines.device import DeviceChoice


@dataclass(frozen=True, slots=True)
class FoundDevices:
    """The devices of this machine.

    Parameters
    ----------
    options : mapping of str to str
        Those that can be chosen, each with its name for the user.
    automatic : DeviceChoice
        What ``auto`` takes, and why.
    """

    options: Mapping[str, str]
    automatic: DeviceChoice


def find_devices(reporter: Reporter) -> Iterator[FoundDevices]:
    """Yield the devices; this starts PyTorch, which takes seconds."""
    reporter.report(Progress(0, 1, "Looking for devices"))
    devices = read_devices()
    yield FoundDevices(device_options(devices), pick_device("auto", devices))

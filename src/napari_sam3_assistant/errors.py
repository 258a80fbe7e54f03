"""The errors that a user may see.

Each holds what happened (``message``) and what to do about it (``hint``)::

    Sam3AssistantError
    ├── PromptError            the prompts can't be used as they are
    ├── ImageError             the image can't be read or has no such plane
    ├── MaskError              labels can't be worked on as they are
    ├── EngineError            an engine could not do its work
    │   ├── EngineNotInstalled a package that the engine needs is missing
    │   ├── CheckpointNotFound the model folder or its weights are not there
    │   ├── CheckpointInvalid  the weights can't be used
    │   ├── DownloadError      the weights could not be fetched
    │   ├── DeviceUnavailable  the GPU that was asked for does not work
    │   └── OutOfDeviceMemory  the model and the image do not fit into the memory
    ├── ExportError            a result could not be written
    │   └── NameTaken          a file or a folder of that name is there already
    └── JobCancelled           the user stopped the work

Anything else that is raised is a fault of ours and keeps its traceback.
"""


class Sam3AssistantError(Exception):
    """Base of every error that is worded for the user.

    Parameters
    ----------
    message : str
        What happened, with the values that matter.
    hint : str
        What the user can do about it.
    """

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.message} {self.hint}".strip()


class PromptError(Sam3AssistantError):
    """The prompts can't be used as they are."""


class NothingNew(PromptError):
    """All of these pixels are accepted already."""


class ImageError(Sam3AssistantError):
    """The image can't be read, or has no such plane."""


class MaskError(Sam3AssistantError):
    """Labels can't be worked on as they are, or as was asked."""


class EngineError(Sam3AssistantError):
    """An engine could not do its work."""


class EngineNotInstalled(EngineError):
    """A package that the engine needs is missing."""


class CheckpointNotFound(EngineError):
    """The model folder, or its weights, are not there."""


class CheckpointInvalid(EngineError):
    """The weights are incomplete, of another model, or can't be read."""


class DownloadError(EngineError):
    """The weights could not be fetched."""


class DeviceUnavailable(EngineError):
    """The device that was asked for is not there or does not work."""


class OutOfDeviceMemory(EngineError):
    """The model and the image do not fit into the device's memory."""


class ExportError(Sam3AssistantError):
    """A result could not be written."""


class SessionError(Sam3AssistantError):
    """A saved session can't be opened, or not be written."""


class NameTaken(ExportError):
    """A file or a folder of that name is there already, and shall not be replaced."""


NO_MEMORY = "The computer has not enough free memory. Close other programs, or use a smaller image."


class JobCancelled(Sam3AssistantError):
    """The user stopped the work.

    Attributes
    ----------
    partial : object
        What was found until then, where that is of use: a :class:`.workflows.segment.Segmentation`
        of everything on a plane. Else None.
    """

    def __init__(self) -> None:
        super().__init__("Cancelled.")
        self.partial: object = None

    def __reduce__(self) -> tuple[type, tuple[()]]:
        # It takes no message, and comes from other processes, too.
        return JobCancelled, ()

"""Turn the errors of the Hugging Face Hub, the network and the disk into sentences."""

from __future__ import annotations

import errno
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from napari_sam3_assistant.errors import DownloadError

if TYPE_CHECKING:
    from collections.abc import Iterator

_GO_ON = "Start the download again: it goes on where it stopped."
_TOKENS = "https://huggingface.co/settings/tokens"


def http_error() -> type[Exception]:
    """Return the base of the errors of the HTTP client that the hub's library is built on.

    That is ``httpx.HTTPError`` for huggingface_hub 1 and ``httpx2.HTTPError`` for 2; the first
    base of its own error is the one or the other.
    """
    from huggingface_hub.errors import HfHubHTTPError

    base: type[Exception] = HfHubHTTPError.__bases__[0]
    return base


def refused(exc: Exception) -> bool:
    """Return whether the hub answered, and said no."""
    return getattr(exc, "response", None) is not None


@contextmanager
def hub_errors(repository: str, endpoint: str, *, given: bool) -> Iterator[None]:
    """Raise our error, with a remedy, in place of those of the hub, the network and the disk.

    Parameters
    ----------
    repository : str
        Owner and name on the hub.
    endpoint : str
        Address of the hub.
    given : bool
        Whether the user gave a token by hand.
    """
    from huggingface_hub.errors import HFValidationError, OfflineModeIsEnabled

    try:
        yield
    except HFValidationError as exc:
        raise DownloadError(
            f"'{repository}' is not a name on the hub.", "Write it like facebook/sam3."
        ) from exc
    except OfflineModeIsEnabled as exc:
        raise DownloadError(
            "The hub's library is set to work offline, so nothing was fetched.",
            "Unset HF_HUB_OFFLINE and TRANSFORMERS_OFFLINE, and start again.",
        ) from exc
    except http_error() as exc:
        if refused(exc):
            raise _refusal(repository, endpoint, exc, given=given) from exc
        raise DownloadError(
            f"There is no connection to {endpoint} ({exc or type(exc).__name__}).",
            f"Check the network. {_GO_ON}",
        ) from exc
    except OSError as exc:
        if exc.errno == errno.ENOSPC:
            raise DownloadError("The disk is full.", f"Make room. {_GO_ON}") from exc
        raise DownloadError(
            f"The files can't be written: {exc.strerror or exc}.", "Choose another folder."
        ) from exc


def _refusal(
    repository: str,
    endpoint: str,
    exc: Any,  # noqa: ANN401 (of either HTTP client)
    *,
    given: bool,
) -> DownloadError:
    """Return what the hub's answer means."""
    from huggingface_hub import get_token
    from huggingface_hub.errors import GatedRepoError, RepositoryNotFoundError

    status = exc.response.status_code
    page = f"{endpoint}/{repository}"
    if isinstance(exc, GatedRepoError) and status == 403:
        return DownloadError(
            f"Your account may not read {repository} yet (error 403).",
            f"Ask for access on {page}, and wait until it is granted. Where it is granted, the "
            f"token must be allowed to read gated repositories ({_TOKENS}).",
        )
    if isinstance(exc, GatedRepoError) or status == 401:
        if isinstance(exc, RepositoryNotFoundError) and not isinstance(exc, GatedRepoError):
            said = f"There is no repository {repository}, or it is not open to you (error 401)."
            return DownloadError(said, "Check its name, and that you are logged in.")
        known = "The token was not accepted" if given or get_token() else "No token was given"
        return DownloadError(
            f"{repository} needs a login on Hugging Face (error {status}). {known}.",
            f"Ask for access on {page}, make a token on {_TOKENS}, and give it here, or set it "
            "as HF_TOKEN, or run 'hf auth login'.",
        )
    if isinstance(exc, RepositoryNotFoundError):
        return DownloadError(f"There is no repository {repository}.", "Check its name.")
    if status == 403:
        return DownloadError(
            f"The hub refused {repository} (error 403).",
            f"Give the token the right to read it on {_TOKENS}.",
        )
    return DownloadError(
        f"The hub answered with error {status} for {repository}.", f"Try it later. {_GO_ON}"
    )

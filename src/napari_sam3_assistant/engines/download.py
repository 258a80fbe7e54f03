"""Fetch the weights of models from the Hugging Face Hub, when the user asks for it.

``hf_hub_download`` throws an unfinished file away (huggingface_hub 2.4,
``file_download._download_to_tmp_and_move``), which for 3.4 GB is not acceptable. So the hub's
library does the rest (list, token, headers, its errors) and the bytes are written here, where a
later call goes on.
"""

from __future__ import annotations

import errno
import hashlib
import os
import re
import shutil
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from napari_sam3_assistant.core.extras import pip_install
from napari_sam3_assistant.core.progress import Progress
from napari_sam3_assistant.errors import DownloadError, EngineNotInstalled

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from napari_sam3_assistant.core.images import Untyped
    from napari_sam3_assistant.core.progress import Reporter


@dataclass(frozen=True, slots=True)
class HubModel:
    """A model that can be fetched.

    ``name``: the name in Python and the command line.
    ``title``: the name for the user.
    ``repository``: owner and name on the hub.
    ``megabytes``: about how much is fetched.
    ``licence``: whose terms hold for the weights.
    ``gated``: whether the hub asks for an account that was granted access.
    """

    name: str
    title: str
    repository: str
    megabytes: int
    licence: str = "Apache 2.0"
    gated: bool = False

    @property
    def folder(self) -> Path:
        """Where it is fetched to unless the user says otherwise."""
        return Path.home() / "models" / self.name

    @property
    def is_fetched(self) -> bool:
        """Whether its weights are in that folder, as far as a look at the names tells."""
        return any(map(Path.is_file, map(self.folder.joinpath, _WEIGHTS))) and not any(
            self.folder.glob("*.part")
        )

    @property
    def summary(self) -> str:
        """Name, size and whether it is open, for a list."""
        size = f"{self.megabytes} MB"
        if self.megabytes >= 1000:
            size = f"{self.megabytes / 1000:.1f} GB"
        return f"{self.title} ({size}, {'gated' if self.gated else 'open'})"


_SAM3 = HubModel("sam3", "SAM 3", "facebook/sam3", 3440, "SAM License of Meta", gated=True)
# Sizes of model.safetensors, licences and gates as the hub's pages said, 2026-11. SAM 2.1's sizes
# are those of SAM 2.0's files, which differ by some kB; SAM 1's L and H by their parameters.
HUB_MODELS = (
    HubModel("sam2.1-tiny", "SAM 2.1 tiny", "facebook/sam2.1-hiera-tiny", 156),
    HubModel("sam2.1-small", "SAM 2.1 small", "facebook/sam2.1-hiera-small", 184),
    HubModel("sam2.1-base-plus", "SAM 2.1 base plus", "facebook/sam2.1-hiera-base-plus", 323),
    HubModel("sam2.1-large", "SAM 2.1 large", "facebook/sam2.1-hiera-large", 898),
    HubModel("edgetam", "EdgeTAM", "yonigozlan/EdgeTAM-hf", 56),
    HubModel("sam-vit-b", "SAM 1 ViT-B", "facebook/sam-vit-base", 375),
    HubModel("sam-vit-l", "SAM 1 ViT-L", "facebook/sam-vit-large", 1250),
    HubModel("sam-vit-h", "SAM 1 ViT-H", "facebook/sam-vit-huge", 2565),
    _SAM3,
)
REPOSITORY = _SAM3.repository
_WEIGHTS = ("model.safetensors", "sam3.pt")
_META_WEIGHTS = ("sam3.pt", "sam3.1_multiplex.pt")
_SMALL_FILES = (
    "config.json",
    "processor_config.json",
    "preprocessor_config.json",
    "video_preprocessor_config.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "vocab.json",
    "merges.txt",
)
_CHUNK = 2**20
_MB = 1_000_000
# Seconds without a byte after which the connection counts as lost.
_TIMEOUT = 20.0


@dataclass(frozen=True, slots=True)
class RemoteFile:
    """A file of a repository on the hub.

    ``size``: bytes.
    ``sha256``: its checksum; empty for small files, whose the hub does not tell.
    ``identity``: changes with the content.
    """

    name: str
    size: int
    sha256: str
    identity: str


def download_model(
    folder: Path,
    reporter: Reporter,
    *,
    repository: str = REPOSITORY,
    meta: bool = False,
    token: str | None = None,
) -> None:
    """Fetch the files that an engine needs; what has arrived is not fetched again.

    Nothing that is there is replaced: it may be of another model.
    """
    _refuse_offline()
    if find_spec("huggingface_hub") is None:
        raise EngineNotInstalled(
            "The package huggingface_hub is not installed.",
            f"Run: {pip_install('sam3')}",
        )
    repository = {model.name: model.repository for model in HUB_MODELS}.get(repository, repository)
    token = (token or "").strip()
    reporter.report(Progress(0, 0, f"Asking the hub for {repository}"))
    with map_hub_errors(repository, endpoint(), has_token=bool(token)):
        commit, files = _list_files(repository, token, meta=meta)
        folder.mkdir(parents=True, exist_ok=True)
        with _alone(folder):
            missing = [file for file in files if not _is_there(folder / file.name, file, reporter)]
            _refuse_to_replace(folder, missing, repository)
            _check_space(folder, missing)
            transfer = _Transfer(folder, f"{repository}/resolve/{commit}", token, reporter, missing)
            for file in missing:
                transfer.fetch(file)


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Keep other downloads out of a folder: two would write into one file."""
    from filelock import FileLock, Timeout

    file = folder / ".download.lock"
    lock = FileLock(file, timeout=0)
    try:
        lock.acquire()
    except Timeout as exc:
        raise DownloadError(
            f"Another download into {folder} is going on.", "Wait until it has ended."
        ) from exc
    except (NotImplementedError, OSError):
        # None can be had on some disks of a network, and in a folder that is only read: there is
        # nothing to fetch there, or what can't be written says so.
        pass
    try:
        yield
    finally:
        # While it is held: who waits for a file that is gone takes a new one. Windows refuses.
        with suppress(OSError):
            file.unlink(missing_ok=True)
        lock.release()


def _refuse_offline() -> None:
    if os.environ.get("HF_HUB_OFFLINE", "").strip().lower() in {"1", "true", "yes", "on"}:
        raise DownloadError(
            "HF_HUB_OFFLINE is set, so nothing was tried.",
            "Unset it to download, or copy the model's files into a folder yourself.",
        )


def endpoint() -> str:
    """Return the address of the hub; HF_ENDPOINT names a mirror."""
    address = os.environ.get("HF_ENDPOINT", "").rstrip("/") or "https://huggingface.co"
    try:
        parts = urlsplit(address)
        usable = parts.scheme in {"http", "https"} and bool(parts.hostname)
    except ValueError:
        usable = False
    if not usable:
        raise DownloadError(
            f"HF_ENDPOINT is '{address}', which is not the address of a hub.",
            "Write it like https://huggingface.co, or unset it.",
        )
    return address


def _token_to_send(given: str) -> str | None:
    """Return the given token, or the one that is set or saved on this machine, if there is one.

    What can't be sent is refused here: the HTTP client would tell it to everybody in its error.
    """
    from huggingface_hub import get_token

    token = given or get_token()
    if token and not re.fullmatch(r"[!-~]+", token):
        raise DownloadError(
            "The token holds a character that no token has, such as a space or an accent.",
            f"Copy it anew from {_TOKENS}.",
        )
    return token


def _list_files(repository: str, token: str, *, meta: bool) -> tuple[str, list[RemoteFile]]:
    """Return the commit and the files to fetch, the small ones first."""
    from huggingface_hub import HfApi
    from huggingface_hub.errors import HFValidationError

    try:
        info = HfApi(endpoint=endpoint(), token=_token_to_send(token)).model_info(
            repository, files_metadata=True, timeout=_TIMEOUT
        )
    except HFValidationError:
        raise
    except (ValueError, TypeError, LookupError, AttributeError) as exc:
        # What its library makes of a page that was put in the place of the answer.
        raise DownloadError(
            f"{endpoint()} does not answer as a hub does ({type(exc).__name__}).",
            "Log in to the network if it asks for that in a browser, and see that HF_ENDPOINT "
            "and the proxy are right.",
        ) from exc
    there = {sibling.rfilename: sibling for sibling in info.siblings or []}
    file_names = _META_WEIGHTS if meta else ("model.safetensors",)
    weights = [name for name in file_names if name in there]
    if not weights:
        other = "for transformers" if meta else "for Meta's package"
        raise DownloadError(
            f"{repository} has no {' or '.join(file_names)}.",
            f"Fetch the weights {other}, or choose another repository.",
        )
    files = []
    for name in (*(name for name in _SMALL_FILES if name in there), *weights):
        entry = there[name]
        sha256 = entry.lfs.sha256 if entry.lfs else ""
        files.append(RemoteFile(name, entry.size or 0, sha256, sha256 or entry.blob_id or ""))
    return info.sha or "main", files


def _is_there(path: Path, file: RemoteFile, reporter: Reporter) -> bool:
    """Return whether a file is the one of the hub: weights of one model are of one size."""
    if not path.is_file() or path.stat().st_size != file.size:
        return False
    if not file.sha256:  # a small one
        return True
    reporter.report(Progress(0, 0, f"Checking {file.name}"))
    return _checksum(path, reporter) == file.sha256


def _refuse_to_replace(folder: Path, missing: Sequence[RemoteFile], repository: str) -> None:
    other = next((file.name for file in missing if (folder / file.name).exists()), "")
    if other:
        raise DownloadError(
            f"{folder} has another {other} than {repository}.",
            "Choose another folder. If it is damaged or old, remove it first.",
        )


def _check_space(folder: Path, missing: Sequence[RemoteFile]) -> None:
    needed = sum(file.size - _count_downloaded(_part_path(folder, file)) for file in missing)
    free = shutil.disk_usage(folder).free
    if needed > free:
        raise DownloadError(
            f"The disk of {folder} has {free / 1e9:.1f} GB free; {needed / 1e9:.1f} GB are needed.",
            "Make room, or choose a folder on another disk.",
        )


def _part_path(folder: Path, file: RemoteFile) -> Path:
    # With the identity, so that the rest of another version is never put behind it.
    return folder / f"{file.name}.{file.identity[:12]}.part"


def _count_downloaded(part: Path) -> int:
    return part.stat().st_size if part.is_file() else 0


class _Transfer:
    """The fetching of some files.

    ``folder``: where to.
    ``route``: path of the files on the hub.
    ``token``: the user's token; empty for the one of this machine.
    ``files``: all files, for the progress.
    """

    def __init__(
        self,
        folder: Path,
        route: str,
        token: str,
        reporter: Reporter,
        files: Sequence[RemoteFile],
    ) -> None:
        self._folder = folder
        self._route = route
        self._token = token
        self._reporter = reporter
        self._files = list(files)
        self._total = sum(file.size for file in files)

    def fetch(self, file: RemoteFile) -> None:
        """Fetch a file into its part, then give it its name."""
        part = _part_path(self._folder, file)
        more = _count_downloaded(part) < file.size or not part.exists()
        while more:
            before = _count_downloaded(part)
            try:
                self._append(file, part)
            except http_error() as exc:
                # A line that breaks now and then is taken up again as long as bytes arrive.
                if is_refusal(exc) or _count_downloaded(part) <= before:
                    raise
            more = before < _count_downloaded(part) < file.size
        self._verify(file, part)
        part.replace(self._folder / file.name)

    def _append(self, file: RemoteFile, part: Path) -> None:
        from huggingface_hub import get_session, hf_raise_for_status

        begin = _count_downloaded(part)
        # Uncompressed, since a range counts the bytes of the file.
        headers = {"Accept-Encoding": "identity"}
        # Asked for anew: one that is saved may have been renewed meanwhile.
        token = _token_to_send(self._token)
        if token:
            headers["Authorization"] = f"Bearer {token}"
        if begin:
            headers["Range"] = f"bytes={begin}-"
        url = f"{endpoint()}/{self._route}/{file.name}"
        with get_session().stream("GET", url, headers=headers, timeout=_TIMEOUT) as response:
            hf_raise_for_status(response)
            # A server that knows no ranges sends the file from its start.
            continues = response.status_code == 206
            with part.open("ab" if continues else "wb") as out:
                done = begin if continues else 0
                self._report_bytes(file, done)
                for chunk in response.iter_bytes(_CHUNK):
                    out.write(chunk)
                    done += len(chunk)
                    self._report_bytes(file, done)

    def _report_bytes(self, file: RemoteFile, done: int) -> None:
        number = self._files.index(file)
        before = sum(earlier.size for earlier in self._files[:number])
        message = (
            f"Downloading {file.name} (file {number + 1} of {len(self._files)}): "
            f"{done / _MB:,.1f} of {file.size / _MB:,.1f} MB"
        )
        # Megabytes, for a progress bar counts no further than 2 ** 31.
        self._reporter.report(Progress((before + done) // _MB, max(1, self._total // _MB), message))

    def _verify(self, file: RemoteFile, part: Path) -> None:
        size, right = _count_downloaded(part), True
        if size == file.size and file.sha256:
            self._reporter.report(Progress(0, 0, f"Checking {file.name}"))
            right = _checksum(part, self._reporter) == file.sha256
        if size != file.size or not right:
            part.unlink()
            raise DownloadError(
                f"{file.name} arrived damaged ({size:,} bytes of {file.size:,}).",
                "It was thrown away. Start the download again.",
            )


def _checksum(path: Path, reporter: Reporter) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(16 * _CHUNK):
            digest.update(chunk)
            reporter.check()
    return digest.hexdigest()


_GO_ON = "Start the download again: it goes on where it stopped."
_TOKENS = "https://huggingface.co/settings/tokens"
_OWN_CERTIFICATE = (
    "Some networks put a certificate of their own before every page. Ask who runs it for that "
    "certificate, and set SSL_CERT_FILE to its file; or fetch the files with a browser."
)


def http_error() -> type[Exception]:
    """Return the base of the errors of the HTTP client that the hub's library is built on.

    That is ``httpx.HTTPError`` for huggingface_hub 1 and ``httpx2.HTTPError`` for 2; the first
    base of its own error is the one or the other.
    """
    from huggingface_hub.errors import HfHubHTTPError

    base: type[Exception] = HfHubHTTPError.__bases__[0]
    return base


def is_refusal(exc: Exception) -> bool:
    """Return whether the hub answered, and said no."""
    return getattr(exc, "response", None) is not None


@contextmanager
def map_hub_errors(repository: str, endpoint: str, *, has_token: bool) -> Iterator[None]:
    """Raise our error, with a remedy, in place of those of the hub, the network and the disk."""
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
        if is_refusal(exc):
            raise _explain_refusal(repository, endpoint, exc, has_token=has_token) from exc
        raise DownloadError(
            f"There is no connection to {endpoint} ({exc or type(exc).__name__}).",
            _OWN_CERTIFICATE
            if "CERTIFICATE_VERIFY_FAILED" in str(exc)
            else f"Check the network. {_GO_ON}",
        ) from exc
    except OSError as exc:
        if exc.errno == errno.ENOSPC:
            raise DownloadError("The disk is full.", f"Make room. {_GO_ON}") from exc
        raise DownloadError(
            f"The files can't be written: {exc.strerror or exc}.", "Choose another folder."
        ) from exc


def _explain_refusal(
    repository: str,
    endpoint: str,
    exc: Untyped,
    *,
    has_token: bool,
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
            message = f"There is no repository {repository}, or it is not open to you (error 401)."
            return DownloadError(message, "Check its name, and that you are logged in.")
        known = "The token was not accepted" if has_token or get_token() else "No token was given"
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

"""How a client reaches a server: an address on this machine, or a file with the keys to another."""

from __future__ import annotations

import ipaddress
import json
import os
import re
import socket
import ssl
import threading
from concurrent.futures import Future, wait
from contextlib import suppress
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from importlib.util import find_spec
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from napari_sam3_assistant.core.extras import pip_install
from napari_sam3_assistant.core.paths import expand_user
from napari_sam3_assistant.core.progress import NullReporter
from napari_sam3_assistant.core.prompts import PromptKind
from napari_sam3_assistant.engines.base import EngineSpec, TrackSpec
from napari_sam3_assistant.errors import EngineError, EngineNotInstalled
from napari_sam3_assistant.io.atomic import atomic_write
from napari_sam3_assistant.io.untrusted import as_dict, as_text, open_regular

if TYPE_CHECKING:
    from pathlib import Path
    from typing import TypeAlias

    from distributed import Client, Security

    from napari_sam3_assistant.core.progress import Reporter

    Compute: TypeAlias = "str | Path | Client"

_LARGEST = 100_000
_CONNECT_SECONDS = 20
_ANSWER_SECONDS = 5.0
_POLL_SECONDS = 0.05
_HOST_AND_PORT = re.compile(r"(\[[0-9a-fA-F:.]+\]|[\w.-]+):\d{1,5}")
_REMEDY = (
    "Give the connection file that 'napari-sam3 serve' wrote there, or open an SSH tunnel "
    "(ssh -L 8786:localhost:8786 SERVER) and give tcp://127.0.0.1:8786."
)
_START = "Start it with 'napari-sam3 serve', and see that the address is right and the port open."
_OTHER_KEYS = "it has other keys"
_COPY = "Copy the server's connection file anew: a server that makes new keys writes a new one."
_RENEW = (
    "Start 'napari-sam3 serve' there again with this file: it makes new keys, good for a year. "
    "Then copy the file anew."
)

UNKNOWN_ENGINE = EngineSpec(
    "server",
    "The server's engine",
    frozenset(PromptKind),
    needs_weights=True,
    video=TrackSpec(frozenset(PromptKind)),
    soft_masks=True,
)
"""The card of a server's engine before the server has answered: it may take anything."""


def require_distributed() -> None:
    """Raise EngineNotInstalled where the extra is missing."""
    if find_spec("distributed") is None:
        raise EngineNotInstalled(
            "Computing on a server needs Dask distributed.",
            f"Run: {pip_install('cluster')}",
        )


@dataclass(frozen=True, slots=True)
class Connection:
    """The address of a server, and what lets one in.

    Parameters
    ----------
    address : str
        Of the scheduler, such as ``tls://10.0.0.5:8786``.
    certificate, key : str
        PEM; empty for a server on this machine that asks for none. Both sides show and ask for
        this certificate, so the file is to be kept like a password.
    """

    address: str
    certificate: str = ""
    key: str = ""

    @classmethod
    def make(cls, address: str) -> Connection:
        """Return a connection with a new key and certificate, good for a year.

        Raises
        ------
        EngineNotInstalled
            If the package that makes them is missing.
        """
        from distributed import Security

        try:
            security = Security.temporary()
        except ImportError as error:
            raise EngineNotInstalled(
                "Making the keys of a server needs the package cryptography.",
                f"Run: {pip_install('cluster')}",
            ) from error
        return cls(address, security.tls_client_cert, security.tls_client_key)

    @classmethod
    def read(cls, path: Path) -> Connection:
        """Read a connection file.

        Raises
        ------
        EngineError
            If there is none.
        """
        try:
            with open_regular(path) as file:
                entry = as_dict(json.loads(file.read(_LARGEST)))
            found = cls(*(as_text(entry[name]) for name in ("address", "certificate", "key")))
        except FileNotFoundError as error:
            raise EngineError(
                f"There is no connection file {path}.",
                "Choose a copy of the one that 'napari-sam3 serve' wrote on the server.",
            ) from error
        except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
            raise EngineError(
                f"{path} is not a connection file ({error}).",
                "Copy the one that 'napari-sam3 serve' wrote on the server.",
            ) from error
        return found

    @property
    def expired(self) -> datetime | None:
        """When its keys have ended to be good; None while they are, or where that is not known."""
        if not self.certificate or find_spec("cryptography") is None:
            return None
        from cryptography import x509

        try:
            ends = x509.load_pem_x509_certificate(self.certificate.encode()).not_valid_after_utc
        except ValueError:
            return None
        return ends if ends < datetime.now(UTC) else None

    def write(self, path: Path) -> None:
        """Write a connection file that only its owner can read."""
        with atomic_write(path) as draft:
            owners = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            with os.fdopen(owners, "w", encoding="utf-8") as file:
                json.dump(asdict(self), file, indent=1)

    def security(self) -> Security:
        """Return the keys as Dask takes them, for every role."""
        from distributed import Security

        if not self.certificate:
            return Security(require_encryption=False)
        roles = {
            f"tls_{role}_{part}": getattr(self, whole)
            for role in ("client", "scheduler", "worker")
            for part, whole in (("cert", "certificate"), ("key", "key"))
        }
        return Security(require_encryption=True, tls_ca_file=self.certificate, **roles)


def find_connection(compute: str | Path) -> Connection:
    """Return the connection that a file or an address stands for."""
    text = os.fspath(compute).strip()
    if _HOST_AND_PORT.fullmatch(text):
        text = f"tcp://{text}"
    if "://" not in text:
        return Connection.read(expand_user(text))
    if not is_loopback(_split(text)[0]) or not text.startswith("tcp://"):
        raise EngineError(f"{text} is not an address on this machine, and has no keys.", _REMEDY)
    return Connection(text)


def _split(address: str) -> tuple[str, int]:
    """Return host and port of an address; of what is none an empty host."""
    try:
        parts = urlsplit(address)
        found = parts.hostname or "", parts.port or 0
    except ValueError:
        found = "", 0
    return found


def is_loopback(host: str) -> bool:
    """Return whether a host is this machine, and reached without any network."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def connect(compute: Compute, reporter: Reporter | None = None) -> Client:
    """Return a client of a server."""
    require_distributed()
    from distributed import Client

    if isinstance(compute, Client):
        return compute
    found = find_connection(compute)
    connecting: Future[Client] = Future()

    def open_client() -> None:
        try:
            client = _open_client(found)
        except BaseException as error:  # noqa: BLE001 - raised by who waits
            if connecting.set_running_or_notify_cancel():
                connecting.set_exception(error)
        else:
            if connecting.set_running_or_notify_cancel():
                connecting.set_result(client)
            else:
                leave(client)

    # Dask can't be stopped while it tries, so who waits leaves it alone with that.
    threading.Thread(target=open_client, daemon=True, name="sam3-connect").start()
    reporter = reporter or NullReporter()
    try:
        while not wait([connecting], _POLL_SECONDS).done:
            reporter.check()
    except BaseException:
        if not connecting.cancel() and connecting.exception() is None:
            leave(connecting.result())
        raise
    return connecting.result()


def leave(client: Client, timeout: float = _CONNECT_SECONDS) -> None:
    """Close a client, also one whose server vanished while Dask was reconnecting.

    Dask raises then what its listening to the scheduler has ended by, which may be a ValueError of
    tornado's, and leaves the client half open.
    """
    try:
        client.close(timeout=timeout)
    except (OSError, TimeoutError, ValueError, RuntimeError):
        client._handle_report_task = None  # noqa: SLF001 - it has ended, or nobody answers
        with suppress(TimeoutError):
            client.close(timeout=timeout)


def _open_client(connection: Connection) -> Client:
    from distributed import Client

    _explain_no_connection(connection)
    try:
        return Client(
            connection.address,
            security=connection.security(),
            timeout=_CONNECT_SECONDS,
            set_as_default=False,
            name="napari-sam3",
        )
    # A TypeError is how Dask says that an address with keys was given none.
    except (OSError, TimeoutError, ValueError, RuntimeError, TypeError) as error:
        raise _refused(connection, str(error), _START) from error


def _refused(connection: Connection, reason: str, remedy: str) -> EngineError:
    return EngineError(f"No server lets us in at {connection.address}: {reason}.", remedy)


def _explain_no_connection(connection: Connection) -> None:
    """Raise at once why the server can't be reached; Dask retries for seconds, without a reason."""
    scheme = connection.address.partition("://")[0]
    if scheme not in {"tcp", "tls"}:  # one that a scheduler of others may have
        return
    host, port = _split(connection.address)
    if not host or not port:
        raise _refused(connection, "that is not an address", _COPY)
    if scheme == "tls" and not connection.certificate:
        raise _refused(connection, "it asks for keys, and the connection file has none", _COPY)
    ended = connection.expired
    if ended is not None:
        raise _refused(connection, f"the keys have expired on {ended:%Y-%m-%d}", _RENEW)
    try:
        with socket.create_connection((host, port), _ANSWER_SECONDS) as plain:
            answered = _read_greeting(connection, plain)
    except ssl.SSLError as error:
        raise _refused(connection, f"{_OTHER_KEYS} ({error.reason or error})", _COPY) from error
    except TimeoutError as error:
        raise _refused(connection, "it does not answer as one, or asks for keys", _START) from error
    except (OSError, ValueError) as error:
        raise _refused(connection, str(error), _START) from error
    if not answered:
        raise _refused(connection, _OTHER_KEYS, _COPY)


def _read_greeting(connection: Connection, plain: socket.socket) -> bytes:
    """Return the first bytes of a server; none where it refuses our keys."""
    if not connection.certificate:
        return plain.recv(1)
    context = connection.security().get_connection_args("client")["ssl_context"]
    try:
        with context.wrap_socket(plain) as secret:
            return bytes(secret.recv(1))
    except ConnectionResetError:
        return b""

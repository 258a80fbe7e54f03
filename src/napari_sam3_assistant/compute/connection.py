"""How a client reaches a server: an address on this machine, or a file with the keys to another."""

from __future__ import annotations

import ipaddress
import json
import os
from dataclasses import asdict, dataclass
from importlib.util import find_spec
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from napari_sam3_assistant.core.paths import expand_user
from napari_sam3_assistant.errors import EngineError, EngineNotInstalled
from napari_sam3_assistant.io.atomic import atomic_write
from napari_sam3_assistant.io.untrusted import as_dict, as_text, open_regular

if TYPE_CHECKING:
    from pathlib import Path
    from typing import TypeAlias

    from distributed import Client, Security

    Compute: TypeAlias = "str | Path | Client"

_LARGEST = 100_000
_CONNECT_SECONDS = 20
_REMEDY = (
    "Give the connection file that 'napari-sam3 serve' wrote there, or open an SSH tunnel "
    "(ssh -L 8786:localhost:8786 SERVER) and give tcp://127.0.0.1:8786."
)


def require_distributed() -> None:
    """Raise EngineNotInstalled where the extra is missing."""
    if find_spec("distributed") is None:
        raise EngineNotInstalled(
            "Computing on a server needs Dask distributed.",
            "pip install 'napari-sam3-assistant[cluster]'",
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
            made = Security.temporary()
        except ImportError as error:
            raise EngineNotInstalled(
                "Making the keys of a server needs the package cryptography.",
                "pip install 'napari-sam3-assistant[cluster]'",
            ) from error
        return cls(address, made.tls_client_cert, made.tls_client_key)

    @classmethod
    def read(cls, path: Path) -> Connection:
        """Read a connection file.

        Raises
        ------
        EngineError
            If it is none.
        """
        try:
            with open_regular(path) as file:
                told = as_dict(json.loads(file.read(_LARGEST)))
            found = cls(*(as_text(told[name]) for name in ("address", "certificate", "key")))
        except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
            raise EngineError(
                f"{path} is no connection file ({error}).",
                "Copy the one that 'napari-sam3 serve' wrote on the server.",
            ) from error
        return found

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
    """Return the connection that a file or an address stands for.

    Raises
    ------
    EngineError
        If it is no connection file, or an address beyond this machine without keys.
    """
    text = os.fspath(compute).strip()
    if "://" not in text:
        return Connection.read(expand_user(text))
    if not is_loopback(urlsplit(text).hostname or "") or not text.startswith("tcp://"):
        raise EngineError(f"{text} is not an address on this machine, and has no keys.", _REMEDY)
    return Connection(text)


def is_loopback(host: str) -> bool:
    """Return whether a host is this machine, and reached without any network."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def connect(compute: Compute) -> Client:
    """Return a client of a server.

    Parameters
    ----------
    compute : str, Path or Client
        A connection file, ``tcp://`` on this machine, or a client that is connected.

    Raises
    ------
    EngineError
        If nobody answers there, or does not let this client in.
    EngineNotInstalled
        If Dask distributed is missing.
    """
    require_distributed()
    from distributed import Client

    if isinstance(compute, Client):
        return compute
    found = find_connection(compute)
    try:
        return Client(
            found.address,
            security=found.security(),
            timeout=_CONNECT_SECONDS,
            set_as_default=False,
            name="napari-sam3",
        )
    # A TypeError is how Dask says that an address with keys was given none.
    except (OSError, TimeoutError, ValueError, RuntimeError, TypeError) as error:
        raise EngineError(
            f"No server lets us in at {found.address} ({error}).",
            "Start it with 'napari-sam3 serve', copy its connection file anew (keys are good for "
            "a year), and see that the port is open.",
        ) from error

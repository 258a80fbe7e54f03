"""How what is optional is installed: beside napari, and where the package is by itself."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, requires, version

_PACKAGE = "napari-sam3-assistant"


def has_napari() -> bool:
    """Return whether napari is installed, without a look into it."""
    try:
        version("napari")
    except PackageNotFoundError:
        return False
    return True


def pip_install(extra: str, options: str = "") -> str:
    """Return the command that installs what an extra of this package holds.

    Where napari is not installed, as on a server, these are its packages: the extra would bring
    napari as well. The quotes are such that every shell takes.

    Parameters
    ----------
    extra : str
        Its name in ``pyproject.toml``, such as ``sam3``.
    options : str
        Options of ``pip install``.
    """
    packages = [] if has_napari() else _packages(extra)
    if not packages or any(package.startswith("napari") for package in packages):
        packages = [f"{_PACKAGE}[{extra}]"]
    return " ".join(("pip install", *options.split(), *(f'"{one}"' for one in packages)))


def _packages(extra: str) -> list[str]:
    """Return what an extra asks for; nothing where this package was not installed by pip."""
    try:
        lines = requires(_PACKAGE) or []
    except PackageNotFoundError:
        return []
    marked = f"extra=='{extra}'"
    return [
        line.partition(";")[0].strip()
        for line in lines
        if marked in line.replace('"', "'").replace(" ", "")
    ]

"""How what is optional is installed: beside napari, and where the package is by itself."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, requires, version

from packaging.requirements import Requirement

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


def outdated(extra: str) -> str:
    """Return a sentence on the packages of an extra that are installed in too old a version.

    pip sees to that where the extra is installed by its name; not where its packages were there.

    Parameters
    ----------
    extra : str
        Its name in ``pyproject.toml``, such as ``sam3``.

    Returns
    -------
    str
        Empty where there are none; packages that are not installed are not looked at.
    """
    found = []
    for asked in map(Requirement, _packages(extra)):
        try:
            installed = version(asked.name)
        except PackageNotFoundError:
            continue
        if not asked.specifier.contains(installed, prereleases=True):
            found.append(f"{asked.name} {installed} (it needs {asked.specifier})")
    return f"Too old: {', '.join(found)}." if found else ""


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

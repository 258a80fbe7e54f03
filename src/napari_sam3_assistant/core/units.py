"""Units of length and time: by the names that OME-Zarr gives them, and as other files do."""

from __future__ import annotations

_PREFIXES = {
    "yotta": ("Y", 24), "zetta": ("Z", 21), "exa": ("E", 18), "peta": ("P", 15),
    "tera": ("T", 12), "giga": ("G", 9), "mega": ("M", 6), "kilo": ("k", 3), "hecto": ("h", 2),
    "": ("", 0), "deci": ("d", -1), "centi": ("c", -2), "milli": ("m", -3), "micro": ("µ", -6),
    "nano": ("n", -9), "pico": ("p", -12), "femto": ("f", -15), "atto": ("a", -18),
    "zepto": ("z", -21), "yocto": ("y", -24),
}  # fmt: skip

# Name: the symbol in OME-XML, and how many meters or seconds it is.
_LENGTHS = {
    **{f"{name}meter": (f"{sign}m", 10.0**power) for name, (sign, power) in _PREFIXES.items()},
    "angstrom": ("Å", 1e-10),
    "inch": ("in", 0.0254),
    "foot": ("ft", 0.3048),
    "yard": ("yd", 0.9144),
    "mile": ("mi", 1609.344),
    "parsec": ("pc", 3.0856775814913673e16),
}
_TIMES = {
    **{f"{name}second": (f"{sign}s", 10.0**power) for name, (sign, power) in _PREFIXES.items()},
    "minute": ("min", 60.0),
    "hour": ("h", 3600.0),
    "day": ("d", 86400.0),
}
_SYMBOLS = {symbol: name for name, (symbol, _) in (_LENGTHS | _TIMES).items()}
_OTHERS = {
    **dict.fromkeys(("\u03bcm", "um", "micron", r"\u00B5m"), "micrometer"),  # the Greek mu, too
    **dict.fromkeys(("\u03bcs", "us", "usec"), "microsecond"),
    **dict.fromkeys(("A", "\u212b"), "angstrom"),
    "msec": "millisecond",
    "sec": "second",
    "hr": "hour",
    "feet": "foot",
}
_NONE = ("", "pixel", "px", "reference frame", "none", "null")
# What OME-XML knows, and OME-Zarr does not.
_CONVERTED = {
    "dam": (10.0, "meter"),
    "thou": (25.4, "micrometer"),
    "li": (25.4e3 / 12, "micrometer"),
    "pt": (25.4e3 / 72, "micrometer"),
    "ua": (149597870700.0, "meter"),
    "ly": (9460730472580800.0, "meter"),
}


def parse_unit(said: str) -> tuple[float, str]:
    """Return how many of which unit another program's unit is.

    Parameters
    ----------
    said : str
        A symbol or a name, such as ``µm``, ``um``, ``micrometers`` or ``thou``.

    Returns
    -------
    tuple of float and str
        A factor, 1 for all but a few, and the name in OME-Zarr. Nothing (``""``) for pixels;
        what is not known stays as it is.
    """
    text = said.strip()
    if text in _CONVERTED:
        return _CONVERTED[text]
    for name in (text, text.lower().replace("metre", "meter")):
        for spelled in (name, name.removesuffix("s"), name.removesuffix("es")):
            if spelled in _NONE:
                return (1.0, "")
            if spelled in _LENGTHS or spelled in _TIMES:
                return (1.0, spelled)
            # "s" alone is the second, and "ms" no plural of the metre.
            known = _SYMBOLS.get(spelled) or _OTHERS.get(spelled)
            if known and (spelled == name or len(spelled) > 2):
                return (1.0, known)
    return (1.0, text)


def ome_symbol(unit: str, *, time: bool = False) -> str:
    """Return the symbol in OME-XML of a unit of length, or of time; empty if it has none."""
    return (_TIMES if time else _LENGTHS).get(parse_unit(unit)[1], ("", 0.0))[0]


def convert_unit(value: float, unit: str, target: str) -> float | None:
    """Return a value in another unit; None if one can't be told in the other.

    Parameters
    ----------
    value : float
        Counted in ``unit``.
    unit, wanted : str
        Names or symbols; ``""`` is told in ``""`` only.
    """
    (factor, unit), (wanted_factor, target) = parse_unit(unit), parse_unit(target)
    if unit == target:
        return value * (factor / wanted_factor)
    for table in (_LENGTHS, _TIMES):
        if unit in table and target in table:
            return value * factor * table[unit][1] / (table[target][1] * wanted_factor)
    return None

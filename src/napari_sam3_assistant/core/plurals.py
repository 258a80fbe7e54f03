"""Numbers of things, in words."""

from __future__ import annotations


def plural_of(number: int, singular: str, plural: str = "") -> str:
    """Return the noun that fits a number: ``box``, or ``boxes``; an ``s`` is added by default."""
    return singular if number == 1 else plural or f"{singular}s"


def pluralize(number: int, singular: str, plural: str = "") -> str:
    """Return a number with its noun, such as ``1 box`` or ``2 025 boxes``."""
    digits = f"{number:,}".replace(",", " ")
    return f"{digits} {plural_of(number, singular, plural)}"

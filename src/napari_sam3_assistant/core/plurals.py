"""Numbers of things, in words."""

from __future__ import annotations


def plural_of(number: int, singular: str, plural: str = "") -> str:
    """Return the noun that fits a number: ``box``, or ``boxes``; an ``s`` is added by default."""
    return singular if number == 1 else plural or f"{singular}s"


def group_digits(number: int) -> str:
    """Return a number as it is read at a glance, such as ``2 025``."""
    return f"{number:,}".replace(",", " ")


def part_of(part: int, whole: int) -> str:
    """Return how many of all, such as ``3 of 2 025``."""
    return f"{group_digits(part)} of {group_digits(whole)}"


def pluralize(number: int, singular: str, plural: str = "") -> str:
    """Return a number with its noun, such as ``1 box`` or ``2 025 boxes``."""
    return f"{group_digits(number)} {plural_of(number, singular, plural)}"


def format_number(value: float, digits: int) -> str:
    """Return a number with up to so many significant digits, and all of those before the point."""
    return f"{value:.{digits}g}" if abs(value) < 10**digits or value >= 1e9 else f"{value:.0f}"


def format_gigabytes(size: int) -> str:
    """Return a number of bytes as gigabytes, such as ``1.25 GB`` or ``1500 GB``."""
    return f"{format_number(size / 1e9, 3)} GB"

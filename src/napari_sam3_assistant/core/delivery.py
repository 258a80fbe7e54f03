"""How results get from one thread to another."""

from __future__ import annotations

from collections.abc import Callable

Deliver = Callable[[Callable[[], None]], None]
"""Runs what it is given, at once or later, on the thread that shall have it."""


def deliver_inline(call: Callable[[], None]) -> None:
    """Run it here and now: for headless use."""
    call()

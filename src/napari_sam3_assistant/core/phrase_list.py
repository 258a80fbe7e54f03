"""Several phrases, one a line."""

from __future__ import annotations


def parse_phrases(text: str) -> tuple[str, ...]:
    """Return the phrases of a text in their order, each once.

    Parameters
    ----------
    text : str
        One phrase a line. Empty lines are left out, and what follows a ``#``. Phrases that
        differ only in case or spaces are the same; the first one stays.
    """
    phrases: dict[str, str] = {}
    for line in text.splitlines():
        phrase = " ".join(line.partition("#")[0].split())
        if phrase:
            phrases.setdefault(phrase.casefold(), phrase)
    return tuple(phrases.values())

"""Phrases as users type them: one a line, or an instruction."""

from __future__ import annotations

import re


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


_VERBS = ("segment", "detect", "find")
_QUANTIFIERS = (" all of the", " all the", " the", " all", "")
# Longest first: "segment all the cells" loses "segment all the", not "segment all".
_INSTRUCTIONS = tuple(verb + quantifier for quantifier in _QUANTIFIERS for verb in _VERBS)
_PUNCTUATION = " .,:;-"


def clean_phrase(text: str) -> str:
    """Return the short noun phrase in an instruction.

    White space is collapsed, one leading instruction such as "segment all the" is left out
    where something remains, and punctuation at both ends goes.

    Parameters
    ----------
    text : str
        What the user typed, such as ``"Segment all the myelin rings."``.

    Returns
    -------
    str
        Such as ``"myelin rings"``; the text itself where nothing else would remain.
    """
    collapsed = " ".join(text.split())
    phrase = collapsed
    for instruction in _INSTRUCTIONS:
        match = re.match(rf"{instruction} (?=.*\w)", collapsed, re.IGNORECASE)
        if match:
            phrase = collapsed[match.end() :]
            break
    return phrase.strip(_PUNCTUATION) or collapsed

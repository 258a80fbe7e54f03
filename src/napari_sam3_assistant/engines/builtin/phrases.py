"""The few phrases that the built-in engine understands: ``bright ...`` and ``dark ...``."""

from __future__ import annotations

from napari_sam3_assistant.errors import PromptError

_POLARITIES = {"bright": 1, "dark": -1}


def polarity(phrase: str) -> int:
    """Return +1 for bright objects and -1 for dark ones.

    Parameters
    ----------
    phrase : str
        As :func:`.clean_phrase` gives it; only its first
        word counts, the rest is a name.

    Raises
    ------
    PromptError
        If the phrase begins with another word.
    """
    words = phrase.split(maxsplit=1)
    first = words[0].lower() if words else ""
    if first not in _POLARITIES:
        raise PromptError(
            f"The built-in engine understands 'bright ...' and 'dark ...' only, so '{phrase}' "
            "needs SAM 3 weights.",
            "Choose an engine that uses them, and their folder as the model folder.",
        )
    return _POLARITIES[first]

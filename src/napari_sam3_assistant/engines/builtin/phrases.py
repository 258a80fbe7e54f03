"""The few phrases that the built-in engine understands: ``bright ...`` and ``dark ...``."""

from __future__ import annotations

import re

from napari_sam3_assistant.errors import PromptError

_INSTRUCTION = re.compile(
    r"^(?:segment|detect|find)(?:\s+(?:all\s+of\s+the|all\s+the|the|all))?\s+(?=\S)", re.IGNORECASE
)
_POLARITIES = {"bright": 1, "dark": -1}


def normalised(text: str) -> str:
    """Return a phrase without spare spaces, a leading instruction and punctuation at its ends.

    Parameters
    ----------
    text : str
        Such as ``Segment all the bright cells.``, which gives ``bright cells``.
    """
    phrase = " ".join(text.split())
    phrase = _INSTRUCTION.sub("", phrase, count=1)
    return phrase.strip(" .,:;-")


def polarity(phrase: str) -> int:
    """Return +1 for bright objects and -1 for dark ones.

    Parameters
    ----------
    phrase : str
        A normalised phrase; only its first word counts, the rest is a name.

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
            "needs SAM 3 weights: choose their folder with Choose model folder in the widget, "
            "model_folder= in the API or --model-folder on the command line."
        )
    return _POLARITIES[first]

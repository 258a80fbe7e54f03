"""The chime: a short, soft sound that is made and not recorded."""

from __future__ import annotations

import io
import wave

import numpy as np

RATE = 44_100
"""Samples a second."""
SECONDS = 1.1
_LOUDNESS = 0.24
# Frequency in Hz, share of the loudness, and seconds in which it fades to a third: a low tone and
# a faint one above it.
_TONES = ((345.0, 1.0, 0.28), (888.0, 0.12, 0.11))
_ATTACK_S, _FADE_S = 0.010, 0.150


def chime_wav() -> bytes:
    """Return the chime as a WAV file: one channel, 16 bits, 44.1 kHz, 1.1 s."""
    time = np.arange(round(RATE * SECONDS)) / RATE
    sound = sum(
        share * np.exp(-time / decay) * np.sin(2 * np.pi * frequency * time)
        for frequency, share, decay in _TONES
    )
    # It begins and ends at zero: a step would click.
    sound *= np.clip(time / _ATTACK_S, 0, 1) * np.clip((time[-1] - time) / _FADE_S, 0, 1)
    samples = np.round(sound / np.abs(sound).max() * _LOUDNESS * np.iinfo(np.int16).max)
    content = io.BytesIO()
    with wave.open(content, "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(RATE)
        file.writeframes(samples.astype("<i2").tobytes())
    return content.getvalue()

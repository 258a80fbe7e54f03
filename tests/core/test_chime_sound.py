"""The chime, as any player reads it."""

import io
import wave

import numpy as np

from napari_sam3_assistant.widgets.live_points import make_chime


def samples():
    with wave.open(io.BytesIO(make_chime())) as file:
        assert (file.getnchannels(), file.getsampwidth(), file.getframerate()) == (1, 2, 44_100)
        return np.frombuffer(file.readframes(file.getnframes()), "<i2").astype(float)


def test_it_is_short_soft_and_begins_and_ends_in_silence():
    sound = samples()

    assert len(sound) == 48_510
    assert np.abs(sound).max() == round(0.24 * 32767)
    assert sound[0] == sound[-1] == 0
    assert np.abs(np.diff(sound)).max() < 1000


def test_it_fades_from_its_first_moment():
    loudness = [np.abs(part).max() for part in np.array_split(samples()[441:], 10)]

    assert loudness == sorted(loudness, reverse=True)
    assert loudness[-1] < loudness[0] / 20


def test_its_tone_is_low():
    spectrum = np.abs(np.fft.rfft(samples()))

    assert abs(np.fft.rfftfreq(48_510, 1 / 44_100)[spectrum.argmax()] - 345) < 2


def test_it_is_always_the_same():
    assert make_chime() == make_chime()

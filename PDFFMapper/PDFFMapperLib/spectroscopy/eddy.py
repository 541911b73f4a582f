"""Residual eddy currents: what turns all lines alike over time, seen in a reference of water alone.

The phase of a signal of one line is that of its frequency and of what eddy currents add. The method
is known as that of Klose (1990, doi 10.1002/mrm.1910140104), which was not read.
"""

from __future__ import annotations

import numpy as np

from PDFFMapperLib.spectroscopy.combine import combined
from PDFFMapperLib.spectroscopy.spectrum import Spectrum, noise_alone

ONE_LINE_PPM = 2.0  # how far from its peak the reference may have signal
MOST_ELSEWHERE = 0.05  # of its highest peak
LEAST_SNR = 10.0  # of the reference, at points whose phase is taken
FEWEST_KNOWN = 16


def eddy_phase(reference: Spectrum, like: Spectrum, points: int) -> np.ndarray:
    """What eddy currents add to the phase of each point, radians, shape (points,).

    It has no part that is linear in time, which is a line's frequency and stays as it is. Where the
    reference has decayed, it is the last that is known.

    Args:
        reference: water alone, of the same place and gradients.
        like: the spectrum to be corrected.
        points: how many phases.

    Raises:
        ValueError: its points lie elsewhere in time, its format alone or that of the spectrum alone
            says which way frequencies run, it is noise, or it holds another peak.
    """
    if not reference.dwell_s or abs(reference.dwell_s / like.dwell_s - 1) > 1e-4:
        raise ValueError(
            f"{reference.name}: the water reference has another dwell time than {like.name}; one "
            "with the same is expected."
        )
    if (reference.sense is None) != (like.sense is None):
        raise ValueError(
            f"{reference.name}: of the water reference and {like.name} one file alone tells which "
            "way frequencies run, so that phases may have the other sign; give both in one format."
        )
    signal, _ = combined(reference.fids, reference.dwell_s)
    if reference.sense != like.sense:
        signal = signal.conj()
    noise = np.sqrt(np.mean(np.abs(signal[noise_alone(len(signal))]) ** 2))
    known = int(np.argmax(np.append(np.abs(signal), 0.0) < LEAST_SNR * noise))
    if known < FEWEST_KNOWN:
        raise ValueError(f"{reference.name}: the water reference is little more than noise.")
    t = np.arange(known)
    turning = np.angle(np.sum(signal[1:known] * signal[: known - 1].conj()))
    slow = signal[:known] * np.exp(-1j * turning * t)
    phase = np.unwrap(np.angle(slow))
    _refuse_other_peaks(reference, slow * np.exp(-1j * phase), like.frequency_mhz)
    phase = phase - np.polyval(np.polyfit(t, phase, 1, w=np.abs(slow)), t)
    last = np.mean(phase[-FEWEST_KNOWN:])
    return np.append(phase, np.full(max(points - known, 0), last))[:points]


def _refuse_other_peaks(reference: Spectrum, line: np.ndarray, frequency_mhz: float) -> None:
    """Refuse one that has more than its line, here without phase and frequency."""
    spectrum = np.fft.fft(np.append(line[0] / 2, line[1:])).real
    apart = np.abs(np.fft.fftfreq(len(line), reference.dwell_s)) / frequency_mhz
    elsewhere = np.where(apart > ONE_LINE_PPM, spectrum, 0.0)
    other = int(np.argmax(elsewhere))
    if elsewhere[other] > MOST_ELSEWHERE * spectrum[0]:
        raise ValueError(
            f"{reference.name}: the water reference holds another peak, {apart[other]:.1f} ppm "
            f"from its highest and {100 * elsewhere[other] / spectrum[0]:.0f} % of it; water "
            "alone is expected (fat suppressed, or a phantom at the same place)."
        )

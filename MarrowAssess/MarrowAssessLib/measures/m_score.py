"""M-score: signal over noise of lumbar vertebrae, beside that of the scanner's young controls."""

from __future__ import annotations

import numpy as np

from MarrowAssessLib.catalogue.quantities import Quantity
from MarrowAssessLib.measures.book import Book
from MarrowAssessLib.measures.measurement import Measurement, Skipped


def snr_score(book: Book, quantity: Quantity) -> list[Measurement | Skipped]:
    """(SNR of L1-L4 - reference mean) / reference SD, with SNR = mean signal / SD of air.

    Source: Bandirali et al. 2015, Eur Radiol, doi 10.1007/s00330-015-3699-y. Always from the
    uncorrected T1: N4 changes the noise from place to place.
    """
    if book.settings.m_score_reference is None:
        return [Skipped(quantity.key, "no reference mean and SD of this scanner was given")]
    bodies = [book.at(quantity.measured, level) for level in quantity.levels]
    if None in bodies:
        return [Skipped(quantity.key, "marrow regions at L1, L2, L3 and L4 are needed")]
    air = next(iter(book.of(quantity.divided_by)), None)
    if air is None:
        return [Skipped(quantity.key, "no noise (air) region was given")]
    (contrast,) = quantity.images
    noise = book.statistics(quantity, air, contrast)
    if not noise.sd > 0:
        raise ValueError(
            f"{book.image(quantity, contrast).name}: the signal of {air.name} does not vary "
            f"(SD {noise.sd:g}), so it is no noise; the scanner may have masked the background. "
            "Draw it elsewhere or leave it out."
        )
    signal = np.mean([book.statistics(quantity, body, contrast).mean for body in bodies])
    mean, sd = book.settings.m_score_reference
    one = Measurement(
        quantity.key,
        quantity.site_of_levels,
        (float(signal) / noise.sd - mean) / sd,
        tuple(body.name for body in bodies),
        (air.name,),
        reference_statistics=noise,
    )
    one.cautions.append("Holds only for the scanner and protocol its reference was measured on.")
    return [one]

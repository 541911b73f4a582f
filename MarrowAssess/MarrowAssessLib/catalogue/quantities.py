"""The quantities this software reports: their keys, names, units and digits."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Quantity:
    """One reported quantity.

    Attributes:
        key: its name in code, CSV, JSON and the reference data.
        name: what people read.
        unit: unit as printed; "" for a plain ratio.
        digits: digits after the decimal point when shown.
        meaning: one sentence.
    """

    key: str
    name: str
    unit: str
    digits: int
    meaning: str

    def format(self, value: float) -> str:
        """The value with sensible digits and its unit."""
        return f"{value:.{self.digits}f} {self.unit}".rstrip()


_ALL = [
    Quantity("t1_marrow_muscle", "T1 marrow/muscle", "", 2, "Marrow over muscle signal on T1."),
    Quantity("t1_marrow_disc", "T1 marrow/disc", "", 2, "Marrow over disc signal on T1."),
    Quantity(
        "fs_t2_marrow_muscle",
        "Fat-suppressed T2 marrow/muscle",
        "",
        2,
        "Marrow over muscle signal on fat-suppressed T2, STIR or TIRM.",
    ),
    Quantity(
        "fs_t2_marrow_disc",
        "Fat-suppressed T2 marrow/disc",
        "",
        2,
        "Marrow over disc signal on fat-suppressed T2, STIR or TIRM.",
    ),
    Quantity("t2_marrow_muscle", "T2 marrow/muscle", "", 2, "Marrow over muscle signal on T2."),
    Quantity("t2_marrow_disc", "T2 marrow/disc", "", 2, "Marrow over disc signal on T2."),
    Quantity("opposed_in_ratio", "Opposed/in-phase ratio", "", 2, "Signal opposed over in phase."),
    Quantity("signal_drop", "Opposed-phase signal drop", "%", 0, "100 (1 - opposed/in-phase)."),
    Quantity(
        "opposed_fat_fraction_low",
        "Fat fraction from opposed phase (if water-dominant)",
        "%",
        0,
        "50 (1 - opposed/in-phase), true where water dominates.",
    ),
    Quantity(
        "opposed_fat_fraction_high",
        "Fat fraction from opposed phase (if fat-dominant)",
        "%",
        0,
        "50 (1 + opposed/in-phase), true where fat dominates.",
    ),
    Quantity(
        "enhancement",
        "Contrast enhancement",
        "%",
        0,
        "100 (post/pre contrast T1 - 1), both acquired alike.",
    ),
    Quantity("vbq", "VBQ", "", 2, "Median of the L1-L4 medians over CSF at L3, on T1."),
    Quantity("vbq_mean", "VBQ (means)", "", 2, "Mean of the L1-L4 means over CSF at L3, on T1."),
    Quantity("vbq_l1", "VBQ, L1 alone", "", 2, "Median of L1 over CSF at L1, on T1."),
    Quantity("vbq_s1", "VBQ, S1", "", 2, "Median of S1 over CSF at L5-S1, on T1."),
    Quantity("vbq_cervical", "VBQ, cervical", "", 2, "Median of C3-C6 over CSF at C5, on T1."),
    Quantity("vbq_thoracic", "VBQ, thoracic", "", 2, "Median of T5-T8 over CSF at T7, on T1."),
    Quantity("m_score", "M-score", "SD", 1, "(SNR of L1-L4 - reference mean)/reference SD."),
    Quantity("marrow_pdff", "Marrow PDFF", "%", 1, "Proton density fat fraction of marrow."),
    Quantity("marrow_r2star", "Marrow R2*", "1/s", 0, "Transverse relaxation rate R2*."),
    Quantity("marrow_adc", "Marrow ADC", "10^-3 mm^2/s", 2, "Apparent diffusion coefficient."),
    Quantity("marrow_d", "Marrow D", "10^-3 mm^2/s", 2, "IVIM: diffusion coefficient."),
    Quantity("marrow_dstar", "Marrow D*", "10^-3 mm^2/s", 1, "IVIM: pseudo-diffusion."),
    Quantity("marrow_f", "Marrow f", "%", 1, "IVIM: perfusion fraction."),
    Quantity("muscle_pdff", "Muscle PDFF", "%", 1, "Proton density fat fraction of muscle."),
    Quantity(
        "muscle_csa", "Muscle cross-section", "cm^2", 1, "Largest section of the drawn region."
    ),
    Quantity("region_fat_fraction", "Fat signal fraction", "%", 1, "Of any other tissue."),
    Quantity("region_pdff", "PDFF", "%", 1, "Proton density fat fraction of any other tissue."),
    Quantity("region_r2star", "R2*", "1/s", 0, "R2* of any other tissue."),
    Quantity("region_adc", "ADC", "10^-3 mm^2/s", 2, "ADC of any other tissue."),
    Quantity("region_d", "D", "10^-3 mm^2/s", 2, "IVIM D of any other tissue."),
    Quantity("region_dstar", "D*", "10^-3 mm^2/s", 1, "IVIM D* of any other tissue."),
    Quantity("region_f", "f", "%", 1, "IVIM f of any other tissue."),
    Quantity("marrow_yellow", "Yellow-marrow share", "%", 0, "0 % red (PDFF 40), 100 yellow (80)."),
    Quantity(
        "marrow_fat_signal_fraction",
        "Marrow fat signal fraction",
        "%",
        1,
        "Fat over fat and water signal, not corrected for T1: reads higher than PDFF.",
    ),
    Quantity("marrow_mrs_fat", "Marrow fat, MRS", "%", 1, "Fat fraction by proton spectroscopy."),
    Quantity(
        "marrow_water_fraction",
        "Marrow water fraction",
        "%",
        1,
        "Water over water and lipid signal by chemical-shift misregistration (Ishijima 1996).",
    ),
    Quantity(
        "muscle_fat_signal_fraction",
        "Muscle fat signal fraction",
        "%",
        1,
        "Fat over fat and water signal of muscle, not corrected for T1.",
    ),
]

QUANTITIES: dict[str, Quantity] = {quantity.key: quantity for quantity in _ALL}

"""The numbers of a spectrum's answer: what each is called and what it says."""

from __future__ import annotations

from typing import NamedTuple

PRESS, STEAM, NONE = "PRESS", "STEAM", "none"  # by what J modulation follows from
NOT_FOR_T1 = "Not corrected for T1: "  # begins the caution about it


class Row(NamedTuple):
    """What a number is called, its unit, its digits and what it says."""

    key: str
    name: str
    unit: str
    digits: int
    meaning: str


ROWS = {
    row.key: row
    for row in (
        Row("pdff", "PDFF, MRS", "%", 1, "F/(F + W) of protons, corrected for T2 and J."),
        Row(
            "signal_fat_fraction", "Fat signal fraction, MRS", "%", 1,
            "F/(F + W) at the echo time, corrected for J, not for T2.",
        ),
        Row("t2_water", "T2 of water, MRS", "ms", 1, "Of a joint fit of all echo times."),
        Row("t2_fat", "T2 of fat, MRS", "ms", 1, "Of a joint fit of all echo times."),
        Row("t1_water", "T1 of water, MRS", "ms", 0, "Of a joint fit of all TR, TI or TM."),
        Row("t1_fat", "T1 of fat, MRS", "ms", 0, "Of a joint fit of all TR, TI or TM."),
        Row("ndb", "Double bonds, MRS", "", 2, "Double bonds per triglyceride (ndb)."),
        Row(
            "nmidb", "Methylene-interrupted double bonds, MRS", "", 2, "Per triglyceride (nmidb).",
        ),
        Row(
            "unsaturation", "Unsaturation index, MRS", "%", 2,
            "100 olefinic/(olefinic + methylene + methyl) protons.",
        ),
        Row(
            "olefinic_share", "Olefinic share of lipid, MRS", "%", 2,
            "100 olefinic/all fat protons.",
        ),
        Row(
            "olefinic_methylene", "Olefinic over methylene, MRS", "%", 2,
            "100 olefinic/methylene protons.",
        ),
        Row(
            "fpufa", "Polyunsaturated fraction, MRS", "%", 0, "100 nmidb/3, of fatty-acid chains.",
        ),
        Row(
            "fmufa", "Monounsaturated fraction, MRS", "%", 0, "100 (ndb - 2 nmidb)/3, of chains.",
        ),
        Row("fsfa", "Saturated fraction, MRS", "%", 0, "100 (1 - (ndb - nmidb)/3), of chains."),
        Row(
            "chain_length", "Chain length, MRS", "", 1,
            "Carbon atoms of a chain of fat (CL), fitted with 17.4 +- 0.3 as prior knowledge.",
        ),
    )
}  # fmt: skip

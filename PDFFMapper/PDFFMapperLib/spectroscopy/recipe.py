"""The recipe of spectra: water, fat and its composition in one voxel."""

from __future__ import annotations

from PDFFMapperLib.maps.recipe import (
    CHOICE,
    IMAGE,
    NUMBER,
    NUMBERS,
    SWITCH,
    TEXT,
    Input,
    Option,
    Recipe,
)
from PDFFMapperLib.spectroscopy.rows import NONE, PRESS, ROWS, STEAM

HAMILTON = "Hamilton 2011, doi 10.1002/nbm.1622"
SPECTRA = Input(
    "spectra",
    "spectra",
    "Spectra of one voxel, one per echo time, or a folder of them: NIfTI-MRS, Siemens .rda or "
    "DICOM, Philips SPAR/SDAT or DICOM, standard DICOM, jMRUI, LCModel .raw, or text.",
    "spectra",
    "spectroscopy",
    series=True,
)
SEQUENCE = Option(
    "sequence", CHOICE, None, "Where files do not say it (J coupling).",
    choices=((PRESS, "PRESS"), (STEAM, "STEAM"), (NONE, "neither")), flag="--sequence",
)  # fmt: skip
SENSE = Option(
    "sense", CHOICE, None, "1 if peaks of higher ppm turn faster; found if not given.",
    choices=((1, "faster"), (-1, "slower")), flag="--sense",
)  # fmt: skip
CENTER = Option(
    "center_ppm", NUMBER, None, "Of the transmitter; found if not given.", "ppm", flag="--center"
)
TIMES = tuple(
    Option(
        f"{time.lower()}_{tissue}_ms", NUMBER, None, f"{time} of {tissue}, {why}.", "ms",
        low=1.0, high=1e12, flag=f"--{time.lower()}-{tissue}", title=f"{time} of {tissue}",
    )
    for time, why in (("T2", "for one echo time"), ("T1", "to correct for it"))
    for tissue in ("water", "fat")
)  # fmt: skip
THREE_DOUBLE_BONDS = Option(
    "three_double_bonds", SWITCH, False,
    "Chains may have more than two, so that nmidb may reach ndb.", flag="--three-double-bonds",
)  # fmt: skip
CHAIN_LENGTH_FREE = Option(
    "chain_length", SWITCH, False,
    "The length of fat's chains (CL) is fitted, with 17.4 +- 0.3 as prior knowledge.",
    flag="--chain-length",
)  # fmt: skip
BANDWIDTHS = Option(
    "bandwidths_hz", NUMBERS, None,
    "Of the slice-selective pulses, for the shift of fat against water.", "Hz", count=3,
    low=1.0, high=1e6, flag="--bandwidths",
)  # fmt: skip
BASELINE = Option(
    "baseline", SWITCH, False,
    "Only fits with a smooth baseline count; else they do as far as the data ask for one.",
    flag="--baseline",
)  # fmt: skip
LINE_SHAPE = Option(
    "line_shape", SWITCH, False,
    "For poor shims: all lines may share a shape taken from the lipids.", flag="--line-shape",
)  # fmt: skip
BONE = Option(
    "bone", IMAGE, None, "Mask of a bone; it is told where the voxel leaves it.", flag="--bone"
)
WATER_REFERENCE = Option(
    "water_reference", TEXT, None,
    "A spectrum of water alone from the same place (fat suppressed, or a phantom), by whose phases "
    "eddy currents are corrected.",
    flag="--water-reference",
)  # fmt: skip

MRS = Recipe(
    id="spectrum",
    choice="Spectrum",
    title="Fat fraction, T2 and composition of fat of one voxel: water and ten fat peaks of a "
    "triglyceride with Voigt lines and J modulation by maximum likelihood",
    inputs=(SPECTRA,),
    options=(
        SEQUENCE,
        SENSE,
        CENTER,
        *TIMES,
        THREE_DOUBLE_BONDS,
        CHAIN_LENGTH_FREE,
        BANDWIDTHS,
        BASELINE,
        LINE_SHAPE,
        BONE,
        WATER_REFERENCE,
    ),
    kinds=(),
    numbers=tuple(ROWS),
    citation=HAMILTON,
    compute="PDFFMapperLib.spectroscopy.analysis:analyze",
)

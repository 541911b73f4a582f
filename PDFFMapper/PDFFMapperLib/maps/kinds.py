"""The kinds of map: what each is called, its unit, how it is shown, coded and checked.

One row for each kind, here and nowhere else. A new kind is a row of KINDS.
"""

import re
from typing import NamedTuple

DIFFUSIVITY = "10^-3 mm^2/s"
PERCENT = (0.0, 100.0)
R2STAR = (0.0, 200.0)
LEGEND_LETTERS = 12  # on a line

# Unit as printed: DICOM PS3.16, CID 7181 and UCUM; um2/ms is 10^-3 mm^2/s.
UNIT_CODES = {
    "": ("1", "UCUM", "no units"),
    "%": ("%", "UCUM", "Percent"),
    "1/s": ("/s", "UCUM", "1/s"),
    "ms": ("ms", "UCUM", "ms"),
    "Hz": ("Hz", "UCUM", "Hz"),
    DIFFUSIVITY: ("um2/ms", "UCUM", DIFFUSIVITY),
    "mm^2": ("mm2", "UCUM", "mm^2"),
    "cm^2": ("cm2", "UCUM", "cm^2"),
    "mm": ("mm", "UCUM", "mm"),
    "deg": ("deg", "UCUM", "degrees"),
    "SD": ("{SD}", "UCUM", "standard deviations"),
    "HU": ("[hnsf'U]", "UCUM", "Hounsfield unit"),
    "mg/cm^3": ("mg/cm3", "UCUM", "mg/cm^3"),
    "mol/L": ("mol/L", "UCUM", "mol/L"),
    "mol 1H/L": ("mol/L", "UCUM", "mol/L"),
    "mol 31P/L": ("mol/L", "UCUM", "mol/L"),
    "g": ("g", "UCUM", "g"),
    "ml": ("ml", "UCUM", "milliliter"),
    "g/ml": ("g/ml{SUVbw}", "UCUM", "Standardized Uptake Value body weight"),
    "signal": ("[arb'U]", "UCUM", "arbitrary units"),
}


class MapKind(NamedTuple):
    """One kind of map.

    Attributes:
        id: its one name in code, and the file name's ending where `ending` is "".
        title: what people read.
        unit: as printed, a key of UNIT_CODES; "" for none.
        window: lowest and highest value shown, fixed so that maps compare; None for signals, which
            are shown from 0 to their 99th percentile.
        color: name of a Slicer color node.
        code: DICOM PS3.16, CID 7180: value, scheme and meaning; None where there is none.
        plausible: between which a region's median lies if the unit is right; None if unknown.
        least: what marrow and muscle do not go below in the right unit, 0 where they may.
        symbol: short name for a legend; the id where "".
        bids: suffix of the Brain Imaging Data Structure, "" where it has none.
        ending: of the file name, where two kinds share one.
        mask: id of the mask beside its file that says where it can be trusted. Maps are NaN
            elsewhere today, but not those of version 0.1, nor NIfTI as Slicer reads it.
        region: of a map of shares, the name of a segment of the voxels that have more than half,
            which a scene keeps beside it to be edited.
        aliases: other names it goes by, in any spelling that `find_kind` takes for the same.
    """

    id: str
    title: str
    unit: str = ""
    window: tuple[float, float] | None = None
    color: str = "Grey"
    code: tuple[str, str, str] | None = None
    plausible: tuple[float, float] | None = None
    least: float = 0.0
    symbol: str = ""
    bids: str = ""
    ending: str = ""
    mask: str = ""
    region: str = ""
    aliases: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """The file name's ending, also kept on nodes."""
        return self.ending or self.id

    @property
    def legend(self) -> str:
        """Short name with unit, on lines of their own where one would run over the image."""
        name = self.symbol or self.id
        if not self.unit:
            return name
        text = f"{name} ({self.unit})"
        if len(text) <= LEGEND_LETTERS:
            return text
        first, space, rest = self.unit.partition(" ")
        if space and len(f"{name} ({first}") <= LEGEND_LETTERS:
            return f"{name} ({first}\n{rest})"
        return f"{name}\n({first}{space and chr(10)}{rest})"


_FF = "Fat signal fraction"
_FRACTION = dict(unit="%", window=PERCENT, color="Viridis", plausible=(-20.0, 120.0))
_DECAY = dict(unit="1/s", window=R2STAR, color="Inferno", plausible=(-50.0, 2000.0), least=2.0)
_T1 = dict(unit="ms", window=(0.0, 2000.0), color="Viridis", plausible=(10.0, 8000.0), least=10.0)
_T1_CODE = ("113063", "DCM", "T1")
_DIFFUSION = dict(unit=DIFFUSIVITY, window=(0.0, 2.0), plausible=(-0.5, 6.0), least=0.01)
_VNCA = dict(unit="HU", window=(-150.0, 100.0), plausible=(-1000.0, 3000.0))
_MINERAL = dict(unit="mg/cm^3", window=(0.0, 400.0), color="Viridis", plausible=(-500.0, 3000.0))
_MASK = dict(window=(0.0, 1.0))

KINDS = (
    # water and fat
    MapKind(
        "PDFF",
        "Proton density fat fraction",
        **_FRACTION,
        code=("129100", "DCM", "Fat fraction"),
        mask="confident",
        aliases=("proton density fat fraction",),
    ),
    MapKind(
        "R2star",
        "R2*",
        **_DECAY,
        code=("126395", "DCM", "R2*"),
        symbol="R2*",
        bids="R2starmap",
        mask="confident",
    ),
    MapKind("R2star_water", "R2* of water", **_DECAY, symbol="R2* water", mask="confident"),
    MapKind("R2star_fat", "R2* of fat", **_DECAY, symbol="R2* fat", mask="confident"),
    MapKind(
        "T2star",
        "T2*",
        "ms",
        (0.0, 60.0),
        "Inferno",
        code=("113064", "DCM", "T2*"),
        plausible=(0.0, 1000.0),
        symbol="T2*",
        bids="T2starmap",
        mask="confident",
    ),
    MapKind("water", "Water", "signal"),
    MapKind("fat", "Fat", "signal"),
    MapKind("field", "Off-resonance", "Hz", (-300.0, 300.0), "DivergingBlueRed", bids="fieldmap"),
    MapKind("residual_percent", "Residual over signal", "%", (0.0, 20.0), ending="residual"),
    MapKind(
        "FF_magnitude",
        "Fat fraction of magnitudes, as other software shows it",
        **_FRACTION,
        symbol="FF",
        mask="confident",
    ),
    MapKind("PDFF_SD", "Standard deviation of PDFF", "%", (0.0, 10.0), "Viridis"),
    MapKind("R2star_SD", "Standard deviation of R2*", "1/s", (0.0, 40.0), "Viridis"),
    MapKind("FF", _FF, **_FRACTION, aliases=("fat fraction", "fat signal fraction")),
    MapKind("FF_SD", f"Standard deviation of {_FF.lower()}", "%", (0.0, 10.0), "Viridis"),
    MapKind("FF_water_dominant", f"{_FF} if water dominates", **_FRACTION, symbol="FF"),
    MapKind("FF_fat_dominant", f"{_FF} if fat dominates", **_FRACTION, symbol="FF"),
    MapKind(
        "PDFF_T1corrected",
        "Proton density fat fraction without T1 bias",
        **_FRACTION,
        symbol="PDFF",
        mask="confident",
    ),
    MapKind("T1_water", "T1 of water", **_T1, code=_T1_CODE, symbol="T1 water"),
    MapKind("T1_fat", "T1 of fat", **_T1, code=_T1_CODE, symbol="T1 fat"),
    MapKind("T1_water_SD", "Standard deviation of T1 of water", "ms", (0.0, 300.0), "Viridis"),
    MapKind("T1_fat_SD", "Standard deviation of T1 of fat", "ms", (0.0, 300.0), "Viridis"),
    MapKind("FF_T1corrected", f"{_FF} without T1 bias", **_FRACTION, symbol="FF"),
    MapKind(
        "FF_water_dominant_T1corrected",
        f"{_FF} if water dominates without T1 bias",
        **_FRACTION,
        symbol="FF",
    ),
    MapKind(
        "FF_fat_dominant_T1corrected",
        f"{_FF} if fat dominates without T1 bias",
        **_FRACTION,
        symbol="FF",
    ),
    # diffusion
    MapKind(
        "ADC",
        "Apparent diffusion coefficient",
        **_DIFFUSION,
        code=("113041", "DCM", "Apparent Diffusion Coefficient"),
        bids="ADC",
    ),
    MapKind(
        "D",
        "Diffusion coefficient",
        **_DIFFUSION,
        code=("113291", "DCM", "Slow Diffusion Coefficient"),
    ),
    MapKind(
        "Dstar",
        "Pseudo-diffusion coefficient",
        DIFFUSIVITY,
        (0.0, 60.0),
        "Inferno",
        code=("113292", "DCM", "Fast Diffusion Coefficient"),
        plausible=(-1.0, 1000.0),
        least=0.1,
        symbol="D*",
        mask="Dstar_identifiable",
        aliases=("D*",),
    ),
    MapKind(
        "f",
        "Perfusion fraction",
        "%",
        (0.0, 30.0),
        "Inferno",
        code=("113293", "DCM", "Fast Diffusion Coefficient Fraction"),
        plausible=(-20.0, 120.0),
    ),
    MapKind("fDstar", "f x D*", DIFFUSIVITY, (0.0, 10.0), "Inferno", symbol="f D*"),
    MapKind("K", "Excess kurtosis", "", (0.0, 2.0), "Viridis"),
    MapKind("S0", "Signal at b = 0", "signal", bids="S0map"),
    MapKind("residual", "Root mean square residual", "signal"),
    MapKind("R2", "Share of the signal's variance explained", "", (0.0, 1.0), "Viridis"),
    MapKind("ADC_SD", "Standard deviation of ADC", DIFFUSIVITY, (0.0, 0.5), "Viridis"),
    MapKind("D_SD", "Standard deviation of D", DIFFUSIVITY, (0.0, 0.5), "Viridis"),
    MapKind("Dstar_SD", "Standard deviation of D*", DIFFUSIVITY, (0.0, 30.0), "Viridis"),
    MapKind("f_SD", "Standard deviation of f", "%", (0.0, 15.0), "Viridis"),
    MapKind("fDstar_SD", "Standard deviation of f D*", DIFFUSIVITY, (0.0, 5.0), "Viridis"),
    MapKind("K_SD", "Standard deviation of K", "", (0.0, 1.0), "Viridis"),
    MapKind("S0_SD", "Standard deviation of S0", "signal", color="Viridis"),
    MapKind("model", "Model chosen by AICc", "", (0.0, 3.0), "Viridis"),
    # PET
    MapKind(
        "SUV",
        "Standardized uptake value by body weight",
        "g/ml",
        (0.0, 7.0),
        "InvertedGrey",
        code=("126401", "DCM", "SUVbw"),
        plausible=(-5.0, 200.0),
        aliases=("SUVbw", "PET"),
    ),
    # CT
    MapKind("CT", "CT number", "HU", (-160.0, 240.0), "Grey", plausible=(-10000.0, 40000.0)),
    MapKind("VNCa", "Virtual non-calcium, volume conserved", **_VNCA, symbol="VNCa"),
    MapKind(
        "VNCa_projected",
        "Virtual non-calcium, as scanners make it",
        **_VNCA,
        symbol="VNCa",
    ),
    MapKind("HAP", "Bone mineral (hydroxyapatite)", **_MINERAL),
    MapKind("HAP_water", "HAP(Water), not corrected for fat", **_MINERAL, symbol="HAP(Water)"),
    MapKind(
        "Fat_HAP",
        "Fat(HAP): density of fat beside hydroxyapatite, as scanners make it",
        "mg/cm^3",
        (800.0, 1100.0),
        "Viridis",
        plausible=(-500.0, 3000.0),
        aliases=("Fat(HAP)",),
        symbol="Fat(HAP)",
    ),
    MapKind(
        "yellow_share",
        "Share of yellow marrow by dual-energy CT",
        "%",
        PERCENT,
        "Viridis",
        plausible=(-1000.0, 1000.0),
        symbol="yellow",
    ),
    MapKind("HAP_SD", "Standard deviation of HAP", "mg/cm^3", (0.0, 150.0), "Viridis"),
    MapKind("yellow_share_SD", "Standard deviation of yellow share", "%", PERCENT, "Viridis"),
    MapKind("VNCa_SD", "Standard deviation of VNCa", "HU", (0.0, 150.0), "Viridis"),
    # ultrashort echo times
    MapKind("PI", "Porosity index", "%", (0.0, 50.0), "Viridis", plausible=(-20.0, 150.0)),
    MapKind(
        "echo_ratio",
        "Ratio of last and first echo",
        "%",
        PERCENT,
        "Viridis",
        plausible=(-20.0, 150.0),
        symbol="ratio",
    ),
    MapKind("SR", "Suppression ratio", "", (1.0, 10.0), "Viridis", plausible=(0.2, 200.0)),
    MapKind(
        "MTR",
        "Magnetization transfer ratio",
        "%",
        PERCENT,
        "Viridis",
        bids="MTRmap",
    ),
    MapKind("bound_fraction", "Bound-water fraction, two T2*", **_FRACTION, symbol="bound"),
    MapKind(
        "bound_fraction_SD",
        "Standard deviation of the bound-water fraction",
        "%",
        (0.0, 20.0),
        "Viridis",
    ),
    MapKind("pore_fraction", "Pore-water fraction, three T2*", **_FRACTION, symbol="pore"),
    MapKind("T1_bone", "T1 of bone", **_T1, code=_T1_CODE, symbol="T1 bone"),
    MapKind("MMF", "Macromolecular fraction, UTE-MT", **_FRACTION),
    MapKind("MMF_SD", "Standard deviation of the MMF", "%", (0.0, 20.0), "Viridis"),
    MapKind("density", "Density of protons or phosphorus", "mol/L", (0.0, 40.0), "Viridis"),
    MapKind("bone_fat", "Fat fraction of apparent signals of bone", **_FRACTION, symbol="fat"),
    MapKind(
        "cortex_share", "Share of cortex", "%", PERCENT, "Viridis", symbol="cortex", region="Cortex"
    ),
    # which voxels, and why not
    MapKind("doubt", "Doubt", "", (0.0, 127.0), "Viridis"),
    MapKind("confident", "Voxels whose values can be used", **_MASK),
    MapKind("valid", "Voxels that were fitted", **_MASK),
    MapKind("exchanged", "Voxels whose water and fat were exchanged back", **_MASK),
    MapKind("at_bound", "Voxels whose estimate lies at a limit", **_MASK),
    MapKind("Dstar_identifiable", "Voxels whose data tell D*", **_MASK),
    MapKind("typical", "Voxels that the learned distribution explains", **_MASK),
)


def _spelled(name: str) -> str:
    return re.sub(r"[\s_-]", "", name.lower()).replace("star", "*")


_BY_NAME = {
    _spelled(name): kind for kind in KINDS for name in (*kind.aliases, kind.bids) if name
} | {_spelled(kind.id): kind for kind in KINDS}


def find_kind(name: str) -> MapKind | None:
    """The kind that goes by a name, id or alias, whatever its case and separators; else None."""
    return _BY_NAME.get(_spelled(name))


def map_kind(name: str) -> MapKind:
    """The kind that goes by a name.

    Raises:
        ValueError: there is none.
    """
    kind = find_kind(name)
    if kind is None:
        names = ", ".join(kind.id for kind in KINDS)
        raise ValueError(f"No kind of map is called '{name}'; there are {names}.")
    return kind

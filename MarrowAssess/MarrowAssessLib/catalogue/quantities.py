"""The quantities this software reports: one row for each, and all that is particular to it.

A quantity of a map that is known already is one more row here and its test; everything else
(measurement, table, report, references, colors, Segment Statistics) follows from the row.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum, unique
from functools import cached_property
from pkgutil import resolve_name

from PDFFMapperLib.spectroscopy.rows import ROWS

from MarrowAssessLib.catalogue.anatomy import Role
from MarrowAssessLib.catalogue.contrasts import Contrast
from MarrowAssessLib.catalogue.lean_mass import SUL


@unique
class Method(Enum):
    """How a quantity is measured: in words, and by which function of `measures`.

    The function is given the book of a study and the quantity, and returns what it measured and
    what it had to skip.
    """

    TISSUE_RATIO = (
        "signal over that of the nearest region of another tissue",
        "signal_ratios:tissue_ratio",
    )
    OPPOSED_RATIO = "opposed over in phase", "chemical_shift:opposed_phase"
    SIGNAL_DROP = "from the opposed/in-phase ratio", "chemical_shift:opposed_phase"
    FAT_IF_WATER_DOMINATES = (
        "from the opposed/in-phase ratio, the smaller solution",
        "chemical_shift:opposed_phase",
    )
    FAT_IF_FAT_DOMINATES = (
        "from the opposed/in-phase ratio, the larger solution",
        "chemical_shift:opposed_phase",
    )
    ENHANCEMENT = "after over before contrast agent", "signal_ratios:enhancement"
    LEVELS_OVER_CSF = "vertebral levels over CSF", "vbq:levels_over_csf"
    SNR_SCORE = "signal over noise, in SDs of a reference", "m_score:snr_score"
    MAP_VALUE = "median of a map", "maps:map_value"
    YELLOW_SHARE = "from PDFF, between red and yellow marrow", "composition:yellow_shares"
    CROSS_SECTION = "area of a region's largest section", "muscle:cross_section"
    TEXTURE = "gray levels of neighboring voxels", "texture:texture"
    BODY_SHAPE = "from the outline of a vertebral body", "heights:body_shape"
    DEFORMITY = "from all bodies' grades", "heights:deformity_index"
    BODY_SIGNAL = "a body's signal over that of bodies without low height", "heights:body_signal"
    UPTAKE = "mean of PET", "uptake:uptake"
    UPTAKE_MAX = "highest voxel of PET", "uptake:uptake"
    UPTAKE_PEAK = "highest mean of 1 cm^3 of PET", "uptake:uptake"
    UPTAKE_TOTAL = "mean of PET times volume", "uptake:uptake"
    UPTAKE_LEAN = "mean of PET by lean body mass", "uptake:uptake"
    UPTAKE_RATIO = "mean of PET over that of another tissue", "uptake:uptake"
    UPTAKE_SCORE = "mean of PET beside blood pool and liver", "uptake:uptake"
    UPTAKE_SCORE_PEAK = "peak of PET beside blood pool and liver", "uptake:uptake"
    CT_VALUE = "median of a dual-energy map", "dual_energy:ct_value"
    CT_GRADIENT = "change of a dual-energy map from level to level", "dual_energy:ct_gradient"
    CT_COLUMN = (
        "mean of a dual-energy map over all vertebrae by their volume",
        "dual_energy:ct_column",
    )
    DIFFUSION_VOLUME = "volume of lesions on whole-body diffusion", "whole_body:whole_body"
    GLOBAL_ADC = "ADC of all lesions together", "whole_body:whole_body"
    ADC_SHARE = "share of lesions within limits of ADC", "whole_body:whole_body"
    FOCAL_LESIONS = "number of lesions", "whole_body:whole_body"
    SKELETAL_PART = "all marrow of a part of the skeleton", "whole_body:whole_body"
    LIMB_RATIO = "highest voxel of limbs over that of spine and pelvis", "uptake:uptake"
    LIMB_SPREAD = "regions of limbs above blood pool and liver", "uptake:uptake"
    SPECTRUM = "from single-voxel spectroscopy", "spectroscopy:spectral_value"
    BONE = "from a UTE series of a bone", "ute:bone_value"
    REFERENCE_ONLY = "not here; references name it", ""

    def __init__(self, words: str, function: str) -> None:
        self.words, self.function = words, function

    @cached_property
    def measure(self) -> Callable[..., list]:
        """Its function, imported when it is first needed: measures lie above this catalogue."""
        return resolve_name(f"MarrowAssessLib.measures.{self.function}")


@dataclass(frozen=True)
class Quantity:
    """One reported quantity.

    Attributes:
        key: its name in code, CSV, JSON, saved scenes and the reference data.
        name: what people read.
        unit: unit as printed; "" for a plain ratio.
        digits: digits after the decimal point when shown.
        meaning: one sentence.
        method: how it is measured.
        images: what has to be there, the measured image first.
        measured: tissue; None for a map's value in every tissue without a row of its own.
        divided_by: tissue that it is divided by, if any.
        levels: vertebrae that are combined into one value. Those of a map have a value each as
            well; those of `LEVELS_OVER_CSF` and `SNR_SCORE` define the quantity.
        combined: how, "mean" or "median".
        divisor_sites: where the divisor is looked for, the first choice first.
        color_rank: what colors a region in the views: the quantity of the lowest rank, of two the
            one that stands first; None never.
        feature: code of a texture feature by the IBSI.
        n4: whether bias-field correction is applied to its images, if it is asked for. Quotients
            of the same voxels carry the same coil shading, noise differs after correction from
            place to place, and maps have no shading: all these are measured as acquired.
    """

    key: str
    name: str
    unit: str
    digits: int
    meaning: str
    method: Method
    images: tuple[Contrast, ...] = ()
    measured: Role | None = None
    divided_by: Role | None = None
    levels: tuple[str, ...] = ()
    combined: str = "mean"
    divisor_sites: tuple[str, ...] = ()
    color_rank: int | None = None
    n4: bool = False
    feature: str = ""

    def format(self, value: float) -> str:
        """The value with sensible digits and its unit."""
        rounded = round(value, self.digits) + 0.0  # never "-0.0"
        return f"{rounded:.{self.digits}f} {self.unit}".rstrip()

    @property
    def of_map(self) -> bool:
        """Whether it is read off a map in its own unit, whose voxels can be compared."""
        return self.method in (Method.MAP_VALUE, Method.CT_VALUE, Method.UPTAKE)

    @property
    def site_of_levels(self) -> str:
        """What its levels are called together, such as "L1-L4"."""
        return "-".join(dict.fromkeys((self.levels[0], self.levels[-1])))

    @property
    def site_in_definition(self) -> bool:
        """Whether its definition says where it is measured, as that of VBQ does."""
        return self.method in (Method.LEVELS_OVER_CSF, Method.SNR_SCORE)


LUMBAR = ("L1", "L2", "L3", "L4")  # the site that most lumbar references are given for
_T1, _T2, _FS_T2 = Contrast.T1, Contrast.T2, Contrast.FS_T2
_MARROW, _MUSCLE, _DISC, _CSF = Role.MARROW, Role.MUSCLE, Role.DISC, Role.CSF
_SUV = (Contrast.SUV,)
_OPPOSED_IN = (Contrast.OPPOSED_PHASE, Contrast.IN_PHASE)
_DIFFUSIVITY = "10^-3 mm^2/s"

# Of spectra, as the rows of a spectrum's answer say; their keys here begin with "mrs_".
_SPECTRAL = (
    "pdff", "signal_fat_fraction", "t2_water", "t2_fat", "ndb", "nmidb", "unsaturation", "fpufa",
    "fmufa", "fsfa", "chain_length",
)  # fmt: skip

# Texture of marrow: image, key, name and whether N4 applies; then feature, key, name, digits, IBSI.
TEXTURE_IMAGES = (
    (_T1, "t1", "T1", True),
    (Contrast.PDFF, "pdff", "PDFF", False),
    (Contrast.R2STAR, "r2star", "R2*", False),
    (Contrast.ADC, "adc", "ADC", False),
)
TEXTURE_FEATURES = (
    ("ACUI", "contrast", "contrast", 1, "contrast"),
    ("8S9J", "dissimilarity", "dissimilarity", 2, "dissimilarity"),
    ("TU9B", "entropy", "entropy", 2, "joint entropy, in bits"),
    ("8ZQL", "asm", "uniformity", 4, "angular second moment"),
    ("WF0Z", "homogeneity", "homogeneity", 3, "inverse difference moment"),
    ("NI2N", "correlation", "correlation", 2, "correlation"),
    ("CH89", "variance", "variance", 1, "discretized intensity variance"),
    ("KE2A", "skewness", "skewness", 2, "intensity skewness"),
    ("IPH6", "kurtosis", "kurtosis", 2, "excess intensity kurtosis"),
)

# What was published of such features, with other settings: context, never a limit. The
# abstracts of both T1 studies were read.
TEXTURE_CONTEXT = {
    _T1: (
        "Lumbar, 50 women with fragility fractures against 50 without: contrast +76 %, entropy "
        "+10 %, angular second moment -50 % (Zaworski 2021, J Clin Endocrinol Metab).",
        "46 patients: the lower the spine's density on QCT, the higher contrast and entropy (r "
        "about -0.5), the lower angular second moment and inverse difference moment (r about "
        "+0.5; PMID 36800234).",
    ),
    Contrast.PDFF: (
        "Contrast and dissimilarity differ between pre- and postmenopausal women (Burian 2019, "
        "doi 10.1007/s00198-019-04924-9); texture by age, sex and level of 156 healthy people "
        "(Dieckmeyer 2020, doi 10.3389/fendo.2020.555931); osteoporotic fractures (Sollmann 2022, "
        "doi 10.3389/fendo.2021.778537).",
    ),
}

_ROWS = (
    Quantity(
        "t1_marrow_muscle", "T1 marrow/muscle", "", 2, "Marrow over muscle signal on T1.",
        Method.TISSUE_RATIO, (_T1,), _MARROW, _MUSCLE, color_rank=9, n4=True,
    ),
    Quantity(
        "t1_marrow_disc", "T1 marrow/disc", "", 2, "Marrow over disc signal on T1.",
        Method.TISSUE_RATIO, (_T1,), _MARROW, _DISC, color_rank=8, n4=True,
    ),
    Quantity(
        "fs_t2_marrow_muscle", "Fat-suppressed T2 marrow/muscle", "", 2,
        "Marrow over muscle signal on fat-suppressed T2, STIR or TIRM.",
        Method.TISSUE_RATIO, (_FS_T2,), _MARROW, _MUSCLE, color_rank=10, n4=True,
    ),
    Quantity(
        "fs_t2_marrow_disc", "Fat-suppressed T2 marrow/disc", "", 2,
        "Marrow over disc signal on fat-suppressed T2, STIR or TIRM.",
        Method.TISSUE_RATIO, (_FS_T2,), _MARROW, _DISC, n4=True,
    ),
    Quantity(
        "t2_marrow_muscle", "T2 marrow/muscle", "", 2, "Marrow over muscle signal on T2.",
        Method.TISSUE_RATIO, (_T2,), _MARROW, _MUSCLE, n4=True,
    ),
    Quantity(
        "t2_marrow_disc", "T2 marrow/disc", "", 2, "Marrow over disc signal on T2.",
        Method.TISSUE_RATIO, (_T2,), _MARROW, _DISC, n4=True,
    ),
    Quantity(
        "opposed_in_ratio", "Opposed/in-phase ratio", "", 2, "Signal opposed over in phase.",
        Method.OPPOSED_RATIO, _OPPOSED_IN, _MARROW,
    ),
    Quantity(
        "signal_drop", "Opposed-phase signal drop", "%", 0, "100 (1 - opposed/in-phase).",
        Method.SIGNAL_DROP, _OPPOSED_IN, _MARROW, color_rank=11,
    ),
    Quantity(
        "opposed_fat_fraction_low", "Fat fraction from opposed phase (if water-dominant)", "%", 0,
        "50 (1 - opposed/in-phase), true where water dominates.",
        Method.FAT_IF_WATER_DOMINATES, _OPPOSED_IN, _MARROW,
    ),
    Quantity(
        "opposed_fat_fraction_high", "Fat fraction from opposed phase (if fat-dominant)", "%", 0,
        "50 (1 + opposed/in-phase), true where fat dominates.",
        Method.FAT_IF_FAT_DOMINATES, _OPPOSED_IN, _MARROW,
    ),
    Quantity(
        "enhancement", "Contrast enhancement", "%", 0,
        "100 (post/pre contrast T1 - 1), both acquired alike.",
        Method.ENHANCEMENT, (Contrast.T1_POST, _T1), _MARROW, color_rank=12,
    ),
    Quantity(
        "vbq", "VBQ", "", 2, "Median of the L1-L4 medians over CSF at L3, on T1.",
        Method.LEVELS_OVER_CSF, (_T1,), _MARROW, _CSF,
        LUMBAR, "median", ("L3",), color_rank=13, n4=True,
    ),
    Quantity(
        "vbq_mean", "VBQ (means)", "", 2, "Mean of the L1-L4 means over CSF at L3, on T1.",
        Method.LEVELS_OVER_CSF, (_T1,), _MARROW, _CSF, LUMBAR, "mean", ("L3",), n4=True,
    ),
    Quantity(
        "vbq_l1", "VBQ, L1 alone", "", 2, "Median of L1 over CSF at L1, on T1.",
        Method.LEVELS_OVER_CSF, (_T1,), _MARROW, _CSF, ("L1",), "median", ("L1",), n4=True,
    ),
    Quantity(
        "vbq_s1", "VBQ, S1", "", 2, "Median of S1 over CSF at L5-S1, on T1.",
        Method.LEVELS_OVER_CSF, (_T1,), _MARROW, _CSF,
        ("S1",), "median", ("S1", "L5-S1", "L5"), n4=True,
    ),
    Quantity(
        "vbq_cervical", "VBQ, cervical", "", 2, "Median of C3-C6 over CSF at C5, on T1.",
        Method.LEVELS_OVER_CSF, (_T1,), _MARROW, _CSF,
        ("C3", "C4", "C5", "C6"), "median", ("C5",), n4=True,
    ),
    Quantity(
        "vbq_thoracic", "VBQ, thoracic", "", 2, "Median of T5-T8 over CSF at T7, on T1.",
        Method.LEVELS_OVER_CSF, (_T1,), _MARROW, _CSF,
        ("T5", "T6", "T7", "T8"), "median", ("T7",), n4=True,
    ),
    Quantity(
        "m_score", "M-score", "SD", 1, "(SNR of L1-L4 - reference mean)/reference SD.",
        Method.SNR_SCORE, (_T1,), _MARROW, Role.NOISE, LUMBAR,
    ),
    Quantity(
        "marrow_pdff", "Marrow PDFF", "%", 1, "Proton density fat fraction of marrow.",
        Method.MAP_VALUE, (Contrast.PDFF,), _MARROW, levels=LUMBAR, color_rank=1,
    ),
    Quantity(
        "marrow_r2star", "Marrow R2*", "1/s", 0, "Transverse relaxation rate R2*.",
        Method.MAP_VALUE, (Contrast.R2STAR,), _MARROW, levels=LUMBAR, color_rank=6,
    ),
    Quantity(
        "marrow_t2star", "Marrow T2*", "ms", 1, "Effective transverse relaxation time T2*.",
        Method.MAP_VALUE, (Contrast.T2STAR,), _MARROW, levels=LUMBAR,
    ),
    Quantity(
        "marrow_adc", "Marrow ADC", _DIFFUSIVITY, 2, "Apparent diffusion coefficient.",
        Method.MAP_VALUE, (Contrast.ADC,), _MARROW, levels=LUMBAR, color_rank=3,
    ),
    Quantity(
        "skeletal_adc", "Marrow ADC by part of the skeleton", _DIFFUSIVITY, 2,
        "Median of all marrow that was drawn in one of seven parts.",
        Method.SKELETAL_PART, (Contrast.ADC,), _MARROW,
    ),
    Quantity(
        "skeletal_pdff", "Marrow PDFF by part of the skeleton", "%", 1,
        "Median of all marrow that was drawn in one of seven parts.",
        Method.SKELETAL_PART, (Contrast.PDFF,), _MARROW,
    ),
    Quantity(
        "diffusion_volume", "Total diffusion volume", "ml", 1,
        "Volume of all lesions that were drawn on diffusion images (tDV).",
        Method.DIFFUSION_VOLUME, (Contrast.ADC,), Role.LESION,
    ),
    Quantity(
        "global_adc", "Global ADC of lesions", _DIFFUSIVITY, 2,
        "Median of all voxels of lesions (gADC).",
        Method.GLOBAL_ADC, (Contrast.ADC,), Role.LESION,
    ),
    Quantity(
        "adc_low_share", "Lesions, low ADC", "%", 0,
        "Share of the volume of lesions whose ADC is below 0.6, or the lower limit that is set.",
        Method.ADC_SHARE, (Contrast.ADC,), Role.LESION,
    ),
    Quantity(
        "adc_middle_share", "Lesions, ADC of dense tumor", "%", 0,
        "Share of the volume of lesions whose ADC is 0.6 to 1.4, or within limits that are set.",
        Method.ADC_SHARE, (Contrast.ADC,), Role.LESION,
    ),
    Quantity(
        "adc_high_share", "Lesions, high ADC", "%", 0,
        "Share of the volume of lesions whose ADC is above 1.4, or the higher limit that is set.",
        Method.ADC_SHARE, (Contrast.ADC,), Role.LESION,
    ),
    Quantity(
        "focal_lesions", "Focal lesions", "", 0, "Lesions above 5 mm, by part of the skeleton.",
        Method.FOCAL_LESIONS, (Contrast.ADC,), Role.LESION,
    ),
    Quantity(
        "marrow_d", "Marrow D", _DIFFUSIVITY, 2, "IVIM: diffusion coefficient.",
        Method.MAP_VALUE, (Contrast.D,), _MARROW, levels=LUMBAR, color_rank=7,
    ),
    Quantity(
        "marrow_dstar", "Marrow D*", _DIFFUSIVITY, 1, "IVIM: pseudo-diffusion.",
        Method.MAP_VALUE, (Contrast.DSTAR,), _MARROW, levels=LUMBAR,
    ),
    Quantity(
        "marrow_f", "Marrow f", "%", 1, "IVIM: perfusion fraction.",
        Method.MAP_VALUE, (Contrast.F,), _MARROW, levels=LUMBAR,
    ),
    Quantity(
        "marrow_suv", "Marrow SUVmean", "g/ml", 2, "PET: mean uptake by body weight.",
        Method.UPTAKE, _SUV, _MARROW, levels=LUMBAR, color_rank=15,
    ),
    Quantity(
        "marrow_cxcr4", "Marrow SUVmean, CXCR4", "g/ml", 2, "PET: mean uptake of Pentixafor.",
        Method.UPTAKE, _SUV, _MARROW, levels=LUMBAR,
    ),
    Quantity(
        "marrow_suv_max", "Marrow SUVmax", "g/ml", 2,
        "PET: highest voxel; counting noise raises it by 4 to 30 % (Lodge 2012, doi "
        "10.2967/jnumed.111.101733).", Method.UPTAKE_MAX, _SUV, _MARROW,
    ),
    Quantity(
        "marrow_suv_peak", "Marrow SUVpeak", "g/ml", 2, "PET: highest mean of a sphere of 1 cm^3.",
        Method.UPTAKE_PEAK, _SUV, _MARROW,
    ),
    Quantity(
        "marrow_suv_total", "Marrow SUV x volume", "g", 0, "PET: mean uptake times volume.",
        Method.UPTAKE_TOTAL, _SUV, _MARROW,
    ),
    Quantity(
        "marrow_sul", "Marrow SUL", "g/ml", 2, "PET: mean uptake by lean body mass.",
        Method.UPTAKE_LEAN, _SUV, _MARROW, levels=LUMBAR, color_rank=15,
    ),
    Quantity(
        "marrow_liver_suv", "Marrow/liver uptake", "", 2, "SUVmean of marrow over that of liver.",
        Method.UPTAKE_RATIO, _SUV, _MARROW, Role.LIVER, LUMBAR,
    ),
    Quantity(
        "marrow_blood_suv", "Marrow/blood uptake", "", 2,
        "SUVmean of marrow over that of the blood pool.",
        Method.UPTAKE_RATIO, _SUV, _MARROW, Role.BLOOD, LUMBAR,
    ),
    Quantity(
        "marrow_deauville", "Five-point score of marrow", "", 0,
        "SUVmean beside blood pool and liver; made for lymphoma, by analogy elsewhere.",
        Method.UPTAKE_SCORE, _SUV, _MARROW,
    ),
    Quantity(
        "marrow_deauville_peak", "Five-point score of marrow, peak", "", 0,
        "SUVpeak beside blood pool and liver; made for lymphoma, by analogy elsewhere.",
        Method.UPTAKE_SCORE_PEAK, _SUV, _MARROW,
    ),
    Quantity(
        "lesion_suv_max", "Lesion SUVmax", "g/ml", 2,
        "PET: highest voxel of a focus that was drawn, in marrow or outside of it.",
        Method.UPTAKE_MAX, _SUV, Role.LESION,
    ),
    Quantity(
        "lesion_deauville", "Five-point score of a lesion, peak", "", 0,
        "SUVpeak of a drawn focus beside blood pool and liver; made for lymphoma.",
        Method.UPTAKE_SCORE_PEAK, _SUV, Role.LESION,
    ),
    Quantity(
        "limb_axial_suv", "Limb/axial SUVmax", "", 2,
        "Highest voxel of the limbs' marrow over that of spine and pelvis.",
        Method.LIMB_RATIO, _SUV, _MARROW,
    ),
    Quantity(
        "limb_spread_suv", "Limb regions above liver and blood", "", 0,
        "How many regions of limb marrow have a higher SUVmean than both.",
        Method.LIMB_SPREAD, _SUV, _MARROW,
    ),
    Quantity(
        "liver_suv", "Liver SUVmean", "g/ml", 2, "PET: mean uptake of the liver.",
        Method.UPTAKE, _SUV, Role.LIVER,
    ),
    Quantity(
        "spleen_suv", "Spleen SUVmean", "g/ml", 2, "PET: mean uptake of the spleen.",
        Method.UPTAKE, _SUV, Role.SPLEEN,
    ),
    Quantity(
        "blood_suv", "Blood pool SUVmean", "g/ml", 2, "PET: mean uptake of blood, in the aorta.",
        Method.UPTAKE, _SUV, Role.BLOOD,
    ),
    Quantity(
        "marrow_vnca", "Marrow VNCa", "HU", 0,
        "Dual-energy CT: CT number without bone mineral, of three materials.",
        Method.CT_VALUE, (Contrast.VNCA,), _MARROW, levels=LUMBAR, color_rank=16,
    ),
    Quantity(
        "marrow_vnca_projected", "Marrow VNCa, as scanners make it", "HU", 0,
        "Dual-energy CT: virtual non-calcium by projection, which published cut-offs are of.",
        Method.CT_VALUE, (Contrast.VNCA_PROJECTED,), _MARROW, levels=LUMBAR,
    ),
    Quantity(
        "marrow_hap", "Bone mineral of marrow", "mg/cm^3", 0,
        "Dual-energy CT: hydroxyapatite, corrected for fat; no QCT value and no T-score.",
        Method.CT_VALUE, (Contrast.HAP,), _MARROW, levels=LUMBAR, color_rank=17,
    ),
    Quantity(
        "marrow_ct_yellow", "Yellow share, CT", "%", 0,
        "Dual-energy CT: share of yellow in marrow; cells beyond red marrow read below 0.",
        Method.CT_VALUE, (Contrast.YELLOW_SHARE,), _MARROW, levels=LUMBAR,
    ),
    Quantity(
        "marrow_fat_hap", "Marrow Fat(HAP)", "mg/cm^3", 0,
        "Dual-energy CT of a scanner: all but mineral as density of fat; cells read 2 % higher.",
        Method.CT_VALUE, (Contrast.FAT_HAP,), _MARROW, levels=LUMBAR,
    ),
    Quantity(
        "vnca_gradient", "VNCa gradient", "HU", 1,
        "Change of VNCa for each level down from T11 to L5.",
        Method.CT_GRADIENT, (Contrast.VNCA,), _MARROW,
    ),
    Quantity(
        "vnca_column", "VNCa of the column", "HU", 0,
        "Mean of VNCa over all vertebrae, each by its volume.",
        Method.CT_COLUMN, (Contrast.VNCA,), _MARROW,
    ),
    Quantity(
        "hap_column", "Bone mineral of the column", "mg/cm^3", 0,
        "Mean of mineral over all vertebrae, each by its volume.",
        Method.CT_COLUMN, (Contrast.HAP,), _MARROW,
    ),
    Quantity(
        "marrow_ct", "Medullary CT number", "HU", 0,
        "CT of one energy: marrow of the shafts of long bones, which hold no mineral of their own.",
        Method.CT_VALUE, (Contrast.CT,), _MARROW,
    ),
    Quantity(
        "muscle_pdff", "Muscle PDFF", "%", 1, "Proton density fat fraction of muscle.",
        Method.MAP_VALUE, (Contrast.PDFF,), _MUSCLE, color_rank=2,
    ),
    Quantity(
        "muscle_csa", "Muscle cross-section", "cm^2", 1, "Largest section of the drawn region.",
        Method.CROSS_SECTION, (), _MUSCLE,
    ),
    Quantity(
        "region_fat_fraction", "Fat signal fraction", "%", 1, "Of any other tissue.",
        Method.MAP_VALUE, (Contrast.FAT_FRACTION,),
    ),
    Quantity(
        "region_pdff", "PDFF", "%", 1, "Proton density fat fraction of any other tissue.",
        Method.MAP_VALUE, (Contrast.PDFF,),
    ),
    Quantity(
        "region_r2star", "R2*", "1/s", 0, "R2* of any other tissue.",
        Method.MAP_VALUE, (Contrast.R2STAR,),
    ),
    Quantity(
        "region_adc", "ADC", _DIFFUSIVITY, 2, "ADC of any other tissue.",
        Method.MAP_VALUE, (Contrast.ADC,),
    ),
    Quantity(
        "region_d", "D", _DIFFUSIVITY, 2, "IVIM D of any other tissue.",
        Method.MAP_VALUE, (Contrast.D,),
    ),
    Quantity(
        "region_dstar", "D*", _DIFFUSIVITY, 1, "IVIM D* of any other tissue.",
        Method.MAP_VALUE, (Contrast.DSTAR,),
    ),
    Quantity(
        "region_f", "f", "%", 1, "IVIM f of any other tissue.",
        Method.MAP_VALUE, (Contrast.F,),
    ),
    Quantity(
        "marrow_yellow", "Yellow-marrow share", "%", 0, "0 % red (PDFF 40), 100 yellow (80).",
        Method.YELLOW_SHARE, (Contrast.PDFF,), _MARROW, levels=LUMBAR,
    ),
    Quantity(
        "marrow_fat_signal_fraction", "Marrow fat signal fraction", "%", 1,
        "Fat over fat and water signal, not corrected for T1: reads higher than PDFF.",
        Method.MAP_VALUE, (Contrast.FAT_FRACTION,), _MARROW, levels=LUMBAR, color_rank=4,
    ),
    Quantity(
        "marrow_mrs_fat", "Marrow fat, MRS", "%", 1, "Fat fraction by proton spectroscopy.",
        Method.REFERENCE_ONLY, (), _MARROW,
    ),
    *(
        Quantity(
            f"mrs_{row.key}",
            row.name,
            row.unit,
            row.digits,
            row.meaning,
            Method.SPECTRUM,
            (),
            _MARROW,
        )
        for row in map(ROWS.get, _SPECTRAL)
    ),
    Quantity(
        "ute_thickness", "Cortical thickness, UTE", "mm", 2,
        "Mean across the cortex, by a fit of its blurred edges.", Method.BONE,
    ),
    Quantity(
        "ute_area", "Cortical area, UTE", "mm^2", 0,
        "Of the cortex in a section, by a fit of its blurred edges.", Method.BONE,
    ),
    Quantity(
        "ute_pi", "Porosity index, UTE", "%", 1,
        "Signal near TE 2.2 ms over that below 0.2 ms, of voxels of bone alone.", Method.BONE,
    ),
    Quantity(
        "ute_pi_fitted", "Porosity index of the fitted ring, UTE", "%", 1,
        "The same of the fitted levels of cortex, free of partial volume.", Method.BONE,
    ),
    *(
        Quantity(
            f"{key}_fitted", f"{name} of the fitted ring, UTE", unit, digits,
            "The same of the fitted levels of cortex, free of partial volume.", Method.BONE,
        )
        for key, name, unit, digits in (
            ("ute_bound_fraction", "Bound-water fraction", "%", 1),
            ("ute_sr", "Suppression ratio", "", 2),
            ("ute_mtr", "Magnetization transfer ratio", "%", 1),
        )
    ),
    Quantity(
        "ute_bound_fraction", "Bound-water fraction, UTE", "%", 1,
        "Share of the short T2* of two in the signal at TE 0.", Method.BONE,
    ),
    Quantity("ute_t2star_bound", "T2* of bound water, UTE", "ms", 2, "The shorter.", Method.BONE),
    Quantity("ute_t2star_pore", "T2* of pore water, UTE", "ms", 1, "The longer.", Method.BONE),
    Quantity(
        "ute_mmf", "Macromolecular fraction, UTE-MT", "%", 1,
        "Share of collagen's protons, by two pools through the real train of pulses.", Method.BONE,
    ),
    Quantity(
        "ute_bound_water", "Bound water, IR-UTE", "mol 1H/L", 1,
        "Against a sample of known protons; half as many mol of water.", Method.BONE,
    ),
    Quantity(
        "ute_phosphorus", "Phosphorus of bone, 31P", "mol 31P/L", 2,
        "Against a sample of known phosphorus.", Method.BONE,
    ),
    Quantity(
        "ute_sr", "Suppression ratio, UTE", "", 2,
        "Signal over that with long T2 suppressed, of the same gain.", Method.BONE,
    ),
    Quantity(
        "ute_mtr", "Magnetization transfer ratio, UTE", "%", 1,
        "100 (1 - signal with over without the MT pulse).", Method.BONE,
    ),
    Quantity(
        "marrow_water_fraction", "Marrow water fraction", "%", 1,
        "Water over water and lipid signal by chemical-shift misregistration (Ishijima 1996).",
        Method.REFERENCE_ONLY, (), _MARROW,
    ),
    Quantity(
        "muscle_fat_signal_fraction", "Muscle fat signal fraction", "%", 1,
        "Fat over fat and water signal of muscle, not corrected for T1.",
        Method.MAP_VALUE, (Contrast.FAT_FRACTION,), _MUSCLE, color_rank=5,
    ),
    Quantity(
        "height_loss", "Height loss", "%", 0,
        "Largest loss of a body's three heights against the nearest bodies without low height.",
        Method.BODY_SHAPE, (), _MARROW, color_rank=14,
    ),
    Quantity(
        "height_grade", "Height grade", "", 0, "0 to 3, of the height loss (Genant 1993).",
        Method.BODY_SHAPE, (), _MARROW,
    ),
    Quantity(
        "anterior_height", "Anterior height", "mm", 1, "Ha, over 8-22 % of a body's depth.",
        Method.BODY_SHAPE, (), _MARROW,
    ),
    Quantity(
        "middle_height", "Middle height", "mm", 1, "Hm, over 43-57 % of a body's depth.",
        Method.BODY_SHAPE, (), _MARROW,
    ),
    Quantity(
        "posterior_height", "Posterior height", "mm", 1, "Hp, over 78-92 % of a body's depth.",
        Method.BODY_SHAPE, (), _MARROW,
    ),
    Quantity(
        "wedge_ratio", "Ha/Hp", "", 2, "Anterior over posterior height of a body.",
        Method.BODY_SHAPE, (), _MARROW,
    ),
    Quantity(
        "concavity_ratio", "Hm/Hp", "", 2, "Middle over posterior height of a body.",
        Method.BODY_SHAPE, (), _MARROW,
    ),
    Quantity(
        "posterior_ratio", "Hp/neighbors", "", 2,
        "Posterior height over the mean of those of the bodies above and below.",
        Method.BODY_SHAPE, (), _MARROW,
    ),
    Quantity(
        "endplate_depression", "Endplate depression", "mm", 1,
        "Of the deeper endplate, below the line between its front and back zone.",
        Method.BODY_SHAPE, (), _MARROW,
    ),
    Quantity(
        "body_kyphosis", "Angle between endplates", "deg", 0,
        "Of one body, positive where its front is lower.", Method.BODY_SHAPE, (), _MARROW,
    ),
    Quantity(
        "posterior_bulge", "Posterior wall bulge", "mm", 1,
        "Of a body's back wall behind the line between its ends.",
        Method.BODY_SHAPE, (), _MARROW,
    ),
    Quantity(
        "deformity_index", "Spine deformity index", "", 0, "Sum of all bodies' height grades.",
        Method.DEFORMITY, (), _MARROW,
    ),
    Quantity(
        "edema_share", "Edema share", "%", 0,
        "Of a body: more than 3 SD brighter on fat-suppressed T2 than bodies without low height.",
        Method.BODY_SIGNAL, (_FS_T2,), _MARROW,
    ),
    Quantity(
        "fs_t2_body_ratio", "Fat-suppressed T2 body/other bodies", "", 2,
        "Median of a body over that of bodies without low height.",
        Method.BODY_SIGNAL, (_FS_T2,), _MARROW,
    ),
    Quantity(
        "t1_body_ratio", "T1 body/other bodies", "", 2,
        "Median of a body over that of bodies without low height.",
        Method.BODY_SIGNAL, (_T1,), _MARROW,
    ),
    Quantity(
        "pdff_body_ratio", "PDFF body/other bodies", "", 2,
        "Median of a body over that of bodies without low height.",
        Method.BODY_SIGNAL, (Contrast.PDFF,), _MARROW,
    ),
    *(
        Quantity(
            f"{image_key}_texture_{key}", f"{image_name} texture: {name}", "", digits,
            f"Of marrow on {image_name}: {ibsi} (IBSI {code}).",
            Method.TEXTURE, (image,), _MARROW, n4=n4, feature=code,
        )
        for image, image_key, image_name, n4 in TEXTURE_IMAGES
        for code, key, name, digits, ibsi in TEXTURE_FEATURES
    ),
)  # fmt: skip

QUANTITIES: dict[str, Quantity] = {row.key: row for row in _ROWS}
_LISTED = {key: n for n, key in enumerate(QUANTITIES)}


def listed_at(key: str, lean: bool = False) -> float:
    """Where a quantity stands in lists: that of its row, SUL before SUV where lean mass leads."""
    return _LISTED["marrow_suv"] - 0.5 if lean and key == SUL else _LISTED[key]


_SHORT = (
    ("Fat-suppressed T2", "FS T2"),
    ("Marrow ", ""),
    ("Muscle ", ""),
    (" marrow/", "/"),
    ("Opposed-phase signal drop", "Signal drop"),
)


def short_name(name: str) -> str:
    """A quantity's name where the place is narrow and the tissue known: "T1/disc"."""
    for long, short in _SHORT:
        name = name.replace(long, short)
    return name

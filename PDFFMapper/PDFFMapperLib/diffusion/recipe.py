"""The recipes of diffusion: ADC, IVIM by three fits, kurtosis, and the model the data support."""

from __future__ import annotations

from PDFFMapperLib.maps.recipe import (
    CHOICE,
    IMAGE,
    NUMBER,
    NUMBERS,
    SWITCH,
    TEXT,
    Family,
    Input,
    Option,
    Recipe,
    Shorthand,
)

IMAGES = Input(
    "images",
    "Diffusion images",
    "Volumes of one diffusion series: one per b-value and direction, a diffusion volume, a "
    "multi-volume, or a sequence.",
    "dwiNodes",
    "dwi",
    (("DiffusionBValue", "b-value (s/mm^2)"),),
    series=True,
)

B_VALUES = Option("b_values", NUMBERS, None, "One per image, in place of the header's.", "s/mm^2")
LOWEST_B = Option(
    "lowest_b",
    NUMBER,
    0.0,
    "Lower b-values are left out, which keeps perfusion out of the ADC.",
    "s/mm^2",
    low=0,
    high=10000,
    step=50,
    title="Lowest b-value",
    parameter="lowestB",
)
HIGHEST_B = Option(
    "highest_b", NUMBER, None, "Higher b-values are left out.", "s/mm^2", low=0, high=100000
)
THRESHOLD_B = Option(
    "threshold_b",
    NUMBER,
    200.0,
    "The segmented fit takes D from this b-value on.",
    "s/mm^2",
    low=1,
    high=10000,
    flag="--threshold",
    step=50,
    title="Threshold",
    parameter="thresholdB",
)
SIGMA = Option(
    "sigma",
    TEXT,
    None,
    "Noise SD of one image in signal units, or the word repeats; measured if not given.",
    flag="--sigma",
)
BACKGROUND = Option(
    "background", IMAGE, None, "Mask of air to measure the noise in.", flag="--background"
)
NOISE = Option(
    "noise",
    CHOICE,
    "rician",
    "Rician for magnitude images, Gaussian for real-valued ones.",
    choices=(("rician", "Rician"), ("gaussian", "Gaussian")),
    flag="--noise",
)
MASK = Option(
    "mask",
    IMAGE,
    None,
    "Voxels to fit; all with signal if not given.",
    flag="--mask",
)
CHOOSE_MODEL = Option(
    "choose_model", SWITCH, False, "Also map the model that AICc prefers.", flag="--choose-model"
)
_QUIET_B = LOWEST_B._replace(parameter="")
_COMMON = (B_VALUES, HIGHEST_B, SIGMA, BACKGROUND, NOISE, MASK)

_MAPS = "PDFFMapperLib.diffusion.maps"
_ADC = ("ADC", "S0", "residual", "R2", "ADC_SD", "S0_SD", "doubt", "valid")
_IVIM = (
    "D", "Dstar", "f", "fDstar", "S0", "residual", "R2", "D_SD", "Dstar_SD", "f_SD", "fDstar_SD",
    "S0_SD", "doubt", "valid", "at_bound", "Dstar_identifiable", "model",
)  # fmt: skip
_LEAST_SQUARES = "Salvador 2005, doi 10.1002/hbm.20076"
_LE_BIHAN = "Le Bihan 1988, doi 10.1148/radiology.168.2.3393671"

DIFFUSION = Family(
    command="ivim",
    title="Diffusion",
    folder="Diffusion maps",
    prefix="diffusion",
    parameter="diffusionModel",
    reader="PDFFMapperLib.commands.diffusion_files",
    regions="PDFFMapperLib.commands.region_values:of_diffusion",
    default="full",
    shorthands=(
        Shorthand("--b-range", ("lowest_b", "highest_b"), ("LOW", "HIGH"), "b-values used, s/mm^2"),
    ),
    recipes=(
        Recipe(
            id="adc",
            choice="ADC",
            title="ADC by maximum likelihood with Rician noise, of two or more b-values",
            inputs=(IMAGES,),
            options=(LOWEST_B, *_COMMON, CHOOSE_MODEL),
            kinds=(*_ADC, "model"),
            citation=_LE_BIHAN,
            compute=f"{_MAPS}:adc",
        ),
        Recipe(
            id="adc-wls",
            choice="ADC, weighted least squares",
            title="ADC by weighted least squares on the logarithm, as scanners do it",
            inputs=(IMAGES,),
            options=(LOWEST_B, *_COMMON, CHOOSE_MODEL),
            kinds=(*_ADC, "model"),
            citation=_LEAST_SQUARES,
            compute=f"{_MAPS}:adc_wls",
        ),
        Recipe(
            id="full",
            choice="IVIM",
            title="IVIM (D, D*, f) by maximum likelihood with Rician noise, voxel by voxel",
            inputs=(IMAGES,),
            options=(_QUIET_B, *_COMMON, CHOOSE_MODEL),
            kinds=_IVIM,
            citation=_LE_BIHAN,
            compute=f"{_MAPS}:full",
        ),
        Recipe(
            id="segmented",
            choice="IVIM, segmented",
            title="IVIM with D from the high b-values alone",
            inputs=(IMAGES,),
            options=(_QUIET_B, THRESHOLD_B, *_COMMON, CHOOSE_MODEL),
            kinds=_IVIM,
            citation=_LE_BIHAN,
            compute=f"{_MAPS}:segmented",
        ),
        Recipe(
            id="hierarchical",
            choice="IVIM, hierarchical",
            title="IVIM with the distribution of D, D* and f learned from all voxels",
            inputs=(IMAGES,),
            options=(_QUIET_B, *_COMMON, CHOOSE_MODEL),
            kinds=(*_IVIM, "typical"),
            citation="Orton 2014, doi 10.1002/mrm.24649; Laird 1978, doi "
            "10.1080/01621459.1978.10480103",
            compute=f"{_MAPS}:hierarchical",
        ),
        Recipe(
            id="kurtosis",
            choice="Kurtosis",
            title="D and excess kurtosis K by maximum likelihood with Rician noise",
            inputs=(IMAGES,),
            options=(_QUIET_B, *_COMMON, CHOOSE_MODEL),
            kinds=("D", "K", "S0", "residual", "R2", "D_SD", "K_SD", "S0_SD", "doubt", "valid",
                   "model"),
            citation="Jensen 2005, doi 10.1002/mrm.20508",
            compute=f"{_MAPS}:kurtosis",
        ),
        Recipe(
            id="model-choice",
            choice="Best model (AICc)",
            title="ADC, kurtosis or IVIM, whichever the data of each voxel support",
            inputs=(IMAGES,),
            options=(_QUIET_B, *_COMMON),
            kinds=("model", "ADC", "K", "D", "Dstar", "f", "doubt"),
            citation="Hurvich 1989, doi 10.1093/biomet/76.2.297",
            compute=f"{_MAPS}:model_choice",
        ),
    ),
)  # fmt: skip

# Their grids differ and one image comes of all, so it is no map among those of a series.
STATIONS = Recipe(
    id="stations",
    choice="Whole body",
    title="ADC of a whole body: least squares on the logarithm at each table position, joined "
    "along the slices; signals brought to one gain, the ADC never rescaled",
    inputs=(
        IMAGES._replace(
            name="stations",
            title="Diffusion images of all stations",
            help="All volumes of the diffusion series of each table position, in any order.",
        ),
    ),
    options=(B_VALUES, LOWEST_B._replace(flag="--lowest-b")),
    kinds=("ADC",),
    citation=_LEAST_SQUARES,
    compute="PDFFMapperLib.diffusion.stations:of_stations",
)

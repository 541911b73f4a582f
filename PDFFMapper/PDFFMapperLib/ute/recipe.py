"""The recipes of bone at ultrashort echo times: PI, two-component T2*, SR and MTR."""

from __future__ import annotations

from PDFFMapperLib.maps.recipe import (
    IMAGE,
    NUMBER,
    NUMBERS,
    REGION,
    SWITCH,
    TEXT,
    Family,
    Input,
    Option,
    Recipe,
)

_TE = (("EchoTime", "Echo time (ms)"),)
ECHOES = Input(
    "ute_echoes",
    "UTE echoes",
    "Magnitude images of one UTE, ZTE or Cones series, one per echo time.",
    "uteNodes",
    "ute",
    _TE,
    series=True,
)
PLAIN = Input("ute", "UTE", "UTE image without suppression.", "uteVolume", "ute", _TE)
SUPPRESSED = Input(
    "suppressed",
    "UTE, long T2 suppressed",
    "Same echo time, flip angle and gain, with soft tissue suppressed.",
    "uteSuppressedVolume",
    "ute",
    _TE,
)
MT_OFF = Input("mt_off", "UTE without MT", "Without the MT pulse.", "uteMtOffVolume", "ute", _TE)
MT_ON = Input("mt_on", "UTE with MT", "With the MT pulse.", "uteMtOnVolume", "ute", _TE)

ECHO_TIMES = Option("echo_times_s", NUMBERS, None, "One per image, in place of the header's.", "s")
SIGMA = Option(
    "sigma",
    NUMBER,
    None,
    "SD of the noise in one channel; measured in the images' corners where it is not given.",
    "signal",
    low=1e-9,
    high=1e9,
    digits=3,
    flag="--sigma",
    title="Noise SD",
    parameter="uteSigma",
    unset="from the corners",
    advanced=True,
)
COILS = Option(
    "coils",
    NUMBER,
    1.0,
    "How many were combined by the root of the sum of squares; 1 if combined adaptively.",
    "receiver(s)",
    low=1,
    high=64,
    digits=0,
    flag="--coils",
    title="Receivers summed",
    parameter="uteCoils",
    advanced=True,
)
MASK = Option(
    "mask",
    REGION,
    None,
    "Bone to map, as segments, closed curve or ROI box; all voxels with signal if not given.",
    flag="--mask",
    title="Bone, as drawn",
    parameter="uteMask",
)
DRAWN = Option(
    "drawn",
    REGION,
    None,
    "Cortex as drawn, or as found and edited: its ring is fitted from there, not looked for.",
    flag="--drawn",
    title="Cortex as drawn",
    parameter="uteDrawn",
)
REGISTER = Option(
    "register",
    SWITCH,
    False,
    "Images in which the limb moved are moved onto the first; without it they are refused.",
    flag="--register",
    title="Move images onto the first",
    parameter="uteRegister",
)
SAME_GAIN = Option(
    "same_gain",
    SWITCH,
    False,
    "All images were made with the same receiver gain and scale; headers do not tell it.",
    flag="--same-gain",
    title="Images have the same gain",
    parameter="uteSameGain",
)
T2STAR_PORE, T2STAR_FAT = (
    Option(
        f"t2star_{name}",
        NUMBER,
        None,
        f"T2* of {words} where it is known; fitted if not given.",
        "ms",
        low=low,
        high=high,
        digits=1,
        flag=f"--t2star-{name}",
        title=f"T2* of {words}",
        parameter=f"uteT2star{name.capitalize()}",
        unset="fitted",
        advanced=True,
    )
    for name, words, low, high in (("pore", "pore water", 1, 30), ("fat", "fat", 2, 40))
)
PROTONS = tuple(
    Option(
        name,
        NUMBER,
        default,
        text,
        unit,
        low=low,
        high=high,
        digits=digits,
        flag=f"--{name.replace('_', '-')}",
        title=title,
        parameter=f"ute{name.title().replace('_', '')}",
        unset=unset,
        advanced=True,
    )
    for name, title, text, unit, default, low, high, digits, unset in (
        ("t1_bound", "T1 of bound water", "For the share of protons.", "ms", None, 20, 2000, 0,
         "no share of protons"),
        ("t1_pore", "T1 of pore water", "For the share of protons.", "ms", None, 20, 4000, 0,
         "no share of protons"),
        ("tr", "TR", "In place of the header's, for the share of protons.", "ms", None, 1, 20000, 1,
         "of the header"),
        ("flip", "Flip angle", "In place of the header's, for the share of protons.", "deg", None,
         0.5, 180, 1, "of the header"),
        ("pulse", "Pulse length", "Of a hard pulse, for the share of protons.", "ms", 0.0, 0, 5, 3,
         ""),
    )
)  # fmt: skip
REFERENCE = (
    Option(
        "reference_label",
        TEXT,
        None,
        "Number or name of a reference in --regions, for water densities.",
        flag="--reference-label",
    ),
    *(
        Option(
            f"reference_{name}", NUMBER, None, text, unit, low=low, high=high,
            flag=f"--reference-{name}",
        )
        for name, text, unit, low, high in (
            ("density", "Its protons.", "mol 1H/L", 0.1, 120),
            ("t1", "Its T1.", "ms", 0.1, 5000),
            ("t2star", "Its expected T2*.", "ms", 0.05, 500),
        )
    ),
)  # fmt: skip
POINT = Option(
    "point",
    TEXT,
    None,
    "A point in the marrow cavity, as R,A,S; the largest cavity if not given. Two points, as "
    "R,A,S,R,A,S, are the ends of a part of a bone on its axis, as of a femoral neck.",
    "mm",
    flag="--point",
    title="Point in the cavity",
    parameter="utePoint",
    unset="the largest cavity",
)
PSF = Option(
    "psf",
    NUMBER,
    0.85,
    "Blur of the images, SD of a Gaussian; 0.85 is that of a radial readout.",
    "voxels",
    low=0.3,
    high=3.0,
    digits=2,
    step=0.05,
    flag="--psf",
    title="Blur",
    parameter="utePsf",
    advanced=True,
)

MT_PROTOCOL = Option(
    "mt_protocol",
    TEXT,
    None,
    "JSON file with flip angle and offset of each image's MT pulse, the pulse train, T1 and B1+.",
    flag="--mt-protocol",
    title="MT protocol (JSON file)",
    parameter="uteMtProtocol",
    unset="none",
)
B1_MAP = Option(
    "b1_map",
    IMAGE,
    None,
    "B1+ as true over nominal field, on the images' grid.",
    flag="--b1-map",
    title="B1+ map",
    parameter="uteB1Map",
)
B0_MAP = Option(
    "b0_map",
    IMAGE,
    None,
    "Off-resonance of water in Hz, on the images' grid; MT offsets are from there.",
    flag="--b0-map",
    title="B0 map",
    parameter="uteB0Map",
)

FLIPS = Option(
    "flips_deg",
    NUMBERS,
    None,
    "One per image, in place of the headers'.",
    "deg",
    low=0.5,
    high=180,
    flag="--flips-deg",
)
TRS = Option(
    "trs_ms",
    NUMBERS,
    None,
    "One per image, in place of the headers'.",
    "ms",
    low=0.5,
    high=20000,
    flag="--trs-ms",
)
T2STAR = Option(
    "t2star",
    NUMBER,
    None,
    "Of bone, for what decays in a pulse of stated length.",
    "ms",
    low=0.05,
    high=50,
    digits=2,
    flag="--t2star",
    title="T2* of bone",
    parameter="uteT2star",
    unset="not needed",
    advanced=True,
)
COIL_PROFILE = Option(
    "coil_profile",
    IMAGE,
    None,
    "Image of a uniform phantom by the same coil, on the images' grid; without it the receive "
    "profile is taken to be the same in bone and reference.",
    flag="--coil-profile",
    title="Coil profile",
    parameter="uteCoilProfile",
    advanced=True,
)
REPEAT = Option(
    "repeat",
    IMAGE,
    None,
    "The first echo acquired again; its difference tells the noise in place of the corners.",
    flag="--repeat",
    title="First echo again",
    parameter="uteRepeat",
    advanced=True,
)

DENSITY_PROTOCOL = Option(
    "density_protocol",
    TEXT,
    None,
    "JSON file with nucleus, TR, TI, pulse, and T1, T2* and inversion of pool and reference.",
    flag="--density-protocol",
    title="Density protocol (JSON file)",
    parameter="uteDensityProtocol",
    unset="none",
)
REFERENCE_REGION = Option(
    "reference_region",
    REGION,
    None,
    "A reference of known density: segments, closed curve or ROI box on the images.",
    flag="--reference-region",
    title="Reference",
    parameter="uteReferenceRegion",
)

INTERLEAVES = Option(
    "interleaves",
    TEXT,
    None,
    "Acquisition of each image, as 1,1,2,2, where a series was made by several; a shared echo time "
    "tells the gain between them.",
    flag="--interleaves",
)

_MAPS = "PDFFMapperLib.ute.maps"

UTE = Family(
    command="ute",
    title="UTE",
    folder="UTE maps",
    prefix="ute",
    parameter="uteMethod",
    reader="PDFFMapperLib.commands.ute_files",
    regions="PDFFMapperLib.ute.region_table:of_ute",
    numbers="PDFFMapperLib.ute.region_table:of_segments",
    default="porosity-index",
    recipes=(
        Recipe(
            id="porosity-index",
            choice="Porosity index",
            title="Porosity index (PI): signal near TE 2.2 ms over that below 0.2 ms, without the "
            "floor of noise; of regions by the likelihood of all their voxels",
            inputs=(ECHOES,),
            options=(ECHO_TIMES, INTERLEAVES, SIGMA, REPEAT, COILS, REGISTER, MASK),
            kinds=("PI", "doubt"),
            citation="ISMRM 2013, abstract 1599; Jerban 2023, doi 10.3389/fendo.2023.1148345",
            compute=f"{_MAPS}:of_porosity",
        ),
        Recipe(
            id="echo-ratio",
            choice="Ratio of first and last echo (no PI)",
            title="Ratio of the last echo's signal to the first one's, whatever their echo times: "
            "no porosity index, and compared with none",
            inputs=(ECHOES,),
            options=(ECHO_TIMES, INTERLEAVES, SIGMA, REPEAT, COILS, REGISTER, MASK),
            kinds=("echo_ratio", "doubt"),
            citation="by definition; for PI see Jerban 2023, doi 10.3389/fendo.2023.1148345",
            compute=f"{_MAPS}:of_echo_ratio",
        ),
        Recipe(
            id="bi-component",
            choice="Bound and pore water, two T2*",
            title="Bound-water fraction of apparent signals by two T2* components, fitted to a "
            "region; voxels with its T2*, drawn towards it as far as noise explains them",
            inputs=(ECHOES,),
            options=(
                ECHO_TIMES,
                INTERLEAVES,
                SIGMA,
                REPEAT,
                COILS,
                REGISTER,
                *PROTONS,
                *REFERENCE,
                COIL_PROFILE,
                MASK,
            ),
            kinds=("bound_fraction", "bound_fraction_SD", "doubt"),
            citation="Seifert 2015, doi 10.1002/nbm.3305; limits of T2*: Du 2013 (not read)",
            compute=f"{_MAPS}:of_components",
        ),
        Recipe(
            id="tri-component",
            choice="Bound water, pore water and fat",
            title="Bound-water, pore-water and fat fraction of apparent signals by three T2* "
            "components with nine fat peaks, fitted to a region's magnitudes, or to its complex "
            "signals with phase and off-resonance",
            inputs=(ECHOES,),
            options=(
                ECHO_TIMES,
                INTERLEAVES,
                SIGMA,
                REPEAT,
                COILS,
                REGISTER,
                T2STAR_PORE,
                T2STAR_FAT,
                MASK,
            ),
            kinds=("bound_fraction", "pore_fraction", "bone_fat", "doubt"),
            citation="ISMRM 2018, abstract 5155 (Lu 2019 not read); fat: Ren 2008, doi "
            "10.1194/jlr.D800010-JLR200",
            compute="PDFFMapperLib.ute.tri_maps:of_three",
        ),
        Recipe(
            id="mt",
            choice="Macromolecular fraction (UTE-MT)",
            title="Macromolecular fraction (MMF), T2 of macromolecules and exchange by two pools "
            "fitted through the real train of MT pulses and spokes",
            inputs=(ECHOES,),
            options=(ECHO_TIMES, MT_PROTOCOL, B1_MAP, B0_MAP, SIGMA, COILS, REGISTER, MASK),
            kinds=("MMF", "MMF_SD", "doubt"),
            citation="Ma 2018 (abstract), doi 10.1002/mrm.26846; the fit is this software's",
            compute="PDFFMapperLib.ute.mt_maps:of_transfer_model",
        ),
        Recipe(
            id="t1",
            choice="T1 (several flip angles or TR)",
            title="T1 of bone by UTE images of several flip angles or repetition times, with decay "
            "in the pulse and B1+",
            inputs=(ECHOES,),
            options=(
                ECHO_TIMES,
                SAME_GAIN,
                FLIPS,
                TRS,
                PROTONS[-1],
                T2STAR,
                B1_MAP,
                SIGMA,
                COILS,
                REGISTER,
                MASK,
            ),
            kinds=("T1_bone", "doubt"),
            citation="ISMRM 2018, abstract 1249 (TR); ISMRM 2019, abstract 4973 (flip angles)",
            compute="PDFFMapperLib.ute.t1_maps:of_t1",
        ),
        Recipe(
            id="density",
            choice="Density against a reference (IR-UTE, STAIR, 31P)",
            title="Density of bound water (IR-UTE, STAIR) or phosphorus (31P) against a reference, "
            "with what is left of nulled pools; T1 of three and more TR",
            inputs=(ECHOES,),
            options=(
                ECHO_TIMES,
                DENSITY_PROTOCOL,
                REFERENCE_REGION,
                COIL_PROFILE,
                SIGMA,
                COILS,
                REGISTER,
                MASK,
            ),
            kinds=("density", "doubt"),
            citation="Zhao 2017 (abstract), doi 10.1371/journal.pone.0173995; factors by the Bloch "
            "equations (Ma 2020 on STAIR not read)",
            compute="PDFFMapperLib.ute.density_maps:of_density",
        ),
        Recipe(
            id="cortex",
            choice="Cortex: thickness, area, PI",
            title="Cortex of a long bone's shaft found by itself: thickness, area and PI without "
            "partial volume, by a fit of the blurred edges",
            inputs=(ECHOES,),
            options=(ECHO_TIMES, INTERLEAVES, SIGMA, REPEAT, COILS, REGISTER, POINT, DRAWN, PSF),
            kinds=("cortex_share", "PI", "doubt"),
            citation="this software's; PI: Jerban 2023, doi 10.3389/fendo.2023.1148345",
            compute=f"{_MAPS}:of_cortex",
        ),
        Recipe(
            id="suppression-ratio",
            choice="Suppression ratio",
            title="Suppression ratio (SR): UTE over UTE with long T2 suppressed",
            inputs=(PLAIN, SUPPRESSED),
            options=(SIGMA, COILS, SAME_GAIN, REGISTER, MASK),
            kinds=("SR", "doubt"),
            citation="Jerban 2023, doi 10.3389/fendo.2023.1148345",
            compute=f"{_MAPS}:of_suppression",
            flag="--suppressed",
        ),
        Recipe(
            id="mtr",
            choice="Magnetization transfer ratio",
            title="Magnetization transfer ratio (MTR) of UTE images",
            inputs=(MT_OFF, MT_ON),
            options=(SIGMA, COILS, SAME_GAIN, REGISTER, MASK),
            kinds=("MTR", "doubt"),
            citation="by definition; UTE-MT of bone: Ma 2018 (abstract), doi 10.1002/mrm.26846",
            compute=f"{_MAPS}:of_transfer",
            flag="--mtr",
        ),
    ),
)

BONE = Recipe(
    id="bone",
    choice="One bone",
    title="All that a UTE series says of one bone: thickness, area and PI of its cortex, bound and "
    "pore water, and SR and MTR where an image with suppression or MT pulse is given",
    inputs=(ECHOES,),
    options=(
        ECHO_TIMES,
        SIGMA,
        COILS,
        REGISTER._replace(flag=""),
        POINT,
        PSF,
        MASK._replace(help="The bone; its cortex is found by itself if not given.", flag=""),
        Option("suppressed", IMAGE, None, "Its first echo with long T2 suppressed.",
               flag="--suppressed"),
        Option("transferred", IMAGE, None, "Its first echo with the MT pulse.", flag="--mt"),
        SAME_GAIN,
    ),
    kinds=(),
    numbers=(
        "thickness", "area", "PI", "PI of the fitted ring", "bound_fraction", "T2star_bound",
        "T2star_pore", "SR", "MTR", "bound_fraction of the fitted ring", "SR of the fitted ring",
        "MTR of the fitted ring",
    ),
    citation="Jerban 2023, doi 10.3389/fendo.2023.1148345; Seifert 2015, doi 10.1002/nbm.3305",
    compute="PDFFMapperLib.ute.bone:measure_bone",
)  # fmt: skip

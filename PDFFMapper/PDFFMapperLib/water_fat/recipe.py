"""The recipes of water and fat: complex echoes, magnitudes, scanner images, two or three points."""

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

ECHOES = Input(
    "echoes",
    "Echoes",
    "Volumes of one multi-echo series: one per echo, magnitude and phase (or real and imaginary), "
    "a multi-volume, or a sequence.",
    "echoNodes",
    "multi_echo",
    (("ImageComponent", "Component"), ("EchoTime", "Echo time (ms)")),
    series=True,
)
WATER = Input(
    "water", "Water", "The scanner's water image, in its real units.", "waterVolume", "water"
)
FAT = Input(
    "fat", "Fat", "The scanner's fat image, on the same scale and grid.", "fatVolume", "fat"
)
IN_PHASE = Input(
    "in_phase",
    "In phase",
    "Magnitude image with water and fat in phase.",
    "inPhaseVolume",
    "in_phase",
    (("EchoTime", "Echo time (ms)"),),
)
OPPOSED_PHASE = Input(
    "opposed_phase",
    "Opposed phase",
    "Magnitude image with water and fat opposed.",
    "opposedPhaseVolume",
    "opposed_phase",
    (("EchoTime", "Echo time (ms)"),),
)
SECOND_IN_PHASE = Input(
    "second_in_phase",
    "Second in phase",
    "Optional: a later in-phase echo. It gives R2*, which is then corrected (three points).",
    "secondInPhaseVolume",
    "second_in_phase",
    (("EchoTime", "Echo time (ms)"),),
    optional=True,
)

# The names are those of fat_spectra.json, the default first; a test holds them to it.
SPECTRA = (
    ("ren_marrow", "Marrow, nine peaks (Ren 2008)"),
    ("hamilton_liver", "Liver, nine peaks (Hamilton 2011)"),
    ("hamilton_liver_6", "Liver, six peaks (Hamilton 2011)"),
    ("hernando_phantom", "Phantom, six peaks (Hernando 2017)"),
    ("ismrm_challenge", "ISMRM challenge 2012, six peaks"),
    ("yu_3", "Three peaks (Yu 2008)"),
    ("zhong_liver", "Liver, seven peaks (Zhong 2014)"),
)

ECHO_TIMES = Option("echo_times_s", NUMBERS, None, "One per image, in place of the header's.", "s")
FIELD = Option(
    "field_strength_t",
    NUMBER,
    None,
    "Main magnetic field, in place of the header's.",
    "T",
    low=0.01,
    high=12,
    digits=2,
    step=0.5,
    flag="--field",
    title="Field strength",
    parameter="fieldStrengthT",
    unset="from the header",
)
SPECTRUM = Option(
    "fat_spectrum",
    CHOICE,
    "ren_marrow",
    "Model of the fat peaks; it is recorded in every map.",
    choices=SPECTRA,
    flag="--spectrum",
    title="Fat spectrum",
    parameter="fatSpectrum",
)
PEAKS = Option(
    "peaks",
    TEXT,
    None,
    "Own spectrum in place of a named one, as ppm:amplitude,...",
    flag="--peaks",
)
LEAVE_OUT = Option(
    "leave_out",
    TEXT,
    None,
    "Echoes to leave out, counted from 1, as 6 or 1,6: those that motion spoiled.",
    flag="--leave-out",
    title="Leave out echoes",
    parameter="leaveOut",
    unset="none",
    advanced=True,
)
PRECESSION = Option(
    "precession",
    CHOICE,
    "auto",
    "Sense in which fat precesses in these data; by default it is found from them.",
    choices=(
        ("auto", "Found from the echoes"),
        ("as given", "As given"),
        ("conjugated", "Conjugated"),
    ),
    flag="--precession",
    title="Precession",
    parameter="precession",
    advanced=True,
)
COMMON_PHASE = Option(
    "common_phase",
    SWITCH,
    True,
    "Less noise, and true for usual excitation; else each has its own phase.",
    title="Water and fat share one phase at echo time 0",
    parameter="commonPhase",
    advanced=True,
)
READOUT = Option(
    "readout",
    CHOICE,
    "auto",
    "Bipolar: the phase error of odd against even echoes is corrected; by default where it shows.",
    choices=(("auto", "Found"), ("unipolar", "Unipolar"), ("bipolar", "Bipolar")),
    flag="--readout",
    title="Readout",
    parameter="readout",
    advanced=True,
)
R2STAR = Option(
    "r2star_per_s",
    NUMBER,
    None,
    "A known R2*, which is then not fitted.",
    "1/s",
    low=-300,
    high=3500,
    flag="--r2star",
)
R2STAR_MODEL = Option(
    "r2star_model",
    CHOICE,
    "single",
    "One R2*, one each for water and fat, or each where the data support it.",
    choices=(
        ("single", "One"),
        ("separate", "One each for water and fat"),
        ("select", "Each where the data support it"),
    ),
    flag="--r2star-model",
    title="R2*",
    parameter="r2starModel",
    advanced=True,
)
EXCHANGED = Option(
    "exchanged",
    CHOICE,
    "repair",
    "Regions whose water and fat the scanner exchanged: put right where they are sure and left out "
    "where they are not, always left out, or not looked for.",
    choices=(
        ("repair", "Put right where sure"),
        ("leave out", "Left out"),
        ("as given", "Not looked for"),
    ),
    flag="--exchanged",
    title="Exchanged regions",
    parameter="exchanged",
    advanced=True,
)
MASK = Option("mask", IMAGE, None, "Voxels to fit; all with signal if not given.", flag="--mask")
T1_CORRECTION = (
    Option(
        "correct_t1",
        SWITCH,
        False,
        "Water and fat recover at different speed; at large flip angles the fat fraction reads too "
        "high. The correction needs the T1 of both, which differ with tissue and field strength.",
        title="Also map the fraction without T1 bias",
        parameter="correctT1",
        advanced=True,
    ),
    Option(
        "flip_angle_deg",
        NUMBER,
        None,
        "Of the spoiled gradient echoes, in place of the header's.",
        "°",
        low=0.1,
        high=180,
        title="Flip angle",
        parameter="flipAngleDeg",
        unset="from the header",
        only_with="correct_t1",
        digits=1,
        advanced=True,
    ),
    Option(
        "repetition_time_ms",
        NUMBER,
        None,
        "TR of the spoiled gradient echoes, in place of the header's.",
        "ms",
        low=0.1,
        high=20000,
        title="Repetition time",
        parameter="repetitionTimeMs",
        unset="from the header",
        only_with="correct_t1",
        digits=1,
        advanced=True,
    ),
    Option(
        "t1_water_ms",
        NUMBER,
        None,
        "T1 of the water of this tissue at this field strength; none is assumed.",
        "ms",
        low=10,
        high=10000,
        title="T1 of water",
        parameter="t1WaterMs",
        unset="to be given",
        only_with="correct_t1",
        required=True,
        step=50,
        advanced=True,
    ),
    Option(
        "t1_fat_ms",
        NUMBER,
        None,
        "T1 of its fat; none is assumed.",
        "ms",
        low=10,
        high=10000,
        title="T1 of fat",
        parameter="t1FatMs",
        unset="to be given",
        only_with="correct_t1",
        required=True,
        step=50,
        advanced=True,
    ),
)

TWO_FLIP_ANGLES = tuple(
    Input(
        f"{tissue}_{angle}",
        f"{tissue.capitalize()}, {angle}er flip angle",
        f"The {tissue} image at the {angle}er flip angle; all four share grid, gain and scale.",
        f"{tissue}{angle.capitalize()}FlipVolume",
        f"{tissue}_{angle}",  # no header tells; never guessed
        (("FlipAngle", "Flip angle (°)"), ("RepetitionTime", "TR (ms)")),
    )
    for angle in ("low", "high")
    for tissue in ("water", "fat")
)
OF_TWO_FLIP_ANGLES = tuple(
    Option(
        name,
        NUMBER,
        None,
        f"{what}, in place of the headers'.",
        unit,
        low=0.1,
        high=most,
        flag=flag,
        title=what,
        parameter=parameter,
        unset="from the header",
        digits=1,
        advanced=True,
    )
    for name, what, unit, most, flag, parameter in (
        ("low_flip_deg", "Lower flip angle", "°", 120, "--low-flip", "lowFlipDeg"),
        ("high_flip_deg", "Higher flip angle", "°", 120, "--high-flip", "highFlipDeg"),
        ("tr_ms", "Repetition time of both", "ms", 20000, "--tr", "trMs"),
    )
) + (
    Option(
        "b1_percent",
        NUMBER,
        100.0,
        "True over nominal flip angle, where there is no map of it.",
        "%",
        low=30,
        high=200,
        flag="--b1-percent",
        title="B1",
        parameter="b1Percent",
    ),
    Option("b1", IMAGE, None, "Map of true over nominal flip angle, in %.", flag="--b1"),
)  # fmt: skip

FIELD_MAP = Option(
    "field_map",
    IMAGE,
    None,
    "Off-resonance in Hz by an earlier scan of the same position and shim; by default it is found "
    "from the two echoes.",
    flag="--field-map",
)
R2STAR_MAP = Option("r2star_map", IMAGE, None, "Map of R2*, in 1/s.", flag="--r2star-map")

_SEPARATED = (
    "PDFF", "FF_magnitude", "R2star", "T2star", "water", "fat", "residual_percent", "PDFF_SD",
    "R2star_SD", "doubt", "confident", "PDFF_T1corrected",
)  # fmt: skip
_MAPS = "PDFFMapperLib.water_fat.maps"

WATER_FAT = Family(
    command="pdff",
    title="Dixon / PDFF",
    folder="Water-fat maps",
    prefix="waterfat",
    parameter="dixonInput",
    reader="PDFFMapperLib.commands.echo_files",
    regions="PDFFMapperLib.commands.region_values:of_maps",
    default="complex",
    shorthands=(
        Shorthand(
            "--t1-correction",
            ("flip_angle_deg", "repetition_time_ms", "t1_water_ms", "t1_fat_ms"),
            ("FLIP_DEG", "TR_MS", "T1_WATER_MS", "T1_FAT_MS"),
            "also map the fat fraction without T1 bias",
            switch="correct_t1",
        ),
    ),
    recipes=(
        Recipe(
            id="complex",
            choice="echoes",
            title="PDFF and R2* of three or more complex echoes (of magnitudes where there is no "
            "phase): global field map, then maximum likelihood in each voxel",
            inputs=(ECHOES,),
            options=(
                ECHO_TIMES,
                FIELD,
                LEAVE_OUT,
                SPECTRUM,
                PEAKS,
                PRECESSION,
                COMMON_PHASE,
                READOUT,
                R2STAR,
                R2STAR_MODEL,
                MASK,
                *T1_CORRECTION,
            ),
            kinds=(*_SEPARATED, "field", "R2star_water", "R2star_fat"),
            citation="Reeder 2012, doi 10.1002/jmri.23741",
            compute=f"{_MAPS}:of_complex_echoes",
        ),
        Recipe(
            id="magnitude",
            choice="echoes, magnitude alone",
            title="PDFF and R2* of the magnitudes of four or more echoes: Rician likelihood from "
            "both sides of 50 %",
            inputs=(ECHOES,),
            options=(ECHO_TIMES, FIELD, LEAVE_OUT, SPECTRUM, PEAKS, MASK, *T1_CORRECTION),
            kinds=_SEPARATED,
            citation="Triay Bagur 2019, doi 10.1002/mrm.27728; Bray 2023, doi "
            "10.1016/j.media.2022.102730",
            compute=f"{_MAPS}:of_magnitude_echoes",
        ),
        Recipe(
            id="water-fat",
            choice="water and fat",
            title="Fat signal fraction of the scanner's own water and fat images; no PDFF",
            inputs=(WATER, FAT),
            options=(EXCHANGED, MASK, *T1_CORRECTION),
            kinds=("FF", "doubt", "exchanged", "FF_T1corrected"),
            citation="Dixon 1984, doi 10.1148/radiology.153.1.6089263",
            compute=f"{_MAPS}:of_scanner_images",
            flag="--water-fat",
        ),
        Recipe(
            id="in-opposed",
            choice="in and opposed phase",
            title="Both readings of the fat signal fraction of in- and opposed-phase magnitudes "
            "(two points), with R2* of a second in-phase echo (three points); no PDFF",
            inputs=(IN_PHASE, OPPOSED_PHASE, SECOND_IN_PHASE),
            options=(ECHO_TIMES, FIELD, R2STAR, MASK, *T1_CORRECTION),
            kinds=(
                "FF_water_dominant",
                "FF_fat_dominant",
                "R2star",
                "doubt",
                "FF_water_dominant_T1corrected",
                "FF_fat_dominant_T1corrected",
            ),
            citation="Dixon 1984, doi 10.1148/radiology.153.1.6089263; Bydder 2008, doi "
            "10.1016/j.mri.2007.08.012",
            compute=f"{_MAPS}:of_in_and_opposed_phase",
            flag="--in-opposed",
        ),
        Recipe(
            id="two-echo",
            choice="two complex echoes",
            title="Fat signal fraction of two complex echoes (two-point mDIXON) with the peaks of "
            "fat, water and fat told apart by the field around or of an earlier scan; R2* is "
            "stated, no PDFF",
            inputs=(ECHOES,),
            options=(
                ECHO_TIMES,
                FIELD,
                LEAVE_OUT,
                SPECTRUM,
                PEAKS,
                PRECESSION,
                R2STAR,
                R2STAR_MAP,
                FIELD_MAP,
                MASK,
                *T1_CORRECTION,
            ),
            kinds=("FF", "FF_SD", "water", "fat", "field", "doubt", "FF_T1corrected"),
            citation="Berglund 2011 (code), doi 10.1002/mrm.22679; Eggers 2011 (abstract), doi "
            "10.1002/mrm.22578",
            compute=f"{_MAPS}:of_two_complex_echoes",
        ),
        Recipe(
            id="flip-angles",
            choice="water and fat at two flip angles",
            title="PDFF without T1 bias, T1 of water and T1 of fat of the voxels around, from "
            "water and fat of two flip angles",
            inputs=TWO_FLIP_ANGLES,
            options=(*OF_TWO_FLIP_ANGLES, MASK),
            kinds=(
                "PDFF_T1corrected",
                "PDFF_SD",
                "T1_water",
                "T1_fat",
                "T1_water_SD",
                "T1_fat_SD",
                "doubt",
            ),
            citation="Liu 2007, doi 10.1002/mrm.21301; Fram 1987, doi 10.1016/0730-725X(87)90021-X",
            compute=f"{_MAPS}:of_two_flip_angles",
            flag="--two-flip-angles",
        ),
    ),
)

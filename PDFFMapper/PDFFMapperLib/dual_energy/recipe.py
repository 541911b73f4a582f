"""The recipes of dual-energy CT: three materials with their volume conserved, and projection."""

from __future__ import annotations

from PDFFMapperLib.maps.recipe import CHOICE, NUMBER, SWITCH, TEXT, Family, Input, Option, Recipe

LOW = Input(
    "low",
    "Low energy",
    "CT of the lower tube voltage, or a monoenergetic image of 40 to 70 keV, in HU.",
    "ctLowVolume",
    "ct_low",
)
HIGH = Input(
    "high",
    "High energy",
    "CT of the higher tube voltage, or a monoenergetic image of 140 to 200 keV, of the same scan.",
    "ctHighVolume",
    "ct_high",
)

# The names are those of dual_energy.json; a test holds them to it.
PAIRS = ("70/Sn150", "80/Sn150", "90/Sn150", "100/Sn150", "80/140", "80/Sn140", "100/Sn140")
KV_PAIR = Option(
    "kv_pair",
    CHOICE,
    "auto",
    "Tube voltages, with Sn for tin, in place of the header's.",
    unit="kV",
    choices=(("auto", "From the header"), *((one, f"{one} kV") for one in PAIRS)),
    flag="--kv-pair",
    title="Tube voltages",
    parameter="kvPair",
)
WATER = Option(
    "water_cm",
    NUMBER,
    None,
    "Water-equivalent diameter of the body, in place of each slice's own.",
    "cm",
    low=10,
    high=45,
    step=1,
    digits=1,
    flag="--water-cm",
    title="Body",
    parameter="waterCm",
    unset="from the images",
    advanced=True,
)
WEIGHT = Option(
    "low_weight",
    NUMBER,
    0.5,
    "Share of the low energy in the mixed image that virtual non-calcium is told for.",
    unit="of 1",
    low=0,
    high=1,
    step=0.1,
    digits=2,
    flag="--low-weight",
    title="Share of low energy",
    parameter="lowWeight",
    advanced=True,
)
CALIBRATION = Option(
    "calibration",
    TEXT,
    None,
    "Own calibration: CT numbers of yellow and red marrow at the low and high energy and the DE "
    "ratio, as -115,-82,75,60,1.81; or a file of calibrate.",
    flag="--calibration",
)
SD = Option(
    "sd",
    SWITCH,
    False,
    "Maps of what noise alone leaves in each voxel, as standard deviation.",
    flag="--sd",
)

_MAPS = "PDFFMapperLib.dual_energy.maps"

DUAL_ENERGY = Family(
    command="dect",
    title="Dual energy",
    folder="Dual-energy maps",
    prefix="dect",
    parameter="dualEnergyMethod",
    reader="PDFFMapperLib.commands.ct_files",
    regions="PDFFMapperLib.commands.region_values:of_maps",
    default="three-materials",
    recipes=(
        Recipe(
            id="three-materials",
            choice="Three materials",
            title="Bone mineral, yellow share and virtual non-calcium: hydroxyapatite, yellow and "
            "red marrow, their volume conserved, for the size of the body",
            inputs=(LOW, HIGH),
            options=(KV_PAIR, WATER, WEIGHT, CALIBRATION, SD),
            kinds=(
                "HAP",
                "yellow_share",
                "VNCa",
                "HAP_water",
                "HAP_SD",
                "yellow_share_SD",
                "VNCa_SD",
                "doubt",
            ),
            citation="Liu 2009, doi 10.1118/1.3097632",
            compute=f"{_MAPS}:of_three_materials",
        ),
        Recipe(
            id="projected",
            choice="Virtual non-calcium as scanners make it",
            title="Virtual non-calcium by projection along calcium, with a maker's calibration, as "
            "published cut-offs are of",
            inputs=(LOW, HIGH),
            options=(KV_PAIR, WEIGHT, CALIBRATION),
            kinds=("VNCa_projected", "doubt"),
            citation="Müller 2019, doi 10.1186/s41747-019-0125-2",
            compute=f"{_MAPS}:of_projection",
        ),
    ),
)

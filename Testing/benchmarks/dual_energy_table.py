"""Makes PDFFMapper/Resources/dual_energy.json: CT numbers of marrow and bone mineral by beam.

Needs spekpy (MIT) and xraylib (BSD-3), which nothing else here does:
`python dual_energy_table.py [OUT.json]`.

A thin insert lies behind so many cm of water; the detector integrates energy. Tungsten tube of 8
degrees with 6 mm Al and 0.9 mm Ti, tin where a pair's name has "Sn" (0.6 mm; 0.4 mm for Sn140).
Marrow is that of ICRU-44, bone mineral Ca10(PO4)6(OH)2 of 3.16 g/cm^3.
"""

import json
import re
import sys
from pathlib import Path

import numpy as np
import spekpy
import xraylib

RED = {1: 0.105, 6: 0.414, 7: 0.034, 8: 0.439, 15: 0.001, 16: 0.002, 17: 0.002, 19: 0.002,
       26: 0.001}  # fmt: skip
YELLOW = {1: 0.115, 6: 0.644, 7: 0.007, 8: 0.231, 11: 0.001, 16: 0.001, 17: 0.001}
DENSITY = {"hap": 3.16, "yellow": 0.98, "red": 1.03, "water": 0.998}  # g/cm^3
GRID_KEV = np.arange(10.5, 160.5, 1.0)
PAIRS = {  # low kV, high kV, mm of tin before the high one
    "70/Sn150": (70, 150, 0.6), "80/Sn150": (80, 150, 0.6), "90/Sn150": (90, 150, 0.6),
    "100/Sn150": (100, 150, 0.6), "80/140": (80, 140, 0.0), "80/Sn140": (80, 140, 0.4),
    "100/Sn140": (100, 140, 0.4),
}  # fmt: skip
WATER_CM = range(10, 50, 5)
KEV = [*range(40, 100, 5), *range(100, 201, 10)]
# Calibrations of a scanner's own maker: CT numbers of yellow and red marrow, and DE ratio.
PUBLISHED = {
    "70/Sn150": ((-130, -81), (81, 61), 2.27), "80/Sn150": ((-115, -80), (80, 60), 1.99),
    "90/Sn150": ((-115, -82), (75, 60), 1.81), "100/Sn150": ((-105, -81), (72, 61), 1.67),
    "80/140": ((-130, -98), (75, 70), 1.47),
}  # fmt: skip


def composition(formula):
    parts = xraylib.CompoundParser(formula)
    return dict(zip(parts["Elements"], parts["massFractions"], strict=True))


MATERIALS = {
    "hap": composition("Ca10P6O26H2"), "yellow": YELLOW, "red": RED, "water": composition("H2O"),
}  # fmt: skip


def attenuation(kev):
    """Linear attenuation of each material, 1/cm, at energies."""
    return {
        name: DENSITY[name]
        * np.array([sum(w * xraylib.CS_Total(z, float(e)) for z, w in parts.items()) for e in kev])
        for name, parts in MATERIALS.items()
    }


TABLE = attenuation(GRID_KEV)


def spectrum(kv, tin_mm, water_cm):
    tube = spekpy.Spek(kvp=kv, th=8, dk=1.0, physics="kqp")
    for filtered in (("Al", 6.0), ("Ti", 0.9), *([("Sn", tin_mm)] if tin_mm else [])):
        tube.filter(*filtered)
    energies, photons = tube.get_spectrum()
    weights = np.interp(GRID_KEV, energies, photons, left=0, right=0) * GRID_KEV
    weights *= np.exp(-TABLE["water"] * water_cm)
    return weights / weights.sum()


def ct_numbers(mu):
    return {n: round(1000 * (mu[n] / mu["water"] - 1), 3) for n in ("hap", "yellow", "red")}


def main():
    pairs = {}
    for name, (low, high, tin) in PAIRS.items():
        rows = {"hap": [], "yellow": [], "red": []}
        for water_cm in WATER_CM:
            beams = spectrum(low, 0, water_cm), spectrum(high, tin, water_cm)
            both = [ct_numbers({n: float(w @ mu) for n, mu in TABLE.items()}) for w in beams]
            for material, values in rows.items():
                values.append([one[material] for one in both])
        pairs[name] = rows
    mono = [ct_numbers({n: float(mu[0]) for n, mu in attenuation([e]).items()}) for e in KEV]
    content = {
        "how": __doc__.split("\n\n", 2)[2].replace("\n", " ").strip()
        + f" spekpy {spekpy.__version__}, xraylib {xraylib.__version__}. HU, pure materials.",
        "water_cm": list(WATER_CM),
        "kv_pairs": pairs,
        "kev": {"energies": KEV, **{n: [one[n] for one in mono] for n in ("hap", "yellow", "red")}},
        "published_source": "Mueller 2019, doi 10.1186/s41747-019-0125-2",
        "published": {
            name: {"yellow": y, "red": r, "de_ratio": ratio}
            for name, (y, r, ratio) in PUBLISHED.items()
        },
    }
    default = Path(__file__).parents[2] / "PDFFMapper" / "Resources" / "dual_energy.json"
    out = Path(sys.argv[1]) if len(sys.argv) > 1 else default
    text = json.dumps(content, indent=1)
    rows = re.sub(r"\[[-\d.,\s]+\]", lambda m: " ".join(m[0].split()), text)
    out.write_text(rows.replace("[ ", "[").replace(" ]", "]") + "\n")


if __name__ == "__main__":
    main()

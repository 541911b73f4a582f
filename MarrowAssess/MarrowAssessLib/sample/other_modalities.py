"""PET and dual-energy CT of the digital spine, with known truth.

Uptake blurred and on the scanner's own grid; CT numbers of known mineral and yellow share. Liver
and aorta, which the MRI does not show, lie in front of the spine on PET.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from PDFFMapperLib.dual_energy.calibration import of_kv_pair
from PDFFMapperLib.images.shapes import Shape
from PDFFMapperLib.images.volume import Volume

from MarrowAssessLib.catalogue.anatomy import Role
from MarrowAssessLib.study.regions import Region, rasterize

KV_PAIR, WATER_CM = "90/Sn150", 30.0
PET_SPACING_MM, PET_FWHM_MM = 4.0, 6.0
INFILTRATED_BELOW = 0.1  # fat fraction
YELLOW_FAT = 0.8  # of yellow marrow (doi 10.3348/jksr.2024.0039), here the only marrow with fat
LIVER_SUV, BLOOD_SUV = 2.1, 1.6
_NORMAL, _INFILTRATED = 0, 1
_MARROW_SUV, _MARROW_HAP = (1.4, 5.0), (110.0, 60.0)
_SUV = {"air": 0.0, "fat": 0.3, "csf": 0.5, "cortex": 0.8}
_OTHER_SUV = 0.7
_CT = {  # HU at 90 and Sn150 kV
    "air": (-1000, -1000), "soft tissue": (10, 15), "disc": (70, 65), "csf": (0, 0),
    "fat": (-83, -58), "erector spinae": (56, 53), "psoas": (56, 53),
}  # fmt: skip
_CELLS = (56.0, 53.0)  # packed, without fat
_CORTEX_HAP = 600.0
_NOISE_HU = (10.0, 8.0)
BLURRED_MM = 6.0  # round a region, from which blurring would take its uptake
FACTS = {
    "Modality": "PT", "Tracer": "FDG", "UptakeTime": 60.0, "ActivityPerWeight": 4.0,
    "RadionuclideHalfLife": 6586.0, "LeanBodyShare": 0.76, "LeanBodyShareJames": 0.74,
    "Units": "g/ml",
}  # fmt: skip


def true_suv(pdff: float) -> float:
    """Uptake of marrow of a fat fraction (0 to 1)."""
    return _MARROW_SUV[_kind(pdff)]


def true_hap(pdff: float) -> float:
    """Mineral of such marrow, mg/cm^3."""
    return _MARROW_HAP[_kind(pdff)]


def true_yellow(pdff: float) -> float | None:
    """Its share of yellow marrow in %; None of infiltrated marrow, which is neither."""
    return None if _kind(pdff) else min(100.0, 100 * pdff / YELLOW_FAT)


def true_vnca(pdff: float) -> float:
    """Its CT number without mineral, HU, of both beams alike."""
    return float(np.mean(_marrow_hu(pdff)))


def _kind(pdff: float) -> int:
    return _INFILTRATED if pdff < INFILTRATED_BELOW else _NORMAL


def _marrow_hu(pdff: float) -> np.ndarray:
    of = of_kv_pair(KV_PAIR, WATER_CM)
    yellow = true_yellow(pdff)
    if yellow is None:
        return np.array(_CELLS)
    return yellow / 100 * of.yellow + (1 - yellow / 100) * of.red


def reference_regions(grid: Volume) -> list[Region]:
    """Liver and blood pool, as they would be drawn for PET."""
    liver = Shape("sphere", "liver", np.array([[30.0, 38.0, -10.0]]), 15.0)
    along = np.linspace(-12, 12, 7)
    aorta = Shape("sphere", "blood pool", np.array([[-22.0, 32.0, z] for z in along]), 6.0)
    return [rasterize(liver, grid, Role.LIVER, ""), rasterize(aorta, grid, Role.BLOOD, "")]


def pet(tissue: Volume, names: list[str], pdff: Mapping[str, float], seed: int = 1) -> Volume:
    """SUV of a drawing: `names` are its tissues by index, `pdff` the fat fraction of marrow's."""
    from scipy.ndimage import gaussian_filter, zoom

    uptake = [true_suv(pdff[n]) if n in pdff else _SUV.get(n, _OTHER_SUV) for n in names]
    seen = np.array(uptake, np.float32)[tissue.array]
    for region, value in zip(reference_regions(tissue), (LIVER_SUV, BLOOD_SUV), strict=True):
        around = _grown(region, tissue)
        seen[around] = value
    sigma = PET_FWHM_MM / 2.355 / tissue.spacing[::-1]
    factor = tissue.spacing[::-1] / PET_SPACING_MM
    coarse = zoom(gaussian_filter(seen, sigma), factor, order=1, grid_mode=True, mode="nearest")
    rng = np.random.default_rng(seed + 300)
    coarse *= 1 + 0.04 * rng.standard_normal(coarse.shape, np.float32)
    scale = np.array(tissue.array.shape[::-1]) / coarse.shape[::-1]
    ijk_to_ras = tissue.ijk_to_ras @ np.diag([*scale, 1.0])
    ijk_to_ras[:3, 3] = tissue.to_ras(scale / 2 - 0.5)
    return Volume(coarse.astype(np.float32), ijk_to_ras, "SUV", dict(FACTS))


def _grown(region: Region, grid: Volume) -> np.ndarray:
    """The region with what blurring would take its uptake from."""
    from scipy.ndimage import distance_transform_edt

    outside = ~region.full_mask(grid.array.shape)
    return distance_transform_edt(outside, sampling=grid.spacing[::-1]) <= BLURRED_MM


def dual_energy(
    tissue: Volume, names: list[str], pdff: Mapping[str, float], seed: int = 1
) -> list[Volume]:
    """The low and the high image of the drawing, as scanners write them."""
    rng, of = np.random.default_rng(seed + 400), of_kv_pair(KV_PAIR, WATER_CM)
    mixed = {"cortex": (_CORTEX_HAP, (of.yellow + of.red) / 2)}
    mixed |= {name: (true_hap(fat), _marrow_hu(fat)) for name, fat in pdff.items()}
    seen = np.array(
        [
            mixed[n][0] / 3160 * of.hap + (1 - mixed[n][0] / 3160) * mixed[n][1]
            if n in mixed
            else _CT[n]
            for n in names
        ]
    )
    volumes = []
    for n, (name, kv, material) in enumerate(
        (("DE spine A 90kV", 90.0, "ALUMINUM"), ("DE spine B Sn150kV", 150.0, "TIN"))
    ):
        noise = _NOISE_HU[n] * rng.standard_normal(tissue.array.shape, np.float32)
        image = tissue.with_array(np.rint(seen[tissue.array, n] + noise).astype(np.int16), name)
        image.attributes = {
            "Modality": "CT", "SeriesDescription": name, "KVP": kv, "FilterMaterial": material,
            "RescaleIntercept": -1024.0, "RescaleType": "HU",
        }  # fmt: skip
        volumes.append(image)
    return volumes

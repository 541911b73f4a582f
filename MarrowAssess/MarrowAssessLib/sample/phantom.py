"""A digital lumbar spine with known truth: the sample that the demo and the tests measure.

Every MR image is computed from tissue properties by the signal equations below, on a sagittal grid,
with Rician noise. There are two patients: a man with a lesion in L2, and a girl of 6 years whose
red marrow is normal in L1, L3 and L5 and infiltrated in L2 and L4.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from PDFFMapperLib.diffusion.stations import Joined
from PDFFMapperLib.images.volume import Volume
from PDFFMapperLib.spectroscopy.simulate import Truth, simulated
from PDFFMapperLib.spectroscopy.spectrum import Series
from PDFFMapperLib.spectroscopy.triglyceride import unsaturation_index
from PDFFMapperLib.water_fat.spectra import fat_spectrum

from MarrowAssessLib.catalogue.anatomy import Role
from MarrowAssessLib.catalogue.contrasts import Contrast
from MarrowAssessLib.catalogue.quantities import QUANTITIES, Method
from MarrowAssessLib.catalogue.terminology import role_and_site
from MarrowAssessLib.measures.composition import composition
from MarrowAssessLib.measures.measurement import Measurement
from MarrowAssessLib.sample import other_modalities, tibia
from MarrowAssessLib.sample.whole_body import true_adc, whole_body
from MarrowAssessLib.sources.labels import LabelRule, regions_from_labels
from MarrowAssessLib.study.regions import Region
from MarrowAssessLib.study.study import Study

FIELD_STRENGTH_T = 3.0
ECHO_TIMES_S = 1e-3 * np.array([1.2, 2.2, 3.2, 4.2, 5.2, 6.2])
OPPOSED_IN_TIMES_S = 1e-3 * np.array([1.15, 2.30])
B_VALUES = np.array([0, 10, 20, 50, 80, 100, 200, 400, 600, 800], float)
SPECTRUM = Truth(water_shift_hz=3.0, fat_shift_hz=-2.0)  # its PDFF is that of the vertebra
SPECTRUM_TE_MS, SPECTRUM_SNR = (15.0, 20.0, 25.0, 30.0, 35.0), 800.0
AGE_YEARS = 34.0
SEX = "M"
LESION_SITE = "L2"

SPACING_MM = (1.5, 1.5, 2.5)  # along i (anterior to posterior), j (down), k (left to right)
SHAPE_KJI = (44, 164, 110)
BODY_WIDTH_MM, BODY_DEPTH_MM, BODY_HEIGHT_MM, DISC_HEIGHT_MM = 46.0, 33.0, 27.0, 10.0
REACH_MM = 30.0  # over half of each, and over half the diagonal of a tilted one
LEVELS = ("T12", "L1", "L2", "L3", "L4", "L5", "S1")
TILT_DEG = (-14.0, -11.0, -6.0, 0.0, 8.0, 20.0, 38.0)  # lordosis: the top of S1 faces forward


@dataclass(frozen=True)
class Tissue:
    """Relaxation at 3 T and composition of one tissue.

    Attributes:
        density: proton density seen by the scanner, 1 for free water.
        pdff: proton density fat fraction, 0 to 1.
        t1_ms, t2_ms, t2star_ms: of its water; fat has its own T1 and T2.
        t1_post_ms: T1 of its water after contrast agent.
        d, dstar: diffusion and pseudo-diffusion of its water, 10^-3 mm^2/s.
        f: perfusion fraction of its water.
    """

    density: float
    pdff: float
    t1_ms: float
    t2_ms: float
    t2star_ms: float
    t1_post_ms: float
    d: float = 1.0
    dstar: float = 15.0
    f: float = 0.05


def _marrow(pdff: float) -> Tissue:
    return Tissue(0.9, pdff, 1100, 60, 16, 650, 0.40, 18, 0.12)


TISSUES: dict[str, Tissue] = {
    "air": Tissue(0.0, 0.0, 1000, 50, 20, 1000),
    "soft tissue": Tissue(0.8, 0.35, 900, 45, 20, 700, 1.4, 15, 0.10),
    "cortex": Tissue(0.08, 0.1, 900, 10, 2, 900, 0.3),
    "disc": Tissue(0.9, 0.0, 1400, 95, 40, 1380, 1.6, 15, 0.0),
    "csf": Tissue(1.0, 0.0, 3500, 1200, 300, 3500, 3.0, 15, 0.0),
    "fat": Tissue(1.0, 0.95, 900, 50, 30, 880, 0.1, 10, 0.0),
    "erector spinae": Tissue(0.9, 0.08, 1400, 40, 25, 1250, 1.45, 20, 0.06),
    "psoas": Tissue(0.9, 0.04, 1400, 40, 25, 1250, 1.45, 20, 0.06),
    "T12": _marrow(0.32), "L1": _marrow(0.34), "L3": _marrow(0.36), "L4": _marrow(0.37),
    "L5": _marrow(0.385), "S1": _marrow(0.42),
    LESION_SITE: Tissue(0.9, 0.04, 1900, 130, 45, 900, 1.05, 25, 0.15),
}  # fmt: skip
FAT_T1_MS, FAT_T2_MS = 365.0, 130.0
_NAMES = list(TISSUES)


def _red_marrow(pdff: float) -> Tissue:
    return Tissue(0.9, pdff, 1150, 65, 18, 600, 0.50, 18, 0.12)


@dataclass(frozen=True)
class SamplePatient:
    """Whose spine is drawn.

    Attributes:
        name: "adult" or "child".
        words: who it is and what is wrong.
        size: of the spine, 1 for the adult.
        tissues: what each part is made of.
    """

    name: str
    words: str
    age_years: float
    sex: str
    size: float
    tissues: dict[str, Tissue]


_INFILTRATED = Tissue(0.9, 0.03, 1800, 120, 45, 900, 0.90, 25, 0.15)
ADULT = SamplePatient("adult", "man of 34 years, lesion in L2", AGE_YEARS, SEX, 1.0, TISSUES)
# Fat by age as in references/modelled.py: 17 % for a girl of 6; lean muscle, hydrated discs.
CHILD = SamplePatient(
    "child", "girl of 6 years, infiltrated marrow in L2 and L4", 6.0, "F", 0.65,
    {
        **TISSUES,
        "disc": Tissue(0.9, 0.0, 1500, 120, 45, 1480, 1.7, 15, 0.0),
        "erector spinae": Tissue(0.9, 0.03, 1400, 40, 25, 1250, 1.45, 20, 0.06),
        "psoas": Tissue(0.9, 0.02, 1400, 40, 25, 1250, 1.45, 20, 0.06),
        "T12": _red_marrow(0.15), "L1": _red_marrow(0.16), "L3": _red_marrow(0.17),
        "L5": _red_marrow(0.18), "S1": _red_marrow(0.20),
        "L2": _INFILTRATED, "L4": _INFILTRATED,
    },
)  # fmt: skip
PATIENTS = {one.name: one for one in (ADULT, CHILD)}


@dataclass
class LumbarPhantom:
    """The digital spine; build it with `lumbar_phantom()`.

    Attributes:
        tissue: index into TISSUES of every voxel, uint8 [k, j, i].
        labels: label map of the measurement regions.
        rules: what each label means.
        noise_sd: of the complex signal, as a share of pure water's full signal.
        seed: of the noise.
        patient: whose spine it is.
    """

    tissue: Volume
    labels: Volume
    rules: list[LabelRule]
    noise_sd: float = 0.006
    seed: int = 1
    patient: SamplePatient = ADULT

    @cached_property
    def volumes(self) -> dict[Contrast, Volume]:
        """T1, T2, fat-suppressed T2 (STIR), in and opposed phase and T1 after contrast."""
        return {contrast: self._image(contrast) for contrast in _SIGNALS}

    @cached_property
    def echoes(self) -> np.ndarray:
        """Complex multi-echo gradient echo, (echoes, slices, rows, columns), with a field map."""
        rng = np.random.default_rng(self.seed + 100)
        signals = np.array([_gradient_echo(ECHO_TIMES_S, one) for one in self._tissues])
        k, j, i = np.indices(self.tissue.array.shape, np.float32)
        shape = self.tissue.array.shape
        field_hz = 60 * (j / shape[1] - 0.5) + 40 * np.cos(np.pi * i / shape[2]) + 20 * k / shape[0]
        echoes = np.empty((len(ECHO_TIMES_S), *shape), np.complex64)
        for n, echo_time_s in enumerate(ECHO_TIMES_S):
            turns = np.exp(2j * np.pi * field_hz * echo_time_s + 0.4j)
            noise = rng.normal(0, self.noise_sd, (2, *shape))
            echoes[n] = signals[self.tissue.array, n] * turns + noise[0] + 1j * noise[1]
        return echoes

    @cached_property
    def diffusion(self) -> np.ndarray:
        """Fat-suppressed diffusion magnitudes, (slices, rows, columns, b-values)."""
        rng = np.random.default_rng(self.seed + 200)
        signals = np.array([_diffusion(one) for one in self._tissues])
        return _rician(1000 * signals[self.tissue.array], 1000 * self.noise_sd, rng).astype(
            np.float32
        )

    def echo_volumes(self) -> list[Volume]:
        """The echoes as a scanner gives them: real and imaginary in whole numbers, with facts."""
        volumes = []
        for time_s, echo in zip(ECHO_TIMES_S, self.echoes, strict=True):
            for component, part in (("real", echo.real), ("imaginary", echo.imag)):
                name = f"echo {1000 * time_s:.1f} ms {component}"
                volume = self.tissue.with_array(np.rint(1e4 * part).astype(np.int16), name)
                volume.attributes = {
                    "SeriesDescription": "multi echo",
                    "EchoTime": round(1000 * float(time_s), 6),
                    "MagneticFieldStrength": FIELD_STRENGTH_T,
                    "ImageComponent": component,
                    "NumberOfEchoes": len(ECHO_TIMES_S),
                    "ScanningSequence": "GR",
                }
                volumes.append(volume)
        return volumes

    def diffusion_volumes(self) -> list[Volume]:
        """One diffusion image per b-value, with facts."""
        volumes = []
        for n, b_value in enumerate(B_VALUES):
            array = np.ascontiguousarray(self.diffusion[..., n])
            volume = self.tissue.with_array(array, f"dwi b{b_value:g}")
            volume.attributes = {"SeriesDescription": "dwi", "DiffusionBValue": float(b_value)}
            volumes.append(volume)
        return volumes

    def pet_volume(self) -> Volume:
        """SUV on a grid of its own."""
        return other_modalities.pet(self.tissue, _NAMES, self._marrow_pdff, self.seed)

    def dual_energy_volumes(self) -> list[Volume]:
        """CT at 90 and at 150 kV behind tin."""
        return other_modalities.dual_energy(self.tissue, _NAMES, self._marrow_pdff, self.seed)

    def whole_body(self) -> Joined:
        """Diffusion at b = 50 and 900 of two table positions, joined: ADC and both images."""
        return whole_body(self.tissue, self._tissues, self.noise_sd, self.seed)

    def skeleton(self) -> list[Region]:
        """All marrow of each level, and the psoas."""
        names = [*((level, Role.MARROW) for level in LEVELS), ("psoas", Role.MUSCLE)]
        return [
            Region.from_mask(
                f"{one} {role.value}", role, one, self.tissue.array == _NAMES.index(one)
            )
            for one, role in names
        ]

    @property
    def lesion_ml(self) -> float:
        """The volume of infiltrated marrow."""
        voxels = np.isin(self.tissue.array, [_NAMES.index(one) for one in self._infiltrated])
        return float(np.count_nonzero(voxels)) * self.tissue.voxel_volume_mm3 / 1000

    @property
    def _infiltrated(self) -> list[str]:
        below = other_modalities.INFILTRATED_BELOW
        return [level for level, pdff in self._marrow_pdff.items() if pdff < below]

    @property
    def _marrow_pdff(self) -> dict[str, float]:
        return {level: self.patient.tissues[level].pdff for level in LEVELS}

    def spectrum(self, site: str) -> tuple[Series, np.ndarray]:
        """PRESS at five echo times of a box of 15 mm in a vertebra, and its place (unit to RAS)."""
        region = next(r for r in regions_from_labels(self.labels, self.rules) if r.site == site)
        voxel = np.diag([15.0, 15.0, 15.0, 1.0])
        voxel[:3, 3] = self.labels.to_ras(region.centroid_ijk())
        truth = replace(SPECTRUM, pdff_percent=100 * self._tissue_at(region.name).pdff)
        rng = np.random.default_rng(self.seed + 300)
        series = simulated(truth, SPECTRUM_TE_MS, SPECTRUM_SNR, rng)
        return replace(series, tr_ms=np.full(len(SPECTRUM_TE_MS), 6000.0)), voxel

    def study(self) -> Study:
        """The signal volumes with the regions of the label map."""
        return Study(
            dict(self.volumes),
            regions_from_labels(self.labels, self.rules),
            self.patient.age_years,
            self.patient.sex,
            {"sample": "digital lumbar-spine phantom"},
        )

    def true_value(self, measurement: Measurement) -> float | None:
        """What a measurement would be without noise or partial volume; None where undefined."""
        if measurement.quantity == "diffusion_volume":
            return self.lesion_ml
        if measurement.quantity in tibia.TRUE:
            return tibia.TRUE[measurement.quantity](tibia.Tibia())
        if (Role.MUSCLE, "paraspinal") in map(role_and_site, measurement.regions):
            return None  # psoas at some levels, erector spinae at others
        tissues = [self._tissue_at(name) for name in measurement.measured]
        divisors = [self._tissue_at(name) for name in measurement.divided_by] or tissues
        quantity = measurement.quantity
        if QUANTITIES[quantity].method is Method.LEVELS_OVER_CSF:
            t1 = _SIGNALS[Contrast.T1]
            middle = np.mean if QUANTITIES[quantity].combined == "mean" else np.median
            return float(middle([t1(tissue) for tissue in tissues])) / t1(divisors[0])
        if quantity in _TRUE_RATIOS:
            contrast, divisor = _TRUE_RATIOS[quantity]
            ratio = _SIGNALS[contrast](tissues[0]) / _SIGNALS[divisor](divisors[0])
            if quantity == "signal_drop":
                return 100 * (1 - ratio)
            return 100 * (ratio - 1) if quantity == "enhancement" else ratio
        if quantity in _TRUE_PROPERTIES:
            return float(np.mean([_TRUE_PROPERTIES[quantity](tissue) for tissue in tissues]))
        if quantity in _TRUE_OF_MARROW and not measurement.divided_by:
            values = [_TRUE_OF_MARROW[quantity](one.pdff) for one in tissues]
            return None if None in values else float(np.mean(values))
        if quantity == "marrow_yellow":
            return composition(float(np.mean([100 * one.pdff for one in tissues]))).yellow_share
        return None

    @property
    def _tissues(self) -> list[Tissue]:
        """By the index in the drawing."""
        return [self.patient.tissues[name] for name in _NAMES]

    def _tissue_at(self, region: str) -> Tissue:
        """The tissue a region of the phantom, by its name, was drawn in."""
        role, site = role_and_site(region)
        if role in (Role.LIVER, Role.BLOOD):
            return self.patient.tissues["soft tissue"]
        if role is Role.LESION:
            return self.patient.tissues[self._infiltrated[0]]
        if role is Role.MARROW:
            return self.patient.tissues[site]
        if role is Role.MUSCLE:
            return self.patient.tissues[site.split(maxsplit=1)[1]]
        return self.patient.tissues["air" if role is Role.NOISE else role.value]

    def _image(self, contrast: Contrast) -> Volume:
        from scipy.ndimage import gaussian_filter

        rng = np.random.default_rng(self.seed + list(Contrast).index(contrast))
        signals = np.array([_SIGNALS[contrast](one) for one in self._tissues])
        sharp = signals[self.tissue.array].astype(np.float32)
        smooth = gaussian_filter(sharp, (0.0, 0.45, 0.45))  # in-plane point spread
        noisy = _rician(1000 * smooth, 1000 * self.noise_sd, rng)
        image = self.tissue.with_array(np.round(noisy).astype(np.int16), contrast.value)
        image.attributes = {
            "MagneticFieldStrength": FIELD_STRENGTH_T,
            **_TIMES_MS.get(contrast, {}),
        }
        return image


def lumbar_phantom(patient: SamplePatient = ADULT) -> LumbarPhantom:
    """Draw the spine: bodies, discs, canal, muscles, fat and skin, and the regions to measure."""
    grid = _empty_grid()
    k, j, i = np.indices(SHAPE_KJI, np.float32)
    x, y, z = np.moveaxis(grid.to_ras(np.stack([i, j, k], -1)).astype(np.float32), -1, 0)
    tissue = np.zeros(SHAPE_KJI, np.uint8)
    labels = np.zeros(SHAPE_KJI, np.uint8)
    rules: list[LabelRule] = []

    def paint(where: np.ndarray, name: str) -> None:
        tissue[where] = _NAMES.index(name)

    def mark(where: np.ndarray, role: Role, site: str) -> None:
        rules.append(LabelRule(len(rules) + 1, role, site))
        labels[where] = len(rules)

    frames = [_frame(n) for n in range(len(LEVELS))]
    canal_y = _along_spine(frames, -(BODY_DEPTH_MM / 2 + 11), z)
    back_y = canal_y - 62
    paint(y > back_y, "soft tissue")
    paint((y > back_y + 2) & (y < back_y + 16), "fat")
    in_trunk = y >= back_y + 16
    paint(in_trunk & (y < canal_y + 30), "fat")

    erector = {}
    psoas = {}
    for side, sign in (("left", -1), ("right", 1)):
        across = (x - sign * 27) / 21
        erector[side] = across**2 + ((y - canal_y + 24) / 17) ** 2 < 1
        paint(erector[side], "erector spinae")
        center_y = _along_spine(frames, -6, z)
        girth = np.clip(0.75 - z / 250, 0.5, 1.1)
        psoas[side] = ((x - sign * 38) / (14 * girth)) ** 2 + (
            (y - center_y) / (18 * girth)
        ) ** 2 < 1
        paint(psoas[side], "psoas")
    paint((np.abs(x) < 4) & (y < canal_y) & (y > canal_y - 34), "fat")

    inside = [_in_body(frame, x, y, z, 0.0) for frame in frames]
    for upper, lower in zip(range(len(LEVELS) - 1), range(1, len(LEVELS)), strict=True):
        frame = _between(frames[upper], frames[lower])
        within = _in_disc(frame, x, y, z, 1.0, DISC_HEIGHT_MM / 2 + 4)
        paint(within & ~inside[upper] & ~inside[lower], "disc")
    for n, level in enumerate(LEVELS):
        paint(inside[n], "cortex")
        paint(_in_body(frames[n], x, y, z, 1.2), level)
        top = frames[n][0]
        spinous = (np.abs(x) < 3) & (np.abs(z - top[2] + 8) < 9)
        paint(spinous & (y < canal_y - 11) & (y > canal_y - 32), "L5")
    in_canal = x**2 + (y - canal_y) ** 2
    paint(in_canal < 9.5**2, "fat")
    paint(in_canal < 8.0**2, "csf")

    for n, level in enumerate(LEVELS[1:], start=1):
        mark(_in_body(frames[n], x, y, z, 4.0), Role.MARROW, level)
        disc = tissue == _NAMES.index("disc")
        core = _in_disc(_between(frames[n - 1], frames[n]), x, y, z, -8.0, 3)
        mark(disc & core, Role.DISC, f"{LEVELS[n - 1]}-{level}")
    for level in ("L1", "L3"):
        center = frames[LEVELS.index(level)][0]
        near = np.abs(z - center[2]) < 12
        mark((in_canal < 5**2) & near, Role.CSF, level)
    at_l3_l4 = np.abs(z - frames[LEVELS.index("L4")][0][2] - 18) < 20
    for side in ("left", "right"):
        core = ((x - (-27 if side == "left" else 27)) / 16) ** 2 + ((y - canal_y + 24) / 12) ** 2
        mark((core < 1) & at_l3_l4, Role.MUSCLE, f"{side} erector spinae")
        center_y = _along_spine(frames, -6, z)
        core = ((x - (-38 if side == "left" else 38)) / 7) ** 2 + ((y - center_y) / 9) ** 2
        mark((core < 1) & at_l3_l4, Role.MUSCLE, f"{side} psoas")
    mark((y > back_y + 5) & (y < back_y + 13) & at_l3_l4, Role.FAT, "")
    mark((y < back_y - 6) & at_l3_l4, Role.NOISE, "")
    grid.ijk_to_ras[:3] *= patient.size  # a small spine is the adult's on a finer grid
    return LumbarPhantom(
        grid.with_array(tissue, "tissue"),
        grid.with_array(labels, "labels"),
        rules,
        patient=patient,
    )


def _rician(signal: np.ndarray, sd: float, rng: np.random.Generator) -> np.ndarray:
    return np.hypot(
        signal + rng.normal(0, sd, signal.shape).astype(np.float32),
        rng.normal(0, sd, signal.shape).astype(np.float32),
    )


# --- signal equations ---------------------------------------------------------------------------


def _spin_echo(tr_ms: float, te_ms: float, ti_ms: float | None, after_contrast: bool = False):
    """Spin echo, or inversion recovery with TI, of water and fat side by side."""

    def one(t1_ms: float, t2_ms: float) -> float:
        saturation = np.exp(-tr_ms / t1_ms)
        inversion = 0.0 if ti_ms is None else 2 * np.exp(-ti_ms / t1_ms) - 2 * saturation
        return (1 - saturation - inversion) * np.exp(-te_ms / t2_ms)

    def signal(tissue: Tissue) -> float:
        water = one(tissue.t1_post_ms if after_contrast else tissue.t1_ms, tissue.t2_ms)
        fat = one(FAT_T1_MS, FAT_T2_MS)
        return tissue.density * abs((1 - tissue.pdff) * water + tissue.pdff * fat)

    return signal


def _gradient_echo(echo_times_s: np.ndarray, tissue: Tissue) -> np.ndarray:
    fat = fat_spectrum().modulation(echo_times_s, FIELD_STRENGTH_T)
    decay = np.exp(-1000 * echo_times_s / tissue.t2star_ms)
    return tissue.density * ((1 - tissue.pdff) + tissue.pdff * fat) * decay


def _diffusion(tissue: Tissue) -> np.ndarray:
    b = 1e-3 * B_VALUES
    decay = tissue.f * np.exp(-b * tissue.dstar) + (1 - tissue.f) * np.exp(-b * tissue.d)
    return 0.6 * tissue.density * (1 - tissue.pdff) * decay


_TIMES_MS = {
    Contrast.T1: {"RepetitionTime": 800, "EchoTime": 10},
    Contrast.FS_T2: {"RepetitionTime": 4000, "EchoTime": 70, "InversionTime": 240},
}
_SIGNALS = {
    Contrast.T1: _spin_echo(800, 10, None),
    Contrast.T2: _spin_echo(4000, 80, None),
    Contrast.FS_T2: _spin_echo(4000, 70, 240),
    Contrast.OPPOSED_PHASE: lambda t: float(abs(_gradient_echo(OPPOSED_IN_TIMES_S[:1], t)[0])),
    Contrast.IN_PHASE: lambda t: float(abs(_gradient_echo(OPPOSED_IN_TIMES_S[1:], t)[0])),
    Contrast.T1_POST: _spin_echo(800, 10, None, after_contrast=True),
}


_TRUE_RATIOS = {
    "t1_marrow_muscle": (Contrast.T1, Contrast.T1),
    "t1_marrow_disc": (Contrast.T1, Contrast.T1),
    "t2_marrow_muscle": (Contrast.T2, Contrast.T2),
    "t2_marrow_disc": (Contrast.T2, Contrast.T2),
    "fs_t2_marrow_muscle": (Contrast.FS_T2, Contrast.FS_T2),
    "fs_t2_marrow_disc": (Contrast.FS_T2, Contrast.FS_T2),
    "opposed_in_ratio": (Contrast.OPPOSED_PHASE, Contrast.IN_PHASE),
    "signal_drop": (Contrast.OPPOSED_PHASE, Contrast.IN_PHASE),
    "enhancement": (Contrast.T1_POST, Contrast.T1),
}
_TRUE_PROPERTIES = {
    "marrow_pdff": lambda tissue: 100 * tissue.pdff,
    "muscle_pdff": lambda tissue: 100 * tissue.pdff,
    "marrow_r2star": lambda tissue: 1000 / tissue.t2star_ms,
    "marrow_adc": true_adc,
    "global_adc": true_adc,
    "marrow_d": lambda tissue: tissue.d,
    "marrow_dstar": lambda tissue: tissue.dstar,
    "marrow_f": lambda tissue: 100 * tissue.f,
    "mrs_pdff": lambda tissue: 100 * tissue.pdff,
    "mrs_ndb": lambda _: SPECTRUM.ndb,
    "mrs_nmidb": lambda _: SPECTRUM.nmidb,
    "mrs_t2_water": lambda _: SPECTRUM.t2_water_ms,
    "mrs_t2_fat": lambda _: SPECTRUM.t2_fat_ms,
    "mrs_unsaturation": lambda _: 100 * unsaturation_index(SPECTRUM.ndb, SPECTRUM.nmidb),
    "mrs_fpufa": lambda _: 100 * SPECTRUM.nmidb / 3,
    "mrs_fmufa": lambda _: 100 * (SPECTRUM.ndb - 2 * SPECTRUM.nmidb) / 3,
    "mrs_fsfa": lambda _: 100 * (1 - (SPECTRUM.ndb - SPECTRUM.nmidb) / 3),
}
_TRUE_OF_MARROW = {
    "marrow_suv": other_modalities.true_suv,
    "marrow_hap": other_modalities.true_hap,
    "marrow_vnca": other_modalities.true_vnca,
    "marrow_ct_yellow": other_modalities.true_yellow,
}


# --- geometry -----------------------------------------------------------------------------------

_Frame = tuple[np.ndarray, np.ndarray, np.ndarray]  # center, forward axis, upward axis (RAS)


def _empty_grid() -> Volume:
    ijk_to_ras = np.zeros((4, 4))
    ijk_to_ras[[1, 2, 0], [0, 1, 2]] = np.array(SPACING_MM) * (-1, -1, 1)
    ijk_to_ras[3, 3] = 1
    middle = ijk_to_ras[:3, :3] @ ((np.array(SHAPE_KJI[::-1]) - 1) / 2)
    ijk_to_ras[:3, 3] = np.array([0.0, -18.0, -6.0]) - middle
    return Volume(np.zeros(SHAPE_KJI, np.uint8), ijk_to_ras, "phantom")


def _axes(tilt_deg: float) -> tuple[np.ndarray, np.ndarray]:
    a = np.deg2rad(tilt_deg)
    return np.array([0, np.cos(a), -np.sin(a)]), np.array([0, np.sin(a), np.cos(a)])


def _frame(n: int) -> _Frame:
    """Center and axes of a vertebral body, stacked up and down from L3 at the origin."""
    middle = LEVELS.index("L3")
    center = np.zeros(3)
    step = BODY_HEIGHT_MM + DISC_HEIGHT_MM
    for m in range(middle, n, 1 if n > middle else -1):
        to = m + (1 if n > middle else -1)
        up = _axes((TILT_DEG[m] + TILT_DEG[to]) / 2)[1]
        center = center + (-step if n > middle else step) * up
    return (center, *_axes(TILT_DEG[n]))


def _between(one: _Frame, other: _Frame) -> _Frame:
    forward, up = one[1] + other[1], one[2] + other[2]
    center = (one[0] + other[0]) / 2
    return center, forward / np.linalg.norm(forward), up / np.linalg.norm(up)


def _local(frame: _Frame, x: np.ndarray, y: np.ndarray, z: np.ndarray) -> tuple[np.ndarray, ...]:
    """Right, forward and upward coordinates in a vertebra's or disc's own frame, in mm."""
    center, forward, up = frame
    dy, dz = y - center[1], z - center[2]
    return x - center[0], forward[1] * dy + forward[2] * dz, up[1] * dy + up[2] * dz


def _in_oval(frame: _Frame, x, y, z, wider_mm: float, waist: np.ndarray | float = 1.0):
    right, forward, _ = _local(frame, x, y, z)
    a = np.abs(right) / (BODY_WIDTH_MM / 2 * waist + wider_mm)
    b = np.abs(forward) / (BODY_DEPTH_MM / 2 * waist + wider_mm)
    return a**2.6 + b**2.6 < 1


def _near(frame: _Frame, x, y, z) -> np.ndarray:
    """Voxels that a body or disc can reach; the others need no arithmetic."""
    center = frame[0]
    return (
        (np.abs(x - center[0]) < REACH_MM)
        & (np.abs(y - center[1]) < REACH_MM)
        & (np.abs(z - center[2]) < REACH_MM)
    )


def _in_disc(frame: _Frame, x, y, z, wider_mm: float, half_height_mm: float) -> np.ndarray:
    """Inside a disc that is so much wider than a body."""
    inside = _near(frame, x, y, z)
    x, y, z = x[inside], y[inside], z[inside]
    height = _local(frame, x, y, z)[2]
    inside[inside] = _in_oval(frame, x, y, z, wider_mm) & (np.abs(height) < half_height_mm)
    return inside


def _in_body(frame: _Frame, x, y, z, inset_mm: float) -> np.ndarray:
    """Inside a vertebral body: waisted, with concave endplates."""
    inside = _near(frame, x, y, z)
    x, y, z = x[inside], y[inside], z[inside]
    right, forward, height = _local(frame, x, y, z)
    relative = np.clip(2 * height / BODY_HEIGHT_MM, -1, 1)
    waist = 1 - 0.10 * (1 - relative**2)
    radius = (2 * right / BODY_WIDTH_MM) ** 2 + (2 * forward / BODY_DEPTH_MM) ** 2
    half_height = BODY_HEIGHT_MM / 2 - 1.5 * np.clip(1 - radius, 0, 1) - inset_mm
    oval = _in_oval(frame, x, y, z, -inset_mm, waist)
    inside[inside] = oval & (np.abs(height) < half_height)
    return inside


def _along_spine(frames: list[_Frame], forward_mm: float, z: np.ndarray) -> np.ndarray:
    """Anterior position, at height z, of the curve that runs so far in front of the bodies."""
    points = np.array([center + forward_mm * forward for center, forward, _ in frames])
    up_first = points[np.argsort(points[:, 2])]
    smooth_z = np.linspace(up_first[0, 2], up_first[-1, 2], 200)
    coefficients = np.polyfit(up_first[:, 2], up_first[:, 1], 3)
    curve = np.polyval(coefficients, smooth_z)
    return np.interp(z, smooth_z, curve).astype(np.float32)

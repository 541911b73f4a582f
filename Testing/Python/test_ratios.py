import inspect
from dataclasses import replace

import numpy as np
import pytest
from MarrowAssessLib.catalogue.anatomy import Role
from MarrowAssessLib.catalogue.contrasts import Contrast
from MarrowAssessLib.catalogue.quantities import QUANTITIES, Method
from MarrowAssessLib.findings.assessment import assess
from MarrowAssessLib.findings.summary import headlines
from MarrowAssessLib.findings.verdict import verdict
from MarrowAssessLib.measures.book import Settings
from MarrowAssessLib.measures.composition import composition
from MarrowAssessLib.measures.measure import measure
from MarrowAssessLib.report.html import _signatures
from MarrowAssessLib.study.regions import Region
from MarrowAssessLib.study.study import Study
from PDFFMapperLib.images.volume import Volume

pytestmark = pytest.mark.usefixtures("computed_once")  # N4


def box(name: str, role: Role, site: str, first: int) -> Region:
    """A block of 4 slices x 10 x 10 voxels that starts at row `first`."""
    mask = np.zeros((6, 200, 20), bool)
    mask[1:5, first : first + 10, 5:15] = True
    return Region.from_mask(name, role, site, mask)


LUMBAR = {"L1": 120.0, "L2": 100.0, "L3": 110.0, "L4": 160.0}


@pytest.fixture
def spine() -> Study:
    """Four flat vertebrae (1 mm voxels), with CSF 50, muscle 60, disc 80 and noise of SD 2."""
    t1 = np.zeros((6, 200, 20), np.float32)
    regions = []
    for n, (level, signal) in enumerate(LUMBAR.items()):
        t1[:, 20 * n : 20 * n + 10] = signal
        regions.append(box(f"{level} marrow", Role.MARROW, level, 20 * n))
    others = [
        ("L3 CSF", Role.CSF, "L3", 50.0), ("L1 CSF", Role.CSF, "L1", 40.0),
        ("psoas", Role.MUSCLE, "psoas", 60.0), ("L2-L3 disc", Role.DISC, "L2-L3", 80.0),
    ]  # fmt: skip
    for n, (name, role, site, signal) in enumerate(others, start=4):
        t1[:, 20 * n : 20 * n + 10] = signal
        regions.append(box(name, role, site, 20 * n))
    t1[:, 180:190] = 5 + 2 * np.random.default_rng(0).normal(size=(6, 10, 20))
    regions.append(box("air", Role.NOISE, "", 180))
    return Study({Contrast.T1: Volume(t1, np.eye(4), "T1")}, regions)


def value(study: Study, quantity: str, site: str, settings: Settings | None = None) -> float:
    found = [
        m.value
        for m in measure(study, settings).measurements
        if (m.quantity, m.site) == (quantity, site)
    ]
    assert len(found) == 1, f"{quantity} at {site}: {found}"
    return found[0]


def with_volumes(study: Study, **arrays: np.ndarray | float) -> Study:
    shape = study.grid.array.shape
    volumes = {
        Contrast[name]: study.grid.with_array(np.broadcast_to(np.float32(a), shape).copy(), name)
        for name, a in arrays.items()
    }
    return Study(study.volumes | volumes, study.regions)


def with_bright_csf(study: Study) -> np.ndarray:
    array = study.grid.array.copy()
    for region in study.with_role(Role.CSF):
        array[region.box] = 400.0
    return array


def test_vbq_variants_follow_their_definitions(spine):
    assert value(spine, "vbq", "L1-L4") == pytest.approx(np.median([120, 100, 110, 160]) / 50)
    assert value(spine, "vbq_mean", "L1-L4") == pytest.approx(np.mean([120, 100, 110, 160]) / 50)
    assert value(spine, "vbq_l1", "L1") == pytest.approx(120 / 40)


def test_tissue_ratios_use_the_named_regions(spine):
    assert value(spine, "t1_marrow_muscle", "L4") == pytest.approx(160 / 60)
    assert value(spine, "t1_marrow_disc", "L2") == pytest.approx(100 / 80)


@pytest.mark.parametrize(
    ("role", "factor", "doubted", "why"),
    [
        (Role.MARROW, 1.0, "", ""),
        (Role.MARROW, 0.5, "", ""),  # as dark as the darkest infiltration: still judged
        (Role.MARROW, 0.2, "", "29 % of the disc's signal"),
        (Role.CSF, 4.0, "", "CSF is brighter than marrow"),
        (Role.CSF, 4.0, "L3 CSF", ""),  # what may be another structure proves nothing
        (Role.MARROW, 0.2, "L2-L3 disc", "CSF is brighter than marrow"),
    ],
)
def test_an_image_that_is_no_plain_t1_is_compared_with_nothing(spine, role, factor, doubted, why):
    """Healthy fat-suppressed marrow of two volunteers read as infiltrated, a T2 as weak bone."""
    for region in spine.regions:
        region.doubtful = region.name == doubted
        if region.role is role:
            spine.grid.array[region.full_mask(spine.grid.array.shape)] *= factor
    spine.regions[:] = [r for r in spine.regions if (r.role, r.site) != (Role.CSF, "L1")]
    found = assess(Study(spine.volumes, spine.regions, age_years=50.0, sex="F"))
    said = [one for one in found.results if one.z is not None or one.statements]
    assert bool(said) == (not why) and bool(found.signatures) == (not why)
    lines = [line.says for line in headlines(found) if line.kind == "caution"]
    assert [why in line for line in lines] == ([True] if why else [])
    assert why in verdict(found) and "would make" not in verdict(found)
    (disc,) = (
        one.measurement
        for one in found.results
        if (one.measurement.quantity, one.measurement.site) == ("t1_marrow_disc", "L3")
    )
    assert any(why in caution for caution in disc.cautions) or not why


@pytest.mark.parametrize(("muscle", "told"), [(30.0, False), (60.0, False), (100.0, True)])
def test_t1_and_t2_that_are_exchanged_are_told(spine, muscle, told):
    """Muscle has 60 on T1; a T2 on which it is brighter beside the same marrow is no T2."""
    t2 = with_bright_csf(spine)
    psoas = next(r for r in spine.regions if r.role is Role.MUSCLE)
    t2[psoas.full_mask(t2.shape)] = muscle
    study = with_volumes(spine, T2=t2)
    study.age_years, study.sex = 50.0, "F"
    found = assess(study)
    lines = [line.says for line in headlines(found) if line.kind == "caution"]
    assert ["exchanged" in line for line in lines] == [True] * told
    of_t1 = [r for r in found.results if r.measurement.quantity.startswith("t1_")]
    assert any(one.statements for one in of_t1) != told


@pytest.mark.parametrize(
    ("fat", "csf", "doubted", "why"),
    [
        (100.0, 400.0, "", ""),  # suppressed, and left brighter than muscle near the coil
        (500.0, 400.0, "", "10 times as bright as muscle"),  # a plain T2
        (200.0, 60.0, "", "CSF has 50 % of marrow's signal"),  # a T1
        (200.0, 60.0, "L3 CSF", ""),
        (120.0, 60.0, "", ""),  # infiltration is as bright as fat, and flow darkens CSF
        (500.0, 400.0, "right erector spinae muscle", ""),  # may be fat itself
    ],
)
def test_fat_that_is_not_suppressed_is_told_by_back_fat_and_csf(fat, csf, doubted, why):
    """A plain T2 given as STIR read "high (pathologic marrow is high)" throughout."""
    array = np.full((120, 160, 60), 5.0, np.float32)
    regions = []

    def draw(name: str, role: Role, site: str, signal: float, box: tuple[slice, ...]) -> None:
        array[box] = signal
        mask = np.zeros(array.shape, bool)
        mask[box] = True
        regions.append(Region.from_mask(name, role, site, mask))
        regions[-1].doubtful = name == doubted

    for n, level in enumerate(("L4", "L3", "L2", "L1")):
        box = np.s_[30 * n + 2 : 30 * n + 22, 120:150, 15:45]
        draw(f"{level} marrow", Role.MARROW, level, 120.0, box)
    draw(
        "right erector spinae muscle",
        Role.MUSCLE,
        "erector spinae",
        50.0,
        np.s_[40:70, 80:90, 5:15],
    )
    draw("L3 CSF", Role.CSF, "L3", csf, np.s_[32:52, 105:115, 25:35])
    array[:, 20:32] = fat
    found = assess(
        Study({Contrast.FS_T2: Volume(array, np.eye(4), "STIR")}, regions, age_years=50.0, sex="F")
    )
    said = [one for one in found.results if one.z is not None or one.statements]
    assert bool(said) == (not why and not doubted.startswith("right"))
    lines = [line for line in headlines(found) if line.kind == "caution"]
    assert [(line.what, why in line.says) for line in lines] == ([("FS_T2", True)] if why else [])
    assert why in verdict(found) and bool(found.signatures) == bool(said)


def test_a_fat_suppressed_image_that_ends_below_a_level_is_judged_by_the_others(spine):
    """A T1 and a shorter STIR were refused as a study: "holds no finite value"."""
    array = spine.grid.array.copy()
    (outside,) = (r for r in spine.regions if r.name == "L1 marrow")
    array[outside.box] = np.nan
    found = measure(with_volumes(spine, FS_T2=array))
    sites = {one.site for one in found.measurements if one.quantity == "fs_t2_marrow_muscle"}
    assert "L1" not in sites and "L2" in sites


TISSUE = (Role.MARROW, Role.MUSCLE, Role.DISC, Role.CSF)


@pytest.mark.parametrize(
    ("contrast", "levels", "why"),  # of marrow, muscle, disc, CSF
    [
        # A plain T2; marrow of iron or sclerosis; CSF that flows.
        ("T2", (46, 8, 47, 108), ""),
        ("T2", (5, 8, 47, 108), ""),
        ("T2", (46, 8, 47, 20), ""),
        ("T2", (46, 22, 30, 22), ""),  # beside muscle that holds fat, too
        ("T2", (58, 30, 35, 20), "CSF has 34 % of marrow's signal"),  # a T1
        ("T2", (46, 8, 3, 1), "CSF has 2 % of marrow's signal"),  # a PDFF
        ("T2", (40, 15, 44, 36), ""),
        # A TIRM, a gradient echo and an ADC map of real spines.
        ("T2", (30, 26, 31, 65), "CSF is only 2.5 times and marrow 1.2 times as bright as muscle"),
        ("T2", (88, 132, 130, 164), "CSF is only 1.2 times and marrow 0.7 times"),
        ("T2", (0.4, 1.5, 1.4, 3.0), "CSF is only 2.0 times and marrow 0.3 times"),
        # Healthy marrow, leukemia, and a map that noise moves.
        ("PDFF", (40, 8, 2, 0.5), ""),
        ("PDFF", (3, 4, 2, 3.5), ""),
        ("PDFF", (20, 15, 10, 12), ""),
        ("fat_fraction", (40, 10, 5, 48), ""),  # weighted by T1: CSF is noise
        ("fat_fraction", (12, 20, 31, 48), ""),  # of myeloma: of little signal noise makes 50
        ("fat_fraction", (60, 95, 98, 99), "CSF would hold 99 % of fat (water and fat may be"),
        ("PDFF", (85, 35, 40, 5), "discs would hold 40 % of fat"),  # R2*
        ("PDFF", (21, 15, 14.5, 10), "discs would hold 14 % of fat, where marrow holds 21 %"),
        ("PDFF", (0.4, 1.5, 1.4, 3.0), "no voxel would hold more than 3.0 % of fat"),  # ADC
        ("ADC", (0.4, 1.5, 1.4, 3.0), ""),
        ("ADC", (1.6, 1.3, 1.0, 2.2), ""),
        ("ADC", (0.4, 1.4, 0.1, 2.8), ""),  # worn discs hold noise alone
        ("ADC", (0.4, 0.08, 0.02, 0.01), "CSF has 0.01, where free water has 3.0"),  # a fraction
        ("ADC", (0.4, 0.08, 0.02, None), "discs have 0.02, where they have 1 to 2"),
        ("R2star", (90, 35, 15, 5), ""),
        ("R2star", (50, 33, 30, 12), ""),  # osteoporosis, worn discs, a canal that flows
        ("R2star", (350, 40, 20, 10), ""),
        ("R2star", (30, 31, 20, 11), ""),  # bone that myeloma destroyed, and worn discs
        ("R2star", (10, 28, 9, 12), ""),  # as good as no bone
        ("R2star", (30, 26, 31, 65), "CSF would decay faster than marrow"),  # TIRM
        ("R2star", (53, 38, 37, 27), "CSF would decay 0.5 times and discs 0.7 times as fast"),
        ("R2star", (40, 6, 5, 1), "muscle would decay by 6 1/s"),  # PDFF
        ("R2star", (40, 14, 2, 1), "discs would decay by 2 1/s"),
        ("R2star", (40, 0, 0, 0), ""),  # a map of marrow alone, 0 elsewhere
        ("T2star", (11, 28, 60, 200), ""),
        ("T2star", (25, 28, 60, 200), ""),
        ("T2star", (50, 30, 50, 80), ""),  # bone that myeloma destroyed
        ("T2star", (90, 35, 15, 5), "CSF would decay faster and marrow slower"),  # R2*
    ],
)
def test_an_image_or_map_of_another_name_is_told_by_tissues_that_are_known(
    spine, contrast, levels, why
):
    """An ADC map given as T2 or a T1 given as R2* gave numbers beside published ones, unsaid."""
    volume = spine.grid.with_array(np.zeros_like(spine.grid.array), contrast)
    regions = [*spine.regions, box("L3-L4 disc", Role.DISC, "L3-L4", 160)]
    for region in [one for one in regions if one.role in TISSUE]:
        level = levels[TISSUE.index(region.role)]
        if level is None:
            regions.remove(region)
        else:
            volume.array[region.box] = level
    volume.array[-1, -1, -1] = max(*filter(None, levels), 0.0 if "no voxel" in why else 99.0)
    study = Study({Contrast(contrast): volume}, regions, age_years=50.0, sex="F")
    found = assess(study)
    assert [contrast] * bool(why) == list(found.contradicted)
    assert why in found.contradicted.get(contrast, "")
    if why and contrast == "T2":  # a spine of 36 mm had fat for muscle
        assert "what counts as muscle may be fat" in found.contradicted["T2"]
    marrow = [r for r in found.results if r.measurement.measured == ("L3 marrow",)]
    assert marrow and (not why or not any(r.z is not None or r.statements for r in marrow))
    assert any(r.z is not None or r.statements for r in marrow) or why or contrast == "T2star"


@pytest.mark.parametrize("discs", [("L2-L3",), ("L2-L3", "L3-L4")])
def test_a_fused_disc_of_fat_speaks_against_no_map_of_pdff(spine, discs):
    """Discs that fused hold marrow; water and fat that are exchanged show in all of them."""
    volume = spine.grid.with_array(np.full_like(spine.grid.array, 90.0), "PDFF")
    levels = {Role.MARROW: 50.0, Role.MUSCLE: 8.0, Role.CSF: 1.0, Role.DISC: 3.0}
    regions = [*spine.regions, box("L3-L4 disc", Role.DISC, "L3-L4", 160)]
    regions = [one for one in regions if one.role is not Role.DISC or one.site in discs]
    for region in regions:
        volume.array[region.box] = levels.get(region.role, 0.0)
    volume.array[regions[[one.site for one in regions].index("L2-L3")].box] = 48.0
    assert not measure(Study({Contrast.PDFF: volume}, regions)).contradicted
    for region in regions:
        if region.role is Role.DISC:
            volume.array[region.box] = 48.0
    told = measure(Study({Contrast.PDFF: volume}, regions)).contradicted
    assert bool(told) == (len(discs) > 1)


def test_discs_of_a_study_without_vertebrae_are_compared_with_no_marrow(spine):
    volume = spine.grid.with_array(np.full_like(spine.grid.array, 12.0), "PDFF")
    volume.array[-1] = 90.0
    regions = [one for one in spine.regions if one.role is not Role.MARROW]
    regions += [box("ilium", Role.MARROW, "ilium", 0), box("disc", Role.DISC, "L3-L4", 160)]
    assert not measure(Study({Contrast.PDFF: volume}, regions)).contradicted


def test_tissues_that_may_be_others_tell_nothing_of_a_map_s_name(spine):
    study = with_volumes(spine, PDFF=70.0)
    assert measure(study).contradicted.keys() == {"PDFF"}
    for region in study.regions:
        region.doubtful = region.role in (Role.DISC, Role.CSF)
    assert not measure(study).contradicted


@pytest.mark.parametrize(("ratio", "told"), [(0.4, False), (1.2, False), (2.5, True)])
def test_in_and_opposed_phase_that_are_exchanged_are_told(spine, ratio, told):
    """Healthy marrow, exchanged, read as infiltrated: no signal drop."""
    in_phase = spine.grid.array + 200.0
    found = assess(
        Study(
            with_volumes(spine, IN_PHASE=in_phase, OPPOSED_PHASE=ratio * in_phase).volumes,
            spine.regions,
            age_years=50.0,
            sex="F",
        )
    )
    lines = [line.says for line in headlines(found) if line.kind == "caution"]
    assert ["may be exchanged" in line for line in lines] == [True] * told
    of_phases = [r for r in found.results if r.measurement.quantity == "opposed_in_ratio"]
    assert any(one.z is not None or one.statements for one in of_phases) != told


@pytest.mark.parametrize(
    ("dark", "muscle", "times"),
    [(0.5, 100.0, (10, 90)), (0.1, 60.0, (None, None))],  # fat-suppressed T2; iron in marrow
)
def test_a_t1_by_its_header_or_beside_a_t2_of_iron_is_not_taken_for_exchanged(
    spine, dark, muscle, times
):
    t1, t2 = spine.grid.array, with_bright_csf(spine)
    for region in spine.regions:
        if region.role is Role.MARROW:
            t1[region.full_mask(t1.shape)] *= 0.5 if times[0] is None else 1.0
            t2[region.full_mask(t2.shape)] *= dark
        if region.role is Role.MUSCLE:
            t2[region.full_mask(t2.shape)] = muscle
    study = with_volumes(spine, T2=t2)
    for contrast, time in zip((Contrast.T1, Contrast.T2), times, strict=True):
        study.volumes[contrast].attributes = {} if time is None else {"EchoTime": time}
    measured = measure(study)
    assert not measured.contradicted
    ratio = {m.quantity: m.value for m in measured.measurements if m.site == "L3"}
    assert ratio["t1_marrow_muscle"] > 1.3 * ratio["t2_marrow_muscle"]


def test_the_nearest_reference_region_is_taken(spine):
    spine.volumes[Contrast.T1].array[:, 10:14] = 90.0
    spine.regions[:] = [r for r in spine.regions if r.name != "L2-L3 disc"]
    spine.volumes[Contrast.T1].array[:, 70:74] = 80.0
    mask = np.zeros(spine.grid.array.shape, bool)
    mask[1:5, 70:74, 5:15] = True
    spine.regions.append(Region.from_mask("L4-L5 disc", Role.DISC, "L4-L5", mask))
    mask = np.zeros(spine.grid.array.shape, bool)
    mask[1:5, 10:14, 5:15] = True
    near = Region.from_mask("L1-L2 disc", Role.DISC, "L1-L2", mask)
    study = Study(spine.volumes, [*spine.regions, near])
    assert value(study, "t1_marrow_disc", "L1") == pytest.approx(120 / 90)
    assert value(study, "t1_marrow_disc", "L4") == pytest.approx(160 / 80)


def test_m_score_is_the_snr_in_reference_sds(spine):
    settings = Settings(m_score_reference=(50.0, 4.0))
    air = next(r for r in spine.regions if r.role is Role.NOISE)
    noise = air.values(spine.grid.array.astype(float)).std(ddof=1)
    expected = (np.mean(list(LUMBAR.values())) / noise - 50.0) / 4.0
    assert value(spine, "m_score", "L1-L4", settings) == pytest.approx(expected)
    l2 = next(r for r in spine.regions if r.name == "L2 marrow")
    bright = spine.grid.array.astype(float)
    bright[tuple(np.argwhere(l2.full_mask(bright.shape))[0])] += 4 * 50 * l2.voxels
    streaked = Study({Contrast.T1: spine.grid.with_array(bright)}, spine.regions)
    more = 50 / noise / 4.0  # the mean of four means rises by 50, their medians by nothing
    assert value(streaked, "m_score", "L1-L4", settings) == pytest.approx(expected + more)
    assert any(s.quantity == "m_score" for s in measure(spine).skipped)
    settings = Settings(erosion_mm=1.0, m_score_reference=(50.0, 4.0))  # air has no border to lose
    assert value(spine, "m_score", "L1-L4", settings) == pytest.approx(expected)


@pytest.mark.parametrize("fat_fraction", [0.0, 0.2, 0.45, 0.6, 0.9, 1.0])
def test_opposed_phase_gives_both_fat_fractions_its_physics_allows(spine, fat_fraction):
    in_phase = spine.grid.array + 200.0
    study = with_volumes(
        spine, IN_PHASE=in_phase, OPPOSED_PHASE=in_phase * abs(1 - 2 * fat_fraction)
    )
    assert value(study, "signal_drop", "L3") == pytest.approx(100 * (1 - abs(1 - 2 * fat_fraction)))
    low = value(study, "opposed_fat_fraction_low", "L3")
    high = value(study, "opposed_fat_fraction_high", "L3")
    assert min(abs(low - 100 * fat_fraction), abs(high - 100 * fat_fraction)) < 1e-4
    assert low + high == pytest.approx(100)


def test_fat_suppression_after_contrast_only_is_told(spine):
    fat = box("back fat", Role.FAT, "subcutaneous", 180)
    before = spine.volumes[Contrast.T1].array.copy()
    before[:, 180:190] = 200.0
    alike, suppressed = before * 1.35, before * 1.35
    suppressed[:, 180:190] = 40.0
    for after, told in ((alike, False), (suppressed, True)):
        volumes = {
            contrast: spine.grid.with_array(array, contrast.value)
            for contrast, array in ((Contrast.T1, before), (Contrast.T1_POST, after))
        }
        found = measure(Study(volumes, [*spine.regions[:-1], fat])).measurements
        cautions = [c for m in found if m.quantity == "enhancement" for c in m.cautions]
        assert any("back fat darker after contrast" in c for c in cautions) is told


def test_enhancement_percent(spine):
    study = with_volumes(spine, T1_POST=spine.grid.array * 1.35)
    assert value(study, "enhancement", "L2") == pytest.approx(35, abs=1e-4)


def test_a_mean_of_levels_is_surer_than_any_of_them(spine):
    """Levels of the same spread: half the interval of one, as the mean of four independent ones."""
    rng = np.random.default_rng(5)
    one = rng.normal(40, 4, (6, 10, 20))
    pdff = np.full(spine.grid.array.shape, 40.0)
    for n in range(len(LUMBAR)):
        pdff[:, 20 * n : 20 * n + 10] = one
    found = measure(with_volumes(spine, PDFF=pdff)).measurements
    width = {m.site: np.ptp(m.ci95) for m in found if m.quantity == "marrow_pdff"}
    assert width["L1"] > 0.1
    assert width["L1-L4"] == pytest.approx(width["L1"] / 2)


def test_map_statistics_and_the_mean_of_levels(spine):
    pdff = np.zeros(spine.grid.array.shape, np.float32)
    for n, percent in enumerate((30.0, 32.0, 35.0, 39.0)):
        pdff[:, 20 * n : 20 * n + 10] = percent
    pdff[:, 120:130] = 6.0  # the muscle
    study = with_volumes(spine, PDFF=pdff, ADC=0.45)
    assert value(study, "marrow_pdff", "L4") == 39
    assert value(study, "marrow_pdff", "L1-L4") == 34
    assert value(study, "muscle_pdff", "psoas") == 6
    assert value(study, "marrow_adc", "L1-L4") == pytest.approx(0.45)
    assert value(study, "region_adc", "L2-L3") == pytest.approx(0.45)
    assert value(study, "region_pdff", "L3") == 0  # the CSF


def test_t2star_of_marrow_is_the_median_of_its_map_in_ms(spine):
    t2star = np.full(spine.grid.array.shape, 40.0, np.float32)
    for n, milliseconds in enumerate((8.0, 10.0, 13.0, 17.0)):
        t2star[:, 20 * n : 20 * n + 10] = milliseconds
    study = with_volumes(spine, T2STAR=t2star)
    found = {m.site: m for m in measure(study).measurements if m.quantity == "marrow_t2star"}
    assert {site: m.value for site, m in found.items()} == {
        "L1": 8, "L2": 10, "L3": 13, "L4": 17, "L1-L4": 12,
    }  # fmt: skip
    assert found["L3"].unit == "ms"
    with pytest.raises(ValueError, match="this map is not in ms; give its scale"):
        measure(with_volumes(spine, T2STAR=12000.0))
    t2star[:, :10] = 12000.0
    with pytest.raises(ValueError, match="L1 marrow is 12000, which is no T2star in ms"):
        measure(with_volumes(spine, T2STAR=t2star))


def test_a_number_next_to_zero_is_shown_without_a_minus():
    assert QUANTITIES["region_pdff"].format(-0.004) == "0.0 %"
    assert QUANTITIES["region_pdff"].format(-0.06) == "-0.1 %"
    assert QUANTITIES["marrow_r2star"].format(62.5) == "62 1/s"


def test_every_quantity_of_a_map_is_of_a_kind_that_can_be_checked():
    for row in QUANTITIES.values():
        if row.method is Method.MAP_VALUE:
            (contrast,) = row.images
            assert contrast.kind.plausible, row.key
            assert contrast.kind.unit == row.unit, row.key


@pytest.mark.parametrize("row", QUANTITIES.values(), ids=QUANTITIES)
def test_every_row_names_the_function_that_measures_it(row):
    assert (row.method is Method.REFERENCE_ONLY) == (not row.method.function)
    if row.method.function:
        assert list(inspect.signature(row.method.measure).parameters) == ["book", "quantity"]


def test_a_map_without_values_in_a_region_is_told_not_fatal(spine):
    dstar = np.full(spine.grid.array.shape, np.nan, np.float32)
    dstar[:, :10] = 20.0
    result = measure(with_volumes(spine, DSTAR=dstar))
    assert [m.site for m in result.measurements if m.quantity == "marrow_dstar"] == ["L1"]
    assert "the map holds no value in L2 marrow" in [s.reason for s in result.skipped]


def test_few_voxels_with_a_value_are_told_and_a_handful_is_none(spine):
    pdff = np.full(spine.grid.array.shape, np.nan, np.float32)
    levels = [r for r in spine.regions if r.role is Role.MARROW][:2]
    for region, count in zip(levels, (4, 8), strict=True):
        inside = pdff[region.box]
        place = np.argwhere(region.mask)[:count]
        inside[tuple(place.T)] = 40.0
    result = measure(with_volumes(spine, PDFF=pdff))
    (one,) = [m for m in result.measurements if m.quantity == "marrow_pdff"]
    few, more = levels
    assert one.measured == (more.name,)
    assert any(f"Only 8 of {more.voxels} voxels of {more.name}" in c for c in one.cautions)
    reasons = [s.reason for s in result.skipped]
    assert f"the map holds a value in only 4 of {few.voxels} voxels of {few.name}" in reasons


def test_water_and_fat_images_give_a_signal_fraction_that_is_no_pdff(spine):
    study = with_volumes(spine, WATER=150.0, FAT=50.0)
    assert value(study, "marrow_fat_signal_fraction", "L2") == pytest.approx(25)
    assert value(study, "muscle_fat_signal_fraction", "psoas") == pytest.approx(25)
    assert not any("pdff" in m.quantity for m in measure(study).measurements)


@pytest.mark.parametrize(("header", "expected"), [({"FatSpectrum": "marrow"}, 25), ({}, 90)])
def test_images_without_a_pdff_in_compact_bone_give_no_fraction_there(spine, header, expected):
    """Water and fat of PDFFMapper have noise in holes of its PDFF; a scanner's map may end."""
    (body,) = [r for r in spine.regions if r.role is Role.MARROW and r.name.startswith("L2")]
    fat, pdff = (np.full(spine.grid.array.shape, each, np.float32) for each in (50, 25))
    dark = tuple(np.argwhere(body.mask)[: 3 * body.voxels // 4].T)
    fat[body.box][dark], pdff[body.box][dark] = 1350, np.nan
    study = with_volumes(spine, WATER=150.0, FAT=fat, PDFF=pdff)
    study.volumes[Contrast.PDFF].attributes.update(header)
    assert value(study, "marrow_fat_signal_fraction", "L2") == pytest.approx(expected)


@pytest.mark.parametrize(
    ("contrast", "number", "sentence"),
    [
        ("PDFF", 0.35, "not in percent.*PDFF=100"),
        ("ADC", 450.0, r"not in 10\^-3 mm\^2/s.*ADC=0.001"),
        ("PDFF", 850.0, "not in percent.*PDFF=0.1"),
        ("PDFF", 350.0, "not in percent.*PDFF=FACTOR"),
        ("PDFF", 8500.0, "not in percent.*PDFF=0.01"),
    ],
)
def test_maps_in_another_unit_are_refused(spine, contrast, number, sentence):
    with pytest.raises(ValueError, match=sentence):
        measure(with_volumes(spine, **{contrast: number}))


def test_composition_runs_from_red_to_yellow_marrow():
    red, middle, yellow = composition(40), composition(60), composition(80)
    assert (red.water, red.protein, red.fat, red.yellow_share) == (40, 20, 40, 0)
    assert (yellow.water, yellow.protein, yellow.fat, yellow.yellow_share) == (15, 5, 80, 100)
    assert middle.yellow_share == 50
    assert middle.water + middle.protein + middle.fat == 100


def test_muscle_cross_section_is_the_largest_across_the_body_axis(spine):
    # Axis k is superior here: the psoas block is 10 x 10 voxels of 1 mm in each of 4 slices.
    assert value(spine, "muscle_csa", "psoas") == pytest.approx(1.0)


def test_zero_csf_is_refused_by_name(spine):
    spine.volumes[Contrast.T1].array[:, 80:90] = 0
    with pytest.raises(ValueError, match="median signal of L3 CSF is 0"):
        measure(spine)


def test_an_image_of_one_value_is_no_measurement(spine):
    """It read VBQ 1.00, below what is expected."""
    skipped = {}
    for level in (7.0, 7.5):  # the second is not whole: it has no step of rounding
        measured = measure(with_volumes(spine, T1=level))
        keys = {one.quantity for one in measured.measurements}
        assert not keys & {"vbq", "vbq_l1", "vbq_mean", "t1_marrow_muscle", "t1_marrow_disc"}
        skipped = {one.quantity: one.reason for one in measured.skipped}
        assert skipped["vbq"] == "T1 has one value in marrow and L3 CSF"
    assert "T1 has one value in L" in skipped["t1_marrow_muscle"]
    spine.volumes[Contrast.T1].array[0, 85, 0] += 1  # one voxel of CSF
    assert value(spine, "vbq", "L1-L4") > 1


def test_two_images_of_one_value_are_no_measurement(spine):
    """They read an opposed/in-phase ratio of 1.00 and an enhancement of 0 %."""
    measured = measure(with_volumes(spine, T1=7.0, T1_POST=7.0, IN_PHASE=7.0, OPPOSED_PHASE=7.0))
    assert {one.quantity for one in measured.measurements} == {"muscle_csa"}
    reasons = {one.quantity: one.reason for one in measured.skipped}
    assert reasons["opposed_in_ratio"] == "opposed_phase and in_phase have one value everywhere"
    assert reasons["enhancement"] == "T1_post and T1 have one value everywhere"
    spine.volumes[Contrast.T1].array[0, 0, 0] += 1  # one voxel of air
    measured = measure(with_volumes(spine, T1_POST=7.0))
    assert "enhancement" in {one.quantity for one in measured.measurements}
    with pytest.raises(ValueError, match="the signal of air does not vary"):
        measure(with_volumes(spine, T1=7.0), Settings(m_score_reference=(50.0, 4.0)))


def test_what_cannot_be_measured_says_why(spine):
    study = Study(spine.volumes, [r for r in spine.regions if r.site != "L2"])
    reasons = {s.quantity: s.reason for s in measure(study).skipped}
    assert reasons["vbq"] == "no marrow region at L2"
    assert "C3" in reasons["vbq_cervical"]


def test_what_an_image_does_not_cover_is_left_out_of_it_alone_and_said(spine):
    """A T2 of a smaller field of view than the T1 that bodies were found on."""
    t2 = spine.grid.array * 2
    t2[:, :30] = np.nan  # L1, and L2 in part
    study = with_volumes(spine, T2=t2)
    found = measure(study)
    assert value(study, "t1_marrow_disc", "L1") == value(spine, "t1_marrow_disc", "L1")
    sites = [m.site for m in found.measurements if m.quantity == "t2_marrow_disc"]
    assert sites == ["L3", "L4"]
    said = [one.reason for one in found.skipped if one.quantity == "t2_marrow_disc"]
    assert said == ["L1 marrow, L2 marrow lie where T2 has no values"]
    t2[:, 25:] = spine.grid.array[:, 25:]
    said = [one.reason for one in measure(with_volumes(spine, T2=t2)).skipped]
    assert "L1 marrow lies where T2 has no values" in said
    assert not any("no values" in one.reason for one in measure(spine).skipped)
    t2 = spine.grid.array * 2
    t2[:, 140:150] = np.nan  # the disc: what marrow is divided by
    found = measure(with_volumes(spine, T2=t2))
    said = [one.reason for one in found.skipped if one.quantity == "t2_marrow_disc"]
    assert said == ["L2-L3 disc lies where T2 has no values"]


def test_a_median_ratio_is_not_moved_by_a_bright_vessel(spine):
    before = value(spine, "t1_marrow_disc", "L3")
    spine.volumes[Contrast.T1].array[2, 43:46, 8:11] = 10_000
    assert value(spine, "t1_marrow_disc", "L3") == before


def test_ratio_interval_covers_the_truth(spine):
    rng = np.random.default_rng(2)
    flat = spine.grid.array.copy()
    covered, near = [], np.diag([0.2, 0.2, 0.2, 1.0])  # mm: shading is no matter
    for _ in range(150):
        noisy = flat + rng.normal(0, 15, flat.shape)
        study = Study({Contrast.T1: Volume(noisy, near, "T1")}, spine.regions)
        for m in measure(study).measurements:
            if m.quantity == "t1_marrow_disc":
                low, high = m.ci95
                covered.append(low <= LUMBAR[m.site] / 80 <= high)
    assert 0.91 <= np.mean(covered) <= 0.985


def test_the_phantom_gives_back_its_true_ratios_within_one_percent(phantom):
    study = phantom.study()
    checked = 0
    for measurement in measure(study).measurements:
        truth = phantom.true_value(measurement)
        if truth is None:
            continue
        checked += 1
        if measurement.unit == "%":  # one percent of the signal ratio that it was made from
            assert abs(measurement.value - truth) < 1.0, measurement
        else:
            assert measurement.value == pytest.approx(truth, rel=0.01), measurement
    assert checked >= 50


def test_n4_takes_coil_shading_out_and_both_values_are_reported():
    # Two tissues mixed all over the volume, so that shading is the only smooth change.
    from MarrowAssessLib.study import bias_field
    from scipy.ndimage import gaussian_filter

    rng = np.random.default_rng(7)
    shape = (32, 64, 64)
    marrow = gaussian_filter(rng.normal(size=shape), 2.5) > 0
    _, j, i = np.indices(shape)
    shading = np.exp(1.0 * i / shape[2] + 0.4 * np.sin(j / 20))
    t1 = np.where(marrow, 300.0, 150.0) * shading + rng.normal(0, 3, shape)
    t1[:, :6] = np.abs(rng.normal(0, 3, (32, 6, 64)))  # air
    near = Region.from_mask("L3 marrow", Role.MARROW, "L3", marrow & (i > 54) & (j > 8))
    far = Region.from_mask("psoas", Role.MUSCLE, "psoas", ~marrow & (i < 10) & (j > 8))
    volume = Volume(t1.astype(np.float32), np.diag([2.0, 2.0, 2.0, 1.0]), "T1")
    told = []
    flat = bias_field.corrected(volume, lambda fraction: told.append(fraction) or True).array
    result = measure(Study({Contrast.T1: volume}, [near, far]), Settings(n4=True))
    (ratio,) = [m for m in result.measurements if m.quantity == "t1_marrow_muscle"]
    assert ratio.value_without_n4 > 4.0
    assert ratio.value == pytest.approx(2.0, rel=0.10)
    # Intensities keep their order of magnitude: the field's mean is 1 where the patient is.
    patient = volume.array >= np.median(volume.array)
    assert np.mean(volume.array[patient] / flat[patient]) == pytest.approx(1, abs=1e-3)
    assert told == sorted(told) and told[0] < 0.1 and told[-1] > 0.7
    with pytest.raises(InterruptedError, match=r"N4 bias-field correction was canceled\."):
        inspect.unwrap(bias_field.corrected)(volume, lambda fraction: False)


def test_n4_leaves_ratios_of_the_same_voxels_alone(phantom):
    study = phantom.study()
    result = measure(study, Settings(n4=True))
    assert all(
        (m.value_without_n4 is None) == (not m.quantity.startswith(("t1", "t2", "fs_t2", "vbq")))
        for m in result.measurements
    )


def test_cancel_during_n4_raises(spine):
    with pytest.raises(InterruptedError):
        measure(spine, Settings(n4=True), progress=lambda fraction: False)


@pytest.mark.parametrize("margin", [-1.0, float("nan")])
def test_an_impossible_margin_is_refused(margin):
    with pytest.raises(ValueError, match="Erosion margin"):
        Settings(erosion_mm=margin)


def test_thin_discs_stay_as_drawn_with_a_caution_and_marrow_is_eroded(spine):
    mask = np.zeros(spine.grid.array.shape, bool)
    mask[1:5, 110:112, 5:15] = True  # 2 mm thick, where the signal is the L2-L3 disc's
    spine.regions[:] = [r for r in spine.regions if r.role is not Role.DISC]
    spine.volumes[Contrast.T1].array[:, 110:120] = 80.0
    spine.regions.append(Region.from_mask("L2-L3 disc", Role.DISC, "L2-L3", mask))
    found = [
        m
        for m in measure(spine, Settings(erosion_mm=1.5)).measurements
        if m.quantity == "t1_marrow_disc"
    ]
    assert len(found) == 4
    for m in found:
        assert m.statistics.voxels == 2 * 8 * 8
        assert m.reference_statistics.voxels == 4 * 2 * 10
        assert any("too thin to erode by 1.5 mm" in caution for caution in m.cautions)
    with pytest.raises(ValueError, match="no voxel is left after eroding 30 mm"):
        measure(spine, Settings(erosion_mm=30))


def test_coarsely_stored_signal_widens_the_interval_and_is_said(spine):
    rounded = spine.grid.with_array(np.round(spine.grid.array / 2.5))  # CSF becomes 20
    rounded.ijk_to_ras = rounded.ijk_to_ras / 1e3  # no place is far away
    (vbq,) = [
        m
        for m in measure(Study({Contrast.T1: rounded}, spine.regions)).measurements
        if m.quantity == "vbq"
    ]
    assert any("rounds this ratio to about 5 %" in caution for caution in vbq.cautions)
    # Rounding alone: SD of 1/sqrt(12) in 46 (two middle levels) and in 20.
    low, high = vbq.ci95
    expected = 2 * 1.96 * np.hypot(1 / np.sqrt(12 * 2) / 46, 1 / np.sqrt(12) / 20)
    assert np.log(high / low) == pytest.approx(expected, rel=0.01)


def test_enhancement_is_not_touched_by_n4(phantom):
    # N4 corrects T1 but not the image after contrast: their quotient would carry the bias field.
    study = phantom.study()
    plain, corrected = (
        {
            m.site: m.value
            for m in measure(study, settings).measurements
            if m.quantity == "enhancement"
        }
        for settings in (Settings(), Settings(n4=True))
    )
    assert plain
    assert corrected == plain


def test_erosion_does_not_shrink_a_muscle_s_cross_section(spine):
    spine.volumes[Contrast.T1].array[:] += 1
    assert value(spine, "muscle_csa", "psoas") == pytest.approx(1.0)
    (area,) = [
        m.value
        for m in measure(spine, Settings(erosion_mm=1.0)).measurements
        if m.quantity == "muscle_csa"
    ]
    assert area == pytest.approx(1.0)


@pytest.mark.parametrize(
    ("contrast", "signal", "factor"),
    [
        (Contrast.ADC, 0.0005, "ADC=1000"),
        (Contrast.ADC, 500.0, "ADC=0.001"),
        (Contrast.R2STAR, 0.08, "R2star=1000"),
        (Contrast.PDFF, 0.4, "PDFF=100"),
    ],
)
def test_a_map_in_another_unit_is_refused_with_its_factor(spine, contrast, signal, factor):
    t1 = spine.volumes[Contrast.T1]
    with pytest.raises(ValueError, match=f"--scale {factor}"):
        Study({contrast: t1.with_array(np.full(t1.array.shape, signal))}, spine.regions)


def test_muscle_nearly_without_fat_is_no_fraction(spine):
    t1 = spine.volumes[Contrast.T1]
    (muscle,) = spine.with_role(Role.MUSCLE)
    pdff = np.where(muscle.full_mask(t1.array.shape), 0.8, 60.0)
    study = Study({Contrast.PDFF: t1.with_array(pdff)}, spine.regions)
    assert value(study, "muscle_pdff", "psoas") == pytest.approx(0.8)


@pytest.mark.parametrize("reference", [(float("nan"), 1.0), (50.0, float("inf")), (50.0, 0.0)])
def test_an_impossible_m_score_reference_is_refused(reference):
    with pytest.raises(ValueError, match="expected a mean and an SD above 0"):
        Settings(m_score_reference=reference)


def test_tissue_without_signal_gets_a_word(spine):
    (l3,) = [r for r in spine.regions if r.name == "L3 marrow"]
    spine.volumes[Contrast.T1].array[l3.full_mask(spine.grid.array.shape)] = 0
    (ratio,) = [
        m for m in measure(spine).measurements if (m.quantity, m.site) == ("t1_marrow_muscle", "L3")
    ]
    assert any("which no tissue has" in caution for caution in ratio.cautions)


@pytest.mark.parametrize("slices", [1, 3])
def test_n4_refuses_an_image_too_thin_for_it(slices):
    from MarrowAssessLib.study.bias_field import corrected

    thin = Volume(np.full((slices, 32, 32), 50.0), np.diag([1.0, 1.0, 4.0, 1.0]), "T1")
    with pytest.raises(ValueError, match="N4 needs 4 or more voxels along each axis"):
        corrected(thin)


def test_n4_works_on_a_few_thick_slices_and_leaves_flat_signal_flat():
    from MarrowAssessLib.study.bias_field import corrected

    flat = Volume(np.full((5, 32, 32), 50.0), np.diag([1.0, 1.0, 4.0, 1.0]), "T1")
    assert np.allclose(corrected(flat).array, 50.0, rtol=0.01)


def test_two_regions_of_one_tissue_and_site_are_named_beside_vbq(spine):
    from dataclasses import replace

    (l3,) = [r for r in spine.regions if r.name == "L3 marrow"]
    spine.regions.append(replace(l3, name="L3 vertebral body", mask=l3.mask[:1]))
    (vbq,) = [m for m in measure(spine).measurements if m.quantity == "vbq"]
    assert any("L3 vertebral body was not used" in caution for caution in vbq.cautions)


def cautions_of(study: Study, quantity: str, settings: Settings | None = None) -> list[str]:
    found = measure(study, settings).measurements
    return [c for m in found if m.quantity == quantity for c in m.cautions]


def test_the_m_score_is_measured_on_the_image_as_acquired(phantom):
    study = phantom.study()
    study.volumes = {Contrast.T1: study.volumes[Contrast.T1]}
    reference = (80.0, 10.0)
    plain, corrected = (
        [m for m in measure(study, settings).measurements if m.quantity == "m_score"]
        for settings in (Settings(m_score_reference=reference), Settings(0.0, True, reference))
    )
    assert [m.value for m in corrected] == [m.value for m in plain]
    assert corrected[0].value_without_n4 is None
    ratios = [m for m in measure(study, Settings(n4=True)).measurements if m.quantity == "vbq"]
    assert ratios[0].value != ratios[0].value_without_n4  # N4 did something


@pytest.mark.parametrize(("unlike", "told"), [(2.0, False), (20.0, True)])
def test_a_vbq_whose_fluid_is_uncertain_is_told(spine, unlike, told):
    """Fluid whose signal differs by an SD from patch to patch, as where roots lie in a part."""
    array = spine.grid.array.copy()
    csf = next(one for one in spine.regions if (one.role, one.site) == (Role.CSF, "L3"))
    patches = np.random.default_rng(0).normal(50, unlike, (4, 5, 5))
    array[csf.box] = patches.repeat(2, axis=1).repeat(2, axis=2)
    one = Study({Contrast.T1: spine.grid.with_array(array)}, spine.regions)
    for quantity in ("vbq", "vbq_mean"):
        assert any("L3 CSF is open by" in c for c in cautions_of(one, quantity)) is told


@pytest.mark.parametrize(("width_mm", "told"), [(20, False), (22, True)])
def test_vbq_of_whole_bodies_is_told_from_that_of_the_middle(width_mm, told):
    """Published values come from regions on the mid-sagittal slice; i runs across here."""
    array = np.full((4, 200, 40), 100.0, np.float32)
    regions = []
    for n, (name, role, site) in enumerate(
        [(f"L{level} marrow", Role.MARROW, f"L{level}") for level in range(1, 5)]
        + [("L3 CSF", Role.CSF, "L3")]
    ):
        mask = np.zeros(array.shape, bool)
        mask[:, 20 * n : 20 * n + 10, :width_mm] = True
        array[mask] += n
        regions.append(Region.from_mask(name, role, site, mask))
    study = Study({Contrast.T1: Volume(array, np.eye(4), "T1")}, regions)
    assert any("over whole vertebral bodies" in c for c in cautions_of(study, "vbq")) is told


def to_far_muscle(
    signal: float, rows: int, voxel_mm: float = 1.0, contrast: Contrast = Contrast.T1
) -> Study:
    """Marrow of a signal, and muscle of 100 so many rows away."""
    array = np.full((6, 200, 20), 100.0, np.float32)
    array[:, :10] = signal
    array += np.random.default_rng(0).normal(0, 5, array.shape)
    regions = [box("L3 marrow", Role.MARROW, "L3", 0), box("psoas", Role.MUSCLE, "psoas", rows)]
    grid = np.diag([voxel_mm] * 3 + [1.0])
    return Study({contrast: Volume(array, grid, "image")}, regions, 50.0, "F")


@pytest.mark.parametrize(("rows", "told"), [(28, False), (33, True)])
def test_a_divisor_far_away_is_told_unless_shading_was_corrected(rows, told):
    study = to_far_muscle(110.0, rows)
    words = "The muscle lies over 30 mm away and coil shading was not corrected (N4); the interval"
    assert any(words in c for c in cautions_of(study, "t1_marrow_muscle")) is told
    corrected = cautions_of(study, "t1_marrow_muscle", Settings(n4=True))
    assert not any("coil shading" in c for c in corrected)
    dark = next(iter(study.volumes.values())).array
    dark[:, :10] = 0  # no interval is given then
    told_of_dark = [c for c in cautions_of(study, "t1_marrow_muscle") if "coil shading" in c]
    assert [c.endswith("not corrected (N4).") for c in told_of_dark] == [True] * told


def test_coil_shading_is_told_once_however_many_levels_lie_far_from_muscle():
    """It was said anew of each level's distance, seven times below each ratio to muscle."""
    study = to_far_muscle(110.0, 120)
    study.regions.append(box("L4 marrow", Role.MARROW, "L4", 40))
    told = [c for one in measure(study).measurements for c in one.cautions if "shading" in c]
    assert len(told) == 2 and len(set(told)) == 1


def logs(one):
    """How far the interval reaches below and above its value, in the logarithm."""
    return tuple(np.abs(np.log(np.array(one.ci95) / one.value)))


@pytest.mark.parametrize(
    ("site", "mm", "header", "below", "above"),
    [
        ("L3", 50, {}, 0.21, 0.425), ("L3", 130, {}, 0.25, 0.5), ("L3", 28, {}, 0, 0),
        ("left ilium", 50, {}, 0.425, 0.425),
        ("L3", 50, {"ImageType": "ORIGINAL\\PRIMARY\\M\\NORM"}, 0.12, 0.12),
        ("L3", 130, {"ImageType": ["ORIGINAL", "PRIMARY", "M", "NORM"]}, 0.15, 0.15),
    ],
)  # fmt: skip
def test_the_interval_holds_what_shading_does_over_the_distance(site, mm, header, below, above):
    """Muscle is as a rule nearer to the coil than the spine, and most errors go one way; what is
    new in another visit is still the noise."""
    study, plain = (to_far_muscle(110.0, 130, one / 130) for one in (mm, 0.1))
    for one in (study, plain):
        one.regions[0] = replace(one.regions[0], site=site)
        next(iter(one.volumes.values())).attributes = header
    (far, *_), (near, *_) = measure(study).measurements, measure(plain).measurements
    assert far.quantity == "t1_marrow_muscle" and far.value == near.value
    assert logs(far) == pytest.approx(
        [np.hypot(one, alone) for one, alone in zip((below, above), logs(near), strict=True)]
    )
    wide, narrow = (one.ci95[1] - one.ci95[0] for one in (far, near))
    assert 3.92 * np.hypot(narrow / 3.92, far.alike_sd) == pytest.approx(wide)
    assert near.alike_sd == 0
    told = [c for c in far.cautions if "shading" in c]
    assert len(told) == (mm > 30 and not header)


def test_a_level_takes_the_part_of_a_long_muscle_beside_it():
    """Of a strip whose signal doubles along it; what is shorter is taken whole, as ever."""
    array = np.full((6, 200, 60), 100.0, np.float32)
    array[:, :, 40:] = np.linspace(100, 200, 200)[:, None]
    levels = [box(f"L{n} marrow", Role.MARROW, f"L{n}", first) for n, first in ((1, 20), (4, 170))]
    strip, short = np.zeros(array.shape, bool), np.zeros(array.shape, bool)
    strip[:, 5:195, 40:50], short[:, 90:110, 40:50] = True, True

    def ratios(mask, array=array):
        muscle = Region.from_mask("psoas", Role.MUSCLE, "psoas", mask)
        found = measure(Study({Contrast.T1: Volume(array, np.eye(4), "T1")}, [*levels, muscle]))
        return [m for m in found.measurements if m.quantity == "t1_marrow_muscle"]

    upper, lower = ratios(strip)
    assert (upper.divided_by, lower.divided_by) == (("psoas",), ("psoas",))
    expected = [100 / (100 + row * 100 / 199) for row in (24.5, 174.5)]
    assert [upper.value, lower.value] == pytest.approx(expected, rel=0.01)
    assert upper.reference_statistics.voxels < strip.sum() / 3
    whole = [one.value for one in ratios(short)]
    assert whole == pytest.approx([100 / (100 + 99.5 * 100 / 199)] * 2, rel=0.001)
    unseen = array.copy()
    unseen[:, :60] = np.nan
    unseen[:, :60, :30] = 100
    there, _ = ratios(strip, unseen)  # the nearest that the image shows
    assert there.value == pytest.approx(100 / (100 + 72 * 100 / 199), rel=0.02)


@pytest.mark.parametrize(
    ("signal", "rows", "tone", "word"),
    [(89, 129, "", "low or intermediate"), (89, 20, "unusual", "low"),
     (45, 129, "unusual", "low"), (110, 60, "", "low or intermediate"),
     (140, 60, "expected", "intermediate or high"), (125, 129, "", None),
     (220, 129, "expected", "intermediate or high"), (400, 129, "expected", "high")],
)  # fmt: skip
def test_the_rule_of_1_takes_a_side_only_if_shading_cannot_change_it(signal, rows, tone, word):
    """A healthy T12 read 0.89 with muscle 129 mm away, 1.57 with N4."""
    found = assess(to_far_muscle(signal, rows))
    (rule,) = [s for s in found.results[0].statements if s.kind == "rule"]
    assert rule.tone == tone and ("no sure side" in rule.text) is (tone == "")
    assert [f.word for one in found.signatures for f in one.findings] == ([word] if word else [])


@pytest.mark.parametrize(
    ("signal", "rows", "words"),
    [(60, 20, "low on"), (150, 20, "intermediate on"), (250, 20, "high on"), (60, 60, "low on"),
     (110, 60, "low or intermediate on"), (220, 60, "intermediate or high on"),
     (400, 60, "high on"), (124, 129, None)],
)  # fmt: skip
def test_a_word_is_said_only_if_shading_cannot_change_it(signal, rows, words):
    """Where all three are possible, none is: that was a line of the summary."""
    found = assess(to_far_muscle(signal, rows, contrast=Contrast.FS_T2)).results[0]
    worded = [s.text for s in found.statements if "by convention" in s.text]
    assert [text.startswith(words) for text in worded] == [True] if words else not worded


@pytest.mark.parametrize("contrast", [Contrast.T1, Contrast.T2, Contrast.FS_T2])
def test_a_signature_says_what_the_interval_allows_and_its_caption_says_so(contrast):
    """T2 of 3.3 times muscle was "high" with an interval of 2.4 to 4.5, beside "intermediate or
    high" in the same report."""
    signal = {Contrast.T1: 220, Contrast.T2: 330, Contrast.FS_T2: 220}[contrast]
    found = assess(to_far_muscle(signal, 60, contrast=contrast))
    assert [f.word for one in found.signatures for f in one.findings] == ["intermediate or high"]
    if contrast is not Contrast.T1:
        assert any(s.text.startswith("intermediate or h") for s in found.results[0].statements)
    assert "interval allows two words both stand" in _signatures(found)
    surely = assess(to_far_muscle(2 * signal, 60, contrast=contrast))
    assert [f.word for one in surely.signatures for f in one.findings] == ["high"]


def test_the_interval_of_vbq_holds_shading_and_the_methods_say_so():
    """From the middle of L1-L4 to CSF; it held none."""
    csf = box("L3 CSF", Role.CSF, "L3", 180)
    levels = [box(f"L{n} marrow", Role.MARROW, f"L{n}", 20 * n) for n in (1, 2, 3, 4)]
    array = np.full((6, 200, 20), 100.0, np.float32)
    array += np.random.default_rng(0).normal(0, 5, array.shape)

    def vbq(mm, settings=None):
        image = Volume(array, np.diag([mm] * 3 + [1.0]), "T1")
        found = assess(Study({Contrast.T1: image}, [*levels, csf]), settings)
        (one,) = [r.measurement for r in found.results if r.measurement.quantity == "vbq"]
        return one, " ".join(found.methods)

    (far, methods), (near, _) = vbq(0.2), vbq(0.001)
    assert logs(far) == pytest.approx((0.0042 * 26, 0.0085 * 26), rel=0.02)
    assert logs(near) == pytest.approx((0, 0), abs=0.02) and far.alike_sd > 0
    assert "over muscle more than 30 mm away and of VBQ hold what coil shading may do" in methods
    corrected, methods = vbq(0.2, Settings(n4=True))
    assert logs(corrected) == pytest.approx((0, 0), abs=0.02) and "hold what" not in methods

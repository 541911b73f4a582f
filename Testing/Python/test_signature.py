import numpy as np
import pytest
from MarrowAssessLib.catalogue.anatomy import Role
from MarrowAssessLib.catalogue.contrasts import Contrast
from MarrowAssessLib.findings.signature import EXPECTED, signatures
from MarrowAssessLib.measures.book import Settings
from MarrowAssessLib.measures.measure import measure
from MarrowAssessLib.study.regions import Region
from MarrowAssessLib.study.study import Study
from PDFFMapperLib.images.volume import Volume

MUSCLE, DISC = 100.0, 120.0
# Marrow signals that read as each word against muscle 100 (and disc 120 on T1).
SIGNAL = {
    "T1": {"low": 80.0, "intermediate": 125.0, "high": 260.0},
    "T2": {"low": 98.0, "intermediate": 180.0, "high": 400.0},  # no less: T1 and T2 exchanged
    "FS_T2": {"low": 60.0, "intermediate": 150.0, "high": 300.0},
}


def block(name, role, site, first):
    mask = np.zeros((4, 60, 12), bool)
    mask[:, first : first + 10] = True
    return Region.from_mask(name, role, site, mask)


def spine(words: dict[str, str], age=40.0, site="L3", spread=0.0) -> Study:
    """A study with one marrow region whose sequences show the given words."""
    rng = np.random.default_rng(0)

    def volume(marrow: float, muscle: float = MUSCLE, disc: float = DISC) -> Volume:
        array = np.zeros((4, 60, 12), np.float32)
        array[:, :10] = marrow * (1 + spread * rng.normal(size=(4, 10, 12)))
        array[:, 20:30], array[:, 40:50] = muscle, disc
        return Volume(array, np.eye(4), "volume")

    volumes = {}
    for sequence, word in words.items():
        if sequence in SIGNAL:
            volumes[Contrast[sequence]] = volume(SIGNAL[sequence][word])
        elif sequence == "drop":
            volumes[Contrast.IN_PHASE] = volume(200.0)
            volumes[Contrast.OPPOSED_PHASE] = volume({"drop": 90.0, "no drop": 190.0}[word])
        elif sequence == "enhancement":
            before = SIGNAL["T1"][words["T1"]]
            factor = {"enhances": 1.4, "none": 1.02}[word]
            volumes[Contrast.T1_POST] = volume(before * factor)
    regions = [
        block("marrow", Role.MARROW, site, 0),
        block("psoas", Role.MUSCLE, "psoas", 20),
        block("L3-L4 disc", Role.DISC, "L3-L4", 40),
    ]
    return Study(volumes, regions, age)


def signature_of(study: Study):
    (one,) = signatures(study, measure(study))
    return one


TABLE = {
    "red": ["intermediate", "intermediate", "intermediate", "drop", "enhances"],
    "yellow": ["high", "high", "low", "drop", "none"],
    "pathologic": ["low", "high", "high", "no drop", "enhances"],
}
SEQUENCES = ["T1", "T2", "FS_T2", "drop", "enhancement"]


def test_the_expected_table_is_the_review_s():
    for kind, words in TABLE.items():
        assert [EXPECTED[sequence][kind] for sequence in EXPECTED] == words


@pytest.mark.parametrize("kind", list(TABLE))
def test_each_marrow_type_is_recognized(kind):
    one = signature_of(spine(dict(zip(SEQUENCES, TABLE[kind], strict=True))))
    assert one.best == kind
    assert one.match[kind] == 1.0
    assert one.disagree[kind] == []
    others = [other for other in TABLE if other != kind]
    assert all(one.match[other] < 1 and one.disagree[other] for other in others)


def test_whatever_sequences_are_there_are_used():
    one = signature_of(spine({"T1": "low", "FS_T2": "high"}))
    assert one.best == "pathologic"
    assert [finding.sequence for finding in one.findings] == ["T1", "fat-suppressed T2"]
    alone = signature_of(spine({"T1": "high"}))
    assert alone.best == "indeterminate"
    assert "One sequence alone does not make a signature." in alone.cautions


def test_contradicting_sequences_are_named():
    words = dict(zip(SEQUENCES, TABLE["pathologic"], strict=True)) | {"drop": "drop"}
    one = signature_of(spine(words))
    assert one.disagree["pathologic"] == ["chemical shift"]
    assert one.match["pathologic"] == pytest.approx(0.8)


def test_flip_flop_needs_dark_t1_and_even_bright_fat_suppressed_t2():
    assert signature_of(spine({"T1": "low", "FS_T2": "high"})).flip_flop is True
    assert signature_of(spine({"T1": "intermediate", "FS_T2": "high"})).flip_flop is False
    assert signature_of(spine({"T1": "low", "FS_T2": "high"}, spread=0.5)).flip_flop is False
    assert signature_of(spine({"T1": "low"})).flip_flop is None


def test_under_one_year_dark_t1_counts_for_nothing():
    one = signature_of(spine({"T1": "low", "FS_T2": "high"}, age=0.5))
    assert one.flip_flop is None
    assert one.disagree == {"red": ["fat-suppressed T2"], "yellow": ["fat-suppressed T2"],
                            "pathologic": []}  # fmt: skip
    assert one.best == "indeterminate"
    assert any("under 1 year normal red marrow may be darker" in c for c in one.cautions)
    older = signature_of(spine({"T1": "low", "FS_T2": "high"}, age=1.0))
    assert older.best == "pathologic"


def test_infants_without_opposed_phase_drop_are_not_pathologic():
    one = signature_of(spine({"T1": "intermediate", "drop": "no drop"}, age=0.3))
    assert one.disagree["red"] == []
    falling = signature_of(spine({"T1": "intermediate", "drop": "drop"}, age=0.3))
    assert falling.disagree["pathologic"] == ["T1", "chemical shift"]  # fat that is there counts


@pytest.mark.parametrize(
    ("site", "age", "words"),
    [
        ("foot", 8.0, "islands of red marrow"),
        ("right foot", 8.0, "islands of red marrow"),
        ("left calcaneus", 8.0, "islands of red marrow"),
        ("distal femur", 9.0, "growth plate"),
        ("distal femur", 13.0, "growth plate"),
        ("proximal femur", 45.0, "Reconversion"),
        ("L3", 45.0, "Fracture"),
    ],
)
def test_cautions_by_age_and_site(site, age, words):
    one = signature_of(spine({"T1": "low", "FS_T2": "high"}, age=age, site=site))
    assert any(words in caution for caution in one.cautions)


@pytest.mark.parametrize(
    ("site", "age", "words"),
    [
        ("distal femur", 8.9, "growth plate"),
        ("left ilium", 45.0, "Reconversion"),  # red marrow stays in the axial skeleton
        ("skull", 45.0, "Reconversion"),
        ("L3", 45.0, "Reconversion"),
    ],
)
def test_what_is_usual_at_an_age_and_site_has_no_caution(site, age, words):
    one = signature_of(spine({"T1": "intermediate", "FS_T2": "high"}, age=age, site=site))
    assert not any(words in caution for caution in one.cautions)
    limb = signature_of(spine({"T1": "intermediate"}, age=45.0, site="left proximal femur"))
    assert any("Reconversion" in caution for caution in limb.cautions)


def test_the_phantom_s_lesion_stands_out(phantom):
    study = phantom.study()
    by_site = {one.site: one for one in signatures(study, measure(study))}
    assert by_site["L2"].best == "pathologic"
    assert by_site["L2"].flip_flop is True
    assert {by_site[f"L{n}"].best for n in (1, 3, 4, 5)} == {"red"}


def test_flip_flop_is_judged_on_what_was_measured():
    # A bright rim that erosion takes off makes the region uneven as drawn, not as measured.
    study = spine({"T1": "low", "FS_T2": "high"})
    (marrow,) = study.with_role(Role.MARROW)
    array = study.volumes[Contrast.FS_T2].array
    rim = marrow.full_mask(array.shape)
    rim[marrow.eroded(1.5, study.grid.spacing).full_mask(array.shape)] = False
    array[rim] *= 5
    measured = measure(study, Settings(erosion_mm=1.5))
    assert signatures(study, measured)[0].flip_flop is True


@pytest.mark.parametrize(
    ("words", "best", "lead"),
    [
        # Of five findings, three red and two yellow: a lead of 0.2 is none.
        (["intermediate", "low", "low", "drop", "enhances"], "indeterminate", 0.2),
        # Of four, three red and two yellow: 0.25 is the least that is one.
        (["intermediate", "high", "intermediate", "drop"], "red", 0.25),
    ],
)
def test_a_near_tie_is_no_lead(words, best, lead):
    one = signature_of(spine(dict(zip(SEQUENCES, words, strict=False))))
    assert one.match["red"] - one.match["yellow"] == pytest.approx(lead)
    assert one.match["red"] > max(0.5, one.match["yellow"], one.match["pathologic"])
    assert one.best == best


@pytest.mark.parametrize(
    ("t1", "fs_t2", "match", "best", "flip_flop"),
    [
        # T1 with its interval, fat-suppressed T2 with its own: share for red, yellow, pathologic.
        ((0.7, 0.9), (2.5, 4.0), (0, 0, 1), "pathologic", True),
        ((0.7, 1.3), (2.5, 4.0), (0, 0, 1), "indeterminate", None),
        ((0.7, 0.9), (1.5, 4.0), (0, 0, 1), "indeterminate", None),
        ((1.3, 2.6), (2.5, 4.0), (0, 0, 0.5), "indeterminate", False),
        ((0.7, 2.6), (2.5, 4.0), (0, 0, 1), "indeterminate", None),
        ((0.7, 0.9), (1.2, 1.8), (0.5, 0, 0.5), "indeterminate", False),
    ],
)
def test_two_possible_words_speak_for_no_type(t1, fs_t2, match, best, flip_flop):
    """The value alone was a word: marrow of .89 over a muscle far away was "low"."""
    study = spine({"T1": "low", "FS_T2": "high"})
    measured = measure(study)
    measured.measurements = [m for m in measured.measurements if "disc" not in m.quantity]
    for one in measured.measurements:
        one.ci95 = t1 if one.quantity.startswith("t1") else fs_t2
    (one,) = signatures(study, measured)
    assert tuple(one.match.values()) == match
    assert (one.best, one.flip_flop) == (best, flip_flop)


def test_a_disc_alone_tells_low_from_the_rest():
    study = spine({"T1": "high"})
    study.regions = [one for one in study.regions if one.role is not Role.MUSCLE]
    assert signature_of(study).findings[0].word == "intermediate or high"
    measured = measure(spine({"T1": "intermediate"}))
    for one in measured.measurements:  # the muscle leaves it open, the disc does not
        one.ci95 = (1.1, 1.4) if one.quantity == "t1_marrow_disc" else (0.8, 2.5)
    (one,) = signatures(study, measured)
    assert one.findings[0].word == "intermediate or high"
    assert one.findings[0].evidence == "marrow/disc 1.04 (limit 1)"
    for one in measured.measurements:  # the disc rules out low, the muscle high
        one.ci95 = (1.1, 1.4) if one.quantity == "t1_marrow_disc" else (0.8, 1.5)
    (one,) = signatures(study, measured)
    assert one.findings[0].word == "intermediate"


@pytest.mark.parametrize(
    ("quantity", "ends", "word"),
    [
        ("signal_drop", (25.0, 60.0), "drop"), ("signal_drop", (-5.0, 12.0), "no drop"),
        ("signal_drop", (12.0, 25.0), None),
        ("enhancement", (12.0, 40.0), "enhances"), ("enhancement", (-3.0, 14.0), None),
    ],
)  # fmt: skip
def test_a_limit_inside_the_interval_leaves_no_word(quantity, ends, word):
    study = spine({"T1": "high", "drop": "drop", "enhancement": "enhances"})
    measured = measure(study)
    measured.measurements = [m for m in measured.measurements if m.quantity == quantity]
    measured.measurements[0].ci95 = ends
    found = [f.word for one in signatures(study, measured) for f in one.findings]
    assert found == ([word] if word else [])

"""A healthy spine is not flagged: the other side of test_sentences, for placement and fractures.

Every sentence that placement, CSF, muscles, heights and edema may add to a result is found in the
code. On healthy digital spines of four contrasts, on the sample patient and at clicks where they
belong the question that stands before each is asked (its line runs), and the answer is that there
is nothing to say, but for what is named here with its reason.
"""

import ast
import re
import sys
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from MarrowAssessLib.catalogue.anatomy import Role
from MarrowAssessLib.catalogue.contrasts import Contrast
from MarrowAssessLib.findings.assessment import assess
from MarrowAssessLib.measures.book import Settings
from MarrowAssessLib.placement.clicks import regions_from_clicks
from MarrowAssessLib.placement.following import follow_column
from MarrowAssessLib.placement.refined import refined
from MarrowAssessLib.placement.spine_column import find_column_in
from MarrowAssessLib.placement.structure import place
from MarrowAssessLib.study.regions import Region
from MarrowAssessLib.study.study import Study
from phantoms.spine import healthy, shown
from test_organs import AORTA, LIVER, SPLEEN, abdomen
from test_placement import spine
from test_sentences import HOLE, READS, literal, uttered

LIBRARY = Path(__file__).resolve().parents[2] / "MarrowAssess" / "MarrowAssessLib"
FLAGGING = [
    *sorted(LIBRARY.glob("placement/*.py")),
    *sorted(LIBRARY.glob("fracture/*.py")),
    *(LIBRARY / "measures" / f"{name}.py" for name in ("cautions", "heights", "muscle", "vbq")),
]

# What is rightly said of them: the beginning of the sentence, of which image (all where it is ""),
# and why.
EXPECTED = (
    ("Unaffected bodies lie on one side only", "", "of the column's two ends"),
    ("Of … bodies in view; the index is meant", "", "an image shows no 13 bodies"),
    ("Heights are graded from T1 to the lowest lumbar", "", "the sacrum has no heights"),
    ("The body is cut by the edge of the image", "sample", "its T12 misses 2 mm"),
    ("The image ends at …; its heights", "sample", "the same body"),
    ("Measured over whole vertebral bodies", "sample", "so they are"),
    ("Low signal on T1 or little fat is seen", "sample", "its L2 is infiltrated"),
    ("Published groups, no verdict, unverified", "sample", "its L2 has edema"),
    (
        "The largest section of … is cut by the image's edge",
        "digital",
        "36 mm hold no whole muscle",
    ),
    ("Shrunk to the measurement region of", "refined", "what was done with a label"),
)
OF_OTHERS = (  # said by modules that are not looked at here
    "The muscle lies over … mm away and coil shading was not corrected",
    "Opposed phase cannot tell a fat fraction from its complement",
    "Look at: …",
)
NOT_ASKED = (
    "The level may be one off: at …, ….",  # of each doubted count, of which there are none
    "Followed from the click alone. …",  # what is done where no spine was found
)


def flags(path: Path) -> list[tuple[str, int]]:
    """Text, and line of the question before it, of each sentence that a file adds to a result."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    assigned = (row for row in tree.body if isinstance(row, ast.Assign))
    held = {row.targets[0].id: row.value for row in assigned if hasattr(row.targets[0], "id")}
    said = {one for node in ast.walk(tree) for one in uttered(node)}
    found = []

    def look(node, line: int, question: int | None) -> None:
        text = literal(held.get(node.id) if isinstance(node, ast.Name) else node)
        short = text is None or len(text.replace(HOLE, "")) < 10
        if not short and (node in said or READS.fullmatch(text)):
            found.append((re.sub(f"{HOLE}|{{}}", "…", text), question or line))
            return
        for child in ast.iter_child_nodes(node):
            if isinstance(child, ast.Raise) or isinstance(getattr(child, "value", 0), ast.Constant):
                continue  # a refusal; documentation
            asks = isinstance(node, ast.If) and child is not node.test
            here = child.lineno if isinstance(child, ast.stmt) else line
            look(child, here, node.lineno if asks else question)

    for function in ast.walk(tree):
        if isinstance(function, ast.FunctionDef):
            look(function, function.lineno, None)
    return found


@contextmanager
def asked():
    """Files and lines of the flagging modules that run meanwhile."""
    files, lines = {str(path) for path in FLAGGING}, set()

    def on_line(frame, event, _):
        lines.add((frame.f_code.co_filename, frame.f_lineno))
        return on_line

    def on_call(frame, event, _):
        return on_line if frame.f_code.co_filename in files else None

    before = sys.gettrace()
    sys.settrace(on_call)
    try:
        yield lines
    finally:
        sys.settrace(before)


def of_column(column) -> list[str]:
    """All that is said of a found or followed column and of its parts."""
    parts = [*column.bodies.values(), *column.discs.values(), *column.muscles.values()]
    parts += [column.csf] if column.csf else []
    return [*column.unsure, *(text for one in parts for text in one.unsure)]


def of_study(volumes) -> list[str]:
    """All that is said where a study is measured without a click, with fractures."""
    column = find_column_in(volumes)
    result = assess(Study(volumes, column.found_regions(), 30, "F"), Settings(fractures=True))
    cautions = [text for one in result.results for text in one.measurement.cautions]
    heights = [one.reason for one in result.skipped if one.quantity == "height_loss"]
    return [*of_column(column), *cautions, *heights]


def of_clicks(volume, places: dict) -> list[str]:
    """What is said of structures that are clicked by name."""
    regions, told = regions_from_clicks(volume, places=places)
    return [told, *(text for region in regions for text in region.cautions)]


def healthy_spines(phantom) -> dict[str, list[str]]:
    """What is said of each image without a disease, and of clicks where they belong."""
    digital = {name: shown(healthy(3), name, 1, slices=9) for name in ("T1", "T2", "STIR", "GRE")}
    t1, t2, stir, gre = (one.volume for one in digital.values())
    owner = digital["T1"].owner
    l3 = next(n for n in range(1, owner.max() + 1) if digital["T1"].level(n) == "L3")
    label = Region.from_mask("L3 marrow", Role.MARROW, "L3", owner == l3)
    plain, _ = spine("t1")
    trunk, _ = abdomen("CT")
    organs = ((LIVER, Role.LIVER), (SPLEEN, Role.SPLEEN), (AORTA, Role.BLOOD))
    neighbors = {"L2 marrow": (0.0, 0.0, 35.0), "L3 marrow": (0.0, 0.0, 0.0)}
    shrunk, told = refined(t1, [label])
    return {
        "digital T1": of_study({Contrast.T1: t1}),
        "digital T2": of_study({Contrast.T2: t2}),
        "digital GRE": of_study({Contrast.IN_PHASE: gre}),
        "digital T1 and STIR": of_study({Contrast.T1: t1, Contrast.FS_T2: stir}),
        "sample": of_study(phantom.volumes),
        "followed": of_column(follow_column(plain, np.zeros(3), "L3")),
        "clicked": of_clicks(plain, {**neighbors, "L3-L4 disc": (0.0, 0.0, -17.5)}),
        "organs": [s for at, role in organs for s in place(trunk, np.array(at), role).unsure],
        "refined": [*told, *(text for region in shrunk for text in region.cautions)],
    }


def matches(sentence: str, said: str) -> bool:
    """Whether a sentence with holes begins what was said, or its words after a level."""
    parts = [re.escape(part) for part in sentence.split("…")]
    return re.match(r"(\w+: )?" + ".*?".join(parts), said) is not None


def test_a_healthy_spine_is_asked_every_question_and_not_flagged(phantom):
    sentences = [(str(path), *one) for path in FLAGGING for one in flags(path)]
    assert len(sentences) > 80  # they are found at all
    with asked() as lines:
        said = healthy_spines(phantom)
    missed = {text for path, text, line in sentences if (path, line) not in lines}
    assert missed == set(NOT_ASKED)
    texts = {text for _, text, _ in sentences}
    uttered_by = {
        (text, name) for name, all_of in said.items() for one in all_of for text in texts
        if matches(text, one)
    }  # fmt: skip
    for text, name in uttered_by:
        assert any(text.startswith(a) and b in name for a, b, _ in EXPECTED), (name, text)
    known = {*texts, *OF_OTHERS}
    told = {one for all_of in said.values() for one in all_of if one}
    assert {one for one in told if not any(matches(text, one) for text in known)} == set()
    for begin, _, _ in EXPECTED:  # no reason without its sentence
        assert any(text.startswith(begin) for text, _ in uttered_by), begin


def test_a_sentence_is_found_with_the_question_before_it(tmp_path):
    code = """
OF_NAME = "A sentence that is held by a name."
def one(doubts, others):
    'A sentence of documentation that is none.'
    if not others:
        raise ValueError("A sentence that refuses what it got.")
    for other in others:
        if other:
            doubts.append(f"So {other} it is.")
    doubts += [f"It lies on {other}: one of them is wrong." for other in others]
    return OF_NAME if doubts else ""
"""
    path = tmp_path / "one.py"
    path.write_text(code)
    assert flags(path) == [
        ("So … it is.", 8),
        ("It lies on …: one of them is wrong.", 10),
        ("A sentence that is held by a name.", 11),
    ]

"""Every caution, doubt, note and refusal that this software can utter has a test that provokes it.

The sentences are found in the code: what is raised, what is appended to cautions, doubts, unsure
or notes, why something is skipped, and whatever else reads as a sentence outside of panels,
commands and rows (where help is written). One counts as tested where a test quotes a stretch of it
or names the constant that holds it.
"""

import ast
import re
from pathlib import Path

from PDFFMapperLib.diffusion import maps as diffusion
from PDFFMapperLib.water_fat import separation

REPOSITORY = Path(__file__).resolve().parents[2]
LIBRARIES = [REPOSITORY / "MarrowAssess", REPOSITORY / "PDFFMapper"]
HOLE = "\0"  # where a value is put in
QUOTED = 15  # characters in a row that no other sentence has by chance
LISTS = ("cautions", "unsure", "doubts", "notes")
READS = re.compile(r"[A-Za-z'\0][^<]*(\w+[^<\w]+){4}\w+[^<]*\.")  # as a sentence, without markup
HELP = ("/panel/", "/commands/", "/recipe.py", "/rows.py", "/quantities.py")


def literal(node) -> str | None:
    """The text of a string with its holes, None for what is no string."""
    if isinstance(node, ast.Constant):
        return node.value if isinstance(node.value, str) else None
    if isinstance(node, ast.JoinedStr):
        return "".join(v.value if isinstance(v, ast.Constant) else HOLE for v in node.values)
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add):
        sides = [literal(side) for side in (node.left, node.right)]
        return None if sides == [None, None] else "".join(side or HOLE for side in sides)
    return None


def uttered(node):
    """The expressions of the sentences that a node of the code utters."""
    if isinstance(node, ast.Raise) and isinstance(node.exc, ast.Call):
        yield from node.exc.args[:1]
    if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "Skipped":
        yield from node.args[1:2]
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
        target = node.func.value
        name = target.attr if isinstance(target, ast.Attribute) else getattr(target, "id", "")
        if node.func.attr == "doubt" or (node.func.attr == "append" and name in LISTS):
            yield from node.args[:1]
    if isinstance(node, ast.AugAssign):
        target = node.target
        name = target.attr if isinstance(target, ast.Attribute) else getattr(target, "id", "")
        if name in LISTS and isinstance(node.value, ast.List | ast.ListComp):
            value = node.value
            yield from value.elts if isinstance(value, ast.List) else [value.elt]


def read_as_sentences(tree):
    """All strings that read as one, but those that only document."""
    parts = set()  # of strings, and documentation
    for node in ast.walk(tree):
        if isinstance(node, ast.Expr):
            parts.add(node.value)
        elif literal(node) is not None and not isinstance(node, ast.Constant):
            parts |= set(ast.walk(node)) - {node}
        if node not in parts and READS.fullmatch(text := literal(node) or ""):
            yield text


def named(tree, words: set[str]) -> set[str]:
    """Texts of the constants that tests name."""
    rows = (node for node in tree.body if isinstance(node, ast.Assign))
    return {literal(one.value) for one in rows if getattr(one.targets[0], "id", "") in words}


def sentences(said: str) -> list[tuple[str, str]]:
    """File and text of every sentence but of those that stand in a constant which tests name."""
    found, words = [], set(re.findall(r"\w+", said))
    paths = (path for library in LIBRARIES for path in library.glob("*Lib/**/*.py"))
    for path in sorted(paths):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        name = path.relative_to(REPOSITORY).as_posix().partition("/")[2]
        texts = [literal(one) for node in ast.walk(tree) for one in uttered(node)]
        if not any(part in name for part in HELP):
            texts += set(read_as_sentences(tree)) - named(tree, words)
        # Names of files and of options alone are no sentence.
        found += [(name, one) for one in texts if one and len(one.replace(HOLE, "")) > 10]
    return found


def quotes() -> str:
    """All that tests say, lines of one string joined and regular expressions unescaped."""
    here = Path(__file__)
    files = (path for path in here.parent.glob("test_*.py") if path != here)
    text = "\n".join(path.read_text(encoding="utf-8") for path in files)
    return re.sub(r'"\s*\n\s*[rf]*"', "", text).replace("\\", "")


def is_quoted(sentence: str, said: str, stretches: frozenset[str]) -> bool:
    for part in sentence.split(HOLE):
        if len(part) < QUOTED:
            if part.ljust(10, HOLE) in said:  # too short to tell anything
                return True
        elif any(part[n : n + QUOTED] in stretches for n in range(len(part) - QUOTED + 1)):
            return True
    return False


def test_every_sentence_has_a_test_that_provokes_it():
    said = quotes()
    stretches = frozenset(said[n : n + QUOTED] for n in range(len(said)))
    everything = sentences(said)
    assert len(everything) > 1000  # they are found at all
    missing = [(name, one) for name, one in everything if not is_quoted(one, said, stretches)]
    told = "\n".join(f"{name}: {one.replace(HOLE, '...')}" for name, one in missing)
    assert not missing, f"sentences without a test:\n{told}"


def test_every_doubt_of_a_voxel_has_a_test_that_names_it():
    said = quotes()
    doubts = [*diffusion.Doubt, *separation.Doubt]
    assert len(doubts) > 10
    assert not [one for one in doubts if f"Doubt.{one.name}" not in said]

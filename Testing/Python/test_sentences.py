"""Every caution, doubt, note and refusal that this software can utter has a test that provokes it.

The sentences are found in the code: what is raised, what is appended to cautions, doubts, unsure
or notes, why something is skipped, and whatever else reads as a sentence outside of panels,
commands and rows (where help is written). One counts as tested where a string of a test (which a
comment or docstring is not) has more in common with it than with any other sentence, or where a
test uses the constant that holds it.
"""

import ast
import re
from collections import defaultdict
from pathlib import Path

import pytest
from PDFFMapperLib.diffusion import maps as diffusion
from PDFFMapperLib.dual_energy import maps as dual_energy
from PDFFMapperLib.ute import bone_maps as ute
from PDFFMapperLib.water_fat import separation

REPOSITORY = Path(__file__).resolve().parents[2]
LIBRARIES = [REPOSITORY / "MarrowAssess", REPOSITORY / "PDFFMapper"]
HOLE = "\0"  # where a value is put in
QUOTED = 10  # characters in a row, at least, that a test has in common with what it provokes
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


@pytest.fixture(scope="module")
def tests() -> list[ast.Module]:
    """The code of every other test."""
    here = Path(__file__)
    files = sorted(path for path in here.parent.glob("test_*.py") if path != here)
    return [ast.parse(path.read_text(encoding="utf-8")) for path in files]


@pytest.fixture(scope="module")
def uses(tests):
    return used(tests)


def used(tests) -> set[tuple[str, str]]:
    """Module (or class) and name, of what tests import and use after that."""
    found = set()
    for tree in tests:
        nodes = list(ast.walk(tree))
        froms = [node for node in nodes if isinstance(node, ast.ImportFrom) and node.module]
        of = {a.asname or a.name: (n.module, a.name) for n in froms for a in n.names}
        for node in nodes:
            if isinstance(node, ast.Name) and node.id in of:
                found.add(of[node.id])
            elif isinstance(node, ast.Attribute) and getattr(node.value, "id", "") in of:
                found.add((".".join(of[node.value.id]), node.attr))
    return found


def held(tree, module: str, uses: set[tuple[str, str]]) -> set[str]:
    """Texts of the constants of a module that tests use."""
    rows = (node for node in tree.body if isinstance(node, ast.Assign))
    return {literal(r.value) for r in rows if (module, getattr(r.targets[0], "id", "")) in uses}


def sentences(uses: set[tuple[str, str]]) -> list[tuple[str, str]]:
    """File and text of every sentence but of those that stand in a constant which tests use."""
    found = []
    paths = (path for library in LIBRARIES for path in library.glob("*Lib/**/*.py"))
    for path in sorted(paths):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        name = path.relative_to(REPOSITORY).as_posix().partition("/")[2]
        module = name.removesuffix(".py").replace("/", ".")
        texts = [literal(one) for node in ast.walk(tree) for one in uttered(node)]
        if not any(part in name for part in HELP):
            texts += set(read_as_sentences(tree)) - held(tree, module, uses)
        # Names of files and of options alone are no sentence.
        found += [(name, one) for one in texts if one and len(one.replace(HOLE, "")) > 10]
    return found


def quotes(tests) -> set[str]:
    """All strings of tests but docstrings, regular expressions unescaped."""
    found = set()
    for tree in tests:
        others = set()  # documentation, and parts of strings
        for node in ast.walk(tree):
            if isinstance(node, ast.Expr):
                others.add(node.value)
            text = None if node in others else literal(node)
            if text is not None:
                found.add(text.replace("\\", ""))
                others |= set(ast.walk(node))
    return found


def quoted(texts: set[str], said: set[str]) -> set[str]:
    """The texts that a string has most in common with: the longest stretch, of each string."""
    having = defaultdict(set)
    for text in texts:
        for n in range(len(text) - QUOTED + 1):
            if HOLE not in (stretch := text[n : n + QUOTED]):
                having[stretch].add(text)
    found = set()
    for one in said:
        longest, before = {}, {}
        for n in range(len(one) - QUOTED + 1):
            before = {t: before.get(t, 0) + 1 for t in having.get(one[n : n + QUOTED], ())}
            longest |= {t: max(length, longest.get(t, 0)) for t, length in before.items()}
        found |= {t for t, length in longest.items() if length == max(longest.values())}
    return found


def test_every_sentence_has_a_test_that_provokes_it(tests, uses):
    everything = sentences(uses)
    assert len(everything) > 1000  # they are found at all
    tested = quoted({one for _, one in everything}, quotes(tests))
    missing = [(name, one) for name, one in everything if one not in tested]
    told = "\n".join(f"{name}: {one.replace(HOLE, '...')}" for name, one in missing)
    assert not missing, f"sentences without a test:\n{told}"


def test_a_comment_a_docstring_and_an_import_alone_are_no_test_of_a_sentence():
    code = """
from p.known import OF_ONE, OF_TWO
# of a comment
def test():
    \'\'\'of a docstring\'\'\'
    assert OF_ONE in f"of a {1} string"
"""
    tests = [ast.parse(code)]
    assert quotes(tests) == {f"of a {HOLE} string"}
    assert used(tests) == {("p.known", "OF_ONE")}


def test_a_string_counts_for_the_sentence_that_it_has_most_in_common_with():
    one, other = f"{HOLE}: there is no such file.", f"{HOLE}: there is no such folder."
    assert quoted({one, other}, {"there is no such fol"}) == {other}
    assert quoted({one, other}, {"there is no such"}) == {one, other}
    assert quoted({one, other}, {"no such"}) == set()


def test_every_doubt_of_a_voxel_has_a_test_that_uses_it(uses):
    flags = [(kind, one.name) for kind in (diffusion.Doubt, separation.Doubt) for one in kind]
    doubts = [(f"{kind.__module__}.{kind.__name__}", name) for kind, name in flags]
    for module in (dual_energy, ute):
        whole = {name: code for name, code in vars(module).items() if type(code) is int}
        named = {name for name, code in whole.items() if code in module.CODES.keys() - {0}}
        assert {whole[name] for name in named} == module.CODES.keys() - {0}
        doubts += [(module.__name__, name) for name in named]
    assert len(doubts) > 19
    assert not [one for one in doubts if one not in uses]

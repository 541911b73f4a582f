"""The house: who may import whom, how tall the tower is, how long a function."""

import ast
from functools import cache
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]
LIBRARIES = {
    "MarrowAssessLib": REPOSITORY / "MarrowAssess" / "MarrowAssessLib",
    "PDFFMapperLib": REPOSITORY / "PDFFMapper" / "PDFFMapperLib",
}
FLOORS = 8  # of each library's imports, lazy ones counted
LONGEST = 80  # lines of a function outside compiled kernels
DESKTOP = {"slicer", "vtk", "vtkmodules", "qt", "ctk", "SegmentStatisticsPlugins"}


def files():
    return {
        ".".join(path.relative_to(folder.parent).with_suffix("").parts): path
        for folder in LIBRARIES.values()
        for path in folder.rglob("*.py")
        if path.name != "__init__.py"
    }


@cache
def tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


def imported(path: Path) -> set[str]:
    """All names of modules that a file imports, anywhere in it."""
    found = set()
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.ImportFrom) and node.module:
            assert not node.level, f"{path.name}: imports are absolute"
            found |= {node.module} | {f"{node.module}.{one.name}" for one in node.names}
        elif isinstance(node, ast.Import):
            found |= {one.name for one in node.names}
    return found


def floors() -> dict[str, int]:
    """1 for a module that imports none of its library's, else one more than the highest it does."""
    modules = files()
    uses = {
        name: [one for one in imported(path) if one in modules and one[:4] == name[:4]]
        for name, path in modules.items()
    }
    found: dict[str, int] = {}

    def floor(name: str, above: tuple[str, ...] = ()) -> int:
        assert name not in above, f"a circle of imports: {' <- '.join((*above, name))}"
        if name not in found:
            found[name] = 1 + max((floor(one, (*above, name)) for one in uses[name]), default=0)
        return found[name]

    return {name: floor(name) for name in modules}


def test_there_are_no_circles_and_the_tower_is_low():
    high = [name for name, height in floors().items() if height > FLOORS]
    assert not high


def test_maps_know_nothing_of_findings():
    for name, path in files().items():
        if name.startswith("PDFFMapperLib"):
            assert not any(one.startswith("MarrowAssess") for one in imported(path)), name


def test_the_core_runs_without_a_desktop():
    for name, path in files().items():
        room = name.split(".")[1]
        if room not in ("scene", "panel", "install") and name != "MarrowAssessLib.sample.nodes":
            assert not {one.split(".")[0] for one in imported(path)} & DESKTOP, name


def test_no_function_is_longer_than_a_page():
    long = []
    for path in files().values():
        for node in ast.walk(tree(path)):
            if not isinstance(node, ast.FunctionDef):
                continue
            compiled = any("jit" in ast.unparse(one) for one in node.decorator_list)
            lines = node.end_lineno - node.lineno + 1
            if lines > LONGEST and not compiled:
                long.append(f"{path.name}: {node.name} has {lines} lines")
    assert not long
